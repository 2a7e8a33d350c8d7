//! One block, coded token by token as the network reads it.
//!
//! A block is a list of items: tokens of the vocabulary, and escaped bytes that have no token. Their
//! concatenated bytes are the block, whatever its encoding, line ends or normal form. The network
//! reads the tokens; for an escaped character it reads `<unk>` if it has one, else nothing.

use crate::evaluate::mixture::{Mixture, Reader};
use crate::generate::Writer;
use crate::models::char_rnn::CharRnn;
use crate::text::{Piece, Token, TokenEncoder, Vocabulary};

use super::coder::{ArithmeticDecoder, ArithmeticEncoder, Coder};
use super::escapes::Escapes;
use super::frequencies::Frequencies;
use super::{CompressError, Sink};

/// Bytes that a decoder may hold before it passes them on.
const PIECE: usize = 1 << 16;
/// Bytes between two reports of progress.
const REPORTED: usize = 1024;

/// One unit of coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A token of the vocabulary.
    Token(u32),
    /// An escaped byte, which is part of no token.
    Byte(u8),
}

/// Converts bytes to items and back.
pub struct Alphabet<'v> {
    lookup: TokenEncoder<'v>,
    vocabulary: &'v Vocabulary,
    /// The token of a line feed, if that ends documents and is in none.
    line_end: Option<u32>,
}

impl<'v> Alphabet<'v> {
    pub fn new(vocabulary: &'v Vocabulary) -> Self {
        let letters = &vocabulary.tokens()[..vocabulary.letters()];
        let is_line_feed = |token: &Token| match token {
            Token::Text(text) => text == "\n",
            Token::Byte(byte) => *byte == b'\n',
            Token::Unk | Token::Bos | Token::Eos => false,
        };
        let eos = vocabulary.document_end();
        Self {
            // A document boundary is a character like any other here.
            lookup: TokenEncoder::new(vocabulary.unit(), letters),
            vocabulary,
            line_end: eos.filter(|_| !letters.iter().any(is_line_feed)),
        }
    }

    pub fn items(&self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            self.lookup.for_each(chunk.valid(), |id, piece| {
                let is_line_feed = matches!(piece, Piece::Byte(b'\n') | Piece::Char('\n'));
                if let Some(id) = id.or(self.line_end.filter(|_| is_line_feed)) {
                    items.push(Item::Token(id));
                    return;
                }
                let mut buffer = [0; 4];
                let bytes = match piece {
                    Piece::Byte(byte) => {
                        buffer[0] = byte;
                        &buffer[..1]
                    }
                    Piece::Char(c) => c.encode_utf8(&mut buffer).as_bytes(),
                    Piece::Cluster(cluster) => cluster.as_bytes(),
                };
                items.extend(bytes.iter().map(|&byte| Item::Byte(byte)));
            });
            items.extend(chunk.invalid().iter().map(|&byte| Item::Byte(byte)));
        }
        items
    }

    /// Appends the bytes of an item. Only a damaged file has an item without bytes.
    fn push_bytes(&self, item: Item, bytes: &mut Vec<u8>) -> Result<(), CompressError> {
        match item {
            Item::Byte(byte) => bytes.push(byte),
            Item::Token(id) if (id as usize) < self.vocabulary.letters() => {
                self.vocabulary.push_bytes(id, bytes);
            }
            Item::Token(id) if self.line_end == Some(id) => bytes.push(b'\n'),
            Item::Token(_) => return Err(CompressError::Damaged),
        }
        Ok(())
    }

    /// The token that the network reads for an item: `<unk>` once per escaped character.
    pub fn read(&self, item: Item) -> Option<u32> {
        match item {
            Item::Token(id) => Some(id),
            Item::Byte(byte) if byte & 0xC0 == 0x80 => None,
            Item::Byte(_) => self.vocabulary.unk(),
        }
    }
}

/// The state that both directions share.
pub struct Coding<'a> {
    alphabet: &'a Alphabet<'a>,
    escapes: Escapes,
    frequencies: Frequencies,
    /// Reads what the network reads, if that is mixed with an n-gram model.
    ngram: Option<Reader<'a>>,
    progress: &'a (dyn Fn(u64) + Sync),
    unreported: usize,
}

