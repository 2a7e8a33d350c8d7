//! Reads and writes safetensors files without checking anything, to make damaged ones.
//!
//! The format: eight bytes of length (little-endian), that many bytes of JSON, then the data.

use std::path::Path;

use serde_json::Value;

/// The parts of a file.
pub struct Parts {
    /// The JSON: tensors by name, and `__metadata__`.
    pub header: Value,
    /// The data after the JSON.
    pub data: Vec<u8>,
}

impl Parts {
    /// Parses a file into JSON, without its checksum, and data.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a file");
        let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: Value = serde_json::from_slice(header).expect("JSON");
        if let Some(text) = header["__metadata__"]["textgen"].as_str() {
            // What is changed here is to be refused for itself, and not for its checksum.
            let mut document: Value = serde_json::from_str(text).expect("JSON");
            if let Some(fields) = document.as_object_mut() {
                fields.remove("checksum");
            }
            header["__metadata__"]["textgen"] = Value::String(document.to_string());
        }
        Self {
            header,
            data: data.to_vec(),
        }
    }

    /// Serialises the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = self.header.to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&self.data);
        bytes
    }

    /// The JSON document that textgen keeps in the metadata.
    pub fn textgen(&self) -> Value {
        let text = self.header["__metadata__"]["textgen"].as_str();
        serde_json::from_str(text.expect("a textgen header")).expect("JSON")
    }

    /// Changes that document.
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut document = self.textgen();
        change(&mut document);
        self.header["__metadata__"]["textgen"] = Value::String(document.to_string());
        self
    }

    /// The bytes of a tensor.
    pub fn tensor(&self, name: &str) -> &[u8] {
        &self.data[self.range(name)]
    }

    /// The bytes of a tensor, to be changed.
    pub fn tensor_mut(&mut self, name: &str) -> &mut [u8] {
        let range = self.range(name);
        &mut self.data[range]
    }

    fn range(&self, name: &str) -> std::ops::Range<usize> {
        let offset = |i: usize| {
            let offset = self.header[name]["data_offsets"][i].as_u64();
            offset.expect("an offset") as usize
        };
        offset(0)..offset(1)
    }
}
