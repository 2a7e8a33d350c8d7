//! `model.safetensors`: one portable file with everything that sampling needs.
//!
//! Tensors are f32 under PyTorch's names. In a model exported in eight bits, a matrix is i8 with
//! `{name}.scale` (rows, f32): value = number · scale of its row. The metadata
//! key `textgen` holds [`ModelHeader`] as JSON.
//! A word-vae also carries its training words (`training.words`, UTF-8 bytes, one per line), so
//! that `generate --novel` works with this file alone.
//!
//! Model files are untrusted input: format, header, names, dtypes and shapes are checked before use.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::{self, FileKind, StoredTensor, TensorFile};
use super::{Evaluation, RunError};
use crate::config::{NetworkConfig, TextConfig};
use crate::models::weights::{Array, Values, Weights, check, check_layout, quantize};
use crate::text::Vocabulary;

/// The `format` numbers of `model.safetensors` that this version reads; it writes the one that
/// [`model_format`] returns.
pub const MODEL_FORMATS: std::ops::RangeInclusive<u32> = 1..=3;

/// The `format` of a model, the lowest that has what it needs: 3 if it learnt documents, 2 if z enters its decoder at
/// one place only, else 1.
pub fn model_format(network: &NetworkConfig) -> u32 {
    match network.z().is_default() {
        _ if network.eos.is_some() => 3,
        false => 2,
        true => 1,
    }
}

const TRAINING_WORDS: &str = "training.words";
const FILE: FileKind = FileKind {
    what: "model",
    kind: None,
    formats: MODEL_FORMATS,
    refuse: |path, reason| RunError::NotAModel {
        path: path.to_owned(),
        reason,
    },
};

/// The metadata of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHeader {
    /// The format number, one of [`MODEL_FORMATS`].
    pub format: u32,
    /// The version of textgen that wrote it.
    pub textgen: String,
    /// The architecture that its weights are checked against.
    pub network: NetworkConfig,
    /// The text settings: how text becomes tokens.
    pub text: TextConfig,
    /// The tokens that the network reads and predicts.
    pub vocabulary: Vocabulary,
    /// The corpus' short name.
    pub corpus_name: String,
    /// Digest of the corpus' text.
    pub corpus_digest: String,
    /// How validation was split off.
    pub split: String,
    /// Seed of the training.
    pub seed: u64,
    /// Optimizer steps it was trained for.
    pub step: u64,
    /// Validation loss, if there was a validation part.
    pub valid: Option<Evaluation>,
}

impl ModelHeader {
    /// Checks what the types do not: that sizes are consistent and in the range of training.
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
        if network.eos != self.vocabulary.document_end() {
            return Err(format!(
                "documents end with token {:?} for the network, {:?} for the vocabulary",
                network.eos,
                self.vocabulary.document_end()
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

/// A model file in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct ModelFile {
    file: TensorFile,
    /// The metadata of the file.
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
        let mut stored = tensors::stored(weights);
        if let Some(words) = training_words {
            let words = StoredTensor::u8(words.as_bytes());
            stored.insert(TRAINING_WORDS.to_owned(), words);
        }
        tensors::write(path, header, &stored)
    }

    /// Reads the file and checks its header, its checksum, and the names, dtypes and shapes of its weights.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        Self::checked(TensorFile::open(path, &FILE)?)
    }

    /// Reads the bytes of a file, called `name` in messages, and checks the same.
    pub fn of_bytes(name: &str, mut bytes: &[u8]) -> Result<Self, RunError> {
        Self::checked(TensorFile::of(Path::new(name), &mut bytes, &FILE)?)
    }

    /// The bundled model of this name; see [`super::bundled`].
    pub fn bundled(name: &str, bytes: &'static [u8]) -> Result<Self, RunError> {
        Self::checked(TensorFile::bundled(name, bytes, &FILE)?)
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.file.bytes()
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.file.size()
    }

    fn checked(file: TensorFile) -> Result<Self, RunError> {
        let header: ModelHeader = file.header()?;
        header.check().map_err(|reason| file.refuse(reason))?;
        let model = Self { file, header };
        check_layout(&model.header.network, &model.weights()?)
            .map_err(|error| model.file.refuse(error))?;
        Ok(model)
    }

    /// The weights, in place if the file's alignment allows it.
    pub fn weights(&self) -> Result<Weights<'_>, RunError> {
        self.file.arrays(TRAINING_WORDS)
    }

    /// The words that a word-vae was trained on; empty for other models.
    pub fn training_words(&self) -> Result<HashSet<String>, RunError> {
        let text = self.training_text()?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The words that a word-vae was trained on as one string, one per line.
    pub fn training_text(&self) -> Result<Option<&str>, RunError> {
        if !self.file.contains(TRAINING_WORDS) {
            return Ok(None);
        }
        let text = std::str::from_utf8(self.file.get(TRAINING_WORDS)?);
        text.map(Some)
            .map_err(|error| RunError::damaged(self.path(), error))
    }

    /// Writes the model to another file, with its matrices in eight bits if `int8`, and the words that it was trained on
    /// if `words`.
    pub fn export(&self, path: &Path, int8: bool, words: bool) -> Result<(), RunError> {
        let mut weights = self.weights()?;
        check(&self.header.network, &weights).map_err(|source| RunError::Weights {
            path: self.path().to_owned(),
            source,
        })?;
        if int8 {
            weights = quantize(&weights);
        }
        let words = self.training_text()?.filter(|_| words);
        Self::write(path, &self.header, &weights, words)
    }

    /// Whether the matrices are in eight bits, as after `textgen export --quantize int8`.
    pub fn is_int8(&self) -> Result<bool, RunError> {
        let weights = self.weights()?;
        let int8 = |array: &Array| matches!(array.values, Values::Int8 { .. });
        Ok(weights.values().any(int8))
    }

    /// The file's identity: `sha256:…` of its bytes.
    pub fn digest(&self) -> String {
        self.file.digest()
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

#[cfg(test)]
mod tests;
