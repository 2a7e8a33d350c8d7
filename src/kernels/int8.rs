//! Products with weights of eight bits.
//!
//! A weight is q · s with q in −127…127 and one scale s a row. A vector is (u − 64) · s with u in
//! 1…127 and one scale per vector: with seven bits, two neighbouring products fit in the 16 bits in
//! which AVX2 and NEON add them, so that every level counts the same integers.
//! Sums are exact in i32; then each output is rounded once.

use std::ops::Range;

use super::matrix::{Layout, PANEL};
use super::scalar::mul_add;

/// Inputs multiplied and added by one instruction.
pub(super) const GROUP: usize = 4;
/// The offset that makes an input's number unsigned.
const ZERO: i32 = 64;
/// The largest number of an input.
const HIGHEST_INPUT: f32 = 63.0;
/// The largest number of a weight.
const HIGHEST_WEIGHT: f32 = 127.0;
/// 1.5 · 2²³: adding it rounds to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

/// The weights of four inputs to the outputs of one panel: two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [[i8; GROUP]; PANEL]);

/// A row as eight-bit numbers and their scale: row[k] ≈ q[k] · scale.
pub fn quantize_row(row: &[f32], numbers: &mut [i8]) -> f32 {
    let size = row
        .iter()
        .fold(0.0_f32, |size, value| size.max(value.abs()));
    let scale = size / HIGHEST_WEIGHT;
    for (number, value) in numbers.iter_mut().zip(row) {
        *number = if scale > 0.0 {
            (value / scale).round_ties_even() as i8
        } else {
            0
        };
    }
    scale
}

/// An eight-bit matrix in panels.
#[derive(Clone, Debug)]
pub struct PackedInt8 {
    /// Line `panel * groups + group`.
    lines: Vec<Line>,
    /// By panel: the scale of each row.
    scales: Vec<[f32; PANEL]>,
    /// By panel: the amount that [`ZERO`] adds to each row's sum.
    offsets: Vec<[i32; PANEL]>,
    layout: Layout,
    columns: usize,
}

impl PackedInt8 {
    /// Packs `columns` of a row-major matrix of `width` columns, whose rows are `gates` gates and
    /// have one of `scales` each.
    ///
    /// # Panics
    /// As [`Packed::new`](super::Packed::new), and if there is not one scale per row.
    pub fn new(
        matrix: &[i8],
        scales: &[f32],
        width: usize,
        columns: Range<usize>,
        gates: usize,
    ) -> Self {
        let layout = Layout::new(scales.len(), gates);
        assert_eq!(matrix.len(), scales.len() * width, "one scale a row");
        let groups = columns.len().div_ceil(GROUP);
        let mut packed = Self {
            lines: Vec::with_capacity(layout.panels() * groups),
            scales: Vec::with_capacity(layout.panels()),
            offsets: Vec::with_capacity(layout.panels()),
            layout,
            columns: columns.len(),
        };
        for panel in 0..layout.panels() {
            let mut offsets = [0; PANEL];
            for group in columns.clone().step_by(GROUP) {
                let mut line = Line([[0; GROUP]; PANEL]);
                for ((lane, row), offset) in
                    line.0.iter_mut().zip(layout.rows(panel)).zip(&mut offsets)
                {
                    let end = columns.end.min(group + GROUP);
                    let weights = &matrix[row * width + group..row * width + end];
                    lane[..weights.len()].copy_from_slice(weights);
                    *offset += ZERO * weights.iter().map(|&q| i32::from(q)).sum::<i32>();
                }
                packed.lines.push(line);
            }
            let mut panel_scales = [0.0; PANEL];
            for (scale, row) in panel_scales.iter_mut().zip(layout.rows(panel)) {
                *scale = scales[row];
            }
            packed.scales.push(panel_scales);
            packed.offsets.push(offsets);
        }
        packed
    }

    /// The layout of the outputs.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Inputs of a product: the columns that were packed.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes in memory, scales and offsets counted.
    pub const fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>() + self.scales.len() * 2 * size_of::<[f32; PANEL]>()
    }

    /// Some of its panels.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn panels(&self, panels: Range<usize>) -> PanelsInt8<'_> {
        let groups = self.columns.div_ceil(GROUP);
        PanelsInt8 {
            lines: &self.lines[panels.start * groups..panels.end * groups],
            scales: &self.scales[panels.clone()],
            offsets: &self.offsets[panels],
            columns: self.columns,
        }
    }
}

