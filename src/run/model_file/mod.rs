//! `model.safetensors`: one portable file, all that sampling needs.
//!
//! Tensors are f32 under PyTorch's names. Where the model was exported in eight bits, a matrix is i8
//! and `{name}.scale` (rows, f32) stands beside it: value = number · scale of its row. The metadata
//! key `textgen` holds [`ModelHeader`] as JSON.
//! A word-vae also carries its training words (`training.words`, UTF-8 bytes, one a line), which is
//! what lets `generate --novel` work from this file alone.
//!
//! Model files are untrusted input: format, header, names, dtypes and shapes are checked before use.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::tensors::{self, Refusal, StoredTensor, TensorFile};
use super::{Evaluation, RunError};
use crate::config::{NetworkConfig, TextConfig};
use crate::models::weights::{Array, Values, Weights, expected_shapes, scale_name};
use crate::text::Vocabulary;

/// The `format` numbers of `model.safetensors` that this version reads; it writes the one that
/// [`model_format`] says.
pub const MODEL_FORMATS: std::ops::RangeInclusive<u32> = 1..=2;

/// The `format` of a model: 2 where z enters its decoder at one place only, which older programs cannot
/// build; else 1, which they can read.
pub fn model_format(network: &NetworkConfig) -> u32 {
    if network.z().is_default() { 1 } else { 2 }
}

const TRAINING_WORDS: &str = "training.words";

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// Format number.
    pub format: u32,
    /// The version that wrote it.
    pub textgen: String,
    /// The architecture.
    pub network: NetworkConfig,
    /// How text becomes tokens.
    pub text: TextConfig,
    /// The tokens.
    pub vocabulary: Vocabulary,
    /// The corpus' short name.
    pub corpus_name: String,
    /// Digest of the corpus' bytes.
    pub corpus_digest: String,
    /// How validation was split off.
    pub split: String,
    /// Seed of the training.
    pub seed: u64,
    /// Optimizer steps it was trained for.
    pub step: u64,
    /// Validation loss, where there was a validation part.
    pub valid: Option<Evaluation>,
}

