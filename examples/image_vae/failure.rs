//! What went wrong, and what helps.

use std::fmt::{Display, Formatter};

/// An `error:` line and a `hint:` line.
#[derive(Debug)]
pub struct Failure {
    pub error: String,
    pub hint: String,
}

impl Failure {
    pub fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            hint: hint.into(),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}\nhint: {}", self.error, self.hint)
    }
}
