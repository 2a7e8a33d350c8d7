//! Lossless compression with a char-lstm: what the model expects takes few bits.
//!
//! A token of probability p costs −log₂ p bits in an arithmetic [`coder`], so a compressed text is
//! as long as the model's bits per character predict. Both directions run the same model over the same
//! tokens, so the probabilities must agree to the last bit: the engine computes the same logits on
//! every machine, [`frequencies`] turns them into integers, and everything after that is integer arithmetic. A file
//! also has a digest of what the model computed when it was written, so a machine that computes anything
//! else is detected before it decodes nonsense.
//!
//! Any bytes can be compressed. Characters outside the vocabulary are escaped ([`escapes`]), and a
//! [`block`] that gets no smaller is stored as it is. Blocks are independent: each starts
//! from a zero state, so many are read in parallel. [`container`] is the file format.

mod block;
mod coder;
mod container;
mod escapes;
mod frequencies;

use std::cell::RefCell;
use std::ops::Range;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::NetworkConfig;
use crate::evaluate::mixture::Mixture;
use crate::generate::{Numbered, Start, Writer, lockstep};
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::models::weights::{Values, Weights};
use crate::parallel::{self, Running};
use crate::text::{Token, Vocabulary};

use block::{Alphabet, BlockDecoder, BlockEncoder, Coding};
use container::{Block, block_range, digest};
use frequencies::Frequencies;

#[cfg(any(feature = "cli", test))]
pub(crate) use container::MAGIC;
pub use container::{Container, FORMAT, Identity};

/// The default block size in bytes. Starting from a zero state costs 40 to 300 bits, less than a
/// thousandth of the size of a compressed block.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that a thread reads in parallel: more gain little, and each takes some megabytes.
const MOST_ROWS: usize = 24;
/// Bytes of decoded blocks that are held until they are written.
const MOST_DECODED: u64 = 128 << 20;
/// A file that claims more bytes than these, and more than these times its own, is taken only if the user says so.
const EXPANSION_FROM: u64 = 64 << 20;
const MOST_EXPANSION: u64 = 200;
/// Tokens that a model reads for the digest of what it computes.
const SHOWN_TOKENS: u32 = 48;

/// Why a file cannot be decompressed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CompressError {
    #[error("not a file that textgen compress wrote")]
    Foreign,
    #[error("compressed format {found}, but this textgen reads format {FORMAT}")]
    Format { found: u8 },
    #[error("damaged: it was cut short, or changed after it was written")]
    Damaged,
    #[error("it was compressed with {made_with}, and this is {this}")]
    OtherModel {
        /// The model that is needed.
        made_with: Box<Identity>,
        this: Box<Identity>,
    },
    #[error(
        "the model computes other probabilities here than where it compressed this file, and no bit may differ"
    )]
    OtherArithmetic,
    #[error(
        "it claims to be {claimed} bytes of text in {stored}, more than the {most} that are taken"
    )]
    TooLarge {
        /// The length of the original that the file states.
        claimed: u64,
        /// The bytes of the file's blocks.
        stored: u64,
        most: u64,
    },
    #[error("what was restored cannot be written")]
    Unwritten,
    #[error("it was compressed with {made_with}, and no model was given")]
    NoModel {
        /// The model that is needed.
        made_with: Box<Identity>,
    },
}

/// A compressed file and its statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    pub bytes: Vec<u8>,
    pub blocks: usize,
    /// Blocks that are stored as they are.
    pub stored_blocks: usize,
    /// Escaped bytes in the other blocks.
    pub escaped_bytes: u64,
}

/// Compresses and decompresses with a model.
pub struct Codec<'v> {
    model: CharRnn,
    alphabet: Alphabet<'v>,
    mixture: Option<&'v Mixture>,
    identity: Identity,
}

