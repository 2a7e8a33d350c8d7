//! `textgen compress` and `textgen decompress`: files compressed with a char-lstm, and restored.

pub mod pack;
mod peers;
pub mod unpack;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::compress::CompressError;
use crate::config::ModelKind;
use crate::model::{OpenOptions, TextModel};
use crate::run::Runs;
use anyhow::Result;
use clap::Args;

use super::chosen::{ChosenModel, text_model};
use super::error::CliError;
use super::mixing::{MixFlags, mixed};
use super::output::{json_lines, note};
use super::target::{Force, Format, STREAM, Target};

/// The extension of compressed files.
const ENDING: &str = ".textgen";

/// Flags of both commands.
#[derive(Args)]
struct Flags {
    #[command(flatten)]
    model: ChosenModel,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    mix: MixFlags,
    /// Threads; 0 is one per core. The output is the same on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print a report as one JSON object
    #[arg(long)]
    json: bool,
}

/// The output `named`; without it, standard output for standard input, else the file that `derive`
/// names.
fn target(
    flags: &Flags,
    input: &Path,
    named: Option<&Path>,
    format: Format,
    derive: impl FnOnce() -> Result<PathBuf>,
) -> Result<Target> {
    let path = match named {
        Some(path) => path.to_owned(),
        None if input.as_os_str() == STREAM => STREAM.into(),
        None => derive()?,
    };
    let sources = [(input, "is the file that is read")];
    let target = Target::new(&path, format, flags.force, &sources)?;
    if target == Target::Stdout && flags.json {
        let message = "--json prints to standard output, but so does the file itself";
        return Err(CliError::misuse(message, "name a file with --output").into());
    }
    Ok(target)
}

/// Reads all of a file or of standard input.
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

fn open(flags: &Flags, runs: &Runs) -> Result<TextModel> {
    let options = OpenOptions::on_threads(flags.threads);
    let (file, run) = flags.model.open_for(runs, Some(ModelKind::CharRnn))?;
    mixed(&flags.mix, text_model(file, options)?, run.as_ref())
}

/// An error about a compressed file, with a hint.
fn refusal(input: &Path, error: &CompressError) -> anyhow::Error {
    let hint = match error {
        CompressError::Foreign => "give a file that textgen compress wrote",
        CompressError::Format { .. } => "use the textgen that wrote it, or a newer one",
        CompressError::Damaged => "copy it again from its source",
        CompressError::TooLarge { .. } => {
            "a small file that claims so much may be made to fill a disk; if you know it, --max-size SIZE takes it"
        }
        CompressError::Unwritten => "free some space",
        CompressError::OtherModel { .. } | CompressError::NoModel { .. } => {
            "name that model with --run, and give --mix-ngram if it was given to compress the file"
        }
        CompressError::OtherArithmetic => {
            "use the textgen that wrote it; if it is this one, one of the two machines computes wrong results"
        }
    };
    CliError::failed(format!("{}: {error}", input.display()), hint).into()
}

/// Prints a report: JSON on stdout, or a line on stderr.
fn report(flags: &Flags, json: &impl serde::Serialize, line: &str) -> Result<()> {
    if flags.json {
        let text = json_lines(json)?;
        writeln!(crate::cli::output::stdout(), "{text}")?;
    } else {
        note!("{line}");
    }
    Ok(())
}
