//! Ctrl-C while the library works: Python notes the signal, and asks for it only if it is given the chance.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// The time between two looks.
pub const EVERY: Duration = Duration::from_millis(50);

/// Looks for Ctrl-C now and then.
pub struct Watch(Instant);

impl Watch {
    /// Looks first in a while.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Looks, if it is time; what a signal raises ends the work. Only the main thread handles signals.
    pub fn look(&mut self) -> PyResult<()> {
        if self.0.elapsed() < EVERY {
            return Ok(());
        }
        self.0 = Instant::now();
        #[allow(
            clippy::redundant_closure_for_method_calls,
            reason = "the method lacks a lifetime"
        )]
        Python::attach(|py| py.check_signals())
    }
}
