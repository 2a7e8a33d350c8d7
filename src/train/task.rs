//! What the loop needs of a model and its corpus: batches, evaluations and samples.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::distributed::Distributed;
use super::{Batch, Engine, TrainError};
use crate::config::{NetworkConfig, Sampling};
use crate::models::weights::{Weights, expected_shapes};
use crate::run::{Evaluation, Progress, Sampled, WordData, WordLoss};

/// The multiplications of one call of an evaluation: some 100 ms, so that a training that is stopped
/// meanwhile stops at once.
const PIECE: usize = 1 << 30;
/// A latent dimension is active if Var_x(μ_j(x)) is above this (Burda, Grosse & Salakhutdinov 2016).
const ACTIVE_VARIANCE: f64 = 0.01;

/// A part of the corpus that is held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For choosing the model.
    Valid,
    /// For the final figure.
    Test,
}

/// How much of a held-out part an evaluation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    All,
    /// A fixed sample, spread over it, of about so many characters or words; all of it if it has no more.
    Sample(usize),
}

impl Extent {
    /// That of `eval-size`.
    pub const fn of_size(size: usize) -> Self {
        match size {
            0 => Self::All,
            size => Self::Sample(size),
        }
    }
}

/// The next batch, and what it costs the training to take it.
pub struct Next {
    /// What the engine learns from.
    pub batch: Batch,
    /// β, the weight of the divergence.
    pub kl_weight: f64,
    /// The tokens that the step covers.
    pub tokens: u64,
}

/// A model's corpus, and how it becomes batches.
pub trait Task {
    /// Makes this the corpus of one of several processes, which share the reading: of a text's batches, each gets the
    /// rows of its own shards. [`Task::evaluate`] is then called by all together.
    fn join(&mut self, distributed: Rc<Distributed>);
    /// The network that learns it.
    fn network(&self) -> &NetworkConfig;
    /// Steps in one pass over the training part.
    fn steps_per_epoch(&self) -> f64;
    /// The positions in a pass, of which [`Progress::cursor`] is one.
    fn positions(&self) -> u64;
    /// The next step's batch. Moves `progress` past it. `fraction` (0 to 1) of the training is done.
    /// Random numbers come from (seed, step) alone. After an error, `progress` is where it was.
    fn next(&mut self, progress: &mut Progress, fraction: f64) -> Result<Next, TrainError>;
    /// Tokens that a step trains on, on average.
    fn tokens_per_step(&self) -> f64;
    /// The tokens that an evaluation reads.
    fn tokens_read(&self, part: Part, extent: Extent) -> u64;
    /// The most of a part of which an evaluation reads no more than about `tokens` tokens.
    fn within(&self, part: Part, tokens: f64) -> Extent;
    /// The sample that an evaluation predicts; `None` if it predicts all of the part.
    fn sampled(&self, part: Part, extent: Extent) -> Option<Sampled>;
    /// The loss on a held-out part; none if it is empty.
    fn evaluate(
        &self,
        part: Part,
        extent: Extent,
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError>;
    /// A few lines generated from `weights`.
    fn sample(&self, weights: &Weights, seed: u64, stop: &AtomicBool)
    -> Result<String, TrainError>;
    /// Describes for people what one step reads.
    fn describe_step(&self) -> String;
}

/// Returns an error if the user wants the training to stop.
pub fn check(stop: &AtomicBool) -> Result<(), TrainError> {
    if stop.load(Ordering::Relaxed) {
        Err(TrainError::Stopped)
    } else {
        Ok(())
    }
}

/// About the multiplications that a token costs: one per weight.
pub fn work(network: &NetworkConfig) -> usize {
    let sizes = expected_shapes(network).into_iter();
    let sizes = sizes.map(|(_, shape)| shape.into_iter().fold(1, usize::saturating_mul));
    sizes.fold(0, usize::saturating_add)
}

/// How many items an evaluation may measure in one call, if one takes `work` multiplications.
pub const fn at_once(work: usize, most: usize) -> usize {
    let some = PIECE / if work == 0 { 1 } else { work };
    if some == 0 {
        1
    } else if some < most {
        some
    } else {
        most
    }
}

/// Words that are held out.
pub fn held_out(data: &WordData, part: Part) -> &[usize] {
    match part {
        Part::Valid => &data.valid,
        Part::Test => &data.test,
    }
}

/// The sampling settings of the samples shown while training.
pub fn sample_config(seed: u64) -> Sampling {
    Sampling {
        temperature: 0.8,
        ..Sampling::new(seed)
    }
}

/// The sums of an evaluation of words, each added in the order of the words.
pub struct Sums {
    /// Nats of reconstruction.
    distortion: f64,
    /// Nats of divergence.
    rate: f64,
    /// Tokens, including ends of words.
    tokens: usize,
    /// The number of words.
    words: usize,
    /// Σ μ_j and Σ μ_j² (Z).
    means: Vec<[f64; 2]>,
}

impl Sums {
    /// All zero, for `latent` dimensions.
    pub fn new(latent: usize) -> Self {
        Self {
            distortion: 0.0,
            rate: 0.0,
            tokens: 0,
            words: 0,
            means: vec![[0.0; 2]; latent],
        }
    }

    /// Adds a word of so many tokens, its distortion and rate in nats, and its μ (Z).
    pub fn add(&mut self, tokens: usize, distortion: f64, rate: f64, means: &[f64]) {
        self.distortion += distortion;
        self.rate += rate;
        self.tokens += tokens;
        self.words += 1;
        for (sums, &mean) in self.means.iter_mut().zip(means) {
            sums[0] += mean;
            sums[1] += mean * mean;
        }
    }

    /// Averages over words; variances over all words seen.
    pub fn loss(&self) -> WordLoss {
        let words = self.words as f64;
        let active = self.means.iter().filter(|&&[sum, squares]| {
            let mean = sum / words;
            squares / words - mean * mean > ACTIVE_VARIANCE
        });
        let neg_elbo = self.distortion + self.rate;
        WordLoss {
            distortion_nats_per_word: self.distortion / words,
            rate_nats_per_word: self.rate / words,
            neg_elbo_nats_per_word: neg_elbo / words,
            neg_elbo_nats_per_char: neg_elbo / self.tokens as f64,
            active_units: active.count(),
            sample: None,
        }
    }
}
