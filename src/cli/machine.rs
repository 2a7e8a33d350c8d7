//! The threads and instructions that a command may use.

use crate::kernels::simd;
use crate::model::OpenOptions;
use anyhow::Result;

use super::error::CliError;

/// The number of threads asked for, or one per core for 0.
pub fn threads(asked: usize) -> usize {
    let options = OpenOptions::on_threads(asked);
    options.threads()
}

/// Refuses a TEXTGEN_SIMD that this machine does not support.
pub fn check_simd() -> Result<()> {
    match simd::check() {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = "unset TEXTGEN_SIMD to let textgen choose";
            Err(CliError::misuse(error.to_string(), hint).into())
        }
    }
}
