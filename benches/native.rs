//! How fast the native engine reads tokens: one thread, one text, logits at every token.
//!
//! `cargo bench --bench native`; `TEXTGEN_SIMD` forces a level.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use textgen::config::{Cell, NetworkConfig, Sampling};
use textgen::generate::sampling::Sampler;
use textgen::kernels::simd;
use textgen::models::Network;
use textgen::models::char_rnn::CharRnn;
use textgen::models::weights::{Array, Weights, expected_shapes};

/// A char-lstm for the fairy tales: 96 one-hot characters.
fn config(hidden: usize, layers: usize) -> NetworkConfig {
    NetworkConfig::char_rnn(Cell::Lstm, hidden, layers, 96)
}

/// Weights between −0.1 and 0.1 from a linear congruential generator.
fn weights(config: &NetworkConfig) -> Weights<'static> {
    let mut seed = 1_u32;
    let mut value = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / 16_777_216.0 - 0.5) * 0.2
    };
    let fill = |(name, shape): (String, Vec<usize>)| {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        (name, Array::f32(shape, data))
    };
    expected_shapes(config).into_iter().map(fill).collect()
}

/// Hidden size and layers: those of `bench/`'s peer.
const SHAPES: [(usize, usize); 5] = [(128, 1), (128, 2), (256, 1), (512, 1), (512, 2)];

/// Tokens read per second at each shape.
fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(format!("step {}", simd::level()));
    group.throughput(Throughput::Elements(1));
    for (hidden, layers) in SHAPES {
        let config = config(hidden, layers);
        let network = CharRnn::new(&config, &weights(&config)).expect("weights of its own shapes");
        let mut state = network.state(1);
        let mut token = 0;
        group.bench_function(format!("{hidden}x{layers}"), |bencher| {
            bencher.iter(|| {
                token = (token + 7) % 96;
                network.step(&mut state, &[token]);
                black_box(state.logits(0));
            });
        });
    }
    group.finish();
}

/// Tokens written per second at each shape: each is sampled, then read.
fn sample(criterion: &mut Criterion) {
    let settings = Sampling {
        temperature: 0.5,
        ..Sampling::new(1)
    };
    let mut group = criterion.benchmark_group(format!("sample {}", simd::level()));
    group.throughput(Throughput::Elements(1));
    for (hidden, layers) in SHAPES {
        let config = config(hidden, layers);
        let network = CharRnn::new(&config, &weights(&config)).expect("weights of its own shapes");
        let mut state = network.state(1);
        let mut sampler = Sampler::new(&settings, &[], 0).without_log_prob();
        let mut token = 0;
        group.bench_function(format!("{hidden}x{layers}"), |bencher| {
            bencher.iter(|| {
                network.step(&mut state, &[token]);
                token = sampler.sample(state.logits(0)).token;
            });
        });
    }
    group.finish();
}

/// Tokens sampled per second from 96 logits.
fn sample_token(criterion: &mut Criterion) {
    let logits: Vec<f32> = (0..96_u8)
        .map(|k| (f32::from(k) * 0.7).sin() * 4.0)
        .collect();
    let plain = Sampling {
        temperature: 0.8,
        ..Sampling::new(1)
    };
    let limited = Sampling {
        top_k: Some(40),
        top_p: Some(0.9),
        ..plain.clone()
    };
    let mut group = criterion.benchmark_group("sample token");
    group.throughput(Throughput::Elements(1));
    for (name, config) in [("temperature", plain), ("top-k and top-p", limited)] {
        let mut sampler = Sampler::new(&config, &[], 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(sampler.sample(&logits)));
        });
    }
    group.finish();
}

criterion_group!(benches, step, sample, sample_token);
criterion_main!(benches);