impl<'v> Codec<'v> {
    /// Built from a char-lstm and its weights, with the short name of its corpus, and the n-gram model
    /// that it is mixed with.
    pub fn new(
        model: CharRnn,
        config: &NetworkConfig,
        weights: &Weights,
        vocabulary: &'v Vocabulary,
        name: &str,
        mixture: Option<&'v Mixture>,
    ) -> Self {
        let identity = Identity {
            digest: model_digest(config, weights, vocabulary, mixture),
            arithmetic: arithmetic(&model),
            name: Identity::short_name(name),
        };
        Self {
            model,
            alphabet: Alphabet::new(vocabulary),
            mixture,
            identity,
        }
    }

    /// Identifies the model.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Compresses bytes into `blocks` blocks [default: one per 256 KiB]. The result is the same for any
    /// number of threads; `running` is told how many more bytes are done.
    pub fn compress(&self, original: &[u8], blocks: Option<usize>, running: Running) -> Compressed {
        let count = blocks.unwrap_or(original.len().div_ceil(BLOCK_BYTES));
        let count = count.clamp(usize::from(!original.is_empty()), original.len());
        let part = |index: usize| {
            let Range { start, end } = block_range(original.len() as u64, count, index);
            &original[start as usize..end as usize]
        };
        let encoder = |index| BlockEncoder::new(self.coding(running.progress), part(index));
        let alone = |encoder| self.encode_alone(encoder);
        let encoders = self.side_by_side(count, running.threads, encoder, alone);
        let mut escaped_bytes = 0;
        let blocks = encoders.into_iter().enumerate().map(|(index, encoder)| {
            let (coded, escaped) = encoder.finish();
            if coded.len() < part(index).len() {
                escaped_bytes += escaped;
                Block::Coded(coded)
            } else {
                Block::Stored(part(index).to_vec())
            }
        });
        let blocks: Vec<_> = blocks.collect();
        let coded = blocks.iter().filter(|block| block.is_coded()).count();
        Compressed {
            bytes: Container::new(original, blocks, &self.identity).to_bytes(),
            blocks: count,
            stored_blocks: count - coded,
            escaped_bytes,
        }
    }

    /// Decodes a container's blocks, and passes them on in order as they are decoded. What is held of them meanwhile is
    /// bounded, whatever length they claim.
    fn decode(
        &self,
        container: &Container<&[u8]>,
        running: Running,
        sink: &mut Sink,
    ) -> Result<(), CompressError> {
        let blocks = &container.blocks;
        let longest = container
            .original_bytes
            .div_ceil(blocks.len().max(1) as u64)
            .max(1);
        let together = running.threads.max(1) * MOST_ROWS;
        let together = together.min((MOST_DECODED / longest) as usize);
        if together < 2 {
            let indices = 0..blocks.len();
            return indices
                .into_iter()
                .try_for_each(|index| self.decode_in_pieces(container, index, running, sink));
        }
        for start in (0..blocks.len()).step_by(together) {
            let part = start..blocks.len().min(start + together);
            let is_coded = |index: &usize| blocks[*index].is_coded();
            let coded: Vec<usize> = part.clone().filter(is_coded).collect();
            let decoder = |index: usize| self.decoder(container, coded[index], running);
            let threads = running.threads / coded.len().max(1);
            let alone = |decoder| self.decode_alone(decoder, threads);
            let decoders = self.side_by_side(coded.len(), running.threads, decoder, alone);
            let mut decoded = decoders.into_iter().map(BlockDecoder::finish);
            for block in &blocks[part] {
                match block {
                    Block::Stored(bytes) => sink(bytes)?,
                    Block::Coded(_) => sink(&decoded.next().unwrap_or(Ok(Vec::new()))?)?,
                }
            }
        }
        Ok(())
    }

