//! A layer over a whole sequence.

use std::ops::Range;

use super::super::{Kernels, Layout, PANEL, Packed};
use super::{
    A_COPY, BySteps, Filling, Input, Kept, Layer, Steps, Workers, narrow, rows_by_share, widen,
};
use crate::config::Cell;

/// Symbols whose rows of the table one job writes.
const SYMBOLS_A_JOB: usize = 16;

/// What a layer computes.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// h at every place (N, H).
    pub outputs: &'a mut [f32],
    /// h after the last step of each row (B, H).
    pub h: &'a mut [f32],
    /// c after it (B, H); empty unless an LSTM.
    pub c: &'a mut [f32],
}

/// The weights as the steps read them.
struct Weights {
    /// The input's share of the gates before their non-linearities, biases counted: by symbol (V,
    /// gates), or one row.
    table: Vec<f32>,
    /// W_ih, where the input is vectors.
    input: Option<Packed>,
    recurrent: Packed,
    /// b_hn of a GRU in panels, zeros for its other gates; empty for other cells.
    recurrent_bias: Vec<f32>,
}

/// The part of a batch that one thread takes through the whole sequence.
struct Share<'a> {
    rows: Range<usize>,
    outputs: BySteps<'a>,
    h: &'a mut [f32],
    c: &'a mut [f32],
    /// Gates and units of every step, where they are kept.
    kept: Option<(BySteps<'a>, BySteps<'a>)>,
}

/// Runs `layer` over all steps; keeps what [`backward`](super::backward) needs in `kept`, where
/// there is any.
///
/// # Panics
/// Where an array has another length than its description says, or a symbol is not below I.
pub fn forward(workers: Workers, layer: &Layer, steps: &Steps, out: Outputs, kept: Option<Kept>) {
    let weights = Weights::pack(workers, layer);
    let workers = workers.for_work(layer.work(steps.places()));
    let shares = steps.shares(workers.threads());
    let Outputs { outputs, h, c } = out;
    let hidden = layer.hidden;
    let (gates, units) = super::kept(layer.cell, hidden);
    let cells = if layer.cell == Cell::Lstm { hidden } else { 0 };
    let mut kept = kept.map(|kept| {
        let gates = steps.cut(kept.gates, gates, &shares);
        let units = steps.cut(kept.units, units, &shares);
        gates.into_iter().zip(units)
    });
    let parts: Vec<Share> = shares
        .iter()
        .zip(steps.cut(outputs, hidden, &shares))
        .zip(rows_by_share(h, hidden, &shares))
        .zip(rows_by_share(c, cells, &shares))
        .map(|(((rows, outputs), h), c)| Share {
            rows: rows.clone(),
            outputs,
            h,
            c,
            kept: kept.as_mut().and_then(Iterator::next),
        })
        .collect();
    workers.each(parts, |_, share| {
        share.run(workers.kernels, layer, steps, &weights);
    });
}

impl Weights {
    fn pack(workers: Workers, layer: &Layer) -> Self {
        let layout = layer.layout();
        let mut recurrent = Packed::zeros(layout, layer.hidden);
        let mut input =
            matches!(layer.input, Input::Vectors(_)).then(|| Packed::zeros(layout, layer.inputs));
        let panels = recurrent
            .parts()
            .map(|p| (p, Filling::Rows(layer.weight_hh)));
        let of_input = input.iter_mut().flat_map(Packed::parts);
        let of_input = of_input.map(|p| (p, Filling::Rows(layer.weight_ih)));
        workers.fill(panels.chain(of_input).collect());

        let mut both: Vec<f32> = layer
            .bias_ih
            .iter()
            .zip(layer.bias_hh)
            .map(|(a, b)| a + b)
            .collect();
        let mut recurrent_bias = Vec::new();
        if layer.cell == Cell::Gru {
            // n keeps its two shares apart: the reset gate comes between them.
            let n = 2 * layer.hidden;
            both[n..].copy_from_slice(&layer.bias_ih[n..]);
            let mut of_n = vec![0.0; both.len()];
            of_n[n..].copy_from_slice(&layer.bias_hh[n..]);
            recurrent_bias = layout.spread(&of_n);
        }
        let mut table = layout.spread(&both);
        if let Input::Symbols(_) = layer.input {
            table = symbol_table(workers, layer, &table);
        }
        Self {
            table,
            input,
            recurrent,
            recurrent_bias,
        }
    }
}

/// What each symbol adds to the gates (V, gates): its column of W_ih, and the biases.
fn symbol_table(workers: Workers, layer: &Layer, bias: &[f32]) -> Vec<f32> {
    let (layout, symbols) = (layer.layout(), layer.inputs);
    let mut table = bias.repeat(symbols);
    let parts = table.chunks_mut(SYMBOLS_A_JOB * layout.len());
    let workers = workers.for_work(symbols * layout.len() * A_COPY);
    workers.each(parts, |job, part| {
        let first = job * SYMBOLS_A_JOB;
        let count = part.len() / layout.len();
        for panel in 0..layout.panels() {
            for (lane, row) in layout.rows(panel).enumerate() {
                let weights = &layer.weight_ih[row * symbols + first..][..count];
                for (symbol, weight) in weights.iter().enumerate() {
                    part[symbol * layout.len() + panel * PANEL + lane] += weight;
                }
            }
        }
    });
    table
}

