//! The files that a training writes into its run and reads back.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Report, TrainError, Trainer};
use crate::run::disk;
use crate::run::{
    CorpusData, Evaluation, Log, Metrics, ModelFile, ModelHeader, RunDir, RunError, State, atomic,
    model_format,
};
use crate::text::Vocabulary;

/// A learning rate is said to rise if it does so by more than this factor.
const NOTICEABLE: f64 = 1.05;
/// How an entry of `samples.txt` begins.
pub(crate) const ENTRY: &str = "== step ";

/// The parts of a model file that come from the corpus.
pub(super) struct Identity {
    vocabulary: Vocabulary,
    training_words: Option<Arc<str>>,
}

impl Identity {
    /// Copies them.
    pub fn of(corpus: &CorpusData) -> Self {
        Self {
            vocabulary: corpus.vocabulary().clone(),
            training_words: match corpus {
                CorpusData::Text(_) => None,
                CorpusData::Words(data) => {
                    let words: Vec<&str> =
                        data.train.iter().map(|&i| data.words[i].as_str()).collect();
                    Some(words.join("\n").into())
                }
            },
        }
    }
}

impl Trainer<'_> {
    /// Restores the run's saved state if it has one. Returns whether it has.
    pub fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(state) = self.shared_state(RunDir::state)? else {
            if self.distributed.is_writer() && self.run.model_path().exists() {
                return Err(TrainError::NoState {
                    name: self.run.name().to_owned(),
                });
            }
            return Ok(false);
        };
        self.restore(&state)?;
        self.seconds_before = self.progress.seconds;
        let was_finished = self.progress.finished.take().is_some();
        // With a larger budget, the same step is a smaller fraction of the training.
        self.progress.last_fraction = self.progress.last_fraction.min(self.fraction());
        if self.progress.evaluated.is_none() {
            // An older version left that to the log.
            let lines = Metrics::read(&self.run.metrics_path())?.into_iter();
            let mut lines = lines.filter(|line| line.step <= self.progress.step);
            self.progress.evaluated = lines.next_back();
        }
        self.follow_state()?;
        let last = self.progress.evaluated.as_ref();
        self.valid = last.and_then(|line| line.valid);
        if let Some(last) = last.filter(|_| was_finished) {
            // Of the same step, so that a rise over --warmup is none.
            let now = self.rate_of(self.progress.step.saturating_sub(1));
            self.rise = (now > last.lr * NOTICEABLE).then_some([last.lr, now]);
        }
        Ok(true)
    }

    /// A state that `read` finds in the run of rank 0.
    pub(super) fn shared_state(
        &self,
        read: impl FnOnce(&RunDir) -> Result<Option<State>, RunError>,
    ) -> Result<Option<State>, TrainError> {
        if self.distributed.is_alone() {
            return Ok(read(self.run)?);
        }
        let (path, mut state) = (self.run.state_path(), None);
        if self.distributed.is_writer() {
            state = read(self.run)?;
        }
        let bytes = state.map(|state| state.to_bytes(&path)).transpose()?;
        let bytes = self.distributed.broadcast(bytes)?;
        let state = bytes.map(|bytes| State::of_bytes(&path, &bytes));
        Ok(state.transpose()?)
    }

    /// The best model so far, of rank 0's run.
    pub(super) fn shared_model(&self) -> Result<ModelFile, TrainError> {
        if self.distributed.is_alone() {
            return Ok(self.run.model()?);
        }
        let mut bytes = None;
        if self.distributed.is_writer() {
            bytes = Some(self.run.model()?.bytes().to_vec());
        }
        let bytes = self.distributed.broadcast(bytes)?.unwrap_or_default();
        let path = self.run.model_path();
        Ok(ModelFile::of_bytes(&path.to_string_lossy(), &bytes)?)
    }

    /// Makes the two logs say what the state says, since they are written before it.
    pub(super) fn follow_state(&mut self) -> Result<(), TrainError> {
        if !self.distributed.is_writer() {
            return Ok(());
        }
        self.saver.wait()?;
        let (path, progress) = (self.run.metrics_path(), &self.progress);
        let mended = self
            .held
            .write(|| Log::follow(&path, progress.evaluated.as_ref(), progress.evaluations))?;
        if mended.damaged.is_some() || mended.lines < mended.evaluations {
            (self.report)(Report::Mended(&mended));
        }
        let path = self.run.samples_path();
        let kept = keep_start(&path, self.progress.samples).map_err(RunError::write(&path))?;
        self.progress.samples = Some(kept);
        Ok(())
    }

    /// Hands in a write, which happens after those before it, if the run's folder is still where it was.
    pub(super) fn submit(
        &mut self,
        write: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), TrainError> {
        if !self.distributed.is_writer() {
            return Ok(());
        }
        let held = self.held.clone();
        self.saver.submit(move || Ok(held.write(write)?))
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<(), TrainError> {
        let (cursor, positions) = (state.progress.cursor, self.task.positions());
        if cursor >= positions {
            let reason = format!("it is at position {cursor} of {positions} in a pass");
            return Err(RunError::damaged(&self.run.state_path(), reason).into());
        }
        let restored = self.engine.restore(&state.tensors, state.progress.step);
        restored.map_err(|error| RunError::damaged(&self.run.state_path(), error))?;
        self.progress = state.progress.clone();
        Ok(())
    }

    /// Writes the full training state.
    pub(super) fn save(&mut self) -> Result<(), TrainError> {
        let recent = self.run.recent_path();
        self.save_in(self.run.state_path(), move || {
            // It is older now. One that cannot be removed is ignored, unless training returns to before it.
            let _ = disk::remove(&recent);
        })
    }

    /// Writes the full training state in case the program does not live to the next save.
    pub(super) fn save_recent(&mut self) -> Result<(), TrainError> {
        self.save_in(self.run.recent_path(), || ())
    }

    fn save_in(
        &mut self,
        path: PathBuf,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), TrainError> {
        // A state after a loss that is not finite is not worth saving.
        if !self.look(true) || !self.engine.are_finite() {
            return Ok(());
        }
        self.progress.seconds = self.seconds();
        let state = State {
            progress: self.progress.clone(),
            tensors: self.engine.state()?,
        };
        self.saved = Some(self.point());
        self.saved_at = self.distributed.elapsed();
        self.submit(move || {
            state.write(&path)?;
            then();
            Ok(())
        })
    }

    /// Writes the model file on the saver's thread.
    pub(super) fn write_model(&mut self, valid: Option<Evaluation>) -> Result<(), TrainError> {
        let weights = self.engine.weights();
        let vocabulary = self.identity.vocabulary.clone();
        let network = self.task.network().clone();
        let header = ModelHeader {
            format: model_format(&network),
            textgen: env!("CARGO_PKG_VERSION").to_owned(),
            network,
            text: self.config.text.clone(),
            vocabulary,
            corpus_name: self.config.corpus_name.clone(),
            corpus_digest: self.config.corpus_digest.clone(),
            split: self.config.split().to_string(),
            seed: self.config.seed,
            step: self.progress.step,
            valid,
        };
        let words = self.identity.training_words.clone();
        let path = self.run.model_path();
        self.submit(move || ModelFile::write(&path, &header, &weights, words.as_deref()))
    }

    /// Writes a model file once more, with another loss.
    pub(super) fn write_loss(
        &self,
        file: &ModelFile,
        valid: Option<Evaluation>,
    ) -> Result<(), TrainError> {
        if !self.distributed.is_writer() {
            return Ok(());
        }
        let header = ModelHeader {
            valid,
            ..file.header.clone()
        };
        let words = self.identity.training_words.as_deref();
        let (path, weights) = (self.run.model_path(), file.weights()?);
        let write = || ModelFile::write(&path, &header, &weights, words);
        Ok(self.held.write(write)?)
    }

    /// Reports a sample and appends it to `samples.txt`.
    pub(super) fn sample(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        // Rank 0 alone, while the others wait.
        let mut sample = Ok(String::new());
        if self.distributed.is_writer() {
            let seed = self.progress.evaluations;
            sample = self.task.sample(&self.engine.weights(), seed, stop);
        }
        let is_stopped = matches!(sample, Err(TrainError::Stopped));
        if self.distributed.any(is_stopped)? {
            return Err(TrainError::Stopped);
        }
        let sample = sample?;
        (self.report)(Report::Sample(&sample));
        let entry = format!("{ENTRY}{}\n{sample}\n\n", self.progress.step);
        let path = self.run.samples_path();
        self.progress.samples = Some(self.progress.samples.unwrap_or(0) + entry.len() as u64);
        self.progress.unfinished = None;
        self.submit(move || atomic::append(&path, entry.as_bytes()))
    }
}

/// Cuts the entries off `samples.txt` that come after its first `bytes`, which a resumed training writes again, and
/// returns the bytes that it has then. What else somebody has written there stays.
fn keep_start(path: &Path, bytes: Option<u64>) -> io::Result<u64> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let Some(bytes) = bytes.filter(|&bytes| bytes < length) else {
        return Ok(length);
    };
    let mut next = Vec::new();
    file.seek(SeekFrom::Start(bytes))?;
    file.take(ENTRY.len() as u64).read_to_end(&mut next)?;
    // A crash may have cut it short, and a power failure left zeros instead of its start.
    let is_entry = |(&byte, &entry): (&u8, &u8)| byte == entry || byte == 0;
    if !next.iter().zip(ENTRY.as_bytes()).all(is_entry) {
        return Ok(length);
    }
    disk::cut(path, bytes)?;
    Ok(bytes)
}
