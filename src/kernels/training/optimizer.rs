//! The optimizer step: the gradients' norm, clipping and Adam. Each array is read once for the
//! norm and once for everything else.

use super::super::scalar::power;
use super::super::{AdamFactors, AdamPiece};
use super::Workers;

/// Numbers per job: its parts of five arrays fit in the second-level cache.
const NUMBERS_PER_JOB: usize = 1 << 14;
/// The cost of updating a number, in multiplications of a product.
const AN_UPDATE: usize = 64;

/// The constants of Adam (Kingma & Ba 2015, algorithm 1), of AMSGrad as PyTorch has it (Reddi, Kale &
/// Kumar 2018; the largest moment before bias correction) and of AdamW (Loshchilov & Hutter 2019).
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Learning rate α.
    pub lr: f64,
    /// Decay of the first moment β₁.
    pub beta1: f64,
    /// Decay of the second moment β₂.
    pub beta2: f64,
    /// ε, which keeps the denominator above zero.
    pub epsilon: f64,
    /// Whether weight decay is decoupled (AdamW).
    pub decoupled: bool,
    /// The number of this step, t, from 1.
    pub step: u64,
}

/// A parameter with its gradient and moments, all of one length.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// The weights, their gradient and moments.
    pub arrays: AdamPiece<'a>,
    /// The parameter's weight decay.
    pub weight_decay: f64,
}

impl Adam {
    /// The constants of the paper, for step `step` ≥ 1.
    pub const fn new(step: u64) -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decoupled: false,
            step,
        }
    }

    fn factors(&self, weight_decay: f64, scale: f64) -> AdamFactors {
        let (decay, save) = if self.decoupled {
            (0.0, 1.0 - self.lr * weight_decay)
        } else {
            (weight_decay, 1.0)
        };
        AdamFactors {
            scale: scale as f32,
            decay: decay as f32,
            save: save as f32,
            of_first: (1.0 - self.beta1) as f32,
            keep_second: self.beta2 as f32,
            of_second: (1.0 - self.beta2) as f32,
            rate: (self.lr / (1.0 - power(self.beta1, self.step))) as f32,
            root: (1.0 / (1.0 - power(self.beta2, self.step)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
        }
    }

    /// Updates all parameters, with gradients scaled down so that their common L2 norm is at
    /// most `limit`; 0 is no limit.
    ///
    /// # Panics
    /// If a parameter's arrays differ in length.
    pub fn step(&self, workers: Workers, parameters: Vec<Parameter>, limit: f64) {
        let numbers: usize = parameters.iter().map(|p| p.arrays.weight.len()).sum();
        let workers = workers.for_work(numbers * AN_UPDATE);
        let scale = if limit > 0.0 {
            let gradients = parameters.iter().map(|p| p.arrays.gradient);
            (limit / (norm(workers, gradients) + 1e-6)).min(1.0)
        } else {
            1.0
        };
        let jobs = parameters.into_iter().flat_map(|parameter| {
            let factors = self.factors(parameter.weight_decay, scale);
            pieces(parameter.arrays).map(move |piece| (piece, factors))
        });
        workers.each(jobs, |_, (piece, factors)| {
            workers.kernels.adam(piece, &factors);
        });
    }
}

/// The L2 norm of all `arrays` together: the same for any number of threads.
fn norm<'a>(workers: Workers, arrays: impl Iterator<Item = &'a [f32]>) -> f64 {
    let arrays: Vec<&[f32]> = arrays
        .flat_map(|array| array.chunks(NUMBERS_PER_JOB))
        .collect();
    let mut sums = vec![0.0; arrays.len()];
    workers.each(arrays.into_iter().zip(&mut sums), |_, (array, sum)| {
        workers.kernels.add_squares(array, sum);
    });
    sums.iter().sum::<f64>().sqrt()
}

/// A parameter in pieces of [`NUMBERS_PER_JOB`] numbers.
fn pieces(arrays: AdamPiece) -> impl Iterator<Item = AdamPiece> {
    let AdamPiece {
        weight,
        gradient,
        first,
        second,
        largest,
    } = arrays;
    let mut largest = largest.chunks_mut(NUMBERS_PER_JOB);
    weight
        .chunks_mut(NUMBERS_PER_JOB)
        .zip(gradient.chunks(NUMBERS_PER_JOB))
        .zip(first.chunks_mut(NUMBERS_PER_JOB))
        .zip(second.chunks_mut(NUMBERS_PER_JOB))
        .map(move |(((weight, gradient), first), second)| AdamPiece {
            weight,
            gradient,
            first,
            second,
            largest: largest.next().unwrap_or_default(),
        })
}

