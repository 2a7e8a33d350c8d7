//! What bytes that are not UTF-8 look like, and how many of them there are.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

/// Bytes from which an encoding is guessed; all bytes are counted.
const MOST_GUESSED: u64 = 1 << 20;
const BLOCK: usize = 1 << 16;

/// What is known of a file that is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes that are part of no UTF-8 character.
    pub invalid: u64,
    /// UTF-8 characters of two bytes and more.
    pub long_chars: u64,
    /// Control characters that no text has.
    pub controls: u64,
    /// The label of the encoding that the bytes look like.
    pub encoding: String,
}

/// What the findings mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looks<'a> {
    /// UTF-8 with a few damaged bytes.
    Damaged,
    /// Text in this encoding.
    Encoded(&'a str),
    /// No text at all.
    Binary,
}

impl Findings {
    /// The findings on a whole file.
    pub fn read(mut file: impl Read) -> io::Result<Self> {
        let mut search = Search::new();
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(search.end()),
                Ok(count) => search.feed(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The findings on a part of a file.
    pub fn of(bytes: &[u8]) -> Self {
        let mut search = Search::new();
        search.feed(bytes);
        search.end()
    }

    /// What the bytes look like.
    pub fn looks(&self) -> Looks<'_> {
        if self.controls * 50 > self.bytes {
            Looks::Binary
        } else if self.invalid <= self.long_chars || self.invalid * 10_000 <= self.bytes {
            Looks::Damaged
        } else {
            Looks::Encoded(&self.encoding)
        }
    }
}

struct Search {
    found: Findings,
    detector: EncodingDetector,
    /// The start of a character whose end is in the next block.
    part: Vec<u8>,
}

impl Search {
    fn new() -> Self {
        Self {
            found: Findings {
                bytes: 0,
                invalid: 0,
                long_chars: 0,
                controls: 0,
                encoding: String::new(),
            },
            detector: EncodingDetector::new(Iso2022JpDetection::Allow),
            part: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.found.bytes < MOST_GUESSED {
            self.detector.feed(bytes, false);
        }
        self.found.bytes += bytes.len() as u64;
        let is_control = |&&byte: &&u8| byte < 0x20 && !b"\t\n\r\x08\x0C\x1A\x1B".contains(&byte);
        self.found.controls += bytes.iter().filter(is_control).count() as u64;
        self.part.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.part) {
            // The first error is far from the end, or the block ends inside a character.
            Err(_) => {
                let from = self.part.len().saturating_sub(3);
                let is_cut = |&at: &usize| {
                    let rest = std::str::from_utf8(&self.part[at..]);
                    rest.is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
                };
                (from..self.part.len()).find(is_cut)
            }
            Ok(_) => None,
        };
        let rest = self.part.split_off(whole.unwrap_or(self.part.len()));
        let all = std::mem::replace(&mut self.part, rest);
        self.count(&all);
    }

    fn count(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            let long = chunk.valid().chars().filter(|c| !c.is_ascii());
            self.found.long_chars += long.count() as u64;
            self.found.invalid += chunk.invalid().len() as u64;
        }
    }

    fn end(mut self) -> Findings {
        let part = std::mem::take(&mut self.part);
        self.count(&part);
        self.detector.feed(&[], true);
        let guess = self.detector.guess(None, Utf8Detection::Deny);
        self.found.encoding = guess.name().to_ascii_lowercase();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};

    #[test]
    fn encodings_are_named_and_their_labels_taken() {
        let cases = [
            (
                WINDOWS_1252,
                "Un été à l'hôtel, où il a mangé des pâtes très fraîches.",
            ),
            (
                WINDOWS_1251,
                "Жили-были старик со старухой у самого синего моря.",
            ),
            (
                SHIFT_JIS,
                "昔々、あるところに、おじいさんとおばあさんが住んでいました。",
            ),
        ];
        for (encoding, text) in cases {
            let (bytes, ..) = encoding.encode(text);
            let found = Findings::of(&bytes);
            let label = encoding.name().to_ascii_lowercase();
            assert_eq!(found.looks(), Looks::Encoded(&label));
        }
    }

    #[test]
    fn one_bad_byte_in_a_long_text_is_damage() {
        let mut text = "All is well in the garden.\n".repeat(40_000).into_bytes();
        text[500_000] = 0xE9;
        let found = Findings::read(text.as_slice()).unwrap();
        assert_eq!((found.invalid, found.looks()), (1, Looks::Damaged));
        let found = Findings::of(
            "Straße, Bäume, Vögel, \u{e4}"
                .as_bytes()
                .split_last()
                .unwrap()
                .1,
        );
        assert_eq!((found.invalid, found.looks()), (1, Looks::Damaged));
    }

    #[test]
    fn a_character_across_two_blocks_is_one() {
        let text = "ä".repeat(BLOCK) + "\u{10348}";
        let mut search = Search::new();
        for part in text.as_bytes().chunks(7) {
            search.feed(part);
        }
        let found = search.end();
        assert_eq!((found.invalid, found.long_chars), (0, BLOCK as u64 + 1));
    }

    #[test]
    fn compressed_bytes_are_no_text() {
        let bytes: Vec<u8> = (0..10_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        assert_eq!(Findings::of(&bytes).looks(), Looks::Binary);
    }
}
