//! Text → ids and back.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation as _;

use super::TextError;
use super::documents::BOUNDARY;
use super::nearest::nearest;
use super::unicode::{describe, for_each_grapheme, in_quotes};
use super::vocab::{Token, Vocabulary};
use crate::config::{OnUnknown, Unit};

/// Code points up to here are looked up in a table, the others in a map.
const TABLE: usize = 0x3000;
const NONE: u32 = u32::MAX;

/// A text in the model's normal form, and its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub text: String,
    pub tokens: Vec<u32>,
    /// The unknown characters, each with its replacement, which is empty if it was left out.
    pub replaced: Vec<(String, String)>,
}

/// The character of a text, counted from 1, that makes it unknown; `unknown` returns the unknown token's position in the
/// normal form. Normalisation composes what is in one cluster, so the text is tried up to the end of each.
fn first_unknown(text: &str, unknown: impl Fn(&str) -> Option<u64>) -> u64 {
    let is_known = |text: &str| unknown(text).is_none();
    let clusters: Vec<(usize, &str)> = text.grapheme_indices(true).collect();
    let known = clusters.partition_point(|(at, cluster)| is_known(&text[..at + cluster.len()]));
    let Some(&(start, cluster)) = clusters.get(known) else {
        return text.chars().count() as u64;
    };
    // What is not composed may begin with known characters.
    let ends = cluster
        .char_indices()
        .map(|(at, c)| start + at + c.len_utf8());
    let within = match unknown(cluster) {
        Some(2..) => ends.take_while(|&end| is_known(&text[..end])).count(),
        _ => 0,
    };
    (text[..start].chars().count() + within) as u64 + 1
}

/// A token of the text to encode.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'t> {
    Byte(u8),
    Char(char),
    /// A cluster of several characters.
    Cluster(&'t str),
}

impl Piece<'_> {
    /// Converts the piece to an owned token.
    pub fn to_token(self) -> Token {
        match self {
            Self::Byte(byte) => Token::Byte(byte),
            Self::Char(c) => Token::Text(c.into()),
            Self::Cluster(cluster) => Token::Text(cluster.to_owned()),
        }
    }
}

/// Look-up tables from tokens to ids.
pub struct TokenEncoder<'v> {
    unit: Unit,
    /// What [`BOUNDARY`] becomes.
    eos: Option<u32>,
    table: Vec<u32>,
    chars: HashMap<char, u32>,
    clusters: HashMap<&'v str, u32>,
}

impl<'v> TokenEncoder<'v> {
    /// Builds the tables for tokens in the order of their ids.
    pub fn new(unit: Unit, letters: &'v [Token]) -> Self {
        let mut encoder = Self {
            unit,
            eos: None,
            table: vec![NONE; TABLE],
            chars: HashMap::new(),
            clusters: HashMap::new(),
        };
        for (id, token) in letters.iter().enumerate() {
            let id = id as u32;
            match token {
                Token::Byte(byte) => encoder.table[usize::from(*byte)] = id,
                Token::Text(text) => match single(text) {
                    Some(c) if (c as usize) < TABLE => encoder.table[c as usize] = id,
                    Some(c) => drop(encoder.chars.insert(c, id)),
                    None => drop(encoder.clusters.insert(text, id)),
                },
                Token::Unk | Token::Bos | Token::Eos => {}
            }
        }
        encoder
    }

    /// Calls `f` with every token and its id, if it has one.
    pub fn for_each<'t>(&self, text: &'t str, mut f: impl FnMut(Option<u32>, Piece<'t>)) {
        if self.eos.is_none() {
            return self.for_each_of_text(text, &mut f);
        }
        for (index, document) in text.split(BOUNDARY).enumerate() {
            if index > 0 {
                f(self.eos, Piece::Char(BOUNDARY));
            }
            self.for_each_of_text(document, &mut f);
        }
    }

