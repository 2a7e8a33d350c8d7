//! The engine on the CPU.
use super::EngineError;
use crate::config::{NetworkConfig, TrainConfig};

/// A model's training on the CPU.
pub struct NativeEngine {}

impl NativeEngine {
    /// Starts with initial weights from the configuration's seed.
    pub fn new(_config: &TrainConfig, _network: &NetworkConfig) -> Result<Self, EngineError> {
        Err(EngineError::Device("the CPU cannot train yet".to_owned()))
    }
}
