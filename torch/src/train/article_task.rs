//! `--recipe article`: the word VAE of 2018 as it was published, faults included, so that anyone can
//! see what each correction buys.
//!
//! Its faults: the decoder predicts each letter from fresh noise and from no letter
//! before it; the loss of a letter is the L2 distance between a one-hot row and log-probabilities,
//! and of the one-hot rows only the first is ever set, with every letter of the word; the divergence
//! is subtracted, lacks log σ² and is counted at every letter. The *evaluation* is sound: with
//! fresh noise at each of the T letters, −ELBO is D + T·R.

use anyhow::Result;
use rand::RngExt;
use tch::{Device, Kind, Tensor};
use textgen::config::{Precision, TrainConfig};
use textgen::models::weights::Weights;

use textgen::run::{Evaluation, Progress, WordData};

use super::task::{Part, SampleJob, Task, Use, held_out, random, sample_config};
use super::word_task::Sums;
use crate::dropout::Dropout;
use crate::parameters::{Parameters, normal, to_array};
use crate::recurrent::{Input, Shape};
use crate::steps::Steps;

/// The names of a model file's arrays of the last training word (Z).
const LAST: [&str; 2] = ["article.mean", "article.std"];

/// The article's model and its words.
pub struct ArticleTask {
    config: TrainConfig,
    network: textgen::config::NetworkConfig,
    parameters: Parameters,
    data: WordData,
    /// Mean of the last training word, and what the article calls its std.
    last: [Tensor; 2],
    device: Device,
}

impl ArticleTask {
    /// Starts with initial weights from the configuration's seed.
    pub fn new(config: &TrainConfig, data: WordData, device: Device) -> Self {
        let network = config.network(data.vocabulary.len(), data.vocabulary.outputs());
        let parameters = Parameters::init(&network, config.seed, device);
        let zeros = || Tensor::zeros([network.latent() as i64], (Kind::Float, device));
        Self {
            config: config.clone(),
            parameters,
            data,
            last: [zeros(), zeros()],
            network,
            device,
        }
    }

    fn shape(&self) -> Shape {
        Shape::of(&self.network, Precision::F32)
    }

    /// Mean and std (Z) of a word, as letters.
    fn encode(&self, letters: &[u32]) -> (Tensor, Tensor) {
        let tokens: Vec<i64> = letters.iter().map(|&letter| i64::from(letter)).collect();
        let tokens = Tensor::from_slice(&tokens).to_device(self.device);
        let embedding = self.parameters.get("encoder.embedding.weight");
        let weights = self
            .parameters
            .recurrent("encoder.rnn", self.network.layers);
        let (outputs, _) = self.shape().run(
            Input::tokens(&tokens, Some(embedding)),
            &Steps::even(letters.len() as i64, 1),
            &self.shape().zero_state(1, self.device),
            &weights,
            Dropout::default(),
            true,
        );
        let last = outputs.get(outputs.size()[0] - 1);
        (
            self.parameters.linear(&last, "encoder.mean"),
            self.parameters.linear(&last, "encoder.log_var").exp(),
        )
    }

    /// Log-probabilities (T, V) for `noise` (T, Z): one sample per letter.
    fn decode(&self, mean: &Tensor, std: &Tensor, noise: &Tensor) -> Tensor {
        let z = mean + std * noise;
        let weights = self
            .parameters
            .recurrent("decoder.rnn", self.network.layers);
        let (outputs, _) = self.shape().run(
            Input::Vectors(&z),
            &Steps::even(z.size()[0], 1),
            &self.shape().zero_state(1, self.device),
            &weights,
            Dropout::default(),
            true,
        );
        let logits = self.parameters.linear(&outputs, "decoder.head");
        logits.log_softmax(-1, Kind::Float)
    }

    /// The word's letters and its end.
    fn targets(&self, word: usize) -> Vec<i64> {
        let end = self.network.outputs as i64 - 1;
        self.data.letters[word]
            .iter()
            .map(|&letter| i64::from(letter))
            .chain([end])
            .collect()
    }
}

