//! The cost of a text under a model.

use std::f64::consts::LN_2;
use std::ops::Range;

use crate::evaluate::Reading;
use crate::run::Tokens;
use serde::Serialize;

/// Means over the tokens predicted.
#[derive(Serialize)]
pub struct Costs {
    pub loss_nats_per_char: f64,
    pub loss_bits_per_char: f64,
    pub bits_per_byte: Option<f64>,
    pub perplexity: f64,
}

pub struct Measured<'a> {
    pub tokens: &'a Tokens,
    /// Segments, each read from a zero state; all tokens but the first are predicted.
    pub segments: Vec<Range<usize>>,
    /// How a segment is read.
    pub reading: Reading,
    pub predicted: u64,
    /// Their UTF-8 length; `None` if some of them are `<unk>`.
    pub bytes: Option<u64>,
    /// Whether the text is the one that the model was trained on.
    pub is_own: bool,
}

impl Costs {
    /// The means of a sum of nats over tokens, and over their bytes if those are known.
    pub fn new(nats: f64, tokens: u64, bytes: Option<u64>) -> Self {
        let per_char = nats / tokens as f64;
        Self {
            loss_nats_per_char: per_char,
            loss_bits_per_char: per_char / LN_2,
            bits_per_byte: bytes.map(|bytes| nats / LN_2 / bytes as f64),
            perplexity: per_char.exp(),
        }
    }
}

impl Measured<'_> {
    pub fn costs(&self, nats: f64) -> Costs {
        Costs::new(nats, self.predicted, self.bytes)
    }
}

/// Tokens predicted in segments.
pub fn predicted(segments: &[Range<usize>]) -> u64 {
    segments.iter().map(|range| range.len() as u64 - 1).sum()
}
