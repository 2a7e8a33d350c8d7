//! The passes over a corpus: survey it, turn it into tokens, list its words.

use std::collections::HashMap;

use super::counts::{Counter, blocks};
use super::documents::BOUNDARY;
use super::normal::{Changes, Normalizer};
use super::pipeline::{Made, for_each_chunk};
use super::reading::CHUNK_BYTES;
use super::unicode::{count_words, strip_punctuation};
use super::vocab::{Token, Vocabulary};
use super::{Corpus, TextError};
use crate::config::{TextConfig, Unit, WordSplit};

/// Normalises a short text, such as a prompt, as `config` asks for.
pub fn normalize(text: &str, config: &TextConfig) -> String {
    Normalizer::new(config).apply(text).into_owned()
}

/// The results of one pass over a corpus. Characters, lines, words and tokens are those of the
/// normalised text.
#[derive(Clone, Debug, PartialEq)]
pub struct Survey {
    /// The corpus's short name.
    pub name: String,
    /// Raw bytes read, before decoding.
    pub bytes: u64,
    /// Unicode scalar values, whatever the unit is.
    pub chars: u64,
    /// Lines; the last need not end in a line feed.
    pub lines: u64,
    /// Words: runs of anything but white space.
    pub words: u64,
    /// Tokens of the unit, without `<eos>`.
    pub tokens: u64,
    /// Documents; 0 if the text is one stream.
    pub documents: u64,
    /// Every token with its count, most frequent first, ties by code point.
    pub counts: Vec<(Token, u64)>,
    /// The changes by normalisation, with examples.
    pub changes: Changes,
}

impl Survey {
    /// The tokens that a model reads: with `<eos>` before every document and after the last one.
    pub fn all_tokens(&self) -> u64 {
        self.tokens + self.documents + u64::from(self.documents > 0)
    }

