//! `textgen encode`: the latent vectors of words.

use std::io::{BufWriter, Write as _};

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{GivenWords, ModelFlags};
use crate::cli::output::{json_line, stdout};

#[derive(Args)]
#[command(after_help = "\
A word-vae's encoder turns a word into a Gaussian over z. The means are the word's latent vector;
the deviations show how certain the encoder is. Each line has a word, the Z means, and the Z
deviations.

Examples:
  textgen encode anna hannah
  textgen encode --file words.txt >codes.tsv
  textgen encode anna --json")]
pub struct EncodeArgs {
    #[command(flatten)]
    words: GivenWords,
    #[command(flatten)]
    model: ModelFlags,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Code<'a> {
    word: &'a str,
    mean: &'a [f32],
    deviation: Vec<f32>,
}

pub fn run(args: &EncodeArgs, runs: &Runs) -> Result<()> {
    let space = args.model.open(runs)?;
    let words = args.words.read(&space)?;
    let posteriors = space.model().encode(&words)?;
    let mut out = BufWriter::new(stdout());
    if !args.json {
        let columns = |name| (1..=space.model.latent_size()).map(move |d| format!("\t{name}_{d}"));
        let columns: String = ["mean", "deviation"]
            .into_iter()
            .flat_map(columns)
            .collect();
        writeln!(out, "word{columns}")?;
    }
    for (word, posterior) in words.iter().zip(posteriors) {
        let code = Code {
            word: &word.text,
            mean: &posterior.mean,
            deviation: posterior.log_var.iter().map(|v| (0.5 * v).exp()).collect(),
        };
        if args.json {
            writeln!(out, "{}", json_line(&code)?)?;
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
