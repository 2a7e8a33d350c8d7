//! Fills the blanks of a text: some tokens are given, the model chooses the others.
//!
//! The text after a blank must count too, or `q_t` would be filled like `q_`. The best filling has the
//! highest joint probability of blanks and given tokens, and is found by beam search: every prefix
//! pays for the given tokens it reaches. A sampled filling comes from a particle filter (sequential
//! importance resampling, Gordon, Salmond & Smith 1993): many fillings are sampled in parallel, a given
//! token weights each by its probability after that filling, and when the weight is concentrated in
//! few of them, all are resampled. One of them is then sampled by weight. As the number of particles
//! grows, its distribution approaches the model's own distribution of the blanks given the text around
//! them.

use crate::generate::beam::{Beam, Found, Goal};
use crate::generate::sampling::Sampler;
use crate::models::char_rnn::CharRnn;
use crate::models::{Network, RowState};

/// The number of particles per sampled filling.
pub const PARTICLES: usize = 256;

/// A text with blanks that follows another text.
#[derive(Clone, Copy, Debug)]
pub struct Blanks<'a> {
    pub model: &'a CharRnn,
    /// The network's state after the preceding text: one row.
    pub start: &'a RowState,
    /// The given tokens; `None` is a blank of one token.
    pub tokens: &'a [Option<u32>],
    /// Tokens that are never used for a blank.
    pub suppressed: &'a [u32],
}

impl Goal for &[Option<u32>] {
    type Trail = ();

    fn longest(&self) -> usize {
        self.len()
    }

    fn allows(&self, tokens: &[u32], (): &(), token: u32) -> bool {
        self[tokens.len()].is_none_or(|given| given == token)
    }

    fn follow(&self, tokens: &[u32], (): &()) -> Option<()> {
        (tokens.len() < self.len()).then_some(())
    }

    fn by_mean(&self) -> bool {
        false
    }
}

/// A particle: one of the fillings sampled in parallel.
#[derive(Clone, Debug, Default)]
struct Particle {
    text: Found,
    /// ln of its weight, up to a constant that all share.
    log_weight: f64,
}

impl Blanks<'_> {
    /// The best `wanted` fillings that a beam of `width` finds, the best first.
    pub fn best(&self, width: usize, wanted: usize) -> Vec<Found> {
        let beam = Beam {
            width,
            wanted,
            suppressed: self.suppressed,
        };
        let state = self.start.clone();
        beam.search(self.model, state, &self.tokens, (), |_| ())
    }

    /// A filling that `sampler` samples with this many `particles`. Its temperature applies to given
    /// tokens and blanks, its other limits only to blanks.
    pub fn sample(&self, particles: usize, mut sampler: Sampler) -> Found {
        let mut all = vec![Particle::default(); particles];
        let mut state = self.start.select(&vec![0; particles]);
        for (at, place) in self.tokens.iter().enumerate() {
            let mut tokens = Vec::with_capacity(particles);
            for (row, particle) in all.iter_mut().enumerate() {
                let logits = state.logits(row);
                let sampled = match *place {
                    None => sampler.sample(logits),
                    Some(given) => {
                        particle.log_weight += sampler.log_weight(logits, given);
                        sampler.given(logits, given)
                    }
                };
                particle.text.tokens.push(sampled.token);
                particle.text.log_prob += f64::from(sampled.log_prob);
                tokens.push(sampled.token);
            }
            if at + 1 < self.tokens.len() {
                self.model.step(&mut state, &tokens);
                if place.is_some() && effective(&weights(&all)) < particles as f64 / 2.0 {
                    let rows = resample(&weights(&all), sampler.uniform());
                    state = state.select(&rows);
                    all = rows.iter().map(|&row| all[row].clone()).collect();
                    for particle in &mut all {
                        particle.log_weight = 0.0;
                    }
                }
            }
        }
        let chosen = first_above(&weights(&all), sampler.uniform());
        all.swap_remove(chosen).text
    }
}

