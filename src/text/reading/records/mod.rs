//! Records: one field of the lines of a .jsonl, .ndjson, .csv or .tsv file.
//!
//! The text of each record ends with a line feed, added before the next record if the text has none.

mod json;
mod shape;
mod table;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use serde::de::IgnoredAny;

use super::containers::peek;
use crate::text::TextError;
use crate::text::documents::BOUNDARY_TEXT;
use json::Lines;
pub use shape::Shape;
use table::{Rows, has_semicolons};

/// The field that is read if none is named.
pub const DEFAULT_FIELD: &str = "text";
/// The field that means that records are read as plain text, as a whole.
pub const NO_FIELD: &str = "none";
/// The longest record in bytes: a quote that is never closed must not fill the memory.
const LONGEST: usize = 64 << 20;
/// The start of a text that tells whether it is records, in bytes.
pub const HEAD: usize = 64 << 10;

/// A format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// One JSON object per line.
    Json,
    /// Fields between commas or semicolons as RFC 4180 has them, or between tabs, after a line with their names.
    /// Between tabs a quote is a character like any other, unless a field is quoted as a whole.
    Table(u8),
}

impl Records {
    /// The format that a file's last ending means.
    pub fn of_ending(ending: &str) -> Option<Self> {
        match ending.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Json),
            "csv" => Some(Self::Table(b',')),
            "tsv" => Some(Self::Table(b'\t')),
            _ => None,
        }
    }

    /// The format of a pipe, or of a file whose ending says nothing, by the start of its text: JSON if the first
    /// line is an object, a table if it names a `field` that somebody asked for.
    pub fn of_head(head: &[u8], field: &str) -> Option<Self> {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.starts_with(b"{") {
            let object = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(line);
            let is_cut = head.len() >= HEAD && !head.contains(&b'\n');
            let is_object = object.is_ok_and(|object| !object.is_empty());
            return (is_object || is_cut && begins_object(line)).then_some(Self::Json);
        }
        let names = |delimiter: u8| {
            let mut names = line.split(|&byte| byte == delimiter);
            names.any(|name| unquoted(name.trim_ascii()) == field.as_bytes())
        };
        let delimiter = [b'\t', b',', b';']
            .into_iter()
            .find(|&delimiter| names(delimiter));
        let is_asked = field != DEFAULT_FIELD && !field.is_empty();
        delimiter.filter(|_| is_asked).map(Self::Table)
    }

    /// The text of a `field` of the records in `reader`, which is UTF-8, with `joint` between two records: a line feed,
    /// unless the first ends in one, or a document boundary. `empty` counts the records without text.
    pub fn open<'a>(
        self,
        reader: impl Read + 'a,
        path: &str,
        (field, joint): (&str, &'static str),
        empty: Rc<Cell<u64>>,
    ) -> Result<Box<dyn Read + 'a>, TextError> {
        let (path, field) = (path.to_owned(), field.to_owned());
        Ok(match self {
            Self::Json => {
                let texts = Lines::new(reader, path.clone(), field);
                Box::new(Joined::new(texts, path, joint, empty))
            }
            Self::Table(delimiter) => {
                let (head, whole) = peek(Box::new(reader), HEAD)
                    .map_err(|error| TextError::from_read(&path, error))?;
                let delimiter = match delimiter {
                    b',' if has_semicolons(&head) => b';',
                    other => other,
                };
                let rows = Rows::new(whole, delimiter, path.clone(), &field)?;
                Box::new(Joined::new(rows, path, joint, empty))
            }
        })
    }
}

fn unquoted(name: &[u8]) -> &[u8] {
    let inner = name
        .strip_prefix(b"\"")
        .and_then(|name| name.strip_suffix(b"\""));
    inner.unwrap_or(name)
}

/// Whether the bytes are the start of a JSON object, cut off somewhere.
fn begins_object(bytes: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<IgnoredAny>(bytes);
    parsed.is_err_and(|error| error.is_eof())
}

/// A source of texts.
trait Texts {
    /// Appends the next record's text; `false` if there is none.
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, TextError>;
}

/// The texts of records as one.
struct Joined<T> {
    texts: T,
    path: String,
    /// What is between two texts.
    joint: &'static str,
    text: Vec<u8>,
    taken: usize,
    /// Whether that is due before the next text.
    is_open: bool,
    /// Counts the records without text.
    empty: Rc<Cell<u64>>,
}

impl<T: Texts> Joined<T> {
    fn new(texts: T, path: String, joint: &'static str, empty: Rc<Cell<u64>>) -> Self {
        Self {
            texts,
            path,
            joint,
            text: Vec::new(),
            taken: 0,
            is_open: false,
            empty,
        }
    }
}

impl<T: Texts> Read for Joined<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.text.len() {
            self.text.clear();
            self.taken = 0;
            if self.is_open {
                self.text.extend_from_slice(self.joint.as_bytes());
            }
            let joint = self.text.len();
            if !self.texts.next(&mut self.text)? {
                self.text.clear();
                return Ok(0);
            }
            if self.text.len() == joint {
                self.text.clear();
                self.empty.set(self.empty.get() + 1);
                continue;
            }
            let has_boundaries = self.joint == BOUNDARY_TEXT;
            if has_boundaries
                && memchr::memmem::find(&self.text[joint..], BOUNDARY_TEXT.as_bytes()).is_some()
            {
                let path = self.path.clone();
                return Err(TextError::HasBoundary { path }.into());
            }
            self.is_open = has_boundaries || !self.text.ends_with(b"\n");
        }
        let count = (&self.text[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
