//! Scores words: −ln p under the model.

use super::{Activity, Word, WordModel, WordNetwork, within};
use crate::evaluate::importance::importance;
use crate::evaluate::{self, WordReading};
use crate::model::ModelError;
use crate::models::word_vae::WordVae;

/// The options of scoring words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreOptions {
    /// Samples of z for each word: the more, the closer the bound.
    pub samples: usize,
    /// Seed of z. A word's score does not depend on other words.
    pub seed: u64,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            samples: 100,
            seed: 0,
        }
    }
}

impl WordModel {
    /// The network that scores words; `None` if words have no probability.
    pub(crate) const fn network(&self) -> Option<&WordVae> {
        match &self.network {
            WordNetwork::Vae(vae) => Some(vae),
            WordNetwork::Article(_) => None,
        }
    }

    /// −log p(word) in nats by importance sampling, with the end of the word; exact where there is no
    /// latent variable. Infinite for a word that has no letter, or one that the model does not know.
    pub fn score<'w>(
        &self,
        words: impl IntoIterator<Item = &'w Word>,
        options: ScoreOptions,
    ) -> Result<Vec<f64>, ModelError> {
        let vae = self.network().ok_or(ModelError::NoProbability)?;
        within(
            "iw",
            &options.samples,
            options.samples > 0,
            "must be at least 1",
        )?;
        let words: Vec<&[u32]> = words.into_iter().map(|word| &word.tokens[..]).collect();
        // `<unk>` is predicted if letters were cut, but its probability is that of any of them.
        let known = |&letter: &u32| (letter as usize) < self.header.vocabulary.letters();
        let possible = |word: &[u32]| !word.is_empty() && word.iter().all(known);
        let (indices, scored): (Vec<usize>, Vec<evaluate::Word>) = words
            .iter()
            .enumerate()
            .filter(|(_, word)| possible(word))
            .map(|(at, letters)| (at, evaluate::Word::of(letters)))
            .unzip();
        let reading = WordReading {
            bos: self.special.bos,
            eos: self.special.eos,
            seed: options.seed,
        };
        let passes = if vae.latent() > 0 { options.samples } else { 1 };
        let tokens: u64 = scored.iter().map(evaluate::Word::tokens).sum();
        let costs = self.watched(Activity::Score, tokens * passes as u64, |running| {
            importance(vae, &scored, &[options.samples], reading, running)
        })?;
        let mut nats = vec![f64::INFINITY; words.len()];
        for (index, cost) in indices.into_iter().zip(costs) {
            nats[index] = cost[0];
        }
        Ok(nats)
    }
}
