//! `textgen export`: a model as one file, in full or in eight-bit precision, also as a web page or a module.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::run::{RunDir, Runs, atomic};
use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::DecimalBytes;

use super::chosen::{self, ChosenModel};
use super::error::CliError;
use super::page::{self, Show};
use super::target::{Force, Format, check_output};
use crate::cli::output::{json_line, note, stdout};

#[derive(Args)]
#[command(after_help = "\
The file is all that `textgen generate` needs: weights, vocabulary, normal form, and a word-vae's
training words for --novel. It is a safetensors file with PyTorch's names and gate order.

With --quantize int8 every matrix is stored in eight bits with one scale per row: a quarter of the
size, and faster. `textgen eval --quantize int8` measures what that costs.

--format html writes one page that works from a file, without a network: a text model writes, colours
texts by their surprisal and takes what is clicked; a word-vae shows its map, invents and judges
words. --format js writes the same as a module, with its types beside it, for games and other pages.
Both are in eight bits unless --quantize none is given.

Examples:
  textgen export --format html --output tales.html
  textgen export my-run --format js --output tales.js
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
    /// The kind of file: a model file, a web page, or a JavaScript module
    #[arg(long, value_enum, default_value_t = Kind::Safetensors)]
    format: Kind,
    /// Store the matrices in eight bits, or, in a page or a module, as they are
    #[arg(long, value_name = "TYPE", value_parser = ["int8", "none"])]
    quantize: Option<String>,
    /// Leave out the words that a word-vae learnt from
    #[arg(long)]
    no_training_words: bool,
    #[command(flatten)]
    force: Force,
    /// Print what was written as one JSON object: the model, the format, and each file with its size
    #[arg(long)]
    json: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A safetensors file with all that textgen and PyTorch need
    Safetensors,
    /// One HTML file with model and engine
    Html,
    /// An ES module with model and engine, and its types in a .d.ts file
    Js,
}

/// Exports, and says on stdout what was written if that is asked for.
pub fn run(args: &ExportArgs, runs: &Runs) -> Result<()> {
    if args.json && atomic::is_stream(&args.output) {
        let message = "--json prints to standard output, and so may the file itself";
        return Err(CliError::misuse(message, "give --output the name of a file").into());
    }
    let model = export(args, runs)?;
    if args.json {
        let format = args.format.to_possible_value();
        let report = serde_json::json!({
            "model": model.display().to_string(),
            "format": format.as_ref().map(clap::builder::PossibleValue::get_name),
            "files": files(&args.output),
        });
        writeln!(stdout(), "{}", json_line(&report)?)?;
    }
    Ok(())
}

/// What is at the output: a file, with the types of a module beside it, or all files of a folder.
fn files(output: &Path) -> Vec<serde_json::Value> {
    let entries = std::fs::read_dir(output).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    if all.is_empty() {
        all.extend([output.to_owned(), types_of(output)]);
    }
    all.sort_unstable();
    let sized = all.into_iter().filter_map(|path| {
        let bytes = path
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)?
            .len();
        Some(serde_json::json!({ "path": path.display().to_string(), "bytes": bytes }))
    });
    sized.collect()
}

/// Exports, and returns the path of the model.
fn export(args: &ExportArgs, runs: &Runs) -> Result<PathBuf> {
    let named = args.model.as_ref().or(args.chosen.named.as_ref());
    let (file, run) = chosen::open(named.map(String::as_str), runs, None)?;
    let sources = [(file.path(), "is the model that is exported")];
    let check = |path, format| check_output(path, format, args.force, &sources);
    let words = !args.no_training_words;
    let int8 = match args.quantize.as_deref() {
        Some(bits) => bits == "int8",
        None => args.format != Kind::Safetensors,
    };
    match args.format {
        Kind::Safetensors => check(&args.output, Format::Model)?,
        Kind::Html => check(&args.output, Format::Page)?,
        Kind::Js => {
            check(&args.output, Format::Module)?;
            check(&types_of(&args.output), Format::Module)?;
        }
    }
    if file.is_int8()? && !int8 {
        let message = format!(
            "{} is in eight bits, and rounding cannot be undone: there is no f32 to export",
            file.path().display()
        );
        let hint = "export the model that it was made from, or copy it with --quantize int8";
        return Err(CliError::failed(message, hint).into());
    }
    if args.format != Kind::Safetensors {
        let stem = file.path().file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        let show = Show {
            file: &file,
            title: run.as_ref().map_or(&*stem, RunDir::name),
            int8,
            words,
        };
        write_page(args, &show)?;
        return Ok(file.path().to_owned());
    }
    let network = &file.header.network;
    file.export(&args.output, int8, words)?;
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
    Ok(file.path().to_owned())
}

fn write_page(args: &ExportArgs, show: &Show) -> Result<()> {
    if args.format == Kind::Html {
        return written(&args.output, &show.html()?);
    }
    written(&args.output, &show.module()?)?;
    written(&types_of(&args.output), page::MODULE_TYPES)
}

/// The file of a module's types: `tales.d.ts` of `tales.js`.
fn types_of(module: &Path) -> PathBuf {
    let is_mjs = module.extension().is_some_and(|ending| ending == "mjs");
    module.with_extension(if is_mjs { "d.mts" } else { "d.ts" })
}

fn written(path: &Path, text: &str) -> Result<()> {
    atomic::write(path, &[text.as_bytes()])?;
    let size = DecimalBytes(text.len() as u64);
    note!("{}: {size}", path.display());
    Ok(())
}
