//! `textgen neighbours`: the words that stand nearest to a word.

use std::path::PathBuf;

use crate::latent::nearest;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{ModelFlags, WordModel};
use crate::cli::error::CliError;
use crate::cli::output::{Format, note};

/// Flags of `neighbours`.
#[derive(Args)]
#[command(after_help = "\
Distances are Euclidean, between the means of posteriors. The word itself is left out.

Examples:
  textgen neighbours anna
  textgen neighbours anna -k 20 --among words.txt --tsv")]
pub struct NeighboursArgs {
    /// The word
    #[arg(value_name = "WORD")]
    word: String,
    /// How many
    #[arg(short, long = "count", value_name = "K", default_value_t = 10)]
    k: usize,
    /// Words to choose from, one a line; `-` reads standard input [default: the training words]
    #[arg(long, value_name = "FILE")]
    among: Option<PathBuf>,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    format: Format,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Neighbour {
    distance: f64,
    word: String,
}

/// Finds the neighbours.
pub fn run(args: &NeighboursArgs, runs: &Runs) -> Result<()> {
    if args.k == 0 {
        let message = "-k 0: must be at least 1";
        return Err(CliError::misuse(message, "leave it out to see 10").into());
    }
    let model = WordModel::open(&args.model, runs)?;
    let word = model.given(&args.word)?;
    let mut words = match &args.among {
        Some(file) => model.words_in("--among", file)?,
        None => model.training_words()?,
    };
    words.retain(|other| other.text != word.text);
    if words.is_empty() {
        let message = format!("there is no word beside {}", word.text);
        let hint = "--among FILE gives words to choose from";
        return Err(CliError::failed(message, hint).into());
    }
    let here = model.places(std::slice::from_ref(&word))?;
    let places = model.places(&words)?;
    let found: Vec<Neighbour> = nearest(&here[0], places.iter().map(Vec::as_slice), args.k)
        .into_iter()
        .map(|(index, distance)| Neighbour {
            distance,
            word: words[index].text.clone(),
        })
        .collect();
    args.format.print(&["distance", "word"], &found, |line| {
        vec![format!("{:.4}", line.distance), line.word.clone()]
    })?;
    if found.len() < args.k {
        note!("these are all the words there are: {}", found.len());
    }
    Ok(())
}
