//! `--recipe article`: the words of the original word-VAE article, learned as it was published, faults
//! included, so that anyone can see what each correction buys.
//!
//! Its faults: the decoder predicts each letter from fresh noise and from no letter
//! before it; the loss of a letter is the L2 distance between a one-hot row and log-probabilities,
//! and of the one-hot rows only the first is ever set, with every letter of the word; the divergence
//! is subtracted, lacks log σ² and is counted at every letter. The *evaluation* is sound: with
//! fresh noise at each of the T letters, −ELBO is D + T·R.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use super::distributed::Distributed;
use super::task::{Extent, Next, Part, Sums, Task, check, held_out, sample_config};
use super::{Batch, Engine, TrainError};
use crate::config::{NetworkConfig, TrainConfig};
use crate::generate::sampling::Sampler;
use crate::models::article::Article;
use crate::models::batch::ArticleBatch;
use crate::models::noise::{Noise, Use};
use crate::models::weights::Weights;
use crate::run::{Evaluation, Progress, Sampled, WordData};

/// Words of a sample.
const SAMPLE_WORDS: usize = 10;
/// Words that an evaluation measures: one per call is slow, and some hundred are enough for a network that
/// learns nothing.
const EVALUATED: usize = 500;

/// The article's words.
pub struct ArticleTask {
    network: NetworkConfig,
    seed: u64,
    data: WordData,
}

impl ArticleTask {
    /// Words to train on.
    pub fn new(config: &TrainConfig, data: WordData) -> Self {
        Self {
            network: config.network(data.vocabulary.len(), data.vocabulary.outputs(), None),
            seed: config.seed,
            data,
        }
    }

    /// A word with fresh noise for each of its letters and its end.
    fn batch(&self, word: usize, noise: Noise) -> ArticleBatch {
        let letters = self.data.letters[word].iter();
        let letters: Vec<i64> = letters.map(|&letter| i64::from(letter)).collect();
        let end = self.network.outputs as i64 - 1;
        let targets = [&letters[..], &[end]].concat();
        let noise = (0..(targets.len() * self.network.latent()) as u64).map(|at| noise.normal(at));
        ArticleBatch {
            noise: noise.collect(),
            letters,
            targets,
        }
    }
}

impl Task for ArticleTask {
    /// One word a step cannot be shared.
    fn join(&mut self, _distributed: Rc<Distributed>) {}

    fn network(&self) -> &NetworkConfig {
        &self.network
    }

    fn steps_per_epoch(&self) -> f64 {
        self.data.train.len() as f64
    }

    fn tokens_per_step(&self) -> f64 {
        self.data.tokens(&self.data.train) as f64 / self.steps_per_epoch()
    }

    // Its evaluations are as they were: of some hundred words, which takes a moment.

    fn tokens_read(&self, _part: Part, _extent: Extent) -> u64 {
        0
    }

    fn within(&self, _part: Part, _tokens: f64) -> Extent {
        Extent::All
    }

    fn sampled(&self, _part: Part, _extent: Extent) -> Option<Sampled> {
        None
    }

    fn positions(&self) -> u64 {
        self.data.train.len() as u64
    }

    fn next(&mut self, progress: &mut Progress, _fraction: f64) -> Result<Next, TrainError> {
        let train = &self.data.train;
        let random = Noise::new(self.seed, Use::ArticleWord, progress.step);
        let word = train[random.below(0, train.len() as u64) as usize];
        let batch = self.batch(word, Noise::new(self.seed, Use::Latent, progress.step));
        progress.cursor += 1;
        if progress.cursor as usize >= train.len() {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        Ok(Next {
            kl_weight: 1.0,
            tokens: batch.targets.len() as u64,
            batch: Batch::Article(batch),
        })
    }

    fn evaluate(
        &self,
        part: Part,
        _extent: Extent,
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let words = held_out(&self.data, part);
        if words.is_empty() {
            return Ok(None);
        }
        let mut sums = Sums::new(self.network.latent());
        for &word in words.iter().take(EVALUATED) {
            check(stop)?;
            let noise = Noise::new(self.seed, Use::Evaluation, word as u64);
            let batch = self.batch(word, noise);
            let count = batch.targets.len();
            let costs = engine.evaluate(&Batch::Article(batch))?;
            let sum = |values: &[f32]| values.iter().map(|&x| f64::from(x)).sum::<f64>();
            let rate = sum(&costs.rates) * count as f64;
            let means: Vec<f64> = costs.means.iter().map(|&mean| mean.into()).collect();
            sums.add(count, sum(&costs.nats), rate, &means);
        }
        Ok(Some(Evaluation::Word(sums.loss())))
    }

    fn sample(
        &self,
        weights: &Weights,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<String, TrainError> {
        let article = Article::new(&self.network, weights)?;
        let config = sample_config(self.seed);
        let mut sampler = Sampler::new(&config, &[], seed);
        let words = (0..SAMPLE_WORDS).map(|_| {
            check(stop)?;
            let letters = article.generate(|| sampler.normal());
            Ok(self.data.vocabulary.decode(&letters))
        });
        Ok(words.collect::<Result<Vec<_>, TrainError>>()?.join(" "))
    }

    fn describe_step(&self) -> String {
        "one random word per step".to_owned()
    }
}
