//! The character-level language model: tokens in, logits of the next token out.

use crate::config::{NetworkConfig, NetworkKind};
use crate::kernels::{Kernels, Quantized};
use crate::models::recurrent::{
    Columns, LayerState, Linear, Read, Stack, select_rows, swap_remove_row,
};
use crate::models::weights::{WeightError, Weights, check, values};

/// Tokens of a longer text that are read at a time: enough for the products to be fast.
const TOKENS_AT_ONCE: usize = 128;

/// A char-lstm with its weights.
#[derive(Clone, Debug)]
pub struct CharRnn {
    pub(crate) stack: Stack,
    pub(crate) head: Linear,
    pub(crate) kernels: Kernels,
    inputs: usize,
}

/// What a char-lstm remembers of N texts that are read side by side, and room for their next
/// logits.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) layers: Vec<LayerState>,
    /// (N, width).
    pub(crate) logits: Vec<f32>,
    /// Logits of a row, and what fills their last panel up.
    outputs: usize,
    width: usize,
    room: Quantized,
}

impl State {
    /// N.
    pub fn rows(&self) -> usize {
        self.logits.len() / self.width
    }

    /// The logits (outputs) of a text after the last token read; zeros where none has been.
    ///
    /// # Panics
    /// Where there are fewer rows.
    pub fn logits(&self, row: usize) -> &[f32] {
        &self.logits[row * self.width..][..self.outputs]
    }

    /// Row `row` becomes a copy of the only row of `from`: another text takes its place.
    ///
    /// # Panics
    /// Where there are fewer rows, or `from` is another network's or has several.
    pub fn set_row(&mut self, row: usize, from: &Self) {
        for (state, from) in self.layers.iter_mut().zip(&from.layers) {
            state.set_row(row, from);
        }
        self.logits[row * self.width..][..self.width].copy_from_slice(&from.logits);
    }

    /// Removes row `row`, whose place the last one takes.
    ///
    /// # Panics
    /// Where there are fewer rows.
    pub fn swap_remove_row(&mut self, row: usize) {
        let rows = self.rows();
        for state in &mut self.layers {
            state.swap_remove_row(row);
        }
        swap_remove_row(&mut self.logits, row, rows);
    }

    /// A state whose row i is a copy of row `rows[i]`.
    ///
    /// # Panics
    /// Where there are fewer rows.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            layers: self.layers.iter().map(|layer| layer.select(rows)).collect(),
            logits: select_rows(&self.logits, rows, self.rows()),
            outputs: self.outputs,
            width: self.width,
            room: self.room.clone(),
        }
    }

    /// What is remembered of the only text, as plain arrays.
    ///
    /// # Panics
    /// Where there are several rows.
    pub fn memory(&self) -> Memory {
        assert_eq!(self.rows(), 1, "one text");
        let cells = |layer: &LayerState| {
            let cells = layer.hidden.len().min(layer.cell.len());
            layer.cell[..cells].to_vec()
        };
        Memory {
            hidden: self
                .layers
                .iter()
                .map(|layer| layer.hidden.clone())
                .collect(),
            cell: self.layers.iter().map(cells).collect(),
            logits: self.logits(0).to_vec(),
        }
    }
}

/// What a network remembers of one text, as plain arrays: all that going on needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Each layer's hidden state (H).
    pub hidden: Vec<Vec<f32>>,
    /// Each layer's cells (H) in an LSTM, else empty.
    pub cell: Vec<Vec<f32>>,
    /// The logits (outputs) of the next token.
    pub logits: Vec<f32>,
}

impl CharRnn {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// The same with kernels of the caller's choice.
    pub fn with_kernels(
        config: &NetworkConfig,
        weights: &Weights,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        if config.kind != NetworkKind::CharRnn {
            return Err(WeightError::Config(format!(
                "it is a {}, not a char-lstm",
                config.model()
            )));
        }
        check(config, weights)?;
        let embedding;
        let columns = match config.embedding {
            0 => Columns::OneHot,
            size => {
                embedding = values(weights, "embedding.weight")?;
                Columns::Embedding(&embedding, size)
            }
        };
        Ok(Self {
            stack: Stack::new(weights, "rnn", config.layers, config.cell, columns, kernels)?,
            head: Linear::new(weights, "head")?,
            kernels,
            inputs: config.inputs,
        })
    }

