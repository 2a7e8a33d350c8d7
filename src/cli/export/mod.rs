//! `textgen export`: a model as one file, in full or in eight-bit precision, as a web page or a module, and in the forms
//! of other programs.

mod hub;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::exchange::{self, onnx, torch};
use crate::models::weights::{WeightError, Weights};
use crate::run::{ModelFile, ModelHeader, RunDir, RunError, Runs, atomic, quoted};
use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::DecimalBytes;

pub use self::hub::is_config as is_hub_config;

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

--format onnx writes a graph for onnxruntime and what else reads ONNX (opset 14): ids and states in,
logits and states out, vocabulary and settings in the metadata. A word-vae becomes two files,
NAME.encoder.onnx and NAME.decoder.onnx. --format torch writes a short program in plain PyTorch, and
the weights that it loads beside it. --format hub writes a folder for the Hugging Face Hub: weights,
config.json, that program, and a README.md with samples and figures; it uploads nothing, and you
choose the licence. These three are in f32. See docs/ecosystem.md.

Examples:
  textgen export --format html --output tales.html
  textgen export --format onnx --output tales.onnx
  textgen export --format torch --output tales.py
  textgen export my-run --format hub --output tales
  textgen export my-run --format js --output tales.js
  textgen export --output tales.safetensors
  textgen export my-run --quantize int8 --output small.safetensors
  textgen generate --run small.safetensors")]
pub struct ExportArgs {
    /// The model: a run's name or folder, or a model file [default: the newest run of a fitting kind]
    #[arg(value_name = "RUN|FILE", conflicts_with = "named")]
    model: Option<String>,
    #[command(flatten)]
    chosen: ChosenModel,
    /// The file to write, or the folder of --format hub
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The kind of file: a model file, a web page, a JavaScript module, or the form of another program
    #[arg(long, value_enum, default_value_t = Kind::Safetensors)]
    format: Kind,
    /// Store the matrices in eight bits, or, in a page or a module, as they are
    #[arg(long, value_name = "TYPE", value_parser = ["int8", "none"])]
    quantize: Option<String>,
    /// Leave out the words that a word-vae learnt from
    #[arg(long)]
    no_training_words: bool,
    /// The heading of a page [default: the name of the run or the file]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
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
    /// A graph for onnxruntime; of a word-vae two, encoder and decoder
    Onnx,
    /// A folder for the Hugging Face Hub: weights, config.json and a model card
    Hub,
    /// A program in plain PyTorch, with its weights in a .safetensors file
    Torch,
}

impl Kind {
    /// Whether it has weights in f32 alone.
    const fn is_plain(self) -> bool {
        matches!(self, Self::Onnx | Self::Hub | Self::Torch)
    }
}

/// Exports, and says on stdout what was written if that is asked for.
pub fn run(args: &ExportArgs, runs: &Runs) -> Result<()> {
    if args.json && atomic::is_stream(&args.output) {
        let message = "--json prints to standard output, and so may the file itself";
        return Err(CliError::misuse(message, "give --output the name of a file").into());
    }
    if args.title.is_some() && args.format != Kind::Html {
        let message = "--title is the heading of a page";
        return Err(CliError::misuse(message, "use it with --format html").into());
    }
    let named = args.model.as_ref().or(args.chosen.named.as_ref());
    let (file, run) = chosen::open(named.map(String::as_str), runs, None)?;
    let targets = targets(args, &file)?;
    export(args, &targets, &file, run.as_ref())?;
    if args.json {
        let format = args.format.to_possible_value();
        let sized = targets.iter().filter_map(|(path, _)| {
            let bytes = path.metadata().ok()?.len();
            Some(serde_json::json!({ "path": path.display().to_string(), "bytes": bytes }))
        });
        let report = serde_json::json!({
            "model": file.path().display().to_string(),
            "format": format.as_ref().map(clap::builder::PossibleValue::get_name),
            "files": sized.collect::<Vec<_>>(),
        });
        writeln!(stdout(), "{}", json_line(&report)?)?;
    }
    Ok(())
}

/// The files that are written.
fn targets(args: &ExportArgs, file: &ModelFile) -> Result<Vec<(PathBuf, Format)>> {
    let output = args.output.clone();
    Ok(match args.format {
        Kind::Safetensors => vec![(output, Format::Model)],
        Kind::Html => vec![(output, Format::Page)],
        Kind::Js => {
            let types = types_of(&output);
            vec![(output, Format::Module), (types, Format::Types)]
        }
        Kind::Onnx => {
            let graphs = graphs(&output, file).into_iter();
            graphs.map(|(path, _)| (path, Format::Onnx)).collect()
        }
        Kind::Torch => {
            let weights = weights_of(&output)?;
            vec![(output, Format::Script), (weights, Format::Model)]
        }
        Kind::Hub => hub::files(&output)?.to_vec(),
    })
}

