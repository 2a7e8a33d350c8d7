//! The folder of all runs, and one run in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::{CorpusData, Metrics, ModelFile, ModelHeader, RunError, State, atomic};
use crate::config::{Settings, TrainConfig};
use crate::models::weights::Weights;

const CONFIG: &str = "config.toml";
const CORPUS: &str = "corpus.safetensors";
const MODEL: &str = "model.safetensors";
const STATE: &str = "state.safetensors";
/// What the training begins with, where that is a trained model.
const START: &str = "start.safetensors";
/// What the name of a run's no-latent baseline ends with: now, and in older versions.
const BASELINE: [&str; 2] = ["-no-latent", "-twin"];
/// What stands between the name of a sweep over rates and the rate.
const RATE: &str = "-rate-";

/// The folder that holds the runs.
#[derive(Clone, Debug)]
pub struct Runs {
    dir: PathBuf,
}

/// One run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    name: String,
}

/// What the user names as a model: see [`Runs::resolve`].
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A run, whose model it is.
    Run(RunDir),
    /// A model file that belongs to no run.
    File(PathBuf),
}

impl Resolved {
    /// Opens the model; the run comes along if it is one's.
    pub fn open(self) -> Result<(ModelFile, Option<RunDir>), RunError> {
        Ok(match self {
            Self::Run(run) => (run.model()?, Some(run)),
            Self::File(path) => (ModelFile::open(&path)?, None),
        })
    }
}

/// A trained model for a training to begin with.
pub struct Start {
    /// What it says of itself, with the tokens of the new corpus.
    pub header: ModelHeader,
    /// Its weights, with a place for each of these tokens.
    pub weights: Weights<'static>,
}

/// What `textgen runs` shows of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its name.
    pub name: String,
    /// char-lstm or word-vae.
    pub model: String,
    /// The corpus' short name.
    pub corpus: String,
    /// Optimizer steps done.
    pub step: u64,
    /// `new`, `training`, `stopped` or `finished`.
    pub status: &'static str,
    /// The best validation loss, as models are chosen by it.
    pub best_loss: Option<f64>,
    /// The unit of `best_loss`.
    pub unit: &'static str,
    /// Seconds since the run was last written.
    pub age_seconds: u64,
    /// The run that it is the no-latent baseline of, or the runs of a sweep, as `NAME-rate-*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_of: Option<String>,
}

impl Runs {
    /// Where the runs are if nothing else is said.
    pub const DEFAULT_DIR: &str = "runs";
    /// The environment variable that says otherwise.
    pub const DIR_VARIABLE: &str = "TEXTGEN_RUNS";

