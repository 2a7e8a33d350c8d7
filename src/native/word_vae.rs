//! The variational autoencoder over the letters of a word (Kingma & Welling 2014 with the recurrent
//! encoder and decoder of Bowman et al. 2016): letters to a Gaussian over z, and z to letters.

use super::kernels::Kernels;
use super::recurrent::{Columns, Layer, LayerState, Linear, Place, Read, Stack};
use super::weights::{WeightError, Weights, check, values};
use crate::config::{ModelKind, NetworkConfig};

/// The logarithm of the posterior's variance is held within ± this.
pub const LOG_VAR_LIMIT: f32 = 10.0;

/// The Gaussian over z, with a diagonal covariance, that the encoder finds for a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// Means (Z).
    pub mean: Vec<f32>,
    /// Natural logarithms of the variances (Z), within ± [`LOG_VAR_LIMIT`].
    pub log_var: Vec<f32>,
}

/// A word-vae with its weights.
#[derive(Clone, Debug)]
pub struct WordVae {
    /// By layer, then by direction: forward and, where there is one, backward.
    encoder: Vec<Vec<Layer>>,
    mean: Linear,
    log_var: Linear,
    init: Linear,
    decoder: Stack,
    head: Linear,
    hidden: usize,
    kernels: Kernels,
}

/// What the decoder remembers of the word that it is writing, and room for its next logits.
#[derive(Clone, Debug)]
pub struct DecoderState {
    layers: Vec<LayerState>,
    /// z's share of the first layer's gates, (G·H): the same at every letter.
    share: Vec<f32>,
    logits: Vec<f32>,
}

impl DecoderState {
    /// The logits (outputs) after the last symbol read; zeros where none has been.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

impl WordVae {
    /// From the weights that [`expected_shapes`](super::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// The same with kernels of the caller's choice.
    pub fn with_kernels(
        config: &NetworkConfig,
        weights: &Weights,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        if config.model != ModelKind::WordVae || config.article {
            let kind = if config.article {
                "network of the article"
            } else {
                config.model.name()
            };
            return Err(WeightError::Config(format!(
                "it is a {kind}, not a word-vae"
            )));
        }
        check(config, weights)?;
        let embedding = values(weights, "decoder.embedding.weight")?;
        let columns = Columns::Embedding(embedding, config.embedding);
        let (cell, layers) = (config.cell, config.layers);
        Ok(Self {
            encoder: encoder(config, weights, kernels)?,
            mean: Linear::new(weights, "encoder.mean")?,
            log_var: Linear::new(weights, "encoder.log_var")?,
            init: Linear::new(weights, "decoder.init")?,
            decoder: Stack::new(weights, "decoder.rnn", layers, cell, columns, kernels)?,
            head: Linear::new(weights, "decoder.head")?,
            hidden: config.hidden,
            kernels,
        })
    }

    /// Latent size Z.
    pub const fn latent(&self) -> usize {
        self.mean.rows()
    }

    /// Symbols that can be predicted: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.head.rows()
    }

    /// The posterior of a word, given as its letters without `<bos>` and `<eos>`. A word without
    /// letters has that of a zero summary.
    ///
    /// # Panics
    /// Where a letter is not below the network's `inputs`.
    pub fn encode(&self, letters: &[u32]) -> Posterior {
        let summary = self.summary(letters);
        let mut mean = vec![0.0; self.latent()];
        let mut log_var = vec![0.0; self.latent()];
        self.mean.apply(self.kernels, &summary, &mut mean);
        self.log_var.apply(self.kernels, &summary, &mut log_var);
        for value in &mut log_var {
            *value = value.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT);
        }
        Posterior { mean, log_var }
    }

    /// The final hidden states of the encoder's top layer (D·H): forward after the last letter,
    /// backward after the first.
    fn summary(&self, letters: &[u32]) -> Vec<f32> {
        let mut below: Vec<f32> = Vec::new();
        let mut summary = Vec::new();
        for layer in &self.encoder {
            let width = layer.len() * self.hidden;
            let mut above = vec![0.0; letters.len() * width];
            summary.clear();
            for (direction, cells) in layer.iter().enumerate() {
                let mut state = cells.state();
                for step in 0..letters.len() {
                    let at = if direction == 0 {
                        step
                    } else {
                        letters.len() - 1 - step
                    };
                    let read = match below.len() / letters.len() {
                        0 => Read::Symbol(letters[at]),
                        size => Read::Vector(&below[at * size..][..size]),
                    };
                    cells.step(self.kernels, read, &mut state);
                    let out = &mut above[at * width + direction * self.hidden..];
                    out[..self.hidden].copy_from_slice(&state.hidden);
                }
                summary.extend_from_slice(&state.hidden);
            }
            below = above;
        }
        summary
    }

    /// The decoder's state before the first letter of the word that z stands for: z (Z).
    ///
    /// # Panics
    /// Where `z` has another length.
    pub fn decoder(&self, z: &[f32]) -> DecoderState {
        let mut hidden = vec![0.0; self.init.rows()];
        self.init.apply(self.kernels, z, &mut hidden);
        self.kernels.tanh(&mut hidden);
        let mut layers = self.decoder.state();
        for (layer, start) in layers.iter_mut().zip(hidden.chunks_exact(self.hidden)) {
            layer.hidden.copy_from_slice(start);
        }
        let share = self.decoder.share(self.kernels, z);
        DecoderState {
            layers,
            share,
            logits: vec![0.0; self.outputs()],
        }
    }

    /// Reads one symbol, `<bos>` first, and returns the logits (outputs) of the next one.
    ///
    /// # Panics
    /// Where `symbol` is not below the network's `inputs`, or `state` is another network's.
    pub fn step<'s>(&self, state: &'s mut DecoderState, symbol: u32) -> &'s [f32] {
        let read = Read::SymbolAnd(symbol, &state.share);
        let hidden = self.decoder.step(self.kernels, read, &mut state.layers);
        self.head.apply(self.kernels, hidden, &mut state.logits);
        &state.logits
    }
}

/// The encoder's layers; the first reads letters, those above what is below in both directions.
fn encoder(
    config: &NetworkConfig,
    weights: &Weights,
    kernels: Kernels,
) -> Result<Vec<Vec<Layer>>, WeightError> {
    let embedding = values(weights, "encoder.embedding.weight")?;
    let suffixes: &[&str] = if config.bidirectional {
        &["", "_reverse"]
    } else {
        &[""]
    };
    let direction = |layer, suffix| {
        let columns = match layer {
            0 => Columns::Embedding(embedding, config.embedding),
            _ => Columns::Vector,
        };
        let place = Place {
            name: "encoder.rnn",
            layer,
            suffix,
        };
        Layer::new(weights, place, config.cell, columns, kernels)
    };
    (0..config.layers)
        .map(|layer| {
            suffixes
                .iter()
                .map(|suffix| direction(layer, suffix))
                .collect()
        })
        .collect()
}