    fn for_each_of_text<'t>(&self, text: &'t str, f: &mut impl FnMut(Option<u32>, Piece<'t>)) {
        match self.unit {
            Unit::Byte => text
                .bytes()
                .for_each(|b| f(known(self.table[usize::from(b)]), Piece::Byte(b))),
            Unit::Char => text.chars().for_each(|c| f(self.char(c), Piece::Char(c))),
            Unit::Grapheme => for_each_grapheme(text, |cluster| match single(cluster) {
                Some(c) => f(self.char(c), Piece::Char(c)),
                None => f(self.clusters.get(cluster).copied(), Piece::Cluster(cluster)),
            }),
        }
    }

    fn char(&self, c: char) -> Option<u32> {
        match self.table.get(c as usize) {
            Some(&id) => known(id),
            None => self.chars.get(&c).copied(),
        }
    }
}

fn known(id: u32) -> Option<u32> {
    (id != NONE).then_some(id)
}

fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    chars.next().filter(|_| chars.next().is_none())
}

impl Vocabulary {
    /// Look-up tables for encoding; build them once for many texts.
    pub(crate) fn encoder(&self) -> TokenEncoder<'_> {
        TokenEncoder {
            eos: self.document_end(),
            ..TokenEncoder::new(self.unit(), &self.tokens()[..self.letters()])
        }
    }

    /// The ids of a text that is already in the model's normal form. `on_unknown`
    /// applies to tokens outside the vocabulary, whether or not there is an `<unk>`. The module
    /// `nearest` defines which token is nearest.
    pub fn encode(&self, text: &str, on_unknown: OnUnknown) -> Result<Vec<u32>, TextError> {
        self.encode_telling(text, on_unknown, |_, _| ())
    }

    /// Like [`Vocabulary::encode`]; `replaced` is called with every token that is not in the vocabulary, and the
    /// id of the nearest one, by which it is replaced, or none if it is left out.
    pub fn encode_telling(
        &self,
        text: &str,
        on_unknown: OnUnknown,
        mut replaced: impl FnMut(Token, Option<u32>),
    ) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::with_capacity(text.len());
        let mut position = 0;
        let mut error = None;
        self.encoder().for_each(text, |id, piece| {
            position += 1;
            match (id, on_unknown) {
                (Some(id), _) => ids.push(id),
                (None, OnUnknown::Error) => {
                    error.get_or_insert_with(|| self.unknown(&piece.to_token(), position));
                }
                (None, OnUnknown::Nearest | OnUnknown::Skip) => {
                    let token = piece.to_token();
                    let wanted = on_unknown == OnUnknown::Nearest;
                    let id = wanted.then(|| nearest(self, &token)).flatten();
                    ids.extend(id);
                    replaced(token, id);
                }
            }
        });
        error.map_or(Ok(ids), Err)
    }

    /// The ids of a text that becomes the model's by `normal`, and its unknown characters with what replaces
    /// them: nothing if they are left out. An error counts the characters of the text as given.
    pub(crate) fn encode_given(
        &self,
        text: &str,
        normal: impl Fn(&str) -> String,
        on_unknown: OnUnknown,
    ) -> Result<Encoded, TextError> {
        let mut replaced = Vec::new();
        let normalized = normal(text);
        let ids = self.encode_telling(&normalized, on_unknown, |token, id| {
            let by = id.and_then(|id| self.token(id)).map(Token::visible);
            replaced.push((token.visible(), by.unwrap_or_default()));
        });
        match ids {
            Ok(tokens) => Ok(Encoded {
                text: normalized,
                tokens,
                replaced,
            }),
            Err(TextError::UnknownToken { token, nearest, .. }) => {
                let unknown = |text: &str| match self.encode(&normal(text), OnUnknown::Error) {
                    Err(TextError::UnknownToken { position, .. }) => Some(position),
                    _ => None,
                };
                Err(TextError::UnknownToken {
                    token,
                    nearest,
                    position: first_unknown(text, unknown),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether every character of `text` is in some token, so that a text may contain it: a part of a cluster may be
    /// no token itself.
    pub(crate) fn writes_all_of(&self, text: &str) -> bool {
        let letters = &self.tokens()[..self.letters()];
        let is_in = |c: char| {
            letters.iter().any(|token| match token {
                Token::Text(text) => text.contains(c),
                _ => false,
            })
        };
        match self.unit() {
            Unit::Byte => text.bytes().all(|b| letters.contains(&Token::Byte(b))),
            Unit::Char | Unit::Grapheme => text.chars().all(is_in),
        }
    }

    /// The tokens of a text that is already in the model's normal form, including those outside the
    /// vocabulary.
    pub fn encode_open(&self, text: &str) -> OpenText {
        let mut open = OpenText {
            tokens: Vec::with_capacity(text.len()),
            others: Vec::new(),
            own: self.len(),
        };
        let mut places = HashMap::new();
        self.encoder().for_each(text, |id, piece| {
            open.tokens.push(id.unwrap_or_else(|| {
                let token = piece.to_token();
                *places.entry(token).or_insert_with_key(|token| {
                    open.others.push(token.clone());
                    (open.own + open.others.len() - 1) as u32
                })
            }));
        });
        open
    }

    /// The token that precedes a text: `<eos>` if texts are documents, else a line end, or the most frequent token if
    /// the vocabulary has no line end.
    pub fn beginning(&self) -> u32 {
        if let Some(eos) = self.document_end() {
            return eos;
        }
        let mut first = None;
        self.encoder().for_each("\n", |id, _| first = id);
        first.unwrap_or(0)
    }

    /// The letters of words that are already in the model's normal form; letters outside the vocabulary
    /// become `<unk>`, or are left out if there is no `<unk>`.
    pub fn encode_words(&self, words: &[String]) -> Vec<Vec<u32>> {
        let encoder = self.encoder();
        let encode = |word: &String| {
            let mut ids = Vec::with_capacity(word.len());
            encoder.for_each(word, |id, _| ids.extend(id.or(self.unk())));
            ids
        };
        words.iter().map(encode).collect()
    }

    /// The error that names an unknown token at `position`, counted from 1.
    pub(super) fn unknown(&self, token: &Token, position: u64) -> TextError {
        let name = match token {
            Token::Text(text) => describe(text),
            Token::Byte(byte) => format!("the byte 0x{byte:02X}"),
            special => special.visible(),
        };
        let near = nearest(self, token).and_then(|id| self.token(id));
        TextError::UnknownToken {
            token: name,
            position,
            nearest: near.map(|token| in_quotes(token.visible())),
        }
    }

    /// The text of ids. Bytes that are not UTF-8, and `<unk>`, become U+FFFD; `<bos>`, `<eos>` and
    /// ids out of range give nothing.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::with_capacity(ids.len());
        for &id in ids {
            self.push_bytes(id, &mut bytes);
        }
        String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }

    /// [`Vocabulary::decode`], with a line end in place of the end of a document.
    pub fn decode_in_lines(&self, ids: &[u32]) -> String {
        let documents = ids.split(|&id| Some(id) == self.document_end());
        let documents: Vec<String> = documents.map(|ids| self.decode(ids)).collect();
        documents.join("\n")
    }

    /// Appends the bytes of one token, which may be part of a character. [`Utf8Stream`] joins them to
    /// whole characters.
    pub fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        if let Some(token) = self.token(id) {
            token.push_bytes(out);
        }
    }
}

impl Token {
    fn push_bytes(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Byte(byte) => out.push(*byte),
            Self::Unk => out.extend_from_slice("\u{FFFD}".as_bytes()),
            Self::Bos | Self::Eos => {}
        }
    }
}

/// A text as the tokens of a vocabulary and tokens outside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenText {
    /// Ids: the vocabulary's, and from its length on, indices into `others`.
    pub tokens: Vec<u32>,
    /// The tokens outside the vocabulary, in the order of first appearance.
    pub others: Vec<Token>,
    /// The number of tokens of the vocabulary.
    own: usize,
}

