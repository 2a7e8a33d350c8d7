//! The kernels against plain f64 loops, and the levels against each other.

use super::*;
use crate::native::testing::Numbers;

/// Every level of this machine.
fn levels() -> Vec<Kernels> {
    Level::supported().filter_map(Kernels::at).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs `kernel` on a copy of `values` at every level, checks that all agree, and returns the result.
fn at_every_level(values: &[f32], kernel: impl Fn(Kernels, &mut [f32])) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for kernels in levels() {
        let mut out = values.to_vec();
        kernel(kernels, &mut out);
        match &first {
            Some(first) => assert_eq!(bits(first), bits(&out), "{}", kernels.level()),
            None => first = Some(out),
        }
    }
    first.expect("the portable level is everywhere")
}

/// Distance in units of the last place of `want`.
fn ulps(found: f32, want: f64) -> f64 {
    let unit = f64::from((want as f32).abs().next_up()) - f64::from((want as f32).abs());
    (f64::from(found) - want).abs() / unit
}

/// 2²⁰ values over [low, high], and as many over small magnitudes of both signs.
fn grid(low: f32, high: f32) -> Vec<f32> {
    let steps = 1 << 20;
    let line = (0..=steps).map(|k| low + (high - low) * (k as f32 / steps as f32));
    let small = (0..steps).map(|k| {
        let size = (-(k as f32) / 20_000.0).exp2();
        if k % 2 == 0 { size } else { -size }
    });
    line.chain(small).collect()
}

fn worst(values: &[f32], found: &[f32], exact: impl Fn(f64) -> f64) -> f64 {
    let errors = values
        .iter()
        .zip(found)
        .map(|(&x, &y)| ulps(y, exact(f64::from(x))));
    errors.fold(0.0, f64::max)
}

#[test]
fn a_product_is_the_naive_one_at_awkward_sizes() {
    let mut numbers = Numbers::new(3);
    for columns in [1, 7, 33, 100, 129] {
        for rows in [1, 2, 28, 31, 32, 33, 97, 516, 5000] {
            let matrix = numbers.vector(rows * columns, 1.0);
            let x = numbers.vector(columns, 1.0);
            let start = numbers.vector(rows, 1.0);
            let packed = Packed::new(&matrix, columns, 0..columns);
            assert_eq!((packed.rows(), packed.columns()), (rows, columns));
            let found = at_every_level(&start, |kernels, out| kernels.accumulate(&packed, &x, out));
            for row in 0..rows {
                let products = matrix[row * columns..][..columns].iter().zip(&x);
                let sum: f64 = products.map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                let want = f64::from(start[row]) + sum;
                assert!(
                    (f64::from(found[row]) - want).abs() < 1e-5,
                    "{rows}×{columns} at {row}"
                );
            }
        }
    }
}

#[test]
fn a_product_rounds_once_a_column_and_takes_the_columns_in_order() {
    let product = |matrix: &[f32], x: &[f32], start: f32| {
        let packed = Packed::new(matrix, x.len(), 0..x.len());
        at_every_level(&[start], |kernels, out| kernels.accumulate(&packed, x, out))[0]
    };
    let above = 1.0 + 1.0 / 4096.0; // its square needs a bit more than an f32 has
    assert_eq!(
        product(&[above], &[above], -1.0),
        (2.0 + 1.0 / 4096.0) / 4096.0
    );
    assert_eq!(product(&[1e8, 1.0, -1e8], &[1.0; 3], 0.0), 0.0);
    assert_eq!(product(&[1e8, -1e8, 1.0], &[1.0; 3], 0.0), 1.0);
}

#[test]
fn a_product_takes_the_columns_that_were_packed() {
    let matrix: Vec<f32> = (0..6_u8).map(f32::from).collect(); // 0 1 2 / 3 4 5
    let packed = Packed::new(&matrix, 3, 1..3);
    let found = at_every_level(&[10.0, 20.0], |kernels, out| {
        kernels.accumulate(&packed, &[1.0, 100.0], out);
    });
    assert_eq!(found, [211.0, 524.0]);
}

