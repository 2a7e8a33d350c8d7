//! Runs a layer over whole sequences.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard, TryLockError};

use super::super::{Kernels, PANEL, Packed};
use super::buffers::Loan;
use super::parts::{Part, groups};
use super::workers::{A_COPY, Filling};
use super::{BySteps, Input, Layer, Saved, Steps, Workers};
use crate::config::Cell;
use crate::kernels::barrier::{Barrier, wait_until};

/// Tokens whose rows of the table one job writes.
const TOKENS_PER_JOB: usize = 16;

/// What a layer computes.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// h at every position (N, H).
    pub outputs: &'a mut [f32],
    /// h after the last step of each row (B, H).
    pub h: &'a mut [f32],
    /// c after it (B, H); empty unless an LSTM.
    pub c: &'a mut [f32],
}

/// The weights as the steps read them.
struct Weights<'a> {
    /// The input's product for the gate pre-activations, with biases: by token (V,
    /// gates), or one row.
    table: Loan<'a, Vec<f32>>,
    /// W_ih, if the input is vectors.
    input: Option<Loan<'a, Packed>>,
    recurrent: Loan<'a, Packed>,
    /// b_hn of a GRU in panels, zeros for its other gates; empty for other cells.
    recurrent_bias: Vec<f32>,
}

/// Runs `layer` over all steps; stores what [`backward`](super::backward) needs in `saved`, if it
/// is given.
///
/// # Panics
/// If an array has another length than its description says, or a token is not below I.
pub fn forward(workers: Workers, layer: &Layer, steps: &Steps, out: Outputs, saved: Option<Saved>) {
    forward_in(&groups(layer, steps), workers, layer, steps, out, saved);
}

/// [`forward`] with the given groups of units.
pub(super) fn forward_in(
    groups: &[Range<usize>],
    workers: Workers,
    layer: &Layer,
    steps: &Steps,
    out: Outputs,
    saved: Option<Saved>,
) {
    let weights = Weights::pack(workers, layer);
    let workers = workers.for_work(layer.work(steps.positions()));
    let Outputs { outputs, h, c } = out;
    let parts = Part::all(layer, steps, groups, workers.threads());
    let mut saved = saved.map(|saved| {
        let (gates, units) = super::saved(layer.cell, PANEL);
        let gates = steps.cut_blocks(saved.gates, gates, &parts);
        gates
            .into_iter()
            .zip(steps.cut_blocks(saved.units, units, &parts))
    });
    let mut slices: Vec<Slice> = parts
        .iter()
        .map(|part| {
            let saved = saved.as_mut().and_then(Iterator::next);
            Slice::new(workers, layer, part.clone(), saved)
        })
        .collect();
    let pass = Pass {
        workers,
        kernels: workers.kernels,
        layer,
        steps,
        weights: &weights,
    };
    if groups.len() == 1 {
        let rows = steps.cut_rows(&mut *outputs, layer.hidden, &parts);
        let parts = slices.iter_mut().zip(rows);
        workers.each(parts, |_, (slice, outputs)| pass.rows(slice, outputs));
    } else {
        let outputs: Vec<_> = steps
            .by_step(&mut *outputs, layer.hidden)
            .map(RwLock::new)
            .collect();
        workers.together(slices.iter_mut(), |slices, barrier| {
            pass.units(slices, &outputs, barrier);
        });
    }
    steps.last_rows(outputs, h, layer.hidden);
    for slice in &slices {
        if layer.cell == Cell::Lstm {
            let c = slice.part.rows_of_mut(c, layer.hidden);
            slice
                .part
                .scatter(&slice.cell, slice.part.width(), c, layer.hidden);
        }
    }
}

