//! The network of the original word-VAE article in training, with its loss as it was published.
//!
//! ```text
//! z_t = μ + s·ε_t with s = exp(output of "log_var")       for every letter and the end, t = 1 … T
//! loss = Σ_t ‖o_t − ln p_t‖₂ − T · ½ Σ_j (μ_j² + s_j² − s_j − 1)
//! ```
//!
//! Its faults: the decoder reads fresh noise at every letter and no letter before it; o_1 is 1 for
//! every letter of the word and all other o_t are zero; the divergence lacks ln s², is subtracted
//! and is counted at every letter.

use std::ops::Range;

use super::Parameters;
use super::layer::{Read, ReadGradients, RecurrentLayer};
use super::word_vae::{Encoder, linear};
use crate::config::{Cell, NetworkConfig};
use crate::kernels::scalar::ln;
use crate::kernels::training::{Input, LinearGradients, OutputGradients, Steps, Workers};
use crate::models::batch::ArticleBatch;
use crate::models::sequences::Sequences;
use crate::models::weights::{Array, WeightError, Weights, values};

/// The names of a model file's arrays of the last training word (Z).
const LAST: [&str; 2] = ["article.mean", "article.std"];

/// The article's network in training, with the buffers of a word.
#[derive(Clone, Debug)]
pub struct ArticleTraining {
    hidden: usize,
    latent: usize,
    /// Whether there are cells.
    is_lstm: bool,
    encoder: Encoder,
    decoder: Vec<RecurrentLayer>,
    /// Weight and bias.
    head: [Range<usize>; 2],
    letters: Option<Sequences>,
    steps: Steps,
    /// (H).
    zeros: Vec<f32>,
    /// s (Z).
    std: Vec<f32>,
    /// (T, Z).
    z: Vec<f32>,
    /// ln p (T, outputs); after the backward pass, the gradient of the logits.
    log_p: Vec<f32>,
    /// −ln p of every target (T).
    nats: Vec<f32>,
    /// R_j of one letter (Z).
    rates: Vec<f32>,
    /// μ and s of the last training word, (Z) each.
    last: [Vec<f32>; 2],
    /// The gradients of a layer's outputs and of its input.
    flow: [Vec<f32>; 2],
    /// Of μ and of the output of "log_var", (Z) each.
    d_posterior: [Vec<f32>; 2],
}

