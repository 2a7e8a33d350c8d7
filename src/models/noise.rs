//! Random numbers as a pure function of (seed, use, step, position).
//!
//! No generator is advanced, so neither the order in which numbers are computed nor the number of threads, nor
//! the way a batch is divided, changes any of them, and a training can be resumed without saving a
//! generator's state. A number is the finaliser of SplitMix64 (Steele, Lea & Flood 2014) of a key plus a
//! multiple of its increment: for one key, the generator's own sequence, read at any position.

use crate::kernels::scalar::ln;

/// SplitMix64's increment: 2⁶⁴ divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What random numbers are for; each use has its own numbers. Saved trainings rely on the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The length of a step's sequences.
    Lengths = 1,
    /// The order of the training words.
    Order,
    /// Letters hidden from a decoder.
    HiddenLetters,
    /// The noise ε of latent vectors.
    Latent,
    /// The noise ε of an evaluation.
    Evaluation,
    /// Dropout of the outputs of a text model's or a decoder's layers.
    Dropout,
    /// Dropout of tokens.
    InputDropout,
    /// Dropout of recurrent weights.
    RecurrentDropout,
    /// Dropout between an encoder's layers.
    EncoderDropout,
    /// The word of a step of the article's training.
    ArticleWord,
    /// The initial weights of a network of one's own.
    Weights,
}

/// The random numbers of one use at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    key: u64,
}

impl Noise {
    /// The numbers of `what` at `step` of the training with this seed.
    pub const fn new(seed: u64, what: Use, step: u64) -> Self {
        let key = mix(seed.wrapping_add(GOLDEN));
        Self { key }.sub(what as u64).sub(step)
    }

    /// Other, independent numbers, such as those of one layer.
    #[must_use]
    pub const fn sub(self, index: u64) -> Self {
        // Twice mixed, so that the numbers of a key are not the keys below it.
        Self {
            key: mix(self.bits(index).wrapping_add(GOLDEN)),
        }
    }

    /// 64 random bits.
    #[inline]
    pub const fn bits(self, position: u64) -> u64 {
        mix(self.key.wrapping_add(position.wrapping_mul(GOLDEN)))
    }

    /// A number in [0, 1), a multiple of 2⁻²⁴.
    #[inline]
    pub const fn uniform(self, position: u64) -> f32 {
        (self.bits(position) >> 40) as f32 / (1 << 24) as f32
    }

    /// A number below `n`; 0 if `n` is 0.
    pub const fn below(self, position: u64, n: u64) -> u64 {
        // Uniform but for a bias below n / 2⁶⁴.
        ((self.bits(position) as u128 * n as u128) >> 64) as u64
    }

    /// A standard normal number, by the polar method (Marsaglia & Bray 1964): the same bits on every
    /// machine, since it calls no mathematical library.
    pub fn normal(self, position: u64) -> f32 {
        let own = self.sub(position);
        let mut attempt = 0;
        loop {
            let bits = own.bits(attempt);
            // Both in (−1, 1), at the middle of 2³² intervals.
            let [u, v] = [bits >> 32, bits & 0xffff_ffff]
                .map(|half| (half as f64 + 0.5) / (1_u64 << 31) as f64 - 1.0);
            let square = u * u + v * v;
            if square < 1.0 {
                return (u * (-2.0 * ln(square) / square).sqrt()) as f32;
            }
            attempt += 1;
        }
    }

    /// Shuffles `items` (Fisher & Yates).
    pub fn shuffle<T>(self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64, i as u64 + 1) as usize);
        }
    }
}

