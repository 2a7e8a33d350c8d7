//! LSTM, GRU and plain tanh networks over whole sequences: on the CPU through the native engine's
//! kernels, elsewhere through libtorch's own operators (cuDNN's on CUDA).

use tch::{Device, Kind, Tensor};
use textgen::config::Cell;

use crate::operators::{LayerCall, layer};

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

/// What a network reads at N places: at step t one of each of the first n_t sequences.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Symbols.
    Symbols {
        /// (N).
        symbols: &'a Tensor,
        /// Their vectors (V, E), or none where they are one-hot (I = V).
        embedding: Option<&'a Tensor>,
        /// (B, Z): what stands beside every symbol of a sequence (I = E + Z).
        beside: Option<&'a Tensor>,
    },
    /// Vectors (N, I).
    Vectors(&'a Tensor),
}

impl Input<'_> {
    /// One-hot symbols, or with their embedding.
    pub fn symbols<'a>(symbols: &'a Tensor, embedding: Option<&'a Tensor>) -> Input<'a> {
        Input::Symbols {
            symbols,
            embedding,
            beside: None,
        }
    }
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

    /// Reads `input` from `state`, with `counts` sequences n_t under way at each step. Returns the
    /// top layer's outputs (N, H) and the state after each sequence's last step. `dropout` falls
    /// between layers, where `train`.
    pub fn run(
        &self,
        input: Input,
        counts: &[i64],
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        if weights[0].device() == Device::Cpu {
            self.run_native(input, counts, state, weights, dropout, train)
        } else {
            self.run_libtorch(input, counts, state, weights, dropout, train)
        }
    }

    /// [`Shape::run`] on the CPU, layer by layer.
    pub fn run_native(
        &self,
        input: Input,
        counts: &[i64],
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let mut outputs = Tensor::new();
        let mut ends: Vec<Vec<Tensor>> = state.iter().map(|_| Vec::new()).collect();
        for (index, weights) in weights.chunks_exact(4).enumerate() {
            let own: Vec<Tensor> = state.iter().map(|s| s.select(0, index as i64)).collect();
            let call = |input: &Tensor, weights: &[Tensor], constant: Option<&Tensor>| {
                layer(&LayerCall {
                    cell: self.cell,
                    counts,
                    input,
                    constant,
                    weights,
                    state: &own,
                })
            };
            let (next, end) = match (index, input) {
                (0, Input::Symbols { symbols, .. }) => {
                    let (weights, constant) = by_symbol(input, weights);
                    call(symbols, &weights, constant.as_ref())
                }
                (0, Input::Vectors(vectors)) => call(vectors, weights, None),
                _ => call(&outputs.dropout(dropout, train), weights, None),
            };
            outputs = next;
            for (ends, end) in ends.iter_mut().zip(end) {
                ends.push(end);
            }
        }
        let state = ends.iter().map(|ends| match &ends[..] {
            [one] => one.unsqueeze(0),
            several => Tensor::stack(several, 0),
        });
        (outputs, state.collect())
    }

    /// [`Shape::run`] through libtorch's own operators; shorter sequences are filled up, and the
    /// state returned is then the top layer's h alone.
    pub fn run_libtorch(
        &self,
        input: Input,
        counts: &[i64],
        state: &[Tensor],
        weights: &[Tensor],
        dropout: f64,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let grid = Grid::new(counts, weights[0].device());
        let input = grid.spread(&vectors(input, &grid, weights[0].size()[1]));
        let layers = self.layers as i64;
        let (outputs, ends) = match self.cell {
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
        };
        if grid.places.is_none() {
            return (outputs.reshape([-1, self.hidden as i64]), ends);
        }
        let outputs = grid.gather(&outputs);
        // What libtorch calls the end is that of the filling, but for the top layer's h.
        let end = grid.last(&outputs).unsqueeze(0);
        (outputs, vec![end])
    }
}