/// Consecutive panels of an eight-bit matrix.
#[derive(Clone, Copy, Debug)]
pub struct PanelsInt8<'a> {
    pub(super) lines: &'a [Line],
    scales: &'a [[f32; PANEL]],
    offsets: &'a [[i32; PANEL]],
    columns: usize,
}

/// Vectors as seven-bit numbers; reused between products so that none allocates.
#[derive(Clone, Debug, Default)]
pub struct Quantized {
    /// (N, groups): four numbers per group; padding in the last group contributes nothing.
    groups: Vec<[u8; GROUP]>,
    /// The scale of each vector (N).
    scales: Vec<f32>,
}

/// Fills `quantized` with the vectors of x (N, columns).
#[inline(always)]
pub(super) fn quantize(x: &[f32], columns: usize, quantized: &mut Quantized) {
    let Quantized { groups, scales } = quantized;
    groups.clear();
    scales.clear();
    for x in x.chunks_exact(columns) {
        let size = size_of_row(x);
        let (scale, inverse) = if size > 0.0 {
            (size / HIGHEST_INPUT, HIGHEST_INPUT / size)
        } else {
            (0.0, 0.0)
        };
        scales.push(scale);
        let mut fours = x.chunks_exact(GROUP);
        groups.extend((&mut fours).map(|four| group(four, inverse)));
        let rest = fours.remainder();
        if !rest.is_empty() {
            groups.push(std::array::from_fn(|k| {
                rest.get(k).map_or(0, |&x| number(x, inverse))
            }));
        }
    }
}

/// `out += weight · x` for every vector: x (N, columns), out (N, panels · 32); `sums` adds up the
/// integers of one panel and one vector.
#[inline(always)]
pub(super) fn accumulate(
    weight: PanelsInt8,
    x: &Quantized,
    out: &mut [f32],
    sums: impl Fn(&[Line], &[[u8; GROUP]]) -> [i32; PANEL],
) {
    let groups = weight.columns.div_ceil(GROUP);
    let width = weight.scales.len() * PANEL;
    if groups == 0 || width == 0 {
        return;
    }
    assert_eq!(x.groups.len(), x.scales.len() * groups, "inputs");
    assert_eq!(out.len(), x.scales.len() * width, "outputs");
    let panels = weight.lines.chunks_exact(groups);
    for (panel, lines) in panels.enumerate() {
        let (scales, offsets) = (&weight.scales[panel], &weight.offsets[panel]);
        let vectors = x.groups.chunks_exact(groups).zip(&x.scales);
        for (row, (numbers, x_scale)) in vectors.enumerate() {
            let sums = sums(lines, numbers);
            let out = &mut out[row * width + panel * PANEL..][..PANEL];
            add_scaled(&sums, offsets, scales, *x_scale, out);
        }
    }
}

/// An input's number: the lowest bits of the rounded sum; ROUND itself ends in zeros.
#[inline(always)]
fn number(x: f32, inverse: f32) -> u8 {
    (mul_add(x, inverse, ROUND).to_bits() as i32 + ZERO) as u8
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use self::wasm::{add_scaled, group, size_of_row};

/// The largest |x|; what is not a number counts as 0.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn size_of_row(x: &[f32]) -> f32 {
    let mut sizes = [0.0_f32; 8];
    let mut eights = x.chunks_exact(8);
    for eight in &mut eights {
        for (size, x) in sizes.iter_mut().zip(eight) {
            *size = if x.abs() > *size { x.abs() } else { *size };
        }
    }
    let rest = eights.remainder().iter().map(|x| x.abs());
    sizes.into_iter().chain(rest).fold(0.0, f32::max)
}

/// The numbers of four inputs.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn group(four: &[f32], inverse: f32) -> [u8; GROUP] {
    std::array::from_fn(|k| number(four[k], inverse))
}

/// `out += (sums − offsets) · scales · x_scale` of one panel.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[inline(always)]
fn add_scaled(
    sums: &[i32; PANEL],
    offsets: &[i32; PANEL],
    scales: &[f32; PANEL],
    x_scale: f32,
    out: &mut [f32],
) {
    for (lane, out) in out.iter_mut().enumerate() {
        let sum = (sums[lane] - offsets[lane]) as f32;
        *out = mul_add(sum, scales[lane] * x_scale, *out);
    }
}

/// The sums of one panel in plain code.
#[inline(always)]
pub(super) fn sums(lines: &[Line], x: &[[u8; GROUP]]) -> [i32; PANEL] {
    let mut sums = [0; PANEL];
    for (line, x) in lines.iter().zip(x) {
        for (sum, weights) in sums.iter_mut().zip(&line.0) {
            let products = weights.iter().zip(x);
            *sum += products
                .map(|(&weight, &x)| i32::from(weight) * i32::from(x))
                .sum::<i32>();
        }
    }
    sums
}

