//! The variational autoencoder over the letters of a word (Kingma & Welling 2014 with the recurrent
//! encoder and decoder of Bowman et al. 2016): letters to a Gaussian over z, and z to letters.
//!
//! With a latent size of 0 it is the same decoder without z, a plain language model of words: its
//! posteriors are empty, and its decoder starts from zeros. What z is worth is measured against it.

use crate::config::{LatentConfig, NetworkConfig, NetworkKind};
use crate::kernels::{Kernels, Quantized};
use crate::models::encoder::Encoder;
use crate::models::recurrent::{
    Columns, LayerState, Linear, Read, Stack, select_rows, swap_remove_row,
};
use crate::models::weights::{WeightError, Weights, check, values};

/// The logarithm of the posterior's variance is held within ± this.
pub const LOG_VAR_LIMIT: f32 = 10.0;

/// The Gaussian over z, with a diagonal covariance, that the encoder finds for a word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Posterior {
    /// Means (Z).
    pub mean: Vec<f32>,
    /// Natural logarithms of the variances (Z), within ± [`LOG_VAR_LIMIT`].
    pub log_var: Vec<f32>,
}

/// A word-vae with its weights.
#[derive(Clone, Debug)]
pub struct WordVae {
    /// With the decoder's start; none where there is no z.
    latent: Option<Latent>,
    decoder: Stack,
    head: Linear,
    hidden: usize,
    kernels: Kernels,
}

/// What z comes from and what it starts.
#[derive(Clone, Debug)]
struct Latent {
    encoder: Encoder,
    /// Makes the decoder's first state of z; none where that is zero.
    init: Option<Linear>,
    /// Whether z stands beside every letter.
    beside: bool,
}

/// What the decoder remembers of N words that it is writing side by side, and room for their next
/// logits.
#[derive(Clone, Debug)]
pub struct DecoderState {
    layers: Vec<LayerState>,
    /// z's share of the first layer's gates, (N, blocks, G, 32): the same at every letter. Empty
    /// where z stands beside no letter.
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

    /// The logits (outputs) of a word after the last token read; zeros where none has been.
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
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// The same with kernels of the caller's choice.
    pub fn with_kernels(
        config: &NetworkConfig,
        weights: &Weights,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let NetworkKind::WordVae(LatentConfig { latent, z, .. }) = config.kind else {
            let kind = if config.is_article() {
                "network of the article"
            } else {
                config.model().name()
            };
            return Err(WeightError::Config(format!(
                "it is a {kind}, not a word-vae"
            )));
        };
        check(config, weights)?;
        let embedding = values(weights, "decoder.embedding.weight")?;
        let columns = Columns::Embedding(&embedding, config.embedding);
        let (cell, layers) = (config.cell, config.layers);
        let of_z = || {
            Ok(Latent {
                encoder: Encoder::new(config, weights, kernels)?,
                init: z
                    .at_start()
                    .then(|| Linear::new(weights, "decoder.init"))
                    .transpose()?,
                beside: z.at_steps(),
            })
        };
        Ok(Self {
            latent: (latent > 0).then(of_z).transpose()?,
            decoder: Stack::new(weights, "decoder.rnn", layers, cell, columns, kernels)?,
            head: Linear::new(weights, "decoder.head")?,
            hidden: config.hidden,
            kernels,
        })
    }

    /// Latent size Z; 0 where there is no z.
    pub fn latent(&self) -> usize {
        let latent = self.latent.as_ref();
        latent.map_or(0, |latent| latent.encoder.latent())
    }

    /// Whether z stands beside every letter.
    fn is_beside(&self) -> bool {
        self.latent.as_ref().is_some_and(|latent| latent.beside)
    }

    /// Tokens that can be predicted: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.head.rows()
    }

    /// The posterior of a word, given as its letters without `<bos>` and `<eos>`. A word without
    /// letters has that of a zero summary.
    ///
    /// # Panics
    /// Where a letter is not below the network's `inputs`.
    pub fn encode(&self, letters: &[u32]) -> Posterior {
        self.encode_all(&[letters]).pop().unwrap_or_default()
    }

    /// [`WordVae::encode`] of many words (N), which are read side by side: much faster, and the same
    /// bits.
    ///
    /// # Panics
    /// As `encode`.
    pub fn encode_all(&self, words: &[&[u32]]) -> Vec<Posterior> {
        match &self.latent {
            Some(latent) => latent.encoder.encode(words),
            None => vec![Posterior::default(); words.len()],
        }
    }

    /// The decoder's state before the first letters of the words that z stands for: z (N, Z). Where
    /// there is no z, of one word.
    ///
    /// # Panics
    /// Where `z` has another length.
    pub fn decoder(&self, z: &[f32]) -> DecoderState {
        self.decoder_of(z.len().checked_div(self.latent()).unwrap_or(1), z)
    }

    /// [`WordVae::decoder`] for so many words, which is plain also where there is no z: z (`rows`, Z).
    ///
    /// # Panics
    /// Where `z` has another length.
    pub fn decoder_of(&self, rows: usize, z: &[f32]) -> DecoderState {
        assert_eq!(z.len(), rows * self.latent(), "one z a word");
        let (mut layers, mut room) = (self.decoder.state(rows), Quantized::default());
        let mut share = Vec::new();
        let latent = self.latent.as_ref();
        if let Some(init) = latent.and_then(|latent| latent.init.as_ref()) {
            let width = init.width();
            let mut start = vec![0.0; rows * width];
            init.apply(self.kernels, z, &mut room, &mut start);
            self.kernels.tanh(&mut start);
            for (row, start) in start.chunks_exact(width).enumerate() {
                for (layer, start) in layers.iter_mut().zip(start.chunks(self.hidden)) {
                    layer.hidden[row * self.hidden..][..self.hidden].copy_from_slice(start);
                }
            }
        }
        if self.is_beside() {
            share = self.decoder.share(self.kernels, z);
        }
        DecoderState {
            layers,
            share,
            logits: vec![0.0; rows * self.head.width()],
            outputs: self.outputs(),
            width: self.head.width(),
            room,
        }
    }

    /// Room for `rows` words that [`DecoderState::set_row`] puts there.
    pub fn decoder_rows(&self, rows: usize) -> DecoderState {
        self.decoder_of(rows, &vec![0.0; rows * self.latent()])
    }

    /// Reads one token of each word, `<bos>` first: tokens (N). [`DecoderState::logits`] are then
    /// those of the next.
    ///
    /// # Panics
    /// Where a token is not below the network's `inputs`, there are fewer or more than rows, or
    /// `state` is another network's.
    pub fn step(&self, state: &mut DecoderState, tokens: &[u32]) {
        assert_eq!(tokens.len(), state.rows(), "one token a row");
        let read = if self.is_beside() {
            Read::TokensAnd(tokens, &state.share)
        } else {
            Read::Tokens(tokens)
        };
        let hidden = self.decoder.step(self.kernels, read, &mut state.layers);
        self.head
            .apply(self.kernels, hidden, &mut state.room, &mut state.logits);
    }
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
