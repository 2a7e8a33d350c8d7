//! Words of different length as one batch without padding.
//!
//! The words are sorted, longest first, and laid out letter by letter: all first letters, then all
//! second ones, and so on, as libtorch's packed sequences want it. No symbol of padding exists, so
//! none can leak into a loss.

use tch::{Device, Tensor};

/// Sequences of symbols, packed.
pub struct Packed {
    /// Elements at every place, on the CPU; the first is the number of sequences.
    pub batch_sizes: Tensor,
    /// For every element, the (sorted) sequence that it belongs to.
    pub rows: Tensor,
    symbols: Vec<i64>,
    row_list: Vec<i64>,
}

/// The order that puts the longest word first; ties keep their order.
pub fn longest_first(words: &[&[u32]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..words.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(words[i].len()));
    order
}

impl Packed {
    /// Packs sequences, the longest first, none empty.
    pub fn new<'a>(sequences: &[impl AsRef<[u32]> + 'a], device: Device) -> Self {
        let longest = sequences
            .first()
            .map_or(0, |sequence| sequence.as_ref().len());
        let mut batch_sizes = Vec::with_capacity(longest);
        let (mut symbols, mut row_list) = (Vec::new(), Vec::new());
        for place in 0..longest {
            let count = sequences.partition_point(|sequence| sequence.as_ref().len() > place);
            batch_sizes.push(count as i64);
            symbols.extend(
                sequences[..count]
                    .iter()
                    .map(|sequence| i64::from(sequence.as_ref()[place])),
            );
            row_list.extend(0..count as i64);
        }
        Self {
            batch_sizes: Tensor::from_slice(&batch_sizes),
            rows: Tensor::from_slice(&row_list).to_device(device),
            symbols,
            row_list,
        }
    }

    /// The symbols, mutable: their order is that of the packed layout.
    pub fn symbols_mut(&mut self) -> &mut [i64] {
        &mut self.symbols
    }

    /// The symbols as a tensor (elements).
    pub fn symbols(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.symbols).to_device(device)
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.row_list.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.row_list.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stand_place_by_place_without_padding() {
        let mut packed = Packed::new(&[vec![1, 2, 3], vec![4, 5], vec![6]], Device::Cpu);
        assert_eq!(packed.symbols_mut(), [1, 4, 6, 2, 5, 3]);
        assert_eq!(
            Vec::<i64>::try_from(&packed.batch_sizes).expect("sizes"),
            [3, 2, 1]
        );
        assert_eq!(
            Vec::<i64>::try_from(&packed.rows).expect("rows"),
            [0, 1, 2, 0, 1, 0]
        );
    }
}
