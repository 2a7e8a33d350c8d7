//! The commands.

pub mod vocab;
