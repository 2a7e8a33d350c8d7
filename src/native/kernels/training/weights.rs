//! The gradients of weights: products over all places of a batch.
//!
//! ∂W = Δᵀ·x, with Δ the gradients of what W computed. Threads share the panels of Δ's columns, so
//! each sum over the places belongs to one thread.

use std::ops::Range;

use super::super::{Kernels, Layout, PANEL, Stacked};
use super::{A_COPY, Workers};

/// Places that are multiplied at a time: half a panel of them fits in the first-level cache.
const PLACES_AT_ONCE: usize = 256;
/// Most panels that one job takes.
const MOST_PANELS: usize = 8;
/// Jobs a thread, so that a thread that is held up leaves work to the others.
const JOBS_A_THREAD: usize = 4;

/// Gradients of what weights computed.
pub(super) struct Deltas<'a> {
    pub layout: Layout,
    /// (N, gates).
    pub values: &'a [f32],
    /// What stands in place of n for a GRU's recurrent weights (N, units in panels).
    pub candidate: Option<&'a [f32]>,
}

/// What the weights were multiplied with.
#[derive(Clone, Copy)]
pub(super) enum Factor<'a> {
    /// A symbol a place: its column of the weight alone.
    Symbols(&'a [i64]),
    /// (N, columns).
    Rows(&'a [f32]),
    /// The same by place.
    Places(&'a (dyn Fn(usize) -> &'a [f32] + Sync)),
}

/// One weight matrix and its bias.
pub(super) struct Product<'a> {
    pub factor: Factor<'a>,
    /// Columns of the weight.
    pub columns: usize,
    /// Whether [`Deltas::candidate`] counts.
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
    /// The factor turned: (columns, K) for every K = [`PLACES_AT_ONCE`] places; empty for symbols.
    turned: Vec<f32>,
}

/// Where one panel of one product goes: its rows of the weight, and of the bias.
type Target<'a> = (&'a mut [f32], &'a mut [f32]);

/// Computes all products.
pub(super) fn weight_gradients(workers: Workers, deltas: &Deltas, products: Vec<Product>) {
    let layout = deltas.layout;
    let places = deltas.values.len() / layout.len();
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
            turned: turned(workers, product.factor, places, product.columns),
        });
    }
    let columns: usize = sources.iter().map(|source| source.columns).sum();
    let workers = workers.for_work(places * layout.len() * columns);
    let size = layout
        .panels()
        .div_ceil(JOBS_A_THREAD * workers.threads())
        .clamp(1, MOST_PANELS);
    let mut jobs = Vec::new();
    let mut first = 0;
    while !targets.is_empty() {
        let rest = targets.split_off(size.min(targets.len()));
        let panels = first..first + targets.len();
        first = panels.end;
        jobs.push((panels, std::mem::replace(&mut targets, rest)));
    }
    workers.each(jobs, |_, (panels, targets)| {
        job(workers.kernels, deltas, &sources, panels, targets);
    });
}

/// A row-major matrix (rows, columns) panel by panel.
fn by_panel(matrix: &mut [f32], layout: Layout, columns: usize) -> Vec<&mut [f32]> {
    let gates = matrix.chunks_exact_mut(layout.units * columns);
    let mut gates: Vec<_> = gates.map(|gate| gate.chunks_mut(PANEL * columns)).collect();
    let mut panels = Vec::with_capacity(layout.panels());
    for _ in 0..layout.blocks() {
        panels.extend(gates.iter_mut().filter_map(Iterator::next));
    }
    panels
}

/// A factor turned, [`PLACES_AT_ONCE`] at a time.
fn turned(workers: Workers, factor: Factor, places: usize, columns: usize) -> Vec<f32> {
    if matches!(factor, Factor::Symbols(_)) {
        return Vec::new();
    }
    let mut turned = vec![0.0; places * columns];
    let parts = turned.chunks_mut(PLACES_AT_ONCE * columns);
    let workers = workers.for_work(places * columns * A_COPY);
    workers.each(parts, |part, out| {
        let first = part * PLACES_AT_ONCE;
        let places = first..first + out.len() / columns;
        let rows: Vec<&[f32]> = match factor {
            Factor::Symbols(_) => Vec::new(),
            Factor::Rows(rows) => rows[places.start * columns..places.end * columns]
                .chunks_exact(columns)
                .collect(),
            Factor::Places(at) => places.map(at).collect(),
        };
        workers.kernels.transpose(&rows, out);
    });
    turned
}

/// The gradients of the weights' rows in some panels.
fn job(
    kernels: Kernels,
    deltas: &Deltas,
    sources: &[Source],
    panels: Range<usize>,
    targets: Vec<Vec<Target>>,
) {
    let layout = deltas.layout;
    let (length, width) = (layout.len(), panels.len() * PANEL);
    let places = deltas.values.len() / length;
    let mut sums: Vec<Vec<f32>> = sources
        .iter()
        .map(|s| vec![0.0; s.columns * width])
        .collect();
    let mut biases: Vec<Vec<f32>> = sources.iter().map(|_| vec![0.0; width]).collect();
    let (mut plain, mut recurrent) = (Stacked::default(), Stacked::default());
    let ones = [1.0; PLACES_AT_ONCE];
    for first in (0..places).step_by(PLACES_AT_ONCE) {
        let end = places.min(first + PLACES_AT_ONCE);
        let values = &deltas.values[first * length..end * length];
        plain.fill(values, length, panels.clone());
        if let Some(candidate) = deltas.candidate {
            let units = length / layout.gates;
            let candidate = &candidate[first * units..end * units];
            recurrent.begin(end - first);
            for panel in panels.clone() {
                if panel % layout.gates == 2 {
                    recurrent.push(candidate, units, panel / layout.gates);
                } else {
                    recurrent.push(values, length, panel);
                }
            }
        }
        for ((source, sums), bias) in sources.iter().zip(&mut sums).zip(&mut biases) {
            let stacked = if source.recurrent { &recurrent } else { &plain };
            kernels.accumulate(stacked.panels(), &ones[..end - first], bias);
            if let Factor::Symbols(symbols) = source.factor {
                let rows = values.chunks_exact(length).zip(&symbols[first..end]);
                for (row, &symbol) in rows {
                    let row = &row[panels.start * PANEL..panels.end * PANEL];
                    kernels.add(row, &mut sums[symbol as usize * width..][..width]);
                }
            } else {
                let x = &source.turned[first * source.columns..end * source.columns];
                kernels.accumulate(stacked.panels(), x, sums);
            }
        }
    }
    for (panel, targets) in targets.into_iter().enumerate() {
        for ((sums, biases), (weight, bias)) in sums.iter().zip(&biases).zip(targets) {
            bias.copy_from_slice(&biases[panel * PANEL..][..bias.len()]);
            let columns: Vec<&[f32]> = sums
                .chunks_exact(width)
                .map(|column| &column[panel * PANEL..][..bias.len()])
                .collect();
            kernels.transpose(&columns, weight);
        }
    }
}
