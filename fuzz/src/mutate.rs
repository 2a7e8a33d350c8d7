//! Changes of files that keep what a reader checks first: lengths, offsets, seals, the syntax of JSON.

use fastrand::Rng;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::Form;

/// Numbers at which something overflows, or is compared.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    127,
    255,
    256,
    65_535,
    1 << 20,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 53,
    i64::MAX as u64,
    u64::MAX,
];
/// Texts that are something else elsewhere.
const TEXTS: [&str; 14] = [
    "",
    "a",
    "\n",
    "\0",
    "é",
    "\u{301}",
    "\u{fdd0}",
    "\u{202e}",
    "\u{1b}[31m",
    "-1",
    "1e999",
    "nan",
    "lstm",
    "../x",
];
/// Floats that spread.
const FLOATS: [f32; 8] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN_POSITIVE,
    -0.0,
    1e-45,
    1e9,
];
/// No longer than this, so that a second is enough for each.
const LONGEST: usize = 1 << 16;
const LENGTH: usize = 8;

/// A changed copy of a file; `others` are of its kind.
pub fn mutate(form: Form, bytes: &[u8], others: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Mostly one change, sometimes many.
    for _ in 0..=rng.u8(..) / rng.u8(1..).max(40) {
        let other = others.get(rng.usize(..others.len().max(1)));
        let other = other.map_or(&[][..], |other| other);
        bytes = match form {
            Form::Tensors if rng.u8(..8) > 0 => tensors(&bytes, rng),
            Form::Json if rng.u8(..4) > 0 => json_text(&bytes, rng),
            Form::Text if rng.u8(..2) > 0 => words(&bytes, other, rng),
            _ => raw(bytes, other, rng),
        };
    }
    bytes.truncate(LONGEST);
    if form == Form::Sealed && rng.u8(..16) > 0 {
        seal(&mut bytes);
    }
    bytes
}

/// Corrects the checksum of a compressed file: the first bytes of the SHA-256 of all that follows it.
fn seal(bytes: &mut [u8]) {
    const START: usize = 5;
    if bytes.len() >= START + LENGTH {
        let (head, rest) = bytes.split_at_mut(START + LENGTH);
        head[START..].copy_from_slice(&Sha256::digest(rest)[..LENGTH]);
    }
}

fn raw(mut bytes: Vec<u8>, other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let at = rng.usize(..=bytes.len());
    let end = (at + rng.usize(..=16)).min(bytes.len());
    match rng.u8(..9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        3 => {
            let from = rng.usize(..=other.len());
            let part = &other[from..(from + rng.usize(..=64)).min(other.len())];
            bytes.splice(at..end, part.iter().copied());
        }
        4 => {
            let number = number(0, rng).to_le_bytes();
            let width = [1, 2, 4, 8][rng.usize(..4)];
            bytes.splice(
                at..(at + width).min(bytes.len()),
                number[..width].iter().copied(),
            );
        }
        5 => {
            let float = FLOATS[rng.usize(..FLOATS.len())].to_le_bytes();
            let at = at / 4 * 4;
            bytes.splice(at..(at + 4).min(bytes.len()), float);
        }
        6 => drop(bytes.splice(at..at, [rng.u8(..)])),
        7 if at < bytes.len() => bytes[at] = rng.u8(..),
        _ if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        _ => {}
    }
    bytes
}

/// Replaces, repeats or moves a word of a text.
fn words(bytes: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let is_end = |byte: &u8| !byte.is_ascii_alphanumeric();
    let all: Vec<&[u8]> = bytes.split_inclusive(is_end).collect();
    if all.is_empty() {
        return raw(bytes.to_vec(), other, rng);
    }
    let theirs: Vec<&[u8]> = other.split_inclusive(is_end).collect();
    let at = rng.usize(..all.len());
    let number = number(1, rng).to_string();
    let new = match rng.u8(..5) {
        0 => number.as_bytes(),
        1 => TEXTS[rng.usize(..TEXTS.len())].as_bytes(),
        2 if !theirs.is_empty() => theirs[rng.usize(..theirs.len())],
        3 => all[rng.usize(..all.len())],
        _ => b"",
    };
    let kept = at + usize::from(rng.bool());
    [&all[..at].concat(), new, &all[kept..].concat()].concat()
}

fn number(old: u64, rng: &mut Rng) -> u64 {
    match rng.u8(..4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => rng.u64(..) >> rng.u32(..64),
        _ => NUMBERS[rng.usize(..NUMBERS.len())],
    }
}

fn json_text(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    match serde_json::from_slice(bytes) {
        Ok(mut value) => {
            json(&mut value, rng);
            value.to_string().into_bytes()
        }
        Err(_) => raw(bytes.to_vec(), &[], rng),
    }
}

/// The values of a document, the inner ones too.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The value number `at` of a document.
fn find<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, at)),
        Value::Object(fields) => fields.values_mut().find_map(|field| find(field, at)),
        _ => None,
    }
}

