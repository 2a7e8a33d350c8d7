//! The character model forward and backward.

use std::ops::Range;

use super::Parameters;
use super::dropout::{Mask, position};
use super::layer::{Read, ReadGradients, RecurrentLayer};
use super::tokens::{TokenDropout, TokenInput};
use crate::config::{Cell, NetworkConfig};
use crate::kernels::training::{Head, HeadGradients, Input, OutputGradients, Workers};
use crate::models::batch::TextBatch;
use crate::models::noise::{Noise, Use};
use crate::models::pieces::Pieces;

/// What is dropped while training, with which probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextDropout {
    /// Of a unit of any layer's outputs, also of the last layer's.
    pub outputs: f64,
    /// Whether the same units are dropped at all steps of a sequence (Gal & Ghahramani 2016).
    pub variational: bool,
    /// Of a token: it is read as a vector of zeros.
    pub input: f64,
    /// Of a recurrent weight (DropConnect; Merity et al. 2017).
    pub recurrent: f64,
}

/// The state of all layers for the rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct TextState {
    /// (L, B, H).
    pub h: Vec<f32>,
    /// (L, B, H); empty unless an LSTM.
    pub c: Vec<f32>,
}

impl TextState {
    /// The zero state for `rows` rows.
    pub fn zero(network: &NetworkConfig, rows: usize) -> Self {
        let numbers = network.layers * rows * network.hidden;
        let cells = if network.cell == Cell::Lstm {
            numbers
        } else {
            0
        };
        Self {
            h: vec![0.0; numbers],
            c: vec![0.0; cells],
        }
    }
}

/// A char-lstm in training: the buffers of a batch, or of one shard of it.
#[derive(Clone, Debug)]
pub struct CharRnnTraining {
    network: NetworkConfig,
    dropout: TextDropout,
    layers: Vec<Layer>,
    input: TokenInput,
    /// Where the embedding is; empty if tokens are one-hot.
    embedding: Range<usize>,
    /// Where the head's weight and bias are.
    head: [Range<usize>; 2],
    pieces: Pieces,
    /// What is read, and what follows it, by position (N).
    inputs: Vec<i64>,
    targets: Vec<i64>,
    /// The seed of this pass's masks and the step.
    noise: Option<(u64, u64)>,
    /// (N, outputs in panels).
    probabilities: Vec<f32>,
    /// −log p of every target, by position (N),
    nats: Vec<f32>,
    /// and by the batch's places (T, B).
    placed: Vec<f32>,
    d_nats: Vec<f32>,
    /// The gradients of a layer's outputs and of its input (N, H).
    flow: [Vec<f32>; 2],
}

/// A layer with what it read.
#[derive(Clone, Debug)]
struct Layer {
    recurrent: RecurrentLayer,
    /// The state before the first step of each sequence, each (S, H).
    h0: Vec<f32>,
    c0: Vec<f32>,
    /// The outputs after dropout (N, H).
    dropped: Vec<f32>,
    /// W_hh after dropout.
    weight_hh: Vec<f32>,
}

