//! Finds the documents of a text, and writes a boundary character between them.

use std::borrow::Cow;

use super::TextError;
use super::escapes::Typed;
use crate::config::Documents;

/// Comes before every document and after the last one, in a text that has documents: a noncharacter, which no text
/// contains (Unicode, section 23.7). It becomes the token `<eos>`.
pub const BOUNDARY: char = '\u{FDD0}';
/// The same as a text.
pub const BOUNDARY_TEXT: &str = "\u{FDD0}";

/// What separates the documents of a file.
enum Separator {
    /// Nothing: a file is a document.
    None,
    /// A line end.
    Line,
    /// A line end and blank lines.
    BlankLine,
    /// So many line ends, one after the other.
    LineEnds(usize),
    /// These characters, perhaps only at the start or the end of a line.
    Text {
        text: String,
        starts_line: bool,
        ends_line: bool,
    },
}

/// What there is to say about the documents of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub documents: u64,
    /// Documents without text, which are left out.
    pub empty: u64,
    /// Separators of documents.
    pub separators: u64,
}

/// Cuts files into documents as they are read: removes separators, and the line ends at both ends of a document, and
/// writes [`BOUNDARY`] before each.
pub struct Splitter {
    separator: Separator,
    /// Whether the text comes with the boundaries of records.
    records: bool,
    /// The end of what was read, if it may be the start of a separator.
    pending: String,
    /// Line ends that are part of the document if more of it follows.
    line_ends: String,
    /// Whether the document has begun.
    is_open: bool,
    pub found: Found,
}

impl Splitter {
    /// For a text with these documents; `None` if there are none.
    pub fn new(documents: &Documents) -> Result<Option<Self>, TextError> {
        let separator = match documents {
            Documents::None => return Ok(None),
            Documents::File => Separator::None,
            Documents::Record => Separator::text(BOUNDARY_TEXT),
            Documents::Line => Separator::Line,
            Documents::BlankLine => Separator::BlankLine,
            Documents::Between(typed) => match Typed::new(typed) {
                Ok(typed) => Separator::text(&typed.text),
                Err(error) => {
                    return Err(TextError::Separator {
                        typed: typed.clone(),
                        error: Box::new(error),
                    });
                }
            },
        };
        Ok(Some(Self {
            separator,
            records: *documents == Documents::Record,
            pending: String::new(),
            line_ends: String::new(),
            is_open: false,
            found: Found::default(),
        }))
    }

    /// Ends the document before a file that begins.
    pub fn begin_file(&mut self, to: &mut String) {
        let pending = std::mem::take(&mut self.pending);
        if self.separator.is_at_end(&pending) {
            self.found.separators += 1;
        } else {
            self.add(&pending, to);
        }
        self.end();
    }

    /// Reads more of a file and writes what it becomes.
    pub fn read(&mut self, path: &str, text: &str, to: &mut String) -> Result<(), TextError> {
        if !self.records && text.contains(BOUNDARY) {
            return Err(TextError::HasBoundary {
                path: path.to_owned(),
            });
        }
        let pending = std::mem::take(&mut self.pending);
        let text = if pending.is_empty() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(pending + text)
        };
        let mut rest = &*text;
        loop {
            let place = Place {
                in_document: self.is_open,
                in_line: self.is_open && self.line_ends.is_empty(),
            };
            match self.separator.find(rest, place) {
                Next::At(start, end) => {
                    self.add(&rest[..start], to);
                    self.found.separators += 1;
                    // Blank lines before a document separate nothing.
                    let is_blank = matches!(self.separator, Separator::BlankLine);
                    self.found.empty += u64::from(!self.is_open && !is_blank);
                    self.end();
                    rest = &rest[end..];
                }
                Next::MayStart(start) => {
                    self.add(&rest[..start], to);
                    rest[start..].clone_into(&mut self.pending);
                    return Ok(());
                }
            }
        }
    }

    /// Ends the last document.
    pub fn finish(&mut self, to: &mut String) {
        self.begin_file(to);
        if self.found.documents > 0 {
            to.push(BOUNDARY);
        }
    }

    /// Writes a part of a document.
    fn add(&mut self, part: &str, to: &mut String) {
        let is_end = |c: char| matches!(c, '\n' | '\r');
        let part = if self.is_open {
            part
        } else {
            part.trim_start_matches(is_end)
        };
        let body = part.trim_end_matches(is_end);
        if !body.is_empty() {
            if !self.is_open {
                to.push(BOUNDARY);
                self.found.documents += 1;
                self.is_open = true;
            }
            to.push_str(&self.line_ends);
            self.line_ends.clear();
            to.push_str(body);
        }
        if self.is_open {
            self.line_ends.push_str(&part[body.len()..]);
        }
    }

    fn end(&mut self) {
        self.line_ends.clear();
        self.is_open = false;
    }
}

