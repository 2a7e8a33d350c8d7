//! `train` and `Progress`.
//!
//! A thread of its own trains. The caller's thread waits, calls the callback, prints, and looks for Ctrl-C, which only the
//! main thread of Python can notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::{PyKeyboardInterrupt, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};
use tempfile::TempDir;
use textgen::OpenOptions;
use textgen::cli::embedded::{self, Order};
use textgen::config::{ModelChoice, Recipe, Settings};
use textgen::run::{RunDir, Runs};
use textgen::train::{Ending, Line, Report};

use crate::errors::raise;
use crate::interrupts::EVERY;
use crate::source::{named, opened, runs};

/// Minutes of a training whose budget nobody gives.
const MINUTES: f64 = 1.0;

/// Where a training is.
///
/// step: optimizer steps taken; steps: all of them, if that is known.
/// fraction: of the budget, 0 to 1; epoch: passes over the training part.
/// loss: mean training loss since the last evaluation, in nats per character, or per word of a word-vae.
/// valid_loss: the last validation loss in the same unit; None before the first evaluation.
/// chars_per_second: the speed; seconds_left: about.
/// evaluated: whether `valid_loss` is new.
#[pyclass(frozen, get_all, module = "textgen")]
#[derive(Clone, Debug)]
pub struct Progress {
    step: u64,
    steps: Option<u64>,
    fraction: f64,
    epoch: f64,
    loss: f64,
    valid_loss: Option<f64>,
    chars_per_second: f64,
    seconds_left: Option<f64>,
    evaluated: bool,
}

impl Progress {
    fn new(line: &Line, evaluated: bool) -> Self {
        Self {
            step: line.step,
            steps: line.steps,
            fraction: line.fraction.min(1.0),
            epoch: line.epoch,
            loss: line.loss,
            valid_loss: line.valid.map(|valid| valid.figure()),
            chars_per_second: line.rate,
            seconds_left: line.left,
            evaluated,
        }
    }
}

#[pymethods]
impl Progress {
    fn __repr__(&self) -> String {
        let valid = self.valid_loss;
        format!(
            "<textgen.Progress: step {}, {:.0} %, loss {:.4}{}, {:.0} chars/s>",
            self.step,
            100.0 * self.fraction,
            self.loss,
            valid.map_or_else(String::new, |valid| format!(", valid {valid:.4}")),
            self.chars_per_second,
        )
    }
}

/// What the thread that trains tells.
enum Event {
    Line(String),
    Began,
    Progress(Progress),
}

type Trained = anyhow::Result<(RunDir, Ending)>;

/// The thread that trains.
struct Training {
    thread: JoinHandle<Trained>,
    events: Mutex<Receiver<Event>>,
    stop: Arc<AtomicBool>,
}

impl Training {
    /// Begins. `folder` has what the training reads, and lasts as long as it.
    fn begin(order: Order, runs: Runs, reports: bool, folder: Arc<TempDir>) -> PyResult<Self> {
        let (tell, events) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            let _folder = folder;
            run(order, &runs, &stopped, reports, &tell)
        };
        let thread = std::thread::Builder::new()
            .name("textgen.train".to_owned())
            .spawn(work);
        Ok(Self {
            thread: thread.map_err(because("cannot start a thread"))?,
            events: Mutex::new(events),
            stop,
        })
    }

    /// What happened since the last call; waits a little for it. `None` at the end.
    fn next(&self) -> Option<Vec<Event>> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match events.recv_timeout(EVERY) {
            Ok(first) => Some(std::iter::once(first).chain(events.try_iter()).collect()),
            Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn end(self) -> Trained {
        let panicked = |_| anyhow::anyhow!("internal error in the training; please report it");
        self.thread.join().map_err(panicked).flatten()
    }
}

/// Trains, on the thread for it. If there are `reports`, they become the caller's, and lines otherwise.
fn run(
    order: Order,
    runs: &Runs,
    stop: &AtomicBool,
    reports: bool,
    tell: &Sender<Event>,
) -> Trained {
    let say = {
        let tell = tell.clone();
        move |line: &str| drop(tell.send(Event::Line(line.to_owned())))
    };
    let began = |_: &RunDir| drop(tell.send(Event::Began));
    let take = |report: Report| {
        let progress = match report {
            Report::Step(line) => Progress::new(line, false),
            Report::Evaluated(line) => Progress::new(line, true),
            _ => return false,
        };
        reports && tell.send(Event::Progress(progress)).is_ok()
    };
    embedded::train(order, runs, stop, say, began, take)
}

