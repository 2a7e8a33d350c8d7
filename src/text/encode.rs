//! Text → ids and back.

use std::collections::HashMap;

use super::TextError;
use super::nearest::nearest;
use super::unicode::{describe, for_each_grapheme};
use super::vocab::{Symbol, Vocabulary};
use crate::config::{OnUnknown, Unit};

/// Code points up to here are looked up in a table, the others in a map.
const TABLE: usize = 0x3000;
const NONE: u32 = u32::MAX;

/// A symbol of a text that is being encoded.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'t> {
    /// A byte.
    Byte(u8),
    /// A character.
    Char(char),
    /// A cluster of several characters.
    Cluster(&'t str),
}

impl Piece<'_> {
    /// The symbol that it would be.
    pub fn to_symbol(self) -> Symbol {
        match self {
            Self::Byte(byte) => Symbol::Byte(byte),
            Self::Char(c) => Symbol::Text(c.into()),
            Self::Cluster(cluster) => Symbol::Text(cluster.to_owned()),
        }
    }
}

/// Look-up tables from symbols to ids.
pub struct Encoder<'v> {
    unit: Unit,
    table: Vec<u32>,
    chars: HashMap<char, u32>,
    clusters: HashMap<&'v str, u32>,
}

impl<'v> Encoder<'v> {
    /// For symbols in the order of their ids.
    pub fn new(unit: Unit, letters: &'v [Symbol]) -> Self {
        let mut encoder = Self {
            unit,
            table: vec![NONE; TABLE],
            chars: HashMap::new(),
            clusters: HashMap::new(),
        };
        for (id, symbol) in letters.iter().enumerate() {
            let id = id as u32;
            match symbol {
                Symbol::Byte(byte) => encoder.table[usize::from(*byte)] = id,
                Symbol::Text(text) => match single(text) {
                    Some(c) if (c as usize) < TABLE => encoder.table[c as usize] = id,
                    Some(c) => drop(encoder.chars.insert(c, id)),
                    None => drop(encoder.clusters.insert(text, id)),
                },
                Symbol::Unk | Symbol::Bos | Symbol::Eos => {}
            }
        }
        encoder
    }

    /// Calls `f` with the id of every symbol, if it has one.
    pub fn for_each<'t>(&self, text: &'t str, mut f: impl FnMut(Option<u32>, Piece<'t>)) {
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
    /// The ids of a text that is already in the model's normal form. Symbols that the vocabulary
    /// does not hold are treated as `on_unknown` says, whether or not there is an `<unk>`. What
    /// counts as nearest is described at `nearest`.
    pub fn encode(&self, text: &str, on_unknown: OnUnknown) -> Result<Vec<u32>, TextError> {
        self.encode_telling(text, on_unknown, |_, _| ())
    }

    /// As [`Vocabulary::encode`]; `replaced` is told every symbol that the nearest one stands in for,
    /// and that one's id.
    pub fn encode_telling(
        &self,
        text: &str,
        on_unknown: OnUnknown,
        mut replaced: impl FnMut(Symbol, u32),
    ) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::with_capacity(text.len());
        let mut position = 0;
        let mut error = None;
        self.encoder().for_each(text, |id, piece| {
            position += 1;
            match (id, on_unknown) {
                (Some(id), _) => ids.push(id),
                (None, OnUnknown::Nearest) => {
                    let symbol = piece.to_symbol();
                    if let Some(id) = nearest(self, &symbol) {
                        ids.push(id);
                        replaced(symbol, id);
                    }
                }
                (None, OnUnknown::Error) if error.is_none() => {
                    error = Some(self.unknown(&piece.to_symbol(), position));
                }
                (None, OnUnknown::Error | OnUnknown::Skip) => {}
            }
        });
        error.map_or(Ok(ids), Err)
    }

    /// The letters of words that are already in the model's normal form; what the vocabulary does
    /// not hold becomes `<unk>`, or is left out where there is none.
    pub fn encode_words(&self, words: &[String]) -> Vec<Vec<u32>> {
        let encoder = self.encoder();
        let encode = |word: &String| {
            let mut ids = Vec::with_capacity(word.len());
            encoder.for_each(word, |id, _| ids.extend(id.or(self.unk())));
            ids
        };
        words.iter().map(encode).collect()
    }

    /// The error that names an unknown symbol at `position`, counted from 1.
    pub(super) fn unknown(&self, symbol: &Symbol, position: u64) -> TextError {
        let name = match symbol {
            Symbol::Text(text) => describe(text),
            Symbol::Byte(byte) => format!("the byte 0x{byte:02X}"),
            special => special.visible(),
        };
        let near = nearest(self, symbol).and_then(|id| self.symbol(id));
        TextError::UnknownSymbol {
            symbol: name,
            position,
            nearest: near.map(|symbol| match symbol.visible() {
                shown if shown.starts_with('\'') => shown,
                shown => format!("'{shown}'"),
            }),
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

    /// Appends the bytes of one symbol, which may be a part of a character. [`Utf8Stream`] makes
    /// whole characters of them.
    pub fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        match self.symbol(id) {
            Some(Symbol::Text(text)) => out.extend_from_slice(text.as_bytes()),
            Some(Symbol::Byte(byte)) => out.push(*byte),
            Some(Symbol::Unk) => out.extend_from_slice("\u{FFFD}".as_bytes()),
            Some(Symbol::Bos | Symbol::Eos) | None => {}
        }
    }
}

/// Turns bytes that arrive bit by bit into whole characters, so that a terminal never gets half of one.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes bytes and returns the text that is complete by now; invalid bytes give U+FFFD.
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

    /// Ends the stream: U+FFFD where it ends inside a character, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}
