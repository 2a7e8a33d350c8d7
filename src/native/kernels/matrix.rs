//! Matrices packed for the product with one vector.

/// Outputs that are summed side by side: four AVX2 registers, two AVX-512 registers.
pub const PANEL: usize = 32;

/// The weights of one input to the outputs of one panel: two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; PANEL]);

/// A matrix (rows, columns) in panels of [`PANEL`] rows, each stored column by column: the product
/// with a vector reads memory once, in order, and broadcasts each input to all rows of the panel.
/// The last panel is filled up with zeros.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Line `panel * columns + column` holds that column of that panel.
    lines: Vec<Line>,
    rows: usize,
    columns: usize,
}

impl Packed {
    /// Packs `columns` of a row-major matrix of `width` columns.
    ///
    /// # Panics
    /// Where `columns` ends beyond `width`.
    pub fn new(matrix: &[f32], width: usize, columns: std::ops::Range<usize>) -> Self {
        let rows = matrix.len().checked_div(width).unwrap_or(0);
        let mut lines = Vec::with_capacity(rows.div_ceil(PANEL) * columns.len());
        for panel in (0..rows).step_by(PANEL) {
            for column in columns.clone() {
                let mut line = Line([0.0; PANEL]);
                for (slot, row) in line.0.iter_mut().zip(panel..rows) {
                    *slot = matrix[row * width + column];
                }
                lines.push(line);
            }
        }
        Self {
            lines,
            rows,
            columns: columns.len(),
        }
    }

    /// Outputs.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub const fn columns(&self) -> usize {
        self.columns
    }
}

/// `out += weight · x`.
#[inline(always)]
pub(super) fn accumulate(weight: &Packed, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), weight.columns, "inputs");
    assert_eq!(out.len(), weight.rows, "outputs");
    if x.is_empty() {
        return;
    }
    for (lines, out) in weight
        .lines
        .chunks_exact(x.len())
        .zip(out.chunks_mut(PANEL))
    {
        let mut start = Line([0.0; PANEL]);
        start.0[..out.len()].copy_from_slice(out);
        let end = panel(lines, x, &start);
        out.copy_from_slice(&end.0[..out.len()]);
    }
}

/// One panel; apart from the copies above, so that the sums stay in registers.
#[inline(always)]
fn panel(lines: &[Line], x: &[f32], start: &Line) -> Line {
    let mut sums = start.0;
    for (line, &x) in lines.iter().zip(x) {
        for (sum, &weight) in sums.iter_mut().zip(&line.0) {
            *sum = weight.mul_add(x, *sum);
        }
    }
    Line(sums)
}
