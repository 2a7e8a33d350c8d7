//! The encoder of a word-vae in training, which the article's network shares.

use std::ops::Range;

use super::super::Parameters;
use super::super::dropout::{Mask, position};
use super::super::layer::{Read, ReadGradients, RecurrentLayer};
use super::super::tokens::TokenInput;
use crate::config::{Cell, NetworkConfig};
use crate::kernels::training::{Linear, LinearGradients, OutputGradients, Workers};
use crate::models::noise::Noise;
use crate::models::sequences::Sequences;

/// The dropout of a pass: the rate, and the numbers that select what is dropped.
pub(in super::super) type Dropped = (f64, Noise);

/// An encoder with the buffers of a batch: N letters of B words, the longest first.
#[derive(Clone, Debug)]
pub(in super::super) struct Encoder {
    hidden: usize,
    /// Whether there are cells.
    is_lstm: bool,
    embedding: Range<usize>,
    layers: Vec<Layer>,
    /// The letters of every word reversed (N).
    turned: Vec<i64>,
    /// (B, H).
    zeros: Vec<f32>,
    /// The last hidden states of the top layer (B, D·H).
    summary: Vec<f32>,
    /// Weight and bias of the layers that compute μ and ln σ².
    linear: [[Range<usize>; 2]; 2],
    /// μ (B, Z).
    pub mean: Vec<f32>,
    /// ln σ² (B, Z), not clamped.
    pub log_var: Vec<f32>,
    flow: Flow,
}

/// A layer of one direction or two.
#[derive(Clone, Debug)]
struct Layer {
    directions: Vec<RecurrentLayer>,
    /// The letters of each direction; empty above the first layer.
    letters: Vec<TokenInput>,
    /// The vectors that each direction reads (N, D·H); empty for the first layer.
    inputs: [Vec<f32>; 2],
}

/// Buffers of the backward pass.
#[derive(Clone, Debug, Default)]
struct Flow {
    /// (B, D·H).
    d_summary: Vec<f32>,
    /// Of one term of it.
    addend: Vec<f32>,
    /// (N, D·H).
    d_outputs: Vec<f32>,
    /// The same by direction (N, H), and reversed.
    own: [Vec<f32>; 2],
    /// By direction (N, D·H).
    d_input: [Vec<f32>; 2],
    /// (B, H).
    d_h: Vec<f32>,
}

