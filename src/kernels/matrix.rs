//! Matrices packed for products with one vector or with many.

use std::ops::Range;

use super::lanes::{Lanes, unrolled_in_place};
use super::{Kernels, bf16};

/// Outputs that are summed in parallel: four AVX2 registers, two AVX-512 registers.
pub const PANEL: usize = 32;

/// Columns handled at a time if there are many vectors: half a panel of them and the
/// inputs fit in the first-level cache.
const COLUMNS_AT_ONCE: usize = 256;

/// Rows that are fetched ahead where they are far apart.
const ROWS_AHEAD: usize = 16;

/// Numbers in a cache line.
const CACHE_LINE: usize = 16;

/// The weights of one input to the outputs of one panel, or those of two inputs as [`bf16`] pairs: two
/// cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; PANEL]);

impl Line {
    const ZERO: Self = Self([0.0; PANEL]);
}

/// Lines of a panel for some columns, or numbers of a vector.
const fn lines_for(columns: usize, pairs: bool) -> usize {
    if pairs { columns.div_ceil(2) } else { columns }
}

/// How the rows of a matrix are laid out in panels of [`PANEL`].
///
/// The matrix of a recurrent layer has G gates of H rows each. A panel holds one gate of 32 units,
/// and the G panels of the same units follow each other: what a cell needs for these units is
/// contiguous, and a range of units is a range of panels. Other matrices have one gate. If H is
/// not a multiple of 32, the last panel of each gate is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The number of gates, G.
    pub gates: usize,
    /// H, the rows of one gate.
    pub units: usize,
}

impl Layout {
    /// The layout of a matrix of `rows` rows.
    ///
    /// # Panics
    /// If `gates` does not divide `rows`.
    pub fn new(rows: usize, gates: usize) -> Self {
        assert_eq!(rows % gates, 0, "every gate has as many rows");
        Self {
            gates,
            units: rows / gates,
        }
    }

    /// Groups of 32 units.
    pub const fn blocks(self) -> usize {
        self.units.div_ceil(PANEL)
    }

    /// Panels: G a block.
    pub const fn panels(self) -> usize {
        self.blocks() * self.gates
    }

    /// Outputs padded to whole panels: the length of a vector in this layout.
    pub const fn len(self) -> usize {
        self.panels() * PANEL
    }

    /// Whether there are no outputs.
    pub const fn is_empty(self) -> bool {
        self.units == 0
    }

    /// The rows of a panel, from its first lane on; fewer than [`PANEL`] if it is padded.
    pub fn rows(self, panel: usize) -> Range<usize> {
        let (block, gate) = (panel / self.gates, panel % self.gates);
        let first = block * PANEL;
        let end = self.units.min(first + PANEL);
        gate * self.units + first..gate * self.units + end
    }

    /// `values`, one per row, in this layout, padded with zeros.
    ///
    /// # Panics
    /// If `values` has another length.
    pub fn spread(self, values: &[f32]) -> Vec<f32> {
        assert_eq!(values.len(), self.gates * self.units, "one a row");
        let mut out = vec![0.0; self.len()];
        for (panel, out) in out.chunks_exact_mut(PANEL).enumerate() {
            let values = &values[self.rows(panel)];
            out[..values.len()].copy_from_slice(values);
        }
        out
    }
}

/// A matrix (rows, columns) in panels, each stored column by column: a product reads memory once,
/// in order, and broadcasts each input to all rows of the panel.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Line `panel * columns + column` holds that column of that panel; with pairs, half as many lines
    /// hold two columns each.
    lines: Vec<Line>,
    layout: Layout,
    columns: usize,
    pairs: bool,
}

