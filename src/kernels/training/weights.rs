//! The gradients of weights: products over all positions of a batch.
//!
//! ∂W = Δᵀ·x, with Δ the gradients of what W computed. Threads split the panels of Δ's columns, so
//! each sum over the positions belongs to one thread.

use std::ops::Range;

use super::super::bf16::pair;
use super::super::{Kernels, Layout, PANEL, Stacked};
use super::buffers::Loan;
use super::workers::{A_COPY, Workers};

/// Positions multiplied at a time: half a panel of them fits in the first-level cache.
const POSITIONS_AT_ONCE: usize = 256;
/// The most panels per job.
const MOST_PANELS: usize = 8;
/// Jobs per thread, so that a delayed thread leaves work to the others.
const JOBS_PER_THREAD: usize = 4;

/// Gradients of the outputs of weights.
pub(super) struct Deltas<'a> {
    pub layout: Layout,
    /// (N, gates).
    pub values: &'a [f32],
    /// The replacement of n for a GRU's recurrent weights (N, units in panels).
    pub candidate: Option<&'a [f32]>,
    /// The blocks of 32 units that are contiguous at each step; one group is all of them.
    pub groups: &'a [Range<usize>],
    /// The first position of each step, and the end of the last step; with one group, all positions
    /// may be one step.
    pub starts: &'a [usize],
}

/// Some panels of a group, and their first position.
struct Rows<'a> {
    /// (rows, width).
    values: &'a [f32],
    width: usize,
    first: usize,
}

impl<'a> Deltas<'a> {
    /// The rows of a group at some positions, `block` numbers per position for each block of `values`.
    fn rows(
        &self,
        values: &'a [f32],
        block: usize,
        group: Range<usize>,
        positions: Range<usize>,
    ) -> impl Iterator<Item = Rows<'a>> {
        let starts = self.starts;
        let first = starts.partition_point(|&start| start <= positions.start) - 1;
        let last = starts.partition_point(|&start| start < positions.end);
        let all = self.layout.blocks() * block;
        let width = group.len() * block;
        (first..last).map(move |t| {
            let (start, end) = (starts[t], starts[t + 1]);
            let of_group = start * all + (end - start) * group.start * block;
            let rows = positions.start.max(start)..positions.end.min(end);
            let position = |row: usize| of_group + (row - start) * width;
            Rows {
                values: &values[position(rows.start)..position(rows.end)],
                width,
                first: rows.start,
            }
        })
    }
}

/// The inputs of the weights.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// One token per position, which selects a column of the weight.
    Tokens(&'a [i64]),
    /// (N, columns).
    Rows(&'a [f32]),
    /// (N, columns), one slice per position.
    Positions(&'a (dyn Fn(usize) -> &'a [f32] + Sync)),
}

/// One weight matrix and its bias.
pub(super) struct Product<'a> {
    pub factor: Factor<'a>,
    /// Columns of the weight.
    pub columns: usize,
    /// Whether [`Deltas::candidate`] applies.
    pub recurrent: bool,
    /// Receives the gradient (rows, columns).
    pub weight: &'a mut [f32],
    /// Receives the gradient (rows).
    pub bias: &'a mut [f32],
}

/// A product as a job sees it.
struct Source<'a> {
    factor: Factor<'a>,
    columns: usize,
    recurrent: bool,
    /// The transposed factor: (columns, K) for every K = [`POSITIONS_AT_ONCE`] positions, and half as many
    /// numbers in bf16, which are pairs; empty for tokens.
    turned: Loan<'a, Vec<f32>>,
}

/// The destination of one panel of one product: its rows of the weight and of the bias.
type Target<'a> = (&'a mut [f32], &'a mut [f32]);

