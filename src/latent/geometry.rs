//! Lines, arcs, sums and distances of latent vectors.

use std::f64::consts::FRAC_PI_2;

use crate::generate::sampling::Sampler;
use crate::kernels::scalar::cos;
use crate::models::word_vae::Posterior;

/// How latent vectors between two are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// Along an arc, which stays as far from zero as words are.
    #[default]
    Spherical,
    /// Along a straight line.
    Linear,
}

/// (1 − t)·a + t·b: exactly `a` at t = 0 and exactly `b` at t = 1.
///
/// # Panics
/// If the lengths differ.
fn linear(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    weighted(a, 1.0 - t, b, t)
}

/// The arc sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, where Ω is the angle between `a` and `b`
/// (Shoemake 1985; for latent spaces White 2016). Under a Gaussian prior, a straight line
/// passes nearer to zero than words are, and an arc does not. Exactly `a` at t = 0 and exactly `b`
/// at t = 1. If there is no arc, because one of them is zero or both lie on one line through
/// zero, the path is [`linear`].
///
/// # Panics
/// If the lengths differ.
fn spherical(a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
    let norms = norm(a) * norm(b);
    let cosine = dot(a, b) / norms;
    if norms == 0.0 || !cosine.is_finite() || cosine.abs() > 1.0 - 1e-9 || t == 0.0 || t == 1.0 {
        return linear(a, b, t);
    }
    let angle = cosine.acos();
    // The system's sine may differ from another's in the last bit.
    let sine = |angle: f64| cos(angle - FRAC_PI_2);
    let weight = |part: f64| sine(part * angle) / sine(angle);
    weighted(a, weight(1.0 - t), b, weight(t))
}

/// `steps` vectors from `a` to `b`, both included, each with its t in 0…1; with one step only `a`.
pub fn interpolate(a: &[f32], b: &[f32], steps: usize, how: Interpolation) -> Vec<(f64, Vec<f32>)> {
    let between = match how {
        Interpolation::Spherical => spherical,
        Interpolation::Linear => linear,
    };
    let t = |step: usize| step as f64 / (steps - 1).max(1) as f64;
    (0..steps)
        .map(|step| (t(step), between(a, b, t(step))))
        .collect()
}

/// c + b − a, which relates to `c` as `b` does to `a` (Mikolov et al. 2013).
///
/// # Panics
/// If the lengths differ.
pub fn analogy(a: &[f32], b: &[f32], c: &[f32]) -> Vec<f32> {
    weighted(&weighted(b, 1.0, a, -1.0), 1.0, c, 1.0)
}

