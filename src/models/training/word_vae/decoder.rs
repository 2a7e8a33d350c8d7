//! The decoder of a word-vae in training.

use std::ops::Range;

use super::super::Parameters;
use super::super::layer::{Read, ReadGradients, RecurrentLayer};
use super::super::tokens::TokenInput;
use super::encoder::{Dropped, finish, linear, mask, position_of, put, take};
use crate::config::{Cell, NetworkConfig};
use crate::kernels::training::{
    Head, HeadGradients, Input, Linear, LinearGradients, OutputGradients, Workers,
};
use crate::models::batch::WordBatch;

/// A decoder with the buffers of a batch: N positions of B words, the longest first.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    hidden: usize,
    /// Z.
    latent: usize,
    /// Whether there are cells.
    is_lstm: bool,
    embedding: Range<usize>,
    /// E.
    size: usize,
    layers: Vec<Layer>,
    letters: TokenInput,
    /// Weight and bias of the layer that computes the first states from z; none if they are zeros.
    init: Option<[Range<usize>; 2]>,
    /// The first states of all layers (B, L·H).
    start: Vec<f32>,
    /// What z adds at every step; none if it does not.
    at_steps: Option<AtSteps>,
    /// Weight and bias.
    head: [Range<usize>; 2],
    /// (B, H).
    zeros: Vec<f32>,
    /// (N, outputs in panels).
    probabilities: Vec<f32>,
    /// −log p of every target (N).
    pub nats: Vec<f32>,
    flow: Flow,
}

/// A layer with what it read.
#[derive(Clone, Debug)]
struct Layer {
    recurrent: RecurrentLayer,
    /// h before the first step (B, H).
    h0: Vec<f32>,
    /// The outputs after dropout (N, H); empty if none are dropped.
    dropped: Vec<f32>,
}

/// z as an input of every step.
#[derive(Clone, Debug, Default)]
struct AtSteps {
    /// The columns of W_ih that read z (G·H, Z), and their gradient.
    weight: [Vec<f32>; 2],
    /// Their product with z (B, G·H), and its gradient.
    product: [Vec<f32>; 2],
}

/// Buffers of the backward pass.
#[derive(Clone, Debug, Default)]
struct Flow {
    /// (N).
    d_nats: Vec<f32>,
    /// (N, H).
    d_outputs: Vec<f32>,
    /// (N, H).
    d_input: Vec<f32>,
    /// (B, L·H).
    d_start: Vec<f32>,
    /// (B, H).
    d_h0: Vec<f32>,
    /// One term of the gradient of z (B, Z).
    addend: Vec<f32>,
}

