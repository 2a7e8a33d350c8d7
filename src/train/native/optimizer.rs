//! Adam, AMSGrad and AdamW on flat buffers, and the average of the weights (EMA).

use std::ops::Range;

use crate::config::{OptimizerKind, TrainConfig};
use crate::kernels::AdamPiece;
use crate::kernels::training::{Adam, Parameter, Workers};
use crate::models::training::{Entry, Parameters};
use crate::models::weights::{WeightError, Weights};

const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;
/// The names of the moments in a training state, preceded by the prefix.
const MOMENTS: [&str; 3] = [
    "optimizer.first.",
    "optimizer.second.",
    "optimizer.largest.",
];

/// The optimizer of a training: moments by weight.
pub struct Optimizer {
    kind: OptimizerKind,
    clip: f64,
    beta2: f64,
    /// The arrays of weights.
    arrays: Vec<Weight>,
    /// First and second moments, and for AMSGrad the largest second ones.
    moments: Vec<Vec<f32>>,
    /// The number of steps taken.
    taken: u64,
}

/// An array of weights.
struct Weight {
    range: Range<usize>,
    /// Its weight decay; under AdamW only matrices decay.
    decay: f64,
    /// Whether it is a word-vae's encoder's.
    is_encoder: bool,
}

impl Optimizer {
    /// Starts with all moments at zero.
    pub fn new(config: &TrainConfig, parameters: &Parameters) -> Self {
        let moments = 2 + usize::from(config.optimizer == OptimizerKind::Amsgrad);
        let decays =
            |entry: &Entry| config.optimizer != OptimizerKind::Adamw || entry.shape.len() > 1;
        let entries = parameters.entries().iter();
        let arrays = entries.map(|entry| {
            let decay = if decays(entry) {
                config.weight_decay
            } else {
                0.0
            };
            Weight {
                range: entry.range.clone(),
                decay,
                is_encoder: entry.is_of_encoder(),
            }
        });
        Self {
            kind: config.optimizer,
            clip: config.clip,
            beta2: config.beta2,
            arrays: arrays.collect(),
            moments: vec![vec![0.0; parameters.count()]; moments],
            taken: 0,
        }
    }

    /// Clips the gradients and updates the weights, those of an encoder unless the decoder learns `alone`.
    pub fn step(
        &mut self,
        workers: Workers,
        parameters: &mut Parameters,
        gradients: &[f32],
        lr: f64,
        alone: bool,
    ) {
        self.taken += 1;
        let adam = Adam {
            lr,
            beta1: BETA1,
            beta2: self.beta2,
            epsilon: EPSILON,
            decoupled: self.kind == OptimizerKind::Adamw,
            step: self.taken,
        };
        let mut weights = parameters.values.as_mut_slice();
        let mut moments = self.moments.iter_mut().map(Vec::as_mut_slice);
        let (mut first, mut second, mut largest) = (
            moments.next().unwrap_or_default(),
            moments.next().unwrap_or_default(),
            moments.next().unwrap_or_default(),
        );
        let pieces = self.arrays.iter().filter_map(|own| {
            let size = own.range.len();
            let parameter = Parameter {
                arrays: AdamPiece {
                    weight: cut(&mut weights, size),
                    gradient: &gradients[own.range.clone()],
                    first: cut(&mut first, size),
                    second: cut(&mut second, size),
                    largest: cut(&mut largest, size),
                },
                weight_decay: own.decay,
            };
            (!alone || !own.is_encoder).then_some(parameter)
        });
        adam.step(workers, pieces.collect(), self.clip);
    }

    /// Adds the moments to a training state.
    pub fn save(&self, parameters: &Parameters, into: &mut Weights<'static>) {
        for (moment, prefix) in self.moments.iter().zip(MOMENTS) {
            into.append(&mut parameters.named(moment, prefix));
        }
    }

    /// Restores the moments as they were after `step` steps.
    pub fn load(
        &mut self,
        parameters: &Parameters,
        from: &Weights,
        step: u64,
    ) -> Result<(), WeightError> {
        for (moment, prefix) in self.moments.iter_mut().zip(MOMENTS) {
            parameters.read(from, prefix, moment)?;
        }
        self.taken = step;
        Ok(())
    }
}

/// The first `size` numbers of `rest`, or none if there are none at all; `rest` goes on after them.
#[allow(clippy::mut_mut, reason = "the slice itself moves on")]
fn cut<'a>(rest: &mut &'a mut [f32], size: usize) -> &'a mut [f32] {
    let size = size.min(rest.len());
    let (own, after) = std::mem::take(rest).split_at_mut(size);
    *rest = after;
    own
}

/// The name of an averaged weight in a training state is preceded by this.
const AVERAGE: &str = "average.";

/// An exponential moving average of the weights during training (EMA). It is nearer to the middle of
/// the valley in which single steps jump about.
pub struct Average {
    decay: f64,
    /// The averages, or the weights while an evaluation uses the averages.
    pub values: Vec<f32>,
}

