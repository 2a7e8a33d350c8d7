//! The gradients of the original article's network, and what it remembers of its last word.

use super::Of;
use crate::config::NetworkConfig;
use crate::kernels::training::Workers;
use crate::models::batch::ArticleBatch;
use crate::models::training::{ArticleTraining, Parameters};
use crate::models::weights::{WeightError, Weights};
use crate::train::Costs;
use crate::train::shards::Sum;

/// The article's network in training.
pub struct Article {
    training: ArticleTraining,
}

impl Article {
    /// For parameters of this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters) -> Self {
        Self {
            training: ArticleTraining::new(network, parameters),
        }
    }

    /// Makes `sum` that of the gradients of a word and the article's loss; returns 1, its shards. The word is then the
    /// last one.
    pub fn gradients(&mut self, of: &Of, batch: &ArticleBatch, sum: &mut Sum) -> usize {
        let values = &of.parameters.values;
        let loss = self.training.forward(of.workers, values, batch);
        sum.begin(0);
        let mut gradients = sum.buffer(values.len());
        self.training
            .backward(of.workers, values, batch, &mut gradients);
        sum.add(of.workers.kernels, gradients, loss);
        1
    }

    /// The costs of a word, without the article's faults.
    pub fn evaluate(
        &mut self,
        workers: Workers,
        parameters: &Parameters,
        batch: &ArticleBatch,
    ) -> Costs {
        self.training.evaluate(workers, &parameters.values, batch);
        Costs {
            nats: self.training.nats().to_vec(),
            rates: self.training.rates().to_vec(),
            means: self.training.means().to_vec(),
        }
    }

    /// What a model file has besides the parameters.
    pub fn carried(&self) -> Weights<'static> {
        self.training.last()
    }

    /// Restores [`Article::carried`].
    pub fn restore(&mut self, state: &Weights) -> Result<(), WeightError> {
        self.training.set_last(state, "")
    }
}
