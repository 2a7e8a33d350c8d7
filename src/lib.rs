//! textgen generates text at the level of characters: a recurrent language model (char-lstm) and
//! a variational autoencoder over the letters of words (word-vae).
//!
//! Data flows one way: [`text`] turns a corpus into tokens, [`models`] on [`kernels`] run trained
//! networks without libtorch, [`run`] keeps runs and model files, and [`generate`], [`evaluate`],
//! [`latent`] and [`compress`] are what a trained model is good for. Training lives in the program
//! `textgen-torch`. [`config`] holds every setting.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod compress;
pub mod config;
pub mod evaluate;
pub mod generate;
#[doc(hidden)]
pub mod hints;
pub mod kernels;
#[doc(hidden)]
pub mod latent;
pub mod model;
pub mod models;
#[doc(hidden)]
pub mod parallel;
pub mod run;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;

pub use config::{OnUnknown, Quantize, Sampling};
pub use model::{Model, ModelError, OpenOptions, TextModel, WordModel};
