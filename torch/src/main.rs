//! `textgen-torch`: trains the run that `textgen train` has prepared. The run's folder is the only
//! interface between the two programs, so this one takes nothing but its path.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use textgen::config::ModelKind;
use textgen::run::{Evaluation, Metrics, RunDir};

use textgen_torch::train::{Ending, Trainer, duration};
use textgen_torch::{device, note, shim};

mod bench;

const USAGE: &str =
    "usage: textgen-torch train RUN-FOLDER... | eval RUN-FOLDER | bench RUN-FOLDER | doctor
       textgen-torch bench --serve
`textgen train` calls this program; there is hardly a reason to call it by hand.";

/// A target rate has been missed if the relative error is larger than this.
const FAR_FROM_RATE: f64 = 0.1;

/// Where a panic came from.
static PANIC_LOCATION: Mutex<String> = Mutex::new(String::new());

/// Whether Ctrl-C has been pressed.
static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    device::keep_memory();
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
    let outcome = std::panic::catch_unwind(|| match words.as_slice() {
        ["train", folders @ ..] if !folders.is_empty() => train(folders),
        ["eval", folder] => eval(Path::new(folder)),
        ["bench", "--serve"] => check_version().and_then(|()| bench::serve()),
        ["bench", folder] => check_version().and_then(|()| bench::run(Path::new(folder))),
        ["doctor"] => {
            doctor();
            Ok(())
        }
        ["--version"] => {
            check_version().map(|()| println!("textgen-torch {}", env!("CARGO_PKG_VERSION")))
        }
        _ => {
            note!("{USAGE}");
            std::process::exit(2)
        }
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            if text.contains("Torch(\"") {
                note!("error: libtorch: {}", torch_message(&text));
            } else {
                let location = PANIC_LOCATION
                    .lock()
                    .map(|location| location.clone())
                    .unwrap_or_default();
                note!(
                    "error: internal error in textgen-torch at {location}; please report it: {text}"
                );
            }
            note!("hint: everything saved before is intact; `textgen runs` lists it");
            ExitCode::FAILURE
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

fn fail(error: &anyhow::Error) -> ExitCode {
    note!("error: {error:#}");
    if let Some(hint) = error
        .downcast_ref::<textgen::run::RunError>()
        .and_then(textgen::hints::of_run)
    {
        note!("hint: {hint}");
    } else if let Some(hint) = error.downcast_ref().and_then(textgen::hints::of_text) {
        note!("hint: {hint}");
    } else if let Some(device::DeviceError::Precision(_)) = error.downcast_ref() {
        note!("hint: --precision f32 trains on the CPU; textgen doctor says what was found");
    } else if error.is::<device::DeviceError>() {
        note!("hint: --device cpu trains on the CPU; textgen doctor says what was found");
    }
    ExitCode::FAILURE
}

/// Refuses a libtorch whose version differs from the one that this program was compiled against.
fn check_version() -> Result<()> {
    let compiled = shim::compiled_version();
    match shim::loaded_version() {
        Some(loaded) if loaded != compiled => bail!(
            "libtorch {loaded} was loaded, but textgen-torch was built with {compiled}\nhint: unset LD_LIBRARY_PATH, or build again: make build"
        ),
        _ => Ok(()),
    }
}

/// Trains one run after the other, until the user stops.
fn train(folders: &[&str]) -> Result<()> {
    check_version()?;
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note!("\nstopping after this step; Ctrl-C again stops now");
    })
    .context("cannot catch Ctrl-C")?;
    for (index, folder) in folders.iter().enumerate() {
        if index > 0 {
            note!("\nrun: {folder}");
        }
        let run = RunDir::open(Path::new(folder))?;
        let _lock = run.lock()?;
        let result = train_locked(&run);
        if result.is_err() {
            run.discard_unstarted();
        }
        if result? == Ending::Stopped {
            for later in &folders[index + 1..] {
                let later = RunDir::open(Path::new(later))?;
                note!("then:     {}", later.command(&["train", "--resume"]));
            }
            break;
        }
    }
    Ok(())
}

fn train_locked(run: &RunDir) -> Result<Ending> {
    let config = run.config()?;
    let device = device::choose(config.device)?;
    let threads = device::set_threads(config.threads);
    let mut trainer = Trainer::new(run, device)?;
    let resumed = trainer.resume()?;
    if resumed {
        let progress = trainer.progress();
        note!(
            "going on with {} at step {}, after {}",
            run.name(),
            progress.step,
            duration(progress.seconds)
        );
    }
    trainer.announce(threads)?;
    let ending = trainer.train(&STOP)?;
    if ending == Ending::Stopped {
        note!(
            "stopped at step {}; everything is saved",
            trainer.progress().step
        );
        note!("resume:   {}", run.command(&["train", "--resume"]));
        return Ok(ending);
    }
    summary(run, &trainer, ending)?;
    Ok(ending)
}

fn summary(run: &RunDir, trainer: &Trainer, ending: Ending) -> Result<()> {
    let progress = trainer.progress();
    let how = if ending == Ending::Patience {
        ", stopped early: no improvement"
    } else {
        ""
    };
    note!(
        "done in {}: {} steps{how}",
        duration(progress.seconds),
        progress.step
    );
    let config = run.config()?;
    let metrics = Metrics::read(&run.metrics_path())?;
    let best = metrics
        .iter()
        .find(|line| line.step == progress.best_step)
        .and_then(|line| line.valid);
    if let Some(valid) = best {
        let which = if config.keeps_newest() {
            "last"
        } else {
            "best"
        };
        note!(
            "{which} validation, at step {}: {}",
            progress.best_step,
            valid.describe()
        );
        if let Evaluation::Word(loss) = valid {
            let rate = config.word_vae().map_or(0.0, |own| own.rate);
            let off = (loss.rate_nats_per_word - rate).abs();
            if off > FAR_FROM_RATE * rate && rate > 0.0 {
                note!(
                    "--rate {rate} was not reached: R is {:.3}; train longer, or choose a rate nearer to it",
                    loss.rate_nats_per_word
                );
            }
        }
    }
    if let Some(test) = metrics.last().and_then(|line| line.test) {
        note!("test: {}", test.describe());
    }
    let generate = match config.kind() {
        ModelKind::CharRnn => "--temperature 0.5",
        ModelKind::WordVae => "--count 20",
    };
    note!("model: {}", run.model_path().display());
    note!(
        "generate: {} {generate}",
        run.command(&["generate", "--run"])
    );
    Ok(())
}

/// The exact losses of a run's best model, as JSON: one token after the other for a char-lstm.
fn eval(folder: &Path) -> Result<()> {
    check_version()?;
    let run = RunDir::open(folder)?;
    let config = run.config()?;
    let device = device::choose(config.device)?;
    device::set_threads(config.threads);
    let report = textgen_torch::evaluate_exactly(&run, &config, device)?;
    println!("{report}");
    Ok(())
}

/// The facts about libtorch that `textgen doctor` shows, as JSON.
fn doctor() {
    let missing = device::load_cuda();
    let report = serde_json::json!({
        "libtorch": env!("TEXTGEN_LIBTORCH"),
        "compiled_version": shim::compiled_version(),
        "loaded_version": shim::loaded_version(),
        "cuda_devices": if missing.is_none() { tch::Cuda::device_count() } else { 0 },
        "cuda_missing": missing,
    });
    println!("{report}");
}