impl Packed {
    /// Packs `columns` of a row-major matrix of `width` columns, whose rows are `gates` gates.
    ///
    /// # Panics
    /// If `columns` ends beyond `width`, or `gates` does not divide the rows.
    pub fn new(matrix: &[f32], width: usize, columns: Range<usize>, gates: usize) -> Self {
        let layout = Layout::new(matrix.len().checked_div(width).unwrap_or(0), gates);
        let mut lines = Vec::with_capacity(layout.panels() * columns.len());
        for panel in 0..layout.panels() {
            for column in columns.clone() {
                let mut line = Line::ZERO;
                for (slot, row) in line.0.iter_mut().zip(layout.rows(panel)) {
                    *slot = matrix[row * width + column];
                }
                lines.push(line);
            }
        }
        Self {
            lines,
            layout,
            columns: columns.len(),
            pairs: false,
        }
    }

    /// Zeros, to be overwritten by [`Packed::parts`]: as f32, or with `pairs` in bf16, two columns a line.
    pub fn zeros(layout: Layout, columns: usize, pairs: bool) -> Self {
        Self {
            lines: vec![Line::ZERO; layout.panels() * lines_for(columns, pairs)],
            layout,
            columns,
            pairs,
        }
    }

    /// Leaves nothing in it that could be of use.
    #[cfg(test)]
    pub fn spoil(&mut self) {
        self.lines.fill(Line([f32::NAN; PANEL]));
    }

    /// The panels one by one, so that several threads can fill them.
    pub fn parts(&mut self) -> impl Iterator<Item = PanelMut<'_>> {
        let (layout, columns) = (self.layout, self.columns);
        let stride = lines_for(columns, self.pairs);
        let panels = self.lines.chunks_mut(stride.max(1)).enumerate();
        panels.map(move |(panel, lines)| PanelMut {
            lines,
            layout,
            columns,
            panel,
        })
    }

    /// The layout of the outputs.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Inputs of a product: the columns that were packed.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Whether it is in bf16, two columns a line.
    pub const fn pairs(&self) -> bool {
        self.pairs
    }

    /// Bytes that a product reads.
    pub const fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// All panels, for a whole product.
    pub fn all(&self) -> Panels<'_> {
        self.panels(0..self.layout.panels())
    }

    /// Some of its panels.
    ///
    /// # Panics
    /// If there are fewer panels.
    pub fn panels(&self, panels: Range<usize>) -> Panels<'_> {
        self.part(panels, 0..self.columns)
    }

    /// Some columns of some of its panels.
    ///
    /// # Panics
    /// If there are fewer panels, or the columns begin or end within a pair.
    pub fn part(&self, panels: Range<usize>, columns: Range<usize>) -> Panels<'_> {
        let Self { pairs, .. } = *self;
        assert!(columns.end <= self.columns, "columns of the matrix");
        let whole = columns.start.is_multiple_of(2)
            && (columns.end.is_multiple_of(2) || columns.end == self.columns);
        assert!(whole || !pairs, "whole pairs");
        let stride = lines_for(self.columns, pairs);
        let lines = &self.lines[panels.start * stride..panels.end * stride];
        let first = lines_for(columns.start, pairs);
        Panels {
            lines: lines.get(first..).unwrap_or_default(),
            columns: columns.len(),
            pairs,
            stride,
            count: panels.len(),
        }
    }
}

/// One panel of a packed matrix, for writing.
#[derive(Debug)]
pub struct PanelMut<'a> {
    lines: &'a mut [Line],
    layout: Layout,
    columns: usize,
    panel: usize,
}

