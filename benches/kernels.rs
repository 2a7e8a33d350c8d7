//! Benchmarks of single kernels: products and recurrent cells.
//!
//! `cargo bench --bench kernels`; `TEXTGEN_SIMD` forces a level. One element is one multiply-add in
//! a product, and one value, or one unit of one text, elsewhere. With one vector, a product reads
//! four bytes of weights per element in f32, two in bf16 and one in eight bits.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use textgen::kernels::simd::Level;
use textgen::kernels::{Kernels, Layout, Packed, PackedInt8, Quantized, Stacked, quantize_row};

/// H; the matrix is that of an LSTM, (4·H, H).
const UNITS: [usize; 3] = [128, 256, 512];
const GATES: usize = 4;
/// Vectors per product: one text; a register tile; half a batch; a batch.
const VECTORS: [usize; 4] = [1, 6, 32, 64];

type Function = fn(Kernels, &mut [f32]);

/// Values between −1 and 1 from a linear congruential generator.
fn values(count: usize) -> Vec<f32> {
    let mut seed = 1_u32;
    let value = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(value).collect()
}

/// A group named after the level; there are many small benches, so each is short.
fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let level = Kernels::new().level();
    let mut group = criterion.benchmark_group(format!("{name} {level}"));
    group
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20);
    group
}

/// Products of every height in f32.
fn accumulate(criterion: &mut Criterion) {
    let kernels = Kernels::new();
    let mut group = group(criterion, "accumulate");
    for units in UNITS {
        let matrix = Packed::new(&values(GATES * units * units), units, 0..units, GATES);
        for vectors in VECTORS {
            let x = values(vectors * units);
            let mut out = vec![0.0; vectors * matrix.layout().len()];
            group.throughput(Throughput::Elements((GATES * units * x.len()) as u64));
            let id = BenchmarkId::new(format!("H {units}"), vectors);
            group.bench_function(id, |bencher| {
                bencher.iter(|| kernels.accumulate(matrix.all(), black_box(&x), &mut out));
            });
        }
    }
    group.finish();
}

/// Products of every height in bf16, including the rounding of the vectors, where the machine has
/// instructions for them.
fn accumulate_bf16(criterion: &mut Criterion) {
    let kernels = Kernels::new();
    if kernels.level() != Level::Bf16 {
        return;
    }
    let mut group = group(criterion, "accumulate_bf16");
    for units in UNITS {
        let weights = values(GATES * units * units);
        let layout = Layout::new(GATES * units, GATES);
        let mut matrix = Packed::zeros(layout, units, true);
        for mut panel in matrix.parts() {
            panel.fill_pairs(kernels, &mut Stacked::default(), |panel| {
                panel.fill(kernels, &weights);
            });
        }
        for vectors in VECTORS {
            let x = values(vectors * units);
            let mut pairs = vec![0.0; vectors * units / 2];
            let mut out = vec![0.0; vectors * layout.len()];
            group.throughput(Throughput::Elements((GATES * units * x.len()) as u64));
            let id = BenchmarkId::new(format!("H {units}"), vectors);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    kernels.pairs(black_box(&x), units, &mut pairs);
                    kernels.accumulate_pairs(matrix.all(), &pairs, &mut out);
                });
            });
        }
    }
    group.finish();
}

/// Products of every height in eight bits, including the quantization of the vectors.
fn accumulate_int8(criterion: &mut Criterion) {
    let kernels = Kernels::new();
    let mut group = group(criterion, "accumulate_int8");
    for units in UNITS {
        let rows = GATES * units;
        let mut numbers = vec![0; rows * units];
        let scales: Vec<f32> = values(rows * units)
            .chunks_exact(units)
            .zip(numbers.chunks_exact_mut(units))
            .map(|(row, numbers)| quantize_row(row, numbers))
            .collect();
        let matrix = PackedInt8::new(&numbers, &scales, units, 0..units, GATES);
        let panels = 0..matrix.layout().panels();
        for vectors in VECTORS {
            let x = values(vectors * units);
            let mut out = vec![0.0; vectors * matrix.layout().len()];
            let mut quantized = Quantized::default();
            group.throughput(Throughput::Elements((rows * x.len()) as u64));
            let id = BenchmarkId::new(format!("H {units}"), vectors);
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    kernels.quantize(black_box(&x), units, &mut quantized);
                    kernels.accumulate_int8(matrix.panels(panels.clone()), &quantized, &mut out);
                });
            });
        }
    }
    group.finish();
}

/// 1,024 values at a time, copied first, since a kernel replaces them.
fn functions(criterion: &mut Criterion) {
    let kernels = Kernels::new();
    let source: Vec<f32> = values(1024).iter().map(|value| value * 8.0).collect();
    let mut group = group(criterion, "functions");
    group.throughput(Throughput::Elements(source.len() as u64));
    let functions: [(&str, Function); 3] = [
        ("exp", Kernels::exp),
        ("tanh", Kernels::tanh),
        ("sigmoid", Kernels::sigmoid),
    ];
    for (name, function) in functions {
        let mut values = source.clone();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                values.copy_from_slice(black_box(&source));
                function(kernels, &mut values);
            });
        });
    }
    group.finish();
}

/// The cells of 256 units, of one text and of 64.
fn cells(criterion: &mut Criterion) {
    let kernels = Kernels::new();
    let units = 256;
    let mut group = group(criterion, "cells");
    for rows in [1, 64] {
        let count = rows * units;
        group.throughput(Throughput::Elements(count as u64));
        let gates = values(4 * count);
        let (mut cell, mut hidden) = (vec![0.0; count], vec![0.0; count]);
        group.bench_function(BenchmarkId::new("lstm", rows), |bencher| {
            bencher.iter(|| kernels.lstm(black_box(&gates), &mut cell, &mut hidden, units));
        });
        let (input, recurrent) = (values(3 * count), values(3 * count));
        group.bench_function(BenchmarkId::new("gru", rows), |bencher| {
            bencher.iter(|| kernels.gru(black_box(&input), &recurrent, &mut hidden, units));
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    accumulate,
    accumulate_bf16,
    accumulate_int8,
    functions,
    cells
);
criterion_main!(benches);
