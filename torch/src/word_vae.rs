//! The word VAE: letters → encoder → q(z|x) = N(μ, diag σ²) → z → decoder → letters.
//!
//! Formulas: Kingma & Welling 2014 (estimator B, closed-form divergence), free bits as in Kingma et
//! al. 2016. All figures in nats, summed over a word's symbols, its end counted.

use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, NetworkConfig};

use crate::packed::{Packed, longest_first};
use crate::parameters::Parameters;
use crate::recurrent::Shape;

/// Bounds on log σ², wide enough to be met only by a run that diverges.
pub const LOG_VAR_BOUND: f64 = 10.0;

/// The symbols of a word vocabulary that are no letters.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Begins a word; read by the decoder, never predicted.
    pub bos: u32,
    /// Ends a word.
    pub eos: u32,
    /// Stands for a letter that is hidden or unknown.
    pub unk: u32,
}

/// A word-vae on a device.
pub struct WordVae {
    /// The architecture.
    pub network: NetworkConfig,
    /// The weights.
    pub parameters: Parameters,
    /// `<bos>`, `<eos>` and `<unk>`.
    pub marks: Marks,
    /// Share of the decoder's outputs (and of outputs between layers) dropped while training.
    pub dropout: f64,
}

/// A batch of words on the device, longest first.
pub struct WordBatch {
    /// Which of the given words stands at which row.
    pub order: Vec<usize>,
    /// What the encoder reads: letters.
    pub letters: Packed,
    /// What the decoder reads: `<bos>`, letters.
    pub inputs: Packed,
    /// What it predicts: letters, `<eos>` (elements).
    pub targets: Tensor,
}

/// What the model makes of a batch; rows are in the batch's sorted order.
pub struct WordTerms {
    /// −log p(c_t | c_<t, z) of every element of the packed decoder sequence.
    pub symbol_nll: Tensor,
    /// R_j = ½(μ_j² + σ_j² − log σ_j² − 1) of every word, (B, Z).
    pub rate: Tensor,
    /// μ (B, Z).
    pub mean: Tensor,
}

impl WordBatch {
    /// Packs words given as letters.
    pub fn new(words: &[&[u32]], marks: Marks, device: Device) -> Self {
        let order = longest_first(words);
        let letters: Vec<&[u32]> = order.iter().map(|&i| words[i]).collect();
        let around = |before: Option<u32>, after: Option<u32>| -> Vec<Vec<u32>> {
            letters
                .iter()
                .map(|word| {
                    before
                        .into_iter()
                        .chain(word.iter().copied())
                        .chain(after)
                        .collect()
                })
                .collect()
        };
        let inputs = Packed::new(&around(Some(marks.bos), None), device);
        let targets = Packed::new(&around(None, Some(marks.eos)), device).symbols(device);
        Self {
            letters: Packed::new(&letters, device),
            inputs,
            targets,
            order,
        }
    }

    /// Words in the batch.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Predicted symbols: letters and one end a word.
    pub fn symbols(&self) -> usize {
        self.inputs.len()
    }
}

impl WordTerms {
    /// D of every word: its symbols' NLL summed, (B).
    pub fn distortion(&self, batch: &WordBatch) -> Tensor {
        Tensor::zeros(
            [batch.len() as i64],
            (Kind::Float, self.symbol_nll.device()),
        )
        .index_add(0, &batch.inputs.rows, &self.symbol_nll)
    }
}

impl WordVae {
    fn device(&self) -> Device {
        self.parameters.tensors()[0].device()
    }

    fn shape(&self, bidirectional: bool) -> Shape {
        Shape {
            cell: self.network.cell,
            hidden: self.network.hidden,
            layers: self.network.layers,
            bidirectional,
        }
    }

