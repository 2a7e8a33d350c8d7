//! What a command may use of the machine.

use crate::kernels::simd;
use crate::model::OpenOptions;
use anyhow::Result;

use super::error::CliError;

/// Threads: as asked, or all cores.
pub fn threads(asked: usize) -> usize {
    let options = OpenOptions::on_threads(asked);
    options.threads()
}

/// Refuses a TEXTGEN_SIMD that this machine does not have.
pub fn check_simd() -> Result<()> {
    match simd::check() {
        Ok(_) => Ok(()),
        Err(error) => {
            let hint = "unset TEXTGEN_SIMD to let textgen choose";
            Err(CliError::misuse(error.to_string(), hint).into())
        }
    }
}