/// Computes all weight and bias gradients.
pub(super) fn weight_gradients<'a>(
    workers: Workers<'a>,
    deltas: &Deltas,
    products: Vec<Product<'a>>,
) {
    let layout = deltas.layout;
    let positions = deltas.values.len() / layout.len();
    let mut sources = Vec::with_capacity(products.len());
    let mut targets: Vec<Vec<Target>> = Vec::new();
    targets.resize_with(layout.panels(), Vec::new);
    for product in products {
        let weights = by_panel(product.weight, layout, product.columns);
        let biases = by_panel(product.bias, layout, 1);
        for (panel, target) in targets.iter_mut().zip(weights.into_iter().zip(biases)) {
            panel.push(target);
        }
        sources.push(Source {
            factor: product.factor,
            columns: product.columns,
            recurrent: product.recurrent && deltas.candidate.is_some(),
            turned: turned(workers, product.factor, positions, product.columns),
        });
    }
    let columns: usize = sources.iter().map(|source| source.columns).sum();
    let workers = workers.for_work(positions * layout.len() * columns);
    let size = layout
        .panels()
        .div_ceil(JOBS_PER_THREAD * workers.threads())
        .clamp(1, MOST_PANELS);
    let mut jobs = Vec::new();
    for group in deltas.groups {
        let end = group.end * layout.gates;
        let mut first = group.start * layout.gates;
        while first < end {
            let rest = targets.split_off(size.min(end - first));
            let panels = first..first + targets.len();
            first = panels.end;
            let targets = std::mem::replace(&mut targets, rest);
            jobs.push(Job {
                group: group.clone(),
                panels,
                targets,
            });
        }
    }
    workers.each(jobs, |_, job| job.run(workers, deltas, &sources));
}

/// Splits a row-major matrix (rows, columns) by panel.
fn by_panel(matrix: &mut [f32], layout: Layout, columns: usize) -> Vec<&mut [f32]> {
    let gates = matrix.chunks_exact_mut(layout.units * columns);
    let mut gates: Vec<_> = gates.map(|gate| gate.chunks_mut(PANEL * columns)).collect();
    let mut panels = Vec::with_capacity(layout.panels());
    for _ in 0..layout.blocks() {
        panels.extend(gates.iter_mut().filter_map(Iterator::next));
    }
    panels
}

/// Transposes a factor, [`POSITIONS_AT_ONCE`] positions at a time.
fn turned<'a>(
    workers: Workers<'a>,
    factor: Factor,
    positions: usize,
    columns: usize,
) -> Loan<'a, Vec<f32>> {
    if matches!(factor, Factor::Tokens(_)) {
        return workers.buffers.numbers(0);
    }
    let kernels = workers.kernels;
    let depth = |positions: usize| depth(kernels, positions);
    let mut turned = workers.buffers.numbers(depth(positions) * columns);
    let parts = turned.chunks_mut(depth(POSITIONS_AT_ONCE) * columns);
    let workers = workers.for_work(positions * columns * A_COPY);
    workers.each(parts, |part, out| {
        let first = part * POSITIONS_AT_ONCE;
        let positions = first..positions.min(first + POSITIONS_AT_ONCE);
        let count = positions.len();
        let rows: Vec<&[f32]> = match factor {
            Factor::Tokens(_) => Vec::new(),
            Factor::Rows(rows) => rows[positions.start * columns..positions.end * columns]
                .chunks_exact(columns)
                .collect(),
            Factor::Positions(at) => positions.map(at).collect(),
        };
        if kernels.is_bf16() {
            let mut scratch = workers.buffers.numbers(count * columns);
            kernels.transpose(&rows, &mut scratch, count);
            kernels.pairs(&scratch, count, out);
        } else {
            kernels.transpose(&rows, out, count);
        }
    });
    turned
}

/// Numbers of a column of the transposed factor at some positions, the first of which is even.
const fn depth(kernels: Kernels, positions: usize) -> usize {
    if kernels.is_bf16() {
        positions.div_ceil(2)
    } else {
        positions
    }
}

/// The gradients of the weights' rows in some panels of a group.
struct Job<'a> {
    group: Range<usize>,
    panels: Range<usize>,
    /// By panel, one entry per product.
    targets: Vec<Vec<Target<'a>>>,
}

