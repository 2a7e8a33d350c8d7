//! A linear layer with its gradients.

use super::super::Layout;
use super::backward::product;
use super::weights::{Deltas, Factor, Product, weight_gradients};
use super::workers::{Filling, Workers};

/// The most rows per job: a multiple of every tile's height.
const ROWS_PER_JOB: usize = 96;
/// Rows per job are a multiple of this if there are few, so that most of them fill tiles.
const FEW_ROWS: usize = 4;

/// A linear layer and its input: y = W·x + b for every row.
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    /// I.
    pub inputs: usize,
    /// O.
    pub outputs: usize,
    /// (N, I).
    pub x: &'a [f32],
    /// (O, I).
    pub weight: &'a [f32],
    /// (O), or empty for none.
    pub bias: &'a [f32],
}

/// The gradients of a linear layer; empty if not wanted. All of it is overwritten.
#[derive(Debug, Default)]
pub struct LinearGradients<'a> {
    /// (N, I).
    pub x: &'a mut [f32],
    /// (O, I).
    pub weight: &'a mut [f32],
    /// (O).
    pub bias: &'a mut [f32],
}

impl Linear<'_> {
    const fn layout(&self) -> Layout {
        Layout {
            gates: 1,
            units: self.outputs,
        }
    }

    /// Multiplications of one pass.
    const fn work(&self) -> usize {
        self.x.len() * self.layout().len()
    }

    /// The rows of one job, so that every thread has some.
    fn rows_per_job(&self, workers: Workers) -> usize {
        let rows = (self.x.len() / self.inputs).div_ceil(workers.threads());
        rows.next_multiple_of(FEW_ROWS)
            .clamp(FEW_ROWS, ROWS_PER_JOB)
    }

    /// y (N, O).
    ///
    /// # Panics
    /// If an array has another length.
    pub fn forward(&self, workers: Workers, y: &mut [f32]) {
        let (inputs, outputs, width) = (self.inputs, self.outputs, self.layout().len());
        assert_eq!(y.len() * inputs, self.x.len() * outputs, "a row each");
        let mut weight = workers.packed(self.layout(), inputs);
        let panels = weight.parts();
        workers.fill(panels.map(|p| (p, Filling::Rows(self.weight))).collect());
        let members = workers.for_work(self.work());
        let rows = self.rows_per_job(members);
        let parts = y
            .chunks_mut(rows * outputs)
            .zip(self.x.chunks(rows * inputs));
        members.each(parts, |_, (y, x)| {
            let rows = y.len() / outputs;
            let mut sums = workers.buffers.zeros(rows * width);
            if !self.bias.is_empty() {
                for row in sums.chunks_exact_mut(width) {
                    row[..outputs].copy_from_slice(self.bias);
                }
            }
            workers.accumulate(weight.all(), x, &mut sums);
            for (y, sums) in y.chunks_exact_mut(outputs).zip(sums.chunks_exact(width)) {
                y.copy_from_slice(&sums[..outputs]);
            }
        });
    }

    /// The gradients, given those of y (N, O).
    ///
    /// # Panics
    /// If an array has another length.
    pub fn backward(&self, workers: Workers, d_y: &[f32], to: LinearGradients) {
        let LinearGradients { x, weight, bias } = to;
        let (inputs, layout) = (self.inputs, self.layout());
        assert_eq!(
            d_y.len() * inputs,
            self.x.len() * self.outputs,
            "a row each"
        );
        let width = layout.len();
        let mut in_panels = workers.buffers.zeros(d_y.len() / self.outputs * width);
        let rows = in_panels.chunks_exact_mut(width);
        for (to, from) in rows.zip(d_y.chunks_exact(self.outputs)) {
            to[..self.outputs].copy_from_slice(from);
        }
        if !x.is_empty() {
            let of_x = Layout {
                gates: 1,
                units: inputs,
            };
            let mut turned = workers.packed(of_x, width);
            let panels = turned.parts();
            let panels = panels.map(|p| (p, Filling::Transposed(self.weight, layout)));
            workers.fill(panels.collect());
            let members = workers.for_work(self.work());
            let rows = self.rows_per_job(members);
            let parts = x
                .chunks_mut(rows * inputs)
                .zip(in_panels.chunks(rows * width));
            members.each(parts, |_, (x, d_y)| {
                product(workers, &turned, [(0..width, d_y)], x, inputs);
            });
        }
        if weight.is_empty() {
            return;
        }
        let mut none = workers.buffers.numbers(self.outputs);
        let all = 0..layout.blocks();
        let deltas = Deltas {
            layout,
            values: &in_panels,
            candidate: None,
            groups: std::slice::from_ref(&all),
            starts: &[0, self.x.len() / inputs],
        };
        let product = Product {
            factor: Factor::Rows(self.x),
            columns: inputs,
            recurrent: false,
            weight,
            bias: if bias.is_empty() { &mut none } else { bias },
        };
        weight_gradients(workers, &deltas, vec![product]);
    }
}
