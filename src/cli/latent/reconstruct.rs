//! `textgen reconstruct`: encodes words and decodes them again.

use crate::evaluate::reconstruction::edit_distance;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{AnswerFlags, GivenWords};
use crate::cli::output::note;

#[derive(Args)]
#[command(after_help = "\
Every word is encoded, and decoded from the mean of its posterior. EDITS is the number of letters
to insert, delete or change to get from the word to its reconstruction; 0 is exact. The number of
exact reconstructions is printed on stderr.

Examples:
  textgen reconstruct anna hannah
  textgen reconstruct --file words.txt --decode beam:8 --tsv")]
pub struct ReconstructArgs {
    #[command(flatten)]
    words: GivenWords,
    #[command(flatten)]
    answer: AnswerFlags,
}

#[derive(Serialize)]
struct Line {
    word: String,
    reconstruction: String,
    edits: usize,
    exact: bool,
    log_prob_nats: f64,
}

pub fn run(args: &ReconstructArgs, runs: &Runs) -> Result<()> {
    let (space, options) = args.answer.open(runs, |_| false)?;
    let format = &args.answer.format;
    let words = args.words.read(&space)?;
    let decoded = space.model().reconstruct(&words, &options)?;
    let lines: Vec<Line> = words
        .into_iter()
        .zip(decoded)
        .map(|(word, back)| {
            let edits = edit_distance(&word.tokens, &back.tokens);
            Line {
                word: word.text,
                reconstruction: back.text,
                edits,
                exact: edits == 0,
                log_prob_nats: back.log_prob,
            }
        })
        .collect();
    format.print(&["word", "reconstruction", "edits"], &lines, |line| {
        let edits = match line.edits {
            0 if format.is_table() => "exact".to_owned(),
            edits => edits.to_string(),
        };
        vec![line.word.clone(), line.reconstruction.clone(), edits]
    })?;
    let exact = lines.iter().filter(|line| line.exact).count();
    let edits: usize = lines.iter().map(|line| line.edits).sum();
    let per_word = |n: usize| n as f64 / lines.len() as f64;
    note!(
        "{exact} of {} exact ({:.1} %), {:.2} edits per word",
        lines.len(),
        100.0 * per_word(exact),
        per_word(edits)
    );
    Ok(())
}
