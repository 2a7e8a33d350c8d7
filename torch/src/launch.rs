//! Starts the processes of a training on this host, waits for them, and says in one line what went wrong.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use textgen::cli::error::CliError;
use textgen::cli::output::lines_on_stderr;
use textgen::cli::training::{Interrupted, ONE_SIGNAL};
use textgen::cli::{error, signals};
use textgen::train::{EngineError, GroupError, TrainError};

use crate::group;

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long the others get to end after one has failed. They notice within a fraction of a second.
const GRACE: Duration = Duration::from_secs(1);
/// The signals that came.
static SIGNALS: AtomicU32 = AtomicU32::new(0);
static SIGNAL: AtomicU32 = AtomicU32::new(0);

/// Why a process failed, as it says to the one that started it.
#[derive(Serialize, Deserialize)]
struct Failure {
    /// Its exit code.
    code: u8,
    /// What it would have printed.
    said: Vec<String>,
    /// If it failed since another one did: where it was.
    apart: Option<Apart>,
}

/// Where a training was when its processes lost each other.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Apart {
    /// The step, and the command that resumes the run, once it has begun.
    at: Option<(u64, String)>,
}

impl Apart {
    /// That of an error that says that another process is gone.
    fn of(error: &anyhow::Error) -> Option<Self> {
        match error.downcast_ref() {
            Some(TrainError::Apart { step, resume, .. }) => Some(Self {
                at: Some((*step, resume.clone())),
            }),
            Some(
                TrainError::Group(GroupError::Lost(_))
                | TrainError::Engine(EngineError::Group(GroupError::Lost(_))),
            ) => Some(Self::default()),
            _ => match error.downcast_ref() {
                Some(GroupError::Lost(_)) => Some(Self::default()),
                _ => None,
            },
        }
    }
}

/// Writes why a process failed to `path`, and returns its exit code.
pub fn record(error: &anyhow::Error, path: &Path) -> u8 {
    let said = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let lines = said.clone();
    let take = move |line: &str| lines.borrow_mut().push(line.to_owned());
    let code = textgen::cli::output::divert(take, || error::code(error));
    let apart = Apart::of(error);
    let said = said.borrow().clone();
    let failure = Failure { code, said, apart };
    if error.downcast_ref::<Interrupted>().is_none() {
        // Without the file, the exit code says that something went wrong.
        let _ = serde_json::to_vec(&failure).map(|json| std::fs::write(path, json));
    }
    code
}

/// Stops the training when the process that started this one closes the pipe, or is gone.
pub fn follow_the_launcher() {
    let wait = || {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        textgen::cli::training::stop();
    };
    let _ = std::thread::Builder::new().spawn(wait);
}

/// A process of the training.
struct Process {
    child: Child,
    status: Option<ExitStatus>,
    /// Whether it did not end by itself.
    killed: bool,
}

/// Starts this program with `arguments` as `size` processes of one training, and returns the exit code of the whole.
pub fn launch(size: usize, arguments: &[&str]) -> Result<u8> {
    let folder = tempfile::Builder::new().prefix("textgen-").tempdir();
    let folder = folder.map_err(|error| {
        let message = format!("the folder in which the processes meet: {error}");
        CliError::failed(message, "TMPDIR names a folder that can be written")
    })?;
    signals::catch(|signal| {
        SIGNAL.store(signal as u32, Ordering::Relaxed);
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    })?;
    let program = std::env::current_exe().context("textgen-torch")?;
    let mut processes = Vec::with_capacity(size);
    for rank in 0..size {
        let child = Command::new(&program)
            .args(arguments)
            .envs(variables(rank, size))
            .env(group::FOLDER, folder.path())
            .stdin(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => processes.push(Process {
                child,
                status: None,
                killed: false,
            }),
            Err(error) => {
                kill(&mut processes);
                return Err(error)
                    .with_context(|| format!("process {rank} of {size} does not start"));
            }
        }
    }
    wait(&mut processes);
    Ok(outcome(&processes, folder.path()))
}

