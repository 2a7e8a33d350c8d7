//! How a failure reaches the user: one `error:` line, one `hint:` line where there is one.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::output::note;
use crate::config::ConfigError;
use crate::hints;
use crate::model::ModelError;
use crate::run::{ModelFile, RunError};
use crate::text::TextError;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A failure of the command line itself.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    message: String,
    hint: Option<String>,
    misuse: bool,
}

impl CliError {
    /// Something failed.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            misuse: false,
        }
    }

    /// The command line is wrong.
    pub fn misuse(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            misuse: true,
        }
    }

    /// A file that a flag names cannot be read.
    pub fn unreadable(flag: &str, path: &Path, error: &io::Error, wanted: &str) -> Self {
        let message = format!("{flag} {}: {error}", path.display());
        Self::failed(message, format!("{flag} takes {wanted}"))
    }
}

/// Says of which model an error is, where it does not itself name the file.
pub fn of_model(file: &ModelFile) -> impl Fn(ModelError) -> anyhow::Error {
    |error| match error {
        ModelError::File(_) => error.into(),
        _ => anyhow::Error::new(error).context(file.path().display().to_string()),
    }
}

/// Prints the error and gives the exit code. A closed pipe is not an error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(is_closed_pipe) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(if show(error) { 2 } else { 1 })
}

/// Prints the error; whether the command line is wrong.
pub fn show(error: &anyhow::Error) -> bool {
    note!("error: {error:#}");
    let mut misuse = error.is::<ConfigError>();
    let hint = if let Some(cli) = error.downcast_ref::<CliError>() {
        misuse = cli.misuse;
        cli.hint.clone()
    } else if let Some(model) = error.downcast_ref::<ModelError>() {
        let (is_misuse, hint) = hints::of_model(model);
        misuse = is_misuse;
        hint
    } else if let Some(run) = error.downcast_ref::<RunError>() {
        hints::of_run(run)
    } else if let Some(text) = error.downcast_ref::<TextError>() {
        misuse = matches!(text, TextError::UnknownEncoding { .. });
        hints::of_text(text)
    } else {
        None
    };
    if let Some(hint) = hint {
        note!("hint: {hint}");
    }
    misuse
}

/// Prints what is wrong with the command line, on one line as all errors; or the help asked for.
pub fn misuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = of_counts(error, error.to_string());
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let is_message = |line: &&str| {
        !["Usage:", "tip:", "For more"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    note!(
        "{}",
        lines().take_while(is_message).collect::<Vec<_>>().join(" ")
    );
    let tip = lines().find_map(|line| line.strip_prefix("tip: "));
    note!(
        "hint: {}",
        tip.unwrap_or("--help shows every flag and its values")
    );
    ExitCode::from(2)
}

/// A number below zero where one is counted: what the parser of numbers says of it is no help.
fn of_counts(error: &clap::Error, text: String) -> String {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if value.starts_with('-') => {
            let useless = "invalid digit found in string";
            text.replace(useless, "must be a whole number, and not below 0")
        }
        _ => text,
    }
}

fn is_closed_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
