//! The containers of checkpoints: PyTorch's zip archives and what came before them, and safetensors.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};

use safetensors::SafeTensors;
use serde_json::Value as Json;
use zip::{CompressionMethod, ZipArchive};

use super::ImportError;
use super::pickle::{self, Dtype, Id, Storage, Tensor, Value, Values};

/// The longest pickle beside the tensors of an archive, in bytes.
const LONGEST_PICKLE: u64 = 64 << 20;
/// How a checkpoint of before 2020 (PyTorch 1.6) begins: 0x1950a86a20f9469cfc6c as a pickle of its own.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The deepest JSON beside tensors.
const DEEPEST_JSON: usize = 32;

/// Files that are no checkpoint, by their first bytes, and what to do with them.
const OTHERS: [(&[u8], &str, &str); 6] = [
    (
        b"\x03\0\0\0\x01\0\0\0",
        "a Torch7 file (.t7), as Karpathy's char-rnn for Lua writes",
        "textgen reads PyTorch's checkpoints and safetensors; `torchfile` on PyPI turns a .t7 into arrays",
    ),
    (
        b"\x04\0\0\0\x01\0\0\0",
        "a Torch7 file (.t7), as Karpathy's char-rnn for Lua writes",
        "textgen reads PyTorch's checkpoints and safetensors; `torchfile` on PyPI turns a .t7 into arrays",
    ),
    (
        b"\x89HDF",
        "an HDF5 file, as Keras writes",
        "textgen reads PyTorch's checkpoints and safetensors",
    ),
    (
        b"GGUF",
        "a GGUF file, which holds a transformer",
        "textgen reads recurrent networks: LSTM, GRU and plain ones",
    ),
    (
        b"\x93NUMPY",
        "an array of numpy",
        "textgen reads PyTorch's checkpoints and safetensors",
    ),
    (b"\x1f\x8b", "compressed", "unpack it first: gunzip"),
];

/// Values with tensors, and the file in which the tensors' elements are.
pub struct Checkpoint<'b> {
    pub values: Values,
    /// What was saved.
    pub root: Id,
    elements: Elements<'b>,
}