    fn decoder<'a>(
        &'a self,
        container: &Container<&'a [u8]>,
        index: usize,
        running: Running<'a>,
    ) -> BlockDecoder<'a> {
        let count = container.blocks.len();
        let range = block_range(container.original_bytes, count, index);
        let (Block::Stored(bytes) | Block::Coded(bytes)) = &container.blocks[index];
        BlockDecoder::new(
            self.coding(running.progress),
            bytes,
            range.end - range.start,
        )
    }

    /// Decodes a block that is too long to be held, and passes on its pieces.
    fn decode_in_pieces(
        &self,
        container: &Container<&[u8]>,
        index: usize,
        running: Running,
        sink: &mut Sink,
    ) -> Result<(), CompressError> {
        if let Block::Stored(bytes) = container.blocks[index] {
            return sink(bytes);
        }
        let mut decoder = self.decoder(container, index, running);
        let state = self.model.state(1);
        let decoded = self
            .model
            .read_on_threads(state, running.threads, |reader| {
                while let Some(token) = decoder.decode(reader.logits(), Some(&mut *sink))? {
                    reader.step(token);
                }
                Ok(())
            });
        decoded?;
        sink(&decoder.finish()?)
    }

    fn coding<'a>(&'a self, progress: &'a (dyn Fn(u64) + Sync)) -> Coding<'a> {
        Coding::new(&self.model, &self.alphabet, self.mixture, progress)
    }

    /// Runs the writers that `make` creates for the indices below `count` to their end, in lock-step on
    /// several threads, and returns them in order. A writer that has a thread to itself is left to
    /// `alone`.
    fn side_by_side<W: Writer + Send>(
        &self,
        count: usize,
        threads: usize,
        make: impl Fn(usize) -> W + Sync,
        alone: impl Fn(W) -> W + Sync,
    ) -> Vec<W> {
        let threads = threads.max(1);
        let jobs = threads * count.div_ceil(threads * MOST_ROWS);
        let rows = count.div_ceil(jobs.max(1)).max(1);
        let written = parallel::map(count.div_ceil(rows), threads, |job| {
            let indices = job * rows..count.min((job + 1) * rows);
            if indices.len() == 1 {
                return vec![alone(make(indices.start))];
            }
            self.in_lockstep(indices, &make)
        });
        written.into_iter().flatten().collect()
    }

    fn in_lockstep<W: Writer>(&self, indices: Range<usize>, make: impl Fn(usize) -> W) -> Vec<W> {
        let start = self.model.state(1);
        let written = RefCell::new(Vec::with_capacity(indices.len()));
        let rows = indices.len();
        let mut indices = indices;
        let next = || loop {
            let index = indices.next()?;
            let mut writer = make(index);
            if let Some(token) = writer.write(start.logits(0)) {
                let start = Start {
                    writer,
                    state: start.clone(),
                    token,
                };
                return Some(start.numbered(index));
            }
            written.borrow_mut().push((index, writer));
        };
        let done = |Numbered { index, writer }| written.borrow_mut().push((index, writer));
        lockstep(&self.model, rows, next, done);
        let mut written = written.into_inner();
        written.sort_by_key(|&(index, _)| index);
        written.into_iter().map(|(_, writer)| writer).collect()
    }

    /// Encodes a block, many tokens at a time.
    fn encode_alone<'a>(&self, mut encoder: BlockEncoder<'a>) -> BlockEncoder<'a> {
        let reads = encoder.reads();
        let mut state = self.model.state(1);
        encoder.write(state.logits(0));
        self.model.read(&mut state, &reads, |_, logits| {
            encoder.write(logits);
        });
        encoder
    }

    /// Decodes a block, on several threads if they make it faster.
    fn decode_alone<'a>(&self, mut decoder: BlockDecoder<'a>, threads: usize) -> BlockDecoder<'a> {
        let state = self.model.state(1);
        self.model.read_on_threads(state, threads, |reader| {
            while let Some(token) = decoder.write(reader.logits()) {
                reader.step(token);
            }
        });
        decoder
    }
}

/// Takes the next bytes of what is restored, or says that they are [`CompressError::Unwritten`].
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), CompressError> + 'a;

