//! `textgen __complete`: what may come next on a command line, for the scripts of `textgen completions`.
//!
//! The first line of the answer says which paths may follow, which the shell completes by itself, with its own quoting. Each
//! other line is a value, and its help after a tab. No value has a character that ends a line or moves the cursor.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgAction, Args, Command};

use super::completions::Shell;
use super::{Names, sentence};
use crate::cli::output::stdout_as_is;
use crate::run::{Bundled, RunDir, Runs};
use crate::text::{BUNDLED_NAME, CORPORA, is_control};

#[derive(Args)]
pub struct CompleteArgs {
    shell: Shell,
    /// The words after the program's name, up to the one at the cursor, which may be empty
    #[arg(last = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Values of flags that are no fixed list: the words, and an example of each form with a number.
const EXAMPLES: [(&str, &[&str]); 6] = [
    ("decode", &["sample", "greedy", "beam:8"]),
    ("device", &["auto", "cpu", "cuda"]),
    (
        "documents",
        &["none", "file", "record", "line", "blank-line"],
    ),
    (
        "encoding",
        &["utf-8", "lossy", "latin-1", "windows-1252", "utf-16le"],
    ),
    ("field", &["text", "none"]),
    ("split", &["contiguous", "interleaved", "window:256"]),
];

/// Which paths may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paths {
    None,
    Files,
    Models,
    Folders,
}

/// What may come next.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    paths: Paths,
    /// Values with their help, which may be empty.
    values: Vec<(String, String)>,
}

/// A command line up to the cursor, as clap would read it.
struct Line<'c> {
    command: &'c Command,
    /// The flag whose value comes next.
    open: Option<&'c Arg>,
    /// The number of positional arguments so far.
    positional: usize,
    /// Whether `--` was given.
    is_escaped: bool,
    /// The flags given, by their ids.
    given: BTreeSet<String>,
    runs: PathBuf,
}

pub fn run(args: &CompleteArgs, mut command: Command, runs: &Runs) -> Result<()> {
    command.build();
    let words = args
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned());
    let (words, bare) = match args.shell {
        Shell::Bash => as_one(words),
        Shell::Zsh | Shell::Fish => (words.collect(), 0),
    };
    let Some((current, before)) = words.split_last() else {
        return Ok(());
    };
    let mut line = Line::new(&command, runs.dir());
    for word in before {
        line.read(word);
    }
    let (answer, glued) = line.answer(current);
    let mut out = BufWriter::new(stdout_as_is());
    let paths = match answer.paths {
        Paths::None => "none",
        Paths::Files => "files",
        Paths::Models => "models",
        Paths::Folders => "folders",
    };
    writeln!(out, "{paths}")?;
    for (value, help) in answer.values {
        if value.contains(is_control) {
            continue;
        }
        match args.shell {
            Shell::Bash => {
                let whole = format!("{glued}{value}");
                if let Some(rest) = whole.get(bare..).filter(|_| whole.starts_with(current)) {
                    writeln!(out, "{rest}")?;
                }
            }
            Shell::Zsh => writeln!(out, "{value}\t{help}")?,
            Shell::Fish => writeln!(out, "{glued}{value}\t{help}")?,
        }
    }
    Ok(out.flush()?)
}

/// Words as bash splits them, `--run = tales` for `--run=tales` and `cuda : 1` for `cuda:1`, each as one word without
/// its quotes; and the length of what precedes the last of bash's words in the last one.
fn as_one(words: impl Iterator<Item = String>) -> (Vec<String>, usize) {
    let mut all: Vec<String> = Vec::new();
    let (mut goes_on, mut bare) = (false, 0);
    for word in words {
        let is_break = !word.is_empty() && word.chars().all(|c| "=:".contains(c));
        let word = unquoted(&word);
        let last = all.last_mut();
        let last = last.filter(|last| goes_on || (is_break && !last.is_empty()));
        if let Some(last) = last {
            bare = last.len() + if is_break { word.len() } else { 0 };
            last.push_str(&word);
        } else {
            bare = 0;
            all.push(word);
        }
        goes_on = is_break;
    }
    (all, bare)
}

