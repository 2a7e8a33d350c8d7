//! The gradients of a layer over a whole sequence.

use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use super::super::{Kernels, Layout, PANEL, Packed};
use super::buffers::Loan;
use super::parts::{Part, groups};
use super::weights::{Deltas, Factor, Product, weight_gradients};
use super::workers::Filling;
use super::{BySteps, Input, Layer, Saved, Steps, Workers};
use crate::config::Cell;
use crate::kernels::barrier::Barrier;

/// The gradients of what a layer computed; `None` if nothing depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputGradients<'a> {
    /// (N, H).
    pub outputs: Option<&'a [f32]>,
    /// (B, H).
    pub h: Option<&'a [f32]>,
    /// (B, H).
    pub c: Option<&'a [f32]>,
}

/// The gradients of a layer's inputs and weights; empty if not wanted. All of it is overwritten.
#[derive(Debug, Default)]
pub struct LayerGradients<'a> {
    /// Of vectors (N, I).
    pub input: &'a mut [f32],
    /// (B, G·H).
    pub constant: &'a mut [f32],
    /// (G·H, I).
    pub weight_ih: &'a mut [f32],
    /// (G·H, H).
    pub weight_hh: &'a mut [f32],
    /// (G·H).
    pub bias_ih: &'a mut [f32],
    /// (G·H).
    pub bias_hh: &'a mut [f32],
    /// (B, H).
    pub h0: &'a mut [f32],
    /// (B, H).
    pub c0: &'a mut [f32],
}

/// The transposed weights.
struct Weights<'a> {
    recurrent: Loan<'a, Packed>,
    input: Option<Loan<'a, Packed>>,
}

/// The gradients of `layer`, whose [`forward`](super::forward()) computed `outputs` (N, H) and filled
/// `saved`. This overwrites `saved`, so there is only one backward pass.
///
/// # Panics
/// If an array has another length than its description says.
pub fn backward(
    workers: Workers,
    layer: &Layer,
    steps: &Steps,
    outputs: &[f32],
    saved: Saved,
    of: OutputGradients,
    to: LayerGradients,
) {
    backward_in(
        &groups(layer, steps),
        workers,
        layer,
        steps,
        outputs,
        saved,
        of,
        to,
    );
}

/// [`backward`] with the given groups of units.
#[expect(clippy::too_many_arguments, reason = "those of `backward`")]
#[expect(
    clippy::too_many_lines,
    reason = "one pass, whose parts borrow each other's arrays"
)]
pub(super) fn backward_in(
    groups: &[Range<usize>],
    workers: Workers,
    layer: &Layer,
    steps: &Steps,
    outputs: &[f32],
    saved: Saved,
    of: OutputGradients,
    to: LayerGradients,
) {
    let Saved { gates, units } = saved;
    let LayerGradients {
        input,
        constant,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        h0,
        c0,
    } = to;
    {
        let weights = Weights::pack(workers, layer, !input.is_empty());
        let workers = workers.for_work(layer.work(steps.positions()));
        let pass = Pass {
            workers,
            kernels: workers.kernels,
            layer,
            steps,
            weights: &weights,
            outputs,
            of,
        };
        let parts = Part::all(layer, steps, groups, workers.threads());
        let (of_gates, of_units) = super::saved(layer.cell, PANEL);
        let own_units = steps.cut_blocks(&mut *units, of_units, &parts);
        let mut slices: Vec<Slice> = parts
            .iter()
            .zip(own_units)
            .map(|(part, units)| {
                Slice::new(workers, layer, part.clone(), units, !constant.is_empty())
            })
            .collect();
        let own_gates = steps.cut_blocks(&mut *gates, of_gates, &parts);
        if groups.len() == 1 {
            let inputs = if input.is_empty() { 0 } else { layer.inputs };
            let inputs = steps.cut_rows(input, inputs, &parts);
            let parts = slices.iter_mut().zip(own_gates).zip(inputs);
            workers.each(parts, |_, ((slice, gates), input)| {
                pass.rows(slice, gates, input);
            });
        } else {
            let own_gates: Vec<_> = own_gates.into_iter().map(locks).collect();
            let recurrent =
                [0, 1].map(|_| locks(slices.iter().map(|slice| slice.recurrent_scratch(workers))));
            let exchange = Exchange {
                gates: &own_gates,
                recurrent: &recurrent,
                parts: &parts,
            };
            workers.together(slices.iter_mut(), |slices, barrier| {
                pass.units(slices, &exchange, barrier);
            });
            if !input.is_empty() {
                pass.inputs(workers, &parts, gates, input);
            }
        }
        for slice in &slices {
            slice.finish(layer, h0, c0, constant);
        }
    }
    let whole = [0, steps.positions()];
    let deltas = Deltas {
        layout: layer.layout(),
        values: gates,
        candidate: (layer.cell == Cell::Gru).then_some(&*units),
        groups,
        starts: if groups.len() == 1 {
            &whole
        } else {
            &steps.starts
        },
    };
    let hidden = layer.hidden;
    let before = |position: usize| -> &[f32] {
        // The rows of a step come after those of the previous step, which has as many or more.
        let t = steps.starts.partition_point(|&start| start <= position) - 1;
        let row = position - steps.starts[t];
        if t == 0 {
            &layer.h0[row * hidden..][..hidden]
        } else {
            &outputs[(steps.starts[t - 1] + row) * hidden..][..hidden]
        }
    };
    let x = match layer.input {
        Input::Tokens(tokens) => Factor::Tokens(tokens),
        Input::Vectors(x) => Factor::Rows(x),
    };
    let products = vec![
        Product {
            factor: x,
            columns: layer.inputs,
            recurrent: false,
            weight: weight_ih,
            bias: bias_ih,
        },
        Product {
            factor: Factor::Positions(&before),
            columns: hidden,
            recurrent: true,
            weight: weight_hh,
            bias: bias_hh,
        },
    ];
    weight_gradients(workers, &deltas, products);
}

