//! `textgen decompress`.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use crate::compress::{CompressError, Container, decompress_into};
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
    /// The most bytes to write, as in 500MB or 20GB [default: 200 times the size of the file, and 64 MiB of any]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<Size>,
    #[command(flatten)]
    flags: Flags,
}

/// A number of bytes, in decimal units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size(u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &text[..text.len() - unit.len()];
        let factor = match &*unit.trim().to_ascii_lowercase() {
            "" | "b" => 1.0,
            "kb" | "k" => 1e3,
            "mb" | "m" => 1e6,
            "gb" | "g" => 1e9,
            "tb" | "t" => 1e12,
            _ => return Err("the units are B, kB, MB, GB and TB"),
        };
        let number: f64 = number
            .parse()
            .map_err(|_| "a number of bytes, as in 500MB")?;
        Ok(Self((number * factor) as u64))
    }
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
    let (mut pending, mut failure) = (target.pending()?, None);
    let mut sink = |bytes: &[u8]| {
        pending.write(bytes).map_err(|error| {
            failure = Some(error);
            CompressError::Unwritten
        })
    };
    let most = args.max_size.map(|Size(most)| most);
    let outcome = decompress_into(&container, codec.as_ref(), running, most, &mut sink);
    progress.end();
    if let Some(error) = failure {
        return Err(pending.failed(error));
    }
    let original_bytes = outcome.map_err(refuse)?;
    pending.commit()?;
    let done = Report {
        output: target.name(),
        compressed_bytes: compressed.len() as u64,
        original_bytes,
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
    if std::fs::metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        let message = format!("{}: there is no such file", file.display());
        let hint = format!("name a file that textgen compress wrote, as text.txt{ENDING}");
        return Err(CliError::failed(message, hint).into());
    }
    let message = format!(
        "{}: its name does not end in {ENDING}, so the original name is unknown",
        file.display()
    );
    Err(CliError::misuse(message, "name the output file with --output").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let of = |text: &str| text.parse::<Size>().map(|Size(bytes)| bytes);
        for (text, bytes) in [
            ("17", 17),
            ("1.5kB", 1500),
            ("20GB", 20_000_000_000),
            ("2 mb", 2_000_000),
        ] {
            assert_eq!(of(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1", "1e3", "5 miles", "."] {
            of(text).expect_err(text);
        }
    }
}
