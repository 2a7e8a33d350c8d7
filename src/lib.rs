//! textgen generates text at the level of characters: texts with a recurrent language model
//! ([`TextModel`], trained as `char-lstm` or `char-gru`), and words with a variational autoencoder over
//! their letters ([`WordModel`], trained as `word-vae`).
//!
//! `textgen train` writes a run whose `model.safetensors` is all that a program needs. [`Model::open`]
//! tells which of the two it is:
//!
//! ```
//! use textgen::{Model, Sampling, model::WordOptions};
//!
//! for path in ["tests/golden-run/model.safetensors", "tests/golden-words/model.safetensors"] {
//!     match Model::open(path)? {
//!         Model::Text(model) => {
//!             let sampling = Sampling { temperature: 0.5, ..Sampling::new(1) };
//!             println!("{}", model.generate("A hen", &sampling, 100)?.text);
//!         }
//!         Model::Words(model) => {
//!             for word in model.generate(&WordOptions::new(1), 5)? {
//!                 println!("{word}");
//!             }
//!         }
//!     }
//! }
//! # Ok::<(), textgen::ModelError>(())
//! ```
//!
//! Texts can be shown as they are written, and limited to what matches a regular expression:
//!
//! ```
//! use textgen::{Sampling, TextModel};
//!
//! let model = TextModel::open("tests/golden-run/model.safetensors")?;
//! let sampling = Sampling {
//!     constrain: Some("[A-Z][a-z]+( [a-z]+){2,4}[.]".to_owned()),
//!     ..Sampling::new(1)
//! };
//! for piece in model.stream("", &sampling, 60)? {
//!     print!("{piece}");
//! }
//! # Ok::<(), textgen::ModelError>(())
//! ```
//!
//! Everything runs on the CPU. The same seed gives the same text on any machine and any number of
//! threads. The folder `examples` of the repository has small programs to start from, and
//! [`parts`] what other networks can be made of. The feature
//! `cli` (on by default) is the program `textgen`; a library user can do without it.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod compress;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod evaluate;
// WebAssembly opens no archives.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod exchange;
#[doc(hidden)]
pub mod generate;
#[doc(hidden)]
pub mod hints;
#[doc(hidden)]
pub mod kernels;
#[doc(hidden)]
pub mod latent;
pub mod model;
#[doc(hidden)]
pub mod models;
#[doc(hidden)]
pub mod parallel;
pub mod parts;
#[doc(hidden)]
pub mod run;
#[cfg(test)]
pub(crate) mod testing;
#[doc(hidden)]
pub mod text;
#[doc(hidden)]
pub mod train;

pub use config::{Decoding, OnUnknown, Quantize, Sampling};
pub use model::{Model, ModelError, OpenOptions, Sample, TextModel, WordModel};
