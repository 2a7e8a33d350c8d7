//! The inner loops: products with packed matrices, and the recurrent cells.
//!
//! A kernel is written once, over lanes of any number, and compiled once a [`Level`]. No result
//! depends on the number of lanes, so the order of arithmetic, and with it every bit, is the same
//! everywhere.

#![expect(
    clippy::inline_always,
    reason = "a kernel must become part of the function that enables its level"
)]

mod adam;
pub(crate) mod barrier;
mod bf16;
mod gradients;
mod int8;
mod lanes;
mod matrix;
mod pointwise;
pub(crate) mod scalar;
pub mod simd;
pub mod training;

pub use adam::{AdamFactors, AdamPiece};
pub use int8::{PackedInt8, PanelsInt8, Quantized, quantize_row};
pub use matrix::{Layout, PANEL, Packed, PanelMut, Panels, Stacked};

use crate::kernels::simd::{Level, level};

/// The kernels at one SIMD level; the type is two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// Supported by this machine: the constructors check it, and `unsafe` below relies on it.
    level: Level,
    bf16: bool,
}

impl Kernels {
    /// The kernels at the level in use ([`level`]).
    pub fn new() -> Self {
        Self {
            level: level(),
            bf16: false,
        }
    }

    /// The kernels at a given level; `None` if the machine lacks it.
    pub fn at(level: Level) -> Option<Self> {
        let bf16 = false;
        level.is_supported().then_some(Self { level, bf16 })
    }

    /// The same kernels, with which a training multiplies in bf16: by instructions at [`Level::Bf16`], else
    /// slowly, with the same arithmetic.
    #[must_use]
    pub const fn in_bf16(self) -> Self {
        Self { bf16: true, ..self }
    }

    /// The same kernels, with which a training multiplies in f32, as by default.
    #[must_use]
    pub const fn in_f32(self) -> Self {
        Self {
            bf16: false,
            ..self
        }
    }

    /// Whether a training multiplies in bf16.
    pub const fn is_bf16(self) -> bool {
        self.bf16
    }

    /// The level that the kernels were compiled for.
    pub const fn level(self) -> Level {
        self.level
    }
}

impl Default for Kernels {
    fn default() -> Self {
        Self::new()
    }
}

/// Compiles each function once per level and makes it a method of [`Kernels`] that picks one. A body
/// refers to the level's lanes as `V`, of its tiles as `ROWS`, `WIDE` and `FULL`, and of its sums of
/// eight-bit products as `sums`.
macro_rules! at_every_level {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $body:expr;)+) => {
        impl Kernels {
            $($(#[$doc])*
            #[inline]
            pub fn $name(self, $($arg: $type),*) {
                match self.level {
                    // SAFETY: a `Kernels` exists only at a level that the machine supports.
                    #[cfg(target_arch = "x86_64")]
                    Level::Vnni | Level::Bf16 => unsafe { vnni::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { avx512::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "aarch64")]
                    Level::Neon => unsafe { neon::$name($($arg),*) },
                    // SAFETY: the whole module was compiled for these instructions.
                    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
                    _ => unsafe { simd128::$name($($arg),*) },
                    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
                    _ => portable::$name($($arg),*),
                }
            })+
        }

        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        #[allow(unused_unsafe, clippy::redundant_closure, reason = "some bodies need them")]
        mod portable {
            use super::{AdamFactors, AdamPiece, Panels, PanelsInt8, Quantized, Stacked};
            use super::{adam, bf16, gradients, int8, lanes, matrix, pointwise};
            use int8::sums;
            type V = lanes::Portable;
            const ROWS: usize = 6;
            const WIDE: usize = 4;
            const FULL: usize = 8;
            // SAFETY: these lanes need no instructions that a machine could lack.
            $(pub(super) fn $name($($arg: $type),*) { unsafe { $body } })+
        }

        // Of 32 registers, 24 hold sums, four weights, and the rest inputs.
        at_every_level!("aarch64" neon, "neon", lanes::float32x4_t, [6, 4, 8], int8::arm::sums_neon,
            $($name($($arg: $type),*) = $body;)+);
        #[cfg(target_feature = "simd128")]
        at_every_level!("wasm32" simd128, "simd128", lanes::v128, [2, 1, 8], int8::wasm::sums_simd128,
            $($name($($arg: $type),*) = $body;)+);
        at_every_level!("x86_64" avx2, "avx2,fma", lanes::__m256, [6, 2, 4], int8::x86::sums_avx2,
            $($name($($arg: $type),*) = $body;)+);
        at_every_level!("x86_64" avx512, "avx512f,avx2,fma", lanes::__m512, [12, 2, 2], int8::x86::sums_avx2,
            $($name($($arg: $type),*) = $body;)+);
        at_every_level!("x86_64" vnni, "avx512f,avx512vnni,avx2,fma", lanes::__m512, [12, 2, 2], int8::x86::sums_vnni,
            $($name($($arg: $type),*) = $body;)+);
    };
    ($arch:literal $level:ident, $features:literal, $lanes:path, [$rows:literal, $wide:literal, $full:literal], $sums:path,
        $($name:ident($($arg:ident: $type:ty),*) = $body:expr;)+) => {
        #[cfg(target_arch = $arch)]
        #[allow(unused_unsafe, clippy::redundant_closure, reason = "some bodies need them")]
        mod $level {
            use super::{AdamFactors, AdamPiece, Panels, PanelsInt8, Quantized, Stacked};
            use super::{adam, bf16, gradients, int8, lanes, matrix, pointwise};
            type V = $lanes;
            const ROWS: usize = $rows;
            const WIDE: usize = $wide;
            const FULL: usize = $full;
            #[inline]
            #[target_feature(enable = $features)]
            fn sums(lines: &[int8::Line], x: &[[u8; int8::GROUP]]) -> [i32; super::PANEL] {
                $sums(lines, x)
            }
            // SAFETY: the lanes' instructions are those that are enabled.
            $(#[target_feature(enable = $features)]
            pub(super) fn $name($($arg: $type),*) { unsafe { $body } })+
        }
    };
}