#[test]
fn a_product_with_no_columns_adds_nothing() {
    let packed = Packed::new(&[1.0, 2.0], 1, 1..1);
    let found = at_every_level(&[3.0, 4.0], |kernels, out| {
        kernels.accumulate(&packed, &[], out);
    });
    assert_eq!(found, [3.0, 4.0]);
}

#[test]
fn the_exponential_is_as_exact_as_documented() {
    let values = grid(-87.0, 88.0);
    let found = at_every_level(&values, Kernels::exp);
    let worst = worst(&values, &found, f64::exp);
    assert!(worst <= 1.02, "{worst}");
}

#[test]
fn the_hyperbolic_tangent_is_as_exact_as_documented() {
    let values = grid(-12.0, 12.0);
    let found = at_every_level(&values, Kernels::tanh);
    let worst = worst(&values, &found, f64::tanh);
    assert!(worst <= 1.34, "{worst}");
}

#[test]
fn the_sigmoid_is_as_exact_as_documented() {
    let values = grid(-87.0, 87.0);
    let found = at_every_level(&values, Kernels::sigmoid);
    let worst = worst(&values, &found, |x| 1.0 / (1.0 + (-x).exp()));
    assert!(worst <= 2.5, "{worst}");
}

#[test]
fn functions_saturate_without_leaving_the_numbers() {
    let ends = [
        f32::NEG_INFINITY,
        f32::MIN,
        -88.0,
        0.0,
        f32::MAX,
        f32::INFINITY,
    ];
    let highest = 88_f32.exp();
    let exp = at_every_level(&ends, Kernels::exp);
    assert_eq!(exp[..4], [0.0, 0.0, 0.0, 1.0]);
    assert!(
        exp[4..].iter().all(|y| (y / highest - 1.0).abs() < 1e-6),
        "{exp:?}"
    );
    assert_eq!(
        at_every_level(&ends, Kernels::tanh),
        [-1.0, -1.0, -1.0, 0.0, 1.0, 1.0]
    );
    let sigmoid = at_every_level(&ends, Kernels::sigmoid);
    assert!(
        sigmoid[..3].iter().all(|&y| (0.0..1e-37).contains(&y)),
        "{sigmoid:?}"
    );
    assert_eq!(sigmoid[3..], [0.5, 1.0, 1.0]);
}

#[test]
fn the_cells_are_the_formulas_at_awkward_sizes() {
    let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
    let tanh = |x: f32| f64::from(x).tanh();
    let close = |found: f32, want: f64| assert!((f64::from(found) - want).abs() < 1e-6);
    let mut numbers = Numbers::new(5);
    for size in [1, 7, 33, 100, 129] {
        let (gates, other) = (numbers.vector(4 * size, 3.0), numbers.vector(3 * size, 3.0));
        let start = numbers.vector(2 * size, 1.0);
        let lstm = at_every_level(&start, |kernels, state| {
            let (cell, hidden) = state.split_at_mut(size);
            kernels.lstm(&gates, cell, hidden);
        });
        let hidden = &start[size..];
        let gru = at_every_level(hidden, |kernels, hidden| {
            kernels.gru(&gates[..3 * size], &other, hidden);
        });
        let rnn = at_every_level(hidden, |kernels, hidden| {
            kernels.rnn(&gates[..size], hidden);
        });
        for k in 0..size {
            let gate = |gate: usize| gates[gate * size + k];
            let cell = sigmoid(gate(1)) * f64::from(start[k]) + sigmoid(gate(0)) * tanh(gate(2));
            close(lstm[k], cell);
            close(lstm[size + k], sigmoid(gate(3)) * cell.tanh());
            let r = sigmoid(gate(0) + other[k]);
            let z = sigmoid(gate(1) + other[size + k]);
            let n = (f64::from(gate(2)) + r * f64::from(other[2 * size + k])).tanh();
            close(gru[k], (1.0 - z) * n + z * f64::from(hidden[k]));
            close(rnn[k], tanh(gate(0)));
        }
    }
}