    /// μ and log σ² (B, Z) of every word.
    pub fn encode(&self, batch: &WordBatch, train: bool) -> (Tensor, Tensor) {
        let device = self.device();
        let both = self.network.bidirectional;
        let input = self
            .parameters
            .get("encoder.embedding.weight")
            .index_select(0, &batch.letters.symbols(device));
        let shape = self.shape(both);
        let state = shape.zero_state(batch.len() as i64, device);
        let weights = self
            .parameters
            .recurrent("encoder.rnn", self.network.layers, both);
        let (_, state) = shape.run_packed(
            &input,
            &batch.letters.batch_sizes,
            &state,
            &weights,
            self.dropout,
            train,
        );
        // The top layer's last states; backward stands behind forward.
        let h = &state[0];
        let rows = h.size()[0];
        let summary = if both {
            Tensor::cat(&[h.get(rows - 2), h.get(rows - 1)], 1)
        } else {
            h.get(rows - 1)
        };
        let linear = |name: &str| {
            summary.linear(
                self.parameters.get(&format!("encoder.{name}.weight")),
                Some(self.parameters.get(&format!("encoder.{name}.bias"))),
            )
        };
        (
            linear("mean"),
            linear("log_var").clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND),
        )
    }

    /// Logits (elements, outputs) of the decoder for `z` (B, Z), rows in the batch's order.
    pub fn decode(&self, batch: &WordBatch, z: &Tensor, train: bool) -> Tensor {
        let device = self.device();
        let embedded = self
            .parameters
            .get("decoder.embedding.weight")
            .index_select(0, &batch.inputs.symbols(device));
        let input = Tensor::cat(&[embedded, z.index_select(0, &batch.inputs.rows)], 1);
        let (layers, hidden) = (self.network.layers as i64, self.network.hidden as i64);
        let start = z
            .linear(
                self.parameters.get("decoder.init.weight"),
                Some(self.parameters.get("decoder.init.bias")),
            )
            .tanh()
            .reshape([-1, layers, hidden])
            .transpose(0, 1)
            .contiguous();
        let mut state = vec![start];
        if self.network.cell == Cell::Lstm {
            state.push(state[0].zeros_like());
        }
        let weights = self
            .parameters
            .recurrent("decoder.rnn", self.network.layers, false);
        let (outputs, _) = self.shape(false).run_packed(
            &input,
            &batch.inputs.batch_sizes,
            &state,
            &weights,
            self.dropout,
            train,
        );
        let outputs = if train && self.dropout > 0.0 {
            outputs.dropout(self.dropout, true)
        } else {
            outputs
        };
        outputs.linear(
            self.parameters.get("decoder.head.weight"),
            Some(self.parameters.get("decoder.head.bias")),
        )
    }

    /// The terms of the bound for `noise` ε (B, Z): one draw a word, rows in the batch's order.
    pub fn terms(&self, batch: &WordBatch, noise: &Tensor, train: bool) -> WordTerms {
        let (mean, log_var) = self.encode(batch, train);
        let z = &mean + (&log_var * 0.5).exp() * noise;
        let logits = self.decode(batch, &z, train);
        let symbol_nll = logits.cross_entropy_loss::<Tensor>(
            &batch.targets,
            None,
            tch::Reduction::None,
            -100,
            0.0,
        );
        let rate: Tensor = (mean.square() + log_var.exp() - &log_var - 1.0) * 0.5;
        WordTerms {
            symbol_nll,
            rate,
            mean,
        }
    }

    /// D + β·Σ_j max(λ, mean over the batch of R_j), averaged over words.
    pub fn objective(terms: &WordTerms, words: usize, beta: f64, free_bits: f64) -> Tensor {
        let rate = terms.rate.mean_dim([0i64].as_slice(), false, Kind::Float);
        let floored = if free_bits > 0.0 {
            rate.clamp_min(free_bits)
        } else {
            rate
        };
        terms.symbol_nll.sum(Kind::Float) / words as f64 + floored.sum(Kind::Float) * beta
    }
}