/// A word of a shell's command line without its quotes, of which the last may be open.
fn unquoted(word: &str) -> String {
    let (mut plain, mut quote) = (String::new(), None);
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', None) => plain.extend(rest.next()),
            ('\\', Some('"')) => match rest.next() {
                Some(c) if "\"\\$`".contains(c) => plain.push(c),
                other => {
                    plain.push('\\');
                    plain.extend(other);
                }
            },
            ('\'' | '"', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            _ => plain.push(c),
        }
    }
    plain
}

impl<'c> Line<'c> {
    fn new(command: &'c Command, runs: &Path) -> Self {
        Self {
            command,
            open: None,
            positional: 0,
            is_escaped: false,
            given: BTreeSet::new(),
            runs: runs.to_owned(),
        }
    }

    /// Reads a whole word.
    fn read(&mut self, word: &str) {
        if let Some(arg) = self.open.take()
            && !is_left_out(arg, word)
        {
            self.value(arg, word);
            return;
        }
        if self.is_escaped {
            self.positional += 1;
        } else if word == "--" {
            self.is_escaped = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let found = self.command.get_arguments().find(|arg| is_long(arg, name));
            if let Some(arg) = found {
                self.flag(arg, value);
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
            let is_short = |arg: &&Arg| arg.get_short() == short.chars().next();
            if let Some(arg) = self.command.get_arguments().find(is_short) {
                let value = &short[short.chars().next().map_or(0, char::len_utf8)..];
                self.flag(arg, Some(value).filter(|value| !value.is_empty()));
            }
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command;
            self.positional = 0;
        } else {
            self.positional += 1;
        }
    }

    /// Reads a flag, with the value that is joined to it if there is one.
    fn flag(&mut self, arg: &'c Arg, value: Option<&str>) {
        self.given.insert(arg.get_id().to_string());
        match value {
            Some(value) => self.value(arg, value),
            None => self.open = Some(arg).filter(|arg| takes_next(arg)),
        }
    }

    fn value(&mut self, arg: &Arg, value: &str) {
        if arg.get_id() == "runs_dir" {
            self.runs = match (value.strip_prefix("~/"), std::env::var_os("HOME")) {
                (Some(below), Some(home)) => Path::new(&home).join(below),
                _ => value.into(),
            };
        }
    }

    /// What the word at the cursor may become, and what of that word precedes each value.
    fn answer(&self, current: &str) -> (Answer, String) {
        let whole = |answer| (answer, String::new());
        if let Some(arg) = self.open
            && !is_left_out(arg, current)
        {
            return whole(self.values(arg, false));
        }
        if !self.is_escaped && current.starts_with('-') {
            let Some((flag, _)) = current.split_once('=') else {
                return whole(self.flags());
            };
            let name = flag.trim_start_matches('-');
            let arg = self.command.get_arguments().find(|arg| is_long(arg, name));
            let answer = arg.map_or(Answer::nothing(), |arg| self.values(arg, true));
            return (answer, format!("{flag}="));
        }
        if self.command.has_subcommands() {
            let shown = self
                .command
                .get_subcommands()
                .filter(|one| !one.is_hide_set());
            let about = |one: &Command| one.get_about().map(|about| sentence(&about.to_string()));
            let values =
                shown.map(|one| (one.get_name().to_owned(), about(one).unwrap_or_default()));
            return whole(Answer::of(values.collect()));
        }
        let mut positional = self
            .command
            .get_positionals()
            .filter(|arg| !arg.is_hide_set());
        let last = self.command.get_positionals().last();
        let repeats = |arg: &&Arg| matches!(arg.get_action(), ArgAction::Append);
        let arg = positional.nth(self.positional).or(last.filter(repeats));
        whole(arg.map_or(Answer::nothing(), |arg| self.values(arg, false)))
    }

    /// The flags that have not been given, or may be repeated.
    fn flags(&self) -> Answer {
        let repeats = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
        let open = |arg: &&Arg| {
            !arg.is_hide_set() && (repeats(arg) || !self.given.contains(arg.get_id().as_str()))
        };
        let flags = self.command.get_arguments().filter(open);
        let named = flags.filter_map(|arg| {
            let help = arg.get_help().map(|help| sentence(&help.to_string()));
            Some((format!("--{}", arg.get_long()?), help.unwrap_or_default()))
        });
        Answer::of(named.collect())
    }

    /// The values of an argument; `is_joined` to its flag, a value may begin with a dash.
    fn values(&self, arg: &Arg, is_joined: bool) -> Answer {
        let runs = |has_model: bool| self.runs(has_model, is_joined);
        let is_switch = arg
            .get_value_names()
            .is_some_and(|names| names[0] == "BOOL");
        let example = EXAMPLES.iter().find(|(id, _)| arg.get_id() == *id);
        let example = example.map_or(&[][..], |(_, values)| values);
        match Names::of(arg) {
            Names::Model => {
                let bundled = Bundled::ALL
                    .map(|model| (model.name.to_owned(), "comes with textgen".to_owned()));
                let values = runs(true).into_iter().chain(bundled).collect();
                Answer {
                    paths: Paths::Models,
                    values,
                }
            }
            Names::Run => Answer {
                paths: Paths::Folders,
                values: runs(false),
            },
            Names::Corpus => Answer {
                paths: Paths::Files,
                values: corpora(),
            },
            Names::File => Answer {
                paths: Paths::Files,
                values: Vec::new(),
            },
            Names::Folder => Answer {
                paths: Paths::Folders,
                values: Vec::new(),
            },
            Names::Choices => {
                let values = arg
                    .get_possible_values()
                    .into_iter()
                    .filter(|value| !value.is_hide_set());
                let help = |help: &clap::builder::StyledStr| sentence(&help.to_string());
                let values = values.map(|value| {
                    (
                        value.get_name().to_owned(),
                        value.get_help().map(help).unwrap_or_default(),
                    )
                });
                Answer::of(values.collect())
            }
            Names::Free => {
                let values = if is_switch {
                    &["true", "false"]
                } else {
                    example
                };
                Answer::of(
                    values
                        .iter()
                        .map(|&value| (value.to_owned(), String::new()))
                        .collect(),
                )
            }
        }
    }

    /// The runs that can be named as they are, the newest first. Others are named by their paths.
    fn runs(&self, has_model: bool, is_joined: bool) -> Vec<(String, String)> {
        let runs = Runs::new(&self.runs).list().unwrap_or_default();
        let wanted = runs
            .iter()
            .filter(|run| !has_model || run.model_path().exists());
        let names = wanted.map(RunDir::name);
        names
            .filter(|name| Runs::check_name(name).is_ok() && (is_joined || !name.starts_with('-')))
            .map(|name| (name.to_owned(), "run".to_owned()))
            .collect()
    }
}

impl Answer {
    const fn of(values: Vec<(String, String)>) -> Self {
        Self {
            paths: Paths::None,
            values,
        }
    }