impl PanelMut<'_> {
    pub const fn len(&self) -> usize {
        self.columns * PANEL
    }

    /// Whether the panel is empty.
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The numbers, line by line.
    fn numbers(&mut self) -> &mut [f32] {
        let (numbers, length) = (self.lines.as_mut_ptr().cast(), self.lines.len() * PANEL);
        // SAFETY: a line is nothing but its numbers, as `repr(C)` lays them out, and is borrowed as they are.
        unsafe { std::slice::from_raw_parts_mut(numbers, length) }
    }

    /// Fills a panel of a matrix in bf16 with what `fill` writes to one in f32; overwrites `scratch`.
    pub fn fill_pairs(
        &mut self,
        kernels: Kernels,
        scratch: &mut Stacked,
        fill: impl FnOnce(&mut PanelMut),
    ) {
        scratch.begin(self.columns);
        scratch.lines.resize(self.columns, Line::ZERO);
        fill(&mut PanelMut {
            lines: &mut scratch.lines,
            ..*self
        });
        kernels.pair_rows(scratch);
        self.lines.copy_from_slice(&scratch.lines);
    }

    /// Copies from a row-major matrix (gates · H, columns), as PyTorch stores it.
    ///
    /// # Panics
    /// If the matrix is too small.
    pub fn fill(&mut self, kernels: Kernels, matrix: &[f32]) {
        let columns = self.lines.len();
        let mut rows = [&matrix[..0]; PANEL];
        let own = self.layout.rows(self.panel);
        let rows = &mut rows[..own.len()];
        for (slot, row) in rows.iter_mut().zip(own) {
            *slot = &matrix[row * columns..][..columns];
        }
        if rows.len() < PANEL {
            self.lines.fill(Line([0.0; PANEL]));
        }
        kernels.transpose(rows, self.numbers(), PANEL);
    }

    /// Copies from the transpose of a row-major matrix (G · H, outputs): its rows, which `inputs` lays out
    /// in panels, are the columns of this one.
    ///
    /// # Panics
    /// If the matrix is too small, or `inputs` has more panels than this one has columns.
    pub fn fill_transposed(&mut self, matrix: &[f32], inputs: Layout) {
        let outputs = self.layout.gates * self.layout.units;
        let rows = self.layout.rows(self.panel);
        for (panel, lines) in self.lines.chunks_mut(PANEL).enumerate() {
            let of_inputs = inputs.rows(panel);
            if of_inputs.len().min(rows.len()) < PANEL {
                lines.fill(Line([0.0; PANEL]));
            }
            for (line, row) in lines.iter_mut().zip(of_inputs) {
                let row = &matrix[row * outputs..][..outputs][rows.clone()];
                // Whole lines have a length that the compiler knows, and make no call.
                match row.first_chunk() {
                    Some(whole) => line.0 = *whole,
                    None => line.0[..row.len()].copy_from_slice(row),
                }
            }
        }
    }
}

/// Rows (K, width) of numbers in panels, packed so that [`accumulate`] sums over the rows, as a
/// weight's gradient needs.
#[derive(Debug, Default)]
pub struct Stacked {
    /// Line `panel * K + row`; with pairs, half as many lines hold two rows each.
    lines: Vec<Line>,
    rows: usize,
    pairs: bool,
}

impl Stacked {
    /// Clears it for `rows` rows.
    pub fn begin(&mut self, rows: usize) {
        self.rows = rows;
        self.pairs = false;
        self.lines.clear();
    }

    /// Appends a panel of another stack of as many rows.
    ///
    /// # Panics
    /// If it has fewer panels.
    pub fn repeat(&mut self, other: &Self, panel: usize) {
        self.lines
            .extend_from_slice(&other.lines[panel * self.rows..][..self.rows]);
    }

    /// Rounds all panels to bf16, two rows a line.
    #[inline(always)]
    pub(super) fn pair_rows(&mut self) {
        let (rows, pairs) = (self.rows, lines_for(self.rows, true));
        let panels = self.lines.len().checked_div(rows).unwrap_or(0);
        for panel in 0..panels {
            let first = panel * rows;
            for pair in 0..pairs {
                let even = self.lines[first + 2 * pair];
                let odd = if 2 * pair + 1 < rows {
                    self.lines[first + 2 * pair + 1]
                } else {
                    Line::ZERO
                };
                // Its rows have been read.
                let line = &mut self.lines[panel * pairs + pair].0;
                for ((line, even), odd) in line.iter_mut().zip(even.0).zip(odd.0) {
                    *line = bf16::pair(even, odd);
                }
            }
        }
        self.lines.truncate(panels * pairs);
        self.pairs = true;
    }

