//! Checks the formulas against sampling, against finite differences, and on a model whose likelihood is known.

use super::*;
use crate::models::noise::{Noise, Use};
use crate::testing::Numbers;

const SAMPLES: u64 = 200_000;

/// ε of sample `sample` (Z).
fn noise(sample: u64, latent: u64) -> Vec<f32> {
    let noise = Noise::new(1, Use::Latent, 0);
    let numbers = sample * latent..(sample + 1) * latent;
    numbers.map(|at| noise.normal(at)).collect()
}

fn mean_and_variance(values: &[f64]) -> [f64; 2] {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|x| (x - mean).powi(2));
    [mean, squares.sum::<f64>() / count]
}

#[test]
fn the_closed_form_divergence_is_the_monte_carlo_mean() {
    for (mean, log_var) in [(0.0, 0.0), (1.5, -2.0), (-0.7, 0.9), (3.0, -6.0)] {
        let posterior = Posterior::new(&[mean], &[log_var]);
        let log_ratio = |sample: u64| {
            let noise = noise(sample, 1);
            posterior.log_ratio(&noise, &posterior.sample(&noise))
        };
        let ratios: Vec<f64> = (0..SAMPLES).map(log_ratio).collect();
        let [found, variance] = mean_and_variance(&ratios);
        let closed: f64 = posterior.rates().sum();
        let error = 5.0 * (variance / SAMPLES as f64).sqrt() + 1e-5;
        assert!((found + closed).abs() < error, "{found} {closed} {error}");
    }
}

/// B = 3 posteriors with Z = 2, one of which is beyond the bounds of ln σ².
const MEAN: [f32; 6] = [0.3, -1.2, 2.0, 0.1, -0.4, 0.9];
const LOG_VAR: [f32; 6] = [-1.0, 0.5, -3.0, -12.0, 0.2, -0.1];

fn stds() -> [f32; 6] {
    let mut std = [0.0; 6];
    deviations(Kernels::new(), &LOG_VAR, &mut std);
    std
}

const fn batch(std: &[f32]) -> Gaussians<'_> {
    Gaussians {
        mean: &MEAN,
        log_var: &LOG_VAR,
        std,
    }
}

#[test]
fn a_batch_has_the_samples_and_rates_of_its_rows() {
    let std = stds();
    let batch = batch(&std);
    let noise = Numbers::new(1).vector(4 * 6, 2.0);
    let (mut z, mut rates) = (vec![0.0; noise.len()], [0.0; 6]);
    batch.sample(&noise, &mut z);
    batch.rates(&mut rates);
    for row in 0..3 {
        let own = 2 * row..2 * row + 2;
        let posterior = Posterior::new(&MEAN[own.clone()], &LOG_VAR[own.clone()]);
        for (found, want) in rates[own.clone()].iter().zip(posterior.rates()) {
            assert!((f64::from(*found) - want).abs() < 1e-5 * want.max(1.0));
        }
        for (noise, z) in noise.chunks_exact(6).zip(z.chunks_exact(6)) {
            let want = posterior.sample(&noise[own.clone()]);
            for (found, want) in z[own.clone()].iter().zip(want) {
                assert!((found - want).abs() <= 1e-6 * want.abs().max(1.0));
            }
        }
    }
}

