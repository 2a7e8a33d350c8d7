//! What a document is: `--documents`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::value::Value;

/// The names, before a separator.
const VALID: &[&str] = &[
    "none",
    "file",
    "record",
    "line",
    "blank-line",
    "or a separator such as --- or <|endoftext|>, which is more than small letters",
];

/// What a document of a text is. A char-lstm reads each from a zero state, and writes it to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Documents {
    /// There are no documents: all of the text is one stream.
    #[default]
    None,
    /// A file, also one in an archive.
    File,
    /// A record of a .jsonl, .ndjson, .csv or .tsv file; a file of another kind as a whole.
    Record,
    /// A line that is not empty.
    Line,
    /// What is between blank lines.
    BlankLine,
    /// What is between these characters, as they are typed, with escapes.
    Between(String),
}

impl Documents {
    /// Reads the value of a flag, or returns what is wrong with it.
    #[cfg(feature = "cli")]
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::read(text)
    }

    /// Whether there are none.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::File => "file",
            Self::Record => "record",
            Self::Line => "line",
            Self::BlankLine => "blank-line",
            Self::Between(typed) => typed,
        })
    }
}

impl FromStr for Documents {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Ok(match text {
            "none" => Self::None,
            "file" => Self::File,
            "record" => Self::Record,
            "line" => Self::Line,
            "blank-line" => Self::BlankLine,
            // A word is more likely one of these names, misspelt, than a separator.
            text if is_name(text) => return Err(ConfigError::choice("documents", text, VALID)),
            separator => Self::Between(separator.to_owned()),
        })
    }
}

fn is_name(text: &str) -> bool {
    let name = text.trim().to_lowercase();
    let is_of_word = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
    let is_word =
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(is_of_word);
    text.is_empty() || is_word || VALID.contains(&&*name)
}

impl From<Documents> for String {
    fn from(documents: Documents) -> Self {
        documents.to_string()
    }
}

impl TryFrom<String> for Documents {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl Value for Documents {
    const HAS_HYPHENS: bool = true;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(ConfigError::reason)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_no_separator() {
        for text in [
            "none",
            "file",
            "record",
            "line",
            "blank-line",
            "---",
            "<|endoftext|>",
            r"\n%\n",
            "END",
        ] {
            assert_eq!(text.parse::<Documents>().expect(text).to_string(), text);
        }
        for text in ["", "lines", "blank_line", "Line", "NONE", " file"] {
            let error = text.parse::<Documents>().expect_err(text).to_string();
            assert!(error.contains("blank-line"), "{error}");
        }
    }
}