    /// All panels; the rows are their columns.
    ///
    /// # Panics
    /// If a panel has fewer rows.
    pub fn panels(&self) -> Panels<'_> {
        let stride = lines_for(self.rows, self.pairs);
        assert_eq!(self.lines.len() % stride.max(1), 0, "whole panels");
        Panels {
            lines: &self.lines,
            columns: self.rows,
            pairs: self.pairs,
            stride,
            count: self.lines.len().checked_div(stride).unwrap_or(0),
        }
    }
}

/// Appends one panel of some rows of `values` (rows, width) to `stack`; the next panel starts after K rows.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn push<V: Lanes>(
    stack: &mut Stacked,
    values: &[f32],
    width: usize,
    panel: usize,
) {
    let rows = values.len().checked_div(width).unwrap_or(0);
    assert!((panel + 1) * PANEL <= width, "panels of a row");
    let start = stack.lines.len();
    stack.lines.resize(start + rows, Line([0.0; PANEL]));
    for (row, line) in stack.lines[start..].iter_mut().enumerate() {
        // SAFETY: the row has the panel, as was checked; fetching is allowed anywhere; the caller vouches for the
        // instructions.
        unsafe {
            let from = values.as_ptr().add(row * width + panel * PANEL);
            // The rows are far apart, each in a page of its own, so that the processor does not see what is next.
            for near in (0..PANEL).step_by(CACHE_LINE) {
                V::fetch(from.wrapping_add(ROWS_AHEAD * width + near));
            }
            for k in (0..PANEL).step_by(V::COUNT) {
                V::load(from.add(k)).store(line.0.as_mut_ptr().add(k));
            }
        }
    }
}

/// Consecutive panels of a packed matrix, or consecutive columns of them.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    lines: &'a [Line],
    columns: usize,
    pairs: bool,
    /// Lines from one panel to the next.
    stride: usize,
    pub(super) count: usize,
}

impl<'a> Panels<'a> {
    /// Inputs of a product.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Whether they are in bf16, two columns a line.
    pub const fn pairs(&self) -> bool {
        self.pairs
    }

    /// Numbers of a vector as a product reads it: one a line.
    pub const fn depth(&self) -> usize {
        lines_for(self.columns, self.pairs)
    }

    /// The lines of one panel.
    #[inline(always)]
    pub(super) fn lines(&self, panel: usize) -> &'a [Line] {
        &self.lines[panel * self.stride..][..self.depth()]
    }
}

/// What a product does with a register of weights and the number of a vector that belongs to it.
///
/// # Safety
/// The machine has the instructions of the implementation.
pub(super) trait Arithmetic<V: Lanes> {
    /// Whether weights and numbers are [`bf16`] pairs.
    const PAIRS: bool;
    /// A sum as the first addition reads it.
    unsafe fn begin(sum: V) -> V;
    /// sum + weights · x.
    unsafe fn add(weights: V, x: V, sum: V) -> V;
}

/// f32, rounded once per addition.
pub(super) struct Single;

impl<V: Lanes> Arithmetic<V> for Single {
    const PAIRS: bool = false;

    #[inline(always)]
    unsafe fn begin(sum: V) -> V {
        sum
    }

    #[inline(always)]
    unsafe fn add(weights: V, x: V, sum: V) -> V {
        // SAFETY: the caller's.
        unsafe { weights.mul_add(x, sum) }
    }
}

