//! The sources of text: files, folders, pipes, or the bundled corpus.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::TextError;
use super::folder::{files, stem};
use super::reading::{
    CHUNK_BYTES, Chunk, Format, HEAD, Note, Notes, Opened, explained, read_corpus, spooled,
};
use crate::config::{Documents, TextConfig};

/// The name of the bundled corpus.
pub const BUNDLED_NAME: &str = "fairy-tales.txt";
const BUNDLED: &[u8] = include_bytes!("../../corpora/fairy-tales.txt");
/// The prefix of a bundled corpus's recorded name, so that no file is mistaken for it.
const BUNDLED_PREFIX: &str = "bundled:";
/// The folder that is searched for a corpus if its path does not exist.
pub const CORPORA: &str = "corpora";

/// The prefix of a pipe's recorded name: what came through it is gone.
const PIPE_PREFIX: &str = "pipe:";
const STDIN: &str = "standard input";

/// One source of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, by the path given.
    File(PathBuf),
    /// Standard input, a named pipe or a process substitution.
    Pipe(Pipe),
    /// The bundled corpus.
    Bundled,
}

/// A source that can be read only once, unless it is kept.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// `None` is standard input.
    path: Option<PathBuf>,
    state: Arc<Mutex<State>>,
}

/// What became of a pipe.
#[derive(Debug)]
enum State {
    Unread,
    Read,
    /// All that came through it, in a temporary file.
    Kept(File),
}

impl PartialEq for Pipe {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Pipe {}

impl Pipe {
    fn new(path: Option<PathBuf>) -> Self {
        let state = Arc::new(Mutex::new(State::Unread));
        Self { path, state }
    }

    fn name(&self) -> String {
        let path = self.path.as_ref().map(|path| path.display().to_string());
        path.unwrap_or_else(|| STDIN.to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts reading the pipe itself, which is possible once.
    fn start(&self, state: &mut State) -> Result<Box<dyn Read>, TextError> {
        let name = self.name();
        if !matches!(state, State::Unread) {
            return Err(TextError::ReadTwice { name });
        }
        *state = State::Read;
        Ok(match &self.path {
            None => Box::new(io::stdin().lock()),
            Some(path) => Box::new(File::open(path).map_err(TextError::io(name))?),
        })
    }

    fn open(&self) -> Result<Opened<'static>, TextError> {
        let mut state = self.state();
        if let State::Kept(file) = &*state {
            // The copies share one offset, but only one of them is read at a time.
            let rewound = file
                .try_clone()
                .and_then(|mut file| file.rewind().map(|()| file));
            return rewound
                .map(Opened::File)
                .map_err(TextError::io(self.name()));
        }
        self.start(&mut state).map(Opened::Stream)
    }

    fn keep(&self) -> Result<(), TextError> {
        let mut state = self.state();
        if !matches!(*state, State::Kept(_)) {
            let stream = self.start(&mut state)?;
            *state = State::Kept(spooled(&self.name(), stream)?);
        }
        Ok(())
    }
}

impl Source {
    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Pipe(pipe) => pipe.name(),
            Self::Bundled => BUNDLED_NAME.to_owned(),
        }
    }

    /// Whether it can be opened again.
    pub(super) fn is_rereadable(&self) -> bool {
        match self {
            Self::File(_) | Self::Bundled => true,
            Self::Pipe(pipe) => matches!(*pipe.state(), State::Kept(_)),
        }
    }

    pub(super) fn open(&self) -> Result<Opened<'_>, TextError> {
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(TextError::io(self.name()))?;
                Ok(Opened::File(file))
            }
            Self::Pipe(pipe) => pipe.open(),
            Self::Bundled => Ok(Opened::Stream(Box::new(BUNDLED))),
        }
    }

    fn stem(&self) -> String {
        let of_path = |path: &Path| stem(&lossy(path.file_name().unwrap_or_default())).to_owned();
        match self {
            Self::Pipe(Pipe { path: None, .. }) => "stdin".to_owned(),
            // The name of a process substitution is the number of a file descriptor.
            Self::Pipe(Pipe {
                path: Some(path), ..
            }) if is_descriptor(path) => "pipe".to_owned(),
            Self::File(path)
            | Self::Pipe(Pipe {
                path: Some(path), ..
            }) => of_path(path),
            Self::Bundled => of_path(Path::new(BUNDLED_NAME)),
        }
    }
}

/// A text in one or more sources, read one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// A short name for runs: the file's stem, the folder's name; `first+2` for three arguments.
    pub name: String,
    /// The sources, in order.
    pub sources: Vec<Source>,
    /// What there is to say about them.
    pub notes: Notes,
}

