//! The gradients of a layer over a whole sequence.

use std::ops::Range;

use super::super::{Kernels, Layout, PANEL, Packed};
use super::weights::{Deltas, Factor, Product, weight_gradients};
use super::{
    BySteps, Filling, Input, Kept, Layer, Steps, Workers, add_rows, narrow, rows_by_share, widen,
};
use crate::config::Cell;

/// The gradients of what a layer computed; none where nothing depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputGradients<'a> {
    /// (N, H).
    pub outputs: Option<&'a [f32]>,
    /// (B, H).
    pub h: Option<&'a [f32]>,
    /// (B, H).
    pub c: Option<&'a [f32]>,
}

/// The gradients of what a layer reads; empty where nobody asks. All of it is overwritten.
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

/// The part of a batch that one thread takes back through the whole sequence.
struct Share<'a> {
    rows: Range<usize>,
    gates: BySteps<'a>,
    units: BySteps<'a>,
    /// The gradient of the input, empty where nobody asks.
    input: BySteps<'a>,
    constant: &'a mut [f32],
    h0: &'a mut [f32],
    c0: &'a mut [f32],
}

/// The transposed weights.
struct Weights {
    recurrent: Packed,
    input: Option<Packed>,
}

/// The gradients of `layer`, whose [`forward`](super::forward()) computed `outputs` (N, H) and filled
/// `kept`. What was kept is overwritten, so there is one backward pass.
///
/// # Panics
/// Where an array has another length than its description says.
pub fn backward(
    workers: Workers,
    layer: &Layer,
    steps: &Steps,
    outputs: &[f32],
    kept: Kept,
    of: OutputGradients,
    to: LayerGradients,
) {
    let Kept { gates, units } = kept;
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
        let workers = workers.for_work(layer.work(steps.places()));
        let shares = steps.shares(workers.threads());
        let share_of =
            |values: &mut [f32], length: usize| if values.is_empty() { 0 } else { length };
        let (of_gates, of_units) = super::kept(layer.cell, layer.hidden);
        let gate_rows = layer.layout().gates * layer.hidden;
        let inputs = share_of(input, layer.inputs);
        let constants = share_of(constant, gate_rows);
        let (h, c) = (share_of(h0, layer.hidden), share_of(c0, layer.hidden));
        let parts: Vec<Share> = shares
            .iter()
            .zip(steps.cut(gates, of_gates, &shares))
            .zip(steps.cut(units, of_units, &shares))
            .zip(steps.cut(input, inputs, &shares))
            .zip(rows_by_share(constant, constants, &shares))
            .zip(rows_by_share(h0, h, &shares))
            .zip(rows_by_share(c0, c, &shares))
            .map(
                |((((((rows, gates), units), input), constant), h0), c0)| Share {
                    rows: rows.clone(),
                    gates,
                    units,
                    input,
                    constant,
                    h0,
                    c0,
                },
            )
            .collect();
        workers.each(parts, |_, share| {
            share.run(workers.kernels, layer, steps, &weights, outputs, of);
        });
    }
    let deltas = Deltas {
        layout: layer.layout(),
        values: gates,
        candidate: (layer.cell == Cell::Gru).then_some(&*units),
    };
    let hidden = layer.hidden;
    let before = |place: usize| -> &[f32] {
        // The rows of a step follow those of the step before, which are as many or more.
        let t = steps.starts.partition_point(|&start| start <= place) - 1;
        let row = place - steps.starts[t];
        if t == 0 {
            &layer.h0[row * hidden..][..hidden]
        } else {
            &outputs[(steps.starts[t - 1] + row) * hidden..][..hidden]
        }
    };
    let x = match layer.input {
        Input::Symbols(symbols) => Factor::Symbols(symbols),
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
            factor: Factor::Places(&before),
            columns: hidden,
            recurrent: true,
            weight: weight_hh,
            bias: bias_hh,
        },
    ];
    weight_gradients(workers, &deltas, products);
}

impl Weights {
    fn pack(workers: Workers, layer: &Layer, with_input: bool) -> Self {
        let gates = layer.layout();
        let mut recurrent = Packed::zeros(layer.units(), gates.len());
        let of_input = Layout {
            gates: 1,
            units: layer.inputs,
        };
        let mut input = with_input.then(|| Packed::zeros(of_input, gates.len()));
        let panels = recurrent.parts();
        let panels = panels.map(|p| (p, Filling::Transposed(layer.weight_hh, gates)));
        let of_input = input.iter_mut().flat_map(Packed::parts);
        let of_input = of_input.map(|p| (p, Filling::Transposed(layer.weight_ih, gates)));
        workers.fill(panels.chain(of_input).collect());
        Self { recurrent, input }
    }
}

