//! A trained model, opened and used: the part of textgen that other programs build on.

mod error;
mod text;
mod words;

use std::path::Path;

pub use self::error::{ModelError, UsualLengths};
pub use self::text::TextModel;
pub use self::words::WordModel;

use crate::config::{ModelKind, Quantize};
use crate::models::weights::{Weights, quantize};
use crate::run::{ModelFile, RunError};

/// How a model is held in memory and how many threads it uses.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// The weights as trained, or in eight bits.
    pub quantize: Quantize,
    /// Threads; 0 is one per core. The output is the same for any number of them.
    pub threads: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            quantize: Quantize::None,
            threads: 0,
        }
    }
}

/// A model of either kind.
#[derive(Debug)]
pub enum Model {
    /// A character language model: texts.
    Text(Box<TextModel>),
    /// A variational autoencoder of words, or the original article's network.
    Words(Box<WordModel>),
}

impl Model {
    /// Opens a `model.safetensors` with the default [`OpenOptions`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a `model.safetensors`.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, ModelError> {
        Self::from_file(ModelFile::open(path.as_ref())?, options)
    }

    /// The model of a file that is open already.
    pub(crate) fn from_file(file: ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        Ok(match file.header.network.model {
            ModelKind::CharRnn => Self::Text(Box::new(TextModel::new(file, options)?)),
            ModelKind::WordVae => Self::Words(Box::new(WordModel::new(file, options)?)),
        })
    }
}

/// The weights of a file, in eight bits where the options say so.
fn weights(file: &ModelFile, bits: Quantize) -> Result<Weights<'_>, RunError> {
    let weights = file.weights()?;
    Ok(match bits {
        Quantize::None => weights,
        Quantize::Int8 => quantize(&weights),
    })
}
