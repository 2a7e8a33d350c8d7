//! The tokens of a text. Those of a run stay in its file, and each reader takes what it needs, so that memory
//! does not grow with the text. They are read, not mapped: a file that is cut short or changed meanwhile is
//! an error.
//!
//! A text may have gigabytes, and resuming must not wait for all of it to be read. So each block of it has a checksum
//! of its own, which is compared when the block is read for the first time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use safetensors::Dtype;
use serde::Serialize;
use twox_hash::XxHash64;

use super::atomic::Temporary;
use super::data::TOKENS;
use super::{RunError, atomic, disk, tensors};

/// Tokens that [`pieces`] reads at once.
const PIECE: usize = 1 << 16;
/// Bytes of tokens that have one checksum.
const BLOCK: usize = 1 << 16;
/// Bytes of a checksum.
const CHECK: usize = size_of::<u64>();

/// A text whose tokens can be read from any position.
pub trait TokenSource: Sync {
    /// The tokens at these positions of the text, which must have them.
    fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u32]>, RunError>;
}

impl TokenSource for &[u32] {
    fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u32]>, RunError> {
        Ok(Cow::Borrowed(&self[range]))
    }
}

impl TokenSource for Vec<u32> {
    fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u32]>, RunError> {
        Ok(Cow::Borrowed(&self[range]))
    }
}

/// The tokens at these positions in pieces, for those who need each of them once.
pub fn pieces(
    tokens: &dyn TokenSource,
    range: Range<usize>,
) -> impl Iterator<Item = Result<Cow<'_, [u32]>, RunError>> {
    let Range { start, end } = range;
    (start..end)
        .step_by(PIECE)
        .map(move |at| tokens.read(at..end.min(at + PIECE)))
}

/// The tokens of a text, in memory or in a file. Copies share them.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Place>);

#[derive(Debug)]
enum Place {
    Memory(Vec<u32>),
    File(TokenFile),
}

impl From<Vec<u32>> for Tokens {
    fn from(tokens: Vec<u32>) -> Self {
        Self(Arc::new(Place::Memory(tokens)))
    }
}

impl From<TokenFile> for Tokens {
    fn from(file: TokenFile) -> Self {
        Self(Arc::new(Place::File(file)))
    }
}

impl Tokens {
    /// The length of the text.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Place::Memory(tokens) => tokens.len(),
            Place::File(file) => file.len,
        }
    }

    /// Whether the text has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole text in memory, four bytes a token.
    pub fn all(&self) -> Result<Cow<'_, [u32]>, RunError> {
        self.read(0..self.len())
    }

    /// The file that holds the tokens; `None` if they are in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Place::Memory(_) => None,
            Place::File(file) => Some(&file.path),
        }
    }
}

impl TokenSource for Tokens {
    fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u32]>, RunError> {
        match &*self.0 {
            Place::Memory(tokens) => Ok(Cow::Borrowed(&tokens[range])),
            Place::File(file) => file.read(range).map(Cow::Owned),
        }
    }
}

/// What a file looks like from outside; it changes if somebody writes to the file.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Look {
    fn at(file: &File) -> io::Result<Self> {
        let data = file.metadata()?;
        Ok(Self {
            bytes: data.len(),
            modified: data.modified().ok(),
        })
    }
}

/// A folder that is removed again if it was made here and is empty.
#[derive(Debug)]
pub(super) struct NewFolder(Option<PathBuf>);

impl NewFolder {
    /// Makes the folder, unless it exists.
    pub fn make(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Ok(Self(None));
        }
        disk::create_folders(path)?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = disk::remove_folder(path); // it may hold runs by now
        }
    }
}

/// The bytes of the tokens in an open file, in blocks.
#[derive(Debug)]
struct Blocks {
    file: File,
    /// The offset of the first token in bytes.
    start: u64,
    /// Bytes of all tokens.
    bytes: usize,
    /// The checksum of each block that has not been compared yet.
    checks: Vec<Option<u64>>,
}