impl Average {
    /// Starts from `parameters`; a step weights the previous average by `decay`.
    pub fn new(decay: f64, parameters: &Parameters) -> Self {
        Self {
            decay,
            values: parameters.values.clone(),
        }
    }

    /// Adds `parameters` after step `step` (from 1). The first steps use a smaller decay, (1 + step) / (10 + step),
    /// so that the initial weights are soon forgotten.
    pub fn step(&mut self, parameters: &Parameters, step: u64) {
        let decay = self.decay.min((1 + step) as f64 / (10 + step) as f64);
        let new = (1.0 - decay) as f32;
        for (average, &weight) in self.values.iter_mut().zip(&parameters.values) {
            *average += new * (weight - *average);
        }
    }

    /// Adds the average to a training state.
    pub fn save(&self, parameters: &Parameters, into: &mut Weights<'static>) {
        into.append(&mut parameters.named(&self.values, AVERAGE));
    }

    /// Restores the average from a training state.
    pub fn load(&mut self, parameters: &Parameters, from: &Weights) -> Result<(), WeightError> {
        parameters.read(from, AVERAGE, &mut self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::kernels::Kernels;
    use crate::kernels::training::{Alone, Buffers};
    use crate::testing::char_lstm;
    use crate::train::tests::text_config;

    /// One scalar's trajectory under Adam (Kingma & Ba 2015, algorithm 1), AMSGrad as PyTorch has it
    /// (the maximum before bias correction), or AdamW.
    fn reference(kind: OptimizerKind, decay: f64, lr: f64, start: f64, gradients: &[f64]) -> f64 {
        let (mut x, mut m, mut v, mut largest) = (start, 0.0f64, 0.0f64, 0.0f64);
        for (t, &gradient) in gradients.iter().enumerate() {
            let power = t as i32 + 1;
            let gradient = if kind == OptimizerKind::Adamw {
                x -= lr * decay * x;
                gradient
            } else {
                gradient + decay * x
            };
            m = 0.9 * m + 0.1 * gradient;
            v = 0.999 * v + 0.001 * gradient * gradient;
            largest = largest.max(v);
            let second = if kind == OptimizerKind::Amsgrad {
                largest
            } else {
                v
            };
            let (m_hat, v_hat) = (
                m / (1.0 - 0.9f64.powi(power)),
                second / (1.0 - 0.999f64.powi(power)),
            );
            x -= lr * m_hat / (v_hat.sqrt() + 1e-8);
        }
        x
    }

    #[test]
    fn every_optimizer_follows_its_paper_and_only_matrices_decay_under_adamw() {
        let gradients = [0.5, -0.3, 2.0, 0.01, 0.2];
        let buffers = Buffers::new();
        let workers = Workers {
            team: &Alone,
            kernels: Kernels::new(),
            buffers: &buffers,
        };
        for kind in [
            OptimizerKind::Adam,
            OptimizerKind::Amsgrad,
            OptimizerKind::Adamw,
        ] {
            let config = TrainConfig {
                optimizer: kind,
                beta2: 0.999,
                weight_decay: 0.1,
                clip: 0.0,
                ..text_config()
            };
            let mut parameters = Parameters::init(&char_lstm(Cell::Gru, 3, 1, 5), 1, false);
            let before = parameters.clone();
            let mut optimizer = Optimizer::new(&config, &parameters);
            for &gradient in &gradients {
                let all = vec![gradient as f32; parameters.count()];
                optimizer.step(workers, &mut parameters, &all, 0.01, false);
            }
            for name in ["head.weight", "head.bias"] {
                let is_vector = name == "head.bias";
                let decay = if kind == OptimizerKind::Adamw && is_vector {
                    0.0
                } else {
                    0.1
                };
                for (&have, &start) in parameters.get(name).iter().zip(before.get(name)) {
                    let want = reference(kind, decay, 0.01, f64::from(start), &gradients);
                    assert!((f64::from(have) - want).abs() < 1e-5, "{kind} {name}");
                }
            }
        }
    }

    #[test]
    fn the_average_is_the_weighted_sum_of_what_it_has_seen() {
        let mut parameters = Parameters::init(&char_lstm(Cell::Rnn, 3, 1, 5), 1, false);
        let mut average = Average::new(0.5, &parameters);
        let mut want = f64::from(average.values[0]);
        // 2/11 and 3/12 are below the decay; from step 8 on it is a half.
        for step in 1..=10u64 {
            parameters.values.fill(step as f32);
            average.step(&parameters, step);
            let decay = f64::min(0.5, (1 + step) as f64 / (10 + step) as f64);
            want = decay * want + (1.0 - decay) * step as f64;
            assert!((f64::from(average.values[0]) - want).abs() < 1e-5, "{step}");
        }
    }
}
