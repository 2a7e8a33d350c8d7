//! Errors of runs and model files.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::ConfigError;
use crate::models::weights::WeightError;

/// An error of a run or a model file.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum RunError {
    #[error("{path}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: cannot write")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{dir}: no runs yet")]
    NoRuns { dir: PathBuf },
    #[error("{dir}: no run that is unfinished and not being trained")]
    NoUnfinished { dir: PathBuf },
    #[error("no run named {name} in {dir}")]
    NoSuchRun { name: String, dir: PathBuf },
    #[error(
        "{name} is not a valid name for a run: use letters, digits, underscores, dots and dashes, and begin with neither of the last two"
    )]
    BadName { name: String },
    #[error("{name} cannot name a run: it is the file that `textgen vocab` writes beside the runs")]
    Reserved { name: String },
    #[error("a run named {name} exists in {dir}")]
    Exists { name: String, dir: PathBuf },
    #[error("run {name} is being written by another trainer{}", in_brackets(*process))]
    Locked { name: String, process: Option<u32> },
    #[error(
        "run {name} was moved, removed or replaced while it trained: {path} is no longer its folder"
    )]
    Moved { name: String, path: PathBuf },
    #[error("run {name} is incomplete: {missing} is missing")]
    Incomplete {
        dir: PathBuf,
        name: String,
        missing: &'static str,
    },
    #[error("{path} is not a run")]
    NotARun { path: PathBuf },
    #[error("{path}: not a textgen model: {reason}")]
    NotAModel { path: PathBuf, reason: String },
    #[error("{path}: damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{path}: damaged: its checksum does not match, so some of its bytes have changed since it was written"
    )]
    Spoilt { path: PathBuf },
    #[error("{path}: {what} format {found}, but this textgen reads {}", formats(*oldest, *newest))]
    Format {
        path: PathBuf,
        what: &'static str,
        found: u32,
        oldest: u32,
        newest: u32,
    },
    #[error("{path}")]
    Weights { path: PathBuf, source: WeightError },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

fn in_brackets(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// The formats that are read.
fn formats(oldest: u32, newest: u32) -> String {
    if oldest == newest {
        format!("only format {newest}")
    } else {
        format!("formats {oldest} to {newest}")
    }
}

impl RunError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    /// The same of what is called `to` and not `from`.
    pub(super) fn moved(mut self, from: &Path, to: &Path) -> Self {
        if let Self::Io { path, .. } | Self::Write { path, .. } | Self::Damaged { path, .. } =
            &mut self
            && let Ok(rest) = path.strip_prefix(from)
        {
            *path = to.join(rest);
        }
        self
    }

    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