impl Blocks {
    /// Reads these bytes; false if those of a block are not what was written.
    fn read(&mut self, bytes: Range<usize>, into: &mut [u8]) -> io::Result<bool> {
        for block in bytes.start / BLOCK..bytes.end.div_ceil(BLOCK) {
            let Some(Some(check)) = self.checks.get(block).copied() else {
                continue;
            };
            let start = block * BLOCK;
            let mut whole = vec![0; BLOCK.min(self.bytes - start)];
            self.read_at(start, &mut whole)?;
            if XxHash64::oneshot(0, &whole) != check {
                return Ok(false);
            }
            self.checks[block] = None;
        }
        self.read_at(bytes.start, into)?;
        Ok(true)
    }

    fn read_at(&mut self, at: usize, into: &mut [u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.start + at as u64))?;
        self.file.read_exact(into)
    }
}

/// The tokens in an open file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    file: Mutex<Blocks>,
    /// What the file looked like when it was opened.
    look: Look,
    len: usize,
    dtype: Dtype,
    /// Tokens are smaller than this.
    limit: usize,
    /// Deletes a file that belongs to no run, and then its folder if there is no run at all.
    _temporary: Option<(Temporary, NewFolder)>,
}

impl TokenFile {
    /// `len` tokens of type `dtype` below `limit` in a file, from byte `start` on, with the checksums of their blocks,
    /// which older files lack; `None` if tokens have no such type.
    pub fn new(
        path: &Path,
        file: File,
        (start, len, dtype): (u64, usize, Dtype),
        checks: &[u8],
        limit: usize,
    ) -> Result<Option<Self>, RunError> {
        if !matches!(dtype, Dtype::U8 | Dtype::U16 | Dtype::U32) {
            return Ok(None);
        }
        let bytes = len * width(dtype);
        let checks = checks.as_chunks::<CHECK>().0.iter();
        let checks: Vec<_> = checks
            .map(|&check| Some(u64::from_le_bytes(check)))
            .collect();
        if !checks.is_empty() && checks.len() != bytes.div_ceil(BLOCK) {
            let reason = "there are not as many checksums as blocks of tokens";
            return Err(RunError::damaged(path, reason));
        }
        Ok(Some(Self {
            look: Look::at(&file).map_err(RunError::io(path))?,
            path: path.to_owned(),
            file: Mutex::new(Blocks {
                file,
                start,
                bytes,
                checks,
            }),
            len,
            dtype,
            limit,
            _temporary: None,
        }))
    }

