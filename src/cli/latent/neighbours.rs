//! `textgen neighbours`: the words nearest to a word.

use std::path::PathBuf;

use crate::model::Word;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::ModelFlags;
use crate::cli::error::CliError;
use crate::cli::output::{Format, note};

#[derive(Args)]
#[command(after_help = "\
Distances are Euclidean, between the means of posteriors. The word itself is left out.

Examples:
  textgen neighbours anna
  textgen neighbours anna -k 20 --among words.txt --tsv")]
pub struct NeighboursArgs {
    /// The word whose neighbours to list
    #[arg(value_name = "WORD")]
    word: String,
    /// How many neighbours to show
    #[arg(short, long = "count", value_name = "K", default_value_t = 10)]
    k: usize,
    /// Words to choose from, one per line; `-` reads standard input [default: the training words]
    #[arg(long, value_name = "FILE")]
    among: Option<PathBuf>,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Neighbour {
    distance: f64,
    word: String,
}

pub fn run(args: &NeighboursArgs, runs: &Runs) -> Result<()> {
    let space = args.model.open(runs)?;
    let word = space.word(&args.word)?;
    let words = match &args.among {
        Some(file) => space.words_in("--among", file)?,
        None => space.model.training_words(),
    };
    let found = space.model().neighbours(&word, &words, args.k)?;
    if found.is_empty() {
        let message = format!("there is no word other than {}", word.text);
        let hint = "--among FILE gives words to choose from";
        return Err(CliError::failed(message, hint).into());
    }
    let line = |(distance, word): (f64, &Word)| Neighbour {
        distance,
        word: word.text.clone(),
    };
    let lines: Vec<Neighbour> = found.into_iter().map(line).collect();
    args.format.print(&["distance", "word"], &lines, |line| {
        vec![format!("{:.4}", line.distance), line.word.clone()]
    })?;
    if lines.len() < args.k {
        note!("these are all the words there are: {}", lines.len());
    }
    Ok(())
}
