//! The output of a command: standard output, or a file, which must not replace an unrelated one.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::error::CliError;
use super::output::stdout;
use super::shell::man;
use super::{page, report, svg};
use crate::compress::MAGIC;
use crate::exchange::{onnx, torch};
use crate::run::atomic::{self, Draft};
use crate::run::{ModelFile, PromptState, RunError};

/// The path that means standard input or output.
pub const STREAM: &str = "-";

/// The `--force` flag of every command that writes a file.
#[derive(Args, Clone, Copy)]
pub struct Force {
    /// Replace a file of any kind
    #[arg(long)]
    pub force: bool,
}

/// The format that a command writes. A file whose content has the same format may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Model,
    PromptState,
    Compressed,
    Svg,
    Report,
    Page,
    Module,
    /// The types of a module.
    Types,
    /// A manual page.
    Manual,
    Onnx,
    /// A program in PyTorch.
    Script,
    /// The config.json of a folder for the Hub.
    HubConfig,
    /// The user's own bytes; no existing file is replaced.
    Unknown,
}

/// Endings that say what is in a file: one of another kind would be taken for what it is not.
const ENDINGS: [&str; 20] = [
    "csv",
    "gif",
    "htm",
    "html",
    "jpeg",
    "jpg",
    "js",
    "json",
    "md",
    "mjs",
    "onnx",
    "pdf",
    "png",
    "pt",
    "pth",
    "py",
    "safetensors",
    "svg",
    "ts",
    "txt",
];

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Model => "a model file",
            Self::PromptState => "a prompt state",
            Self::Compressed => "a compressed file",
            Self::Svg => "a picture that textgen drew",
            Self::Report => "a report by textgen",
            Self::Page => "a page that textgen wrote",
            Self::Module | Self::Types => "a module that textgen wrote",
            Self::Manual => "a manual page that textgen wrote",
            Self::Onnx => "an ONNX file that textgen wrote",
            Self::Script => "a program that textgen wrote",
            Self::HubConfig => "a config.json that textgen wrote",
            Self::Unknown => "a known file",
        }
    }

    /// What its files' names usually end in.
    const fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Model => &["safetensors"],
            Self::Svg => &["svg"],
            Self::Report | Self::Page => &["html", "htm"],
            Self::Module => &["js", "mjs"],
            Self::Types => &["ts"],
            Self::Onnx => &["onnx"],
            Self::Script => &["py"],
            Self::HubConfig => &["json"],
            Self::PromptState | Self::Compressed | Self::Manual | Self::Unknown => &[],
        }
    }

    /// Whether the file has this format.
    fn is_of(self, path: &Path) -> bool {
        let begins = |is: fn(&[u8]) -> bool| {
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| file.take(1024).read_to_end(&mut head));
            read.is_ok() && is(&head)
        };
        match self {
            Self::Model => ModelFile::open(path).is_ok(),
            Self::PromptState => PromptState::read(path).is_ok(),
            Self::Compressed => begins(|head| head.starts_with(&MAGIC)),
            Self::Svg => begins(svg::is_ours),
            Self::Report => begins(report::is_ours),
            Self::Page => begins(page::is_page),
            Self::Module | Self::Types => begins(page::is_module),
            Self::Manual => begins(man::is_ours),
            Self::Onnx => begins(onnx::is_ours),
            Self::Script => begins(torch::is_ours),
            Self::HubConfig => begins(super::export::is_hub_config),
            Self::Unknown => false,
        }
    }
}

/// A checked destination: a file or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    File(PathBuf),
    Stdout,
}

