//! The character-level language model: tokens in, logits of the next token out.

use crate::config::{NetworkConfig, NetworkKind};
use crate::kernels::Kernels;
use crate::models::predictor::{Network, Predictor, RowState, Snapshot};
use crate::models::recurrent::Columns;
use crate::models::weights::{WeightError, Weights, check, values};

/// Tokens of a longer text read at a time: enough for the products to be fast.
const TOKENS_AT_ONCE: usize = 128;

/// A char-lstm with its weights.
#[derive(Clone, Debug)]
pub struct CharRnn {
    pub(crate) predictor: Predictor,
    inputs: usize,
    /// The token before which the state is zero.
    eos: Option<u32>,
}

impl CharRnn {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(config: &NetworkConfig, weights: &Weights) -> Result<Self, WeightError> {
        Self::with_kernels(config, weights, Kernels::new())
    }

    /// [`CharRnn::new`] with the caller's choice of kernels.
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
            predictor: Predictor::new(
                weights,
                "",
                (config.cell, config.layers),
                columns,
                false,
                kernels,
            )?,
            inputs: config.inputs,
            eos: config.eos,
        })
    }

    /// The number of tokens that the network reads.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of tokens that it predicts: the length of the logits.
    pub const fn outputs(&self) -> usize {
        self.predictor.head.rows()
    }

    /// Whether a document begins with this token, so that the state before it is zero.
    pub(crate) fn begins(&self, token: u32) -> bool {
        self.eos == Some(token)
    }

    /// The top layer's hidden states (T, H) of T tokens of one text.
    fn hidden(&self, state: &mut RowState, tokens: &[u32]) -> Vec<f32> {
        if self.eos.is_none() {
            return self.predictor.sequence(state, tokens);
        }
        let mut hidden = Vec::new();
        for document in tokens.chunk_by(|_, &next| !self.begins(next)) {
            if document.first().is_some_and(|&first| self.begins(first)) {
                state.clear_row(0);
            }
            hidden.append(&mut self.predictor.sequence(state, document));
        }
        hidden
    }

    /// Restores the state of one text from a snapshot; `None` if its sizes don't fit this network.
    pub fn restore(&self, snapshot: &Snapshot) -> Option<RowState> {
        let mut state = self.state(1);
        state.restore(snapshot).then_some(state)
    }

    /// Reads tokens of one text, such as a prompt, and computes only the logits after the last
    /// token: bit for bit what single steps give, but faster. An empty slice changes nothing.
    ///
    /// # Panics
    /// As [`Network::step`], and if `state` has several rows.
    pub fn prefill(&self, state: &mut RowState, tokens: &[u32]) {
        assert_eq!(state.rows(), 1, "one text");
        let Predictor { head, kernels, .. } = &self.predictor;
        let mut last = None;
        for tokens in tokens.chunks(TOKENS_AT_ONCE) {
            last = Some(self.hidden(state, tokens));
        }
        if let (Some(hidden), Some(top)) = (last, state.layers.last()) {
            let hidden = &hidden[hidden.len() - top.hidden.len()..];
            head.apply(*kernels, hidden, &mut state.scratch, &mut state.logits);
        }
    }

    /// Reads tokens of one text as [`CharRnn::prefill`] does and hands over the logits (outputs)
    /// after each of them, with its index.
    ///
    /// # Panics
    /// As [`CharRnn::prefill`].
    pub fn read(&self, state: &mut RowState, tokens: &[u32], mut each: impl FnMut(usize, &[f32])) {
        assert_eq!(state.rows(), 1, "one text");
        let Predictor { head, kernels, .. } = &self.predictor;
        let width = head.width();
        let mut logits = Vec::new();
        for (part, tokens) in tokens.chunks(TOKENS_AT_ONCE).enumerate() {
            let hidden = self.hidden(state, tokens);
            logits.resize(tokens.len() * width, 0.0);
            head.apply(*kernels, &hidden, &mut state.scratch, &mut logits);
            for (index, logits) in logits.chunks_exact(width).enumerate() {
                each(part * TOKENS_AT_ONCE + index, &logits[..head.rows()]);
            }
            let last = &logits[logits.len() - width..];
            state.logits.copy_from_slice(last);
        }
    }
}

impl Network for CharRnn {
    fn state(&self, rows: usize) -> RowState {
        self.predictor.state(rows)
    }

    fn step(&self, state: &mut RowState, tokens: &[u32]) {
        if self.eos.is_some() {
            for (row, &token) in tokens.iter().enumerate() {
                if self.begins(token) {
                    state.clear_row(row);
                }
            }
        }
        self.predictor.step(state, tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::models::weights::quantize;
    use crate::testing;

    #[test]
    fn a_text_goes_on_from_its_snapshot_bit_for_bit() {
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
                    let snapshot = first.snapshot();
                    let mut again = model.restore(&snapshot).expect("its own");
                    assert!(again.logits(0) == first.logits(0));
                    model.prefill(&mut again, &text[cut..]);
                    assert!(again.snapshot() == whole.snapshot(), "{cell}, {cut}");
                }
            }
        }
    }

    #[test]
    fn a_document_is_read_from_zero_however_it_is_read() {
        let text = [3, 0, 5, 1, 16, 9, 2, 16, 7, 16, 16, 4];
        for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
            let config = NetworkConfig {
                eos: Some(16),
                ..testing::char_lstm(cell, 33, 2, 17)
            };
            let model = CharRnn::new(&config, &testing::weights(&config)).expect("a network");
            let [mut read, mut stepped, mut prefilled] = [0; 3].map(|_| model.state(1));
            model.prefill(&mut prefilled, &text);
            let mut documents = Vec::new();
            model.read(&mut read, &text, |_, logits| {
                documents.push(logits.to_vec());
            });
            let mut alone = model.state(1);
            let mut both = model.state(2);
            for (&token, logits) in text.iter().zip(&documents) {
                if token == 16 {
                    alone = model.state(1);
                }
                model.prefill(&mut alone, &[token]);
                model.step(&mut stepped, &[token]);
                model.step(&mut both, &[3, token]);
                for state in [&alone, &stepped] {
                    assert!(state.logits(0) == logits, "{cell}");
                }
                assert!(both.logits(1) == logits, "{cell}");
            }
            assert!(prefilled.snapshot() == read.snapshot());
        }
    }

    #[test]
    fn the_snapshot_of_another_network_is_refused() {
        let model = |cell, hidden, layers, tokens| {
            let config = testing::char_lstm(cell, hidden, layers, tokens);
            CharRnn::new(&config, &testing::weights(&config)).expect("a network")
        };
        let snapshot = model(Cell::Lstm, 33, 2, 17).state(1).snapshot();
        for other in [
            model(Cell::Gru, 33, 2, 17),
            model(Cell::Lstm, 34, 2, 17),
            model(Cell::Lstm, 33, 1, 17),
            model(Cell::Lstm, 33, 2, 18),
        ] {
            assert!(other.restore(&snapshot).is_none());
        }
    }
}
