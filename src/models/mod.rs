//! Trained networks on plain slices.
//!
//! A network is built from a [`NetworkConfig`](crate::config::NetworkConfig) and [`weights::Weights`]
//! under PyTorch's names. It is immutable and may be shared between threads. What changes
//! as it reads is a separate [`RowState`], allocated once,
//! so a step allocates nothing and takes no lock. A state has one row for each of the texts that
//! are read in parallel; [`team`] reads one text on several threads.
//!
//! Arithmetic has one order everywhere: every sum runs over its inputs in ascending order with
//! fused multiply-adds. A network therefore computes the same bits at every SIMD level
//! ([`Level`](crate::kernels::simd::Level)), on any number of threads, whatever else is read in the same batch.

pub mod article;
pub mod batch;
pub mod char_rnn;
mod encoder;
#[cfg(test)]
pub(crate) mod golden;
mod linear;
pub mod noise;
pub mod pieces;
mod predictor;
mod recurrent;
pub mod sequences;
pub mod speed;
pub mod team;
pub mod training;
pub mod variational;
pub mod weights;
pub mod word_vae;

pub use predictor::{Network, RowState, Snapshot, argmax};
