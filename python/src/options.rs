//! Arguments: numbers, the options of sampling, and texts with characters that a model does not know.

use std::ffi::CString;
use std::hash::{BuildHasher as _, RandomState};

use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use textgen::config::ConfigError;
use textgen::{OnUnknown, Sampling};

use crate::errors::raise;

/// An argument with a value that it cannot have.
pub fn wrong(argument: &str, value: impl ToString, must: impl ToString) -> PyErr {
    let value = value.to_string();
    let space = if value.is_empty() { "" } else { " " };
    raise(anyhow::anyhow!(
        "{argument}{space}{value}: {}",
        must.to_string()
    ))
}

/// A number that is not below 0.
pub fn whole(argument: &str, value: i128) -> PyResult<usize> {
    usize::try_from(value)
        .map_err(|_| wrong(argument, value, "must be a whole number, and not below 0"))
}

/// A seed; a new one if none is given.
pub fn seed(given: Option<i128>) -> PyResult<u64> {
    match given {
        None => Ok(RandomState::new().hash_one(std::process::id())),
        Some(seed) => u64::try_from(seed)
            .map_err(|_| wrong("seed", seed, "must be a whole number from 0 to 2^64 - 1")),
    }
}

/// What is done with unknown characters, by its name.
pub fn on_unknown(name: &str) -> PyResult<OnUnknown> {
    name.parse().map_err(|error: ConfigError| raise(error))
}

/// How tokens are chosen, as the methods take it.
pub struct Chosen<'a> {
    pub temperature: f32,
    pub top_k: Option<i128>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: f32,
    pub repetition_window: i128,
    pub seed: Option<i128>,
    pub stop: Option<String>,
    pub constrain: Option<String>,
    pub on_unknown: &'a str,
}

impl Chosen<'_> {
    /// The library's options.
    pub fn sampling(self) -> PyResult<Sampling> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k.map(|k| whole("top_k", k)).transpose()?,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            repetition_window: whole("repetition_window", self.repetition_window)?,
            stop: self.stop,
            constrain: self.constrain,
            on_unknown: on_unknown(self.on_unknown)?,
            log_prob: false,
            ..Sampling::new(seed(self.seed)?)
        };
        sampling.validate().map_err(raise)?;
        Ok(sampling)
    }
}

/// Warns of characters that were replaced or left out.
pub fn warn(py: Python<'_>, replaced: &[(String, String)]) -> PyResult<()> {
    let shown = |(from, to): &(String, String)| match to.as_str() {
        "" => format!("{from} is left out"),
        to => format!("{from} is read as {to}"),
    };
    let mut all: Vec<String> = replaced.iter().map(shown).collect();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        return Ok(());
    }
    let text = format!("not known to the model: {}", all.join(", "));
    let text = CString::new(text.replace('\0', "\\0"))?;
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 1)
}
