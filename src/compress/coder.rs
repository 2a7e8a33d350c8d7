//! An arithmetic coder in integers (Martin 1979's range coder, with a 64-bit range and carries).
//!
//! A file is one number in [0, 1), written byte by byte. Each choice narrows an interval in proportion
//! to the frequency of what was chosen, so that n choices cost −Σ log₂(frequency / [`TOTAL`]) bits and one byte
//! more. Frequencies have 24 bits and the range always at least 56, so rounding loses less than
//! 2⁻³² of each choice.

use super::CompressError;

/// Bits of a frequency.
const FREQUENCY_BITS: u32 = 24;
/// The sum of the frequencies of all options.
pub const TOTAL: u32 = 1 << FREQUENCY_BITS;
/// Below this width, the top byte of the interval is settled but for a carry.
const LEAST_RANGE: u64 = 1 << 56;
/// The most bytes that a decoder reads beyond the end of the file.
const READ_AHEAD: usize = 7;

/// Writes choices or reads them, so that one implementation of the model serves both.
pub trait Coder {
    /// Codes one of several options, whose frequencies are positive and add up to [`TOTAL`]. An encoder writes `index` and
    /// returns it; a decoder returns what was written.
    fn choose(&mut self, frequencies: &[u32], index: usize) -> Result<usize, CompressError>;

    /// Codes one of two options: `true` has the frequency `yes`.
    fn decide(&mut self, yes: u32, answer: bool) -> Result<bool, CompressError> {
        let index = self.choose(&[yes, TOTAL - yes], usize::from(!answer))?;
        Ok(index == 0)
    }
}

#[derive(Clone, Debug)]
pub struct ArithmeticEncoder {
    /// The lower end of the interval, after the bytes written.
    low: u64,
    /// The width of the interval; at first, the width − 1.
    range: u64,
    bytes: Vec<u8>,
}

impl ArithmeticEncoder {
    /// Starts with the whole interval.
    pub const fn new() -> Self {
        Self {
            low: 0,
            range: u64::MAX,
            bytes: Vec::new(),
        }
    }

    /// Adds to the lower end; a carry propagates into the bytes written.
    fn raise(&mut self, by: u64) {
        let (low, carry) = self.low.overflowing_add(by);
        self.low = low;
        if carry {
            for byte in self.bytes.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
    }

    fn push_highest(&mut self) {
        self.bytes.push((self.low >> 56) as u8);
        self.low <<= 8;
    }

    /// Writes just enough bytes to settle the number, whatever follows them.
    pub fn finish(mut self) -> Vec<u8> {
        self.raise(LEAST_RANGE - 1);
        self.push_highest();
        self.bytes
    }
}

impl Coder for ArithmeticEncoder {
    fn choose(&mut self, frequencies: &[u32], index: usize) -> Result<usize, CompressError> {
        let step = self.range >> FREQUENCY_BITS;
        let before: u32 = frequencies[..index].iter().sum();
        self.raise(step * u64::from(before));
        self.range = step * u64::from(frequencies[index]);
        while self.range < LEAST_RANGE {
            self.push_highest();
            self.range <<= 8;
        }
        Ok(index)
    }
}

#[derive(Clone, Debug)]
pub struct ArithmeticDecoder<'a> {
    /// The number minus the interval's lower end.
    offset: u64,
    range: u64,
    rest: &'a [u8],
    /// Bytes read beyond the end.
    missing: usize,
}

impl<'a> ArithmeticDecoder<'a> {
    /// Decodes what an encoder has written.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self {
            offset: 0,
            range: u64::MAX,
            rest: bytes,
            missing: 0,
        };
        for _ in 0..size_of::<u64>() {
            decoder.pull();
        }
        decoder
    }

    /// The next byte; zeros beyond the end.
    fn pull(&mut self) {
        let byte = if let Some((&byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            byte
        } else {
            self.missing += 1;
            0
        };
        self.offset = self.offset << 8 | u64::from(byte);
    }
}

