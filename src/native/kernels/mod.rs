//! The inner loops: products with packed matrices, and what the recurrent cells do with them.
//!
//! A kernel is written once, as plain Rust over slices with [`f32::mul_add`], and compiled once a
//! [`Level`]: the compiler vectorises the same loop with eight or sixteen lanes. No loop depends on
//! the number of lanes, so the order of arithmetic, and with it every bit, is the same everywhere.

#![expect(
    clippy::inline_always,
    reason = "a kernel must become part of the function that enables its level"
)]

mod matrix;
mod pointwise;

pub use matrix::{PANEL, Packed};

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

/// Compiles each function once a level and makes it a method of [`Kernels`] that picks one.
macro_rules! at_every_level {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) = $body:path;)+) => {
        impl Kernels {
            $($(#[$doc])*
            #[inline]
            pub fn $name(self, $($arg: $type),*) {
                match self.level {
                    // SAFETY: a `Kernels` exists only at a level that the machine supports.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { avx512::$name($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2::$name($($arg),*) },
                    _ => $body($($arg),*),
                }
            })+
        }

        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::{Packed, matrix, pointwise};
            $(#[target_feature(enable = "avx2,fma")]
            pub(super) fn $name($($arg: $type),*) { $body($($arg),*); })+
        }

        #[cfg(target_arch = "x86_64")]
        mod avx512 {
            use super::{Packed, matrix, pointwise};
            $(#[target_feature(enable = "avx512f,avx2,fma")]
            pub(super) fn $name($($arg: $type),*) { $body($($arg),*); })+
        }
    };
}

at_every_level! {
    /// `out += weight · x`, over the columns in ascending order: out (rows), x (columns).
    ///
    /// # Panics
    /// Where `x` or `out` has another length.
    accumulate(weight: &Packed, x: &[f32], out: &mut [f32]) = matrix::accumulate;
    /// `out += x`, both of one length.
    add(x: &[f32], out: &mut [f32]) = pointwise::add;
    /// Every value becomes its exponential: at most 1.02 ulp off; 0 below −87, e^88 above 88.
    /// (Errors here and below: measured against f64 on every third f32.)
    exp(values: &mut [f32]) = pointwise::exp;
    /// Every value becomes its hyperbolic tangent: at most 1.34 ulp off.
    tanh(values: &mut [f32]) = pointwise::tanh;
    /// Every value becomes 1 / (1 + e^−x): at most 2.5 ulp off above −87.
    sigmoid(values: &mut [f32]) = pointwise::sigmoid;
    /// One LSTM update: gates (4H: i, f, g, o before their non-linearities), cell and hidden (H).
    lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) = pointwise::lstm;
    /// One GRU update: the input's share and the recurrent share of the gates (3H each: r, z, n,
    /// each with its own bias), hidden (H).
    gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32]) = pointwise::gru;
    /// One update of the plain cell: gates (H), hidden (H).
    rnn(gates: &[f32], hidden: &mut [f32]) = pointwise::rnn;
}

#[cfg(test)]
mod tests;
