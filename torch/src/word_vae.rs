//! The word VAE: letters → encoder → q(z|x) = N(μ, diag σ²) → z → decoder → letters.
//!
//! Formulas: Kingma & Welling 2014 (estimator B, closed-form divergence), free bits as in Kingma et
//! al. 2016. All figures in nats, summed over a word's tokens, including its end.

use tch::{Kind, Tensor};
use textgen::config::{Cell, NetworkConfig, Precision};
use textgen::kernels::training::Steps;
use textgen::models::batch::WordBatch;
use textgen::models::noise::Use;
use textgen::models::sequences::Sequences;

use crate::dropout::{Dropout, Pass, Places};
use crate::graph::Uploads;
use crate::parameters::Parameters;
use crate::recurrent::Shape;
use crate::{NONE, predict};

/// Bounds on log σ², so wide that only a diverging run reaches them.
const LOG_VAR_BOUND: f64 = 10.0;

/// A word-vae on a device.
pub struct WordVae {
    /// Sizes, cell and kind.
    pub network: NetworkConfig,
    /// Dropout rate of the outputs between the encoder's layers while training.
    pub dropout: f64,
    /// Dropout rate of the outputs of every layer of the decoder while training.
    pub decoder_dropout: f64,
    /// The precision of training on CUDA.
    pub precision: Precision,
}

/// A batch of words on the device.
pub struct Words<'a> {
    batch: &'a WordBatch,
    letters: OnDevice,
    inputs: OnDevice,
    /// The decoder's target at every position: letters, `<eos>` (N).
    pub targets: Tensor,
    /// ε (B, Z).
    noise: Tensor,
}

/// The indices of sequences; see [`Sequences`].
struct OnDevice {
    tokens: Tensor,
    rows: Tensor,
    reversed: Tensor,
    /// The last position of every sequence, longest first (B).
    ends: Tensor,
    order: Tensor,
    ranks: Tensor,
}

impl OnDevice {
    fn new(words: &Sequences, uploads: &mut Uploads) -> Self {
        let wide = |numbers: &[u32]| numbers.iter().map(|&n| i64::from(n)).collect::<Vec<_>>();
        let lists = [&words.rows, &words.reversed, &words.order, &words.ranks];
        let [rows, reversed, order, ranks] = lists.map(|numbers| wide(numbers));
        // A sequence read backward starts with its last letter.
        let ends = &reversed[..words.batch()];
        let lists = [&words.tokens[..], &rows, &reversed, ends, &order, &ranks];
        let [tokens, rows, reversed, ends, order, ranks] = uploads.indices(lists);
        Self {
            tokens,
            rows,
            reversed,
            ends,
            order,
            ranks,
        }
    }
}

/// The same words, all of them as long as the longest: what follows a word has no target.
pub fn padded(batch: &WordBatch) -> WordBatch {
    let targets = Sequences {
        tokens: batch.targets.clone(),
        ..batch.inputs.clone()
    };
    WordBatch {
        letters: pad(&batch.letters, 0),
        inputs: pad(&batch.inputs, 0),
        targets: pad(&targets, NONE).tokens,
        noise: batch.noise.clone(),
        ..*batch
    }
}

fn pad(words: &Sequences, padding: i64) -> Sequences {
    let (longest, count) = (words.steps.len(), words.batch());
    let positions = 0..(longest * count) as u32;
    let mut all = Sequences {
        steps: Steps::new(vec![count; longest]),
        tokens: vec![padding; positions.len()],
        rows: words.order.repeat(longest),
        times: positions.clone().map(|at| at / count as u32).collect(),
        reversed: positions.collect(),
        order: words.order.clone(),
        ranks: words.ranks.clone(),
    };
    // The position of a position of `words`.
    let place = |at: usize| {
        let time = words.times[at] as usize;
        time * count + at - words.steps.range(time).start
    };
    for (at, &token) in words.tokens.iter().enumerate() {
        all.tokens[place(at)] = token;
        all.reversed[place(at)] = place(words.reversed[at] as usize) as u32;
    }
    all
}

/// The terms of the bound for a batch.
pub struct WordTerms {
    /// −log p(c_t | c_<t, z) at every position of the decoder's input (N).
    pub nats: Tensor,
    /// R_j = ½(μ_j² + σ_j² − log σ_j² − 1) of every word, (B, Z).
    pub rates: Tensor,
    /// μ (B, Z).
    pub means: Tensor,
}

impl<'a> Words<'a> {
    /// Uploads a batch.
    pub fn new(batch: &'a WordBatch, uploads: &mut Uploads) -> Self {
        let [targets] = uploads.indices([&batch.targets]);
        let rows = batch.letters.batch() as i64;
        let latent = batch.noise.len() as i64 / rows.max(1);
        Self {
            letters: OnDevice::new(&batch.letters, uploads),
            inputs: OnDevice::new(&batch.inputs, uploads),
            targets,
            noise: uploads.floats(&batch.noise).reshape([rows, latent]),
            batch,
        }
    }
}

impl WordVae {
    const fn shape(&self) -> Shape {
        Shape::of(&self.network, self.precision)
    }

    const fn directions(&self) -> &[&str] {
        if self.network.is_bidirectional() {
            &["", "_reverse"]
        } else {
            &[""]
        }
    }