/// The Euclidean distance.
///
/// # Panics
/// If the lengths differ.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    pairs(a, b)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// The indices and distances of the `k` `vectors` nearest to `from`: nearest first, ties by index.
/// All of them if there are fewer.
///
/// # Panics
/// If the lengths differ.
pub fn nearest<'a>(
    from: &[f32],
    vectors: impl IntoIterator<Item = &'a [f32]>,
    k: usize,
) -> Vec<(usize, f64)> {
    let distances = vectors.into_iter().map(|vector| distance(from, vector));
    let mut all: Vec<(usize, f64)> = distances.enumerate().collect();
    let order = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
    if k < all.len() {
        all.select_nth_unstable_by(k, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all
}

/// A latent vector around a word's: μ + radius · √Z · σ ⊙ u with u uniform on the unit sphere. The posterior's
/// own noise σ ⊙ ε has ‖ε‖ ≈ √Z, so radius 1 matches the encoder's own uncertainty.
pub fn around(word: &Posterior, radius: f64, sampler: &mut Sampler) -> Vec<f32> {
    let direction: Vec<f32> = word.mean.iter().map(|_| sampler.normal()).collect();
    // The norm of a normal sample is zero with probability zero.
    let length = norm(&direction).max(f64::MIN_POSITIVE);
    let scale = radius * (direction.len() as f64).sqrt() / length;
    let coordinates = word.mean.iter().zip(&word.log_var).zip(&direction);
    coordinates
        .map(|((&mean, &log_var), &direction)| {
            let deviation = (0.5 * f64::from(log_var)).exp();
            (f64::from(mean) + scale * deviation * f64::from(direction)) as f32
        })
        .collect()
}

fn weighted(a: &[f32], weight_a: f64, b: &[f32], weight_b: f64) -> Vec<f32> {
    pairs(a, b)
        .map(|(a, b)| (weight_a * a + weight_b * b) as f32)
        .collect()
}

/// Pairs of entries of two vectors of one length.
fn pairs<'a>(a: &'a [f32], b: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    assert_eq!(a.len(), b.len(), "vectors of one space");
    let pair = |(&a, &b): (&f32, &f32)| (f64::from(a), f64::from(b));
    a.iter().zip(b).map(pair)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    pairs(a, b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sampling;

    const A: [f32; 3] = [0.3, -1.7, 0.1];
    const B: [f32; 3] = [2.0, 0.4, -0.9];

    #[test]
    fn an_interpolation_begins_and_ends_exactly_at_its_ends() {
        for kind in [Interpolation::Spherical, Interpolation::Linear] {
            for steps in [2, 3, 8] {
                let path = interpolate(&A, &B, steps, kind);
                assert_eq!(path.len(), steps);
                assert_eq!(path[0], (0.0, A.to_vec()));
                assert_eq!(path[steps - 1], (1.0, B.to_vec()));
            }
        }
        assert_eq!(
            interpolate(&A, &B, 1, Interpolation::Linear),
            [(0.0, A.to_vec())]
        );
    }

    #[test]
    fn an_arc_keeps_the_norm_and_turns_evenly() {
        // From (2, 0) to (0, 2): a third of the way is 30°.
        let third = spherical(&[2.0, 0.0], &[0.0, 2.0], 1.0 / 3.0);
        let want = [3.0_f32.sqrt(), 1.0];
        assert!(distance(&third, &want) < 1e-6, "{third:?}");
        // The straight line cuts the corner.
        assert_eq!(linear(&[2.0, 0.0], &[0.0, 2.0], 0.5), [1.0, 1.0]);
    }

    #[test]
    fn where_there_is_no_arc_the_line_is_straight() {
        let zero = [0.0; 3];
        let twice = A.map(|x| 2.0 * x);
        let opposite = A.map(|x| -x);
        for (a, b) in [(A, A), (A, twice), (A, opposite), (zero, B), (zero, zero)] {
            assert_eq!(spherical(&a, &b, 0.25), linear(&a, &b, 0.25));
        }
    }

    #[test]
    fn an_analogy_completes_the_parallelogram() {
        let d = analogy(&[1.0, 1.0], &[3.0, 2.0], &[5.0, -4.0]);
        assert_eq!(d, [7.0, -3.0]);
    }

    #[test]
    fn the_nearest_are_those_that_sorting_everything_gives() {
        let vectors: Vec<[f32; 2]> = (0..40)
            .map(|i| [(i * 7 % 11) as f32, (i * 5 % 13) as f32])
            .collect();
        let from = [4.2, 6.1];
        let mut want: Vec<(usize, f64)> = vectors
            .iter()
            .map(|vector| distance(&from, vector))
            .enumerate()
            .collect();
        want.sort_by(|a, b| a.1.total_cmp(&b.1)); // stable: of equals the first
        for k in [0, 1, 7, 40, 1000] {
            let found = nearest(&from, vectors.iter().map(<[f32; 2]>::as_slice), k);
            assert_eq!(found, want[..k.min(40)]);
        }
        let same: [&[f32]; 3] = [&[1.0], &[0.0], &[1.0]];
        assert_eq!(nearest(&[0.0], same, 2), [(1, 0.0), (0, 1.0)]);
    }

    #[test]
    fn a_vector_around_a_word_is_as_far_as_asked_in_units_of_its_noise() {
        let word = Posterior {
            mean: vec![1.0, -2.0, 0.5, 3.0],
            log_var: vec![0.0, -2.0, 1.0, -4.0],
        };
        let config = Sampling::new(1);
        let mut middle = [0.0; 4];
        for index in 0..4000 {
            let z = around(&word, 1.5, &mut Sampler::new(&config, &[], index));
            let noise: Vec<f64> = (0..4)
                .map(|j| f64::from(z[j] - word.mean[j]) / (0.5 * f64::from(word.log_var[j])).exp())
                .collect();
            let length = noise.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!((length - 1.5 * 2.0).abs() < 1e-4, "{length}");
            for (middle, noise) in middle.iter_mut().zip(noise) {
                *middle += noise / 4000.0;
            }
        }
        // Every direction as often as its opposite: the deviation of a mean is 1.5/√4000 = 0.024.
        assert!(middle.iter().all(|x| x.abs() < 0.1), "{middle:?}");
        let mut sampler = Sampler::new(&config, &[], 0);
        assert_eq!(around(&word, 0.0, &mut sampler), word.mean);
    }
}
