//! Dropout while training. On CUDA the masks come from libtorch's generator. On the CPU they are those of
//! the native engine, with which the tests compare.

use std::borrow::Cow;

use tch::{Device, Kind, Tensor};
use textgen::kernels::Kernels;
use textgen::kernels::training::{Alone, Buffers, Workers};
use textgen::models::batch::TextBatch;
use textgen::models::noise::{Noise, Use};
use textgen::models::pieces::Pieces;
use textgen::models::sequences::Sequences;
use textgen::models::training::{Mask, position, start_of_row};

/// How a network is run: as it is, or in training with its dropout.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// In f32, as the saved model computes.
    Evaluation,
    /// A training step: its random numbers depend on the seed and the number of the step.
    Training {
        /// The seed of the training.
        seed: u64,
        /// The number of steps before this one.
        step: u64,
    },
}

impl Pass {
    /// Whether gradients are wanted.
    pub const fn trains(self) -> bool {
        matches!(self, Self::Training { .. })
    }

    /// The random numbers of a use.
    pub const fn noise(self, what: Use) -> Noise {
        let (seed, step) = match self {
            Self::Evaluation => (0, 0),
            Self::Training { seed, step } => (seed, step),
        };
        Noise::new(seed, what, step)
    }
}

/// The row of the whole batch and the time of every position (N).
pub enum Places<'a> {
    /// All rows at every time, step by step.
    Grid {
        /// The number of rows.
        rows: usize,
        /// The number of positions.
        count: usize,
        /// The number of the first row in the whole batch.
        first: usize,
    },
    /// Any.
    List {
        /// The row of each position.
        rows: Cow<'a, [u32]>,
        /// The time of each position.
        times: Cow<'a, [u32]>,
        /// The number of the first row in the whole batch.
        first: usize,
    },
}

impl<'a> Places<'a> {
    /// Of a network that drops nothing.
    pub const fn none() -> Self {
        Self::Grid {
            rows: 1,
            count: 0,
            first: 0,
        }
    }

    /// The positions of a batch in its own order.
    pub const fn of_text(batch: &TextBatch) -> Self {
        Self::Grid {
            rows: batch.rows,
            count: batch.rows * batch.steps,
            first: batch.first,
        }
    }

    /// The positions of the pieces of a batch.
    pub fn of_pieces(pieces: &Pieces, batch: &TextBatch) -> Self {
        let (rows, places) = (batch.rows as u32, pieces.places.iter());
        Self::List {
            rows: places.clone().map(|at| at % rows).collect(),
            times: places.map(|at| at / rows).collect(),
            first: batch.first,
        }
    }

    /// The positions of words.
    pub fn of_words(words: &'a Sequences, first: usize) -> Self {
        Self::List {
            rows: Cow::Borrowed(&words.rows),
            times: Cow::Borrowed(&words.times),
            first,
        }
    }

    /// The number of positions, N.
    fn count(&self) -> usize {
        match self {
            Self::Grid { count, .. } => *count,
            Self::List { rows, .. } => rows.len(),
        }
    }

    /// The number of position `index` among random numbers.
    fn position(&self, index: usize) -> u64 {
        match self {
            Self::Grid { rows, first, .. } => position(first + index % rows, index / rows),
            Self::List { rows, times, first } => {
                position(first + rows[index] as usize, times[index] as usize)
            }
        }
    }
}

/// Calls `apply` with what the library's masks need.
fn alone(apply: impl FnOnce(Workers)) {
    apply(Workers {
        team: &Alone,
        kernels: Kernels::new(),
        buffers: &Buffers::new(),
    });
}

/// Factors of dropout from libtorch's generator: 0 with probability `rate`, else 1 / (1 − rate).
fn libtorchs_mask(size: &[i64], rate: f64, device: Device) -> Tensor {
    Tensor::ones(size, (Kind::Float, device)).dropout(rate, true)
}

/// Factors of tokens (N, 1): a dropped one is a vector of zeros.
pub fn token_mask(places: &Places, rate: f64, pass: Pass, device: Device) -> Tensor {
    let size = [places.count() as i64, 1];
    if device.is_cuda() {
        return libtorchs_mask(&size, rate, device);
    }
    let noise = pass.noise(Use::InputDropout);
    let scale = 1.0 / (1.0 - rate as f32);
    let factor = |index: usize| {
        let stays = f64::from(noise.uniform(places.position(index))) >= rate;
        if stays { scale } else { 0.0 }
    };
    let factors: Vec<f32> = (0..places.count()).map(factor).collect();
    Tensor::from_slice(&factors).reshape(size)
}

/// Factors of the recurrent weights (G·H, H) of a layer (DropConnect; Merity et al. 2017).
pub fn weight_mask(weight: &Tensor, layer: usize, rate: f64, pass: Pass) -> Tensor {
    let (size, device) = (weight.size(), weight.device());
    if device.is_cuda() {
        return libtorchs_mask(&size, rate, device);
    }
    let noise = pass.noise(Use::RecurrentDropout).sub(layer as u64);
    let mut factors = vec![1.0; weight.numel()];
    alone(|workers| Mask::new(noise, rate).apply_to_array(workers, &mut factors));
    Tensor::from_slice(&factors).reshape(size)
}

/// Dropout of layers' outputs.
pub struct Dropout<'a> {
    /// Probability that a unit is dropped; the others are scaled up by 1 / (1 − rate).
    pub rate: f64,
    /// Whether the same units are dropped at all steps of a text (Gal & Ghahramani 2016).
    pub variational: bool,
    /// Whose random numbers.
    pub what: Use,
    /// Where the outputs are.
    pub places: &'a Places<'a>,
}

impl Dropout<'_> {
    /// Whether a pass has none.
    pub fn is_off(&self, pass: Pass) -> bool {
        self.rate == 0.0 || !pass.trains()
    }

    /// The outputs (N, H) of a layer after dropout.
    pub fn apply(&self, outputs: &Tensor, layer: usize, pass: Pass) -> Tensor {
        if self.is_off(pass) {
            return outputs.shallow_clone();
        }
        let device = outputs.device();
        let width = outputs.size()[1];
        if !device.is_cuda() {
            let at = |index| {
                let position = self.places.position(index);
                if self.variational {
                    start_of_row(position)
                } else {
                    position
                }
            };
            let noise = pass.noise(self.what).sub(layer as u64);
            let mut factors = vec![1.0; outputs.numel()];
            let mask = Mask::new(noise, self.rate);
            alone(|workers| mask.apply(workers, at, &mut factors, width as usize));
            return outputs * Tensor::from_slice(&factors).reshape(outputs.size());
        }
        if !self.variational {
            return outputs.dropout(self.rate, true);
        }
        let rows = match self.places {
            Places::Grid { rows, .. } => {
                let mask = libtorchs_mask(&[*rows as i64, width], self.rate, device);
                let by_time = outputs.reshape([-1, *rows as i64, width]);
                return (by_time * mask).reshape(outputs.size());
            }
            Places::List { rows, .. } => rows,
        };
        let rows: Vec<i64> = rows.iter().map(|&row| i64::from(row)).collect();
        let batch = rows.iter().max().map_or(0, |last| last + 1);
        let mask = libtorchs_mask(&[batch, width], self.rate, device);
        outputs * mask.index_select(0, &Tensor::from_slice(&rows).to_device(device))
    }
}
