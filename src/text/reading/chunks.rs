//! Cuts a stream of text into chunks that can be processed independently.
//!
//! A cut must not affect any later step: it is never inside a character, a line end, a grapheme
//! cluster (UAX #29) or a sequence that normalises as one (UAX #15). Two kinds of positions are
//! safe in any text, and nearly every text has one in its last few bytes:
//!
//! - after a LF: nothing composes with it, and a cluster always ends there;
//! - before an ASCII character other than LF: it composes with nothing before it, and joins the
//!   cluster before it only if that ends in one of the few prepended marks (GB9b).
//!
//! If there is neither (a megabyte of Chinese on one line), the cut is between two letters that
//! neither compose nor join; if there are none, text is held back up to [`LONGEST`] chunks and then cut
//! between two characters, so that memory stays bounded.

use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_segmentation::UnicodeSegmentation;

use super::guess::Findings;
use crate::config::NormalForm;
use crate::text::TextError;
use crate::text::normal::is_inert;

/// Bytes of a chunk: large enough that passing it on costs nothing, small enough for the cache.
pub const CHUNK_BYTES: usize = 256 << 10;
/// The limit on held-back text without a safe position: in chunks, and at least this many bytes.
const LONGEST: usize = 16;
const LONGEST_BYTES: usize = 1024;

/// A piece of one source.
pub struct Chunk {
    /// UTF-8 that has not been validated.
    pub bytes: Vec<u8>,
    /// The source's name in messages.
    pub path: Arc<str>,
    /// Whether it is the first of its source.
    pub first: bool,
    /// The line that it starts in, from 1.
    pub line: u64,
    /// Its offset in the source, in bytes after decoding.
    pub offset: u64,
    /// Raw bytes read since the previous chunk.
    pub raw_bytes: u64,
}

impl Chunk {
    /// The line feed after a file that does not end in one.
    pub fn line_feed(path: Arc<str>) -> Self {
        Self::ending(path, "\n".to_owned())
    }

    /// What is added at the end of a file.
    pub fn ending(path: Arc<str>, text: String) -> Self {
        Self {
            bytes: text.into_bytes(),
            path,
            first: false,
            line: 0,
            offset: 0,
            raw_bytes: 0,
        }
    }

    /// Its text, or an error at the first byte that is not UTF-8.
    pub fn text(&self) -> Result<&str, TextError> {
        std::str::from_utf8(&self.bytes).map_err(|e| {
            let (before, after) = self.bytes.split_at(e.valid_up_to());
            let newlines = memchr::memchr_iter(b'\n', before).count() as u64;
            TextError::InvalidUtf8 {
                path: self.path.to_string(),
                line: self.line + newlines,
                offset: self.offset + before.len() as u64,
                byte: after.first().copied().unwrap_or(0),
                found: Some(Findings::of(&self.bytes)),
            }
        })
    }
}

