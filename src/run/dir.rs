//! One run: the files in its folder, and the lock for writing them.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::{
    CorpusData, Metrics, ModelFile, ModelHeader, RunError, Runs, State, atomic, disk, model_format,
};
use crate::config::{NetworkConfig, Settings, TrainConfig};
use crate::models::weights::{Weights, add_z, grow};
use crate::text::Vocabulary;

pub(super) const CONFIG: &str = "config.toml";
pub(super) const CORPUS: &str = "corpus.safetensors";
pub(super) const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";
const RECENT: &str = "recent.safetensors";
const LOCK: &str = "lock";
/// Why the last training ended, if it failed.
const FAILURE: &str = "failed.txt";
/// The file of the trained model that training starts from.
pub(super) const START: &str = "start.safetensors";
/// The suffixes of a no-latent baseline's name: now, and in older versions.
pub(super) const BASELINE: [&str; 2] = ["-no-latent", "-twin"];
/// The text between the name of a sweep over rates and the rate.
pub(super) const RATE: &str = "-rate-";

/// A run in its folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    name: String,
}

/// A trained model that training starts from.
pub struct Start {
    /// The model's header, with the tokens of the new corpus.
    pub header: ModelHeader,
    /// The weights, with a row for each of these tokens.
    pub weights: Weights<'static>,
}

impl Start {
    /// `model` with the tokens of a new corpus, and with a z if `config` has one and the model has none.
    pub fn new(
        model: &ModelFile,
        config: &TrainConfig,
        vocabulary: &Vocabulary,
    ) -> Result<Self, RunError> {
        let old = &model.header;
        let network = config.network(
            vocabulary.len(),
            vocabulary.outputs(),
            vocabulary.document_end(),
        );
        let grown = NetworkConfig {
            inputs: network.inputs,
            outputs: network.outputs,
            ..old.network.clone()
        };
        let origins = vocabulary.places_in(&old.vocabulary);
        let mut weights = grow(&model.weights()?, &old.network, &grown, &origins);
        if network.latent() > old.network.latent() {
            weights = add_z(&weights, &network, config.seed);
        }
        let header = ModelHeader {
            format: model_format(&network),
            network,
            vocabulary: vocabulary.clone(),
            ..old.clone()
        };
        Ok(Self { header, weights })
    }
}

/// The summary of a run that `textgen runs` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// The name that commands accept.
    pub name: String,
    /// The kind, as `--model` names it.
    pub model: String,
    /// The corpus' short name.
    pub corpus: String,
    /// Optimizer steps done so far.
    pub step: u64,
    /// `new`, `training`, `stopped`, `failed` or `finished`.
    pub status: &'static str,
    /// Why the training failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The best validation loss, by which models are chosen.
    pub best_loss: Option<f64>,
    /// The unit of `best_loss`.
    pub unit: &'static str,
    /// Seconds since the run was last written.
    pub age_seconds: u64,
    /// The run that it is the no-latent baseline of, or the runs of a sweep, as `NAME-rate-*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_of: Option<String>,
}

/// The folder itself, or `.` for an empty path.
pub(super) fn or_here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_owned()
    }
}

pub(super) fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
}

/// Writes all settings to `config.toml`.
pub(super) fn write_config(path: &Path, config: &TrainConfig) -> Result<(), RunError> {
    let text = config.to_settings().to_toml();
    let text = text.map_err(|error| RunError::damaged(path, error))?;
    atomic::write(path, &[text.as_bytes()])
}

fn read_state(path: &Path) -> Result<Option<State>, RunError> {
    path.is_file().then(|| State::read(path)).transpose()
}

