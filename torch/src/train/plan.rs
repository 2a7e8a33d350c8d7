//! The message before a training starts.

use std::time::Instant;

use anyhow::Result;
use textgen::config::{Budget, OptimizerKind};

use super::Trainer;
use super::display::duration;
use super::task::{carried, set_carried};
use indicatif::HumanCount;

impl Trainer<'_> {
    /// Prints the network, the step, the budget, memory and expected time.
    pub fn announce(&mut self, threads: usize) -> Result<()> {
        let config = &self.config;
        let parameters = self.task.parameters().count();
        let moments = 2 + u64::from(config.optimizer == OptimizerKind::Amsgrad);
        let bytes = parameters as u64 * 4 * (2 + moments) + self.task.activation_bytes();
        let input = match config.embedding {
            0 => format!("one-hot of {}", self.identity.vocabulary.len()),
            size => format!("embedding {} × {size}", self.identity.vocabulary.len()),
        };
        let latent = match config.network(0, 0).latent() {
            0 => String::new(),
            latent => format!(" · latent {latent}"),
        };
        let device = if self.device.is_cuda() {
            format!("{:?}", self.device)
        } else {
            format!(
                "cpu, {threads} thread{}",
                if threads == 1 { "" } else { "s" }
            )
        };
        let budget = match (config.budget, self.total_steps()) {
            (Budget::Minutes(minutes), _) => duration(minutes * 60.0),
            (Budget::Epochs(epochs), Some(steps)) => {
                format!("{epochs} epochs = {} steps", HumanCount(steps))
            }
            (Budget::Epochs(epochs), None) => format!("{epochs} epochs"),
            (Budget::Steps(steps), _) => format!("{} steps", HumanCount(steps)),
        };
        self.display.say(&format!(
            "{} on {}: {} {} × {} · {input}{latent} · {} parameters · {} MB besides libtorch",
            config.kind(),
            config.corpus_name,
            config.cell,
            config.hidden,
            config.layers,
            HumanCount(parameters as u64),
            HumanCount((bytes >> 20).max(1)),
        ));
        self.display.say(&format!(
            "{}; {budget}; {device}",
            self.task.describe_step()
        ));
        let expected = self.expected_seconds()?;
        self.display
            .say(&format!("expected time: about {}", duration(expected)));
        Ok(())
    }

    /// The estimated seconds of the rest of the training, from a few trial steps that change nothing.
    fn expected_seconds(&mut self) -> Result<f64> {
        let left = (1.0 - self.fraction()).max(0.0);
        if let Budget::Minutes(minutes) = self.config.budget {
            return Ok(minutes * 60.0 * left);
        }
        let before = carried(&mut *self.task);
        let mut times = Vec::new();
        for _ in 0..4 {
            let mut trial = self.progress.clone();
            let started = Instant::now();
            self.seed_libtorch();
            let (loss, _) = self.task.next_loss(&mut trial, 0.0);
            loss.backward();
            self.optimizer.drop_gradients()?;
            times.push(started.elapsed().as_secs_f64());
        }
        set_carried(&mut *self.task, &before)?;
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let steps = match (self.config.budget, self.total_steps()) {
            (_, Some(steps)) | (Budget::Steps(steps), None) => steps as f64,
            (Budget::Epochs(epochs), None) => epochs * self.task.steps_per_epoch(),
            (Budget::Minutes(_), None) => 0.0,
        };
        Ok(fastest * 1.1 * steps * left)
    }
}