/// Changes one value of a document.
fn json(value: &mut Value, rng: &mut Rng) {
    let all = count(value);
    let copy = find(&mut value.clone(), &mut rng.usize(..all)).map(|found| found.clone());
    let Some(value) = find(value, &mut rng.usize(..all)) else {
        return;
    };
    if rng.u8(..8) == 0 {
        *value = copy.unwrap_or(Value::Null);
        return;
    }
    *value = match std::mem::take(value) {
        Value::Null => json!(number(0, rng)),
        Value::Bool(is_so) => json!(!is_so),
        Value::Number(old) => match rng.u8(..8) {
            0 => json!(-(rng.u16(..) as i64)),
            1 => json!(rng.f64() * 1e300),
            2 => json!(old.as_f64().unwrap_or(0.0) + rng.f64()),
            _ => json!(number(old.as_u64().unwrap_or(0), rng)),
        },
        Value::String(text) => match rng.u8(..3) {
            0 => json!(TEXTS[rng.usize(..TEXTS.len())]),
            1 => json!(text.clone() + TEXTS[rng.usize(..TEXTS.len())]),
            _ => {
                let text = words(text.as_bytes(), b"", rng);
                json!(String::from_utf8_lossy(&text))
            }
        },
        Value::Array(mut items) => {
            match rng.u8(..4) {
                0 if !items.is_empty() => drop(items.remove(rng.usize(..items.len()))),
                1 if !items.is_empty() => items.push(items[rng.usize(..items.len())].clone()),
                2 => items.extend(copy),
                _ => rng.shuffle(&mut items),
            }
            Value::Array(items)
        }
        Value::Object(mut fields) => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = keys.get(rng.usize(..keys.len().max(1)));
            match (rng.u8(..3), key) {
                (0, Some(key)) => drop(fields.remove(key)),
                (1, Some(key)) => {
                    let field = fields.remove(key).unwrap_or_default();
                    fields.insert(keys[rng.usize(..keys.len())].clone(), field);
                }
                _ => {
                    let name = TEXTS[rng.usize(..TEXTS.len())];
                    fields.insert(name.to_owned(), copy.unwrap_or_default());
                }
            }
            Value::Object(fields)
        }
    };
}

struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// A file of safetensors, taken apart.
struct Parts {
    document: Option<String>,
    tensors: Vec<Tensor>,
}

impl Parts {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (header, data) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        let mut header: Map<String, Value> = serde_json::from_slice(header).ok()?;
        let metadata = header.remove("__metadata__");
        let document = metadata.and_then(|all| all.get("textgen")?.as_str().map(str::to_owned));
        let tensor = |(name, info): (String, Value)| {
            let offset = |at: usize| Some(info["data_offsets"][at].as_u64()? as usize);
            Some((
                offset(0)?,
                Tensor {
                    name,
                    dtype: info["dtype"].as_str()?.to_owned(),
                    shape: info["shape"]
                        .as_array()?
                        .iter()
                        .filter_map(Value::as_u64)
                        .collect(),
                    bytes: data.get(offset(0)?..offset(1)?)?.to_vec(),
                },
            ))
        };
        let mut tensors = header.into_iter().map(tensor).collect::<Option<Vec<_>>>()?;
        tensors.sort_by_key(|&(start, _)| start);
        let tensors = tensors.into_iter().map(|(_, tensor)| tensor).collect();
        Some(Self { document, tensors })
    }

    fn write(&self) -> Vec<u8> {
        let mut header = Map::new();
        if let Some(document) = &self.document {
            header.insert("__metadata__".to_owned(), json!({"textgen": document}));
        }
        let mut data = Vec::new();
        for Tensor {
            name,
            dtype,
            shape,
            bytes,
        } in &self.tensors
        {
            let start = data.len();
            data.extend_from_slice(bytes);
            let info = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
            header.insert(name.clone(), info);
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(LENGTH), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }

    /// As older versions wrote it.
    fn without_checksums(&mut self) {
        if let Some(document) = &mut self.document
            && let Some(at) = document.rfind(",\"checksum\":")
        {
            document.truncate(at);
            document.push('}');
        }
        self.tensors
            .retain(|tensor| !tensor.name.ends_with(".checks"));
    }
}

fn width(dtype: &str) -> u64 {
    match dtype {
        "F64" | "I64" | "U64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "U16" | "I16" => 2,
        _ => 1,
    }
}

impl Tensor {
    /// Makes the bytes as many as the shape says.
    fn fit(&mut self) {
        let all = self
            .shape
            .iter()
            .try_fold(width(&self.dtype), |all, &size| all.checked_mul(size));
        if let Some(all) = all.filter(|&all| all <= LONGEST as u64) {
            self.bytes.resize(all as usize, 0);
        }
    }
}

fn tensors(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let Some(mut parts) = Parts::read(bytes) else {
        return raw(bytes.to_vec(), &[], rng);
    };
    if rng.u8(..8) > 0 {
        parts.without_checksums();
    }
    let at = rng.usize(..parts.tensors.len().max(1));
    match (rng.u8(..10), parts.tensors.get_mut(at)) {
        (0, Some(_)) => drop(parts.tensors.remove(at)),
        (1, Some(tensor)) => {
            let name = words(tensor.name.as_bytes(), b"", rng);
            tensor.name = String::from_utf8_lossy(&name).into_owned();
        }
        (2, Some(tensor)) => {
            let types = [
                "F32", "I8", "U8", "U16", "U32", "F64", "BF16", "F8_E4M3", "BOOL",
            ];
            types[rng.usize(..types.len())].clone_into(&mut tensor.dtype);
            tensor.fit();
        }
        (3, Some(tensor)) => {
            let axis = rng.usize(..=tensor.shape.len());
            match tensor.shape.get_mut(axis) {
                Some(size) => *size = number(*size, rng),
                None if rng.bool() => tensor.shape.push(1),
                None => drop(tensor.shape.pop()),
            }
            tensor.fit();
        }
        (4..6, Some(tensor)) => {
            let length = tensor.bytes.len();
            tensor.bytes = raw(std::mem::take(&mut tensor.bytes), &[], rng);
            tensor.bytes.resize(length, 0);
        }
        _ => {
            let document = parts.document.unwrap_or_default();
            let changed = json_text(document.as_bytes(), rng);
            parts.document = Some(String::from_utf8_lossy(&changed).into_owned());
        }
    }
    parts.write()
}
