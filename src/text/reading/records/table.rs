//! One column of a table: fields between commas, semicolons or tabs.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::{LONGEST, Texts};
use crate::text::{Amend, TextError};

/// The rows of a table.
pub(super) struct Rows<R> {
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
    pub fn new(reader: R, delimiter: u8, path: String, field: &str) -> Result<Self, TextError> {
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

/// Whether the names of a table are between semicolons, as European spreadsheets export them.
pub(super) fn has_semicolons(head: &[u8]) -> bool {
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
