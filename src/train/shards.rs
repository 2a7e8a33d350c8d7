//! Batches in shards, whose gradients are added as the leaves of a binary tree: (0 + 1) + (2 + 3) + …
//! The bits depend on the number of shards alone, not on who computes them.

use std::ops::Range;

use crate::kernels::Kernels;

/// The rows of shard `index` of `shards`.
pub const fn rows(rows: usize, index: usize, shards: usize) -> Range<usize> {
    rows * index / shards..rows * (index + 1) / shards
}

/// Values of adjacent shards, added as the tree does.
pub struct Tree<V> {
    /// The largest sums that the tree has over these shards.
    nodes: Vec<Node<V>>,
    /// The number of the next shard.
    next: usize,
}

/// A sum of the 2ⁿ shards `index`·2ⁿ and those after it.
struct Node<V> {
    level: u32,
    index: usize,
    values: V,
}

impl<V> Tree<V> {
    /// A sum of no shards yet, whose first is number `first` of the batch.
    pub const fn new(first: usize) -> Self {
        Self {
            nodes: Vec::new(),
            next: first,
        }
    }

    /// Adds the sum of the next 2ⁿ shards, n being `level`; `add` adds two sums, the left one first.
    pub fn push(&mut self, level: u32, values: V, mut add: impl FnMut(V, V) -> V) {
        let mut own = Node {
            level,
            index: self.next >> level,
            values,
        };
        self.next += 1 << level;
        while own.index % 2 == 1
            && let Some(left) = self.nodes.pop_if(|left| left.level == own.level)
        {
            own = Node {
                level: own.level + 1,
                index: own.index / 2,
                values: add(left.values, own.values),
            };
        }
        self.nodes.push(own);
    }

    /// The sum of all shards, by `add`.
    pub fn total(&mut self, mut add: impl FnMut(V, V) -> V) -> Option<V> {
        let mut total = self.nodes.pop()?.values;
        while let Some(left) = self.nodes.pop() {
            total = add(left.values, total);
        }
        Some(total)
    }

    /// The sums that this one consists of, in the order of their shards; see [`levels`].
    pub fn nodes(&self) -> impl Iterator<Item = &V> {
        self.nodes.iter().map(|node| &node.values)
    }
}

/// The sum of the gradients of adjacent shards so far, and their losses.
pub struct Sum {
    tree: Tree<Vec<f32>>,
    /// The losses of the shards.
    losses: Vec<f64>,
    /// Buffers that may be overwritten.
    spare: Vec<Vec<f32>>,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            tree: Tree::new(0),
            losses: Vec::new(),
            spare: Vec::new(),
        }
    }
}

impl Sum {
    /// Begins a sum whose first shard is number `first` of the batch.
    pub fn begin(&mut self, first: usize) {
        let before = std::mem::replace(&mut self.tree, Tree::new(first));
        self.spare
            .extend(before.nodes.into_iter().map(|node| node.values));
        self.losses.clear();
    }

    /// A buffer of `size` numbers for the next shard's gradients. Its contents are arbitrary.
    pub fn buffer(&mut self, size: usize) -> Vec<f32> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(size, 0.0);
        buffer
    }

    /// Adds the next shard's gradients and its loss.
    pub fn add(&mut self, kernels: Kernels, gradients: Vec<f32>, loss: f64) {
        self.losses.push(loss);
        self.add_node(kernels, 0, gradients);
    }

    fn add_node(&mut self, kernels: Kernels, level: u32, values: Vec<f32>) {
        let spare = &mut self.spare;
        self.tree.push(level, values, adding(kernels, spare));
    }

    /// The sum of all shards. Hand it back with [`Sum::recycle`].
    pub fn total(&mut self, kernels: Kernels) -> Vec<f32> {
        let total = self.tree.total(adding(kernels, &mut self.spare));
        total.unwrap_or_default()
    }

    /// The losses of the shards that were added.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// The sums that this one consists of, in the order of their shards.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &[f32]> {
        self.tree.nodes().map(|values| &values[..])
    }

    /// Adds what [`Sum::nodes`] of the sum of the next `shards` shards has, of which `node` returns one after the
    /// other.
    pub(super) fn add_nodes<'a>(
        &mut self,
        kernels: Kernels,
        shards: Range<usize>,
        node: impl Iterator<Item = &'a [f32]>,
    ) {
        for (level, values) in levels(shards).into_iter().zip(node) {
            let mut buffer = self.buffer(values.len());
            buffer.copy_from_slice(values);
            self.add_node(kernels, level, buffer);
        }
    }

    /// Takes back a buffer.
    pub fn recycle(&mut self, buffer: Vec<f32>) {
        self.spare.push(buffer);
    }
}

/// `left` + `right` in the buffer of `left`; that of `right` is spare then.
fn adding(
    kernels: Kernels,
    spare: &mut Vec<Vec<f32>>,
) -> impl FnMut(Vec<f32>, Vec<f32>) -> Vec<f32> {
    move |mut left, right| {
        kernels.add(&right, &mut left);
        spare.push(right);
        left
    }
}

/// The levels of the largest sums that the tree has over some shards alone, in their order.
pub fn levels(shards: Range<usize>) -> Vec<u32> {
    let mut levels = Vec::new();
    let mut at = shards.start;
    while at < shards.end {
        let aligned = if at == 0 {
            u32::MAX
        } else {
            at.trailing_zeros()
        };
        let level = aligned.min((shards.end - at).ilog2());
        levels.push(level);
        at += 1 << level;
    }
    levels
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
            for _ in 0..2 {
                sum.begin(0);
                for (&leaf, loss) in leaves.iter().zip(0..) {
                    let mut buffer = sum.buffer(1);
                    buffer[0] = leaf;
                    sum.add(kernels, buffer, f64::from(loss));
                }
                let total = sum.total(kernels);
                assert_eq!(total[0], tree(&leaves), "{shards}");
                assert_eq!(sum.losses().len(), shards);
                sum.recycle(total);
            }
            let buffers = sum.spare.len();
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
    fn a_tree_may_be_cut_anywhere() {
        let kernels = Kernels::new();
        for shards in 1..14_usize {
            let leaves: Vec<f32> = (0..shards).map(|i| 0.1 + i as f32 * 1.7).collect();
            for parts in 1..=shards + 1 {
                let mut whole = Sum::default();
                whole.begin(0);
                for part in 0..parts {
                    let own = rows(shards, part, parts);
                    let mut sum = Sum::default();
                    sum.begin(own.start);
                    for &leaf in &leaves[own.clone()] {
                        sum.add(kernels, vec![leaf], 0.0);
                    }
                    assert_eq!(sum.nodes().count(), levels(own.clone()).len());
                    whole.add_nodes(kernels, own, sum.nodes());
                }
                assert_eq!(whole.total(kernels), [tree(&leaves)], "{shards} {parts}");
            }
        }
    }

    #[test]
    fn every_row_is_in_one_shard() {
        for (all, shards) in [(7, 3), (8, 2), (5, 5), (9, 1)] {
            let found: Vec<usize> = (0..shards).flat_map(|i| rows(all, i, shards)).collect();
            assert_eq!(found, (0..all).collect::<Vec<_>>());
        }
    }
}
