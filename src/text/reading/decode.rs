//! Bytes → UTF-8, block by block. UTF-8 passes through unchanged and is validated later, in parallel;
//! other encodings are decoded here with encoding_rs. UTF-16 and UTF-32 that nobody named are found by
//! their marks and zeros.

use std::io::{self, Read};

use encoding_rs::{CoderResult, Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::containers::peek;
use crate::text::TextError;

const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";

/// How the bytes of a corpus are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// UTF-8; an invalid byte is an error.
    Utf8,
    /// UTF-8; an invalid byte becomes U+FFFD.
    Lossy,
    /// Another encoding; an invalid byte is an error.
    Other(&'static Encoding),
}

impl Decoding {
    /// The decoding of an `--encoding` label: `utf-8`, `lossy`, any label of the WHATWG Encoding
    /// Standard, and the usual names of the Latin family with a dash. As in that standard,
    /// `latin-1` is read as windows-1252, which contains it.
    pub fn from_label(label: &str) -> Result<Self, TextError> {
        let lower = label.trim().to_ascii_lowercase();
        if lower == "lossy" {
            return Ok(Self::Lossy);
        }
        let dashless = lower
            .strip_prefix("latin-")
            .map(|number| format!("latin{number}"));
        match Encoding::for_label(dashless.unwrap_or(lower).as_bytes()) {
            Some(encoding) if encoding == UTF_8 => Ok(Self::Utf8),
            // The standard maps encodings that are unsafe to decode to `replacement`.
            Some(encoding) if encoding != encoding_rs::REPLACEMENT => Ok(Self::Other(encoding)),
            _ => Err(TextError::UnknownEncoding {
                label: label.to_owned(),
            }),
        }
    }
}

/// The number of bytes at the start of a file that tell its encoding.
const LOOK: usize = 4096;
/// Bytes that are decoded at once.
const BLOCK: usize = 1 << 16;

/// A file's text as UTF-8. If the file is UTF-8, its bytes pass through, and whoever takes them validates
/// them, unless `validated` was asked for.
pub struct Decoded<'a> {
    reader: Box<dyn Read + 'a>,
    path: &'a str,
    decoder: Option<(Decoder, &'static Encoding, bool)>,
    /// Bytes of the byte order mark that was skipped (UTF-8).
    pub mark_bytes: u64,
    raw: Vec<u8>,
    /// Bytes of the file decoded so far.
    done: u64,
    /// Line feeds decoded so far.
    newlines: u64,
    is_last: bool,
    text: Vec<u8>,
    /// The bytes of `text` that were taken.
    taken: usize,
}

impl<'a> Decoded<'a> {
    /// Starts reading a file, which messages call `path`; an encoding that the file's first bytes contradict
    /// is an error.
    pub fn new(
        reader: Box<dyn Read + 'a>,
        path: &'a str,
        decoding: Decoding,
        validated: bool,
    ) -> Result<Self, TextError> {
        let (head, mut reader) = peek(reader, LOOK).map_err(|e| TextError::from_read(path, e))?;
        check(&head, path, decoding)?;
        let decoder = match decoding {
            Decoding::Utf8 if validated => {
                Some((UTF_8.new_decoder_without_bom_handling(), UTF_8, false))
            }
            Decoding::Utf8 => None,
            Decoding::Lossy => Some((UTF_8.new_decoder_without_bom_handling(), UTF_8, true)),
            // Only for UTF-16 does the mark decide between two byte orders.
            Decoding::Other(e) if e == UTF_16LE => Some((e.new_decoder(), e, false)),
            Decoding::Other(e) => Some((e.new_decoder_with_bom_removal(), e, false)),
        };
        let mut mark_bytes = 0;
        if head.starts_with(UTF8_BOM) && !matches!(decoding, Decoding::Other(_)) {
            mark_bytes = UTF8_BOM.len() as u64;
            let skipped = reader.read_exact(&mut [0; UTF8_BOM.len()]);
            skipped.map_err(TextError::io(path))?;
        }
        Ok(Self {
            reader,
            path,
            decoder,
            mark_bytes,
            raw: Vec::new(),
            done: mark_bytes,
            newlines: 0,
            is_last: false,
            text: Vec::new(),
            taken: 0,
        })
    }

    /// Decodes the next block into `text`.
    fn decode(&mut self) -> Result<(), TextError> {
        let Some((decoder, encoding, lossy)) = &mut self.decoder else {
            return Ok(());
        };
        self.raw.clear();
        let read = (&mut self.reader)
            .take(BLOCK as u64)
            .read_to_end(&mut self.raw);
        let count = read.map_err(|error| TextError::from_read(self.path, error))?;
        self.is_last = count < BLOCK;
        self.text.clear();
        self.taken = 0;
        let mut rest = &self.raw[..];
        loop {
            let start = self.text.len();
            // Three bytes per byte are enough space for any encoding; if not, the loop runs again.
            self.text.resize(start + rest.len() * 3 + 16, 0);
            let buffer = &mut self.text[start..];
            let (read, written, outcome) = if *lossy {
                let (result, read, written, _) = decoder.decode_to_utf8(rest, buffer, self.is_last);
                let is_done = result == CoderResult::InputEmpty;
                (
                    read,
                    written,
                    if is_done {
                        DecoderResult::InputEmpty
                    } else {
                        DecoderResult::OutputFull
                    },
                )
            } else {
                let (result, read, written) =
                    decoder.decode_to_utf8_without_replacement(rest, buffer, self.is_last);
                (read, written, result)
            };
            self.text.truncate(start + written);
            self.done += read as u64;
            rest = &rest[read..];
            match outcome {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => {
                    let newlines = memchr::memchr_iter(b'\n', &self.text).count() as u64;
                    let offset = self.done - u64::from(length) - u64::from(after);
                    let line = 1 + self.newlines + newlines;
                    let path = self.path.to_owned();
                    let behind = self.raw.len() - rest.len();
                    let at = behind.checked_sub(usize::from(length) + usize::from(after));
                    let byte = at.and_then(|at| self.raw.get(at)).copied();
                    return Err(match byte {
                        Some(byte) if *encoding == UTF_8 => TextError::InvalidUtf8 {
                            path,
                            line,
                            offset,
                            byte,
                            found: None,
                        },
                        _ => TextError::Malformed {
                            path,
                            line,
                            offset,
                            encoding: encoding.name().to_owned(),
                        },
                    });
                }
            }
        }
        self.newlines += memchr::memchr_iter(b'\n', &self.text).count() as u64;
        Ok(())
    }
}

impl Read for Decoded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.decoder.is_none() {
            return self.reader.read(buffer);
        }
        while self.taken == self.text.len() && !self.is_last {
            self.decode()?;
        }
        let mut left = &self.text[self.taken..];
        let count = left.read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

/// Returns an error if the first bytes of a file are those of another encoding.
fn check(head: &[u8], path: &str, decoding: Decoding) -> Result<(), TextError> {
    let name = match decoding {
        Decoding::Utf8 | Decoding::Lossy => "utf-8",
        Decoding::Other(encoding) => encoding.name(),
    };
    let is_wide = matches!(decoding, Decoding::Other(e) if e == UTF_16LE || e == UTF_16BE);
    match wide(head) {
        Some(found) if !(is_wide && found.label().is_some()) => Err(TextError::OtherEncoding {
            path: path.to_owned(),
            encoding: name.to_owned(),
            found,
        }),
        None if name != "utf-8" && head.starts_with(UTF8_BOM) => Err(TextError::OtherEncoding {
            path: path.to_owned(),
            encoding: name.to_owned(),
            found: Wide::Utf8Mark,
        }),
        _ => Ok(()),
    }
}

/// An encoding that the first bytes of a file give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    /// The byte order mark of UTF-16.
    Utf16Mark,
    /// The byte order mark of UTF-8.
    Utf8Mark,
    /// Zeros in every second byte, as in UTF-16, low byte first.
    Utf16Le,
    /// The same, high byte first.
    Utf16Be,
    /// A mark or zeros as in UTF-32, which is not read.
    Utf32,
}

