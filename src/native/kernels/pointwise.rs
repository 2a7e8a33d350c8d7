//! Elementwise functions and the recurrent cells.
//!
//! exp and tanh follow Cephes (S. L. Moshier, `expf.c` and `tanhf.c`): its reductions and its
//! polynomials, evaluated with fused multiply-adds and without branches.

use std::f32::consts::LOG2_E;

/// Beyond these the exponential leaves the normal numbers.
const EXP_LOWEST: f32 = -87.0;
const EXP_HIGHEST: f32 = 88.0;
/// ln 2 in two parts; the first has few bits, so that its multiples are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 · 2²³: adding it rounds to an integer, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// e^x = 2^n · e^r with n = round(x / ln 2), |r| ≤ ½ ln 2.
#[inline(always)]
fn exp_one(x: f32) -> f32 {
    let high = if x > EXP_HIGHEST { EXP_HIGHEST } else { x };
    let inside = if high < EXP_LOWEST { EXP_LOWEST } else { high };
    let rounded = inside.mul_add(LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, inside));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let power = p.mul_add(r * r, r) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    let y = f32::from_bits(power.to_bits().wrapping_add(exponent));
    if x < EXP_LOWEST { 0.0 } else { y }
}

#[inline(always)]
fn sigmoid_one(x: f32) -> f32 {
    1.0 / (1.0 + exp_one(-x))
}

/// A polynomial near zero, where the other formula would cancel, else 1 − 2 / (e^2|x| + 1).
#[inline(always)]
fn tanh_one(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let mut p = -5.704_988_7e-3_f32;
    p = p.mul_add(square, 2.063_909e-2);
    p = p.mul_add(square, -5.373_971_5e-2);
    p = p.mul_add(square, 1.333_144_2e-1);
    p = p.mul_add(square, -3.333_328e-1);
    let near = (p * square).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp_one(size + size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

#[inline(always)]
pub(super) fn add(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "one length");
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[inline(always)]
pub(super) fn exp(values: &mut [f32]) {
    for value in values {
        *value = exp_one(*value);
    }
}

#[inline(always)]
pub(super) fn tanh(values: &mut [f32]) {
    for value in values {
        *value = tanh_one(*value);
    }
}

#[inline(always)]
pub(super) fn sigmoid(values: &mut [f32]) {
    for value in values {
        *value = sigmoid_one(*value);
    }
}

/// c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c') (Hochreiter & Schmidhuber 1997 with the forget
/// gate of Gers et al. 2000; PyTorch's `nn.LSTM`).
#[inline(always)]
pub(super) fn lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32]) {
    let size = hidden.len();
    assert_eq!(gates.len(), 4 * size, "four gates");
    assert_eq!(cell.len(), size, "cell");
    let (i, rest) = gates.split_at(size);
    let (f, rest) = rest.split_at(size);
    let (g, o) = rest.split_at(size);
    for k in 0..size {
        let new = sigmoid_one(i[k]) * tanh_one(g[k]);
        cell[k] = sigmoid_one(f[k]).mul_add(cell[k], new);
        hidden[k] = sigmoid_one(o[k]) * tanh_one(cell[k]);
    }
}

/// n = tanh(n_x + σ(r)·n_h), h' = (1 − σ(z))·n + σ(z)·h (Cho et al. 2014 with the reset after the
/// recurrent product, as cuDNN; PyTorch's `nn.GRU`).
#[inline(always)]
pub(super) fn gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32]) {
    let size = hidden.len();
    assert_eq!(input.len(), 3 * size, "three gates");
    assert_eq!(recurrent.len(), 3 * size, "three gates");
    let (input_r, rest) = input.split_at(size);
    let (input_z, input_n) = rest.split_at(size);
    let (recurrent_r, rest) = recurrent.split_at(size);
    let (recurrent_z, recurrent_n) = rest.split_at(size);
    for k in 0..size {
        let r = sigmoid_one(input_r[k] + recurrent_r[k]);
        let z = sigmoid_one(input_z[k] + recurrent_z[k]);
        let n = tanh_one(r.mul_add(recurrent_n[k], input_n[k]));
        hidden[k] = z.mul_add(hidden[k] - n, n);
    }
}

/// h' = tanh(gates) (Elman 1990; PyTorch's `nn.RNN`).
#[inline(always)]
pub(super) fn rnn(gates: &[f32], hidden: &mut [f32]) {
    assert_eq!(gates.len(), hidden.len(), "one gate");
    for (hidden, &gate) in hidden.iter_mut().zip(gates) {
        *hidden = tanh_one(gate);
    }
}
