//! A word-vae, or the original article's network: invents, encodes and decodes words.

use super::{ModelError, OpenOptions};
use crate::run::ModelFile;

/// A generator of words with its vocabulary.
#[derive(Debug)]
#[allow(dead_code, reason = "filled by the next change")]
pub struct WordModel {
    file: ModelFile,
    options: OpenOptions,
}

impl WordModel {
    pub(super) fn new(file: ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        Ok(Self { file, options })
    }
}
