//! Recurrent layers, one token of each text at a time: what both models are made of.
//!
//! N texts that are read side by side are N rows of one state. Rows know nothing of each other, so
//! that a text is the same whatever is read beside it.
//!
//! What a layer's gates start from is a table. The first layer of a network that reads tokens has
//! a row a token: bias and the input weights times its embedding (or times a one-hot, which picks
//! a column). Other layers have one row, their bias, and a product with what is below comes on top.
//! Gates stand in the [`Layout`] of the recurrent weights: blocks of 32 units, so that a thread can
//! compute some blocks of a layer and leave the others to its neighbours.

use std::ops::Range;

use crate::config::Cell;
use crate::kernels::{Kernels, Layout, PANEL, Packed, PackedInt8, Quantized};
use crate::models::weights::{Array, Values, WeightError, Weights, array, values};

/// A matrix ready for products.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    F32(Packed),
    Int8(PackedInt8),
}

impl Matrix {
    /// `columns` of an array (rows, width) whose rows are `gates` gates.
    pub fn new(array: &Array, columns: Range<usize>, gates: usize) -> Self {
        let width = array.shape[1];
        match &array.values {
            Values::F32(values) => Self::F32(Packed::new(values, width, columns, gates)),
            Values::Int8 { numbers, scales } => {
                Self::Int8(PackedInt8::new(numbers, scales, width, columns, gates))
            }
        }
    }

    pub const fn layout(&self) -> Layout {
        match self {
            Self::F32(packed) => packed.layout(),
            Self::Int8(packed) => packed.layout(),
        }
    }

    pub const fn columns(&self) -> usize {
        match self {
            Self::F32(packed) => packed.columns(),
            Self::Int8(packed) => packed.columns(),
        }
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(packed) => packed.bytes(),
            Self::Int8(packed) => packed.bytes(),
        }
    }

    /// `out += weight · x` for every row of x (N, columns), by some of the panels only: out
    /// (N, panels · 32). `room` holds x in eight bits where that is needed.
    pub fn accumulate(
        &self,
        kernels: Kernels,
        panels: Range<usize>,
        x: &[f32],
        room: &mut Quantized,
        out: &mut [f32],
    ) {
        match self {
            Self::F32(packed) => kernels.accumulate(packed.panels(panels), x, out),
            Self::Int8(packed) if packed.columns() > 0 => {
                kernels.quantize(x, packed.columns(), room);
                kernels.accumulate_int8(packed.panels(panels), room, out);
            }
            Self::Int8(_) => (),
        }
    }
}

/// A dense layer: `weight` (rows, columns) and `bias` (rows).
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Matrix,
    /// In the weight's layout.
    bias: Vec<f32>,
}

impl Linear {
    /// From `{name}.weight` and `{name}.bias`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, WeightError> {
        let bias = values(weights, &format!("{name}.bias"))?;
        let weight = array(weights, &format!("{name}.weight"))?;
        let weight = Matrix::new(weight, 0..weight.shape[1], 1);
        Ok(Self {
            bias: weight.layout().spread(&bias),
            weight,
        })
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.weight.layout().units
    }

    /// Outputs with what fills the last panel up: the length of a row of [`Linear::apply`].
    pub const fn width(&self) -> usize {
        self.weight.layout().len()
    }

    /// Bytes of the weight.
    pub fn weight_bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// Panels of outputs.
    pub const fn panels(&self) -> usize {
        self.weight.layout().panels()
    }

    /// `out = weight · x + bias` for every row of x (N, columns): out (N, [`Linear::width`]).
    pub fn apply(&self, kernels: Kernels, x: &[f32], room: &mut Quantized, out: &mut [f32]) {
        self.apply_panels(kernels, 0..self.panels(), x, room, out);
    }

    /// The same for some panels only: out (N, panels · 32).
    pub fn apply_panels(
        &self,
        kernels: Kernels,
        panels: Range<usize>,
        x: &[f32],
        room: &mut Quantized,
        out: &mut [f32],
    ) {
        if panels.is_empty() {
            return;
        }
        let bias = &self.bias[panels.start * PANEL..panels.end * PANEL];
        for out in out.chunks_exact_mut(bias.len()) {
            out.copy_from_slice(bias);
        }
        self.weight.accumulate(kernels, panels, x, room, out);
    }

    /// [`Linear::apply`] without what fills the last panel up: (N, rows).
    pub fn plain(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.weight.columns().max(1);
        let mut out = vec![0.0; rows * self.width()];
        self.apply(kernels, x, &mut Quantized::default(), &mut out);
        let rows = out.chunks_exact(self.width());
        rows.flat_map(|row| &row[..self.rows()]).copied().collect()
    }
}

