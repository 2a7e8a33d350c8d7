//! `--recipe article`: the word VAE of 2018 as it was published, faults included, so that anyone can
//! see what each correction buys.
//!
//! Its faults: the decoder predicts each letter from fresh noise and from no letter
//! before it; the loss of a letter is the L2 distance between a one-hot row and log-probabilities,
//! and of the one-hot rows only the first is ever set, with every letter of the word; the divergence
//! is subtracted, lacks log σ² and is counted at every letter.

use tch::{Device, Kind, Tensor};
use textgen::config::{NetworkConfig, Precision};
use textgen::kernels::training::Steps;
use textgen::models::batch::ArticleBatch;
use textgen::models::noise::Use;

use crate::dropout::{Dropout, Pass, Places};
use crate::graph::Uploads;
use crate::parameters::Parameters;
use crate::recurrent::Shape;

/// What the network makes of a word.
pub struct Article {
    /// μ (Z).
    pub mean: Tensor,
    /// What the article calls its std (Z).
    pub std: Tensor,
    /// Log-probabilities (T + 1, V).
    log_probs: Tensor,
    /// (T + 1).
    targets: Tensor,
}

impl Article {
    /// Encodes and decodes a word.
    pub fn new(
        network: &NetworkConfig,
        parameters: &Parameters,
        batch: &ArticleBatch,
        device: Device,
    ) -> Self {
        // It has no dropout; an evaluation computes the same.
        let pass = Pass::Training { seed: 0, step: 0 };
        let shape = Shape::of(network, Precision::F32);
        let read = |input: &Tensor, prefix: &str| {
            let steps = input.size()[0] as usize;
            let places = Places::none();
            let dropout = Dropout {
                rate: 0.0,
                variational: false,
                what: Use::Dropout,
                places: &places,
            };
            let weights = parameters.recurrent(prefix, network.layers);
            let start = shape.zero_state(1, device);
            let steps = Steps::new(vec![1; steps]);
            shape.run(input, &steps, &start, &weights, &dropout, pass).0
        };
        let mut uploads = Uploads::new(device);
        let [letters, targets] = uploads.indices([&batch.letters, &batch.targets]);
        let embedding = parameters.get("encoder.embedding.weight");
        let outputs = read(&embedding.index_select(0, &letters), "encoder.rnn");
        let last = outputs.get(-1);
        let mean = parameters.linear(&last, "encoder.mean");
        let std = parameters.linear(&last, "encoder.log_var").exp();
        let noise = uploads.floats(&batch.noise);
        let noise = noise.reshape([targets.size()[0], mean.size()[0]]);
        let outputs = read(&(&mean + &std * noise), "decoder.rnn");
        let logits = parameters.linear(&outputs, "decoder.head");
        Self {
            mean,
            std,
            log_probs: logits.log_softmax(-1, Kind::Float),
            targets,
        }
    }

    /// The article's loss.
    pub fn loss(&self) -> Tensor {
        // Only the first row is ever set, for every letter of the word.
        let one_hot = self.log_probs.zeros_like();
        let _ = one_hot.get(0).index_fill_(0, &self.targets, 1.0);
        let distances = (&one_hot - &self.log_probs)
            .square()
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float)
            .sqrt()
            .sum(Kind::Float);
        let divergence: Tensor = (self.mean.square() + self.std.square() - &self.std - 1.0) * 0.5;
        distances - divergence.sum(Kind::Float) * self.targets.size()[0] as f64
    }

    /// −log p of the targets (T + 1), in nats.
    pub fn nats(&self) -> Tensor {
        let targets = self.targets.unsqueeze(1);
        -self.log_probs.gather(1, &targets, false).squeeze_dim(1)
    }

    /// R_j (Z) in nats, of one letter: ½(μ² + σ² − log σ² − 1).
    pub fn rates(&self) -> Tensor {
        let square = self.std.square();
        (self.mean.square() + &square - square.log() - 1.0) * 0.5
    }
}
