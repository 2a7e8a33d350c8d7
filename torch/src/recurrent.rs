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
}

impl Shape {
    /// The state that all layers start from, zero: h, and c for an LSTM, each (L, B, H).
    pub fn zero_state(&self, batch: i64, device: Device) -> Vec<Tensor> {
        let size = [self.layers as i64, batch, self.hidden as i64];
        let tensors = if self.cell == Cell::Lstm { 2 } else { 1 };
        (0..tensors)
            .map(|_| Tensor::zeros(size, (Kind::Float, device)))
            .collect()
    }

    /// Lays the weights into one buffer, as cuDNN wants them; nothing on the CPU. Without it cuDNN
    /// copies them at every call, and says so.
    pub fn flatten(&self, weights: &[Tensor]) {
        let on_cuda = weights
            .first()
            .is_some_and(|weight| weight.device().is_cuda());
        if !on_cuda || !tch::Cuda::cudnn_is_available() {
            return;
        }
        // The numbers of at::native's cuDNN modes.
        let mode = match self.cell {
            Cell::Rnn => 1,
            Cell::Lstm => 2,
            Cell::Gru => 3,
        };
        let inputs = weights[0].size()[1];
        let (hidden, layers) = (self.hidden as i64, self.layers as i64);
        tch::no_grad(|| {
            let _ = Tensor::internal_cudnn_rnn_flatten_weight(
                weights, 4, inputs, mode, hidden, 0, layers, false, false,
            );
        });
    }

    /// Reads `input` (T, B, I) from `state`. Returns the top layer's outputs (T, B, H)
    /// and the final state. `dropout` falls between layers, where `train`.
    pub fn run(
        &self,
        input: &Tensor,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let layers = self.layers as i64;
        match self.cell {
            Cell::Lstm => {
                let (outputs, h, c) =
                    input.lstm(state, weights, true, layers, dropout, train, false, false);
                (outputs, vec![h, c])
            }
            Cell::Gru => {
                let (outputs, h) = input.gru(
                    &state[0], weights, true, layers, dropout, train, false, false,
                );
                (outputs, vec![h])
            }
            Cell::Rnn => {
                let (outputs, h) = input.rnn_tanh(
                    &state[0], weights, true, layers, dropout, train, false, false,
                );
                (outputs, vec![h])
            }
        }
    }
}
