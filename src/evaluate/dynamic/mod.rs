//! Dynamic evaluation (Krause et al. 2018): a model that keeps learning from what it has just read.
//!
//! ```text
//! L_s(θ) = −(1/T) Σ ln p_θ(token | all before it)    over the T tokens of segment s
//! θ_{s+1} = θ_s − η ∇L_s(θ_s)
//! ```
//!
//! The cost of a segment is computed before its update, so every token is predicted before it is
//! learnt from. This is the paper's plain form, stochastic gradient descent: without clipping, the
//! scaling by root mean squares, and the decay to the first weights. The state is carried from segment
//! to segment, and no gradient passes between them.

use std::ops::Range;

use super::{EvaluateError, TextCost, check_segment};
use crate::config::NetworkConfig;
use crate::kernels::Kernels;
use crate::kernels::training::{Alone, Buffers, Workers};
use crate::models::batch::TextBatch;
use crate::models::training::{CharRnnTraining, Parameters, TextDropout, TextState};
use crate::models::weights::{WeightError, Weights, check};
use crate::run::TokenSource;

/// How a model learns from what it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamic {
    /// The learning rate η.
    pub lr: f32,
    /// Tokens per update, T; the last update of a text may cover fewer.
    pub segment: usize,
}

/// A char-lstm whose weights change as it reads one text.
#[derive(Debug)]
pub struct Learner {
    parameters: Parameters,
    gradients: Vec<f32>,
    training: CharRnnTraining,
    state: TextState,
    batch: TextBatch,
    buffers: Buffers,
    inputs: usize,
    outputs: usize,
    setting: Dynamic,
}

impl Learner {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(
        config: &NetworkConfig,
        weights: &Weights,
        setting: Dynamic,
    ) -> Result<Self, WeightError> {
        check(config, weights)?;
        let mut parameters = Parameters::zeros(config, false);
        parameters.load(weights, "")?;
        Ok(Self {
            gradients: vec![0.0; parameters.count()],
            training: CharRnnTraining::new(config, &parameters, TextDropout::default()),
            state: TextState::zero(config, 1),
            batch: TextBatch {
                rows: 1,
                ..TextBatch::default()
            },
            buffers: Buffers::new(),
            inputs: config.inputs,
            outputs: config.outputs,
            parameters,
            setting,
        })
    }

    /// The cost of `segments` of a text, one after the other. Each starts from a zero state, as in
    /// [`texts`](super::texts), with the weights that the one before left. `progress` is told
    /// how many more tokens have been predicted.
    ///
    /// # Panics
    /// If a segment is no part of `tokens`.
    pub fn read(
        &mut self,
        tokens: &dyn TokenSource,
        segments: &[Range<usize>],
        progress: impl Fn(u64),
    ) -> Result<TextCost, EvaluateError> {
        let mut cost = TextCost::default();
        for segment in segments {
            check_segment(tokens, segment, (self.inputs, self.outputs))?;
            self.state.h.fill(0.0);
            self.state.c.fill(0.0);
            let Range { start, end } = *segment;
            let length = self.setting.segment.max(1);
            for at in (start..end.saturating_sub(1)).step_by(length) {
                let read = tokens.read(at..end.min(at.saturating_add(length).saturating_add(1)))?;
                let read: Vec<i64> = read.iter().map(|&token| i64::from(token)).collect();
                let targets = &read[1..];
                cost.nats += self.segment(&read[..targets.len()], targets);
                cost.tokens += targets.len() as u64;
                progress(targets.len() as u64);
            }
        }
        Ok(cost)
    }

    /// Computes the cost of a segment in nats, and learns from it.
    fn segment(&mut self, inputs: &[i64], targets: &[i64]) -> f64 {
        let workers = Workers {
            team: &Alone,
            kernels: Kernels::new(),
            buffers: &self.buffers,
        };
        let Self {
            parameters,
            gradients,
            training,
            state,
            batch,
            ..
        } = self;
        batch.steps = targets.len();
        batch.inputs.clear();
        batch.inputs.extend_from_slice(inputs);
        batch.targets.clear();
        batch.targets.extend_from_slice(targets);
        let values = &mut parameters.values;
        // Nothing is dropped, so the noise does not matter.
        let nats = training.forward(workers, values, batch, state, (0, 0));
        let nats = nats.iter().map(|&nats| f64::from(nats)).sum();
        training.backward(
            workers,
            values,
            batch,
            1.0 / targets.len() as f32,
            gradients,
        );
        for (value, gradient) in values.iter_mut().zip(gradients) {
            *value -= self.setting.lr * *gradient;
        }
        nats
    }
}

#[cfg(test)]
mod tests;
