//! Training: corpora become batches, and an [`Engine`] learns from them.

mod engine;

pub use engine::{Batch, Costs, Engine, EngineError, Losses, Step};