/// Who process `rank` is, by torchrun's names.
fn variables(rank: usize, size: usize) -> HashMap<&'static str, String> {
    HashMap::from([
        ("RANK", rank.to_string()),
        ("WORLD_SIZE", size.to_string()),
        ("LOCAL_RANK", rank.to_string()),
        ("LOCAL_WORLD_SIZE", size.to_string()),
    ])
}

/// Waits until all have ended, and sees to it that they do: if one has failed, or the user stops them, twice to end them
/// at once.
fn wait(processes: &mut [Process]) {
    let (mut failed, mut stopped): (Option<Instant>, Option<Instant>) = (None, None);
    let mut heard = 0;
    loop {
        let mut running = false;
        for process in processes.iter_mut() {
            if process.status.is_none() {
                process.status = process.child.try_wait().ok().flatten();
            }
            running |= process.status.is_none();
            if process.status.is_some_and(has_failed) {
                failed.get_or_insert_with(Instant::now);
            }
        }
        if !running {
            return;
        }
        let signals = SIGNALS.load(Ordering::Relaxed);
        if signals > heard {
            heard = signals;
            // Whoever sent it, a terminal to all or a program to this one, each is to stop; it takes the pipe's end for it.
            for process in processes.iter_mut() {
                process.child.stdin = None;
            }
            if stopped.is_some_and(|stopped| stopped.elapsed() >= ONE_SIGNAL) {
                kill(processes);
            }
            stopped.get_or_insert_with(Instant::now);
        }
        if failed.is_some_and(|failed| failed.elapsed() >= GRACE) {
            kill(processes);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether a process ended otherwise than at its end, or because the user stopped it.
fn has_failed(status: ExitStatus) -> bool {
    !status.success() && status.code().and_then(Interrupted::of).is_none()
}

/// Ends the processes that are left.
fn kill(processes: &mut [Process]) {
    for process in processes.iter_mut() {
        if process.status.is_none() && !process.killed {
            process.killed = process.child.kill().is_ok();
        }
    }
}

/// Prints what went wrong, and returns the exit code.
fn outcome(processes: &[Process], folder: &Path) -> u8 {
    let size = processes.len();
    let code = |process: &Process| process.status.and_then(|status| status.code());
    if processes.iter().all(|process| code(process) == Some(0)) {
        return 0;
    }
    let failures: Vec<Option<Failure>> = (0..size)
        .map(|rank| {
            let bytes = std::fs::read(group::failure(folder, rank)).ok()?;
            serde_json::from_slice(&bytes).ok()
        })
        .collect();
    // One that failed by itself says why.
    let own = failures
        .iter()
        .flatten()
        .find(|failure| failure.apart.is_none());
    if let Some(failure) = own {
        failure.said.iter().for_each(|line| lines_on_stderr(line));
        return failure.code;
    }
    let signal = SIGNAL.load(Ordering::Relaxed);
    let stopped = processes.iter().filter_map(code).find_map(Interrupted::of);
    if signal != 0 {
        return signals::exit_code(signal as i32) as u8;
    }
    if let Some(Interrupted(code)) = stopped {
        return code;
    }
    let gone = |killed: bool| {
        let mut all = processes.iter().zip(&failures).enumerate();
        all.find(|(_, (process, failure))| {
            process.killed == killed && failure.is_none() && code(process) != Some(0)
        })
    };
    let who = match (gone(false), gone(true)) {
        (Some((rank, (process, _))), _) => {
            let how = process.status.map_or_else(String::new, ended_by);
            format!("process {rank} of {size} ended{how}")
        }
        (None, Some((rank, _))) => format!("process {rank} of {size} did not answer"),
        (None, None) => "the processes lost each other".to_owned(),
    };
    let mut apart = failures
        .iter()
        .flatten()
        .filter_map(|failure| failure.apart.as_ref()?.at.as_ref());
    let (when, resume) = match apart.next() {
        Some((step, resume)) => (format!(", at step {step}"), &**resume),
        None => (String::new(), "textgen train --resume"),
    };
    lines_on_stderr(&format!("error: {who}{when}"));
    lines_on_stderr(&format!(
        "hint: everything saved before is intact: {resume}"
    ));
    1
}

/// How a process ended.
fn ended_by(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!(" by signal {signal}");
    }
    status
        .code()
        .map_or_else(String::new, |code| format!(" with code {code}"))
}
