//! Models from elsewhere: what PyTorch or safetensors saved of a recurrent network of characters becomes a model.
//!
//! A file is read as data ([`pickle`]), wherever it came from; a network is recognised by the shapes of its tensors and by
//! PyTorch's names ([`network`]), its vocabulary by its size ([`vocabulary`]). What the code around the tensors did
//! is in no file, so what is assumed of it is what such networks do: embedding or one-hot, the recurrent layers, and one
//! linear layer.

mod checkpoint;
mod network;
mod pickle;
mod vocabulary;

use thiserror::Error;

use crate::config::{NetworkConfig, NormalForm, TextConfig};
use crate::models::weights::{Weights, check};
use crate::run::{ModelHeader, model_format};
use crate::text::Vocabulary;

use self::checkpoint::Checkpoint;
use self::pickle::Fault;

pub use self::vocabulary::GivenVocabulary;

/// Why a file does not become a model, and what helps.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ImportError {
    message: String,
    /// What to do about it.
    pub hint: String,
}

impl ImportError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn damaged(what: impl std::fmt::Display) -> Self {
        Self::new(
            format!("it is damaged: {what}"),
            "copy it again from where it was made",
        )
    }
}

impl From<Fault> for ImportError {
    fn from(fault: Fault) -> Self {
        let hint = match &fault {
            Fault::Acts(_) => {
                "do not load it in Python either, unless you trust whoever made it; weights need no such thing: torch.save(model.state_dict(), \"weights.pt\")"
            }
            Fault::Damaged { .. } => "copy it again from where it was made",
        };
        Self::new(fault.to_string(), hint)
    }
}

/// What became of a file.
#[derive(Clone, Debug)]
pub struct Imported {
    pub header: ModelHeader,
    pub weights: Weights<'static>,
    /// Where in the file the vocabulary was.
    pub vocabulary_from: String,
    /// What was assumed, each as a sentence without a full stop.
    pub notes: Vec<String>,
    /// The names of what the file has besides.
    pub unused: Vec<String>,
}

/// Makes a model of the bytes of a file. `name` is what the model is told to have learnt; `vocabulary` replaces the file's.
pub fn import(
    bytes: &[u8],
    name: &str,
    vocabulary: Option<&GivenVocabulary>,
) -> Result<Imported, ImportError> {
    let mut checkpoint = Checkpoint::read(bytes)?;
    let found = network::find(&mut checkpoint)?;
    let tokens = found.tokens;
    let (vocabulary, vocabulary_from) = match vocabulary {
        Some(given) => (given.of(tokens)?, given.name()),
        None => vocabulary::find(&checkpoint, &found.path, tokens)?,
    };
    let mut unused = network::besides(&checkpoint, &found.path);
    unused.retain(|name| Some(&**name) != vocabulary_from.split('.').next());
    let network = NetworkConfig {
        embedding: found.embedding,
        ..NetworkConfig::char_rnn(found.cell, found.hidden, found.layers, tokens)
    };
    check(&network, &found.weights).map_err(ImportError::damaged)?;
    let header = header(network, vocabulary, name);
    Ok(Imported {
        header,
        weights: found.weights,
        vocabulary_from,
        notes: found.notes,
        unused,
    })
}

fn header(network: NetworkConfig, vocabulary: Vocabulary, name: &str) -> ModelHeader {
    ModelHeader {
        format: model_format(&network),
        textgen: env!("CARGO_PKG_VERSION").to_owned(),
        // Whatever the text was, it was not changed by textgen.
        text: TextConfig {
            unit: vocabulary.unit(),
            normalize: NormalForm::None,
            ..TextConfig::default()
        },
        network,
        vocabulary,
        corpus_name: name.to_owned(),
        corpus_digest: String::new(),
        split: "contiguous".to_owned(),
        seed: 0,
        step: 0,
        valid: None,
    }
}

#[cfg(test)]
mod tests;