impl Job<'_> {
    fn run(self, workers: Workers, deltas: &Deltas, sources: &[Source]) {
        let Workers {
            kernels, buffers, ..
        } = workers;
        let layout = deltas.layout;
        let width = self.panels.len() * PANEL;
        let positions = deltas.values.len() / layout.len();
        let mut sums: Vec<_> = sources
            .iter()
            .map(|source| buffers.zeros(source.columns * width))
            .collect();
        let mut biases: Vec<_> = sources.iter().map(|_| buffers.zeros(width)).collect();
        let (mut plain, mut recurrent) = (buffers.stacked(), buffers.stacked());
        let bf16 = kernels.is_bf16();
        let ones = [if bf16 { pair(1.0, 1.0) } else { 1.0 }; POSITIONS_AT_ONCE];
        let multiply = |stacked: &Stacked, x: &[f32], sums: &mut [f32]| {
            if bf16 {
                kernels.accumulate_pairs(stacked.panels(), x, sums);
            } else {
                kernels.accumulate(stacked.panels(), x, sums);
            }
        };
        let depth = |positions: usize| depth(kernels, positions);
        for first in (0..positions).step_by(POSITIONS_AT_ONCE) {
            let positions = first..positions.min(first + POSITIONS_AT_ONCE);
            self.stack(kernels, deltas, positions.clone(), None, &mut plain);
            if deltas.candidate.is_some() {
                self.stack(
                    kernels,
                    deltas,
                    positions.clone(),
                    Some(&plain),
                    &mut recurrent,
                );
            }
            if bf16 {
                kernels.pair_rows(&mut plain);
                if deltas.candidate.is_some() {
                    kernels.pair_rows(&mut recurrent);
                }
            }
            for ((source, sums), bias) in sources.iter().zip(&mut sums).zip(&mut biases) {
                let stacked = if source.recurrent { &recurrent } else { &plain };
                multiply(stacked, &ones[..depth(positions.len())], bias);
                if let Factor::Tokens(tokens) = source.factor {
                    self.add_tokens(kernels, deltas, positions.clone(), tokens, sums);
                } else {
                    let columns = source.columns;
                    let own = depth(positions.start) * columns..depth(positions.end) * columns;
                    multiply(stacked, &source.turned[own], sums);
                }
            }
        }
        let mut columns: Vec<&[f32]> = Vec::new();
        for (panel, targets) in self.targets.into_iter().enumerate() {
            for ((sums, biases), (weight, bias)) in sums.iter().zip(&biases).zip(targets) {
                bias.copy_from_slice(&biases[panel * PANEL..][..bias.len()]);
                columns.clear();
                columns.extend(
                    sums.chunks_exact(width)
                        .map(|column| &column[panel * PANEL..][..bias.len()]),
                );
                kernels.transpose(&columns, weight, columns.len());
            }
        }
    }

    /// Packs some positions; if they have been packed without it, with the replacement of n.
    fn stack(
        &self,
        kernels: Kernels,
        deltas: &Deltas,
        positions: Range<usize>,
        plain: Option<&Stacked>,
        to: &mut Stacked,
    ) {
        let gates = deltas.layout.gates;
        let first = self.group.start * gates;
        to.begin(positions.len());
        for (index, panel) in self.panels.clone().enumerate() {
            let (values, block, panel) = match (plain, deltas.candidate) {
                (Some(_), Some(candidate)) if panel % gates == 2 => {
                    (candidate, PANEL, panel / gates - self.group.start)
                }
                (Some(plain), _) => {
                    to.repeat(plain, index);
                    continue;
                }
                (None, _) => (deltas.values, gates * PANEL, panel - first),
            };
            for rows in deltas.rows(values, block, self.group.clone(), positions.clone()) {
                kernels.push(to, rows.values, rows.width, panel);
            }
        }
    }

    /// Adds each position's gradients to those of its token.
    fn add_tokens(
        &self,
        kernels: Kernels,
        deltas: &Deltas,
        positions: Range<usize>,
        tokens: &[i64],
        sums: &mut [f32],
    ) {
        let gates = deltas.layout.gates;
        let width = self.panels.len() * PANEL;
        let own = (self.panels.start - self.group.start * gates) * PANEL;
        for rows in deltas.rows(deltas.values, gates * PANEL, self.group.clone(), positions) {
            let pairs = rows
                .values
                .chunks_exact(rows.width)
                .zip(&tokens[rows.first..]);
            for (row, &token) in pairs {
                let sums = &mut sums[token as usize * width..][..width];
                kernels.add(&row[own..own + width], sums);
            }
        }
    }
}
