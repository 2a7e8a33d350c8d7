//! textgen's side of the comparison of training with PyTorch: `bench/training.py` asks, this answers, one
//! line of JSON each way, so that the two sides can take turns in one session.
//!
//! `training --serve` reads requests from stdin until it ends; `training RUN-FOLDER` measures one run.
//!
//! ```text
//! {"what":"about"}
//! {"what":"memory"}
//! {"what":"train","run":"runs/NAME","threads":2,"seconds":1.0,"precision":"bf16"}
//! ```
//!
//! Without `precision`, it is the run's.
//!
//! Nothing here leaves a trace in a run.

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use textgen::config::{ModelConfig, NetworkConfig, Precision, TrainConfig};
use textgen::kernels::simd;
use textgen::run::{CorpusData, RunDir};
use textgen::train::{Engine, NativeEngine, Trainer};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Warm-up steps of a run just opened, and of one that has been measured before.
const WARM_UP_STEPS: usize = 3;
const WARM_UP_AGAIN: usize = 1;
/// The least number of measured steps.
const LEAST_STEPS: usize = 3;
/// Seconds for which one run is measured.
const SECONDS: f64 = 3.0;

/// A request of `bench/training.py`.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Request {
    About,
    Memory,
    Train(Train),
}

/// The speed of training a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    run: PathBuf,
    threads: usize,
    seconds: f64,
    precision: Option<Precision>,
}

/// The memory of this process, in bytes; `None` if the system does not say.
#[derive(Serialize)]
struct Memory {
    resident_bytes: Option<u64>,
    peak_bytes: Option<u64>,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
            Some(1024 * kibibytes)
        };
        Self {
            resident_bytes: bytes("VmRSS:"),
            peak_bytes: bytes("VmHWM:"),
        }
    }
}

/// A run, its threads and its precision.
type Key = (PathBuf, usize, Option<String>);

/// A run with its training, which goes on from one request to the next.
struct Open {
    run: &'static RunDir,
    trainer: Trainer<'static>,
    threads: usize,
}

impl Open {
    fn new(folder: &Path, threads: usize, precision: Option<Precision>) -> Result<Self> {
        // A training borrows its run, and both are needed until the program ends.
        let run: &'static RunDir = Box::leak(Box::new(RunDir::open(folder)?));
        let own = run.config()?.threads;
        let threads = if threads > 0 { threads } else { own };
        let engine = |config: &TrainConfig, network: &NetworkConfig| {
            let config = TrainConfig {
                threads,
                precision: precision.unwrap_or(config.precision),
                ..config.clone()
            };
            let engine: Box<dyn Engine> = Box::new(NativeEngine::new(&config, network)?);
            Ok(engine)
        };
        Ok(Self {
            run,
            trainer: Trainer::new(run, &engine, |_| ())?,
            threads,
        })
    }

    /// Trains for `seconds` after `warm_up` steps that don't count, and reports the speed.
    fn measure(&mut self, warm_up: usize, seconds: f64) -> Result<Value> {
        for _ in 0..warm_up {
            self.trainer.measure(1)?;
        }
        let time = Duration::try_from_secs_f64(seconds)?;
        let (started, mut steps) = (Instant::now(), Vec::new());
        while steps.len() < LEAST_STEPS || started.elapsed() < time {
            steps.push(self.trainer.measure(1)?);
        }
        let config = self.run.config()?;
        let seq = match &config.model {
            ModelConfig::CharRnn(own) => own.seq,
            ModelConfig::WordVae(_) | ModelConfig::Article(_) => 0,
        };
        let rates = steps
            .iter()
            .map(|(tokens, seconds)| *tokens as f64 / seconds);
        let mut report = json!({
            "what": format!("train {}", config.kind()),
            "cell": config.cell,
            "hidden": config.hidden,
            "layers": config.layers,
            "batch": config.batch,
            "seq": seq,
            "threads": self.threads,
            "steps": steps.len(),
            "chars_per_second": median(rates).round(),
            "peak_bytes": Memory::now().peak_bytes,
        });
        if let CorpusData::Words(data) = self.run.corpus()? {
            // All words divided by the whole time. A median would be too high: the words of a batch
            // have similar lengths, so most steps are short and some are long.
            let words = data.train.len() as f64 / data.train.len().div_ceil(config.batch) as f64;
            let seconds: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
            report["words_per_second"] = (words * steps.len() as f64 / seconds).round().into();
        }
        Ok(report)
    }
}

fn answer(line: &str, opened: &mut HashMap<Key, Open>) -> Result<Value> {
    Ok(match serde_json::from_str(line)? {
        Request::About => json!({
            "what": "about",
            "version": env!("CARGO_PKG_VERSION"),
            "simd": simd::check()?.name(),
        }),
        Request::Memory => serde_json::to_value(Memory::now())?,
        Request::Train(request) => {
            let precision = request.precision.map(|precision| precision.to_string());
            let key = (request.run.clone(), request.threads, precision);
            let known = opened.contains_key(&key);
            if !known {
                let open = Open::new(&request.run, request.threads, request.precision)?;
                opened.insert(key.clone(), open);
            }
            let open = opened.get_mut(&key).ok_or("not opened")?;
            let warm_up = if known { WARM_UP_AGAIN } else { WARM_UP_STEPS };
            open.measure(warm_up, request.seconds)?
        }
    })
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve"] => {
            let mut opened = HashMap::new();
            let mut out = io::stdout().lock();
            for line in io::stdin().lock().lines() {
                let answer = answer(&line?, &mut opened)
                    .unwrap_or_else(|error| json!({ "error": error.to_string() }));
                writeln!(out, "{answer}")?;
                out.flush()?;
            }
        }
        [folder] if !folder.starts_with('-') => {
            println!(
                "{}",
                Open::new(Path::new(folder), 0, None)?.measure(WARM_UP_STEPS, SECONDS)?
            );
        }
        // As `cargo bench` starts it among Criterion's benches.
        _ => eprintln!("training: bench/training.py asks; or give a run's folder"),
    }
    Ok(())
}
