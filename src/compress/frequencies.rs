//! The probabilities of a model's next token as integer frequencies, the same on every machine.
//!
//! Logits are the same bits everywhere (see [`kernels`](crate::kernels)), and so is the
//! exponential of the kernels, which calls no math library. From there on, everything is
//! integer arithmetic.

use super::coder::TOTAL;
use crate::kernels::Kernels;

/// The weight of the most probable token: 2³⁰.
const HIGHEST_WEIGHT: f32 = 1_073_741_824.0;

/// Turns logits into frequencies.
#[derive(Clone, Debug)]
pub struct Frequencies {
    kernels: Kernels,
    /// A token that is never coded; it gets the lowest frequency.
    without: Option<u32>,
    weights: Vec<f32>,
    whole: Vec<u32>,
}

impl Frequencies {
    /// For models whose token `without` is never coded.
    pub const fn new(kernels: Kernels, without: Option<u32>) -> Self {
        Self {
            kernels,
            without,
            weights: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// softmax(logits) (outputs) as integers of at least 1 that add up to [`TOTAL`]. A NaN counts as
    /// −∞; if all logits are −∞, the frequencies are equal.
    pub fn of(&mut self, logits: &[f32]) -> &[u32] {
        let most_probable = self.weigh(logits);
        self.frequencies(most_probable)
    }

    /// The same of (1 − weight) · softmax(logits) + weight · `ngram` (outputs).
    pub fn mixed(&mut self, logits: &[f32], ngram: &[f64], weight: f64) -> &[u32] {
        self.weigh(logits);
        // Sums and products of f64 are the same bits everywhere.
        let total: f64 = self.weights.iter().map(|&weight| f64::from(weight)).sum();
        for (p, q) in self.weights.iter_mut().zip(ngram) {
            *p = ((1.0 - weight) * (f64::from(*p) / total) + weight * q) as f32;
        }
        if let Some(p) = self
            .without
            .and_then(|id| self.weights.get_mut(id as usize))
        {
            *p = 0.0;
        }
        let weights = self.weights.iter().enumerate();
        let most_probable = weights.max_by(|(_, a), (_, b)| a.total_cmp(b));
        let most_probable = most_probable.map(|(index, _)| index);
        self.frequencies(most_probable)
    }

    /// Sets the weights to exp(logit − the highest logit), and returns the index of the first of those.
    fn weigh(&mut self, logits: &[f32]) -> Option<usize> {
        let weights = &mut self.weights;
        weights.clear();
        let number = |&logit: &f32| {
            if logit.is_nan() {
                f32::NEG_INFINITY
            } else {
                logit
            }
        };
        weights.extend(logits.iter().map(number));
        if let Some(weight) = self.without.and_then(|id| weights.get_mut(id as usize)) {
            *weight = f32::NEG_INFINITY;
        }
        let highest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for weight in weights.iter_mut() {
            // Also if both are infinite.
            *weight = if *weight == highest {
                0.0
            } else {
                *weight - highest
            };
        }
        let most_probable = weights.iter().position(|&weight| weight == 0.0);
        self.kernels.exp(weights);
        most_probable
    }

    /// The weights, at most 1 each, as frequencies; what rounding leaves over goes to the most probable.
    fn frequencies(&mut self, most_probable: Option<usize>) -> &[u32] {
        let Self {
            weights,
            whole: frequencies,
            ..
        } = self;
        frequencies.clear();
        if weights.is_empty() {
            return frequencies;
        }
        let whole = |weight: f32| u128::from((weight * HIGHEST_WEIGHT) as u32);
        let sum: u128 = weights.iter().map(|&weight| whole(weight)).sum();
        let free = u128::from(TOTAL) - weights.len() as u128;
        // Below 2⁶⁰, since the weights add up to 2³⁰ or almost; rounded down, so that the sum stays within
        // the total.
        let factor = (free << 64) / sum.max(1);
        frequencies.extend(
            weights
                .iter()
                .map(|&weight| 1 + ((whole(weight) * factor) >> 64) as u32),
        );
        let given: u32 = frequencies.iter().sum();
        if let Some(frequency) = most_probable.and_then(|index| frequencies.get_mut(index)) {
            *frequency += TOTAL - given;
        }
        frequencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Level;
    use crate::testing::Numbers;

    fn frequencies(logits: &[f32], without: Option<u32>) -> Vec<u32> {
        let mut first: Option<Vec<u32>> = None;
        for kernels in Level::supported().filter_map(Kernels::at) {
            let frequencies = Frequencies::new(kernels, without).of(logits).to_vec();
            if let Some(first) = &first {
                assert_eq!(&frequencies, first, "{}", kernels.level());
            }
            first = Some(frequencies);
        }
        let frequencies = first.expect("the portable level is everywhere");
        assert_eq!(
            frequencies.iter().map(|&s| u64::from(s)).sum::<u64>(),
            1 << 24
        );
        assert!(frequencies.iter().all(|&frequency| frequency > 0));
        frequencies
    }

    #[test]
    fn shares_are_the_softmax_and_add_up_exactly() {
        let mut numbers = Numbers::new(3);
        for (count, scale) in [(1, 1.0), (2, 20.0), (65, 3.0), (400, 10.0), (70_000, 5.0)] {
            for _ in 0..5 {
                let logits = numbers.vector(count, scale);
                let frequencies = frequencies(&logits, None);
                let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
                for (&logit, &frequency) in logits.iter().zip(&frequencies) {
                    let want = f64::from(logit).exp() / total * f64::from(TOTAL);
                    // Each token gets 1 first; what rounding leaves over goes to one of them.
                    let most = 2.0 + count as f64 * (1.0 + want / f64::from(TOTAL));
                    assert!((f64::from(frequency) - want).abs() < most + want * 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_mixture_is_between_its_models_and_adds_up_exactly() {
        let mut numbers = Numbers::new(5);
        for weight in [0.0, 0.25, 1.0] {
            let logits = numbers.vector(40, 5.0);
            let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            let ngram: Vec<f64> = (1..=40).map(|k| f64::from(k) / 820.0).collect();
            let mut mixing = Frequencies::new(Kernels::new(), None);
            let found = mixing.mixed(&logits, &ngram, weight).to_vec();
            assert_eq!(found.iter().sum::<u32>(), TOTAL);
            for ((&logit, q), found) in logits.iter().zip(&ngram).zip(found) {
                let p = (1.0 - weight) * f64::from(logit).exp() / total + weight * q;
                let want = p * f64::from(TOTAL);
                assert!((f64::from(found) - want).abs() < 44.0 + want * 1e-6);
            }
            let mut mixing = Frequencies::new(Kernels::new(), Some(3));
            assert_eq!(mixing.mixed(&logits, &ngram, weight)[3], 1);
        }
    }

    #[test]
    fn what_is_no_number_or_not_wanted_has_the_least_share() {
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        assert_eq!(frequencies(&[0.0, nan, -infinite], None), [TOTAL - 2, 1, 1]);
        assert_eq!(frequencies(&[5.0, infinite, nan], None), [1, TOTAL - 2, 1]);
        assert_eq!(
            frequencies(&[90.0, 0.0, -200.0], Some(0)),
            [1, TOTAL - 2, 1]
        );
        let equal = frequencies(&[nan, nan, -infinite, nan], None);
        assert_eq!(equal, [TOTAL / 4; 4]);
        assert_eq!(frequencies(&[1.0], Some(0)), [TOTAL]);
        assert!(Frequencies::new(Kernels::new(), None).of(&[]).is_empty());
    }
}
