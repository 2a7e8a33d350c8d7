//! Counts the words of a corpus for a word-vae, and their repetitions.

use std::fmt::Write as _;

use crate::config::{TextConfig, WordSplit};
use crate::text::{Corpus, TextError, WordList, visible, words};
use indicatif::HumanCount;
use serde_json::{Value, json};

use crate::cli::output::counted;
use crate::cli::progress::Progress;

/// The number of repeated words shown.
const SHOWN: usize = 12;

/// The words of a corpus, counted.
pub struct Words {
    list: WordList,
    split: WordSplit,
}

impl Words {
    /// Counts the words.
    pub fn count(
        corpus: &Corpus,
        config: &TextConfig,
        split: WordSplit,
    ) -> Result<Self, TextError> {
        let progress = Progress::new(corpus.size_bytes());
        let list = words(corpus, config, |bytes| progress.show(bytes));
        progress.end();
        Ok(Self { list: list?, split })
    }

    /// The most frequent words, each occurring more than once; ties in order of appearance.
    fn repeated(&self) -> Vec<(&str, u64)> {
        let words = self.list.words.iter().map(String::as_str);
        let counted = words.zip(self.list.times.iter().copied());
        let mut repeated: Vec<(&str, u64)> = counted.filter(|&(_, times)| times > 1).collect();
        repeated.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
        repeated
    }

    fn all(&self) -> u64 {
        self.list.words.len() as u64 + self.list.duplicates
    }

    pub fn to_text(&self) -> String {
        let list = &self.list;
        let mut text = format!(
            "\nwords ({}): {} in all, {} distinct, {}",
            self.split,
            HumanCount(self.all()),
            HumanCount(list.words.len() as u64),
            counted(list.duplicates, "repetition")
        );
        if list.empty > 0 {
            let what = match self.split {
                WordSplit::Lines => "blank",
                WordSplit::Text => "of punctuation alone",
            };
            let _ = write!(text, "; {} {what} passed over", HumanCount(list.empty));
        }
        text.push('\n');
        let repeated = self.repeated();
        let shown = repeated.iter().take(SHOWN);
        let shown: Vec<String> = shown
            .map(|&(word, times)| format!("{} × {}", HumanCount(times), visible(word)))
            .collect();
        if !shown.is_empty() {
            let more = match repeated.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {} more", HumanCount(more as u64)),
            };
            let _ = writeln!(text, "repeated: {}{more}", shown.join(", "));
        }
        text
    }

    pub fn to_json(&self) -> Value {
        let repeated = self.repeated();
        let most: Vec<Value> = repeated
            .iter()
            .take(100)
            .map(|(word, times)| json!({"word": word, "count": times}))
            .collect();
        json!({
            "split": self.split,
            "words": self.all(),
            "distinct": self.list.words.len(),
            "repetitions": self.list.duplicates,
            "repeated": repeated.len(),
            "empty": self.list.empty,
            "most_repeated": most,
        })
    }
}
