//! The vocabulary: the tokens and their ids.
//!
//! Ids are ranks: the most frequent token is 0, ties go by code point, so the same text always
//! gives the same vocabulary. Special tokens come after all others, in one of these layouts:
//!
//! - none (char-lstm, nothing cut);
//! - `<unk>` (char-lstm, something cut);
//! - `<eos>`, and `<unk>` if something was cut (char-lstm, documents): `<eos>` is predicted at the end of a document,
//!   and read before the first token of the next;
//! - `<eos>`, `<unk>`, `<bos>` (words): `<unk>` is always present, since character dropout reads
//!   it, but it is predicted only if something was cut; `<bos>` is never predicted.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::TextError;
use super::unicode::{for_each_grapheme, visible};
use crate::config::{Documents, Unit};

/// The `format` numbers that are read; a vocabulary with documents is written as 2, any other as 1.
const FORMATS: RangeInclusive<u64> = 1..=2;
/// The most tokens of a vocabulary; no text has as many.
const MOST_TOKENS: usize = 1 << 21;
/// The longest cluster that can be a token, in bytes; longer ones are split.
const LONGEST_TOKEN_BYTES: usize = 256;
/// The number of tokens of which a vocabulary remembers that they were cut.
const MOST_CUT: usize = 12;
/// The share of a text that a default limit may cut; Chinese, Japanese and Korean would lose a third of theirs.
const CUT_BY_DEFAULT: f64 = 0.01;
/// The most tokens that are kept of a text that would lose more. Few texts in any script have as many.
const LARGEST_DEFAULT: usize = 10_000;

/// What a model reads or writes in one step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// A character or a grapheme cluster.
    Text(String),
    /// A byte, which may be part of a character.
    Byte(u8),
    /// `<unk>`: a token outside the vocabulary.
    Unk,
    /// `<bos>`: the start of a word; only read, never predicted.
    Bos,
    /// `<eos>`: the end of a word or a document.
    Eos,
}

impl Token {
    /// Its form for tables and messages.
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

/// The ids of the tokens of a word vocabulary that are not letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `<bos>` starts a word; the decoder reads it and never predicts it.
    pub bos: u32,
    /// `<eos>` ends a word.
    pub eos: u32,
    /// `<unk>` stands for a letter that is hidden or unknown.
    pub unk: u32,
}

/// Which special tokens there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `<unk>`, if something was cut.
    Text,
    /// `<eos>`, and `<unk>` if something was cut.
    Documents,
    /// `<eos>`, `<unk>` and `<bos>`.
    Words,
}

/// Puts counts in the order of ids: most frequent first, ties by code point (or byte).
pub fn rank(counts: &mut [(Token, u64)]) {
    counts.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
}

/// The tokens and their ids. In JSON: `{"format":1,"unit":"char","symbols":["e"," "],"unk":2,
/// "bos":null,"eos":null,"cut":3,"most_cut":["q","Z","!"]}`, with the special ids after those of `tokens`,
/// the most frequent of the tokens that were cut, and bytes as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Vocabulary {
    unit: Unit,
    tokens: Vec<Token>,
    /// The number of tokens that are not special.
    letters: usize,
    layout: Layout,
    cut: u64,
    /// The most frequent tokens that were cut, if they are known.
    most_cut: Vec<Token>,
}

/// What a vocabulary leaves out of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Distinct tokens.
    pub tokens: usize,
    /// Their share of the tokens of the text, 0 to 1.
    pub share: f64,
}

impl Vocabulary {
    /// The vocabulary that `of` makes with a limit on its size: with `max_vocab`, or with [`LARGEST_DEFAULT`]
    /// if that limit, which nobody has chosen, would cut more than [`CUT_BY_DEFAULT`] of the text.
    pub fn with_default_limit(
        max_vocab: usize,
        counts: &[(Token, u64)],
        of: impl Fn(usize) -> Self,
    ) -> Self {
        let usual = of(max_vocab);
        if usual.cut_from(counts).share > CUT_BY_DEFAULT {
            return of(LARGEST_DEFAULT.max(max_vocab));
        }
        usual
    }