#[cfg(target_arch = "aarch64")]
pub(super) mod arm {
    use std::arch::aarch64::{
        vdupq_n_s32, vget_low_s8, vld1q_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s16,
        vreinterpretq_s8_s32, vst1q_s32,
    };

    use super::{GROUP, Line, PANEL};

    /// The sums of one panel with NEON: inputs fit in seven bits, so they may be taken as signed, and
    /// 127 · 127 · 2 fits in the 16 bits of the first addition.
    #[inline]
    #[target_feature(enable = "neon")]
    pub fn sums_neon(lines: &[Line], x: &[[u8; GROUP]]) -> [i32; PANEL] {
        let mut sums = [vdupq_n_s32(0); 8];
        for (line, x) in lines.iter().zip(x) {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(*x)));
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a line has 8 · 16 bytes.
                let weights = unsafe { vld1q_s8(line.0.as_ptr().cast::<i8>().add(16 * part)) };
                let low = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
                let high = vmull_high_s8(weights, x);
                *sum = vpadalq_s16(*sum, vpaddq_s16(low, high));
            }
        }
        let mut out = [0; PANEL];
        for (part, sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` has 8 · 4 numbers.
            unsafe { vst1q_s32(out.as_mut_ptr().add(4 * part), sum) };
        }
        out
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod wasm {
    use std::arch::wasm32::{
        f32x4_abs, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_pmax, f32x4_splat,
        i8x16_shuffle, i16x8_extend_low_u8x16, i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8,
        i32x4_extract_lane, i32x4_shuffle, i32x4_splat, i32x4_sub, v128, v128_load, v128_store,
    };

    use super::super::lanes::{Lanes, unrolled_in_place};
    use super::{GROUP, Line, PANEL, ROUND, ZERO};

    /// The largest |x|; what is not a number counts as 0.
    #[inline(always)]
    pub fn size_of_row(x: &[f32]) -> f32 {
        let mut sizes = f32x4_splat(0.0);
        let mut fours = x.chunks_exact(4);
        for four in &mut fours {
            // SAFETY: there are four numbers; the load needs no alignment.
            let four = unsafe { v128_load(four.as_ptr().cast()) };
            sizes = f32x4_pmax(sizes, f32x4_abs(four));
        }
        let rest = fours.remainder().iter().map(|x| x.abs());
        let sizes = [
            f32x4_extract_lane::<0>(sizes),
            f32x4_extract_lane::<1>(sizes),
            f32x4_extract_lane::<2>(sizes),
            f32x4_extract_lane::<3>(sizes),
        ];
        sizes.into_iter().chain(rest).fold(0.0, f32::max)
    }

    /// The numbers of four inputs.
    #[inline(always)]
    pub fn group(four: &[f32], inverse: f32) -> [u8; GROUP] {
        // SAFETY: there are four numbers; the load needs no alignment.
        let rounded = unsafe {
            let four: v128 = v128_load(four.as_ptr().cast());
            four.mul_add(f32x4_splat(inverse), f32x4_splat(ROUND))
        };
        let numbers = i32x4_add(rounded, i32x4_splat(ZERO));
        let low =
            i8x16_shuffle::<0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12>(numbers, numbers);
        i32x4_extract_lane::<0>(low).to_le_bytes()
    }

    /// `out += (sums − offsets) · scales · x_scale` of one panel.
    #[inline(always)]
    pub fn add_scaled(
        sums: &[i32; PANEL],
        offsets: &[i32; PANEL],
        scales: &[f32; PANEL],
        x_scale: f32,
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), PANEL, "one panel");
        let x_scale = f32x4_splat(x_scale);
        for k in (0..PANEL).step_by(4) {
            // SAFETY: all have as many numbers as a panel; no alignment is needed.
            unsafe {
                let sum = i32x4_sub(
                    v128_load(sums.as_ptr().add(k).cast()),
                    v128_load(offsets.as_ptr().add(k).cast()),
                );
                let scale = f32x4_mul(v128_load(scales.as_ptr().add(k).cast()), x_scale);
                let to = out.as_mut_ptr().add(k);
                let scaled = f32x4_convert_i32x4(sum).mul_add(scale, v128::load(to));
                v128::store(scaled, to);
            }
        }
    }

    /// Outputs that are summed at a time: their sums stay in registers.
    const AT_ONCE: usize = PANEL / 2;

    /// The sums of one panel with WebAssembly's SIMD: two neighbouring products are added in 32 bits.
    #[inline]
    #[target_feature(enable = "simd128")]
    pub fn sums_simd128(lines: &[Line], x: &[[u8; GROUP]]) -> [i32; PANEL] {
        let mut out = [0; PANEL];
        for (half, out) in out.chunks_exact_mut(AT_ONCE).enumerate() {
            // Two outputs each, as two halves that are still to be added.
            let mut sums = [i32x4_splat(0); AT_ONCE / 2];
            for (line, x) in lines.iter().zip(x) {
                let x = i16x8_extend_low_u8x16(i32x4_splat(i32::from_le_bytes(*x)));
                let weights = line.0.as_ptr().cast::<i8>();
                unrolled_in_place!(AT_ONCE / 2, |part| {
                    // SAFETY: a line has 2 · 8 · 8 bytes; the load needs no alignment.
                    let weights =
                        unsafe { i16x8_load_extend_i8x8(weights.add(64 * half + 8 * part)) };
                    sums[part] = i32x4_add(sums[part], i32x4_dot_i16x8(weights, x));
                });
            }
            for (two, out) in sums.chunks_exact(2).zip(out.chunks_exact_mut(4)) {
                let even = i32x4_shuffle::<0, 2, 4, 6>(two[0], two[1]);
                let odd = i32x4_shuffle::<1, 3, 5, 7>(two[0], two[1]);
                // SAFETY: `out` has four numbers; the store needs no alignment.
                unsafe { v128_store(out.as_mut_ptr().cast(), i32x4_add(even, odd)) };
            }
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm256_add_epi32, _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
        _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_storeu_si256,
        _mm512_dpbusd_epi32, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };

    use super::{GROUP, Line, PANEL};

    /// The sums of one panel with AVX2: 127 · 127 · 2 fits in the 16 bits of the first addition.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn sums_avx2(lines: &[Line], x: &[[u8; GROUP]]) -> [i32; PANEL] {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); 4];
        for (line, x) in lines.iter().zip(x) {
            let x = _mm256_set1_epi32(i32::from_le_bytes(*x));
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a line has 4 · 32 bytes and is aligned to 64.
                let weights = unsafe {
                    _mm256_load_si256(line.0.as_ptr().cast::<i8>().add(32 * part).cast())
                };
                let pairs = _mm256_maddubs_epi16(x, weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        let mut out = [0; PANEL];
        for (part, sum) in sums.into_iter().enumerate() {
            // SAFETY: `out` has 4 · 8 numbers; the store needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(8 * part).cast(), sum) };
        }
        out
    }

    /// The sums of one panel with AVX-512 VNNI.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
    pub fn sums_vnni(lines: &[Line], x: &[[u8; GROUP]]) -> [i32; PANEL] {
        let mut even = [_mm512_setzero_si512(); 2];
        let mut odd = even;
        let add = |sums: &mut [__m512i; 2], line: &Line, x: [u8; GROUP]| {
            let x = _mm512_set1_epi32(i32::from_le_bytes(x));
            let weights = line.0.as_ptr().cast::<i8>();
            // SAFETY: a line has 2 · 64 bytes and is aligned to 64.
            let weights = unsafe {
                [
                    _mm512_load_si512(weights.cast()),
                    _mm512_load_si512(weights.add(64).cast()),
                ]
            };
            sums[0] = _mm512_dpbusd_epi32(sums[0], x, weights[0]);
            sums[1] = _mm512_dpbusd_epi32(sums[1], x, weights[1]);
        };
        // Even and odd groups apart, to hide the latency.
        let pairs = lines.chunks_exact(2).zip(x.chunks_exact(2));
        for (lines, x) in pairs {
            add(&mut even, &lines[0], x[0]);
            add(&mut odd, &lines[1], x[1]);
        }
        if let ([line], [x]) = (
            lines.chunks_exact(2).remainder(),
            x.chunks_exact(2).remainder(),
        ) {
            add(&mut even, line, *x);
        }
        let mut out = [0; PANEL];
        let mut other = [0; PANEL];
        for (part, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            // SAFETY: both have 2 · 16 numbers; the stores need no alignment.
            unsafe {
                _mm512_storeu_si512(out.as_mut_ptr().add(16 * part).cast(), even);
                _mm512_storeu_si512(other.as_mut_ptr().add(16 * part).cast(), odd);
            }
        }
        for (sum, other) in out.iter_mut().zip(other) {
            *sum += other;
        }
        out
    }
}
