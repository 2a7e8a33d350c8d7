//! The word VAE in training: its terms and every gradient.
//!
//! The objective is that of [`variational`](crate::models::variational), with
//! D = −Σ ln p(letter | z, letters before it). Its free bits are over the whole batch, so a batch that is divided is
//! encoded in all its parts first. Then the parts are decoded, and their gradients add up to that of the whole batch.

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub(super) use encoder::{Encoder, linear};

use super::Parameters;
use crate::config::NetworkConfig;
use crate::kernels::training::Workers;
use crate::models::batch::WordBatch;
use crate::models::noise::{Noise, Use};
use crate::models::variational::{Gaussians, Objective, deviations};
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
    /// ∂z.
    d_z: Vec<f32>,
    /// ∂μ.
    d_mean: Vec<f32>,
    /// ∂ ln σ².
    d_log_var: Vec<f32>,
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
        deviations(workers.kernels, &encoder.log_var, std);
        let posteriors = gaussians(encoder, std);
        posteriors.sample(noise, z);
        posteriors.rates(rates);
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
            d_z,
            d_mean,
            d_log_var,
            ..
        } = &mut self.sorted;
        for values in [&mut *d_z, d_mean, d_log_var] {
            values.resize(z.len(), 0.0);
        }
        let d_nats = 1.0 / objective.rows() as f32;
        if batch.without_z {
            gradients.fill(0.0); // those of the encoder
        }
        self.decoder.backward(
            workers, values, batch, z, of_decoder, d_nats, d_z, gradients,
        );
        let Some(encoder) = self.encoder.as_mut().filter(|_| !batch.without_z) else {
            return;
        };
        gaussians(encoder, std).backward(objective, noise, d_z, d_mean, d_log_var);
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

/// The posteriors of the words that were encoded, given σ.
fn gaussians<'a>(encoder: &'a Encoder, std: &'a [f32]) -> Gaussians<'a> {
    Gaussians {
        mean: &encoder.mean,
        log_var: &encoder.log_var,
        std,
    }
}
