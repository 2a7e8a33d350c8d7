//! What training computes besides sampling's products: whole sequences with their activations kept,
//! and every gradient.
//!
//! Each thread takes its share of the batch through the *whole* sequence, so that threads meet once
//! a pass and not once a step; the weights are packed once a pass. The gates of all steps are kept
//! after their non-linearities, the backward pass overwrites them with their gradients, and the
//! weights' gradients are one large product at the end. Every sum belongs to one thread and runs
//! in one order, so any number of threads computes the same bits.
//!
//! Sequences of different length stand in order of length, the longest first: at step t the first
//! n_t rows are under way, and nothing is computed for those that have ended. An array over all
//! places is (N, ·) with N = Σ n_t, step by step.

mod backward;
mod forward;
mod head;
mod optimizer;
#[cfg(test)]
mod tests;
mod weights;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

pub use backward::{LayerGradients, OutputGradients, backward};
pub use forward::{Outputs, forward};
pub use head::{Head, HeadGradients};
pub use optimizer::{Adam, Parameter};

use super::Kernels;
use super::matrix::{Layout, PANEL, PanelMut};
use crate::config::Cell;

/// Threads that work together.
pub trait Team: Sync {
    /// How many.
    fn threads(&self) -> usize;
    /// Calls `job` with every number below `jobs`, each once, and returns when all are done.
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
}

/// The caller's thread alone.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Team for Alone {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// Fewer multiplications than this, some 20 µs of them, one thread has done before several have met,
/// and long before where another program holds one of them up.
const WORTH_MEETING: usize = 1 << 20;
/// Copying a number to its place takes about as long as so many multiplications.
const A_COPY: usize = 16;

/// Who computes, and with what.
#[derive(Clone, Copy)]
pub struct Workers<'a> {
    /// The threads.
    pub team: &'a dyn Team,
    /// What they run.
    pub kernels: Kernels,
}

impl Workers<'_> {
    /// The caller's thread alone for little work, counted in multiplications.
    fn for_work(self, work: usize) -> Self {
        if work < WORTH_MEETING {
            Self {
                team: &Alone,
                ..self
            }
        } else {
            self
        }
    }

    /// As many as there are threads.
    fn threads(self) -> usize {
        self.team.threads()
    }

    /// Hands every part to one thread.
    fn each<T: Send>(self, parts: impl IntoIterator<Item = T>, work: impl Fn(usize, T) + Sync) {
        let parts: Vec<Mutex<Option<T>>> = parts.into_iter().map(|p| Mutex::new(Some(p))).collect();
        self.team.run(parts.len(), &|index| {
            let part = parts[index]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(part) = part {
                work(index, part);
            }
        });
    }

    /// Fills panels of several packed matrices side by side.
    fn fill<'a>(self, panels: Vec<(PanelMut<'a>, Filling<'a>)>) {
        let numbers: usize = panels.iter().map(|(panel, _)| panel.len()).sum();
        let parts = panels.into_iter();
        self.for_work(numbers * A_COPY)
            .each(parts, |_, (mut panel, filling)| match filling {
                Filling::Rows(matrix) => panel.fill(matrix),
                Filling::Transposed(matrix, inputs) => panel.fill_transposed(matrix, inputs),
            });
    }
}

/// Where a packed matrix comes from.
#[derive(Clone, Copy)]
enum Filling<'a> {
    /// A row-major matrix.
    Rows(&'a [f32]),
    /// The transpose of one, whose rows are laid out so.
    Transposed(&'a [f32], Layout),
}

/// A share's part of an array, step by step.
type BySteps<'a> = Vec<&'a mut [f32]>;

/// How many rows of the batch are under way at each step: never more than at the step before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    counts: Vec<usize>,
    /// Where each step's rows begin, and where the last one's end.
    starts: Vec<usize>,
}

impl Steps {
    /// From n_t.
    ///
    /// # Panics
    /// Where a count is zero or above the one before it.
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

    /// Sequences, B.
    pub fn batch(&self) -> usize {
        self.counts.first().copied().unwrap_or(0)
    }

    /// Places in all, N.
    pub fn places(&self) -> usize {
        self.starts[self.len()]
    }

    /// Rows under way at step `t`; none after the last.
    fn count(&self, t: usize) -> usize {
        self.counts.get(t).copied().unwrap_or(0)
    }

    /// Those among `rows`, counted from its start.
    fn count_in(&self, t: usize, rows: &Range<usize>) -> usize {
        self.count(t).clamp(rows.start, rows.end) - rows.start
    }

