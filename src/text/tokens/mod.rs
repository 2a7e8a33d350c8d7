//! The passes over a corpus: survey it, turn it into tokens, list its words.

use std::collections::HashMap;

use super::chunks::CHUNK_BYTES;
use super::counts::{Counter, blocks};
use super::normal::{Changes, Normalizer};
use super::pipeline::{Made, for_each_chunk};
use super::unicode::{count_words, strip_punctuation, visible};
use super::vocab::{Token, Vocabulary};
use super::{Corpus, TextError};
use crate::config::{TextConfig, Unit, WordSplit};

/// Text in the form that `config` asks for, as prompts need it.
pub fn normalize(text: &str, config: &TextConfig) -> String {
    Normalizer::new(config).apply(text).into_owned()
}

/// What one pass over a corpus tells about it. Characters, lines, words and tokens are those of
/// the normalised text.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The corpus's name.
    pub name: String,
    /// Raw bytes read.
    pub bytes: u64,
    /// Unicode scalar values.
    pub chars: u64,
    /// Lines; the last need not end in a line feed.
    pub lines: u64,
    /// Words: runs of anything but white space.
    pub words: u64,
    /// Tokens of the unit.
    pub tokens: u64,
    /// Every token with its count, most frequent first, ties by code point.
    pub counts: Vec<(Token, u64)>,
    /// What normalisation changed.
    pub changes: Changes,
}

impl Survey {
    /// An error where there is nothing to learn: a single distinct token.
    pub fn check_trainable(&self) -> Result<(), TextError> {
        match &self.counts[..] {
            [] => Err(TextError::Empty {
                name: self.name.clone(),
            }),
            [(token, _)] => Err(TextError::SingleToken {
                name: self.name.clone(),
                token: token.visible(),
            }),
            _ => Ok(()),
        }
    }

    /// Order-0 entropy, in bits per character.
    pub fn entropy_bits_per_char(&self) -> f64 {
        let total = self.tokens as f64;
        let bits = |n: u64| n as f64 * (total / n as f64).log2();
        self.counts.iter().map(|&(_, n)| bits(n)).sum::<f64>() / (self.chars as f64).max(1.0)
    }
}

/// Surveys a corpus in one pass, in constant memory.
pub fn survey(corpus: &Corpus, config: &TextConfig) -> Result<Survey, TextError> {
    survey_with_progress(corpus, config, |_| {})
}

/// As [`survey`]; `progress` is told the raw bytes read so far.
pub fn survey_with_progress(
    corpus: &Corpus,
    config: &TextConfig,
    progress: impl FnMut(u64),
) -> Result<Survey, TextError> {
    survey_in_chunks(corpus, config, CHUNK_BYTES, progress)
}

/// What the survey needs to know of a chunk, in order.
struct Piece {
    words: u64,
    newlines: u64,
    starts_in_word: bool,
    ends_in_word: bool,
    ends_line: bool,
    empty: bool,
}

impl Piece {
    fn of(text: &str) -> Self {
        let mut in_word = false;
        let words = blocks(text)
            .map(|block| count_words(block, &mut in_word))
            .sum();
        Self {
            words,
            newlines: memchr::memchr_iter(b'\n', text.as_bytes()).count() as u64,
            starts_in_word: text.starts_with(|c: char| !c.is_whitespace()),
            ends_in_word: in_word,
            ends_line: text.ends_with('\n'),
            empty: text.is_empty(),
        }
    }
}

fn survey_in_chunks(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    mut progress: impl FnMut(u64),
) -> Result<Survey, TextError> {
    let (mut bytes, mut lines, mut words) = (0, 0, 0);
    let (mut in_word, mut in_line) = (false, false);
    let states = for_each_chunk(
        corpus,
        config,
        chunk_bytes,
        || Counter::new(config.unit),
        |counter, text| {
            counter.count(text);
            Piece::of(text)
        },
        |Made {
             result: piece,
             first,
             raw_bytes,
         }| {
            bytes += raw_bytes;
            progress(bytes);
            if first {
                // A word or a line never spans two files.
                lines += u64::from(in_line);
                (in_word, in_line) = (false, false);
            }
            if !piece.empty {
                words += piece.words - u64::from(in_word && piece.starts_in_word);
                lines += piece.newlines;
                (in_word, in_line) = (piece.ends_in_word, !piece.ends_line);
            }
            Ok(())
        },
    )?;
    let (counters, normalizers): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let chars = counters.iter().map(|c| c.scalars).sum();
    let counts = Counter::sum(counters);
    if counts.is_empty() {
        return Err(TextError::Empty {
            name: corpus.name.clone(),
        });
    }
    Ok(Survey {
        name: corpus.name.clone(),
        bytes,
        chars,
        lines: lines + u64::from(in_line),
        words,
        tokens: counts.iter().map(|&(_, n)| n).sum(),
        counts,
        changes: Normalizer::sum_changes(normalizers),
    })
}

/// The corpus as token ids, the sources one after the other. What the vocabulary does not hold
/// becomes `<unk>`, or is an error where the vocabulary has none.
pub fn tokens(
    corpus: &Corpus,
    config: &TextConfig,
    vocab: &Vocabulary,
) -> Result<Vec<u32>, TextError> {
    tokens_in_chunks(corpus, config, vocab, CHUNK_BYTES)
}

