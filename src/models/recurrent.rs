//! One recurrent layer, which reads one token or vector of each text at a time.
//!
//! N texts that are read in parallel are N rows of one state. Rows are independent of each other, so
//! a text comes out the same whatever else is in the batch.
//!
//! Gate pre-activations start from a lookup table. The first layer of a network that reads tokens has
//! one row per token: the bias plus the input weights times the token's embedding (or times a one-hot,
//! which picks a column). Other layers have one row, their bias, and add a product with their input.
//! Gates follow the [`Layout`] of the recurrent weights, in blocks of 32 units, so that a thread can
//! compute some blocks of a layer and leave the others to its neighbours.

use std::ops::Range;

use crate::config::Cell;
use crate::kernels::{Kernels, Layout, PANEL, Packed, Quantized};
use crate::models::linear::Matrix;
use crate::models::weights::{Array, WeightError, Weights, array};

/// What a layer, or some blocks of it, carries from token to token, with scratch for its gates.
#[derive(Clone, Debug)]
pub(crate) struct LayerState {
    /// N; 1 if this state is a part of a layer's.
    rows: usize,
    /// The blocks of 32 units that this state covers.
    blocks: Range<usize>,
    /// The units of these blocks.
    pub units: Range<usize>,
    /// (N, H), also in a part.
    pub hidden: Vec<f32>,
    /// (N, blocks · 32) in an LSTM, else empty.
    pub cell: Vec<f32>,
    /// Scratch (N, blocks, G, 32).
    gates: Vec<f32>,
    /// Scratch of the same size in a GRU, which needs the recurrent product by itself; else empty.
    recurrent: Vec<f32>,
    scratch: Quantized,
}

impl LayerState {
    /// The range of this state's cells within those of the whole layer.
    pub fn cells(&self) -> Range<usize> {
        let first = self.blocks.start * PANEL;
        first..first + self.cell.len()
    }

    /// The range of the only row's cells without padding; empty unless the layer is an LSTM.
    pub fn unpadded_cells(&self) -> Range<usize> {
        0..self.hidden.len().min(self.cell.len())
    }

    /// Copies the only row of `from` to row `row`.
    pub fn set_row(&mut self, row: usize, from: &Self) {
        set_row(&mut self.hidden, row, &from.hidden);
        set_row(&mut self.cell, row, &from.cell);
    }

    /// Sets row `row` to zero; a part of a state has one row.
    pub fn clear_row(&mut self, row: usize) {
        for array in [&mut self.hidden, &mut self.cell] {
            let width = array.len() / self.rows;
            array[row * width..][..width].fill(0.0);
        }
    }

    /// Removes row `row`; the last row takes its position.
    pub fn swap_remove_row(&mut self, row: usize) {
        let rows = self.rows;
        for array in self.arrays() {
            swap_remove_row(array, row, rows);
        }
        self.rows -= 1;
    }

    /// A state whose row i is a copy of row `rows[i]`.
    pub fn select(&self, rows: &[usize]) -> Self {
        let mut selected = self.clone();
        for array in selected.arrays() {
            *array = select_rows(array, rows, self.rows);
        }
        selected.rows = rows.len();
        selected
    }

    const fn arrays(&mut self) -> [&mut Vec<f32>; 4] {
        [
            &mut self.hidden,
            &mut self.cell,
            &mut self.gates,
            &mut self.recurrent,
        ]
    }
}

/// Copies `from`, one row, to row `row` of an array.
pub(crate) fn set_row(array: &mut [f32], row: usize, from: &[f32]) {
    array[row * from.len()..][..from.len()].copy_from_slice(from);
}

/// Rows `chosen` of an array of `rows` rows.
pub(crate) fn select_rows(array: &[f32], chosen: &[usize], rows: usize) -> Vec<f32> {
    let width = array.len() / rows;
    let row = |&row: &usize| &array[row * width..][..width];
    chosen.iter().flat_map(row).copied().collect()
}

/// Removes row `row` of an array of `rows` rows; the last row takes its position.
pub(crate) fn swap_remove_row(array: &mut Vec<f32>, row: usize, rows: usize) {
    let width = array.len() / rows;
    let last = (rows - 1) * width;
    array.copy_within(last.., row * width);
    array.truncate(last);
}