    /// Packs the recurrent weights as cuDNN wants them.
    pub fn flatten(&self, parameters: &Parameters) {
        let layers = self.network.layers;
        for layer in 0..if self.network.latent() > 0 { layers } else { 0 } {
            for direction in self.directions() {
                let weights = parameters.layer("encoder.rnn", layer, direction);
                self.shape().single().flatten(&weights);
            }
        }
        self.shape()
            .flatten(&parameters.recurrent("decoder.rnn", layers));
    }

    /// μ and log σ² (B, Z) of every word; (B, 0) if there is no z.
    pub fn encode(&self, parameters: &Parameters, words: &Words, pass: Pass) -> [Tensor; 2] {
        if self.network.latent() == 0 || words.batch.without_z {
            return [words.noise.zeros_like(), words.noise.zeros_like()];
        }
        let (of, letters, device) = (&words.letters, &words.batch.letters, words.targets.device());
        let places = Places::of_words(letters, words.batch.first);
        let dropout = Dropout {
            rate: self.dropout,
            variational: false,
            what: Use::EncoderDropout,
            places: &places,
        };
        let single = self.shape().single();
        let start = single.zero_state(letters.batch(), device);
        let embedding = parameters.get("encoder.embedding.weight");
        let mut input = embedding.index_select(0, &of.tokens);
        let mut summary = Vec::new();
        for layer in 0..self.network.layers {
            if layer > 0 {
                input = dropout.apply(&input, layer - 1, pass);
            }
            summary.clear();
            let mut outputs = Vec::new();
            for direction in self.directions() {
                let turn = |values: &Tensor| match *direction {
                    "" => values.shallow_clone(),
                    _ => values.index_select(0, &of.reversed),
                };
                let weights = parameters.layer("encoder.rnn", layer, direction);
                let steps = &letters.steps;
                let (read, _) = single.run(&turn(&input), steps, &start, &weights, &dropout, pass);
                summary.push(read.index_select(0, &of.ends));
                outputs.push(turn(&read));
            }
            input = Tensor::cat(&outputs, 1);
        }
        let summary = Tensor::cat(&summary, 1).index_select(0, &of.ranks);
        let summary = summary.to_kind(Kind::Float);
        let linear = |name: &str| parameters.linear(&summary, &format!("encoder.{name}"));
        let log_var = linear("log_var").clamp(-LOG_VAR_BOUND, LOG_VAR_BOUND);
        [linear("mean"), log_var]
    }

    /// The decoder's outputs (N, H) after dropout for `z` (B, Z).
    pub fn decode(&self, parameters: &Parameters, words: &Words, z: &Tensor, pass: Pass) -> Tensor {
        let (of, inputs) = (&words.inputs, &words.batch.inputs);
        let placement = self.network.z();
        let z = (self.network.latent() > 0).then(|| z.index_select(0, &of.order));
        let state = match z.as_ref().filter(|_| placement.at_start()) {
            Some(z) => self.decoder_start(parameters, z),
            None => self.shape().zero_state(inputs.batch(), of.tokens.device()),
        };
        let embedding = parameters.get("decoder.embedding.weight");
        let mut input = embedding.index_select(0, &of.tokens);
        if let Some(z) = z.filter(|_| placement.at_steps()) {
            // z is in the order of length, the rows are the caller's.
            let of_position = of.ranks.index_select(0, &of.rows);
            input = Tensor::cat(&[input, z.index_select(0, &of_position)], 1);
        }
        let places = Places::of_words(inputs, words.batch.first);
        let dropout = Dropout {
            rate: self.decoder_dropout,
            variational: false,
            what: Use::Dropout,
            places: &places,
        };
        let layers = self.network.layers;
        let weights = parameters.recurrent("decoder.rnn", layers);
        let (outputs, _) =
            self.shape()
                .run(&input, &inputs.steps, &state, &weights, &dropout, pass);
        dropout.apply(&outputs, layers - 1, pass)
    }

    /// The decoder's state before the first letter: h = tanh(W·z + b) by layer, (L, B, H), and c = 0.
    fn decoder_start(&self, parameters: &Parameters, z: &Tensor) -> Vec<Tensor> {
        let (layers, hidden) = (self.network.layers as i64, self.network.hidden as i64);
        let start = parameters
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

    /// The terms of the bound: one sample per word.
    pub fn terms(&self, parameters: &Parameters, words: &Words, pass: Pass) -> WordTerms {
        let [means, log_var] = self.encode(parameters, words, pass);
        let mut z = &means + (&log_var * 0.5).exp() * &words.noise;
        if words.batch.without_z {
            z = z.zeros_like();
        }
        let outputs = self.decode(parameters, words, &z, pass);
        let in_bf16 = self.shape().is_in_bf16(pass);
        WordTerms {
            nats: predict(
                parameters,
                "decoder.head",
                &outputs,
                &words.targets,
                in_bf16,
            ),
            rates: (means.square() + log_var.exp() - &log_var - 1.0) * 0.5,
            means,
        }
    }
}

/// D + β·Σ_j max(λ, mean over the batch of R_j), averaged over words; β (1).
pub fn objective(nats: &Tensor, rates: &Tensor, beta: &Tensor, free_bits: f64) -> Tensor {
    let rate = rates.mean_dim([0i64].as_slice(), false, Kind::Float);
    let floored = if free_bits > 0.0 {
        rate.clamp_min(free_bits)
    } else {
        rate
    };
    let distortion = nats.sum(Kind::Float) / rates.size()[0] as f64;
    (distortion + floored.sum(Kind::Float) * beta).sum(Kind::Float)
}
