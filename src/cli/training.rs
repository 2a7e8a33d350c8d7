//! Trains runs one after the other, and shows how they go. `textgen` and `textgen-torch` share it; each
//! brings its own engine.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use indicatif::HumanCount;
use serde::Serialize;

use super::display::{Display, duration};
use super::signals;
use crate::cli::output::{counted, is_of_closed_pipe, json_line, measured, note, stdout};
use crate::config::{Budget, ModelKind, TrainConfig};
use crate::run::{Evaluation, Held, Metrics, RunDir, Sampled};
use crate::train::{Distributed, Ending, Factory, Plan, Report, Trainer};

/// A target rate has been missed if the relative error is larger than this.
const FAR_FROM_RATE: f64 = 0.1;
/// Signals that come within this time are one: a terminal sends Ctrl-C to all programs in the foreground, and one that
/// runs another often passes it on.
pub const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// A training was stopped by a signal, or because nobody reads its events any more, and said so: the program ends with
/// this exit code, so that what was to follow does not.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub struct Interrupted(pub u8);

/// The exit code of a training that stopped because nobody reads its events any more: 128 and the number of SIGPIPE.
const PIPE_CLOSED: u8 = 141;

impl Interrupted {
    /// What a program that ends with `code` says by it: that SIGHUP, SIGINT, a closed pipe or SIGTERM stopped its training.
    pub fn of(code: i32) -> Option<Self> {
        let code = u8::try_from(code).ok()?;
        matches!(code, 129 | 130 | PIPE_CLOSED | 143).then_some(Self(code))
    }
}

/// Whether Ctrl-C has been pressed, or the program has been told to end,
static STOP: AtomicBool = AtomicBool::new(false);
/// and by which signal; 0 if by none.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Stops the training, as Ctrl-C does.
pub fn stop() {
    STOP.store(true, Ordering::Relaxed);
}

/// Lets the first Ctrl-C, SIGTERM or SIGHUP stop the training, and the second end the program. Says so if it `speaks`.
fn catch_signals(speaks: bool) -> Result<()> {
    static CAUGHT: OnceLock<Result<(), String>> = OnceLock::new();
    let mut first: Option<Instant> = None;
    let handler = move |signal| match first {
        None => {
            first = Some(Instant::now());
            SIGNAL.store(signal, Ordering::Relaxed);
            STOP.store(true, Ordering::Relaxed);
            if speaks {
                note!("\nstopping; Ctrl-C again ends at once");
            }
        }
        Some(first) if first.elapsed() >= ONE_SIGNAL => {
            std::process::exit(signals::exit_code(signal))
        }
        Some(_) => {}
    };
    let caught = CAUGHT.get_or_init(|| signals::catch(handler).map_err(|e| format!("{e:#}")));
    caught.clone().map_err(|error| anyhow!(error))
}

/// The flag by which `textgen` asks `textgen-torch` for lines of JSON,
pub const JSON: &str = "--json";
/// the one that says how many processes train,
pub const PROCESSES: &str = "--processes";
/// and the one that says for how many seconds they wait for each other.
pub const TIMEOUT: &str = "--timeout";

/// A line of `train --json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    /// A training begins, or goes on from `step`.
    Start {
        run: &'a str,
        folder: Cow<'a, str>,
        model: ModelKind,
        corpus: &'a str,
        step: u64,
        /// `None` if the budget is a time.
        steps: Option<u64>,
        parameters: usize,
        memory_bytes: u64,
        device: &'a str,
        expected_seconds: f64,
    },
    Evaluation {
        run: &'a str,
        #[serde(flatten)]
        metrics: &'a Metrics,
    },
    End {
        run: &'a str,
        ending: Ending,
        step: u64,
        seconds: f64,
        /// The step of the model that was saved, and its losses if the training is done.
        best_step: u64,
        best: Option<Evaluation>,
        test: Option<Evaluation>,
        /// `None` if there is none yet.
        model: Option<String>,
    },
}

/// Where the events of a training go: to stdout, or nowhere. When stdout fails, the training is to stop.
#[derive(Default)]
struct Events {
    json: bool,
    failed: RefCell<Option<anyhow::Error>>,
}

impl Events {
    fn tell(&self, event: &Event) {
        if !self.json || self.failed.borrow().is_some() {
            return;
        }
        let print = || -> Result<()> {
            let mut out = stdout();
            writeln!(out, "{}", json_line(event)?)?;
            Ok(out.flush()?)
        };
        if let Err(error) = print() {
            *self.failed.borrow_mut() = Some(error);
            STOP.store(true, Ordering::Relaxed);
        }
    }
}

