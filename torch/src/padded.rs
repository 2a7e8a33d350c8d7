//! Words of different length side by side: time first, the shorter ones filled up.
//!
//! What fills a word up stands behind it, where a network that reads forward has left it already;
//! [`Padded::reversed`] turns every word within its own length, so that one that reads backward has
//! too. Results are taken at [`Padded::real`] places only, so filling enters no loss.

use tch::{Device, Tensor};

/// Sequences of symbols as one (T, B) array.
pub struct Padded {
    /// The longest sequence, T.
    pub steps: usize,
    /// Sequences, B.
    pub batch: usize,
    /// Where in the flattened (T·B) array real symbols are, time by time.
    pub real: Tensor,
    /// For every real symbol the sequence that it belongs to.
    pub rows: Tensor,
    /// For every sequence the place of its last symbol in the flattened array (B).
    pub last: Tensor,
    /// For every place of the flattened array, the place that stands there when every sequence is
    /// turned round within its own length.
    pub reversed: Tensor,
    symbols: Vec<i64>,
    count: usize,
}

impl Padded {
    /// Lays sequences side by side; none may be empty.
    pub fn new(sequences: &[impl AsRef<[u32]>], device: Device) -> Self {
        let lengths: Vec<usize> = sequences
            .iter()
            .map(|sequence| sequence.as_ref().len())
            .collect();
        let (steps, batch) = (lengths.iter().copied().max().unwrap_or(0), sequences.len());
        let mut symbols = vec![0; steps * batch];
        let mut reversed: Vec<i64> = (0..(steps * batch) as i64).collect();
        let (mut real, mut rows) = (Vec::new(), Vec::new());
        for time in 0..steps {
            for (row, sequence) in sequences
                .iter()
                .enumerate()
                .filter(|(row, _)| time < lengths[*row])
            {
                let place = time * batch + row;
                symbols[place] = i64::from(sequence.as_ref()[time]);
                reversed[place] = ((lengths[row] - 1 - time) * batch + row) as i64;
                real.push(place as i64);
                rows.push(row as i64);
            }
        }
        let last: Vec<i64> = lengths
            .iter()
            .enumerate()
            .map(|(row, length)| (length.saturating_sub(1) * batch + row) as i64)
            .collect();
        let on_device = |list: &[i64]| Tensor::from_slice(list).to_device(device);
        Self {
            steps,
            batch,
            real: on_device(&real),
            rows: on_device(&rows),
            last: on_device(&last),
            reversed: on_device(&reversed),
            symbols,
            count: real.len(),
        }
    }

    /// The symbols, mutable, in the flattened order.
    pub fn symbols_mut(&mut self) -> &mut [i64] {
        &mut self.symbols
    }

    /// The symbols (T·B) as a tensor.
    pub fn symbols(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.symbols).to_device(device)
    }

    /// Rows (N, …) of a table for every place, as (T, B, …).
    pub fn look_up(&self, table: &Tensor) -> Tensor {
        let rows = table.index_select(0, &self.symbols(table.device()));
        rows.reshape([self.steps as i64, self.batch as i64, -1])
    }

    /// `values` (T, B, N) with every sequence turned round within its own length.
    pub fn turn(&self, values: &Tensor) -> Tensor {
        self.take(values, &self.reversed).reshape(values.size())
    }

    /// `values` (T, B, N) at some places of the flattened array (places, N).
    pub fn take(&self, values: &Tensor, places: &Tensor) -> Tensor {
        let width = values.size()[2];
        values.reshape([-1, width]).index_select(0, places)
    }

    /// Real symbols in all.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_side_by_side_and_turn_within_their_length() {
        let mut words = Padded::new(&[vec![1, 2, 3], vec![4], vec![5, 6]], Device::Cpu);
        assert_eq!(words.symbols_mut(), [1, 4, 5, 2, 0, 6, 3, 0, 0]);
        let list = |tensor: &Tensor| Vec::<i64>::try_from(tensor).expect("a list");
        assert_eq!(list(&words.real), [0, 1, 2, 3, 5, 6]);
        assert_eq!(list(&words.rows), [0, 1, 2, 0, 2, 0]);
        assert_eq!(list(&words.last), [6, 1, 5]);
        let symbols = words.symbols(Device::Cpu).reshape([3, 3, 1]);
        assert_eq!(
            list(&words.turn(&symbols).reshape([-1])),
            [3, 4, 6, 2, 0, 5, 1, 0, 0]
        );
    }
}