/// Cuts a file's text, which is UTF-8 if it is valid, and emits chunks of about `size` bytes, until it ends or
/// `emit` breaks. `offset` is that of the text's start, `raw` counts the file's bytes. Returns whether `emit` went on.
pub fn cut(
    mut text: impl Read,
    name: &str,
    mut offset: u64,
    raw: &Cell<u64>,
    size: usize,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> Result<bool, TextError> {
    let path: Arc<str> = name.into();
    let (mut first, mut line, mut raw_seen) = (true, 1, 0);
    let mut buffer = Vec::new();
    let mut more = true;
    while more {
        let before = buffer.len();
        buffer.reserve(size);
        let count = (&mut text).take(size as u64).read_to_end(&mut buffer);
        more = count.map_err(|error| TextError::from_read(name, error))? == size;
        let at = if more {
            // Search only the new part, and the character before it that may have been incomplete.
            match safe_cut(&buffer, before.saturating_sub(4)) {
                Some(at) => at,
                None if buffer.len() >= LONGEST_BYTES.max(size * LONGEST) => between_chars(&buffer),
                None => continue,
            }
        } else {
            buffer.len()
        };
        let rest = buffer.split_off(at);
        let bytes = std::mem::replace(&mut buffer, rest);
        let (length, newlines) = (
            bytes.len() as u64,
            memchr::memchr_iter(b'\n', &bytes).count(),
        );
        let chunk = Chunk {
            bytes,
            path: Arc::clone(&path),
            first,
            line,
            offset,
            raw_bytes: raw.get() - raw_seen,
        };
        if !emit(chunk) {
            return Ok(false);
        }
        first = false;
        line += newlines as u64;
        offset += length;
        raw_seen = raw.get();
    }
    Ok(true)
}

/// The last safe position after `from`; the bytes need not be valid.
fn safe_cut(bytes: &[u8], from: usize) -> Option<usize> {
    if bytes.last() == Some(&b'\n') {
        return Some(bytes.len());
    }
    (from + 1..bytes.len())
        .rev()
        .find(|&at| {
            bytes[at - 1] == b'\n'
                || bytes[at].is_ascii() && bytes[at] != b'\n' && !ends_in_prepended(&bytes[..at])
        })
        .or_else(|| between_letters(bytes, from))
}

/// Whether the last character joins an ASCII character after it (GB9b).
fn ends_in_prepended(bytes: &[u8]) -> bool {
    match last_char(bytes) {
        Some(c) if !c.is_ascii() => joins(c, 'a'),
        _ => false,
    }
}

/// The last position between two letters, the second of which composes with nothing before it.
fn between_letters(bytes: &[u8], from: usize) -> Option<usize> {
    let mut end = bytes.len();
    let mut next: Option<char> = None;
    while end > from {
        let c = last_char(&bytes[..end]);
        if let (Some(before), Some(after)) = (c, next)
            && is_letter(before)
            && is_letter(after)
            && is_inert(after, NormalForm::Nfc)
            && is_inert(after, NormalForm::Nfkc)
            && !joins(before, after)
        {
            return Some(end);
        }
        next = c;
        end -= c.map_or(1, char::len_utf8);
    }
    None
}

fn is_letter(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter
}

fn joins(before: char, after: char) -> bool {
    let pair: String = [before, after].iter().collect();
    pair.graphemes(true).count() == 1
}

/// The last character, if the bytes end in a whole one.
fn last_char(bytes: &[u8]) -> Option<char> {
    let start = bytes
        .iter()
        .rev()
        .take(4)
        .position(|b| b & 0xC0 != 0x80)
        .map(|back| bytes.len() - 1 - back)?;
    let mut chars = std::str::from_utf8(&bytes[start..]).ok()?.chars();
    chars.next()
}

/// The last position that is not inside a character; the end if the bytes are not UTF-8 anyway.
fn between_chars(bytes: &[u8]) -> usize {
    (bytes.len().saturating_sub(3)..bytes.len())
        .rev()
        .find(|&at| at > 0 && bytes[at] & 0xC0 != 0x80)
        .unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_never_inside_a_line_end_or_a_cluster() {
        assert_eq!(safe_cut(b"ab\r\n", 0), Some(4));
        assert_eq!(safe_cut(b"ab\r", 0), Some(2));
        assert_eq!(safe_cut("abe\u{301}".as_bytes(), 0), Some(2));
        // U+0600 ARABIC NUMBER SIGN joins the digit after it.
        assert_eq!(safe_cut("a\u{600}1".as_bytes(), 0), None);
    }

    #[test]
    fn text_without_ascii_is_cut_between_letters() {
        assert_eq!(safe_cut("北京市".as_bytes(), 0), Some(6));
        // The jamo of a syllable belong together.
        assert_eq!(safe_cut("\u{1112}\u{1161}\u{11AB}".as_bytes(), 0), None);
    }

    #[test]
    fn a_stream_without_any_safe_place_stays_bounded() {
        let text = "\u{301}".repeat(5000);
        let mut longest = 0;
        let mut back = Vec::new();
        cut(text.as_bytes(), "t", 0, &Cell::new(0), 8, &mut |chunk| {
            longest = longest.max(chunk.bytes.len());
            assert!(chunk.text().is_ok());
            back.extend_from_slice(&chunk.bytes);
            true
        })
        .unwrap();
        assert!(longest <= LONGEST_BYTES + 8, "{longest}");
        assert_eq!(back, text.as_bytes());
    }
}
