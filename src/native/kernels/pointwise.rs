//! Elementwise functions and the recurrent cells.
//!
//! exp and tanh follow Cephes (S. L. Moshier, `expf.c` and `tanhf.c`): its reductions and its
//! polynomials, evaluated with fused multiply-adds and without branches.

use std::f32::consts::LOG2_E;

use super::matrix::PANEL;

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
pub(super) fn exp_one(x: f32) -> f32 {
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
pub(super) fn sigmoid_one(x: f32) -> f32 {
    1.0 / (1.0 + exp_one(-x))
}

/// A polynomial near zero, where the other formula would cancel, else 1 − 2 / (e^2|x| + 1).
#[inline(always)]
pub(super) fn tanh_one(x: f32) -> f32 {
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
pub(super) fn lstm(gates: &[f32], cell: &mut [f32], hidden: &mut [f32], units: usize) {
    let width = check(gates, 4, hidden, units);
    assert_eq!(cell.len(), hidden.len() / units * width, "cells");
    let rows = gates
        .chunks_exact(4 * width)
        .zip(cell.chunks_exact_mut(width));
    for ((gates, cell), hidden) in rows.zip(hidden.chunks_exact_mut(units)) {
        let blocks = gates
            .chunks_exact(4 * PANEL)
            .zip(cell.chunks_exact_mut(PANEL));
        for ((gates, cell), hidden) in blocks.zip(hidden.chunks_mut(PANEL)) {
            let [i, f, g, o] = split(gates);
            let mut new = [0.0; PANEL];
            for k in 0..PANEL {
                let candidate = sigmoid_one(i[k]) * tanh_one(g[k]);
                cell[k] = sigmoid_one(f[k]).mul_add(cell[k], candidate);
                new[k] = sigmoid_one(o[k]) * tanh_one(cell[k]);
            }
            hidden.copy_from_slice(&new[..hidden.len()]);
        }
    }
}

/// n = tanh(n_x + σ(r)·n_h), h' = (1 − σ(z))·n + σ(z)·h (Cho et al. 2014 with the reset after the
/// recurrent product, as cuDNN; PyTorch's `nn.GRU`).
#[inline(always)]
pub(super) fn gru(input: &[f32], recurrent: &[f32], hidden: &mut [f32], units: usize) {
    let width = check(input, 3, hidden, units);
    assert_eq!(recurrent.len(), input.len(), "three gates");
    let rows = input
        .chunks_exact(3 * width)
        .zip(recurrent.chunks_exact(3 * width));
    for ((input, recurrent), hidden) in rows.zip(hidden.chunks_exact_mut(units)) {
        let blocks = input
            .chunks_exact(3 * PANEL)
            .zip(recurrent.chunks_exact(3 * PANEL));
        for ((input, recurrent), hidden) in blocks.zip(hidden.chunks_mut(PANEL)) {
            let [input_r, input_z, input_n] = split(input);
            let [recurrent_r, recurrent_z, recurrent_n] = split(recurrent);
            let mut state = [0.0; PANEL];
            state[..hidden.len()].copy_from_slice(hidden);
            for k in 0..PANEL {
                let r = sigmoid_one(input_r[k] + recurrent_r[k]);
                let z = sigmoid_one(input_z[k] + recurrent_z[k]);
                let n = tanh_one(r.mul_add(recurrent_n[k], input_n[k]));
                state[k] = z.mul_add(state[k] - n, n);
            }
            hidden.copy_from_slice(&state[..hidden.len()]);
        }
    }
}

/// h' = tanh(gates) (Elman 1990; PyTorch's `nn.RNN`).
#[inline(always)]
pub(super) fn rnn(gates: &[f32], hidden: &mut [f32], units: usize) {
    let width = check(gates, 1, hidden, units);
    let rows = gates
        .chunks_exact(width)
        .zip(hidden.chunks_exact_mut(units));
    for (gates, hidden) in rows {
        for (hidden, &gate) in hidden.iter_mut().zip(gates) {
            *hidden = tanh_one(gate);
        }
    }
}

/// The length of a vector of `units` in panels, after the lengths of the others have been held
/// against it: gates (N, G, that), hidden (N, units).
#[inline(always)]
fn check(gates: &[f32], count: usize, hidden: &[f32], units: usize) -> usize {
    assert!(
        units > 0 && hidden.len().is_multiple_of(units),
        "whole vectors"
    );
    let width = units.next_multiple_of(PANEL);
    assert_eq!(gates.len(), hidden.len() / units * count * width, "gates");
    width
}

/// The gates of one block.
#[inline(always)]
pub(super) fn split<const GATES: usize>(block: &[f32]) -> [&[f32; PANEL]; GATES] {
    let (panels, _) = block.as_chunks::<PANEL>();
    std::array::from_fn(|gate| &panels[gate])
}