/// `out += weight · x` for every vector: x (N, lines of a panel), out (N, panels · 32). Tiles of `ROWS`
/// vectors by `WIDE` registers of outputs stay in registers, `FULL` of which are a panel; the
/// choice of tiles changes no bit.
///
/// # Safety
/// The machine has the instructions of `V` and `A`.
#[inline(always)]
pub(super) unsafe fn accumulate<
    V: Lanes,
    A: Arithmetic<V>,
    const ROWS: usize,
    const WIDE: usize,
    const FULL: usize,
>(
    weight: Panels,
    x: &[f32],
    out: &mut [f32],
) {
    const { assert!(FULL * V::COUNT == PANEL, "these fill a panel") };
    const { assert!(FULL.is_multiple_of(WIDE), "and so do tiles") };
    assert_eq!(weight.pairs, A::PAIRS, "the kind of product");
    let (columns, count) = (weight.depth(), weight.count);
    if columns == 0 || count == 0 {
        return;
    }
    assert_eq!(x.len() % columns, 0, "whole vectors");
    let rows = x.len() / columns;
    assert_eq!(out.len(), rows * count * PANEL, "outputs");
    if rows == 1 {
        // SAFETY: the lengths have been checked, the caller vouches for the instructions.
        return unsafe { one::<V, A, FULL>(weight, x, out) };
    }
    for panel in 0..count {
        for (part, lines) in weight.lines(panel).chunks(COLUMNS_AT_ONCE).enumerate() {
            let offsets = Offsets {
                columns,
                from: part * COLUMNS_AT_ONCE,
                width: count * PANEL,
                output: panel * PANEL,
            };
            let mut row = 0;
            // SAFETY: a tile stays below `rows`, within the lines' columns and within the panel, and
            // the lengths of x and out have been checked; the caller vouches for the instructions.
            unsafe {
                if ROWS <= rows {
                    for first in (0..FULL).step_by(WIDE) {
                        tile::<V, A, ROWS, WIDE, true>(lines, first, offsets, x, out);
                    }
                    row = ROWS;
                }
                while row + ROWS <= rows {
                    for first in (0..FULL).step_by(WIDE) {
                        tile::<V, A, ROWS, WIDE, false>(lines, first, offsets.at(row), x, out);
                    }
                    row += ROWS;
                }
                while row + 4 <= rows {
                    for first in (0..FULL).step_by(WIDE) {
                        tile::<V, A, 4, WIDE, false>(lines, first, offsets.at(row), x, out);
                    }
                    row += 4;
                }
                while row + 2 <= rows {
                    tile::<V, A, 2, FULL, false>(lines, 0, offsets.at(row), x, out);
                    row += 2;
                }
                if row < rows {
                    tile::<V, A, 1, FULL, false>(lines, 0, offsets.at(row), x, out);
                }
            }
        }
    }
}

/// The offsets of a tile's vectors and outputs.
#[derive(Clone, Copy)]
struct Offsets {
    /// Inputs of a vector.
    columns: usize,
    /// The first of its inputs that the lines are for.
    from: usize,
    /// Outputs of a vector.
    width: usize,
    /// The first of its outputs that the lines are for.
    output: usize,
}

impl Offsets {
    /// The same offsets from vector `row` on.
    #[inline(always)]
    const fn at(self, row: usize) -> Self {
        Self {
            from: self.from + row * self.columns,
            output: self.output + row * self.width,
            ..self
        }
    }
}

/// `ROWS` vectors and `WIDE` registers of the panel's outputs, from the `first` on. With `AHEAD`,
/// the following lines are prefetched: all vectors use the present lines first, so the next ones
/// arrive in time even from memory that other programs keep busy.
///
/// # Safety
/// x and out reach as far as `offsets` says, and the machine has the instructions of `V` and `A`.
#[inline(always)]
unsafe fn tile<
    V: Lanes,
    A: Arithmetic<V>,
    const ROWS: usize,
    const WIDE: usize,
    const AHEAD: bool,