fn tokens_in_chunks(
    corpus: &Corpus,
    config: &TextConfig,
    vocab: &Vocabulary,
    chunk_bytes: usize,
) -> Result<Vec<u32>, TextError> {
    let encoder = vocab.encoder();
    let mut tokens = Vec::new();
    for_each_chunk(
        corpus,
        config,
        chunk_bytes,
        || (),
        |(), text| {
            let mut ids = Vec::with_capacity(text.len());
            let mut unknown = None;
            encoder.for_each(text, |id, token| match id.or(vocab.unk()) {
                Some(id) => ids.push(id),
                None if unknown.is_none() => unknown = Some((ids.len(), token.to_token())),
                None => {}
            });
            (ids, unknown)
        },
        |Made {
             result: (ids, unknown),
             ..
         }| {
            if let Some((at, token)) = unknown {
                return Err(vocab.unknown(&token, (tokens.len() + at) as u64 + 1));
            }
            tokens.extend_from_slice(&ids);
            Ok(())
        },
    )?;
    if tokens.is_empty() {
        return Err(TextError::Empty {
            name: corpus.name.clone(),
        });
    }
    Ok(tokens)
}

/// A whole corpus in the form that `config` asks for, the sources one after the other; `progress` is
/// told the raw bytes read so far.
pub fn whole(
    corpus: &Corpus,
    config: &TextConfig,
    mut progress: impl FnMut(u64),
) -> Result<String, TextError> {
    let (mut whole, mut bytes) = (String::new(), 0);
    for_each_chunk(
        corpus,
        config,
        CHUNK_BYTES,
        || (),
        |(), text| text.to_owned(),
        |Made {
             result: text,
             raw_bytes,
             ..
         }| {
            bytes += raw_bytes;
            progress(bytes);
            whole.push_str(&text);
            Ok(())
        },
    )?;
    if whole.is_empty() {
        return Err(TextError::Empty {
            name: corpus.name.clone(),
        });
    }
    Ok(whole)
}

/// The words of a corpus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordList {
    /// Every word once, in the order of first appearance.
    pub words: Vec<String>,
    /// How often each of these words appears, in their order.
    pub times: Vec<u64>,
    /// Further appearances of words in the list.
    pub duplicates: u64,
    /// Words that were nothing but punctuation, or lines that were nothing but white space.
    pub empty: u64,
}

impl WordList {
    /// How often every token stands in the listed words, most frequent first.
    pub fn counts(&self, unit: Unit) -> Vec<(Token, u64)> {
        let mut counter = Counter::new(unit);
        self.words.iter().for_each(|word| counter.count(word));
        Counter::sum([counter])
    }
}

/// The words of a corpus: normalised, split as `config.words` says, every one once.
pub fn words(corpus: &Corpus, config: &TextConfig) -> Result<WordList, TextError> {
    words_with_progress(corpus, config, |_| {})
}

/// As [`words`]; `progress` is told the raw bytes read so far.
pub fn words_with_progress(
    corpus: &Corpus,
    config: &TextConfig,
    progress: impl FnMut(u64),
) -> Result<WordList, TextError> {
    words_in_chunks(corpus, config, CHUNK_BYTES, progress)
}

fn words_in_chunks(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    mut progress: impl FnMut(u64),
) -> Result<WordList, TextError> {
    let mut list = Lister {
        list: WordList::default(),
        seen: HashMap::new(),
        split: config.words,
        part: String::new(),
    };
    let mut bytes = 0;
    for_each_chunk(
        corpus,
        config,
        chunk_bytes,
        || (),
        |(), text| text.to_owned(),
        |Made {
             result: text,
             first,
             raw_bytes,
         }| {
            bytes += raw_bytes;
            progress(bytes);
            if first {
                list.end();
            }
            list.take(&text);
            Ok(())
        },
    )?;
    list.end();
    if list.list.words.is_empty() {
        return Err(TextError::Empty {
            name: corpus.name.clone(),
        });
    }
    Ok(list.list)
}

/// Collects words from pieces of text that may end inside one.
struct Lister {
    list: WordList,
    /// The place of every word in the list.
    seen: HashMap<String, usize>,
    split: WordSplit,
    /// The beginning of a word that the text so far ended in.
    part: String,
}

impl Lister {
    fn take(&mut self, text: &str) {
        let lines = self.split == WordSplit::Lines;
        let is_end = |c: char| {
            if lines {
                c == '\n' || c == '\r'
            } else {
                c.is_whitespace()
            }
        };
        let mut start = 0;
        for (at, end) in text.match_indices(is_end) {
            self.part.push_str(&text[start..at]);
            self.end();
            start = at + end.len();
        }
        self.part.push_str(&text[start..]);
    }

    fn end(&mut self) {
        if self.part.is_empty() {
            return;
        }
        let word = match self.split {
            WordSplit::Lines => self.part.trim(),
            WordSplit::Text => strip_punctuation(&self.part),
        };
        if word.is_empty() {
            self.list.empty += 1;
        } else if let Some(&index) = self.seen.get(word) {
            self.list.duplicates += 1;
            self.list.times[index] += 1;
        } else {
            self.seen.insert(word.to_owned(), self.list.words.len());
            self.list.words.push(word.to_owned());
            self.list.times.push(1);
        }
        self.part.clear();
    }
}

impl Token {
    /// As it can be shown in a table or a message.
    pub fn visible(&self) -> String {
        match self {
            Self::Text(text) => visible(text),
            Self::Byte(byte) if byte.is_ascii() => visible(&char::from(*byte).to_string()),
            Self::Byte(byte) => format!("\\x{byte:02x}"),
            Self::Unk => "<unk>".to_owned(),
            Self::Bos => "<bos>".to_owned(),
            Self::Eos => "<eos>".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
