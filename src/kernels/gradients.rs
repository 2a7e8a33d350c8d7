//! The recurrent cells and the cross-entropy for training: they save the activations that their
//! gradients need, and the gradients overwrite them.
//!
//! A row of `width` numbers is a vector of H units in panels, its last panel padded; the padding
//! is zero in every state and every gradient.

use super::lanes::{Lanes, SQUARE};
use super::matrix::PANEL;
use super::pointwise::{each, exp_of, sigmoid_of, tanh_of};
use super::scalar::ln;

/// Copies at most [`PANEL`] values to a panel, padded with zeros.
#[inline(always)]
fn filled(values: &[f32]) -> [f32; PANEL] {
    let mut panel = [0.0; PANEL];
    panel[..values.len()].copy_from_slice(values);
    panel
}

/// Checks the lengths: gates (N, `count` · width), `padded` (N, width) each,
/// `plain` (N, units) each.
#[inline(always)]
fn check(gates: &[f32], count: usize, width: usize, padded: &[&[f32]], plain: &[(&[f32], usize)]) {
    assert!(width > 0 && width.is_multiple_of(PANEL), "whole panels");
    assert_eq!(gates.len() % (count * width), 0, "whole rows");
    let rows = gates.len() / (count * width);
    for values in padded {
        assert_eq!(values.len(), rows * width, "units in panels");
    }
    for (values, units) in plain {
        assert_eq!(values.len(), rows * units, "units");
    }
}

/// As [`lstm`](super::pointwise::lstm).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn lstm_saving<V: Lanes>(
    gates: &mut [f32],
    before: &[f32],
    cell: &mut [f32],
    hidden: &mut [f32],
    units: usize,
) {
    let width = units.next_multiple_of(PANEL);
    check(gates, 4, width, &[before, cell], &[(hidden, units)]);
    let rows = gates
        .chunks_exact_mut(4 * width)
        .zip(before.chunks_exact(width))
        .zip(cell.chunks_exact_mut(width))
        .zip(hidden.chunks_exact_mut(units));
    for (((gates, before), cell), hidden) in rows {
        let blocks = gates
            .chunks_exact_mut(4 * PANEL)
            .zip(before.chunks_exact(PANEL))
            .zip(cell.chunks_exact_mut(PANEL))
            .zip(hidden.chunks_mut(PANEL));
        for (((gates, before), cell), hidden) in blocks {
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: four panels of gates and one of the others, of which V::COUNT divides
                // the length; the caller vouches for the instructions.
                unsafe {
                    let gates = gates.as_mut_ptr();
                    let gate = |gate: usize| gates.add(gate * PANEL + k);
                    let i = sigmoid_of(V::load(gate(0)));
                    let f = sigmoid_of(V::load(gate(1)));
                    let g = tanh_of(V::load(gate(2)));
                    let before = V::load(before.as_ptr().add(k));
                    f.mul_add(before, i.mul(g)).store(cell.as_mut_ptr().add(k));
                    i.store(gate(0));
                    f.store(gate(1));
                    g.store(gate(2));
                }
            }
            let mut new = [0.0; PANEL];
            // A separate loop; in one loop this would be a single long chain of operations.
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: as above.
                unsafe {
                    let gate = gates.as_mut_ptr().add(3 * PANEL + k);
                    let o = sigmoid_of(V::load(gate));
                    o.store(gate);
                    let squashed = tanh_of(V::load(cell.as_ptr().add(k)));
                    o.mul(squashed).store(new.as_mut_ptr().add(k));
                }
            }
            hidden.copy_from_slice(&new[..hidden.len()]);
        }
    }
}

/// a·(1 − a), the derivative of σ where it is a.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
unsafe fn slope_of_sigmoid<V: Lanes>(a: V) -> V {
    // SAFETY: the caller's.
    unsafe { a.mul(V::splat(1.0).sub(a)) }
}

/// 1 − a², the derivative of tanh where it is a.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
unsafe fn slope_of_tanh<V: Lanes>(a: V) -> V {
    // SAFETY: the caller's.
    unsafe {
        let one = V::splat(1.0);
        one.sub(a).mul(one.add(a))
    }
}

