//! `textgen interpolate`: the words between two words.

use crate::model::Interpolation;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::AnswerFlags;
use crate::cli::output::note;

#[derive(Args)]
#[command(after_help = "\
Latent vectors are interpolated from A to B, both included, along an arc: a straight line between
two words passes nearer to zero than words are. A word that repeats in consecutive steps is shown
once with its count; --tsv and --json show every step.

The first and the last word are what the model decodes from A and B; if that is another word, it
is reported on stderr.

Examples:
  textgen interpolate anna robert
  textgen interpolate anna robert --steps 20 --linear --decode beam:8")]
pub struct InterpolateArgs {
    /// The word to start at
    #[arg(value_name = "A")]
    from: String,
    /// The word to end at
    #[arg(value_name = "B")]
    to: String,
    /// The number of latent vectors, including those of both words
    #[arg(long, value_name = "N", default_value_t = 8)]
    steps: usize,
    /// Interpolate along a straight line
    #[arg(long)]
    linear: bool,
    #[command(flatten)]
    answer: AnswerFlags,
}

#[derive(Serialize)]
struct Step {
    t: f64,
    word: String,
    log_prob_nats: f64,
    /// The number of consecutive steps with this word, in the table.
    #[serde(skip)]
    times: usize,
}

pub fn run(args: &InterpolateArgs, runs: &Runs) -> Result<()> {
    let (space, options) = args.answer.open(runs, |_| false)?;
    let format = &args.answer.format;
    let ends = [space.word(&args.from)?, space.word(&args.to)?];
    let how = if args.linear {
        Interpolation::Linear
    } else {
        Interpolation::Spherical
    };
    let found = space
        .model()
        .interpolate(ends.each_ref(), args.steps, how, &options)?;
    let mut steps: Vec<Step> = Vec::new();
    for (t, word) in found {
        match steps.last_mut() {
            Some(last) if format.is_table() && last.word == word.text => last.times += 1,
            _ => steps.push(Step {
                t,
                word: word.text,
                log_prob_nats: word.log_prob,
                times: 1,
            }),
        }
    }
    format.print(&["t", "word"], &steps, |step| {
        let folded = match step.times {
            1 => String::new(),
            times => format!("  ×{times}"),
        };
        vec![format!("{:.3}", step.t), format!("{}{folded}", step.word)]
    })?;
    for (given, end) in ends.iter().zip([steps.first(), steps.last()]) {
        if let Some(end) = end.filter(|end| end.word != given.text) {
            note!("the model reads {} back as {}", given.text, end.word);
        }
    }
    Ok(())
}
