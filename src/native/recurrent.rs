//! Recurrent layers, one symbol at a time: what both models are made of.
//!
//! What a layer's gates start from is a table. The first layer of a network that reads symbols has
//! a row a symbol: bias and the input weights times its embedding (or times a one-hot, which picks
//! a column). Other layers have one row, their bias, and a product with what is below comes on top.

use std::ops::Range;

use super::kernels::{Kernels, Packed};
use super::weights::{WeightError, Weights, values};
use crate::config::Cell;

/// A dense layer: `weight` (rows, columns) and `bias` (rows).
#[derive(Clone, Debug)]
pub(super) struct Linear {
    weight: Packed,
    bias: Vec<f32>,
}

impl Linear {
    /// From `{name}.weight` and `{name}.bias`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, WeightError> {
        let bias = values(weights, &format!("{name}.bias"))?.to_vec();
        let weight = values(weights, &format!("{name}.weight"))?;
        let columns = weight.len() / bias.len();
        Ok(Self {
            weight: Packed::new(weight, columns, 0..columns),
            bias,
        })
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.weight.rows()
    }

    /// `out = weight · x + bias`: x (columns), out (rows).
    pub fn apply(&self, kernels: Kernels, x: &[f32], out: &mut [f32]) {
        out.copy_from_slice(&self.bias);
        kernels.accumulate(&self.weight, x, out);
    }
}

/// What one layer carries from symbol to symbol, and room for its gates.
#[derive(Clone, Debug)]
pub(super) struct LayerState {
    /// (H).
    pub hidden: Vec<f32>,
    /// (H) in an LSTM, else empty.
    cell: Vec<f32>,
    /// (G·H).
    gates: Vec<f32>,
    /// The recurrent share of the gates, (3H), in a GRU, which needs it apart; else empty.
    recurrent: Vec<f32>,
}

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read<'a> {
    /// A symbol: a row of the table.
    Symbol(u32),
    /// A symbol, and a share of the gates (G·H) that was computed before.
    SymbolAnd(u32, &'a [f32]),
    /// A vector (columns of the input weights).
    Vector(&'a [f32]),
}

/// Where a layer's weights stand, and what the columns of its input weights mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// For instance `decoder.rnn`.
    pub name: &'a str,
    pub layer: usize,
    /// `_reverse` or nothing.
    pub suffix: &'a str,
}

impl Place<'_> {
    fn values<'w>(&self, weights: &'w Weights, part: &str) -> Result<&'w [f32], WeightError> {
        let Self {
            name,
            layer,
            suffix,
        } = self;
        values(weights, &format!("{name}.{part}_l{layer}{suffix}"))
    }
}

/// How the first columns of a layer's input weights are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Columns<'a> {
    /// As a vector.
    Vector,
    /// As a symbol: there are as many columns as symbols.
    OneHot,
    /// As a symbol's embedding (V, E) of the given E; further columns are a vector.
    Embedding(&'a [f32], usize),
}

/// One recurrent layer.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    cell: Cell,
    hidden: usize,
    /// (symbols or 1, G·H).
    start: Vec<f32>,
    /// Input weights of what is read as a vector.
    input: Packed,
    /// (G·H, H).
    recurrent: Packed,
    /// (G·H) in a GRU, whose reset gate acts on it; else it is part of `start` and this is empty.
    recurrent_bias: Vec<f32>,
}

impl Layer {
    /// From weights that [`check`](super::weights::check) has passed.
    pub fn new(
        weights: &Weights,
        place: Place,
        cell: Cell,
        columns: Columns,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let recurrent_bias = place.values(weights, "bias_hh")?;
        let gates = recurrent_bias.len();
        let hidden = gates / cell.gates();
        let mut bias = place.values(weights, "bias_ih")?.to_vec();
        let separate = cell == Cell::Gru;
        if !separate {
            kernels.add(recurrent_bias, &mut bias);
        }
        let input = place.values(weights, "weight_ih")?;
        let (start, vector) = start_table(input, bias, columns, kernels);
        Ok(Self {
            cell,
            hidden,
            start,
            input: Packed::new(input, input.len() / gates, vector),
            recurrent: Packed::new(place.values(weights, "weight_hh")?, hidden, 0..hidden),
            recurrent_bias: if separate {
                recurrent_bias.to_vec()
            } else {
                Vec::new()
            },
        })
    }

