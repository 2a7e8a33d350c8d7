//! Why a training cannot go on.

use thiserror::Error;

use super::{EngineError, GroupError};
use crate::config::ModelKind;
use crate::models::weights::WeightError;
use crate::run::RunError;
use crate::text::TextError;

/// Why a training cannot go on.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A file of the run cannot be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The corpus does not fit the settings.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A run whose corpus is of another kind than its model.
    #[error("the corpus of the run is not one for a {0}")]
    OtherCorpus(ModelKind),
    /// The processes cannot train together.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The processes that trained together do no longer.
    #[error("step {step}: {error}")]
    Apart {
        /// The step.
        step: u64,
        /// What happened.
        error: GroupError,
        /// The command that resumes the run.
        resume: String,
    },
    /// The device that trains has failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The weights make no network that samples.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// The loss is not finite, however often the training went back.
    #[error("the loss is not finite at step {step}, for the {times}th time")]
    Diverged {
        /// The step.
        step: u64,
        /// How often it happened.
        times: u64,
        /// The command that resumes the run.
        resume: String,
        /// The learning rate of the settings.
        lr: f64,
    },
    /// The loss is not finite, and nothing was saved before.
    #[error("the loss is not finite at step {step}, and there is no state to go back to")]
    NothingSaved {
        /// The step.
        step: u64,
    },
    /// A run that cannot be resumed.
    #[error("run {name} has a model but no training state")]
    NoState {
        /// The run's name.
        name: String,
    },
    /// The thread that writes files is gone.
    #[error("the thread that writes files has ended")]
    Saver,
    /// The user wants the training to stop: the loop saves its state and ends.
    #[error("stopped")]
    Stopped,
}
