//! What the engine's tests share: reproducible numbers and networks made of them.

use crate::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, TextConfig, ZPlacement};
use crate::models::weights::{Array, Weights, expected_shapes};
use crate::run::{MODEL_FORMATS, ModelHeader};
use crate::text::Vocabulary;

/// A linear congruential generator (Numerical Recipes): no two tests need to share more.
pub struct Numbers(u32);

impl Numbers {
    /// Begins at `seed`.
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// `len` numbers in [−scale, scale).
    pub fn vector(&mut self, len: usize, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next() * scale).collect()
    }
}

/// Numbers of bf16 products differ from those of f32 by a few of its roundings, of the largest.
#[track_caller]
pub fn assert_about(found: &[f32], want: &[f32], what: &str) {
    assert_eq!(found.len(), want.len());
    let largest = want.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let differences = found.iter().zip(want).map(|(x, y)| (x - y).abs());
    let most = differences.fold(0.0, f32::max);
    assert!(most <= 0.02 * largest, "{what}: {most} of {largest}");
}

/// A char-lstm, one-hot.
pub fn char_lstm(cell: Cell, hidden: usize, layers: usize, tokens: usize) -> NetworkConfig {
    NetworkConfig::char_rnn(cell, hidden, layers, tokens)
}

/// A word-vae that reads both ways, with two tokens that it never predicts.
pub fn word_vae(cell: Cell, hidden: usize, layers: usize) -> NetworkConfig {
    NetworkConfig {
        kind: NetworkKind::WordVae(LatentConfig {
            latent: 3,
            z: ZPlacement::Both,
            bidirectional: true,
        }),
        embedding: 5,
        outputs: 9,
        ..char_lstm(cell, hidden, layers, 11)
    }
}

/// The same network with another latent vector.
pub fn with_latent(
    network: &NetworkConfig,
    change: impl FnOnce(&mut LatentConfig),
) -> NetworkConfig {
    let mut network = network.clone();
    if let NetworkKind::WordVae(latent) = &mut network.kind {
        change(latent);
    }
    network
}

/// Weights for a network, between −0.5 and 0.5.
pub fn weights(config: &NetworkConfig) -> Weights<'static> {
    let mut numbers = Numbers::new(7);
    let fill = |(name, shape): (String, Vec<usize>)| {
        let data = numbers.vector(shape.iter().product(), 0.5);
        (name, Array::f32(shape, data))
    };
    expected_shapes(config).into_iter().map(fill).collect()
}

/// The header of a model.
pub fn model_header(network: NetworkConfig, vocabulary: Vocabulary) -> ModelHeader {
    ModelHeader {
        format: *MODEL_FORMATS.end(),
        textgen: "0.0.0".to_owned(),
        network,
        text: TextConfig::default(),
        vocabulary,
        corpus_name: "numbers".to_owned(),
        corpus_digest: String::new(),
        split: "contiguous".to_owned(),
        seed: 7,
        step: 9,
        valid: None,
    }
}
