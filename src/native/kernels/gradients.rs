//! The recurrent cells and the cross-entropy as training needs them: what their gradients ask for
//! is kept, and overwritten by these gradients.
//!
//! A row of `width` numbers is a vector of H units in panels, its last panel filled up; what fills
//! it up is zero in every state and every gradient.

use super::matrix::PANEL;
use super::pointwise::{exp_one, sigmoid_one, split, tanh_one};

/// Rows and columns that [`transpose`] turns at a time: a cache line of each.
const TURNED_AT_ONCE: usize = 16;

/// The gates of one block, mutable.
#[inline(always)]
fn split_mut<const GATES: usize>(block: &mut [f32]) -> [&mut [f32; PANEL]; GATES] {
    let (panels, _) = block.as_chunks_mut::<PANEL>();
    let mut panels = panels.iter_mut();
    std::array::from_fn(|_| match panels.next() {
        Some(panel) => panel,
        None => unreachable!("a block has all gates"),
    })
}

/// One panel.
#[inline(always)]
fn panel(values: &[f32]) -> &[f32; PANEL] {
    split::<1>(values)[0]
}

/// One panel, mutable.
#[inline(always)]
fn panel_mut(values: &mut [f32]) -> &mut [f32; PANEL] {
    let [panel] = split_mut::<1>(values);
    panel
}

/// Units in a panel that may be the last of a row: the rest is zero.
#[inline(always)]
fn filled(values: &[f32]) -> [f32; PANEL] {
    let mut panel = [0.0; PANEL];
    panel[..values.len()].copy_from_slice(values);
    panel
}

/// The rows in `gates`, after their number has been held against the other lengths: gates
/// (N, `count` · width), `padded` (N, width) each, `plain` (N, units) each.
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

#[inline(always)]
pub(super) fn lstm_keep(
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
            let [i, f, g, o] = split_mut(gates);
            let (before, cell) = (panel(before), panel_mut(cell));
            let mut new = [0.0; PANEL];
            for k in 0..PANEL {
                i[k] = sigmoid_one(i[k]);
                f[k] = sigmoid_one(f[k]);
                g[k] = tanh_one(g[k]);
                o[k] = sigmoid_one(o[k]);
                cell[k] = f[k].mul_add(before[k], i[k] * g[k]);
                new[k] = o[k] * tanh_one(cell[k]);
            }
            hidden.copy_from_slice(&new[..hidden.len()]);
        }
    }
}

/// With a = the gates after their non-linearities: ∂c = ∂c' + ∂h·o·(1 − tanh²c), ∂o = ∂h·tanh c,
/// ∂i = ∂c·g, ∂g = ∂c·i, ∂f = ∂c·c₋₁, ∂c₋₁ = ∂c·f, each gate's times its own derivative.
#[inline(always)]
pub(super) fn lstm_backward(
    gates: &mut [f32],
    before: &[f32],
    cell: &[f32],
    d_hidden: &[f32],
    d_cell: &mut [f32],
) {
    check(gates, 4, PANEL, &[before, cell, d_hidden, d_cell], &[]);
    let blocks = gates
        .chunks_exact_mut(4 * PANEL)
        .zip(before.chunks_exact(PANEL))
        .zip(cell.chunks_exact(PANEL))
        .zip(d_hidden.chunks_exact(PANEL))
        .zip(d_cell.chunks_exact_mut(PANEL));
    for ((((gates, before), cell), d_hidden), d_cell) in blocks {
        let [i, f, g, o] = split_mut(gates);
        let (before, cell, d_hidden) = (panel(before), panel(cell), panel(d_hidden));
        let d_cell = panel_mut(d_cell);
        for k in 0..PANEL {
            let squashed = tanh_one(cell[k]);
            let slope = (-squashed).mul_add(squashed, 1.0);
            let d = (d_hidden[k] * o[k]).mul_add(slope, d_cell[k]);
            let (input, forget) = (i[k], f[k]);
            i[k] = d * g[k] * (input * (1.0 - input));
            f[k] = d * before[k] * (forget * (1.0 - forget));
            g[k] = d * input * (-g[k]).mul_add(g[k], 1.0);
            o[k] = d_hidden[k] * squashed * (o[k] * (1.0 - o[k]));
            d_cell[k] = d * forget;
        }
    }
}

#[inline(always)]
pub(super) fn gru_keep(
    gates: &mut [f32],
    recurrent: &[f32],
    candidate: &mut [f32],
    before: &[f32],
    hidden: &mut [f32],
    units: usize,
) {
    let width = units.next_multiple_of(PANEL);
    check(
        gates,
        3,
        width,
        &[candidate],
        &[(before, units), (hidden, units)],
    );
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
            let [r, z, n] = split_mut(gates);
            let [r_h, z_h, n_h] = split(recurrent);
            let candidate = panel_mut(candidate);
            let mut state = filled(before);
            for k in 0..PANEL {
                r[k] = sigmoid_one(r[k] + r_h[k]);
                z[k] = sigmoid_one(z[k] + z_h[k]);
                n[k] = tanh_one(r[k].mul_add(n_h[k], n[k]));
                candidate[k] = n_h[k];
                state[k] = z[k].mul_add(state[k] - n[k], n[k]);
            }
            hidden.copy_from_slice(&state[..hidden.len()]);
        }
    }
}

