//! Tests of the crate; most compare the native engine with libtorch.

mod commands;
mod cuda;
mod find_libtorch;
mod golden;
mod optimizer;
mod oracle;
mod shared;
