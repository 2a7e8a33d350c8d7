//! What can go wrong when a model is opened or used.

use thiserror::Error;

use crate::config::ConfigError;
use crate::models::weights::WeightError;
use crate::run::RunError;

/// Why a model cannot be opened, or cannot do what was asked of it.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The file cannot be read or is not a model.
    #[error(transparent)]
    File(#[from] RunError),
    /// The weights do not make a network.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// An option is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
