//! The interface between the training loop and a model with its corpus.

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::Tensor;
use textgen::config::Sampling;
use textgen::models::weights::Weights;
use textgen::run::{Evaluation, Progress, WordData};

use crate::parameters::{Parameters, copy_into, to_array};

/// A part of the corpus that is held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For choosing the model.
    Valid,
    /// For the final figure.
    Test,
}

/// Creates a sample. It owns everything it needs, so that training need not wait for it.
pub type SampleJob = Box<dyn FnOnce() -> Result<String> + Send>;

/// A model, its corpus, and how the model learns the corpus.
pub trait Task {
    /// The model's weights.
    fn parameters(&self) -> &Parameters;
    /// The model's weights, mutable.
    fn parameters_mut(&mut self) -> &mut Parameters;
    /// Steps in one pass over the training part.
    fn steps_per_epoch(&self) -> f64;
    /// The approximate size of one step's activations in bytes.
    fn activation_bytes(&self) -> u64;
    /// The training loss of the next step, and the tokens it covers. Moves `progress` past them.
    /// `fraction` (0 to 1) of the training is done. Noise comes from (seed, step) alone.
    fn next_loss(&mut self, progress: &mut Progress, fraction: f64) -> (Tensor, u64);
    /// The loss on a held-out part; none if it is empty.
    fn evaluate(&self, part: Part) -> Result<Option<Evaluation>>;
    /// Tensors besides the weights that the next step depends on, under their names in a training state.
    fn carried(&mut self) -> Vec<(String, &mut Tensor)>;
    /// The arrays of a model file besides the parameters.
    fn extra_weights(&self) -> Weights<'static> {
        Weights::new()
    }
    /// A job that lets the native engine generate a few lines from `weights`.
    fn sample(&self, weights: Weights<'static>, seed: u64) -> SampleJob;
    /// Describes for people what one step reads.
    fn describe_step(&self) -> String;
}

/// Copies the tensors that a task carries.
pub fn carried(task: &mut dyn Task) -> Weights<'static> {
    let carried = task.carried().into_iter();
    carried
        .map(|(name, tensor)| (name, to_array(tensor)))
        .collect()
}

/// Overwrites the tensors that a task carries with copies of those of a state.
pub fn set_carried(task: &mut dyn Task, from: &Weights) -> Result<()> {
    for (name, tensor) in task.carried() {
        let array = from
            .get(&name)
            .with_context(|| format!("{name} is missing"))?;
        // A new tensor, since the present one may be shared with an unfinished step.
        let mut copy = tensor.copy();
        copy_into(array, &mut copy)?;
        *tensor = copy;
    }
    Ok(())
}

/// Words that are held out.
pub fn held_out(data: &WordData, part: Part) -> &[usize] {
    match part {
        Part::Valid => &data.valid,
        Part::Test => &data.test,
    }
}

/// The uses of random numbers; each has its own streams.
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

/// Random numbers for `what` at index `at`, derived from the seed alone.
pub fn random(seed: u64, what: Use, at: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A use owns 2⁶⁰ streams, so that no step count meets another use's.
    rng.set_stream(((what as u64) << 60) | at);
    rng
}

/// The sampling settings of the samples shown while training.
pub fn sample_config(seed: u64) -> Sampling {
    Sampling {
        temperature: 0.8,
        ..Sampling::new(seed)
    }
}
