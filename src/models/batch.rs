//! What a training step reads: plain integers and numbers, the same on every device.

use crate::models::sequences::Sequences;

/// Characters of several streams side by side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TextBatch {
    /// Tokens of each stream, T.
    pub steps: usize,
    /// Streams, B.
    pub rows: usize,
    /// The number of the first row in the whole batch, of which this may be a shard. Random numbers
    /// follow the rows of the whole batch.
    pub first: usize,
    /// The tokens that are read (T, B).
    pub inputs: Vec<i64>,
    /// The tokens that follow them (T, B).
    pub targets: Vec<i64>,
    /// Whether the loss counts the last step only.
    pub last_only: bool,
    /// Whether the state before the first step is zero; else it is the one after the batch before.
    pub from_zero: bool,
}

/// Words side by side, each with its own noise.
#[derive(Clone, Debug, PartialEq)]
pub struct WordBatch {
    /// The number of the first word in the whole batch, of which this may be a shard. Random numbers
    /// follow the rows of the whole batch.
    pub first: usize,
    /// The encoder's input: letters.
    pub letters: Sequences,
    /// The decoder's input: `<bos>`, letters.
    pub inputs: Sequences,
    /// What the decoder predicts at every position of its input (N): letters, `<eos>`.
    pub targets: Vec<i64>,
    /// ε of every word (B, Z), by the caller's rows.
    pub noise: Vec<f32>,
}

/// One word of the original article's network, which reads and predicts one word at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ArticleBatch {
    /// The letters that the encoder reads (T).
    pub letters: Vec<i64>,
    /// The letters that the decoder predicts, and the end of the word (T + 1).
    pub targets: Vec<i64>,
    /// ε of every predicted letter (T + 1, Z).
    pub noise: Vec<f32>,
}