/// With h = n + z·(h₋₁ − n), n = tanh(n_x + r·n_h): ∂z = ∂h·(h₋₁ − n), ∂n = ∂h·(1 − z),
/// ∂n_x = ∂n·(1 − n²), ∂r = ∂n_x·n_h, ∂n_h = ∂n_x·r, and ∂h·z passes the gates by.
#[inline(always)]
pub(super) fn gru_backward(
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
            let [r, z, n] = split_mut(gates);
            let [r_h, z_h, n_h] = split_mut(recurrent);
            let (candidate, d_hidden) = (panel_mut(candidate), panel_mut(d_hidden));
            let before = filled(before);
            for k in 0..PANEL {
                let (reset, update, new) = (r[k], z[k], n[k]);
                let d = d_hidden[k];
                let d_n = d * (1.0 - update) * (-new).mul_add(new, 1.0);
                r[k] = d_n * candidate[k] * (reset * (1.0 - reset));
                z[k] = d * (before[k] - new) * (update * (1.0 - update));
                n[k] = d_n;
                candidate[k] = d_n * reset;
                r_h[k] = r[k];
                z_h[k] = z[k];
                n_h[k] = candidate[k];
                d_hidden[k] = d * update;
            }
        }
    }
}

#[inline(always)]
pub(super) fn rnn_keep(gates: &mut [f32], hidden: &mut [f32], units: usize) {
    let width = units.next_multiple_of(PANEL);
    check(gates, 1, width, &[], &[(hidden, units)]);
    let rows = gates
        .chunks_exact_mut(width)
        .zip(hidden.chunks_exact_mut(units));
    for (gates, hidden) in rows {
        for gate in &mut *gates {
            *gate = tanh_one(*gate);
        }
        hidden.copy_from_slice(&gates[..units]);
    }
}

#[inline(always)]
pub(super) fn rnn_backward(gates: &mut [f32], d_hidden: &[f32]) {
    assert_eq!(gates.len(), d_hidden.len(), "one gate");
    for (gate, &d) in gates.iter_mut().zip(d_hidden) {
        *gate = d * (-*gate).mul_add(*gate, 1.0);
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
#[inline(always)]
pub(super) fn cross_entropy(logits: &mut [f32], outputs: usize, targets: &[i64], nats: &mut [f32]) {
    assert_eq!(nats.len(), targets.len(), "one target a row");
    let width = row_width(logits, targets.len());
    assert!(width.is_multiple_of(PANEL), "whole panels");
    for ((row, &target), nats) in logits.chunks_exact_mut(width.max(1)).zip(targets).zip(nats) {
        let of_target = row[..outputs][target as usize];
        row[outputs..].fill(f32::NEG_INFINITY);
        let mut most = [f32::NEG_INFINITY; PANEL];
        for panel in row.as_chunks::<PANEL>().0 {
            for (most, &x) in most.iter_mut().zip(panel) {
                *most = if x > *most { x } else { *most };
            }
        }
        let most = most.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let mut sums = [0.0_f32; PANEL];
        for panel in row.as_chunks_mut::<PANEL>().0 {
            for (sum, x) in sums.iter_mut().zip(panel) {
                *x = exp_one(*x - most);
                *sum += *x;
            }
        }
        let sum: f32 = sums.iter().sum();
        *nats = most + sum.ln() - of_target;
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

#[inline(always)]
pub(super) fn transpose(rows: &[&[f32]], out: &mut [f32]) {
    let count = rows.len();
    let columns = rows.first().map_or(0, |row| row.len());
    assert!(rows.iter().all(|row| row.len() == columns), "equal rows");
    assert_eq!(out.len(), columns * count, "one place each");
    for (group, rows) in rows.chunks(TURNED_AT_ONCE).enumerate() {
        let first = group * TURNED_AT_ONCE;
        for column in (0..columns).step_by(TURNED_AT_ONCE) {
            let wide = TURNED_AT_ONCE.min(columns - column);
            let mut block = [[0.0; TURNED_AT_ONCE]; TURNED_AT_ONCE];
            for (block, row) in block.iter_mut().zip(rows) {
                block[..wide].copy_from_slice(&row[column..column + wide]);
            }
            for (k, out) in out[column * count..]
                .chunks_mut(count)
                .take(wide)
                .enumerate()
            {
                let turned: [f32; TURNED_AT_ONCE] = std::array::from_fn(|row| block[row][k]);
                out[first..first + rows.len()].copy_from_slice(&turned[..rows.len()]);
            }
        }
    }
}