/// SplitMix64's finaliser (variant 13 of Stafford's).
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 200_000;

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        values.sum::<f64>() / COUNT as f64
    }

    #[test]
    fn numbers_depend_on_seed_use_step_and_position_alone() {
        let noise = Noise::new(3, Use::Dropout, 7);
        assert_eq!(noise.bits(5), Noise::new(3, Use::Dropout, 7).bits(5));
        // As first written: saved trainings rely on them.
        assert_eq!(noise.bits(0), 0xddc0_5f66_4873_c3c4);
        assert_eq!(noise.sub(1).bits(2), 0x7c92_9952_8150_5fd5);
        let others = [
            Noise::new(4, Use::Dropout, 7),
            Noise::new(3, Use::InputDropout, 7),
            Noise::new(3, Use::Dropout, 8),
            noise.sub(0),
            noise.sub(1),
        ];
        let mut all: Vec<u64> = others
            .iter()
            .chain([&noise])
            .flat_map(|noise| (0..1000).map(|position| noise.bits(position)))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6000);
    }

    #[test]
    fn uniform_numbers_fill_their_interval_evenly() {
        let noise = Noise::new(1, Use::Latent, 0);
        let mut bins = [0_u32; 16];
        let mut numbers = [0_u32; 10];
        for position in 0..COUNT {
            let x = noise.uniform(position);
            assert!((0.0..1.0).contains(&x));
            bins[(x * 16.0) as usize] += 1;
            numbers[noise.below(position, 10) as usize] += 1;
        }
        for (counts, share) in [(&bins[..], 16), (&numbers[..], 10)] {
            let expected = COUNT as f64 / f64::from(share);
            let chi: f64 = counts
                .iter()
                .map(|&n| (f64::from(n) - expected).powi(2) / expected)
                .sum();
            // The 99.99th percentile for 15 degrees of freedom is 44.3.
            assert!(chi < 44.3, "{counts:?}");
        }
        assert_eq!(noise.below(1, 0), 0);
    }

    #[test]
    fn normal_numbers_have_the_moments_of_a_normal_distribution() {
        let noise = Noise::new(9, Use::Latent, 2);
        let values: Vec<f64> = (0..COUNT).map(|i| f64::from(noise.normal(i))).collect();
        let moment = |power: i32| mean(values.iter().map(|x| x.powi(power)));
        for (power, want, error) in [
            (1, 0.0, 0.01),
            (2, 1.0, 0.015),
            (3, 0.0, 0.04),
            (4, 3.0, 0.15),
        ] {
            assert!((moment(power) - want).abs() < error, "{power}");
        }
        let beyond = |limit: f64| mean(values.iter().map(|x| f64::from(x.abs() > limit)));
        assert!((beyond(1.0) - 0.3173).abs() < 0.005);
        assert!((beyond(3.0) - 0.0027).abs() < 0.0005);
    }

    #[test]
    fn neighbouring_positions_and_bits_are_independent() {
        let noise = Noise::new(0, Use::Dropout, 0);
        for distance in [1, 2, 64, 4096] {
            let product = |i| {
                let centred = |i| f64::from(noise.uniform(i)) - 0.5;
                12.0 * centred(i) * centred(i + distance)
            };
            assert!(mean((0..COUNT).map(product)).abs() < 0.01, "{distance}");
        }
        // Every bit is as often set as not, and changes as often as not from one position to the next.
        for bit in 0..64 {
            let set = |bits: u64| f64::from(bits >> bit & 1 == 1);
            let ones = mean((0..COUNT).map(|i| set(noise.bits(i))));
            let changes = mean((0..COUNT).map(|i| set(noise.bits(i) ^ noise.bits(i + 1))));
            assert!((ones - 0.5).abs() < 0.006, "{bit}");
            assert!((changes - 0.5).abs() < 0.006, "{bit}");
        }
    }

    #[test]
    fn a_shuffle_is_a_permutation_and_every_order_is_as_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..6000 {
            let mut items = [0, 1, 2];
            Noise::new(5, Use::Order, step).shuffle(&mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|&n| (880..1120).contains(&n)),
            "{counts:?}"
        );
        let mut items: Vec<u32> = (0..1000).collect();
        Noise::new(5, Use::Order, 0).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..1000));
    }
}
