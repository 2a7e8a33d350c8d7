//! Errors of the library as Python's exceptions.

use std::io;

use pyo3::prelude::*;
use textgen::cli::error::explained;
use textgen::cli::output::one_line;
use textgen::run::RunError;
use textgen::text::TextError;

/// Raises what went wrong, with the program's message and hint: a `textgen.Error`, or what Python itself raised.
pub fn raise(error: impl Into<anyhow::Error>) -> PyErr {
    let error = match error.into().downcast::<PyErr>() {
        Ok(own) => return own,
        Err(error) => error,
    };
    let message = one_line(&format!("{error:#}")).into_owned();
    let (_, hint) = explained(&error);
    let class = if error.chain().any(is_missing) {
        "MissingError"
    } else {
        "Error"
    };
    Python::attach(|py| {
        let class = py
            .import("textgen._errors")
            .and_then(|own| own.getattr(class));
        match class.and_then(|class| class.call1((message, hint))) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    })
}

/// Whether there is no such file or run.
fn is_missing(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_io = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let of_run =
        |error: &RunError| matches!(error, RunError::NoSuchRun { .. } | RunError::NoRuns { .. });
    let of_text = |error: &TextError| matches!(error, TextError::Missing { .. });
    cause.downcast_ref().is_some_and(of_io)
        || cause.downcast_ref().is_some_and(of_run)
        || cause.downcast_ref().is_some_and(of_text)
}
