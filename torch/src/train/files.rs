//! The files that a training writes into its run and reads back.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Result, bail};
use textgen::models::weights::Weights;
use textgen::run::{Evaluation, Metrics, ModelFile, ModelHeader, RunError, State, model_format};

use super::Trainer;
use super::task::{carried, set_carried};

impl Trainer<'_> {
    /// Restores the run's saved state if it has one. Returns whether it has.
    pub fn resume(&mut self) -> Result<bool> {
        let Some(state) = self.run.state()? else {
            if self.run.model_path().exists() {
                bail!(
                    "run {} has a model but no training state\nhint: train a new run; this one's model can still generate",
                    self.run.name()
                );
            }
            return Ok(false);
        };
        self.restore(&state)?;
        self.seconds_before = self.progress.seconds;
        self.progress.finished = None;
        // With a larger budget, the same step is a smaller fraction of the training.
        self.progress.last_fraction = self.progress.last_fraction.min(self.fraction());
        Metrics::truncate_after(&self.run.metrics_path(), self.progress.step)?;
        self.valid = Metrics::read(&self.run.metrics_path())?
            .last()
            .and_then(|line| line.valid);
        Ok(true)
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<()> {
        self.task
            .parameters_mut()
            .load(&state.tensors, "weights.")?;
        self.optimizer.load(&state.tensors, state.progress.step)?;
        if let Some(average) = &mut self.average {
            average.load(self.task.parameters(), &state.tensors)?;
        }
        set_carried(&mut *self.task, &state.tensors)?;
        self.progress = state.progress.clone();
        self.unseen.clear();
        self.seeded = false;
        Ok(())
    }

    /// Writes the full training state.
    pub(super) fn save(&mut self) -> Result<()> {
        // A state after a loss that is not finite is not worth saving.
        if !self.look() || !self.task.parameters().are_finite() {
            return Ok(());
        }
        self.progress.seconds = self.seconds();
        let mut tensors: Weights<'static> = self
            .task
            .parameters()
            .to_weights()
            .into_iter()
            .map(|(name, array)| (format!("weights.{name}"), array))
            .collect();
        self.optimizer.save(&mut tensors);
        if let Some(average) = &self.average {
            average.save(self.task.parameters(), &mut tensors);
        }
        tensors.extend(carried(&mut *self.task));
        let state = State {
            progress: self.progress.clone(),
            tensors,
        };
        let path = self.run.state_path();
        self.saver.submit(move || Ok(state.write(&path)?))
    }

    /// Writes the model file on the saver's thread.
    pub(super) fn write_model(&mut self, valid: Option<Evaluation>) -> Result<()> {
        let weights = self.kept_weights();
        let vocabulary = self.identity.vocabulary.clone();
        let network = self.config.network(vocabulary.len(), vocabulary.outputs());
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

    /// Shows and saves a sample on the saver's thread. It is sampled on the CPU from a copy of the
    /// weights, so that a device that trains need not wait.
    pub(super) fn show_sample(&mut self) -> Result<()> {
        let make = self
            .task
            .sample(self.kept_weights(), self.progress.evaluations);
        let (display, path) = (self.display.clone(), self.run.samples_path());
        let step = self.progress.step;
        self.saver.submit(move || {
            let sample = make()?;
            let mut shown = String::new();
            for line in sample.lines() {
                let _ = write!(shown, "\n    {}", line.trim_end_matches('\r'));
            }
            display.say(shown.trim_start_matches('\n'));
            let entry = format!("== step {step}\n{sample}\n\n");
            let written = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(entry.as_bytes()));
            Ok(written.map_err(|source| RunError::Write { path, source })?)
        })
    }
}
