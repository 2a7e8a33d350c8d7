//! `textgen analogy`: A is to B as C is to what?

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::AnswerFlags;

#[derive(Args)]
#[command(after_help = "\
A is to B as C is to the word at C + B - A, where a word's latent vector is the mean of its
posterior. A word-vae knows only the letters of words, so expect analogies of letters, not of
meanings.

Examples:
  textgen analogy walk walked jump
  textgen analogy anna annabel carol --decode beam:8")]
pub struct AnalogyArgs {
    /// The word that relates to B
    #[arg(value_name = "A")]
    a: String,
    /// The word that A relates to
    #[arg(value_name = "B")]
    b: String,
    /// The word whose counterpart to find
    #[arg(value_name = "C")]
    c: String,
    #[command(flatten)]
    answer: AnswerFlags,
}

#[derive(Serialize)]
struct Answer {
    a: String,
    b: String,
    c: String,
    word: String,
    log_prob_nats: f64,
}

pub fn run(args: &AnalogyArgs, runs: &Runs) -> Result<()> {
    let (space, options) = args.answer.open(runs, |_| false)?;
    let [a, b, c] = [
        space.word(&args.a)?,
        space.word(&args.b)?,
        space.word(&args.c)?,
    ];
    let found = space.model().analogy([&a, &b, &c], &options)?;
    let answer = Answer {
        a: a.text,
        b: b.text,
        c: c.text,
        word: found.text,
        log_prob_nats: found.log_prob,
    };
    let cells =
        |answer: &Answer| [&answer.a, &answer.b, &answer.c, &answer.word].map(String::clone);
    let format = &args.answer.format;
    format.print(&["a", "b", "c", "word"], &[answer], |answer| {
        cells(answer).to_vec()
    })
}
