//! `textgen analogy`: A is to B as C is to what?

use crate::latent::analogy;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::WalkFlags;

/// Flags of `analogy`.
#[derive(Args)]
#[command(after_help = "\
A is to B as C is to the word at C + B - A, where a word stands for the mean of its posterior.
What a word-vae knows of words is their letters, so expect letters to go along, not meanings.

Examples:
  textgen analogy walk walked jump
  textgen analogy anna annabel carol --decode beam:8")]
pub struct AnalogyArgs {
    /// The word that is to B
    #[arg(value_name = "A")]
    a: String,
    /// What A is to
    #[arg(value_name = "B")]
    b: String,
    /// The word whose counterpart is wanted
    #[arg(value_name = "C")]
    c: String,
    #[command(flatten)]
    walk: WalkFlags,
}

/// The JSON object.
#[derive(Serialize)]
struct Answer<'a> {
    a: &'a str,
    b: &'a str,
    c: &'a str,
    word: &'a str,
    log_prob_nats: f64,
}

/// Answers.
pub fn run(args: &AnalogyArgs, runs: &Runs) -> Result<()> {
    let (model, sampling) = args.walk.open(runs, false)?;
    let given = [
        model.given(&args.a)?,
        model.given(&args.b)?,
        model.given(&args.c)?,
    ];
    let places = model.places(&given)?;
    let z = analogy(&places[0], &places[1], &places[2]);
    let [a, b, c] = &given;
    for word in model.spell(&[z], args.walk.decode.decode, &sampling) {
        let answer = Answer {
            a: &a.text,
            b: &b.text,
            c: &c.text,
            word: &word.text,
            log_prob_nats: word.log_prob_nats,
        };
        args.walk
            .format
            .print(&["a", "b", "c", "word"], &[answer], |answer| {
                [answer.a, answer.b, answer.c, answer.word]
                    .map(str::to_owned)
                    .to_vec()
            })?;
    }
    Ok(())
}