    /// The runs in `dir`, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the runs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `textgen` with these arguments on these runs, as a line to paste into a shell.
    pub fn command(&self, arguments: &[&str]) -> String {
        let is_default = self.dir == Path::new(Self::DEFAULT_DIR)
            && std::env::var_os(Self::DIR_VARIABLE).is_none();
        let dir = self.dir.display().to_string();
        let named = ["--runs-dir", &dir];
        let named = if is_default { &[][..] } else { &named };
        let words = ["textgen"].iter().chain(arguments).chain(named);
        words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// Refuses names that are no plain folder names.
    pub fn check_name(name: &str) -> Result<(), RunError> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(plain)
        {
            return Err(RunError::BadName {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// A name of which there is no run yet, nor any NAME-…: MODEL-CORPUS-NUMBER.
    pub fn fresh_name(&self, config: &TrainConfig) -> String {
        let corpus: String = config
            .corpus_name
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || c == '-' || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect();
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let taken: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let mut number = 1;
        loop {
            let name = format!("{}-{corpus}-{number}", config.model_name());
            let is_it = |rest: &str| rest.is_empty() || rest.starts_with('-');
            if !taken
                .iter()
                .any(|run| run.strip_prefix(&name).is_some_and(is_it))
            {
                return name;
            }
            number += 1;
        }
    }

    /// Creates a run under a name that no other has.
    pub fn create_fresh(
        &self,
        config: &TrainConfig,
        corpus: &CorpusData,
        start: Option<&Start>,
    ) -> Result<RunDir, RunError> {
        loop {
            match self.create(&self.fresh_name(config), config, corpus, start) {
                Err(RunError::Exists { .. }) => {}
                outcome => return outcome,
            }
        }
    }

    /// Removes drafts of runs that were never completed, once they are an hour old.
    fn sweep_drafts(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            let draft = entry
                .file_name()
                .to_string_lossy()
                .starts_with(atomic::TEMPORARY_PREFIX);
            let age = modified(&entry.path()).and_then(|time| time.elapsed().ok());
            if draft && age.is_some_and(|age| age.as_secs() > 3600) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Refuses a name that is none, or that a run has.
    pub fn check_new(&self, name: &str) -> Result<(), RunError> {
        Self::check_name(name)?;
        if self.dir.join(name).exists() {
            return Err(self.exists(name));
        }
        Ok(())
    }

    fn exists(&self, name: &str) -> RunError {
        RunError::Exists {
            name: name.to_owned(),
            dir: self.dir.clone(),
        }
    }

    /// Creates a run: its settings, its corpus, and the model that it begins with, if any. It appears under its name only when complete.
    pub fn create(
        &self,
        name: &str,
        config: &TrainConfig,
        corpus: &CorpusData,
        start: Option<&Start>,
    ) -> Result<RunDir, RunError> {
        self.check_new(name)?;
        let path = self.dir.join(name);
        std::fs::create_dir_all(&self.dir).map_err(RunError::write(&self.dir))?;
        self.sweep_drafts();
        let draft = tempfile::Builder::new()
            .prefix(atomic::TEMPORARY_PREFIX)
            .tempdir_in(&self.dir)
            .map_err(RunError::write(&self.dir))?;
        let text = config
            .to_settings()
            .to_toml()
            .map_err(|error| RunError::damaged(&path, error))?;
        atomic::write(&draft.path().join(CONFIG), &[text.as_bytes()])?;
        corpus.write(&draft.path().join(CORPUS))?;
        if let Some(start) = start {
            let path = draft.path().join(START);
            ModelFile::write(&path, &start.header, &start.weights, None)?;
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(draft.path(), std::fs::Permissions::from_mode(0o755))
                .map_err(RunError::write(&path))?;
        }
        let draft = draft.keep();
        if let Err(error) = std::fs::rename(&draft, &path) {
            let _ = std::fs::remove_dir_all(&draft);
            return Err(if path.exists() {
                self.exists(name)
            } else {
                RunError::write(&path)(error)
            });
        }
        Ok(RunDir {
            path,
            name: name.to_owned(),
        })
    }

    /// The run of this name or in this folder, or the model file at this path. A run's own model file
    /// stands for the run.
    pub fn resolve(&self, named: &str) -> Result<Resolved, RunError> {
        let by_name = self.open(named);
        let path = Path::new(named);
        let missing = match by_name {
            Ok(run) => return Ok(Resolved::Run(run)),
            Err(error @ RunError::NoSuchRun { .. }) => error,
            Err(error) => return Err(error),
        };
        let is_path = Self::check_name(named).is_err() || named.ends_with(".safetensors");
        if path.is_dir() {
            return match RunDir::open(path) {
                Err(_) if !is_path => Err(missing),
                opened => opened.map(Resolved::Run),
            };
        }
        if !path.exists() && !is_path {
            return Err(missing);
        }
        let folder = path.parent().filter(|_| path.ends_with(MODEL));
        let run = folder.and_then(|folder| RunDir::open(&or_here(folder)).ok());
        Ok(run.map_or_else(|| Resolved::File(path.to_owned()), Resolved::Run))
    }

    /// As [`Runs::resolve`], for what needs more of a run than its model.
    pub fn resolve_run(&self, named: &str) -> Result<RunDir, RunError> {
        match self.resolve(named)? {
            Resolved::Run(run) => Ok(run),
            Resolved::File(path) => Err(RunError::NotARun { path }),
        }
    }

    /// The run of that name.
    pub fn open(&self, name: &str) -> Result<RunDir, RunError> {
        let path = self.dir.join(name);
        if Self::check_name(name).is_err() || !path.is_dir() {
            return Err(RunError::NoSuchRun {
                name: name.to_owned(),
                dir: self.dir.clone(),
            });
        }
        RunDir::open(&path)
    }

    /// Every run, the one written last first. Folders that are no runs are passed over.
    pub fn list(&self) -> Result<Vec<RunDir>, RunError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunError::io(&self.dir)(error)),
        };
        let mut runs: Vec<RunDir> = entries
            .flatten()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter_map(|entry| RunDir::open(&entry.path()).ok())
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.written()));
        Ok(runs)
    }

