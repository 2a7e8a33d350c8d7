//! The way to `textgen-torch`, the sub-program that trains.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::error::CliError;

const NAME: &str = "textgen-torch";

/// Finds `textgen-torch`: beside this program, else on PATH.
pub fn find() -> Result<PathBuf> {
    let name = format!("{NAME}{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = own.as_ref().map(|folder| folder.join(&name));
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join(&name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            let looked = own.map_or_else(String::new, |folder| {
                format!("in {} and ", folder.display())
            });
            let message =
                format!("{NAME}, the part that trains, was not found; looked {looked}on PATH");
            CliError::failed(message, "`make build` builds both programs side by side").into()
        })
}

/// Refuses a trainer that does not start or has another version.
pub fn check(trainer: &Path) -> Result<()> {
    let shown = trainer.display();
    let failed = |why: String| {
        CliError::failed(
            format!("{shown} does not start: {why}"),
            "`make build` builds it again",
        )
    };
    let output = Command::new(trainer)
        .arg("--version")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().next().unwrap_or("it failed without a word");
        return Err(failed(line.trim_start_matches("error: ").to_owned()).into());
    }
    let version = String::from_utf8_lossy(&output.stdout);
    let own = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    if version.trim() != own {
        return Err(failed(format!("it is {}, not {own}", version.trim())).into());
    }
    Ok(())
}

/// The command that trains the runs in `folders`, one after the other.
pub fn training(trainer: &Path, folders: &[&Path]) -> Command {
    let mut command = Command::new(trainer);
    command.arg("train").args(folders);
    // libtorch's threads synchronize several times per step. Spinning long at these barriers makes
    // training several times slower as soon as another program wants a core; a short spin costs nothing.
    if ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"]
        .iter()
        .all(|name| std::env::var_os(name).is_none())
    {
        command.env("GOMP_SPINCOUNT", "1000");
    }
    command
}

/// Trains the runs in `folders` and waits. If the trainer fails, it has printed the reason, and
/// this program ends with its exit code.
pub fn train(trainer: &Path, folders: &[&Path]) -> Result<()> {
    // Ctrl-C also reaches the trainer, which saves and stops; this program waits for it.
    ctrlc::set_handler(|| ()).context("cannot catch Ctrl-C")?;
    let status = training(trainer, folders)
        .status()
        .map_err(|error| does_not_start(trainer, &error))?;
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

/// Execs the trainer of the runs in `folders`; returns only on failure.
pub fn hand_over(trainer: &Path, folders: &[&Path]) -> Result<()> {
    let mut command = training(trainer, folders);
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    Err(does_not_start(trainer, &error).into())
}

fn does_not_start(trainer: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(
        format!("{} cannot be started: {error}", trainer.display()),
        "`make build` builds it again",
    )
}

/// The trainer's report on libtorch, as JSON.
pub fn doctor(trainer: &Path) -> Result<serde_json::Value, String> {
    let output = Command::new(trainer)
        .arg("doctor")
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(text
            .lines()
            .next()
            .unwrap_or("it failed without a word")
            .to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}
