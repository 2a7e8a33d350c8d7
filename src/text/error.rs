//! Errors of texts.

use thiserror::Error;

/// An error of a corpus, a vocabulary or a prompt. Lines and positions in a text count from 1;
/// byte offsets from 0.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum TextError {
    #[error("{name}: no such corpus; tried {}", tried.join(", "))]
    Missing {
        name: String,
        tried: Vec<String>,
        bundled: Vec<String>,
    },
    #[error("{folder}: no *.txt file in this folder or below it")]
    NoText { folder: String },
    #[error("{name}: changed while it was read")]
    Changed { name: String },
    #[error("{name}: is empty")]
    Empty { name: String },
    #[error(
        "{name}: holds a single distinct token, {token}, over and over: there is nothing to learn"
    )]
    SingleToken { name: String, token: String },
    #[error("{path}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("the corpus is standard input, which cannot be read a second time")]
    Stdin,
    #[error("{path}: this path is not valid UTF-8, so it cannot be recorded")]
    PathNotUtf8 { path: String },
    #[error("{path}: line {line}, byte offset {offset}: the byte 0x{byte:02X} is not valid UTF-8")]
    InvalidUtf8 {
        path: String,
        line: u64,
        offset: u64,
        byte: u8,
        utf16: bool,
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
    #[error("the training text has {have} tokens, but {batch} streams of {seq} tokens need {need}")]
    ShorterThanBatch {
        have: usize,
        need: usize,
        batch: usize,
        seq: usize,
    },
    #[error("{name}: {have} characters are too few to train on: {need} are the least")]
    TooShort {
        name: String,
        have: usize,
        need: usize,
    },
    #[error("invalid vocabulary: {what}")]
    Vocabulary { what: String },
}

impl TextError {
    pub(super) fn io(path: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
