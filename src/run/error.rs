//! What can be wrong with a run or a model file.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::ConfigError;
use crate::models::weights::WeightError;

/// What can be wrong with a run or a model file. [`RunError::hint`] says what to do about it.
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
    #[error("no run named {name} in {dir}")]
    NoSuchRun { name: String, dir: PathBuf },
    #[error("{name} is no name for a run: use letters, digits, dots, dashes and underscores")]
    BadName { name: String },
    #[error("a run named {name} exists in {dir}")]
    Exists { name: String, dir: PathBuf },
    #[error("run {name} is being written by another trainer (process {process})")]
    Locked { name: String, process: String },
    #[error("run {name} is half written: {missing} is missing")]
    HalfWritten { name: String, missing: &'static str },
    #[error("{path}: not a textgen model: {reason}")]
    NotAModel { path: PathBuf, reason: String },
    #[error("{path}: damaged: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("{path}: {what} format {found}, but this textgen reads formats {oldest} to {newest}")]
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

impl RunError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRuns { .. } => "train one first: textgen train --model char-lstm".to_owned(),
            Self::NoSuchRun { .. } => "textgen runs lists the runs there are".to_owned(),
            Self::Exists { name, .. } => {
                format!("give another --name, or go on with it: textgen train --resume {name}")
            }
            Self::Locked { .. } => "wait for it, or stop that process".to_owned(),
            Self::HalfWritten { missing, name } if *missing == "model.safetensors" => {
                format!("let it train up to its first evaluation: textgen train --resume {name}")
            }
            Self::HalfWritten { .. } => "delete its folder and train again".to_owned(),
            Self::NotAModel { .. } => "give a model.safetensors that textgen wrote".to_owned(),
            Self::Damaged { .. } => {
                "copy the file again, or train again; nothing else was touched".to_owned()
            }
            Self::Format { found, newest, .. } if found > newest => {
                "use the textgen that wrote it, or a newer one".to_owned()
            }
            Self::Write { source, .. } if is_full(source) => {
                "free some space; what was saved before is whole".to_owned()
            }
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                "make its folder first, or give another path".to_owned()
            }
            _ => return None,
        })
    }
}

/// Whether a write failed for want of room: on the disk, in a quota, under a limit.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
