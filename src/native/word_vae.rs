//! The variational autoencoder over the letters of a word (Kingma & Welling 2014 with the recurrent
//! encoder and decoder of Bowman et al. 2016): letters to a Gaussian over z, and z to letters.

use super::kernels::{Kernels, Quantized};
use super::recurrent::{
    Columns, Layer, LayerState, Linear, Place, Read, Stack, select_rows, swap_remove_row,
};
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

/// What the decoder remembers of N words that it is writing side by side, and room for their next
/// logits.
#[derive(Clone, Debug)]
pub struct DecoderState {
    layers: Vec<LayerState>,
    /// z's share of the first layer's gates, (N, blocks, G, 32): the same at every letter.
    share: Vec<f32>,
    /// (N, width).
    logits: Vec<f32>,
    /// Logits of a row, and what fills their last panel up.
    outputs: usize,
    width: usize,
    room: Quantized,
}

impl DecoderState {
    /// N.
    pub fn rows(&self) -> usize {
        self.logits.len() / self.width
    }

    /// The logits (outputs) of a word after the last symbol read; zeros where none has been.
    ///
    /// # Panics
    /// Where there are fewer rows.
    pub fn logits(&self, row: usize) -> &[f32] {
        &self.logits[row * self.width..][..self.outputs]
    }

    /// Row `row` becomes a copy of the only row of `from`: another word takes its place.
    ///
    /// # Panics
    /// Where there are fewer rows, or `from` is another network's or has several.
    pub fn set_row(&mut self, row: usize, from: &Self) {
        for (state, from) in self.layers.iter_mut().zip(&from.layers) {
            state.set_row(row, from);
        }
        let width = from.share.len();
        self.share[row * width..][..width].copy_from_slice(&from.share);
        self.logits[row * self.width..][..self.width].copy_from_slice(&from.logits);
    }

    /// Removes row `row`, whose place the last one takes.
    ///
    /// # Panics
    /// Where there are fewer rows.
    pub fn swap_remove_row(&mut self, row: usize) {
        let rows = self.rows();
        for state in &mut self.layers {
            state.swap_remove_row(row);
        }
        swap_remove_row(&mut self.share, row, rows);
        swap_remove_row(&mut self.logits, row, rows);
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
        let columns = Columns::Embedding(&embedding, config.embedding);
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
        let mean = self.mean.vector(self.kernels, &summary);
        let mut log_var = self.log_var.vector(self.kernels, &summary);
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
        for (depth, layer) in self.encoder.iter().enumerate() {
            let width = layer.len() * self.hidden;
            let mut above = vec![0.0; letters.len() * width];
            summary.clear();
            for (direction, cells) in layer.iter().enumerate() {
                let mut state = cells.state(1);
                if !letters.is_empty() {
                    let read = match depth {
                        0 => Read::Symbols(letters),
                        _ => Read::Vectors(&below),
                    };
                    let out = &mut above[direction * self.hidden..];
                    cells.sequence(self.kernels, read, direction == 1, &mut state, out, width);
                }
                summary.extend_from_slice(&state.hidden);
            }
            below = above;
        }
        summary
    }

    /// The decoder's state before the first letters of the words that z stands for: z (N, Z).
    ///
    /// # Panics
    /// Where `z` has another length.
    pub fn decoder(&self, z: &[f32]) -> DecoderState {
        assert_eq!(z.len() % self.latent(), 0, "whole vectors");
        let rows = z.len() / self.latent();
        let (mut room, width) = (Quantized::default(), self.init.width());
        let mut start = vec![0.0; rows * width];
        self.init.apply(self.kernels, z, &mut room, &mut start);
        self.kernels.tanh(&mut start);
        let mut layers = self.decoder.state(rows);
        for (row, start) in start.chunks_exact(width).enumerate() {
            for (layer, start) in layers.iter_mut().zip(start.chunks(self.hidden)) {
                layer.hidden[row * self.hidden..][..self.hidden].copy_from_slice(start);
            }
        }
        DecoderState {
            layers,
            share: self.decoder.share(self.kernels, z),
            logits: vec![0.0; rows * self.head.width()],
            outputs: self.outputs(),
            width: self.head.width(),
            room,
        }
    }

    /// Room for `rows` words that [`DecoderState::set_row`] puts there.
    pub fn decoder_rows(&self, rows: usize) -> DecoderState {
        self.decoder(&vec![0.0; rows * self.latent()])
    }

    /// Reads one symbol of each word, `<bos>` first: symbols (N). [`DecoderState::logits`] are then
    /// those of the next.
    ///
    /// # Panics
    /// Where a symbol is not below the network's `inputs`, there are fewer or more than rows, or
    /// `state` is another network's.
    pub fn step(&self, state: &mut DecoderState, symbols: &[u32]) {
        assert_eq!(symbols.len(), state.rows(), "one symbol a row");
        let read = Read::SymbolsAnd(symbols, &state.share);
        let hidden = self.decoder.step(self.kernels, read, &mut state.layers);
        self.head
            .apply(self.kernels, hidden, &mut state.room, &mut state.logits);
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
            0 => Columns::Embedding(&embedding, config.embedding),
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

impl DecoderState {
    /// A state whose row i is a copy of row `rows[i]`: words may be left out, and a word may go on in
    /// several ways.
    ///
    /// # Panics
    /// Where there are fewer rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let select = |array: &[f32]| select_rows(array, rows, self.rows());
        Self {
            layers: self.layers.iter().map(|layer| layer.select(rows)).collect(),
            share: select(&self.share),
            logits: select(&self.logits),
            outputs: self.outputs,
            width: self.width,
            room: self.room.clone(),
        }
    }
}
