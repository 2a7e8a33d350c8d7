//! The word VAE in training: its terms and every gradient.
//!
//! ```text
//! z = μ + σ·ε
//! D = −Σ ln p(letter | z, letters before it)
//! R_j = ½(μ_j² + σ_j² − ln σ_j² − 1)
//! objective = (1/B) Σ D + β Σ_j max(λ, (1/B) Σ R_j)    over the B words of a batch
//! ```
//!
//! (Kingma & Welling 2014, estimator B; free bits λ as in Kingma et al. 2016.) The free bits are
//! over the whole batch, so a batch that is divided is encoded in all its parts first. Then the
//! parts are decoded, and their gradients add up to that of the whole batch.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub(super) use encoder::{Encoder, linear};

use super::Parameters;
use crate::config::NetworkConfig;
use crate::kernels::training::Workers;
use crate::models::batch::WordBatch;
use crate::models::encoder::LOG_VAR_LIMIT;
use crate::models::noise::{Noise, Use};
use decoder::Decoder;
use encoder::Dropped;

/// Dropout rates while training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WordDropout {
    /// Of the outputs of the encoder's layers but the last.
    pub encoder: f64,
    /// Of the outputs of every layer of the decoder.
    pub decoder: f64,
}

/// A word-vae in training: the buffers of a batch, or of one shard of it.
#[derive(Clone, Debug)]
pub struct WordVaeTraining {
    latent: usize,
    dropout: WordDropout,
    /// None if Z = 0.
    encoder: Option<Encoder>,
    decoder: Decoder,
    sorted: Latents,
    /// R_j by the caller's rows.
    rates: Vec<f32>,
    /// μ by the caller's rows.
    means: Vec<f32>,
    /// The seed and the number of the step, while training.
    noise: Option<(u64, u64)>,
}

/// The latent vectors of a batch, (B, Z) each, the longest word first.
#[derive(Clone, Debug, Default)]
struct Latents {
    /// ε.
    noise: Vec<f32>,
    /// σ.
    std: Vec<f32>,
    /// z.
    z: Vec<f32>,
    /// R_j.
    rates: Vec<f32>,
    /// ∂z, then ∂μ.
    d_mean: Vec<f32>,
    /// ∂ ln σ².
    d_log_var: Vec<f32>,
}

/// The terms of the objective that all words of a batch share.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// λ in nats.
    free_bits: f32,
    /// β.
    kl_weight: f32,
    /// The words of the whole batch.
    words: usize,
    /// The mean over them of R_j (Z), in nats.
    rates: Vec<f64>,
}

impl Objective {
    /// Without words. λ is `free_bits` nats per dimension.
    pub fn new(latent: usize, free_bits: f32) -> Self {
        Self {
            free_bits,
            kl_weight: 0.0,
            words: 0,
            rates: vec![0.0; latent],
        }
    }

    /// Takes the rates (B, Z) of the parts of a batch, in the order of its rows; β is `kl_weight`.
    pub fn set<'a>(
        &mut self,
        words: usize,
        kl_weight: f32,
        rates: impl IntoIterator<Item = &'a [f32]>,
    ) {
        (self.words, self.kl_weight) = (words, kl_weight);
        self.rates.fill(0.0);
        if self.rates.is_empty() {
            return;
        }
        for rates in rates {
            for row in rates.chunks_exact(self.rates.len()) {
                for (sum, &rate) in self.rates.iter_mut().zip(row) {
                    *sum += f64::from(rate);
                }
            }
        }
        for rate in &mut self.rates {
            *rate /= words as f64;
        }
    }

    /// The mean rate in nats per word.
    pub fn rate(&self) -> f32 {
        self.rates.iter().sum::<f64>() as f32
    }

    /// The objective in nats per word, given the sum of D over all words.
    pub fn loss(&self, distortion: f64) -> f64 {
        let free = f64::from(self.free_bits);
        let rate: f64 = self.rates.iter().map(|rate| rate.max(free)).sum();
        distortion / self.words as f64 + f64::from(self.kl_weight) * rate
    }

    /// The gradient of R_j of every word.
    fn d_rate(&self, j: usize) -> f32 {
        if self.rates[j] < f64::from(self.free_bits) {
            0.0
        } else {
            self.kl_weight / self.words as f32
        }
    }
}

impl WordVaeTraining {
    /// For a network whose parameters have this layout.
    pub fn new(network: &NetworkConfig, parameters: &Parameters, dropout: WordDropout) -> Self {
        let latent = network.latent();
        Self {
            latent,
            dropout,
            encoder: (latent > 0).then(|| Encoder::new(network, parameters)),
            decoder: Decoder::new(network, parameters),
            sorted: Latents::default(),
            rates: Vec::new(),
            means: Vec::new(),
            noise: None,
        }
    }