/// The objective with D = Σ (a z² + c z) / L over all numbers, and the gradients of that D.
#[test]
fn the_gradients_are_those_of_finite_differences() {
    for (samples, kl_weight, free_bits) in [(1, 1.0, 0.0), (3, 0.7, 0.0), (4, 2.0, 0.9)] {
        let mut numbers = Numbers::new(samples);
        let samples = samples as usize;
        let noise = numbers.vector(samples * 6, 2.0);
        let (a, c) = (numbers.vector(6, 1.0), numbers.vector(6, 1.0));
        let wide = |x: f32| f64::from(x);
        let loss = |mean: &[f64], log_var: &[f64]| -> f64 {
            let limit = wide(LOG_VAR_LIMIT);
            let log_var: Vec<f64> = log_var.iter().map(|v| v.clamp(-limit, limit)).collect();
            let distortion: f64 = (0..noise.len())
                .map(|at| {
                    let own = at % 6;
                    let z = mean[own] + (0.5 * log_var[own]).exp() * wide(noise[at]);
                    (wide(a[own]) * z * z + wide(c[own]) * z) / samples as f64
                })
                .sum();
            let rate = |at: usize| 0.5 * (mean[at].powi(2) + log_var[at].exp() - log_var[at] - 1.0);
            let rates =
                (0..2).map(|j| ((rate(j) + rate(j + 2) + rate(j + 4)) / 3.0).max(free_bits));
            distortion / 3.0 + wide(kl_weight) * rates.sum::<f64>()
        };
        let std = stds();
        let batch = batch(&std);
        let (mut z, mut rates) = (vec![0.0; noise.len()], [0.0; 6]);
        batch.sample(&noise, &mut z);
        batch.rates(&mut rates);
        let mut objective = Objective::new(2, free_bits as f32);
        objective.set(3, kl_weight, [&rates[..2], &rates[2..]]);
        let d_z = z.iter().enumerate().map(|(at, z)| {
            let own = at % 6;
            (2.0 * a[own] * z + c[own]) / (3 * samples) as f32
        });
        let d_z: Vec<f32> = d_z.collect();
        // Whatever is left from a step before is overwritten.
        let (mut d_mean, mut d_log_var) = ([7.0; 6], [7.0; 6]);
        batch.backward(&objective, &noise, &d_z, &mut d_mean, &mut d_log_var);
        let (mean, log_var) = (MEAN.map(wide), LOG_VAR.map(wide));
        for at in 0..6 {
            let moved = |values: [f64; 6], by: f64| {
                let mut values = values;
                values[at] += by;
                values
            };
            let step = 1e-5;
            let of_mean = (loss(&moved(mean, step), &log_var)
                - loss(&moved(mean, -step), &log_var))
                / (2.0 * step);
            let of_log_var = (loss(&mean, &moved(log_var, step))
                - loss(&mean, &moved(log_var, -step)))
                / (2.0 * step);
            for (found, want) in [(d_mean[at], of_mean), (d_log_var[at], of_log_var)] {
                let error = (wide(found) - want).abs();
                assert!(error < 1e-5 * want.abs().max(1.0), "{at}: {found} {want}");
            }
        }
        let distortion = z.iter().enumerate().map(|(at, &z)| {
            let (own, z) = (at % 6, wide(z));
            (wide(a[own]) * z * z + wide(c[own]) * z) / samples as f64
        });
        let (found, want) = (objective.loss(distortion.sum()), loss(&mean, &log_var));
        assert!((found / want - 1.0).abs() < 1e-5, "{found} {want}");
    }
}

#[test]
fn free_bits_and_the_weight_of_the_divergence_enter_as_written() {
    let rates = [[0.1, 1.0], [0.3, 3.0]];
    let value = |kl_weight: f32, free_bits: f32| {
        let mut objective = Objective::new(2, free_bits);
        objective.set(2, kl_weight, rates.iter().map(|row| &row[..]));
        assert!((objective.rate() - 2.2).abs() < 1e-6);
        objective.loss(6.0)
    };
    assert!((value(1.0, 0.0) - (3.0 + 0.2 + 2.0)).abs() < 1e-6);
    assert!((value(0.5, 0.0) - (3.0 + 1.1)).abs() < 1e-6);
    assert!((value(1.0, 0.5) - (3.0 + 0.5 + 2.0)).abs() < 1e-6);
}

/// p(z) = N(0, 1) and p(x|z) = N(w z, s² I) with x of three numbers: a model whose likelihood and posterior are
/// known.
struct LinearGaussian {
    w: [f64; 3],
    s: f64,
    x: [f64; 3],
}

impl LinearGaussian {
    const fn new() -> Self {
        Self {
            w: [0.8, -0.5, 0.3],
            s: 0.7,
            x: [1.1, 0.2, -0.6],
        }
    }

    fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
        (0..3).map(|i| a[i] * b[i]).sum()
    }

    /// ln N(x; 0, s² I + w wᵀ), by the matrix determinant lemma and Sherman & Morrison's inverse.
    fn log_likelihood(&self) -> f64 {
        let (w, s2) = (self.w, self.s * self.s);
        let ratio = 1.0 + Self::dot(w, w) / s2;
        let log_det = 3.0 * s2.ln() + ratio.ln();
        let square = (Self::dot(self.x, self.x) - Self::dot(w, self.x).powi(2) / (s2 * ratio)) / s2;
        -0.5 * (3.0 * std::f64::consts::TAU.ln() + log_det + square)
    }

    /// p(z|x).
    fn posterior(&self) -> Posterior {
        let precision = 1.0 + Self::dot(self.w, self.w) / (self.s * self.s);
        let mean = Self::dot(self.w, self.x) / (self.s * self.s) / precision;
        Posterior::new(&[mean as f32], &[-precision.ln() as f32])
    }

    /// ln p(x|z).
    fn decoded(&self, z: f64) -> f64 {
        let squares = (0..3).map(|i| (self.x[i] - self.w[i] * z).powi(2));
        let s2 = self.s * self.s;
        -0.5 * (3.0 * (std::f64::consts::TAU * s2).ln() + squares.sum::<f64>() / s2)
    }

    /// ln p(x|z) and ln w of many samples from q.
    fn sampled(&self, q: &Posterior) -> [Vec<f64>; 2] {
        let pairs = (0..SAMPLES).map(|sample| {
            let noise = noise(sample, 1);
            let z = q.sample(&noise);
            let decoded = self.decoded(f64::from(z[0]));
            (decoded, decoded + q.log_ratio(&noise, &z))
        });
        let (decoded, weights) = pairs.unzip();
        [decoded, weights]
    }

    /// −E[D] − R: what is known of z's first two moments is all that the square needs.
    fn elbo(&self, q: &Posterior) -> f64 {
        let (mean, variance) = (f64::from(q.mean[0]), f64::from(q.log_var[0]).exp());
        let spread = Self::dot(self.w, self.w) * variance / (2.0 * self.s * self.s);
        self.decoded(mean) - spread - q.rates().sum::<f64>()
    }
}

