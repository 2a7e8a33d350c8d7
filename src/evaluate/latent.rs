//! What the latent variable of a word-vae carries.
//!
//! R, the mean divergence of the posteriors from the prior, is a sum of two parts (Hoffman & Johnson
//! 2016): E\[R\] = I_q + KL(q(z) ‖ p(z)). I_q is the information of z about the word, at most ln N for N words;
//! the rest is the divergence of the aggregate posterior q(z) from the prior that words are sampled from.

use serde::Serialize;

use super::words::{Noise, by_group, check_words, distortions};
use super::{EvaluateError, Mean, Word, WordReading};
use crate::models::variational::{Posterior, log_mean_exp};
use crate::models::word_vae::WordVae;
use crate::parallel::{self, Running};

/// A dimension is active if the variance of its mean over words is above this (Burda, Grosse &
/// Salakhutdinov 2016, section 5).
pub const ACTIVE_VARIANCE: f64 = 0.01;
/// The most words that the information is measured on: the cost grows with their square.
pub const MOST_FOR_INFORMATION: usize = 5000;

/// What z carries. The parts of R are measured with one sample of z per word.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatentReport {
    /// Dimensions whose mean varies with the word: Var_x(μ_j(x)) above [`ACTIVE_VARIANCE`].
    pub active_units: usize,
    /// Mean over words of each dimension's KL(q(z_j|x) ‖ p(z_j)).
    pub rate_nats_per_dimension: Vec<f64>,
    /// R in nats, the sum over dimensions.
    pub rate_nats: f64,
    /// I_q = mean_i\[ln q(z_i|x_i) − (logsumexp_k ln q(z_i|x_k) − ln N)\].
    pub information_nats: f64,
    pub information_standard_error: f64,
    /// ln N, which I_q cannot exceed.
    pub information_ceiling_nats: f64,
    /// The number of words that the information is measured on, N.
    pub information_words: usize,
    /// KL(q(z) ‖ p(z)) = mean_i\[logsumexp_k ln q(z_i|x_k) − ln N − ln p(z_i)\].
    pub marginal_kl_nats: f64,
    pub marginal_kl_standard_error: f64,
    /// How much more reconstruction costs with another word's z: −ln p(x|z') + ln p(x|z).
    pub shuffle_gap_nats: f64,
    pub shuffle_gap_standard_error: f64,
}

/// Measures what z carries about `words`; `None` if there is no z, or no word.
pub fn latent(
    vae: &WordVae,
    words: &[Word],
    reading: WordReading,
    running: Running,
) -> Result<Option<LatentReport>, EvaluateError> {
    check_words(vae, words, reading)?;
    if vae.latent() == 0 || words.is_empty() {
        return Ok(None);
    }
    let posteriors = posteriors(vae, words, running.threads);
    let z: Vec<Vec<f32>> = words
        .iter()
        .zip(&posteriors)
        .map(|(word, posterior)| {
            let noise = Noise::of(word, reading.seed).vector(vae.latent());
            posterior.sample(&noise)
        })
        .collect();
    let own = with_z(vae, words, |word| &z[word], reading, running);
    // Words are in random order, so the next one is a random other word.
    let next = |word: usize| &z[(word + 1) % z.len()];
    let others = with_z(vae, words, next, reading, running);
    let gaps = others.iter().zip(&own).map(|(other, own)| other - own);
    let gaps: Vec<f64> = gaps.collect();
    let most = words.len().min(MOST_FOR_INFORMATION);
    let gap = Mean::of(&gaps);
    let [information, marginal] = information(&posteriors[..most], &z[..most], running.threads);
    let rates = mean_rates(&posteriors, vae.latent());
    Ok(Some(LatentReport {
        active_units: active_units(&posteriors, vae.latent()),
        rate_nats: rates.iter().sum(),
        rate_nats_per_dimension: rates,
        information_nats: information.mean,
        information_standard_error: information.standard_error,
        information_ceiling_nats: (most as f64).ln(),
        information_words: most,
        marginal_kl_nats: marginal.mean,
        marginal_kl_standard_error: marginal.standard_error,
        shuffle_gap_nats: gap.mean,
        shuffle_gap_standard_error: gap.standard_error,
    }))
}

