//! `textgen compress` and `textgen decompress`: files made small by a char-lstm, and back.

pub mod pack;
mod peers;
pub mod unpack;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use crate::compress::{Codec, CompressError};
use crate::config::ModelKind;
use crate::run::{ModelFile, Runs, atomic};
use anyhow::{Context, Result};
use clap::Args;

use super::chosen::ChosenModel;
use super::error::CliError;
use super::output::{check_output, note};

/// What a compressed file's name ends in.
const ENDING: &str = ".textgen";
/// In place of a file: standard input or output.
const STREAM: &str = "-";

/// Flags of both commands.
#[derive(Args)]
struct Flags {
    #[command(flatten)]
    model: ChosenModel,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Threads; 0 is all cores. The same bytes on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print what was done as one JSON object
    #[arg(long)]
    json: bool,
}

/// Where the outcome goes.
enum Target {
    File(PathBuf),
    Stdout,
}

impl Target {
    /// `named`, else a file or standard output as the input was; `derive` makes the file's name.
    fn choose(
        flags: &Flags,
        input: &Path,
        named: Option<&Path>,
        derive: impl FnOnce() -> Result<PathBuf>,
    ) -> Result<Self> {
        let stream = |path: &Path| path.as_os_str() == STREAM;
        let path = match named {
            Some(path) if stream(path) => None,
            Some(path) => Some(path.to_owned()),
            None if stream(input) => None,
            None => Some(derive()?),
        };
        match path {
            Some(path) => {
                check_output(&path, flags.force, &[(input, "is the file that is read")])?;
                Ok(Self::File(path))
            }
            None if flags.json => {
                let message = "--json prints on standard output, where the file itself goes";
                Err(CliError::misuse(message, "name a file with --output").into())
            }
            None => Ok(Self::Stdout),
        }
    }

    /// As it is shown.
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdout => "standard output".to_owned(),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(path) => atomic::write(path, &[bytes])?,
            Self::Stdout => {
                let mut out = crate::cli::output::stdout();
                out.write_all(bytes)?;
                out.flush()?;
            }
        }
        Ok(())
    }

    /// Whether somebody would see the bytes.
    fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout) && std::io::stdout().is_terminal()
    }
}

/// All of a file or of standard input.
fn read(input: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let outcome = if input.as_os_str() == STREAM {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(input).map(|read| bytes = read)
    };
    outcome.map_err(|error| {
        let message = format!("{}: {error}", input.display());
        CliError::failed(message, "give a file, or - for standard input")
    })?;
    Ok(bytes)
}

/// The model chosen, which must be a char-lstm.
fn open(flags: &Flags, runs: &Runs) -> Result<ModelFile> {
    let (file, _) = flags.model.open_for(runs, Some(ModelKind::CharRnn))?;
    if file.header.network.model() != ModelKind::CharRnn {
        let message = format!(
            "{}: it is a word-vae, and files are compressed with a char-lstm",
            file.path().display()
        );
        let hint = "choose a char-lstm with --run or --model-file";
        return Err(CliError::failed(message, hint).into());
    }
    Ok(file)
}

/// What compresses with it.
fn codec(file: &ModelFile) -> Result<Codec<'_>> {
    let header = &file.header;
    let weights = file.weights()?;
    Codec::new(
        &header.network,
        &weights,
        &header.vocabulary,
        &header.corpus_name,
    )
    .with_context(|| file.path().display().to_string())
}

/// What is wrong with a compressed file, and what to do.
fn refusal(input: &Path, error: &CompressError) -> anyhow::Error {
    let hint = match error {
        CompressError::Foreign => "give a file that textgen compress wrote",
        CompressError::Format { .. } => "use the textgen that wrote it, or a newer one",
        CompressError::Damaged => "copy it again from where it came",
        CompressError::OtherModel { .. } | CompressError::NoModel { .. } => {
            "name that model with --run or --model-file"
        }
        CompressError::OtherArithmetic => {
            "use the textgen that wrote it; if it is this one, one of the two machines miscalculates"
        }
    };
    CliError::failed(format!("{}: {error}", input.display()), hint).into()
}

/// Prints a report: JSON on stdout, or a line on stderr.
fn report(flags: &Flags, json: &impl serde::Serialize, line: &str) -> Result<()> {
    if flags.json {
        let text = serde_json::to_string_pretty(json)?;
        writeln!(crate::cli::output::stdout(), "{text}")?;
    } else {
        note!("{line}");
    }
    Ok(())
}
