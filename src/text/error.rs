//! What can be wrong with a text, and what to do about it.

use thiserror::Error;

/// What is wrong with a corpus, a vocabulary or a prompt.
#[derive(Debug, Error)]
pub enum TextError {
    /// No such corpus.
    #[error("{name}: no such corpus; tried {}", tried.join(", "))]
    Missing {
        /// As it was given.
        name: String,
        /// Every place that was looked at.
        tried: Vec<String>,
        /// The corpora inside the program.
        bundled: Vec<String>,
    },
    /// A folder without a text file.
    #[error("{folder}: no *.txt file in this folder or below it")]
    NoText {
        /// The folder.
        folder: String,
    },
    /// Nothing to read.
    #[error("{name}: is empty")]
    Empty {
        /// The file, or the corpus.
        name: String,
    },
    /// Nothing to learn: every token is the same.
    #[error(
        "{name}: holds a single distinct token, {token}, over and over: there is nothing to learn"
    )]
    SingleToken {
        /// The corpus.
        name: String,
        /// The token, made visible.
        token: String,
    },
    /// Reading or writing failed.
    #[error("{path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Standard input, where the text is needed again later.
    #[error("the corpus is standard input, which cannot be read a second time")]
    Stdin,
    /// A path that cannot be written into a settings file.
    #[error("{path}: this path is not valid UTF-8, so it cannot be recorded")]
    PathNotUtf8 {
        /// The path, with replacement characters.
        path: String,
    },
    /// A byte that is not UTF-8.
    #[error("{path}: line {line}, byte offset {offset}: the byte 0x{byte:02X} is not valid UTF-8")]
    InvalidUtf8 {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// The offset in the file, from 0.
        offset: u64,
        /// The byte.
        byte: u8,
        /// Whether the file starts with the mark of UTF-16.
        utf16: bool,
    },
    /// Bytes that mean nothing in the encoding given.
    #[error("{path}: line {line}, byte offset {offset}: these bytes are not valid {encoding}")]
    Malformed {
        /// The file.
        path: String,
        /// The line, from 1.
        line: u64,
        /// The offset in the file of the byte after the faulty ones.
        offset: u64,
        /// The encoding's name.
        encoding: String,
    },
    /// No encoding of this name.
    #[error("--encoding {label}: no encoding of this name")]
    UnknownEncoding {
        /// As it was given.
        label: String,
    },
    /// A token that the vocabulary does not hold.
    #[error("the model does not know {token} (character {position} of the text){}",
        nearest.as_ref().map(|n| format!("; the nearest that it knows is {n}")).unwrap_or_default())]
    UnknownToken {
        /// The token, its code points and names.
        token: String,
        /// Its place, counted in tokens from 1.
        position: u64,
        /// The nearest known token, made visible.
        nearest: Option<String>,
    },
    /// Fewer tokens than one batch needs.
    #[error(
        "the training text has {have} tokens, but --batch {batch} streams of --seq {seq} need {need}"
    )]
    ShorterThanBatch {
        /// Tokens there are.
        have: usize,
        /// Tokens needed.
        need: usize,
        /// Streams.
        batch: usize,
        /// Tokens a step.
        seq: usize,
    },
    /// A vocabulary that cannot be right.
    #[error("invalid vocabulary: {what}")]
    Vocabulary {
        /// What is wrong with it.
        what: String,
    },
    /// A file whose content cannot be read.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What the parser said.
        message: String,
    },
    /// A file of a format that this version does not know.
    #[error("{path}: format {found}, but this textgen reads up to format {newest}")]
    Format {
        /// The file.
        path: String,
        /// The format found.
        found: u64,
        /// The newest format known.
        newest: u64,
    },
}

impl TextError {
    /// What to do about it, in one line, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { bundled, .. } => Some(format!(
                "give a path, a file under corpora/, `-` for standard input, or a bundled corpus: {}",
                bundled.join(", ")
            )),
            Self::NoText { .. } => {
                Some("name the files themselves if they end in something else".to_owned())
            }
            Self::Stdin => Some("save the text to a file first, and name that file".to_owned()),
            Self::InvalidUtf8 { utf16: true, .. } => Some(
                "the file starts with the byte order mark of UTF-16: --encoding utf-16".to_owned(),
            ),
            Self::InvalidUtf8 { .. } => Some(
                "if the text is in an older encoding, name it: --encoding latin-1 (or windows-1252, \
                 …); --encoding lossy puts U+FFFD in place of every bad byte"
                    .to_owned(),
            ),
            Self::Malformed { .. } => Some(
                "the text may be in another encoding; --encoding lossy reads it as UTF-8 with U+FFFD \
                 in place of every bad byte"
                    .to_owned(),
            ),
            Self::UnknownEncoding { .. } => Some(
                "common ones: utf-8, lossy, latin-1, latin-2, iso-8859-15, windows-1250, windows-1251, \
                 windows-1252, koi8-r, macintosh, utf-16, shift_jis, euc-jp, gb18030, big5, euc-kr"
                    .to_owned(),
            ),
            Self::UnknownToken { nearest, .. } => Some(match nearest {
                Some(near) => format!(
                    "--on-unknown nearest writes {near} for it, --on-unknown skip leaves it out"
                ),
                None => "--on-unknown skip leaves it out".to_owned(),
            }),
            Self::ShorterThanBatch { have, batch, seq, .. } => {
                let usable = have.saturating_sub(1);
                let (seq_fits, batch_fits) = (usable / batch.max(&1), usable / seq.max(&1));
                Some(match (seq_fits, batch_fits) {
                    (0, 0) => "the text is too short for any batch: use a longer one".to_owned(),
                    (0, b) => format!("--batch {b} would fit"),
                    (s, 0) => format!("--seq {s} would fit"),
                    (s, b) => format!("--batch {b} or --seq {s} would fit"),
                })
            }
            Self::Format { .. } => Some("use a newer textgen".to_owned()),
            Self::Parse { .. } => Some("delete the file and make it again".to_owned()),
            _ => None,
        }
    }

    pub(super) fn io(path: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