impl<'a> Weights<'a> {
    fn pack(workers: Workers<'a>, layer: &Layer) -> Self {
        let layout = layer.layout();
        let mut recurrent = workers.packed(layout, layer.hidden);
        let mut input =
            matches!(layer.input, Input::Vectors(_)).then(|| workers.packed(layout, layer.inputs));
        let panels = recurrent
            .parts()
            .map(|p| (p, Filling::Rows(layer.weight_hh)));
        let of_input = input.iter_mut().flat_map(|input| input.parts());
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
            // n has two products: the reset gate comes between them.
            let n = 2 * layer.hidden;
            both[n..].copy_from_slice(&layer.bias_ih[n..]);
            let mut of_n = vec![0.0; both.len()];
            of_n[n..].copy_from_slice(&layer.bias_hh[n..]);
            recurrent_bias = layout.spread(&of_n);
        }
        let table = token_table(workers, layer, &layout.spread(&both));
        Self {
            table,
            input,
            recurrent,
            recurrent_bias,
        }
    }
}

/// What each token adds to the gates (V, gates): its column of W_ih, and the biases. What belongs to a job none of
/// whose tokens is in the batch is arbitrary. For vectors, one row with the biases.
fn token_table<'a>(workers: Workers<'a>, layer: &Layer, bias: &[f32]) -> Loan<'a, Vec<f32>> {
    let layout = layer.layout();
    let length = layout.len();
    let Input::Tokens(batch) = layer.input else {
        let mut table = workers.buffers.numbers(length);
        table.copy_from_slice(bias);
        return table;
    };
    let tokens = layer.inputs;
    let mut is_used = vec![false; tokens.div_ceil(TOKENS_PER_JOB)];
    for &token in batch {
        is_used[token as usize / TOKENS_PER_JOB] = true;
    }
    let mut table = workers.buffers.numbers(tokens * length);
    let kernels = workers.kernels;
    let jobs = table.chunks_mut(TOKENS_PER_JOB * length).enumerate();
    let jobs: Vec<_> = jobs.filter(|&(job, _)| is_used[job]).collect();
    let workers = workers.for_work(jobs.len() * TOKENS_PER_JOB * length * A_COPY);
    workers.each(jobs, |_, (job, part)| {
        let columns = job * TOKENS_PER_JOB..job * TOKENS_PER_JOB + part.len() / length;
        let mut rows = [&layer.weight_ih[..0]; PANEL];
        part.fill(0.0);
        for panel in 0..layout.panels() {
            let own = layout.rows(panel);
            let rows = &mut rows[..own.len()];
            for (slot, row) in rows.iter_mut().zip(own) {
                *slot = &layer.weight_ih[row * tokens..][..tokens][columns.clone()];
            }
            kernels.transpose(rows, &mut part[panel * PANEL..], length);
        }
        for row in part.chunks_exact_mut(length) {
            kernels.add(bias, row);
        }
    });
    table
}

/// A pass over all steps.
struct Pass<'a> {
    workers: Workers<'a>,
    kernels: Kernels,
    layer: &'a Layer<'a>,
    steps: &'a Steps,
    weights: &'a Weights<'a>,
}

/// The part of a layer that one thread carries through the whole sequence.
struct Slice<'a> {
    part: Part,
    /// Gates and units of every step, if they are saved.
    saved: Option<(BySteps<'a>, BySteps<'a>)>,
    /// What every step of a row adds to its gates (R, gates), or none.
    constant: Option<Loan<'a, Vec<f32>>>,
    /// Gates of one step (R, gates), if they are not saved.
    gates: Loan<'a, Vec<f32>>,
    /// The recurrent product of a GRU's gates (R, gates).
    recurrent: Loan<'a, Vec<f32>>,
    /// An LSTM's cells (R, width): before the first step, and of each row after its last. If none
    /// are saved, the current ones.
    cell: Loan<'a, Vec<f32>>,
    /// h after the current step and after the one before it (R, own units), if several threads
    /// compute the units of a row.
    hidden: [Loan<'a, Vec<f32>>; 2],
}

