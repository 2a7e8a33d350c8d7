//! How a text is held out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// How a text is split. `contiguous`, `window:N` or `interleaved`, on the command line and in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SplitKind {
    /// Training first, then validation, then test; evaluation carries the state through.
    #[default]
    Contiguous,
    /// The same parts; evaluation cuts them into windows of N tokens with a zero state each.
    Window(usize),
    /// The last part of each of 50 equal streams.
    Interleaved,
}

impl FromStr for SplitKind {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let window = |text: &str| text.strip_prefix("window:")?.parse().ok();
        match (text, window(text)) {
            ("contiguous", _) => Ok(Self::Contiguous),
            ("interleaved", _) => Ok(Self::Interleaved),
            (_, Some(tokens)) if tokens > 0 => Ok(Self::Window(tokens)),
            _ => Err(ConfigError::Choice {
                flag: "split",
                value: text.to_owned(),
                valid: "contiguous, window:N (N at least 1), interleaved".to_owned(),
            }),
        }
    }
}

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contiguous => f.pad("contiguous"),
            Self::Window(n) => f.pad(&format!("window:{n}")),
            Self::Interleaved => f.pad("interleaved"),
        }
    }
}

impl From<SplitKind> for String {
    fn from(kind: SplitKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for SplitKind {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_read_as_it_is_written() {
        for text in ["contiguous", "window:256", "interleaved"] {
            assert_eq!(text.parse::<SplitKind>().expect("valid").to_string(), text);
        }
        for text in ["window", "window:0", "window:x", "Contiguous"] {
            assert!(text.parse::<SplitKind>().is_err(), "{text}");
        }
    }
}
