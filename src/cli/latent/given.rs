//! Words that the user gives: as arguments, in a file, on standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use textgen::text::normalize;

use super::WordModel;
use crate::cli::error::CliError;

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
    /// As symbols, without `<bos>` and `<eos>`.
    pub letters: Vec<u32>,
}

impl GivenWords {
    /// Reads them for a model.
    pub fn read(&self, model: &WordModel) -> Result<Vec<Given>> {
        let mut words = Vec::new();
        for word in &self.words {
            if word == "-" {
                words.extend(model.words_in(Path::new("-"))?);
            } else {
                words.push(model.given(word)?);
            }
        }
        if let Some(file) = &self.file {
            words.extend(model.words_in(file)?);
        }
        Ok(words)
    }
}

impl WordModel {
    /// A word given as an argument.
    pub fn given(&self, word: &str) -> Result<Given> {
        let text = normalize(word, &self.header.text).trim().to_owned();
        let empty = |hint: &str| CliError::misuse(format!("{word:?} is no word"), hint);
        if text.is_empty() {
            return Err(empty("give at least one letter").into());
        }
        let vocabulary = &self.header.vocabulary;
        let letters = vocabulary
            .encode(&text, self.on_unknown)
            .with_context(|| format!("{word:?}"))?;
        if letters.is_empty() {
            let hint = "none of its letters is known; --on-unknown nearest takes similar ones";
            return Err(empty(hint).into());
        }
        Ok(Given {
            text: vocabulary.decode(&letters),
            letters,
        })
    }

    /// The words of a file, one a line, or of standard input (`-`). Blank lines are passed over.
    pub fn words_in(&self, path: &Path) -> Result<Vec<Given>> {
        let mut words = Vec::new();
        for (number, line) in lines(path)? {
            let place = || format!("{}: line {number}", name(path));
            words.push(self.given(&line).with_context(place)?);
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

/// The lines of a file, or of standard input (`-`), that are not blank, with their numbers from 1.
pub fn lines(path: &Path) -> Result<Vec<(usize, String)>> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    let text = String::from_utf8(bytes.with_context(|| name(path))?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{}: not UTF-8 at byte offset {at}", name(path));
        CliError::failed(message, "convert it first, with iconv for example")
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let lines = text.lines().zip(1..).map(|(line, n)| (n, line.to_owned()));
    Ok(lines.filter(|(_, line)| !line.trim().is_empty()).collect())
}
