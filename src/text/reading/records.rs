//! Records: one field of the lines of a .jsonl, .ndjson, .csv or .tsv file.
//!
//! The text of each record ends with a line feed, added before the next record if the text has none.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use super::containers::peek;
use crate::text::{Amend, TextError};

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
                    is_found: false,
                },
                empty,
            )),
            Self::Table(delimiter) => {
                let (head, whole) = peek(Box::new(reader), HEAD)
                    .map_err(|error| TextError::from_read(&path, error))?;
                let delimiter = match delimiter {
                    b',' if has_semicolons(&head) => b';',
                    other => other,
                };
                Box::new(Joined::new(
                    Rows::new(whole, delimiter, path, &field)?,
                    empty,
                ))
            }
        })
    }
}

/// What a text looks like that is read as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A JSON object in each line.
    JsonLines,
    /// A list or an object of JSON over several lines.
    Json,
    /// A table.
    Table,
}

impl Shape {
    /// The shape of a text with this start, if it is one of these.
    pub fn of(head: &[u8]) -> Option<Self> {
        if Records::of_head(head, DEFAULT_FIELD) == Some(Records::Json) {
            return Some(Self::JsonLines);
        }
        let mut marks = head.iter().filter(|byte| !byte.is_ascii_whitespace());
        match (marks.next(), marks.next(), marks.next()) {
            (Some(b'['), Some(b'{'), Some(b'"')) | (Some(b'{'), Some(b'"'), _) => Some(Self::Json),
            _ => [b'\t', b',', b';']
                .into_iter()
                .any(|delimiter| is_table(head, delimiter))
                .then_some(Self::Table),
        }
    }
}

/// Whether the first lines could be those of a table: names without spaces, and rows with as many fields.
fn is_table(head: &[u8], delimiter: u8) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let fields = |line: &[u8]| memchr::memchr_iter(delimiter, line).count();
    let names = lines.next().unwrap_or_default();
    let is_name = |name: &[u8]| {
        let name = unquoted(name);
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        !name.is_empty() && name.iter().all(is_of_name)
    };
    let rows: Vec<&[u8]> = lines.take(2).filter(|row| !row.is_empty()).collect();
    fields(names) > 0
        && names.split(|&byte| byte == delimiter).all(is_name)
        && !rows.is_empty()
        && rows.iter().all(|row| fields(row) >= fields(names))
}

/// Whether the names of a table are between semicolons, as European spreadsheets export them.
fn has_semicolons(head: &[u8]) -> bool {
    let names = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    // Every other part between quotes is outside of them.
    let outside = names.split(|&byte| byte == b'"').step_by(2).flatten();
    let has = |delimiter: u8| outside.clone().any(|&byte| byte == delimiter);
    let (semicolon, comma) = (has(b';'), has(b','));
    semicolon && !comma
}

/// A field between tabs without its quotes, if it is quoted as a whole and every quote in it is doubled.
fn whole_unquoted(field: &[u8]) -> Cow<'_, [u8]> {
    let inner = field
        .strip_prefix(b"\"")
        .and_then(|field| field.strip_suffix(b"\""));
    let Some(inner) = inner else {
        return field.into();
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        if byte == b'"' && bytes.next() != Some(&b'"') {
            return field.into();
        }
        text.push(byte);
    }
    text.into()
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
    /// Whether a record before has the field.
    is_found: bool,
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
                let what = format!("this record is longer than {} MiB", LONGEST >> 20);
                return Err(self.wrong(what, Amend::Line));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let mut json = serde_json::Deserializer::from_slice(self.line.trim_ascii());
        let found = Field(&self.field).deserialize(&mut json);
        let found = found.and_then(|found| json.end().map(|()| found));
        match found {
            Ok(Found::Text(found)) => text.extend_from_slice(found.as_bytes()),
            Ok(Found::Null) => {}
            Ok(Found::Other(kind)) => {
                let what = format!("the field {} is {kind}, not a text", self.field);
                return Err(self.wrong(what, Amend::Field));
            }
            Ok(Found::Missing(_)) if self.is_found => {
                let what = format!("no field {}, which the records before have", self.field);
                return Err(self.wrong(what, Amend::Line));
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
                let (what, amend) = cause(&error);
                return Err(self.wrong(format!("not a JSON object: {what}"), amend));
            }
        }
        self.is_found = true;
        Ok(true)
    }
}

impl<R> Lines<R> {
    fn wrong(&self, what: String, amend: Amend) -> TextError {
        TextError::Record {
            path: self.path.clone(),
            line: self.number,
            what,
            amend,
        }
    }
}