impl Task for ArticleTask {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn steps_per_epoch(&self) -> f64 {
        self.data.train.len() as f64
    }

    fn activation_bytes(&self) -> u64 {
        1 << 20
    }

    fn next_loss(&mut self, progress: &mut Progress, _fraction: f64) -> (Tensor, u64) {
        let mut rng = random(self.config.seed, Use::Batch, progress.step);
        let word = self.data.train[rng.random_range(0..self.data.train.len())];
        let targets = self.targets(word);
        let letters = targets.len() as i64;
        let (mean, std) = self.encode(&self.data.letters[word]);
        let noise = Tensor::randn(
            [letters, self.network.latent() as i64],
            (Kind::Float, self.device),
        );
        let predicted = self.decode(&mean, &std, &noise);
        // Only the first row is ever set, for every letter of the word.
        let one_hot = Tensor::zeros(
            [letters, self.network.outputs as i64],
            (Kind::Float, self.device),
        );
        let set = Tensor::from_slice(&targets).to_device(self.device);
        let _ = one_hot.get(0).index_fill_(0, &set, 1.0);
        let distances = (&one_hot - &predicted)
            .square()
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
            .sqrt()
            .sum(Kind::Float);
        let divergence: Tensor = (mean.square().sum(Kind::Float) + std.square().sum(Kind::Float)
            - std.sum(Kind::Float)
            - self.network.latent() as f64)
            * 0.5;
        self.last = [mean.detach(), std.detach()];
        progress.cursor += 1;
        if progress.cursor as usize >= self.data.train.len() {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        (distances - divergence * letters as f64, letters as u64)
    }

    fn evaluate(&self, part: Part) -> Result<Option<Evaluation>> {
        let words = held_out(&self.data, part);
        if words.is_empty() {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        let latent = self.network.latent();
        let mut sums = Sums::new(latent as i64, self.device);
        // One word per call is slow; some hundred words are enough for a network that learns nothing.
        for &word in words.iter().take(500) {
            let targets = self.targets(word);
            let (mean, std) = self.encode(&self.data.letters[word]);
            let mut rng = random(self.config.seed, Use::Evaluation, word as u64);
            let noise: Vec<f32> = (0..targets.len() * latent)
                .map(|_| normal(&mut rng))
                .collect();
            let noise = Tensor::from_slice(&noise)
                .reshape([targets.len() as i64, latent as i64])
                .to_device(self.device);
            let rate: Tensor = (mean.square() + std.square() - std.square().log() - 1.0) * 0.5;
            let set = Tensor::from_slice(&targets)
                .to_device(self.device)
                .unsqueeze(1);
            sums.distortion -= self
                .decode(&mean, &std, &noise)
                .gather(1, &set, false)
                .sum(Kind::Double);
            sums.rate += rate.sum(Kind::Double) * targets.len() as f64;
            sums.add_means(&mean.unsqueeze(0));
            sums.tokens += targets.len();
            sums.words += 1;
        }
        Ok(Some(Evaluation::Word(sums.loss())))
    }

    fn carried(&mut self) -> Vec<(String, &mut Tensor)> {
        let names = LAST.map(str::to_owned);
        names.into_iter().zip(&mut self.last).collect()
    }

    fn extra_weights(&self) -> Weights<'static> {
        let last = self.last.iter().map(to_array);
        LAST.map(str::to_owned).into_iter().zip(last).collect()
    }

    fn sample(&self, weights: Weights<'static>, seed: u64) -> SampleJob {
        let network = self.network.clone();
        let config = sample_config(self.config.seed);
        let vocabulary = self.data.vocabulary.clone();
        Box::new(move || {
            let article = textgen::models::article::Article::new(&network, &weights)?;
            let mut sampler = textgen::generate::sampling::Sampler::new(&config, &[], seed);
            let words: Vec<String> = (0..10)
                .map(|_| vocabulary.decode(&article.generate(|| sampler.normal())))
                .collect();
            Ok(words.join(" "))
        })
    }

    fn describe_step(&self) -> String {
        "one random word per step".to_owned()
    }
}
