//! The file format: a header, then the blocks.
//!
//! ```text
//! 4 bytes   0x93 't' 'x' 'g'
//! 1 byte    format
//! 8 bytes   the first of the SHA-256 of everything that follows
//! number    bytes of the original
//! 8 bytes   the first of its SHA-256
//! number    blocks: none of an empty original, else block i is its bytes ⌊i·N/K⌋ to ⌊(i + 1)·N/K⌋
//! number    for each block: bytes stored here · 2, plus 1 if they are the original's own
//!           if any block is coded:
//! 8 bytes     the first of the model's digest
//! 4 bytes     the first of the digest of what the model computes
//! 1 byte      length of the name of the model's corpus, and the name (UTF-8)
//! …         the blocks' bytes, one after the other
//! ```
//!
//! A number is written with seven bits per byte, lowest first, and the highest bit set in all bytes but
//! the last (LEB128). Nothing here is trusted: sizes are checked against the bytes of the file before
//! they are used.

use std::fmt;

use sha2::{Digest, Sha256};

use super::CompressError;
use crate::text::visible;

/// The first bytes of every file.
pub(crate) const MAGIC: [u8; 4] = [0x93, b't', b'x', b'g'];
/// The format version that is written, and the only one that is read.
pub const FORMAT: u8 = 1;
/// The longest name of a corpus in bytes.
const LONGEST_NAME: usize = 64;

/// The first bytes of a SHA-256.
pub fn digest<const N: usize>(hasher: Sha256) -> [u8; N] {
    const { assert!(N <= 32, "a SHA-256 has no more") };
    let whole = hasher.finalize();
    std::array::from_fn(|index| whole[index])
}

fn digest_of(bytes: &[u8]) -> [u8; 8] {
    digest(Sha256::new_with_prefix(bytes))
}

/// Identifies a model and what it computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The digest of its weights, vocabulary and cell.
    pub(super) digest: [u8; 8],
    /// The digest of the probabilities that it computes on this machine after a few tokens.
    pub(super) arithmetic: [u8; 4],
    /// The short name of its corpus.
    pub(super) name: String,
}

impl Identity {
    /// The name of a corpus, truncated if it is too long.
    pub(super) fn short_name(name: &str) -> String {
        let end = (0..=LONGEST_NAME.min(name.len())).rev();
        let end = end.into_iter().find(|&end| name.is_char_boundary(end));
        name[..end.unwrap_or(0)].to_owned()
    }

    /// The model's digest as 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        use std::fmt::Write as _;
        self.digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, digest) = (visible(&self.name), self.digest());
        write!(f, "a model of {name} (digest {digest})")
    }
}

/// A compressed part of the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<B> {
    Stored(B),
    /// Coded with the model.
    Coded(B),
}

impl<B: AsRef<[u8]>> Block<B> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Stored(bytes) | Self::Coded(bytes) => bytes.as_ref(),
        }
    }

    /// Whether it was coded with a model.
    pub const fn is_coded(&self) -> bool {
        matches!(self, Self::Coded(_))
    }
}

/// The bytes of block `index` of `count` in an original of `length` bytes.
pub fn block_range(length: u64, count: usize, index: usize) -> std::ops::Range<u64> {
    let border = |index| (u128::from(length) * index as u128 / count as u128) as u64;
    border(index)..border(index + 1)
}

/// A parsed compressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container<B> {
    pub(super) original_bytes: u64,
    pub(super) original_digest: [u8; 8],
    pub(super) blocks: Vec<Block<B>>,
    /// `None` if no block is coded.
    pub(super) identity: Option<Identity>,
}

impl<B: AsRef<[u8]>> Container<B> {
    /// Describes an original and its blocks; the identity is dropped if no block needs it.
    pub(super) fn new(original: &[u8], blocks: Vec<Block<B>>, identity: &Identity) -> Self {
        Self {
            original_bytes: original.len() as u64,
            original_digest: digest_of(original),
            identity: blocks.iter().any(Block::is_coded).then(|| identity.clone()),
            blocks,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        push_number(&mut rest, self.original_bytes);
        rest.extend(self.original_digest);
        push_number(&mut rest, self.blocks.len() as u64);
        for block in &self.blocks {
            let stored = u64::from(!block.is_coded());
            push_number(&mut rest, 2 * block.bytes().len() as u64 + stored);
        }
        if let Some(identity) = &self.identity {
            rest.extend(identity.digest);
            rest.extend(identity.arithmetic);
            rest.push(identity.name.len() as u8);
            rest.extend(identity.name.bytes());
        }
        for block in &self.blocks {
            rest.extend_from_slice(block.bytes());
        }
        seal(&rest)
    }
}

/// Prepends magic, format and checksum to `rest`.
pub(super) fn seal(rest: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(FORMAT);
    bytes.extend(digest_of(rest));
    bytes.extend_from_slice(rest);
    bytes
}

impl<'a> Container<&'a [u8]> {
    /// Parses a file, but not the contents of its blocks.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CompressError> {
        let rest = match bytes.strip_prefix(&MAGIC) {
            Some(rest) => rest,
            // The file is shorter than its magic.
            None if !bytes.is_empty() && MAGIC.starts_with(bytes) => {
                return Err(CompressError::Damaged);
            }
            None => return Err(CompressError::Foreign),
        };
        let mut rest = Rest(rest);
        let [format] = rest.array()?;
        if format != FORMAT {
            return Err(CompressError::Format { found: format });
        }
        let check: [u8; 8] = rest.array()?;
        if check != digest_of(rest.0) {
            return Err(CompressError::Damaged);
        }
        rest.container()
    }

