//! The character-level language model: symbols in, logits of the next symbol out.

use super::kernels::Kernels;
use super::recurrent::{Columns, LayerState, Linear, Read, Stack};
use super::weights::{WeightError, Weights, check, values};
use crate::config::{ModelKind, NetworkConfig};

/// A char-lstm with its weights.
#[derive(Clone, Debug)]
pub struct CharLstm {
    stack: Stack,
    head: Linear,
    kernels: Kernels,
}

/// What a char-lstm remembers of one text, and room for its next logits.
#[derive(Clone, Debug)]
pub struct State {
    layers: Vec<LayerState>,
    logits: Vec<f32>,
}

impl State {
    /// The logits (outputs) after the last symbol read; zeros where none has been.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

impl CharLstm {
    /// From the weights that [`expected_shapes`](super::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// The same with kernels of the caller's choice.
    pub fn with_kernels(
        config: &NetworkConfig,
        weights: &Weights,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        if config.model != ModelKind::CharLstm {
            return Err(WeightError::Config(format!(
                "it is a {}, not a char-lstm",
                config.model
            )));
        }
        check(config, weights)?;
        let columns = match config.embedding {
            0 => Columns::OneHot,
            size => Columns::Embedding(values(weights, "embedding.weight")?, size),
        };
        Ok(Self {
            stack: Stack::new(weights, "rnn", config.layers, config.cell, columns, kernels)?,
            head: Linear::new(weights, "head")?,
            kernels,
        })
    }

    /// Symbols that can be predicted: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.head.rows()
    }

    /// The state before any text: zeros.
    pub fn state(&self) -> State {
        State {
            layers: self.stack.state(),
            logits: vec![0.0; self.outputs()],
        }
    }

    /// Reads one symbol and returns the logits (outputs) of the next one.
    ///
    /// # Panics
    /// Where `symbol` is not below the network's `inputs`, or `state` is another network's.
    pub fn step<'s>(&self, state: &'s mut State, symbol: u32) -> &'s [f32] {
        let hidden = self
            .stack
            .step(self.kernels, Read::Symbol(symbol), &mut state.layers);
        self.head.apply(self.kernels, hidden, &mut state.logits);
        &state.logits
    }

    /// Reads symbols, a prompt for instance, of which only the last one's logits are computed:
    /// [`State::logits`]. No symbols change nothing.
    ///
    /// # Panics
    /// As [`CharLstm::step`].
    pub fn feed(&self, state: &mut State, symbols: &[u32]) {
        let Some((&last, before)) = symbols.split_last() else {
            return;
        };
        for &symbol in before {
            self.stack
                .step(self.kernels, Read::Symbol(symbol), &mut state.layers);
        }
        self.step(state, last);
    }
}
