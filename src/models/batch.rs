//! What a training step reads: plain integers and numbers, the same on every device.

use std::ops::Range;

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
    /// Whether the decoder learns alone: z is 0, and the encoder reads nothing.
    pub without_z: bool,
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

impl TextBatch {
    /// Some rows of the batch.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        let columns = |tokens: &[i64]| {
            let steps = tokens.chunks_exact(self.rows);
            steps
                .flat_map(|step| &step[rows.clone()])
                .copied()
                .collect()
        };
        Self {
            rows: rows.len(),
            first: self.first + rows.start,
            inputs: columns(&self.inputs),
            targets: columns(&self.targets),
            ..*self
        }
    }
}

impl WordBatch {
    /// Some words of the batch, of which each has Z = `latent` numbers of noise.
    #[must_use]
    pub fn part(&self, rows: Range<usize>, latent: usize) -> Self {
        let words = |of: &Sequences, tokens: &[i64]| {
            let mut words = vec![Vec::new(); rows.len()];
            // A word's letters come in the order of their positions.
            for (&row, &token) in of.rows.iter().zip(tokens) {
                if rows.contains(&(row as usize)) {
                    words[row as usize - rows.start].push(token as u32);
                }
            }
            Sequences::new(&words)
        };
        Self {
            first: self.first + rows.start,
            letters: words(&self.letters, &self.letters.tokens),
            inputs: words(&self.inputs, &self.inputs.tokens),
            targets: words(&self.inputs, &self.targets).tokens,
            noise: self.noise[rows.start * latent..rows.end * latent].to_vec(),
            without_z: self.without_z,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_text_has_its_rows_of_every_step() {
        let batch = TextBatch {
            steps: 2,
            rows: 3,
            inputs: vec![1, 2, 3, 4, 5, 6],
            targets: vec![7, 8, 9, 10, 11, 12],
            ..TextBatch::default()
        };
        let part = batch.part(1..3);
        assert_eq!((part.rows, part.first, part.steps), (2, 1, 2));
        assert_eq!(part.inputs, [2, 3, 5, 6]);
        assert_eq!(part.targets, [8, 9, 11, 12]);
        assert_eq!(batch.part(0..3), batch);
    }

    #[test]
    fn a_part_of_some_words_has_their_letters_and_noise() {
        let batch = |words: &[Vec<u32>], first: usize, noise: &[f32]| {
            let around = |before: u32| -> Vec<Vec<u32>> {
                words
                    .iter()
                    .map(|word| [&[before], &word[..]].concat())
                    .collect()
            };
            let targets: Vec<Vec<u32>> = words
                .iter()
                .map(|word| [&word[..], &[8]].concat())
                .collect();
            WordBatch {
                first,
                letters: Sequences::new(words),
                inputs: Sequences::new(&around(9)),
                targets: Sequences::new(&targets).tokens,
                noise: noise.to_vec(),
                without_z: false,
            }
        };
        let words = [vec![1], vec![2, 3, 4], vec![5, 6]];
        let whole = batch(&words, 0, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(
            whole.part(1..3, 2),
            batch(&words[1..], 1, &[0.3, 0.4, 0.5, 0.6])
        );
        assert_eq!(whole.part(0..3, 2), whole);
    }
}