impl CharRnnTraining {
    /// For a network whose parameters have this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters, dropout: TextDropout) -> Self {
        let layer = |k: usize| Layer {
            recurrent: RecurrentLayer::new(network, parameters, "rnn", &k.to_string()),
            h0: Vec::new(),
            c0: Vec::new(),
            dropped: Vec::new(),
            weight_hh: Vec::new(),
        };
        Self {
            dropout,
            layers: (0..network.layers).map(layer).collect(),
            input: TokenInput::new(network.inputs, network.embedding, 0),
            embedding: if network.embedding > 0 {
                parameters.range("embedding.weight")
            } else {
                0..0
            },
            head: ["head.weight", "head.bias"].map(|name| parameters.range(name)),
            network: network.clone(),
            pieces: Pieces::new(&TextBatch::default(), None),
            inputs: Vec::new(),
            targets: Vec::new(),
            noise: None,
            probabilities: Vec::new(),
            nats: Vec::new(),
            placed: Vec::new(),
            d_nats: Vec::new(),
            flow: [Vec::new(), Vec::new()],
        }
    }

    /// −log p of the targets of `batch` in nats, (T·B) or, if only the last step counts, (B). `state`
    /// goes from that before the batch to that after it, starting from zero if the batch says so.
    /// `noise` is the seed and the number of a training step, which select what is dropped.
    ///
    /// # Panics
    /// If an array has another length than the network, the batch or the parameters say, or a token is
    /// unknown; if only the last step counts, but documents are told apart.
    pub fn forward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &TextBatch,
        state: &mut TextState,
        noise: (u64, u64),
    ) -> &[f32] {
        self.noise = Some(noise);
        self.run(workers, values, batch, state, true)
    }

    /// [`CharRnnTraining::forward`] without dropout and without saving anything for a backward pass.
    ///
    /// # Panics
    /// As [`CharRnnTraining::forward`].
    pub fn evaluate(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &TextBatch,
        state: &mut TextState,
    ) -> &[f32] {
        self.noise = None;
        self.run(workers, values, batch, state, false)
    }

    fn run(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &TextBatch,
        state: &mut TextState,
        save: bool,
    ) -> &[f32] {
        let &TextBatch { steps, rows, .. } = batch;
        assert_eq!(batch.targets.len(), steps * rows, "a target a position");
        let eos = self.network.eos;
        assert!(eos.is_none() || !batch.last_only, "all steps count");
        self.pieces = Pieces::new(batch, eos);
        let pieces = &self.pieces;
        pieces.gather(&batch.inputs, &mut self.inputs);
        pieces.gather(&batch.targets, &mut self.targets);
        if batch.from_zero {
            state.h.fill(0.0);
            state.c.fill(0.0);
        }
        let at = places(batch, &pieces.places);
        let drop_tokens = self.noise.map(|(seed, step)| TokenDropout {
            noise: Noise::new(seed, Use::InputDropout, step),
            rate: self.dropout.input,
        });
        self.input.prepare(
            workers,
            &values[self.layers[0].recurrent.weight_ih()],
            &values[self.embedding.clone()],
            &self.inputs,
            drop_tokens.map(|dropout| (dropout, &at as &dyn Fn(usize) -> u64)),
        );
        let hidden = self.network.hidden;
        let size = rows * hidden;
        for k in 0..self.layers.len() {
            let of_weights = self.weight_mask(k);
            let of_outputs = self.output_mask(k);
            let (below, layer) = self.layers.split_at_mut(k);
            let Layer {
                recurrent: layer,
                h0,
                c0,
                dropped,
                weight_hh,
            } = &mut layer[0];
            pieces.starting(&state.h[k * size..][..size], hidden, h0);
            if !state.c.is_empty() {
                pieces.starting(&state.c[k * size..][..size], hidden, c0);
            }
            if let Some(mask) = &of_weights {
                weight_hh.clear();
                weight_hh.extend_from_slice(&values[layer.weight_hh()]);
                mask.apply_to_array(workers, weight_hh);
            }
            let read = read(&self.input, below.last(), of_outputs.is_some());
            let read = Read {
                weight_hh: of_weights.is_some().then_some(&weight_hh[..]),
                h0,
                c0,
                ..read
            };
            layer.forward(workers, values, &pieces.steps, read, save);
            pieces.ending(&layer.h, hidden, &mut state.h[k * size..][..size]);
            if !state.c.is_empty() {
                pieces.ending(&layer.c, hidden, &mut state.c[k * size..][..size]);
            }
            if let Some(mask) = &of_outputs {
                dropped.clear();
                dropped.extend_from_slice(&layer.outputs);
                let at = outputs_at(self.dropout.variational, &at);
                mask.apply(workers, at, dropped, hidden);
            }
        }
        let first = if batch.last_only {
            (steps - 1) * rows
        } else {
            0
        };
        let positions = steps * rows - first;
        let head = head(
            &self.layers,
            &self.head,
            values,
            self.dropping(),
            &self.targets,
            first * hidden,
        );
        self.probabilities
            .resize(positions * head.layout().len(), 0.0);
        self.nats.resize(positions, 0.0);
        head.forward(workers, &mut self.probabilities, &mut self.nats);
        if eos.is_none() {
            return &self.nats;
        }
        self.pieces.scatter(&self.nats, &mut self.placed);
        &self.placed
    }

    /// The gradients of all parameters, all of which are overwritten, given `d_nats`, the gradient of every
    /// number that [`CharRnnTraining::forward`] has just computed from the same batch. No
    /// gradient flows into the state before the batch.
    ///
    /// # Panics
    /// As [`CharRnnTraining::forward`].
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &TextBatch,
        d_nats: f32,
        gradients: &mut [f32],
    ) {
        let &TextBatch { steps, rows, .. } = batch;
        let hidden = self.network.hidden;
        let dropping = self.dropping();
        let at = places(batch, &self.pieces.places);
        let first = (steps * rows - self.nats.len()) * hidden;
        self.d_nats.clear();
        self.d_nats.resize(self.nats.len(), d_nats);
        for flow in &mut self.flow {
            flow.resize(steps * rows * hidden, 0.0);
        }
        let Ok([d_weight, d_bias]) = gradients.get_disjoint_mut(self.head.clone()) else {
            unreachable!("arrays do not overlap")
        };
        let [d_outputs, _] = &mut self.flow;
        d_outputs[..first].fill(0.0);
        let to = HeadGradients {
            hidden: &mut d_outputs[first..],
            weight: d_weight,
            bias: d_bias,
        };
        let targets = &self.targets;
        head(&self.layers, &self.head, values, dropping, targets, first).backward(
            workers,
            &mut self.probabilities,
            &self.d_nats,
            to,
        );
        if self.embedding != self.head[0] {
            gradients[self.embedding.clone()].fill(0.0);
        }
        for k in (0..self.layers.len()).rev() {
            let of_weights = self.weight_mask(k);
            let of_outputs = self.output_mask(k);
            let [d_outputs, d_input] = &mut self.flow;
            if let Some(mask) = &of_outputs {
                let at = outputs_at(self.dropout.variational, &at);
                mask.apply(workers, at, d_outputs, hidden);
            }
            let mut of_tokens = (k == 0).then(|| self.input.gradients());
            let (below, layer) = self.layers.split_at_mut(k);
            let Layer {
                recurrent: layer,
                h0,
                c0,
                weight_hh,
                ..
            } = &mut layer[0];
            let read = Read {
                weight_hh: of_weights.is_some().then_some(&weight_hh[..]),
                h0,
                c0,
                ..read(&self.input, below.last(), of_outputs.is_some())
            };
            let of = OutputGradients {
                outputs: Some(d_outputs),
                ..OutputGradients::default()
            };
            let to = match &mut of_tokens {
                Some(tokens) => ReadGradients {
                    input: &mut tokens.vectors,
                    table: &mut tokens.table,
                    ..ReadGradients::default()
                },
                None => ReadGradients {
                    input: d_input,
                    ..ReadGradients::default()
                },
            };
            layer.backward(workers, values, &self.pieces.steps, read, of, to, gradients);
            if let Some(mask) = &of_weights {
                mask.apply_to_array(workers, &mut gradients[layer.weight_hh()]);
            }
            if let Some(tokens) = of_tokens {
                let ranges = [layer.weight_ih(), self.embedding.clone()];
                let [weight_ih, embedding] = ranges.each_ref().map(|range| &values[range.clone()]);
                let Ok([d_weight_ih, d_embedding]) = gradients.get_disjoint_mut(ranges) else {
                    unreachable!("arrays do not overlap")
                };
                self.input.finish(
                    workers,
                    weight_ih,
                    embedding,
                    tokens,
                    d_weight_ih,
                    d_embedding,
                );
            }
            self.flow.swap(0, 1);
        }
    }

    /// Whether units are dropped in this pass.
    fn dropping(&self) -> bool {
        self.noise.is_some() && self.dropout.outputs > 0.0
    }

    /// The mask of the outputs of layer `k`, if any are dropped in this pass.
    fn output_mask(&self, k: usize) -> Option<Mask> {
        let (seed, step) = self.noise.filter(|_| self.dropout.outputs > 0.0)?;
        let noise = Noise::new(seed, Use::Dropout, step).sub(k as u64);
        Some(Mask::new(noise, self.dropout.outputs))
    }

    /// The mask of W_hh of layer `k`, if any of it is dropped in this pass.
    fn weight_mask(&self, k: usize) -> Option<Mask> {
        let (seed, step) = self.noise.filter(|_| self.dropout.recurrent > 0.0)?;
        let noise = Noise::new(seed, Use::RecurrentDropout, step).sub(k as u64);
        Some(Mask::new(noise, self.dropout.recurrent))
    }
}

