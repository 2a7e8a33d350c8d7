//! The sources of text: files, folders, standard input, or the bundled corpus.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::TextError;

/// The name of the bundled corpus.
pub const BUNDLED_NAME: &str = "fairy-tales.txt";
const BUNDLED: &[u8] = include_bytes!("../../corpora/fairy-tales.txt");
/// The prefix of a bundled corpus's recorded name, so that no file is mistaken for it.
const BUNDLED_PREFIX: &str = "bundled:";
/// The folder that is searched for a corpus if its path does not exist.
const CORPORA: &str = "corpora";

/// One source of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, by the path given.
    File(PathBuf),
    /// Standard input, which can be read only once.
    Stdin,
    /// The bundled corpus.
    Bundled,
}

impl Source {
    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
            Self::Bundled => BUNDLED_NAME.to_owned(),
        }
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Stdin => Box::new(io::stdin()),
            Self::Bundled => Box::new(BUNDLED),
        })
    }

    fn stem(&self) -> String {
        match self {
            Self::File(path) => lossy(path.file_stem().unwrap_or_default()),
            Self::Stdin => "stdin".to_owned(),
            Self::Bundled => lossy(Path::new(BUNDLED_NAME).file_stem().unwrap_or_default()),
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
}

impl Corpus {
    /// The corpus that a command's arguments name. Each is an existing path, else one under
    /// `corpora/`, else a bundled corpus; `-` is standard input; a folder is every `*.txt` below
    /// it, sorted by path. No argument at all is the bundled corpus.
    pub fn resolve(args: &[String]) -> Result<Self, TextError> {
        let found = args.iter().map(|arg| resolve_one(arg));
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
        if sources.iter().filter(|s| **s == Source::Stdin).count() > 1 {
            return Err(TextError::Stdin);
        }
        let name = match (names.into_iter().next(), more) {
            (None, _) => return Ok(Self::bundled()),
            (Some(name), 0) => name,
            (Some(name), more) => format!("{name}+{more}"),
        };
        Ok(Self { name, sources })
    }

    /// The corpus inside the program.
    pub fn bundled() -> Self {
        Self {
            name: Source::Bundled.stem(),
            sources: vec![Source::Bundled],
        }
    }

    /// Names that [`Corpus::resolve`] turns back into these sources from any working folder:
    /// absolute paths, `-` for standard input, `bundled:NAME`.
    pub fn paths(&self) -> Vec<String> {
        let path = |source: &Source| match source {
            Source::Stdin => "-".to_owned(),
            Source::Bundled => format!("{BUNDLED_PREFIX}{BUNDLED_NAME}"),
            Source::File(path) => std::path::absolute(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        };
        self.sources.iter().map(path).collect()
    }

    /// Whether standard input is among the sources, so that the corpus can be read only once.
    pub fn has_stdin(&self) -> bool {
        self.sources.contains(&Source::Stdin)
    }

    /// The number of bytes to read, if known in advance.
    pub fn size_bytes(&self) -> Option<u64> {
        let size = |source: &Source| match source {
            Source::Stdin => None,
            Source::Bundled => Some(BUNDLED.len() as u64),
            Source::File(path) => path
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|m| m.len()),
        };
        self.sources.iter().map(size).sum()
    }

    /// `sha256:…` over the raw bytes of the sources, one after the other.
    pub fn digest(&self) -> Result<String, TextError> {
        use std::fmt::Write as _;
        if self.has_stdin() {
            return Err(TextError::Stdin);
        }
        let mut hasher = Sha256::new();
        let mut block = vec![0; 1 << 16];
        for source in &self.sources {
            let mut reader = source.open().map_err(TextError::io(source.name()))?;
            loop {
                match reader.read(&mut block) {
                    Ok(0) => break,
                    Ok(n) => hasher.update(&block[..n]),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(TextError::io(source.name())(e)),
                }
            }
        }
        let mut text = "sha256:".to_owned();
        for byte in hasher.finalize() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }
}

fn resolve_one(arg: &str) -> Result<(String, Vec<Source>), TextError> {
    if arg == "-" {
        return Ok((Source::Stdin.stem(), vec![Source::Stdin]));
    }
    let bundled = |name: &str| name == BUNDLED_NAME || name == Source::Bundled.stem();
    let is_recorded = arg.strip_prefix(BUNDLED_PREFIX).is_some_and(bundled);
    let found_bundled = (Source::Bundled.stem(), vec![Source::Bundled]);
    if is_recorded {
        return Ok(found_bundled);
    }
    // An absolute path is the same in both places, and an empty name is in none.
    let places = match Path::new(arg) {
        _ if arg.is_empty() => Vec::new(),
        path if path.is_absolute() => vec![path.to_owned()],
        path => vec![path.to_owned(), Path::new(CORPORA).join(path)],
    };
    for path in &places {
        match path.metadata() {
            Ok(meta) if meta.is_dir() => return folder(path),
            Ok(meta) if meta.is_file() && meta.len() == 0 => {
                return Err(TextError::Empty {
                    name: path.display().to_string(),
                });
            }
            Ok(_) => {
                let source = Source::File(path.clone());
                return Ok((source.stem(), vec![source]));
            }
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(TextError::io(path.display().to_string())(e)),
        }
    }
    if bundled(arg) {
        return Ok(found_bundled);
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

fn folder(path: &Path) -> Result<(String, Vec<Source>), TextError> {
    let mut files = Vec::new();
    collect_text(path, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(TextError::NoText {
            folder: path.display().to_string(),
        });
    }
    // `.` and `a/..` have no name of their own.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = full.file_name().map_or_else(|| "corpus".to_owned(), lossy);
    Ok((name, files.into_iter().map(Source::File).collect()))
}

/// Every `*.txt` below `folder`. Links to folders are not followed, because they may form a loop.
fn collect_text(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), TextError> {
    let name = || folder.display().to_string();
    for entry in folder.read_dir().map_err(TextError::io(name()))? {
        let entry = entry.map_err(TextError::io(name()))?;
        let path = entry.path();
        if entry.file_type().map_err(TextError::io(name()))?.is_dir() {
            collect_text(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("txt"))
            && path.is_file()
        {
            files.push(path);
        }
    }
    Ok(())
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
        for name in ["z.txt", "b/a.TXT", "note.md"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let corpus = Corpus::resolve(&strings(&[&root])).unwrap();
        assert_eq!(corpus.name, "tales");
        assert_eq!(
            corpus.sources,
            [root.join("b/a.TXT"), root.join("z.txt")].map(Source::File)
        );
        assert_eq!(
            Corpus::resolve(&corpus.paths()).unwrap().sources,
            corpus.sources
        );
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
        assert!(corpus.digest().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn the_digest_is_over_the_raw_bytes_of_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a.txt", "b.txt"].map(|n| dir.path().join(n));
        std::fs::write(&paths[0], "a").unwrap();
        std::fs::write(&paths[1], "bc").unwrap();
        let corpus = Corpus::resolve(&strings(&[&paths[0], &paths[1]])).unwrap();
        // printf abc | sha256sum
        assert_eq!(
            corpus.digest().unwrap(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
