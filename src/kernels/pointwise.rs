//! Elementwise functions and the recurrent cells.
//!
//! exp and tanh follow Cephes (S. L. Moshier, `expf.c` and `tanhf.c`): its reductions and its
//! polynomials, evaluated with fused multiply-adds and without branches.
//!
//! Every function here needs the instructions of its lanes `V`, and nothing else, to be safe.

use std::f32::consts::LOG2_E;

use super::lanes::Lanes;
use super::matrix::PANEL;

/// Outside this range the exponential is not a normal number.
const EXP_LOWEST: f32 = -87.0;
const EXP_HIGHEST: f32 = 88.0;
/// ln 2 in two parts; the first has few bits, so that its multiples are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 · 2²³: adding it rounds to an integer, which is then in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// Goes on with a polynomial by Horner's scheme; a loop would stay one where the compiler optimizes for size.
macro_rules! horner {
    ($sum:ident, $x:expr, $($coefficient:expr),+) => {
        $(let $sum = $sum.mul_add($x, V::splat($coefficient));)+
    };
}

/// e^x = 2^n · e^r with n = round(x / ln 2), |r| ≤ ½ ln 2.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn exp_of<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (lowest, highest) = (V::splat(EXP_LOWEST), V::splat(EXP_HIGHEST));
        let inside = highest.if_less(x, highest, x);
        let inside = inside.if_less(lowest, lowest, inside);
        let rounded = inside.mul_add(V::splat(LOG2_E), V::splat(ROUND));
        let n = rounded.sub(V::splat(ROUND));
        let r = n.mul_add(V::splat(-LN_2_HIGH), inside);
        let r = n.mul_add(V::splat(-LN_2_LOW), r);
        let p = V::splat(1.987_569_1e-4);
        horner!(
            p,
            r,
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5
        );
        let power = p.mul_add(r.mul(r), r).add(V::splat(1.0));
        // ROUND itself ends in zeros.
        let y = power.times_power(rounded);
        x.if_less(lowest, V::splat(0.0), y)
    }
}

/// 1 / (1 + e^−x).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn sigmoid_of<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let one = V::splat(1.0);
        one.div(one.add(exp_of(V::splat(-0.0).sub(x))))
    }
}

/// A polynomial near zero, where the other formula would suffer cancellation, else 1 − 2 / (e^2|x| + 1).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn tanh_of<V: Lanes>(x: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let (size, square, one) = (x.abs(), x.mul(x), V::splat(1.0));
        let p = V::splat(-5.704_988_7e-3);
        horner!(
            p,
            square,
            2.063_909e-2,
            -5.373_971_5e-2,
            1.333_144_2e-1,
            -3.333_328e-1
        );
        let near = p.mul(square).mul_add(x, x);
        let far = one.sub(V::splat(2.0).div(exp_of(size.add(size)).add(one)));
        size.if_less(V::splat(0.625), near, far.with_sign_of(x))
    }
}

#[inline(always)]
pub(super) fn add(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "one length");
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// Applies `function` to every value.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn each<V: Lanes>(values: &mut [f32], function: unsafe fn(V) -> V) {
    let mut groups = values.chunks_exact_mut(V::COUNT);
    // SAFETY: a group, and the panel, has as many values as `V`; the rest is the caller's.
    let apply = |at: *mut f32| unsafe { function(V::load(at)).store(at) };
    for group in &mut groups {
        apply(group.as_mut_ptr());
    }
    let rest = groups.into_remainder();
    if !rest.is_empty() {
        let mut panel = [0.0; PANEL];
        panel[..rest.len()].copy_from_slice(rest);
        apply(panel.as_mut_ptr());
        rest.copy_from_slice(&panel[..rest.len()]);
    }
}

/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn exp<V: Lanes>(values: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { each::<V>(values, exp_of) };
}

/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn tanh<V: Lanes>(values: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { each::<V>(values, tanh_of) };
}

/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn sigmoid<V: Lanes>(values: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe { each::<V>(values, sigmoid_of) };
}

/// c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c') (Hochreiter & Schmidhuber 1997 with the forget
/// gate of Gers et al. 2000; PyTorch's `nn.LSTM`).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn lstm<V: Lanes>(
    gates: &[f32],
    cell: &mut [f32],
    hidden: &mut [f32],
    units: usize,
) {
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
            let mut new = [0.0; PANEL];
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: four panels of gates and one of the others, of which V::COUNT divides
                // the length; the caller vouches for the instructions.
                unsafe {
                    let gate = |gate: usize| V::load(gates.as_ptr().add(gate * PANEL + k));
                    let cell = cell.as_mut_ptr().add(k);
                    let candidate = sigmoid_of(gate(0)).mul(tanh_of(gate(2)));
                    let saved = sigmoid_of(gate(1)).mul_add(V::load(cell), candidate);
                    saved.store(cell);
                    sigmoid_of(gate(3)).store(new.as_mut_ptr().add(k));
                }
            }
            // A separate loop; in one loop this would be a single long chain of operations.
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: as above.
                unsafe {
                    let new = new.as_mut_ptr().add(k);
                    let squashed = tanh_of(V::load(cell.as_ptr().add(k)));
                    V::load(new).mul(squashed).store(new);
                }
            }
            hidden.copy_from_slice(&new[..hidden.len()]);
        }
    }
}

/// n = tanh(n_x + σ(r)·n_h), h' = (1 − σ(z))·n + σ(z)·h (Cho et al. 2014 with the reset after the
/// recurrent product, as cuDNN; PyTorch's `nn.GRU`).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn gru<V: Lanes>(
    input: &[f32],
    recurrent: &[f32],
    hidden: &mut [f32],
    units: usize,
) {
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
            let mut state = [0.0; PANEL];
            state[..hidden.len()].copy_from_slice(hidden);
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: three panels of each array and one of state, of which V::COUNT divides
                // the length; the caller vouches for the instructions.
                unsafe {
                    let input = |gate: usize| V::load(input.as_ptr().add(gate * PANEL + k));
                    let product = |gate: usize| V::load(recurrent.as_ptr().add(gate * PANEL + k));
                    let state = state.as_mut_ptr().add(k);
                    let r = sigmoid_of(input(0).add(product(0)));
                    let z = sigmoid_of(input(1).add(product(1)));
                    let n = tanh_of(r.mul_add(product(2), input(2)));
                    z.mul_add(V::load(state).sub(n), n).store(state);
                }
            }
            hidden.copy_from_slice(&state[..hidden.len()]);
        }
    }
}

/// h' = tanh(gates) (Elman 1990; PyTorch's `nn.RNN`).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn rnn<V: Lanes>(gates: &[f32], hidden: &mut [f32], units: usize) {
    let width = check(gates, 1, hidden, units);
    let rows = gates
        .chunks_exact(width)
        .zip(hidden.chunks_exact_mut(units));
    for (gates, hidden) in rows {
        hidden.copy_from_slice(&gates[..units]);
        // SAFETY: the caller's.
        unsafe { each::<V>(hidden, tanh_of) };
    }
}

/// The length of a vector of `units` in panels. Checks the other lengths against it: gates
/// (N, G, that), hidden (N, units).
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