impl Wide {
    /// The label of `--encoding` that reads it.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::Utf16Mark => Some("utf-16"),
            Self::Utf16Le => Some("utf-16le"),
            Self::Utf16Be => Some("utf-16be"),
            Self::Utf8Mark => Some("utf-8"),
            Self::Utf32 => None,
        }
    }
}

/// An encoding of two or four bytes per character, if the first bytes of a file are in one.
pub fn wide(head: &[u8]) -> Option<Wide> {
    match head {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => return Some(Wide::Utf32),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => return Some(Wide::Utf16Mark),
        _ => {}
    }
    let zeros = |at: usize, step: usize| {
        let bytes = head.iter().skip(at).step_by(step);
        bytes.filter(|&&byte| byte == 0).count()
    };
    let (even, odd) = (zeros(0, 2), zeros(1, 2));
    let pairs = head.len() / 2;
    // A few zeros are in many texts, but not so many, and not in every second byte alone. In UTF-16, letters that
    // have no zero are no UTF-8, or control characters.
    let least = if is_text_with_zeros(head) { 9 } else { 1 };
    if pairs < 4 || (even + odd) * 10 < pairs * least {
        return None;
    }
    if even + odd > pairs + pairs / 4 {
        let quads = head.len() / 4;
        let middle = zeros(1, 4).min(zeros(2, 4));
        let outer = zeros(0, 4).max(zeros(3, 4));
        let is_text = (even + odd) * 10 <= quads * 32;
        return (is_text && middle * 10 >= quads * 9 && outer * 10 >= quads * 9)
            .then_some(Wide::Utf32);
    }
    match (even, odd) {
        (few, many) if few * 20 <= many => Some(Wide::Utf16Le),
        (many, few) if few * 20 <= many => Some(Wide::Utf16Be),
        _ => None,
    }
}

