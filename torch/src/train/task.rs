//! What the training loop needs of a model and its corpus.

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;
use textgen::config::Sampling;
use textgen::models::weights::Weights;
use textgen::run::{Evaluation, Progress};

use crate::parameters::Parameters;

/// A part of the corpus that is held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For choosing the model.
    Valid,
    /// For the final figure.
    Test,
}

/// Draws a sample; it owns all that it needs, so that training need not wait for it.
pub type SampleJob = Box<dyn FnOnce() -> Result<String> + Send>;

/// A model, its corpus, and how one learns the other.
pub trait Task {
    /// The weights.
    fn parameters(&self) -> &Parameters;
    /// The weights, to be overwritten.
    fn parameters_mut(&mut self) -> &mut Parameters;
    /// Steps in one pass over the training part.
    fn steps_per_epoch(&self) -> f64;
    /// Bytes that one step's activations take, about.
    fn activation_bytes(&self) -> u64;
    /// The training loss of the next step, and the tokens it covers. Moves `progress` past them.
    /// `fraction` (0 to 1) of the training is done. Noise comes from (seed, step) alone.
    fn next_loss(&mut self, progress: &mut Progress, fraction: f64) -> (Tensor, u64);
    /// The loss on a held-out part; none where it is empty.
    fn evaluate(&self, part: Part) -> Result<Option<Evaluation>>;
    /// Tensors besides the weights that the next step depends on.
    fn carried(&self) -> Weights<'static>;
    /// Takes [`Task::carried`] back.
    fn set_carried(&mut self, from: &Weights) -> Result<()>;
    /// What else a model file holds.
    fn extra_weights(&self) -> Weights<'static>;
    /// A job that lets the native engine generate a few lines from `weights`.
    fn sample(&self, weights: Weights<'static>, seed: u64) -> SampleJob;
    /// What one step reads, for people.
    fn describe_step(&self) -> String;
}

/// What random numbers are for, so that no two uses share a stream.
#[derive(Clone, Copy, Debug)]
pub enum Use {
    /// Sequence lengths and hidden letters of a step.
    Batch = 1,
    /// The order of words in an epoch.
    Order = 2,
    /// Noise of an evaluation.
    Evaluation = 3,
    /// libtorch's own generator in a step: dropout and ε.
    Step = 4,
}

/// Random numbers for `what` at place `at`, derived from the seed and nothing else.
pub fn random(seed: u64, what: Use, at: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A use owns 2⁶⁰ streams, so that no step count meets another use's.
    rng.set_stream(((what as u64) << 60) | at);
    rng
}

/// How the samples shown while training are drawn.
pub fn sample_config(seed: u64) -> Sampling {
    Sampling {
        temperature: 0.8,
        ..Sampling::new(seed)
    }
}