/// Decompresses a file into memory; see [`decompress_into`].
pub fn decompress(
    container: &Container<&[u8]>,
    codec: Option<&Codec>,
    running: Running,
) -> Result<Vec<u8>, CompressError> {
    let mut original = Vec::new();
    decompress_into(container, codec, running, None, &mut |bytes| {
        original.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(original)
}

/// Decompresses a file piece by piece: only if this succeeds are the pieces the original. `codec` may be `None` if no
/// block needs a model; `running` is told how many more bytes are done. A file that claims to have more than `most`
/// bytes is refused before anything is decoded; without that limit, one that claims to be much larger than any text is.
pub fn decompress_into(
    container: &Container<&[u8]>,
    codec: Option<&Codec>,
    running: Running,
    most: Option<u64>,
    sink: &mut Sink,
) -> Result<u64, CompressError> {
    let claimed = container.original_bytes;
    let stored = container
        .blocks
        .iter()
        .map(|block| block.bytes().len() as u64)
        .sum::<u64>();
    let most = most.unwrap_or(EXPANSION_FROM.max(stored.saturating_mul(MOST_EXPANSION)));
    if claimed > most {
        return Err(CompressError::TooLarge {
            claimed,
            stored,
            most,
        });
    }
    let mut hasher = Sha256::new();
    let mut hashing = |bytes: &[u8]| {
        hasher.update(bytes);
        sink(bytes)
    };
    match (container.identity(), codec) {
        (None, _) => {
            for block in &container.blocks {
                hashing(block.bytes())?;
            }
        }
        (Some(made_with), None) => {
            let made_with = Box::new(made_with.clone());
            return Err(CompressError::NoModel { made_with });
        }
        (Some(made_with), Some(codec)) if made_with.digest != codec.identity.digest => {
            return Err(CompressError::OtherModel {
                made_with: Box::new(made_with.clone()),
                this: Box::new(codec.identity.clone()),
            });
        }
        (Some(made_with), Some(codec)) if made_with.arithmetic != codec.identity.arithmetic => {
            return Err(CompressError::OtherArithmetic);
        }
        (Some(_), Some(codec)) => codec.decode(container, running, &mut hashing)?,
    }
    if digest(hasher) == container.original_digest {
        Ok(claimed)
    } else {
        Err(CompressError::Damaged)
    }
}

/// The digest of everything that decides what a model computes: cell, tokens and weights.
fn model_digest(
    config: &NetworkConfig,
    weights: &Weights,
    vocabulary: &Vocabulary,
    mixture: Option<&Mixture>,
) -> [u8; 8] {
    let mut hasher = Sha256::new();
    // Every part is preceded by its length, so no two models give the same bytes.
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(config.cell.name().as_bytes());
    part(vocabulary.unit().name().as_bytes());
    for token in vocabulary.tokens() {
        match token {
            Token::Text(text) => part(text.as_bytes()),
            Token::Byte(byte) => part(&[*byte]),
            Token::Unk | Token::Bos | Token::Eos => part(b""),
        }
    }
    if let Some(eos) = config.eos {
        part(&eos.to_le_bytes());
    }
    for (name, array) in weights {
        part(name.as_bytes());
        for &size in &array.shape {
            part(&(size as u64).to_le_bytes());
        }
        let mut floats = |values: &[f32]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            part(&bytes.collect::<Vec<u8>>());
        };
        match &array.values {
            Values::F32(values) => floats(values),
            Values::Int8 { numbers, scales } => {
                floats(scales);
                part(&numbers.iter().map(|&q| q as u8).collect::<Vec<u8>>());
            }
        }
    }
    if let Some(mixture) = mixture {
        part(b"n-gram");
        part(&mixture.digest());
    }
    digest(hasher)
}

/// The digest of what a model computes on this machine after some tokens: logits and frequencies.
fn arithmetic(model: &CharRnn) -> [u8; 4] {
    let mut hasher = Sha256::new();
    let mut frequencies = Frequencies::new(model.predictor.kernels, None);
    let inputs = model.inputs().max(1) as u32;
    let tokens: Vec<u32> = (0..SHOWN_TOKENS)
        .map(|index| index * index % inputs)
        .collect();
    model.read(&mut model.state(1), &tokens, |_, logits| {
        for (logit, frequency) in logits.iter().zip(frequencies.of(logits)) {
            hasher.update(logit.to_bits().to_le_bytes());
            hasher.update(frequency.to_le_bytes());
        }
    });
    digest(hasher)
}

#[cfg(test)]
mod tests;