impl Share<'_> {
    fn run(mut self, kernels: Kernels, layer: &Layer, steps: &Steps, weights: &Weights) {
        let (hidden, width, layout) = (layer.hidden, layer.width(), layer.layout());
        let rows = self.rows.clone();
        let h0 = &layer.h0[rows.start * hidden..rows.end * hidden];
        let constant = spread_rows(layer, &rows);
        let mut room = Room::new(self.kept.is_none(), layer, rows.len());
        if layer.cell == Cell::Lstm {
            let c0 = &layer.c0[rows.start * hidden..rows.end * hidden];
            widen(c0, hidden, &mut room.cell, width);
        }
        for t in 0..steps.len() {
            let count = steps.count_in(t, &rows);
            if count == 0 {
                break;
            }
            let places = steps.places_of(t, &rows);
            let (past, now) = self.outputs.split_at_mut(t);
            let before = &past.last().map_or(h0, |h| &**h)[..count * hidden];
            let now = &mut *now[0];
            let (gates, units) = match &mut self.kept {
                Some((gates, units)) => (&mut *gates[t], Some(units)),
                None => (&mut room.gates[..count * layout.len()], None),
            };
            begin(layer, weights, places.clone(), gates);
            if let Some(constant) = &constant {
                kernels.add(&constant[..gates.len()], gates);
            }
            if let (Input::Vectors(x), Some(matrix)) = (layer.input, &weights.input) {
                let x = &x[places.start * layer.inputs..places.end * layer.inputs];
                kernels.accumulate(matrix.all(), x, gates);
            }
            let ended = steps.count_in(t + 1, &rows);
            match layer.cell {
                Cell::Lstm => {
                    kernels.accumulate(weights.recurrent.all(), before, gates);
                    let cell = if let Some(cells) = units {
                        let (past, cell) = cells.split_at_mut(t);
                        let before = past.last().map_or(&room.cell[..], |c| &**c);
                        kernels.lstm_keep(gates, &before[..count * width], cell[0], now, hidden);
                        &*cell[0]
                    } else {
                        let cell = &mut room.cell[..count * width];
                        kernels.lstm(gates, cell, now, hidden);
                        cell
                    };
                    narrow(
                        &cell[ended * width..],
                        width,
                        &mut self.c[ended * hidden..count * hidden],
                        hidden,
                    );
                }
                Cell::Gru => {
                    let recurrent = &mut room.recurrent[..gates.len()];
                    for row in recurrent.chunks_exact_mut(layout.len()) {
                        row.copy_from_slice(&weights.recurrent_bias);
                    }
                    kernels.accumulate(weights.recurrent.all(), before, recurrent);
                    if let Some(candidates) = units {
                        kernels.gru_keep(gates, recurrent, candidates[t], before, now, hidden);
                    } else {
                        now.copy_from_slice(before);
                        kernels.gru(gates, recurrent, now, hidden);
                    }
                }
                Cell::Rnn => {
                    kernels.accumulate(weights.recurrent.all(), before, gates);
                    kernels.rnn_keep(gates, now, hidden);
                }
            }
            self.h[ended * hidden..count * hidden].copy_from_slice(&now[ended * hidden..]);
        }
    }
}

/// What the rows' constants add to their gates (R, gates), or none.
fn spread_rows(layer: &Layer, rows: &Range<usize>) -> Option<Vec<f32>> {
    let layout = layer.layout();
    let length = layout.gates * layout.units;
    let constant = &layer.constant?[rows.start * length..rows.end * length];
    Some(
        constant
            .chunks_exact(length)
            .flat_map(|row| layout.spread(row))
            .collect(),
    )
}

/// The gates of some places before anything is multiplied.
fn begin(layer: &Layer, weights: &Weights, places: Range<usize>, gates: &mut [f32]) {
    let length = layer.layout().len();
    let rows = gates.chunks_exact_mut(length);
    match layer.input {
        Input::Symbols(symbols) => {
            for (row, &symbol) in rows.zip(&symbols[places]) {
                row.copy_from_slice(&weights.table[symbol as usize * length..][..length]);
            }
        }
        Input::Vectors(_) => {
            for row in rows {
                row.copy_from_slice(&weights.table);
            }
        }
    }
}

/// What a share needs besides what it keeps.
struct Room {
    /// Gates of one step (R, gates), where they are not kept.
    gates: Vec<f32>,
    /// The recurrent share of a GRU's gates (R, gates).
    recurrent: Vec<f32>,
    /// The cells before the first step, or, where they are not kept, the newest (R, width).
    cell: Vec<f32>,
}

impl Room {
    fn new(nothing_kept: bool, layer: &Layer, rows: usize) -> Self {
        let gates = rows * Layout::len(layer.layout());
        let where_needed = |needed: bool, length: usize| vec![0.0; if needed { length } else { 0 }];
        Self {
            gates: where_needed(nothing_kept, gates),
            recurrent: where_needed(layer.cell == Cell::Gru, gates),
            cell: where_needed(layer.cell == Cell::Lstm, rows * layer.width()),
        }
    }
}
