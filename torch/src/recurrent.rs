//! LSTM, GRU and plain tanh networks over whole sequences, by libtorch's own operators: cuDNN's on CUDA.

use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, NetworkConfig, Precision};
use textgen::kernels::training::Steps;

use crate::dropout::{Dropout, Pass};

/// The hidden size up to which cuDNN keeps the recurrent weights on the chip.
const SMALL: usize = 128;

/// The shape of a recurrent network.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The recurrent cell.
    pub cell: Cell,
    /// Hidden size H.
    pub hidden: usize,
    /// Number of layers L.
    pub layers: usize,
    /// The precision of training on CUDA; TF32 is libtorch's own setting.
    pub precision: Precision,
}

impl Shape {
    /// The shape of the recurrent layers of a network.
    pub const fn of(network: &NetworkConfig, precision: Precision) -> Self {
        Self {
            cell: network.cell,
            hidden: network.hidden,
            layers: network.layers,
            precision,
        }
    }

    /// One layer of the network.
    #[must_use]
    pub const fn single(self) -> Self {
        Self { layers: 1, ..self }
    }

    /// The zero state of all layers: h, and c for an LSTM, each (L, B, H).
    pub fn zero_state(&self, batch: usize, device: Device) -> Vec<Tensor> {
        let size = [self.layers as i64, batch as i64, self.hidden as i64];
        let tensors = if self.cell == Cell::Lstm { 2 } else { 1 };
        (0..tensors)
            .map(|_| Tensor::zeros(size, (Kind::Float, device)))
            .collect()
    }

    /// Packs the weights into one buffer, as cuDNN wants them; does nothing on the CPU. Otherwise cuDNN
    /// copies them at every call, with a warning.
    pub fn flatten(&self, weights: &[Tensor]) {
        let on_cuda = weights
            .first()
            .is_some_and(|weight| weight.device().is_cuda());
        if !on_cuda || !tch::Cuda::cudnn_is_available() {
            return;
        }
        let inputs = weights[0].size()[1];
        let (hidden, layers) = (self.hidden as i64, self.layers as i64);
        tch::no_grad(|| {
            let _ = Tensor::internal_cudnn_rnn_flatten_weight(
                weights,
                4,
                inputs,
                self.cudnn_mode(),
                hidden,
                0,
                layers,
                false,
                false,
            );
        });
    }

    /// The number of the cell among at::native's cuDNN modes.
    const fn cudnn_mode(&self) -> i64 {
        match self.cell {
            Cell::Rnn => 1,
            Cell::Lstm => 2,
            Cell::Gru => 3,
        }
    }

    /// Whether a pass is computed in bf16. An evaluation is of the saved model, so it uses f32. A small
    /// network is faster in TF32, in which one kernel of cuDNN's takes all steps.
    pub fn is_in_bf16(&self, pass: Pass) -> bool {
        pass.trains() && self.precision == Precision::Bf16 && self.hidden > SMALL
    }

    /// Reads vectors (N, I) from `state`, with the active sequences of `steps`. Returns the top layer's
    /// outputs (N, H), in bf16 if these were computed so, with dropout between layers but not after the last, and the state after each
    /// sequence's last step.
    pub fn run(
        &self,
        input: &Tensor,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: &Dropout,
        pass: Pass,
    ) -> (Tensor, Vec<Tensor>) {
        // cuDNN drops units between layers itself, but in one way only.
        let is_cudnns = input.device().is_cuda() && !dropout.variational;
        if !self.is_in_bf16(pass) && (is_cudnns || dropout.is_off(pass)) {
            return self.layers(input, steps, state, weights, dropout.rate, pass);
        }
        let mut outputs = input.shallow_clone();
        let mut ends: Vec<Vec<Tensor>> = state.iter().map(|_| Vec::new()).collect();
        for (layer, weights) in weights.chunks_exact(4).enumerate() {
            let own = state
                .iter()
                .map(|s| s.narrow(0, layer as i64, 1).contiguous());
            let own: Vec<Tensor> = own.collect();
            if layer > 0 {
                outputs = dropout.apply(&outputs, layer - 1, pass);
            }
            let (next, end) = if self.is_in_bf16(pass) {
                self.layer_in_bf16(&outputs, steps, &own, weights)
            } else {
                self.single()
                    .layers(&outputs, steps, &own, weights, 0.0, pass)
            };
            outputs = next;
            for (ends, end) in ends.iter_mut().zip(end) {
                ends.push(end);
            }
        }
        let ends = ends.iter().map(|ends| Tensor::cat(ends, 0));
        (outputs, ends.collect())
    }