#[cfg(test)]
mod tests {
    use super::super::Alone;
    use super::super::tests::{BUFFERS, Several};
    use super::*;
    use crate::kernels::Kernels;
    use crate::kernels::simd::Level;
    use crate::testing::Numbers;

    /// Weights, gradients, and first, second and largest moments.
    fn arrays(length: usize) -> [Vec<f32>; 5] {
        let mut numbers = Numbers::new(length as u32 + 3);
        let mut random = |sign: bool| -> Vec<f32> {
            let values = numbers.vector(length, 1.0).into_iter();
            values.map(|x| if sign { x } else { x * x }).collect()
        };
        [
            random(true),
            random(true),
            random(true),
            random(false),
            random(false),
        ]
    }

    fn step(
        workers: Workers,
        adam: &Adam,
        several: &mut [[Vec<f32>; 5]],
        amsgrad: bool,
        limit: f64,
    ) {
        let parameters = several.iter_mut().map(|[w, g, m, v, x]| Parameter {
            arrays: AdamPiece {
                weight: w,
                gradient: g,
                first: m,
                second: v,
                largest: if amsgrad { x } else { &mut [] },
            },
            weight_decay: 0.1,
        });
        adam.step(workers, parameters.collect(), limit);
    }

    const ADAM: Adam = Adam {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        decoupled: false,
        step: 7,
    };

    /// The papers' formulas in f64.
    fn reference(adam: &Adam, amsgrad: bool, scale: f64, numbers: [f64; 5]) -> [f64; 4] {
        let [mut w, g, m, v, x] = numbers;
        let mut g = g * scale;
        if adam.decoupled {
            w -= adam.lr * 0.1 * w;
        } else {
            g += 0.1 * w;
        }
        let m = 0.9 * m + 0.1 * g;
        let v = 0.999 * v + 0.001 * g * g;
        let x = if amsgrad { x.max(v) } else { x };
        let second = if amsgrad { x } else { v };
        let t = adam.step as i32;
        let m_hat = m / (1.0 - 0.9f64.powi(t));
        let v_hat = second / (1.0 - 0.999f64.powi(t));
        [w - adam.lr * m_hat / (v_hat.sqrt() + 1e-8), m, v, x]
    }

    #[test]
    fn a_step_follows_the_papers_at_every_level_and_on_any_number_of_threads() {
        for (decoupled, amsgrad, limit) in [
            (false, false, 0.0),
            (false, true, 0.5),
            (true, false, 0.5),
            (true, true, 1e9),
        ] {
            let adam = Adam { decoupled, ..ADAM };
            let start = [arrays(1), arrays(45), arrays(2 * NUMBERS_PER_JOB + 17)];
            let norm = start
                .iter()
                .flat_map(|[_, g, ..]| g)
                .map(|&g| f64::from(g) * f64::from(g))
                .sum::<f64>()
                .sqrt();
            let scale = if limit > 0.0 {
                (limit / (norm + 1e-6)).min(1.0)
            } else {
                1.0
            };
            let mut first: Option<[[Vec<f32>; 5]; 3]> = None;
            for level in Level::ALL {
                let Some(kernels) = Kernels::at(level) else {
                    continue;
                };
                for threads in [1, 3] {
                    let (alone, several) = (Alone, Several(threads));
                    let team: &dyn super::super::Team =
                        if threads == 1 { &alone } else { &several };
                    let mut now = start.clone();
                    let workers = Workers {
                        team,
                        kernels,
                        buffers: &BUFFERS,
                    };
                    step(workers, &adam, &mut now, amsgrad, limit);
                    let first = first.get_or_insert_with(|| now.clone());
                    assert_eq!(*first, now, "{level:?}, {threads} threads");
                }
            }
            let now = first.expect("some level");
            for (start, now) in start.iter().zip(&now) {
                for i in 0..start[0].len() {
                    let numbers = std::array::from_fn(|k| f64::from(start[k][i]));
                    let want = reference(&adam, amsgrad, scale, numbers);
                    let got = [0, 2, 3, 4].map(|k| f64::from(now[k][i]));
                    for (want, got) in want.iter().zip(got) {
                        let error = (want - got).abs();
                        assert!(error <= 2e-6 * want.abs().max(0.1), "{i}: {got} {want}");
                    }
                }
            }
        }
    }
}