/// The weights of particles, which sum to 1; equal if none is a number.
fn weights(particles: &[Particle]) -> Vec<f64> {
    let logs = || particles.iter().map(|particle| particle.log_weight);
    let highest = logs().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs().map(|log| (log - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    if total.is_finite() && total > 0.0 {
        weights.into_iter().map(|weight| weight / total).collect()
    } else {
        vec![1.0 / particles.len() as f64; particles.len()]
    }
}

/// The effective number of particles: 1 / Σ w² (Kong, Liu & Wong 1994).
fn effective(weights: &[f64]) -> f64 {
    1.0 / weights.iter().map(|weight| weight * weight).sum::<f64>()
}

/// Systematic resampling (Kitagawa 1996): as many indices as weights, each in proportion to its weight
/// to within one, taken at (k + u) / n of the cumulative weights.
fn resample(weights: &[f64], u: f64) -> Vec<usize> {
    let n = weights.len();
    let (mut index, mut sum) = (0, weights[0]);
    (0..n)
        .map(|k| {
            let mark = (k as f64 + u) / n as f64;
            while sum <= mark && index + 1 < n {
                index += 1;
                sum += weights[index];
            }
            index
        })
        .collect()
}

/// The first index at which the sum of weights passes u.
fn first_above(weights: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let passed = weights.iter().position(|weight| {
        sum += weight;
        sum > u
    });
    passed.unwrap_or(weights.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sampling;
    use crate::generate::beam::tests::{network, start};
    use crate::generate::sampling::log_prob;

    /// The last of the 4 tokens is suppressed.
    const FORBIDDEN: [u32; 1] = [3];
    const PLACES: [Option<u32>; 6] = [None, Some(2), None, None, Some(0), Some(1)];

    /// Every filling with its log_prob at a temperature.
    fn enumerate(blanks: &Blanks, temperature: f32) -> Vec<Found> {
        let mut all = Vec::new();
        let mut open = vec![(blanks.start.clone(), Found::default())];
        while let Some((state, text)) = open.pop() {
            let Some(place) = blanks.tokens.get(text.tokens.len()) else {
                all.push(text);
                continue;
            };
            let mut logits: Vec<f32> = state.logits(0).iter().map(|x| x / temperature).collect();
            logits[3] = f32::NEG_INFINITY;
            for token in 0..3 {
                if place.is_some_and(|given| given != token) {
                    continue;
                }
                let mut text = text.clone();
                text.tokens.push(token);
                text.log_prob += log_prob(&logits, token);
                let mut state = state.clone();
                blanks.model.step(&mut state, &[token]);
                open.push((state, text));
            }
        }
        all.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
        all
    }

    #[test]
    fn the_best_fillings_are_those_of_the_highest_joint_probability() {
        let mut behind = 0;
        for seed in 0..8 {
            let model = network(seed);
            let start = start(&model);
            let blanks = Blanks {
                model: &model,
                start: &start,
                tokens: &PLACES,
                suppressed: &FORBIDDEN,
            };
            let want = enumerate(&blanks, 1.0);
            assert_eq!(want.len(), 27);
            let found = blanks.best(27, 27);
            assert_eq!(found.len(), 27);
            for (found, want) in found.iter().zip(&want) {
                assert_eq!(found.tokens, want.tokens);
                assert!((found.log_prob - want.log_prob).abs() < 1e-9);
            }
            // If only the text before a blank counted, the first would often be another.
            let first = |blanks: &Blanks| blanks.best(27, 1)[0].tokens[0];
            let alone = Blanks {
                tokens: &PLACES[..1],
                ..blanks
            };
            behind += usize::from(first(&blanks) != first(&alone));
        }
        assert!(behind > 0, "what follows a hole never counts here");
    }

    #[test]
    fn sampled_fillings_follow_the_models_distribution_given_all_around() {
        for (seed, temperature) in [(0, 1.0), (1, 1.0), (2, 0.6)] {
            let model = network(seed);
            let start = start(&model);
            let blanks = Blanks {
                model: &model,
                start: &start,
                tokens: &PLACES,
                suppressed: &FORBIDDEN,
            };
            let want = enumerate(&blanks, temperature);
            let total: f64 = want.iter().map(|text| text.log_prob.exp()).sum();
            let own = enumerate(&blanks, 1.0);
            let config = Sampling {
                temperature,
                ..Sampling::new(5)
            };
            let samples = 4000;
            let mut counts = vec![0_u32; want.len()];
            for index in 0..samples {
                let sampled = blanks.sample(64, Sampler::new(&config, &FORBIDDEN, index));
                let same = |text: &Found| text.tokens == sampled.tokens;
                counts[want.iter().position(same).expect("a filling")] += 1;
                let own = own.iter().find(|text| same(text)).expect("a filling");
                assert!((own.log_prob - sampled.log_prob).abs() < 1e-4);
            }
            // Half the sum of the differences; sampling noise alone is about √(27 / 4000) / 2 = 0.04 of it.
            let distance: f64 = want
                .iter()
                .zip(&counts)
                .map(|(text, &count)| {
                    let p = text.log_prob.exp() / total;
                    (f64::from(count) / samples as f64 - p).abs() / 2.0
                })
                .sum();
            assert!(distance < 0.06, "{distance}");
        }
    }

    #[test]
    fn one_seed_and_index_give_the_same_filling() {
        let model = network(3);
        let start = start(&model);
        let blanks = Blanks {
            model: &model,
            start: &start,
            tokens: &PLACES,
            suppressed: &FORBIDDEN,
        };
        let sample = |index| {
            let config = Sampling::new(9);
            blanks.sample(PARTICLES, Sampler::new(&config, &FORBIDDEN, index))
        };
        let all: Vec<Found> = (0..30).map(sample).collect();
        assert_eq!(all, (0..30).map(sample).collect::<Vec<_>>());
        assert!(all.iter().any(|text| text.tokens != all[0].tokens));
    }

    #[test]
    fn resampling_takes_each_as_often_as_its_weight_says() {
        assert_eq!(resample(&[0.5, 0.0, 0.25, 0.25], 0.5), [0, 0, 2, 3]);
        assert_eq!(resample(&[0.0, 0.0, 1.0], 0.999), [2, 2, 2]);
        assert!((effective(&[0.25; 4]) - 4.0).abs() < 1e-12);
        assert!((effective(&[0.0, 1.0]) - 1.0).abs() < 1e-12);
        let particle = |log_weight| Particle {
            log_weight,
            ..Particle::default()
        };
        let equal = weights(&[f64::NAN, f64::NEG_INFINITY].map(particle));
        assert_eq!(equal, [0.5, 0.5]);
        let relative = weights(&[-1000.0, -1000.0 + 3.0_f64.ln()].map(particle));
        assert!((relative[1] - 0.75).abs() < 1e-12);
        assert_eq!(
            [0.0, 0.24, 0.26, 0.99].map(|u| first_above(&relative, u)),
            [0, 0, 1, 1]
        );
    }
}
