//! Compares the kernels with plain f64 loops, and the levels with each other.

use super::*;
use crate::testing::Numbers;

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

/// Distance in units in the last place of `want`.
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
            let packed = Packed::new(&matrix, columns, 0..columns, 1);
            let start = packed.layout().spread(&start);
            let found = at_every_level(&start, |kernels, out| {
                kernels.accumulate(packed.all(), &x, out);
            });
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
        let packed = Packed::new(matrix, x.len(), 0..x.len(), 1);
        let start = packed.layout().spread(&[start]);
        at_every_level(&start, |kernels, out| {
            kernels.accumulate(packed.all(), x, out);
        })[0]
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
    let packed = Packed::new(&matrix, 3, 1..3, 1);
    let start = packed.layout().spread(&[10.0, 20.0]);
    let found = at_every_level(&start, |kernels, out| {
        kernels.accumulate(packed.all(), &[1.0, 100.0], out);
    });
    assert_eq!(found[..2], [211.0, 524.0]);
}

#[test]
fn a_product_with_no_columns_adds_nothing() {
    let packed = Packed::new(&[1.0, 2.0], 1, 1..1, 1);
    let start = packed.layout().spread(&[3.0, 4.0]);
    let found = at_every_level(&start, |kernels, out| {
        kernels.accumulate(packed.all(), &[], out);
    });
    assert_eq!(found, start);
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
fn many_vectors_and_some_panels_give_the_bits_of_one_vector_and_all_panels() {
    let mut numbers = Numbers::new(11);
    for (gates, units, columns) in [(1, 97, 300), (4, 33, 129), (3, 7, 1), (4, 100, 513)] {
        let matrix = numbers.vector(gates * units * columns, 1.0);
        let packed = Packed::new(&matrix, columns, 0..columns, gates);
        let eight = eight_bits(&matrix, columns, gates);
        let width = packed.layout().len();
        for rows in [1, 2, 3, 5, 6, 7, 13, 25, 50] {
            let x = numbers.vector(rows * columns, 1.0);
            let start = numbers.vector(rows * width, 1.0);
            let together = at_every_level(&start, |kernels, out| {
                kernels.accumulate(packed.all(), &x, out);
            });
            let together_eight = at_every_level(&start, |kernels, out| {
                let mut scratch = Quantized::default();
                kernels.quantize(&x, columns, &mut scratch);
                kernels.accumulate_int8(eight.panels(0..packed.layout().panels()), &scratch, out);
            });
            let kernels = Kernels::new();
            let (mut alone, mut alone_eight) = (start.clone(), start);
            let mut scratch = Quantized::default();
            for row in 0..rows {
                let x = &x[row * columns..][..columns];
                kernels.quantize(x, columns, &mut scratch);
                for panel in 0..packed.layout().panels() {
                    let out = row * width + panel * PANEL..row * width + (panel + 1) * PANEL;
                    let some = panel..panel + 1;
                    kernels.accumulate(packed.panels(some.clone()), x, &mut alone[out.clone()]);
                    kernels.accumulate_int8(eight.panels(some), &scratch, &mut alone_eight[out]);
                }
            }
            assert_eq!(bits(&together), bits(&alone), "{rows} {gates} {units}");
            assert_eq!(
                bits(&together_eight),
                bits(&alone_eight),
                "{rows} {gates} {units}"
            );
        }
    }
}

fn eight_bits(matrix: &[f32], columns: usize, gates: usize) -> PackedInt8 {
    let mut numbers = vec![0; matrix.len()];
    let rows = matrix.chunks_exact(columns);
    let scales: Vec<f32> = rows
        .zip(numbers.chunks_exact_mut(columns))
        .map(|(row, numbers)| quantize_row(row, numbers))
        .collect();
    PackedInt8::new(&numbers, &scales, columns, 0..columns, gates)
}

#[test]
fn an_eight_bit_product_of_whole_numbers_is_exact() {
    let mut numbers = Numbers::new(13);
    // Under Miri the largest takes more than twenty minutes.
    let sizes: &[usize] = if cfg!(miri) {
        &[1, 2, 33]
    } else {
        &[1, 2, 33, 97, 5000]
    };
    for columns in [1, 7, 33, 100, 129] {
        for &rows in sizes {
            let mut whole = |len: usize, highest: f32| -> Vec<f32> {
                let values = numbers.vector(len, highest + 0.5);
                values.iter().map(|value| value.round()).collect()
            };
            // The highest number of each row and of x makes every scale 1.
            let (mut matrix, mut x) = (whole(rows * columns, 126.0), whole(columns, 62.0));
            for row in matrix.chunks_exact_mut(columns) {
                row[0] = 127.0;
            }
            x[0] = -63.0;
            let packed = eight_bits(&matrix, columns, 1);
            let start = vec![0.25; packed.layout().len()];
            let found = at_every_level(&start, |kernels, out| {
                let mut scratch = Quantized::default();
                kernels.quantize(&x, columns, &mut scratch);
                kernels.accumulate_int8(packed.panels(0..packed.layout().panels()), &scratch, out);
            });
            for (row, found) in matrix.chunks_exact(columns).zip(&found) {
                let want: f32 = row.iter().zip(&x).map(|(w, x)| w * x).sum();
                assert_eq!(*found, want + 0.25, "{rows}×{columns}");
            }
        }
    }
}

#[test]
fn eight_bits_are_off_by_half_a_step_at_most() {
    let row = Numbers::new(17).vector(129, 0.3);
    let mut numbers = vec![0; row.len()];
    let scale = quantize_row(&row, &mut numbers);
    for (value, &number) in row.iter().zip(&numbers) {
        assert!((value - f32::from(number) * scale).abs() <= 0.5001 * scale);
    }
    assert_eq!(quantize_row(&[0.0; 3], &mut numbers[..3]), 0.0);
    assert_eq!(numbers[..3], [0; 3]);
}

#[test]
fn an_eight_bit_product_counts_at_its_limits_without_overflow() {
    for columns in [4, 1024] {
        for sign in [1.0, -1.0] {
            let packed = eight_bits(&vec![sign; 32 * columns], columns, 1);
            let x = vec![1.0; columns];
            let found = at_every_level(&[0.0; 32], |kernels, out| {
                let mut scratch = Quantized::default();
                kernels.quantize(&x, columns, &mut scratch);
                kernels.accumulate_int8(packed.panels(0..1), &scratch, out);
            });
            let want = sign * columns as f32;
            assert!(
                found.iter().all(|y| (y / want - 1.0).abs() < 1e-6),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_cells_are_the_formulas_at_awkward_sizes() {
    let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
    let tanh = |x: f32| f64::from(x).tanh();
    let close = |found: f32, want: f64| assert!((f64::from(found) - want).abs() < 1e-6);
    let mut numbers = Numbers::new(5);
    for (size, rows) in [(1, 2), (7, 1), (33, 3), (100, 1), (129, 2)] {
        let width = 32 * Layout::new(size, 1).blocks();
        let gates = numbers.vector(rows * 4 * width, 3.0);
        let other = numbers.vector(rows * 3 * width, 3.0);
        let start = numbers.vector(rows * (width + size), 1.0);
        let cells = rows * width;
        let lstm = at_every_level(&start, |kernels, state| {
            let (cell, hidden) = state.split_at_mut(cells);
            kernels.lstm(&gates, cell, hidden, size);
        });
        let hidden = &start[cells..];
        let gru = at_every_level(hidden, |kernels, hidden| {
            kernels.gru(&gates[..rows * 3 * width], &other, hidden, size);
        });
        let rnn = at_every_level(hidden, |kernels, hidden| {
            kernels.rnn(&gates[..rows * width], hidden, size);
        });
        for (row, k) in (0..rows).flat_map(|row| (0..size).map(move |k| (row, k))) {
            // The position of unit k's gate among G gates.
            let position = |gate: usize, count: usize| {
                row * count * width + (k / 32 * count + gate) * 32 + k % 32
            };
            let (at, gate) = (row * size + k, |gate| gates[position(gate, 4)]);
            let old = f64::from(start[row * width + k]);
            let cell = sigmoid(gate(1)) * old + sigmoid(gate(0)) * tanh(gate(2));
            close(lstm[row * width + k], cell);
            close(lstm[cells + at], sigmoid(gate(3)) * cell.tanh());
            let (input, recurrent) = (|g| gates[position(g, 3)], |g| other[position(g, 3)]);
            let r = sigmoid(input(0) + recurrent(0));
            let z = sigmoid(input(1) + recurrent(1));
            let n = (f64::from(input(2)) + r * f64::from(recurrent(2))).tanh();
            close(gru[at], (1.0 - z) * n + z * f64::from(hidden[at]));
            close(rnn[at], tanh(gates[position(0, 1)]));
        }
    }
}

#[test]
fn a_transpose_moves_every_number_and_nothing_else() {
    let mut numbers = Numbers::new(11);
    for rows in [1, 4, 7, 8, 17, 32, 65] {
        for columns in [0, 1, 7, 8, 9, 16, 31, 100] {
            let stride = rows + rows % 3;
            let from = numbers.vector(rows * columns + 1, 1.0);
            let from: Vec<&[f32]> = (0..rows)
                .map(|row| &from[row * columns..][..columns])
                .collect();
            let start = numbers.vector((columns * stride).saturating_sub(stride - rows), 1.0);
            let out = at_every_level(&start, |kernels, out| kernels.transpose(&from, out, stride));
            for (at, (&out, &start)) in out.iter().zip(&start).enumerate() {
                let (column, row) = (at / stride, at % stride);
                assert_eq!(out, from.get(row).map_or(start, |row| row[column]));
            }
        }
    }
}
