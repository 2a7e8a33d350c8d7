//! Errors of texts.

use std::io;

use thiserror::Error;

use super::folder::{Skip, summary};
use super::reading::{Findings, Foreign, Wide, thousands};

/// An error of a corpus, a vocabulary or a prompt. Lines and positions in a text count from 1;
/// byte offsets from 0.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum TextError {
    #[error("{}: no such corpus{}", named(name), after_tried(tried))]
    Missing {
        name: String,
        tried: Vec<String>,
        bundled: Vec<String>,
    },
    #[error("{folder}: no text in it or below it{}", if skipped.is_empty() { String::new() } else { format!("; skipped: {skipped}") })]
    NoText { folder: String, skipped: String },
    #[error("{name}: changed while it was read")]
    Changed { name: String },
    #[error("{name}: is empty")]
    Empty { name: String },
    #[error(
        "{name}: holds a single distinct token, {token}, over and over: there is nothing to learn"
    )]
    SingleToken { name: String, token: String },
    /// The limits on the vocabulary cut all tokens, or all but one.
    #[error(
        "{name}: of {tokens} distinct tokens, the limits keep {kept}: there is nothing to learn"
    )]
    NothingLeft {
        name: String,
        kept: usize,
        tokens: usize,
        /// How often the second most frequent token occurs.
        second: u64,
    },
    #[error("{name}: {}", if *empty == 0 { "has no records" } else { "none of its records has a text" })]
    NoRecords {
        name: String,
        /// Records without text.
        empty: u64,
    },
    #[error("--field names no field")]
    UnnamedField,
    /// The boundary character of documents is in the text.
    #[error("{path}: contains U+FDD0, which is reserved for document boundaries")]
    HasBoundary { path: String },
    #[error("--documents {typed}: {error}")]
    Separator {
        typed: String,
        error: Box<TextError>,
    },
    #[error("{name}: has no documents: nothing but line ends and separators is in it")]
    NoDocuments { name: String },
    #[error("{path}")]
    Io { path: String, source: io::Error },
    #[error("standard input is given twice, but can be read only once")]
    Stdin,
    #[error("{name}: a pipe, which cannot be read a second time")]
    ReadTwice { name: String },
    #[error("the corpus was read from {name}, which cannot be read again")]
    PipeGone { name: String },
    #[error("{name}: cannot be kept in {folder} to be read again")]
    Spool {
        name: String,
        folder: String,
        source: io::Error,
    },
    #[error("{path}: this is {}, which is not read", foreign.name)]
    Foreign { path: String, foreign: Foreign },
    #[error("{path}: compressed or archived several times over")]
    Nested { path: String },
    #[error("{path}: this {format} file cannot be unpacked: {reason}")]
    Damaged {
        path: String,
        format: &'static str,
        reason: String,
    },
    #[error("{path}: this {format} file cannot be unpacked: {reason}")]
    Unsupported {
        path: String,
        format: &'static str,
        reason: String,
    },
    #[error("{path}: {member} in this archive is a path that leads out of it")]
    Escapes { path: String, member: String },
    #[error("{path}: unpacks to more than {times} times its size, as no text does")]
    Bomb { path: String, times: u64 },
    #[error("{path}: {}", match found {
        Wide::Utf16Mark => "starts with the byte order mark of UTF-16".to_owned(),
        Wide::Utf8Mark => format!("starts with the byte order mark of UTF-8 and is not {encoding}"),
        Wide::Utf16Le | Wide::Utf16Be => "has a zero in every second byte, as UTF-16 has".to_owned(),
        Wide::Utf32 => "looks like UTF-32, which is not read".to_owned(),
    })]
    OtherEncoding {
        path: String,
        encoding: String,
        found: Wide,
    },
    #[error("{path}: line {line}: no field {field}; its fields are {}", fields.join(", "))]
    NoField {
        path: String,
        line: u64,
        field: String,
        fields: Vec<String>,
    },
    #[error("{path}: line {line}: {what}")]
    Record {
        path: String,
        line: u64,
        what: String,
        amend: Amend,
    },
    #[error("{path}: this path is not valid UTF-8, so it cannot be recorded")]
    PathNotUtf8 { path: String },
    #[error("{path}: line {line}, byte offset {offset}: the byte 0x{byte:02X} is not valid UTF-8{}",
        found.as_ref().map(|found| format!(" ({} invalid of {} bytes)", thousands(found.invalid), thousands(found.bytes))).unwrap_or_default())]
    InvalidUtf8 {
        path: String,
        line: u64,
        offset: u64,
        byte: u8,
        found: Option<Findings>,
    },
    #[error("{path}: line {line}, byte offset {offset}: these bytes are not valid {encoding}")]
    Malformed {
        path: String,
        line: u64,
        offset: u64,
        encoding: String,
    },
    #[error("no encoding is named {label}")]
    UnknownEncoding { label: String },
    #[error("the model does not know {token} (character {position} of the text){}",
        nearest.as_ref().map(|n| format!("; the nearest that it knows is {n}")).unwrap_or_default())]
    UnknownToken {
        token: String,
        position: u64,
        nearest: Option<String>,
    },
    /// What follows a backslash in a typed text is no escape.
    #[error("character {position}: {escape} {fault}")]
    Escape {
        escape: String,
        position: u64,
        fault: &'static str,
    },
    #[error("the training text has {have} tokens, and {need} are needed for {} of {seq}",
        if *batch == 1 { "one stream".to_owned() } else { format!("{batch} streams") })]
    ShorterThanBatch {
        have: usize,
        need: usize,
        batch: usize,
        seq: usize,
    },
    #[error("{name}: too short to train on: {have} of at least {need} characters")]
    TooShort {
        name: String,
        have: usize,
        need: usize,
        /// The tokens that one stream of its training part could read.
        usable: usize,
    },
    #[error("invalid vocabulary: {what}")]
    Vocabulary { what: String },
}

/// What helps with a wrong record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amend {
    /// Correct the line.
    Line,
    /// Correct the quotes of a table.
    Quote,
    /// Bring a record of JSON on one line.
    OneLine,
    /// Correct the line, or name another field.
    Field,
}

/// A name that may be empty.
fn named(name: &str) -> String {
    if name.trim().is_empty() {
        format!("{name:?}")
    } else {
        name.to_owned()
    }
}

fn after_tried(tried: &[String]) -> String {
    if tried.is_empty() {
        String::new()
    } else {
        format!("; tried {}", tried.join(", "))
    }
}

impl TextError {
    pub(super) fn io(path: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The error of reading `path`: one of these that passed through a stream, or the system's.
    pub(super) fn from_read(path: &str, error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::io(path))
    }

    pub(super) fn damaged(path: &str, format: &'static str, reason: &str) -> Self {
        let (path, reason) = (path.to_owned(), reason.to_owned());
        Self::Damaged {
            path,
            format,
            reason,
        }
    }

    pub(super) fn unsupported(path: &str, format: &'static str, reason: impl Into<String>) -> Self {
        let (path, reason) = (path.to_owned(), reason.into());
        Self::Unsupported {
            path,
            format,
            reason,
        }
    }

    pub(super) fn no_text(folder: String, skipped: &[Skip]) -> Self {
        let skipped = summary(skipped);
        Self::NoText { folder, skipped }
    }
}

impl From<TextError> for io::Error {
    fn from(error: TextError) -> Self {
        Self::other(error)
    }
}