    /// The name of the no-latent baseline of a run, or of the runs of a sweep: the one that it has, if
    /// there is one.
    pub fn baseline_name(&self, of: &str) -> String {
        let [new, old] = BASELINE.map(|end| format!("{of}{end}"));
        let has = |name: &str| self.dir.join(name).is_dir();
        if has(&old) && !has(&new) { old } else { new }
    }

    /// The name of the run of a sweep that holds this rate, in nats a word.
    pub fn rate_name(sweep: &str, rate: f64) -> String {
        format!("{sweep}{RATE}{rate}")
    }

    /// The run, of those wanted, whose model was written last; of all runs if none is wanted.
    /// Baselines are left out.
    pub fn newest_of(&self, wanted: impl Fn(&RunDir) -> bool) -> Result<RunDir, RunError> {
        let runs = self.list()?;
        let mut with_model: Vec<&RunDir> = runs
            .iter()
            .filter(|run| run.model_path().exists() && run.baseline_of().is_none())
            .collect();
        with_model.sort_by_key(|run| std::cmp::Reverse(modified(&run.model_path())));
        let found = with_model.iter().find(|run| wanted(run));
        let found = found.or(with_model.first());
        match (found, runs.first()) {
            (Some(&run), _) => Ok(run.clone()),
            (None, Some(run)) => Err(run.incomplete(MODEL)),
            (None, None) => Err(RunError::NoRuns {
                dir: self.dir.clone(),
            }),
        }
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A folder, whose path is empty if it is the current one.
fn or_here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_owned()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path)
        .and_then(|data| data.modified())
        .ok()
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
        if run.config_path().is_file() {
            Ok(run)
        } else {
            Err(run.incomplete(CONFIG))
        }
    }

    fn incomplete(&self, missing: &'static str) -> RunError {
        RunError::Incomplete {
            name: self.name.clone(),
            missing,
            dir: self.runs().dir,
        }
    }

    /// The folder that this run is in.
    pub fn runs(&self) -> Runs {
        Runs::new(or_here(self.path.parent().unwrap_or(&self.path)))
    }

    /// As [`Runs::command`], with the run's name as the last argument.
    pub fn command(&self, arguments: &[&str]) -> String {
        self.runs().command(&[arguments, &[&self.name]].concat())
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its no-latent baseline may have, of which the first run counts: its own, then that
    /// of the sweep over rates that it is part of.
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

    /// What it is the no-latent baseline of, going by names: another run beside it, which then stands
    /// for both, or the runs `NAME-rate-*` of a sweep.
    pub fn baseline_of(&self) -> Option<String> {
        let ends = BASELINE.iter();
        let of = ends.filter_map(|end| self.name.strip_suffix(end)).next()?;
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

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `model.safetensors`.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// `state.safetensors`.
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `samples.txt`.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join("samples.txt")
    }

    /// The settings.
    pub fn config(&self) -> Result<TrainConfig, RunError> {
        Ok(TrainConfig::resolve(&Settings::read(&self.config_path())?)?)
    }

    /// Replaces the settings, as extending a budget does.
    pub fn set_config(&self, config: &TrainConfig) -> Result<(), RunError> {
        let path = self.config_path();
        let text = config
            .to_settings()
            .to_toml()
            .map_err(|error| RunError::damaged(&path, error))?;
        atomic::write(&path, &[text.as_bytes()])
    }

    /// The corpus.
    pub fn corpus(&self) -> Result<CorpusData, RunError> {
        let path = self.path.join(CORPUS);
        if path.is_file() {
            CorpusData::read(&path)
        } else {
            Err(self.incomplete(CORPUS))
        }
    }

    /// The best model so far.
    pub fn model(&self) -> Result<ModelFile, RunError> {
        let path = self.model_path();
        if path.is_file() {
            ModelFile::open(&path)
        } else {
            Err(self.incomplete(MODEL))
        }
    }

    /// The model that the training begins with; none where its weights are random.
    pub fn start(&self) -> Result<Option<ModelFile>, RunError> {
        let path = self.path.join(START);
        path.is_file().then(|| ModelFile::open(&path)).transpose()
    }

    /// The newest training state; none where training has not begun.
    pub fn state(&self) -> Result<Option<State>, RunError> {
        let path = self.state_path();
        if path.is_file() {
            State::read(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Removes a run of which nothing was trained. Leaves one that holds a model, a state or metrics.
    pub fn discard_unstarted(&self) {
        let trained = [self.model_path(), self.state_path(), self.metrics_path()];
        if trained.iter().any(|path| path.exists()) {
            return;
        }
        let own = [CONFIG, CORPUS, START].map(|file| self.path.join(file));
        for file in own.iter().chain(&[self.lock_path()]) {
            let _ = std::fs::remove_file(file);
        }
        // Fails, as it should, where something else is in the folder.
        let _ = std::fs::remove_dir(&self.path);
    }

    fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Takes the run for writing, until the returned lock is dropped or the process ends.
    pub fn lock(&self) -> Result<Lock, RunError> {
        let path = self.lock_path();
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(RunError::write(&path))?;
        // `textgen runs` holds it for a moment to see whether somebody trains.
        let mut locked = file.try_lock();
        for _ in 0..5 {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let _ = file.read_to_string(&mut process);
                return Err(RunError::Locked {
                    name: self.name.clone(),
                    process: process.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(RunError::write(&path)(error)),
        }
        atomic::sweep(&self.path);
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(RunError::write(&path))?;
        Ok(Lock { _file: file })
    }

    fn is_locked(&self) -> bool {
        File::open(self.lock_path())
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    fn written(&self) -> Option<SystemTime> {
        [self.state_path(), self.model_path(), self.config_path()]
            .iter()
            .filter_map(|path| modified(path))
            .max()
    }

    /// What `textgen runs` shows.
    pub fn summary(&self) -> Result<RunSummary, RunError> {
        let config = self.config()?;
        let metrics = Metrics::read(&self.metrics_path())?;
        let kept = Metrics::kept(&metrics, &config);
        let finished = metrics.last().is_some_and(|line| line.finished);
        Ok(RunSummary {
            name: self.name.clone(),
            model: config.kind().to_string(),
            corpus: config.corpus_name.clone(),
            step: metrics.last().map_or(0, |line| line.step),
            status: match (self.is_locked(), finished, self.state_path().exists()) {
                (true, ..) => "training",
                (_, true, _) => "finished",
                (.., true) => "stopped",
                _ => "new",
            },
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

/// A run taken for writing.
pub struct Lock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of runs with one run, `tales`, which has settings and an empty model.
    fn runs() -> (tempfile::TempDir, Runs) {
        let folder = tempfile::tempdir().expect("folder");
        let run = folder.path().join("tales");
        std::fs::create_dir(&run).expect("made");
        for file in [CONFIG, MODEL] {
            std::fs::write(run.join(file), "").expect("written");
        }
        let runs = Runs::new(folder.path());
        (folder, runs)
    }

    #[test]
    fn a_run_is_named_by_its_name_its_folder_or_its_model_file() {
        let (folder, runs) = runs();
        let run = folder.path().join("tales");
        let paths = [run.clone(), run.join(MODEL)];
        let paths = paths.iter().map(|path| path.to_str().expect("UTF-8"));
        for named in paths.chain(["tales"]) {
            assert_eq!(runs.resolve_run(named).expect("a run").name(), "tales");
        }
    }

    #[test]
    fn a_model_file_without_its_run_is_no_run() {
        let (folder, runs) = runs();
        let file = folder.path().join("other.safetensors");
        std::fs::write(&file, "").expect("written");
        let named = file.to_str().expect("UTF-8");
        assert!(matches!(runs.resolve(named), Ok(Resolved::File(path)) if path == file));
        let refused = runs.resolve_run(named);
        assert!(matches!(refused, Err(RunError::NotARun { .. })));
        let missing = runs.resolve("tale");
        assert!(matches!(missing, Err(RunError::NoSuchRun { .. })));
    }

    #[test]
    fn a_command_names_the_folder_of_the_runs_and_can_be_pasted() {
        let runs = Runs::new("my runs");
        let command = runs.command(&["train", "--resume", "names"]);
        assert_eq!(command, "textgen train --resume names --runs-dir 'my runs'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        let run = RunDir {
            path: "a/b".into(),
            name: "b".to_owned(),
        };
        assert_eq!(run.command(&["eval"]), "textgen eval b --runs-dir a");
    }
}
