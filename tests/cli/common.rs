//! A folder for each test, ways to run the programs, and runs shared by tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

/// Longer than any command of these tests takes, so that one that hangs fails.
const MOST: Duration = Duration::from_secs(120);
/// Variables of the developer's environment that would change what the programs do.
const VARIABLES: [&str; 4] = [
    "TEXTGEN_RUNS",
    "TEXTGEN_SIMD",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
];

/// `textgen`, as cargo has built it.
pub fn textgen() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("textgen")
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `generate` with the golden model.
#[track_caller]
pub fn generate(arguments: &[&str]) -> Ran {
    let home = Home::new();
    let mut command = home.command(textgen());
    command
        .arg("generate")
        .arg("--model-file")
        .arg(golden_model());
    Ran::of(command.args(arguments)).succeeded()
}

/// The model of `tests/golden-run`, a char-lstm.
pub fn golden_model() -> PathBuf {
    repository("tests/golden-run/model.safetensors")
}

/// A folder to run the programs in, deleted on drop.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// Creates an empty folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// Creates a folder with a copy of a run that the tests share.
    pub fn with_run(shared: &Path) -> Self {
        let home = Self::new();
        let name = shared.file_name().expect("a run's name");
        copy_folder(shared, &home.path("runs").join(name));
        home
    }

    /// The folder's path.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path below the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file, and creates its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(&path, content).expect("written");
        path
    }

    /// A command with this folder as its working folder.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).timeout(MOST);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    /// Like [`Home::command`], to run in the background with a readable stderr.
    pub fn background(&self, arguments: &str) -> std::process::Command {
        let mut command = std::process::Command::new(textgen());
        command.current_dir(self.folder()).args(words(arguments));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    /// Runs `textgen` with these arguments, which are separated by spaces.
    pub fn textgen(&self, arguments: &str) -> Ran {
        self.textgen_with(words(arguments))
    }

    /// Runs `textgen` with these arguments, which may contain spaces.
    pub fn textgen_with<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Ran {
        Ran::of(self.command(textgen()).args(arguments))
    }

    /// Trains; fails the test if training fails.
    pub fn train(&self, arguments: &str) -> Ran {
        self.textgen(&format!("train {arguments}")).succeeded()
    }

    /// Runs a shell script in which `textgen` is on PATH.
    #[cfg(unix)]
    pub fn shell(&self, script: &str) -> Ran {
        let folder = textgen().parent().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(all).expect("a PATH");
        Ran::of(
            self.command(Path::new("sh"))
                .args(["-c", script])
                .env("PATH", path),
        )
    }

    /// Writes a program. Another process writes the file itself: one that this process had open for writing
    /// could not be run while another test's new process has it open, too.
    #[cfg(unix)]
    pub fn program(&self, name: &str, script: &str, mode: &str) -> PathBuf {
        let source = self.write("program.sh", script);
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        let mut install = std::process::Command::new("install");
        let status = install.args(["-m", mode]).arg(&source).arg(&path).status();
        assert!(status.expect("install runs").success());
        fs::remove_file(source).expect("removed");
        path
    }

    /// Every file below the folder with its content, to check that none was lost or created.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files_below(self.folder())
    }
}

fn words(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split(' ').filter(|word| !word.is_empty())
}

/// Every file below a folder with its content, and every empty folder. The lock file that a trainer
/// leaves behind contains its process id, and is ignored.
pub fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
            files.insert(path, Vec::new());
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let content = fs::read(&path).expect("readable");
            files.insert(path, content);
        }
    }
    files
}