impl Share<'_> {
    fn run(
        mut self,
        kernels: Kernels,
        layer: &Layer,
        steps: &Steps,
        weights: &Weights,
        outputs: &[f32],
        of: OutputGradients,
    ) {
        let (hidden, width, length) = (layer.hidden, layer.width(), layer.layout().len());
        let rows = self.rows.clone();
        let own = |values: &'_ [f32]| values[rows.start * hidden..rows.end * hidden].to_vec();
        let h0 = own(layer.h0);
        let mut room = Room::new(layer, rows.len());
        if layer.cell == Cell::Lstm {
            widen(&own(layer.c0), hidden, &mut room.cell, width);
        }
        let mut constant = vec![
            0.0;
            if self.constant.is_empty() {
                0
            } else {
                rows.len() * length
            }
        ];
        for t in (0..steps.len()).rev() {
            let places = steps.places_of(t, &rows);
            let count = places.len();
            if count == 0 {
                continue;
            }
            let ended = steps.count_in(t + 1, &rows);
            room.begin(layer, of, &rows, ended, count);
            let d_hidden = &mut room.d_hidden[..count * width];
            if let Some(d_outputs) = of.outputs {
                let d_outputs = &d_outputs[places.start * hidden..places.end * hidden];
                add_rows(d_outputs, hidden, d_hidden, width);
            }
            let gates = &mut *self.gates[t];
            match layer.cell {
                Cell::Lstm => {
                    let before = if t == 0 {
                        &room.cell[..]
                    } else {
                        &*self.units[t - 1]
                    };
                    let d_cell = &mut room.d_cell[..count * width];
                    kernels.lstm_backward(
                        gates,
                        &before[..count * width],
                        self.units[t],
                        d_hidden,
                        d_cell,
                    );
                    d_hidden.fill(0.0);
                    kernels.accumulate(weights.recurrent.all(), gates, d_hidden);
                }
                Cell::Gru => {
                    let before = if t == 0 {
                        &h0[..count * hidden]
                    } else {
                        let first = (steps.starts[t - 1] + rows.start) * hidden;
                        &outputs[first..first + count * hidden]
                    };
                    let recurrent = &mut room.recurrent[..gates.len()];
                    kernels.gru_backward(gates, self.units[t], before, d_hidden, recurrent, hidden);
                    kernels.accumulate(weights.recurrent.all(), recurrent, d_hidden);
                }
                Cell::Rnn => {
                    kernels.rnn_backward(gates, d_hidden);
                    d_hidden.fill(0.0);
                    kernels.accumulate(weights.recurrent.all(), gates, d_hidden);
                }
            }
            if let (Some(matrix), Some(to)) = (&weights.input, self.input.get_mut(t)) {
                product(kernels, matrix, gates, &mut room.input, to, layer.inputs);
            }
            if !constant.is_empty() {
                kernels.add(gates, &mut constant[..gates.len()]);
            }
        }
        self.finish(layer, &room, &constant);
    }

    /// Hands the gradients of the rows' starts and constants over.
    fn finish(self, layer: &Layer, room: &Room, constant: &[f32]) {
        let (hidden, width, layout) = (layer.hidden, layer.width(), layer.layout());
        if !self.h0.is_empty() {
            narrow(&room.d_hidden, width, self.h0, hidden);
        }
        if !self.c0.is_empty() {
            narrow(&room.d_cell, width, self.c0, hidden);
        }
        if !constant.is_empty() {
            let rows = constant.chunks_exact(layout.len());
            for (from, to) in rows.zip(self.constant.chunks_exact_mut(layout.gates * hidden)) {
                for (panel, from) in from.chunks_exact(PANEL).enumerate() {
                    let to = &mut to[layout.rows(panel)];
                    to.copy_from_slice(&from[..to.len()]);
                }
            }
        }
    }
}

/// `to` (R, units) = matrix · x, by way of `room` where its rows do not fill their panels.
pub(super) fn product(
    kernels: Kernels,
    matrix: &Packed,
    x: &[f32],
    room: &mut Vec<f32>,
    to: &mut [f32],
    units: usize,
) {
    let width = matrix.layout().len();
    if width == units {
        to.fill(0.0);
        kernels.accumulate(matrix.all(), x, to);
    } else {
        room.clear();
        room.resize(to.len() / units * width, 0.0);
        kernels.accumulate(matrix.all(), x, room);
        narrow(room, width, to, units);
    }
}

/// What a share carries from step to step.
struct Room {
    /// ∂h (R, width).
    d_hidden: Vec<f32>,
    /// ∂c (R, width) of an LSTM.
    d_cell: Vec<f32>,
    /// The cells before the first step (R, width).
    cell: Vec<f32>,
    /// The gradients of the recurrent share of a GRU's gates (R, gates).
    recurrent: Vec<f32>,
    /// Room for a product.
    input: Vec<f32>,
}

impl Room {
    fn new(layer: &Layer, rows: usize) -> Self {
        let units = rows * layer.width();
        let lstm = if layer.cell == Cell::Lstm { units } else { 0 };
        let gru = if layer.cell == Cell::Gru {
            rows * layer.layout().len()
        } else {
            0
        };
        Self {
            d_hidden: vec![0.0; units],
            d_cell: vec![0.0; lstm],
            cell: vec![0.0; lstm],
            recurrent: vec![0.0; gru],
            input: Vec::new(),
        }
    }

    /// The rows that end with this step: their gradients are those of the final state.
    fn begin(
        &mut self,
        layer: &Layer,
        of: OutputGradients,
        rows: &Range<usize>,
        ended: usize,
        count: usize,
    ) {
        let (hidden, width) = (layer.hidden, layer.width());
        let add = |from: Option<&[f32]>, to: &mut [f32]| {
            if let Some(from) = from {
                let from = &from[(rows.start + ended) * hidden..(rows.start + count) * hidden];
                add_rows(from, hidden, &mut to[ended * width..count * width], width);
            }
        };
        add(of.h, &mut self.d_hidden);
        if layer.cell == Cell::Lstm {
            add(of.c, &mut self.d_cell);
        }
    }
}