/// With the gates after their non-linearities: ∂c = ∂c' + ∂h·o·(1 − tanh²c), ∂o = ∂h·tanh c,
/// ∂i = ∂c·g, ∂g = ∂c·i, ∂f = ∂c·c₋₁, ∂c₋₁ = ∂c·f, each gate's times its own derivative.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn lstm_backward<V: Lanes>(
    gates: &mut [f32],
    before: &[f32],
    cell: &[f32],
    d_hidden: &[f32],
    d_cell: &mut [f32],
) {
    check(gates, 4, PANEL, &[before, cell, d_hidden, d_cell], &[]);
    for (block, gates) in gates.chunks_exact_mut(4 * PANEL).enumerate() {
        for k in (0..PANEL).step_by(V::COUNT) {
            let unit = block * PANEL + k;
            // SAFETY: four panels of gates, and a panel of the others for each four, as was checked;
            // V::COUNT divides their length; the caller vouches for the instructions.
            unsafe {
                let gates = gates.as_mut_ptr();
                let gate = |gate: usize| gates.add(gate * PANEL + k);
                let (i, f) = (V::load(gate(0)), V::load(gate(1)));
                let (g, o) = (V::load(gate(2)), V::load(gate(3)));
                let squashed = tanh_of(V::load(cell.as_ptr().add(unit)));
                let d_hidden = V::load(d_hidden.as_ptr().add(unit));
                let d_cell = d_cell.as_mut_ptr().add(unit);
                let d = d_hidden.mul(o);
                let d = d.mul_add(slope_of_tanh(squashed), V::load(d_cell));
                let before = V::load(before.as_ptr().add(unit));
                d.mul(g).mul(slope_of_sigmoid(i)).store(gate(0));
                d.mul(before).mul(slope_of_sigmoid(f)).store(gate(1));
                d.mul(i).mul(slope_of_tanh(g)).store(gate(2));
                d_hidden
                    .mul(squashed)
                    .mul(slope_of_sigmoid(o))
                    .store(gate(3));
                d.mul(f).store(d_cell);
            }
        }
    }
}

/// As [`gru`](super::pointwise::gru).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn gru_saving<V: Lanes>(
    gates: &mut [f32],
    recurrent: &[f32],
    candidate: &mut [f32],
    before: &[f32],
    hidden: &mut [f32],
    units: usize,
) {
    let width = units.next_multiple_of(PANEL);
    let plain = [(before, units), (&*hidden, units)];
    check(gates, 3, width, &[candidate], &plain);
    assert_eq!(recurrent.len(), gates.len(), "three gates");
    let rows = gates
        .chunks_exact_mut(3 * width)
        .zip(recurrent.chunks_exact(3 * width))
        .zip(candidate.chunks_exact_mut(width))
        .zip(before.chunks_exact(units))
        .zip(hidden.chunks_exact_mut(units));
    for ((((gates, recurrent), candidate), before), hidden) in rows {
        let blocks = gates
            .chunks_exact_mut(3 * PANEL)
            .zip(recurrent.chunks_exact(3 * PANEL))
            .zip(candidate.chunks_exact_mut(PANEL))
            .zip(before.chunks(PANEL).zip(hidden.chunks_mut(PANEL)));
        for (((gates, recurrent), candidate), (before, hidden)) in blocks {
            let mut state = filled(before);
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: three panels of each array and one of the others, of which V::COUNT
                // divides the length; the caller vouches for the instructions.
                unsafe {
                    let gates = gates.as_mut_ptr();
                    let gate = |gate: usize| gates.add(gate * PANEL + k);
                    let product = |gate: usize| V::load(recurrent.as_ptr().add(gate * PANEL + k));
                    let state = state.as_mut_ptr().add(k);
                    let r = sigmoid_of(V::load(gate(0)).add(product(0)));
                    let z = sigmoid_of(V::load(gate(1)).add(product(1)));
                    let n = tanh_of(r.mul_add(product(2), V::load(gate(2))));
                    z.mul_add(V::load(state).sub(n), n).store(state);
                    product(2).store(candidate.as_mut_ptr().add(k));
                    r.store(gate(0));
                    z.store(gate(1));
                    n.store(gate(2));
                }
            }
            hidden.copy_from_slice(&state[..hidden.len()]);
        }
    }
}

