//! LSTM, GRU and plain tanh networks over whole sequences: on the CPU through the native engine's
//! kernels, elsewhere through libtorch's own operators (cuDNN's on CUDA).

use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, NetworkConfig, Precision};

use crate::dropout::Dropout;
use crate::operators::{LayerCall, layer};
use crate::steps::{Grid, Steps};

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

/// The input of a network at N positions: at step t, one item of each of the first n_t sequences.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Tokens, optionally with a constant vector per sequence.
    Tokens {
        /// Rows of `embedding` (N).
        tokens: &'a Tensor,
        /// The tokens' vectors (V, E), or none if they are one-hot (I = V).
        embedding: Option<&'a Tensor>,
        /// A vector (B, Z) that is read with every token of a sequence (I = E + Z).
        latent: Option<&'a Tensor>,
    },
    /// Vectors (N, I).
    Vectors(&'a Tensor),
}

impl Input<'_> {
    /// Tokens, one-hot or with their embedding.
    pub fn tokens<'a>(tokens: &'a Tensor, embedding: Option<&'a Tensor>) -> Input<'a> {
        Input::Tokens {
            tokens,
            embedding,
            latent: None,
        }
    }
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

    /// The precision it computes in. An evaluation is of the saved model, so it uses f32.
    pub fn computes_in(&self, train: bool) -> Precision {
        if train {
            self.precision
        } else {
            Precision::F32
        }
    }

    /// The zero state of all layers: h, and c for an LSTM, each (L, B, H).
    pub fn zero_state(&self, batch: i64, device: Device) -> Vec<Tensor> {
        let size = [self.layers as i64, batch, self.hidden as i64];
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

    /// Reads `input` from `state`, with the active sequences of `steps`. Returns the top layer's outputs
    /// (N, H) and the state after each sequence's last step. `dropout` applies between layers, if `train`.
    pub fn run(
        &self,
        input: Input,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: Dropout,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        if weights[0].device() == Device::Cpu {
            self.run_native(input, steps, state, weights, dropout, train)
        } else {
            self.run_libtorch(input, steps, state, weights, dropout, train)
        }
    }

    /// [`Shape::run`] on the CPU.
    pub fn run_native(
        &self,
        input: Input,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: Dropout,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        layer_by_layer(state, weights, |below, state, weights| {
            let state: Vec<Tensor> = state.iter().map(|s| s.squeeze_dim(0)).collect();
            let call = |input: &Tensor, weights: &[Tensor], constant: Option<&Tensor>| {
                layer(&LayerCall {
                    cell: self.cell,
                    counts: &steps.counts,
                    input,
                    constant,
                    weights,
                    state: &state,
                })
            };
            let (outputs, ends) = match (below, input) {
                (Some(below), _) => {
                    let left = dropout.apply(&below, steps.counts[0], train);
                    call(&left, weights, None)
                }
                (None, Input::Tokens { tokens, .. }) => {
                    let (weights, constant) = by_token(input, weights);
                    call(tokens, &weights, constant.as_ref())
                }
                (None, Input::Vectors(vectors)) => call(vectors, weights, None),
            };
            (outputs, ends.iter().map(|end| end.unsqueeze(0)).collect())
        })
    }

    /// [`Shape::run`] through libtorch's own operators; shorter sequences are padded, and the
    /// state returned is then the top layer's h alone.
    pub fn run_libtorch(
        &self,
        input: Input,
        steps: &Steps,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: Dropout,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let grid = steps.grid(weights[0].device());
        let input = grid.spread(&vectors(input, grid, weights[0].size()[1]));
        let (outputs, ends) = if self.computes_in(train) == Precision::Bf16 {
            self.sequence_in_bf16(&input, state, weights, dropout)
        } else if dropout.variational && train {
            self.sequence_by_layer(&input, state, weights, dropout)
        } else {
            self.sequence(&input, state, weights, dropout.rate, train)
        };
        let Some(padding) = &grid.padding else {
            return (outputs.reshape([-1, self.hidden as i64]), ends);
        };
        let outputs = grid.gather(&outputs);
        // libtorch returns the state at the end of the padding, except for the top layer's h.
        let end = outputs.index_select(0, &padding.last).unsqueeze(0);
        (outputs, vec![end])
    }

    /// [`Shape::sequence`] for training, layer by layer, with the kinds of dropout that libtorch's
    /// operators do not have between layers.
    fn sequence_by_layer(
        &self,
        input: &Tensor,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: Dropout,
    ) -> (Tensor, Vec<Tensor>) {
        let single = Self { layers: 1, ..*self };
        layer_by_layer(state, weights, |below, state, weights| {
            let input = match below {
                Some(below) => dropped_out(&below, dropout),
                None => input.shallow_clone(),
            };
            single.sequence(&input, &contiguous(state), weights, 0.0, true)
        })
    }

    /// All layers over `input` (T, B, I): outputs (T, B, H) and the state after them.
    fn sequence(
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

    /// [`Shape::sequence`] for training, computed by cuDNN in bf16 from f32 and back to f32.
    ///
    /// libtorch's autocast would run cuDNN's layers in f16, whatever type it is set to; and its
    /// `lstm` would warn at every step that the weights, being fresh copies, are not in one buffer.
    fn sequence_in_bf16(
        &self,
        input: &Tensor,
        state: &[Tensor],
        weights: &[Tensor],
        dropout: Dropout,
    ) -> (Tensor, Vec<Tensor>) {
        let low = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
        let (outputs, ends) = layer_by_layer(state, weights, |below, state, weights| {
            let input = match below {
                Some(below) => low(&dropped_out(&below, dropout)),
                None => low(input),
            };
            let state: Vec<Tensor> = contiguous(state).iter().map(low).collect();
            let weights: Vec<Tensor> = weights.iter().map(low).collect();
            let (outputs, h, c, _, _) = input.internal_cudnn_rnn(
                &weights,
                4,
                None,
                &state[0],
                state.get(1).map(Tensor::shallow_clone),
                self.cudnn_mode(),
                self.hidden as i64,
                0,
                1,
                false,
                0.0,
                true,
                false,
                [].as_slice(),
                None,
            );
            (outputs, vec![h, c])
        });
        let ends = ends.iter().map(|end| end.to_kind(Kind::Float));
        (outputs.to_kind(Kind::Float), ends.collect())
    }
}

/// Runs one layer after the other. `layer` gets the outputs of the layer below, if there is one, the
/// layer's own state, each (1, B, H), and its four weights; it returns its outputs and the state after
/// them. Returns the outputs of the last layer, and the state of all.
fn layer_by_layer(
    state: &[Tensor],
    weights: &[Tensor],
    layer: impl Fn(Option<Tensor>, &[Tensor], &[Tensor]) -> (Tensor, Vec<Tensor>),
) -> (Tensor, Vec<Tensor>) {
    let mut outputs = None;
    let mut ends: Vec<Vec<Tensor>> = state.iter().map(|_| Vec::new()).collect();
    for (index, weights) in weights.chunks_exact(4).enumerate() {
        let own: Vec<Tensor> = state.iter().map(|s| s.narrow(0, index as i64, 1)).collect();
        let (next, end) = layer(outputs.take(), &own, weights);
        outputs = Some(next);
        for (ends, end) in ends.iter_mut().zip(end) {
            ends.push(end);
        }
    }
    let ends = ends.iter().map(|ends| match &ends[..] {
        [one] => one.shallow_clone(),
        several => Tensor::cat(several, 0),
    });
    (outputs.unwrap_or_default(), ends.collect())
}

/// A layer's outputs (T, B, H) after dropout.
fn dropped_out(outputs: &Tensor, dropout: Dropout) -> Tensor {
    let size = outputs.size();
    let flat = outputs.reshape([-1, size[2]]);
    dropout.apply(&flat, size[1], true).reshape(size)
}

fn contiguous(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(Tensor::contiguous).collect()
}

/// A layer's input product by token: W_ih·e of each token (G·H, V) in place of W_ih, and the product
/// with the constant vectors as a separate addend (B, G·H).
fn by_token(input: Input, weights: &[Tensor]) -> (Vec<Tensor>, Option<Tensor>) {
    let mut weights: Vec<Tensor> = weights.iter().map(Tensor::shallow_clone).collect();
    let Input::Tokens {
        embedding, latent, ..
    } = input
    else {
        return (weights, None);
    };
    let columns = weights[0].size()[1];
    let size = columns - latent.map_or(0, |latent| latent.size()[1]);
    let of_latent = weights[0].narrow(1, size, columns - size);
    let constant = latent.map(|latent| latent.matmul(&of_latent.tr()));
    if let Some(embedding) = embedding {
        weights[0] = weights[0].narrow(1, 0, size).matmul(&embedding.tr());
    }
    (weights, constant)
}

/// The input of a network as vectors (N, I).
fn vectors(input: Input, grid: &Grid, inputs: i64) -> Tensor {
    let Input::Tokens {
        tokens,
        embedding,
        latent,
    } = input
    else {
        let Input::Vectors(vectors) = input else {
            unreachable!("tokens or vectors")
        };
        return vectors.shallow_clone();
    };
    let by_token = if let Some(embedding) = embedding {
        embedding.index_select(0, tokens)
    } else {
        let size = [tokens.size()[0], inputs];
        let mut zeros = Tensor::zeros(size, (Kind::Float, tokens.device()));
        zeros.scatter_value_(1, &tokens.unsqueeze(1), 1.0)
    };
    match latent {
        Some(latent) => Tensor::cat(&[by_token, latent.index_select(0, &grid.rows())], 1),
        None => by_token,
    }
}
