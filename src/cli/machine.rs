//! What a command may use of the machine.

use crate::kernels::simd;
use anyhow::Result;

use super::error::CliError;

/// Threads at the most.
const MOST_THREADS: usize = 256;

/// Threads: as asked, or all cores.
pub fn threads(asked: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if asked > 0 { asked } else { cores };
    threads.min(MOST_THREADS)
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