/// What is wrong with a line that is no JSON object.
fn cause(error: &serde_json::Error) -> (String, Amend) {
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    if error.is_eof() {
        let within = if what.ends_with("a string") {
            "a string"
        } else {
            "the object"
        };
        (format!("the line ends within {within}"), Amend::OneLine)
    } else if what.contains("surrogate") || what.contains("end of hex escape") {
        let half = r"an escape such as \uD83D is half a character, and the other half is missing";
        (half.to_owned(), Amend::Line)
    } else {
        (what.to_owned(), Amend::Line)
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
    reader: csv::Reader<Checked<R>>,
    /// Bytes that may be read for the next row.
    left: Rc<Cell<usize>>,
    fault: Rc<Cell<Option<Fault>>>,
    row: csv::ByteRecord,
    /// The column of the field.
    column: usize,
    delimiter: u8,
    path: String,
}

impl<R: Read> Rows<R> {
    fn new(reader: R, delimiter: u8, path: String, field: &str) -> Result<Self, TextError> {
        let left = Rc::new(Cell::new(LONGEST));
        let fault = Rc::default();
        let checked = Checked {
            inner: reader,
            left: Rc::clone(&left),
            fault: Rc::clone(&fault),
            delimiter,
            at: At::Start,
            line: 1,
            opened: 1,
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter != b'\t')
            .from_reader(checked);
        let names = reader.byte_headers();
        if let Some(fault) = fault.get().filter(|fault| fault.line == 1) {
            return Err(fault.error(&path));
        }
        let names = names.map_err(|error| wrong(&path, error))?;
        let name = |name| match delimiter {
            b'\t' => String::from_utf8_lossy(&whole_unquoted(name)).into_owned(),
            _ => String::from_utf8_lossy(name).into_owned(),
        };
        let names: Vec<String> = names.iter().map(name).collect();
        let Some(column) = names.iter().position(|name| name == field) else {
            return Err(TextError::NoField {
                path,
                line: 1,
                field: field.to_owned(),
                fields: names,
            });
        };
        Ok(Self {
            reader,
            left,
            fault,
            row: csv::ByteRecord::new(),
            column,
            delimiter,
            path,
        })
    }
}

impl<R: Read> Texts for Rows<R> {
    fn next(&mut self, text: &mut Vec<u8>) -> Result<bool, TextError> {
        self.left.set(LONGEST);
        let read = self.reader.read_byte_record(&mut self.row);
        if let Some(fault) = self.fault.get() {
            return Err(fault.error(&self.path));
        }
        let more = read.map_err(|error| wrong(&self.path, error))?;
        let field = self.row.get(self.column).unwrap_or_default();
        match self.delimiter {
            b'\t' => text.extend_from_slice(&whole_unquoted(field)),
            _ => text.extend_from_slice(field),
        }
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
        amend: Amend::Line,
    }
}

/// What is wrong with the quotes of a table.
#[derive(Clone, Copy)]
struct Fault {
    line: u64,
    what: &'static str,
}

impl Fault {
    fn error(self, path: &str) -> TextError {
        TextError::Record {
            path: path.to_owned(),
            line: self.line,
            what: self.what.to_owned(),
            amend: Amend::Quote,
        }
    }
}

/// Where a byte of a table is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a field.
    Start,
    /// In a field without quotes.
    Plain,
    Quoted,
    /// After a quote in a quoted field: the first of two, or the last.
    Ended,
}

/// A table whose quotes are checked, and of which only so many bytes are read.
struct Checked<R> {
    inner: R,
    left: Rc<Cell<usize>>,
    /// The first fault found.
    fault: Rc<Cell<Option<Fault>>>,
    delimiter: u8,
    at: At,
    line: u64,
    /// The line in which the last quoted field begins.
    opened: u64,
}

impl<R> Checked<R> {
    fn fail(&self, line: u64, what: &'static str) {
        let fault = self.fault.get().unwrap_or(Fault { line, what });
        self.fault.set(Some(fault));
    }

    fn check(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.at = match (self.at, byte) {
                (At::Start, b'"') => {
                    self.opened = self.line;
                    At::Quoted
                }
                (At::Quoted, b'"') => At::Ended,
                (At::Quoted, _) | (At::Ended, b'"') => At::Quoted,
                (_, b'\r' | b'\n') => At::Start,
                (_, byte) if byte == self.delimiter => At::Start,
                (At::Ended, _) => {
                    let what = "a field begins with a quote, but goes on after the next quote";
                    self.fail(self.opened, what);
                    At::Plain
                }
                _ => At::Plain,
            };
            self.line += u64::from(byte == b'\n');
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_quoted = self.at == At::Quoted;
        if self.left.get() == 0 && !buffer.is_empty() {
            let line = if is_quoted { self.opened } else { self.line };
            self.fail(
                line,
                "this record is longer than 64 MiB: is a quote never closed?",
            );
            return Err(io::ErrorKind::InvalidData.into());
        }
        let most = buffer.len().min(self.left.get());
        let count = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - count);
        if self.delimiter != b'\t' {
            self.check(&buffer[..count]);
            if count == 0 && is_quoted && !buffer.is_empty() {
                self.fail(self.opened, "a quote in this record is never closed");
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