/// With h = n + z·(h₋₁ − n), n = tanh(n_x + r·n_h): ∂z = ∂h·(h₋₁ − n), ∂n = ∂h·(1 − z),
/// ∂n_x = ∂n·(1 − n²), ∂r = ∂n_x·n_h, ∂n_h = ∂n_x·r, and ∂h·z bypasses the gates.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn gru_backward<V: Lanes>(
    gates: &mut [f32],
    candidate: &mut [f32],
    before: &[f32],
    d_hidden: &mut [f32],
    recurrent: &mut [f32],
    units: usize,
) {
    let width = units.next_multiple_of(PANEL);
    check(gates, 3, width, &[candidate, d_hidden], &[(before, units)]);
    assert_eq!(recurrent.len(), gates.len(), "three gates");
    let rows = gates
        .chunks_exact_mut(3 * width)
        .zip(candidate.chunks_exact_mut(width))
        .zip(before.chunks_exact(units))
        .zip(d_hidden.chunks_exact_mut(width))
        .zip(recurrent.chunks_exact_mut(3 * width));
    for ((((gates, candidate), before), d_hidden), recurrent) in rows {
        let blocks = gates
            .chunks_exact_mut(3 * PANEL)
            .zip(candidate.chunks_exact_mut(PANEL))
            .zip(before.chunks(PANEL))
            .zip(d_hidden.chunks_exact_mut(PANEL))
            .zip(recurrent.chunks_exact_mut(3 * PANEL));
        for ((((gates, candidate), before), d_hidden), recurrent) in blocks {
            let before = filled(before);
            for k in (0..PANEL).step_by(V::COUNT) {
                // SAFETY: three panels of each array and one of the others, of which V::COUNT
                // divides the length; the caller vouches for the instructions.
                unsafe {
                    let gates = gates.as_mut_ptr();
                    let gate = |gate: usize| gates.add(gate * PANEL + k);
                    let recurrent = recurrent.as_mut_ptr();
                    let product = |gate: usize| recurrent.add(gate * PANEL + k);
                    let candidate = candidate.as_mut_ptr().add(k);
                    let d_hidden = d_hidden.as_mut_ptr().add(k);
                    let (r, z, n) = (V::load(gate(0)), V::load(gate(1)), V::load(gate(2)));
                    let d = V::load(d_hidden);
                    let past = V::load(before.as_ptr().add(k)).sub(n);
                    let d_n = d.mul(V::splat(1.0).sub(z)).mul(slope_of_tanh(n));
                    let d_r = d_n.mul(V::load(candidate)).mul(slope_of_sigmoid(r));
                    let d_z = d.mul(past).mul(slope_of_sigmoid(z));
                    let d_candidate = d_n.mul(r);
                    for (gate, value) in [(gate(0), d_r), (gate(1), d_z), (gate(2), d_n)] {
                        value.store(gate);
                    }
                    for (product, value) in [
                        (product(0), d_r),
                        (product(1), d_z),
                        (product(2), d_candidate),
                    ] {
                        value.store(product);
                    }
                    d_candidate.store(candidate);
                    d.mul(z).store(d_hidden);
                }
            }
        }
    }
}

/// As [`rnn`](super::pointwise::rnn).
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn rnn_saving<V: Lanes>(gates: &mut [f32], hidden: &mut [f32], units: usize) {
    let width = units.next_multiple_of(PANEL);
    check(gates, 1, width, &[], &[(hidden, units)]);
    // SAFETY: the caller's.
    unsafe { each::<V>(gates, tanh_of) };
    let rows = gates.chunks_exact(width);
    for (gates, hidden) in rows.zip(hidden.chunks_exact_mut(units)) {
        hidden.copy_from_slice(&gates[..units]);
    }
}

#[inline(always)]
pub(super) fn rnn_backward(gates: &mut [f32], d_hidden: &[f32]) {
    assert_eq!(gates.len(), d_hidden.len(), "one gate");
    for (gate, &d) in gates.iter_mut().zip(d_hidden) {
        *gate = d * ((1.0 - *gate) * (1.0 + *gate));
    }
}

