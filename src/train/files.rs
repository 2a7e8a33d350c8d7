//! The files that a training writes into its run and reads back.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::{Report, TrainError, Trainer};
use crate::models::weights::Weights;
use crate::run::{
    CorpusData, Evaluation, Metrics, ModelFile, ModelHeader, RunError, State, model_format,
};
use crate::text::Vocabulary;

/// A learning rate is said to rise if it does so by more than this factor.
const NOTICEABLE: f64 = 1.05;

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
        let Some(state) = self.run.state()? else {
            if self.run.model_path().exists() {
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
        Metrics::truncate_after(&self.run.metrics_path(), self.progress.step)?;
        let lines = Metrics::read(&self.run.metrics_path())?;
        self.valid = lines.last().and_then(|line| line.valid);
        if let Some(last) = lines.last().filter(|_| was_finished) {
            // Of the same step, so that a rise over --warmup is none.
            let now = self.rate_of(self.progress.step.saturating_sub(1));
            self.rise = (now > last.lr * NOTICEABLE).then_some([last.lr, now]);
        }
        Ok(true)
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<(), TrainError> {
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
            let _ = std::fs::remove_file(recent);
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
            tensors: self.engine.state(),
        };
        self.saved = Some(self.point());
        self.saved_at = Instant::now();
        self.saver.submit(move || {
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
        self.saver.submit(move || {
            Ok(ModelFile::write(
                &path,
                &header,
                &weights,
                words.as_deref(),
            )?)
        })
    }

    /// Writes a model file once more, with another loss.
    pub(super) fn write_loss(
        &self,
        file: ModelFile,
        valid: Option<Evaluation>,
    ) -> Result<(), TrainError> {
        let header = ModelHeader {
            valid,
            ..file.header.clone()
        };
        let weights = file.weights()?.into_iter();
        let weights: Weights = weights
            .map(|(name, array)| (name, array.into_owned()))
            .collect();
        drop(file); // some systems replace no file that is mapped
        let words = self.identity.training_words.as_deref();
        ModelFile::write(&self.run.model_path(), &header, &weights, words)?;
        Ok(())
    }

    /// Reports a sample and appends it to `samples.txt`.
    pub(super) fn sample(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        let seed = self.progress.evaluations;
        let sample = self.task.sample(&self.engine.weights(), seed, stop)?;
        (self.report)(Report::Sample(&sample));
        let entry = format!("== step {}\n{sample}\n\n", self.progress.step);
        let path = self.run.samples_path();
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(entry.as_bytes()))
            .map_err(RunError::write(&path))?;
        self.progress.unfinished = None;
        Ok(())
    }
}
