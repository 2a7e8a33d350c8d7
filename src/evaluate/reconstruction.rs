//! Reconstruction of words from their posterior mean, with the most probable letter at every step.

use serde::Serialize;

use super::latent::posteriors;
use super::words::check_words;
use super::{EvaluateError, Mean, Word, WordReading};
use crate::config::{Decoding, Sampling};
use crate::generate::WordForm;
use crate::latent::WordDecoder;
use crate::models::word_vae::WordVae;
use crate::parallel::Running;

/// How well words are reconstructed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reconstruction {
    /// The fraction of words that are reconstructed exactly, in 0…1.
    pub reconstruction_exact: f64,
    /// The mean edit distance between a word and its reconstruction (Levenshtein 1966).
    pub edit_distance: f64,
    pub edit_distance_standard_error: f64,
    /// The edit distance per letter of the words.
    pub edits_per_letter: f64,
}

/// Decodes every word from its μ, greedily, and compares. The tokens `suppressed` are never written.
pub fn reconstruction(
    vae: &WordVae,
    words: &[Word],
    suppressed: &[u32],
    reading: WordReading,
    running: Running,
) -> Result<Reconstruction, EvaluateError> {
    check_words(vae, words, reading)?;
    let posteriors = posteriors(vae, words, running.threads);
    let means: Vec<Vec<f32>> = posteriors.into_iter().map(|p| p.mean).collect();
    let decoder = WordDecoder {
        vae,
        bos: reading.bos,
        eos: reading.eos,
        suppressed,
        form: WordForm::default(),
    };
    let quietly = Running {
        progress: &|_| (),
        ..running
    };
    let decoded = decoder.words(&means, Decoding::Greedy, &Sampling::new(0), quietly);
    (running.progress)(words.iter().map(Word::tokens).sum());
    let pairs = words.iter().zip(&decoded);
    let distances: Vec<usize> = pairs
        .map(|(word, back)| edit_distance(word.letters, &back.letters))
        .collect();
    let exact = distances.iter().filter(|&&distance| distance == 0).count();
    let edits: Vec<f64> = distances.iter().map(|&distance| distance as f64).collect();
    let letters: usize = words.iter().map(|word| word.letters.len()).sum();
    let mean = Mean::of(&edits);
    Ok(Reconstruction {
        reconstruction_exact: exact as f64 / words.len().max(1) as f64,
        edit_distance: mean.mean,
        edit_distance_standard_error: mean.standard_error,
        edits_per_letter: edits.iter().sum::<f64>() / letters.max(1) as f64,
    })
}

/// Letters to insert, delete or replace until `a` is `b` (Levenshtein 1966).
pub(crate) fn edit_distance(a: &[u32], b: &[u32]) -> usize {
    // Distances of the prefixes of `b` from the prefix of `a` so far.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edit_distance_counts_what_must_be_changed() {
        let distance = |a: &str, b: &str| {
            let letters = |text: &str| text.chars().map(u32::from).collect::<Vec<_>>();
            edit_distance(&letters(a), &letters(b))
        };
        for (a, b, want) in [
            ("", "", 0),
            ("", "abc", 3),
            ("anna", "anna", 0),
            ("kitten", "sitting", 3),
            ("abcd", "bcda", 2),
            ("intention", "execution", 5),
        ] {
            assert_eq!(distance(a, b), want, "{a} {b}");
            assert_eq!(distance(b, a), want, "{b} {a}");
        }
    }
}