/// Where a text goes on.
#[derive(Clone, Copy)]
struct Place {
    in_document: bool,
    in_line: bool,
}

/// Where the next separator is, in bytes.
enum Next {
    At(usize, usize),
    /// None is before this place, but one may start there, as more of the text will tell.
    MayStart(usize),
}

impl Separator {
    /// The separator that these characters are. Line ends at their edges may have any form.
    fn text(text: &str) -> Self {
        let inner = text.trim_matches('\n');
        if inner.is_empty() {
            return Self::LineEnds(text.len());
        }
        Self::Text {
            text: inner.to_owned(),
            starts_line: text.starts_with('\n'),
            ends_line: text.ends_with('\n'),
        }
    }

    /// Whether the last characters of a file, which may be the start of a separator, are all of one.
    fn is_at_end(&self, pending: &str) -> bool {
        matches!(self, Self::Text { text, .. } if text == pending)
    }

    /// The first separator in `text`.
    fn find(&self, text: &str, place: Place) -> Next {
        let bytes = text.as_bytes();
        match self {
            Self::None => Next::MayStart(text.len()),
            Self::Line | Self::LineEnds(1) => match memchr::memchr2(b'\n', b'\r', bytes) {
                Some(at) => line_end(bytes, at).map_or(Next::MayStart(at), |end| Next::At(at, end)),
                None => Next::MayStart(text.len()),
            },
            Self::BlankLine => blank_lines(bytes, place.in_document),
            Self::LineEnds(count) => line_ends(bytes, *count),
            Self::Text {
                text: wanted,
                starts_line,
                ends_line,
            } => {
                let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                for at in memchr::memmem::find_iter(bytes, wanted.as_bytes()) {
                    let end = at + wanted.len();
                    let begins = match at.checked_sub(1) {
                        Some(before) => is_end(&bytes[before]),
                        None => !place.in_line,
                    };
                    match bytes.get(end) {
                        _ if *starts_line && !begins => {}
                        // The file may end here.
                        None if *ends_line => return Next::MayStart(at),
                        Some(after) if *ends_line && !is_end(after) => {}
                        _ => return Next::At(at, end),
                    }
                }
                let starts = wanted.char_indices().map(|(at, c)| at + c.len_utf8());
                let is_open = |n: usize| n < wanted.len() && text.ends_with(&wanted[..n]);
                let open = starts.filter(|&n| is_open(n)).max();
                Next::MayStart(text.len() - open.unwrap_or(0))
            }
        }
    }
}

/// The first `count` line ends that follow each other.
fn line_ends(bytes: &[u8], count: usize) -> Next {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &bytes[from..]) {
        let start = from + at;
        from = start;
        for found in 1.. {
            if !matches!(bytes.get(from), Some(b'\n' | b'\r')) {
                break;
            }
            let Some(end) = line_end(bytes, from) else {
                return Next::MayStart(start);
            };
            from = end;
            if found == count {
                return Next::At(start, from);
            }
        }
        if from == bytes.len() {
            return Next::MayStart(start);
        }
    }
    Next::MayStart(bytes.len())
}

/// The end of the line end at `at`; `None` if the text ends with a carriage return.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(at + 1),
        (_, None) => None,
        (_, Some(b'\n')) => Some(at + 2),
        (_, Some(_)) => Some(at + 1),
    }
}