/// What a layer, or some blocks of it, carries from token to token, and room for its gates.
#[derive(Clone, Debug)]
pub(crate) struct LayerState {
    /// N; 1 where not all blocks are computed here.
    rows: usize,
    /// The blocks of 32 units that are computed here.
    blocks: Range<usize>,
    /// The units of these blocks.
    pub units: Range<usize>,
    /// (N, H), also where not all blocks are computed here.
    pub hidden: Vec<f32>,
    /// (N, blocks · 32) in an LSTM, else empty.
    pub cell: Vec<f32>,
    /// (N, blocks, G, 32).
    gates: Vec<f32>,
    /// The recurrent share of the gates, as these, in a GRU, which needs it apart; else empty.
    recurrent: Vec<f32>,
    room: Quantized,
}

impl LayerState {
    /// The place in the whole layer of the cells that are computed here.
    pub fn cells(&self) -> Range<usize> {
        let first = self.blocks.start * PANEL;
        first..first + self.cell.len()
    }

    /// Row `row` becomes the only row of `from`.
    pub fn set_row(&mut self, row: usize, from: &Self) {
        let set = |into: &mut [f32], from: &[f32]| {
            into[row * from.len()..][..from.len()].copy_from_slice(from);
        };
        set(&mut self.hidden, &from.hidden);
        set(&mut self.cell, &from.cell);
    }

    /// Removes row `row`, whose place the last one takes.
    pub fn swap_remove_row(&mut self, row: usize) {
        let rows = self.rows;
        for array in [
            &mut self.hidden,
            &mut self.cell,
            &mut self.gates,
            &mut self.recurrent,
        ] {
            swap_remove_row(array, row, rows);
        }
        self.rows -= 1;
    }

    /// A state whose row i is a copy of row `rows[i]`.
    pub fn select(&self, rows: &[usize]) -> Self {
        let select = |array: &[f32]| select_rows(array, rows, self.rows);
        Self {
            rows: rows.len(),
            blocks: self.blocks.clone(),
            units: self.units.clone(),
            hidden: select(&self.hidden),
            cell: select(&self.cell),
            gates: select(&self.gates),
            recurrent: select(&self.recurrent),
            room: self.room.clone(),
        }
    }
}

/// Rows `chosen` of an array of `rows` rows.
pub(crate) fn select_rows(array: &[f32], chosen: &[usize], rows: usize) -> Vec<f32> {
    let width = array.len() / rows;
    let row = |&row: &usize| &array[row * width..][..width];
    chosen.iter().flat_map(row).copied().collect()
}

/// Removes row `row` of an array of `rows` rows; the last row takes its place.
pub(crate) fn swap_remove_row(array: &mut Vec<f32>, row: usize, rows: usize) {
    let width = array.len() / rows;
    let last = (rows - 1) * width;
    array.copy_within(last.., row * width);
    array.truncate(last);
}

/// What a layer reads: one for each row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read<'a> {
    /// Tokens (N): rows of the table.
    Tokens(&'a [u32]),
    /// Tokens (N), and a share of the gates (N, blocks, G, 32) that was computed before.
    TokensAnd(&'a [u32], &'a [f32]),
    /// Vectors (N, columns of the input weights).
    Vectors(&'a [f32]),
}

/// Where a layer's weights stand, and what the columns of its input weights mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// For instance `decoder.rnn`.
    pub name: &'a str,
    pub layer: usize,
    /// `_reverse` or nothing.
    pub suffix: &'a str,
}

