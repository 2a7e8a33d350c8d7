//! Safetensors files with one JSON document in their metadata, under the key `textgen`.
//!
//! The document ends with a checksum of itself and of all tensors, which is verified when the file is opened: 64 bits
//! of XXH64, some 3 GB a second, so two milliseconds for a model of 5 MB. It finds what disks, memory and copies
//! spoil, not what somebody changes on purpose. Files of older versions have none, and neither have those whose document
//! another program has put into another order; they open unchecked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write as _};
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{Read, Seek};
use std::ops::{Deref, Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{NoUninit, Pod};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use super::{RunError, atomic};
use crate::models::weights::{Array, SCALE, Values, Weights, scale_name};

/// What precedes the 16 digits of a checksum, the last field of the document.
const CHECKSUM: &str = r#","checksum":"xxh64:"#;
/// What follows them.
const CHECKSUM_END: &str = r#""}"#;
/// The longest header that safetensors allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;
/// The bytes in which a file states the length of its header.
const LENGTH: usize = size_of::<u64>();

/// A tensor to write to a file.
pub struct StoredTensor<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Row-major elements, little-endian.
    pub(crate) bytes: Cow<'a, [u8]>,
}

impl<'a> StoredTensor<'a> {
    fn new<T: NoUninit>(dtype: Dtype, shape: &[usize], data: &'a [T]) -> Self {
        Self {
            dtype,
            shape: shape.to_vec(),
            bytes: Cow::Borrowed(bytemuck::cast_slice(data)),
        }
    }

    /// Creates an f32 vector.
    pub fn f32(data: &'a [f32]) -> Self {
        Self::new(Dtype::F32, &[data.len()], data)
    }

    /// Creates a vector of bytes.
    pub fn u8(data: &'a [u8]) -> Self {
        Self::new(Dtype::U8, &[data.len()], data)
    }

    /// Creates a u32 vector of tokens or offsets.
    pub fn u32(data: &'a [u32]) -> Self {
        Self::new(Dtype::U32, &[data.len()], data)
    }
}

impl View for &StoredTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Arrays as tensors: an int8 array becomes an i8 tensor and one of its scales.
pub(crate) fn stored<'a>(arrays: &'a Weights) -> BTreeMap<String, StoredTensor<'a>> {
    let mut stored = BTreeMap::new();
    for (name, Array { shape, values }) in arrays {
        let tensor = match values {
            Values::F32(values) => StoredTensor::new(Dtype::F32, shape, values),
            Values::Int8 { numbers, scales } => {
                stored.insert(scale_name(name), StoredTensor::f32(scales));
                StoredTensor::new(Dtype::I8, shape, numbers)
            }
        };
        stored.insert(name.clone(), tensor);
    }
    stored
}

/// The name of the tensor that has the checksums of the blocks of another one, which may be large.
pub(crate) fn checks_name(name: &str) -> String {
    format!("{name}.checks")
}

/// A tensor's type, shape and bytes.
type Part<'a> = (Dtype, &'a [usize], Cow<'a, [u8]>);

/// The checksum of a JSON document and of tensors: their names, types, shapes and bytes. A tensor whose blocks have
/// checksums of their own goes in without its bytes.
pub(crate) fn checksum(json: &str, tensors: &BTreeMap<&str, Part>) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    let mut part = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    part(json.as_bytes());
    for (name, (dtype, shape, bytes)) in tensors {
        part(name.as_bytes());
        part(dtype.to_string().as_bytes());
        part(format!("{shape:?}").as_bytes());
        if !tensors.contains_key(&*checks_name(name)) {
            part(bytes);
        }
    }
    hasher.finish()
}

/// The JSON document of a file.
pub(crate) fn document(path: &Path, header: &impl Serialize) -> Result<String, RunError> {
    serde_json::to_string(header).map_err(|error| RunError::damaged(path, error))
}

/// The document with its checksum.
fn with_checksum(mut json: String, checksum: u64) -> String {
    json.pop(); // the brace that closes it
    let _ = write!(json, "{CHECKSUM}{checksum:016x}{CHECKSUM_END}");
    json
}

