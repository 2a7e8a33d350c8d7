//! Errors of texts.

use thiserror::Error;

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
    #[error("{folder}: no *.txt file in this folder or below it")]
    NoText { folder: String },
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
    /// What follows a backslash in a typed text is no escape.
    #[error("character {position}: {escape} is no escape")]
    Escape { escape: String, position: u64 },
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
    pub(super) fn io(path: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