impl ArticleTraining {
    /// For a network whose parameters have this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters) -> Self {
        let layer =
            |k: usize| RecurrentLayer::new(network, parameters, "decoder.rnn", &k.to_string());
        let latent = network.latent();
        Self {
            hidden: network.hidden,
            latent,
            is_lstm: network.cell == Cell::Lstm,
            encoder: Encoder::new(network, parameters),
            decoder: (0..network.layers).map(layer).collect(),
            head: ["decoder.head.weight", "decoder.head.bias"].map(|name| parameters.range(name)),
            letters: None,
            steps: Steps::new(Vec::new()),
            zeros: vec![0.0; network.hidden],
            std: vec![0.0; latent],
            z: Vec::new(),
            log_p: Vec::new(),
            nats: Vec::new(),
            rates: vec![0.0; latent],
            last: [0, 1].map(|_| vec![0.0; latent]),
            flow: [Vec::new(), Vec::new()],
            d_posterior: [0, 1].map(|_| vec![0.0; latent]),
        }
    }

    /// The article's loss of a word, which is then the last one.
    ///
    /// # Panics
    /// If an array has another length than the network, the batch or the parameters say, a token is
    /// unknown, or the word has no letter.
    pub fn forward(&mut self, workers: Workers, values: &[f32], batch: &ArticleBatch) -> f64 {
        self.run(workers, values, batch, true);
        self.last[0].copy_from_slice(&self.encoder.mean);
        self.last[1].copy_from_slice(&self.std);
        let outputs = self.head[1].len();
        let rows = self.log_p.chunks_exact(outputs).enumerate();
        let distances: f64 = rows.map(|(t, row)| distance(batch, t, row)).sum();
        let pairs = self.encoder.mean.iter().zip(&self.std);
        let divergence: f64 = pairs
            .map(|(&mean, &std)| {
                let (mean, std) = (f64::from(mean), f64::from(std));
                0.5 * (mean * mean + std * std - std - 1.0)
            })
            .sum();
        distances - divergence * batch.targets.len() as f64
    }

    /// Computes what a word costs without the article's faults: [`ArticleTraining::nats`],
    /// [`ArticleTraining::rates`] and [`ArticleTraining::means`].
    ///
    /// # Panics
    /// As [`ArticleTraining::forward`].
    pub fn evaluate(&mut self, workers: Workers, values: &[f32], batch: &ArticleBatch) {
        self.run(workers, values, batch, false);
        let rows = self.log_p.chunks_exact(self.head[1].len());
        let pairs = rows.zip(&batch.targets);
        self.nats.clear();
        self.nats
            .extend(pairs.map(|(row, &target)| -row[target as usize]));
        for (j, rate) in self.rates.iter_mut().enumerate() {
            let (mean, std) = (self.encoder.mean[j], self.std[j]);
            let log_square = 2.0 * self.encoder.log_var[j];
            *rate = 0.5 * (mean.mul_add(mean, std * std) - log_square - 1.0);
        }
    }

    /// −ln p of every target (T) of the evaluated word.
    pub fn nats(&self) -> &[f32] {
        &self.nats
    }

    /// R_j of one letter (Z) of the evaluated word, in nats.
    pub fn rates(&self) -> &[f32] {
        &self.rates
    }

    /// μ (Z) of the evaluated word.
    pub fn means(&self) -> &[f32] {
        &self.encoder.mean
    }

    /// ln p of all outputs, given the noise of every target.
    fn run(&mut self, workers: Workers, values: &[f32], batch: &ArticleBatch, save: bool) {
        let steps = batch.targets.len();
        assert_eq!(batch.noise.len(), steps * self.latent, "ε of every target");
        let letters: Vec<u32> = batch.letters.iter().map(|&letter| letter as u32).collect();
        let letters = self.letters.insert(Sequences::new(&[letters]));
        self.encoder
            .forward(workers, values, letters, 0, None, save);
        self.std.copy_from_slice(&self.encoder.log_var);
        workers.kernels.exp(&mut self.std);
        self.z.clear();
        for noise in batch.noise.chunks_exact(self.latent) {
            let pairs = self.encoder.mean.iter().zip(&self.std).zip(noise);
            self.z
                .extend(pairs.map(|((mean, std), noise)| std.mul_add(*noise, *mean)));
        }
        if self.steps.len() != steps {
            self.steps = Steps::new(vec![1; steps]);
        }
        for k in 0..self.decoder.len() {
            let (below, layer) = self.decoder.split_at_mut(k);
            let read = read(&self.z, below.last(), &self.zeros, self.is_lstm);
            layer[0].forward(workers, values, &self.steps, read, save);
        }
        let outputs = self.head[1].len();
        let hidden = self.decoder.last().map_or(&[][..], |top| &top.outputs);
        self.log_p.resize(steps * outputs, 0.0);
        linear(&self.head, values, self.hidden, hidden).forward(workers, &mut self.log_p);
        for row in self.log_p.chunks_exact_mut(outputs) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let terms = &mut self.flow[0];
            terms.clear();
            terms.extend(row.iter().map(|logit| logit - most));
            workers.kernels.exp(terms);
            let sum: f64 = terms.iter().map(|&term| f64::from(term)).sum();
            let all = most + ln(sum) as f32;
            for logit in row {
                *logit -= all;
            }
        }
    }

    /// The gradients of all parameters, all of which are overwritten. To be called once after
    /// [`ArticleTraining::forward`] of the same word.
    ///
    /// # Panics
    /// As [`ArticleTraining::forward`].
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &ArticleBatch,
        gradients: &mut [f32],
    ) {
        let Some(letters) = &self.letters else {
            return;
        };
        let (steps, outputs) = (batch.targets.len(), self.head[1].len());
        for (t, row) in self.log_p.chunks_exact_mut(outputs).enumerate() {
            // ∂ln p = (ln p − o) / ‖o − ln p‖, and ∂logit = ∂ln p − p · Σ ∂ln p.
            let distance = distance(batch, t, row) as f32;
            let probabilities = &mut self.flow[0];
            probabilities.clear();
            probabilities.extend_from_slice(row);
            workers.kernels.exp(probabilities);
            for (output, value) in row.iter_mut().enumerate() {
                *value = (*value - one_hot(batch, t, output)) / distance;
            }
            let sum: f32 = row.iter().sum();
            for (value, p) in row.iter_mut().zip(probabilities) {
                *value -= *p * sum;
            }
        }
        let top = self.decoder.len() - 1;
        let [d_outputs, d_input] = &mut self.flow;
        d_outputs.resize(steps * self.hidden, 0.0);
        let Ok([weight, bias]) = gradients.get_disjoint_mut(self.head.clone()) else {
            unreachable!("arrays do not overlap")
        };
        let to = LinearGradients {
            x: d_outputs,
            weight,
            bias,
        };
        linear(&self.head, values, self.hidden, &self.decoder[top].outputs).backward(
            workers,
            &self.log_p,
            to,
        );
        for k in (0..=top).rev() {
            let (below, layer) = self.decoder.split_at_mut(k);
            let read = read(&self.z, below.last(), &self.zeros, self.is_lstm);
            let width = if k == 0 { self.latent } else { self.hidden };
            d_input.resize(steps * width, 0.0);
            let of = OutputGradients {
                outputs: Some(d_outputs),
                ..OutputGradients::default()
            };
            let to = ReadGradients {
                input: d_input,
                ..ReadGradients::default()
            };
            layer[0].backward(workers, values, &self.steps, read, of, to, gradients);
            std::mem::swap(d_outputs, d_input);
        }
        let d_z = d_outputs;
        let [d_mean, d_log_var] = &mut self.d_posterior;
        let count = steps as f32;
        for j in 0..self.latent {
            let (mean, std) = (self.encoder.mean[j], self.std[j]);
            let (mut of_mean, mut of_std) = (-count * mean, -count * (std - 0.5));
            let rows = d_z.chunks_exact(self.latent);
            for (d_z, noise) in rows.zip(batch.noise.chunks_exact(self.latent)) {
                of_mean += d_z[j];
                of_std = d_z[j].mul_add(noise[j], of_std);
            }
            (d_mean[j], d_log_var[j]) = (of_mean, of_std * std);
        }
        let of = [&**d_mean, &**d_log_var];
        self.encoder
            .backward(workers, values, letters, 0, None, of, gradients);
    }

    /// μ and s of the last training word, as a model file stores them.
    pub fn last(&self) -> Weights<'static> {
        let arrays = LAST.into_iter().zip(&self.last);
        arrays
            .map(|(name, last)| (name.to_owned(), Array::f32([self.latent], last.clone())))
            .collect()
    }

    /// Overwrites [`ArticleTraining::last`] with the arrays of a model file or a training state, whose names are
    /// preceded by `prefix`.
    pub fn set_last(&mut self, from: &Weights, prefix: &str) -> Result<(), WeightError> {
        for (name, last) in LAST.into_iter().zip(&mut self.last) {
            let name = format!("{prefix}{name}");
            let found = values(from, &name)?;
            if found.len() != self.latent {
                return Err(WeightError::Shape {
                    want: vec![self.latent],
                    found: from[&name].shape.clone(),
                    name,
                });
            }
            last.copy_from_slice(&found);
        }
        Ok(())
    }
}