/// The document that a checksum was made of, and the checksum; `None` if it has none.
fn without_checksum(json: &str) -> Option<(String, u64)> {
    let (document, rest) = json.rsplit_once(CHECKSUM)?;
    let digits = rest.strip_suffix(CHECKSUM_END)?;
    let checksum = u64::from_str_radix(digits, 16).ok()?;
    Some((format!("{document}}}"), checksum))
}

/// Writes `tensors` and `header` to `path`, atomically.
pub(crate) fn write<'a>(
    path: &Path,
    header: &impl Serialize,
    tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, &'a StoredTensor<'a>)>,
) -> Result<(), RunError> {
    atomic::write(path, &[&bytes(path, header, tensors)?])
}

/// The file at `path` that has `tensors` and `header`.
pub(crate) fn bytes<'a>(
    path: &Path,
    header: &impl Serialize,
    tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, &'a StoredTensor<'a>)>,
) -> Result<Vec<u8>, RunError> {
    let tensors: Vec<_> = tensors.into_iter().collect();
    let parts = tensors.iter().map(|(name, tensor)| {
        let bytes = Cow::Borrowed(&*tensor.bytes);
        (name.as_ref(), (tensor.dtype, &*tensor.shape, bytes))
    });
    let json = document(path, header)?;
    let checksum = checksum(&json, &parts.collect());
    let metadata = HashMap::from([("textgen".to_owned(), with_checksum(json, checksum))]);
    safetensors::serialize(tensors, Some(metadata)).map_err(|error| RunError::damaged(path, error))
}

/// The start of a file with a document, its checksum, and vectors that follow in this order.
pub(crate) fn head(
    path: &Path,
    json: String,
    checksum: u64,
    vectors: &[(&str, Dtype, usize)],
) -> Result<Vec<u8>, RunError> {
    let mut end = 0;
    let infos = vectors.iter().map(|&(name, dtype, len)| {
        let start = end;
        end += len * dtype.bitsize() / 8;
        let info = TensorInfo {
            dtype,
            shape: vec![len],
            data_offsets: (start, end),
        };
        (name.to_owned(), info)
    });
    let metadata = HashMap::from([("textgen".to_owned(), with_checksum(json, checksum))]);
    let metadata = Metadata::new(Some(metadata), infos.collect())
        .map_err(|error| RunError::damaged(path, error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| RunError::damaged(path, error))?;
    json.resize(json.len().next_multiple_of(LENGTH), b' ');
    Ok([&(json.len() as u64).to_le_bytes(), &json[..]].concat())
}

/// A kind of file: safetensors with a JSON document that contains a `format` number.
#[derive(Debug)]
pub(crate) struct FileKind {
    /// The name in messages, such as `prompt state`.
    pub what: &'static str,
    /// The document's `kind`, if files of this kind have one.
    pub kind: Option<&'static str>,
    /// The `format` numbers that this version reads.
    pub formats: RangeInclusive<u32>,
    /// Creates the error for a file that is damaged or of another kind.
    pub refuse: fn(&Path, String) -> RunError,
}

/// The fields that every JSON document has.
#[derive(Deserialize)]
struct Format {
    kind: Option<String>,
    format: u32,
}

/// The header of a file: its document, and where its tensors are.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub path: PathBuf,
    kind: &'static FileKind,
    metadata: Metadata,
    /// The offset of the first tensor in bytes.
    start: usize,
}

