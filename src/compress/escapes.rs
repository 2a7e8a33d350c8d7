//! Bytes that the model has no token for: whether the next byte is one, and which.
//!
//! Both are learnt by counting from the earlier bytes of the same block (Krichevsky and Trofimov
//! 1981). A text within the vocabulary pays some ten bits per block for the possibility of an
//! escape.

use super::CompressError;
use super::coder::{Coder, TOTAL};

/// Answers that count fully: with more, older ones count less.
const MOST_SEEN: u32 = 255;

/// The estimated probability of an answer.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// The frequency of yes: above 0, below [`TOTAL`].
    yes: u32,
    /// Answers so far, up to [`MOST_SEEN`].
    seen: u32,
}

impl Question {
    const OPEN: Self = Self {
        yes: TOTAL / 2,
        seen: 0,
    };

    /// Codes an answer and learns from it: p(yes) = (answers that were yes + ½) / (answers + 1), up to
    /// [`MOST_SEEN`] answers.
    fn ask(&mut self, coder: &mut impl Coder, answer: bool) -> Result<bool, CompressError> {
        let answer = coder.decide(self.yes, answer)?;
        let weight = self.seen + 2;
        if answer {
            self.yes += (TOTAL - self.yes) / weight;
        } else {
            self.yes -= self.yes / weight;
        }
        self.seen = MOST_SEEN.min(self.seen + 1);
        Ok(answer)
    }
}

/// The statistics of a block's escaped bytes.
#[derive(Clone, Debug)]
pub struct Escapes {
    /// Whether the next byte is escaped, by whether the previous one was.
    flags: [Question; 2],
    /// The previous byte if it was escaped.
    before: Option<u8>,
    /// For each previous byte, and for none: the bits of a byte, highest first, by the bits above
    /// them. Allocated on first use.
    bits: Vec<Option<Box<[Question; 256]>>>,
}

impl Escapes {
    pub fn new() -> Self {
        Self {
            flags: [Question::OPEN; 2],
            before: None,
            bits: vec![None; 257],
        }
    }

    /// Codes whether the next byte is escaped.
    pub fn flag(&mut self, coder: &mut impl Coder, escaped: bool) -> Result<bool, CompressError> {
        let flag = &mut self.flags[usize::from(self.before.is_some())];
        let escaped = flag.ask(coder, escaped)?;
        if !escaped {
            self.before = None;
        }
        Ok(escaped)
    }

    /// Codes an escaped byte.
    pub fn byte(&mut self, coder: &mut impl Coder, byte: u8) -> Result<u8, CompressError> {
        let context = self.before.map_or(256, usize::from);
        let bits = self.bits[context].get_or_insert_with(|| Box::new([Question::OPEN; 256]));
        // The bits so far, after a leading 1.
        let mut known = 1_usize;
        for bit in (0..8).rev() {
            let one = bits[known].ask(coder, byte >> bit & 1 == 1)?;
            known = known << 1 | usize::from(one);
        }
        let byte = known as u8;
        self.before = Some(byte);
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::coder::{ArithmeticDecoder, ArithmeticEncoder};
    use crate::testing::Numbers;

    /// Encodes items without a known token and decodes them again; returns the cost in bits.
    fn round_trip(items: &[Option<u8>]) -> f64 {
        fn code(
            coder: &mut impl Coder,
            escapes: &mut Escapes,
            item: Option<u8>,
        ) -> Result<Option<u8>, CompressError> {
            if escapes.flag(coder, item.is_some())? {
                return escapes.byte(coder, item.unwrap_or(0)).map(Some);
            }
            Ok(None)
        }
        let (mut encoder, mut escapes) = (ArithmeticEncoder::new(), Escapes::new());
        for &item in items {
            assert_eq!(code(&mut encoder, &mut escapes, item), Ok(item));
        }
        let bytes = encoder.finish();
        let (mut decoder, mut escapes) = (ArithmeticDecoder::new(&bytes), Escapes::new());
        for &item in items {
            assert_eq!(code(&mut decoder, &mut escapes, None), Ok(item));
        }
        8.0 * bytes.len() as f64
    }

    #[test]
    fn a_text_without_escapes_pays_some_ten_bits() {
        // ½ log₂ n + 1 while all answers are remembered, then next to nothing.
        assert!(round_trip(&vec![None; 255]) <= 8.0 + 5.1);
        assert!(round_trip(&vec![None; 100_000]) <= 8.0 + 16.0);
    }

    #[test]
    fn a_question_is_the_estimate_of_krichevsky_and_trofimov() {
        let mut question = Question::OPEN;
        let mut encoder = ArithmeticEncoder::new();
        let (mut yes, mut all) = (0.0, 0.0);
        for round in 0..200 {
            let want = (yes + 0.5) / (all + 1.0);
            let found = f64::from(question.yes) / f64::from(TOTAL);
            assert!((found - want).abs() < 1e-4, "{found} {want}");
            let answer = round % 7 < 2;
            question.ask(&mut encoder, answer).expect("an encoder");
            yes += f64::from(u8::from(answer));
            all += 1.0;
        }
    }

    #[test]
    fn any_bytes_come_back_and_alike_ones_cost_little() {
        let mut numbers = Numbers::new(5);
        let random: Vec<Option<u8>> = numbers
            .vector(20_000, 256.0)
            .iter()
            .map(|&value| (value >= 0.0).then_some(value as u8))
            .collect();
        round_trip(&random);
        let russian = "привет, мир: снова и снова. ".repeat(200);
        let russian: Vec<Option<u8>> = russian.bytes().map(Some).collect();
        let bits = round_trip(&russian);
        assert!(bits < 4.0 * russian.len() as f64, "{bits}");
        let one_sided = [vec![Some(0); 50_000], vec![None; 50_000]].concat();
        assert!(round_trip(&one_sided) < 1000.0);
    }
}
