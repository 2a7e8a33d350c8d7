//! `textgen-torch`: trains, on CUDA, the runs that `textgen train` has prepared. A run's folder is the only
//! interface between the two programs.

use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use textgen::cli::error::{self, CliError};
use textgen::cli::output::{divert, json_line, line_on_stderr, stdout};
use textgen::cli::trainer::Together;
use textgen::cli::training;
use textgen::config::{NetworkConfig, TrainConfig};
use textgen::run::RunDir;
use textgen::train::{
    Distributed, Engine, EngineError, Factory, NativeEngine, Trainer, evaluate_exactly,
};

use textgen_torch::group::{self, Member, Processes};
use textgen_torch::{TorchEngine, device, launch, shim, sums};

const USAGE: &str = "usage: textgen-torch train [--processes N] [--timeout SECONDS] [--json] RUN-FOLDER...
       textgen-torch eval RUN-FOLDER | bench RUN-FOLDER | sums --processes N | doctor
`textgen train` calls this program. By hand it trains a run on several hosts: once for each process, with RANK,
WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT as torchrun sets them (or the variables of SLURM or Open MPI).
Only on a network that you trust: who reaches the port can join.";

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
        ["train", rest @ ..] => check_version().and_then(|()| train(rest)),
        ["sums", rest @ ..] => check_version().and_then(|()| sums(rest)),
        ["eval", folder] => check_version().and_then(|()| eval(Path::new(folder))),
        ["bench", folder] => check_version().and_then(|()| bench(Path::new(folder))),
        ["doctor"] => doctor(),
        ["--version"] => check_version().and_then(|()| {
            writeln!(stdout(), "textgen-torch {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }),
        ["--help" | "-h"] => writeln!(stdout(), "{USAGE}")
            .map(|()| ExitCode::SUCCESS)
            .map_err(Into::into),
        _ => Err(misuse()),
    });
    match outcome {
        Ok(Ok(code)) => code,
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

/// What `textgen-torch train` and `textgen-torch sums` are told.
struct Order<'a> {
    folders: Vec<&'a Path>,
    json: bool,
    processes: Option<usize>,
    timeout: Duration,
    /// The arguments without `--processes`.
    rest: Vec<&'a str>,
}

impl<'a> Order<'a> {
    fn of(words: &[&'a str]) -> Result<Self> {
        let (mut folders, mut rest) = (Vec::new(), Vec::new());
        let (mut json, mut processes, mut seconds) = (false, None, None);
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if word == training::PROCESSES {
                let number = words.next().and_then(|word| word.parse().ok());
                let number = number.filter(|&number: &usize| number > 0);
                processes = Some(number.ok_or_else(misuse)?);
                continue;
            }
            rest.push(word);
            match word {
                training::JSON => json = true,
                training::TIMEOUT => {
                    seconds = Some(words.next().ok_or_else(misuse)?);
                    rest.extend(seconds);
                }
                _ => folders.push(Path::new(word)),
            }
        }
        Ok(Self {
            folders,
            json,
            processes,
            timeout: group::timeout(seconds)?,
            rest,
        })
    }

    /// Who this process is among several; `None` if it is alone.
    fn member(&self) -> Result<Option<Member>> {
        match self.processes {
            Some(_) => Ok(None),
            None => Member::of(|name| std::env::var(name).ok()),
        }
    }

    /// Starts several processes with `command`, if that is asked for.
    fn launch(&self, command: &str) -> Option<Result<u8>> {
        let size = self.processes.filter(|&processes| processes > 1)?;
        Some(launch::launch(size, &[&[command], &self.rest[..]].concat()))
    }
}

/// How the program is called.
fn misuse() -> anyhow::Error {
    let hint = "textgen-torch --help; textgen train calls this program";
    CliError::misuse("the command line is incomplete, or not understood", hint).into()
}

/// Trains runs: in this process, as one of several, or by starting several.
fn train(words: &[&str]) -> Result<ExitCode> {
    let order = Order::of(words)?;
    if order.folders.is_empty() {
        return Err(misuse());
    }
    let member = order.member()?;
    let size = order
        .processes
        .or(member.as_ref().map(|member| member.size));
    for folder in order.folders.iter().filter(|_| size.is_some()) {
        let together = Together {
            processes: size,
            timeout: None,
        };
        together.check(RunDir::open(folder)?.config()?.shards)?;
    }
    if let Some(code) = order.launch("train") {
        if !matches!(code, Ok(0)) {
            discard_unstarted(&order.folders);
        }
        return Ok(ExitCode::from(code?));
    }
    let train = |factory: &Factory, distributed: &Rc<Distributed>| {
        training::train(&order.folders, order.json, factory, distributed)
    };
    let Some(member) = member else {
        return train(&engine, &Rc::default()).map(|()| ExitCode::SUCCESS);
    };
    as_one(&member, order.timeout, |processes| {
        let local_size = member.local_size.unwrap_or_else(|| processes.local_size());
        let distributed = Rc::new(Distributed::new(Box::new(processes)));
        let factory = |config: &TrainConfig, network: &NetworkConfig| {
            let on_cuda = device::choose(config.device)?.is_cuda();
            // CPUs and GPUs would not compute the same weights.
            distributed.compare("the kind of device", on_cuda.into())?;
            if on_cuda {
                let share = (member.local_rank, local_size);
                on_gpu(config, network, share, order.timeout)
            } else {
                on_cores(config, network, local_size)
            }
        };
        train(&factory, &distributed)
    })
}

/// Removes runs that were never trained, since their processes did not begin.
fn discard_unstarted(folders: &[&Path]) {
    for run in folders
        .iter()
        .filter_map(|folder| RunDir::open(folder).ok())
    {
        if let Ok(_lock) = run.lock() {
            run.discard_unstarted();
        }
    }
}

/// Measures how long processes take to add gradients.
fn sums(words: &[&str]) -> Result<ExitCode> {
    let order = Order::of(words)?;
    if let Some(code) = order.launch("sums") {
        return Ok(ExitCode::from(code?));
    }
    let member = order.member()?.ok_or_else(misuse)?;
    as_one(&member, order.timeout, |processes| {
        sums::measure(&Distributed::new(Box::new(processes)))
    })
}

/// Joins the other processes and does `work` with them, of which one speaks.
fn as_one(
    member: &Member,
    timeout: Duration,
    work: impl FnOnce(Processes) -> Result<()>,
) -> Result<ExitCode> {
    if member.failure().is_some() {
        launch::follow_the_launcher();
    }
    let outcome = member.join(timeout).and_then(|processes| {
        let work = || work(processes);
        if member.rank == 0 {
            work()
        } else {
            divert(|_| (), work)
        }
    });
    match (outcome, member.failure()) {
        (Ok(()), _) => Ok(ExitCode::SUCCESS),
        (Err(error), Some(path)) => Ok(ExitCode::from(launch::record(&error, &path))),
        (Err(error), None) => {
            let (rank, size, host) = (member.rank, member.size, group::host());
            Err(error.context(format!("process {rank} of {size} ({host})")))
        }
    }
}

/// The engine of one of several processes on some of the processor's cores.
fn on_cores(
    config: &TrainConfig,
    network: &NetworkConfig,
    local_size: usize,
) -> Result<Box<dyn Engine>, EngineError> {
    let mut config = config.clone();
    if config.threads == 0 {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        config.threads = (cores / local_size).max(1);
    }
    Ok(Box::new(NativeEngine::new(&config, network)?))
}

/// The engine of process `local_rank` of the `local_size` on this host, on a GPU of its own if there are enough.
fn on_gpu(
    config: &TrainConfig,
    network: &NetworkConfig,
    (local_rank, local_size): (usize, usize),
    timeout: Duration,
) -> Result<Box<dyn Engine>, EngineError> {
    let count = tch::Cuda::device_count().max(1) as usize;
    if local_size > count && local_rank == 0 {
        line_on_stderr(&format!(
            "{local_size} processes share the {count} CUDA device(s) of this host"
        ));
    }
    let device = tch::Device::Cuda(local_rank % count);
    let engine = TorchEngine::new(config, network, device)?;
    // NCCL refuses two processes on one GPU, unless its own variable says that each is a host.
    let has_own = local_size <= count || std::env::var_os("NCCL_HOSTID").is_some();
    Ok(if has_own {
        Box::new(engine.with_nccl(timeout))
    } else {
        Box::new(engine)
    })
}

/// The engine of a run, on the device that its settings name.
fn engine(config: &TrainConfig, network: &NetworkConfig) -> Result<Box<dyn Engine>, EngineError> {
    let device = device::choose(config.device)?;
    Ok(Box::new(TorchEngine::new(config, network, device)?))
}

/// The exact losses of a run's best model, as JSON: one token after the other for a char-lstm.
fn eval(folder: &Path) -> Result<ExitCode> {
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
fn print(report: &serde_json::Value) -> Result<ExitCode> {
    writeln!(stdout(), "{}", json_line(report)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The speed of training a run, as a JSON line. Leaves no trace in it.
fn bench(folder: &Path) -> Result<ExitCode> {
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
fn doctor() -> Result<ExitCode> {
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