impl Head {
    /// Reads the header from the start of a file, and the bytes of the tensors unless they are left out, which takes the
    /// `length` of the file. A file that ends elsewhere than its header says is refused.
    fn read(
        path: &Path,
        file: &mut impl Read,
        kind: &'static FileKind,
        length: Option<u64>,
    ) -> Result<(Self, Vec<u8>), RunError> {
        let refuse = |reason: String| (kind.refuse)(path, reason);
        let foreign =
            |error: &dyn Display| refuse(format!("{error} (cut short, or another kind of file)"));
        let io = || RunError::io(path);
        let mut bytes = Vec::new();
        let mut more = |bytes: &mut Vec<u8>, count: u64| {
            file.by_ref().take(count).read_to_end(bytes).map_err(io())
        };
        more(&mut bytes, LENGTH as u64)?;
        let Some(header) = bytes.first_chunk::<LENGTH>() else {
            return Err(foreign(&"its header is too short"));
        };
        let header = u64::from_le_bytes(*header);
        if header > LONGEST_HEADER {
            return Err(foreign(&"its header is too long"));
        }
        if more(&mut bytes, header)? < header as usize {
            return Err(foreign(&"its header is incomplete"));
        }
        let metadata: Metadata =
            serde_json::from_slice(&bytes[LENGTH..]).map_err(|error| foreign(&error))?;
        let (start, size) = (bytes.len(), metadata.data_len() as u64);
        let whole = (start as u64).checked_add(size);
        let found = if let Some(length) = length {
            length
        } else {
            // One byte more shows that the file goes on.
            more(&mut bytes, size.saturating_add(1))?;
            bytes.len() as u64
        };
        if Some(found) != whole {
            return Err(foreign(&"its length is not what its header says"));
        }
        let head = Self {
            path: path.to_owned(),
            kind,
            metadata,
            start,
        };
        Ok((head, bytes))
    }

    /// The error if this file is damaged or of another kind.
    pub fn refuse(&self, reason: impl Display) -> RunError {
        (self.kind.refuse)(&self.path, reason.to_string())
    }

    /// The names of the tensors.
    fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Whether the file has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, RunError> {
        let missing = || self.refuse(format_args!("tensor {name} is missing"));
        self.metadata.info(name).ok_or_else(missing)
    }

    /// The bytes of the file that hold a tensor.
    fn range(&self, info: &TensorInfo) -> Range<usize> {
        let (start, end) = info.data_offsets;
        self.start + start..self.start + end
    }

    /// The first byte of a vector in the file, its length and the type of its elements.
    pub fn place(&self, name: &str) -> Result<(u64, usize, Dtype), RunError> {
        let info = self.info(name)?;
        let start = self.range(info).start as u64;
        Ok((start, info.shape.iter().product(), info.dtype))
    }

    /// The JSON document, after checking its kind, its format, and the file's checksum. `bytes` has those of each
    /// tensor that the checksum is of.
    pub fn header<'a, H: DeserializeOwned>(
        &self,
        bytes: impl Fn(&str, Range<usize>) -> Cow<'a, [u8]>,
    ) -> Result<H, RunError> {
        let json = self.metadata.metadata().as_ref();
        let json = json
            .and_then(|map| map.get("textgen"))
            .ok_or_else(|| self.refuse("a safetensors file without the textgen header"))?;
        let header = |error: serde_json::Error| self.refuse(format_args!("its header: {error}"));
        let Format { kind, format } = serde_json::from_str(json).map_err(header)?;
        if kind.as_deref() != self.kind.kind {
            return Err(self.refuse(format_args!("not a {}", self.kind.what)));
        }
        if !self.kind.formats.contains(&format) {
            return Err(RunError::Format {
                path: self.path.clone(),
                what: self.kind.what,
                found: format,
                oldest: *self.kind.formats.start(),
                newest: *self.kind.formats.end(),
            });
        }
        if let Some((json, wanted)) = without_checksum(json) {
            let names = self.names();
            let tensors = names.iter().filter_map(|name| {
                let info = self.metadata.info(name)?;
                let bytes = bytes(name, self.range(info));
                Some((name.as_str(), (info.dtype, &*info.shape, bytes)))
            });
            if checksum(&json, &tensors.collect()) != wanted {
                return Err(RunError::Spoilt {
                    path: self.path.clone(),
                });
            }
        }
        serde_json::from_str(json).map_err(header)
    }
}

/// What cannot be rewound is read from where it is.
fn is_stream(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::NotSeekable => Ok(()),
        _ => Err(error),
    }
}

