//! The vocabulary last reported by `textgen vocab`, which `train` uses by default.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RunError, atomic, disk};
use crate::config::{Settings, TextConfig};
use crate::text::Vocabulary;

/// The `format` written, and the only one read.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "vocab.json";

/// The result of `vocab`: the corpus, its text settings and its vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVocab {
    format: u32,
    /// What [`crate::text::Corpus::resolve`] takes to find the corpus again; `-` for standard input.
    pub corpus: Vec<String>,
    /// The corpus's short name, after which runs are named.
    pub name: String,
    /// The text settings.
    pub text: TextConfig,
    /// Whether the limit on the vocabulary's size was given; if not, training chooses one, too. Older files do not say.
    #[serde(default = "yes")]
    pub is_limited: bool,
    /// The vocabulary; of the tokens cut, only the number.
    pub vocabulary: Vocabulary,
}

const fn yes() -> bool {
    true
}

/// The fields that every format has.
#[derive(Deserialize)]
struct VocabHeader {
    format: u32,
}

impl LastVocab {
    /// Collects the result of `vocab`.
    pub fn new(
        corpus: Vec<String>,
        name: String,
        text: TextConfig,
        is_limited: bool,
        vocabulary: Vocabulary,
    ) -> Self {
        Self {
            format: FORMAT,
            corpus,
            name,
            text,
            is_limited,
            vocabulary,
        }
    }

    /// The text settings that training takes over.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::of_text(&self.text);
        if !self.is_limited {
            settings.max_vocab = None;
        }
        settings
    }

    /// `vocab.json` in the folder of the runs.
    pub fn path(runs: &Path) -> PathBuf {
        runs.join(FILE_NAME)
    }

    /// Writes `vocab.json` into the folder of the runs, which is created if it is missing. A file of that name that is none
    /// is not replaced.
    pub fn save(&self, runs: &Path) -> Result<PathBuf, RunError> {
        let path = Self::path(runs);
        let found = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(RunError::io(&path)(error)),
        };
        if !is_own(&found) {
            let reason = "exists already and is not a vocabulary that textgen wrote";
            let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, reason);
            return Err(RunError::Write { path, source });
        }
        let json = serde_json::to_vec(self).map_err(|error| RunError::damaged(&path, error))?;
        disk::create_folders(runs).map_err(RunError::write(runs))?;
        atomic::write(&path, &[&json, b"\n"])?;
        Ok(path)
    }

    /// Reads `vocab.json` from the folder of the runs; `None` if `vocab` was never run.
    pub fn load(runs: &Path) -> Result<Option<Self>, RunError> {
        let path = Self::path(runs);
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RunError::io(&path)(error)),
        };
        let damaged = |error| RunError::damaged(&path, error);
        if !is_own(&json) {
            let reason = "is not a vocabulary that textgen wrote: move it, or name a corpus";
            return Err(RunError::damaged(&path, reason));
        }
        let VocabHeader { format } = serde_json::from_slice(&json).map_err(damaged)?;
        if format != FORMAT {
            return Err(RunError::Format {
                path,
                what: "vocabulary",
                found: format,
                oldest: FORMAT,
                newest: FORMAT,
            });
        }
        serde_json::from_slice(&json).map(Some).map_err(damaged)
    }
}

/// Whether a file begins as textgen writes it, or has nothing in it that could be lost.
fn is_own(json: &[u8]) -> bool {
    let format = json.strip_prefix(b"{\"format\":");
    json.is_empty() || format.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unit;
    use crate::text::Token;

    fn example() -> LastVocab {
        let counts = [(Token::Text("a".into()), 3), (Token::Text("\n".into()), 1)];
        let vocabulary = Vocabulary::from_counts(Unit::Char, &counts, 2, 400);
        LastVocab::new(
            vec!["-".into()],
            "stdin".into(),
            TextConfig::default(),
            true,
            vocabulary,
        )
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        assert_eq!(LastVocab::load(&runs).unwrap(), None);
        let path = example().save(&runs).unwrap();
        assert_eq!(LastVocab::load(&runs).unwrap(), Some(example()));
        assert_eq!(
            std::fs::read_dir(&runs).unwrap().count(),
            1,
            "{}",
            path.display()
        );
    }

    #[test]
    fn a_newer_format_is_refused_clearly() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(LastVocab::path(dir.path()), r#"{"format":2,"new":true}"#).unwrap();
        let error = LastVocab::load(dir.path()).unwrap_err();
        assert!(
            matches!(error, RunError::Format { found: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let json = serde_json::to_string(&example()).unwrap();
        for bad in [
            &json[..json.len() / 2],
            "[]",
            &json.replace("\"unk\":1", "\"unk\":7"),
        ] {
            std::fs::write(LastVocab::path(dir.path()), bad).unwrap();
            let error = LastVocab::load(dir.path()).unwrap_err().to_string();
            assert!(error.contains("vocab.json"), "{error}");
        }
    }
}
