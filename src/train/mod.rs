//! Training: corpora become batches, and an [`Engine`] learns from them.

mod engine;
mod rate;

pub use engine::{Batch, Costs, Engine, EngineError, Losses, Step};
pub use rate::RateController;
