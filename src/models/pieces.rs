//! The sequences that the rows of a text are read as: cut where a document begins, since its state starts from zero.

use crate::kernels::training::Steps;
use crate::models::batch::TextBatch;
use crate::models::sequences::longest_first;

/// The rows of a [`TextBatch`] as N positions of S sequences, step by step and the longest sequence first. Without
/// documents every row is one sequence, and positions are in the batch's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// The number of active sequences at each step.
    pub steps: Steps,
    /// The place of every position in the batch (T, B), as one number (N).
    pub places: Vec<u32>,
    /// The row whose state each sequence goes on from (S); `None` starts from zero.
    pub starts: Vec<Option<u32>>,
    /// The last sequence of each row (B), whose state the row ends with.
    pub ends: Vec<u32>,
}

/// A run of one row's steps.
struct Piece {
    row: u32,
    start: usize,
    length: usize,
    starts_from_zero: bool,
}

impl Pieces {
    /// Cuts every row before each token `eos`.
    ///
    /// # Panics
    /// If the batch has another number of tokens than its sizes say.
    pub fn new(batch: &TextBatch, eos: Option<u32>) -> Self {
        let &TextBatch { steps, rows, .. } = batch;
        assert_eq!(batch.inputs.len(), steps * rows, "a token a position");
        let eos = eos.map(i64::from);
        let mut pieces: Vec<Piece> = Vec::with_capacity(rows);
        for row in 0..rows {
            for t in 0..steps {
                let begins = Some(batch.inputs[t * rows + row]) == eos;
                match pieces.last_mut() {
                    Some(piece) if t > 0 && !begins => piece.length += 1,
                    _ => pieces.push(Piece {
                        row: row as u32,
                        start: t,
                        length: 1,
                        starts_from_zero: begins,
                    }),
                }
            }
        }
        let (order, counts) = longest_first(pieces.len(), |piece| pieces[piece].length);
        let pieces: Vec<&Piece> = order.iter().map(|&piece| &pieces[piece as usize]).collect();
        let place =
            |piece: &Piece, step: usize| (piece.start + step) as u32 * rows as u32 + piece.row;
        let places = (0..counts.len()).flat_map(|step| {
            let active = counts.range(step).len();
            pieces[..active].iter().map(move |piece| place(piece, step))
        });
        let mut ends = vec![0; rows];
        for (sequence, piece) in (0..).zip(&pieces) {
            if piece.start + piece.length == steps {
                ends[piece.row as usize] = sequence;
            }
        }
        let start = |piece: &&Piece| (!piece.starts_from_zero).then_some(piece.row);
        Self {
            places: places.collect(),
            starts: pieces.iter().map(start).collect(),
            ends,
            steps: counts,
        }
    }

    /// The values of the batch's places (T, B) by position (N).
    pub fn gather<T: Copy>(&self, from: &[T], to: &mut Vec<T>) {
        to.clear();
        to.extend(self.places.iter().map(|&place| from[place as usize]));
    }

    /// The values of positions (N) by the batch's places (T, B).
    pub fn scatter(&self, from: &[f32], to: &mut Vec<f32>) {
        to.clear();
        to.resize(from.len(), 0.0);
        for (&place, &value) in self.places.iter().zip(from) {
            to[place as usize] = value;
        }
    }

    /// The states (S, H) that the sequences start from, of those of the rows (B, H).
    pub fn starting(&self, rows: &[f32], width: usize, to: &mut Vec<f32>) {
        to.clear();
        for start in &self.starts {
            match start {
                Some(row) => to.extend_from_slice(&rows[*row as usize * width..][..width]),
                None => to.resize(to.len() + width, 0.0),
            }
        }
    }

    /// Writes the states (B, H) that the rows end with, of those of the sequences (S, H).
    pub fn ending(&self, sequences: &[f32], width: usize, to: &mut [f32]) {
        for (&end, to) in self.ends.iter().zip(to.chunks_exact_mut(width)) {
            to.copy_from_slice(&sequences[end as usize * width..][..width]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: usize, inputs: &[i64]) -> TextBatch {
        TextBatch {
            steps: inputs.len() / rows,
            rows,
            inputs: inputs.to_vec(),
            ..TextBatch::default()
        }
    }

    #[test]
    fn rows_without_documents_are_the_sequences() {
        let batch = batch(3, &[1, 2, 3, 4, 5, 6]);
        for eos in [None, Some(9)] {
            let pieces = Pieces::new(&batch, eos);
            assert_eq!(pieces.places, [0, 1, 2, 3, 4, 5]);
            assert_eq!(pieces.starts, [Some(0), Some(1), Some(2)]);
            assert_eq!(pieces.ends, [0, 1, 2]);
            assert_eq!(pieces.steps, Steps::new(vec![3, 3]));
        }
    }

    #[test]
    fn a_row_is_cut_before_every_document() {
        // The rows 9 1 2 9 3, 4 5 9 6 7 and 1 1 1 1 9.
        let batch = batch(3, &[9, 4, 1, 1, 5, 1, 2, 9, 1, 9, 6, 1, 3, 7, 9]);
        let pieces = Pieces::new(&batch, Some(9));
        // 1 1 1 1; 9 1 2; 9 6 7; 9 3; 4 5; 9
        assert_eq!(pieces.steps, Steps::new(vec![6, 5, 3, 1]));
        let mut tokens = Vec::new();
        pieces.gather(&batch.inputs, &mut tokens);
        assert_eq!(tokens, [1, 9, 9, 9, 4, 9, 1, 1, 6, 3, 5, 1, 2, 7, 1]);
        assert_eq!(pieces.starts, [Some(2), None, None, None, Some(1), None]);
        assert_eq!(pieces.ends, [3, 2, 5]);
        let numbers: Vec<f32> = tokens.iter().map(|&token| token as f32).collect();
        let mut back = Vec::new();
        pieces.scatter(&numbers, &mut back);
        let want: Vec<f32> = batch.inputs.iter().map(|&token| token as f32).collect();
        assert_eq!(back, want);
        let mut starting = Vec::new();
        pieces.starting(&[0.1, 0.2, 0.3], 1, &mut starting);
        assert_eq!(starting, [0.3, 0.0, 0.0, 0.0, 0.2, 0.0]);
        let mut ending = [0.0; 3];
        pieces.ending(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, &mut ending);
        assert_eq!(ending, [4.0, 3.0, 6.0]);
    }
}
