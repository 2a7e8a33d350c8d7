//! The word VAE: letters → encoder → q(z|x) = N(μ, diag σ²) → z → decoder → letters.
//!
//! Formulas: Kingma & Welling 2014 (estimator B, closed-form divergence), free bits as in Kingma et
//! al. 2016. All figures in nats, summed over a word's tokens, including its end.

use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, NetworkConfig, Precision};
use textgen::text::SpecialTokens;

use crate::dropout::Dropout;
use crate::operators;
use crate::parameters::Parameters;
use crate::recurrent::{Input, Shape};
use crate::sequences::{Sequences, by_position};

/// Bounds on log σ², so wide that only a diverging run reaches them.
pub const LOG_VAR_BOUND: f64 = 10.0;

/// A word-vae on a device.
pub struct WordVae {
    /// Sizes, cell and kind.
    pub network: NetworkConfig,
    /// Under the names of the engine's table of shapes.
    pub parameters: Parameters,
    /// `<bos>`, `<eos>` and `<unk>`.
    pub special: SpecialTokens,
    /// Dropout rate of the outputs between the encoder's layers while training.
    pub dropout: f64,
    /// Dropout rate of the outputs of every layer of the decoder while training.
    pub decoder_dropout: f64,
    /// The precision of training on CUDA.
    pub precision: Precision,
}

/// A batch of words on the device.
pub struct WordBatch {
    /// The encoder's input: letters.
    pub letters: Sequences,
    /// The decoder's input: `<bos>`, letters.
    pub inputs: Sequences,
    /// The decoder's target at every position: letters, `<eos>`.
    pub targets: Tensor,
}

/// The terms of the bound for a batch.
pub struct WordTerms {
    /// −log p(c_t | c_<t, z) at every position of the decoder's input.
    pub token_nll: Tensor,
    /// R_j = ½(μ_j² + σ_j² − log σ_j² − 1) of every word, (B, Z).
    pub rate: Tensor,
    /// μ (B, Z).
    pub mean: Tensor,
}

impl WordBatch {
    /// Builds a batch of words, given as their letters.
    pub fn new(words: &[&[u32]], special: SpecialTokens, device: Device) -> Self {
        let around = |before: Option<u32>, after: Option<u32>| -> Vec<Vec<u32>> {
            words
                .iter()
                .map(|word| {
                    before
                        .into_iter()
                        .chain(word.iter().copied())
                        .chain(after)
                        .collect()
                })
                .collect()
        };
        Self {
            letters: Sequences::new(words, device),
            inputs: Sequences::new(&around(Some(special.bos), None), device),
            targets: by_position(&around(None, Some(special.eos)), device),
        }
    }

    /// The number of words in the batch.
    pub fn len(&self) -> usize {
        self.letters.batch
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.letters.batch == 0
    }

    /// The number of predicted tokens: letters and one end per word.
    pub fn tokens(&self) -> usize {
        self.inputs.len()
    }
}

impl WordTerms {
    /// D of every word: its tokens' NLL summed, (B).
    pub fn distortion(&self, batch: &WordBatch) -> Tensor {
        Tensor::zeros([batch.len() as i64], (Kind::Float, self.token_nll.device())).index_add(
            0,
            &batch.inputs.rows,
            &self.token_nll,
        )
    }
}

impl WordVae {
    fn device(&self) -> Device {
        self.parameters.tensors()[0].device()
    }

    fn shape(&self) -> Shape {
        Shape::of(&self.network, self.precision)
    }

    /// Packs the recurrent weights as cuDNN wants them.
    pub fn flatten(&self) {
        let one = Shape {
            layers: 1,
            ..self.shape()
        };
        let directions: &[&str] = if self.network.is_bidirectional() {
            &["", "_reverse"]
        } else {
            &[""]
        };
        let encoder_layers = if self.network.latent() > 0 {
            self.network.layers
        } else {
            0
        };
        for layer in 0..encoder_layers {
            for direction in directions {
                one.flatten(&self.parameters.layer("encoder.rnn", layer, direction));
            }
        }
        self.shape().flatten(
            &self
                .parameters
                .recurrent("decoder.rnn", self.network.layers),
        );
    }

