//! The kernels of training: whole sequences with saved activations, and every gradient.
//!
//! Each thread takes a slice of the batch through the *whole* sequence, so threads meet once
//! per pass and not once per step. If a large layer reads few rows, it takes some of the units
//! instead (`parts.rs`). The weights are packed once per pass. The gates of all steps are saved after their
//! non-linearities, the backward pass overwrites them with their gradients, and the weights'
//! gradients are one large product at the end. Every sum belongs to one thread and runs in one order,
//! so any number of threads, and either kind of slice, computes the same bits.
//!
//! Sequences of different length are sorted by length, longest first: at step t the first
//! n_t rows are active, and nothing is computed for those that have ended. An array over all
//! positions is (N, ·) with N = Σ n_t, step by step.

mod backward;
mod buffers;
mod forward;
mod head;
mod linear;
mod optimizer;
mod parts;
mod pool;
#[cfg(test)]
mod tests;
mod weights;
mod workers;

use std::ops::Range;

pub use backward::{LayerGradients, OutputGradients, backward};
pub use buffers::Buffers;
pub use forward::{Outputs, forward};
pub use head::{Head, HeadGradients};
pub use linear::{Linear, LinearGradients};
pub use optimizer::{Adam, Parameter};
pub use pool::Pool;
pub use workers::{Alone, Team, Workers};

use super::matrix::{Layout, PANEL};
use crate::config::Cell;
use parts::Part;

/// A part of an array, step by step.
type BySteps<'a> = Vec<&'a mut [f32]>;

/// The number of active rows of the batch at each step, which never rises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    counts: Vec<usize>,
    /// The first row of each step, and the end of the last step's rows.
    starts: Vec<usize>,
}

impl Steps {
    /// Built from n_t, the active rows at each step t.
    ///
    /// # Panics
    /// If a count is zero or above the one before it.
    pub fn new(counts: Vec<usize>) -> Self {
        assert!(counts.is_sorted_by(|a, b| a >= b), "the longest first");
        assert!(counts.last().is_none_or(|&last| last > 0), "no empty step");
        let mut starts = vec![0];
        let mut sum = 0;
        for &count in &counts {
            sum += count;
            starts.push(sum);
        }
        Self { counts, starts }
    }

    /// Steps of the longest sequence, T.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The number of sequences, B.
    pub fn batch(&self) -> usize {
        self.counts.first().copied().unwrap_or(0)
    }

    /// The number of positions, N.
    pub fn positions(&self) -> usize {
        self.starts[self.len()]
    }

    /// The positions of step `t`.
    ///
    /// # Panics
    /// If there is no such step.
    pub fn range(&self, t: usize) -> Range<usize> {
        self.starts[t]..self.starts[t + 1]
    }

    /// The number of active rows at step `t`; 0 after the last.
    fn count(&self, t: usize) -> usize {
        self.counts.get(t).copied().unwrap_or(0)
    }

    /// The active rows among `rows`, counted from its start.
    fn count_in(&self, t: usize, rows: &Range<usize>) -> usize {
        self.count(t).clamp(rows.start, rows.end) - rows.start
    }

    /// The positions of `rows` at step `t`.
    fn positions_of(&self, t: usize, rows: &Range<usize>) -> Range<usize> {
        let first = self.starts[t] + rows.start;
        first..first + self.count_in(t, rows)
    }

    /// The batch cut into at most `parts` slices with about as many positions each.
    fn slices(&self, parts: usize) -> Vec<Range<usize>> {
        let mut lengths = vec![0_usize; self.batch()];
        for &count in &self.counts {
            for length in &mut lengths[..count] {
                *length += 1;
            }
        }
        let mut slices = Vec::with_capacity(parts);
        let (mut first, mut sum) = (0, 0);
        for (row, length) in lengths.iter().enumerate() {
            sum += length;
            let want = self.positions() * (slices.len() + 1);
            if sum * parts >= want {
                slices.push(first..row + 1);
                first = row + 1;
            }
        }
        slices
    }