/// Who gets what is told.
struct Listener<'py> {
    callback: Option<Bound<'py, PyAny>>,
    quiet: bool,
}

impl Listener<'_> {
    /// Follows a training to its end. A signal or an error of the callback stops it, and is returned; one that comes
    /// before there is anything to save, and a second one, do not wait.
    fn follow(&self, py: Python<'_>, training: &Training) -> Result<Option<PyErr>, PyErr> {
        let (mut began, mut failed) = (false, None);
        while let Some(events) = py.detach(|| training.next()) {
            let mut outcome = py.check_signals();
            let mut events = events.into_iter().peekable();
            while let Some(event) = events.next() {
                match event {
                    Event::Began => began = true,
                    Event::Line(line) => self.print(py, &line),
                    // One that is out of date already.
                    Event::Progress(old)
                        if !old.evaluated && matches!(events.peek(), Some(Event::Progress(_))) => {}
                    Event::Progress(progress) => {
                        if outcome.is_ok() && failed.is_none() {
                            outcome = self.call(py, progress);
                        }
                    }
                }
            }
            if let Err(error) = outcome {
                training.stop.store(true, Ordering::Relaxed);
                if !began || failed.is_some() {
                    return Err(failed.unwrap_or(error));
                }
                self.print(py, "stopping; Ctrl-C again ends at once");
                failed = Some(error);
            }
        }
        Ok(failed)
    }

    fn call(&self, py: Python<'_>, progress: Progress) -> PyResult<()> {
        match &self.callback {
            Some(callback) => callback.call1((Bound::new(py, progress)?,)).map(drop),
            None => Ok(()),
        }
    }

    /// Prints a line on Python's stderr, which may be closed or missing.
    fn print(&self, py: Python<'_>, line: &str) {
        if !self.quiet {
            let stderr = py.import("sys").and_then(|sys| sys.getattr("stderr"));
            let _ = stderr.and_then(|stderr| {
                stderr.call_method1("write", (format!("{line}\n"),))?;
                stderr.call_method0("flush")
            });
        }
    }
}

/// Trains a model on a corpus, as `textgen train` does, and returns it.
///
/// corpus: a path, a list of paths, the name of a bundled corpus, or the text itself, if it has a line end.
/// text: the text itself, whatever it has.
/// run: a name; the run is kept in `runs_dir`. Without either, a temporary folder is used.
/// resume: the name or the folder of a run to go on with, in place of a corpus.
/// config: a file of settings, such as the config.toml of a run.
/// callback: called with a `Progress` at most ten times a second, and at each evaluation. What it raises stops the
///     training, which is saved first.
/// quiet: print nothing on stderr.
/// settings: those of docs/settings.md, with underscores (`from_` for --from): model, minutes, hidden, seed, ...
///     By default the model is "char-lstm", and the budget one minute; the rest is chosen to fit.
///
/// Ctrl-C saves the training and raises KeyboardInterrupt, which says how to go on.
#[pyfunction]
#[pyo3(signature = (
    corpus=None, *, text=None, run=None, resume=None, config=None, runs_dir=None, callback=None, quiet=false, **settings
))]
pub fn train<'py>(
    py: Python<'py>,
    corpus: Option<&Bound<'py, PyAny>>,
    text: Option<String>,
    run: Option<String>,
    resume: Option<&Bound<'py, PyAny>>,
    config: Option<PathBuf>,
    runs_dir: Option<PathBuf>,
    callback: Option<Bound<'py, PyAny>>,
    quiet: bool,
    settings: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(callback) = callback.as_ref().filter(|callback| !callback.is_callable()) {
        let kind = callback.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "train() argument 'callback' must be callable, not {kind}"
        )));
    }
    let is_kept = run.is_some() || runs_dir.is_some() || resume.is_some();
    let folder = TempDir::with_prefix("textgen-");
    let folder = Arc::new(folder.map_err(because("cannot make a temporary folder"))?);
    let mut order = Order {
        corpus: given(corpus, text, folder.path())?,
        name: run,
        resume: resume.map(named).transpose()?,
        config,
        settings: read(settings)?,
    };
    complete(&mut order);
    let temporary = Some(folder.path().to_owned());
    let runs = runs(if is_kept { runs_dir } else { temporary });
    let training = Training::begin(order, runs.clone(), callback.is_some(), Arc::clone(&folder))?;
    let listener = Listener { callback, quiet };
    let failed = listener.follow(py, &training)?;
    let outcome = py.detach(|| training.end()).map_err(raise);
    if let (Ok((run, Ending::Budget | Ending::Patience)), None) = (&outcome, &failed) {
        let file = py.detach(|| run.model()).map_err(raise)?;
        return opened(py, file, OpenOptions::default());
    }
    let is_begun = runs.list().is_ok_and(|runs| !runs.is_empty());
    if !is_kept
        && is_begun
        && let Some(folder) = Arc::into_inner(folder)
    {
        let _ = folder.keep();
    }
    let path = outcome?.0.path().display().to_string();
    let message = format!(
        "the training was stopped, and everything is saved: textgen.train(resume={path:?}) goes on, textgen.load({path:?}) \
         is the model so far"
    );
    match failed {
        Some(error) if !error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            listener.print(py, &message);
            Err(error)
        }
        _ => Err(PyKeyboardInterrupt::new_err(message)),
    }
}