    /// Reads the words of `batch` and computes their z. `noise` is the seed and the number of a training
    /// step, which select what is dropped; without it, this begins an evaluation.
    ///
    /// # Panics
    /// If an array has another length than the network, the batch or the parameters say, or a token is
    /// unknown.
    pub fn encode(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &WordBatch,
        noise: Option<(u64, u64)>,
    ) {
        self.noise = noise;
        let (dropped, save) = (self.dropped(Use::EncoderDropout), noise.is_some());
        let Some(encoder) = &mut self.encoder else {
            return;
        };
        let (words, latent) = (&batch.letters, self.latent);
        if batch.without_z {
            self.sorted.z.clear();
            self.sorted.z.resize(words.batch() * latent, 0.0);
            self.rates.clear();
            self.means.clear();
            return;
        }
        assert_eq!(words.order, batch.inputs.order, "the same words");
        encoder.forward(workers, values, words, batch.first, dropped, save);
        let size = words.batch() * latent;
        assert_eq!(batch.noise.len(), size, "ε of every word");
        let Latents {
            noise,
            std,
            z,
            rates,
            ..
        } = &mut self.sorted;
        for values in [&mut *noise, std, z, rates, &mut self.rates, &mut self.means] {
            values.resize(size, 0.0);
        }
        words.ordered(&batch.noise, latent, noise);
        for (std, log_var) in std.iter_mut().zip(&encoder.log_var) {
            *std = 0.5 * clamped(*log_var);
        }
        workers.kernels.exp(std);
        for (at, (z, rate)) in z.iter_mut().zip(&mut *rates).enumerate() {
            let (mean, std) = (encoder.mean[at], std[at]);
            *z = std.mul_add(noise[at], mean);
            let squares = mean.mul_add(mean, std * std);
            *rate = 0.5 * (squares - clamped(encoder.log_var[at]) - 1.0);
        }
        words.as_given(rates, latent, &mut self.rates);
        words.as_given(&encoder.mean, latent, &mut self.means);
    }

    /// R_j of every word (B, Z) in nats, by the caller's rows; empty if Z = 0 or the decoder learns alone.
    pub fn rates(&self) -> &[f32] {
        &self.rates
    }

    /// μ of every word (B, Z), by the caller's rows; empty if Z = 0 or the decoder learns alone.
    pub fn means(&self) -> &[f32] {
        &self.means
    }

    /// −log p of every target (N) of the batch that [`WordVaeTraining::encode`] has read, in nats.
    ///
    /// # Panics
    /// As [`WordVaeTraining::encode`].
    pub fn decode(&mut self, workers: Workers, values: &[f32], batch: &WordBatch) -> &[f32] {
        let (dropped, save) = (self.dropped(Use::Dropout), self.noise.is_some());
        let z = &self.sorted.z;
        self.decoder
            .forward(workers, values, batch, z, dropped, save);
        &self.decoder.nats
    }

    /// The gradients of all parameters, all of which are overwritten: the part of these words in those of
    /// the objective. To be called once after [`WordVaeTraining::decode`] of a training step.
    ///
    /// # Panics
    /// As [`WordVaeTraining::encode`].
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        batch: &WordBatch,
        objective: &Objective,
        gradients: &mut [f32],
    ) {
        let [of_encoder, of_decoder] =
            [Use::EncoderDropout, Use::Dropout].map(|what| self.dropped(what));
        let Latents {
            noise,
            std,
            z,
            d_mean,
            d_log_var,
            ..
        } = &mut self.sorted;
        d_mean.resize(z.len(), 0.0);
        d_log_var.resize(z.len(), 0.0);
        let d_nats = 1.0 / objective.words as f32;
        if batch.without_z {
            gradients.fill(0.0); // those of the encoder
        }
        self.decoder.backward(
            workers, values, batch, z, of_decoder, d_nats, d_mean, gradients,
        );
        let Some(encoder) = self.encoder.as_mut().filter(|_| !batch.without_z) else {
            return;
        };
        for (at, (d_mean, d_log_var)) in d_mean.iter_mut().zip(&mut *d_log_var).enumerate() {
            let d_rate = objective.d_rate(at % self.latent);
            let (d_z, std, log_var) = (*d_mean, std[at], encoder.log_var[at]);
            *d_mean = d_rate.mul_add(encoder.mean[at], d_z);
            // Beyond its bounds the log-variance is constant.
            *d_log_var = if clamped(log_var) == log_var {
                let of_rate = d_rate * (0.5 * std.mul_add(std, -1.0));
                (d_z * noise[at]).mul_add(0.5 * std, of_rate)
            } else {
                0.0
            };
        }
        let of = [&**d_mean, &**d_log_var];
        let words = &batch.letters;
        encoder.backward(
            workers,
            values,
            words,
            batch.first,
            of_encoder,
            of,
            gradients,
        );
    }

    /// The dropout of this pass, if there is any.
    fn dropped(&self, what: Use) -> Option<Dropped> {
        let (seed, step) = self.noise?;
        let rate = match what {
            Use::EncoderDropout => self.dropout.encoder,
            _ => self.dropout.decoder,
        };
        Some((rate, Noise::new(seed, what, step)))
    }
}

/// A log-variance within its bounds.
const fn clamped(log_var: f32) -> f32 {
    log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)
}