impl<'a> Coding<'a> {
    pub fn new(
        model: &CharRnn,
        alphabet: &'a Alphabet<'a>,
        mixture: Option<&'a Mixture>,
        progress: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            alphabet,
            escapes: Escapes::new(),
            frequencies: Frequencies::new(model.predictor.kernels, alphabet.vocabulary.unk()),
            ngram: mixture.map(Mixture::reader),
            progress,
            unreported: 0,
        }
    }

    /// Codes an item under the logits of the next token; a decoder ignores the item given.
    fn code(
        &mut self,
        coder: &mut impl Coder,
        item: Item,
        logits: &[f32],
    ) -> Result<Item, CompressError> {
        let (token, byte) = match item {
            Item::Token(id) => (id as usize, None),
            Item::Byte(byte) => (0, Some(byte)),
        };
        if self.escapes.flag(coder, byte.is_some())? {
            let byte = self.escapes.byte(coder, byte.unwrap_or(0))?;
            return Ok(Item::Byte(byte));
        }
        let frequencies = match &mut self.ngram {
            Some(ngram) if ngram.weight() > 0.0 => {
                let weight = ngram.weight();
                self.frequencies
                    .mixed(logits, ngram.probabilities(), weight)
            }
            _ => self.frequencies.of(logits),
        };
        Ok(Item::Token(coder.choose(frequencies, token)? as u32))
    }

    /// The token that the network reads for an item.
    fn read(&mut self, item: Item) -> Option<u32> {
        let token = self.alphabet.read(item)?;
        if let Some(ngram) = &mut self.ngram {
            ngram.read(token);
        }
        Some(token)
    }

    fn report(&mut self, bytes: usize) {
        self.unreported += bytes;
        if self.unreported >= REPORTED {
            (self.progress)(self.unreported as u64);
            self.unreported = 0;
        }
    }
}

/// Encodes a block.
pub struct BlockEncoder<'a> {
    coding: Coding<'a>,
    coder: ArithmeticEncoder,
    items: std::vec::IntoIter<Item>,
    scratch: Vec<u8>,
    escaped: u64,
}

impl<'a> BlockEncoder<'a> {
    pub fn new(coding: Coding<'a>, block: &[u8]) -> Self {
        Self {
            items: coding.alphabet.items(block).into_iter(),
            coding,
            coder: ArithmeticEncoder::new(),
            scratch: Vec::new(),
            escaped: 0,
        }
    }

    /// All tokens that the network has yet to read.
    pub fn reads(&self) -> Vec<u32> {
        let items = self.items.as_slice().iter();
        items
            .filter_map(|&item| self.coding.alphabet.read(item))
            .collect()
    }

    /// The encoded block, and how many of its bytes were escaped.
    pub fn finish(self) -> (Vec<u8>, u64) {
        (self.coder.finish(), self.escaped)
    }
}

impl Writer for BlockEncoder<'_> {
    /// Encodes items up to one that the network reads; `None` at the end of the block.
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        loop {
            let item = self.items.next()?;
            let Self { coding, coder, .. } = self;
            // An encoder never fails, and items are of the alphabet.
            coding.code(coder, item, logits).ok()?;
            self.scratch.clear();
            coding.alphabet.push_bytes(item, &mut self.scratch).ok()?;
            coding.report(self.scratch.len());
            self.escaped += u64::from(matches!(item, Item::Byte(_)));
            if let Some(token) = coding.read(item) {
                return Some(token);
            }
        }
    }
}

/// Decodes a block.
pub struct BlockDecoder<'a> {
    coding: Coding<'a>,
    coder: ArithmeticDecoder<'a>,
    bytes: Vec<u8>,
    /// The length of the block in bytes that are still to come, and those of `bytes`.
    length: u64,
    outcome: Result<(), CompressError>,
}

impl<'a> BlockDecoder<'a> {
    /// Starts decoding. Memory grows with what is decoded, not with the claimed `length`.
    pub fn new(coding: Coding<'a>, coded: &'a [u8], length: u64) -> Self {
        Self {
            coding,
            coder: ArithmeticDecoder::new(coded),
            bytes: Vec::new(),
            length,
            outcome: Ok(()),
        }
    }

    /// Decodes items up to one that the network reads; `None` at the end of the block. Without a sink, it holds what it
    /// has decoded.
    pub fn decode(
        &mut self,
        logits: &[f32],
        mut sink: Option<&mut Sink>,
    ) -> Result<Option<u32>, CompressError> {
        while (self.bytes.len() as u64) < self.length {
            if let Some(sink) = &mut sink {
                self.pass_on(sink)?;
            }
            let before = self.bytes.len();
            let item = self.coding.code(&mut self.coder, Item::Token(0), logits)?;
            self.coding.alphabet.push_bytes(item, &mut self.bytes)?;
            self.coding.report(self.bytes.len() - before);
            if let Some(token) = self.coding.read(item) {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// Passes on what was decoded, if it is enough to be worth it.
    fn pass_on(&mut self, sink: &mut Sink) -> Result<(), CompressError> {
        if self.bytes.len() < PIECE {
            return Ok(());
        }
        // A token that does not fit is found at the end.
        let left = self.length.checked_sub(self.bytes.len() as u64);
        self.length = left.ok_or(CompressError::Damaged)?;
        sink(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// What was not passed on.
    pub fn finish(self) -> Result<Vec<u8>, CompressError> {
        self.outcome?;
        if self.bytes.len() as u64 == self.length {
            Ok(self.bytes)
        } else {
            Err(CompressError::Damaged)
        }
    }
}

impl Writer for BlockDecoder<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        match self.decode(logits, None) {
            Ok(token) => token,
            Err(error) => {
                self.outcome = Err(error);
                None
            }
        }
    }
}
