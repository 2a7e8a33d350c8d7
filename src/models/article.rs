//! The network of the original word-VAE article, which `--recipe article` trains, with all its
//! faults: the decoder reads fresh noise at every letter but no letter, and always samples from
//! the posterior of one word, the last that it was trained on.

use crate::config::NetworkConfig;
use crate::kernels::Kernels;
use crate::models::predictor::{Predictor, argmax};
use crate::models::recurrent::{Columns, Read};
use crate::models::weights::{WeightError, Weights, check, values};

/// The article cuts words at this many letters.
pub const LONGEST: usize = 5;

/// The article's decoder with its weights.
#[derive(Clone, Debug)]
pub struct Article {
    decoder: Predictor,
    /// (Z).
    mean: Vec<f32>,
    /// (Z).
    std: Vec<f32>,
}

impl Article {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        if !config.is_article() {
            return Err(WeightError::Config(
                "it is not the article's network".to_owned(),
            ));
        }
        check(config, weights)?;
        let layers = (config.cell, config.layers);
        let (columns, kernels) = (Columns::Vector, Kernels::new());
        Ok(Self {
            decoder: Predictor::new(weights, "decoder.", layers, columns, false, kernels)?,
            mean: values(weights, "article.mean")?.into_owned(),
            std: values(weights, "article.std")?.into_owned(),
        })
    }

    /// One word: at most [`LONGEST`] letters, the most probable ones, up to the end of the word
    /// (the last token, which is left out). `noise` yields one ε at a time, Z per letter.
    pub fn generate(&self, mut noise: impl FnMut() -> f32) -> Vec<u32> {
        let mut state = self.decoder.state(1);
        let mut letters = Vec::with_capacity(LONGEST);
        while letters.len() < LONGEST {
            let z: Vec<f32> = self
                .mean
                .iter()
                .zip(&self.std)
                .map(|(mean, std)| mean + std * noise())
                .collect();
            self.decoder.step_on(&mut state, Read::Vectors(&z));
            let letter = argmax(state.logits(0));
            if letter as usize + 1 == state.logits(0).len() {
                break;
            }
            letters.push(letter);
        }
        letters
    }
}