/// The header of a file of which only that is read, and the bytes of its tensor `also`, if it has it.
pub(crate) fn read_head(
    path: &Path,
    file: &mut File,
    kind: &'static FileKind,
    also: &str,
) -> Result<(Head, Vec<u8>), RunError> {
    file.rewind()
        .or_else(is_stream)
        .map_err(RunError::io(path))?;
    let length = file.metadata().map_err(RunError::io(path))?.len();
    let (head, _) = Head::read(path, file, kind, Some(length))?;
    let Some(info) = head.metadata.info(also) else {
        return Ok((head, Vec::new()));
    };
    let range = head.range(info);
    let mut bytes = vec![0; range.len()];
    file.seek(std::io::SeekFrom::Start(range.start as u64))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(RunError::io(path))?;
    Ok((head, bytes))
}

/// The bytes of a file.
#[derive(Clone, Debug)]
enum Bytes {
    Read(Arc<Vec<u8>>),
    /// Those of a file that is part of the program.
    Bundled(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Bundled(bytes) => bytes,
        }
    }
}

/// A safetensors file in memory. It is read, not mapped: what happens to the file afterwards changes nothing. Clones
/// share the bytes.
#[derive(Clone, Debug)]
pub(crate) struct TensorFile {
    head: Head,
    bytes: Bytes,
}

impl TensorFile {
    /// Reads the file at `path`.
    pub fn open(path: &Path, kind: &'static FileKind) -> Result<Self, RunError> {
        let mut file = File::open(path).map_err(RunError::io(path))?;
        Self::read(path, &mut file, kind)
    }

    /// Reads an open file, whose path is `path`.
    pub fn read(path: &Path, file: &mut File, kind: &'static FileKind) -> Result<Self, RunError> {
        file.rewind()
            .or_else(is_stream)
            .map_err(RunError::io(path))?;
        Self::of(path, file, kind)
    }

