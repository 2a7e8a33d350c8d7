//! The inner loops: products with packed matrices, and what the recurrent cells do with them.
//!
//! A kernel is written once, as plain Rust over slices with [`f32::mul_add`], and compiled once a
//! [`Level`]: the compiler vectorises the same loop with eight or sixteen lanes. No loop depends on
//! the number of lanes, so the order of arithmetic, and with it every bit, is the same everywhere.

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

/// Compiles each function once a level and makes it a method of [`Kernels`] that picks one. Where a
/// level has a body of its own, it stands beside the portable one.
macro_rules! at_every_level {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) {
        portable: $portable:expr,
        avx2: $avx2:expr,
        avx512: $avx512:expr,
        vnni: $vnni:expr,
    })+) => {
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
                    _ => $portable,
                }
            })+
        }

        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::{Panels, PanelsInt8, Quantized, int8, lanes, matrix, pointwise};
            $(#[target_feature(enable = "avx2,fma")]
            pub(super) fn $name($($arg: $type),*) { $avx2 })+
        }

        #[cfg(target_arch = "x86_64")]
        mod avx512 {
            use super::{Panels, PanelsInt8, Quantized, int8, lanes, matrix, pointwise};
            $(#[target_feature(enable = "avx512f,avx2,fma")]
            pub(super) fn $name($($arg: $type),*) { $avx512 })+
        }

        #[cfg(target_arch = "x86_64")]
        mod vnni {
            use super::{Panels, PanelsInt8, Quantized, int8, lanes, matrix, pointwise};
            $(#[target_feature(enable = "avx512f,avx512vnni,avx2,fma")]
            pub(super) fn $name($($arg: $type),*) { $vnni })+
        }
    };
}

at_every_level! {
    /// `out += weight · x` for every vector, over the columns in ascending order: x (N, columns),
    /// out (N, panels · 32).
    ///
    /// # Panics
    /// Where the lengths are others.
    accumulate(weight: Panels, x: &[f32], out: &mut [f32]) {
        // SAFETY, here and below: the level's instructions are those of the lanes.
        portable: unsafe { matrix::accumulate::<lanes::Portable, 6, 4, 8>(weight, x, out) },
        avx2: unsafe { matrix::accumulate::<lanes::__m256, 6, 2, 4>(weight, x, out) },
        avx512: unsafe { matrix::accumulate::<lanes::__m512, 12, 2, 2>(weight, x, out) },
        vnni: unsafe { matrix::accumulate::<lanes::__m512, 12, 2, 2>(weight, x, out) },
    }
    /// The same with eight-bit weights: x (N, columns) as [`Kernels::quantize`] left it.
    ///
    /// # Panics
    /// Where the lengths are others.
    accumulate_int8(weight: PanelsInt8, x: &Quantized, out: &mut [f32]) {
        portable: int8::accumulate(weight, x, out, int8::sums),
        avx2: int8::accumulate(weight, x, out, |lines, x| int8::x86::sums_avx2(lines, x)),
        avx512: int8::accumulate(weight, x, out, |lines, x| int8::x86::sums_avx2(lines, x)),
        vnni: int8::accumulate(weight, x, out, |lines, x| int8::x86::sums_vnni(lines, x)),
    }
    /// Vectors (N, columns) as seven-bit numbers, with one scale a vector.
    quantize(x: &[f32], columns: usize, quantized: &mut Quantized) {
        portable: int8::quantize(x, columns, quantized),
        avx2: int8::quantize(x, columns, quantized),
        avx512: int8::quantize(x, columns, quantized),
        vnni: int8::quantize(x, columns, quantized),
    }
    /// `out += x`, both of one length.
    add(x: &[f32], out: &mut [f32]) {
        portable: pointwise::add(x, out),
        avx2: pointwise::add(x, out),
        avx512: pointwise::add(x, out),
        vnni: pointwise::add(x, out),
    }
    /// Every value becomes its exponential: at most 1.02 ulp off; 0 below −87, e^88 above 88.
    /// (Errors here and below: measured against f64 on every third f32.)
    exp(values: &mut [f32]) {
        portable: pointwise::exp(values),
        avx2: pointwise::exp(values),
        avx512: pointwise::exp(values),
        vnni: pointwise::exp(values),
    }
    /// Every value becomes its hyperbolic tangent: at most 1.34 ulp off.
    tanh(values: &mut [f32]) {
        portable: pointwise::tanh(values),
        avx2: pointwise::tanh(values),
        avx512: pointwise::tanh(values),
        vnni: pointwise::tanh(values),
    }
    /// Every value becomes 1 / (1 + e^−x): at most 2.5 ulp off above −87.
    sigmoid(values: &mut [f32]) {
        portable: pointwise::sigmoid(values),
        avx2: pointwise::sigmoid(values),
        avx512: pointwise::sigmoid(values),
        vnni: pointwise::sigmoid(values),
    }
    /// N LSTM updates of H units: gates (N, blocks, 4, 32) i, f, g, o before their non-linearities,
    /// cell (N, blocks · 32), hidden (N, H), with as many blocks of 32 as hold H.
    lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32], units: usize) {
        portable: pointwise::lstm(gates, cell, hidden, units),
        avx2: pointwise::lstm(gates, cell, hidden, units),
        avx512: pointwise::lstm(gates, cell, hidden, units),
        vnni: pointwise::lstm(gates, cell, hidden, units),
    }
    /// N GRU updates of H units: the input's share and the recurrent share of the gates, each
    /// (N, blocks, 3, 32) r, z, n with its own bias; hidden (N, H).
    gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32], units: usize) {
        portable: pointwise::gru(input, recurrent, hidden, units),
        avx2: pointwise::gru(input, recurrent, hidden, units),
        avx512: pointwise::gru(input, recurrent, hidden, units),
        vnni: pointwise::gru(input, recurrent, hidden, units),
    }
    /// N updates of the plain cell: gates (N, blocks, 1, 32), hidden (N, H).
    rnn(gates: &[f32], hidden: &mut [f32], units: usize) {
        portable: pointwise::rnn(gates, hidden, units),
        avx2: pointwise::rnn(gates, hidden, units),
        avx512: pointwise::rnn(gates, hidden, units),
        vnni: pointwise::rnn(gates, hidden, units),
    }
}

#[cfg(test)]
mod tests;
