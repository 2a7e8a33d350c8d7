//! Products in bf16 with f32 sums, by the arithmetic of AVX512_BF16.
//!
//! A bf16 is the upper half of an f32. Two neighbours are a pair: 32 bits, which this code carries as an
//! f32, with the first of the two in the lower half. `VDPBF16PS` adds the products of a pair of weights and a
//! pair of inputs to a sum. Intel's manual defines it as two fused multiply-adds (Software Developer's Manual,
//! volume 2C, "VDPBF16PS", Operation):
//!
//! ```text
//! // FP32 FMA with daz in, ftz out and RNE rounding. MXCSR neither consulted nor updated.
//! srcdest.fp32[i] += make_fp32(src1.bfloat16[2*i+1]) * make_fp32(t.bfloat[1])
//! srcdest.fp32[i] += make_fp32(src1.bfloat16[2*i+0]) * make_fp32(t.bfloat[0])
//! ```
//!
//! So the odd element comes first, each of the two rounds once to nearest even, and subnormal numbers count
//! as zeros of their sign, in both inputs, in the sum, and in what comes out. [`accumulate`] has this arithmetic
//! on any lanes; whether every processor agrees with the manual about subnormals is not documented.
//!
//! Conversion rounds to nearest even, as `VCVTNE2PS2BF16` does: subnormal numbers become zeros, and NaN stays
//! NaN. Therefore no half of a pair is subnormal.

use super::PANEL;
use super::lanes::Lanes;
use super::matrix::Panels;

/// The upper half of an f32's bits.
const UPPER_HALF: u32 = !0xFFFF;
/// The sign bit.
const SIGN: u32 = 1 << 31;
/// The bit that makes a NaN quiet.
const QUIET: u32 = 1 << 22;

/// The bf16 nearest to `x`, in the upper half; the lower half is arbitrary.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    // Half of a unit in the last place, but just less if that place is even.
    let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    if x.is_nan() {
        bits | QUIET
    } else if x.abs() < f32::MIN_POSITIVE {
        bits & SIGN
    } else {
        nearest
    }
}

/// Two numbers as a pair.
#[inline(always)]
pub(super) fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(rounded(odd) & UPPER_HALF | rounded(even) >> 16)
}

/// Rows (N, columns) in pairs (N, ⌈columns / 2⌉), each by `pairs_of_row`.
#[inline(always)]
pub(super) fn pairs(
    x: &[f32],
    columns: usize,
    pairs: &mut [f32],
    pairs_of_row: impl Fn(&[f32], &mut [f32]),
) {
    let depth = columns.div_ceil(2);
    if depth == 0 {
        return;
    }
    assert_eq!(x.len() / columns * depth, pairs.len(), "pairs");
    for (x, pairs) in x.chunks_exact(columns).zip(pairs.chunks_exact_mut(depth)) {
        pairs_of_row(x, pairs);
    }
}

/// A row (columns) in pairs (⌈columns / 2⌉).
#[inline(always)]
pub(super) fn pairs_of_row(x: &[f32], pairs: &mut [f32]) {
    let (twos, last) = x.as_chunks();
    for (to, &[even, odd]) in pairs.iter_mut().zip(twos) {
        *to = pair(even, odd);
    }
    if let ([even], Some(to)) = (last, pairs.last_mut()) {
        *to = pair(*even, 0.0);
    }
}

/// `x` with zeros for subnormal numbers.
#[inline(always)]
unsafe fn flushed<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let zero = V::splat(0.0).with_sign_of(x);
        x.abs().if_less(V::splat(f32::MIN_POSITIVE), zero, x)
    }
}

/// [`matrix::accumulate`](super::matrix::accumulate) without instructions for bf16: the same sums in the same
/// order. `FULL` registers are a panel.
///
/// The tiles of f32 would make a function so large that the compiler leaves every operation a call, which
/// takes twenty times as long. Therefore these are loops, one vector at a time.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn accumulate<V: Lanes, const FULL: usize>(
    weight: Panels,
    x: &[f32],
    out: &mut [f32],
) {
    const { assert!(FULL * V::COUNT == PANEL, "these fill a panel") };
    assert!(weight.pairs(), "weights in bf16");
    let (depth, count) = (weight.depth(), weight.count);
    if depth == 0 || count == 0 {
        return;
    }
    assert_eq!(x.len() % depth, 0, "whole vectors");
    assert_eq!(out.len(), x.len() / depth * count * PANEL, "outputs");
    for (x, out) in x
        .chunks_exact(depth)
        .zip(out.chunks_exact_mut(count * PANEL))
    {
        for (panel, out) in out.chunks_exact_mut(PANEL).enumerate() {
            // SAFETY: `out` and a line are panels; the caller vouches for the instructions.
            unsafe {
                let mut sums = [V::splat(0.0); FULL];
                for (part, sum) in sums.iter_mut().enumerate() {
                    // Every later sum is flushed where it is computed.
                    *sum = flushed(V::load(out.as_ptr().add(part * V::COUNT)));
                }
                for (line, &x) in weight.lines(panel).iter().zip(x) {
                    let x = V::splat(x);
                    let (even, odd) = (x.lower_half(), x.upper_half());
                    for (part, sum) in sums.iter_mut().enumerate() {
                        let weights = V::load(line.0.as_ptr().add(part * V::COUNT));
                        let first = flushed(weights.upper_half().mul_add(odd, *sum));
                        *sum = flushed(weights.lower_half().mul_add(even, first));
                    }
                }
                for (part, sum) in sums.into_iter().enumerate() {
                    sum.store(out.as_mut_ptr().add(part * V::COUNT));
                }
            }
        }
    }
}