    const fn nothing() -> Self {
        Self::of(Vec::new())
    }
}

fn is_long(arg: &Arg, name: &str) -> bool {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    arg.get_long() == Some(name) || aliases.contains(&name)
}

/// Whether the next word may be the flag's value.
fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

/// Whether a word is a flag after one whose value was left out.
fn is_left_out(arg: &Arg, word: &str) -> bool {
    let is_optional = arg
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0);
    is_optional && word.starts_with('-')
}

/// The bundled corpus, and what is under corpora/.
fn corpora() -> Vec<(String, String)> {
    let folder = std::fs::read_dir(CORPORA).into_iter().flatten().flatten();
    let names = folder.filter_map(|entry| entry.file_name().into_string().ok());
    let shown = names.filter(|name| !name.starts_with(['.', '-']) && *name != BUNDLED_NAME);
    let mut shown: Vec<_> = shown.map(|name| (name, "corpora/".to_owned())).collect();
    shown.sort_unstable();
    shown.insert(
        0,
        (BUNDLED_NAME.to_owned(), "comes with textgen".to_owned()),
    );
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may follow a line, the last word of which is at the cursor: the values, and which paths.
    fn answer(line: &str) -> (Vec<String>, Paths) {
        let mut command = crate::cli::command();
        command.build();
        let words: Vec<&str> = line.split(' ').collect();
        let (current, before) = words.split_last().expect("a word");
        let mut line = Line::new(&command, Path::new("/no/such/folder"));
        for word in before {
            line.read(word);
        }
        let (answer, glued) = line.answer(current);
        let values = answer.values.into_iter();
        let values = values.map(|(value, _)| glued.clone() + &value);
        (
            values.filter(|value| value.starts_with(current)).collect(),
            answer.paths,
        )
    }

    #[test]
    fn commands_flags_and_values_are_known() {
        for (line, values, paths) in [
            ("ge", &["generate"][..], Paths::None),
            ("help tr", &["train"], Paths::None),
            ("generate --temp", &["--temperature"], Paths::None),
            ("--runs-dir x train --mod", &["--model"], Paths::None),
            (
                "train --model char-",
                &["char-lstm", "char-gru"],
                Paths::None,
            ),
            ("train --model=char-g", &["--model=char-gru"], Paths::None),
            (
                "train --lowercase=",
                &["--lowercase=true", "--lowercase=false"],
                Paths::None,
            ),
            ("train --resume --thr", &["--threads"], Paths::None),
            ("train --name x fairy", &["fairy-tales.txt"], Paths::Files),
            ("train a b fairy", &["fairy-tales.txt"], Paths::Files),
            ("train --hidden ", &[], Paths::None),
            ("generate --run eng", &["english"], Paths::Models),
            ("generate -m eng", &["english"], Paths::Models),
            (
                "generate --model-file=eng",
                &["--model-file=english"],
                Paths::Models,
            ),
            ("generate --decode b", &["beam:8"], Paths::None),
            ("generate --prompt ", &[], Paths::None),
            ("eval --corpus fairy", &["fairy-tales.txt"], Paths::Files),
            ("eval english fairy", &["fairy-tales.txt"], Paths::Files),
            ("report ", &[], Paths::Folders),
            ("man ", &[], Paths::Folders),
            ("compress ", &[], Paths::Files),
            ("sweep lay", &["layers"], Paths::None),
            ("export -o ", &[], Paths::Files),
            ("completions z", &["zsh"], Paths::None),
            ("config sc", &["score"], Paths::None),
            ("train -- --mod", &[], Paths::Files),
            (
                "knit --",
                &["--runs-dir", "--help", "--version"],
                Paths::None,
            ),
        ] {
            let (found, kind) = answer(line);
            assert_eq!(
                (found.iter().map(String::as_str).collect::<Vec<_>>(), kind),
                (values.to_vec(), paths),
                "{line}"
            );
        }
    }

    #[test]
    fn a_flag_that_was_given_is_not_offered_again_unless_it_may_be() {
        let has = |line: &str, flag: &str| answer(line).0.iter().any(|value| value == flag);
        assert!(has("generate --s", "--seed") && !has("generate --seed 3 --s", "--seed"));
        assert!(!has("generate --seed=3 --s", "--seed"));
        assert!(has("score x --run a --r", "--run"));
    }

    #[test]
    fn words_that_bash_splits_or_quotes_are_put_together() {
        let of = |words: &[&str]| as_one(words.iter().map(|&word| word.to_owned()));
        let joined = |words: &[&str], bare| {
            (
                words
                    .iter()
                    .map(|&word| word.to_owned())
                    .collect::<Vec<_>>(),
                bare,
            )
        };
        assert_eq!(
            of(&["generate", "--run", "=", "ta"]),
            joined(&["generate", "--run=ta"], 6)
        );
        assert_eq!(
            of(&["generate", "--run", "="]),
            joined(&["generate", "--run="], 6)
        );
        assert_eq!(
            of(&["--decode", "beam", ":", "8", "x"]),
            joined(&["--decode", "beam:8", "x"], 0)
        );
        assert_eq!(
            of(&["--prompt", "'a b'", "--prompt", ""]),
            joined(&["--prompt", "a b", "--prompt", ""], 0)
        );
        for (word, plain) in [
            (r"my\ text", "my text"),
            ("\"my te", "my te"),
            (r#""a\"b\c""#, r#"a"b\c"#),
            (r"'it'\''s'", "it's"),
            (r"end\", "end"),
        ] {
            assert_eq!(unquoted(word), plain);
        }
    }

    #[test]
    fn the_help_of_a_value_is_its_first_sentence() {
        assert_eq!(
            sentence("Threads; 0 is one per core. The output is the same"),
            "Threads; 0 is one per core"
        );
        assert_eq!(
            sentence("How many samples [default: 1 text, 20 words]"),
            "How many samples"
        );
    }
}
