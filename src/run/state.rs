//! `state.safetensors`: everything needed to resume as if training had not been interrupted.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::{self, FileKind, TensorFile};
use super::{MOST_COUNT, Metrics, RunError};
use crate::models::weights::Weights;

/// The `format` numbers of `state.safetensors` that this version reads; it writes the last. Format 1 dates from
/// when random numbers came from generators.
pub const STATE_FORMATS: std::ops::RangeInclusive<u32> = 2..=2;
const FILE: FileKind = FileKind {
    what: "state",
    kind: None,
    formats: STATE_FORMATS,
    refuse: |path, reason| RunError::damaged(path, reason),
};

/// What a training that was stopped was doing between two steps, and does first when it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfinished {
    /// An evaluation on the validation part.
    Evaluation,
    /// A sample after an evaluation.
    Sample,
    /// The test of a training that has run out of patience.
    Test,
}

/// The progress of training, apart from the tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Number of optimizer steps done.
    pub step: u64,
    /// Whole passes over the training text done.
    pub epoch: u64,
    /// Position in the pass: tokens into every stream (char-lstm), or batches (word-vae).
    pub cursor: u64,
    /// Number of tokens trained on.
    pub chars: u64,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// The lowest validation loss so far, by [`super::Evaluation::selection`].
    pub best: Option<f64>,
    /// The step at which it was found.
    pub best_step: u64,
    /// Evaluations since `best_step`, for the patience.
    pub since_best: u64,
    /// Number of evaluations done.
    pub evaluations: u64,
    /// The factor of the learning rate after the plateau schedule and returns to an earlier state.
    pub lr_scale: f64,
    /// Number of returns to an earlier state after a loss that was not finite.
    pub rollbacks: u64,
    /// Sum of the training losses since the last evaluation, and the steps it covers.
    pub loss_sum: f64,
    /// Steps that `loss_sum` covers.
    pub loss_steps: u64,
    /// Tokens and seconds at the last evaluation, for the rate.
    pub last: (u64, f64),
    /// Fraction of the training done at the last evaluation.
    pub last_fraction: f64,
    /// The budget at which training ended, as [`crate::config::Budget`] displays it.
    pub finished: Option<String>,
    /// The line of `metrics.jsonl` for the newest evaluation; states of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<Metrics>,
    /// Bytes of `samples.txt`; states of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// What comes before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
}

impl Progress {
    /// Checks what the types do not, since a state may come from a stranger: numbers that no training reaches, with which
    /// the next ones would overflow.
    fn check(&self) -> Result<(), String> {
        let counts = [
            ("step", self.step),
            ("epoch", self.epoch),
            ("cursor", self.cursor),
            ("chars", self.chars),
            ("best_step", self.best_step),
            ("since_best", self.since_best),
            ("evaluations", self.evaluations),
            ("rollbacks", self.rollbacks),
            ("loss_steps", self.loss_steps),
            ("samples", self.samples.unwrap_or(0)),
        ];
        if let Some((name, count)) = counts.into_iter().find(|&(_, count)| count > MOST_COUNT) {
            return Err(format!("its header: {name} is {count}"));
        }
        let (chars, seconds) = self.last;
        if chars > self.chars {
            return Err(format!("its header: last is {chars}, after chars"));
        }
        let times = [("seconds", self.seconds), ("last", seconds)];
        let numbers = times.into_iter().chain([("lr_scale", self.lr_scale)]);
        match numbers
            .into_iter()
            .find(|&(_, x)| !(0.0..=MOST_COUNT as f64).contains(&x))
        {
            Some((name, number)) => Err(format!("its header: {name} is {number}")),
            None => Ok(()),
        }
    }
}

/// A training state: [`Progress`] and named f32 tensors.
pub struct State {
    /// Counters and losses.
    pub progress: Progress,
    /// Weights, moments, averages and carried states.
    pub tensors: Weights<'static>,
}

#[derive(Serialize, Deserialize)]
struct StateHeader {
    format: u32,
    progress: Progress,
}

impl State {
    /// Writes the state, atomically.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        tensors::write(path, &self.header(), &tensors::stored(&self.tensors))
    }

    /// The bytes that [`State::write`] writes to `path`.
    pub fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, RunError> {
        tensors::bytes(path, &self.header(), &tensors::stored(&self.tensors))
    }

    fn header(&self) -> StateHeader {
        StateHeader {
            format: *STATE_FORMATS.end(),
            progress: self.progress.clone(),
        }
    }

    /// Reads a state of any of [`STATE_FORMATS`].
    pub fn read(path: &Path) -> Result<Self, RunError> {
        Self::of(&TensorFile::open(path, &FILE)?)
    }

    /// Reads the bytes of a file, called `path` in messages.
    pub fn of_bytes(path: &Path, mut bytes: &[u8]) -> Result<Self, RunError> {
        Self::of(&TensorFile::of(path, &mut bytes, &FILE)?)
    }

    fn of(file: &TensorFile) -> Result<Self, RunError> {
        let StateHeader { progress, .. } = file.header()?;
        progress.check().map_err(|reason| file.refuse(reason))?;
        let arrays = file.arrays("")?.into_iter();
        Ok(Self {
            progress,
            tensors: arrays
                .map(|(name, array)| (name, array.into_owned()))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Progress);

    #[test]
    fn a_number_that_no_training_reaches_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("state.safetensors");
        let read = |progress: Progress| {
            let tensors = Weights::new();
            State { progress, tensors }.write(&path).expect("written");
            State::read(&path).map(|state| state.progress)
        };
        let whole = Progress {
            step: 1 << 53,
            chars: 9,
            last: (9, 0.5),
            lr_scale: 1.0,
            ..Progress::default()
        };
        assert_eq!(read(whole.clone()).expect("readable"), whole);
        let changes: [(&str, Change); 8] = [
            ("step is 18446744073709551615", |p| p.step = u64::MAX),
            ("cursor is", |p| p.cursor = (1 << 53) + 1),
            ("evaluations is", |p| p.evaluations = u64::MAX),
            ("samples is", |p| p.samples = Some(u64::MAX)),
            ("last is 10, after chars", |p| p.last.0 = 10),
            ("last is -1", |p| p.last.1 = -1.0),
            ("seconds is 1000", |p| p.seconds = 1e300),
            ("lr_scale is -0.5", |p| p.lr_scale = -0.5),
        ];
        for (named, change) in changes {
            let mut progress = whole.clone();
            change(&mut progress);
            let error = read(progress).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