/// Whether the bytes are UTF-8 without control characters that no text has, except zeros. The last character may be
/// cut.
fn is_text_with_zeros(head: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let is_control = |&byte: &u8| matches!(byte, 1..=8 | 0x0E..=0x1A | 0x1C..=0x1F);
    is_utf8 && !head.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], label: &str) -> Result<String, TextError> {
        let decoding = Decoding::from_label(label)?;
        let mut text = Vec::new();
        let read = Decoded::new(Box::new(bytes), "t.txt", decoding, true)?.read_to_end(&mut text);
        read.map_err(|error| TextError::from_read("t.txt", error))?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    #[cfg_attr(miri, ignore = "a dependency asks the CPU by inline assembly")]
    fn encodings_are_decoded_across_blocks() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"caf\xE9 \x80", "latin-1", "café €"),
            (b"\xEF\xBB\xBFa\xFFb", "lossy", "a\u{FFFD}b"),
            (b"\xEF\xBB\xBF\xC3\xA9", "UTF-8", "é"),
            (b"\xFE\xFF\0a\x04\x10", "utf-16", "aА"),
            (b"\x93\xFA\x96{", "shift_jis", "日本"),
        ];
        for (bytes, label, text) in cases {
            assert_eq!(decode(bytes, label).unwrap(), text);
            let long = bytes.repeat(BLOCK / 3);
            let decoded = decode(&long, label);
            assert!(decoded.unwrap().ends_with(text));
        }
    }

    #[test]
    fn bytes_that_mean_nothing_are_placed() {
        let error = decode(b"ab\ncd\x81", "shift_jis").unwrap_err();
        assert!(
            matches!(
                error,
                TextError::Malformed {
                    line: 2,
                    offset: 5,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn an_unknown_label_is_named() {
        let error = decode(b"", "klingon").unwrap_err();
        assert!(error.to_string().contains("klingon"));
    }

    #[test]
    fn utf_16_and_utf_32_are_found_by_marks_and_zeros() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let utf32 = |text: &str| -> Vec<u8> {
            text.chars()
                .flat_map(|c| u32::from(c).to_le_bytes())
                .collect()
        };
        let text = "Once upon a time there was a king.\n";
        assert_eq!(wide(&utf16(text)), Some(Wide::Utf16Le));
        let swapped: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(wide(&swapped), Some(Wide::Utf16Be));
        assert_eq!(wide(&utf16("\u{FEFF}北京")), Some(Wide::Utf16Mark));
        assert_eq!(wide(&utf32(text)), Some(Wide::Utf32));
        assert_eq!(wide(text.as_bytes()), None);
        assert_eq!(wide(b"one\0two\0three\0four\0"), None);
        // Zeros that are all in every second place, or all but one.
        assert_eq!(wide(&b"abc\0def hello world\n".repeat(200)), None);
        assert_eq!(wide("né\0 deux\0 ".repeat(300).as_bytes()), None);
        let letters = "Жили-были старик со старухой у самого синего моря. ";
        assert_eq!(wide(&utf16(&letters.repeat(9))), Some(Wide::Utf16Le));
        assert_eq!(
            wide(&utf16(&"एक समय की बात है ".repeat(9))),
            Some(Wide::Utf16Le)
        );
        assert_eq!(
            wide(&utf16(&"昔々、ある所に。\n ".repeat(9))),
            Some(Wide::Utf16Le)
        );
        for (label, right) in [
            ("utf-8", "utf-16le"),
            ("lossy", "utf-16le"),
            ("latin-1", "utf-16le"),
        ] {
            let error = decode(&utf16(text), label).unwrap_err();
            assert!(
                matches!(error, TextError::OtherEncoding { found, .. } if found.label() == Some(right)),
                "{error}"
            );
        }
        assert_eq!(decode(&utf16(text), "utf-16le").unwrap(), text);
    }

    #[test]
    fn an_invalid_byte_has_its_line_and_offset() {
        let error = decode(b"\xEF\xBB\xBFab\ncd\xE9x", "utf-8").unwrap_err();
        assert!(
            matches!(
                error,
                TextError::InvalidUtf8 {
                    line: 2,
                    offset: 8,
                    byte: 0xE9,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