impl<'a> Weights<'a> {
    fn pack(workers: Workers<'a>, layer: &Layer, with_input: bool) -> Self {
        let gates = layer.layout();
        let mut recurrent = workers.packed(layer.units(), gates.len());
        let of_input = Layout {
            gates: 1,
            units: layer.inputs,
        };
        let mut input = with_input.then(|| workers.packed(of_input, gates.len()));
        let panels = recurrent.parts();
        let panels = panels.map(|p| (p, Filling::Transposed(layer.weight_hh, gates)));
        let of_input = input.iter_mut().flat_map(|input| input.parts());
        let of_input = of_input.map(|p| (p, Filling::Transposed(layer.weight_ih, gates)));
        workers.fill(panels.chain(of_input).collect());
        Self { recurrent, input }
    }
}

/// A pass back over all steps.
struct Pass<'a> {
    workers: Workers<'a>,
    kernels: Kernels,
    layer: &'a Layer<'a>,
    steps: &'a Steps,
    weights: &'a Weights<'a>,
    outputs: &'a [f32],
    of: OutputGradients<'a>,
}

/// The data that threads exchange if they split units: the gradients of the gates, which every
/// thread needs in full.
struct Exchange<'a, 'b, 'c> {
    /// By part and step (n_t, own gates).
    gates: &'a [Vec<RwLock<&'b mut [f32]>>],
    /// For a GRU, their replacements in the recurrent product (B, own gates), by part, for
    /// every other step.
    recurrent: &'a [Vec<RwLock<Loan<'c, Vec<f32>>>>; 2],
    parts: &'a [Part],
}

/// The part of a layer that one thread carries back through the whole sequence.
struct Slice<'a> {
    part: Part,
    /// The saved activations of the units.
    units: BySteps<'a>,
    /// ∂h (R, width).
    d_hidden: Loan<'a, Vec<f32>>,
    /// ∂c (R, width) of an LSTM.
    d_cell: Loan<'a, Vec<f32>>,
    /// The cells before the first step (R, width).
    cell: Loan<'a, Vec<f32>>,
    /// The sum of the gates' gradients (R, gates), or none.
    constant: Loan<'a, Vec<f32>>,
    /// A GRU's h before a step (R, own units), if several threads compute the units of a row.
    before: Loan<'a, Vec<f32>>,
    /// Numbers of the recurrent product of its gates, R · gates.
    recurrent: usize,
}

/// Wraps each item in a lock.
fn locks<T>(values: impl IntoIterator<Item = T>) -> Vec<RwLock<T>> {
    values.into_iter().map(RwLock::new).collect()
}

