//! Forward and backward passes of the networks, chained by hand on the kernels of training.
//!
//! The weights of a network are one flat buffer ([`Parameters`]), and so are its gradients, the
//! optimizer's moments and the averages.

mod article;
mod char_rnn;
mod dropout;
mod layer;
mod parameters;
#[cfg(test)]
pub(crate) mod reference;
mod tokens;
mod word_vae;

pub use article::ArticleTraining;
pub use char_rnn::{CharRnnTraining, TextDropout, TextState};
#[doc(hidden)]
pub use dropout::{Mask, position, start_of_row};
pub use parameters::{Entry, Parameters};
pub use word_vae::{WordDropout, WordVaeTraining};