impl Target {
    /// Checks `path` with [`check_output`]; `-` is standard output.
    pub fn new(
        path: &Path,
        format: Format,
        force: Force,
        sources: &[(&Path, &str)],
    ) -> Result<Self> {
        if path.as_os_str() == STREAM {
            return Ok(Self::Stdout);
        }
        check_output(path, format, force, sources)?;
        Ok(Self::File(path.to_owned()))
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdout => "standard output".to_owned(),
        }
    }

    /// Writes `bytes`; a file is replaced atomically.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(path) => atomic::write(path, &[bytes])?,
            Self::Stdout => {
                let mut out = stdout();
                out.write_all(bytes)?;
                out.flush()?;
            }
        }
        Ok(())
    }

    /// Starts to write piece by piece what appears only when it is complete.
    pub fn pending(&self) -> Result<Pending<'_>> {
        match self {
            Self::File(path) if !atomic::is_stream(path) => Ok(Pending::Draft(Draft::of(path)?)),
            _ => {
                let spool = tempfile::tempfile().map_err(|error| spool_failed(&error))?;
                Ok(Pending::Spool(spool, self))
            }
        }
    }

    /// Whether the destination is a terminal.
    pub fn is_terminal(&self) -> bool {
        *self == Self::Stdout && std::io::stdout().is_terminal()
    }
}

fn spool_failed(error: &io::Error) -> anyhow::Error {
    let message = format!("a temporary file for the output: {error}");
    CliError::failed(
        message,
        "set TMPDIR to a folder with more space, or name a file with --output",
    )
    .into()
}

/// An output that is not complete yet. Given up, it leaves nothing.
pub enum Pending<'t> {
    /// A file that is to replace another.
    Draft(Draft),
    /// A temporary file, because what is written to a stream cannot be taken back.
    Spool(File, &'t Target),
}

impl Pending<'_> {
    /// Writes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Draft(draft) => draft.write_all(bytes),
            Self::Spool(file, _) => file.write_all(bytes),
        }
    }

    /// The error for a [`Pending::write`] that failed.
    pub fn failed(&self, error: io::Error) -> anyhow::Error {
        match self {
            Self::Draft(draft) => draft.failed(error).into(),
            Self::Spool(..) => spool_failed(&error),
        }
    }

    /// Puts it into its place.
    pub fn commit(self) -> Result<()> {
        let (mut spool, target) = match self {
            Self::Draft(draft) => return Ok(draft.commit()?),
            Self::Spool(spool, target) => (spool, target),
        };
        spool.rewind().map_err(|error| spool_failed(&error))?;
        match target {
            Target::File(path) => {
                let stream = File::options().write(true).open(path);
                let copied = stream.and_then(|mut stream| io::copy(&mut spool, &mut stream));
                copied.map_err(RunError::write(path))?;
            }
            Target::Stdout => {
                let mut out = stdout();
                io::copy(&mut spool, &mut out)?;
                out.flush()?;
            }
        }
        Ok(())
    }
}

/// Refuses a path whose name is that of another kind of file, and one whose file would be lost: one of another format, unless `--force` is given, and
/// always a folder or one of the `sources`, the files that the command reads, each with a phrase
/// for the message. Devices and pipes are accepted.
pub fn check_output(
    path: &Path,
    format: Format,
    force: Force,
    sources: &[(&Path, &str)],
) -> Result<()> {
    if path.as_os_str() == STREAM {
        let hint = "./- is a file of that name; --output /dev/stdout writes into a pipe";
        return Err(CliError::misuse("--output -: this needs the name of a file", hint).into());
    }
    let Ok(found) = std::fs::metadata(path) else {
        return if force.force {
            Ok(())
        } else {
            check_ending(path, format)
        };
    };
    let source = sources.iter().find(|(source, _)| same_file(path, source));
    let (what, hint) = if found.is_dir() {
        ("is a folder".to_owned(), "give the name of a file in it")
    } else if let Some((_, what)) = source {
        ((*what).to_owned(), "give another --output")
    } else if format == Format::Model && !force.force && is_of_a_run(path) {
        let what = "is the model of a run, which was trained".to_owned();
        (what, "give another --output; --force replaces it")
    } else if force.force || !found.is_file() || format.is_of(path) {
        return Ok(());
    } else if format == Format::Unknown {
        ("exists already".to_owned(), "--force replaces it")
    } else {
        let what = format!("exists already and is not {}", format.name());
        (what, "--force replaces it")
    };
    let message = format!("{}: {what}", path.display());
    Err(CliError::failed(message, hint).into())
}