impl Corpus {
    /// The corpus that a command's arguments name. Each is an existing path, else one under
    /// `corpora/`, else a bundled corpus; `-` is standard input; a folder is every text below
    /// it, sorted by path. No argument at all is the bundled corpus.
    pub fn resolve(args: &[String]) -> Result<Self, TextError> {
        let notes = Notes::default();
        let found = args.iter().map(|arg| resolve_one(arg, &notes));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let more = found.len().saturating_sub(1);
        let (names, sources): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let sources: Vec<Source> = sources.into_iter().flatten().collect();
        for source in &sources {
            if let Source::File(path) = source
                && path.to_str().is_none()
            {
                let path = path.display().to_string();
                return Err(TextError::PathNotUtf8 { path });
            }
        }
        let is_stdin = |source: &&Source| matches!(source, Source::Pipe(Pipe { path: None, .. }));
        if sources.iter().filter(is_stdin).count() > 1 {
            return Err(TextError::Stdin);
        }
        let name = match (names.into_iter().next(), more) {
            (None, _) => return Ok(Self::bundled()),
            (Some(name), 0) => name,
            (Some(name), more) => format!("{name}+{more}"),
        };
        Ok(Self {
            name,
            sources,
            notes,
        })
    }

    /// The corpus of these sources.
    pub fn new(name: impl Into<String>, sources: Vec<Source>) -> Self {
        Self {
            name: name.into(),
            sources,
            notes: Notes::default(),
        }
    }

    /// The corpus inside the program.
    pub fn bundled() -> Self {
        Self::new(Source::Bundled.stem(), vec![Source::Bundled])
    }

    /// Names that [`Corpus::resolve`] turns back into these sources from any working folder: absolute paths,
    /// `bundled:NAME`. Those of pipes are only errors that say so.
    pub fn paths(&self) -> Vec<String> {
        let path = |source: &Source| match source {
            Source::Pipe(pipe) => format!("{PIPE_PREFIX}{}", pipe.name()),
            Source::Bundled => format!("{BUNDLED_PREFIX}{BUNDLED_NAME}"),
            Source::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        };
        self.sources.iter().map(path).collect()
    }

    /// Makes it possible to read the corpus more than once: what comes through pipes is read to its end and kept
    /// in temporary files.
    pub fn rereadable(self) -> Result<Self, TextError> {
        for source in &self.sources {
            if let Source::Pipe(pipe) = source {
                pipe.keep()?;
            }
        }
        Ok(self)
    }

    /// The name in messages: that of the only source as it was given, else the short one.
    pub fn shown(&self) -> String {
        match &self.sources[..] {
            [source] => source.name(),
            _ => self.name.clone(),
        }
    }

    /// The number of bytes to read, if known in advance.
    pub fn size_bytes(&self) -> Option<u64> {
        let size = |source: &Source| match source {
            Source::Pipe(_) => None,
            Source::Bundled => Some(BUNDLED.len() as u64),
            Source::File(path) if is_packed(path) => None,
            Source::File(path) => path.metadata().ok().map(|meta| meta.len()),
        };
        self.sources.iter().map(size).sum()
    }

    /// `sha256:…` over the text before it is normalised, as UTF-8: whatever the files, the containers and the
    /// encoding that it comes in.
    pub fn digest(&self, config: &TextConfig) -> Result<String, TextError> {
        let mut hasher = Sha256::new();
        let mut add = |chunk: Chunk| {
            hasher.update(&chunk.bytes);
            true
        };
        // The same text, whatever its documents are.
        let config = &TextConfig {
            documents: Documents::None,
            ..config.clone()
        };
        read_corpus(self, config, CHUNK_BYTES, &mut add).map_err(|error| explained(self, error))?;
        Ok(hex(hasher))
    }

    /// `sha256:…` over the bytes of the sources. Older versions recorded it, and it is another one than
    /// [`Corpus::digest`] if a file has a byte order mark, another encoding or no final line feed.
    pub fn digest_of_bytes(&self) -> Result<String, TextError> {
        let mut hasher = Sha256::new();
        let mut block = vec![0; CHUNK_BYTES];
        for source in &self.sources {
            let name = source.name();
            let mut reader: Box<dyn Read + '_> = match source.open()? {
                Opened::File(file) => Box::new(file),
                Opened::Stream(stream) => stream,
            };
            loop {
                match reader.read(&mut block) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(&block[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(TextError::io(name)(error)),
                }
            }
        }
        Ok(hex(hasher))
    }
}

