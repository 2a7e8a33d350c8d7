//! A char-lstm's gradients, and the state that it carries from step to step.

use std::ops::Range;

use super::Of;
use crate::config::{CharRnnConfig, NetworkConfig, TrainConfig};
use crate::kernels::training::Workers;
use crate::models::batch::TextBatch;
use crate::models::training::{CharRnnTraining, Parameters, TextDropout, TextState};
use crate::models::weights::{Array, WeightError, Weights, array};
use crate::train::Costs;
use crate::train::distributed::{Distributed, GroupError};
use crate::train::shards::{Sum, rows};

/// The names of h and c (L, B, H) in a training state.
const CARRIED: [&str; 2] = ["carried.0", "carried.1"];

/// A char-lstm in training.
pub struct Text {
    training: CharRnnTraining,
    network: NetworkConfig,
    /// The streams of a batch, B.
    rows: usize,
    /// The state after the last step,
    state: TextState,
    /// the one after the step whose gradients were computed last,
    next: TextState,
    /// and the one after the last call of an evaluation.
    evaluated: TextState,
}

impl Text {
    /// For parameters of this layout.
    pub fn new(
        config: &TrainConfig,
        own: &CharRnnConfig,
        network: &NetworkConfig,
        parameters: &Parameters,
    ) -> Self {
        let dropout = TextDropout {
            outputs: config.dropout,
            variational: own.variational,
            input: own.input_dropout,
            recurrent: own.recurrent_dropout,
        };
        let state = TextState::zero(network, config.batch);
        Self {
            training: CharRnnTraining::new(network, parameters, dropout),
            network: network.clone(),
            rows: config.batch,
            next: state.clone(),
            state,
            evaluated: TextState::zero(network, 0),
        }
    }

    /// Makes `sum` that of the gradients of this process's shards of a batch, of which `batch` has these at least, and
    /// their losses in nats. Returns the shards of the whole batch.
    pub fn gradients(&mut self, of: &Of, batch: &TextBatch, sum: &mut Sum) -> usize {
        let d_nats = self.d_nats(batch);
        let shards = of.shards.min(self.rows);
        let own = of.distributed.share(shards);
        sum.begin(own.start);
        if shards == 1 {
            self.next.clone_from(&self.state);
            shard(&mut self.training, of, batch, &mut self.next, d_nats, sum);
            return shards;
        }
        for index in own {
            let rows = rows(self.rows, index, shards);
            let mut state = TextState::zero(&self.network, rows.len());
            for (whole, part) in self.of_rows(&rows) {
                copy(&self.state, whole, &mut state, part);
            }
            let part = batch.part(rows.start - batch.first..rows.end - batch.first);
            shard(&mut self.training, of, &part, &mut state, d_nats, sum);
            for (whole, part) in self.of_rows(&rows) {
                copy(&state, part, &mut self.next, whole);
            }
        }
        shards
    }

    /// The weight of each target in the loss.
    fn d_nats(&self, batch: &TextBatch) -> f32 {
        let counted = if batch.last_only { 1 } else { batch.steps };
        1.0 / (counted * self.rows) as f32
    }

    /// The mean loss of a batch in nats, of its sum.
    pub fn loss(&self, batch: &TextBatch, nats: f64) -> f64 {
        nats * f64::from(self.d_nats(batch))
    }

    /// Where some rows' part of the whole state is, and where it is in a state of these rows alone, layer by
    /// layer.
    fn of_rows(&self, rows: &Range<usize>) -> Vec<(Range<usize>, Range<usize>)> {
        let (hidden, size) = (self.network.hidden, rows.len() * self.network.hidden);
        let layers = 0..self.network.layers;
        let ranges = layers.map(|layer| {
            let whole = (layer * self.rows + rows.start) * hidden;
            (whole..whole + size, layer * size..(layer + 1) * size)
        });
        ranges.collect()
    }

    /// Takes over the state after the step whose gradients were computed last.
    pub fn advance(&mut self) {
        std::mem::swap(&mut self.state, &mut self.next);
    }

    /// The costs of a batch, without dropout.
    pub fn evaluate(
        &mut self,
        workers: Workers,
        parameters: &Parameters,
        batch: &TextBatch,
    ) -> Costs {
        if batch.from_zero {
            self.evaluated = TextState::zero(&self.network, batch.rows);
        }
        let state = &mut self.evaluated;
        let nats = self
            .training
            .evaluate(workers, &parameters.values, batch, state);
        Costs {
            nats: nats.to_vec(),
            ..Costs::default()
        }
    }

    /// What the next step depends on.
    pub fn carried(&self) -> Weights<'static> {
        let shape = [self.network.layers, self.rows, self.network.hidden];
        let parts = [&self.state.h, &self.state.c].into_iter();
        let parts = parts.zip(CARRIED).filter(|(part, _)| !part.is_empty());
        parts
            .map(|(part, name)| (name.to_owned(), Array::f32(shape, part.clone())))
            .collect()
    }

    /// [`Text::carried`], of which every process has its own rows.
    pub fn gathered(
        &self,
        distributed: &Distributed,
        shards: usize,
    ) -> Result<Weights<'static>, GroupError> {
        let mut carried = self.carried();
        if distributed.is_alone() {
            return Ok(carried);
        }
        let shape = [self.network.layers, self.rows, self.network.hidden];
        for array in carried.values_mut() {
            let mut values = array.data().into_owned();
            distributed.gather_rows(&mut values, shape, shards)?;
            *array = Array::f32(shape, values);
        }
        Ok(carried)
    }

    /// Restores [`Text::carried`].
    pub fn restore(&mut self, from: &Weights) -> Result<(), WeightError> {
        let want = vec![self.network.layers, self.rows, self.network.hidden];
        for (part, name) in [&mut self.state.h, &mut self.state.c]
            .into_iter()
            .zip(CARRIED)
        {
            if part.is_empty() {
                continue;
            }
            let found = array(from, name)?;
            let values = found.data();
            if found.shape != want || values.len() != part.len() {
                let (name, found) = (name.to_owned(), found.shape.clone());
                return Err(WeightError::Shape { name, want, found });
            }
            part.copy_from_slice(&values);
        }
        Ok(())
    }
}

/// Copies a part of a state.
fn copy(from: &TextState, part: Range<usize>, to: &mut TextState, at: Range<usize>) {
    to.h[at.clone()].copy_from_slice(&from.h[part.clone()]);
    if !from.c.is_empty() {
        to.c[at].copy_from_slice(&from.c[part]);
    }
}

/// Adds the gradients of a shard and the sum of its losses in nats to `sum`, and moves its state past it.
fn shard(
    training: &mut CharRnnTraining,
    of: &Of,
    batch: &TextBatch,
    state: &mut TextState,
    d_nats: f32,
    sum: &mut Sum,
) {
    let values = &of.parameters.values;
    let nats = training.forward(of.workers, values, batch, state, of.noise);
    let nats = nats.iter().map(|&nats| f64::from(nats)).sum();
    let mut gradients = sum.buffer(values.len());
    training.backward(of.workers, values, batch, d_nats, &mut gradients);
    sum.add(of.workers.kernels, gradients, nats);
}
