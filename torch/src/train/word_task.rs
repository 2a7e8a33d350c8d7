//! A word-vae and its words.

use anyhow::{Context, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};
use textgen::config::{TrainConfig, WordVaeConfig};
use textgen::models::weights::Weights;

use textgen::run::{Evaluation, Progress, WordData, WordLoss};
use textgen::text::SpecialTokens;

use super::task::{Part, SampleJob, Task, Use, held_out, random, sample_config};
use crate::parameters::{Parameters, normal};
use crate::rate::RateController;
use crate::schedule::beta;
use crate::shim::upload;
use crate::word_vae::{WordBatch, WordVae};

/// Words in a sample that is shown while training.
const SAMPLE_WORDS: u64 = 10;
/// Batches whose words are sorted together.
const GROUPED_BATCHES: usize = 32;
/// Words that an evaluation reads in one call.
const EVALUATION_BATCH: usize = 512;
/// A latent dimension is active if Var_x(μ_j(x)) is above this (Burda, Grosse & Salakhutdinov 2016).
pub const ACTIVE_VARIANCE: f64 = 0.01;

/// A word-vae and its words.
pub struct WordTask {
    config: TrainConfig,
    own: WordVaeConfig,
    model: WordVae,
    data: WordData,
    device: Device,
    /// The current epoch and its order of words.
    order: Option<(u64, Vec<usize>)>,
    /// Holds the rate, if there is a target.
    controller: Option<RateController>,
}

impl WordTask {
    /// Starts with initial weights from the configuration's seed.
    pub fn new(config: &TrainConfig, data: WordData, device: Device) -> Result<Self> {
        let own = config.word_vae().context("words train a word-vae")?;
        let network = config.network(data.vocabulary.len(), data.vocabulary.outputs());
        let parameters = Parameters::init(&network, config.seed, device);
        let model = WordVae {
            network,
            parameters,
            special: data.vocabulary.special_tokens()?,
            dropout: config.dropout,
            decoder_dropout: own.decoder_dropout,
            precision: config.precision,
        };
        model.flatten();
        Ok(Self {
            config: config.clone(),
            model,
            data,
            device,
            order: None,
            controller: (own.rate > 0.0).then(|| RateController::new(own.rate, own.beta, device)),
            own: own.clone(),
        })
    }

    /// Words to train on, in the order of epoch `epoch`.
    fn order(&mut self, epoch: u64) -> Vec<usize> {
        match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => {
                let mut rng = random(self.config.seed, Use::Order, epoch);
                let mut order = self.data.train.clone();
                order.shuffle(&mut rng);
                self.group_by_length(&mut order, &mut rng);
                order
            }
        }
    }

    /// Puts words of similar length into the same batch, so that there is little padding: within
    /// segments of some batches words are sorted by length, then whole batches are shuffled. The
    /// last batch, which may be smaller, stays last.
    fn group_by_length(&self, order: &mut [usize], rng: &mut ChaCha8Rng) {
        let size = self.config.batch;
        for segment in order.chunks_mut(size * GROUPED_BATCHES) {
            segment.sort_by_key(|&word| self.data.letters[word].len());
        }
        for i in (1..order.len() / size).rev() {
            let j = rng.random_range(0..=i);
            for index in 0..size {
                order.swap(i * size + index, j * size + index);
            }
        }
    }

    fn batch(&self, words: &[usize]) -> WordBatch {
        let letters: Vec<&[u32]> = words
            .iter()
            .map(|&i| self.data.letters[i].as_slice())
            .collect();
        WordBatch::new(&letters, self.model.special, self.device)
    }

    /// Hides each letter that the decoder reads with a given probability (Bowman et al. 2016).
    fn hide_letters(&self, batch: &mut WordBatch, step: u64) {
        let mut rng = random(self.config.seed, Use::Batch, step);
        let bos = i64::from(self.model.special.bos);
        for token in batch.inputs.tokens_mut() {
            if rng.random_bool(self.own.char_dropout) && *token != bos {
                *token = i64::from(self.model.special.unk);
            }
        }
    }

    /// ε of the evaluation, one sample per word, independent of the rest of the batch.
    fn evaluation_noise(&self, words: &[usize]) -> Tensor {
        let latent = self.model.network.latent();
        let mut noise = Vec::with_capacity(words.len() * latent);
        for &word in words {
            let mut rng = random(self.config.seed, Use::Evaluation, word as u64);
            noise.extend((0..latent).map(|_| normal(&mut rng)));
        }
        let noise = Tensor::from_slice(&noise).reshape([words.len() as i64, latent as i64]);
        upload(&noise, self.device)
    }
}

impl Task for WordTask {
    fn parameters(&self) -> &Parameters {
        &self.model.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.model.parameters
    }

    fn steps_per_epoch(&self) -> f64 {
        self.data.train.len().div_ceil(self.config.batch) as f64
    }

    fn activation_bytes(&self) -> u64 {
        let network = &self.model.network;
        let longest = self.data.letters.iter().map(Vec::len).max().unwrap_or(1) + 1;
        let width = 3 * network.layers * network.hidden * (2 * network.cell.gates() + 4)
            + 4 * network.outputs;
        (self.config.batch * longest * width * 4) as u64
    }