at_every_level! {
    /// `out += weight · x` for every vector, over the columns in ascending order: x (N, columns),
    /// out (N, panels · 32).
    ///
    /// # Panics
    /// If the lengths don't match.
    accumulate(weight: Panels, x: &[f32], out: &mut [f32]) =
        matrix::accumulate::<V, matrix::Single, ROWS, WIDE, FULL>(weight, x, out);
    /// [`Kernels::accumulate_pairs`] without instructions for bf16, bit for bit as they are documented.
    ///
    /// # Panics
    /// If the lengths don't match, or the weights are not in bf16.
    accumulate_pairs_slowly(weight: Panels, x: &[f32], out: &mut [f32]) =
        bf16::accumulate::<V, FULL>(weight, x, out);
    /// [`Kernels::pairs`] without instructions for bf16.
    ///
    /// # Panics
    /// If the lengths don't match.
    pairs_slowly(x: &[f32], columns: usize, pairs: &mut [f32]) =
        bf16::pairs(x, columns, pairs, |x, pairs| bf16::pairs_of_row(x, pairs));
    /// Rounds a stack to bf16, two rows a line.
    pair_rows(stack: &mut Stacked) = stack.pair_rows();
    /// [`Kernels::accumulate`] with eight-bit weights: x (N, columns) as [`Kernels::quantize`] left it.
    ///
    /// # Panics
    /// If the lengths don't match.
    accumulate_int8(weight: PanelsInt8, x: &Quantized, out: &mut [f32]) =
        int8::accumulate(weight, x, out, |lines, x| sums(lines, x));
    /// Converts vectors (N, columns) to seven-bit numbers, with one scale per vector.
    quantize(x: &[f32], columns: usize, quantized: &mut Quantized) =
        int8::quantize(x, columns, quantized);
    /// `out += x`, both of one length.
    add(x: &[f32], out: &mut [f32]) = pointwise::add(x, out);
    /// Replaces every value by its exponential: at most 1.02 ulp off; 0 below −87, e^88 above 88.
    /// (Errors here and below: measured against f64 on every third f32.)
    exp(values: &mut [f32]) = pointwise::exp::<V>(values);
    /// Replaces every value by its hyperbolic tangent: at most 1.34 ulp off.
    tanh(values: &mut [f32]) = pointwise::tanh::<V>(values);
    /// Replaces every value by 1 / (1 + e^−x): at most 2.5 ulp off above −87.
    sigmoid(values: &mut [f32]) = pointwise::sigmoid::<V>(values);
    /// N LSTM updates of H units: gates (N, blocks, 4, 32) i, f, g, o before their non-linearities,
    /// cell (N, blocks · 32), hidden (N, H), with as many blocks of 32 as hold H.
    lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32], units: usize) =
        pointwise::lstm::<V>(gates, cell, hidden, units);
    /// N GRU updates of H units: the input product and the recurrent product of the gates, each
    /// (N, blocks, 3, 32) r, z, n with its own bias; hidden (N, H).
    gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32], units: usize) =
        pointwise::gru::<V>(input, recurrent, hidden, units);
    /// N updates of the plain cell: gates (N, blocks, 1, 32), hidden (N, H).
    rnn(gates: &[f32], hidden: &mut [f32], units: usize) = pointwise::rnn::<V>(gates, hidden, units);
    /// [`Kernels::lstm`] for training: gates (N, blocks, 4, 32) are left after their
    /// non-linearities, and the cells go from `before` to `cell`, both (N, blocks · 32).
    lstm_saving(gates: &mut [f32], before: &[f32], cell: &mut [f32], hidden: &mut [f32], units: usize) =
        gradients::lstm_saving::<V>(gates, before, cell, hidden, units);
    /// The gradients of N LSTM updates. Gates as [`Kernels::lstm_saving`] left them become the
    /// gradients of their pre-activations; `d_cell` (N, blocks · 32) changes
    /// from the gradient of `cell` to that of `before`; `d_hidden` (N, blocks · 32) is read.
    lstm_backward(gates: &mut [f32], before: &[f32], cell: &[f32], d_hidden: &[f32], d_cell: &mut [f32]) =
        gradients::lstm_backward::<V>(gates, before, cell, d_hidden, d_cell);
    /// [`Kernels::gru`] for training: `gates` (N, blocks, 3, 32) turn from the input product into
    /// r, z, n; `candidate` (N, blocks · 32) receives the recurrent product of n; the hidden states
    /// (N, H) go from `before` to `hidden`.
    gru_saving(gates: &mut [f32], recurrent: &[f32], candidate: &mut [f32], before: &[f32], hidden: &mut [f32],
        units: usize) = gradients::gru_saving::<V>(gates, recurrent, candidate, before, hidden, units);
    /// The gradients of N GRU updates. Gates and `candidate` as [`Kernels::gru_saving`] left them
    /// become the gradients of the input product and of the recurrent product of n; `recurrent`
    /// (N, blocks, 3, 32) receives those of the whole recurrent product; `d_hidden` (N, blocks · 32)
    /// changes from the gradient of `hidden` to the part of that of `before` that bypasses the gates.
    gru_backward(gates: &mut [f32], candidate: &mut [f32], before: &[f32], d_hidden: &mut [f32],
        recurrent: &mut [f32], units: usize) =
        gradients::gru_backward::<V>(gates, candidate, before, d_hidden, recurrent, units);
    /// [`Kernels::rnn`] for training: gates (N, blocks, 1, 32) are left after tanh.
    rnn_saving(gates: &mut [f32], hidden: &mut [f32], units: usize) =
        gradients::rnn_saving::<V>(gates, hidden, units);
    /// The gradients of N updates of the plain cell, which overwrite the gates: `d_hidden` (N, blocks · 32).
    rnn_backward(gates: &mut [f32], d_hidden: &[f32]) = gradients::rnn_backward(gates, d_hidden);
    /// Softmax and cross-entropy of N predictions: logits (N, width) become probabilities over the
    /// first `outputs` of each row, and zeros after them; nats (N) are −log p(target).
    ///
    /// # Panics
    /// If a target is not below `outputs`, or the lengths don't match.
    cross_entropy(logits: &mut [f32], outputs: usize, targets: &[i64], nats: &mut [f32]) =
        gradients::cross_entropy::<V>(logits, outputs, targets, nats);
    /// The backward pass: probabilities (N, width) become the gradients of the logits, given those of the nats.
    cross_entropy_backward(probabilities: &mut [f32], targets: &[i64], d_nats: &[f32]) =
        gradients::cross_entropy_backward(probabilities, targets, d_nats);
    /// Appends one panel of some rows of `values` (rows, width) to `stack`, in which the next panel starts
    /// after K rows.
    ///
    /// # Panics
    /// If a row has fewer panels.
    push(stack: &mut Stacked, values: &[f32], width: usize, panel: usize) =
        matrix::push::<V>(stack, values, width, panel);
    /// Transposes rows (N, columns), each a slice, to `out` (columns, N), whose rows are `stride` ≥ N numbers
    /// apart.
    ///
    /// # Panics
    /// If the rows differ in length, or `out` is too short.
    transpose(rows: &[&[f32]], out: &mut [f32], stride: usize) =
        gradients::transpose::<V>(rows, out, stride);
    /// One step of Adam.
    ///
    /// # Panics
    /// If the arrays differ in length.
    adam(piece: AdamPiece, factors: &AdamFactors) = adam::adam::<V>(piece, factors);
    /// `sum += Σ x²`.
    add_squares(values: &[f32], sum: &mut f64) = adam::add_squares::<V, FULL>(values, sum);
}