impl Encoder {
    /// For a network with z whose parameters have this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters) -> Self {
        let suffixes: &[&str] = if network.is_bidirectional() {
            &["", "_reverse"]
        } else {
            &[""]
        };
        let layer = |k: usize| {
            let directions = suffixes.iter().map(|direction| {
                let suffix = format!("{k}{direction}");
                RecurrentLayer::new(network, parameters, "encoder.rnn", &suffix)
            });
            let letters = || TokenInput::new(network.inputs, network.embedding, 0);
            Layer {
                directions: directions.collect(),
                letters: suffixes
                    .iter()
                    .filter(|_| k == 0)
                    .map(|_| letters())
                    .collect(),
                inputs: [Vec::new(), Vec::new()],
            }
        };
        let linear = |name: &str| {
            ["weight", "bias"].map(|part| parameters.range(&format!("encoder.{name}.{part}")))
        };
        Self {
            hidden: network.hidden,
            is_lstm: network.cell == Cell::Lstm,
            embedding: parameters.range("encoder.embedding.weight"),
            layers: (0..network.layers).map(layer).collect(),
            turned: Vec::new(),
            zeros: Vec::new(),
            summary: Vec::new(),
            linear: ["mean", "log_var"].map(linear),
            mean: Vec::new(),
            log_var: Vec::new(),
            flow: Flow::default(),
        }
    }

    /// D·H.
    fn width(&self) -> usize {
        self.hidden
            * self
                .layers
                .first()
                .map_or(1, |layer| layer.directions.len())
    }

    /// Computes μ and ln σ² of `words`, the first of which is number `first` of the whole batch; saves
    /// what [`Encoder::backward`] needs if `save`.
    pub fn forward(
        &mut self,
        workers: Workers,
        values: &[f32],
        words: &Sequences,
        first: usize,
        dropped: Option<Dropped>,
        save: bool,
    ) {
        let (hidden, width) = (self.hidden, self.width());
        self.zeros.clear();
        self.zeros.resize(words.batch() * hidden, 0.0);
        let reversed = words.reversed.iter();
        self.turned.clear();
        self.turned
            .extend(reversed.map(|&other| words.tokens[other as usize]));
        for k in 0..self.layers.len() {
            let (below, layer) = self.layers.split_at_mut(k);
            let layer = &mut layer[0];
            if let Some(below) = below.last() {
                below.outputs(words, hidden, &mut self.flow.own, &mut layer.inputs[0]);
                if let Some(mask) = mask(dropped, k - 1) {
                    let at = |at: usize| position_of(words, first, at);
                    mask.apply(workers, at, &mut layer.inputs[0], width);
                }
                let [input, turned] = &mut layer.inputs;
                if width > hidden {
                    turned.resize(input.len(), 0.0);
                    words.turn(input, width, turned);
                }
            } else {
                let embedding = &values[self.embedding.clone()];
                let directions = layer.letters.iter_mut().zip(&layer.directions);
                for ((letters, recurrent), tokens) in directions.zip([&words.tokens, &self.turned])
                {
                    let weight_ih = &values[recurrent.weight_ih()];
                    letters.prepare(workers, weight_ih, embedding, tokens, None);
                }
            }
            let Layer {
                directions,
                letters,
                inputs,
            } = layer;
            for (direction, recurrent) in directions.iter_mut().enumerate() {
                let read = read(
                    letters.get(direction),
                    &inputs[direction],
                    &self.zeros,
                    self.is_lstm,
                );
                recurrent.forward(workers, values, &words.steps, read, save);
            }
        }
        self.summary.resize(words.batch() * width, 0.0);
        if let Some(top) = self.layers.last() {
            for (direction, recurrent) in top.directions.iter().enumerate() {
                put(
                    &recurrent.h,
                    hidden,
                    &mut self.summary,
                    width,
                    direction * hidden,
                );
            }
        }
        for (ranges, to) in self.linear.iter().zip([&mut self.mean, &mut self.log_var]) {
            to.resize(words.batch() * ranges[1].len(), 0.0);
            linear(ranges, values, width, &self.summary).forward(workers, to);
        }
    }

    /// The gradients of the encoder's parameters, given those of μ and of ln σ² (B, Z); the arguments are
    /// those of [`Encoder::forward`].
    #[expect(
        clippy::too_many_arguments,
        reason = "those of `forward`, and gradients"
    )]
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        words: &Sequences,
        first: usize,
        dropped: Option<Dropped>,
        of: [&[f32]; 2],
        gradients: &mut [f32],
    ) {
        let (hidden, width) = (self.hidden, self.width());
        let positions = words.len();
        let flow = &mut self.flow;
        flow.addend.resize(self.summary.len(), 0.0);
        flow.d_summary.clear();
        flow.d_summary.resize(self.summary.len(), 0.0);
        for (ranges, of) in self.linear.iter().zip(of) {
            let Ok([weight, bias]) = gradients.get_disjoint_mut(ranges.clone()) else {
                unreachable!("arrays do not overlap")
            };
            let to = LinearGradients {
                x: &mut flow.addend,
                weight,
                bias,
            };
            linear(ranges, values, width, &self.summary).backward(workers, of, to);
            workers.kernels.add(&flow.addend, &mut flow.d_summary);
        }
        flow.d_h.resize(words.batch() * hidden, 0.0);
        for own in &mut flow.own {
            own.resize(positions * hidden, 0.0);
        }
        gradients[self.embedding.clone()].fill(0.0);
        let top = self.layers.len() - 1;
        for (k, layer) in self.layers.iter_mut().enumerate().rev() {
            let Layer {
                directions,
                letters,
                inputs,
            } = layer;
            for (direction, recurrent) in directions.iter_mut().enumerate() {
                let of = if k == top {
                    take(
                        &flow.d_summary,
                        width,
                        direction * hidden,
                        &mut flow.d_h,
                        hidden,
                    );
                    OutputGradients {
                        h: Some(&flow.d_h),
                        ..OutputGradients::default()
                    }
                } else {
                    let [own, turned] = &mut flow.own;
                    take(&flow.d_outputs, width, direction * hidden, own, hidden);
                    if direction == 1 {
                        words.turn(own, hidden, turned);
                    }
                    OutputGradients {
                        outputs: Some(&flow.own[direction]),
                        ..OutputGradients::default()
                    }
                };
                let d_input = &mut flow.d_input[direction];
                d_input.resize(inputs[direction].len(), 0.0);
                let mut of_letters = letters.get_mut(direction).map(TokenInput::gradients);
                let to = match &mut of_letters {
                    Some(letters) => ReadGradients {
                        input: &mut letters.vectors,
                        table: &mut letters.table,
                        ..ReadGradients::default()
                    },
                    None => ReadGradients {
                        input: d_input,
                        ..ReadGradients::default()
                    },
                };
                let read = read(
                    letters.get(direction),
                    &inputs[direction],
                    &self.zeros,
                    self.is_lstm,
                );
                recurrent.backward(workers, values, &words.steps, read, of, to, gradients);
                if let (Some(letters), Some(of)) = (letters.get_mut(direction), of_letters) {
                    let ranges = [recurrent.weight_ih(), self.embedding.clone()];
                    finish(workers, letters, ranges, values, of, gradients);
                }
            }
            if k == 0 {
                break;
            }
            let [given, turned] = &mut flow.d_input;
            std::mem::swap(&mut flow.d_outputs, given);
            if width > hidden {
                given.resize(positions * width, 0.0);
                words.turn(turned, width, given);
                workers.kernels.add(given, &mut flow.d_outputs);
            }
            if let Some(mask) = mask(dropped, k - 1) {
                let at = |at: usize| position_of(words, first, at);
                mask.apply(workers, at, &mut flow.d_outputs, width);
            }
        }
    }
}

