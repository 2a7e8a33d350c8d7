//! Records: one field of the lines of a .jsonl, .ndjson, .csv or .tsv file.
//!
//! The text of each record ends with a line feed, added before the next record if the text has none.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use crate::text::TextError;

/// The field that is read if none is named.
pub const DEFAULT_FIELD: &str = "text";
/// The longest record in bytes: a quote that is never closed must not fill the memory.
const LONGEST: usize = 64 << 20;

/// The start of a text that tells whether it is records, in bytes.
pub const HEAD: usize = 64 << 10;

/// A format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// One JSON object per line.
    Json,
    /// Fields between commas or tabs, as RFC 4180 has them, after a line with their names.
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
        let delimiter = [b'\t', b',']
            .into_iter()
            .find(|&delimiter| names(delimiter));
        let is_asked = field != DEFAULT_FIELD && !field.is_empty();
        delimiter.filter(|_| is_asked).map(Self::Table)
    }

    /// The text of the records in `reader`, which is UTF-8. `empty` counts the records without text.
    pub fn open<'a>(
        self,
        reader: impl Read + 'a,
        path: &str,
        field: &str,
        empty: Rc<Cell<u64>>,
    ) -> Result<Box<dyn Read + 'a>, TextError> {
        let (path, field) = (path.to_owned(), field.to_owned());
        Ok(match self {
            Self::Json => Box::new(Joined::new(
                Lines {
                    reader: BufReader::with_capacity(1 << 16, reader),
                    line: Vec::new(),
                    number: 0,
                    path,
                    field,
                },
                empty,
            )),
            Self::Table(delimiter) => Box::new(Joined::new(
                Rows::new(reader, delimiter, path, &field)?,
                empty,
            )),
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
    text: Vec<u8>,
    taken: usize,
    /// Whether a line feed is due before the next text.
    is_open: bool,
    /// Counts the records without text.
    empty: Rc<Cell<u64>>,
}

impl<T: Texts> Joined<T> {
    fn new(texts: T, empty: Rc<Cell<u64>>) -> Self {
        Self {
            texts,
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
                self.text.push(b'\n');
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
            self.is_open = !self.text.ends_with(b"\n");
        }
        let count = (&self.text[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

/// One JSON object per line.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    path: String,
    field: String,
}

impl<R: Read> Texts for Lines<R> {
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, TextError> {
        loop {
            self.line.clear();
            let mut limited = (&mut self.reader).take(LONGEST as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.line);
            let count = read.map_err(|error| TextError::from_read(&self.path, error))?;
            if count == 0 {
                return Ok(false);
            }
            self.number += 1;
            if count > LONGEST {
                return Err(self.wrong(format!("this record is longer than {} MiB", LONGEST >> 20)));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let mut json = serde_json::Deserializer::from_slice(&self.line);
        let found = Field(&self.field).deserialize(&mut json);
        let found = found.and_then(|found| json.end().map(|()| found));
        match found {
            Ok(Found::Text(found)) => text.extend_from_slice(found.as_bytes()),
            Ok(Found::Null) => {}
            Ok(Found::Other(kind)) => {
                return Err(self.wrong(format!("the field {} is {kind}, not a text", self.field)));
            }
            Ok(Found::Missing(fields)) => {
                return Err(TextError::NoField {
                    path: self.path.clone(),
                    line: self.number,
                    field: self.field.clone(),
                    fields,
                });
            }
            Err(error) => {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                return Err(self.wrong(format!("not a JSON object: {what}")));
            }
        }
        Ok(true)
    }
}

impl<R> Lines<R> {
    fn wrong(&self, what: String) -> TextError {
        TextError::Record {
            path: self.path.clone(),
            line: self.number,
            what,
        }
    }
}

/// The value of one field of an object.
enum Found {
    Text(String),
    Null,
    Other(&'static str),
    /// The fields that there are.
    Missing(Vec<String>),
}

/// Reads one field of an object, and the names of the others.
struct Field<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Found;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let (mut found, mut fields) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value::<Value>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
                fields.push(key);
            }
        }
        Ok(found.unwrap_or(Found::Missing(fields)))
    }
}

/// A value of which only texts are kept.
struct Value(Found);

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other("true or false"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}

/// The rows of a table.
struct Rows<R> {
    reader: csv::Reader<Limited<R>>,
    /// Bytes that may be read for the next row.
    left: Rc<Cell<usize>>,
    /// Quotes read so far.
    quotes: Rc<Cell<usize>>,
    /// The line of the row before, if it goes over several lines.
    broken: Option<u64>,
    row: csv::ByteRecord,
    /// The column of the field.
    column: usize,
    path: String,
}

impl<R: Read> Rows<R> {
    fn new(reader: R, delimiter: u8, path: String, field: &str) -> Result<Self, TextError> {
        let left = Rc::new(Cell::new(LONGEST));
        let quotes = Rc::new(Cell::new(0));
        let limited = Limited {
            inner: reader,
            left: Rc::clone(&left),
            quotes: Rc::clone(&quotes),
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(limited);
        let names = reader.headers().map_err(|error| wrong(&path, error))?;
        let Some(column) = names.iter().position(|name| name == field) else {
            return Err(TextError::NoField {
                path,
                line: 1,
                field: field.to_owned(),
                fields: names.iter().map(str::to_owned).collect(),
            });
        };
        Ok(Self {
            reader,
            left,
            quotes,
            broken: None,
            row: csv::ByteRecord::new(),
            column,
            path,
        })
    }
}

impl<R: Read> Texts for Rows<R> {
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, TextError> {
        self.left.set(LONGEST);
        let read = self.reader.read_byte_record(&mut self.row);
        let more = read.map_err(|error| wrong(&self.path, error))?;
        if let (false, Some(line), 1) = (more, self.broken, self.quotes.get() % 2) {
            return Err(TextError::Record {
                path: self.path.clone(),
                line,
                what: "a quote in this record is never closed".to_owned(),
            });
        }
        let is_broken = self.row.as_slice().contains(&b'\n');
        self.broken = self
            .row
            .position()
            .map(csv::Position::line)
            .filter(|_| is_broken);
        text.extend_from_slice(self.row.get(self.column).unwrap_or_default());
        Ok(more)
    }
}

/// The error of a table.
fn wrong(path: &str, error: csv::Error) -> TextError {
    let line = error.position().map_or(1, csv::Position::line);
    let what = match error.into_kind() {
        csv::ErrorKind::Io(error) => return TextError::from_read(path, error),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            let plural = if len == 1 { "" } else { "s" };
            format!("{len} field{plural}, where the first line names {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not valid UTF-8".to_owned(),
        other => format!("{other:?}"),
    };
    TextError::Record {
        path: path.to_owned(),
        line,
        what,
    }
}

/// A stream of which only so many bytes are read.
struct Limited<R> {
    inner: R,
    left: Rc<Cell<usize>>,
    quotes: Rc<Cell<usize>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 && !buffer.is_empty() {
            let message = format!(
                "a record is longer than {} MiB: is a quote never closed?",
                LONGEST >> 20
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let most = buffer.len().min(self.left.get());
        let count = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - count);
        let quotes = memchr::memchr_iter(b'"', &buffer[..count]).count();
        self.quotes.set(self.quotes.get() + quotes);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
