//! `textgen-torch bench`: how fast a run trains, and how much memory that takes.
//!
//! `bench RUN-FOLDER` measures one run. `bench --serve` answers requests, one line of JSON each way,
//! until stdin ends: `bench/training.py` asks it and PyTorch in turn.
//!
//! ```text
//! {"what":"about"}
//! {"what":"memory"}
//! {"what":"train","run":"runs/NAME","threads":2,"seconds":1.0}
//! {"what":"layer","cell":"lstm","hidden":128,"layers":1,"batch":64,"seq":64,"reads":"tokens",
//!  "inputs":96,"threads":2,"seconds":0.3}
//! ```
//!
//! Nothing here leaves a trace in a run.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, ModelConfig, Precision, TrainConfig};
use textgen::kernels::simd;
use textgen::run::{CorpusData, RunDir};

use textgen_torch::dropout::Dropout;
use textgen_torch::recurrent::{Input, Shape};
use textgen_torch::train::Trainer;
use textgen_torch::{device, shim};

/// Warm-up steps of a run just opened, and of one that has been measured before.
const WARM_UP_STEPS: usize = 3;
const WARM_UP_AGAIN: usize = 1;
/// The least number of measured steps of one run, and the time to measure for.
const MEASURED_STEPS: usize = 15;
const MEASURED_TIME: Duration = Duration::from_secs(3);
/// The least number of measured steps of a request.
const LEAST_STEPS: usize = 3;

/// A request of the driver.
#[derive(Debug, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Request {
    About,
    Memory,
    Train(TrainRequest),
    Layer(LayerRequest),
}

/// The speed of training a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainRequest {
    run: PathBuf,
    threads: usize,
    seconds: f64,
}

/// The input of a recurrent network.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Reads {
    /// Tokens as one-hot vectors.
    Tokens,
    /// Vectors that have a gradient.
    Vectors,
}

/// Times the forward and backward pass of a recurrent network, with the native operators and with
/// those of libtorch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerRequest {
    cell: Cell,
    hidden: usize,
    layers: usize,
    batch: usize,
    seq: usize,
    reads: Reads,
    /// The number of tokens, or the size of a vector.
    inputs: usize,
    threads: usize,
    seconds: f64,
}

/// The memory of this process, in bytes; `None` if the system does not say.
#[derive(Serialize)]
struct Memory {
    /// Resident memory now.
    resident_bytes: Option<u64>,
    /// Peak resident memory so far.
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

/// The tokens and seconds of each step.
struct Steps(Vec<(u64, f64)>);

impl Steps {
    /// Takes steps for `time`, but at least `least`, after `warm_up` that don't count.
    fn take(trainer: &mut Trainer, warm_up: usize, least: usize, time: Duration) -> Result<Self> {
        for _ in 0..warm_up {
            trainer.measure()?;
        }
        let (started, mut steps) = (Instant::now(), Vec::new());
        while steps.len() < least || started.elapsed() < time {
            steps.push(trainer.measure()?);
        }
        Ok(Self(steps))
    }

    /// The median of the steps' rates.
    fn chars_per_second(&self) -> f64 {
        median(
            self.0
                .iter()
                .map(|(tokens, seconds)| *tokens as f64 / seconds),
        )
    }

    /// All words divided by the whole time. A median would be too high: the words of a batch have
    /// similar lengths, so most steps are short and some are long.
    fn words_per_second(&self, words_per_step: f64) -> f64 {
        let seconds: f64 = self.0.iter().map(|(_, seconds)| seconds).sum();
        words_per_step * self.0.len() as f64 / seconds
    }

