//! ln p(word) of a word-vae by importance sampling (Burda, Grosse & Salakhutdinov 2016, equation 8):
//! with k samples z_s from q(z|x), ln p̂(x) = logsumexp_s[ln p(x|z_s) + ln p(z_s) − ln q(z_s|x)] − ln k.
//!
//! p̂ is unbiased, so −ln p̂ bounds the cost from above on average: at k = 1 it is one sample of
//! −ELBO, and it falls towards −ln p(x) as k grows. Each k uses the first k of the same samples.

use super::words::{Noise, by_group, check_words, distortions};
use super::{EvaluateError, MOST_ROWS, Word, WordReading};
use crate::models::variational::log_mean_exp;
use crate::models::word_vae::WordVae;
use crate::parallel::Running;

/// −ln p̂ in nats of every word for every k of `samples`: by word, then in the order of the k. Without
/// z it is exact, and the same for every k.
///
/// # Panics
/// If a k is 0, or the model cannot read `bos`.
pub fn importance(
    vae: &WordVae,
    words: &[Word],
    samples: &[usize],
    reading: WordReading,
    running: Running,
) -> Result<Vec<Vec<f64>>, EvaluateError> {
    check_words(vae, words, reading)?;
    let most = match vae.latent() {
        0 => 1,
        _ => samples.iter().copied().max().unwrap_or(0),
    };
    Ok(by_group(words, running.threads, |group, _| {
        let group: Vec<Word> = group.iter().map(|&word| words[word]).collect();
        let weights = log_weights(vae, &group, most, reading, running.progress);
        let cost = |weights: Vec<f64>| {
            let cost = |&k: &usize| -log_mean_exp(&weights[..k.min(most)]);
            samples.iter().map(cost).collect()
        };
        weights.into_iter().map(cost).collect()
    }))
}

/// ln w = ln p(x|z) + ln p(z) − ln q(z|x) of `samples` samples per word.
fn log_weights(
    vae: &WordVae,
    words: &[Word],
    samples: usize,
    reading: WordReading,
    progress: &dyn Fn(u64),
) -> Vec<Vec<f64>> {
    let latent = vae.latent();
    let letters: Vec<&[u32]> = words.iter().map(|word| word.letters).collect();
    let posteriors = vae.encode_all(&letters);
    let mut noises: Vec<Noise> = words
        .iter()
        .map(|word| Noise::of(word, reading.seed))
        .collect();
    let mut weights = vec![Vec::with_capacity(samples); words.len()];
    // A row is one sample for a word; the rows of a word are adjacent.
    let all = words.len() * samples;
    for first in (0..all).step_by(MOST_ROWS) {
        let rows: Vec<usize> = (first..all.min(first + MOST_ROWS))
            .map(|row| row / samples)
            .collect();
        let mut z = Vec::with_capacity(rows.len() * latent);
        let mut ratios = Vec::with_capacity(rows.len());
        for &word in &rows {
            let noise = noises[word].vector(latent);
            let sample = posteriors[word].sample(&noise);
            ratios.push(posteriors[word].log_ratio(&noise, &sample));
            z.extend(sample);
        }
        let letters: Vec<&[u32]> = rows.iter().map(|&word| words[word].letters).collect();
        let nats = distortions(vae, &letters, &z, reading, progress);
        for ((&word, nats), ratio) in rows.iter().zip(nats).zip(ratios) {
            weights[word].push(ratio - nats);
        }
    }
    weights
}