/// What a layer's input product is by symbol: W_ih·e of each (G·H, V) in place of W_ih, and what
/// stands beside the symbols as its own addend (B, G·H).
fn by_symbol(input: Input, weights: &[Tensor]) -> (Vec<Tensor>, Option<Tensor>) {
    let mut weights: Vec<Tensor> = weights.iter().map(Tensor::shallow_clone).collect();
    let Input::Symbols {
        embedding, beside, ..
    } = input
    else {
        return (weights, None);
    };
    let columns = weights[0].size()[1];
    let size = columns - beside.map_or(0, |beside| beside.size()[1]);
    let of_beside = weights[0].narrow(1, size, columns - size);
    let constant = beside.map(|beside| beside.matmul(&of_beside.tr()));
    if let Some(embedding) = embedding {
        weights[0] = weights[0].narrow(1, 0, size).matmul(&embedding.tr());
    }
    (weights, constant)
}

/// The vectors (N, I) that a network reads.
fn vectors(input: Input, grid: &Grid, inputs: i64) -> Tensor {
    let Input::Symbols {
        symbols,
        embedding,
        beside,
    } = input
    else {
        let Input::Vectors(vectors) = input else {
            unreachable!("symbols or vectors")
        };
        return vectors.shallow_clone();
    };
    let by_symbol = if let Some(embedding) = embedding {
        embedding.index_select(0, symbols)
    } else {
        let size = [symbols.size()[0], inputs];
        let mut zeros = Tensor::zeros(size, (Kind::Float, symbols.device()));
        zeros.scatter_value_(1, &symbols.unsqueeze(1), 1.0)
    };
    match beside {
        Some(beside) => Tensor::cat(&[by_symbol, beside.index_select(0, &grid.rows())], 1),
        None => by_symbol,
    }
}

/// Sequences filled up to the longest, (T, B) places.
struct Grid {
    steps: i64,
    batch: i64,
    /// The places of the grid that are not filling (N); none where all are.
    places: Option<Tensor>,
    /// For every sequence the place, among the N, of its last step.
    last: Vec<i64>,
    device: Device,
}

impl Grid {
    fn new(counts: &[i64], device: Device) -> Self {
        let (steps, batch) = (counts.len() as i64, counts[0]);
        let mut places = Vec::new();
        let mut last = vec![0; batch as usize];
        for (t, &count) in counts.iter().enumerate() {
            for row in 0..count {
                last[row as usize] = places.len() as i64;
                places.push(t as i64 * batch + row);
            }
        }
        let filled = places.len() as i64 != steps * batch;
        Self {
            steps,
            batch,
            places: filled.then(|| Tensor::from_slice(&places).to_device(device)),
            last,
            device,
        }
    }

    /// The sequence of every place (N).
    fn rows(&self) -> Tensor {
        let all = Tensor::arange(self.steps * self.batch, (Kind::Int64, self.device));
        match &self.places {
            Some(places) => places.remainder(self.batch),
            None => all.remainder(self.batch),
        }
    }

    /// `values` (N, I) as (T, B, I), with zeros for filling.
    fn spread(&self, values: &Tensor) -> Tensor {
        let width = values.size()[1];
        let grid = match &self.places {
            Some(places) => {
                let size = [self.steps * self.batch, width];
                Tensor::zeros(size, (Kind::Float, self.device)).index_copy(0, places, values)
            }
            None => values.shallow_clone(),
        };
        grid.reshape([self.steps, self.batch, width])
    }

    /// `values` (T, B, H) without filling (N, H).
    fn gather(&self, values: &Tensor) -> Tensor {
        let flat = values.reshape([self.steps * self.batch, -1]);
        match &self.places {
            Some(places) => flat.index_select(0, places),
            None => flat,
        }
    }

    /// `values` (N, H) at the last step of each sequence (B, H).
    fn last(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &Tensor::from_slice(&self.last).to_device(self.device))
    }
}
