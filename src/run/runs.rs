//! The folder of all runs: finding, listing and creating them.

use std::path::{Path, PathBuf};

use super::dir::{
    BASELINE, CONFIG, CORPUS, MODEL, RATE, RunDir, START, Start, modified, or_here, write_config,
};
use super::{Bundled, CorpusData, LastVocab, ModelFile, RunError, atomic, disk};
use crate::config::TrainConfig;

/// The folder that holds the runs.
#[derive(Clone, Debug)]
pub struct Runs {
    dir: PathBuf,
}

/// A model as the user names it; see [`Runs::resolve`].
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A run, which stands for its model.
    Run(RunDir),
    /// A model file that belongs to no run.
    File(PathBuf),
    /// A model that comes with the program.
    Bundled(&'static Bundled),
}

impl Resolved {
    /// Opens the model, and returns its run if it has one.
    pub fn open(self) -> Result<(ModelFile, Option<RunDir>), RunError> {
        Ok(match self {
            Self::Run(run) => (run.model()?, Some(run)),
            Self::File(path) => (ModelFile::open(&path)?, None),
            Self::Bundled(model) => (model.open()?, None),
        })
    }
}

impl Runs {
    /// The default folder of the runs.
    pub const DEFAULT_DIR: &str = "runs";
    /// The environment variable that overrides it.
    pub const DIR_VARIABLE: &str = "TEXTGEN_RUNS";

    /// The runs in `dir`, which need not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder that holds the runs.
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

    /// Refuses names that are not plain folder names.
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

    /// A new name, MODEL-CORPUS-NUMBER, such that there is no run of that name or starting with NAME-.
    pub fn fresh_name(&self, config: &TrainConfig) -> String {
        let plain = |c: char| c.is_alphanumeric() || c == '_';
        let corpus = config.corpus_name.chars().take(60);
        let corpus: String = corpus.map(|c| if plain(c) { c } else { '-' }).collect();
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let taken: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let is_free = |name: &String| {
            let is_it = |rest: &str| rest.is_empty() || rest.starts_with('-');
            let mut taken = taken.iter().filter_map(|run| run.strip_prefix(name));
            !taken.any(is_it)
        };
        let mut names = (1u32..).map(|number| format!("{}-{corpus}-{number}", config.model_name()));
        names.find(is_free).unwrap_or_default()
    }

    /// Creates a run under a new name.
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

    /// Refuses a name that is not plain, or that a command line would take for a flag.
    pub fn check_new_name(name: &str) -> Result<(), RunError> {
        Self::check_name(name)?;
        if name.starts_with('-') {
            return Err(RunError::BadName {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses a name that is not plain, that a command line would take for a flag, or that is taken.
    pub fn check_new(&self, name: &str) -> Result<(), RunError> {
        Self::check_new_name(name)?;
        if LastVocab::path(&self.dir) == self.dir.join(name) {
            return Err(RunError::Reserved {
                name: name.to_owned(),
            });
        }
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

    /// Creates a run: its settings, its corpus, and the model that its training starts from, if any. It
    /// appears under its name only when it is complete.
    pub fn create(
        &self,
        name: &str,
        config: &TrainConfig,
        corpus: &CorpusData,
        start: Option<&Start>,
    ) -> Result<RunDir, RunError> {
        self.check_new(name)?;
        let path = self.dir.join(name);
        disk::create_folders(&self.dir).map_err(RunError::write(&self.dir))?;
        atomic::sweep_old(&self.dir);
        let draft = atomic::temporary(&self.dir, disk::create_folder);
        let ((), draft) = draft.map_err(RunError::write(&self.dir))?;
        let fill = || {
            let draft = draft.path();
            write_config(&draft.join(CONFIG), config)?;
            corpus.write(&draft.join(CORPUS))?;
            if let Some(start) = start {
                let path = draft.join(START);
                ModelFile::write(&path, &start.header, &start.weights, None)?;
            }
            disk::sync_folder(draft).map_err(RunError::write(draft))
        };
        // Nobody knows the draft by its name.
        fill().map_err(|error: RunError| error.moved(draft.path(), &path))?;
        if let Err(error) = draft.rename(&path) {
            return Err(if path.exists() {
                self.exists(name)
            } else {
                RunError::write(&path)(error)
            });
        }
        disk::sync_folder(&self.dir).map_err(RunError::write(&path))?;
        RunDir::open(&path)
    }

    /// The run of this name or in this folder, the model file at this path, or else the bundled model of
    /// this name. A run's own model file names the run.
    pub fn resolve(&self, named: &str) -> Result<Resolved, RunError> {
        if named.trim().is_empty() {
            return Err(RunError::NoSuchRun {
                name: "\"\"".to_owned(),
                dir: self.dir.clone(),
            });
        }
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
                Err(_) if !path.join(MODEL).exists() => Err(RunError::NotARun {
                    path: path.to_owned(),
                }),
                opened => opened.map(Resolved::Run),
            };
        }
        if !path.exists() && !is_path {
            return Bundled::named(named).map(Resolved::Bundled).ok_or(missing);
        }
        let folder = path.parent().filter(|_| path.ends_with(MODEL));
        let run = folder.and_then(|folder| RunDir::open(&or_here(folder)).ok());
        Ok(run.map_or_else(|| Resolved::File(path.to_owned()), Resolved::Run))
    }

    /// Like [`Runs::resolve`], for commands that need more of a run than its model.
    pub fn resolve_run(&self, named: &str) -> Result<RunDir, RunError> {
        match self.resolve(named)? {
            Resolved::Run(run) => Ok(run),
            Resolved::File(path) => Err(RunError::NotARun { path }),
            Resolved::Bundled(model) => Err(RunError::NotARun {
                path: model.name.into(),
            }),
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

    /// Every run, the newest first. Other folders are skipped.
    pub fn list(&self) -> Result<Vec<RunDir>, RunError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunError::io(&self.dir)(error)),
        };
        let mut runs: Vec<RunDir> = entries
            .flatten()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_file()))
            .filter_map(|entry| RunDir::listed(entry.path()))
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.written()));
        Ok(runs)
    }

    /// The name of the no-latent baseline of a run, or of the runs of a sweep: that of the existing one, or
    /// else a new one.
    pub fn baseline_name(&self, of: &str) -> String {
        let [new, old] = BASELINE.map(|end| format!("{of}{end}"));
        let has = |name: &str| self.dir.join(name).is_dir();
        if has(&old) && !has(&new) { old } else { new }
    }

    /// The name of the run of a sweep with this target rate, in nats per word.
    pub fn rate_name(sweep: &str, rate: f64) -> String {
        format!("{sweep}{RATE}{rate}")
    }

    /// The run whose model was written last among those wanted, or among all if none is wanted.
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
        if let Some(&run) = found {
            return Ok(run.clone());
        }
        let opened = runs.iter().map(|run| RunDir::open(run.path()));
        match opened.reduce(Result::or) {
            Some(Ok(run)) => Err(run.incomplete(MODEL)),
            Some(Err(error)) => Err(error),
            None => Err(RunError::NoRuns {
                dir: self.dir.clone(),
            }),
        }
    }
}

/// Quotes a word for the shell if needed.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
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
        let (folder, runs) = self::runs();
        let run = runs.open("tales").expect("a run");
        let dir = folder.path().display();
        let command = run.command(&["eval"]);
        assert_eq!(command, format!("textgen eval tales --runs-dir {dir}"));
    }
}
