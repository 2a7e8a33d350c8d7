//! Safetensors files with one JSON document in their metadata, under the key `textgen`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, View};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{RunError, atomic};

/// Raw bytes of a tensor, little-endian.
pub type Bytes<'a> = Cow<'a, [u8]>;

/// A tensor on its way into a file.
pub struct StoredTensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub bytes: Bytes<'a>,
}

impl<'a> StoredTensor<'a> {
    /// An f32 tensor; `data` holds as many elements as `shape` says.
    pub fn f32(shape: &[usize], data: &'a [f32]) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: Cow::Borrowed(bytemuck::cast_slice(data)),
        }
    }

    /// An i8 tensor; `data` holds as many elements as `shape` says.
    pub fn i8(shape: &[usize], data: &'a [i8]) -> Self {
        Self {
            dtype: Dtype::I8,
            shape: shape.to_vec(),
            bytes: Cow::Borrowed(bytemuck::cast_slice(data)),
        }
    }

    /// A vector of bytes.
    pub fn u8(data: &'a [u8]) -> Self {
        Self {
            dtype: Dtype::U8,
            shape: vec![data.len()],
            bytes: Cow::Borrowed(data),
        }
    }

    /// A vector of tokens or offsets.
    pub fn u32(data: &'a [u32]) -> Self {
        Self {
            dtype: Dtype::U32,
            shape: vec![data.len()],
            bytes: Cow::Borrowed(bytemuck::cast_slice(data)),
        }
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

/// Writes `tensors` and `header` to `path`, atomically.
pub(crate) fn write(
    path: &Path,
    header: &impl Serialize,
    tensors: &BTreeMap<String, StoredTensor>,
) -> Result<(), RunError> {
    let json = serde_json::to_string(header).map_err(|error| RunError::damaged(path, error))?;
    let metadata = HashMap::from([("textgen".to_owned(), json)]);
    let bytes = safetensors::serialize(tensors.iter(), Some(metadata))
        .map_err(|error| RunError::damaged(path, error))?;
    atomic::write(path, &[&bytes])
}

/// A safetensors file in memory, its JSON document read.
#[derive(Debug)]
pub(crate) struct TensorFile {
    map: Mmap,
}

/// Why a file is no textgen file.
pub(crate) enum Refusal {
    /// It is no safetensors file, or is cut short.
    Foreign(String),
    /// It is a safetensors file without our JSON document.
    NoHeader,
}

impl TensorFile {
    /// Maps the file.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let file = File::open(path).map_err(RunError::io(path))?;
        if file.metadata().is_ok_and(|data| data.is_dir()) {
            return Err(RunError::io(path)(ErrorKind::IsADirectory.into()));
        }
        // SAFETY: textgen replaces its files by renaming and never writes to one in place; a file
        // that another program truncates meanwhile faults, as with any mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(RunError::io(path))?;
        Ok(Self { map })
    }

    /// `sha256:…` of the whole file.
    pub fn digest(&self) -> String {
        let hex = |byte: &u8| format!("{byte:02x}");
        let digest: String = Sha256::digest(&self.map).iter().map(hex).collect();
        format!("sha256:{digest}")
    }

    /// The tensors and the JSON document.
    pub fn read(&self) -> Result<(SafeTensors<'_>, String), Refusal> {
        let foreign = |error: safetensors::SafeTensorError| Refusal::Foreign(error.to_string());
        let (_, metadata) = SafeTensors::read_metadata(&self.map).map_err(foreign)?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get("textgen"))
            .cloned()
            .ok_or(Refusal::NoHeader)?;
        let tensors = SafeTensors::deserialize(&self.map).map_err(foreign)?;
        Ok((tensors, json))
    }
}

/// An f32 tensor's elements; copied only where the file does not align them.
pub(crate) fn f32_data<'a>(
    path: &Path,
    name: &str,
    bytes: &'a [u8],
) -> Result<Cow<'a, [f32]>, RunError> {
    if let Ok(data) = bytemuck::try_cast_slice(bytes) {
        return Ok(Cow::Borrowed(data));
    }
    if !bytes.len().is_multiple_of(4) {
        return Err(RunError::damaged(path, format!("{name}: odd length")));
    }
    Ok(Cow::Owned(bytemuck::pod_collect_to_vec(bytes)))
}

/// The elements of the u32 vector `name`.
pub(crate) fn u32_vector(
    path: &Path,
    tensors: &SafeTensors,
    name: &str,
) -> Result<Vec<u32>, RunError> {
    let view = tensors
        .tensor(name)
        .map_err(|error| RunError::damaged(path, error))?;
    if view.dtype() != Dtype::U32 || view.shape().len() != 1 {
        return Err(RunError::damaged(path, format!("{name}: not a u32 vector")));
    }
    Ok(bytemuck::pod_collect_to_vec(view.data()))
}
