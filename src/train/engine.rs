//! The interface between the training loop and what computes: a model's weights, their gradients and
//! the optimizer, on one device. The loop makes batches of plain integers; an engine learns from them
//! and measures on them.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

use super::distributed::{Distributed, GroupError};
use super::memory::{Memory, shown};
use crate::models::batch::{ArticleBatch, TextBatch, WordBatch};
use crate::models::weights::{WeightError, Weights};

/// What one step learns from, or one call of an evaluation measures.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum Batch {
    /// For a char-lstm.
    Text(TextBatch),
    /// For a word-vae.
    Words(WordBatch),
    /// For the network of the original article.
    Article(ArticleBatch),
}

impl Batch {
    /// Whether only the decoder learns from it, without z. The encoder then stays as it is.
    pub const fn is_without_z(&self) -> bool {
        matches!(self, Self::Words(words) if words.without_z)
    }
}

/// What a step depends on besides its batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step<'a> {
    /// The number of steps before this one, which selects the random numbers of dropout.
    pub number: u64,
    /// Learning rate.
    pub lr: f64,
    /// β, the weight of the divergence of a word-vae. An engine that holds a rate has its own.
    pub kl_weight: f32,
    /// Set when the user stops the training. An engine may then leave the step with
    /// [`EngineError::Stopped`], having changed nothing.
    pub stop: Option<&'a AtomicBool>,
}

/// The training losses of some steps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Their sum: nats per token (char-lstm), the objective per word (word-vae).
    pub sum: f64,
    /// The number of steps.
    pub steps: u64,
}

/// What a batch costs under the weights, without dropout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// −log p of every target, in nats: (T·B) for a text, (N) in the order of the decoder's input for
    /// words, (T + 1) for the article.
    pub nats: Vec<f32>,
    /// R_j of every word in nats (B, Z), by the caller's rows; empty for a text. For the article, of one letter.
    pub rates: Vec<f32>,
    /// μ of every word (B, Z), by the caller's rows; empty for a text.
    pub means: Vec<f32>,
}

/// Why an engine cannot go on.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Arrays of another network, or of none.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The network or its batches are larger than the memory.
    #[error("training needs {} of memory, and {} are free", shown(.0.needed), shown(.0.available))]
    Memory(Memory),
    /// The user stopped the training during a step, which changed nothing.
    #[error("stopped")]
    Stopped,
    /// The other processes of the training are gone, or train something else.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The device cannot be used, or has failed.
    #[error("{0}")]
    Device(String),
}

/// The training of one model on one device: its weights, gradients and optimizer.
pub trait Engine {
    /// Makes this the engine of one of several processes. Each takes its [share](Distributed::share) of the shards of
    /// every batch; [`Engine::step`], [`Engine::trial`] and [`Engine::state`] are then called by all together, as this is.
    fn join(&mut self, distributed: Rc<Distributed>) -> Result<(), EngineError>;

    /// Takes one optimizer step: gradients, clipping, update, average, held rate, carried state.
    fn step(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError>;

    /// Computes the gradients of a step and forgets them, to see how long it takes. Changes nothing.
    fn trial(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError>;

    /// The losses of the steps that were not yet reported. A device that has to be waited for may hold
    /// some back, unless `wait` says not to.
    fn losses(&mut self, wait: bool) -> Losses;

    /// The costs of a batch in f32, without dropout. A text with `from_zero` begins a new state, which the
    /// following calls continue; training's carried state is another.
    fn evaluate(&mut self, batch: &Batch) -> Result<Costs, EngineError>;

    /// The arrays of a model file: the averaged weights if averages are kept, else the current ones; for the
    /// article also what it remembers of its last word.
    fn weights(&self) -> Weights<'static>;

    /// Overwrites the weights, such as those of a model that training starts from, or evaluates.
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError>;

    /// Exchanges the weights and their average: for an evaluation (`on`), then back. Does nothing without averages.
    fn use_average(&mut self, on: bool);

    /// What the next step depends on: `weights.*`, `optimizer.*`, `average.*`, `carried.*`, `rate.*`.
    fn state(&self) -> Result<Weights<'static>, EngineError>;

    /// Restores [`Engine::state`] as it was after `step` steps.
    fn restore(&mut self, state: &Weights, step: u64) -> Result<(), EngineError>;

    /// Whether every weight is a finite number.
    fn are_finite(&self) -> bool;

    /// The number of weights.
    fn parameters(&self) -> usize;

    /// The device in words, such as `cpu, 2 threads`.
    fn describe(&self) -> String;
}