impl Coder for ArithmeticDecoder<'_> {
    fn choose(&mut self, frequencies: &[u32], _: usize) -> Result<usize, CompressError> {
        let step = self.range >> FREQUENCY_BITS;
        let target = self.offset / step;
        let mut before = 0_u64;
        for (index, &frequency) in frequencies.iter().enumerate() {
            let end = before + u64::from(frequency);
            if target < end {
                self.offset -= step * before;
                self.range = step * u64::from(frequency);
                while self.range < LEAST_RANGE {
                    self.pull();
                    self.range <<= 8;
                }
                return if self.missing > READ_AHEAD {
                    Err(CompressError::Damaged)
                } else {
                    Ok(index)
                };
            }
            before = end;
        }
        // No encoder writes a number above the last frequency.
        Err(CompressError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;
    use proptest::prelude::*;

    /// Encodes and decodes; returns the cost in bits.
    fn round_trip(choices: &[(Vec<u32>, usize)]) -> f64 {
        let mut encoder = ArithmeticEncoder::new();
        for (frequencies, index) in choices {
            assert_eq!(encoder.choose(frequencies, *index), Ok(*index));
        }
        let bytes = encoder.finish();
        let mut decoder = ArithmeticDecoder::new(&bytes);
        for (frequencies, index) in choices {
            assert_eq!(decoder.choose(frequencies, usize::MAX), Ok(*index));
        }
        8.0 * bytes.len() as f64
    }

    fn entropy(choices: &[(Vec<u32>, usize)]) -> f64 {
        let bits = |(frequencies, index): &(Vec<u32>, usize)| {
            -(f64::from(frequencies[*index]) / f64::from(TOTAL)).log2()
        };
        choices.iter().map(bits).sum()
    }

    /// Frequencies in proportion to random numbers to the power of 8: a few large, many small ones.
    fn frequencies(numbers: &mut Numbers, count: usize) -> Vec<u32> {
        let weights = numbers.vector(count, 1.0);
        let weights: Vec<f64> = weights.iter().map(|w| f64::from(w.powi(8))).collect();
        let sum: f64 = weights.iter().sum();
        let free = f64::from(TOTAL - count as u32);
        let mut frequencies: Vec<u32> = weights
            .iter()
            .map(|w| 1 + (w / sum * free) as u32)
            .collect();
        frequencies[0] += TOTAL - frequencies.iter().sum::<u32>();
        frequencies
    }

    #[test]
    fn choices_cost_their_entropy_and_a_byte() {
        let mut numbers = Numbers::new(2);
        for count in [1, 2, 3, 65, 400] {
            let choices: Vec<(Vec<u32>, usize)> = (0..2000)
                .map(|_| {
                    let frequencies = frequencies(&mut numbers, count);
                    // Sampled by the frequencies themselves, so that likely options are frequent.
                    let mut target =
                        (f64::from(numbers.vector(1, 0.5)[0] + 0.5) * f64::from(TOTAL - 1)) as u32;
                    let index = frequencies.iter().position(|&frequency| {
                        let found = target < frequency;
                        target = target.saturating_sub(frequency);
                        found
                    });
                    (frequencies, index.expect("they add up"))
                })
                .collect();
            let (found, want) = (round_trip(&choices), entropy(&choices));
            assert!(found >= want - 0.01, "{count}: {found} of {want}");
            assert!(found <= want + 8.01, "{count}: {found} of {want}");
        }
    }

    #[test]
    fn the_least_and_the_greatest_shares_come_back() {
        let edge = vec![1, TOTAL - 2, 1];
        for index in 0..3 {
            let choices = vec![(edge.clone(), index); 5000];
            let (found, want) = (round_trip(&choices), entropy(&choices));
            assert!(
                (want - 0.01..=want + 8.01).contains(&found),
                "{found} {want}"
            );
        }
        assert_eq!(round_trip(&[]), 8.0);
        assert_eq!(round_trip(&vec![(vec![TOTAL], 0); 1000]), 8.0);
    }

    #[test]
    fn a_carry_runs_through_all_bytes_written() {
        // Twice a narrow interval around ½, of which the first, as rounding leaves it, has ½ at
        // 0.5 + 2⁻¹⁸; then what lies below, or above.
        let ending = |last: usize| {
            let choices = [
                (vec![TOTAL / 2 - 1, 2, TOTAL / 2 - 1], 1),
                (vec![TOTAL / 2, 128, TOTAL / 2 - 128], 1),
                (vec![TOTAL / 4, TOTAL / 2, TOTAL / 4], last),
            ];
            round_trip(&choices);
            let mut encoder = ArithmeticEncoder::new();
            for (frequencies, index) in &choices {
                encoder.choose(frequencies, *index).expect("an encoder");
            }
            encoder.finish()
        };
        assert_eq!(ending(0)[..5], [0x7F, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(ending(2)[..5], [0x80, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_cut_short_is_not_read_for_ever() {
        let mut encoder = ArithmeticEncoder::new();
        for index in 0..1000 {
            encoder
                .decide(TOTAL / 2, index % 3 == 0)
                .expect("an encoder");
        }
        let bytes = encoder.finish();
        let mut decoder = ArithmeticDecoder::new(&bytes[..20]);
        let read = (0..1000).take_while(|_| decoder.decide(TOTAL / 2, false).is_ok());
        assert!(read.count() < 8 * 28);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_choices_come_back(choices in prop::collection::vec((1..TOTAL, any::<bool>()), 0..60)) {
            let choices: Vec<(Vec<u32>, usize)> = choices
                .into_iter()
                .map(|(frequency, first)| (vec![frequency, TOTAL - frequency], usize::from(!first)))
                .collect();
            let (found, want) = (round_trip(&choices), entropy(&choices));
            prop_assert!((want - 0.01..=want + 8.01).contains(&found));
        }

        #[test]
        fn anything_can_be_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut decoder = ArithmeticDecoder::new(&bytes);
            for step in 0..400_u32 {
                let yes = 1 + step * 41_943 % (TOTAL - 1);
                if decoder.decide(yes, false).is_err() {
                    break;
                }
            }
        }
    }
}
