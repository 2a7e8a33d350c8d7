//! Words that the user gives: as arguments, in a file, on standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::text::{TextError, normalize};
use anyhow::{Context, Result};
use clap::Args;

use super::WordModel;
use crate::cli::error::CliError;

/// What to do with a word of which nothing is known.
const NOTHING_KNOWN: &str = "none of its letters is known; --on-unknown nearest takes similar ones";

/// Words.
#[derive(Args)]
pub struct GivenWords {
    /// The words; `-` reads them from standard input, one a line
    #[arg(value_name = "WORDS", required_unless_present = "file")]
    words: Vec<String>,
    /// A file with one word a line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A word in the model's normal form.
#[derive(Clone, Debug)]
pub struct Given {
    /// As text.
    pub text: String,
    /// As tokens, without `<bos>` and `<eos>`.
    pub letters: Vec<u32>,
}

impl GivenWords {
    /// Reads them for a model.
    pub fn read(&self, model: &WordModel) -> Result<Vec<Given>> {
        let mut words = Vec::new();
        for word in &self.words {
            if word == "-" {
                words.extend(model.words_in("WORDS", Path::new("-"))?);
            } else {
                words.push(model.given(word)?);
            }
        }
        if let Some(file) = &self.file {
            words.extend(model.words_in("--file", file)?);
        }
        Ok(words)
    }
}

impl WordModel {
    /// A word given as an argument.
    pub fn given(&self, word: &str) -> Result<Given> {
        let given = self.read(word).with_context(|| format!("{word:?}"))?;
        Ok(given.ok_or_else(|| {
            let hint = match word.trim() {
                "" => "give at least one letter",
                _ => NOTHING_KNOWN,
            };
            CliError::misuse(format!("{word:?} is no word"), hint)
        })?)
    }

    /// A word of a file, which stands at this place.
    pub fn given_at(&self, place: &str, word: &str) -> Result<Given> {
        let given = self.read(word);
        let given = given.with_context(|| format!("{place}: {word:?}"))?;
        Ok(given.ok_or_else(|| {
            CliError::failed(format!("{place}: {word:?} is no word"), NOTHING_KNOWN)
        })?)
    }

    /// A word in the model's normal form; none where nothing is left of it.
    fn read(&self, word: &str) -> Result<Option<Given>, TextError> {
        let vocabulary = &self.header.vocabulary;
        let text = normalize(word, &self.header.text);
        let letters = self
            .replaced
            .encode(vocabulary, text.trim(), self.on_unknown)?;
        let text = vocabulary.decode(&letters);
        Ok((!letters.is_empty()).then_some(Given { text, letters }))
    }

    /// The words of the file that a flag names, one a line, or of standard input (`-`). Blank lines
    /// are passed over.
    pub fn words_in(&self, flag: &str, path: &Path) -> Result<Vec<Given>> {
        let wanted = "a file with one word a line, or - for standard input";
        let mut words = Vec::new();
        for (number, line) in lines(flag, path, wanted)? {
            let place = format!("{}: line {number}", name(path));
            words.push(self.given_at(&place, &line)?);
        }
        if words.is_empty() {
            let message = format!("{}: holds no word", name(path));
            return Err(CliError::failed(message, "write one word a line").into());
        }
        Ok(words)
    }
}

fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// The lines of the file that a flag names, or of standard input (`-`), that are not blank, with their
/// numbers from 1. `wanted` says what file the flag takes.
pub fn lines(flag: &str, path: &Path, wanted: &str) -> Result<Vec<(usize, String)>> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map(|_| bytes).with_context(|| name(path))?
    } else {
        std::fs::read(path).map_err(|error| CliError::unreadable(flag, path, &error, wanted))?
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{}: not UTF-8 at byte offset {at}", name(path));
        CliError::failed(message, "convert it first, with iconv for example")
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let lines = text.lines().zip(1..).map(|(line, n)| (n, line.to_owned()));
    Ok(lines.filter(|(_, line)| !line.trim().is_empty()).collect())
}