    fn next_loss(&mut self, progress: &mut Progress, fraction: f64) -> (Tensor, u64) {
        let order = self.order(progress.epoch);
        let start = progress.cursor as usize * self.config.batch;
        let end = (start + self.config.batch).min(order.len());
        let mut batch = self.batch(&order[start..end]);
        if self.own.char_dropout > 0.0 {
            self.hide_letters(&mut batch, progress.step);
        }
        let size = [batch.len() as i64, self.model.network.latent() as i64];
        let noise = Tensor::randn(size, (Kind::Float, self.device));
        let terms = self.model.terms(&batch, &noise, true);
        let weight = match &self.controller {
            Some(controller) => controller.beta(),
            None => Tensor::full([1], beta(&self.own, fraction), (Kind::Float, self.device)),
        };
        let loss = WordVae::objective(&terms, batch.len(), &weight, self.own.free_bits);
        if let Some(controller) = &mut self.controller {
            controller.follow(&(terms.rate.sum(Kind::Float) / batch.len() as f64).reshape([1]));
        }
        progress.cursor += 1;
        self.order = Some((progress.epoch, order));
        if end == self.data.train.len() {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        (loss, batch.tokens() as u64)
    }

    fn evaluate(&self, part: Part) -> Result<Option<Evaluation>> {
        let words = held_out(&self.data, part);
        if words.is_empty() {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        let mut sums = Sums::new(self.model.network.latent() as i64, self.device);
        for group in words.chunks(EVALUATION_BATCH) {
            let batch = self.batch(group);
            let terms = self
                .model
                .terms(&batch, &self.evaluation_noise(group), false);
            sums.distortion += terms.token_nll.sum(Kind::Double);
            sums.rate += terms.rate.sum(Kind::Double);
            sums.add_means(&terms.mean);
            sums.tokens += batch.tokens();
            sums.words += batch.len();
        }
        Ok(Some(Evaluation::Word(sums.loss())))
    }

    fn carried(&mut self) -> Vec<(String, &mut Tensor)> {
        let controller = self.controller.iter_mut();
        controller.map(RateController::carried).collect()
    }

    fn sample(&self, weights: Weights<'static>, seed: u64) -> SampleJob {
        let network = self.model.network.clone();
        let config = sample_config(self.config.seed);
        let vocabulary = self.data.vocabulary.clone();
        let SpecialTokens { bos, eos, .. } = self.model.special;
        Box::new(move || {
            let vae = textgen::models::word_vae::WordVae::new(&network, &weights)?;
            let suppressed = vocabulary.suppressed();
            let prior = textgen::generate::Prior {
                vae: &vae,
                z_temperature: 1.0,
                bos,
                eos,
            };
            let words: Vec<String> = (0..SAMPLE_WORDS)
                .map(|i| {
                    let index = seed * SAMPLE_WORDS + i;
                    let sampler =
                        textgen::generate::sampling::Sampler::new(&config, &suppressed, index);
                    vocabulary.decode(&prior.word(sampler).letters)
                })
                .collect();
            Ok(words.join(" "))
        })
    }

    fn describe_step(&self) -> String {
        format!("{} words a step", self.config.batch)
    }
}

/// The sums of an evaluation, on the device so that they are read back only once.
pub struct Sums {
    /// Nats of reconstruction, f64.
    pub distortion: Tensor,
    /// Nats of divergence, f64.
    pub rate: Tensor,
    /// Tokens, including ends of words.
    pub tokens: usize,
    /// The number of words.
    pub words: usize,
    mean: Tensor,
    square: Tensor,
}

impl Sums {
    /// All zero, for `latent` dimensions.
    pub fn new(latent: i64, device: Device) -> Self {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Double, device));
        Self {
            distortion: zeros(&[]),
            rate: zeros(&[]),
            tokens: 0,
            words: 0,
            mean: zeros(&[latent]),
            square: zeros(&[latent]),
        }
    }

    /// Adds the μ (B, Z) of a batch.
    pub fn add_means(&mut self, means: &Tensor) {
        let means = means.to_kind(Kind::Double);
        let sum = |t: &Tensor| t.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
        self.mean += sum(&means);
        self.square += sum(&means.square());
    }

    /// Averages over words; variances over all words seen.
    pub fn loss(&self) -> WordLoss {
        let words = self.words as f64;
        let mean = &self.mean / words;
        let variance = &self.square / words - mean.square();
        let active = variance
            .gt(ACTIVE_VARIANCE)
            .sum(Kind::Int64)
            .int64_value(&[]) as usize;
        let (distortion, rate) = (
            self.distortion.double_value(&[]),
            self.rate.double_value(&[]),
        );
        let neg_elbo = distortion + rate;
        WordLoss {
            distortion_nats_per_word: distortion / words,
            rate_nats_per_word: rate / words,
            neg_elbo_nats_per_word: neg_elbo / words,
            neg_elbo_nats_per_char: neg_elbo / self.tokens as f64,
            active_units: active,
        }
    }
}
