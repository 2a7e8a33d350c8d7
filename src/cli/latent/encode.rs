//! `textgen encode`: where words stand in the latent space.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{GivenWords, ModelFlags, WordModel};
use crate::cli::output::stdout;

/// Flags of `encode`.
#[derive(Args)]
#[command(after_help = "\
A word-vae's encoder turns a word into a Gaussian over z: its means are where the word stands,
its deviations how sure the encoder is. A line a word: the word, the Z means, the Z deviations.

Examples:
  textgen encode anna hannah
  textgen encode --file words.txt >codes.tsv
  textgen encode anna --json")]
pub struct EncodeArgs {
    #[command(flatten)]
    words: GivenWords,
    #[command(flatten)]
    model: ModelFlags,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Code<'a> {
    word: &'a str,
    mean: &'a [f32],
    deviation: Vec<f32>,
}

/// Encodes the words given.
pub fn run(args: &EncodeArgs, runs: &Runs) -> Result<()> {
    let model = WordModel::open(&args.model, runs)?;
    let words = args.words.read(&model)?;
    let posteriors = model.posteriors(&words)?;
    let mut out = std::io::BufWriter::new(stdout());
    if !args.json {
        let mut header = "word".to_owned();
        for name in ["mean", "deviation"] {
            for dimension in 1..=model.latent() {
                let _ = write!(header, "\t{name}_{dimension}");
            }
        }
        writeln!(out, "{header}")?;
    }
    for (word, posterior) in words.iter().zip(posteriors) {
        let code = Code {
            word: &word.text,
            mean: &posterior.mean,
            deviation: posterior.log_var.iter().map(|v| (0.5 * v).exp()).collect(),
        };
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&code)?)?;
        } else {
            write!(out, "{}", code.word.replace('\t', " "))?;
            for number in code.mean.iter().chain(&code.deviation) {
                write!(out, "\t{number}")?;
            }
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}