impl RunDir {
    /// The run in the folder `path`.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        // `.` and `..` have no name of their own.
        let path = match path.file_name() {
            Some(_) => path.to_owned(),
            None => path.canonicalize().map_err(RunError::io(path))?,
        };
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let run = Self { path, name };
        let config = run.config_path();
        match std::fs::metadata(&config) {
            Ok(found) if found.is_file() => Ok(run),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(RunError::io(&config)(error))
            }
            _ => Err(run.incomplete(CONFIG)),
        }
    }

    /// The run in the folder `path`, if it is one or cannot be looked into, which its use will say.
    pub(super) fn listed(path: PathBuf) -> Option<Self> {
        match Self::open(&path) {
            Ok(run) => Some(run),
            Err(RunError::Io { .. }) => {
                let name = path.file_name()?.to_string_lossy().into_owned();
                Some(Self { path, name })
            }
            Err(_) => None,
        }
    }

    pub(super) fn incomplete(&self, missing: &'static str) -> RunError {
        RunError::Incomplete {
            name: self.name.clone(),
            missing,
            dir: self.runs().dir().to_owned(),
        }
    }

    /// The folder that this run is in.
    pub fn runs(&self) -> Runs {
        Runs::new(or_here(self.path.parent().unwrap_or(&self.path)))
    }

    /// Like [`Runs::command`], with the run's name as the last argument.
    pub fn command(&self, arguments: &[&str]) -> String {
        self.runs().command(&[arguments, &[&self.name]].concat())
    }

    /// The folder's name, by which commands know the run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The possible names of its no-latent baseline, in order of preference: its own, then that of the
    /// sweep over rates that it is part of.
    pub fn baseline_names(&self) -> Vec<String> {
        let is_rate = |rate: &&str| rate.parse::<f64>().is_ok();
        let sweep = self.name.rsplit_once(RATE);
        let sweep = sweep.filter(|(_, rate)| is_rate(rate));
        let names = [Some(&self.name[..]), sweep.map(|(sweep, _)| sweep)];
        let names = names.into_iter().flatten();
        names
            .flat_map(|name| BASELINE.map(|end| format!("{name}{end}")))
            .collect()
    }

    /// The run that this is the no-latent baseline of, judged by the names: another run in the same
    /// folder, or the runs `NAME-rate-*` of a sweep.
    pub fn baseline_of(&self) -> Option<String> {
        let mut ends = BASELINE.iter();
        let of = ends.find_map(|end| self.name.strip_suffix(end))?;
        if self.path.with_file_name(of).is_dir() {
            return Some(of.to_owned());
        }
        let rates = format!("{of}{RATE}");
        let beside = std::fs::read_dir(self.path.parent()?).ok()?;
        let is_rate = |name: &str| {
            let rate = name.strip_prefix(&rates);
            rate.is_some_and(|rate| rate.parse::<f64>().is_ok())
        };
        let mut names = beside.flatten().map(|entry| entry.file_name());
        let found = names.any(|name| name.to_str().is_some_and(is_rate));
        found.then(|| format!("{rates}*"))
    }

    /// The folder, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`: the settings.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `model.safetensors`: the best model so far.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// `state.safetensors`: the training state at the last evaluation or stop.
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// `recent.safetensors`: a later state, saved in case the program does not live to the next evaluation. Training
    /// that returns to an earlier state does not return to this one, whose step is the clock's.
    pub fn recent_path(&self) -> PathBuf {
        self.path.join(RECENT)
    }

    /// `metrics.jsonl`: one line per evaluation.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `samples.txt`: samples of the model during training.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join("samples.txt")
    }

    /// The settings, resolved and checked.
    pub fn config(&self) -> Result<TrainConfig, RunError> {
        Ok(TrainConfig::resolve(&Settings::read(&self.config_path())?)?)
    }

    /// Replaces the settings, for example to extend a budget.
    pub fn set_config(&self, config: &TrainConfig) -> Result<(), RunError> {
        write_config(&self.config_path(), config)
    }

    /// Opens a file that every complete run has.
    fn needed(&self, file: &'static str) -> Result<PathBuf, RunError> {
        let path = self.path.join(file);
        let found = path.is_file().then_some(path);
        found.ok_or_else(|| self.incomplete(file))
    }

    /// The corpus as tokens.
    pub fn corpus(&self) -> Result<CorpusData, RunError> {
        CorpusData::read(&self.needed(CORPUS)?)
    }

    /// The best model so far.
    pub fn model(&self) -> Result<ModelFile, RunError> {
        ModelFile::open(&self.needed(MODEL)?)
    }

    /// The model that training starts from; `None` if it starts from random weights.
    pub fn start(&self) -> Result<Option<ModelFile>, RunError> {
        let path = self.path.join(START);
        path.is_file().then(|| ModelFile::open(&path)).transpose()
    }

    /// The newest training state; `None` if training has not begun.
    pub fn state(&self) -> Result<Option<State>, RunError> {
        let saved = self.steady_state()?;
        let recent = read_state(&self.recent_path())?;
        let step = |state: &Option<State>| state.as_ref().map(|state| state.progress.step);
        Ok(if step(&recent) > step(&saved) {
            recent
        } else {
            saved
        })
    }

    /// The state of `state.safetensors`.
    pub fn steady_state(&self) -> Result<Option<State>, RunError> {
        read_state(&self.state_path())
    }

    /// Whether the training has used up its budget, or its patience. A budget that was raised but not used, because the disk
    /// was full for example, is not used up.
    pub fn has_finished(&self) -> Result<bool, RunError> {
        let finished = self.state()?.and_then(|state| state.progress.finished);
        Ok(finished == Some(self.config()?.budget.to_string()))
    }

    /// Removes a run that was never trained. Leaves one with a model, a state or metrics.
    pub fn discard_unstarted(&self) {
        let trained = [self.model_path(), self.state_path(), self.metrics_path()];
        if trained.iter().any(|path| path.exists()) {
            return;
        }
        let own = [CONFIG, CORPUS, START, FAILURE, LOCK];
        let is_own = |name: std::ffi::OsString| own.iter().any(|&own| name == *own);
        let files = std::fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten();
        if files.map(|file| file.file_name()).all(is_own) {
            // A run is there as a whole or not at all.
            atomic::remove_folder(&self.path);
        }
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// Holds on to the run's folder, whatever its name becomes.
    pub fn hold(&self) -> Result<Held, RunError> {
        // Elsewhere than on Unix a folder cannot be opened like a file.
        let folder = if cfg!(unix) {
            let folder = File::open(&self.path).map_err(RunError::io(&self.path))?;
            Some(Arc::new(folder))
        } else {
            None
        };
        let run = self.clone();
        Ok(Held { run, folder })
    }

    /// Locks the run for writing until the lock is dropped or the process ends: its folder, and the file `lock` in it,
    /// which names the process. Who removes that file does not remove the lock.
    pub fn lock(&self) -> Result<Lock, RunError> {
        let held = self.hold()?;
        let path = self.lock_path();
        let mut file = disk::File::open_or_create(&path).map_err(RunError::write(&path))?;
        let folder = held.folder.as_deref();
        let is_free = match (lock_soon(file.as_file()), folder.map(lock_soon)) {
            (Err(TryLockError::Error(error)), _) => return Err(RunError::write(&path)(error)),
            // Some network file systems lock files only.
            (Ok(()), None | Some(Ok(()) | Err(TryLockError::Error(_)))) => true,
            _ => false,
        };
        if !is_free {
            let mut process = String::new();
            let _ = file.as_file().read_to_string(&mut process);
            return Err(RunError::Locked {
                name: self.name.clone(),
                process: process.trim().parse().ok(),
            });
        }
        atomic::sweep(&self.path);
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(RunError::write(&path))?;
        Ok(Lock { held, file })
    }

    /// Records why its training failed, for people and `textgen runs`. A record that cannot be written is left out.
    pub fn record_failure(&self, why: &str) {
        // The disk may have reported an error of a last save that arrived.
        if self.has_finished().unwrap_or(false) {
            return;
        }
        let _ = atomic::write(&self.path.join(FAILURE), &[why.as_bytes(), b"\n"]);
    }

    /// Removes the record of a failure.
    pub fn forget_failure(&self) -> Result<(), RunError> {
        let path = self.path.join(FAILURE);
        match disk::remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RunError::write(&path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Why its training failed, if it did.
    pub fn failure(&self) -> Option<String> {
        let why = std::fs::read_to_string(self.path.join(FAILURE)).ok()?;
        Some(why.trim_end().to_owned())
    }

    /// Whether another program is writing the run.
    pub fn is_locked(&self) -> bool {
        let is_locked =
            |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        [self.path.clone(), self.lock_path()]
            .into_iter()
            .any(|path| File::open(path).is_ok_and(is_locked))
    }

    /// The time of the last write to the run.
    pub(super) fn written(&self) -> Option<SystemTime> {
        let written = [self.state_path(), self.recent_path(), self.model_path()];
        written
            .iter()
            .chain([&self.config_path()])
            .filter_map(|path| modified(path))
            .max()
    }

    /// The summary for `textgen runs`.
    pub fn summary(&self) -> Result<RunSummary, RunError> {
        let config = self.config()?;
        let metrics = Metrics::read(&self.metrics_path())?;
        let kept = Metrics::kept(&metrics, &config);
        let finished = metrics.last().is_some_and(|line| line.finished);
        let failure = self.failure().filter(|_| !self.is_locked());
        Ok(RunSummary {
            name: self.name.clone(),
            model: config.kind().to_string(),
            corpus: config.corpus_name.clone(),
            step: match metrics.last() {
                Some(line) => line.step,
                // It was stopped before its first evaluation.
                None => self.model().map_or(0, |model| model.header.step),
            },
            status: match (self.is_locked(), finished, self.state_path().exists()) {
                (true, ..) => "training",
                _ if failure.is_some() => "failed",
                (_, true, _) => "finished",
                (.., true) => "stopped",
                _ => "new",
            },
            failure,
            best_loss: kept.map(|valid| valid.figure()),
            unit: match config.kind() {
                crate::config::ModelKind::CharRnn => "nats/char",
                crate::config::ModelKind::WordVae => "nats/word",
            },
            age_seconds: self
                .written()
                .and_then(|time| SystemTime::now().duration_since(time).ok())
                .map_or(0, |age| age.as_secs()),
            baseline_of: self.baseline_of().filter(|_| config.is_without_z()),
        })
    }
}

/// Locks a file, with some patience: `textgen runs` holds the lock for a moment to see whether the run is being trained.
fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let mut locked = file.try_lock();
    for _ in 0..5 {
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            locked = file.try_lock();
        }
    }
    locked
}