impl Place<'_> {
    fn array<'w, 'a>(
        &self,
        weights: &'w Weights<'a>,
        part: &str,
    ) -> Result<&'w Array<'a>, WeightError> {
        let Self {
            name,
            layer,
            suffix,
        } = self;
        array(weights, &format!("{name}.{part}_l{layer}{suffix}"))
    }
}

/// How the first columns of a layer's input weights are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Columns<'a> {
    /// As a vector.
    Vector,
    /// As a token: there are as many columns as tokens.
    OneHot,
    /// As a token's embedding (V, E) of the given E; further columns are a vector.
    Embedding(&'a [f32], usize),
}

/// One recurrent layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    cell: Cell,
    /// (tokens or 1, blocks, G, 32).
    start: Vec<f32>,
    /// Input weights of what is read as a vector.
    input: Matrix,
    /// (G·H, H).
    recurrent: Matrix,
    /// (blocks, G, 32) in a GRU, whose reset gate acts on it; else it is part of `start` and this
    /// is empty.
    recurrent_bias: Vec<f32>,
}

impl Layer {
    /// From weights that [`check`](crate::models::weights::check) has passed.
    pub fn new(
        weights: &Weights,
        place: Place,
        cell: Cell,
        columns: Columns,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        let gates = cell.gates();
        let input = place.array(weights, "weight_ih")?;
        let recurrent = place.array(weights, "weight_hh")?;
        let recurrent = Matrix::new(recurrent, 0..recurrent.shape[1], gates);
        let layout = recurrent.layout();
        let recurrent_bias = place.array(weights, "bias_hh")?.data();
        let mut bias = place.array(weights, "bias_ih")?.data().into_owned();
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

    /// H.
    pub const fn units(&self) -> usize {
        self.layout().units
    }

    /// Blocks of 32 units.
    pub const fn blocks(&self) -> usize {
        self.layout().blocks()
    }

    /// Bytes of the weights that a step reads, the table aside.
    pub fn weight_bytes(&self) -> usize {
        self.input.bytes() + self.recurrent.bytes()
    }

    /// `rows` zero states.
    pub fn state(&self, rows: usize) -> LayerState {
        self.partial_state(rows, 0..self.layout().blocks())
    }

    /// Zero states of some blocks.
    fn partial_state(&self, rows: usize, blocks: Range<usize>) -> LayerState {
        let width = blocks.len() * PANEL;
        let gates = vec![0.0; rows * width * self.cell.gates()];
        let lstm = self.cell == Cell::Lstm;
        LayerState {
            rows,
            units: blocks.start * PANEL..self.units().min(blocks.end * PANEL),
            blocks,
            hidden: vec![0.0; rows * self.units()],
            cell: vec![0.0; if lstm { rows * width } else { 0 }],
            recurrent: if self.cell == Cell::Gru {
                gates.clone()
            } else {
                Vec::new()
            },
            gates,
            room: Quantized::default(),
        }
    }

    /// The part of a state of one row that `blocks` compute.
    pub fn part(&self, state: &LayerState, blocks: Range<usize>) -> LayerState {
        let mut part = self.partial_state(1, blocks.clone());
        part.hidden.copy_from_slice(&state.hidden);
        if self.cell == Cell::Lstm {
            let cells = blocks.start * PANEL..blocks.end * PANEL;
            part.cell.copy_from_slice(&state.cell[cells]);
        }
        part
    }

    /// The share of the gates (N, blocks, G, 32) that comes from vectors and no bias.
    pub fn share(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.input.columns().max(1);
        let mut share = vec![0.0; rows * self.layout().len()];
        let panels = 0..self.layout().panels();
        let mut room = Quantized::default();
        self.input
            .accumulate(kernels, panels, x, &mut room, &mut share);
        share
    }

    /// The panels of some blocks.
    const fn panels(&self, blocks: &Range<usize>) -> Range<usize> {
        let gates = self.layout().gates;
        blocks.start * gates..blocks.end * gates
    }

    /// Fills `gates` (N, blocks, G, 32) with what comes from the input.
    fn begin(
        &self,
        kernels: Kernels,
        blocks: &Range<usize>,
        read: Read,
        room: &mut Quantized,
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
            Read::TokensAnd(_, share) => kernels.add(share, gates),
            Read::Vectors(x) => self.input.accumulate(kernels, panels, x, room, gates),
        }
    }