impl ModelHeader {
    /// Checks what the types do not: that sizes agree and are such as training makes them.
    fn check(&self) -> Result<(), String> {
        let network = &self.network;
        if network.inputs != self.vocabulary.len() || network.outputs != self.vocabulary.outputs() {
            return Err(format!(
                "the network reads {} and predicts {} tokens, the vocabulary has {} and {}",
                network.inputs,
                network.outputs,
                self.vocabulary.len(),
                self.vocabulary.outputs()
            ));
        }
        let word_vae = network.model() == crate::config::ModelKind::WordVae;
        if word_vae {
            let special = self.vocabulary.special_tokens();
            special.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The part of a header that every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// An open model file.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    file: TensorFile,
    /// What the file says of itself.
    pub header: ModelHeader,
}

impl ModelFile {
    /// Writes a model, atomically. `training_words` belong to a word-vae.
    pub fn write(
        path: &Path,
        header: &ModelHeader,
        weights: &Weights,
        training_words: Option<&str>,
    ) -> Result<(), RunError> {
        let mut stored = BTreeMap::new();
        for (name, array) in weights {
            match &array.values {
                Values::F32(values) => {
                    stored.insert(name.clone(), StoredTensor::f32(&array.shape, values));
                }
                Values::Int8 { numbers, scales } => {
                    stored.insert(name.clone(), StoredTensor::i8(&array.shape, numbers));
                    let scale = StoredTensor::f32(&array.shape[..1], scales);
                    stored.insert(scale_name(name), scale);
                }
            }
        }
        if let Some(words) = training_words {
            stored.insert(
                TRAINING_WORDS.to_owned(),
                StoredTensor::u8(words.as_bytes()),
            );
        }
        tensors::write(path, header, &stored)
    }

    /// Maps the file and checks its header, names, dtypes and shapes.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let not_a_model = |reason: String| RunError::NotAModel {
            path: path.to_owned(),
            reason,
        };
        let file = TensorFile::open(path)?;
        let (tensors, json) = file.read().map_err(|refusal| match refusal {
            Refusal::Foreign(reason) => {
                not_a_model(format!("{reason} (cut short, or another kind of file)"))
            }
            Refusal::NoHeader => {
                not_a_model("a safetensors file without the textgen header".to_owned())
            }
        })?;
        let header = |error: serde_json::Error| not_a_model(format!("its header: {error}"));
        let Format { format } = serde_json::from_str(&json).map_err(header)?;
        if !MODEL_FORMATS.contains(&format) {
            return Err(RunError::Format {
                path: path.to_owned(),
                what: "model",
                found: format,
                oldest: *MODEL_FORMATS.start(),
                newest: *MODEL_FORMATS.end(),
            });
        }
        let header: ModelHeader = serde_json::from_str(&json).map_err(header)?;
        header.check().map_err(not_a_model)?;
        check_tensors(&header.network, &tensors).map_err(not_a_model)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
        })
    }

    fn tensors(&self) -> Result<SafeTensors<'_>, RunError> {
        match self.file.read() {
            Ok((tensors, _)) => Ok(tensors),
            Err(_) => Err(RunError::damaged(&self.path, "changed while it was read")),
        }
    }

    /// The weights, in place where the file's alignment allows it.
    pub fn weights(&self) -> Result<Weights<'_>, RunError> {
        // The views borrow the map, not the parsed table.
        let tensors = self.tensors()?;
        let mut weights = Weights::new();
        for (name, _) in expected_shapes(&self.header.network) {
            let tensor = |name: &str| {
                let missing = |error| RunError::damaged(&self.path, error);
                tensors.tensor(name).map_err(missing)
            };
            let f32_data = |name: &str| {
                let view = tensor(name)?;
                tensors::f32_data(&self.path, name, view.data())
            };
            let view = tensor(&name)?;
            let shape = view.shape().to_vec();
            let array = if view.dtype() == Dtype::I8 {
                let numbers = bytemuck::cast_slice(view.data()).into();
                let scales = f32_data(&scale_name(&name))?;
                Array {
                    shape,
                    values: Values::Int8 { numbers, scales },
                }
            } else {
                Array::f32(shape, f32_data(&name)?)
            };
            weights.insert(name, array);
        }
        Ok(weights)
    }

    /// The words that a word-vae was trained on; empty for other models.
    pub fn training_words(&self) -> Result<HashSet<String>, RunError> {
        let text = self.training_text()?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The words that a word-vae was trained on as they stand in the file, one a line.
    pub fn training_text(&self) -> Result<Option<&str>, RunError> {
        match self.tensors()?.tensor(TRAINING_WORDS) {
            Ok(view) => std::str::from_utf8(view.data())
                .map(Some)
                .map_err(|error| RunError::damaged(&self.path, error)),
            Err(_) => Ok(None),
        }
    }

    /// Whether the matrices are in eight bits, as `textgen export` leaves them.
    pub fn is_int8(&self) -> Result<bool, RunError> {
        let tensors = self.tensors()?;
        let eight_bits = |(name, _): &(String, _)| {
            let view = tensors.tensor(name);
            view.is_ok_and(|view| view.dtype() == Dtype::I8)
        };
        Ok(expected_shapes(&self.header.network).iter().any(eight_bits))
    }

    /// What identifies the file: `sha256:…` of its bytes.
    pub fn digest(&self) -> String {
        self.file.digest()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn check_tensors(network: &NetworkConfig, tensors: &SafeTensors) -> Result<(), String> {
    let mut known = BTreeSet::from([TRAINING_WORDS.to_owned()]);
    for (name, want) in expected_shapes(network) {
        let view = tensors
            .tensor(&name)
            .map_err(|_| format!("tensor {name} is missing"))?;
        match (view.dtype(), &want[..]) {
            (Dtype::F32, _) => {}
            (Dtype::I8, &[rows, _]) => {
                let scale = scale_name(&name);
                check_scales(&scale, rows, tensors)?;
                known.insert(scale);
            }
            (Dtype::I8, _) => {
                return Err(format!(
                    "tensor {name} is I8, which only a matrix can be, not F32"
                ));
            }
            (other, _) => return Err(format!("tensor {name} is {other:?}, not F32")),
        }
        if view.shape() != want {
            return Err(format!(
                "tensor {name} has shape {:?}, not {want:?}",
                view.shape()
            ));
        }
        known.insert(name);
    }
    let mut names = tensors.names();
    names.sort_unstable();
    match names.into_iter().find(|name| !known.contains(*name)) {
        Some(name) => Err(format!("tensor {name} belongs to no part of this network")),
        None => Ok(()),
    }
}

fn check_scales(name: &str, rows: usize, tensors: &SafeTensors) -> Result<(), String> {
    let view = tensors
        .tensor(name)
        .map_err(|_| format!("tensor {name} is missing"))?;
    if view.dtype() != Dtype::F32 || view.shape() != [rows] {
        return Err(format!(
            "tensor {name} is {:?} of shape {:?}, not F32 of shape [{rows}]",
            view.dtype(),
            view.shape()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