>(
    lines: &[Line],
    first: usize,
    offsets: Offsets,
    x: &[f32],
    out: &mut [f32],
) {
    debug_assert!(offsets.from + (ROWS - 1) * offsets.columns + lines.len() <= x.len());
    debug_assert!(offsets.output + (ROWS - 1) * offsets.width + PANEL <= out.len());
    let lane = first * V::COUNT;
    // SAFETY: the caller's, as said above.
    unsafe {
        let x = x.as_ptr().add(offsets.from);
        let out = out.as_mut_ptr().add(offsets.output + lane);
        let mut sums = [[V::splat(0.0); WIDE]; ROWS];
        unrolled_in_place!(ROWS, |row| {
            unrolled_in_place!(WIDE, |part| {
                let sum = V::load(out.add(row * offsets.width + part * V::COUNT));
                sums[row][part] = A::begin(sum);
            });
        });
        for (column, line) in lines.iter().enumerate() {
            let line = line.0.as_ptr().add(lane);
            if AHEAD {
                for near in (0..WIDE * V::COUNT).step_by(CACHE_LINE) {
                    V::fetch(line.wrapping_add(COLUMNS_AT_ONCE * PANEL + near));
                }
            }
            let mut weights = [V::splat(0.0); WIDE];
            unrolled_in_place!(WIDE, |part| weights[part] =
                V::load(line.add(part * V::COUNT)));
            unrolled_in_place!(ROWS, |row| {
                let x = V::splat(*x.add(row * offsets.columns + column));
                unrolled_in_place!(WIDE, |part| {
                    sums[row][part] = A::add(weights[part], x, sums[row][part]);
                });
            });
        }
        unrolled_in_place!(ROWS, |row| {
            unrolled_in_place!(WIDE, |part| {
                sums[row][part].store(out.add(row * offsets.width + part * V::COUNT));
            });
        });
    }
}

/// One vector: two panels at a time, so that there are enough independent sums to hide their latency.
///
/// # Safety
/// x has as many numbers as a panel has lines, out 32 a panel, and the machine has the
/// instructions of `V` and `A`.
#[inline(always)]
unsafe fn one<V: Lanes, A: Arithmetic<V>, const FULL: usize>(
    weight: Panels,
    x: &[f32],
    out: &mut [f32],
) {
    let mut outs = out.chunks_exact_mut(2 * PANEL);
    for (pair, out) in (&mut outs).enumerate() {
        let (left, right) = (weight.lines(2 * pair), weight.lines(2 * pair + 1));
        // SAFETY: `out` has two panels, a line one; the caller vouches for the instructions.
        unsafe {
            let out = out.as_mut_ptr();
            let mut sums = [[V::splat(0.0); FULL]; 2];
            unrolled_in_place!(2, |panel| {
                unrolled_in_place!(FULL, |part| {
                    let sum = V::load(out.add(panel * PANEL + part * V::COUNT));
                    sums[panel][part] = A::begin(sum);
                });
            });
            for ((left, right), &x) in left.iter().zip(right).zip(x) {
                let x = V::splat(x);
                let lines = [left.0.as_ptr(), right.0.as_ptr()];
                unrolled_in_place!(2, |panel| {
                    unrolled_in_place!(FULL, |part| {
                        let weight = V::load(lines[panel].add(part * V::COUNT));
                        sums[panel][part] = A::add(weight, x, sums[panel][part]);
                    });
                });
            }
            unrolled_in_place!(2, |panel| {
                unrolled_in_place!(FULL, |part| {
                    sums[panel][part].store(out.add(panel * PANEL + part * V::COUNT));
                });
            });
        }
    }
    let out = outs.into_remainder();
    if !out.is_empty() {
        let offsets = Offsets {
            columns: x.len(),
            from: 0,
            width: PANEL,
            output: 0,
        };
        let lines = weight.lines(weight.count - 1);
        // SAFETY: one panel is left, and `out` has one.
        unsafe { tile::<V, A, 1, FULL, false>(lines, 0, offsets, x, out) };
    }
}
