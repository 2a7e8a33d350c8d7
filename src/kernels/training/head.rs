//! The layer that predicts, with softmax and cross-entropy: logits and their gradients are in one
//! array, and are computed while they are in the cache.

use super::super::Layout;
use super::backward::product;
use super::weights::{Deltas, Factor, Product, weight_gradients};
use super::workers::{Filling, Workers};

/// Positions per job: a multiple of every tile's height.
const POSITIONS_PER_JOB: usize = 96;

/// A linear layer and what it predicts.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// (N, H).
    pub hidden: &'a [f32],
    /// (V, H).
    pub weight: &'a [f32],
    /// (V).
    pub bias: &'a [f32],
    /// (N), each below V.
    pub targets: &'a [i64],
}

/// The gradients of a head.
#[derive(Debug)]
pub struct HeadGradients<'a> {
    /// (N, H).
    pub hidden: &'a mut [f32],
    /// (V, H).
    pub weight: &'a mut [f32],
    /// (V).
    pub bias: &'a mut [f32],
}

impl Head<'_> {
    /// Hidden size H.
    fn units(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// The layout of the logits.
    pub const fn layout(&self) -> Layout {
        Layout {
            gates: 1,
            units: self.bias.len(),
        }
    }

    /// −log p(target) at every position, nats (N); `probabilities` (N, V in panels) are saved for
    /// [`Head::backward`].
    ///
    /// # Panics
    /// If an array has another length, or a target is not below V.
    pub fn forward(&self, workers: Workers, probabilities: &mut [f32], nats: &mut [f32]) {
        let (units, width) = (self.units(), self.layout().len());
        let mut weight = workers.packed(self.layout(), units);
        let panels = weight.parts();
        workers.fill(panels.map(|p| (p, Filling::Rows(self.weight))).collect());
        let kernels = workers.kernels;
        let bias = self.layout().spread(self.bias);
        let parts = probabilities
            .chunks_mut(POSITIONS_PER_JOB * width)
            .zip(nats.chunks_mut(POSITIONS_PER_JOB))
            .zip(self.targets.chunks(POSITIONS_PER_JOB))
            .zip(self.hidden.chunks(POSITIONS_PER_JOB * units));
        let members = workers.for_work(self.targets.len() * width * units);
        members.each(parts, |_, (((logits, nats), targets), hidden)| {
            for row in logits.chunks_exact_mut(width) {
                row.copy_from_slice(&bias);
            }
            workers.accumulate(weight.all(), hidden, logits);
            kernels.cross_entropy(logits, self.bias.len(), targets, nats);
        });
    }

    /// The gradients, given those of the nats (N); overwrites `probabilities`.
    ///
    /// # Panics
    /// If an array has another length.
    pub fn backward(
        &self,
        workers: Workers,
        probabilities: &mut [f32],
        d_nats: &[f32],
        to: HeadGradients,
    ) {
        let HeadGradients {
            hidden,
            weight,
            bias,
        } = to;
        let (units, layout) = (self.units(), self.layout());
        let of_hidden = Layout { gates: 1, units };
        let mut turned = workers.packed(of_hidden, layout.len());
        let panels = turned.parts();
        let panels = panels.map(|p| (p, Filling::Transposed(self.weight, layout)));
        workers.fill(panels.collect());
        let kernels = workers.kernels;
        let parts = probabilities
            .chunks_mut(POSITIONS_PER_JOB * layout.len())
            .zip(d_nats.chunks(POSITIONS_PER_JOB))
            .zip(self.targets.chunks(POSITIONS_PER_JOB))
            .zip(hidden.chunks_mut(POSITIONS_PER_JOB * units));
        let members = workers.for_work(self.targets.len() * layout.len() * units);
        members.each(parts, |_, (((values, d_nats), targets), d_hidden)| {
            kernels.cross_entropy_backward(values, targets, d_nats);
            let values = [(0..layout.len(), &*values)];
            product(workers, &turned, values, d_hidden, units);
        });
        let all = 0..layout.blocks();
        let deltas = Deltas {
            layout,
            values: probabilities,
            candidate: None,
            groups: std::slice::from_ref(&all),
            starts: &[0, self.targets.len()],
        };
        let product = Product {
            factor: Factor::Rows(self.hidden),
            columns: units,
            recurrent: false,
            weight,
            bias,
        };
        weight_gradients(workers, &deltas, vec![product]);
    }
}