    /// The model that is needed; `None` if no block is coded.
    pub const fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The length of the original in bytes, as the file claims.
    pub const fn original_bytes(&self) -> u64 {
        self.original_bytes
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The bytes that have not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CompressError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(CompressError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CompressError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| CompressError::Damaged)
    }

    fn number(&mut self) -> Result<u64, CompressError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CompressError::Damaged)
    }

    fn container(mut self) -> Result<Container<&'a [u8]>, CompressError> {
        let original_bytes = self.number()?;
        let original_digest = self.array()?;
        let count = self.number()?;
        if count > original_bytes || (count == 0) != (original_bytes == 0) {
            return Err(CompressError::Damaged);
        }
        // Every block has a number of at least one byte, so there cannot be more blocks than bytes.
        let mut sizes = Vec::new();
        for _ in 0..count {
            sizes.push(self.number()?);
        }
        let coded = |size: &u64| size & 1 == 0;
        let identity = if sizes.iter().any(coded) {
            Some(self.identity()?)
        } else {
            None
        };
        let mut blocks = Vec::with_capacity(sizes.len());
        for (index, size) in sizes.iter().enumerate() {
            let length = usize::try_from(size >> 1).map_err(|_| CompressError::Damaged)?;
            let bytes = self.take(length)?;
            let range = block_range(original_bytes, sizes.len(), index);
            blocks.push(if coded(size) {
                Block::Coded(bytes)
            } else if length as u64 == range.end - range.start {
                Block::Stored(bytes)
            } else {
                return Err(CompressError::Damaged);
            });
        }
        if !self.0.is_empty() {
            return Err(CompressError::Damaged);
        }
        Ok(Container {
            original_bytes,
            original_digest,
            blocks,
            identity,
        })
    }

    fn identity(&mut self) -> Result<Identity, CompressError> {
        let digest = self.array()?;
        let arithmetic = self.array()?;
        let [length] = self.array()?;
        let name = self.take(usize::from(length))?;
        let name = std::str::from_utf8(name).map_err(|_| CompressError::Damaged)?;
        Ok(Identity {
            digest,
            arithmetic,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            digest: *b"digested",
            arithmetic: [0, 1, 254, 255],
            name: "tales".to_owned(),
        }
    }

    #[test]
    fn a_container_comes_back_as_it_was() {
        let original = b"0123456789";
        for blocks in [
            vec![Block::Coded(&b"xyz"[..])],
            vec![Block::Stored(&b"01234"[..]), Block::Coded(b"")],
            vec![Block::Stored(&original[..])],
        ] {
            let coded = blocks.iter().any(Block::is_coded);
            let container = Container::new(original, blocks, &identity());
            let bytes = container.to_bytes();
            let read = Container::read(&bytes).expect("a container");
            assert_eq!(read, container);
            assert_eq!(read.identity().is_some(), coded);
            assert_eq!(read.original_digest, digest_of(original));
        }
        let empty = Container::new(b"", Vec::<Block<&[u8]>>::new(), &identity());
        assert_eq!(Container::read(&empty.to_bytes()), Ok(empty));
    }

    #[test]
    fn what_is_cut_longer_or_changed_is_damaged() {
        let blocks = vec![Block::Coded(b"some bytes"), Block::Coded(b"and others")];
        let bytes = Container::new(b"an original", blocks, &identity()).to_bytes();
        for end in 1..bytes.len() {
            assert_eq!(
                Container::read(&bytes[..end]),
                Err(CompressError::Damaged),
                "{end}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Container::read(&longer), Err(CompressError::Damaged));
        for at in MAGIC.len() + 1..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(
                Container::read(&changed),
                Err(CompressError::Damaged),
                "{at}"
            );
        }
        assert_eq!(Container::read(b""), Err(CompressError::Foreign));
        assert_eq!(Container::read(b"a text"), Err(CompressError::Foreign));
        let mut newer = bytes;
        newer[MAGIC.len()] = 9;
        assert_eq!(
            Container::read(&newer),
            Err(CompressError::Format { found: 9 })
        );
    }

    #[test]
    fn numbers_of_any_size_come_back_and_longer_ones_are_refused() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, number);
            assert_eq!(Rest(&bytes).number(), Ok(number));
        }
        for bytes in [&[0xFF; 10][..], &[0x80; 11], &[0x80], &[]] {
            assert_eq!(Rest(bytes).number(), Err(CompressError::Damaged));
        }
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let name = "é".repeat(40);
        assert_eq!(Identity::short_name(&name), "é".repeat(32));
        let name = format!("a{name}");
        assert_eq!(Identity::short_name(&name), format!("a{}", "é".repeat(31)));
    }

    proptest! {
        #[test]
        fn sealed_rubbish_is_never_believed(rest in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(container) = Container::read(&seal(&rest)) {
                let bytes: usize = container.blocks.iter().map(|block| block.bytes().len()).sum();
                prop_assert!(bytes <= rest.len());
            }
        }
    }
}