/// Copies a folder and the files in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(path, copy).expect("copied");
        }
    }
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its stdout, which is always UTF-8.
    pub stdout: String,
    /// Its stderr, lossily decoded.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the command runs");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// Asserts that the command succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Asserts that the command failed with this exit code and one line of error, which is returned
    /// with its hint, or with clap's message. Notices, such as the corpus chosen, may come before it,
    /// nothing after it.
    #[track_caller]
    pub fn refused(&self, code: i32) -> Refusal {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "an error is no data: {self:?}");
        let mut lines: Vec<&str> = self.stderr.lines().collect();
        let by_clap = lines.last() == Some(&"For more information, try '--help'.");
        let (error, hint) = if by_clap {
            // The error, which may list the values or flags it is about; then tips and the usage.
            let first = lines.iter().position(|line| line.starts_with("error: "));
            let rest = lines.drain(first.unwrap_or(0)..).map(str::trim);
            let all: Vec<&str> = rest.filter(|line| !line.is_empty()).collect();
            let is_tip = |line: &&str| line.starts_with("tip: ") || line.starts_with("Usage: ");
            let end = all.iter().position(is_tip).unwrap_or(all.len() - 1);
            (all[..end].join(" "), all[end..all.len() - 1].join(" "))
        } else {
            let last = lines.pop().unwrap_or_default();
            match last.strip_prefix("hint: ") {
                Some(hint) => (lines.pop().unwrap_or_default().into(), hint.into()),
                None => (last.into(), String::new()),
            }
        };
        let Some(error) = error.strip_prefix("error: ") else {
            panic!("the last lines must be `error: …` and perhaps `hint: …`: {self:?}");
        };
        let others = lines
            .iter()
            .filter(|line| line.starts_with("error") || line.starts_with("hint"));
        assert_eq!(others.count(), 0, "more than one error: {self:?}");
        assert!(!error.trim().is_empty(), "{self:?}");
        // The last is how temporary files are called, which are nobody's business.
        for noise in ["panicked", "RUST_BACKTRACE", "\u{1b}[", ".textgen-"] {
            assert!(!self.stderr.contains(noise), "{self:?}");
        }
        let mut causes: Vec<&str> = error.split(": ").collect();
        let all = causes.len();
        causes.dedup();
        assert_eq!(causes.len(), all, "the same cause twice: {error}");
        let error = error.to_owned();
        Refusal { error, hint }
    }
}

/// A command's error and hint.
#[derive(Debug)]
pub struct Refusal {
    /// The error's line, without `error: `.
    pub error: String,
    /// The hint, without `hint: `; empty if there is none.
    pub hint: String,
}

impl Refusal {
    /// Asserts that the error contains all of these.
    #[track_caller]
    pub fn names(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.error.contains(part),
                "`{part}` is not named in: {}",
                self.error
            );
        }
        self
    }

    /// Asserts that the hint contains this.
    #[track_caller]
    pub fn advises(self, part: &str) -> Self {
        assert!(
            self.hint.contains(part),
            "`{part}` is not advised in: {self:?}"
        );
        self
    }
}

/// The folder of the shared runs while the tests run.
struct Shared {
    _home: Home,
    run: PathBuf,
}

fn shared(cell: &'static OnceLock<Shared>, name: &str, arguments: &str) -> &'static Path {
    &cell
        .get_or_init(|| {
            let home = Home::new();
            home.train(&format!("{arguments} --seed 1 --threads 1 --name {name}"));
            let run = home.path("runs").join(name);
            Shared { _home: home, run }
        })
        .run
}

/// A finished run named `texts`: a char-lstm that was hardly trained. Copy it with
/// [`Home::with_run`] before changing it.
pub fn texts() -> &'static Path {
    static RUN: OnceLock<Shared> = OnceLock::new();
    shared(
        &RUN,
        "texts",
        "--model char-lstm --hidden 16 --steps 30 --device cpu",
    )
}

/// A finished run named `words`: a word-vae that was hardly trained.
pub fn vae_words() -> &'static Path {
    static RUN: OnceLock<Shared> = OnceLock::new();
    shared(
        &RUN,
        "words",
        "--model word-vae --hidden 16 --latent 4 --steps 30 --device cpu",
    )
}

/// The model file of a run.
pub fn model_of(run: &Path) -> PathBuf {
    run.join("model.safetensors")
}

/// Parses one JSON document.
#[track_caller]
pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
