//! Words of different length side by side, without filling: step by step, the longest word first,
//! so that at every step the words under way are the first ones.

use tch::{Device, Tensor};

/// Sequences of symbols.
pub struct Sequences {
    /// Sequences under way at each step, n_t; their sum is N.
    pub counts: Vec<i64>,
    /// Sequences, B.
    pub batch: usize,
    /// For every place the sequence that it belongs to, as the caller counts them (N).
    pub rows: Tensor,
    /// For every place the one that stands there when every sequence is turned round (N).
    pub reversed: Tensor,
    /// The caller's number of each sequence, the longest first (B).
    order: Tensor,
    /// Where each of the caller's sequences stands in that order (B).
    ranks: Tensor,
    symbols: Vec<i64>,
}

impl Sequences {
    /// Lays sequences side by side; none may be empty.
    pub fn new(sequences: &[impl AsRef<[u32]>], device: Device) -> Self {
        let length = |row: usize| sequences[row].as_ref().len();
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(length(row)));
        let steps = order.first().map_or(0, |&row| length(row));
        let mut counts = Vec::with_capacity(steps);
        let (mut symbols, mut rows, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut under_way = order.len();
        for time in 0..steps {
            while length(order[under_way - 1]) <= time {
                under_way -= 1;
            }
            starts.push(symbols.len());
            for &row in &order[..under_way] {
                symbols.push(i64::from(sequences[row].as_ref()[time]));
                rows.push(row as i64);
            }
            counts.push(under_way as i64);
        }
        let mut reversed = Vec::with_capacity(symbols.len());
        for (time, &count) in counts.iter().enumerate() {
            let words = order[..count as usize].iter().enumerate();
            reversed
                .extend(words.map(|(rank, &row)| (starts[length(row) - 1 - time] + rank) as i64));
        }
        let mut ranks = vec![0; order.len()];
        for (rank, &row) in order.iter().enumerate() {
            ranks[row] = rank as i64;
        }
        let order: Vec<i64> = order.iter().map(|&row| row as i64).collect();
        let on_device = |list: &[i64]| Tensor::from_slice(list).to_device(device);
        Self {
            counts,
            batch: sequences.len(),
            rows: on_device(&rows),
            reversed: on_device(&reversed),
            order: on_device(&order),
            ranks: on_device(&ranks),
            symbols,
        }
    }

    /// The symbols, mutable, place by place.
    pub fn symbols_mut(&mut self) -> &mut [i64] {
        &mut self.symbols
    }

    /// The symbols (N) as a tensor.
    pub fn symbols(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.symbols).to_device(device)
    }

    /// `values` (N, …) with every sequence turned round.
    pub fn turn(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.reversed)
    }

    /// `values` (B, …) of the caller's sequences in the order of length.
    pub fn ordered(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.order)
    }

    /// `values` (B, …) in the order of length as the caller counts sequences.
    pub fn as_given(&self, values: &Tensor) -> Tensor {
        values.index_select(0, &self.ranks)
    }

    /// Symbols in all, N.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_the_longest_first_and_turn_within_their_length() {
        let mut words = Sequences::new(&[vec![4], vec![1, 2, 3], vec![5, 6]], Device::Cpu);
        assert_eq!(words.symbols_mut(), [1, 5, 4, 2, 6, 3]);
        assert_eq!(words.counts, [3, 2, 1]);
        let list = |tensor: &Tensor| Vec::<i64>::try_from(tensor).expect("a list");
        assert_eq!(list(&words.rows), [1, 2, 0, 1, 2, 1]);
        let turned = words.turn(&words.symbols(Device::Cpu));
        assert_eq!(list(&turned), [3, 6, 4, 2, 5, 1]);
        let names = Tensor::from_slice(&[10i64, 11, 12]);
        assert_eq!(list(&words.ordered(&names)), [11, 12, 10]);
        assert_eq!(list(&words.as_given(&words.ordered(&names))), [10, 11, 12]);
    }
}
