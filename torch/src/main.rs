//! `textgen-torch`: trains, on CUDA, the runs that `textgen train` has prepared. A run's folder is the only
//! interface between the two programs.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;
use textgen::cli::error::{self, CliError};
use textgen::cli::output::{json_line, stdout};
use textgen::cli::training;
use textgen::config::{NetworkConfig, TrainConfig};
use textgen::run::RunDir;
use textgen::train::{Engine, EngineError, Trainer, evaluate_exactly};

use textgen_torch::{TorchEngine, device, shim};

const USAGE: &str =
    "usage: textgen-torch train [--json] RUN-FOLDER... | eval RUN-FOLDER | bench RUN-FOLDER | doctor
`textgen train` calls this program; there is hardly a reason to call it by hand.";

/// Prints a line to stderr, and ignores a failure: stderr may be closed.
macro_rules! say {
    ($($text:tt)*) => {
        let _ = writeln!(std::io::stderr(), $($text)*);
    };
}

/// A benchmark: the steps before it, and for how many seconds at the least; the seconds of each of its parts,
/// and how many there are.
const WARM_UP: (u64, f64) = (20, 0.3);
const SECONDS_AT_ONCE: f64 = 0.1;
const MEASURED: usize = 15;

/// Where a panic came from.
static PANIC_LOCATION: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // tch reports libtorch's failures by panicking; a user gets one line.
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut location) = PANIC_LOCATION.lock() {
            *location = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
        }
    }));
    device::load_cuda();
    let outcome = std::panic::catch_unwind(|| match words.as_slice() {
        ["train", rest @ ..] if rest.iter().any(|word| *word != training::JSON) => {
            let folders = rest.strip_prefix(&[training::JSON]).unwrap_or(rest);
            let json = folders.len() < rest.len();
            let folders: Vec<&Path> = folders.iter().map(Path::new).collect();
            check_version().and_then(|()| training::train(&folders, json, &engine))
        }
        ["eval", folder] => check_version().and_then(|()| eval(Path::new(folder))),
        ["bench", folder] => check_version().and_then(|()| bench(Path::new(folder))),
        ["doctor"] => doctor(),
        ["--version"] => check_version().and_then(|()| {
            writeln!(stdout(), "textgen-torch {}", env!("CARGO_PKG_VERSION"))?;
            Ok(())
        }),
        _ => {
            say!("{USAGE}");
            std::process::exit(2)
        }
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => error::report(&failure),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            let message = if text.contains("Torch(\"") {
                format!("libtorch: {}", torch_message(&text))
            } else {
                let location = PANIC_LOCATION
                    .lock()
                    .map(|location| location.clone())
                    .unwrap_or_default();
                format!("internal error in textgen-torch at {location}; please report it: {text}")
            };
            let hint = "everything saved before is intact; `textgen runs` lists it";
            error::report(&CliError::failed(message, hint).into())
        }
    }
}

/// The line of a libtorch error that states the problem.
fn torch_message(text: &str) -> &str {
    let start = text.find("Torch(\"").map_or(0, |at| at + 7);
    let message = &text[start..];
    let end = message
        .find("\\n")
        .or_else(|| message.find('\n'))
        .unwrap_or(message.len());
    &message[..end]
}

/// Refuses a libtorch whose version differs from the one that this program was compiled against.
fn check_version() -> Result<()> {
    let compiled = shim::compiled_version();
    match shim::loaded_version() {
        Some(loaded) if loaded != compiled => {
            let message = format!(
                "libtorch {loaded} was loaded, but textgen-torch was built with {compiled}"
            );
            let hint = "unset LD_LIBRARY_PATH, or build again: make torch";
            Err(CliError::failed(message, hint).into())
        }
        _ => Ok(()),
    }
}

/// The engine of a run, on the device that its settings name.
fn engine(config: &TrainConfig, network: &NetworkConfig) -> Result<Box<dyn Engine>, EngineError> {
    let device = device::choose(config.device)?;
    Ok(Box::new(TorchEngine::new(config, network, device)?))
}

/// The exact losses of a run's best model, as JSON: one token after the other for a char-lstm.
fn eval(folder: &Path) -> Result<()> {
    let run = RunDir::open(folder)?;
    let config = run.config()?;
    let [valid, test] = evaluate_exactly(&run, &engine)?;
    let report = serde_json::json!({
        "run": run.name(),
        "corpus": config.corpus_name,
        "split": config.split().to_string(),
        "seed": config.seed,
        "valid": valid,
        "test": test,
    });
    print(&report)
}

/// Prints a line of JSON, as `textgen` does.
fn print(report: &serde_json::Value) -> Result<()> {
    writeln!(stdout(), "{}", json_line(report)?)?;
    Ok(())
}

/// The speed of training a run, as a JSON line. Leaves no trace in it.
fn bench(folder: &Path) -> Result<()> {
    let run = RunDir::open(folder)?;
    let mut trainer = Trainer::new(&run, &engine, |_| ())?;
    let started = Instant::now();
    // Graphs are captured for each length of words when it comes again.
    let passes = if run.config()?.word_vae().is_some() {
        2
    } else {
        0
    };
    let mut fastest = f64::INFINITY;
    while started.elapsed().as_secs_f64() < WARM_UP.1 || trainer.progress().epoch < passes {
        let (_, seconds) = trainer.measure(WARM_UP.0)?;
        fastest = fastest.min(seconds);
    }
    let steps = (SECONDS_AT_ONCE / fastest).ceil() as u64;
    let mut measured = Vec::with_capacity(MEASURED);
    for _ in 0..MEASURED {
        measured.push(trainer.measure(steps)?);
    }
    let mut rates: Vec<f64> = measured
        .iter()
        .map(|(tokens, seconds)| *tokens as f64 / seconds)
        .collect();
    rates.sort_by(f64::total_cmp);
    let mean = measured.iter().map(|(_, seconds)| seconds).sum::<f64>() / MEASURED as f64;
    print(&serde_json::json!({
        "chars_per_second": rates[MEASURED / 2].round(),
        "steps_per_second": 1.0 / mean,
    }))
}

/// The facts about libtorch that `textgen doctor` shows, as JSON.
fn doctor() -> Result<()> {
    let missing = device::load_cuda();
    let report = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "libtorch": env!("TEXTGEN_LIBTORCH"),
        "compiled_version": shim::compiled_version(),
        "loaded_version": shim::loaded_version(),
        "cuda_devices": if missing.is_none() { tch::Cuda::device_count() } else { 0 },
        "cuda_missing": missing,
    });
    print(&report)
}
