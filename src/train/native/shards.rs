//! Batches in shards, whose gradients are added as the leaves of a binary tree: (0 + 1) + (2 + 3) + …
//! The bits depend on the number of shards alone, not on who computes them.

use std::ops::Range;

use crate::kernels::Kernels;

/// The rows of shard `index` of `shards`.
pub const fn rows(rows: usize, index: usize, shards: usize) -> Range<usize> {
    rows * index / shards..rows * (index + 1) / shards
}

/// The sum of the shards' gradients so far.
#[derive(Default)]
pub struct Sum {
    /// Sums of 2ⁿ shards each, with n falling.
    parts: Vec<(u32, Vec<f32>)>,
    /// Buffers that may be overwritten.
    spare: Vec<Vec<f32>>,
}

impl Sum {
    /// A buffer of `size` numbers for the next shard's gradients. Its contents are arbitrary.
    pub fn buffer(&mut self, size: usize) -> Vec<f32> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(size, 0.0);
        buffer
    }

    /// Adds the next shard's gradients.
    pub fn add(&mut self, kernels: Kernels, gradients: Vec<f32>) {
        let mut own = (0, gradients);
        while let Some((level, _)) = self.parts.last()
            && *level == own.0
            && let Some((level, mut sum)) = self.parts.pop()
        {
            kernels.add(&own.1, &mut sum);
            self.spare.push(own.1);
            own = (level + 1, sum);
        }
        self.parts.push(own);
    }

    /// The sum of all shards. Hand it back with [`Sum::recycle`].
    pub fn total(&mut self, kernels: Kernels) -> Vec<f32> {
        let Some((_, mut total)) = self.parts.pop() else {
            return Vec::new();
        };
        while let Some((_, mut sum)) = self.parts.pop() {
            kernels.add(&total, &mut sum);
            self.spare.push(total);
            total = sum;
        }
        total
    }

    /// Takes back a buffer.
    pub fn recycle(&mut self, buffer: Vec<f32>) {
        self.spare.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_as_a_tree_in_few_buffers() {
        let kernels = Kernels::new();
        for shards in 1..20_usize {
            let leaves: Vec<f32> = (0..shards).map(|i| 0.1 + i as f32 * 1.7).collect();
            let mut sum = Sum::default();
            for &leaf in &leaves {
                let mut buffer = sum.buffer(1);
                buffer[0] = leaf;
                sum.add(kernels, buffer);
            }
            let total = sum.total(kernels);
            assert_eq!(total[0], tree(&leaves), "{shards}");
            let buffers = sum.spare.len() + 1;
            assert!(buffers as u32 <= shards.ilog2() + 2, "{shards}: {buffers}");
        }
    }

    /// The sum of the largest power of two below the length, plus that of the rest.
    fn tree(leaves: &[f32]) -> f32 {
        if let [leaf] = leaves {
            return *leaf;
        }
        let half = leaves.len().next_power_of_two() / 2;
        tree(&leaves[..half]) + tree(&leaves[half..])
    }

    #[test]
    fn every_row_is_in_one_shard() {
        for (all, shards) in [(7, 3), (8, 2), (5, 5), (9, 1)] {
            let found: Vec<usize> = (0..shards).flat_map(|i| rows(all, i, shards)).collect();
            assert_eq!(found, (0..all).collect::<Vec<_>>());
        }
    }
}
