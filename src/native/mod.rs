//! The native engine: trained networks on plain slices, with no libtorch in the process.
//!
//! A network is made from a [`NetworkConfig`](crate::config::NetworkConfig) and [`weights::Weights`]
//! under PyTorch's names, is immutable from then on and may be shared between threads; what changes
//! as it reads is a state of its own ([`char_lstm::State`], [`word_vae::DecoderState`]), made once
//! and used for many symbols, so that a step allocates nothing and takes no lock. A state has a row
//! for each text that is read side by side; [`team`] reads one text on several threads.
//!
//! The arithmetic has one order everywhere: every sum runs over its inputs in ascending order with
//! fused multiply-adds. A network therefore computes the same bits at every SIMD level
//! ([`simd::Level`]), on any number of threads, whatever else is read beside it.

pub mod article;
mod barrier;
pub mod beam;
pub mod char_lstm;
pub mod compress;
pub mod constraint;
mod encoder;
pub mod evaluate;
pub mod fill;
pub mod generate;
pub mod kernels;
pub mod latent;
pub mod ngram;
mod recurrent;
pub mod repetition;
pub mod sampling;
pub mod simd;
pub mod speed;
pub mod team;
pub mod weights;
pub mod word_vae;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod testing;