/// What a layer reads: one input per row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    /// Tokens (N): rows of the table.
    Tokens(&'a [u32]),
    /// Tokens (N), and gate pre-activations (N, blocks, G, 32) from an input that never changes.
    TokensAnd(&'a [u32], &'a [f32]),
    /// Vectors (N, columns of the input weights).
    Vectors(&'a [f32]),
}

/// How the first columns of a layer's input weights are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Columns<'a> {
    /// All columns read a vector.
    Vector,
    /// Each column is a token's.
    OneHot,
    /// The first E columns read a token's embedding (V, E), the others read a vector.
    Embedding(&'a [f32], usize),
}

/// A recurrent layer, packed for products.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    cell: Cell,
    /// (tokens or 1, blocks, G, 32).
    start: Vec<f32>,
    /// Input weights of the vector input.
    input: Matrix,
    /// (G·H, H).
    recurrent: Matrix,
    /// (blocks, G, 32) in a GRU, whose reset gate acts on it; else it is part of `start` and this
    /// is empty.
    recurrent_bias: Vec<f32>,
}

impl Layer {
    /// From weights that [`check`](crate::models::weights::check) has passed: those named
    /// `{name}.*_{suffix}`, for instance `decoder.rnn` and `l0_reverse`.
    pub fn new(
        weights: &Weights,
        (name, suffix): (&str, &str),
        cell: Cell,
        columns: Columns,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let gates = cell.gates();
        let part = |part: &str| array(weights, &format!("{name}.{part}_{suffix}"));
        let input = part("weight_ih")?;
        let recurrent = part("weight_hh")?;
        let recurrent = Matrix::new(recurrent, 0..recurrent.shape[1], gates);
        let layout = recurrent.layout();
        let recurrent_bias = part("bias_hh")?.data();
        let mut bias = part("bias_ih")?.data().into_owned();
        let separate = cell == Cell::Gru;
        if !separate {
            kernels.add(&recurrent_bias, &mut bias);
        }
        let (start, vector) = start_table(input, &layout.spread(&bias), layout, columns, kernels);
        Ok(Self {
            cell,
            start,
            input: Matrix::new(input, vector, gates),
            recurrent,
            recurrent_bias: if separate {
                layout.spread(&recurrent_bias)
            } else {
                Vec::new()
            },
        })
    }

    const fn layout(&self) -> Layout {
        self.recurrent.layout()
    }

    /// Hidden size H.
    pub const fn units(&self) -> usize {
        self.layout().units
    }

    /// Blocks of 32 units.
    pub const fn blocks(&self) -> usize {
        self.layout().blocks()
    }

    /// Bytes of the weights that a step reads, without the table.
    pub fn weight_bytes(&self) -> usize {
        self.input.bytes() + self.recurrent.bytes()
    }

    /// A zero state of `rows` rows.
    pub fn state(&self, rows: usize) -> LayerState {
        self.partial_state(rows, 0..self.blocks())
    }

    /// A zero state of some blocks.
    fn partial_state(&self, rows: usize, blocks: Range<usize>) -> LayerState {
        let width = rows * blocks.len() * PANEL;
        let zeros = |cells: bool, width: usize| vec![0.0; if cells { width } else { 0 }];
        LayerState {
            rows,
            units: blocks.start * PANEL..self.units().min(blocks.end * PANEL),
            blocks,
            hidden: vec![0.0; rows * self.units()],
            cell: zeros(self.cell == Cell::Lstm, width),
            gates: zeros(true, width * self.cell.gates()),
            recurrent: zeros(self.cell == Cell::Gru, width * self.cell.gates()),
            scratch: Quantized::default(),
        }
    }

    /// The part of a state of one row that `blocks` compute.
    pub fn part(&self, state: &LayerState, blocks: Range<usize>) -> LayerState {
        let mut part = self.partial_state(1, blocks);
        part.hidden.copy_from_slice(&state.hidden);
        if self.cell == Cell::Lstm {
            let cells = part.cells();
            part.cell.copy_from_slice(&state.cell[cells]);
        }
        part
    }

    /// Gate pre-activations (N, blocks, G, 32) of vectors, without bias; zeros if `x` is empty.
    pub fn input_product(&self, kernels: Kernels, x: &[f32], rows: usize) -> Vec<f32> {
        let mut gates = vec![0.0; rows * self.layout().len()];
        if !x.is_empty() {
            let panels = 0..self.layout().panels();
            let mut scratch = Quantized::default();
            self.input
                .accumulate(kernels, panels, x, &mut scratch, &mut gates);
        }
        gates
    }

    /// The panels of some blocks.
    const fn panels(&self, blocks: &Range<usize>) -> Range<usize> {
        let gates = self.layout().gates;
        blocks.start * gates..blocks.end * gates
    }

