//! Functions of one number by plain IEEE operations. Mathematical libraries differ from system to system in the
//! last bit; what decides on a weight, or on which weights are best, must not.

use std::f64::consts::{FRAC_PI_2, LN_2, SQRT_2};

const FRACTION: u64 = (1 << 52) - 1;

/// x · factor + sum. WebAssembly has no instruction for it; there, f64 gives the same but once in some hundred million.
#[inline(always)]
pub(crate) fn mul_add(x: f32, factor: f32, sum: f32) -> f32 {
    if cfg!(target_arch = "wasm32") {
        (f64::from(x) * f64::from(factor) + f64::from(sum)) as f32
    } else {
        x.mul_add(factor, sum)
    }
}

/// The natural logarithm of a positive normal number: x = m·2ᵉ with m within [√½, √2), and
/// ln m = 2 artanh s with s = (m − 1)/(m + 1). At most 10⁻¹⁵ of it off; −∞, ∞ and NaN where the logarithm is.
pub fn ln(x: f64) -> f64 {
    if !x.is_normal() || x < 0.0 {
        return x.ln();
    }
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & FRACTION | 1023 << 52);
    if m >= SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    // |s| < 0.172: the first term left out is below 10⁻¹⁸ of the sum.
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// e^x = 2ⁿ·e^r with |r| ≤ ½ ln 2, for x within ±700, else of the nearest of these. At most 10⁻¹⁵ of it off.
pub fn exp(x: f64) -> f64 {
    /// ln 2 in two parts; the first has 32 bits, so that its multiples are exact.
    const HIGH: f64 = f64::from_bits(LN_2.to_bits() & !0x1f_ffff);
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-700.0, 700.0);
    let n = (x / LN_2).round();
    let r = (x - n * HIGH) - n * LOW;
    // The first term left out is below 10⁻¹⁷.
    let series = (1..=14)
        .rev()
        .fold(1.0, |sum, k| 1.0 + sum * r / f64::from(k));
    series * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// The cosine, for |x| up to some thousands. At most 10⁻¹⁵ off.
pub fn cos(x: f64) -> f64 {
    /// π/2 in two parts; the first has 33 bits, so that its multiples are exact.
    const HIGH: f64 = f64::from_bits(FRAC_PI_2.to_bits() & !0xf_ffff);
    const LOW: f64 = 6.077_100_506_506_192e-11;
    let quarters = (x / FRAC_PI_2).round();
    let r = (x - quarters * HIGH) - quarters * LOW;
    let square = r * r;
    // 1 − r²/2! + … and r − r³/3! + …; |r| ≤ π/4, and the first term left out is below 10⁻¹⁷.
    let series = |first: i32| {
        let terms = (0..9)
            .rev()
            .map(|k| f64::from((2 * k + first) * (2 * k + first + 1)));
        terms.fold(1.0, |sum, below| 1.0 - sum * square / below)
    };
    match (quarters as i64).rem_euclid(4) {
        0 => series(1),
        1 => -r * series(2),
        2 => -series(1),
        _ => r * series(2),
    }
}

/// `base` to the power of a whole number; at most `exponent` · 10⁻¹⁶ of it off.
pub fn power(base: f64, exponent: u64) -> f64 {
    let (mut product, mut square, mut rest) = (1.0, base, exponent);
    while rest > 0 {
        if rest % 2 == 1 {
            product *= square;
        }
        square *= square;
        rest /= 2;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `found` is within 10⁻¹⁵ of the system's, relative to what is larger, that or `scale`.
    fn check(x: f64, found: f64, want: f64, scale: f64) {
        let error = (found - want).abs();
        assert!(
            error <= 1e-15 * want.abs().max(scale),
            "{x}: {found} {want}"
        );
    }

    #[test]
    fn they_are_the_systems_functions_to_a_few_bits() {
        for k in -70_000..=70_000 {
            let x = f64::from(k) * 1e-2;
            check(x, exp(x), x.exp(), 0.0);
            let x = f64::from(k) * 1.37e-4;
            check(x, exp(x), x.exp(), 0.0);
            check(x, cos(x), x.cos(), 1.0);
            check(x, ln(x.exp()), x.exp().ln(), 0.0);
        }
        for x in [
            1e-300,
            1e-19,
            0.5,
            0.7072,
            1.0 - f64::EPSILON,
            1.0,
            3.0,
            1e300,
        ] {
            check(x, ln(x), x.ln(), 0.0);
        }
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        assert_eq!(ln(f64::INFINITY), f64::INFINITY);
        assert!(ln(f64::NAN).is_nan() && ln(-1.0).is_nan());
    }

    #[test]
    fn powers_are_products() {
        assert_eq!(power(0.5, 0), 1.0);
        assert_eq!(power(0.5, 10), 1.0 / 1024.0);
        assert_eq!(power(3.0, 5), 243.0);
        assert_eq!(power(0.9, 1_000_000_000), 0.0);
        let t = 12_345_u64;
        let (found, want) = (power(0.999, t), 0.999_f64.powf(t as f64));
        assert!(
            (found / want - 1.0).abs() < t as f64 * 1e-16,
            "{found} {want}"
        );
    }
}
