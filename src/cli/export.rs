//! `textgen export`: a model as one file, in full or in eight-bit precision.

use std::path::PathBuf;

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use indicatif::DecimalBytes;

use super::chosen::{self, ChosenModel};
use super::error::CliError;
use super::target::{Force, Format, check_output};
use crate::cli::output::note;

#[derive(Args)]
#[command(after_help = "\
The file is all that `textgen generate` needs: weights, vocabulary, normal form, and a word-vae's
training words for --novel. It is a safetensors file with PyTorch's names and gate order.

With --quantize int8 every matrix is stored in eight bits with one scale per row: a quarter of the
size, and faster. `textgen eval --quantize int8` measures what that costs.

Examples:
  textgen export --output tales.safetensors
  textgen export my-run --quantize int8 --output small.safetensors
  textgen generate --run small.safetensors")]
pub struct ExportArgs {
    /// The model: a run's name or folder, or a model file [default: the newest run]
    #[arg(value_name = "RUN|FILE", conflicts_with = "named")]
    model: Option<String>,
    #[command(flatten)]
    chosen: ChosenModel,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Store the matrices in eight bits
    #[arg(long, value_name = "TYPE", value_parser = ["int8"])]
    quantize: Option<String>,
    #[command(flatten)]
    force: Force,
}

pub fn run(args: &ExportArgs, runs: &Runs) -> Result<()> {
    let named = args.model.as_ref().or(args.chosen.named.as_ref());
    let (file, _) = chosen::open(named.map(String::as_str), runs, None)?;
    let sources = [(file.path(), "is the model that is exported")];
    check_output(&args.output, Format::Model, args.force, &sources)?;
    let (int8, was_int8) = (args.quantize.is_some(), file.is_int8()?);
    if was_int8 && !int8 {
        let message = format!(
            "{} is in eight bits, and rounding cannot be undone: there is no f32 to export",
            file.path().display()
        );
        let hint = "export the model that it was made from, or copy it with --quantize int8";
        return Err(CliError::failed(message, hint).into());
    }
    let network = &file.header.network;
    file.export(&args.output, int8)?;
    let written = std::fs::metadata(&args.output)
        .ok()
        .filter(std::fs::Metadata::is_file);
    let written = written.map(|data| format!(" -> {}", DecimalBytes(data.len())));
    note!(
        "{}: {}x{}: {}{}",
        args.output.display(),
        network.hidden,
        network.layers,
        DecimalBytes(file.size() as u64),
        written.unwrap_or_default()
    );
    Ok(())
}