#[test]
fn with_the_true_posterior_every_sample_is_the_exact_likelihood() {
    let model = LinearGaussian::new();
    let (posterior, want) = (model.posterior(), model.log_likelihood());
    assert!((model.elbo(&posterior) - want).abs() < 1e-6);
    let [_, weights] = model.sampled(&posterior);
    assert!(weights.iter().all(|found| (found - want).abs() < 1e-5));
}

#[test]
fn both_estimators_agree_in_the_mean_and_b_varies_less_while_z_carries_little() {
    let model = LinearGaussian::new();
    for q in [
        Posterior::new(&[0.0], &[0.0]),
        Posterior::new(&[0.4], &[-2.0]),
        Posterior::new(&[-0.5], &[-1.0]),
    ] {
        let [decoded, weights] = model.sampled(&q);
        let rate: f64 = q.rates().sum();
        let [a, of_a] = mean_and_variance(&weights);
        let [b, of_b] = mean_and_variance(&decoded);
        let error = 5.0 * ((of_a + of_b) / SAMPLES as f64).sqrt();
        assert!((a - (b - rate)).abs() < error, "{a} {b} {rate}");
        assert!((a - model.elbo(&q)).abs() < error, "{a} {q:?}");
        if q.log_var[0] == 0.0 && q.mean[0] == 0.0 {
            // q is the prior: ln p(z) − ln q(z|x) is 0, so that they are the same.
            assert!((of_a / of_b - 1.0).abs() < 1e-6, "{of_a} {of_b}");
        }
    }
    // A decoder that hardly uses z, as early in a training: what varies is the divergence, which B knows.
    let early = LinearGaussian {
        w: [0.05, 0.02, -0.04],
        ..LinearGaussian::new()
    };
    for (mean, log_var) in [(0.5, -1.0), (1.5, 0.5), (-1.0, -3.0)] {
        let [decoded, weights] = early.sampled(&Posterior::new(&[mean], &[log_var]));
        let [of_a, of_b] = [weights, decoded].map(|values| mean_and_variance(&values)[1]);
        assert!(of_b < 0.2 * of_a, "{of_b} {of_a}");
    }
    // It need not: with the true posterior, A does not vary at all.
    let [decoded, weights] = model.sampled(&model.posterior());
    let [of_a, of_b] = [weights, decoded].map(|values| mean_and_variance(&values)[1]);
    assert!(of_a < 1e-9 && of_b > 0.1, "{of_a} {of_b}");
}

#[test]
fn more_samples_never_loosen_the_bound_and_tighten_it_to_the_likelihood() {
    let model = LinearGaussian::new();
    let want = model.log_likelihood();
    for (mean, log_var) in [(0.0, 0.0), (1.0, -0.5), (-0.5, -0.7)] {
        let q = Posterior::new(&[mean], &[log_var]);
        let [_, weights] = model.sampled(&q);
        let mut before = model.elbo(&q);
        assert!(before < want, "{before} {want}");
        for k in [1, 2, 10, 100, 1000] {
            let bounds: Vec<f64> = weights.chunks_exact(k).map(log_mean_exp).collect();
            let [bound, variance] = mean_and_variance(&bounds);
            let error = 4.0 * (variance / bounds.len() as f64).sqrt();
            if k == 1 {
                assert!((bound - before).abs() < error, "{bound} {before}");
            } else {
                // Of the same samples, without an error.
                assert!(bound > before, "{k}: {bound} {before}");
            }
            assert!(bound < want + error, "{k}: {bound} {want}");
            before = bound;
        }
        assert!((before - want).abs() < 0.01, "{before} {want}");
    }
}

#[test]
fn the_mean_of_exponentials_neither_overflows_nor_loses_the_largest() {
    assert!((log_mean_exp(&[1000.0, 1000.0]) - 1000.0).abs() < 1e-9);
    assert!((log_mean_exp(&[-1000.0, 0.0]) + 2_f64.ln()).abs() < 1e-12);
    assert_eq!(log_mean_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
}
