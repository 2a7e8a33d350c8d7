//! Words given as arguments, in a file or on standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::{ModelError, Word};
use anyhow::{Context, Result};
use clap::Args;

use super::Space;
use crate::cli::error::CliError;

#[derive(Args)]
pub struct GivenWords {
    /// The words; `-` reads them from standard input, one per line
    #[arg(value_name = "WORDS", required_unless_present = "file")]
    words: Vec<String>,
    /// A file with one word a line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl GivenWords {
    pub fn read(&self, space: &Space) -> Result<Vec<Word>> {
        let mut words = Vec::new();
        for word in &self.words {
            if word == "-" {
                words.extend(space.words_in("WORDS", Path::new("-"))?);
            } else {
                words.push(space.word(word)?);
            }
        }
        if let Some(file) = &self.file {
            words.extend(space.words_in("--file", file)?);
        }
        Ok(words)
    }
}

impl Space {
    /// Reads a word given as an argument.
    pub fn word(&self, word: &str) -> Result<Word> {
        self.read(&format!("{word:?}"), word, CliError::misuse)
    }

    /// Reads a word of a file; `place` is for messages.
    pub fn word_at(&self, place: &str, word: &str) -> Result<Word> {
        self.read(&format!("{place}: {word:?}"), word, CliError::failed)
    }

    fn read(
        &self,
        name: &str,
        word: &str,
        none: fn(String, &'static str) -> CliError,
    ) -> Result<Word> {
        match self.model.word(word, self.on_unknown) {
            Ok(mut word) => {
                self.replaced.add(std::mem::take(&mut word.replaced));
                Ok(word)
            }
            Err(ModelError::NoWord { .. }) => {
                let hint = match word.trim() {
                    "" => "give at least one letter",
                    _ => "none of its letters is known; --on-unknown nearest takes similar ones",
                };
                Err(none(format!("{name} is not a word"), hint).into())
            }
            Err(error) => Err(error).with_context(|| name.to_owned()),
        }
    }

    /// Reads the words of the file that a flag names, or of standard input (`-`): one per line.
    /// Blank lines are skipped.
    pub fn words_in(&self, flag: &str, path: &Path) -> Result<Vec<Word>> {
        let wanted = "a file with one word a line, or - for standard input";
        let lines = lines(flag, path, wanted)?;
        let words = lines.iter().map(|(place, line)| self.word_at(place, line));
        let words = words.collect::<Result<Vec<_>>>()?;
        if words.is_empty() {
            let message = format!("{}: it contains no words", name(path));
            return Err(CliError::failed(message, "write one word per line").into());
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

/// The lines of the file that a flag names, or of standard input (`-`), that are not blank, each with
/// its place for messages. `wanted` describes the file that the flag takes.
pub fn lines(flag: &str, path: &Path, wanted: &str) -> Result<Vec<(String, String)>> {
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
    let lines = text.strip_prefix('\u{FEFF}').unwrap_or(&text).lines();
    let place = |number: usize| format!("{}: line {number}", name(path));
    let placed = (1..).zip(lines).filter(|(_, line)| !line.trim().is_empty());
    Ok(placed
        .map(|(number, line)| (place(number), line.to_owned()))
        .collect())
}
