//! Batches of words of different length without padding: step by step, longest word first,
//! so that at every step the unfinished words come first.

use tch::{Device, Tensor};

use crate::shim::upload;
use crate::steps::Steps;

/// A batch of token sequences, sorted by length.
pub struct Sequences {
    /// The number of active sequences at each step.
    pub steps: Steps,
    /// The number of sequences, B.
    pub batch: usize,
    /// The sequence of every position (N), by the caller's number.
    pub rows: Tensor,
    /// For every position, the one that replaces it if every sequence is reversed (N).
    pub reversed: Tensor,
    /// The caller's number of each sequence, longest first (B).
    order: Tensor,
    /// The rank of each of the caller's sequences in that order (B).
    ranks: Tensor,
    tokens: Vec<i64>,
}

/// The caller's numbers of some sequences, longest first, and the number of active ones at each step.
struct Order {
    order: Vec<usize>,
    counts: Vec<i64>,
}

impl Order {
    fn of(sequences: &[impl AsRef<[u32]>]) -> Self {
        let length = |row: usize| sequences[row].as_ref().len();
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(length(row)));
        let steps = order.first().map_or(0, |&row| length(row));
        let mut under_way = order.len();
        let counts = (0..steps).map(|time| {
            while length(order[under_way - 1]) <= time {
                under_way -= 1;
            }
            under_way as i64
        });
        Self {
            counts: counts.collect(),
            order,
        }
    }

    /// Each step with its active sequences.
    fn positions(&self) -> impl Iterator<Item = (usize, usize)> {
        let steps = self.counts.iter().enumerate();
        steps.flat_map(|(time, &count)| {
            let rows = self.order[..count as usize].iter();
            rows.map(move |&row| (row, time))
        })
    }

    fn tokens(&self, sequences: &[impl AsRef<[u32]>]) -> Vec<i64> {
        self.positions()
            .map(|(row, time)| i64::from(sequences[row].as_ref()[time]))
            .collect()
    }
}

/// The tokens (N) of sequences, in the order of [`Sequences::new`].
pub fn by_position(sequences: &[impl AsRef<[u32]>], device: Device) -> Tensor {
    let tokens = Order::of(sequences).tokens(sequences);
    upload(&Tensor::from_slice(&tokens), device)
}

impl Sequences {
    /// Sorts sequences into a batch; none may be empty.
    pub fn new(sequences: &[impl AsRef<[u32]>], device: Device) -> Self {
        let order = Order::of(sequences);
        let tokens = order.tokens(sequences);
        let rows: Vec<i64> = order.positions().map(|(row, _)| row as i64).collect();
        let mut ranks = vec![0; sequences.len()];
        for (rank, &row) in order.order.iter().enumerate() {
            ranks[row] = rank as i64;
        }
        let mut starts = vec![0];
        starts.extend(order.counts.iter().scan(0, |start, count| {
            *start += count;
            Some(*start)
        }));
        let reversed: Vec<i64> = order
            .positions()
            .map(|(row, time)| starts[sequences[row].as_ref().len() - 1 - time] + ranks[row])
            .collect();
        let by_rank: Vec<i64> = order.order.iter().map(|&row| row as i64).collect();
        // One transfer to the device.
        let (positions, batch) = (tokens.len() as i64, sequences.len() as i64);
        let all = upload(
            &Tensor::from_slice(&[rows, reversed, by_rank, ranks].concat()),
            device,
        );
        Self {
            steps: Steps::new(order.counts),
            batch: sequences.len(),
            rows: all.narrow(0, 0, positions),
            reversed: all.narrow(0, positions, positions),
            order: all.narrow(0, 2 * positions, batch),
            ranks: all.narrow(0, 2 * positions + batch, batch),
            tokens,
        }
    }

    /// The tokens, mutable, position by position.
    pub fn tokens_mut(&mut self) -> &mut [i64] {
        &mut self.tokens
    }

    /// The tokens (N) as a tensor.
    pub fn tokens(&self, device: Device) -> Tensor {
        upload(&Tensor::from_slice(&self.tokens), device)
    }

    /// `values` (N, …) with every sequence reversed.
    pub fn turn(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.reversed)
    }

    /// Sorts `values` (B, …) of the caller's sequences by length.
    pub fn ordered(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.order)
    }

    /// Puts `values` (B, …), sorted by length, into the caller's order.
    pub fn as_given(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.ranks)
    }

    /// The number of tokens, N.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_the_longest_first_and_turn_within_their_length() {
        let mut words = Sequences::new(&[vec![4], vec![1, 2, 3], vec![5, 6]], Device::Cpu);
        assert_eq!(words.tokens_mut(), [1, 5, 4, 2, 6, 3]);
        assert_eq!(words.steps.counts, [3, 2, 1]);
        let list = |tensor: &Tensor| Vec::<i64>::try_from(tensor).expect("a list");
        assert_eq!(list(&words.rows), [1, 2, 0, 1, 2, 1]);
        let turned = words.turn(&words.tokens(Device::Cpu));
        assert_eq!(list(&turned), [3, 6, 4, 2, 5, 1]);
        let names = Tensor::from_slice(&[10i64, 11, 12]);
        assert_eq!(list(&words.ordered(&names)), [11, 12, 10]);
        assert_eq!(list(&words.as_given(&words.ordered(&names))), [10, 11, 12]);
    }
}
