//! Recurrent layers with an output layer on top, which every network writes text with.

use crate::config::Cell;
use crate::kernels::{Kernels, Quantized};
use crate::models::linear::Linear;
use crate::models::recurrent::{
    Columns, Layer, LayerState, Read, select_rows, set_row, swap_remove_row,
};
use crate::models::weights::{WeightError, Weights};

/// A network that reads and predicts the tokens of N texts in parallel.
pub trait Network {
    /// The state of `rows` texts before their first token: zeros, also for the logits.
    fn state(&self, rows: usize) -> RowState;

    /// Reads one token of each text: tokens (N). [`RowState::logits`] are then those of the next.
    ///
    /// # Panics
    /// If a token is not below the network's `inputs`, the numbers of tokens and rows differ, or `state`
    /// belongs to another network.
    fn step(&self, state: &mut RowState, tokens: &[u32]);
}

/// What a network carries from token to token for N texts that are read in parallel, one text per
/// row, with scratch for their next logits.
#[derive(Clone, Debug)]
pub struct RowState {
    pub(crate) layers: Vec<LayerState>,
    /// The first layer's gate pre-activations (N, blocks, G, 32) from an input that is the same at
    /// every token; empty if there is none.
    constant_gates: Vec<f32>,
    /// (N, width).
    pub(crate) logits: Vec<f32>,
    /// Logits of a row, without and with padding.
    outputs: usize,
    width: usize,
    pub(crate) scratch: Quantized,
}

impl RowState {
    /// The number of rows, N.
    pub fn rows(&self) -> usize {
        self.logits.len() / self.width
    }

    /// The logits (outputs) of a text after the last token read; zeros if none has been.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn logits(&self, row: usize) -> &[f32] {
        &self.logits[row * self.width..][..self.outputs]
    }

    /// Copies the only row of `from` to row `row`, so that another text continues there.
    ///
    /// # Panics
    /// If there is no such row, or `from` has several rows or belongs to another network.
    pub fn set_row(&mut self, row: usize, from: &Self) {
        for (state, from) in self.layers.iter_mut().zip(&from.layers) {
            state.set_row(row, from);
        }
        set_row(&mut self.constant_gates, row, &from.constant_gates);
        set_row(&mut self.logits, row, &from.logits);
    }

    /// Sets what the layers carry in row `row` to zero.
    pub(crate) fn clear_row(&mut self, row: usize) {
        for state in &mut self.layers {
            state.clear_row(row);
        }
    }

    /// Removes row `row`; the last row takes its position.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn swap_remove_row(&mut self, row: usize) {
        let rows = self.rows();
        for state in &mut self.layers {
            state.swap_remove_row(row);
        }
        swap_remove_row(&mut self.constant_gates, row, rows);
        swap_remove_row(&mut self.logits, row, rows);
    }

    /// A state whose row i is a copy of row `rows[i]`: texts may be left out, and a text may continue in
    /// several ways.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let select = |array: &[f32]| select_rows(array, rows, self.rows());
        Self {
            layers: self.layers.iter().map(|layer| layer.select(rows)).collect(),
            constant_gates: select(&self.constant_gates),
            logits: select(&self.logits),
            scratch: Quantized::default(),
            ..*self
        }
    }

    /// The only row as plain arrays.
    ///
    /// # Panics
    /// If there are several rows.
    pub fn snapshot(&self) -> Snapshot {
        assert_eq!(self.rows(), 1, "one text");
        let cells = |layer: &LayerState| layer.cell[layer.unpadded_cells()].to_vec();
        Snapshot {
            hidden: self
                .layers
                .iter()
                .map(|layer| layer.hidden.clone())
                .collect(),
            cell: self.layers.iter().map(cells).collect(),
            logits: self.logits(0).to_vec(),
        }
    }

    /// Overwrites the only row with a snapshot; false if its sizes don't fit this network.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> bool {
        let layers = [snapshot.hidden.len(), snapshot.cell.len()];
        if layers != [self.layers.len(); 2] || snapshot.logits.len() != self.outputs {
            return false;
        }
        let arrays = snapshot.hidden.iter().zip(&snapshot.cell);
        for (layer, (hidden, cell)) in self.layers.iter_mut().zip(arrays) {
            // The padding of the last block of cells is zero and stays so.
            let cells = layer.unpadded_cells();
            if hidden.len() != layer.hidden.len() || cell.len() != cells.len() {
                return false;
            }
            layer.hidden.copy_from_slice(hidden);
            layer.cell[cells].copy_from_slice(cell);
        }
        self.logits[..self.outputs].copy_from_slice(&snapshot.logits);
        true
    }
}