    /// Tokens that can be read.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Tokens that can be predicted: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.head.rows()
    }

    /// The state of `rows` texts before their first token: zeros.
    pub fn state(&self, rows: usize) -> State {
        State {
            layers: self.stack.state(rows),
            logits: vec![0.0; rows * self.head.width()],
            outputs: self.outputs(),
            width: self.head.width(),
            room: Quantized::default(),
        }
    }

    /// The state of one text that `memory` was taken of; none where its sizes are another network's.
    pub fn recall(&self, memory: &Memory) -> Option<State> {
        let mut state = self.state(1);
        let layers = [memory.hidden.len(), memory.cell.len()];
        if layers != [state.layers.len(); 2] || memory.logits.len() != self.outputs() {
            return None;
        }
        let arrays = memory.hidden.iter().zip(&memory.cell);
        for (layer, (hidden, cell)) in state.layers.iter_mut().zip(arrays) {
            // What fills the last block of cells up is zero and stays so.
            let cells = layer.hidden.len().min(layer.cell.len());
            if hidden.len() != layer.hidden.len() || cell.len() != cells {
                return None;
            }
            layer.hidden.copy_from_slice(hidden);
            layer.cell[..cells].copy_from_slice(cell);
        }
        state.logits[..memory.logits.len()].copy_from_slice(&memory.logits);
        Some(state)
    }

    /// Reads one token of each text: tokens (N). [`State::logits`] are then those of the next.
    ///
    /// # Panics
    /// Where a token is not below the network's `inputs`, there are fewer or more than rows, or
    /// `state` is another network's.
    pub fn step(&self, state: &mut State, tokens: &[u32]) {
        assert_eq!(tokens.len(), state.rows(), "one token a row");
        let read = Read::Tokens(tokens);
        let hidden = self.stack.step(self.kernels, read, &mut state.layers);
        self.head
            .apply(self.kernels, hidden, &mut state.room, &mut state.logits);
    }

    /// Reads tokens of one text, a prompt for instance, of which only the last one's logits are
    /// computed: the bits of as many steps, faster. No tokens change nothing.
    ///
    /// # Panics
    /// As [`CharRnn::step`], and where `state` has several rows.
    pub fn prefill(&self, state: &mut State, tokens: &[u32]) {
        assert_eq!(state.rows(), 1, "one text");
        let mut last = None;
        for tokens in tokens.chunks(TOKENS_AT_ONCE) {
            last = Some(self.stack.sequence(self.kernels, tokens, &mut state.layers));
        }
        if let (Some(hidden), Some(top)) = (last, state.layers.last()) {
            let hidden = &hidden[hidden.len() - top.hidden.len()..];
            self.head
                .apply(self.kernels, hidden, &mut state.room, &mut state.logits);
        }
    }

    /// Reads tokens of one text as [`CharRnn::prefill`] does and hands over the logits (outputs)
    /// after each of them, with its index.
    ///
    /// # Panics
    /// As [`CharRnn::prefill`].
    pub fn read(&self, state: &mut State, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) {
        assert_eq!(state.rows(), 1, "one text");
        let width = self.head.width();
        let mut logits = Vec::new();
        for (part, tokens) in tokens.chunks(TOKENS_AT_ONCE).enumerate() {
            let hidden = self.stack.sequence(self.kernels, tokens, &mut state.layers);
            logits.resize(tokens.len() * width, 0.0);
            self.head
                .apply(self.kernels, &hidden, &mut state.room, &mut logits);
            for (index, logits) in logits.chunks_exact(width).enumerate() {
                each(part * TOKENS_AT_ONCE + index, &logits[..self.outputs()]);
            }
            state
                .logits
                .copy_from_slice(&logits[logits.len() - width..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::models::weights::quantize;
    use crate::testing;

    #[test]
    fn a_text_goes_on_from_its_memory_bit_for_bit() {
        let text = [3, 0, 16, 5, 5, 1, 9, 2, 7, 11, 4];
        for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
            let config = testing::char_lstm(cell, 33, 2, 17);
            let plain = testing::weights(&config);
            for weights in [&plain, &quantize(&plain)] {
                let model = CharRnn::new(&config, weights).expect("a network");
                let mut whole = model.state(1);
                model.prefill(&mut whole, &text);
                for cut in 1..text.len() {
                    let mut first = model.state(1);
                    model.prefill(&mut first, &text[..cut]);
                    let memory = first.memory();
                    let mut again = model.recall(&memory).expect("its own");
                    assert!(again.logits(0) == first.logits(0));
                    model.prefill(&mut again, &text[cut..]);
                    assert!(again.memory() == whole.memory(), "{cell}, {cut}");
                }
            }
        }
    }

    #[test]
    fn the_memory_of_another_network_is_refused() {
        let model = |cell, hidden, layers, tokens| {
            let config = testing::char_lstm(cell, hidden, layers, tokens);
            CharRnn::new(&config, &testing::weights(&config)).expect("a network")
        };
        let memory = model(Cell::Lstm, 33, 2, 17).state(1).memory();
        for other in [
            model(Cell::Gru, 33, 2, 17),
            model(Cell::Lstm, 34, 2, 17),
            model(Cell::Lstm, 33, 1, 17),
            model(Cell::Lstm, 33, 2, 18),
        ] {
            assert!(other.recall(&memory).is_none());
        }
    }
}