    /// Adds the recurrent share to the gates and updates the state.
    fn finish(&self, kernels: Kernels, state: &mut LayerState) {
        let panels = self.panels(&state.blocks);
        let units = state.units.len();
        let LayerState {
            hidden,
            gates,
            recurrent,
            room,
            ..
        } = state;
        if self.cell == Cell::Gru {
            let bias = &self.recurrent_bias[panels.start * PANEL..panels.end * PANEL];
            for recurrent in recurrent.chunks_exact_mut(bias.len()) {
                recurrent.copy_from_slice(bias);
            }
            self.recurrent
                .accumulate(kernels, panels, hidden, room, recurrent);
        } else {
            self.recurrent
                .accumulate(kernels, panels, hidden, room, gates);
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

    /// Reads one input a row. Panics where a token has no row or a vector another length.
    pub fn step(&self, kernels: Kernels, read: Read, state: &mut LayerState) {
        let LayerState {
            blocks,
            gates,
            room,
            ..
        } = state;
        if gates.is_empty() {
            return;
        }
        self.begin(kernels, blocks, read, room, gates);
        self.finish(kernels, state);
    }

    /// Reads a sequence (T) into a state of one row; the hidden states (T, H) go to `out`. The input
    /// products are one product.
    fn sequence(&self, kernels: Kernels, read: Read, state: &mut LayerState, out: &mut [f32]) {
        let width = self.layout().len();
        let units = self.units();
        let steps = match read {
            Read::Tokens(tokens) | Read::TokensAnd(tokens, _) => tokens.len(),
            Read::Vectors(x) => x.len() / self.input.columns().max(1),
        };
        let mut gates = vec![0.0; steps * width];
        self.begin(kernels, &state.blocks, read, &mut state.room, &mut gates);
        for step in 0..steps {
            state.gates.copy_from_slice(&gates[step * width..][..width]);
            self.finish(kernels, state);
            out[step * units..][..units].copy_from_slice(&state.hidden);
        }
    }
}

/// The table that gates start from, and which columns of `input` (G·H, I) it leaves to the vector;
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

/// Layers one above the other, read in one direction.
#[derive(Clone, Debug)]
pub(crate) struct Stack(Vec<Layer>);

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

    /// The layers, the lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.0
    }

    /// Blocks of 32 units in a layer: the parts that it can be cut into.
    pub fn blocks(&self) -> usize {
        self.0.first().map_or(0, Layer::blocks)
    }

    /// Zero states, one a layer, of `rows` rows.
    pub fn state(&self, rows: usize) -> Vec<LayerState> {
        self.0.iter().map(|layer| layer.state(rows)).collect()
    }

    /// [`Layer::share`] of the first layer.
    pub fn share(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        self.0
            .first()
            .map_or_else(Vec::new, |layer| layer.share(kernels, x))
    }

    /// Reads one input a row and returns the top layer's hidden states (N, H).
    pub fn step<'s>(
        &self,
        kernels: Kernels,
        read: Read,
        states: &'s mut [LayerState],
    ) -> &'s [f32] {
        let mut below: Option<&[f32]> = None;
        for (layer, state) in self.0.iter().zip(states) {
            layer.step(kernels, below.map_or(read, Read::Vectors), state);
            below = Some(&state.hidden);
        }
        below.unwrap_or_default()
    }

    /// Reads a sequence (T) into states of one row and returns the top layer's hidden states
    /// (T, H): the bits of as many steps, at the speed of one product for each layer's input.
    pub fn sequence(
        &self,
        kernels: Kernels,
        tokens: &[u32],
        states: &mut [LayerState],
    ) -> Vec<f32> {
        let mut below: Vec<f32> = Vec::new();
        for (index, (layer, state)) in self.0.iter().zip(states).enumerate() {
            let units = layer.units();
            let mut above = vec![0.0; tokens.len() * units];
            let read = match index {
                0 => Read::Tokens(tokens),
                _ => Read::Vectors(&below),
            };
            layer.sequence(kernels, read, state, &mut above);
            below = above;
        }
        below
    }
}
