//! Dropout of units, tokens and recurrent weights. Masks are functions of the position, so they are
//! computed again for the backward pass instead of being stored.

use crate::kernels::training::Workers;
use crate::models::noise::Noise;

/// No sequence has as many steps: the distance between the numbers of two rows.
const MOST_STEPS: u64 = 1 << 20;
/// Units whose masks come from one random number of 64 bits.
const UNITS_AT_ONCE: usize = 4;
/// The number of values of each unit's share of it.
const VALUES: f32 = 65_536.0;
/// Numbers per job.
const NUMBERS_PER_JOB: usize = 1 << 14;

/// A position in the whole batch: the row, whichever shard or order it is computed in, and the step.
pub const fn position(row: usize, time: usize) -> u64 {
    row as u64 * MOST_STEPS + time as u64
}

/// The position of the first step of a row.
pub const fn start_of_row(position: u64) -> u64 {
    position / MOST_STEPS * MOST_STEPS
}

/// Drops each of some units with probability `rate`, and scales the others up by 1 / (1 − rate).
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    noise: Noise,
    /// Values below this one drop a unit.
    limit: u64,
    scale: f32,
}

impl Mask {
    /// A mask of the numbers of `noise`. The rate is rounded to a multiple of 2⁻¹⁶.
    pub fn new(noise: Noise, rate: f64) -> Self {
        let limit = (rate as f32 * VALUES).round();
        Self {
            noise,
            limit: limit as u64,
            scale: 1.0 / (1.0 - rate as f32),
        }
    }

    /// Multiplies the units of every row of `values` (N, width), whose positions are `at`, by their mask.
    pub fn apply(
        &self,
        workers: Workers,
        at: impl Fn(usize) -> u64 + Sync,
        values: &mut [f32],
        width: usize,
    ) {
        let groups = width.div_ceil(UNITS_AT_ONCE) as u64;
        let rows_per_job = NUMBERS_PER_JOB.div_ceil(width);
        workers.in_parts(values, rows_per_job * width, |part, values| {
            for (row, values) in values.chunks_exact_mut(width).enumerate() {
                self.multiply(at(part * rows_per_job + row).wrapping_mul(groups), values);
            }
        });
    }

    /// Multiplies the numbers of one array by their mask.
    pub fn apply_to_array(&self, workers: Workers, values: &mut [f32]) {
        const { assert!(NUMBERS_PER_JOB.is_multiple_of(UNITS_AT_ONCE)) };
        workers.in_parts(values, NUMBERS_PER_JOB, |part, values| {
            let first = part * NUMBERS_PER_JOB / UNITS_AT_ONCE;
            self.multiply(first as u64, values);
        });
    }

    /// Multiplies numbers by the mask whose first group of four is `first`.
    fn multiply(&self, first: u64, values: &mut [f32]) {
        for (group, values) in (first..).zip(values.chunks_mut(UNITS_AT_ONCE)) {
            let bits = self.noise.bits(group);
            for (unit, value) in values.iter_mut().enumerate() {
                let stays = bits >> (16 * unit) & 0xffff >= self.limit;
                *value *= if stays { self.scale } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernels;
    use crate::kernels::training::{Alone, Buffers, Pool, Team};
    use crate::models::noise::Use;

    fn on<'a>(team: &'a dyn Team, buffers: &'a Buffers) -> Workers<'a> {
        Workers {
            team,
            kernels: Kernels::new(),
            buffers,
        }
    }

    #[test]
    fn a_mask_drops_at_its_rate_and_does_not_change_the_mean() {
        let (buffers, pool) = (Buffers::new(), Pool::new(3));
        for rate in [0.0, 0.25, 0.5, 0.9] {
            let mask = Mask::new(Noise::new(1, Use::Dropout, 0), rate);
            let (rows, width) = (500, 401);
            let mut alone = vec![1.0; rows * width];
            let mut several = alone.clone();
            let at = |row: usize| position(row % 5, row / 5);
            mask.apply(on(&Alone, &buffers), at, &mut alone, width);
            mask.apply(on(&pool, &buffers), at, &mut several, width);
            assert_eq!(alone, several);
            let sum: f64 = alone.iter().map(|&x| f64::from(x)).sum();
            let dropped = alone.iter().filter(|&&x| x == 0.0).count();
            let count = alone.len() as f64;
            assert!((sum / count - 1.0).abs() < 0.02, "{rate}");
            assert!((dropped as f64 / count - rate).abs() < 0.005, "{rate}");
            let kept = 1.0 / (1.0 - rate as f32);
            assert!(alone.iter().all(|&x| x == 0.0 || x == kept));
            // A row has the same mask wherever it is computed.
            let mut shard = vec![1.0; width];
            mask.apply(on(&Alone, &buffers), |_| at(7), &mut shard, width);
            assert_eq!(shard, alone[7 * width..8 * width]);
            if rate > 0.0 {
                assert_ne!(shard, alone[8 * width..9 * width]);
            }
        }
        let mask = Mask::new(Noise::new(1, Use::RecurrentDropout, 0), 0.5);
        let mut whole = vec![2.0; 3 * NUMBERS_PER_JOB + 7];
        let mut again = whole.clone();
        mask.apply_to_array(on(&pool, &buffers), &mut whole);
        mask.multiply(0, &mut again);
        assert_eq!(whole, again);
    }
}