enum Elements<'b> {
    /// An archive, and the folder in it, with a slash.
    Archive(Box<ZipArchive<Cursor<&'b [u8]>>>, String),
    /// The bytes of each storage.
    Slices(HashMap<String, &'b [u8]>),
}

fn damaged(what: impl std::fmt::Display) -> ImportError {
    ImportError::damaged(what)
}

impl<'b> Checkpoint<'b> {
    /// Finds out what a file is, and reads what is in it apart from the elements of tensors.
    pub fn read(bytes: &'b [u8]) -> Result<Self, ImportError> {
        let other = OTHERS.iter().find(|(magic, ..)| bytes.starts_with(magic));
        if let Some(&(_, what, hint)) = other {
            return Err(ImportError::new(format!("it is {what}"), hint));
        }
        if bytes.starts_with(b"PK\x03\x04") {
            Self::of_archive(bytes)
        } else if bytes.get(8) == Some(&b'{') {
            Self::of_safetensors(bytes)
        } else if bytes.starts_with(b"\x80") {
            Self::of_pickles(bytes)
        } else if bytes.get(257..262) == Some(b"ustar") {
            Err(ImportError::new(
                "it is a tar archive, as PyTorch wrote before version 0.1.10",
                "load and save it again with a newer PyTorch",
            ))
        } else {
            Err(ImportError::new(
                "it is neither a PyTorch checkpoint nor safetensors",
                "give what torch.save wrote (.pt, .pth) or a .safetensors file",
            ))
        }
    }

    /// What `torch.save` has written since PyTorch 1.6: an archive of `data.pkl` and `data/KEY`.
    fn of_archive(bytes: &'b [u8]) -> Result<Self, ImportError> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        let names: Vec<String> = archive
            .file_names()
            .filter_map(|name| Some(name.ok()?.into_owned()))
            .collect();
        let with_end = |end: &str| {
            let mut folders = names.iter().filter_map(|name| name.strip_suffix(end));
            folders.find(|folder| folder.is_empty() || folder.ends_with('/'))
        };
        if with_end("constants.pkl").is_some() {
            return Err(ImportError::new(
                "it is a TorchScript archive, which has code and no plain weights",
                "save the weights instead: torch.save(model.state_dict(), \"weights.pt\")",
            ));
        }
        let Some(folder) = with_end("data.pkl").map(str::to_owned) else {
            return Err(ImportError::new(
                "it is a zip archive, but no PyTorch checkpoint: it has no data.pkl",
                "give what torch.save wrote",
            ));
        };
        let order = format!("{folder}byteorder");
        if names.contains(&order) && member(&mut archive, &order, 16)? != b"little" {
            return Err(big_endian());
        }
        let text = member(&mut archive, &format!("{folder}data.pkl"), LONGEST_PICKLE)?;
        let (values, root, _) = pickle::read(&text)?;
        Ok(Self {
            values,
            root,
            elements: Elements::Archive(Box::new(archive), folder),
        })
    }

    /// What `torch.save` wrote up to PyTorch 1.5: five pickles, and then the storages.
    fn of_pickles(bytes: &'b [u8]) -> Result<Self, ImportError> {
        let mut at = 0;
        let mut next = || {
            let read = pickle::read(bytes.get(at..).unwrap_or_default())?;
            at += read.2;
            Ok::<_, ImportError>((read.0, read.1))
        };
        let (values, magic) = next()?;
        match values.get(magic) {
            Value::Long(found) if *found == LEGACY_MAGIC => {}
            _ => {
                return Err(ImportError::new(
                    "it is a pickle, but not one that torch.save wrote",
                    "load it where it was made, and save its tensors: torch.save(model.state_dict(), \"weights.pt\")",
                ));
            }
        }
        next()?; // the version of the protocol, 1001 ever since
        let (values, system) = next()?;
        let little = values.under(values.entries(system), "little_endian");
        if little.is_some_and(|little| *values.get(little) == Value::Bool(false)) {
            return Err(big_endian());
        }
        let (values, root) = next()?;
        let (names, keys) = next()?;
        let mut sizes = HashMap::new();
        for value in values.all() {
            if let Value::Storage(Storage { dtype, key, count }) = value {
                let key = values.text(*key).unwrap_or_default();
                sizes.insert(key, count.saturating_mul(dtype.size()));
            }
        }
        let mut rest = &bytes[at..];
        let mut slices = HashMap::new();
        for &key in names.list(keys).unwrap_or_default() {
            let key = names.text(key).unwrap_or_default();
            let size = *sizes
                .get(key)
                .ok_or_else(|| damaged("a storage that no tensor has"))?;
            let cut_short = || damaged("it ends within its tensors");
            rest.split_off(..8).ok_or_else(cut_short)?; // elements, as in the pickle
            let slice = rest.split_off(..size).ok_or_else(cut_short)?;
            slices.insert(key.to_owned(), slice);
        }
        Ok(Self {
            values,
            root,
            elements: Elements::Slices(slices),
        })
    }

    /// Tensors by name, and what the metadata has as JSON.
    fn of_safetensors(bytes: &'b [u8]) -> Result<Self, ImportError> {
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let mut values = Values::default();
        let (mut entries, mut slices) = (Vec::new(), HashMap::new());
        for (name, view) in file.iter() {
            let key = added(&mut values, Value::Text(name.to_owned()))?;
            let dtype = match view.dtype() {
                safetensors::Dtype::F32 => Dtype::F32,
                safetensors::Dtype::F64 => Dtype::F64,
                safetensors::Dtype::F16 => Dtype::F16,
                safetensors::Dtype::BF16 => Dtype::Bf16,
                other => Dtype::Other(other.bitsize().div_ceil(8)),
            };
            let (shape, data) = (view.shape().to_vec(), view.data());
            let count = data.len() / dtype.size();
            let storage = added(&mut values, Value::Storage(Storage { dtype, key, count }))?;
            let mut strides = vec![1; shape.len()];
            for at in (1..shape.len()).rev() {
                strides[at - 1] = shape[at].saturating_mul(strides[at]);
            }
            let tensor = Tensor {
                storage,
                offset: 0,
                shape,
                strides,
            };
            entries.push((key, added(&mut values, Value::Tensor(tensor))?));
            slices.insert(name.to_owned(), data);
        }
        let weights = added(&mut values, Value::Dict(entries))?;
        let mut all = vec![(
            added(&mut values, Value::Text("tensors".to_owned()))?,
            weights,
        )];
        let metadata = metadata.metadata().clone().unwrap_or_default();
        for (key, text) in metadata {
            let json = serde_json::from_str(&text).unwrap_or(Json::String(text));
            let key = added(&mut values, Value::Text(key))?;
            all.push((key, of_json(&mut values, &json, 0)?));
        }
        let root = added(&mut values, Value::Dict(all))?;
        Ok(Self {
            values,
            root,
            elements: Elements::Slices(slices),
        })
    }

    /// The elements of a tensor as f32, row-major.
    pub fn numbers(&mut self, tensor: &Tensor) -> Result<Vec<f32>, ImportError> {
        let Value::Storage(storage) = self.values.get(tensor.storage) else {
            return Err(damaged("a tensor without a storage"));
        };
        let Storage { dtype, key, count } = storage.clone();
        let key = self.values.text(key).unwrap_or_default();
        if let Dtype::Other(_) = dtype {
            return Err(damaged(
                "a weight whose elements are no floating-point numbers",
            ));
        }
        let outside = || damaged("a tensor that goes beyond its storage");
        let elements = (tensor.shape.iter()).try_fold(1_usize, |all, &size| all.checked_mul(size));
        let elements = elements.filter(|&all| all <= count).ok_or_else(outside)?;
        let steps = tensor.shape.iter().zip(&tensor.strides);
        let last = steps
            .clone()
            .try_fold(tensor.offset, |last, (&size, &stride)| {
                last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        if elements == 0 || last.is_none_or(|last| last >= count) {
            return Err(outside());
        }
        let size = count.checked_mul(dtype.size()).ok_or_else(outside)?;
        let owned;
        let bytes = match &mut self.elements {
            Elements::Slices(slices) => slices.get(key).copied().unwrap_or_default(),
            Elements::Archive(archive, folder) => {
                let name = format!("{folder}data/{key}");
                owned = member(archive, &name, size as u64)?;
                &owned
            }
        };
        if bytes.len() != size {
            return Err(damaged("a storage of another size than its tensors"));
        }
        let one = |at: usize| number(dtype, &bytes[at * dtype.size()..]);
        let mut places = vec![tensor.offset];
        for (&size, &stride) in steps {
            let along = |&at: &usize| (0..size).map(move |index| at + index * stride);
            places = places.iter().flat_map(along).collect();
        }
        Ok(places.into_iter().map(one).collect())
    }
}

fn big_endian() -> ImportError {
    ImportError::new(
        "it was written by a big-endian machine",
        "load it there and save it as safetensors, which is little-endian",
    )
}

/// A member of an archive of at most so many bytes. `torch.save` compresses nothing, so what is compressed is foreign.
fn member(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    most: u64,
) -> Result<Vec<u8>, ImportError> {
    let file = archive
        .by_name(name)
        .map_err(|error| damaged(format_args!("{name}: {error}")))?;
    if file.compression() != CompressionMethod::Stored {
        return Err(ImportError::new(
            format!("its {name} is compressed, which torch.save does not do"),
            "give the file as torch.save wrote it",
        ));
    }
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| damaged(format_args!("{name}: {error}")))?;
    if bytes.len() as u64 > most {
        return Err(damaged(format_args!("{name} is larger than {most} bytes")));
    }
    Ok(bytes)
}

fn added(values: &mut Values, value: Value) -> Result<Id, ImportError> {
    values
        .add(value)
        .ok_or_else(|| damaged("it has too many values"))
}

/// JSON as values.
pub fn of_json(values: &mut Values, json: &Json, depth: usize) -> Result<Id, ImportError> {
    if depth > DEEPEST_JSON {
        return added(values, Value::None);
    }
    let value = match json {
        Json::Null => Value::None,
        Json::Bool(is_so) => Value::Bool(*is_so),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(
            items
                .iter()
                .map(|item| of_json(values, item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Json::Object(fields) => {
            let mut entries = Vec::new();
            for (key, field) in fields {
                let key = added(values, Value::Text(key.clone()))?;
                entries.push((key, of_json(values, field, depth + 1)?));
            }
            Value::Dict(entries)
        }
    };
    added(values, value)
}

/// The number that these bytes, little-endian, begin with.
fn number(dtype: Dtype, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (Dtype::F32, &[a, b, c, d, ..]) => f32::from_le_bytes([a, b, c, d]),
        (Dtype::F64, &[a, b, c, d, e, f, g, h, ..]) => {
            f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32
        }
        (Dtype::F16, &[a, b, ..]) => of_half(u16::from_le_bytes([a, b])),
        (Dtype::Bf16, &[a, b, ..]) => f32::from_le_bytes([0, 0, a, b]),
        _ => f32::NAN,
    }
}

/// IEEE 754's binary16.
fn of_half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * (-24_f32).exp2(),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction / 1024.0) * ((exponent - 15) as f32).exp2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_ieee_754s() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(of_half(bits), value, "{bits:#06x}");
        }
        assert!(of_half(0x7e00).is_nan());
    }
}
