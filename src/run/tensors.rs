//! Safetensors files with one JSON document in their metadata, under the key `textgen`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Deref;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytemuck::{NoUninit, Pod};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{RunError, atomic};
use crate::models::weights::{Array, SCALE, Values, Weights, scale_name};

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

/// Writes `tensors` and `header` to `path`, atomically.
pub(crate) fn write<'a>(
    path: &Path,
    header: &impl Serialize,
    tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + Display, &'a StoredTensor<'a>)>,
) -> Result<(), RunError> {
    let json = serde_json::to_string(header).map_err(|error| RunError::damaged(path, error))?;
    let metadata = HashMap::from([("textgen".to_owned(), json)]);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| RunError::damaged(path, error))?;
    atomic::write(path, &[&bytes])
}

/// The start of a file with `header` and one vector of `len` elements, which follow.
pub(crate) fn head(
    path: &Path,
    header: &impl Serialize,
    (name, dtype, len): (&str, Dtype, usize),
) -> Result<Vec<u8>, RunError> {
    let info = TensorInfo {
        dtype,
        shape: vec![len],
        data_offsets: (0, len * dtype.bitsize() / 8),
    };
    let json = serde_json::to_string(header).map_err(|error| RunError::damaged(path, error))?;
    let metadata = HashMap::from([("textgen".to_owned(), json)]);
    let metadata = Metadata::new(Some(metadata), vec![(name.to_owned(), info)])
        .map_err(|error| RunError::damaged(path, error))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| RunError::damaged(path, error))?;
    json.resize(json.len().next_multiple_of(size_of::<u64>()), b' ');
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

/// The bytes of a file.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// Those of a file that is part of the program.
    Bundled(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Bundled(bytes) => bytes,
        }
    }
}

/// A safetensors file in memory.
#[derive(Debug)]
pub(crate) struct TensorFile {
    pub path: PathBuf,
    kind: &'static FileKind,
    bytes: Bytes,
}

impl TensorFile {
    /// Maps the file at `path` into memory.
    pub fn open(path: &Path, kind: &'static FileKind) -> Result<Self, RunError> {
        let file = File::open(path).map_err(RunError::io(path))?;
        Self::map(path, &file, kind)
    }

    /// Maps an open file, whose path is `path`, into memory.
    pub fn map(path: &Path, file: &File, kind: &'static FileKind) -> Result<Self, RunError> {
        if file.metadata().is_ok_and(|data| data.is_dir()) {
            return Err(RunError::io(path)(ErrorKind::IsADirectory.into()));
        }
        // SAFETY: textgen replaces its files by renaming and never writes to one in place; a file
        // that another program truncates meanwhile faults, as with any mapped file.
        let map = unsafe { Mmap::map(file) }.map_err(RunError::io(path))?;
        Ok(Self {
            path: path.to_owned(),
            kind,
            bytes: Bytes::Mapped(map),
        })
    }

    /// A file that is part of the program, called `name` in messages.
    pub fn bundled(name: &str, bytes: &'static [u8], kind: &'static FileKind) -> Self {
        Self {
            path: name.into(),
            kind,
            bytes: Bytes::Bundled(bytes),
        }
    }

    /// The same file once more.
    pub fn reopen(&self) -> Result<Self, RunError> {
        match self.bytes {
            Bytes::Mapped(_) => Self::open(&self.path, self.kind),
            Bytes::Bundled(bytes) => Ok(Self {
                path: self.path.clone(),
                kind: self.kind,
                bytes: Bytes::Bundled(bytes),
            }),
        }
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
        (self.kind.refuse)(&self.path, reason.to_string())
    }

    /// The JSON document, after checking its kind and format.
    pub fn header<H: DeserializeOwned>(&self) -> Result<H, RunError> {
        let foreign =
            |error| self.refuse(format_args!("{error} (cut short, or another kind of file)"));
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).map_err(foreign)?;
        let json = metadata.metadata().as_ref();
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
        serde_json::from_str(json).map_err(header)
    }

    /// The table of tensors.
    pub fn tensors(&self) -> Result<Tensors<'_>, RunError> {
        match SafeTensors::deserialize(&self.bytes) {
            Ok(tensors) => Ok(Tensors {
                file: self,
                tensors,
            }),
            Err(error) => Err(self.refuse(error)),
        }
    }
}

/// The tensors of a file.
pub(crate) struct Tensors<'a> {
    file: &'a TensorFile,
    tensors: SafeTensors<'a>,
}

impl<'a> Tensors<'a> {
    /// Whether the file has a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// The first byte of a vector in the file, its length and the type of its elements.
    pub fn place(&self, name: &str) -> Result<(u64, usize, Dtype), RunError> {
        let view = self.get(name)?;
        let start = view.data().as_ptr() as usize - self.file.bytes.as_ptr() as usize;
        Ok((start as u64, view.shape().iter().product(), view.dtype()))
    }

    /// Returns a tensor whose elements borrow from the file.
    pub fn get(&self, name: &str) -> Result<TensorView<'a>, RunError> {
        let missing = |_| self.file.refuse(format_args!("tensor {name} is missing"));
        self.tensors.tensor(name).map_err(missing)
    }

    /// The elements of a tensor of that element type, without their shape; copied only if the file does
    /// not align them.
    fn elements<T: Pod>(
        &self,
        name: &str,
        dtype: Dtype,
    ) -> Result<(Vec<usize>, Cow<'a, [T]>), RunError> {
        let view = self.get(name)?;
        if view.dtype() != dtype {
            let found = view.dtype();
            let reason = format_args!("tensor {name} is {found:?}, not {dtype:?}");
            return Err(self.file.refuse(reason));
        }
        let data = match bytemuck::try_cast_slice(view.data()) {
            Ok(data) => Cow::Borrowed(data),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(view.data())),
        };
        Ok((view.shape().to_vec(), data))
    }

    fn vector<T: Pod>(&self, name: &str, dtype: Dtype) -> Result<Cow<'a, [T]>, RunError> {
        match self.elements(name, dtype)? {
            (shape, data) if shape.len() == 1 => Ok(data),
            (shape, _) => {
                let reason = format_args!("tensor {name} has shape {shape:?}, not one dimension");
                Err(self.file.refuse(reason))
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
    pub fn arrays(&self, except: &str) -> Result<Weights<'a>, RunError> {
        let is_int8 = |name: &str| {
            let tensor = self.tensors.tensor(name);
            tensor.is_ok_and(|view| view.dtype() == Dtype::I8)
        };
        let mut arrays = Weights::new();
        for name in self.tensors.names() {
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