impl Pass<'_> {
    /// A part of some rows of the batch, with their `outputs`.
    fn rows(&self, slice: &mut Slice, mut outputs: BySteps) {
        let hidden = self.layer.hidden;
        let h0 = slice.part.rows_of(self.layer.h0, hidden);
        for t in 0..self.steps.len() {
            if self.workers.team.is_stopping() {
                return;
            }
            let count = self.steps.count_in(t, &slice.part.rows);
            let (past, now) = outputs.split_at_mut(t);
            let before = &past.last().map_or(h0, |h| &**h)[..count * hidden];
            slice.step(self, t, before, before, now[0]);
        }
    }

    /// A part of some units of all rows; all threads share `outputs` (n_t, H) by step.
    fn units(
        &self,
        mut slices: Vec<&mut Slice>,
        outputs: &[RwLock<&mut [f32]>],
        barrier: &Barrier,
    ) {
        let hidden = self.layer.hidden;
        for (t, now) in outputs.iter().enumerate() {
            let count = self.steps.count(t);
            {
                let past = t.checked_sub(1).map(|t| &outputs[t]);
                let past = past.map(|past| past.read().unwrap_or_else(PoisonError::into_inner));
                let before = past.as_ref().map_or(self.layer.h0, |past| &***past);
                for slice in &mut slices {
                    slice.step_of_units(self, t, &before[..count * hidden]);
                }
            }
            if let Some(mut now) = write_soon(now) {
                for slice in &slices {
                    let units = slice.part.units.len();
                    let own = &slice.hidden[0][..count * units];
                    slice.part.scatter(own, units, &mut now, hidden);
                }
            }
            barrier.wait();
        }
    }
}

/// Takes the write lock, which others hold for microseconds at most.
fn write_soon<T>(lock: &RwLock<T>) -> Option<RwLockWriteGuard<'_, T>> {
    let mut access = None;
    wait_until(|| {
        access = match lock.try_write() {
            Ok(access) => Some(access),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        access.is_some()
    });
    access
}

impl<'a> Slice<'a> {
    fn new(
        workers: Workers<'a>,
        layer: &Layer,
        part: Part,
        saved: Option<(BySteps<'a>, BySteps<'a>)>,
    ) -> Self {
        let hidden = layer.hidden;
        let rows = part.rows.len();
        let gates = rows * part.columns(layer.layout().gates).len();
        let where_needed =
            |needed: bool, length: usize| workers.buffers.zeros(if needed { length } else { 0 });
        let lstm = layer.cell == Cell::Lstm;
        let mut cell = where_needed(lstm, rows * part.width());
        if lstm {
            part.gather(
                part.rows_of(layer.c0, hidden),
                hidden,
                &mut cell,
                part.width(),
            );
        }
        let units = part.units.len();
        let [mut h0, apart] = [0, 1].map(|_| where_needed(units < hidden, rows * units));
        if units < hidden {
            part.gather(layer.h0, hidden, &mut h0, units);
        }
        Self {
            constant: spread_rows(workers, layer, &part),
            gates: where_needed(saved.is_none(), gates),
            recurrent: where_needed(layer.cell == Cell::Gru, gates),
            cell,
            hidden: [h0, apart],
            saved,
            part,
        }
    }

    /// Takes one step; h stays in this part.
    fn step_of_units(&mut self, pass: &Pass, t: usize, before: &[f32]) {
        let own = pass.steps.count(t) * self.part.units.len();
        let [past, now] = &mut self.hidden;
        let (past, mut now) = (std::mem::take(&mut **past), std::mem::take(&mut **now));
        self.step(pass, t, before, &past[..own], &mut now[..own]);
        // What is now is past at the next step.
        *self.hidden[0] = now;
        *self.hidden[1] = past;
    }

