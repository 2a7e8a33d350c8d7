//! The inner loops: products with packed matrices, and what the recurrent cells do with them.
//!
//! A kernel is written once, over lanes of any number, and compiled once a [`Level`]. No result
//! depends on the number of lanes, so the order of arithmetic, and with it every bit, is the same
//! everywhere.

#![expect(
    clippy::inline_always,
    reason = "a kernel must become part of the function that enables its level"
)]

mod int8;
mod lanes;
mod matrix;
mod pointwise;

pub use int8::{PackedInt8, PanelsInt8, Quantized, quantize_row};
pub use matrix::{Layout, PANEL, Packed, Panels};

use crate::native::simd::{Level, level};

/// The kernels at one level; a copy is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels {
    /// Supported by this machine: the constructors see to it, and `unsafe` below relies on it.
    level: Level,
}

impl Kernels {
    /// At the level in use ([`level`]).
    pub fn new() -> Self {
        Self { level: level() }
    }

    /// At a given level; `None` where the machine lacks it.
    pub fn at(level: Level) -> Option<Self> {
        level.is_supported().then_some(Self { level })
    }

    /// The level.
    pub const fn level(self) -> Level {
        self.level
    }
}

impl Default for Kernels {
    fn default() -> Self {
        Self::new()
    }
}

/// Compiles each function once a level and makes it a method of [`Kernels`] that picks one. A body
/// speaks of the level's lanes as `V`, of its tiles as `ROWS`, `WIDE` and `FULL`, and of its sums of
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
                    Level::Vnni => unsafe { vnni::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { avx512::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2::$name($($arg),*) },
                    _ => portable::$name($($arg),*),
                }
            })+
        }

        #[allow(unused_unsafe, clippy::redundant_closure, reason = "some bodies need them")]
        mod portable {
            use super::{Panels, PanelsInt8, Quantized, int8, lanes, matrix, pointwise};
            use int8::sums;
            type V = lanes::Portable;
            const ROWS: usize = 6;
            const WIDE: usize = 4;
            const FULL: usize = 8;
            // SAFETY: these lanes need no instructions that a machine could lack.
            $(pub(super) fn $name($($arg: $type),*) { unsafe { $body } })+
        }

        at_every_level!(x86 avx2, "avx2,fma", lanes::__m256, [6, 2, 4], int8::x86::sums_avx2,
            $($name($($arg: $type),*) = $body;)+);
        at_every_level!(x86 avx512, "avx512f,avx2,fma", lanes::__m512, [12, 2, 2], int8::x86::sums_avx2,
            $($name($($arg: $type),*) = $body;)+);
        at_every_level!(x86 vnni, "avx512f,avx512vnni,avx2,fma", lanes::__m512, [12, 2, 2], int8::x86::sums_vnni,
            $($name($($arg: $type),*) = $body;)+);
    };
    (x86 $level:ident, $features:literal, $lanes:path, [$rows:literal, $wide:literal, $full:literal], $sums:path,
        $($name:ident($($arg:ident: $type:ty),*) = $body:expr;)+) => {
        #[cfg(target_arch = "x86_64")]
        #[allow(unused_unsafe, clippy::redundant_closure, reason = "some bodies need them")]
        mod $level {
            use super::{Panels, PanelsInt8, Quantized, int8, lanes, matrix, pointwise};
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
    /// Where the lengths are others.
    accumulate(weight: Panels, x: &[f32], out: &mut [f32]) =
        matrix::accumulate::<V, ROWS, WIDE, FULL>(weight, x, out);
    /// The same with eight-bit weights: x (N, columns) as [`Kernels::quantize`] left it.
    ///
    /// # Panics
    /// Where the lengths are others.
    accumulate_int8(weight: PanelsInt8, x: &Quantized, out: &mut [f32]) =
        int8::accumulate(weight, x, out, |lines, x| sums(lines, x));
    /// Vectors (N, columns) as seven-bit numbers, with one scale a vector.
    quantize(x: &[f32], columns: usize, quantized: &mut Quantized) =
        int8::quantize(x, columns, quantized);
    /// `out += x`, both of one length.
    add(x: &[f32], out: &mut [f32]) = pointwise::add(x, out);
    /// Every value becomes its exponential: at most 1.02 ulp off; 0 below −87, e^88 above 88.
    /// (Errors here and below: measured against f64 on every third f32.)
    exp(values: &mut [f32]) = pointwise::exp::<V>(values);
    /// Every value becomes its hyperbolic tangent: at most 1.34 ulp off.
    tanh(values: &mut [f32]) = pointwise::tanh::<V>(values);
    /// Every value becomes 1 / (1 + e^−x): at most 2.5 ulp off above −87.
    sigmoid(values: &mut [f32]) = pointwise::sigmoid::<V>(values);
    /// N LSTM updates of H units: gates (N, blocks, 4, 32) i, f, g, o before their non-linearities,
    /// cell (N, blocks · 32), hidden (N, H), with as many blocks of 32 as hold H.
    lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32], units: usize) =
        pointwise::lstm::<V>(gates, cell, hidden, units);
    /// N GRU updates of H units: the input's share and the recurrent share of the gates, each
    /// (N, blocks, 3, 32) r, z, n with its own bias; hidden (N, H).
    gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32], units: usize) =
        pointwise::gru::<V>(input, recurrent, hidden, units);
    /// N updates of the plain cell: gates (N, blocks, 1, 32), hidden (N, H).
    rnn(gates: &[f32], hidden: &mut [f32], units: usize) = pointwise::rnn::<V>(gates, hidden, units);
}

#[cfg(test)]
mod tests;