fn hex(hasher: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in hasher.finalize() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether a file is compressed, so that its size says little.
fn is_packed(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).map(|file| file.take(HEAD as u64).read_to_end(&mut head));
    read.is_ok() && Format::of(&head) != Format::Plain
}

/// Whether a file that says so is empty. One that cannot be read is said to be something else.
fn has_nothing(path: &Path) -> bool {
    let read = File::open(path).and_then(|mut file| file.read(&mut [0]));
    matches!(read, Ok(0))
}

/// Whether the path is that of a file descriptor of this process, which means another file tomorrow.
fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc")
}

fn resolve_one(arg: &str, notes: &Notes) -> Result<(String, Vec<Source>), TextError> {
    let one = |source: Source| Ok((source.stem(), vec![source]));
    if arg == "-" || arg == "/dev/stdin" {
        return one(Source::Pipe(Pipe::new(None)));
    }
    if let Some(name) = arg.strip_prefix(PIPE_PREFIX) {
        let name = name.to_owned();
        return Err(TextError::PipeGone { name });
    }
    let bundled = |name: &str| name == BUNDLED_NAME || name == Source::Bundled.stem();
    if arg.strip_prefix(BUNDLED_PREFIX).is_some_and(bundled) {
        return one(Source::Bundled);
    }
    // An absolute path is the same in both places, and an empty name is in none.
    let places = match Path::new(arg) {
        _ if arg.is_empty() => Vec::new(),
        path if path.is_absolute() => vec![path.to_owned()],
        path => vec![path.to_owned(), Path::new(CORPORA).join(path)],
    };
    for path in &places {
        match path.metadata() {
            Ok(meta) if meta.is_dir() => return folder(path, notes),
            Ok(meta) if meta.is_file() && meta.len() == 0 && has_nothing(path) => {
                return Err(TextError::Empty {
                    name: path.display().to_string(),
                });
            }
            // What states no length and has one, as in /proc, is read like a pipe.
            Ok(meta) if meta.is_file() && meta.len() > 0 && !is_descriptor(path) => {
                return one(Source::File(path.clone()));
            }
            Ok(_) => return one(Source::Pipe(Pipe::new(Some(path.clone())))),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(TextError::io(path.display().to_string())(e)),
        }
    }
    if bundled(arg) {
        return one(Source::Bundled);
    }
    Err(TextError::Missing {
        name: arg.to_owned(),
        tried: places
            .iter()
            .map(|path| path.display().to_string())
            .chain((!places.is_empty()).then(|| "the bundled corpora".to_owned()))
            .collect(),
        bundled: vec![BUNDLED_NAME.to_owned()],
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn folder(path: &Path, notes: &Notes) -> Result<(String, Vec<Source>), TextError> {
    let shown = path.display().to_string();
    let (files, skipped) = files(path)?;
    if files.is_empty() {
        return Err(TextError::no_text(shown, &skipped));
    }
    notes.add(Note::Files {
        name: shown,
        read: files.len(),
        skipped,
    });
    // `.` and `a/..` have no name of their own.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().map_or_else(|| "corpus".to_owned(), lossy);
    Ok((name, files.into_iter().map(Source::File).collect()))
}

fn lossy(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&Path]) -> Vec<String> {
        args.iter().map(|p| p.display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_its_text_files_sorted_and_named_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tales");
        std::fs::create_dir_all(root.join("b")).unwrap();
        std::fs::create_dir_all(root.join(".ipynb_checkpoints")).unwrap();
        std::fs::create_dir_all(root.join("runs/one")).unwrap();
        let read = ["b/a.TXT", "note.md", "y.jsonl.gz", "z.txt"];
        let skipped = [
            "._z.txt",
            ".ipynb_checkpoints/z.txt",
            "picture.png",
            "runs/one/config.toml",
            "runs/one/corpus.safetensors",
            "runs/one/samples.txt",
        ];
        for name in read.iter().chain(&skipped) {
            std::fs::write(root.join(name), "x").unwrap();
        }
        std::fs::write(root.join("empty.txt"), "").unwrap();
        let corpus = Corpus::resolve(&strings(&[&root])).unwrap();
        assert_eq!(corpus.name, "tales");
        assert_eq!(
            corpus.sources,
            read.map(|name| Source::File(root.join(name)))
        );
        let notes = corpus.notes.take();
        assert_eq!(
            notes[0].to_string(),
            format!(
                "{}: 4 files read, 5 skipped: 1 empty, 2 hidden, 1 of other kinds (.png), 1 run folder",
                root.display()
            )
        );
        assert_eq!(corpus.notes.take(), []);
        assert_eq!(
            Corpus::resolve(&corpus.paths()).unwrap().sources,
            corpus.sources
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "x").unwrap();
        for name in ["b.txt", "c.txt"] {
            let link = dir.path().join(name);
            std::os::unix::fs::symlink("c.txt", link).unwrap();
        }
        let corpus = Corpus::resolve(&strings(&[dir.path()])).unwrap();
        assert_eq!(corpus.sources.len(), 1);
        let note = corpus.notes.take()[0].to_string();
        assert!(note.ends_with("2 skipped: 2 linked to nothing"), "{note}");
    }

    #[test]
    fn a_folder_without_text_and_an_empty_file_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let error = Corpus::resolve(&strings(&[dir.path()])).unwrap_err();
        assert!(matches!(error, TextError::NoText { .. }), "{error}");
        let empty = dir.path().join("empty.txt");
        std::fs::write(&empty, "").unwrap();
        let error = Corpus::resolve(&strings(&[&empty])).unwrap_err();
        assert!(matches!(error, TextError::Empty { .. }), "{error}");
    }

    #[test]
    fn a_missing_corpus_says_what_was_tried_and_what_there_is() {
        let error = Corpus::resolve(&["no-such-thing.txt".to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("corpora/no-such-thing.txt"), "{text}");
        assert!(matches!(error, TextError::Missing { bundled, .. } if bundled == [BUNDLED_NAME]));
    }

    #[test]
    fn an_absolute_path_is_tried_once_and_an_empty_name_nowhere() {
        let missing = |name: &str| Corpus::resolve(&[name.to_owned()]).unwrap_err().to_string();
        let tried = "/no/such.txt: no such corpus; tried /no/such.txt, the bundled corpora";
        assert_eq!(missing("/no/such.txt"), tried);
        assert_eq!(missing(""), "\"\": no such corpus");
    }

    #[test]
    fn several_arguments_are_named_after_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.txt", "b.txt", "c.txt"].map(|n| dir.path().join(n));
        for path in &paths {
            std::fs::write(path, "x").unwrap();
        }
        let args: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        assert_eq!(Corpus::resolve(&strings(&args)).unwrap().name, "a+2");
    }

    #[test]
    fn the_recorded_name_of_the_bundled_corpus_gives_it_back() {
        let corpus = Corpus::bundled();
        assert_eq!(Corpus::resolve(&corpus.paths()).unwrap(), corpus);
        assert!(
            corpus
                .digest(&TextConfig::default())
                .unwrap()
                .starts_with("sha256:")
        );
    }

    #[test]
    fn files_are_joined_by_a_line_feed_if_they_lack_one() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.txt", "b.txt", "c.txt", "d.txt"].map(|n| dir.path().join(n));
        for (path, text) in paths
            .iter()
            .zip(["One two.", "Three.\n", "\u{FEFF}", "Four."])
        {
            std::fs::write(path, text).unwrap();
        }
        let args: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let corpus = Corpus::resolve(&strings(&args)).unwrap();
        let config = TextConfig::default();
        let text = crate::text::whole(&corpus, &config, |_| ()).unwrap();
        assert_eq!(text, "One two.\nThree.\nFour.");
        let all = dir.path().join("all.txt");
        std::fs::write(&all, &text).unwrap();
        let one = Corpus::resolve(&strings(&[&all])).unwrap();
        assert_eq!(
            one.digest(&config).unwrap(),
            corpus.digest(&config).unwrap()
        );
    }

    #[test]
    fn the_digest_is_that_of_the_text_and_those_of_old_runs_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.txt", "b.txt"].map(|n| dir.path().join(n));
        std::fs::write(&paths[0], "abc").unwrap();
        std::fs::write(&paths[1], "\u{FEFF}abc").unwrap();
        let [plain, marked] = paths.map(|path| Corpus::resolve(&strings(&[&path])).unwrap());
        let config = TextConfig::default();
        // printf abc | sha256sum
        let of_text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(plain.digest(&config).unwrap(), of_text);
        assert_eq!(marked.digest(&config).unwrap(), of_text);
        // printf '\xEF\xBB\xBFabc' | sha256sum
        let of_bytes = "sha256:1c28dc3f1f804a1ad9c9b4b4cf5e2658d16ad4ed08e3020d04a8d2865018947c";
        assert_eq!(plain.digest_of_bytes().unwrap(), of_text);
        assert_eq!(marked.digest_of_bytes().unwrap(), of_bytes);
    }
}
