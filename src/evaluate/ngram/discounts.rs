//! How much probability is taken from the tokens seen, for those not seen.

use super::counts::Counts;

/// Where they cannot be estimated; those of `KenLM` (Heafield et al. 2013).
const USUAL: [f64; 3] = [0.5, 1.0, 1.5];

/// D1, D2 and D3: what is subtracted from a count of 1, of 2, and of 3 or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discounts([f64; 3]);

impl Discounts {
    /// The estimates of Chen & Goodman (1999, equation 17) from the numbers of grams with a count of
    /// 1, 2, 3 and 4: D_k = k − (k + 1) · Y · n_{k+1} / n_k with Y = n_1 / (n_1 + 2 n_2). One that
    /// would divide by zero, or for which no gram has the next count, or that is not positive, is
    /// ½, 1 or 1½ instead.
    pub fn new(grams: &[u64; 4]) -> Self {
        let n = grams.map(|grams| grams as f64);
        let y = n[0] / (n[0] + 2.0 * n[1]);
        let discount = |k: usize| {
            let count = (k + 1) as f64;
            let estimate = count - (count + 1.0) * y * n[k + 1] / n[k];
            let is_known = n[0] > 0.0 && n[k] > 0.0 && n[k + 1] > 0.0 && estimate > 0.0;
            if is_known { estimate } else { USUAL[k] }
        };
        Self([0, 1, 2].map(discount))
    }

    /// What is subtracted from a count.
    fn of(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            1..3 => self.0[count as usize - 1],
            _ => self.0[2],
        }
    }

    /// The probability of a token seen `count` times in a context with these counts, which has the
    /// probability `lower` in the shorter context.
    pub(super) fn interpolated(&self, count: u32, context: &Counts, lower: f64) -> f64 {
        let Counts {
            total,
            once,
            twice,
            more,
        } = *context;
        let taken = [once, twice, more];
        let taken: f64 = (self.0.iter().zip(taken))
            .map(|(d, n)| d * f64::from(n))
            .sum();
        (f64::from(count) - self.of(count) + taken * lower) / f64::from(total)
    }
}