    /// A zero state.
    pub fn state(&self) -> LayerState {
        LayerState {
            hidden: vec![0.0; self.hidden],
            cell: vec![
                0.0;
                if self.cell == Cell::Lstm {
                    self.hidden
                } else {
                    0
                }
            ],
            gates: vec![0.0; self.recurrent.rows()],
            recurrent: vec![0.0; self.recurrent_bias.len()],
        }
    }

    /// The share of the gates (G·H) that comes from a vector and no bias.
    pub fn share(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        let mut share = vec![0.0; self.recurrent.rows()];
        kernels.accumulate(&self.input, x, &mut share);
        share
    }

    /// Reads one input. Panics where a symbol has no row or a vector another length.
    pub fn step(&self, kernels: Kernels, read: Read, state: &mut LayerState) {
        let LayerState {
            hidden,
            cell,
            gates,
            recurrent,
        } = state;
        let row = match read {
            Read::Symbol(symbol) | Read::SymbolAnd(symbol, _) => symbol as usize,
            Read::Vector(_) => 0,
        };
        let size = gates.len();
        gates.copy_from_slice(&self.start[row * size..][..size]);
        match read {
            Read::Symbol(_) => (),
            Read::SymbolAnd(_, share) => kernels.add(share, gates),
            Read::Vector(x) => kernels.accumulate(&self.input, x, gates),
        }
        if self.cell == Cell::Gru {
            recurrent.copy_from_slice(&self.recurrent_bias);
            kernels.accumulate(&self.recurrent, hidden, recurrent);
            return kernels.gru(gates, recurrent, hidden);
        }
        kernels.accumulate(&self.recurrent, hidden, gates);
        match self.cell {
            Cell::Lstm => kernels.lstm(gates, cell, hidden),
            Cell::Gru | Cell::Rnn => kernels.rnn(gates, hidden),
        }
    }
}

/// The table that gates start from, and which columns of `input` (G·H, I) it leaves to the vector.
fn start_table(
    input: &[f32],
    bias: Vec<f32>,
    columns: Columns,
    kernels: Kernels,
) -> (Vec<f32>, Range<usize>) {
    let gates = bias.len();
    let width = input.len() / gates;
    match columns {
        Columns::Vector => (bias, 0..width),
        Columns::OneHot => {
            let cells = (0..width).flat_map(|symbol| {
                bias.iter()
                    .enumerate()
                    .map(move |(gate, bias)| bias + input[gate * width + symbol])
            });
            (cells.collect(), width..width)
        }
        Columns::Embedding(embedding, size) => {
            let packed = Packed::new(input, width, 0..size);
            let mut table = bias.repeat(embedding.len() / size);
            for (row, symbol) in table
                .chunks_exact_mut(gates)
                .zip(embedding.chunks_exact(size))
            {
                kernels.accumulate(&packed, symbol, row);
            }
            (table, size..width)
        }
    }
}

/// Layers one above the other, read in one direction.
#[derive(Clone, Debug)]
pub(super) struct Stack(Vec<Layer>);

impl Stack {
    /// `layers` layers under `name`, of which the first reads `columns`.
    pub fn new(
        weights: &Weights,
        name: &str,
        layers: usize,
        cell: Cell,
        columns: Columns,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let layer = |layer| {
            let columns = if layer == 0 { columns } else { Columns::Vector };
            Layer::new(
                weights,
                Place {
                    name,
                    layer,
                    suffix: "",
                },
                cell,
                columns,
                kernels,
            )
        };
        (0..layers).map(layer).collect::<Result<_, _>>().map(Self)
    }

    /// Zero states, one a layer.
    pub fn state(&self) -> Vec<LayerState> {
        self.0.iter().map(Layer::state).collect()
    }

    /// [`Layer::share`] of the first layer.
    pub fn share(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        self.0
            .first()
            .map_or_else(Vec::new, |layer| layer.share(kernels, x))
    }

    /// Reads one input and returns the top layer's hidden state (H).
    pub fn step<'s>(
        &self,
        kernels: Kernels,
        read: Read,
        states: &'s mut [LayerState],
    ) -> &'s [f32] {
        let mut below: Option<&[f32]> = None;
        for (layer, state) in self.0.iter().zip(states) {
            layer.step(kernels, below.map_or(read, Read::Vector), state);
            below = Some(&state.hidden);
        }
        below.unwrap_or_default()
    }
}