impl Pass<'_> {
    /// A part of some rows of the batch, with their gates and the gradients of their inputs.
    fn rows(&self, slice: &mut Slice, mut gates: BySteps, mut input: BySteps) {
        let layer = self.layer;
        let mut recurrent = slice.recurrent_scratch(self.workers);
        let all = 0..layer.layout().len();
        for t in (0..self.steps.len()).rev() {
            if self.workers.team.is_stopping() {
                return;
            }
            let gates = &mut *gates[t];
            if gates.is_empty() {
                continue;
            }
            let length = if recurrent.is_empty() { 0 } else { gates.len() };
            slice.cells(self, t, gates, &mut recurrent[..length]);
            let x = if length == 0 { &*gates } else { &recurrent };
            slice.add_product(self, t, all.clone(), &x[..gates.len()]);
            if let Some(matrix) = &self.weights.input {
                let x = [(all.clone(), &*gates)];
                product(self.workers, matrix, x, input[t], layer.inputs);
            }
        }
    }

    /// A part of some units of all rows.
    fn units(&self, mut slices: Vec<&mut Slice>, exchange: &Exchange, barrier: &Barrier) {
        let gates = self.layer.layout().gates;
        let gru = self.layer.cell == Cell::Gru;
        let Some(first) = slices.first().map(|slice| slice.part.blocks.start) else {
            return;
        };
        let first = exchange
            .parts
            .partition_point(|part| part.blocks.start < first);
        for t in (0..self.steps.len()).rev() {
            for (slice, index) in slices.iter_mut().zip(first..) {
                let mut gates = exchange.gates[index][t]
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                let mut recurrent = exchange.recurrent[t % 2][index]
                    .write()
                    .unwrap_or_else(PoisonError::into_inner);
                let length = if gru { gates.len() } else { 0 };
                slice.cells(self, t, &mut gates, &mut recurrent[..length]);
            }
            barrier.wait();
            for (index, part) in exchange.parts.iter().enumerate() {
                let columns = part.columns(gates);
                let length = self.steps.count(t) * columns.len();
                if gru {
                    let x = exchange.recurrent[t % 2][index]
                        .read()
                        .unwrap_or_else(PoisonError::into_inner);
                    for slice in &mut slices {
                        slice.add_product(self, t, columns.clone(), &x[..length]);
                    }
                } else {
                    let x = exchange.gates[index][t]
                        .read()
                        .unwrap_or_else(PoisonError::into_inner);
                    for slice in &mut slices {
                        slice.add_product(self, t, columns.clone(), &x[..length]);
                    }
                }
            }
        }
    }

    /// The gradients of all inputs (N, I), from those of all gates.
    fn inputs(&self, workers: Workers, parts: &[Part], gates: &[f32], input: &mut [f32]) {
        let Some(matrix) = &self.weights.input else {
            return;
        };
        let (steps, inputs, layout) = (self.steps, self.layer.inputs, self.layer.layout());
        workers.each(steps.by_step(input, inputs), |t, to| {
            let gates = &gates[steps.starts[t] * layout.len()..steps.starts[t + 1] * layout.len()];
            let x = parts.iter().map(|part| {
                let columns = part.columns(layout.gates);
                let position = steps.count(t) * columns.start..steps.count(t) * columns.end;
                (columns, &gates[position])
            });
            product(workers, matrix, x, to, inputs);
        });
    }
}

impl<'a> Slice<'a> {
    fn new(
        workers: Workers<'a>,
        layer: &Layer,
        part: Part,
        units: BySteps<'a>,
        with_constant: bool,
    ) -> Self {
        let (rows, hidden) = (part.rows.len(), layer.hidden);
        let where_needed =
            |needed: bool, length: usize| workers.buffers.zeros(if needed { length } else { 0 });
        let (lstm, gru) = (layer.cell == Cell::Lstm, layer.cell == Cell::Gru);
        let in_panels = rows * part.width();
        let mut cell = where_needed(lstm, in_panels);
        if lstm {
            part.gather(
                part.rows_of(layer.c0, hidden),
                hidden,
                &mut cell,
                part.width(),
            );
        }
        let own = part.units.len();
        Self {
            units,
            d_hidden: workers.buffers.zeros(in_panels),
            d_cell: where_needed(lstm, in_panels),
            cell,
            constant: where_needed(with_constant, in_panels * layer.layout().gates),
            before: where_needed(gru && own < hidden, rows * own),
            recurrent: if gru {
                in_panels * layer.layout().gates
            } else {
                0
            },
            part,
        }
    }

