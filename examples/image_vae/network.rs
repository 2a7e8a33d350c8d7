//! Dense networks with their gradients: an encoder with a Gaussian on top, and a decoder.

use std::ops::Range;

use textgen::parts::variational::{Gaussians, Objective, deviations};
use textgen::parts::{Linear, LinearGradients, Noise, Use, Workers};

use crate::data::PIXELS;
use crate::flags::{Loss, Model};

/// A dense layer: the ranges of its weight (O, I) and bias (O) in the flat buffer of all weights.
#[derive(Clone, Debug)]
pub struct Dense {
    pub name: String,
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Range<usize>,
    pub bias: Range<usize>,
}

/// The layers and their weights.
#[derive(Clone, Debug)]
pub struct Network {
    pub pixels: usize,
    /// Z.
    pub latent: usize,
    /// Each with a ReLU.
    encoder: Vec<Dense>,
    mean: Dense,
    log_var: Dense,
    /// Each but the last with a ReLU.
    decoder: Vec<Dense>,
    pub values: Vec<f32>,
}

/// The buffers of a batch of B images, with L samples of z each.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// The outputs of the encoder's layers.
    encoded: Vec<Vec<f32>>,
    /// μ (B, Z).
    pub mean: Vec<f32>,
    /// ln σ² (B, Z).
    pub log_var: Vec<f32>,
    std: Vec<f32>,
    /// z (L, B, Z).
    z: Vec<f32>,
    /// R_j (B, Z) in nats.
    rates: Vec<f32>,
    /// The outputs of the decoder's layers; (L·B, pixels) the last.
    decoded: Vec<Vec<f32>>,
    /// D (L·B) in nats.
    nats: Vec<f64>,
}

impl Network {
    /// A model's network.
    pub fn of(model: Model, seed: u64) -> Self {
        let (hidden, latent): (&[usize], usize) = match model {
            Model::Dense20 => (&[400], 20),
            Model::Plane2 => (&[200, 200], 2),
        };
        Self::new(PIXELS, hidden, latent, seed)
    }

    /// An encoder with these hidden layers, and a decoder with the same ones. Weights and biases are uniform in
    /// ±1/√inputs, as PyTorch's.
    pub fn new(pixels: usize, hidden: &[usize], latent: usize, seed: u64) -> Self {
        let mut values = Vec::new();
        let noise = Noise::new(seed, Use::Weights, 0);
        let mut add = |name: String, inputs: usize, outputs: usize| {
            let bound = 1.0 / (inputs as f32).sqrt();
            let mut array = |length: usize| {
                let range = values.len()..values.len() + length;
                let numbers = range.clone().map(|at| noise.uniform(at as u64));
                values.extend(numbers.map(|u| bound * (2.0 * u - 1.0)));
                range
            };
            let (weight, bias) = (array(inputs * outputs), array(outputs));
            Dense {
                name,
                inputs,
                outputs,
                weight,
                bias,
            }
        };
        let mut chain = |part: &str, sizes: &[usize]| -> Vec<Dense> {
            let pairs = sizes.windows(2).enumerate();
            pairs
                .map(|(k, pair)| add(format!("{part}.{k}"), pair[0], pair[1]))
                .collect()
        };
        let encoder = chain("encoder", &[&[pixels], hidden].concat());
        let back: Vec<usize> = hidden.iter().rev().copied().collect();
        let decoder = chain("decoder", &[&[latent][..], &back, &[pixels]].concat());
        let top = encoder.last().map_or(pixels, |layer| layer.outputs);
        let mean = add("encoder.mean".to_owned(), top, latent);
        let log_var = add("encoder.log_var".to_owned(), top, latent);
        Self {
            pixels,
            latent,
            encoder,
            mean,
            log_var,
            decoder,
            values,
        }
    }

    /// All layers.
    pub fn layers(&self) -> impl Iterator<Item = &Dense> {
        let heads = [&self.mean, &self.log_var];
        self.encoder.iter().chain(heads).chain(&self.decoder)
    }

    /// Computes μ and ln σ² of images x (B, pixels).
    pub fn encode(&self, workers: Workers, x: &[f32], pass: &mut Pass) {
        self.forward(workers, &self.encoder, true, x, &mut pass.encoded);
        let top = pass.encoded.last().map_or(x, Vec::as_slice);
        for (head, to) in [
            (&self.mean, &mut pass.mean),
            (&self.log_var, &mut pass.log_var),
        ] {
            to.resize(top.len() / head.inputs * head.outputs, 0.0);
            self.linear(head, top).forward(workers, to);
        }
    }

    /// Decodes latent vectors (N, Z) to outputs (N, pixels), before any non-linearity.
    pub fn decode(&self, workers: Workers, z: &[f32]) -> Vec<f32> {
        let mut decoded = Vec::new();
        self.forward(workers, &self.decoder, false, z, &mut decoded);
        decoded.pop().unwrap_or_default()
    }

    /// D in nats of images x (B, pixels), given z of each (B, Z).
    pub fn distortions(&self, workers: Workers, loss: Loss, x: &[f32], z: &[f32]) -> Vec<f64> {
        let mut nats = vec![0.0; z.len() / self.latent];
        let mut outputs = self.decode(workers, z);
        loss.rows(workers, self.pixels, x, 0.0, &mut outputs, &mut nats);
        nats
    }

