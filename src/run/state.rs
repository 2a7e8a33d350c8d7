//! `state.safetensors`: all that resuming needs to go on as if there had been no interruption.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::RunError;
use super::tensors::{self, Refusal, StoredTensor, TensorFile};

/// The `format` numbers of `state.safetensors` that this version reads; it writes the last.
pub const STATE_FORMATS: std::ops::RangeInclusive<u32> = 1..=1;

/// Where a training stands, apart from its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Whole passes over the training text done.
    pub epoch: u64,
    /// Place in the pass: tokens into every stream (char-lstm), or batches (word-vae).
    pub cursor: u64,
    /// Tokens trained on.
    pub chars: u64,
    /// Seconds of training, all sittings together.
    pub seconds: f64,
    /// The lowest validation loss so far, as [`super::Evaluation::selection`] has it.
    pub best: Option<f64>,
    /// The step at which it was found.
    pub best_step: u64,
    /// Evaluations since.
    pub since_best: u64,
    /// Evaluations done.
    pub evaluations: u64,
    /// What the plateau schedule and the returns to an earlier state have made of the learning rate.
    pub lr_scale: f64,
    /// Returns to an earlier state after a loss that was not finite.
    pub rollbacks: u64,
    /// Sum of the training losses since the last evaluation, and the steps it covers.
    pub loss_sum: f64,
    /// Steps that `loss_sum` covers.
    pub loss_steps: u64,
    /// Tokens and seconds at the last evaluation, for the rate.
    pub last: (u64, f64),
    /// Share of the training done at the last evaluation.
    pub last_fraction: f64,
    /// The budget, as [`crate::config::Budget`] displays, under which the training came to its end.
    pub finished: Option<String>,
}

/// A training state: [`Progress`] and named f32 tensors.
pub struct State {
    /// Where the training stands.
    pub progress: Progress,
    /// Tensors by name: shape and elements.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    progress: Progress,
}

impl State {
    /// Writes the state, atomically.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        let header = Header {
            format: *STATE_FORMATS.end(),
            progress: self.progress.clone(),
        };
        let stored = self
            .tensors
            .iter()
            .map(|(name, (shape, data))| (name.clone(), StoredTensor::f32(shape, data)))
            .collect();
        tensors::write(path, &header, &stored)
    }

    /// Reads the state.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let file = TensorFile::open(path)?;
        let (tensors, json) = file.read().map_err(|refusal| match refusal {
            Refusal::Foreign(reason) => RunError::damaged(path, reason),
            Refusal::NoHeader => RunError::damaged(path, "no textgen header"),
        })?;
        let damaged = |error: serde_json::Error| RunError::damaged(path, error);
        let Format { format } = serde_json::from_str(&json).map_err(damaged)?;
        if !STATE_FORMATS.contains(&format) {
            return Err(RunError::Format {
                path: path.to_owned(),
                what: "state",
                found: format,
                oldest: *STATE_FORMATS.start(),
                newest: *STATE_FORMATS.end(),
            });
        }
        let Header { progress, .. } = serde_json::from_str(&json).map_err(damaged)?;
        let mut read = BTreeMap::new();
        for (name, view) in tensors.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(RunError::damaged(path, format!("{name}: not f32")));
            }
            let data = tensors::f32_data(path, name, view.data()).map(Cow::into_owned)?;
            read.insert(name.to_owned(), (view.shape().to_vec(), data));
        }
        Ok(Self {
            progress,
            tensors: read,
        })
    }
}
