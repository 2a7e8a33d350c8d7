//! A character language model: writes, continues and scores texts.

use super::{ModelError, OpenOptions, weights};
use crate::models::char_rnn::CharRnn;
use crate::run::{ModelFile, ModelHeader};

/// A character language model with its vocabulary.
#[derive(Debug)]
#[allow(dead_code, reason = "filled by the next change")]
pub struct TextModel {
    network: CharRnn,
    header: ModelHeader,
    options: OpenOptions,
}

impl TextModel {
    pub(super) fn new(file: ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        let header = file.header.clone();
        let network = CharRnn::new(&header.network, &weights(&file, options.quantize)?)?;
        Ok(Self {
            network,
            header,
            options,
        })
    }
}
