//! Which part of a text is for training, and the order in which training sees it.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::TextError;
use crate::config::SplitKind;

/// Streams of the interleaved split, as in char-rnn.
const INTERLEAVED_STREAMS: usize = 50;
/// Keeps `0.7 × 10` from becoming 6.
const ROUNDING: f64 = 1e-9;

/// The parts of a text, as ranges of tokens in order; none of them is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The training part.
    pub train: Vec<Range<usize>>,
    /// The validation part, which decides on the best model and on stopping early.
    pub valid: Vec<Range<usize>>,
    /// The test part, which decides on nothing.
    pub test: Vec<Range<usize>>,
}

impl Split {
    /// Every range with its part, in the order of the text.
    fn ranges(&mut self) -> Vec<&mut Range<usize>> {
        let Self { train, valid, test } = self;
        let parts = [train, valid, test].into_iter().flatten();
        let mut ranges: Vec<&mut Range<usize>> = parts.collect();
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    /// The places where one range ends and another begins.
    pub fn borders(&self) -> Vec<usize> {
        let mut split = self.clone();
        let starts = split.ranges().into_iter().map(|range| range.start);
        starts.skip(1).collect()
    }

    /// Moves every border to the beginning of the next document, or else of the one before, if that is within half of
    /// the ranges on both sides; else the border stays. `next` and `last` find the first and the last token in a range that
    /// begins a document.
    pub fn between_documents<E>(
        mut self,
        next: impl Fn(Range<usize>) -> Result<Option<usize>, E>,
        last: impl Fn(Range<usize>) -> Result<Option<usize>, E>,
    ) -> Result<Self, E> {
        let mut ranges = self.ranges();
        for index in 1..ranges.len() {
            let (before, after) = ranges.split_at_mut(index);
            let (Some(before), Some(after)) = (before.last_mut(), after.first_mut()) else {
                continue;
            };
            let (border, far) = (after.start, before.len().min(after.len()) / 2);
            let place = match next(border..border + far)? {
                None => last(border.saturating_sub(far).max(before.start + 1)..border)?,
                place => place,
            };
            let place = place.unwrap_or(border);
            (before.end, after.start) = (place, place);
        }
        Ok(self)
    }
}

/// Splits a text of `len` tokens; `valid` and `test` are fractions from 0 to 1.
pub fn split_text(len: usize, kind: SplitKind, valid: f64, test: f64) -> Split {
    let streams = match kind {
        SplitKind::Contiguous | SplitKind::Window(_) => 1,
        SplitKind::Interleaved => INTERLEAVED_STREAMS,
    };
    let mut split = Split::default();
    for stream in 0..streams {
        // In u128, since a product of two lengths may exceed 64 bits.
        let border = |i: usize| (len as u128 * i as u128 / streams as u128) as usize;
        let (start, end) = (border(stream), border(stream + 1));
        let (train, valid, _) = sizes(end - start, valid, test);
        let push = |part: &mut Vec<Range<usize>>, range: Range<usize>| {
            if !range.is_empty() {
                part.push(range);
            }
        };
        push(&mut split.train, start..start + train);
        push(&mut split.valid, start + train..start + train + valid);
        push(&mut split.test, start + train + valid..end);
    }
    split
}

/// How an evaluation reads a held-out part: segments of the text, each from a zero state, in which
/// every token but the first is predicted. A range of the part is one segment; under `window:N` it
/// is cut into segments of N predictions each, the last perhaps shorter, each of which starts with
/// the last token of the one before. Ranges in which nothing is predicted are left out.
pub fn segments(part: &[Range<usize>], kind: SplitKind) -> Vec<Range<usize>> {
    let cut = |range: &Range<usize>| {
        let Range { start, end } = *range;
        let predicted = range.len().saturating_sub(1);
        let window = match kind {
            SplitKind::Window(window) => window.max(1),
            SplitKind::Contiguous | SplitKind::Interleaved => predicted.max(1),
        };
        (start..start + predicted)
            .step_by(window)
            .map(move |at| at..end.min(at.saturating_add(window).saturating_add(1)))
    };
    part.iter().flat_map(cut).collect()
}

/// The number of items of `count` in each part: training ⌊count·(1 − valid − test)⌋, validation
/// ⌊count·valid⌋, test the rest; without a test part the rest is validation, and without either
/// everything is for training.
fn sizes(count: usize, valid: f64, test: f64) -> (usize, usize, usize) {
    let (valid, test) = (valid.clamp(0.0, 1.0), test.clamp(0.0, 1.0));
    let part = |fraction: f64| ((count as f64 * fraction + ROUNDING).floor() as usize).min(count);
    if valid + test <= 0.0 {
        return (count, 0, 0);
    }
    let train = part((1.0 - valid - test).max(0.0));
    let valid = if test > 0.0 {
        part(valid).min(count - train)
    } else {
        count - train
    };
    (train, valid, count - train - valid)
}

/// Splits `count` words after a Fisher–Yates shuffle by ChaCha8 seeded with `seed`: indices for
/// training, validation and test, as many as [`sizes`] returns.
pub fn split_words(
    count: usize,
    valid: f64,
    test: f64,
    seed: u64,
) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        // The high half of a 64-bit random number times the range: uniform but for a bias below 2⁻⁴⁰.
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    let (train, valid, _) = sizes(count, valid, test);
    let rest = order.split_off(train);
    let (valid, test) = rest.split_at(valid);
    (order, valid.to_vec(), test.to_vec())
}