    /// μ and log σ² (B, Z) of every word; (B, 0) if there is no z.
    pub fn encode(&self, batch: &WordBatch, train: bool) -> (Tensor, Tensor) {
        if self.network.latent() == 0 {
            let none = || Tensor::zeros([batch.len() as i64, 0], (Kind::Float, self.device()));
            return (none(), none());
        }
        let words = &batch.letters;
        let one = Shape {
            layers: 1,
            ..self.shape()
        };
        let start = one.zero_state(batch.len() as i64, self.device());
        let read = |input: Input, layer: usize, direction: &str| {
            let weights = self.parameters.layer("encoder.rnn", layer, direction);
            let (outputs, end) = one.run(
                input,
                &words.steps,
                &start,
                &weights,
                Dropout::default(),
                train,
            );
            (outputs, end[0].select(0, 0))
        };
        let tokens = words.tokens(self.device());
        let embedding = self.parameters.get("encoder.embedding.weight");
        let mut input = None;
        let mut summary = Vec::new();
        for layer in 0..self.network.layers {
            let (mut outputs, end) = match &input {
                None => read(Input::tokens(&tokens, Some(embedding)), layer, ""),
                Some(input) => read(Input::Vectors(input), layer, ""),
            };
            summary = vec![end];
            if self.network.is_bidirectional() {
                let turned = words.turn(input.as_ref().unwrap_or(&tokens));
                let (backward, end) = match &input {
                    None => read(Input::tokens(&turned, Some(embedding)), layer, "_reverse"),
                    Some(_) => read(Input::Vectors(&turned), layer, "_reverse"),
                };
                summary.push(end);
                outputs = Tensor::cat(&[outputs, words.turn(&backward)], 1);
            }
            input = Some(outputs.dropout(self.dropout, train));
        }
        let summary = words.as_given(&Tensor::cat(&summary, 1));
        let linear = |name: &str| self.parameters.linear(&summary, &format!("encoder.{name}"));
        (
            linear("mean"),
            linear("log_var").clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND),
        )
    }

    /// Logits (N, outputs) of the decoder for `z` (B, Z).
    pub fn decode(&self, batch: &WordBatch, z: &Tensor, train: bool) -> Tensor {
        self.parameters
            .linear(&self.decoder_outputs(batch, z, train), "decoder.head")
    }

    /// The decoder's hidden outputs (N, H) for `z` (B, Z).
    fn decoder_outputs(&self, batch: &WordBatch, z: &Tensor, train: bool) -> Tensor {
        let words = &batch.inputs;
        let placement = self.network.z();
        let z = (self.network.latent() > 0).then(|| words.ordered(z));
        let state = match z.as_ref().filter(|_| placement.at_start()) {
            Some(z) => self.decoder_start(z),
            None => self.shape().zero_state(batch.len() as i64, self.device()),
        };
        let weights = self
            .parameters
            .recurrent("decoder.rnn", self.network.layers);
        let input = Input::Tokens {
            tokens: &words.tokens(self.device()),
            embedding: Some(self.parameters.get("decoder.embedding.weight")),
            latent: z.as_ref().filter(|_| placement.at_steps()),
        };
        let dropout = Dropout::each_step(self.decoder_dropout);
        let (outputs, _) = self
            .shape()
            .run(input, &words.steps, &state, &weights, dropout, train);
        outputs.dropout(dropout.rate, train)
    }

    /// The decoder's state before the first letter: h = tanh(W·z + b) by layer, (L, B, H), and c = 0.
    fn decoder_start(&self, z: &Tensor) -> Vec<Tensor> {
        let (layers, hidden) = (self.network.layers as i64, self.network.hidden as i64);
        let start = self
            .parameters
            .linear(z, "decoder.init")
            .tanh()
            .reshape([-1, layers, hidden])
            .transpose(0, 1)
            .contiguous();
        let mut state = vec![start];
        if self.network.cell == Cell::Lstm {
            state.push(state[0].zeros_like());
        }
        state
    }

    /// The terms of the bound for `noise` ε (B, Z): one sample per word.
    pub fn terms(&self, batch: &WordBatch, noise: &Tensor, train: bool) -> WordTerms {
        let (mean, log_var) = self.encode(batch, train);
        let z = &mean + (&log_var * 0.5).exp() * noise;
        let token_nll = operators::predict(
            &self.decoder_outputs(batch, &z, train),
            self.parameters.get("decoder.head.weight"),
            self.parameters.get("decoder.head.bias"),
            &batch.targets,
            self.shape().computes_in(train),
        );
        let rate: Tensor = (mean.square() + log_var.exp() - &log_var - 1.0) * 0.5;
        WordTerms {
            token_nll,
            rate,
            mean,
        }
    }

    /// D + β·Σ_j max(λ, mean over the batch of R_j), averaged over words; β (1).
    pub fn objective(terms: &WordTerms, words: usize, beta: &Tensor, free_bits: f64) -> Tensor {
        let rate = terms.rate.mean_dim([0i64].as_slice(), false, Kind::Float);
        let floored = if free_bits > 0.0 {
            rate.clamp_min(free_bits)
        } else {
            rate
        };
        let distortion = terms.token_nll.sum(Kind::Float) / words as f64;
        (distortion + floored.sum(Kind::Float) * beta).sum(Kind::Float)
    }
}