/// o_t of one output.
fn one_hot(batch: &ArticleBatch, t: usize, output: usize) -> f32 {
    let is_set = t == 0 && batch.targets.contains(&(output as i64));
    if is_set { 1.0 } else { 0.0 }
}

/// ‖o_t − ln p_t‖₂.
fn distance(batch: &ArticleBatch, t: usize, log_p: &[f32]) -> f64 {
    let squares = log_p.iter().enumerate().map(|(output, &log_p)| {
        let difference = f64::from(one_hot(batch, t, output) - log_p);
        difference * difference
    });
    squares.sum::<f64>().sqrt()
}

/// What a layer above `below` reads, or the first one.
fn read<'a>(
    z: &'a [f32],
    below: Option<&'a RecurrentLayer>,
    zeros: &'a [f32],
    is_lstm: bool,
) -> Read<'a> {
    Read {
        input: Input::Vectors(below.map_or(z, |below| &below.outputs)),
        table: None,
        weight_hh: None,
        constant: None,
        h0: zeros,
        c0: if is_lstm { zeros } else { &[] },
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{Reference, assert_close, gradient, widened};
    use super::*;
    use crate::config::NetworkKind;
    use crate::kernels::Kernels;
    use crate::kernels::training::{Alone, Buffers};
    use crate::testing::{Numbers, char_lstm};

    #[test]
    fn the_loss_and_its_gradient_are_the_articles() {
        let buffers = Buffers::new();
        let workers = Workers {
            team: &Alone,
            kernels: Kernels::new(),
            buffers: &buffers,
        };
        for (cell, layers, latent) in [(Cell::Gru, 1, 3), (Cell::Lstm, 2, 2), (Cell::Rnn, 2, 1)] {
            let network = NetworkConfig {
                kind: NetworkKind::Article { latent },
                embedding: 3,
                outputs: 7,
                ..char_lstm(cell, 4, layers, 8)
            };
            let parameters = Parameters::init(&network, 2, false);
            let batch = ArticleBatch {
                letters: vec![3, 0, 3, 5],
                targets: vec![3, 0, 3, 5, 6],
                noise: Numbers::new(4).vector(5 * latent, 2.0),
            };
            let plain = |tokens: &[i64]| -> Vec<u32> { tokens.iter().map(|&t| t as u32).collect() };
            let (letters, targets) = (plain(&batch.letters), plain(&batch.targets));
            let noise = widened(&batch.noise);
            let reference = Reference::new(&network, false);
            let loss = |values: &[f64]| reference.article(values, &letters, &targets, &noise);
            let wide = widened(&parameters.values);
            let mut article = ArticleTraining::new(&network, &parameters);
            // A word before it leaves nothing behind.
            let other = ArticleBatch {
                letters: vec![1],
                targets: vec![1, 6],
                noise: vec![0.5; 2 * latent],
            };
            let mut gradients = vec![7.0; parameters.count()];
            article.forward(workers, &parameters.values, &other);
            article.backward(workers, &parameters.values, &other, &mut gradients);
            let found = article.forward(workers, &parameters.values, &batch);
            article.backward(workers, &parameters.values, &batch, &mut gradients);
            let (want, last) = loss(&wide);
            assert!((found / want - 1.0).abs() < 1e-5, "{cell}: {found} {want}");
            for (name, want) in LAST.iter().zip(&last) {
                assert_close(&article.last()[*name].data(), want, 1e-5, name);
            }
            let want = gradient(&wide, |wide| loss(wide).0);
            for entry in parameters.entries() {
                let range = entry.range.clone();
                let what = format!("{cell} {}", entry.name);
                assert_close(&gradients[range.clone()], &want[range], 2e-5, &what);
            }
            let saved = article.last();
            article.evaluate(workers, &parameters.values, &other);
            assert_eq!(article.last(), saved, "an evaluation trains nothing");
            assert_eq!((article.nats().len(), article.rates().len()), (2, latent));
            let mut copy = ArticleTraining::new(&network, &parameters);
            copy.set_last(&saved, "").expect("its own");
            assert_eq!(copy.last(), saved);
            assert!(copy.set_last(&saved, "x.").is_err());
        }
    }
}