/// A run's folder that somebody holds on to. Its name may be given to another folder meanwhile.
#[derive(Clone, Debug)]
pub struct Held {
    run: RunDir,
    /// The open folder, which no other one is while it is open; `None` if the system opens no folders.
    folder: Option<Arc<File>>,
}

impl Held {
    /// Writes to the run, unless it was moved. Files are renamed into their place from a draft beside it, so one that is
    /// moved in that moment lacks the draft.
    pub fn write<T>(&self, write: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
        self.check()?;
        write().or_else(|error| {
            self.check()?;
            Err(error)
        })
    }

    /// Refuses to go on if the run's path no longer leads to this folder: it was moved, removed or replaced.
    pub fn check(&self) -> Result<(), RunError> {
        #[cfg(unix)]
        if let Some(folder) = &self.folder {
            use std::os::unix::fs::MetadataExt as _;
            let place = |data: std::fs::Metadata| (data.dev(), data.ino());
            let ours = folder.metadata().map(place);
            let named = std::fs::metadata(&self.run.path).map(place);
            if !matches!((ours, named), (Ok(ours), Ok(named)) if ours == named) {
                return Err(RunError::Moved {
                    name: self.run.name.clone(),
                    path: self.run.path.clone(),
                });
            }
        }
        Ok(())
    }
}