    /// Deletes the file when the last reader is gone.
    pub fn deleting(self, temporary: Temporary, folder: NewFolder) -> Self {
        Self {
            _temporary: Some((temporary, folder)),
            ..self
        }
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<u32>, RunError> {
        let width = width(self.dtype);
        let mut bytes = vec![0; range.len() * width];
        let mut blocks = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = blocks.read(range.start * width..range.end * width, &mut bytes);
        let look = Look::at(&blocks.file).map_err(RunError::io(&self.path))?;
        drop(blocks);
        if look != self.look {
            let reason = "it was changed or cut short while it was in use";
            return Err(RunError::damaged(&self.path, reason));
        }
        if !read.map_err(RunError::io(&self.path))? {
            return Err(RunError::Spoilt {
                path: self.path.clone(),
            });
        }
        let tokens = decode(self.dtype, &bytes);
        match tokens.iter().find(|&&token| token as usize >= self.limit) {
            Some(token) => Err(RunError::damaged(
                &self.path,
                format_args!("tokens: token {token} is not in the vocabulary"),
            )),
            None => Ok(tokens),
        }
    }
}

/// The narrowest type that holds the tokens of a vocabulary of `size`.
pub(super) const fn narrowest(size: usize) -> Dtype {
    match size {
        ..=0x100 => Dtype::U8,
        0x101..=0x1_0000 => Dtype::U16,
        _ => Dtype::U32,
    }
}

/// Bytes of a token.
const fn width(dtype: Dtype) -> usize {
    match dtype {
        Dtype::U8 => 1,
        Dtype::U16 => 2,
        _ => 4,
    }
}

/// The little-endian bytes of tokens that have this type.
pub(super) fn encode(dtype: Dtype, tokens: &[u32]) -> Vec<u8> {
    fn all<const N: usize>(tokens: &[u32], bytes: impl Fn(u32) -> [u8; N]) -> Vec<u8> {
        let tokens = tokens.iter().map(|&token| bytes(token));
        tokens.collect::<Vec<_>>().into_flattened()
    }
    match dtype {
        Dtype::U8 => all(tokens, |token| [token as u8]),
        Dtype::U16 => all(tokens, |token| (token as u16).to_le_bytes()),
        _ => all(tokens, u32::to_le_bytes),
    }
}

/// The tokens of this type in little-endian bytes.
pub(super) fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<u32> {
    match dtype {
        Dtype::U8 => bytes.iter().map(|&byte| u32::from(byte)).collect(),
        Dtype::U16 => {
            let pairs = bytes.as_chunks().0.iter();
            pairs
                .map(|&pair| u32::from(u16::from_le_bytes(pair)))
                .collect()
        }
        _ => {
            let fours = bytes.as_chunks().0.iter();
            fours.map(|&four| u32::from_le_bytes(four)).collect()
        }
    }
}

/// A file of tokens that is being written, a temporary one in the folder of the runs.
pub struct TokenWriter {
    /// The folder that the file is in, for messages.
    folder: PathBuf,
    draft: disk::File,
    temporary: Temporary,
    /// The JSON document of the file.
    json: String,
    dtype: Dtype,
    len: usize,
    left: usize,
    /// The checksum of the block that is being written, and the bytes of it that are.
    block: (XxHash64, usize),
    /// The checksums of those before.
    checks: Vec<u8>,
}

/// Tokens as the bytes of a file.
pub struct Packed {
    bytes: Vec<u8>,
    len: usize,
}

impl Packed {
    /// The number of tokens.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl TokenWriter {
    /// Starts a file in `folder` with `len` tokens of a vocabulary of `size`.
    pub(super) fn new(
        folder: &Path,
        header: &impl Serialize,
        size: usize,
        len: usize,
    ) -> Result<Self, RunError> {
        let draft = atomic::temporary(folder, disk::File::create_new);
        let (draft, temporary) = draft.map_err(RunError::write(folder))?;
        let mut writer = Self {
            folder: folder.to_owned(),
            draft,
            temporary,
            json: tensors::document(folder, header)?,
            dtype: narrowest(size),
            len,
            left: len,
            block: (XxHash64::with_seed(0), 0),
            checks: Vec::new(),
        };
        let head = writer.head(0)?;
        let written = writer.draft.write_all(&head);
        written.map_err(RunError::write(folder))?;
        Ok(writer)
    }

    /// The start of the file, which is as long for every checksum.
    fn head(&self, checksum: u64) -> Result<Vec<u8>, RunError> {
        let blocks = (self.len * width(self.dtype)).div_ceil(BLOCK);
        let vectors = [
            (TOKENS, self.dtype, self.len),
            (&*tensors::checks_name(TOKENS), Dtype::U8, blocks * CHECK),
        ];
        let json = self.json.clone();
        tensors::head(&self.folder, json, checksum, &vectors)
    }

    /// The checksum of the file, once the checksums of all its blocks are known.
    fn checksum(&self) -> u64 {
        let name = tensors::checks_name(TOKENS);
        let (tokens, checks) = ([self.len], [self.checks.len()]);
        let bytes = Cow::Borrowed(&*self.checks);
        let parts = BTreeMap::from([
            (TOKENS, (self.dtype, &tokens[..], Cow::Borrowed(&[][..]))),
            (&*name, (Dtype::U8, &checks[..], bytes)),
        ]);
        tensors::checksum(&self.json, &parts)
    }

    /// Packs tokens for this file, on any thread.
    pub fn packer(&self) -> impl Fn(&[u32]) -> Packed + Sync + use<> {
        let dtype = self.dtype;
        move |tokens| Packed {
            bytes: encode(dtype, tokens),
            len: tokens.len(),
        }
    }

    /// The number of tokens that are still to come.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Writes the next tokens.
    pub fn push(&mut self, packed: &Packed) -> Result<(), RunError> {
        self.left = match self.left.checked_sub(packed.len) {
            Some(left) => left,
            None => return Err(self.miscounted("more")),
        };
        let mut rest = &*packed.bytes;
        while !rest.is_empty() {
            let (hasher, done) = &mut self.block;
            let (part, more) = rest.split_at(rest.len().min(BLOCK - *done));
            hasher.write(part);
            *done += part.len();
            rest = more;
            if *done == BLOCK {
                self.end_block();
            }
        }
        let written = self.draft.write_all(&packed.bytes);
        written.map_err(RunError::write(&self.folder))
    }

