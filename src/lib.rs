//! textgen generates text at the level of characters: a recurrent language model (char-lstm) and
//! a variational autoencoder over the letters of words (word-vae).
//!
//! Data flows one way: [`text`] turns a corpus into symbols, [`native`] runs trained models without
//! libtorch, [`run`] keeps runs and model files. Training lives in the program `textgen-torch`.
//! [`config`] holds every setting.

pub mod config;
pub mod native;
pub mod run;
pub mod text;