    /// Takes one step, given h of all units (R, H) and of its own before it; writes its own after it.
    fn step(&mut self, pass: &Pass, t: usize, before: &[f32], own: &[f32], now: &mut [f32]) {
        let &Pass {
            workers,
            kernels,
            layer,
            steps,
            weights,
            ..
        } = pass;
        let (width, units) = (self.part.width(), self.part.units.len());
        let count = steps.count_in(t, &self.part.rows);
        if count == 0 {
            return;
        }
        let columns = self.part.columns(layer.layout().gates);
        let panels = self.part.panels(layer.layout().gates);
        let positions = steps.positions_of(t, &self.part.rows);
        let (gates, saved) = match &mut self.saved {
            Some((gates, units)) => (&mut *gates[t], Some(units)),
            None => (&mut self.gates[..count * columns.len()], None),
        };
        begin(layer, weights, positions.clone(), columns.clone(), gates);
        if let Some(constant) = &self.constant {
            kernels.add(&constant[..gates.len()], gates);
        }
        if let (Input::Vectors(x), Some(matrix)) = (layer.input, &weights.input) {
            let x = &x[positions.start * layer.inputs..positions.end * layer.inputs];
            workers.accumulate(matrix.panels(panels.clone()), x, gates);
        }
        let matrix = weights.recurrent.panels(panels);
        match layer.cell {
            Cell::Lstm => {
                workers.accumulate(matrix, before, gates);
                if let Some(cells) = saved {
                    let (past, cell) = cells.split_at_mut(t);
                    let before = past.last().map_or(&self.cell[..], |cell| &**cell);
                    kernels.lstm_saving(gates, &before[..count * width], cell[0], now, units);
                    let ended = steps.count_in(t + 1, &self.part.rows) * width;
                    self.cell[ended..count * width].copy_from_slice(&cell[0][ended..]);
                } else {
                    kernels.lstm(gates, &mut self.cell[..count * width], now, units);
                }
            }
            Cell::Gru => {
                let recurrent = &mut self.recurrent[..gates.len()];
                for row in recurrent.chunks_exact_mut(columns.len()) {
                    row.copy_from_slice(&weights.recurrent_bias[columns.clone()]);
                }
                workers.accumulate(matrix, before, recurrent);
                if let Some(candidates) = saved {
                    kernels.gru_saving(gates, recurrent, candidates[t], own, now, units);
                } else {
                    now.copy_from_slice(own);
                    kernels.gru(gates, recurrent, now, units);
                }
            }
            Cell::Rnn => {
                workers.accumulate(matrix, before, gates);
                kernels.rnn_saving(gates, now, units);
            }
        }
    }
}

/// The constants that each step adds to a part's gates (R, gates), or none.
fn spread_rows<'a>(workers: Workers<'a>, layer: &Layer, part: &Part) -> Option<Loan<'a, Vec<f32>>> {
    let layout = layer.layout();
    let constant = part.rows_of(layer.constant?, layout.gates * layout.units);
    let rows = constant.chunks_exact(layout.gates * layout.units);
    let columns = part.columns(layout.gates);
    let mut spread = workers.buffers.zeros(rows.len() * columns.len());
    for (from, to) in rows.zip(spread.chunks_exact_mut(columns.len())) {
        for (panel, to) in part.panels(layout.gates).zip(to.chunks_exact_mut(PANEL)) {
            let from = &from[layout.rows(panel)];
            to[..from.len()].copy_from_slice(from);
        }
    }
    Some(spread)
}

/// The gates of some positions before any product is added: some columns of all.
fn begin(
    layer: &Layer,
    weights: &Weights,
    positions: Range<usize>,
    columns: Range<usize>,
    gates: &mut [f32],
) {
    let length = layer.layout().len();
    let rows = gates.chunks_exact_mut(columns.len());
    match layer.input {
        Input::Tokens(tokens) => {
            for (row, &token) in rows.zip(&tokens[positions]) {
                let of_token = &weights.table[token as usize * length..][..length];
                row.copy_from_slice(&of_token[columns.clone()]);
            }
        }
        Input::Vectors(_) => {
            for row in rows {
                row.copy_from_slice(&weights.table[columns.clone()]);
            }
        }
    }
}
