//! What bytes that are not UTF-8 look like, and how many of them there are.

use std::io::{self, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

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
    /// The label of the encoding that the bytes look like; empty if they look like no text.
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
        if self.encoding.is_empty() {
            Looks::Binary
        } else if self.encoding.starts_with("utf-16") {
            Looks::Encoded(&self.encoding)
        } else if self.invalid <= self.long_chars || self.invalid * 10_000 <= self.bytes {
            Looks::Damaged
        } else {
            Looks::Encoded(&self.encoding)
        }
    }
}

/// Whether the bytes are characters of text in 16-bit units.
fn is_text(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let units = bytes.as_chunks().0.iter().map(|&pair| unit(pair));
    let is_good = |c: &char| c.is_alphanumeric() || c.is_whitespace() || is_punctuation(*c);
    let (mut good, mut all) = (0, 0);
    for c in char::decode_utf16(units) {
        all += 1;
        good += usize::from(c.as_ref().is_ok_and(is_good));
    }
    all > 0 && good * 50 >= all * 49
}

fn is_punctuation(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Punctuation
}

struct Search {
    found: Findings,
    /// The first bytes.
    head: Vec<u8>,
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
            head: Vec::new(),
            detector: EncodingDetector::new(Iso2022JpDetection::Allow),
            part: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.found.bytes < MOST_GUESSED {
            self.detector.feed(bytes, false);
            let left = BLOCK.saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..left]);
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
        self.found.encoding = if self.found.controls * 50 > self.found.bytes {
            // Text has no control characters, unless it is in 16-bit units.
            let wide = [
                ("utf-16le", u16::from_le_bytes as fn([u8; 2]) -> u16),
                ("utf-16be", u16::from_be_bytes),
            ];
            let wide = wide
                .into_iter()
                .find(|(_, unit)| is_text(&self.head, *unit));
            wide.map_or("", |(label, _)| label).to_owned()
        } else {
            let guess = self.detector.guess(None, Utf8Detection::Deny);
            guess.name().to_ascii_lowercase()
        };
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
    fn utf_16_without_zeros_is_recognised() {
        let text = "北京是中华人民共和国的首都，位于华北平原。\n".repeat(3);
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Findings::of(&bytes).looks(), Looks::Encoded("utf-16le"));
    }

    #[test]
    fn compressed_bytes_are_no_text() {
        let bytes: Vec<u8> = (0..10_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        assert_eq!(Findings::of(&bytes).looks(), Looks::Binary);
    }
}