/// Trains the runs in `folders`, one after the other, until the user stops, which is an [`Interrupted`]. With `json`, what
/// happens is printed on stdout, too.
pub fn train(
    folders: &[&Path],
    json: bool,
    factory: &Factory,
    distributed: &Rc<Distributed>,
) -> Result<()> {
    signals::fail_at_the_size_limit();
    catch_signals(distributed.is_writer())?;
    for (index, folder) in folders.iter().enumerate() {
        if index > 0 {
            note!("\nrun: {}", folder.display());
        }
        let display = Display::on_stderr();
        let report = |report: Report| display.show(report);
        let run = RunDir::open(folder)?;
        let events = Events {
            json: json && distributed.is_writer(),
            ..Events::default()
        };
        let tell = |event: &Event| events.tell(event);
        let ending = train_run(&run, factory, distributed, &STOP, tell, report)?;
        let failed = events.failed.take();
        let is_cut = failed.as_ref().is_some_and(is_of_closed_pipe);
        if let Some(error) = failed.filter(|_| !is_cut) {
            return Err(error);
        }
        say_next(&run, ending)?;
        if ending == Ending::Stopped {
            for later in &folders[index + 1..] {
                let later = RunDir::open(later)?;
                note!("then:     {}", later.command(&["train", "--resume"]));
            }
            let code = match SIGNAL.load(Ordering::Relaxed) {
                // Who reads no more may still want to know that the training is not done.
                0 if is_cut => i32::from(PIPE_CLOSED),
                0 => signals::exit_code(signals::SIGINT),
                signal => signals::exit_code(signal),
            };
            return Err(Interrupted::of(code).unwrap_or(Interrupted(130)).into());
        }
    }
    Ok(())
}

/// Trains a run until it ends or is stopped; `tell` gets what happens. A run that cannot begin is removed again.
pub(super) fn train_run(
    run: &RunDir,
    factory: &Factory,
    distributed: &Rc<Distributed>,
    stop: &AtomicBool,
    tell: impl Fn(&Event),
    report: impl FnMut(Report),
) -> Result<Ending> {
    if !distributed.is_writer() {
        return train_locked(run, None, factory, distributed, stop, tell, report);
    }
    let lock = run.lock()?;
    let held = Some(lock.held());
    let result = train_locked(run, held, factory, distributed, stop, tell, report);
    // The name may belong to another run by now.
    if result.is_err() && lock.held().check().is_ok() {
        run.discard_unstarted();
    }
    result
}

/// `held` is what the process that writes has locked.
fn train_locked(
    run: &RunDir,
    held: Option<&Held>,
    factory: &Factory,
    distributed: &Rc<Distributed>,
    stop: &AtomicBool,
    tell: impl Fn(&Event),
    mut report: impl FnMut(Report),
) -> Result<Ending> {
    let name = run.name();
    let mut trainer = Trainer::in_group(run, factory, distributed.clone(), |news| {
        if let Report::Logged(metrics) = news {
            tell(&Event::Evaluation { run: name, metrics });
        }
        report(news);
    })?;
    if trainer.resume()? {
        let progress = trainer.progress();
        note!(
            "going on with {} at step {}, after {}",
            run.name(),
            progress.step,
            duration(progress.seconds)
        );
    }
    if let Some([from, to]) = trainer.rise() {
        let [from, to] = [from, to].map(two_digits);
        note!(
            "the learning rate rises again from {from} to {to}, since the schedule spans the larger budget; the loss may rise at first"
        );
    }
    let plan = trainer.plan(stop)?;
    announce(trainer.config(), &plan, distributed.size());
    let config = trainer.config();
    tell(&Event::Start {
        run: name,
        folder: run.path().to_string_lossy(),
        model: config.kind(),
        corpus: &config.corpus_name,
        step: trainer.progress().step,
        steps: plan.steps,
        parameters: plan.parameters,
        memory_bytes: plan.memory_bytes,
        device: &plan.device,
        expected_seconds: plan.expected_seconds,
    });
    if let Some(held) = held {
        held.check()?;
        run.forget_failure()?;
    }
    let ending = trainer.train(stop).map_err(anyhow::Error::from);
    let ending = ending.inspect_err(|error| {
        if held.is_some_and(|held| held.check().is_ok()) {
            run.record_failure(&format!("{error:#}"));
        }
    })?;
    let last = Metrics::read(&run.metrics_path())?.pop();
    let model = run.model_path();
    tell(&Event::End {
        run: name,
        ending,
        step: trainer.progress().step,
        seconds: trainer.progress().seconds,
        best_step: trainer.progress().best_step,
        best: last.as_ref().and_then(|line| line.best),
        test: last.as_ref().and_then(|line| line.test),
        model: model.exists().then(|| model.display().to_string()),
    });
    if ending == Ending::Stopped {
        note!(
            "stopped at step {}; everything is saved",
            trainer.progress().step
        );
    } else {
        summary(&trainer, ending, last.as_ref());
    }
    Ok(ending)
}

