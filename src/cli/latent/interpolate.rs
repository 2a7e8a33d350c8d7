//! `textgen interpolate`: the words between two words.

use crate::latent::{Path, path};
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::WalkFlags;
use crate::cli::error::CliError;
use crate::cli::output::note;

/// Steps at the most.
const MOST_STEPS: usize = 100_000;

/// Flags of `interpolate`.
#[derive(Args)]
#[command(after_help = "\
The way goes from where A stands to where B stands, both included, along an arc: between two
words a straight line comes nearer to zero than words stand. A word that several steps in a row
give is shown once, with how often; --tsv and --json show every step.

The first and the last word are what the model reads back of A and B; where that is another
word, it is said on stderr.

Examples:
  textgen interpolate anna robert
  textgen interpolate anna robert --steps 20 --linear --decode beam:8")]
pub struct InterpolateArgs {
    /// The word to begin at
    #[arg(value_name = "A")]
    from: String,
    /// The word to end at
    #[arg(value_name = "B")]
    to: String,
    /// Places on the way, both ends included
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: usize,
    /// Go straight
    #[arg(long)]
    linear: bool,
    #[command(flatten)]
    walk: WalkFlags,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Step {
    t: f64,
    word: String,
    log_prob_nats: f64,
    /// Steps in a row with this word, in the table.
    #[serde(skip)]
    times: usize,
}

/// Shows the way.
pub fn run(args: &InterpolateArgs, runs: &Runs) -> Result<()> {
    if !(2..=MOST_STEPS).contains(&args.steps) {
        let message = format!("--steps {}: must be 2 to {MOST_STEPS}", args.steps);
        return Err(CliError::misuse(message, "both ends are steps").into());
    }
    let (model, sampling) = args.walk.open(runs, false)?;
    let given = [model.given(&args.from)?, model.given(&args.to)?];
    let kind = if args.linear {
        Path::Linear
    } else {
        Path::Spherical
    };
    let ends = model.places(&given)?;
    let way = path(&ends[0], &ends[1], args.steps, kind);
    let (ts, places): (Vec<f64>, Vec<Vec<f32>>) = way.into_iter().unzip();
    let spelt = model.spell(&places, args.walk.decode.decode, &sampling);
    let mut steps: Vec<Step> = Vec::new();
    for (t, word) in ts.into_iter().zip(spelt) {
        match steps.last_mut() {
            Some(last) if args.walk.format.is_table() && last.word == word.text => last.times += 1,
            _ => steps.push(Step {
                t,
                word: word.text,
                log_prob_nats: word.log_prob_nats,
                times: 1,
            }),
        }
    }
    args.walk.format.print(&["t", "word"], &steps, |step| {
        let folded = match step.times {
            1 => String::new(),
            times => format!("  ×{times}"),
        };
        vec![format!("{:.3}", step.t), format!("{}{folded}", step.word)]
    })?;
    for (given, end) in given.iter().zip([steps.first(), steps.last()]) {
        if let Some(end) = end.filter(|end| end.word != given.text) {
            note!("the model reads {} back as {}", given.text, end.word);
        }
    }
    Ok(())
}