/// The inputs of each stream, L = ⌊(N − 1)/B⌋, of a text of N tokens cut into B contiguous streams.
/// Stream b reads tokens b·L to b·L + L − 1, and its targets are one further. Refuses a text that is
/// shorter than one step of `seq` tokens.
pub fn stream_length(have: usize, batch: usize, seq: usize) -> Result<usize, TextError> {
    let need = batch.saturating_mul(seq).saturating_add(1);
    if batch == 0 || seq == 0 || have < need {
        return Err(TextError::ShorterThanBatch {
            have,
            need,
            batch,
            seq,
        });
    }
    Ok((have - 1) / batch)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // Lists of ranges are what is tested.
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_split_into_the_fractions_of_the_article() {
        let (train, valid, test) = split_words(29_494, 0.1, 0.1, 1);
        assert_eq!(
            (train.len(), valid.len(), test.len()),
            (23_595, 2_949, 2_950)
        );
        let mut all: Vec<usize> = [train.clone(), valid, test].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..29_494));
        assert_eq!(split_words(29_494, 0.1, 0.1, 1).0, train);
        assert_ne!(split_words(29_494, 0.1, 0.1, 2).0, train);
    }

    #[test]
    fn a_contiguous_split_keeps_the_end_for_validation_and_test() {
        let split = split_text(1000, SplitKind::Contiguous, 0.1, 0.05);
        assert_eq!(
            (split.train, split.valid, split.test),
            (vec![0..850], vec![850..950], vec![950..1000])
        );
        let split = split_text(10, SplitKind::Window(4), 0.1, 0.0);
        assert_eq!(
            (split.train, split.valid, split.test),
            (vec![0..9], vec![9..10], vec![])
        );
    }

    #[test]
    fn an_interleaved_split_keeps_the_end_of_each_stream() {
        let split = split_text(5000, SplitKind::Interleaved, 0.05, 0.0);
        assert_eq!((split.train.len(), split.valid.len()), (50, 50));
        assert_eq!(
            (split.train[1].clone(), split.valid[1].clone()),
            (100..195, 195..200)
        );
    }

    #[test]
    fn a_held_out_range_is_read_in_one_segment_or_in_windows() {
        let part = [100..201, 300..301, 400..400, 500..511];
        let whole = [100..201, 500..511];
        assert_eq!(segments(&part, SplitKind::Contiguous), whole);
        assert_eq!(segments(&part, SplitKind::Interleaved), whole);
        let windows = [100..141, 140..181, 180..201, 500..511];
        assert_eq!(segments(&part, SplitKind::Window(40)), windows);
        assert_eq!(segments(&part, SplitKind::Window(usize::MAX)), whole);
        assert!(segments(&[], SplitKind::Contiguous).is_empty());
    }

    #[test]
    fn borders_move_to_documents_that_are_near() {
        let split = |begins: &'static [usize]| {
            let within = move |range: Range<usize>| {
                begins.iter().copied().filter(move |at| range.contains(at))
            };
            let split = split_text(1000, SplitKind::Contiguous, 0.1, 0.05);
            let moved = split.between_documents(
                |range| Ok::<_, ()>(within(range).next()),
                |range| Ok(within(range).next_back()),
            );
            let moved = moved.expect("no error");
            (
                moved.train[0].clone(),
                moved.valid[0].clone(),
                moved.test[0].clone(),
            )
        };
        assert_eq!(split(&[0, 850, 950]), (0..850, 850..950, 950..1000));
        assert_eq!(split(&[0, 899, 960, 970]), (0..899, 899..960, 960..1000));
        // None follows within half of the part, but one is before it.
        assert_eq!(split(&[0, 810, 901, 940]), (0..810, 810..940, 940..1000));
        assert_eq!(split(&[0, 100, 901, 920]), (0..850, 850..950, 950..1000));
    }

    proptest! {
        #[test]
        fn every_split_covers_the_text_once(len in 0usize..5000, valid in 0.0..0.5f64, test in 0.0..0.5f64, interleaved: bool) {
            let kind = if interleaved { SplitKind::Interleaved } else { SplitKind::Contiguous };
            let split = split_text(len, kind, valid, test);
            let mut all = [split.train, split.valid, split.test].concat();
            all.sort_by_key(|range| range.start);
            prop_assert!(all.into_iter().flatten().eq(0..len));
        }

        #[test]
        fn every_token_but_a_ranges_first_is_predicted_once(len in 0usize..3000, window in 1usize..200) {
            let part = split_text(len, SplitKind::Window(window), 0.3, 0.0).valid;
            let predicted = |ranges: &[Range<usize>]| -> Vec<usize> {
                ranges.iter().flat_map(|range| range.start + 1..range.end).collect()
            };
            let found = segments(&part, SplitKind::Window(window));
            prop_assert_eq!(predicted(&found), predicted(&part));
            prop_assert!(found.iter().all(|range| (2..=window + 1).contains(&range.len())));
        }
    }
}
