//! textgen's side of the comparison with PyTorch: `bench/sampling.py` asks, this answers, one line of
//! JSON each way, so that the two sides can take turns in one session.
//!
//! `sampling --serve` reads requests from stdin until it ends:
//!
//! ```text
//! {"what":"about"}
//! {"what":"sample","cell":"lstm","hidden":128,"layers":1,"batch":1,"vocab":96,"threads":1,
//!  "quantize":"none","seconds":0.5}
//! {"what":"words","hidden":256,"batch":64,"vocab":30,"quantize":"none","seconds":0.5}
//! {"what":"bandwidth","bytes":1000000,"threads":1,"seconds":0.2}
//! ```
//!
//! Rates are medians over slices of time; a bandwidth, being a limit, is the maximum.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use textgen::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, Sampling, ZPlacement};
use textgen::generate::sampling::Sampler;
use textgen::kernels::Layout;
use textgen::kernels::simd;
use textgen::models::Network;
use textgen::models::char_rnn::CharRnn;
use textgen::models::weights::{Array, Weights, expected_shapes, quantize};
use textgen::models::word_vae::WordVae;

mod bandwidth;

/// The number of slices of a measurement.
const SLICES: u32 = 10;
/// Tokens between two looks at the clock: a look costs some tens of nanoseconds.
const BURST: usize = 16;
/// Letters of a word, including `<eos>`.
const LETTERS: usize = 8;
const EMBEDDING: usize = 32;
const LATENT: usize = 32;

/// A request of `bench/sampling.py`.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Request {
    About,
    Sample(Sample),
    Words(Words),
    Bandwidth(bandwidth::Request),
}

/// The storage format of matrices.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Quantize {
    #[default]
    None,
    Int8,
}

/// Tokens of a char-lstm.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    cell: Cell,
    hidden: usize,
    layers: usize,
    #[serde(default = "one")]
    batch: usize,
    #[serde(default = "characters")]
    vocab: usize,
    #[serde(default = "one")]
    threads: usize,
    #[serde(default)]
    quantize: Quantize,
    seconds: f64,
}

/// Letters of a word-vae's decoder, on one thread.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    hidden: usize,
    #[serde(default = "one")]
    batch: usize,
    #[serde(default = "letters")]
    vocab: usize,
    #[serde(default)]
    quantize: Quantize,
    seconds: f64,
}

const fn one() -> usize {
    1
}

const fn characters() -> usize {
    96
}

const fn letters() -> usize {
    30
}

/// Units of work per second, one number per slice: `work` does some and returns how many.
fn rates(seconds: f64, mut work: impl FnMut() -> usize) -> Vec<f64> {
    let length = Duration::from_secs_f64(seconds / f64::from(SLICES));
    let mut slice = || {
        let start = Instant::now();
        let mut done = 0;
        loop {
            done += work();
            let elapsed = start.elapsed();
            if elapsed >= length {
                return done as f64 / elapsed.as_secs_f64();
            }
        }
    };
    slice(); // fills the caches
    (0..SLICES).map(|_| slice()).collect()
}

/// The rates of several threads at once, added up: `thread` is told its index and `rates` waits
/// there until every thread is ready.
fn rates_of_threads(
    threads: usize,
    thread: impl Fn(usize, &Barrier) -> Vec<f64> + Sync,
) -> Vec<f64> {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                let (thread, barrier) = (&thread, &barrier);
                scope.spawn(move || thread(index, barrier))
            })
            .collect();
        let mut sum = vec![0.0; SLICES as usize];
        for handle in handles {
            let rates = handle.join().expect("no thread panics");
            for (sum, rate) in sum.iter_mut().zip(rates) {
                *sum += rate;
            }
        }
        sum
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// Weights between −0.1 and 0.1 from a linear congruential generator.
fn weights(config: &NetworkConfig, form: Quantize) -> Weights<'static> {
    let mut seed = 1_u32;
    let mut value = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((seed >> 8) as f32 / 16_777_216.0 - 0.5) * 0.2
    };
    let fill = |(name, shape): (String, Vec<usize>)| {
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        (name, Array::f32(shape, data))
    };
    let weights = expected_shapes(config).into_iter().map(fill).collect();
    match form {
        Quantize::None => weights,
        Quantize::Int8 => quantize(&weights),
    }
}

fn sampler(index: usize) -> Sampler {
    let settings = Sampling {
        temperature: 0.5,
        ..Sampling::new(1)
    };
    Sampler::new(&settings, &[], index as u64).without_log_prob()
}

/// One text on `threads` threads, or on fewer if the network is too small for them: the
/// loop of `textgen generate`.
fn one_stream(network: &CharRnn, threads: usize, seconds: f64) -> Vec<f64> {
    let (mut sampler, mut token) = (sampler(0), 0);
    network.read_on_threads(network.state(1), threads, |reader| {
        rates(seconds, || {
            for _ in 0..BURST {
                reader.step(token);
                token = sampler.sample(reader.logits()).token;
            }
            BURST
        })
    })
}