    /// All layers in one call.
    fn layers(
        &self,
        input: &Tensor,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        pass: Pass,
    ) -> (Tensor, Vec<Tensor>) {
        let (layers, h) = (self.layers as i64, &state[0]);
        let train = pass.trains();
        let (outputs, ends) = if let Some(counts) = uneven(steps) {
            // Packed sequences are as ours: step by step, the longest first.
            let counts = Tensor::from_slice(&counts);
            let rest = (weights, true, layers, dropout, train, false);
            match self.cell {
                Cell::Lstm => {
                    let (outputs, h, c) = Tensor::lstm_data(
                        input, &counts, state, rest.0, rest.1, rest.2, rest.3, rest.4, rest.5,
                    );
                    (outputs, vec![h, c])
                }
                Cell::Gru => {
                    let (outputs, h) = Tensor::gru_data(
                        input, &counts, h, rest.0, rest.1, rest.2, rest.3, rest.4, rest.5,
                    );
                    (outputs, vec![h])
                }
                Cell::Rnn => {
                    let (outputs, h) = Tensor::rnn_tanh_data(
                        input, &counts, h, rest.0, rest.1, rest.2, rest.3, rest.4, rest.5,
                    );
                    (outputs, vec![h])
                }
            }
        } else {
            let input = grid(input, steps);
            match self.cell {
                Cell::Lstm => {
                    let (outputs, h, c) =
                        input.lstm(state, weights, true, layers, dropout, train, false, false);
                    (outputs, vec![h, c])
                }
                Cell::Gru => {
                    let (outputs, h) =
                        input.gru(h, weights, true, layers, dropout, train, false, false);
                    (outputs, vec![h])
                }
                Cell::Rnn => {
                    let (outputs, h) =
                        input.rnn_tanh(h, weights, true, layers, dropout, train, false, false);
                    (outputs, vec![h])
                }
            }
        };
        (outputs.reshape([-1, self.hidden as i64]), ends)
    }

    /// One layer for training, computed by cuDNN in bf16. The state is in f32.
    ///
    /// libtorch's autocast would run cuDNN's layers in f16, whatever type it is set to; and its
    /// `lstm` would warn at every step that the weights, being fresh copies, are not in one buffer.
    fn layer_in_bf16(
        &self,
        input: &Tensor,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        let low = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
        let counts = uneven(steps);
        let input = if counts.is_some() {
            low(input)
        } else {
            low(&grid(input, steps))
        };
        let weights: Vec<Tensor> = weights.iter().map(low).collect();
        let (buffer, weights) = packed(&weights);
        let (outputs, h, c, _, _) = input.internal_cudnn_rnn(
            &weights,
            4,
            Some(buffer.detach()),
            &low(&state[0]),
            state.get(1).map(low),
            self.cudnn_mode(),
            self.hidden as i64,
            0,
            1,
            false,
            0.0,
            true,
            false,
            counts.unwrap_or_default().as_slice(),
            None,
        );
        let whole = |tensor: Tensor| tensor.to_kind(Kind::Float);
        let ends = [h, c].into_iter().take(state.len()).map(whole);
        let outputs = outputs.reshape([-1, self.hidden as i64]);
        (outputs, ends.collect())
    }
}

/// Copies the weights and biases of layers into one buffer, as cuDNN wants them: all weights, then all
/// biases. Returns it, and views of it in the order of `weights`.
///
/// For weights that are computed anew at every step; those of the network are packed once, by
/// [`Shape::flatten`]. libtorch would copy them as well, with a warning at every step.
pub fn packed(weights: &[Tensor]) -> (Tensor, Vec<Tensor>) {
    let is_bias = |index: &usize| index % 4 >= 2;
    let (biases, matrices): (Vec<_>, Vec<_>) = (0..weights.len()).partition(is_bias);
    let order = [matrices, biases].concat();
    let flat: Vec<Tensor> = order.iter().map(|&i| weights[i].flatten(0, -1)).collect();
    let buffer = Tensor::cat(&flat, 0);
    let mut views: Vec<Tensor> = weights.iter().map(Tensor::shallow_clone).collect();
    let mut start = 0;
    for index in order {
        let (size, count) = (weights[index].size(), weights[index].numel() as i64);
        views[index] = buffer.narrow(0, start, count).view(size.as_slice());
        start += count;
    }
    (buffer, views)
}

/// The active sequences at each step, if these differ.
fn uneven(steps: &Steps) -> Option<Vec<i64>> {
    let count = |t: usize| steps.range(t).len();
    let last = steps.len().checked_sub(1)?;
    // Counts never rise.
    (count(last) < count(0)).then(|| (0..=last).map(|t| count(t) as i64).collect())
}

/// `values` (N, I) of even sequences as (T, B, I).
fn grid(values: &Tensor, steps: &Steps) -> Tensor {
    values.reshape([steps.len() as i64, steps.batch() as i64, -1])
}
