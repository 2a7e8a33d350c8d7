//! `textgen vary`: words around a word.

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::AnswerFlags;

#[derive(Args)]
#[command(after_help = "\
Latent vectors are sampled in random directions at one distance from that of the word, and decoded.
The distance is in units of the encoder's own noise: with --radius 1 they are as far away as those
that the decoder saw for this word in training, with 2 twice as far. A word that several vectors
decode to is shown once with its count, the most frequent first.

Examples:
  textgen vary anna
  textgen vary anna --radius 1.5 --count 100 --seed 7")]
pub struct VaryArgs {
    /// The word to vary
    #[arg(value_name = "WORD")]
    word: String,
    /// Distance from the word, in units of the posterior's deviations
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    radius: f64,
    /// Latent vectors to decode
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: usize,
    #[command(flatten)]
    answer: AnswerFlags,
}

#[derive(Serialize)]
struct Variation {
    times: usize,
    word: String,
}

pub fn run(args: &VaryArgs, runs: &Runs) -> Result<()> {
    let (space, options) = args.answer.open(runs, |_| true)?;
    let word = space.word(&args.word)?;
    let found = space
        .model()
        .vary(&word, args.radius, args.count, &options)?;
    let line = |(times, word): (usize, crate::model::GeneratedWord)| Variation {
        times,
        word: word.text,
    };
    let lines: Vec<Variation> = found.into_iter().map(line).collect();
    args.answer
        .format
        .print(&["times", "word"], &lines, |line| {
            vec![line.times.to_string(), line.word.clone()]
        })
}