    /// Reads what `source` has from where it is, called `path` in messages.
    pub fn of(
        path: &Path,
        source: &mut impl Read,
        kind: &'static FileKind,
    ) -> Result<Self, RunError> {
        let (head, bytes) = Head::read(path, source, kind, None)?;
        Ok(Self {
            head,
            bytes: Bytes::Read(bytes.into()),
        })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A file that is part of the program, called `name` in messages.
    pub fn bundled(
        name: &str,
        bytes: &'static [u8],
        kind: &'static FileKind,
    ) -> Result<Self, RunError> {
        let refuse =
            |error: safetensors::SafeTensorError| (kind.refuse)(Path::new(name), error.to_string());
        let (length, metadata) = SafeTensors::read_metadata(bytes).map_err(refuse)?;
        let head = Head {
            path: name.into(),
            kind,
            metadata,
            start: LENGTH + length,
        };
        Ok(Self {
            head,
            bytes: Bytes::Bundled(bytes),
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.head.path
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// `sha256:…` of the whole file.
    pub fn digest(&self) -> String {
        let hex = |byte: &u8| format!("{byte:02x}");
        let digest: String = Sha256::digest(&*self.bytes).iter().map(hex).collect();
        format!("sha256:{digest}")
    }

    /// The error if this file is damaged or of another kind.
    pub fn refuse(&self, reason: impl Display) -> RunError {
        self.head.refuse(reason)
    }

    /// The JSON document, after checking its kind, its format, and the file's checksum.
    pub fn header<H: DeserializeOwned>(&self) -> Result<H, RunError> {
        self.head
            .header(|_, range| Cow::Borrowed(&self.bytes[range]))
    }

    /// Whether the file has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.head.contains(name)
    }

    /// The bytes of a tensor.
    pub fn get(&self, name: &str) -> Result<&[u8], RunError> {
        let info = self.head.info(name)?;
        Ok(&self.bytes[self.head.range(info)])
    }

    /// The elements of a tensor of that element type, without their shape; copied only if the file does
    /// not align them.
    fn elements<T: Pod>(
        &self,
        name: &str,
        dtype: Dtype,
    ) -> Result<(Vec<usize>, Cow<'_, [T]>), RunError> {
        let (info, bytes) = (self.head.info(name)?, self.get(name)?);
        if info.dtype != dtype {
            let found = info.dtype;
            let reason = format_args!("tensor {name} is {found:?}, not {dtype:?}");
            return Err(self.refuse(reason));
        }
        let data = match bytemuck::try_cast_slice(bytes) {
            Ok(data) => Cow::Borrowed(data),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
        };
        Ok((info.shape.clone(), data))
    }

    fn vector<T: Pod>(&self, name: &str, dtype: Dtype) -> Result<Cow<'_, [T]>, RunError> {
        match self.elements(name, dtype)? {
            (shape, data) if shape.len() == 1 => Ok(data),
            (shape, _) => {
                let reason = format_args!("tensor {name} has shape {shape:?}, not one dimension");
                Err(self.refuse(reason))
            }
        }
    }

    /// The elements of an f32 vector.
    pub fn f32(&self, name: &str) -> Result<Vec<f32>, RunError> {
        self.vector(name, Dtype::F32).map(Cow::into_owned)
    }

    /// The elements of a u32 vector.
    pub fn u32(&self, name: &str) -> Result<Vec<u32>, RunError> {
        self.vector(name, Dtype::U32).map(Cow::into_owned)
    }

    /// All tensors but `except` as arrays; an i8 tensor is joined with its scales.
    pub fn arrays(&self, except: &str) -> Result<Weights<'_>, RunError> {
        let is_int8 = |name: &str| {
            let info = self.head.info(name);
            info.is_ok_and(|info| info.dtype == Dtype::I8)
        };
        let mut arrays = Weights::new();
        for name in &self.head.names() {
            if name == except || name.strip_suffix(SCALE).is_some_and(is_int8) {
                continue;
            }
            let array = if is_int8(name) {
                let (shape, numbers) = self.elements(name, Dtype::I8)?;
                let scales = self.vector(&scale_name(name), Dtype::F32)?;
                Array {
                    shape,
                    values: Values::Int8 { numbers, scales },
                }
            } else {
                let (shape, values) = self.elements(name, Dtype::F32)?;
                Array::f32(shape, values)
            };
            arrays.insert(name.to_owned(), array);
        }
        Ok(arrays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cell, OnUnknown, Unit};
    use crate::models::Snapshot;
    use crate::run::{
        CorpusData, ModelFile, Progress, PromptState, State, TextData, TokenSource as _, WordData,
    };
    use crate::testing::{char_lstm, model_header, weights};
    use crate::text::{Token, Vocabulary};

    /// A vocabulary of the letters from a on.
    fn letters(count: u8) -> Vocabulary {
        let letters = (0..count).map(|at| Token::Text(char::from(b'a' + at).to_string()));
        Vocabulary::new(Unit::Char, letters.collect(), 0, false).expect("a vocabulary")
    }

    fn model(path: &Path) {
        let network = char_lstm(Cell::Lstm, 2, 1, 9);
        let header = model_header(network, letters(9));
        let weights = weights(&header.network);
        ModelFile::write(path, &header, &weights, Some("one\ntwo")).expect("written");
    }

    fn read_model(path: &Path) -> Result<String, RunError> {
        let file = ModelFile::open(path)?;
        let (weights, words) = (file.weights()?, file.training_text()?);
        Ok(format!("{:?} {weights:?} {words:?}", file.header))
    }

    fn state(path: &Path) {
        let progress = Progress {
            step: 12,
            seconds: 1.5,
            ..Progress::default()
        };
        let tensors = weights(&char_lstm(Cell::Gru, 2, 1, 3));
        State { progress, tensors }.write(path).expect("written");
    }

    fn read_state(path: &Path) -> Result<String, RunError> {
        let state = State::read(path)?;
        Ok(format!("{:?} {:?}", state.progress, state.tensors))
    }

    fn prompt(path: &Path) {
        let state = PromptState {
            model: "runs/a/model.safetensors".to_owned(),
            digest: "sha256:00".to_owned(),
            tokens: 12,
            recent: vec![3, 1, 2],
            snapshot: Snapshot {
                hidden: vec![vec![0.5, -1.0]],
                cell: vec![vec![2.0, 3.0]],
                logits: vec![1.0, 2.0, -7.5],
            },
        };
        state.write(path).expect("written");
    }

    fn read_prompt(path: &Path) -> Result<String, RunError> {
        PromptState::read(path).map(|state| format!("{state:?}"))
    }

    fn text(path: &Path) {
        let data = CorpusData::Text(TextData {
            vocabulary: letters(9),
            tokens: (0..500).map(|at| at % 9).collect::<Vec<u32>>().into(),
        });
        data.write(path).expect("written");
    }

    fn words(path: &Path) {
        let vocabulary = letters(9);
        let words = ["abba", "face", "i"];
        let encode = |word: &&str| vocabulary.encode(word, OnUnknown::Error).expect("known");
        let data = CorpusData::Words(WordData {
            letters: words.iter().map(encode).collect(),
            words: words.map(str::to_owned).to_vec(),
            vocabulary: vocabulary.clone(),
            train: vec![2, 0],
            valid: vec![1],
            test: Vec::new(),
        });
        data.write(path).expect("written");
    }

    fn read_corpus(path: &Path) -> Result<String, RunError> {
        Ok(match CorpusData::read(path)? {
            CorpusData::Words(words) => format!("{words:?}"),
            CorpusData::Text(text) => {
                let tokens = text.tokens.read(0..500)?;
                format!("{:?} {tokens:?}", text.vocabulary)
            }
        })
    }

    type Kind = (fn(&Path), fn(&Path) -> Result<String, RunError>);
    const KINDS: [Kind; 5] = [
        (model, read_model),
        (state, read_state),
        (prompt, read_prompt),
        (text, read_corpus),
        (words, read_corpus),
    ];

    #[test]
    fn a_bit_that_flips_anywhere_in_a_file_of_any_kind_is_noticed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        for (write, read) in KINDS {
            write(&path);
            let want = read(&path).expect("whole");
            let whole = std::fs::read(&path).expect("readable");
            let _ = std::fs::remove_file(&path);
            let mut noticed = 0;
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                std::fs::write(&path, &bytes).expect("written");
                // The name `checksum` may change, or the case of its digits, and nothing else.
                match read(&path) {
                    Ok(found) => assert_eq!(found, want, "byte {at}"),
                    Err(_) => noticed += 1,
                }
            }
            println!("{noticed} of {} flipped bits were noticed", whole.len());
            assert!(noticed + 40 > whole.len());
            let _ = std::fs::remove_file(&path);
        }
    }

