//! The variational part of an autoencoder, whatever it encodes (Kingma & Welling 2014): an encoder finds a Gaussian
//! q(z|x) = N(μ, σ²) with a diagonal covariance for every row x of a batch, and a decoder computes p(x|z).
//!
//! ```text
//! z = μ + σ·ε, ε ~ N(0, I)                                           section 2.4
//! D = −ln p(x|z)
//! R_j = KL(N(μ_j, σ_j²) ‖ N(0, 1)) = ½(μ_j² + σ_j² − ln σ_j² − 1)    appendix B
//! w = p(x|z) p(z) / q(z|x)
//! ln p(x) ≥ E[ln w]                                                  estimator A, equation 6
//! ln p(x) ≥ −E[D] − R                                                estimator B, equation 7
//! ln p(x) ≥ E[ln (w_1 + … + w_K)/K]      Burda, Grosse & Salakhutdinov 2016, equation 8
//! objective = (1/B) Σ D + β Σ_j max(λ, (1/B) Σ R_j)                  over the B rows
//! ```
//!
//! Training uses estimator B, with free bits λ (Kingma et al. 2016) and a weight β (Higgins et al. 2017), which
//! [`RateController`] can move to hold the rate. The formulas of a training are on batches in f32 ([`Gaussians`]),
//! those of an evaluation on one row in f64 ([`Posterior`]).

mod objective;
mod posterior;
mod rate;
#[cfg(test)]
mod tests;

pub use objective::Objective;
pub use posterior::{Posterior, log_mean_exp};
pub use rate::RateController;

use crate::kernels::Kernels;

/// The posterior's log variance is clamped to ± this.
pub const LOG_VAR_LIMIT: f32 = 10.0;

/// The posteriors of the B rows of a batch in training, each array (B, Z).
#[derive(Clone, Copy, Debug)]
pub struct Gaussians<'a> {
    /// μ.
    pub mean: &'a [f32],
    /// ln σ², which counts as no further from zero than [`LOG_VAR_LIMIT`].
    pub log_var: &'a [f32],
    /// σ, as [`deviations`] computes it.
    pub std: &'a [f32],
}

/// σ from ln σ² (B, Z).
pub fn deviations(kernels: Kernels, log_var: &[f32], std: &mut [f32]) {
    for (std, &log_var) in std.iter_mut().zip(log_var) {
        *std = 0.5 * clamped(log_var);
    }
    kernels.exp(std);
}

impl Gaussians<'_> {
    /// L samples z of every row (L, B, Z), given as many ε.
    pub fn sample(&self, noise: &[f32], z: &mut [f32]) {
        let rows = self.mean.iter().zip(self.std).cycle();
        for ((z, &noise), (&mean, &std)) in z.iter_mut().zip(noise).zip(rows) {
            *z = std.mul_add(noise, mean);
        }
    }

    /// R_j of every row (B, Z), in nats.
    pub fn rates(&self, rates: &mut [f32]) {
        let rows = self.mean.iter().zip(self.std).zip(self.log_var);
        for (rate, ((&mean, &std), &log_var)) in rates.iter_mut().zip(rows) {
            let squares = mean.mul_add(mean, std * std);
            *rate = 0.5 * (squares - clamped(log_var) - 1.0);
        }
    }

    /// The gradients of μ and ln σ² (B, Z): those of D, given its gradients for the L samples `d_z` (L, B, Z) that
    /// `noise` made, and those of the rates in the objective.
    pub fn backward(
        &self,
        objective: &Objective,
        noise: &[f32],
        d_z: &[f32],
        d_mean: &mut [f32],
        d_log_var: &mut [f32],
    ) {
        let size = self.mean.len();
        for (at, (d_mean, d_log_var)) in d_mean.iter_mut().zip(d_log_var).enumerate() {
            let d_rate = objective.d_rate(at);
            let samples = (at..d_z.len()).step_by(size);
            let of_samples = samples.map(|at| (d_z[at], d_z[at] * noise[at]));
            let sum = of_samples.reduce(|a, b| (a.0 + b.0, a.1 + b.1));
            let (d_z, d_std) = sum.unwrap_or_default();
            let (mean, log_var, std) = (self.mean[at], self.log_var[at], self.std[at]);
            *d_mean = d_rate.mul_add(mean, d_z);
            // Beyond its bounds the log-variance is constant.
            *d_log_var = if clamped(log_var) == log_var {
                let of_rate = d_rate * (0.5 * std.mul_add(std, -1.0));
                d_std.mul_add(0.5 * std, of_rate)
            } else {
                0.0
            };
        }
    }
}

/// A log-variance within its bounds.
const fn clamped(log_var: f32) -> f32 {
    log_var.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT)
}