    /// Returns an error, which calls the corpus `name`, if there is nothing to learn: a single distinct token.
    pub fn check_trainable(&self, name: &str) -> Result<(), TextError> {
        match &self.counts[..] {
            [(token, _)] => Err(TextError::SingleToken {
                name: name.to_owned(),
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

/// Surveys a corpus in one pass, in constant memory; `progress` is called with the raw bytes read so far.
pub fn survey(
    corpus: &Corpus,
    config: &TextConfig,
    progress: impl FnMut(u64),
) -> Result<Survey, TextError> {
    survey_in_chunks(corpus, config, CHUNK_BYTES, progress)
}

/// Calls `sink` with the result of `work` for every chunk of normalised text, and whether the chunk is
/// the first of its source; `progress` is called with the raw bytes read so far.
fn pass<R: Send, E: From<TextError>>(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    mut progress: impl FnMut(u64),
    work: impl Fn(&str) -> R + Sync,
    mut sink: impl FnMut(R, bool) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = 0;
    let take = |made: Made<R>| {
        bytes += made.raw_bytes;
        progress(bytes);
        sink(made.result, made.first)
    };
    for_each_chunk(
        corpus,
        config,
        chunk_bytes,
        || (),
        |(), text| work(text),
        take,
    )?;
    Ok(())
}

/// The result, or an error if the corpus is empty.
fn unless_empty<R>(corpus: &Corpus, is_empty: bool, made: R) -> Result<R, TextError> {
    let empty = || TextError::Empty {
        name: corpus.shown(),
    };
    (!is_empty).then_some(made).ok_or_else(empty)
}

/// The facts about a chunk that the survey needs in order.
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
    let (mut bytes, mut lines, mut words, mut boundaries) = (0u64, 0, 0, 0u64);
    let (mut in_word, mut in_line) = (false, false);
    let states = for_each_chunk(
        corpus,
        config,
        chunk_bytes,
        || Counter::new(config.unit),
        |counter, text| {
            let count = |part| {
                counter.count(part);
                Piece::of(part)
            };
            if config.documents.is_none() {
                return std::iter::once(text).map(count).collect::<Vec<_>>();
            }
            text.split(BOUNDARY).map(count).collect()
        },
        |Made {
             result: pieces,
             first,
             raw_bytes,
         }| {
            bytes += raw_bytes;
            progress(bytes);
            for (index, piece) in pieces.iter().enumerate() {
                boundaries += u64::from(index > 0);
                if first || index > 0 {
                    // A word or a line never spans two files or documents.
                    lines += u64::from(in_line);
                    (in_word, in_line) = (false, false);
                }
                if !piece.empty {
                    words += piece.words - u64::from(in_word && piece.starts_in_word);
                    lines += piece.newlines;
                    (in_word, in_line) = (piece.ends_in_word, !piece.ends_line);
                }
            }
            Ok::<_, TextError>(())
        },
    )?;
    let (counters, normalizers): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let chars = counters.iter().map(|c| c.scalars).sum();
    let counts = Counter::sum(counters);
    let counts = unless_empty(corpus, counts.is_empty(), counts)?;
    Ok(Survey {
        name: corpus.name.clone(),
        bytes,
        chars,
        lines: lines + u64::from(in_line),
        words,
        tokens: counts.iter().map(|&(_, n)| n).sum(),
        documents: boundaries.saturating_sub(1),
        counts,
        changes: Normalizer::sum_changes(normalizers),
    })
}

/// Turns the corpus into token ids, piece by piece, the sources one after the other. `sink` gets what `pack`
/// makes of each piece. Tokens outside the vocabulary become `<unk>`, or are an error if the vocabulary has
/// none. `progress` is called with the raw bytes read so far.
pub fn tokens<P: Send, E: From<TextError>>(
    corpus: &Corpus,
    config: &TextConfig,
    vocab: &Vocabulary,
    progress: impl FnMut(u64),
    pack: impl Fn(&[u32]) -> P + Sync,
    sink: impl FnMut(P) -> Result<(), E>,
) -> Result<(), E> {
    tokens_in_chunks(corpus, config, vocab, CHUNK_BYTES, progress, pack, sink)
}

/// A chunk as tokens.
struct Encoded<P> {
    count: u64,
    packed: P,
    /// The first token that is not in the vocabulary, if that has no `<unk>`, and its position.
    unknown: Option<(usize, Token)>,
}

fn tokens_in_chunks<P: Send, E: From<TextError>>(
    corpus: &Corpus,
    config: &TextConfig,
    vocab: &Vocabulary,
    chunk_bytes: usize,
    mut progress: impl FnMut(u64),
    pack: impl Fn(&[u32]) -> P + Sync,
    mut sink: impl FnMut(P) -> Result<(), E>,
) -> Result<(), E> {
    let encoder = vocab.encoder();
    let encode = |ids: &mut Vec<u32>, text: &str| {
        ids.clear();
        let mut unknown = None;
        encoder.for_each(text, |id, token| match id.or(vocab.unk()) {
            Some(id) => ids.push(id),
            None if unknown.is_none() => unknown = Some((ids.len(), token.to_token())),
            None => {}
        });
        let count = ids.len() as u64;
        Encoded {
            count,
            packed: pack(ids),
            unknown,
        }
    };
    let (mut before, mut bytes) = (0, 0);
    let take = |made: Made<Encoded<P>>| {
        bytes += made.raw_bytes;
        progress(bytes);
        let Encoded {
            count,
            packed,
            unknown,
        } = made.result;
        if let Some((at, token)) = unknown {
            return Err(vocab.unknown(&token, before + at as u64 + 1).into());
        }
        before += count;
        sink(packed)
    };
    for_each_chunk(corpus, config, chunk_bytes, Vec::new, encode, take)?;
    Ok(unless_empty(corpus, before == 0, ())?)
}

/// A whole corpus, normalised as `config` asks for, the sources one after the other; `progress` is
/// called with the raw bytes read so far.
pub fn whole(
    corpus: &Corpus,
    config: &TextConfig,
    progress: impl FnMut(u64),
) -> Result<String, TextError> {
    let mut whole = String::new();
    pieces(corpus, config, progress, |text| {
        whole.push_str(&text);
        Ok::<_, TextError>(())
    })?;
    Ok(whole)
}

/// The same text in pieces, which `sink` gets in order.
pub fn pieces<E: From<TextError>>(
    corpus: &Corpus,
    config: &TextConfig,
    progress: impl FnMut(u64),
    mut sink: impl FnMut(String) -> Result<(), E>,
) -> Result<(), E> {
    let mut is_empty = true;
    let take = |text: String, _| {
        is_empty &= text.is_empty();
        sink(text)
    };
    pass(corpus, config, CHUNK_BYTES, progress, str::to_owned, take)?;
    Ok(unless_empty(corpus, is_empty, ())?)
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
    /// The number of words of punctuation only, or of blank lines.
    pub empty: u64,
}

impl WordList {
    /// How often every token occurs in the listed words, most frequent first.
    pub fn counts(&self, unit: Unit) -> Vec<(Token, u64)> {
        let mut counter = Counter::new(unit);
        self.words.iter().for_each(|word| counter.count(word));
        Counter::sum([counter])
    }
}

/// The words of a corpus: normalised, split by `config.words`, each once. `progress` is called with the
/// raw bytes read so far.
pub fn words(
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
    progress: impl FnMut(u64),
) -> Result<WordList, TextError> {
    let mut list = Lister {
        list: WordList::default(),
        seen: HashMap::new(),
        split: config.words,
        part: String::new(),
    };
    pass(
        corpus,
        config,
        chunk_bytes,
        progress,
        str::to_owned,
        |text, first| {
            if first {
                list.end();
            }
            list.take(&text);
            Ok::<_, TextError>(())
        },
    )?;
    list.end();
    unless_empty(corpus, list.list.words.is_empty(), list.list)
}

/// Collects words from pieces of text that may end inside one.
struct Lister {
    list: WordList,
    /// The index of every word in the list.
    seen: HashMap<String, usize>,
    split: WordSplit,
    /// The start of a word at the end of the text so far.
    part: String,
}

impl Lister {
    fn take(&mut self, text: &str) {
        let is_end = match self.split {
            WordSplit::Lines => |c: char| c == '\n' || c == '\r',
            WordSplit::Text => char::is_whitespace,
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

#[cfg(test)]
mod tests;