/// The lock of a run for writing.
pub struct Lock {
    held: Held,
    file: disk::File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that another thread is just starting holds copies of the files, which closing alone would leave
        // locked until that process runs its own program.
        let _ = self.file.as_file().unlock();
        if let Some(folder) = &self.held.folder {
            let _ = folder.unlock();
        }
    }
}

impl Lock {
    /// The locked folder.
    pub const fn held(&self) -> &Held {
        &self.held
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A run that has settings, and nothing else.
    fn run(folder: &Path, name: &str) -> RunDir {
        let path = folder.join(name);
        std::fs::create_dir(&path).expect("made");
        std::fs::write(path.join(CONFIG), "").expect("written");
        RunDir::open(&path).expect("a run")
    }

    #[test]
    fn who_removes_the_lock_file_does_not_remove_the_lock() {
        let folder = tempfile::tempdir().expect("folder");
        let run = run(folder.path(), "a");
        let lock = run.lock().expect("free");
        for _ in 0..2 {
            assert!(run.is_locked());
            assert!(matches!(run.lock(), Err(RunError::Locked { .. })));
            std::fs::remove_file(run.lock_path()).expect("removed");
        }
        drop(lock);
        assert!(!run.is_locked());
        run.lock().expect("free again");
    }

    #[test]
    fn a_folder_is_held_and_not_its_name() {
        let folder = tempfile::tempdir().expect("folder");
        let old = run(folder.path(), "a");
        let held = old.hold().expect("opened");
        held.check().expect("in its place");
        std::fs::rename(old.path(), folder.path().join("b")).expect("moved");
        let message = held.check().expect_err("moved").to_string();
        assert!(message.contains("run a was moved"), "{message}");
        let new = run(folder.path(), "a");
        held.check().expect_err("replaced");
        new.hold().and_then(|held| held.check()).expect("another");
        std::fs::remove_dir_all(new.path()).expect("removed");
        std::fs::rename(folder.path().join("b"), old.path()).expect("moved back");
        held.check().expect("in its place again");
    }
}
