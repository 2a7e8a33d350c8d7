//! The variational autoencoder over the letters of a word (Kingma & Welling 2014 with the recurrent
//! encoder and decoder of Bowman et al. 2016): from letters to a Gaussian over z, and from z to letters.
//!
//! With a latent size of 0 it is the no-latent baseline, a plain language model of words: its
//! posteriors are empty, and its decoder starts from zeros. The worth of z is measured against it.

use crate::config::{LatentConfig, NetworkConfig, NetworkKind};
use crate::kernels::{Kernels, Quantized};
use crate::models::encoder::WordEncoder;
use crate::models::linear::Linear;
use crate::models::predictor::{Network, Predictor, RowState};
use crate::models::recurrent::{Columns, set_row};
use crate::models::weights::{WeightError, Weights, check, values};

pub use crate::models::variational::Posterior;

/// A word-vae with its weights.
#[derive(Clone, Debug)]
pub struct WordVae {
    /// None if Z = 0.
    latent: Option<Latent>,
    decoder: Predictor,
    hidden: usize,
}

/// The parts of the network that exist only if Z > 0.
#[derive(Clone, Debug)]
struct Latent {
    encoder: WordEncoder,
    /// Computes the decoder's initial hidden states (L·H) from z; none if they are zeros.
    init: Option<Linear>,
}

impl WordVae {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// [`WordVae::new`] with the caller's choice of kernels.
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
        let of_z = || {
            let init = z.at_start();
            Ok(Latent {
                encoder: WordEncoder::new(config, weights, kernels)?,
                init: init
                    .then(|| Linear::new(weights, "decoder.init"))
                    .transpose()?,
            })
        };
        Ok(Self {
            latent: (latent > 0).then(of_z).transpose()?,
            decoder: Predictor::new(
                weights,
                "decoder.",
                (config.cell, config.layers),
                columns,
                latent > 0 && z.at_steps(),
                kernels,
            )?,
            hidden: config.hidden,
        })
    }

    /// Latent size Z; 0 if there is no z.
    pub fn latent(&self) -> usize {
        let latent = self.latent.as_ref();
        latent.map_or(0, |latent| latent.encoder.latent())
    }

    /// The number of tokens that it predicts: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.decoder.head.rows()
    }

    /// The posterior of a word, given as its letters without `<bos>` and `<eos>`. A word without
    /// letters has that of a zero summary.
    ///
    /// # Panics
    /// If a letter is not below the network's `inputs`.
    pub fn encode(&self, letters: &[u32]) -> Posterior {
        self.encode_all(&[letters]).pop().unwrap_or_default()
    }

    /// [`WordVae::encode`] of many words (N), which are read in parallel: much faster, and bit for bit
    /// the same.
    ///
    /// # Panics
    /// As [`WordVae::encode`].
    pub fn encode_all(&self, words: &[&[u32]]) -> Vec<Posterior> {
        match &self.latent {
            Some(latent) => latent.encoder.encode(words),
            None => vec![Posterior::default(); words.len()],
        }
    }

    /// The decoder's state before the first letter of each row of z (`rows`, Z).
    ///
    /// # Panics
    /// If `z` has another length.
    pub fn decoder(&self, rows: usize, z: &[f32]) -> RowState {
        assert_eq!(z.len(), rows * self.latent(), "one z a word");
        let mut state = self.decoder.state_with(rows, z);
        let latent = self.latent.as_ref();
        if let Some(init) = latent.and_then(|latent| latent.init.as_ref()) {
            let (width, kernels) = (init.width(), self.decoder.kernels);
            let mut start = vec![0.0; rows * width];
            init.apply(kernels, z, &mut Quantized::default(), &mut start);
            kernels.tanh(&mut start);
            for (row, start) in start.chunks_exact(width).enumerate() {
                for (layer, start) in state.layers.iter_mut().zip(start.chunks(self.hidden)) {
                    set_row(&mut layer.hidden, row, start);
                }
            }
        }
        state
    }
}

impl Network for WordVae {
    fn state(&self, rows: usize) -> RowState {
        self.decoder.state(rows)
    }

    fn step(&self, state: &mut RowState, tokens: &[u32]) {
        self.decoder.step(state, tokens);
    }
}
