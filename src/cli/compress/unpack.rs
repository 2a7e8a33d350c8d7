//! `textgen decompress`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::compress::{Container, decompress};
use crate::model::TextModel;
use crate::parallel::Running;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{ENDING, Flags, Format, open, read, refusal, report, target};
use crate::cli::error::CliError;
use crate::cli::machine::{check_simd, threads};
use crate::cli::progress::Progress;

#[derive(Args)]
#[command(after_help = "\
This needs the model that compressed the file, or an exported copy of it; the file names it, and any
other is refused. The result is checked against a digest of the original.

Examples:
  textgen decompress diary.txt.textgen                writes diary.txt
  textgen decompress diary.txt.textgen -o - | less
  textgen decompress - -m tales.safetensors < diary.small > diary.txt")]
pub struct DecompressArgs {
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write, or `-` for standard output [default: FILE without .textgen]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Serialize)]
struct Report {
    output: String,
    compressed_bytes: u64,
    original_bytes: u64,
    seconds: f64,
}

pub fn run(args: &DecompressArgs, runs: &Runs) -> Result<()> {
    check_simd()?;
    let flags = &args.flags;
    let target = target(
        flags,
        &args.file,
        args.output.as_deref(),
        Format::Unknown,
        || without_ending(&args.file),
    )?;
    let refuse = |error| refusal(&args.file, &error);
    let compressed = read(&args.file)?;
    let container = Container::read(&compressed).map_err(refuse)?;
    let model = match container.identity() {
        Some(_) => Some(open(flags, runs)?),
        None => None,
    };
    let codec = model.as_ref().map(TextModel::codec).transpose()?;
    let started = Instant::now();
    let progress = Progress::of_bytes(container.original_bytes(), "decompressed");
    let running = Running {
        threads: threads(flags.threads),
        progress: &|more| progress.add(more),
    };
    let outcome = decompress(&container, codec.as_ref(), running);
    progress.end();
    let original = outcome.map_err(refuse)?;
    target.write(&original)?;
    let done = Report {
        output: target.name(),
        compressed_bytes: compressed.len() as u64,
        original_bytes: original.len() as u64,
        seconds: started.elapsed().as_secs_f64(),
    };
    let bytes = match done.original_bytes {
        1 => "1 byte".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let line = format!(
        "{}: {} -> {bytes}, {:.1} s",
        done.output, done.compressed_bytes, done.seconds
    );
    report(flags, &done, &line)
}

/// The original name, from the name of a compressed file.
fn without_ending(file: &Path) -> Result<PathBuf> {
    let is_ours = file.extension().is_some_and(|found| found == &ENDING[1..]);
    if is_ours {
        return Ok(file.with_extension(""));
    }
    let message = format!(
        "{}: its name does not end in {ENDING}, so the original name is unknown",
        file.display()
    );
    Err(CliError::misuse(message, "name the output file with --output").into())
}
