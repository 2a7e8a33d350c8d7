//! What a training will cost, before it starts.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::task::{Next, Part};
use super::{EngineError, Step, TrainError, Trainer, memory, share};
use crate::config::Budget;
use crate::run::Sampled;

/// Trial steps that are timed.
const TRIALS: u64 = 4;

/// The cost of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The number of weights.
    pub parameters: usize,
    /// Memory of the training in bytes, about.
    pub memory_bytes: u64,
    /// Tokens of the vocabulary.
    pub inputs: usize,
    /// What one step reads, in words.
    pub step: String,
    /// The total number of steps, if the budget determines it.
    pub steps: Option<u64>,
    /// The device, in words.
    pub device: String,
    /// The sample of the validation part that evaluations read, unless they read all of it.
    pub sample: Option<Sampled>,
    /// Seconds that the rest of the training takes, about.
    pub expected_seconds: f64,
}

impl Trainer<'_> {
    /// The network, the step, memory and expected time. A few trial steps, which change nothing, are timed.
    pub fn plan(&mut self, stop: &AtomicBool) -> Result<Plan, TrainError> {
        let expected_seconds = self.expected_seconds(stop)?;
        self.expected = Some(expected_seconds);
        let network = self.task.network();
        Ok(Plan {
            parameters: self.engine.parameters(),
            memory_bytes: memory::needed(&self.config, network, self.letters),
            inputs: network.inputs,
            step: self.task.describe_step(),
            steps: self.total_steps(),
            device: self.engine.describe(),
            sample: self.task.sampled(Part::Valid, self.extent),
            expected_seconds,
        })
    }

    fn expected_seconds(&mut self, stop: &AtomicBool) -> Result<f64, TrainError> {
        let left = (1.0 - self.fraction()).max(0.0);
        if let Budget::Minutes(minutes) = self.config.budget {
            return Ok(minutes * 60.0 * left);
        }
        // A decoder that learns alone takes less time.
        let alone = self
            .config
            .word_vae()
            .map_or(0.0, |own| own.pretrain_decoder);
        let alone = (alone - self.fraction()).max(0.0);
        let mut seconds = 0.0;
        for (share, fraction) in [(alone, 0.0), (left - alone, 1.0)] {
            if share > 0.0 {
                seconds += share * self.seconds_of_step(fraction, stop)?;
            }
        }
        let steps = match (self.config.budget, self.total_steps()) {
            (_, Some(steps)) | (Budget::Steps(steps), None) => steps as f64,
            (Budget::Epochs(epochs), None) => epochs * self.task.steps_per_epoch(),
            (Budget::Minutes(_), None) => 0.0,
        };
        let trained = steps * self.task.tokens_per_step();
        let [between, last] = self.tokens_evaluated(trained);
        let read = (left * between + last) * share::relative_cost(&self.config) / 3.0;
        let expected = 1.05 * seconds * steps * (1.0 + read / (left * trained));
        Ok(if expected.is_finite() { expected } else { 0.0 })
    }

    /// The tokens that the evaluations of a whole training on `trained` tokens read, and that those after it do.
    fn tokens_evaluated(&self, trained: f64) -> [f64; 2] {
        let read = |part, extent| self.task.tokens_read(part, extent) as f64;
        let evaluations = match self.config.eval_every {
            0 => (share::automatic(self.config.budget) as f64).min((trained / self.apart).max(1.0)),
            steps => trained / self.task.tokens_per_step() / steps as f64,
        };
        let each = read(Part::Valid, self.extent);
        let last = [Part::Valid, Part::Test]
            .map(|part| read(part, share::at_the_end(&*self.task, part, trained as u64)));
        // The validation part is read again only if more of it is.
        let valid = if last[0] > each { last[0] } else { 0.0 };
        [evaluations * each, valid + last[1]]
    }

    /// Seconds that a step after `fraction` of the training takes; infinite if the user stops it.
    fn seconds_of_step(&mut self, fraction: f64, stop: &AtomicBool) -> Result<f64, TrainError> {
        let mut fastest = f64::INFINITY;
        for _ in 0..TRIALS {
            let mut trial = self.progress.clone();
            let started = Instant::now();
            let Next {
                batch, kl_weight, ..
            } = self.task.next(&mut trial, fraction)?;
            let step = Step {
                number: self.progress.step,
                lr: 0.0,
                kl_weight: kl_weight as f32,
                stop: Some(stop),
            };
            match self.engine.trial(&batch, &step) {
                Err(EngineError::Stopped) => break, // the loop saves and ends
                outcome => outcome?,
            }
            fastest = fastest.min(started.elapsed().as_secs_f64());
        }
        Ok(fastest)
    }
}