    /// Sets `gates` (N, blocks, G, 32) with the bias and the product with the input.
    fn begin(
        &self,
        kernels: Kernels,
        blocks: &Range<usize>,
        read: Read,
        scratch: &mut Quantized,
        gates: &mut [f32],
    ) {
        let panels = self.panels(blocks);
        let (first, width) = (panels.start * PANEL, panels.len() * PANEL);
        let row = |token: u32| &self.start[token as usize * self.layout().len() + first..][..width];
        match read {
            Read::Tokens(tokens) | Read::TokensAnd(tokens, _) => {
                for (gates, &token) in gates.chunks_exact_mut(width).zip(tokens) {
                    gates.copy_from_slice(row(token));
                }
            }
            Read::Vectors(_) => {
                for gates in gates.chunks_exact_mut(width) {
                    gates.copy_from_slice(row(0));
                }
            }
        }
        match read {
            Read::Tokens(_) => (),
            Read::TokensAnd(_, constant) => kernels.add(constant, gates),
            Read::Vectors(x) => self.input.accumulate(kernels, panels, x, scratch, gates),
        }
    }

    /// Adds the recurrent product to the gates and updates the state.
    fn finish(&self, kernels: Kernels, state: &mut LayerState) {
        let panels = self.panels(&state.blocks);
        let units = state.units.len();
        let LayerState {
            hidden,
            gates,
            recurrent,
            scratch,
            ..
        } = state;
        if self.cell == Cell::Gru {
            let bias = &self.recurrent_bias[panels.start * PANEL..panels.end * PANEL];
            for recurrent in recurrent.chunks_exact_mut(bias.len()) {
                recurrent.copy_from_slice(bias);
            }
            self.recurrent
                .accumulate(kernels, panels, hidden, scratch, recurrent);
        } else {
            self.recurrent
                .accumulate(kernels, panels, hidden, scratch, gates);
        }
        let own = match state.rows {
            1 => &mut hidden[state.units.clone()],
            _ => &mut hidden[..],
        };
        match self.cell {
            Cell::Lstm => kernels.lstm(gates, &mut state.cell, own, units),
            Cell::Gru => kernels.gru(gates, recurrent, own, units),
            Cell::Rnn => kernels.rnn(gates, own, units),
        }
    }

    /// Reads one input per row. Panics if a token has no row or a vector has another length.
    pub fn step(&self, kernels: Kernels, read: Read, state: &mut LayerState) {
        let LayerState {
            blocks,
            gates,
            scratch,
            ..
        } = state;
        if gates.is_empty() {
            return;
        }
        self.begin(kernels, blocks, read, scratch, gates);
        self.finish(kernels, state);
    }

    /// Reads a sequence of T inputs into a state of one row; the hidden states are (T, H). The products
    /// with all inputs are computed at once.
    pub fn sequence(&self, kernels: Kernels, read: Read, state: &mut LayerState) -> Vec<f32> {
        let steps = match read {
            Read::Tokens(tokens) | Read::TokensAnd(tokens, _) => tokens.len(),
            Read::Vectors(x) => x.len() / self.input.columns().max(1),
        };
        let width = self.layout().len();
        let mut gates = vec![0.0; steps * width];
        self.begin(kernels, &state.blocks, read, &mut state.scratch, &mut gates);
        let mut hidden = Vec::with_capacity(steps * self.units());
        for gates in gates.chunks_exact(width) {
            state.gates.copy_from_slice(gates);
            self.finish(kernels, state);
            hidden.extend_from_slice(&state.hidden);
        }
        hidden
    }
}

/// The lookup table of the gates, and the columns of `input` (G·H, I) that it does not cover;
/// `bias` is in the layout.
fn start_table(
    input: &Array,
    bias: &[f32],
    layout: Layout,
    columns: Columns,
    kernels: Kernels,
) -> (Vec<f32>, Range<usize>) {
    let width = input.shape[1];
    match columns {
        Columns::Vector => (bias.to_vec(), 0..width),
        Columns::OneHot => {
            let input = input.data();
            let mut table = bias.repeat(width);
            for (panel, first) in (0..layout.len()).step_by(PANEL).enumerate() {
                for (lane, row) in layout.rows(panel).enumerate() {
                    let weights = &input[row * width..][..width];
                    for (token, weight) in weights.iter().enumerate() {
                        table[token * layout.len() + first + lane] += weight;
                    }
                }
            }
            (table, width..width)
        }
        Columns::Embedding(embedding, size) => {
            let packed = Packed::new(&input.data(), width, 0..size, layout.gates);
            let mut table = bias.repeat(embedding.len() / size);
            kernels.accumulate(packed.all(), embedding, &mut table);
            (table, size..width)
        }
    }
}