    /// What it leaves out of a text with these counts.
    pub fn cut_from(&self, counts: &[(Token, u64)]) -> Cut {
        let known: HashSet<&Token> = self.tokens[..self.letters].iter().collect();
        let lost = counts.iter().filter(|(token, _)| !known.contains(token));
        let (tokens, lost) = lost.fold((0, 0), |(tokens, sum), (_, n)| (tokens + 1, sum + n));
        let all: u64 = counts.iter().map(|(_, n)| n).sum();
        Cut {
            tokens,
            share: lost as f64 / all.max(1) as f64,
        }
    }

    /// Returns an error if the limits leave nothing to learn of a text with these counts: no two tokens.
    pub fn check_learnable(&self, name: &str, counts: &[(Token, u64)]) -> Result<(), TextError> {
        if self.letters >= 2 || self.cut == 0 {
            return Ok(());
        }
        Err(TextError::NothingLeft {
            name: name.to_owned(),
            kept: self.letters,
            tokens: counts.len(),
            second: counts.get(1).map_or(0, |&(_, n)| n),
        })
    }

    /// The most frequent tokens that were cut, if they are known.
    pub fn most_cut(&self) -> &[Token] {
        &self.most_cut
    }

    /// The vocabulary of a char-lstm: the tokens seen at least `min_freq` times, at most
    /// `max_vocab` of them, and `<unk>` only if that cut something.
    pub fn from_counts(
        unit: Unit,
        counts: &[(Token, u64)],
        min_freq: u64,
        max_vocab: usize,
    ) -> Self {
        let (letters, cut) = keep(counts, min_freq, max_vocab);
        Self::lay_out(unit, letters, cut.len() as u64, Layout::Text).remembering(&cut)
    }

    /// The vocabulary of a word-vae, with `<eos>`, `<unk>` and `<bos>`.
    pub fn for_words(unit: Unit, counts: &[(Token, u64)], min_freq: u64, max_vocab: usize) -> Self {
        let (letters, cut) = keep(counts, min_freq, max_vocab);
        Self::lay_out(unit, letters, cut.len() as u64, Layout::Words).remembering(&cut)
    }

    /// This vocabulary, extended by the new letters seen at least `min_freq` times, as many as fit into
    /// `max_vocab`. They follow its own letters. `<unk>` stays if it is one of the tokens.
    #[must_use]
    pub fn extended(&self, counts: &[(Token, u64)], min_freq: u64, max_vocab: usize) -> Self {
        let known: HashSet<&Token> = self.tokens[..self.letters].iter().collect();
        let new: Vec<(Token, u64)> = counts
            .iter()
            .filter(|(token, _)| !known.contains(token))
            .cloned()
            .collect();
        let left = max_vocab.saturating_sub(self.letters);
        let (added, cut) = keep(&new, min_freq, left);
        let letters = self.tokens[..self.letters].iter().cloned().chain(added);
        let count = self.cut.max(cut.len() as u64);
        Self::lay_out(self.unit, letters.collect(), count, self.layout).remembering(&cut)
    }

    /// This vocabulary of a char-lstm, with `<eos>` if there are documents. One that has it keeps it.
    #[must_use]
    pub fn for_documents(self, documents: &Documents) -> Self {
        if documents.is_none() || self.layout != Layout::Text {
            return self;
        }
        let letters = self.tokens[..self.letters].to_vec();
        Self {
            most_cut: self.most_cut,
            ..Self::lay_out(self.unit, letters, self.cut, Layout::Documents)
        }
    }

    fn remembering(mut self, cut: &[Token]) -> Self {
        self.most_cut = cut[..cut.len().min(MOST_CUT)].to_vec();
        self
    }

    /// For each token of this vocabulary, its id in `older`, if it has one. The end of a document begins as the line feed,
    /// which has ended what was there before.
    pub fn places_in(&self, older: &Self) -> Vec<Option<usize>> {
        let ids: HashMap<&Token, usize> = older.tokens.iter().zip(0..).collect();
        let ends = [Token::Text("\n".to_owned()), Token::Byte(b'\n')];
        let line_feed = || ends.iter().find_map(|end| ids.get(end).copied());
        let place = |token: &Token| match token {
            Token::Eos => ids.get(token).copied().or_else(line_feed),
            token => ids.get(token).copied(),
        };
        self.tokens.iter().map(place).collect()
    }