impl Decoder {
    /// For a network whose parameters have this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters) -> Self {
        let (latent, placement) = (network.latent(), network.z());
        let at_steps = latent > 0 && placement.at_steps();
        let linear = |name: &str| {
            ["weight", "bias"].map(|part| parameters.range(&format!("decoder.{name}.{part}")))
        };
        let layer = |k: usize| Layer {
            recurrent: RecurrentLayer::new(network, parameters, "decoder.rnn", &k.to_string()),
            h0: Vec::new(),
            dropped: Vec::new(),
        };
        let others = if at_steps { latent } else { 0 };
        Self {
            hidden: network.hidden,
            latent,
            is_lstm: network.cell == Cell::Lstm,
            embedding: parameters.range("decoder.embedding.weight"),
            size: network.embedding,
            layers: (0..network.layers).map(layer).collect(),
            letters: TokenInput::new(network.inputs, network.embedding, others),
            init: (latent > 0 && placement.at_start()).then(|| linear("init")),
            start: Vec::new(),
            at_steps: at_steps.then(AtSteps::default),
            head: linear("head"),
            zeros: Vec::new(),
            probabilities: Vec::new(),
            nats: Vec::new(),
            flow: Flow::default(),
        }
    }

    /// −log p of the targets of `batch` in nats, given `z` (B, Z), the longest word first; saves what
    /// [`Decoder::backward`] needs if `save`.
    pub fn forward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &WordBatch,
        z: &[f32],
        dropped: Option<Dropped>,
        save: bool,
    ) {
        let words = &batch.inputs;
        let (hidden, states) = (self.hidden, words.batch() * self.hidden);
        let width = self.layers.len() * hidden;
        self.zeros.clear();
        self.zeros.resize(states, 0.0);
        if let Some(init) = &self.init {
            self.start.resize(words.batch() * width, 0.0);
            linear(init, values, self.latent, z).forward(workers, &mut self.start);
            workers.kernels.tanh(&mut self.start);
        }
        for (k, layer) in self.layers.iter_mut().enumerate() {
            layer.h0.resize(states, 0.0);
            take(&self.start, width, k * hidden, &mut layer.h0, hidden);
        }
        let weight_ih = &values[self.layers[0].recurrent.weight_ih()];
        // Without z it adds nothing.
        let at_steps = self.at_steps.as_mut().filter(|_| !batch.without_z);
        let constant = at_steps.map(|own| {
            own.forward(workers, weight_ih, [self.size, self.latent], z);
            &own.product[0][..]
        });
        let embedding = &values[self.embedding.clone()];
        self.letters
            .prepare(workers, weight_ih, embedding, &words.tokens, None);
        for k in 0..self.layers.len() {
            let (below, layer) = self.layers.split_at_mut(k);
            let layer = &mut layer[0];
            let c0: &[f32] = if self.is_lstm { &self.zeros } else { &[] };
            let read = read(&self.letters, constant, below.last(), &layer.h0, c0);
            layer
                .recurrent
                .forward(workers, values, &words.steps, read, save);
            layer.dropped.clear();
            if let Some(mask) = mask(dropped, k) {
                layer.dropped.extend_from_slice(&layer.recurrent.outputs);
                let at = |at: usize| position_of(words, batch.first, at);
                mask.apply(workers, at, &mut layer.dropped, hidden);
            }
        }
        let head = head(&self.layers, &self.head, values, &batch.targets);
        self.nats.resize(words.len(), 0.0);
        self.probabilities
            .resize(words.len() * head.layout().len(), 0.0);
        head.forward(workers, &mut self.probabilities, &mut self.nats);
    }

    /// The gradients of the decoder's parameters and of z (B, Z), given `d_nats`, that of every number
    /// of nats; the other arguments are those of [`Decoder::forward`].
    #[expect(
        clippy::too_many_arguments,
        reason = "those of `forward`, and gradients"
    )]
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &WordBatch,
        z: &[f32],
        dropped: Option<Dropped>,
        d_nats: f32,
        d_z: &mut [f32],
        gradients: &mut [f32],
    ) {
        let words = &batch.inputs;
        let hidden = self.hidden;
        let width = self.layers.len() * hidden;
        let flow = &mut self.flow;
        flow.d_nats.clear();
        flow.d_nats.resize(words.len(), d_nats);
        for values in [&mut flow.d_outputs, &mut flow.d_input] {
            values.resize(words.len() * hidden, 0.0);
        }
        flow.d_start.resize(self.start.len(), 0.0);
        flow.d_h0.resize(self.start.len() / self.layers.len(), 0.0);
        flow.addend.resize(d_z.len(), 0.0);
        let Ok([weight, bias]) = gradients.get_disjoint_mut(self.head.clone()) else {
            unreachable!("arrays do not overlap")
        };
        let to = HeadGradients {
            hidden: &mut flow.d_outputs,
            weight,
            bias,
        };
        head(&self.layers, &self.head, values, &batch.targets).backward(
            workers,
            &mut self.probabilities,
            &flow.d_nats,
            to,
        );
        gradients[self.embedding.clone()].fill(0.0);
        for k in (0..self.layers.len()).rev() {
            if let Some(mask) = mask(dropped, k) {
                let at = |at: usize| position_of(words, batch.first, at);
                mask.apply(workers, at, &mut flow.d_outputs, hidden);
            }
            let mut of_letters = (k == 0).then(|| self.letters.gradients());
            let at_steps = self.at_steps.as_mut().filter(|_| !batch.without_z);
            let (constant, d_constant) = match at_steps {
                Some(AtSteps { product, .. }) => {
                    let [product, gradient] = product;
                    gradient.resize(product.len(), 0.0);
                    (Some(&product[..]), &mut gradient[..])
                }
                None => (None, &mut [][..]),
            };
            let to = match &mut of_letters {
                Some(letters) => ReadGradients {
                    input: &mut letters.vectors,
                    table: &mut letters.table,
                    constant: d_constant,
                    h0: &mut flow.d_h0,
                },
                None => ReadGradients {
                    input: &mut flow.d_input,
                    h0: &mut flow.d_h0,
                    ..ReadGradients::default()
                },
            };
            let (below, layer) = self.layers.split_at_mut(k);
            let Layer { recurrent, h0, .. } = &mut layer[0];
            let c0: &[f32] = if self.is_lstm { &self.zeros } else { &[] };
            let read = read(&self.letters, constant, below.last(), h0, c0);
            let of = OutputGradients {
                outputs: Some(&flow.d_outputs),
                ..OutputGradients::default()
            };
            recurrent.backward(workers, values, &words.steps, read, of, to, gradients);
            put(&flow.d_h0, hidden, &mut flow.d_start, width, k * hidden);
            if let Some(of) = of_letters {
                let ranges = [recurrent.weight_ih(), self.embedding.clone()];
                finish(workers, &mut self.letters, ranges, values, of, gradients);
            }
            std::mem::swap(&mut flow.d_outputs, &mut flow.d_input);
        }
        d_z.fill(0.0);
        if let Some(own) = self.at_steps.as_mut().filter(|_| !batch.without_z) {
            let d_weight_ih = &mut gradients[self.layers[0].recurrent.weight_ih()];
            own.backward(
                workers,
                [self.size, self.latent],
                z,
                &mut flow.addend,
                d_weight_ih,
            );
            workers.kernels.add(&flow.addend, d_z);
        }
        if let Some(init) = &self.init {
            for (d, h) in flow.d_start.iter_mut().zip(&self.start) {
                *d *= (1.0 - h) * (1.0 + h);
            }
            let Ok([weight, bias]) = gradients.get_disjoint_mut(init.clone()) else {
                unreachable!("arrays do not overlap")
            };
            let to = LinearGradients {
                x: &mut flow.addend,
                weight,
                bias,
            };
            linear(init, values, self.latent, z).backward(workers, &flow.d_start, to);
            workers.kernels.add(&flow.addend, d_z);
        }
    }
}