    /// Splits `values` step by step for several parts, given how many numbers each has at a step.
    fn cut<'a>(
        &self,
        values: &'a mut [f32],
        parts: usize,
        numbers: impl Fn(usize, usize) -> usize,
    ) -> Vec<BySteps<'a>> {
        let mut by_part: Vec<BySteps> = Vec::new();
        by_part.resize_with(parts, || Vec::with_capacity(self.len()));
        let mut rest = values;
        for t in 0..self.len() {
            for (part, by_steps) in by_part.iter_mut().enumerate() {
                let (own, after) = rest.split_at_mut(numbers(t, part));
                by_steps.push(own);
                rest = after;
            }
        }
        assert!(rest.is_empty(), "one row a position");
        by_part
    }

    /// The saved activations by part, `block` numbers per position for each block of 32 units.
    fn cut_blocks<'a>(
        &self,
        values: &'a mut [f32],
        block: usize,
        parts: &[Part],
    ) -> Vec<BySteps<'a>> {
        let numbers = |t: usize, part: usize| {
            let part = &parts[part];
            self.count_in(t, &part.rows) * part.blocks.len() * block
        };
        self.cut(values, parts.len(), numbers)
    }

    /// Rows (N, width) by part, each of which has some rows.
    fn cut_rows<'a>(
        &self,
        values: &'a mut [f32],
        width: usize,
        parts: &[Part],
    ) -> Vec<BySteps<'a>> {
        let numbers = |t: usize, part: usize| self.count_in(t, &parts[part].rows) * width;
        self.cut(values, parts.len(), numbers)
    }

    /// Each row's last of `values` (N, width), to (B, width).
    fn last_rows(&self, values: &[f32], to: &mut [f32], width: usize) {
        for (t, &count) in self.counts.iter().enumerate() {
            let ended = self.count(t + 1);
            let last = &values[(self.starts[t] + ended) * width..self.starts[t + 1] * width];
            to[ended * width..count * width].copy_from_slice(last);
        }
    }

    /// Rows (N, width) step by step.
    fn by_step<'a>(
        &self,
        values: &'a mut [f32],
        width: usize,
    ) -> impl Iterator<Item = &'a mut [f32]> {
        self.cut(values, 1, |t, _| self.count(t) * width)
            .into_iter()
            .flatten()
    }
}

/// The input of a layer at every position.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// One-hot tokens (N), each of which selects a column of the weight.
    Tokens(&'a [i64]),
    /// Vectors (N, I).
    Vectors(&'a [f32]),
}

/// One recurrent layer of one direction, with its input; arrays as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The cell, which determines G, the number of gates.
    pub cell: Cell,
    /// Hidden size H.
    pub hidden: usize,
    /// Input size I.
    pub inputs: usize,
    /// One input per position.
    pub input: Input<'a>,
    /// (B, G·H) that every step of a row adds to its input product, or none.
    pub constant: Option<&'a [f32]>,
    /// (G·H, I).
    pub weight_ih: &'a [f32],
    /// (G·H, H).
    pub weight_hh: &'a [f32],
    /// (G·H).
    pub bias_ih: &'a [f32],
    /// (G·H).
    pub bias_hh: &'a [f32],
    /// h before the first step (B, H).
    pub h0: &'a [f32],
    /// c before the first step (B, H); empty unless an LSTM.
    pub c0: &'a [f32],
}

impl Layer<'_> {
    /// The layout of G gates of H units.
    pub const fn layout(&self) -> Layout {
        Layout {
            gates: self.cell.gates(),
            units: self.hidden,
        }
    }

    /// Multiplications of a pass over `positions` positions.
    const fn work(&self, positions: usize) -> usize {
        positions * self.layout().len() * self.hidden
    }

    /// The layout of H units of one gate.
    const fn units(&self) -> Layout {
        Layout {
            gates: 1,
            units: self.hidden,
        }
    }
}

/// Numbers that a layer of `units` units saves at each position for the backward pass: the gates, and
/// the cell (LSTM) or the recurrent product of n (GRU).
pub const fn saved(cell: Cell, units: usize) -> (usize, usize) {
    let width = units.next_multiple_of(PANEL);
    let second = match cell {
        Cell::Rnn => 0,
        Cell::Lstm | Cell::Gru => width,
    };
    (cell.gates() * width, second)
}

/// The saved activations, (N, ·) with the sizes of [`saved`]. If threads split the units,
/// the numbers of a step are sorted by group of units.
#[derive(Debug)]
pub struct Saved<'a> {
    /// The gates after their non-linearities; after the backward pass, the gradients of the input's
    /// part of their pre-activations.
    pub gates: &'a mut [f32],
    /// The cells of an LSTM, or a GRU's recurrent product of n; empty for the plain cell.
    pub units: &'a mut [f32],
}