/// Where the numbers of each position of a batch are among the random numbers of the whole batch.
fn places<'a>(batch: &TextBatch, places: &'a [u32]) -> impl Fn(usize) -> u64 + Sync + use<'a> {
    let &TextBatch { rows, first, .. } = batch;
    move |index| {
        let place = places[index] as usize;
        position(first + place % rows, place / rows)
    }
}

/// The outputs of a layer as the one above reads them.
fn outputs(layer: &Layer, dropping: bool) -> &[f32] {
    if dropping {
        &layer.dropped
    } else {
        &layer.recurrent.outputs
    }
}

/// What a layer above `below` reads, or the first one.
fn read<'a>(tokens: &'a TokenInput, below: Option<&'a Layer>, dropping: bool) -> Read<'a> {
    let (input, table) = match below {
        Some(below) => (Input::Vectors(outputs(below, dropping)), None),
        None => tokens.read(),
    };
    Read {
        input,
        table,
        weight_hh: None,
        constant: None,
        h0: &[],
        c0: &[],
    }
}

/// Where the numbers for a position's units are: with variational dropout, those of its row.
fn outputs_at(variational: bool, at: impl Fn(usize) -> u64 + Sync) -> impl Fn(usize) -> u64 + Sync {
    move |index| {
        if variational {
            super::dropout::start_of_row(at(index))
        } else {
            at(index)
        }
    }
}

/// The head over the top layer's outputs from number `first` on.
fn head<'a>(
    layers: &'a [Layer],
    ranges: &[Range<usize>; 2],
    values: &'a [f32],
    dropping: bool,
    targets: &'a [i64],
    first: usize,
) -> Head<'a> {
    let top = layers.last().map_or(&[][..], |top| outputs(top, dropping));
    let hidden = &top[first..];
    let [weight, bias] = ranges.each_ref().map(|range| &values[range.clone()]);
    let units = weight.len() / bias.len();
    Head {
        hidden,
        weight,
        bias,
        targets: &targets[targets.len() - hidden.len() / units..],
    }
}

#[cfg(test)]
mod tests;