/// The posteriors of words.
pub fn posteriors(vae: &WordVae, words: &[Word], threads: usize) -> Vec<Posterior> {
    by_group(words, threads, |_, letters| vae.encode_all(letters))
}

/// −ln p(word | z) in nats of every word, with the z that `z` assigns to it.
fn with_z<'a>(
    vae: &WordVae,
    words: &[Word],
    z: impl Fn(usize) -> &'a Vec<f32> + Sync,
    reading: WordReading,
    running: Running,
) -> Vec<f64> {
    by_group(words, running.threads, |group, letters| {
        let z: Vec<f32> = group.iter().flat_map(|&word| z(word)).copied().collect();
        distortions(vae, letters, &z, reading, running.progress)
    })
}

fn mean_rates(posteriors: &[Posterior], latent: usize) -> Vec<f64> {
    let mut means = vec![0.0; latent];
    for posterior in posteriors {
        for (mean, rate) in means.iter_mut().zip(posterior.rates()) {
            *mean += rate / posteriors.len() as f64;
        }
    }
    means
}

fn active_units(posteriors: &[Posterior], latent: usize) -> usize {
    let variance = |dimension: usize| {
        let means = || posteriors.iter().map(|p| f64::from(p.mean[dimension]));
        let mean = means().sum::<f64>() / posteriors.len() as f64;
        means().map(|m| (m - mean).powi(2)).sum::<f64>() / posteriors.len() as f64
    };
    let active = |&dimension: &usize| variance(dimension) > ACTIVE_VARIANCE;
    (0..latent).filter(active).count()
}

/// Both parts of R, I_q and KL(q(z) ‖ p(z)), from one sample of z per word.
fn information(posteriors: &[Posterior], z: &[Vec<f32>], threads: usize) -> [Mean; 2] {
    let all = Densities::new(posteriors);
    let parts = parallel::map(z.len(), threads, |word| {
        let own = all.log_densities(&z[word]);
        let marginal = log_mean_exp(&own);
        let prior: f64 = z[word]
            .iter()
            .map(|&z| -0.5 * (f64::from(z).powi(2) + std::f64::consts::TAU.ln()))
            .sum();
        (own[word] - marginal, marginal - prior)
    });
    let (information, marginal): (Vec<f64>, Vec<f64>) = parts.into_iter().unzip();
    [Mean::of(&information), Mean::of(&marginal)]
}

/// The posteriors of N words by dimension, so that the inner loop runs over words.
struct Densities {
    words: usize,
    /// Means (Z, N).
    means: Vec<f64>,
    /// 1 / σ² (Z, N).
    precisions: Vec<f64>,
    /// −½ Σ (ln σ² + ln 2π) (N).
    offsets: Vec<f64>,
}

impl Densities {
    fn new(posteriors: &[Posterior]) -> Self {
        let latent = posteriors.first().map_or(0, |p| p.mean.len());
        let by_dimension = |value: &dyn Fn(&Posterior, usize) -> f64| -> Vec<f64> {
            (0..latent)
                .flat_map(|dimension| posteriors.iter().map(move |p| value(p, dimension)))
                .collect()
        };
        let offset = |p: &Posterior| {
            let log_vars = p.log_var.iter().map(|&v| f64::from(v));
            -0.5 * log_vars
                .map(|v| v + std::f64::consts::TAU.ln())
                .sum::<f64>()
        };
        Self {
            words: posteriors.len(),
            means: by_dimension(&|p, dimension| f64::from(p.mean[dimension])),
            precisions: by_dimension(&|p, dimension| (-f64::from(p.log_var[dimension])).exp()),
            offsets: posteriors.iter().map(offset).collect(),
        }
    }

    /// ln q(z|x_k) of every word k (N).
    fn log_densities(&self, z: &[f32]) -> Vec<f64> {
        let mut densities = self.offsets.clone();
        let rows = self.means.chunks_exact(self.words);
        let rows = rows.zip(self.precisions.chunks_exact(self.words));
        for (&z, (means, precisions)) in z.iter().zip(rows) {
            let z = f64::from(z);
            for ((density, mean), precision) in densities.iter_mut().zip(means).zip(precisions) {
                *density -= 0.5 * precision * (z - mean) * (z - mean);
            }
        }
        densities
    }
}