    /// A vocabulary of given letters in the order of their ids, from a stored or imported model; `cut`
    /// is the number of tokens left out. Checks that it is valid.
    pub fn new(unit: Unit, letters: Vec<Token>, cut: u64, words: bool) -> Result<Self, TextError> {
        let layout = if words { Layout::Words } else { Layout::Text };
        Self::checked(unit, letters, cut, layout)
    }

    fn checked(
        unit: Unit,
        letters: Vec<Token>,
        cut: u64,
        layout: Layout,
    ) -> Result<Self, TextError> {
        let invalid = |what: String| Err(TextError::Vocabulary { what });
        if letters.len() > MOST_TOKENS {
            return invalid(format!("{} tokens are too many", letters.len()));
        }
        let mut seen = HashSet::with_capacity(letters.len());
        for (id, token) in letters.iter().enumerate() {
            if !is_one(token, unit) {
                return invalid(format!(
                    "token {id} ({}) is not one {unit}",
                    token.visible()
                ));
            }
            if !seen.insert(token) {
                return invalid(format!("token {id} ({}) occurs twice", token.visible()));
            }
        }
        Ok(Self::lay_out(unit, letters, cut, layout))
    }

    fn lay_out(unit: Unit, mut tokens: Vec<Token>, cut: u64, layout: Layout) -> Self {
        let letters = tokens.len();
        if layout != Layout::Text {
            tokens.push(Token::Eos);
        }
        if layout == Layout::Words || cut > 0 {
            tokens.push(Token::Unk);
        }
        if layout == Layout::Words {
            tokens.push(Token::Bos);
        }
        Self {
            unit,
            tokens,
            letters,
            layout,
            cut,
            most_cut: Vec::new(),
        }
    }

    /// The unit of its tokens.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The number of tokens that can be read, including special ones.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The number of tokens that can be predicted; always the first ones.
    pub fn outputs(&self) -> usize {
        match (self.layout, self.cut) {
            (Layout::Words, 0) => self.letters + 1,
            (Layout::Words, _) => self.letters + 2,
            (Layout::Text | Layout::Documents, _) => self.tokens.len(),
        }
    }

    /// The number of tokens that are not special; always the first ones.
    pub fn letters(&self) -> usize {
        self.letters
    }

    /// The number of distinct tokens of the text that were cut.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The special tokens, if this is a vocabulary of words.
    pub fn special_tokens(&self) -> Result<SpecialTokens, TextError> {
        match (self.bos(), self.eos(), self.unk()) {
            (Some(bos), Some(eos), Some(unk)) => Ok(SpecialTokens { bos, eos, unk }),
            _ => Err(TextError::Vocabulary {
                what: "a word-vae needs <bos> and <eos>".to_owned(),
            }),
        }
    }

    /// The id of `<unk>`.
    pub fn unk(&self) -> Option<u32> {
        let id = self.letters + usize::from(self.layout != Layout::Text);
        (self.layout == Layout::Words || self.cut > 0).then_some(id as u32)
    }

    /// The id of `<eos>`.
    pub fn eos(&self) -> Option<u32> {
        (self.layout != Layout::Text).then_some(self.letters as u32)
    }

    /// The id of `<eos>` if it ends documents and not words.
    pub fn document_end(&self) -> Option<u32> {
        (self.layout == Layout::Documents).then_some(self.letters as u32)
    }

    /// The id of `<bos>`.
    pub fn bos(&self) -> Option<u32> {
        (self.layout == Layout::Words).then_some(self.letters as u32 + 2)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)
    }

    /// Every token, in the order of ids.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Ids below [`Vocabulary::outputs`] that must never be sampled: `<unk>`.
    pub fn suppressed(&self) -> Vec<u32> {
        let outputs = self.outputs() as u32;
        self.unk().into_iter().filter(|&id| id < outputs).collect()
    }
}

