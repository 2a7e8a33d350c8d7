//! `textgen compress`.

use std::path::PathBuf;
use std::time::Instant;

use crate::compress::Compressed;
use crate::parallel::Running;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::peers::{self, Peer};
use super::{ENDING, Flags, Format, Target, open, read, report, target};
use crate::cli::error::CliError;
use crate::cli::machine::check_simd;
use crate::cli::output::note;
use crate::cli::progress::Progress;

#[derive(Args)]
#[command(after_help = "\
Text that the model expects takes few bits: a text is compressed to the bits per character that `textgen
eval` measures. It is restored byte for byte, on any processor, with the same model and no other.
The file does not contain the model: keep it, or `textgen export` it.

Any file can be compressed. Bytes that the model has no token for (other scripts, CRLF, binary data)
are escaped and take more bits; a part that would not get smaller is stored uncompressed.

--mix-ngram adds the n-gram model of the run's training text (p = (1 - w) network + w n-gram), which makes
text like it smaller and takes longer; decompress needs the flag too, and the run, or the model
file and its training text.

A file is cut into blocks of 256 KiB that are compressed in parallel. Each starts without context,
which costs 5 to 40 bytes. With more --blocks, several cores can work on a small file.

Examples:
  textgen compress diary.txt                          writes diary.txt.textgen
  textgen compress diary.txt --run tales --compare    is it smaller than by gzip, xz, zstd and PPMd?
  textgen compress diary.txt --mix-ngram
  textgen compress - -m tales.safetensors < diary.txt > diary.small
  textgen decompress diary.txt.textgen")]
pub struct CompressArgs {
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write, or `-` for standard output [default: FILE.textgen]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Number of blocks, which are compressed in parallel [default: one per 256 KiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    blocks: Option<u32>,
    /// Compare with gzip -9, xz -9, zstd -19 and 7z's PPMd, if they are on PATH
    #[arg(long)]
    compare: bool,
}

#[derive(Serialize)]
struct Report {
    output: String,
    original_bytes: u64,
    compressed_bytes: u64,
    /// Original bytes per compressed byte; `None` for an empty file.
    ratio: Option<f64>,
    bits_per_byte: Option<f64>,
    /// None if the file is not UTF-8, or empty.
    bits_per_char: Option<f64>,
    escaped_bytes: u64,
    blocks: usize,
    stored_blocks: usize,
    seconds: f64,
    corpus: String,
    model_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Vec<Peer>>,
}

pub fn run(args: &CompressArgs, runs: &Runs) -> Result<()> {
    check_simd()?;
    let flags = &args.flags;
    let target = target(
        flags,
        &args.file,
        args.output.as_deref(),
        Format::Compressed,
        || {
            let mut name = args.file.clone().into_os_string();
            name.push(ENDING);
            Ok(name.into())
        },
    )?;
    if target.is_terminal() {
        let message = "compressed bytes would go to the terminal";
        return Err(CliError::misuse(message, "name a file with --output").into());
    }
    if args.compare && matches!(target, Target::Stdout) {
        let message = "--compare prints to standard output, but so does the file itself";
        return Err(CliError::misuse(message, "name a file with --output").into());
    }
    let original = read(&args.file)?;
    let model = open(flags, runs)?;
    let codec = model.codec()?;
    let started = Instant::now();
    let progress = Progress::of_bytes(original.len() as u64, "compressed");
    let running = Running {
        threads: model.threads(),
        progress: &|more| progress.add(more),
    };
    let compressed = codec.compress(&original, args.blocks.map(|n| n as usize), running);
    progress.end();
    target.write(&compressed.bytes)?;
    let seconds = started.elapsed().as_secs_f64();
    let bits = 8.0 * compressed.bytes.len() as f64;
    let by = |count: usize| (count > 0).then(|| bits / count as f64);
    let chars = std::str::from_utf8(&original).map(|text| text.chars().count());
    let done = Report {
        output: target.name(),
        original_bytes: original.len() as u64,
        compressed_bytes: compressed.bytes.len() as u64,
        ratio: by(original.len()).map(|bits_per_byte| 8.0 / bits_per_byte),
        bits_per_byte: by(original.len()),
        bits_per_char: chars.ok().and_then(by),
        escaped_bytes: compressed.escaped_bytes,
        blocks: compressed.blocks,
        stored_blocks: compressed.stored_blocks,
        seconds,
        corpus: model.header().corpus_name.clone(),
        model_digest: codec.identity().digest(),
        compared: args.compare.then(|| peers::sizes(&original)),
    };
    report(flags, &done, &line(&done))?;
    if !flags.json {
        explain(&compressed);
        if let Some(compared) = &done.compared {
            peers::print(done.original_bytes, done.compressed_bytes, compared)?;
        }
    }
    Ok(())
}

fn line(done: &Report) -> String {
    let bits = match (done.bits_per_char, done.bits_per_byte) {
        (Some(bits), _) => format!(", {bits:.4} bits/char"),
        (None, Some(bits)) => format!(", {bits:.4} bits/byte"),
        (None, None) => String::new(),
    };
    let ratio = done
        .ratio
        .map_or_else(String::new, |ratio| format!(" ({ratio:.2} : 1)"));
    format!(
        "{}: {} -> {} bytes{ratio}{bits}, {:.1} s",
        done.output, done.original_bytes, done.compressed_bytes, done.seconds
    )
}

/// Explains why the file may be larger than expected.
fn explain(compressed: &Compressed) {
    let Compressed {
        blocks,
        stored_blocks,
        escaped_bytes,
        ..
    } = compressed;
    if *escaped_bytes > 0 {
        note!("the model has no token for {escaped_bytes} of the bytes, which are escaped");
    }
    if *stored_blocks > 0 {
        note!(
            "{stored_blocks} of {blocks} blocks would not get smaller and are stored uncompressed"
        );
    }
}
