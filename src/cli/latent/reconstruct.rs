//! `textgen reconstruct`: what the model reads back of a word.

use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{GivenWords, WalkFlags};
use crate::cli::output::note;

/// Flags of `reconstruct`.
#[derive(Args)]
#[command(after_help = "\
Every word goes to the mean of its posterior and back. EDITS counts the letters to insert, drop
or change that lead from the word to what came back; 0 is exact. The share that came back
exactly is said on stderr.

Examples:
  textgen reconstruct anna hannah
  textgen reconstruct --file words.txt --decode beam:8 --tsv")]
pub struct ReconstructArgs {
    #[command(flatten)]
    words: GivenWords,
    #[command(flatten)]
    walk: WalkFlags,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line {
    word: String,
    reconstruction: String,
    edits: usize,
    exact: bool,
    log_prob_nats: f64,
}

/// Encodes and decodes the words given.
pub fn run(args: &ReconstructArgs, runs: &Runs) -> Result<()> {
    let (model, sampling) = args.walk.open(runs, false)?;
    let words = args.words.read(&model)?;
    let spelt = model.spell(&model.places(&words)?, args.walk.decode.decode, &sampling);
    let lines: Vec<Line> = words
        .into_iter()
        .zip(spelt)
        .map(|(word, back)| {
            let edits = edits(&word.letters, &back.letters);
            Line {
                word: word.text,
                reconstruction: back.text,
                edits,
                exact: edits == 0,
                log_prob_nats: back.log_prob_nats,
            }
        })
        .collect();
    let header = ["word", "reconstruction", "edits"];
    args.walk.format.print(&header, &lines, |line| {
        let edits = match line.edits {
            0 if args.walk.format.is_table() => "exact".to_owned(),
            edits => edits.to_string(),
        };
        vec![line.word.clone(), line.reconstruction.clone(), edits]
    })?;
    let exact = lines.iter().filter(|line| line.exact).count();
    let edits: usize = lines.iter().map(|line| line.edits).sum();
    let share = |n: usize| n as f64 / lines.len() as f64;
    note!(
        "{exact} of {} exact ({:.1} %), {:.2} edits a word",
        lines.len(),
        100.0 * share(exact),
        share(edits)
    );
    Ok(())
}

/// The fewest insertions, deletions and substitutions that lead from one word to another
/// (Levenshtein 1966; the row by row form of Wagner & Fischer 1974).
fn edits(from: &[u32], to: &[u32]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_those_of_the_textbook() {
        let letters = |word: &str| word.chars().map(u32::from).collect::<Vec<_>>();
        for (from, to, want) in [
            ("kitten", "sitting", 3),
            ("sunday", "saturday", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ab", "ba", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(edits(&letters(from), &letters(to)), want, "{from} {to}");
        }
    }
}