/// Refuses a name that is of another kind of file than what is written.
fn check_ending(path: &Path, format: Format) -> Result<()> {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let ending = ending.to_ascii_lowercase();
    let own = format.endings();
    if format == Format::Unknown || !ENDINGS.contains(&&*ending) || own.contains(&&*ending) {
        return Ok(());
    }
    let message = format!("{}: this writes no .{ending} file", path.display());
    let hint = match own {
        [] => "give a name with another ending, or none".to_owned(),
        [ending, ..] => format!("give a name that ends in .{ending}"),
    };
    Err(CliError::misuse(message, format!("{hint}; --force takes it all the same")).into())
}

/// Whether a file is in the folder of a run.
fn is_of_a_run(path: &Path) -> bool {
    let files = ["config.toml", "corpus.safetensors"];
    path.is_file() && files.iter().all(|file| path.with_file_name(file).is_file())
}

/// Whether two paths lead to one file, by whatever links.
pub fn same_file(one: &Path, other: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(one), Ok(other)) = (one.metadata(), other.metadata()) {
        use std::os::unix::fs::MetadataExt as _;
        return (one.dev(), one.ino()) == (other.dev(), other.ino());
    }
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Force = Force { force: false };
    const YES: Force = Force { force: true };

    #[test]
    fn a_file_is_replaced_if_it_has_the_same_format_or_by_force() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        let formats = [
            Format::Model,
            Format::PromptState,
            Format::Compressed,
            Format::Svg,
            Format::Report,
            Format::Unknown,
        ];
        for format in formats {
            check_output(&path, format, NO, &[]).expect("there is none yet");
        }
        let compressed = [&MAGIC[..], b"rest"].concat();
        let picture = svg::opened([1.0, 1.0], 0.0, "title").into_bytes();
        let cases = [
            (compressed, Some(Format::Compressed)),
            (picture, Some(Format::Svg)),
            (b"<svg xmlns='mine'/>".to_vec(), None),
            (b"a novel".to_vec(), None),
            (Vec::new(), None),
        ];
        for (content, own) in cases {
            std::fs::write(&path, &content).expect("written");
            for format in formats {
                check_output(&path, format, YES, &[]).expect("by force");
                let may = check_output(&path, format, NO, &[]).is_ok();
                assert_eq!(may, own == Some(format), "{format:?} over {content:?}");
            }
        }
    }

    #[test]
    fn a_name_of_another_kind_of_file_is_refused_but_by_force() {
        let folder = tempfile::tempdir().expect("folder");
        let check = |format, name: &str, force| {
            check_output(&folder.path().join(name), format, force, &[]).is_ok()
        };
        let own = [
            (Format::Svg, "x.svg"),
            (Format::Page, "x.HTM"),
            (Format::Model, "x"),
            (Format::Model, "x.st"),
            (Format::PromptState, "x.state"),
            (Format::Compressed, "x.txt.textgen"),
            (Format::Types, "x.d.ts"),
            (Format::Unknown, "x.html"),
        ];
        for (format, name) in own {
            assert!(check(format, name, NO), "{name}");
        }
        let others = [
            (Format::Svg, "x.png"),
            (Format::Report, "x.pdf"),
            (Format::Page, "x.safetensors"),
            (Format::PromptState, "x.txt"),
            (Format::Module, "x.ts"),
        ];
        for (format, name) in others {
            assert!(
                !check(format, name, NO) && check(format, name, YES),
                "{name}"
            );
        }
    }

    #[test]
    fn a_source_or_a_folder_is_not_replaced_even_by_force() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        std::fs::write(&path, MAGIC).expect("written");
        let sources = [(&path as &Path, "is the file that is read")];
        let error = check_output(&path, Format::Compressed, YES, &sources).expect_err("a source");
        assert!(error.to_string().ends_with("is the file that is read"));
        check_output(folder.path(), Format::Model, YES, &[]).expect_err("a folder");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_stays_one() {
        use std::os::unix::fs::FileTypeExt as _;
        let device = Path::new("/dev/null");
        let target = Target::new(device, Format::Svg, NO, &[]).expect("a device");
        target.write(b"gone").expect("written");
        let kind = std::fs::metadata(device).expect("there").file_type();
        assert!(kind.is_char_device());
    }
}