/// A small number with two significant digits.
fn two_digits(number: f64) -> String {
    let places = (1.0 - number.log10().floor()).clamp(0.0, 12.0);
    format!("{number:.*}", places as usize)
}

/// Prints the network, the step, the budget, memory and expected time.
fn announce(config: &TrainConfig, plan: &Plan, processes: usize) {
    let input = match config.embedding {
        0 => format!("one-hot of {}", plan.inputs),
        size => format!("embedding {} × {size}", plan.inputs),
    };
    let latent = match config.network(0, 0, None).latent() {
        0 => String::new(),
        latent => format!(" · latent {latent}"),
    };
    let budget = match (config.budget, plan.steps) {
        (Budget::Minutes(minutes), _) => duration(minutes * 60.0),
        (Budget::Epochs(epochs), Some(steps)) => {
            format!("{} = {}", measured(epochs, "epoch"), counted(steps, "step"))
        }
        (Budget::Epochs(epochs), None) => measured(epochs, "epoch"),
        (Budget::Steps(steps), _) => counted(steps, "step"),
    };
    note!(
        "{} on {}: {} {} × {} · {input}{latent} · {} parameters · {} MB",
        config.kind(),
        config.corpus_name,
        config.cell,
        config.hidden,
        config.layers,
        HumanCount(plan.parameters as u64),
        HumanCount((plan.memory_bytes >> 20).max(1)),
    );
    let processes = match processes {
        1 => String::new(),
        _ => format!("{processes} processes, each on "),
    };
    note!("{}; {budget}; {processes}{}", plan.step, plan.device);
    if let Some(Sampled { counted, of }) = plan.sample {
        note!(
            "evaluations read a sample of {} of the {} held-out {} until the end",
            HumanCount(counted),
            HumanCount(of),
            unit(config)
        );
    }
    note!("expected time: about {}", duration(plan.expected_seconds));
}

/// What a corpus is counted in.
const fn unit(config: &TrainConfig) -> &'static str {
    match config.kind() {
        ModelKind::CharRnn => "characters",
        ModelKind::WordVae => "words",
    }
}

fn summary(trainer: &Trainer, ending: Ending, last: Option<&Metrics>) {
    let (progress, config) = (trainer.progress(), trainer.config());
    let how = if ending == Ending::Patience {
        ", stopped early: no improvement"
    } else {
        ""
    };
    note!(
        "done in {}: {}{how}",
        duration(progress.seconds),
        counted(progress.step, "step")
    );
    let best = last.and_then(|line| line.best);
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
    if let Some(test) = last.and_then(|line| line.test) {
        note!("test: {}", test.describe());
    }
}

/// Prints where the model of a run is, and commands for what comes next.
fn say_next(run: &RunDir, ending: Ending) -> Result<()> {
    let has_model = run.model_path().exists();
    if ending == Ending::Stopped {
        note!("resume:   {}", run.command(&["train", "--resume"]));
        if has_model {
            note!("generate: {}", generate(run, run.config()?.kind()));
        }
        return Ok(());
    }
    let metrics = Metrics::read(&run.metrics_path())?;
    let best = metrics.last().and_then(|line| line.best);
    if best.is_some_and(|best| best.sample().is_some()) {
        note!("of all of it: {}", run.command(&["eval"]));
    }
    note!("model: {}", run.model_path().display());
    note!("generate: {}", generate(run, run.config()?.kind()));
    note!("report: {}", run.command(&["report"]));
    Ok(())
}

/// A command that generates from a run.
fn generate(run: &RunDir, kind: ModelKind) -> String {
    let flags = match kind {
        ModelKind::CharRnn => "--temperature 0.5",
        ModelKind::WordVae => "--count 20",
    };
    format!("{} {flags}", run.command(&["generate", "--run"]))
}