/// The state of one text as plain arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Each layer's hidden state (H).
    pub hidden: Vec<Vec<f32>>,
    /// Each layer's cells (H) in an LSTM, else empty.
    pub cell: Vec<Vec<f32>>,
    /// The logits (outputs) of the next token.
    pub logits: Vec<f32>,
}

/// Stacked recurrent layers and the output layer.
#[derive(Clone, Debug)]
pub(crate) struct Predictor {
    /// Bottom layer first.
    pub layers: Vec<Layer>,
    pub head: Linear,
    /// Whether the first layer also reads a vector that is the same at every token.
    constant_input: bool,
    pub kernels: Kernels,
}

impl Predictor {
    /// Built from the weights whose names start with `prefix`; the first layer reads `columns`.
    pub fn new(
        weights: &Weights,
        prefix: &str,
        (cell, layers): (Cell, usize),
        columns: Columns,
        constant_input: bool,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let name = format!("{prefix}rnn");
        let layer = |layer| {
            let columns = if layer == 0 { columns } else { Columns::Vector };
            Layer::new(
                weights,
                (&name, &format!("l{layer}")),
                cell,
                columns,
                kernels,
            )
        };
        Ok(Self {
            layers: (0..layers).map(layer).collect::<Result<_, _>>()?,
            head: Linear::new(weights, &format!("{prefix}head"))?,
            constant_input,
            kernels,
        })
    }

    /// Blocks of 32 units in a layer, the smallest parts that it can be split into.
    pub fn blocks(&self) -> usize {
        self.layers.first().map_or(0, Layer::blocks)
    }

    /// A zero state of `rows` texts.
    pub fn state(&self, rows: usize) -> RowState {
        self.state_with(rows, &[])
    }

    /// A zero state of `rows` texts, each with its row of `x` (`rows`, columns) as a constant input.
    pub fn state_with(&self, rows: usize, x: &[f32]) -> RowState {
        let width = self.head.width();
        let first = self.layers.first().filter(|_| self.constant_input);
        RowState {
            layers: self.layers.iter().map(|layer| layer.state(rows)).collect(),
            constant_gates: first
                .map_or_else(Vec::new, |layer| layer.input_product(self.kernels, x, rows)),
            logits: vec![0.0; rows * width],
            outputs: self.head.rows(),
            width,
            scratch: Quantized::default(),
        }
    }

    /// Reads one token per row.
    pub fn step(&self, state: &mut RowState, tokens: &[u32]) {
        assert_eq!(tokens.len(), state.rows(), "one token a row");
        if self.constant_input {
            let constant = std::mem::take(&mut state.constant_gates);
            self.step_on(state, Read::TokensAnd(tokens, &constant));
            state.constant_gates = constant;
        } else {
            self.step_on(state, Read::Tokens(tokens));
        }
    }

    /// Reads one input per row.
    pub fn step_on(&self, state: &mut RowState, read: Read) {
        let mut below: Option<&[f32]> = None;
        for (layer, state) in self.layers.iter().zip(&mut state.layers) {
            layer.step(self.kernels, below.map_or(read, Read::Vectors), state);
            below = Some(&state.hidden);
        }
        let hidden = below.unwrap_or_default();
        self.head
            .apply(self.kernels, hidden, &mut state.scratch, &mut state.logits);
    }

    /// Reads T tokens of the only row and returns the top layer's hidden states (T, H): bit for bit
    /// those of single steps, but with one product per layer's input. The logits don't change.
    pub fn sequence(&self, state: &mut RowState, tokens: &[u32]) -> Vec<f32> {
        let mut below: Option<Vec<f32>> = None;
        for (layer, state) in self.layers.iter().zip(&mut state.layers) {
            let read = below.as_deref().map_or(Read::Tokens(tokens), Read::Vectors);
            below = Some(layer.sequence(self.kernels, read, state));
        }
        below.unwrap_or_default()
    }
}

/// The index of the highest value, the first of equals, ignoring NaN; 0 if there is none.
pub fn argmax(values: &[f32]) -> u32 {
    let mut best = 0;
    let mut highest = f32::NEG_INFINITY;
    for (index, &value) in values.iter().enumerate() {
        if value > highest {
            (best, highest) = (index, value);
        }
    }
    best as u32
}
