//! Opens and uses trained models: the part of textgen that other programs build on.

#![cfg_attr(not(feature = "cli"), allow(dead_code, unused_imports))]

mod error;
mod text;
mod words;

use std::num::NonZero;
use std::path::Path;

pub use self::error::{ModelError, UsualLengths};
pub use self::text::{Ending, Prompt, Sample, Snapshot, Step, Stream, TextModel, TokenProbability};
pub(crate) use self::text::{Event, Piece};
#[cfg(feature = "cli")]
pub(crate) use self::words::{Activity, Watcher};
pub use self::words::{
    DecodeOptions, GeneratedWord, ScoreOptions, Word, WordEvent, WordMap, WordModel, WordOptions,
};
pub use crate::latent::Interpolation;
pub use crate::models::word_vae::Posterior;

use crate::config::{ModelKind, Quantize};
#[cfg(feature = "cli")]
use crate::evaluate::dynamic::{Dynamic, Learner};
use crate::generate::constraint::Constraint;
use crate::models::weights::{Weights, quantize};
use crate::run::{ModelFile, ModelHeader, RunError};

/// The precision of a model in memory and the number of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// The weights as trained, or in eight bits.
    pub quantize: Quantize,
    /// Threads; 0 is one per core. The output is the same for any number of them.
    pub threads: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::on_threads(0)
    }
}

impl OpenOptions {
    /// The default options with this number of threads.
    pub const fn on_threads(threads: usize) -> Self {
        let quantize = Quantize::None;
        Self { quantize, threads }
    }

    /// The number of threads to start.
    pub(crate) fn threads(self) -> usize {
        const MOST: usize = 256;
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        let asked = Some(self.threads).filter(|&threads| threads > 0);
        asked.unwrap_or_else(cores).min(MOST)
    }
}

/// A model of either kind.
#[derive(Debug)]
pub enum Model {
    /// A character language model: texts.
    Text(TextModel),
    /// A variational autoencoder of words, or the original article's network.
    Words(Box<WordModel>),
}

impl Model {
    /// Opens a `model.safetensors` with the default [`OpenOptions`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a `model.safetensors` with these options.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, ModelError> {
        Self::from_file(ModelFile::open(path.as_ref())?, options)
    }

    /// Loads the model of an open file.
    #[doc(hidden)]
    pub fn from_file(file: ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        Ok(match file.header.network.model() {
            ModelKind::CharRnn => Self::Text(TextModel::from_file(file, options)?),
            ModelKind::WordVae => Self::Words(Box::new(WordModel::new(&file, options)?)),
        })
    }
}

/// The weights of a file, quantized to eight bits if the options ask for it.
fn weights(file: &ModelFile, bits: Quantize) -> Result<Weights<'_>, RunError> {
    let weights = file.weights()?;
    Ok(match bits {
        Quantize::None => weights,
        Quantize::Int8 => quantize(&weights),
    })
}

/// Loads a model that learns as it reads.
#[cfg(feature = "cli")]
pub(crate) fn learner(file: &ModelFile, setting: Dynamic) -> Result<Learner, ModelError> {
    Ok(Learner::new(
        &file.header.network,
        &file.weights()?,
        setting,
    )?)
}

/// Compiles an expression over the tokens that a model can write, except `never`, for texts of up to
/// `length` tokens.
pub(crate) fn constraint(
    regex: &str,
    header: &ModelHeader,
    never: &[u32],
    length: usize,
) -> Result<Constraint, ModelError> {
    let constraint = Constraint::new(regex, &token_bytes(header, never)).map_err(|source| {
        ModelError::Constraint {
            regex: regex.to_owned(),
            source,
        }
    })?;
    match constraint.shortest() {
        shortest if shortest > length => Err(ModelError::ConstraintLength {
            regex: regex.to_owned(),
            length,
            shortest,
        }),
        _ => Ok(constraint),
    }
}

/// The bytes of every token that can be predicted; empty for those in `never`.
pub(crate) fn token_bytes(header: &ModelHeader, never: &[u32]) -> Vec<Vec<u8>> {
    let bytes = |token: u32| {
        let mut bytes = Vec::new();
        if !never.contains(&token) {
            header.vocabulary.push_bytes(token, &mut bytes);
        }
        bytes
    };
    (0..header.network.outputs as u32).map(bytes).collect()
}