/// The error of the system with what cannot be done.
fn because(what: &'static str) -> impl Fn(std::io::Error) -> PyErr {
    move |error| raise(anyhow::Error::new(error).context(what))
}

/// The names of the corpus. A text with a line end is the corpus itself, and is written to a file in `folder`.
fn given(
    corpus: Option<&Bound<'_, PyAny>>,
    text: Option<String>,
    folder: &Path,
) -> PyResult<Vec<String>> {
    let written = |text: &str| {
        let path = folder.join("text.txt");
        fs::write(&path, text).map_err(because("cannot write the text to a temporary file"))?;
        Ok(vec![path.display().to_string()])
    };
    let Some(corpus) = corpus else {
        return text.map_or_else(|| Ok(Vec::new()), |text| written(&text));
    };
    if text.is_some() {
        return Err(PyTypeError::new_err(
            "train() takes a corpus or a text, not both",
        ));
    }
    if corpus.is_instance_of::<PyList>() || corpus.is_instance_of::<PyTuple>() {
        let all: Vec<String> = corpus
            .try_iter()?
            .map(|one| named(&one?))
            .collect::<PyResult<_>>()?;
        if all.is_empty() {
            return Err(PyTypeError::new_err(
                "train() takes a list of at least one path",
            ));
        }
        return Ok(all);
    }
    match named(corpus)? {
        text if text.contains('\n') => written(&text),
        name => Ok(vec![name]),
    }
}

/// Settings by their names in Python: those of the flags with underscores.
fn read(given: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let (mut settings, keys) = (Settings::default(), Settings::keys());
    for (key, value) in given.into_iter().flatten() {
        let key: String = key.extract()?;
        let name = key.strip_suffix('_').unwrap_or(&key).replace('_', "-");
        if !keys.contains(&name) {
            let likeness = |known: &&String| strsim::jaro(&name, known);
            let near = keys
                .iter()
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let near = near.filter(|near| likeness(near) > 0.8);
            let near = near.map(|near| format!("; did you mean {:?}?", near.replace('-', "_")));
            let message = format!("train() got an unexpected keyword argument {key:?}");
            return Err(PyTypeError::new_err(message + &near.unwrap_or_default()));
        }
        if !value.is_none() {
            settings.set(&name, &shown(&key, &value)?).map_err(raise)?;
        }
    }
    Ok(settings)
}

/// The value of a setting as its flag takes it.
fn shown(key: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(switch) = value.cast::<PyBool>() {
        return Ok(switch.is_true().to_string());
    }
    if let Ok(number) = value.extract::<i128>() {
        return Ok(number.to_string());
    }
    if let Ok(number) = value.extract::<f64>() {
        return Ok(number.to_string());
    }
    named(value).map_err(|_| {
        let kind = value.get_type().name().map(|name| name.to_string());
        let kind = kind.unwrap_or_default();
        PyTypeError::new_err(format!(
            "train() argument {key:?} must be a number, a string or a bool, not {kind}"
        ))
    })
}

/// What the program asks for and Python does not: the model, and a budget.
fn complete(order: &mut Order) {
    let own = &mut order.settings;
    let has_recipe = own.recipe.is_some_and(|recipe| recipe != Recipe::Default);
    if order.config.is_some() || order.resume.is_some() || has_recipe {
        return;
    }
    if own.from.is_none() {
        own.model.get_or_insert(ModelChoice::CharLstm);
    }
    if !own.has_budget() {
        own.minutes = Some(MINUTES);
    }
}
