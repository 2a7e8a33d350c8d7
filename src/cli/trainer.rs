//! Where a run is trained: in this process on the CPU, or on CUDA by the sub-program `textgen-torch`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::Result;
use serde_json::Value;

use super::error::CliError;
use super::signals;
use super::training::{self, PROCESSES, TIMEOUT};
use crate::cli::output::{counted, note};
use crate::config::{Device, NetworkConfig, TrainConfig};
use crate::kernels::simd;
use crate::train::{Engine, EngineError, NativeEngine};

const NAME: &str = "textgen-torch";
/// How to get it.
const BUILD: &str = "`make torch` builds it beside textgen; --device cpu trains on the CPU";
/// Files of which one exists where there is an NVIDIA device: without them nobody needs to be asked.
#[cfg(target_os = "linux")]
const DEVICES: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"];

/// What trains a run.
pub enum Place {
    /// This process, on the CPU.
    Cpu,
    /// `textgen-torch` at this path, on CUDA or in several processes.
    Torch(PathBuf, Together),
}

/// Processes that train together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Together {
    /// How many; `None` is one.
    pub processes: Option<usize>,
    /// How long they wait for each other, in seconds.
    pub timeout: Option<f64>,
}

impl Together {
    /// Whether there are several.
    pub fn are_several(&self) -> bool {
        self.processes.is_some_and(|processes| processes > 1)
    }

    /// Refuses shards that the processes cannot share evenly.
    pub fn check(&self, shards: usize) -> Result<()> {
        let processes = self.processes.unwrap_or(1);
        if shards.is_multiple_of(processes) {
            return Ok(());
        }
        let message = format!(
            "{PROCESSES} {processes}: they cannot share evenly the {} of a batch",
            counted(shards as u64, "shard")
        );
        let even: Vec<String> = (1..=shards)
            .filter(|&processes| shards.is_multiple_of(processes))
            .map(|processes| processes.to_string())
            .collect();
        let hint = format!(
            "--shards, which a run keeps, allows {PROCESSES} {}",
            even.join(", ")
        );
        Err(CliError::misuse(message, hint).into())
    }

    /// The flags that say it. Where there is one process, `textgen-torch` is not to look for others.
    fn flags(&self) -> Vec<String> {
        let mut flags = vec![
            PROCESSES.to_owned(),
            self.processes.unwrap_or(1).to_string(),
        ];
        if let Some(seconds) = self.timeout {
            flags.extend([TIMEOUT.to_owned(), seconds.to_string()]);
        }
        flags
    }
}

impl Place {
    /// The place that the settings ask for, or the reason why there is none.
    pub fn of(config: &TrainConfig, together: Together) -> Result<Self> {
        together.check(config.shards)?;
        let torch = |path| Self::Torch(path, together);
        let place = match (config.device, find()) {
            (Device::Cpu | Device::Auto, Some(path)) if together.are_several() => {
                checked(&path)?;
                torch(path)
            }
            (Device::Cpu | Device::Auto, None) if together.are_several() => {
                let message = format!(
                    "{PROCESSES} needs {NAME}, which is neither beside textgen nor on PATH"
                );
                let hint = "`make torch` builds it beside textgen; one process needs only textgen";
                return Err(CliError::failed(message, hint).into());
            }
            (Device::Cpu, _) | (Device::Auto, None) => Self::Cpu,
            (Device::Auto, Some(path)) => match has_cuda(&path) {
                Ok(true) => torch(path),
                Ok(false) => Self::Cpu,
                Err(why) => {
                    note!(
                        "{} does not start: {why}; training on the CPU",
                        path.display()
                    );
                    Self::Cpu
                }
            },
            (asked @ Device::Cuda(_), path) => torch(with_cuda(asked, path)?),
        };
        let precision = config.precision;
        let lacks = NativeEngine::lacks(precision, simd::level());
        if let (Self::Cpu, Some(why)) = (&place, lacks) {
            let message = format!("--precision {precision}: {why}");
            let hint = "--precision f32 trains on every CPU; textgen doctor says what was found";
            return Err(CliError::failed(message, hint).into());
        }
        Ok(place)
    }

    /// Whether training takes this machine's memory.
    pub const fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Trains the runs in `folders`, one after the other, and prints `json` lines if asked. Nothing follows: on CUDA, this
    /// program is replaced.
    pub fn train_last(&self, folders: &[&Path], json: bool) -> Result<()> {
        match self {
            Self::Cpu => train_here(folders, json),
            Self::Torch(torch, together) => hand_over(torch, folders, json, *together),
        }
    }

    /// Trains the runs in `folders` and waits. If `textgen-torch` fails, it has printed the reason, and
    /// this program ends with its exit code.
    pub fn train(&self, folders: &[&Path]) -> Result<()> {
        let (torch, together) = match self {
            Self::Cpu => return train_here(folders, false),
            Self::Torch(torch, together) => (torch, *together),
        };
        // Ctrl-C also reaches the trainer, which saves and stops; this program waits for it.
        signals::catch(|_| ())?;
        let status = command(torch, folders, false, together)
            .status()
            .map_err(|error| does_not_start(torch, &error.to_string()))?;
        if let Some(stopped) = status.code().and_then(training::Interrupted::of) {
            return Err(stopped.into());
        }
        if !status.success() {
            std::process::exit(status.code().unwrap_or(1));
        }
        Ok(())
    }
}

/// Trains in this process.
fn train_here(folders: &[&Path], json: bool) -> Result<()> {
    training::train(folders, json, &native, &Rc::default())
}

