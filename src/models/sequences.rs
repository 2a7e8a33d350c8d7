//! Batches of words of different length without padding: step by step, longest word first, so that at
//! every step the unfinished words come first.

use crate::kernels::training::Steps;

/// A batch of token sequences, sorted by length: N tokens of B sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// The number of active sequences at each step.
    pub steps: Steps,
    /// The tokens (N), position by position.
    pub tokens: Vec<i64>,
    /// The sequence of every position (N), by the caller's number.
    pub rows: Vec<u32>,
    /// The step of every position (N).
    pub times: Vec<u32>,
    /// For every position, the one that replaces it if every sequence is reversed (N).
    pub reversed: Vec<u32>,
    /// The caller's number of each sequence, longest first (B).
    pub order: Vec<u32>,
    /// The rank of each of the caller's sequences in that order (B).
    pub ranks: Vec<u32>,
}

impl Sequences {
    /// Sorts sequences into a batch.
    ///
    /// # Panics
    /// If a sequence is empty.
    pub fn new(sequences: &[impl AsRef<[u32]>]) -> Self {
        let length = |row: u32| sequences[row as usize].as_ref().len();
        let (order, steps) = longest_first(sequences.len(), |row| sequences[row].as_ref().len());
        let longest = steps.len();
        let mut ranks = vec![0; order.len()];
        for (rank, &row) in order.iter().enumerate() {
            ranks[row as usize] = rank as u32;
        }
        let positions = steps.positions();
        let mut batch = Self {
            tokens: Vec::with_capacity(positions),
            rows: Vec::with_capacity(positions),
            times: Vec::with_capacity(positions),
            reversed: Vec::with_capacity(positions),
            steps,
            order,
            ranks,
        };
        for time in 0..longest {
            let active = batch.steps.range(time).len();
            for (rank, &row) in batch.order[..active].iter().enumerate() {
                let other = batch.steps.range(length(row) - 1 - time).start + rank;
                batch
                    .tokens
                    .push(i64::from(sequences[row as usize].as_ref()[time]));
                batch.rows.push(row);
                batch.times.push(time as u32);
                batch.reversed.push(other as u32);
            }
        }
        batch
    }

    /// The number of tokens, N.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of sequences, B.
    pub fn batch(&self) -> usize {
        self.order.len()
    }

    /// `values` (N, width) with every sequence reversed.
    pub fn turn(&self, values: &[f32], width: usize, to: &mut [f32]) {
        gather(&self.reversed, values, width, to);
    }

    /// `values` (B, width) of the caller's sequences, sorted by length.
    pub fn ordered(&self, values: &[f32], width: usize, to: &mut [f32]) {
        gather(&self.order, values, width, to);
    }

    /// `values` (B, width), sorted by length, in the caller's order.
    pub fn as_given(&self, values: &[f32], width: usize, to: &mut [f32]) {
        gather(&self.ranks, values, width, to);
    }
}

/// The items of these lengths, longest first and else as given.
pub(crate) fn by_length(lengths: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&item| std::cmp::Reverse(lengths[item]));
    order
}

/// The order of `count` sequences, longest first and else as given, and the number of active ones at each step.
///
/// # Panics
/// If a sequence is empty.
pub(crate) fn longest_first(count: usize, length: impl Fn(usize) -> usize) -> (Vec<u32>, Steps) {
    let length = |row: u32| length(row as usize);
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_by_key(|&row| std::cmp::Reverse(length(row)));
    assert!(
        order.last().is_none_or(|&row| length(row) > 0),
        "no empty sequence"
    );
    let longest = order.first().map_or(0, |&row| length(row));
    let active = |time: usize| order.partition_point(|&row| length(row) > time);
    let counts = (0..longest).map(active).collect();
    (order, Steps::new(counts))
}

/// `to` = the rows `indices` of `values` (·, width).
fn gather(indices: &[u32], values: &[f32], width: usize, to: &mut [f32]) {
    if width == 0 {
        return;
    }
    for (&index, to) in indices.iter().zip(to.chunks_exact_mut(width)) {
        to.copy_from_slice(&values[index as usize * width..][..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_the_longest_first_and_turn_within_their_length() {
        let words = Sequences::new(&[vec![4], vec![1, 2, 3], vec![5, 6]]);
        assert_eq!(words.tokens, [1, 5, 4, 2, 6, 3]);
        assert_eq!(words.steps, Steps::new(vec![3, 2, 1]));
        assert_eq!(words.rows, [1, 2, 0, 1, 2, 1]);
        assert_eq!(words.times, [0, 0, 0, 1, 1, 2]);
        assert_eq!((words.len(), words.batch()), (6, 3));
        let tokens: Vec<f32> = words.tokens.iter().map(|&token| token as f32).collect();
        let mut turned = vec![0.0; 6];
        words.turn(&tokens, 1, &mut turned);
        assert_eq!(turned, [3.0, 6.0, 4.0, 2.0, 5.0, 1.0]);
        let names = [10.0, 0.1, 11.0, 0.2, 12.0, 0.3];
        let (mut ordered, mut given) = (vec![0.0; 6], vec![0.0; 6]);
        words.ordered(&names, 2, &mut ordered);
        assert_eq!(ordered, [11.0, 0.2, 12.0, 0.3, 10.0, 0.1]);
        words.as_given(&ordered, 2, &mut given);
        assert_eq!(given, names);
    }

    #[test]
    fn no_words_are_an_empty_batch() {
        let none = Sequences::new(&[] as &[Vec<u32>]);
        assert!(none.is_empty());
        assert_eq!(none.batch(), 0);
    }
}