    #[test]
    fn a_spoilt_file_is_said_to_be_one_and_one_without_a_checksum_opens() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        for (write, read) in KINDS {
            write(&path);
            let want = read(&path).expect("whole");
            let mut bytes = std::fs::read(&path).expect("readable");
            let last = bytes.len() - 1;
            bytes[last] ^= 0x10;
            std::fs::write(&path, &bytes).expect("written");
            let error = read(&path).expect_err("spoilt").to_string();
            assert!(error.contains("its checksum does not match"), "{error}");
            // As an older version wrote it, which gave the key to nobody.
            let name = br#"\"checksum\""#;
            let at = bytes.windows(name.len()).rposition(|found| found == name);
            let at = at.expect("a checksum");
            bytes[at + 2] = b'k';
            bytes[last] ^= 0x10;
            std::fs::write(&path, &bytes).expect("written");
            assert_eq!(read(&path).expect("old"), want);
            std::fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn a_file_in_memory_stays_what_it_was() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        model(&path);
        let open = ModelFile::open(&path).expect("whole");
        let weights = || format!("{:?}", open.weights().expect("read"));
        let before = weights();
        let file = std::fs::File::options().write(true).open(&path);
        file.and_then(|file| file.set_len(100)).expect("cut short");
        assert_eq!(weights(), before);
        ModelFile::open(&path).expect_err("cut short");
    }
}
