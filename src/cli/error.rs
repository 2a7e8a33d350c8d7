//! How a failure reaches the user: one `error:` line, and a `hint:` line if something helps.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::output::{counted, is_of_closed_pipe, lines_on_stderr, note, of_stdout, one_line};
use crate::cli::training::Interrupted;
use crate::config::ConfigError;
use crate::hints;
use crate::model::ModelError;
use crate::run::{ModelFile, RunError, quoted};
use crate::text::TextError;
use crate::train::TrainError;
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
    /// The command failed: exit code 1.
    pub fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            misuse: false,
        }
    }

    /// The command line is wrong: exit code 2.
    pub fn misuse(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
            misuse: true,
        }
    }

    /// A file named by a flag cannot be read.
    pub fn unreadable(flag: &str, path: &Path, error: &io::Error, wanted: &str) -> Self {
        let message = format!("{flag} {}: {error}", path.display());
        Self::failed(message, format!("{flag} takes {wanted}"))
    }
}

/// Adds the name of the model to an error that does not itself name the file.
pub fn of_model(file: &ModelFile) -> impl Fn(ModelError) -> anyhow::Error {
    |error| match error {
        ModelError::File(_) => error.into(),
        _ => anyhow::Error::new(error).context(file.path().display().to_string()),
    }
}

/// Prints the error and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(code(error))
}

/// Prints the error and gives the number of the exit code. Standard output that nobody reads any more is no error.
pub fn code(error: &anyhow::Error) -> u8 {
    if is_of_closed_pipe(error) {
        return 0;
    }
    match error.downcast_ref() {
        Some(Interrupted(code)) => *code,
        None if show(error) => 2,
        None => 1,
    }
}

/// Prints the error; returns true if the command line is wrong.
pub fn show(error: &anyhow::Error) -> bool {
    note!("error: {}", one_line(&format!("{error:#}")));
    let (misuse, hint) = explained(error);
    if let Some(hint) = hint {
        note!("hint: {hint}");
    }
    misuse
}

/// Whether an error means that the command line is wrong, and the hint.
pub fn explained(error: &anyhow::Error) -> (bool, Option<String>) {
    if let Some(cli) = error.downcast_ref::<CliError>() {
        (cli.misuse, cli.hint.clone())
    } else if let Some(model) = error.downcast_ref::<ModelError>() {
        hints::of_model(model)
    } else if let Some(run) = error.downcast_ref::<RunError>() {
        (false, hints::of_run(run))
    } else if let Some(train) = error.downcast_ref::<TrainError>() {
        (false, hints::of_train(train))
    } else if let Some(text) = error.downcast_ref::<TextError>() {
        let misuse = matches!(
            text,
            TextError::UnknownEncoding { .. } | TextError::Escape { .. } | TextError::UnnamedField
        );
        (misuse, hints::of_text(text))
    } else {
        (error.is::<ConfigError>(), None)
    }
}

/// Prints clap's answer to a command line: an error, or the help asked for.
pub fn misuse(mut error: clap::Error, command: &clap::Command, line: &[OsString]) -> u8 {
    make_legible(&mut error);
    let error = &error;
    let text = error.to_string();
    // The message of the standard library's number parser does not help.
    let unclear = "invalid digit found in string";
    if error.use_stderr() {
        // It repeats what was typed, so it is printed like everything else.
        let mut text = text.replace(unclear, "must be a whole number, and not below 0");
        if error.kind() == ErrorKind::UnknownArgument
            && let Some(tip) = line
                .iter()
                .find_map(dashed_file)
                .or_else(|| elsewhere(error, command))
                .or_else(|| unnamed(error, command, line))
            && let Some(end) = text.find("Usage: ")
        {
            text.insert_str(end, &format!("  tip: {tip}\n\n"));
        }
        for given in line.iter().filter_map(|given| given.to_str()) {
            let value = given.split_once('=').map_or(given, |(_, value)| value);
            for typed in [given, value] {
                let line = one_line(typed);
                if line != typed {
                    text = text.replace(typed, &line);
                }
            }
        }
        lines_on_stderr(text.trim_end());
    } else if let Err(error) = error.print() {
        return code(&of_stdout(error).into());
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Puts what was typed on one line where clap will quote it. (Its text lacks some control characters, so what was typed
/// cannot be found there.)
fn make_legible(error: &mut clap::Error) {
    let legible = |text: &String| one_line(text).into_owned();
    let quoted = error.context().filter_map(|(kind, value)| {
        let legible = match value {
            ContextValue::String(text) => ContextValue::String(legible(text)),
            ContextValue::Strings(all) => ContextValue::Strings(all.iter().map(legible).collect()),
            _ => return None,
        };
        Some((kind, legible))
    });
    let quoted: Vec<_> = quoted.collect();
    for (kind, value) in quoted {
        error.insert(kind, value);
    }
}

/// The most commands that a tip names.
const MOST_NAMED: usize = 4;

/// A tip about an argument that looks like flags, if it is the name of a file.
fn dashed_file(given: &OsString) -> Option<String> {
    let given = given.to_str()?;
    (given.starts_with('-') && Path::new(given).is_file())
        .then(|| format!("{given} is a file: name it ./{given}"))
}

/// A tip about a flag that other commands have.
fn elsewhere(error: &clap::Error, command: &clap::Command) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let long = flag.strip_prefix("--")?;
    let has = |one: &&clap::Command| {
        let is_it = |arg: &clap::Arg| {
            let aliases = arg.get_visible_aliases().unwrap_or_default();
            arg.get_long() == Some(long) || aliases.contains(&long)
        };
        one.get_arguments()
            .any(|arg| !arg.is_hide_set() && is_it(arg))
    };
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    let names: Vec<&str> = commands.filter(has).map(clap::Command::get_name).collect();
    let more = match names.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {}", counted(more, "other")),
    };
    let names = names.get(..MOST_NAMED).unwrap_or(&names);
    (!names.is_empty()).then(|| format!("--{long} is a flag of {}{more}", names.join(", ")))
}

/// A tip about a word that no flag precedes, for commands that take a model or a prompt by flags alone.
fn unnamed(error: &clap::Error, command: &clap::Command, line: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let given = line.iter().find_map(|name| command.find_subcommand(name));
    let given =
        given.filter(|given| !word.starts_with('-') && given.get_positionals().next().is_none())?;
    let has = |flag: &&str| {
        given
            .get_arguments()
            .any(|arg| arg.get_long() == Some(*flag))
    };
    let tips = [("run", "names a model"), ("prompt", "begins the text")];
    let tips = tips.into_iter().filter(|(flag, _)| has(flag));
    let tips = tips.map(|(flag, does)| format!("--{flag} {} {does}", quoted(word)));
    let tips = tips.collect::<Vec<_>>().join(", ");
    (!tips.is_empty()).then_some(tips)
}
