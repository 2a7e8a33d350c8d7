//! Starts the processes of a training on this host, waits for them, and says in one line what went wrong.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use textgen::cli::output::lines_on_stderr;
use textgen::cli::training::Interrupted;
use textgen::cli::{error, signals};
use textgen::train::TrainError;

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
    /// If it failed since another one did: the step, and the command that resumes the run.
    apart: Option<(u64, String)>,
}

/// Writes why a process failed to `path`, and returns its exit code.
pub fn record(error: &anyhow::Error, path: &Path) -> u8 {
    let said = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let lines = said.clone();
    let take = move |line: &str| lines.borrow_mut().push(line.to_owned());
    let code = textgen::cli::output::divert(take, || error::code(error));
    let apart = match error.downcast_ref() {
        Some(TrainError::Apart { step, resume, .. }) => Some((*step, resume.clone())),
        _ => None,
    };
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
pub fn launch(size: usize, arguments: &[&str]) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("textgen-").tempdir();
    let folder = folder.context("the folder in which the processes meet")?;
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
    Ok(ExitCode::from(outcome(&processes, folder.path())))
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

/// Waits until all have ended, and sees to it that they do: if one has failed, or the user stops them.
fn wait(processes: &mut [Process]) {
    let mut failed: Option<Instant> = None;
    let mut heard = 0;
    loop {
        let mut running = false;
        for process in processes.iter_mut() {
            if process.status.is_none() {
                process.status = process.child.try_wait().ok().flatten();
            }
            running |= process.status.is_none();
            if process.status.is_some_and(|status| !status.success()) {
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
        }
        let is_late = failed.is_some_and(|failed| failed.elapsed() >= GRACE);
        if is_late && signals == 0 {
            kill(processes);
        }
        std::thread::sleep(LOOK);
    }
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
    let stopped = processes.iter().filter_map(code).find_map(Interrupted::of);
    if let Some(Interrupted(code)) = stopped {
        return match SIGNAL.load(Ordering::Relaxed) {
            0 => code,
            signal => signals::exit_code(signal as i32) as u8,
        };
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
    let mut ended = processes.iter().zip(&failures).enumerate();
    let gone = ended.find(|(_, (process, failure))| failure.is_none() && code(process) != Some(0));
    let who = match gone {
        Some((rank, (process, _))) if process.killed => {
            format!("process {rank} of {size} did not answer")
        }
        Some((rank, (process, _))) => {
            let how = process.status.map_or_else(String::new, ended_by);
            format!("process {rank} of {size} ended{how}")
        }
        None => "the processes lost each other".to_owned(),
    };
    let apart = failures
        .iter()
        .flatten()
        .find_map(|failure| failure.apart.as_ref());
    match apart {
        Some((step, resume)) => {
            lines_on_stderr(&format!("error: {who}, at step {step}"));
            lines_on_stderr(&format!(
                "hint: everything saved before is intact: {resume}"
            ));
        }
        None => lines_on_stderr(&format!("error: {who}")),
    }
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
