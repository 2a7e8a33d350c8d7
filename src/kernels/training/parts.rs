//! How a layer's work is split among threads: by rows of the batch, or by units.
//!
//! Usually each thread takes some rows through all steps, and the threads never meet. If there are
//! few rows and the recurrent weights don't fit in a core's own cache, a step takes as long as reading
//! them, and every core would read them all. In that case each thread takes some units of all rows and
//! reads only their weights, and the threads meet once per step. Saved activations are then sorted by
//! step and group of units, so that the results of a thread are contiguous. The choice depends only on
//! sizes, never on the threads.

use std::ops::Range;

use super::super::PANEL;
use super::{Layer, Steps};

/// Bytes of recurrent weights that fit in a core's own cache.
const NEAR: usize = 512 << 10;
/// Rows of a batch that take less time than reading weights from beyond that cache.
const FEW_ROWS: usize = 16;
/// Blocks of 32 units in a group: enough to make the products of a group worth a call.
const BLOCKS_PER_GROUP: usize = 2;

/// The blocks of 32 units that are computed and saved together: all, or some.
pub(super) fn groups(layer: &Layer, steps: &Steps) -> Vec<Range<usize>> {
    let by_units = size_of_val(layer.weight_hh) > NEAR && steps.batch() <= FEW_ROWS;
    groups_of(
        layer,
        if by_units {
            BLOCKS_PER_GROUP
        } else {
            usize::MAX
        },
    )
}

/// Groups of at most `size` blocks.
pub(super) fn groups_of(layer: &Layer, size: usize) -> Vec<Range<usize>> {
    let blocks = layer.layout().blocks();
    let size = size.min(blocks);
    let firsts = (0..blocks).step_by(size);
    firsts
        .map(|first| first..blocks.min(first + size))
        .collect()
}

/// Some rows of a batch and some units of a layer; one of the two is complete.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub rows: Range<usize>,
    /// Blocks of 32 units.
    pub blocks: Range<usize>,
    pub units: Range<usize>,
}

impl Part {
    /// The parts of a layer for `threads` threads: slices of the rows if there is one group, else
    /// the groups.
    pub(super) fn all(
        layer: &Layer,
        steps: &Steps,
        groups: &[Range<usize>],
        threads: usize,
    ) -> Vec<Self> {
        let rows = if groups.len() == 1 {
            steps.slices(threads)
        } else {
            std::iter::once(0..steps.batch()).collect()
        };
        let units = |end: usize| layer.hidden.min(end * PANEL);
        let by_rows = |rows: Range<usize>| {
            groups.iter().map(move |blocks| Self {
                rows: rows.clone(),
                blocks: blocks.clone(),
                units: units(blocks.start)..units(blocks.end),
            })
        };
        rows.into_iter().flat_map(by_rows).collect()
    }

    /// The panels of its gates.
    pub(super) const fn panels(&self, gates: usize) -> Range<usize> {
        self.blocks.start * gates..self.blocks.end * gates
    }

    /// The range of its gates among all gates.
    pub(super) const fn columns(&self, gates: usize) -> Range<usize> {
        self.panels(gates).start * PANEL..self.panels(gates).end * PANEL
    }

    /// Its units padded to whole panels.
    pub(super) const fn width(&self) -> usize {
        PANEL * (self.blocks.end - self.blocks.start)
    }

    /// Its rows of (B, width).
    pub(super) fn rows_of<'a>(&self, values: &'a [f32], width: usize) -> &'a [f32] {
        &values[self.rows.start * width..self.rows.end * width]
    }

    /// [`Part::rows_of`], mutable.
    pub(super) fn rows_of_mut<'a>(&self, values: &'a mut [f32], width: usize) -> &'a mut [f32] {
        &mut values[self.rows.start * width..self.rows.end * width]
    }

    /// Copies its units of rows (R, H) into rows of `width`, padded with zeros.
    pub(super) fn gather(&self, from: &[f32], hidden: usize, to: &mut [f32], width: usize) {
        let rows = from.chunks_exact(hidden).zip(to.chunks_exact_mut(width));
        for (from, to) in rows {
            let (own, padding) = to.split_at_mut(self.units.len());
            own.copy_from_slice(&from[self.units.clone()]);
            padding.fill(0.0);
        }
    }

    /// Copies rows of `width` to its units of rows (R, H).
    pub(super) fn scatter(&self, from: &[f32], width: usize, to: &mut [f32], hidden: usize) {
        let rows = from.chunks_exact(width).zip(to.chunks_exact_mut(hidden));
        for (from, to) in rows {
            to[self.units.clone()].copy_from_slice(&from[..self.units.len()]);
        }
    }

    /// Adds its units of rows (R, H) to rows in panels.
    pub(super) fn add(&self, from: &[f32], hidden: usize, to: &mut [f32]) {
        let rows = to.chunks_exact_mut(self.width());
        for (from, to) in from.chunks_exact(hidden).zip(rows) {
            for (to, from) in to.iter_mut().zip(&from[self.units.clone()]) {
                *to += from;
            }
        }
    }
}
