//! `textgen vary`: words around a word.

use std::collections::HashMap;

use crate::generate::sampling::Sampler;
use crate::latent::around;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::WalkFlags;
use crate::cli::error::CliError;

/// Places at the most.
const MOST_PLACES: usize = 1_000_000;

/// Flags of `vary`.
#[derive(Args)]
#[command(after_help = "\
Places are drawn at one distance from where the word stands, in every direction, and spelt. The
distance is in units of the encoder's own doubt: at --radius 1 places are as far as those that
the model took for this word in training, at 2 twice as far. A word that several places give is
shown once, with how often, the most frequent first.

Examples:
  textgen vary anna
  textgen vary anna --radius 1.5 --count 100 --seed 7")]
pub struct VaryArgs {
    /// The word
    #[arg(value_name = "WORD")]
    word: String,
    /// Distance from the word, in units of the posterior's deviations
    #[arg(long, value_name = "R", default_value_t = 1.0)]
    radius: f64,
    /// Places to spell
    #[arg(long, value_name = "N", default_value_t = 20)]
    count: usize,
    #[command(flatten)]
    walk: WalkFlags,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Variation {
    times: usize,
    word: String,
}

/// Shows the words around.
pub fn run(args: &VaryArgs, runs: &Runs) -> Result<()> {
    if !(args.radius.is_finite() && args.radius >= 0.0) {
        let message = format!("--radius {}: must be at least 0", args.radius);
        return Err(CliError::misuse(message, "1 to 3 gives words that resemble it").into());
    }
    if !(1..=MOST_PLACES).contains(&args.count) {
        let message = format!("--count {}: must be 1 to {MOST_PLACES}", args.count);
        return Err(CliError::misuse(message, "leave it out to see 20").into());
    }
    let (model, sampling) = args.walk.open(runs, true)?;
    let word = model.given(&args.word)?;
    let posterior = &model.posteriors(std::slice::from_ref(&word))?[0];
    // Letters are drawn from the streams 0, 1, …: places from those at the other end.
    let place = |index: usize| {
        let mut sampler = Sampler::new(&sampling, &[], u64::MAX - index as u64);
        around(posterior, args.radius, &mut sampler)
    };
    let places: Vec<Vec<f32>> = (0..args.count).map(place).collect();
    let mut found: Vec<Variation> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for spelt in model.spell(&places, args.walk.decode.decode, &sampling) {
        let line = *known.entry(spelt.text.clone()).or_insert(found.len());
        match found.get_mut(line) {
            Some(variation) => variation.times += 1,
            None => found.push(Variation {
                times: 1,
                word: spelt.text,
            }),
        }
    }
    found.sort_by_key(|variation| std::cmp::Reverse(variation.times));
    args.walk.format.print(&["times", "word"], &found, |line| {
        vec![line.times.to_string(), line.word.clone()]
    })
}
