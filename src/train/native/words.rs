//! A word-vae's gradients, and the multiplier that holds its rate.

use super::Of;
use super::shards::{Sum, rows};
use crate::config::{NetworkConfig, TrainConfig, WordVaeConfig};
use crate::kernels::training::Workers;
use crate::models::batch::WordBatch;
use crate::models::training::{Parameters, WordDropout, WordVaeTraining};
use crate::models::variational::{Objective, RateController};
use crate::models::weights::{WeightError, Weights};
use crate::train::{Costs, Step};

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

    /// Adds the gradients of a batch to `sum`, and returns its objective. Free bits are over the whole
    /// batch, so all shards are encoded before the first is decoded.
    pub fn gradients(&mut self, of: &Of, batch: &WordBatch, step: &Step, sum: &mut Sum) -> f64 {
        let (workers, values, noise) = (of.workers, &of.parameters.values[..], Some(of.noise));
        let words = batch.inputs.batch();
        let shards = of.shards.min(words);
        let beta = match &self.controller {
            Some(controller) if !batch.without_z => controller.beta(),
            _ => step.kl_weight,
        };
        let training = &mut self.training;
        if shards == 1 {
            training.encode(workers, values, batch, noise);
            self.objective.set(words, beta, [training.rates()]);
            let distortion = self.learn(of, batch, sum);
            return self.objective.loss(distortion);
        }
        let part = |index| batch.part(rows(words, index, shards), self.latent);
        let parts: Vec<WordBatch> = (0..shards).map(part).collect();
        let mut rates = Vec::with_capacity(words * self.latent);
        for part in &parts {
            training.encode(workers, values, part, noise);
            rates.extend_from_slice(training.rates());
        }
        self.objective.set(words, beta, [&rates[..]]);
        let mut distortion = 0.0;
        for part in &parts {
            self.training.encode(workers, values, part, noise);
            distortion += self.learn(of, part, sum);
        }
        self.objective.loss(distortion)
    }

    /// Adds the gradients of the words that were encoded to `sum`, and returns the sum of their D in nats.
    fn learn(&mut self, of: &Of, batch: &WordBatch, sum: &mut Sum) -> f64 {
        let (workers, values) = (of.workers, &of.parameters.values[..]);
        let nats = self.training.decode(workers, values, batch);
        let distortion = nats.iter().map(|&nats| f64::from(nats)).sum();
        let mut gradients = sum.buffer(values.len());
        self.training
            .backward(workers, values, batch, &self.objective, &mut gradients);
        sum.add(workers.kernels, gradients);
        distortion
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