impl Kernels {
    /// [`Kernels::accumulate`] in bf16 with f32 sums: weights and x (N, ⌈columns / 2⌉) in pairs, as
    /// [`Kernels::pairs`] makes them.
    ///
    /// # Panics
    /// If the lengths don't match, or the weights are not in bf16.
    pub fn accumulate_pairs(self, weight: Panels, x: &[f32], out: &mut [f32]) {
        match self.level {
            // SAFETY: a `Kernels` exists only at a level that the machine supports.
            #[cfg(target_arch = "x86_64")]
            Level::Bf16 => unsafe { bf16::x86::accumulate(weight, x, out) },
            _ => self.accumulate_pairs_slowly(weight, x, out),
        }
    }

    /// Rounds vectors (N, columns) to bf16 for [`Kernels::accumulate_pairs`]: (N, ⌈columns / 2⌉), whose bits
    /// are two neighbours each, the first in the lower half, and a zero after the last of an odd number.
    ///
    /// # Panics
    /// If the lengths don't match.
    pub fn pairs(self, x: &[f32], columns: usize, pairs: &mut [f32]) {
        match self.level {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Bf16 => unsafe { bf16::x86::pairs(x, columns, pairs) },
            _ => self.pairs_slowly(x, columns, pairs),
        }
    }
}

#[cfg(test)]
mod tests;
