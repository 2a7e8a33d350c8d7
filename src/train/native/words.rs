//! A word-vae's gradients, and the multiplier that holds its rate.

use super::Of;
use crate::config::{NetworkConfig, TrainConfig, WordVaeConfig};
use crate::kernels::training::Workers;
use crate::models::batch::WordBatch;
use crate::models::training::{Parameters, WordDropout, WordVaeTraining};
use crate::models::variational::{Objective, RateController};
use crate::models::weights::{WeightError, Weights};
use crate::train::shards::{Sum, rows};
use crate::train::{Costs, EngineError, Step};

/// A word-vae in training.
pub struct Words {
    training: WordVaeTraining,
    objective: Objective,
    latent: usize,
    /// Holds the rate, if there is a target.
    controller: Option<RateController>,
}

impl Words {
    /// For parameters of this layout.
    pub fn new(
        config: &TrainConfig,
        own: &WordVaeConfig,
        network: &NetworkConfig,
        parameters: &Parameters,
    ) -> Self {
        let dropout = WordDropout {
            encoder: config.dropout,
            decoder: own.decoder_dropout,
        };
        let latent = network.latent();
        Self {
            training: WordVaeTraining::new(network, parameters, dropout),
            objective: Objective::new(latent, own.free_bits as f32),
            latent,
            controller: (own.rate > 0.0).then(|| RateController::new(own.rate, own.beta)),
        }
    }

    /// Makes `sum` that of the gradients of this process's shards of a batch and of their D in nats. Returns the shards
    /// of the whole batch. Free bits are over the whole batch, so all shards are encoded before the first is decoded.
    pub fn gradients(
        &mut self,
        of: &Of,
        batch: &WordBatch,
        step: &Step,
        sum: &mut Sum,
    ) -> Result<usize, EngineError> {
        let (workers, values, noise) = (of.workers, &of.parameters.values[..], Some(of.noise));
        let words = batch.inputs.batch();
        let shards = of.shards.min(words);
        let beta = match &self.controller {
            Some(controller) if !batch.without_z => controller.beta(),
            _ => step.kl_weight,
        };
        let (training, latent) = (&mut self.training, self.latent);
        let own = of.distributed.share(shards);
        sum.begin(own.start);
        if shards == 1 {
            training.encode(workers, values, batch, noise);
            self.objective.set(words, beta, [training.rates()]);
            self.learn(of, batch, sum);
            return Ok(shards);
        }
        let part = |index| batch.part(rows(words, index, shards), latent);
        let parts: Vec<WordBatch> = own.map(part).collect();
        let mut rates = Vec::with_capacity(words * latent);
        for part in &parts {
            training.encode(workers, values, part, noise);
            rates.extend_from_slice(training.rates());
        }
        if !of.distributed.is_alone() {
            rates = gathered(of, &rates, |rank| {
                let own = of.distributed.share_of(rank, shards);
                let words = own.map(|index| rows(words, index, shards).len());
                words.sum::<usize>() * latent
            })?;
        }
        self.objective.set(words, beta, [&rates[..]]);
        for part in &parts {
            if parts.len() > 1 {
                self.training.encode(workers, values, part, noise);
            }
            self.learn(of, part, sum);
        }
        Ok(shards)
    }

    /// The objective of a batch, of its sum of D in nats.
    pub fn loss(&self, distortion: f64) -> f64 {
        self.objective.loss(distortion)
    }

    /// Adds the gradients of the words that were encoded, and the sum of their D in nats, to `sum`.
    fn learn(&mut self, of: &Of, batch: &WordBatch, sum: &mut Sum) {
        let (workers, values) = (of.workers, &of.parameters.values[..]);
        let nats = self.training.decode(workers, values, batch);
        let distortion = nats.iter().map(|&nats| f64::from(nats)).sum();
        let mut gradients = sum.buffer(values.len());
        self.training
            .backward(workers, values, batch, &self.objective, &mut gradients);
        sum.add(workers.kernels, gradients, distortion);
    }

    /// Moves the multiplier after a step on `batch`.
    pub fn advance(&mut self, batch: &WordBatch) {
        if let (Some(controller), false) = (&mut self.controller, batch.without_z) {
            controller.follow(self.objective.rate());
        }
    }

    /// The costs of words, without dropout.
    pub fn evaluate(
        &mut self,
        workers: Workers,
        parameters: &Parameters,
        batch: &WordBatch,
    ) -> Costs {
        let (training, values) = (&mut self.training, &parameters.values[..]);
        training.encode(workers, values, batch, None);
        Costs {
            nats: training.decode(workers, values, batch).to_vec(),
            rates: training.rates().to_vec(),
            means: training.means().to_vec(),
        }
    }

    /// What the next step depends on.
    pub fn carried(&self) -> Weights<'static> {
        self.controller.iter().map(RateController::state).collect()
    }

    /// Restores [`Words::carried`].
    pub fn restore(&mut self, state: &Weights) -> Result<(), WeightError> {
        let mut controller = self.controller.iter_mut();
        controller.try_for_each(|own| own.restore(state))
    }
}

/// The rates of all words of a batch, of which each process has those of its own; `count` says how many numbers.
fn gathered(of: &Of, own: &[f32], count: impl Fn(usize) -> usize) -> Result<Vec<f32>, EngineError> {
    let own: Vec<f64> = own.iter().map(|&rate| f64::from(rate)).collect();
    let stopped = of.workers.team.is_stopping();
    let gathered = of.distributed.gather(&own, count, stopped)?;
    if gathered.stopped {
        return Err(EngineError::Stopped);
    }
    Ok(gathered.values.iter().map(|&rate| rate as f32).collect())
}
