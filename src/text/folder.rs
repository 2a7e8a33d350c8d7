//! Which files of a folder or an archive are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::TextError;
use super::reading::{Records, archive_to_skip};

/// Endings of texts.
const TEXTS: [&str; 3] = ["txt", "text", "md"];
/// Endings of compressed files, which may follow another ending.
const PACKED: [&str; 5] = ["gz", "zst", "zstd", "bz2", "xz"];
/// The endings that a summary names.
const SHOWN: usize = 6;
const RUN_FOLDER: &str = "run folder";
/// Files that every run has.
const RUN: [&str; 2] = ["config.toml", "corpus.safetensors"];

/// Why a file or a folder is skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Its name starts with a dot, or it is what macOS adds to archives.
    Hidden,
    /// It is the folder of a run.
    Run,
    /// It has no bytes.
    Empty,
    /// A link to a folder, which may form a loop; in an archive, any link.
    Link,
    /// A link to nothing.
    Dangling,
    /// An archive in an archive, or one that holds nothing else.
    Archive,
    /// An archive without a file that is read.
    NoText,
    /// A pipe, a socket or a device.
    Special,
    /// Its name has this ending, which is none of a text.
    Kind(String),
}

/// What its name says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is read.
    Read,
    /// It is not.
    Skip(Skip),
    /// Its ending is none of a text.
    Other(String),
}

/// What the path of a file below a folder, or in an archive, says of it.
pub fn folder_rule(path: &str) -> Verdict {
    let mut parts = path.split('/');
    if parts.any(|part| part.starts_with('.') || part == "__MACOSX") {
        return Verdict::Skip(Skip::Hidden);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let (name, is_packed) = without_packing(name);
    let ending = Path::new(name)
        .extension()
        .map(|ending| ending.to_string_lossy());
    match ending {
        None if is_packed => Verdict::Read,
        None => Verdict::Other(String::new()),
        Some(ending) => {
            let is = |known: &&str| ending.eq_ignore_ascii_case(known);
            let is_text = TEXTS.iter().any(is) || is(&"zip");
            if is_text || Records::of_ending(&ending).is_some() {
                Verdict::Read
            } else {
                Verdict::Other(ending.to_ascii_lowercase())
            }
        }
    }
}

/// A file's name without the ending of a compressed file, and whether it had one.
fn without_packing(name: &str) -> (&str, bool) {
    match name.rsplit_once('.') {
        Some((stem, ending))
            if PACKED
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known)) =>
        {
            (stem, true)
        }
        _ => (name, false),
    }
}

/// The last ending of a name, but that of a compressed file.
pub fn ending(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    let (name, _) = without_packing(name);
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}

/// Whether the name is that of a plain text.
pub fn is_plain(name: &str) -> bool {
    TEXTS
        .iter()
        .any(|known| ending(name).eq_ignore_ascii_case(known))
}

/// A name without the endings that a corpus may have.
pub fn stem(name: &str) -> &str {
    let (name, _) = without_packing(name);
    name.rsplit_once('.')
        .map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem })
}

/// The files below a folder that are read, sorted by path, and why others are not.
pub fn files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<Skip>), TextError> {
    let (mut files, mut skipped) = (Vec::new(), Vec::new());
    collect(folder, &mut files, &mut skipped)?;
    files.sort();
    Ok((files, skipped))
}

fn collect(
    folder: &Path,
    files: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skip>,
) -> Result<(), TextError> {
    let name = || folder.display().to_string();
    if RUN.iter().all(|file| folder.join(file).is_file()) {
        skipped.push(Skip::Run);
        return Ok(());
    }
    for entry in folder.read_dir().map_err(TextError::io(name()))? {
        let entry = entry.map_err(TextError::io(name()))?;
        let path = entry.path();
        let rule = folder_rule(&entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(TextError::io(name()))?;
        match rule {
            Verdict::Skip(why) => skipped.push(why),
            _ if kind.is_dir() => collect(&path, files, skipped)?,
            _ if kind.is_symlink() && path.is_dir() => skipped.push(Skip::Link),
            Verdict::Other(ending) => skipped.push(Skip::Kind(ending)),
            Verdict::Read => match path.metadata() {
                Ok(meta) if !meta.is_file() => skipped.push(Skip::Special),
                Ok(meta) if meta.len() == 0 => skipped.push(Skip::Empty),
                Err(_) if kind.is_symlink() => skipped.push(Skip::Dangling),
                _ => match archive_to_skip(&path) {
                    Some(why) => skipped.push(why),
                    None => files.push(path),
                },
            },
        }
    }
    Ok(())
}

/// The reasons, each with its number: `2 hidden, 3 of other kinds (.png, .pdf)`.
pub fn summary(skipped: &[Skip]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kinds: Vec<String> = Vec::new();
    for skip in skipped {
        let why = match skip {
            Skip::Hidden => "hidden",
            Skip::Run => RUN_FOLDER,
            Skip::Empty => "empty",
            Skip::Link => "linked",
            Skip::Dangling => "linked to nothing",
            Skip::Archive => "archived once more",
            Skip::NoText => "archived without text",
            Skip::Special => "no regular file",
            Skip::Kind(ending) => {
                kinds.push(match &ending[..] {
                    "" => "no ending".to_owned(),
                    ending => format!(".{ending}"),
                });
                "of other kinds"
            }
        };
        *counts.entry(why).or_default() += 1;
    }
    kinds.sort();
    kinds.dedup();
    let more = if kinds.len() > SHOWN { ", …" } else { "" };
    kinds.truncate(SHOWN);
    let reasons = counts.into_iter().map(|(why, count)| match why {
        "of other kinds" => format!("{count} {why} ({}{more})", kinds.join(", ")),
        RUN_FOLDER if count > 1 => format!("{count} {why}s"),
        _ => format!("{count} {why}"),
    });
    reasons.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_what_is_read() {
        for name in [
            "a.txt",
            "A.TXT",
            "b/c.md",
            "x.text.gz",
            "y.jsonl.zst",
            "z.csv",
            "enwik8.xz",
            "t.zip",
        ] {
            assert_eq!(folder_rule(name), Verdict::Read, "{name}");
        }
        for name in [
            ".a.txt",
            "._a.txt",
            ".ipynb_checkpoints/a.txt",
            "__MACOSX/a.txt",
            "a/.git/x.md",
        ] {
            assert_eq!(folder_rule(name), Verdict::Skip(Skip::Hidden), "{name}");
        }
        for (name, ending) in [
            ("a.png", "png"),
            ("README", ""),
            ("a.tar.gz", "tar"),
            ("b.json", "json"),
        ] {
            assert_eq!(
                folder_rule(name),
                Verdict::Other(ending.to_owned()),
                "{name}"
            );
        }
        assert_eq!(
            (stem("x.jsonl.gz"), stem("enwik8"), stem(".txt")),
            ("x", "enwik8", ".txt")
        );
        assert!(is_plain("x/a.txt.gz") && !is_plain("a.jsonl"));
    }

    #[test]
    fn reasons_are_counted() {
        let kind = |ending: &str| Skip::Kind(ending.to_owned());
        assert_eq!(
            summary(&[
                Skip::Hidden,
                kind("png"),
                Skip::Run,
                kind(""),
                kind("png"),
                Skip::Hidden
            ]),
            "2 hidden, 3 of other kinds (.png, no ending), 1 run folder"
        );
    }
}