    /// Scratch for the gradients of a GRU's recurrent product (R, gates).
    fn recurrent_scratch<'b>(&self, workers: Workers<'b>) -> Loan<'b, Vec<f32>> {
        workers.buffers.zeros(self.recurrent)
    }

    /// The gradients of the gates at a step; for a GRU also those of their recurrent product.
    fn cells(&mut self, pass: &Pass, t: usize, gates: &mut [f32], recurrent: &mut [f32]) {
        let &Pass {
            kernels,
            layer,
            steps,
            outputs,
            of,
            ..
        } = pass;
        let (hidden, width) = (layer.hidden, self.part.width());
        let rows = self.part.rows.start;
        let count = steps.count_in(t, &self.part.rows);
        let ended = steps.count_in(t + 1, &self.part.rows);
        // The rows that end with this step start from the gradients of the final state.
        let last = (rows + ended) * hidden..(rows + count) * hidden;
        let in_panels = ended * width..count * width;
        if let Some(of_h) = of.h {
            self.part.add(
                &of_h[last.clone()],
                hidden,
                &mut self.d_hidden[in_panels.clone()],
            );
        }
        if let (Some(of_c), Cell::Lstm) = (of.c, layer.cell) {
            self.part
                .add(&of_c[last], hidden, &mut self.d_cell[in_panels]);
        }
        let d_hidden = &mut self.d_hidden[..count * width];
        let positions = steps.positions_of(t, &self.part.rows);
        if let Some(d_outputs) = of.outputs {
            let d_outputs = &d_outputs[positions.start * hidden..positions.end * hidden];
            self.part.add(d_outputs, hidden, d_hidden);
        }
        match layer.cell {
            Cell::Lstm => {
                let before = t.checked_sub(1).map_or(&self.cell[..], |t| &*self.units[t]);
                let d_cell = &mut self.d_cell[..count * width];
                let before = &before[..count * width];
                kernels.lstm_backward(gates, before, self.units[t], d_hidden, d_cell);
                d_hidden.fill(0.0);
            }
            Cell::Gru => {
                let before = if t == 0 {
                    &layer.h0[rows * hidden..]
                } else {
                    &outputs[(steps.starts[t - 1] + rows) * hidden..]
                };
                let mut before = &before[..count * hidden];
                let units = self.part.units.len();
                if units < hidden {
                    let own = &mut self.before[..count * units];
                    self.part.gather(before, hidden, own, units);
                    before = own;
                }
                kernels.gru_backward(gates, self.units[t], before, d_hidden, recurrent, units);
            }
            Cell::Rnn => {
                kernels.rnn_backward(gates, d_hidden);
                d_hidden.fill(0.0);
            }
        }
        if !self.constant.is_empty() {
            kernels.add(gates, &mut self.constant[..gates.len()]);
        }
    }

    /// Adds to ∂h the contribution of some columns of the gates, whose gradients are x (R, columns).
    fn add_product(&mut self, pass: &Pass, t: usize, columns: Range<usize>, x: &[f32]) {
        let count = pass.steps.count_in(t, &self.part.rows);
        let matrix = pass
            .weights
            .recurrent
            .part(self.part.blocks.clone(), columns);
        pass.workers
            .accumulate(matrix, x, &mut self.d_hidden[..count * self.part.width()]);
    }

    /// Writes the gradients of the rows' initial states and constants, if they are wanted.
    fn finish(&self, layer: &Layer, h0: &mut [f32], c0: &mut [f32], constant: &mut [f32]) {
        let (part, hidden, layout) = (&self.part, layer.hidden, layer.layout());
        for (from, to) in [(&self.d_hidden, h0), (&self.d_cell, c0)] {
            if !to.is_empty() {
                part.scatter(from, part.width(), part.rows_of_mut(to, hidden), hidden);
            }
        }
        if !constant.is_empty() {
            let length = layout.gates * hidden;
            let from = self.constant.chunks_exact(part.columns(layout.gates).len());
            let to = part.rows_of_mut(constant, length).chunks_exact_mut(length);
            for (from, to) in from.zip(to) {
                for (from, panel) in from.chunks_exact(PANEL).zip(part.panels(layout.gates)) {
                    let to = &mut to[layout.rows(panel)];
                    to.copy_from_slice(&from[..to.len()]);
                }
            }
        }
    }
}

/// `to` (R, units) = matrix · x, x being some columns at a time.
pub(super) fn product<'a>(
    workers: Workers,
    matrix: &Packed,
    x: impl IntoIterator<Item = (Range<usize>, &'a [f32])>,
    to: &mut [f32],
    units: usize,
) {
    let width = matrix.layout().len();
    let add = |sums: &mut [f32]| {
        for (columns, x) in x {
            let panels = 0..matrix.layout().panels();
            workers.accumulate(matrix.part(panels, columns), x, sums);
        }
    };
    if width == units {
        to.fill(0.0);
        return add(to);
    }
    // Its rows do not fill their panels.
    let mut sums = workers.buffers.zeros(to.len() / units * width);
    add(&mut sums);
    for (from, to) in sums.chunks_exact(width).zip(to.chunks_exact_mut(units)) {
        to.copy_from_slice(&from[..units]);
    }
}
