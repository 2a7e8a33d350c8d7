//! Bytes → UTF-8, block by block. UTF-8 passes through unchanged and is validated later, in parallel;
//! other encodings are decoded here with encoding_rs.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16LE};

use super::TextError;

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

/// One source being read: appends UTF-8 to a buffer, block by block.
pub struct Source<'a> {
    reader: Box<dyn Read + Send + 'a>,
    path: &'a str,
    decoder: Option<(Decoder, &'static Encoding, bool)>,
    raw: Vec<u8>,
    /// Bytes of the source read so far.
    pub bytes_read: u64,
    /// Bytes of the byte order mark that was skipped (UTF-8).
    pub mark_bytes: u64,
}

impl<'a> Source<'a> {
    /// Starts reading `reader`, which messages call `path`.
    pub fn new(reader: Box<dyn Read + Send + 'a>, path: &'a str, decoding: Decoding) -> Self {
        let decoder = match decoding {
            Decoding::Utf8 => None,
            Decoding::Lossy => Some((UTF_8.new_decoder_with_bom_removal(), UTF_8, true)),
            // Only for UTF-16 does the mark decide between two byte orders.
            Decoding::Other(e) if e == UTF_16LE => Some((e.new_decoder(), e, false)),
            Decoding::Other(e) => Some((e.new_decoder_with_bom_removal(), e, false)),
        };
        Self {
            reader,
            path,
            decoder,
            raw: Vec::new(),
            bytes_read: 0,
            mark_bytes: 0,
        }
    }

    /// Reads about `block` bytes and appends their text to `buffer`. `line` is the line at the
    /// start of `buffer`, for messages. Returns whether there may be more.
    pub fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        block: usize,
        line: u64,
    ) -> Result<bool, TextError> {
        // The first block must contain a whole byte order mark.
        let block = block.max(4);
        let first = self.bytes_read == 0;
        let target = if self.decoder.is_none() {
            &mut *buffer
        } else {
            self.raw.clear();
            &mut self.raw
        };
        let start = target.len();
        let count =
            read_block(&mut self.reader, target, block).map_err(TextError::io(self.path))?;
        self.bytes_read += count as u64;
        if self.decoder.is_none() {
            if first && buffer[start..].starts_with(UTF8_BOM) {
                buffer.drain(start..start + UTF8_BOM.len());
                self.mark_bytes = UTF8_BOM.len() as u64;
            }
        } else {
            self.decode(buffer, count < block, line)?;
        }
        Ok(count == block)
    }

    fn decode(&mut self, buffer: &mut Vec<u8>, last: bool, line: u64) -> Result<(), TextError> {
        let Some((decoder, encoding, lossy)) = &mut self.decoder else {
            return Ok(());
        };
        let mut rest = &self.raw[..];
        loop {
            let start = buffer.len();
            // Three bytes per byte are enough space for any encoding; if not, the loop runs again.
            buffer.resize(start + rest.len() * 3 + 16, 0);
            let (read, written, done, malformed) = if *lossy {
                let (result, read, written, _) =
                    decoder.decode_to_utf8(rest, &mut buffer[start..], last);
                let done = result == encoding_rs::CoderResult::InputEmpty;
                (read, written, done, false)
            } else {
                let (result, read, written) =
                    decoder.decode_to_utf8_without_replacement(rest, &mut buffer[start..], last);
                let malformed = matches!(result, DecoderResult::Malformed(..));
                (
                    read,
                    written,
                    result == DecoderResult::InputEmpty,
                    malformed,
                )
            };
            buffer.truncate(start + written);
            rest = &rest[read..];
            if malformed {
                let newlines = memchr::memchr_iter(b'\n', buffer).count() as u64;
                return Err(TextError::Malformed {
                    path: self.path.to_owned(),
                    line: line + newlines,
                    offset: self.bytes_read - rest.len() as u64,
                    encoding: encoding.name().to_owned(),
                });
            }
            if done {
                return Ok(());
            }
        }
    }
}

/// Appends up to `block` bytes; fewer only at the end.
fn read_block(reader: &mut dyn Read, target: &mut Vec<u8>, block: usize) -> io::Result<usize> {
    target.reserve(block);
    reader.take(block as u64).read_to_end(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], label: &str, block: usize) -> Result<String, TextError> {
        let decoding = Decoding::from_label(label)?;
        let mut source = Source::new(Box::new(bytes), "t.txt", decoding);
        let mut buffer = Vec::new();
        while source.fill(&mut buffer, block, 1)? {}
        Ok(String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn encodings_are_decoded_across_blocks() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"caf\xE9 \x80", "latin-1", "café €"),
            (b"\xEF\xBB\xBFa\xFFb", "lossy", "a\u{FFFD}b"),
            (b"\xEF\xBB\xBF\xC3\xA9", "UTF-8", "é"),
            (b"\xFE\xFF\0a\x04\x10", "utf-16", "aА"),
            (b"\x93\xFA\x96{", "shift_jis", "日本"),
        ];
        for (bytes, label, text) in cases {
            for block in [1, 5, 1000] {
                assert_eq!(decode(bytes, label, block).unwrap(), text);
            }
        }
    }

    #[test]
    fn bytes_that_mean_nothing_are_placed() {
        let error = decode(b"ab\ncd\x81", "shift_jis", 4).unwrap_err();
        assert!(
            matches!(error, TextError::Malformed { line: 2, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn an_unknown_label_is_named() {
        let error = decode(b"", "klingon", 1).unwrap_err();
        assert!(error.to_string().contains("klingon"));
    }
}