impl OpenText {
    /// Whether the token of an id is in the vocabulary.
    pub fn is_known(&self, token: u32) -> bool {
        (token as usize) < self.own
    }

    /// The number of tokens of the text that are not in the vocabulary.
    pub fn unknown(&self) -> usize {
        let known = self.tokens.iter().filter(|&&token| self.is_known(token));
        self.tokens.len() - known.count()
    }

    /// The number of tokens of the text that are characters: not the ends of documents.
    pub fn characters(&self, vocabulary: &Vocabulary) -> usize {
        let eos = vocabulary.document_end();
        let characters = self.tokens.iter().filter(|&&token| Some(token) != eos);
        characters.count()
    }

    /// The text as a model can read it: tokens outside the vocabulary become `unk`, or are left out if
    /// that is `None`.
    pub fn readable(&self, unk: Option<u32>) -> Vec<u32> {
        let known = |&token: &u32| Some(token).filter(|&token| self.is_known(token)).or(unk);
        self.tokens.iter().filter_map(known).collect()
    }

    /// Appends the bytes of one token, like [`Vocabulary::push_bytes`].
    pub fn push_bytes(&self, vocabulary: &Vocabulary, token: u32, out: &mut Vec<u8>) {
        let other = (token as usize).checked_sub(self.own);
        match other.and_then(|place| self.others.get(place)) {
            Some(token) => token.push_bytes(out),
            None => vocabulary.push_bytes(token, out),
        }
    }
}

