//! The posterior of one row in an evaluation.

use super::LOG_VAR_LIMIT;
use crate::kernels::Kernels;

/// The Gaussian over z, with a diagonal covariance, that the encoder finds for a word, or another thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Posterior {
    /// Means (Z).
    pub mean: Vec<f32>,
    /// Natural logarithms of the variances (Z), within ± [`LOG_VAR_LIMIT`].
    pub log_var: Vec<f32>,
}

impl Posterior {
    /// From what an encoder computes, μ and ln σ² (Z).
    pub fn new(mean: &[f32], log_var: &[f32]) -> Self {
        let clamped = |value: &f32| value.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT);
        Self {
            mean: mean.to_vec(),
            log_var: log_var.iter().map(clamped).collect(),
        }
    }

    /// KL(N(μ, σ²) ‖ N(0, 1)) of every dimension, in nats: ½(μ² + σ² − ln σ² − 1) (Kingma & Welling 2014,
    /// appendix B).
    pub fn rates(&self) -> impl Iterator<Item = f64> {
        let pairs = self.mean.iter().zip(&self.log_var);
        pairs.map(|(&mean, &log_var)| {
            let (mean, log_var) = (f64::from(mean), f64::from(log_var));
            0.5 * (mean * mean + log_var.exp() - log_var - 1.0)
        })
    }

    /// z = μ + σ·ε (Z). Rounded twice, as every evaluation so far was.
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        let mut deviation: Vec<f32> = self.log_var.iter().map(|v| 0.5 * v).collect();
        Kernels::new().exp(&mut deviation);
        let sample = self.mean.iter().zip(&deviation).zip(noise);
        sample
            .map(|((mean, deviation), noise)| mean + deviation * noise)
            .collect()
    }

    /// ln p(z) − ln q(z|x), summed over dimensions, for z = μ + σ·ε: ½(ε² + ln σ² − z²). With ln p(x|z) it is ln w.
    pub fn log_ratio(&self, noise: &[f32], z: &[f32]) -> f64 {
        let dimensions = noise.iter().zip(&self.log_var).zip(z);
        dimensions
            .map(|((&noise, &log_var), &z)| {
                let (noise, z) = (f64::from(noise), f64::from(z));
                0.5 * (noise * noise + f64::from(log_var) - z * z)
            })
            .sum()
    }
}

/// ln of the mean of the exponentials: of K numbers ln w it is one sample of the bound on ln p(x) with K samples.
pub fn log_mean_exp(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        return highest;
    }
    let total: f64 = values.iter().map(|value| (value - highest).exp()).sum();
    highest + (total / values.len() as f64).ln()
}