/// The rows' common width.
#[inline(always)]
fn row_width(values: &[f32], rows: usize) -> usize {
    let width = values.len() / rows.max(1);
    assert_eq!(values.len(), width * rows, "whole rows");
    width
}

/// p = exp(x − max) / Σ exp(x − max), −log p(target) = max + ln Σ exp(x − max) − x(target). Maximum
/// and sum run over 32 lanes first, which changes no bit from one level to another.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn cross_entropy<V: Lanes>(
    logits: &mut [f32],
    outputs: usize,
    targets: &[i64],
    nats: &mut [f32],
) {
    assert_eq!(nats.len(), targets.len(), "one target a row");
    let width = row_width(logits, targets.len());
    assert!(width.is_multiple_of(PANEL), "whole panels");
    let rows = logits.chunks_exact_mut(width.max(1));
    for ((row, &target), nats) in rows.zip(targets).zip(nats) {
        let of_target = row[..outputs][target as usize];
        row[outputs..].fill(f32::NEG_INFINITY);
        let mut most = [f32::NEG_INFINITY; PANEL];
        for panel in row.as_chunks::<PANEL>().0 {
            for (most, &x) in most.iter_mut().zip(panel) {
                *most = if x > *most { x } else { *most };
            }
        }
        let most = most.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        for x in &mut *row {
            *x -= most;
        }
        // SAFETY: the caller's.
        unsafe { each::<V>(row, exp_of) };
        let mut sums = [0.0_f32; PANEL];
        for panel in row.as_chunks::<PANEL>().0 {
            for (sum, x) in sums.iter_mut().zip(panel) {
                *sum += x;
            }
        }
        let sum: f32 = sums.iter().sum();
        *nats = most + ln(f64::from(sum)) as f32 - of_target;
        let scale = 1.0 / sum;
        for x in row {
            *x *= scale;
        }
    }
}

/// ∂x = ∂nats · (p − 1 at the target).
#[inline(always)]
pub(super) fn cross_entropy_backward(probabilities: &mut [f32], targets: &[i64], d_nats: &[f32]) {
    assert_eq!(d_nats.len(), targets.len(), "one target a row");
    let width = row_width(probabilities, targets.len());
    let rows = probabilities.chunks_exact_mut(width.max(1));
    for ((row, &target), &d) in rows.zip(targets).zip(d_nats) {
        row[target as usize] -= 1.0;
        for x in row {
            *x *= d;
        }
    }
}

/// Transposes rows of one length to `out`, whose rows are `stride` numbers apart.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn transpose<V: Lanes>(rows: &[&[f32]], out: &mut [f32], stride: usize) {
    let columns = rows.first().map_or(0, |row| row.len());
    assert!(rows.iter().all(|row| row.len() == columns), "equal rows");
    assert!(rows.len() <= stride, "rows fit");
    assert!(
        columns * stride <= out.len() + stride - rows.len(),
        "one position each"
    );
    let whole = columns - columns % SQUARE;
    // A cache line of every row at a time.
    for first in (0..whole).step_by(2 * SQUARE) {
        let mut squares = rows.chunks_exact(SQUARE);
        for (group, rows) in (&mut squares).enumerate() {
            for column in (first..whole.min(first + 2 * SQUARE)).step_by(SQUARE) {
                let to = &mut out[column * stride + group * SQUARE..];
                // SAFETY: eight rows have eight numbers from `column` on, and so have as many rows of `out` from
                // there, as was checked; the caller vouches for the instructions.
                unsafe {
                    let mut from = [rows[0].as_ptr(); SQUARE];
                    for (from, row) in from.iter_mut().zip(rows) {
                        *from = row.as_ptr().add(column);
                    }
                    V::transpose(from, to.as_mut_ptr(), stride);
                }
            }
        }
        let own = rows.len() - squares.remainder().len();
        for (row, from) in (own..).zip(squares.remainder()) {
            for column in first..whole.min(first + 2 * SQUARE) {
                out[column * stride + row] = from[column];
            }
        }
    }
    for column in whole..columns {
        for (to, row) in out[column * stride..].iter_mut().zip(rows) {
            *to = row[column];
        }
    }
}
