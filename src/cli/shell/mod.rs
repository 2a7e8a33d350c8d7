//! What makes the program at home in a shell: the list of commands in its help, completion, and manual pages.

pub mod candidates;
pub mod completions;
pub mod groups;
pub mod man;

use clap::{Arg, ValueHint};

/// What the value of an argument names, so that a shell can list it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// A run, a model file, or a model that comes with the program.
    Model,
    Run,
    /// A file, a folder, a name under corpora/, or the bundled corpus.
    Corpus,
    File,
    Folder,
    /// One of a few words.
    Choices,
    /// A number, or a text of the user's own.
    Free,
}

impl Names {
    /// Judged by the name of the value, which the help shows, and by its type: paths are clap's `PathBuf`.
    fn of(arg: &Arg) -> Self {
        let name = arg.get_value_names().and_then(|names| names.first());
        let is_path = matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath
        );
        match name.map_or("", |name| name.as_str()) {
            "RUN|FILE" => Self::Model,
            "RUN" => Self::Run,
            "DIR" => Self::Folder,
            "CORPUS" => Self::Corpus,
            // A positional TEXT is read from a file, and so is that of --corpus; that of a flag such as --prompt is typed.
            "TEXT" if arg.is_positional() || arg.get_id() == "corpus" => Self::Corpus,
            "FILE" => Self::File,
            _ if is_path => Self::File,
            _ if !arg.get_possible_values().is_empty() => Self::Choices,
            _ => Self::Free,
        }
    }
}

/// The first sentence of a help text, on one line.
fn sentence(help: &str) -> String {
    let help = help.split(" [default").next().unwrap_or_default();
    let end = help.find(". ").unwrap_or(help.len());
    help[..end]
        .trim_end_matches('.')
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
