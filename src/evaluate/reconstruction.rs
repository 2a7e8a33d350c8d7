//! What comes back from the mean of a word's posterior: the most probable letter at every step.

use super::words::check_words;
use super::{EvaluateError, Mean, Word, WordReading, in_groups};
use crate::config::Sampling;
use crate::generate::sampling::Sampler;
use crate::generate::{Beginning, LONGEST_WORD, Writer, lockstep};
use crate::models::word_vae::WordVae;
use crate::parallel::Running;

/// How well words come back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reconstruction {
    /// Share of the words that come back letter by letter.
    pub exact: f64,
    /// Letters to insert, delete or replace until a word is what came back (Levenshtein 1966).
    pub edit_distance: Mean,
    /// The same for each letter of the words.
    pub edits_per_letter: f64,
}

/// Decodes every word from its μ, greedily, and compares. The tokens `suppressed` are not written.
pub fn reconstruction(
    vae: &WordVae,
    words: &[Word],
    suppressed: &[u32],
    reading: WordReading,
    running: Running,
) -> Result<Reconstruction, EvaluateError> {
    check_words(vae, words, reading)?;
    let lengths: Vec<usize> = words.iter().map(|word| word.letters.len()).collect();
    let mut distances = in_groups(&[vae], &lengths, running.threads, |vae, group| {
        let letters: Vec<&[u32]> = group.iter().map(|&word| words[word].letters).collect();
        let z: Vec<Vec<f32>> = vae
            .encode_all(&letters)
            .into_iter()
            .map(|posterior| posterior.mean)
            .collect();
        let decoded = greedy(vae, &z, suppressed, reading);
        let pairs = letters.iter().zip(&decoded);
        (running.progress)(letters.iter().map(|word| word.len() as u64 + 1).sum());
        pairs
            .map(|(word, back)| edit_distance(word, back))
            .collect()
    });
    let distances: Vec<usize> = distances.pop().unwrap_or_default();
    let exact = distances.iter().filter(|&&distance| distance == 0).count();
    let edits: Vec<f64> = distances.iter().map(|&distance| distance as f64).collect();
    let letters: usize = lengths.iter().sum();
    Ok(Reconstruction {
        exact: exact as f64 / words.len().max(1) as f64,
        edit_distance: Mean::of(&edits),
        edits_per_letter: edits.iter().sum::<f64>() / letters.max(1) as f64,
    })
}

/// A word as it is decoded.
struct Decoding {
    index: usize,
    letters: Vec<u32>,
    sampler: Sampler,
    eos: u32,
}

impl Writer for Decoding {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        let token = self.sampler.draw(logits).token;
        if token == self.eos {
            return None;
        }
        self.letters.push(token);
        (self.letters.len() < LONGEST_WORD).then_some(token)
    }
}

/// The letters that each z stands for, the most probable at every step.
fn greedy(
    vae: &WordVae,
    z: &[Vec<f32>],
    suppressed: &[u32],
    reading: WordReading,
) -> Vec<Vec<u32>> {
    let config = Sampling {
        temperature: 0.0,
        ..Sampling::new(0)
    };
    let mut decoded = vec![Vec::new(); z.len()];
    let mut next = z.iter().enumerate();
    let begin = || {
        let (index, z) = next.next()?;
        Some(Beginning {
            writer: Decoding {
                index,
                letters: Vec::new(),
                sampler: Sampler::new(&config, suppressed, 0).without_log_prob(),
                eos: reading.eos,
            },
            state: vae.decoder(1, z),
            token: reading.bos,
        })
    };
    lockstep(vae, z.len(), begin, |done: Decoding| {
        decoded[done.index] = done.letters;
    });
    decoded
}

/// Levenshtein's distance.
pub(crate) fn edit_distance(a: &[u32], b: &[u32]) -> usize {
    // Distances of the beginnings of `b` from the beginning of `a` so far.
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