    fn end_block(&mut self) {
        let (hasher, _) = std::mem::replace(&mut self.block, (XxHash64::with_seed(0), 0));
        self.checks.extend(hasher.finish().to_le_bytes());
    }

    fn miscounted(&self, which: &str) -> RunError {
        let reason = format_args!("{which} tokens were written than counted");
        RunError::damaged(&self.folder, reason)
    }

    /// The complete file.
    pub(super) fn finish(mut self) -> Result<Temporary, RunError> {
        if self.left > 0 {
            return Err(self.miscounted("fewer"));
        }
        if self.block.1 > 0 {
            self.end_block();
        }
        let head = self.head(self.checksum())?;
        let file = &mut self.draft;
        let written = file
            .write_all(&self.checks)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&head))
            .and_then(|()| file.sync());
        written.map_err(RunError::write(&self.folder))?;
        Ok(self.temporary)
    }
}

/// Puts a file of tokens at `path`, where there is none. Nobody ever writes to such a file again, so its
/// bytes are shared where the file system can do that.
pub(super) fn share(from: &Path, path: &Path) -> Result<(), RunError> {
    let shared = disk::link(from, path).or_else(|_| disk::copy(from, path));
    shared.map_err(RunError::write(path))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use super::*;
    use crate::config::Unit;
    use crate::run::{CorpusData, TextData};
    use crate::text::{Token, Vocabulary};

    fn vocabulary(size: u32) -> Vocabulary {
        let letters = (0..size).map(|at| {
            let c = char::from_u32(0x1_0000 + at).expect("a character");
            (Token::Text(c.into()), 1)
        });
        let letters: Vec<(Token, u64)> = letters.collect();
        Vocabulary::from_counts(Unit::Char, &letters, 1, size as usize)
    }

    /// A file with `len` tokens of a vocabulary of `size`.
    fn stored(folder: &Path, size: u32, len: usize) -> (PathBuf, Vec<u32>) {
        let tokens: Vec<u32> = (0..len as u32).map(|at| at * 7919 % size).collect();
        let data = CorpusData::Text(TextData {
            vocabulary: vocabulary(size),
            tokens: tokens.clone().into(),
        });
        let path = folder.join(format!("{size}.safetensors"));
        data.write(&path).expect("written");
        (path, tokens)
    }

    fn opened(path: &Path) -> Result<Tokens, RunError> {
        match CorpusData::read(path)? {
            CorpusData::Text(text) => Ok(text.tokens),
            CorpusData::Words(_) => panic!("a text"),
        }
    }

    #[test]
    fn tokens_are_stored_in_as_few_bytes_as_they_need_and_read_from_any_position() {
        let folder = tempfile::tempdir().expect("folder");
        for (size, width) in [(2, 1), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let len = 3 * PIECE + 5;
            let (path, want) = stored(folder.path(), size, len);
            let tokens = opened(&path).expect("readable");
            let bytes = fs::metadata(&path).expect("there").len();
            let vocabulary = serde_json::to_string(&vocabulary(size))
                .expect("json")
                .len();
            assert!(bytes >= (len * width) as u64);
            assert!(
                bytes < (len * width + 2 * vocabulary + 1000) as u64,
                "{size}"
            );
            assert_eq!(tokens.len(), want.len());
            for range in [0..1, 0..0, 17..9000, len - 1..len] {
                assert_eq!(*tokens.read(range.clone()).expect("read"), want[range]);
            }
            let read: Vec<u32> = pieces(&tokens, 1..len)
                .flat_map(|piece| piece.expect("read").into_owned())
                .collect();
            assert_eq!(read, want[1..]);
            assert_eq!(*tokens.all().expect("read"), want);
        }
    }

    #[test]
    fn a_file_that_is_cut_short_changed_or_foreign_is_an_error_wherever_it_is_read() {
        let folder = tempfile::tempdir().expect("folder");
        let (path, _) = stored(folder.path(), 90, 10_000);
        let whole = fs::read(&path).expect("readable");
        let in_use = "changed or cut short while it was in use";
        let refused = |tokens: &Tokens, why: &str| {
            for range in [0..1, 9_999..10_000] {
                let error = tokens.read(range).expect_err("damaged").to_string();
                assert!(error.contains(why), "{error}");
                assert!(error.contains("90.safetensors"), "{error}");
            }
        };

        let tokens = opened(&path).expect("whole");
        let file = File::options().write(true).open(&path).expect("writable");
        file.set_len(whole.len() as u64 - 1).expect("cut");
        refused(&tokens, in_use);
        opened(&path).expect_err("cut short");

        fs::write(&path, &whole).expect("written");
        let tokens = opened(&path).expect("whole");
        let file = File::options().write(true).open(&path).expect("writable");
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        file.set_modified(later).expect("touched");
        refused(&tokens, in_use);

        // As an older version wrote it, without checksums.
        let header = serde_json::json!({"format": 1, "vocabulary": vocabulary(90)});
        let mut foreign = vec![1; 10_000];
        foreign[5000] = 200;
        let tensor = safetensors::tensor::TensorView::new(Dtype::U8, vec![10_000], &foreign);
        let metadata = HashMap::from([("textgen".to_owned(), header.to_string())]);
        let tensors = [(TOKENS, tensor.expect("a tensor"))];
        let bytes = safetensors::serialize(tensors, Some(metadata)).expect("serialised");
        fs::write(&path, &bytes).expect("written");
        let tokens = opened(&path).expect("found where it is read");
        tokens.read(0..4999).expect("those before are right");
        let error = tokens.all().expect_err("unknown").to_string();
        assert!(
            error.contains("token 200 is not in the vocabulary"),
            "{error}"
        );
    }

    #[test]
    fn a_block_that_is_spoilt_is_noticed_where_it_is_read() {
        let folder = tempfile::tempdir().expect("folder");
        for (size, width) in [(90, 1), (300, 2)] {
            let len = 2 * BLOCK + 5;
            let (path, want) = stored(folder.path(), size, len);
            let mut bytes = fs::read(&path).expect("readable");
            let blocks = (len * width).div_ceil(BLOCK);
            let second = bytes.len() - blocks * CHECK - len * width + BLOCK + 7;
            bytes[second] ^= 1;
            fs::remove_file(&path).expect("removed");
            fs::write(&path, bytes).expect("written");
            let tokens = opened(&path).expect("found where it is read");
            let (second, third) = (BLOCK / width, 2 * BLOCK / width);
            assert_eq!(*tokens.read(0..second).expect("whole"), want[..second]);
            assert_eq!(*tokens.read(third..len).expect("whole"), want[third..]);
            for range in [second..second + 1, second - 1..second + 1, third - 1..third] {
                let error = tokens.read(range).expect_err("spoilt").to_string();
                assert!(error.contains("its checksum does not match"), "{error}");
            }
        }
    }

    #[test]
    fn a_file_that_is_replaced_stays_readable() {
        let folder = tempfile::tempdir().expect("folder");
        let (path, want) = stored(folder.path(), 90, 1000);
        let tokens = opened(&path).expect("whole");
        fs::remove_file(&path).expect("removed");
        stored(folder.path(), 90, 500);
        assert_eq!(*tokens.all().expect("read"), want);
    }

    #[test]
    fn a_writer_that_gets_more_or_fewer_tokens_than_counted_leaves_nothing() {
        let folder = tempfile::tempdir().expect("folder");
        let runs = folder.path().join("runs");
        for written in [99, 101] {
            let made = TextData::written(&runs, vocabulary(90), 100, |writer| {
                writer.push(&writer.packer()(&vec![1; written]))
            });
            let error = made.expect_err("miscounted").to_string();
            assert!(error.contains("than counted"), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
    }

    #[test]
    fn a_draft_is_deleted_but_not_the_runs_that_were_made_of_it() {
        let outer = tempfile::tempdir().expect("folder");
        let folder = outer.path().join("runs");
        let made = TextData::written(&folder, vocabulary(90), 100, |writer| {
            let pack = writer.packer();
            writer.push(&pack(&[1; 60]))?;
            writer.push(&pack(&[2; 40]))
        });
        let made: Result<TextData, RunError> = made;
        let data = CorpusData::Text(made.expect("written"));
        let paths = ["a", "b"].map(|name| folder.join(name));
        for path in &paths {
            data.write(path).expect("shared");
        }
        drop(data);
        assert_eq!(fs::read_dir(&folder).expect("listed").count(), 2);
        for path in &paths {
            let tokens = opened(path).expect("whole");
            assert_eq!(*tokens.read(59..61).expect("read"), [1, 2]);
        }
    }
}