/// Turns bytes that arrive one by one into whole characters, so that a terminal never gets part of one.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Appends bytes and returns the text that is complete now; invalid bytes give U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.pending.clear();
                    return text;
                }
                Err(e) => {
                    let valid: Vec<u8> = self.pending.drain(..e.valid_up_to()).collect();
                    text.push_str(&String::from_utf8_lossy(&valid));
                    let Some(invalid) = e.error_len() else {
                        return text;
                    };
                    self.pending.drain(..invalid);
                    text.push('\u{FFFD}');
                }
            }
        }
    }

    /// Ends the stream: U+FFFD if it ends inside a character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_character_is_counted_in_the_text_as_given() {
        let letters = "ab\u{e9}\r\n".chars().map(|c| Token::Text(c.to_string()));
        let vocabulary = Vocabulary::new(Unit::Char, letters.collect(), 0, false).expect("valid");
        let normal = |text: &str| {
            use unicode_normalization::UnicodeNormalization as _;
            text.replace("ß", "ab").nfc().collect::<String>()
        };
        let position = |text: &str| match vocabulary.encode_given(text, normal, OnUnknown::Error) {
            Err(TextError::UnknownToken { position, .. }) => position,
            other => panic!("{text}: {other:?}"),
        };
        // One character of the normal form for two that are given, and two for one.
        assert_eq!(position("e\u{301}e\u{301}x"), 5);
        assert_eq!(position("ßßx"), 3);
        assert_eq!(position("a\u{301}"), 1);
        assert_eq!(position("x"), 1);
        assert_eq!(position("a\r\nx"), 4);
        let skipped = vocabulary
            .encode_given("axb→", normal, OnUnknown::Skip)
            .expect("skipped");
        let nothing = String::new();
        let replaced = [("x".to_owned(), nothing.clone()), ("→".to_owned(), nothing)];
        assert_eq!(
            (skipped.tokens, &skipped.replaced[..]),
            (vec![0, 1], &replaced[..])
        );
    }

    #[test]
    fn an_open_text_keeps_what_the_vocabulary_does_not_hold() {
        let letter = |c: char| Token::Text(c.to_string());
        let letters = vec![letter('b'), letter('a')];
        for (unit, letters) in [
            (Unit::Char, letters.clone()),
            (Unit::Grapheme, letters),
            (Unit::Byte, vec![Token::Byte(b'b'), Token::Byte(b'a')]),
        ] {
            let vocabulary = Vocabulary::new(unit, letters, 0, false).expect("valid");
            let text = "ab→ba→é";
            let open = vocabulary.encode_open(text);
            let mut bytes = Vec::new();
            for &token in &open.tokens {
                open.push_bytes(&vocabulary, token, &mut bytes);
            }
            assert_eq!(bytes, text.as_bytes());
            let unknown = if unit == Unit::Byte { 8 } else { 3 };
            assert_eq!(open.unknown(), unknown);
            assert_eq!(open.readable(None), [1, 0, 0, 1]);
            assert_eq!(open.readable(Some(2)).len(), 4 + unknown);
            let distinct = if unit == Unit::Byte { 5 } else { 2 };
            assert_eq!(open.others.len(), distinct);
            assert_eq!(vocabulary.beginning(), 0, "there is no line end");
        }
    }
}