/// The engine of a run on the CPU.
pub fn native(
    config: &TrainConfig,
    network: &NetworkConfig,
) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(NativeEngine::new(config, network)?))
}

/// Finds `textgen-torch`: beside this program, else on PATH.
pub fn find() -> Option<PathBuf> {
    let name = format!("{NAME}{}", std::env::consts::EXE_SUFFIX);
    let own = std::env::current_exe().ok();
    let beside = own
        .as_ref()
        .and_then(|exe| exe.parent())
        .map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(&name))
        .find(|candidate| candidate.is_file())
}

/// Whether this machine may have a CUDA device at all.
fn may_have_cuda() -> bool {
    #[cfg(target_os = "linux")]
    return DEVICES.iter().any(|device| Path::new(device).exists());
    #[cfg(not(target_os = "linux"))]
    true
}

/// Whether `textgen-torch` finds a CUDA device, or why it does not start.
fn has_cuda(torch: &Path) -> Result<bool, String> {
    Ok(may_have_cuda() && devices(&doctor(torch)?) > 0)
}

fn devices(report: &Value) -> u64 {
    report["cuda_devices"].as_u64().unwrap_or(0)
}

/// `textgen-torch`, if it can train on the device that is asked for.
fn with_cuda(asked: Device, torch: Option<PathBuf>) -> Result<PathBuf> {
    // `--device cuda` is the device of number 0, and an error repeats what was typed.
    let typed = match asked {
        Device::Cuda(0) => "cuda".to_owned(),
        asked => asked.to_string(),
    };
    let Some(torch) = torch else {
        let message =
            format!("--device {typed} needs {NAME}, which is neither beside textgen nor on PATH");
        return Err(CliError::failed(message, BUILD).into());
    };
    let report = checked(&torch)?;
    let count = devices(&report);
    let message = match asked {
        _ if count == 0 => {
            let why = report["cuda_missing"].as_str().unwrap_or("none was found");
            format!("--device {typed}: no CUDA device: {why}")
        }
        Device::Cuda(index) if index as u64 >= count => {
            let there = counted(count, "CUDA device");
            format!("--device {asked}: this machine has {there}, numbered from 0")
        }
        _ => return Ok(torch),
    };
    let hint = "--device cpu trains on the CPU; textgen doctor says what was found";
    Err(CliError::failed(message, hint).into())
}

/// What `textgen-torch` reports, if it starts and is of this version.
fn checked(torch: &Path) -> Result<Value> {
    let report = doctor(torch).map_err(|why| does_not_start(torch, &why))?;
    let (own, version) = (env!("CARGO_PKG_VERSION"), report["version"].as_str());
    if version.is_some_and(|version| version != own) {
        let why = format!("it is {NAME} {}, not {own}", version.unwrap_or_default());
        return Err(does_not_start(torch, &why).into());
    }
    Ok(report)
}

/// What `textgen-torch` reports about libtorch, or why it does not start.
pub fn doctor(torch: &Path) -> Result<Value, String> {
    let output = Command::new(torch)
        .arg("doctor")
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().next().unwrap_or("it failed without a word");
        return Err(line.trim_start_matches("error: ").to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// The command that trains the runs in `folders`, one after the other.
fn command(torch: &Path, folders: &[&Path], json: bool, together: Together) -> Command {
    let mut command = Command::new(torch);
    command
        .arg("train")
        .args(together.flags())
        .args(json.then_some(training::JSON))
        .args(folders);
    command
}

/// Execs the trainer of the runs in `folders`; returns only on failure.
fn hand_over(torch: &Path, folders: &[&Path], json: bool, together: Together) -> Result<()> {
    let mut command = command(torch, folders, json, together);
    #[cfg(unix)]
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let error = match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    };
    Err(does_not_start(torch, &error.to_string()).into())
}

fn does_not_start(torch: &Path, why: &str) -> CliError {
    CliError::failed(
        format!("{} does not start: {why}", torch.display()),
        hint(why),
    )
}

/// What helps where a program does not start. The system says why in the words of the C library, be it to this program or,
/// about a library that the other one needs, through the dynamic loader.
fn hint(why: &str) -> &'static str {
    const LIMITS: [&str; 8] = [
        "Too many open files",
        "Error 24", // the same, as musl's loader has it
        "Cannot allocate memory",
        "cannot allocate memory",
        "failed to map segment",
        "cannot create shared object descriptor",
        "Resource temporarily unavailable",
        "bad_alloc",
    ];
    if LIMITS.iter().any(|limit| why.contains(limit)) {
        "ulimit -a shows the limits on processes, memory and open files; --device cpu trains on the CPU"
    } else {
        BUILD
    }
}

// The messages are Linux's.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_room_is_not_built_again() {
        let error = std::io::Error::from_raw_os_error;
        let said = [
            "error while loading shared libraries: libtorch.so: cannot open shared object file: Error 24",
            "error while loading shared libraries: libc10.so: failed to map segment from shared object",
            "libtorch_cpu.so: cannot allocate memory in static TLS block",
        ];
        let said = said.map(str::to_owned);
        // EAGAIN, ENOMEM, EMFILE.
        for why in [11, 12, 24]
            .map(|code| error(code).to_string())
            .iter()
            .chain(&said)
        {
            assert!(hint(why).contains("ulimit"), "{why}");
        }
        for why in [
            error(2).to_string(),
            error(8).to_string(),
            "libtorch.so: cannot open shared object file: No such file or directory".to_owned(),
        ] {
            assert_eq!(hint(&why), BUILD, "{why}");
        }
    }
}