/// The most frequent tokens within the limits, and the others, the most frequent first.
fn keep(counts: &[(Token, u64)], min_freq: u64, max_vocab: usize) -> (Vec<Token>, Vec<Token>) {
    let mut ranked = counts.to_vec();
    rank(&mut ranked);
    let fits = |token: &Token| match token {
        Token::Text(text) => text.len() <= LONGEST_TOKEN_BYTES,
        _ => true,
    };
    let most = max_vocab.min(MOST_TOKENS);
    let (mut kept, mut cut) = (Vec::new(), Vec::new());
    for (token, n) in ranked {
        let keeps = n >= min_freq && fits(&token) && kept.len() < most;
        if keeps { &mut kept } else { &mut cut }.push(token);
    }
    (kept, cut)
}

fn is_one(token: &Token, unit: Unit) -> bool {
    match (token, unit) {
        (Token::Byte(_), Unit::Byte) => true,
        (Token::Text(text), Unit::Char) => text.chars().count() == 1,
        (Token::Text(text), Unit::Grapheme) => {
            let mut clusters = 0;
            if text.len() <= LONGEST_TOKEN_BYTES {
                for_each_grapheme(text, |_| clusters += 1);
            }
            clusters == 1
        }
        _ => false,
    }
}

/// The vocabulary in files.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u64,
    unit: Unit,
    // The key's name since format 1.
    #[serde(rename = "symbols")]
    tokens: Vec<StoredToken>,
    unk: Option<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    cut: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    most_cut: Vec<StoredToken>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredToken {
    Byte(u8),
    Text(String),
}

impl From<Vocabulary> for Stored {
    fn from(vocab: Vocabulary) -> Self {
        let (unk, bos, eos) = (vocab.unk(), vocab.bos(), vocab.eos());
        let format = match vocab.layout {
            Layout::Text | Layout::Words => *FORMATS.start(),
            Layout::Documents => *FORMATS.end(),
        };
        let stored = |token| match token {
            Token::Text(text) => Some(StoredToken::Text(text)),
            Token::Byte(byte) => Some(StoredToken::Byte(byte)),
            Token::Unk | Token::Bos | Token::Eos => None,
        };
        let most_cut = vocab.most_cut.into_iter().filter_map(stored).collect();
        Self {
            format,
            unit: vocab.unit,
            tokens: vocab.tokens.into_iter().filter_map(stored).collect(),
            unk,
            bos,
            eos,
            cut: vocab.cut,
            most_cut,
        }
    }
}

impl TryFrom<Stored> for Vocabulary {
    type Error = TextError;

    fn try_from(stored: Stored) -> Result<Self, TextError> {
        if !FORMATS.contains(&stored.format) {
            let what = format!(
                "format {}, but this textgen reads formats {} to {}",
                stored.format,
                FORMATS.start(),
                FORMATS.end()
            );
            return Err(TextError::Vocabulary { what });
        }
        let letter = |token| match token {
            StoredToken::Text(text) => Token::Text(text),
            StoredToken::Byte(byte) => Token::Byte(byte),
        };
        let letters = stored.tokens.into_iter().map(letter).collect();
        let layout = match (stored.eos, stored.bos) {
            (_, Some(_)) => Layout::Words,
            (Some(_), None) => Layout::Documents,
            (None, None) => Layout::Text,
        };
        let mut vocab = Self::checked(stored.unit, letters, stored.cut, layout)?;
        vocab.most_cut = stored.most_cut.into_iter().map(letter).collect();
        let special = (vocab.unk(), vocab.bos(), vocab.eos());
        if special != (stored.unk, stored.bos, stored.eos) {
            return Err(TextError::Vocabulary {
                what: format!(
                    "unk, bos and eos are {:?}, {:?} and {:?}; {} tokens of which {} were cut ask for {:?}, {:?} and {:?}",
                    stored.unk,
                    stored.bos,
                    stored.eos,
                    vocab.letters,
                    vocab.cut,
                    special.0,
                    special.1,
                    special.2
                ),
            });
        }
        Ok(vocab)
    }
}

#[cfg(test)]
mod tests;
