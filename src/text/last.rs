//! The vocabulary last reported by `textgen vocab`, kept so that `train` can take it up.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{TextError, Vocabulary};
use crate::config::TextConfig;

/// The `format` written, and the newest that is read.
const FORMAT: u64 = 1;
const FILE_NAME: &str = "vocab.json";

/// What `vocab` found out: the corpus, how it was read, and its vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVocab {
    format: u64,
    /// What [`super::Corpus::resolve`] takes to find the corpus again; `-` for standard input.
    pub corpus: Vec<String>,
    /// The corpus's name.
    pub name: String,
    /// How its text became tokens.
    pub text: TextConfig,
    /// The tokens.
    pub vocabulary: Vocabulary,
}

/// The part that every format has.
#[derive(Deserialize)]
struct Header {
    format: u64,
}

impl LastVocab {
    /// Puts the parts together.
    pub fn new(
        corpus: Vec<String>,
        name: String,
        text: TextConfig,
        vocabulary: Vocabulary,
    ) -> Self {
        Self {
            format: FORMAT,
            corpus,
            name,
            text,
            vocabulary,
        }
    }

    /// Where it is kept: `vocab.json` in the folder of the runs.
    pub fn path(runs: &Path) -> PathBuf {
        runs.join(FILE_NAME)
    }

    /// Writes it into the folder of the runs, which is made where it is missing. The file is
    /// written beside, synced, then renamed, so that a reader finds the old one or the new one.
    pub fn save(&self, runs: &Path) -> Result<PathBuf, TextError> {
        let path = Self::path(runs);
        let failed = |e: std::io::Error| TextError::io(path.display().to_string())(e);
        let mut json = serde_json::to_vec(self).map_err(|e| failed(e.into()))?;
        json.push(b'\n');
        std::fs::create_dir_all(runs).map_err(failed)?;
        let mut file = tempfile::Builder::new()
            .prefix(".vocab-")
            .tempfile_in(runs)
            .map_err(failed)?;
        file.write_all(&json).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(path)
    }

    /// Reads it from the folder of the runs; `None` where `vocab` was never run.
    pub fn load(runs: &Path) -> Result<Option<Self>, TextError> {
        let path = Self::path(runs);
        let name = path.display().to_string();
        let json = match std::fs::read(&path) {
            Ok(json) => json,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(TextError::io(name)(e)),
        };
        let failed = |e: serde_json::Error| TextError::Parse {
            path: name.clone(),
            message: e.to_string(),
        };
        let header: Header = serde_json::from_slice(&json).map_err(failed)?;
        if header.format != FORMAT {
            return Err(TextError::Format {
                path: name,
                found: header.format,
                newest: FORMAT,
            });
        }
        serde_json::from_slice(&json).map(Some).map_err(failed)
    }
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
            matches!(error, TextError::Format { found: 2, .. }),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("newer"));
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