    fn report(&self, config: &TrainConfig, threads: usize, words_per_step: Option<f64>) -> Value {
        let seq = match &config.model {
            ModelConfig::CharRnn(own) => own.seq,
            ModelConfig::WordVae(_) | ModelConfig::Article(_) => 0,
        };
        let mut report = json!({
            "what": format!("train {}", config.kind()),
            "cell": config.cell,
            "hidden": config.hidden,
            "layers": config.layers,
            "batch": config.batch,
            "seq": seq,
            "threads": threads,
            "steps": self.0.len(),
            "chars_per_second": self.chars_per_second().round(),
            "peak_bytes": Memory::now().peak_bytes,
        });
        if let Some(words) = words_per_step {
            report["words_per_second"] = self.words_per_second(words).round().into();
        }
        report
    }
}

/// Words per step on average, since the last batch of a pass may be smaller; `None` for texts.
fn words_per_step(run: &RunDir, trainer: &Trainer) -> Result<Option<f64>> {
    Ok(match run.corpus()? {
        CorpusData::Text(_) => None,
        CorpusData::Words(data) => Some(data.train.len() as f64 / trainer.task.steps_per_epoch()),
    })
}

/// The speed of training a run, as a JSON line.
pub fn run(folder: &Path) -> Result<()> {
    let run = RunDir::open(folder)?;
    let config = run.config()?;
    let threads = device::set_threads(config.threads);
    let mut trainer = Trainer::new(&run, device::choose(config.device)?)?;
    let steps = Steps::take(&mut trainer, WARM_UP_STEPS, MEASURED_STEPS, MEASURED_TIME)?;
    let words = words_per_step(&run, &trainer)?;
    println!("{}", steps.report(&config, threads, words));
    Ok(())
}

/// Answers requests until stdin ends.
pub fn serve() -> Result<()> {
    let mut opened = Opened::default();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &mut opened)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The open trainings, by the folders of their runs.
type Opened = HashMap<PathBuf, (&'static RunDir, Trainer<'static>)>;

fn answer(line: &str, opened: &mut Opened) -> Result<Value> {
    Ok(match serde_json::from_str(line)? {
        Request::About => json!({
            "what": "about",
            "version": env!("CARGO_PKG_VERSION"),
            "simd": simd::check()?.name(),
            "libtorch": shim::loaded_version(),
        }),
        Request::Memory => serde_json::to_value(Memory::now())?,
        Request::Train(request) => answer_train(&request, opened)?,
        Request::Layer(request) => answer_layer(&request)?,
    })
}

fn answer_train(request: &TrainRequest, opened: &mut Opened) -> Result<Value> {
    let threads = device::set_threads(request.threads);
    let known = opened.contains_key(&request.run);
    if !known {
        // A training borrows its run, and both are needed until the program ends.
        let run: &'static RunDir = Box::leak(Box::new(RunDir::open(&request.run)?));
        let trainer = Trainer::new(run, device::choose(run.config()?.device)?)?;
        opened.insert(request.run.clone(), (run, trainer));
    }
    let (run, trainer) = opened
        .get_mut(&request.run)
        .ok_or_else(|| anyhow::anyhow!("{}: not opened", request.run.display()))?;
    let warm_up = if known { WARM_UP_AGAIN } else { WARM_UP_STEPS };
    let time = Duration::try_from_secs_f64(request.seconds)?;
    let steps = Steps::take(trainer, warm_up, LEAST_STEPS, time)?;
    Ok(steps.report(&run.config()?, threads, words_per_step(run, trainer)?))
}

/// A recurrent network, what it reads, and the gradient of its outputs.
struct Network {
    shape: Shape,
    reads: Reads,
    input: Tensor,
    steps: textgen_torch::steps::Steps,
    state: Vec<Tensor>,
    weights: Vec<Tensor>,
    d_outputs: Tensor,
}

impl Network {
    fn new(request: &LayerRequest) -> Self {
        let &LayerRequest {
            cell,
            hidden,
            layers,
            batch,
            seq,
            reads,
            inputs,
            ..
        } = request;
        tch::manual_seed(0);
        let shape = Shape {
            cell,
            hidden,
            layers,
            precision: Precision::F32,
        };
        let (hidden, inputs, positions) = (hidden as i64, inputs as i64, (batch * seq) as i64);
        let gates = cell.gates() as i64 * hidden;
        let floats = (Kind::Float, Device::Cpu);
        let scale = 1.0 / (hidden as f64).sqrt();
        let weights = (0..layers).flat_map(|layer| {
            let below = if layer == 0 { inputs } else { hidden };
            [
                vec![gates, below],
                vec![gates, hidden],
                vec![gates],
                vec![gates],
            ]
        });
        Self {
            shape,
            reads,
            input: match reads {
                Reads::Tokens => Tensor::randint(inputs, [positions], (Kind::Int64, Device::Cpu)),
                Reads::Vectors => {
                    Tensor::randn([positions, inputs], floats).set_requires_grad(true)
                }
            },
            steps: textgen_torch::steps::Steps::even(seq as i64, batch as i64),
            state: shape.zero_state(batch as i64, Device::Cpu),
            weights: weights
                .map(|size| {
                    let uniform = Tensor::rand(size, floats) * (2.0 * scale) - scale;
                    uniform.set_requires_grad(true)
                })
                .collect(),
            d_outputs: Tensor::randn([positions, hidden], floats),
        }
    }

    /// Seconds of a forward and a backward pass.
    fn seconds(&self, native: bool) -> f64 {
        let run = if native {
            Shape::run_native
        } else {
            Shape::run_libtorch
        };
        let (input, leaf) = match self.reads {
            Reads::Tokens => (Input::tokens(&self.input, None), None),
            Reads::Vectors => (Input::Vectors(&self.input), Some(&self.input)),
        };
        let leaves: Vec<&Tensor> = self.weights.iter().chain(leaf).collect();
        let started = Instant::now();
        let (outputs, _) = run(
            &self.shape,
            input,
            &self.steps,
            &self.state,
            &self.weights,
            Dropout::default(),
            true,
        );
        let loss = (outputs * &self.d_outputs).sum(Kind::Float);
        drop(Tensor::run_backward(&[loss], &leaves, false, false));
        started.elapsed().as_secs_f64()
    }
}

fn answer_layer(request: &LayerRequest) -> Result<Value> {
    let &LayerRequest {
        hidden,
        layers,
        batch,
        seq,
        inputs,
        ..
    } = request;
    let sizes = [hidden, layers, batch, seq, inputs];
    ensure!(!sizes.contains(&0), "every size is at least 1");
    let time = Duration::try_from_secs_f64(request.seconds)?;
    let threads = device::set_threads(request.threads);
    let network = Network::new(request);
    let both = || [true, false].map(|native| network.seconds(native));
    both(); // fills caches, and makes threads
    let (started, mut passes) = (Instant::now(), Vec::new());
    while passes.len() < LEAST_STEPS || started.elapsed() < time {
        passes.push(both());
    }
    let [native, libtorch] = [0, 1].map(|side| median(passes.iter().map(|pass| pass[side])));
    Ok(json!({
        "what": "layer", "cell": request.cell, "hidden": hidden, "layers": layers, "batch": batch,
        "seq": seq, "reads": request.reads, "inputs": inputs, "threads": threads,
        "native_seconds": native, "libtorch_seconds": libtorch,
    }))
}

/// The median of some numbers.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