    /// The places of `rows` at step `t`.
    fn places_of(&self, t: usize, rows: &Range<usize>) -> Range<usize> {
        let first = self.starts[t] + rows.start;
        first..first + self.count_in(t, rows)
    }

    /// The batch cut into at most `parts` shares with about as many places each.
    fn shares(&self, parts: usize) -> Vec<Range<usize>> {
        let mut lengths = vec![0_usize; self.batch()];
        for &count in &self.counts {
            for length in &mut lengths[..count] {
                *length += 1;
            }
        }
        let mut shares = Vec::with_capacity(parts);
        let (mut first, mut sum) = (0, 0);
        for (row, length) in lengths.iter().enumerate() {
            sum += length;
            let want = self.places() * (shares.len() + 1);
            if sum * parts >= want {
                shares.push(first..row + 1);
                first = row + 1;
            }
        }
        shares
    }

    /// `values` (N, width) by share.
    fn cut<'a>(
        &self,
        values: &'a mut [f32],
        width: usize,
        shares: &[Range<usize>],
    ) -> Vec<BySteps<'a>> {
        assert_eq!(values.len(), self.places() * width, "one row a place");
        let mut parts: Vec<BySteps> = Vec::new();
        parts.resize_with(shares.len(), || Vec::with_capacity(self.len()));
        let mut rest = values;
        for t in 0..self.len() {
            for (part, rows) in parts.iter_mut().zip(shares) {
                let (own, after) = rest.split_at_mut(self.count_in(t, rows) * width);
                part.push(own);
                rest = after;
            }
        }
        parts
    }
}

/// Rows (B, width) by share.
fn rows_by_share<'a>(
    values: &'a mut [f32],
    width: usize,
    shares: &[Range<usize>],
) -> Vec<&'a mut [f32]> {
    let mut rest = values;
    shares
        .iter()
        .map(|rows| {
            let (own, after) = std::mem::take(&mut rest).split_at_mut(rows.len() * width);
            rest = after;
            own
        })
        .collect()
}

/// What a layer reads at every place.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Symbols (N), one-hot: a column of the weight each.
    Symbols(&'a [i64]),
    /// Vectors (N, I).
    Vectors(&'a [f32]),
}

/// One recurrent layer that reads one way, with its input: arrays as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The cell.
    pub cell: Cell,
    /// Hidden size H.
    pub hidden: usize,
    /// Input size I.
    pub inputs: usize,
    /// What it reads.
    pub input: Input<'a>,
    /// (B, G·H) that every step of a row adds to its input's share, or none.
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
    /// G gates of H units.
    pub const fn layout(&self) -> Layout {
        Layout {
            gates: self.cell.gates(),
            units: self.hidden,
        }
    }

    /// Multiplications of a pass over so many places.
    const fn work(&self, places: usize) -> usize {
        places * self.layout().len() * self.hidden
    }

    /// Units with what fills the last panel up.
    const fn width(&self) -> usize {
        self.hidden.next_multiple_of(PANEL)
    }

    /// H units, one gate.
    const fn units(&self) -> Layout {
        Layout {
            gates: 1,
            units: self.hidden,
        }
    }
}

/// Numbers that a layer of `units` units keeps at each place for the backward pass: the gates, and
/// the cell (LSTM) or the recurrent share of n (GRU).
pub const fn kept(cell: Cell, units: usize) -> (usize, usize) {
    let width = units.next_multiple_of(PANEL);
    let second = match cell {
        Cell::Rnn => 0,
        Cell::Lstm | Cell::Gru => width,
    };
    (cell.gates() * width, second)
}

/// What the forward pass keeps for the backward pass, (N, ·) as [`kept`] says.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The gates after their non-linearities; after the backward pass, the gradients of the input's
    /// share of them.
    pub gates: &'a mut [f32],
    /// The cells of an LSTM, or a GRU's recurrent share of n; empty for the plain cell.
    pub units: &'a mut [f32],
}

/// Copies rows of `units` numbers into rows of `width`, filled up with zeros.
fn widen(from: &[f32], units: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks_exact(units).zip(to.chunks_exact_mut(width)) {
        to[..units].copy_from_slice(from);
        to[units..].fill(0.0);
    }
}

/// Copies rows of `width` numbers into rows of `units`, without what fills them up.
fn narrow(from: &[f32], width: usize, to: &mut [f32], units: usize) {
    for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(units)) {
        to.copy_from_slice(&from[..units]);
    }
}

/// Adds rows of `units` numbers to rows of `width`.
fn add_rows(from: &[f32], units: usize, to: &mut [f32], width: usize) {
    for (from, to) in from.chunks_exact(units).zip(to.chunks_exact_mut(width)) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}