fn export(
    args: &ExportArgs,
    targets: &[(PathBuf, Format)],
    file: &ModelFile,
    run: Option<&RunDir>,
) -> Result<()> {
    let words = !args.no_training_words;
    let int8 = match args.quantize.as_deref() {
        Some(bits) => bits == "int8",
        None => matches!(args.format, Kind::Html | Kind::Js),
    };
    if args.format.is_plain() && int8 {
        let message = "--quantize int8: what other programs read is in f32";
        let hint = "leave it out; --format safetensors, html and js can be in eight bits";
        return Err(CliError::misuse(message, hint).into());
    }
    if targets.len() > 1 && atomic::is_stream(&args.output) {
        let message = format!(
            "{}: {} files are written, which one stream cannot take",
            args.output.display(),
            targets.len()
        );
        return Err(CliError::misuse(message, "give --output the name of a file").into());
    }
    // Weights beside a program that this did not write are somebody's model.
    if let (Kind::Torch, [(program, _), (weights, _)]) = (args.format, targets)
        && weights.exists()
        && !program.exists()
        && !args.force.force
    {
        let message = format!(
            "{}: exists already, without {} beside it",
            weights.display(),
            program.display()
        );
        let hint =
            "the program needs weights of its name: give another --output; --force replaces them";
        return Err(CliError::failed(message, hint).into());
    }
    let sources = [(file.path(), "is the model that is exported")];
    for (path, format) in targets {
        check_output(path, *format, args.force, &sources)?;
    }
    if args.format.is_plain() {
        return write_plain(args, file, run);
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
            file,
            title: args
                .title
                .as_deref()
                .unwrap_or_else(|| run.map_or(&*stem, RunDir::name)),
            int8,
            words,
        };
        return write_page(args, &show);
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
    Ok(())
}

/// Writes it in the form of another program.
fn write_plain(args: &ExportArgs, file: &ModelFile, run: Option<&RunDir>) -> Result<()> {
    if file.header.network.is_article() {
        let message = format!(
            "{} is the article's network, which only textgen computes",
            file.path().display()
        );
        let hint = "train a word-vae without --recipe article, or export it without --format";
        return Err(CliError::failed(message, hint).into());
    }
    if file.is_int8()? {
        note!("note: the model is in eight bits, whose values are written as f32");
    }
    let words = !args.no_training_words;
    match args.format {
        Kind::Onnx => {
            let (header, weights) = (&file.header, exchange::plain(file)?);
            for (path, graph) in graphs(&args.output, file) {
                let bytes = graph(header, &weights).map_err(|source| RunError::Weights {
                    path: file.path().to_owned(),
                    source,
                })?;
                if bytes.len() > LARGEST_ONNX {
                    let message = format!("{}: an ONNX file has at most 2 GB", path.display());
                    let hint = "--format safetensors and torch write models of any size";
                    return Err(CliError::failed(message, hint).into());
                }
                written(&path, &bytes)?;
            }
            Ok(())
        }
        Kind::Torch => {
            let weights = weights_of(&args.output)?;
            written(
                &args.output,
                torch::script(file.header.network.is_words()).as_bytes(),
            )?;
            exchange::write_plain(file, &weights, words)?;
            is_written(&weights);
            note!(
                "generate: python3 {}",
                quoted(&args.output.to_string_lossy())
            );
            Ok(())
        }
        _ => hub::write(&args.output, file, run, words),
    }
}

/// The most bytes of an ONNX file: protocol buffers have no more.
const LARGEST_ONNX: usize = i32::MAX as usize;

type Graph = fn(&ModelHeader, &Weights) -> Result<Vec<u8>, WeightError>;

/// The files of a model in ONNX, and what writes them.
fn graphs(output: &Path, file: &ModelFile) -> Vec<(PathBuf, Graph)> {
    let network = &file.header.network;
    if !network.is_words() {
        return vec![(output.to_owned(), onnx::char_rnn)];
    }
    let named = |part: &str| output.with_extension(format!("{part}.onnx"));
    let encoder: (PathBuf, Graph) = (named("encoder"), onnx::encoder);
    let decoder: (PathBuf, Graph) = (named("decoder"), onnx::decoder);
    if network.latent() == 0 {
        return vec![decoder];
    }
    vec![encoder, decoder]
}

/// The weights beside a program: `tales.safetensors` of `tales.py`.
fn weights_of(program: &Path) -> Result<PathBuf> {
    let weights = program.with_extension("safetensors");
    if weights == program {
        let message = format!("{}: a program is a .py file", program.display());
        let hint = "the weights go into a .safetensors file beside it: --output tales.py";
        return Err(CliError::misuse(message, hint).into());
    }
    Ok(weights)
}

fn write_page(args: &ExportArgs, show: &Show) -> Result<()> {
    if args.format == Kind::Html {
        return written(&args.output, show.html()?.as_bytes());
    }
    written(&args.output, show.module()?.as_bytes())?;
    written(&types_of(&args.output), page::MODULE_TYPES.as_bytes())
}

/// The file of a module's types: `tales.d.ts` of `tales.js`.
fn types_of(module: &Path) -> PathBuf {
    let is_mjs = module.extension().is_some_and(|ending| ending == "mjs");
    module.with_extension(if is_mjs { "d.mts" } else { "d.ts" })
}

fn written(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::write(path, &[bytes])?;
    let size = DecimalBytes(bytes.len() as u64);
    note!("{}: {size}", path.display());
    Ok(())
}

/// Says how large a file is that was written.
fn is_written(path: &Path) {
    let size = std::fs::metadata(path).map_or(0, |data| data.len());
    note!("{}: {}", path.display(), DecimalBytes(size));
}