/// The same with the instructions of AVX512_BF16.
#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    };

    use super::super::matrix::{self, Arithmetic, Panels};

    /// The arithmetic in one instruction.
    struct Instruction;

    impl Arithmetic<__m512> for Instruction {
        const PAIRS: bool = true;

        #[inline(always)]
        unsafe fn begin(sum: __m512) -> __m512 {
            sum
        }

        #[inline(always)]
        unsafe fn add(weights: __m512, x: __m512, sum: __m512) -> __m512 {
            // SAFETY: the caller's; both types are 64 bytes without padding.
            unsafe {
                let weights = std::mem::transmute::<__m512, __m512bh>(weights);
                let x = std::mem::transmute::<__m512, __m512bh>(x);
                _mm512_dpbf16_ps(sum, weights, x)
            }
        }
    }

    /// [`matrix::accumulate`] with the instruction; tiles as those of AVX-512.
    #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
    pub fn accumulate(weight: Panels, x: &[f32], out: &mut [f32]) {
        // SAFETY: the instructions are those that are enabled.
        unsafe { matrix::accumulate::<__m512, Instruction, 12, 2, 2>(weight, x, out) }
    }

    /// [`pairs`](super::pairs), 32 numbers at a time.
    #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
    pub fn pairs(x: &[f32], columns: usize, pairs: &mut [f32]) {
        super::pairs(x, columns, pairs, |x, pairs| {
            let (many, last) = x.as_chunks::<32>();
            let (to, rest) = pairs.split_at_mut(16 * many.len());
            for (x, to) in many.iter().zip(to.as_chunks_mut::<16>().0) {
                // SAFETY: 32 numbers are read and 16 written, of any alignment; the types are 64 bytes
                // without padding. The second argument becomes the first half.
                unsafe {
                    let (low, high) = (x.as_ptr(), x.as_ptr().add(16));
                    let both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(high), _mm512_loadu_ps(low));
                    let both = std::mem::transmute::<__m512bh, __m512>(both);
                    _mm512_storeu_ps(to.as_mut_ptr(), both);
                }
            }
            super::pairs_of_row(last, rest);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Level;
    use crate::kernels::{Kernels, Layout, PANEL, Packed, Stacked};
    use crate::testing::Numbers;

    fn levels() -> impl Iterator<Item = Kernels> {
        Level::supported().filter_map(Kernels::at)
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// The two bf16 of a pair, as f32.
    fn halves(pair: f32) -> [f32; 2] {
        [pair.to_bits() << 16, pair.to_bits() & UPPER_HALF].map(f32::from_bits)
    }

    #[test]
    fn numbers_become_the_nearest_bf16_and_nan_stays_nan() {
        let lower = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
        let all = |upper: u32| lower.map(|lower| f32::from_bits(upper << 16 | lower));
        let values: Vec<f32> = (0..1 << 16).flat_map(all).collect();
        for kernels in levels() {
            let mut found = vec![0.0; values.len() / 2];
            kernels.pairs(&values, values.len(), &mut found);
            let found = found.into_iter().flat_map(halves);
            for (found, &value) in found.zip(&values) {
                let (upper, lower) = (value.to_bits() >> 16, value.to_bits() & 0xFFFF);
                let up = lower > 0x8000 || (lower == 0x8000 && upper % 2 == 1);
                let want = if value.is_subnormal() {
                    0.0_f32.copysign(value)
                } else {
                    f32::from_bits((upper + u32::from(up)) << 16)
                };
                let same = found.to_bits() == want.to_bits();
                assert!(same || value.is_nan() && found.is_nan(), "{value} {found}");
            }
        }
    }

    #[test]
    fn a_row_of_odd_length_ends_with_a_zero() {
        for kernels in levels() {
            let mut pairs = [f32::NAN; 4];
            kernels.pairs(&[1.0, 2.0, -3.0, 4.0, 5.0, 6.5], 3, &mut pairs);
            let want = [[1.0, 2.0], [-3.0, 0.0], [4.0, 5.0], [6.5, 0.0]];
            assert_eq!(pairs.map(halves), want);
            for columns in 1..70 {
                let x = Numbers::new(19).vector(2 * columns, 1.0);
                let mut pairs = vec![f32::NAN; 2 * columns.div_ceil(2)];
                kernels.pairs(&x, columns, &mut pairs);
                let rows = pairs.chunks_exact(columns.div_ceil(2));
                for (pairs, x) in rows.zip(x.chunks_exact(columns)) {
                    let mut want = vec![f32::NAN; pairs.len()];
                    pairs_of_row(x, &mut want);
                    assert_eq!(bits(pairs), bits(&want), "{columns}");
                }
            }
        }
    }

    /// A matrix (rows, columns) in bf16.
    fn packed(matrix: &[f32], columns: usize, gates: usize) -> Packed {
        let layout = Layout::new(matrix.len() / columns, gates);
        let mut packed = Packed::zeros(layout, columns, true);
        let mut scratch = Stacked::default();
        for mut panel in packed.parts() {
            panel.fill_pairs(Kernels::new(), &mut scratch, |panel| {
                panel.fill(Kernels::new(), matrix);
            });
        }
        packed
    }

    fn rounded_pairs(x: &[f32], columns: usize) -> Vec<f32> {
        let mut pairs = vec![f32::NAN; x.len() / columns * columns.div_ceil(2)];
        Kernels::new().pairs(x, columns, &mut pairs);
        pairs
    }

    /// The manual's formula for one output.
    fn naive(weights: &[f32], x: &[f32], mut sum: f32) -> f32 {
        let flush = |x: f32| if x.is_subnormal() { x * 0.0 } else { x };
        let bf16 = |x: f32| f32::from_bits(super::rounded(x) & UPPER_HALF);
        let mut add = |w: f32, x: f32| {
            sum = flush(flush(bf16(w)).mul_add(flush(bf16(x)), flush(sum)));
        };
        for (weights, x) in weights.chunks(2).zip(x.chunks(2)) {
            add(
                weights.get(1).copied().unwrap_or(0.0),
                x.get(1).copied().unwrap_or(0.0),
            );
            add(weights[0], x[0]);
        }
        sum
    }

    /// Numbers of all magnitudes down to subnormal products and sums.
    fn wide(numbers: &mut Numbers, len: usize) -> Vec<f32> {
        let sizes = numbers.vector(len, 32.0);
        let values = numbers.vector(len, 1.0).into_iter().zip(sizes);
        values.map(|(x, size)| x * (size - 35.0).exp2()).collect()
    }

    #[test]
    fn a_product_is_the_documented_formula_bit_for_bit() {
        let mut numbers = Numbers::new(23);
        for (gates, units, columns) in [
            (1, 33, 1),
            (3, 7, 2),
            (1, 97, 31),
            (4, 33, 129),
            (1, 5, 600),
        ] {
            for tiny in [false, true] {
                let mut vector = |len| {
                    if tiny {
                        wide(&mut numbers, len)
                    } else {
                        numbers.vector(len, 1.0)
                    }
                };
                let matrix = vector(gates * units * columns);
                let weight = packed(&matrix, columns, gates);
                let (layout, width) = (weight.layout(), weight.layout().len());
                let padding = vec![0.0; columns];
                for rows in [1, 2, 3, 13] {
                    let x = vector(rows * columns);
                    let mut start = vector(rows * width);
                    if tiny {
                        for sum in &mut start {
                            *sum *= 1e-19;
                        }
                    }
                    let mut want = start.clone();
                    for (x, want) in x.chunks(columns).zip(want.chunks_mut(width)) {
                        for (lane, sum) in want.iter_mut().enumerate() {
                            let row = layout.rows(lane / PANEL).nth(lane % PANEL);
                            let row = row.map(|row| &matrix[row * columns..][..columns]);
                            *sum = naive(row.unwrap_or(&padding), x, *sum);
                        }
                    }
                    let x = rounded_pairs(&x, columns);
                    for kernels in levels() {
                        let mut found = start.clone();
                        kernels.accumulate_pairs_slowly(weight.all(), &x, &mut found);
                        let what = format!("{} {units}×{columns} {rows}", kernels.level());
                        assert!(bits(&found) == bits(&want), "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_odd_element_of_a_pair_comes_first_and_subnormal_numbers_are_zeros() {
        let product = |weights: &[f32], x: &[f32], start: f32| {
            let weight = packed(weights, weights.len(), 1);
            let mut out = weight.layout().spread(&[start]);
            let x = rounded_pairs(x, x.len());
            Kernels::new().accumulate_pairs_slowly(weight.all(), &x, &mut out);
            out[0]
        };
        let large = 2.0_f32.powi(30);
        assert_eq!(product(&[1.0, large], &[1.0, 1.0], -large), 1.0);
        assert_eq!(product(&[large, 1.0], &[1.0, 1.0], -large), 0.0);
        let tiny = f32::MIN_POSITIVE;
        assert_eq!(product(&[tiny, tiny], &[0.5, 0.5], 0.0), 0.0);
        assert_eq!(product(&[tiny, 0.0], &[1.0, 1.0], tiny / 2.0), tiny);
        assert_eq!(product(&[1.0, tiny], &[tiny / 2.0, 1.0], tiny), 2.0 * tiny);
    }

    #[test]
    fn some_panels_some_columns_and_stacked_rows_give_the_same_bits() {
        let mut numbers = Numbers::new(29);
        let (units, columns) = (70, 97);
        let matrix = numbers.vector(units * columns, 1.0);
        let weight = packed(&matrix, columns, 1);
        let width = weight.layout().len();
        let x = rounded_pairs(&numbers.vector(5 * columns, 1.0), columns);
        let mut stacked = Stacked::default();
        stacked.begin(columns);
        // (columns, width).
        let turned: Vec<f32> = (0..columns * width)
            .map(|at| {
                let row = at % width;
                matrix
                    .get(row * columns + at / width)
                    .filter(|_| row < units)
                    .copied()
                    .unwrap_or(0.0)
            })
            .collect();
        for panel in 0..weight.layout().panels() {
            Kernels::new().push(&mut stacked, &turned, width, panel);
        }
        Kernels::new().pair_rows(&mut stacked);
        let start = numbers.vector(5 * width, 1.0);
        for kernels in levels() {
            let mut want = start.clone();
            kernels.accumulate_pairs_slowly(weight.all(), &x, &mut want);
            let mut found = start.clone();
            kernels.accumulate_pairs_slowly(stacked.panels(), &x, &mut found);
            assert!(bits(&found) == bits(&want), "{}", kernels.level());
            let depth = columns.div_ceil(2);
            let row = &x[depth..2 * depth];
            let mut found = start[width + PANEL..2 * width].to_vec();
            for part in [0..32, 32..columns] {
                let of_part = part.start / 2..part.end.div_ceil(2);
                let weight = weight.part(1..width / PANEL, part);
                kernels.accumulate_pairs_slowly(weight, &row[of_part], &mut found);
            }
            assert!(bits(&found) == bits(&want[width + PANEL..2 * width]));
        }
    }

    /// A product by the instruction, the same without, and the sum of the absolute values of what is added.
    fn twice(matrix: &[f32], x: &[f32], start: f32) -> Option<[Vec<f32>; 3]> {
        let kernels = Kernels::at(Level::Bf16)?;
        let (weight, columns) = (packed(matrix, x.len(), 1), x.len());
        let size: Vec<f32> = matrix.iter().map(|x| x.abs()).collect();
        let x = rounded_pairs(x, columns);
        let mut out = [start, start, start.abs()].map(|start| vec![start; weight.layout().len()]);
        let [found, want, sizes] = &mut out;
        kernels.accumulate_pairs(weight.all(), &x, found);
        kernels.accumulate_pairs_slowly(weight.all(), &x, want);
        let ones = rounded_pairs(&vec![1.0; columns], columns);
        kernels.accumulate_pairs_slowly(packed(&size, columns, 1).all(), &ones, sizes);
        Some(out)
    }

    /// Only whole numbers are compared bit by bit: no processor documents what it does with subnormal sums,
    /// or with the sum inside a pair, beyond the manual's formula.
    #[test]
    fn the_instruction_computes_the_same_where_the_machine_has_it() {
        let mut numbers = Numbers::new(31);
        for (units, columns) in [(1, 1), (33, 64), (97, 301), (512, 129)] {
            let whole =
                |values: Vec<f32>| -> Vec<f32> { values.into_iter().map(f32::round).collect() };
            let matrix = whole(numbers.vector(units * columns, 100.0));
            let x = whole(numbers.vector(columns, 100.0));
            let Some([found, want, _]) = twice(&matrix, &x, -3.0) else {
                return;
            };
            assert_eq!(bits(&found), bits(&want), "{units}×{columns}");
            let (matrix, x) = (
                numbers.vector(units * columns, 1.0),
                numbers.vector(columns, 1.0),
            );
            let Some([found, want, sizes]) = twice(&matrix, &x, 0.3) else {
                return;
            };
            for ((found, want), size) in found.iter().zip(want).zip(sizes) {
                let within = 4.0 * f32::EPSILON * size;
                assert!((found - want).abs() <= within, "{units}×{columns}");
            }
        }
    }
}