impl Layer {
    /// The outputs of all directions side by side (N, D·H), in the order of the letters.
    fn outputs(
        &self,
        words: &Sequences,
        hidden: usize,
        own: &mut [Vec<f32>; 2],
        to: &mut Vec<f32>,
    ) {
        let width = self.directions.len() * hidden;
        to.resize(words.len() * width, 0.0);
        for (direction, recurrent) in self.directions.iter().enumerate() {
            let mut outputs = &recurrent.outputs;
            if direction == 1 {
                own[1].resize(outputs.len(), 0.0);
                words.turn(outputs, hidden, &mut own[1]);
                outputs = &own[1];
            }
            put(outputs, hidden, to, width, direction * hidden);
        }
    }
}

/// Where a position of `words` is in the whole batch.
pub(super) fn position_of(words: &Sequences, first: usize, at: usize) -> u64 {
    position(first + words.rows[at] as usize, words.times[at] as usize)
}

/// The mask of the outputs of layer `k`, if any are dropped.
pub(super) fn mask(dropped: Option<Dropped>, k: usize) -> Option<Mask> {
    let (rate, noise) = dropped.filter(|(rate, _)| *rate > 0.0)?;
    Some(Mask::new(noise.sub(k as u64), rate))
}

/// A linear layer whose weight and bias are at `ranges`.
pub(in super::super) fn linear<'a>(
    [weight, bias]: &[Range<usize>; 2],
    values: &'a [f32],
    inputs: usize,
    x: &'a [f32],
) -> Linear<'a> {
    Linear {
        inputs,
        outputs: bias.len(),
        x,
        weight: &values[weight.clone()],
        bias: &values[bias.clone()],
    }
}

/// The gradients of W_ih and of the embedding, which are at `ranges`.
pub(super) fn finish(
    workers: Workers,
    tokens: &mut TokenInput,
    ranges: [Range<usize>; 2],
    values: &[f32],
    of: super::super::tokens::TokenGradients,
    gradients: &mut [f32],
) {
    let [weight_ih, embedding] = ranges.each_ref().map(|range| &values[range.clone()]);
    let Ok([d_weight_ih, d_embedding]) = gradients.get_disjoint_mut(ranges) else {
        unreachable!("arrays do not overlap")
    };
    tokens.finish(workers, weight_ih, embedding, of, d_weight_ih, d_embedding);
}

/// What a layer reads: letters or, above the first, vectors. Its state starts from zeros.
fn read<'a>(
    letters: Option<&'a TokenInput>,
    vectors: &'a [f32],
    zeros: &'a [f32],
    is_lstm: bool,
) -> Read<'a> {
    let (input, table) = match letters {
        Some(letters) => letters.read(),
        None => (crate::kernels::training::Input::Vectors(vectors), None),
    };
    Read {
        input,
        table,
        weight_hh: None,
        constant: None,
        h0: zeros,
        c0: if is_lstm { zeros } else { &[] },
    }
}

/// Copies rows (·, `size`) to the columns of rows (·, `width`) that start at `first`.
pub(super) fn put(from: &[f32], size: usize, to: &mut [f32], width: usize, first: usize) {
    for (from, to) in from.chunks_exact(size).zip(to.chunks_exact_mut(width)) {
        to[first..first + size].copy_from_slice(from);
    }
}

/// The reverse of [`put`].
pub(super) fn take(from: &[f32], width: usize, first: usize, to: &mut [f32], size: usize) {
    for (from, to) in from.chunks_exact(width).zip(to.chunks_exact_mut(size)) {
        to.copy_from_slice(&from[first..first + size]);
    }
}
