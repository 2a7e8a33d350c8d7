//! Models in the forms of other programs ([`onnx`], [`torch`]), and models from them ([`import`]).

pub mod import;
pub mod onnx;
pub mod torch;

use std::path::Path;

use crate::models::weights::{Array, Weights, check};
use crate::run::{ModelFile, RunError};

/// The weights of a model in f32, those in eight bits too.
pub fn plain(file: &ModelFile) -> Result<Weights<'static>, RunError> {
    let weights = file.weights()?;
    check(&file.header.network, &weights).map_err(|source| RunError::Weights {
        path: file.path().to_owned(),
        source,
    })?;
    let plain = weights.into_iter().map(|(name, array)| {
        let data = array.data().into_owned();
        (name, Array::f32(array.shape, data))
    });
    Ok(plain.collect())
}

/// Writes a model in f32, with the words that it was trained on if `words`.
pub fn write_plain(file: &ModelFile, path: &Path, words: bool) -> Result<(), RunError> {
    let training_words = file.training_text()?.filter(|_| words);
    ModelFile::write(path, &file.header, &plain(file)?, training_words)
}
