//! LSTM, GRU and plain tanh networks: one call over a whole sequence, through libtorch's own
//! operators (cuDNN's on CUDA).

use tch::{Device, Kind, Tensor};
use textgen::config::Cell;

/// The shape of a recurrent network.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The cell.
    pub cell: Cell,
    /// Hidden size H.
    pub hidden: usize,
    /// Layers L.
    pub layers: usize,
    /// Whether a second network reads backwards.
    pub bidirectional: bool,
}

impl Shape {
    /// The state that all layers start from, zero: h, and c for an LSTM, each (L·directions, B, H).
    pub fn zero_state(&self, batch: i64, device: Device) -> Vec<Tensor> {
        let directions = 1 + i64::from(self.bidirectional);
        let size = [self.layers as i64 * directions, batch, self.hidden as i64];
        let tensors = if self.cell == Cell::Lstm { 2 } else { 1 };
        (0..tensors)
            .map(|_| Tensor::zeros(size, (Kind::Float, device)))
            .collect()
    }

    /// Reads `input` (T, B, I) from `state`. Returns the top layer's outputs (T, B, H·directions)
    /// and the final state. `dropout` falls between layers, where `train`.
    pub fn run(
        &self,
        input: &Tensor,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (layers, both) = (self.layers as i64, self.bidirectional);
        match self.cell {
            Cell::Lstm => {
                let (outputs, h, c) =
                    input.lstm(state, weights, true, layers, dropout, train, both, false);
                (outputs, vec![h, c])
            }
            Cell::Gru => {
                let (outputs, h) = input.gru(
                    &state[0], weights, true, layers, dropout, train, both, false,
                );
                (outputs, vec![h])
            }
            Cell::Rnn => {
                let (outputs, h) = input.rnn_tanh(
                    &state[0], weights, true, layers, dropout, train, both, false,
                );
                (outputs, vec![h])
            }
        }
    }

    /// Reads packed sequences of different lengths, longest first: `input` (Σ lengths, I) holds all
    /// first elements, then all second ones, and so on; `batch_sizes` (T) on the CPU says how many.
    pub fn run_packed(
        &self,
        input: &Tensor,
        batch_sizes: &Tensor,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (layers, both) = (self.layers as i64, self.bidirectional);
        match self.cell {
            Cell::Lstm => {
                let (outputs, h, c) = Tensor::lstm_data(
                    input,
                    batch_sizes,
                    state,
                    weights,
                    true,
                    layers,
                    dropout,
                    train,
                    both,
                );
                (outputs, vec![h, c])
            }
            Cell::Gru => {
                let (outputs, h) = Tensor::gru_data(
                    input,
                    batch_sizes,
                    &state[0],
                    weights,
                    true,
                    layers,
                    dropout,
                    train,
                    both,
                );
                (outputs, vec![h])
            }
            Cell::Rnn => {
                let (outputs, h) = Tensor::rnn_tanh_data(
                    input,
                    batch_sizes,
                    &state[0],
                    weights,
                    true,
                    layers,
                    dropout,
                    train,
                    both,
                );
                (outputs, vec![h])
            }
        }
    }
}