    /// The gradients of the objective, all of which are overwritten, for images x (B, pixels) and the ε of L samples
    /// (L, B, Z), with the weight `beta`. Returns the sum of D over the images, in nats, a mean over samples.
    pub fn learn(
        &self,
        workers: Workers,
        loss: Loss,
        (x, noise): (&[f32], &[f32]),
        (beta, objective): (f32, &mut Objective),
        pass: &mut Pass,
        gradients: &mut [f32],
    ) -> f64 {
        let images = x.len() / self.pixels;
        let samples = noise.len() / (images * self.latent);
        self.encode(workers, x, pass);
        for values in [&mut pass.std, &mut pass.rates] {
            values.resize(images * self.latent, 0.0);
        }
        deviations(workers.kernels, &pass.log_var, &mut pass.std);
        let gaussians = Gaussians {
            mean: &pass.mean,
            log_var: &pass.log_var,
            std: &pass.std,
        };
        pass.z.resize(noise.len(), 0.0);
        gaussians.sample(noise, &mut pass.z);
        gaussians.rates(&mut pass.rates);
        objective.set(images, beta, [&pass.rates[..]]);

        self.forward(workers, &self.decoder, false, &pass.z, &mut pass.decoded);
        let mut d = pass.decoded.pop().unwrap_or_default();
        pass.nats.resize(images * samples, 0.0);
        let weight = 1.0 / (images * samples) as f32;
        loss.rows(workers, self.pixels, x, weight, &mut d, &mut pass.nats);

        let read = (&pass.z[..], &pass.decoded[..]);
        let d_z = self.backward(workers, &self.decoder, read, &d, true, gradients);
        pass.decoded.push(d);
        let [mut d_mean, mut d_log_var] = [(); 2].map(|()| vec![0.0; pass.mean.len()]);
        gaussians.backward(objective, noise, &d_z, &mut d_mean, &mut d_log_var);
        let layers = pass.encoded.split_last();
        let (top, below) = layers.map_or((x, &[][..]), |(top, below)| (top, below));
        let mut d_top = self.of_layer(workers, &self.mean, top, &d_mean, true, gradients);
        let other = self.of_layer(workers, &self.log_var, top, &d_log_var, true, gradients);
        workers.kernels.add(&other, &mut d_top);
        through_relu(top, &mut d_top);
        self.backward(workers, &self.encoder, (x, below), &d_top, false, gradients);
        pass.nats.iter().sum::<f64>() / samples as f64
    }

    fn linear<'a>(&'a self, layer: &Dense, x: &'a [f32]) -> Linear<'a> {
        Linear {
            inputs: layer.inputs,
            outputs: layer.outputs,
            x,
            weight: &self.values[layer.weight.clone()],
            bias: &self.values[layer.bias.clone()],
        }
    }

    /// The outputs of layers one above the other, with a ReLU after each but, unless `to_the_end`, the last.
    fn forward(
        &self,
        workers: Workers,
        layers: &[Dense],
        to_the_end: bool,
        x: &[f32],
        outputs: &mut Vec<Vec<f32>>,
    ) {
        outputs.resize(layers.len(), Vec::new());
        for (k, layer) in layers.iter().enumerate() {
            let (below, own) = outputs.split_at_mut(k);
            let x = below.last().map_or(x, Vec::as_slice);
            own[0].resize(x.len() / layer.inputs * layer.outputs, 0.0);
            self.linear(layer, x).forward(workers, &mut own[0]);
            if to_the_end || k + 1 < layers.len() {
                workers.in_parts(&mut own[0], 1 << 14, |_, part| {
                    for h in part {
                        *h = h.max(0.0);
                    }
                });
            }
        }
    }

    /// The gradients of the layers' weights and, if `wanted`, of x, given `d`, those of the last outputs before a
    /// ReLU, and the outputs of all layers below.
    fn backward(
        &self,
        workers: Workers,
        layers: &[Dense],
        (x, outputs): (&[f32], &[Vec<f32>]),
        d: &[f32],
        wanted: bool,
        gradients: &mut [f32],
    ) -> Vec<f32> {
        let mut d_above: Option<Vec<f32>> = None;
        for (k, layer) in layers.iter().enumerate().rev() {
            let input = k.checked_sub(1).map_or(x, |below| &outputs[below]);
            let d = d_above.as_deref().unwrap_or(d);
            let mut d_input = self.of_layer(workers, layer, input, d, wanted || k > 0, gradients);
            if k > 0 {
                through_relu(input, &mut d_input);
            }
            d_above = Some(d_input);
        }
        d_above.unwrap_or_default()
    }

    /// The gradients of one layer's weights and, if `wanted`, of its input.
    fn of_layer(
        &self,
        workers: Workers,
        layer: &Dense,
        x: &[f32],
        d: &[f32],
        wanted: bool,
        gradients: &mut [f32],
    ) -> Vec<f32> {
        let mut d_x = vec![0.0; if wanted { x.len() } else { 0 }];
        let (before, bias) = gradients.split_at_mut(layer.bias.start);
        let to = LinearGradients {
            x: &mut d_x,
            weight: &mut before[layer.weight.clone()],
            bias: &mut bias[..layer.outputs],
        };
        self.linear(layer, x).backward(workers, d, to);
        d_x
    }
}

/// The gradient of what a ReLU made `h` from.
fn through_relu(h: &[f32], d: &mut [f32]) {
    for (d, &h) in d.iter_mut().zip(h) {
        *d = if h > 0.0 { *d } else { 0.0 };
    }
}