/// The first line end that blank lines follow, and the end of these; before a document, one blank line is enough.
fn blank_lines(bytes: &[u8], is_open: bool) -> Next {
    let mut from = 0;
    // Where the line ends began, and the end of the last one.
    let mut gap: Option<(usize, usize)> = (!is_open).then_some((0, 0));
    loop {
        let blank = bytes[from..]
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t'));
        let next = blank.map(|blank| from + blank);
        match (next, gap) {
            // Nothing but spaces is left.
            (None, Some((start, _))) => return Next::MayStart(start),
            (None, None) => return Next::MayStart(bytes.len()),
            (Some(at), _) if matches!(bytes[at], b'\n' | b'\r') => {
                let Some(end) = line_end(bytes, at) else {
                    return Next::MayStart(gap.map_or(at, |(start, _)| start));
                };
                match gap {
                    // This one ends a blank line.
                    Some((start, _)) => return Next::At(start, end),
                    None => gap = Some((at, end)),
                }
                from = end;
            }
            (Some(at), _) => match memchr::memchr2(b'\n', b'\r', &bytes[at..]) {
                Some(more) => {
                    gap = None;
                    from = at + more;
                }
                None => return Next::MayStart(bytes.len()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What files become, read in pieces of `size` characters, with `@` for a boundary.
    fn marked(documents: &str, files: &[&str], size: usize) -> (String, Found) {
        let documents = documents.parse().expect("valid");
        let mut splitter = Splitter::new(&documents)
            .expect("valid")
            .expect("documents");
        let mut to = String::new();
        for file in files {
            splitter.begin_file(&mut to);
            let chars: Vec<char> = file.chars().collect();
            for piece in chars.chunks(size) {
                let piece: String = piece.iter().collect();
                splitter.read("t", &piece, &mut to).expect("no boundary");
            }
        }
        splitter.finish(&mut to);
        (to.replace(BOUNDARY, "@"), splitter.found)
    }

    #[test]
    fn documents_are_found_wherever_a_piece_ends() {
        for (documents, files, want, empty) in [
            (
                "file",
                &["One.\nTwo.\n", "", "\r\nThree.\r\n"][..],
                "@One.\nTwo.@Three.@",
                0,
            ),
            (
                "line",
                &["One.\n\nTwo.\r\nThree.\rFour.", "Five."],
                "@One.@Two.@Three.@Four.@Five.@",
                1,
            ),
            (
                "blank-line",
                &[
                    "\n\nOne.\nMore.\n\nTwo.\r\n \t\r\n\r\n  Three.\n",
                    "\nFour.\n \nFive. \n",
                ],
                "@One.\nMore.@Two.@  Three.@Four.@Five. @",
                0,
            ),
            (
                "---",
                &["One.\n---\nTwo.--Three.\n---\n---", "Four."],
                "@One.@Two.--Three.@Four.@",
                1,
            ),
            (
                r"\n%\n",
                &["One.\n%\nTwo % three.\n%\n"],
                "@One.@Two % three.@",
                0,
            ),
            (
                "<|endoftext|>",
                &["One.<|endoftext|>Two.<|end"],
                "@One.@Two.<|end@",
                0,
            ),
        ] {
            for size in [1, 2, 3, 5, 100] {
                let (found, counts) = marked(documents, files, size);
                assert_eq!(found, want, "{documents} by {size}");
                assert_eq!(counts.empty, empty, "{documents} by {size}");
                assert_eq!(counts.documents as usize, want.matches('@').count() - 1);
            }
        }
        assert_eq!(marked("line", &["\n\n"], 1).0, "");
    }

    #[test]
    fn a_text_that_has_a_boundary_itself_is_refused() {
        let mut splitter = Splitter::new(&Documents::Line)
            .expect("valid")
            .expect("documents");
        let read = splitter.read("t", "a\u{FDD0}b", &mut String::new());
        assert!(matches!(read, Err(TextError::HasBoundary { .. })));
        assert!(Splitter::new(&Documents::None).expect("valid").is_none());
        assert!(Splitter::new(&Documents::Between(r"\q".to_owned())).is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab \\n\\r-]{0,40}", size in 1usize..7) {
            for documents in ["file", "line", "blank-line", "---", r"\n-"] {
                prop_assert_eq!(marked(documents, &[&text], size), marked(documents, &[&text], 100));
            }
        }

        #[test]
        fn lines_are_the_documents(text in "[ab\\n]{0,40}") {
            let lines = text.split('\n').filter(|line| !line.is_empty());
            let want: Vec<&str> = lines.flat_map(|line| ["@", line]).collect();
            let want = want.concat();
            let end = if want.is_empty() { "" } else { "@" };
            prop_assert_eq!(marked("line", &[&text], 3).0, want + end);
        }
    }
}