/// `batch` texts in lock-step, split among `threads` threads.
fn many_streams(network: &CharRnn, batch: usize, threads: usize, seconds: f64) -> Vec<f64> {
    let threads = threads.min(batch);
    rates_of_threads(threads, |thread, barrier| {
        let texts = batch * thread / threads..batch * (thread + 1) / threads;
        let mut state = network.state(texts.len());
        let mut tokens = vec![0; texts.len()];
        let mut samplers: Vec<_> = texts.map(sampler).collect();
        barrier.wait();
        rates(seconds, || {
            network.step(&mut state, &tokens);
            for (row, (token, sampler)) in tokens.iter_mut().zip(&mut samplers).enumerate() {
                *token = sampler.sample(state.logits(row)).token;
            }
            tokens.len()
        })
    })
}

fn answer_sample(request: &Sample) -> Result<Value, Box<dyn Error>> {
    let &Sample {
        cell,
        hidden,
        layers,
        batch,
        vocab,
        threads,
        quantize,
        seconds,
    } = request;
    at_least_one(&[hidden, layers, batch, vocab, threads])?;
    let config = NetworkConfig::char_rnn(cell, hidden, layers, vocab);
    let network = CharRnn::new(&config, &weights(&config, quantize))?;
    let rates = match batch {
        1 => one_stream(&network, threads, seconds),
        _ => many_streams(&network, batch, threads, seconds),
    };
    let (rate, bytes) = (median(rates), network.weight_bytes());
    Ok(json!({
        "what": "sample", "cell": cell, "hidden": hidden, "layers": layers, "batch": batch,
        "vocab": vocab, "threads": threads, "quantize": quantize, "chars_per_second": rate,
        "weight_bytes": bytes, "bytes_per_second": rate * bytes as f64 / batch as f64,
    }))
}

fn answer_words(request: &Words) -> Result<Value, Box<dyn Error>> {
    let &Words {
        hidden,
        batch,
        vocab,
        quantize,
        seconds,
    } = request;
    at_least_one(&[hidden, batch, vocab])?;
    let config = NetworkConfig {
        kind: NetworkKind::WordVae(LatentConfig {
            latent: LATENT,
            z: ZPlacement::Both,
            bidirectional: true,
        }),
        embedding: EMBEDDING,
        inputs: vocab + 1, // and <bos>
        ..NetworkConfig::char_rnn(Cell::Gru, hidden, 1, vocab)
    };
    let network = WordVae::new(&config, &weights(&config, quantize))?;
    let mut samplers: Vec<_> = (0..batch).map(sampler).collect();
    // Whole words: a z from the prior, the decoder's state once per word, then letter by letter.
    let rates = rates(seconds, || {
        let z: Vec<f32> = samplers
            .iter_mut()
            .flat_map(|sampler| std::array::from_fn::<_, LATENT, _>(|_| sampler.normal()))
            .collect();
        let mut state = network.decoder(batch, &z);
        let mut tokens = vec![vocab as u32; batch];
        for _ in 0..LETTERS {
            network.step(&mut state, &tokens);
            for (row, (token, sampler)) in tokens.iter_mut().zip(&mut samplers).enumerate() {
                *token = sampler.sample(state.logits(row)).token;
            }
        }
        LETTERS * batch
    });
    let (rate, bytes) = (median(rates), decoder_bytes(hidden, vocab, quantize));
    Ok(json!({
        "what": "words", "hidden": hidden, "batch": batch, "vocab": vocab, "threads": 1,
        "quantize": quantize, "chars_per_second": rate, "weight_bytes": bytes,
        "bytes_per_second": rate * bytes as f64 / batch as f64,
    }))
}

/// Bytes of the decoder's weights that every letter reads: the recurrent matrix and the head's, in
/// panels. The input weights are a lookup table by then.
fn decoder_bytes(hidden: usize, vocab: usize, form: Quantize) -> usize {
    let gates = Cell::Gru.gates();
    let rows = Layout::new(gates * hidden, gates).len() + Layout::new(vocab, 1).len();
    match form {
        Quantize::None => rows * hidden * size_of::<f32>(),
        // Four inputs are adjacent; a row also has a scale and an offset.
        Quantize::Int8 => rows * (hidden.next_multiple_of(4) + size_of::<(f32, i32)>()),
    }
}

fn at_least_one(sizes: &[usize]) -> Result<(), Box<dyn Error>> {
    if sizes.contains(&0) {
        return Err("every size is at least 1".into());
    }
    Ok(())
}

fn answer(line: &str) -> Result<Value, Box<dyn Error>> {
    Ok(match serde_json::from_str(line)? {
        Request::About => json!({
            "what": "about",
            "version": env!("CARGO_PKG_VERSION"),
            "simd": simd::check()?.name(),
        }),
        Request::Sample(request) => answer_sample(&request)?,
        Request::Words(request) => answer_words(&request)?,
        Request::Bandwidth(request) => bandwidth::answer(&request)?,
    })
}

fn main() -> io::Result<()> {
    // `cargo bench` and `cargo test` start every bench with their own arguments and nobody to
    // send requests.
    if !std::env::args().any(|argument| argument == "--serve") {
        println!("sampling: answers bench/sampling.py; start that (or `make bench`) instead");
        return Ok(());
    }
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