impl AtSteps {
    /// Computes the product, given W_ih, whose last Z columns read `z` (B, Z) after `size` others.
    fn forward(
        &mut self,
        workers: Workers,
        weight_ih: &[f32],
        [size, latent]: [usize; 2],
        z: &[f32],
    ) {
        let rows = weight_ih.len() / (size + latent);
        self.weight[0].resize(rows * latent, 0.0);
        take(weight_ih, size + latent, size, &mut self.weight[0], latent);
        let mut product = std::mem::take(&mut self.product[0]);
        product.resize(z.len() / latent * rows, 0.0);
        self.linear(latent, z).forward(workers, &mut product);
        self.product[0] = product;
    }

    fn linear<'a>(&'a self, latent: usize, z: &'a [f32]) -> Linear<'a> {
        Linear {
            inputs: latent,
            outputs: self.weight[0].len() / latent,
            x: z,
            weight: &self.weight[0],
            bias: &[],
        }
    }

    /// The gradients of z and of the columns of W_ih, from that of the product.
    fn backward(
        &mut self,
        workers: Workers,
        [size, latent]: [usize; 2],
        z: &[f32],
        d_z: &mut [f32],
        d_weight_ih: &mut [f32],
    ) {
        let mut d_weight = std::mem::take(&mut self.weight[1]);
        d_weight.resize(self.weight[0].len(), 0.0);
        let to = LinearGradients {
            x: d_z,
            weight: &mut d_weight,
            bias: &mut [],
        };
        self.linear(latent, z)
            .backward(workers, &self.product[1], to);
        put(&d_weight, latent, d_weight_ih, size + latent, size);
        self.weight[1] = d_weight;
    }
}

/// What a layer above `below` reads, or the first one.
fn read<'a>(
    letters: &'a TokenInput,
    constant: Option<&'a [f32]>,
    below: Option<&'a Layer>,
    h0: &'a [f32],
    c0: &'a [f32],
) -> Read<'a> {
    let (input, table) = match below {
        Some(below) => (Input::Vectors(below.outputs()), None),
        None => letters.read(),
    };
    Read {
        input,
        table,
        weight_hh: None,
        constant: constant.filter(|_| below.is_none()),
        h0,
        c0,
    }
}

impl Layer {
    /// The outputs as the layer above reads them.
    fn outputs(&self) -> &[f32] {
        if self.dropped.is_empty() {
            &self.recurrent.outputs
        } else {
            &self.dropped
        }
    }
}

/// The head over the top layer's outputs.
fn head<'a>(
    layers: &'a [Layer],
    [weight, bias]: &[Range<usize>; 2],
    values: &'a [f32],
    targets: &'a [i64],
) -> Head<'a> {
    Head {
        hidden: layers.last().map_or(&[], Layer::outputs),
        weight: &values[weight.clone()],
        bias: &values[bias.clone()],
        targets,
    }
}
