//! Settings files: `textgen config` prints one to start from, and `--config` reads it.
//!
//! Those of `train` and `sweep` are the table of settings. Those of other commands are flags: each key is the name of a
//! flag, and the command line is read as if the flags of the file came first, except those that it has itself. So the file needs
//! no ranges, no documentation and no conflicts of its own.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, ArgMatches, Args, Command, value_parser};
use toml::{Table, Value};

use super::error::CliError;
use super::given::Given;
use super::output::{note, stdout};
use super::target::STREAM;
use crate::config::{ConfigError, Documented, Settings};

/// The commands whose settings are the table of settings,
const OF_TABLE: [&str; 2] = ["train", "sweep"];
/// and those whose settings are their flags.
const OF_FLAGS: [&str; 5] = ["generate", "chat", "eval", "score", "novelty"];
/// The flags that are no settings.
const NO_SETTINGS: [&str; 4] = ["config", "force", "help", "runs_dir"];
/// The width of the comments.
const WIDTH: usize = 100;

#[derive(Args)]
#[command(after_help = "\
Every setting is there with its documentation and its default, behind a #. Remove the # of those that
you change; what is left out is chosen as usual. A flag on the command line overrides the file.

Examples:
  textgen config > my.toml && textgen train --config my.toml
  textgen config generate > tales.toml && textgen generate --config tales.toml")]
pub struct ConfigArgs {
    /// The command
    #[arg(default_value = OF_TABLE[0], value_parser = PossibleValuesParser::new(OF_TABLE.iter().chain(&OF_FLAGS).copied()))]
    command: String,
}

/// Adds `--config` to the commands whose settings are their flags.
pub fn with_flag(command: Command) -> Command {
    let help = |name| {
        format!(
            "A TOML file of these flags, without their dashes, to start from; `textgen config {name}` prints one"
        )
    };
    OF_FLAGS.iter().fold(command, |command, &name| {
        command.mut_subcommand(name, |one| {
            let flag = Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help_heading(None);
            one.arg(flag.value_parser(value_parser!(PathBuf)).help(help(name)))
        })
    })
}

/// The text of a settings file; `-` is standard input.
pub fn read(path: &Path) -> io::Result<String> {
    if path.as_os_str() != STREAM {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map(|_| text)
}

/// The error for a settings file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> CliError {
    let wanted = "a file of settings, such as `textgen config` prints, or a run's config.toml";
    CliError::unreadable("--config", path, error, wanted)
}

/// The line with the flags of its settings file, if it names one.
pub fn expanded(
    mut line: Vec<OsString>,
    command: &Command,
    matches: &ArgMatches,
) -> Result<Option<(Vec<OsString>, PathBuf)>> {
    let Some((name, own)) = matches
        .subcommand()
        .filter(|(name, _)| OF_FLAGS.contains(name))
    else {
        return Ok(None);
    };
    let (Some(path), Some(command)) = (
        own.get_one::<PathBuf>("config"),
        command.find_subcommand(name),
    ) else {
        return Ok(None);
    };
    let text = read(path).map_err(|error| unreadable(path, &error))?;
    let flags = flags(&text, path, command, &Given::of(command, own))?;
    // The word that is neither a flag nor the value of the one flag that may come before.
    let is_command = |pair: &[OsString]| pair[1] == name && pair[0] != "--runs-dir";
    let at = line
        .windows(2)
        .position(is_command)
        .map_or(line.len(), |at| at + 2);
    line.splice(at..at, flags);
    Ok(Some((line, path.clone())))
}

/// Says what a settings file has made of the command line that is refused next.
pub fn explain(path: &Path) {
    note!("with the settings of {}:", path.display());
}

/// The flags of a settings file, but for those given.
fn flags(text: &str, path: &Path, command: &Command, given: &Given) -> Result<Vec<OsString>> {
    let shown = path.display().to_string();
    let table: Table =
        toml::from_str(text).map_err(|error| ConfigError::parse(text, &shown, &error))?;
    let mut flags = Vec::new();
    for (key, value) in table {
        let starts = |line: &str| {
            line.trim_start()
                .strip_prefix(&key)
                .is_some_and(|rest| !rest.starts_with('-'))
        };
        let number = text.lines().position(starts).map_or(1, |at| at + 1);
        let refuse = |why: &str| {
            let hint = format!(
                "`textgen config {}` prints the settings",
                command.get_name()
            );
            CliError::misuse(format!("{shown}:{number}: {key}: {why}"), hint)
        };
        let arg = settings(command).find(|arg| arg.get_long() == Some(&key));
        let arg = arg.ok_or_else(|| refuse(&format!("no setting of {}", command.get_name())))?;
        if given.flag(&key) {
            continue;
        }
        let takes_value = arg.get_action().takes_values();
        let mut push = |value: &Value| match value {
            Value::Boolean(is_on) if !takes_value => {
                flags.extend(is_on.then(|| format!("--{key}").into()));
                Ok(())
            }
            _ if !takes_value => Err(refuse("true or false")),
            Value::String(text) => {
                flags.push(format!("--{key}={text}").into());
                Ok(())
            }
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                flags.push(format!("--{key}={value}").into());
                Ok(())
            }
            _ => Err(refuse(
                "a number, a text, true or false, or a list of these",
            )),
        };
        match &value {
            Value::Array(all) => all.iter().try_for_each(push)?,
            one => push(one)?,
        }
    }
    Ok(flags)
}

/// The flags of a command that a settings file may have.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_setting = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        !arg.is_positional() && !arg.is_hide_set() && !NO_SETTINGS.contains(&id)
    };
    command.get_arguments().filter(is_setting)
}

pub fn run(args: &ConfigArgs, command: Command) -> Result<()> {
    let mut out = stdout();
    out.write_all(printed(&args.command, command).as_bytes())?;
    Ok(out.flush()?)
}

/// The settings of a command as TOML with comments, all of them switched off but for the model.
fn printed(name: &str, mut command: Command) -> String {
    command.build();
    let mut text = String::new();
    let all: Vec<Documented> = match command.find_subcommand(name) {
        Some(command) if OF_FLAGS.contains(&name) => settings(command).map(documented).collect(),
        _ => Settings::documented(),
    };
    let introduction = format!(
        "Settings for `textgen {name} --config FILE`, with their defaults. Remove the # before those that you change; the \
         others are chosen as usual. A flag on the command line overrides the file."
    );
    comment(&mut text, &introduction);
    let mut headings: Vec<&str> = Vec::new();
    for one in &all {
        if !headings.contains(&&*one.heading) {
            headings.push(&one.heading);
        }
    }
    let place = |one: &&Documented| headings.iter().position(|heading| *heading == one.heading);
    let mut sorted: Vec<&Documented> = all.iter().collect();
    sorted.sort_by_key(place);
    let mut heading = "";
    for one in sorted {
        if one.heading != heading {
            heading = &one.heading;
            text.extend(["\n# ---- ", heading, " ----\n"]);
        }
        text.push('\n');
        comment(&mut text, &one.doc);
        // Without a model, `train` would not know which settings there are.
        let off = if one.key == "model" { "" } else { "#" };
        text.extend([off, &one.key, " = ", &one.value, "\n"]);
    }
    text
}

/// A flag as a setting.
fn documented(arg: &Arg) -> Documented {
    let key = arg.get_long().unwrap_or_default().to_owned();
    let names = arg.get_possible_values();
    let names: Vec<&str> = names.iter().map(PossibleValue::get_name).collect();
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut facts = Vec::new();
    if arg.get_action().takes_values() {
        facts.extend((!names.is_empty()).then(|| names.join(", ")));
        facts.extend((!defaults.is_empty()).then(|| format!("default: {}", defaults.join(", "))));
    }
    let quoted = |value: &str| {
        if value.parse::<f64>().is_ok() || ["true", "false"].contains(&value) {
            value.to_owned()
        } else {
            Value::from(value).to_string()
        }
    };
    let value = match (&defaults[..], &names[..]) {
        ([], []) => {
            let named = arg.get_value_names().and_then(|names| names.first());
            named.map_or_else(|| key.to_uppercase(), ToString::to_string)
        }
        ([], [first, ..]) => quoted(first),
        ([one], _) => quoted(one),
        (several, _) => {
            let each: Vec<String> = several.iter().map(|value| quoted(value)).collect();
            format!("[{}]", each.join(", "))
        }
    };
    Documented {
        heading: arg.get_help_heading().unwrap_or("Options").to_owned(),
        doc: match &facts[..] {
            [] => help,
            facts => format!("{help} ({})", facts.join("; ")),
        },
        value,
        key,
    }
}

/// Adds a comment, in lines that are not too wide.
fn comment(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            text.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        text.extend([" ", word]);
        width += 1 + length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelChoice, TrainConfig};

    /// The settings that are printed, as lines of TOML, but for those without a default.
    fn lines(name: &str) -> Vec<String> {
        let text = printed(name, crate::cli::command());
        toml::from_str::<Table>(&text).expect("TOML as it is printed");
        let lines = text.lines().map(|line| line.trim_start_matches('#'));
        let is_setting = |line: &&str| {
            let key = line.split(" = ").next().unwrap_or_default();
            line.contains(" = ") && !key.contains(' ')
        };
        let lines = lines.filter(is_setting).map(str::to_owned);
        lines
            .filter(|line| toml::from_str::<Table>(line).is_ok())
            .collect()
    }

    #[test]
    fn the_printed_settings_of_a_training_are_those_of_each_model() {
        for &model in ModelChoice::ALL {
            let given = Settings {
                model: Some(model),
                ..Settings::default()
            };
            let expected = TrainConfig::resolve(&given).expect("defaults");
            let mut own = 0;
            let default = Table::try_from(expected.to_settings()).expect("TOML");
            for line in lines("train") {
                let (key, value) = toml::from_str::<Table>(&line)
                    .expect("TOML")
                    .into_iter()
                    .next()
                    .expect("a key");
                // Where models differ, the value is that of the first of them.
                if key == "model" || default.get(&key) != Some(&value) {
                    continue;
                }
                own += 1;
                let mut read = Settings::parse(&line, "printed").expect("a setting");
                read.model = Some(model);
                let resolved = TrainConfig::resolve(&read).expect("valid");
                assert_eq!(resolved, expected, "{model}: {line}");
            }
            assert!(own > 35, "{model}: {own}");
        }
    }

    #[test]
    fn every_printed_flag_is_accepted() {
        for name in OF_FLAGS {
            let (command, _) = crate::cli::matches(["textgen", "score", "x"]).expect("a line");
            let mut command = command;
            command.build();
            let command = command.find_subcommand(name).expect("a command");
            let lines = lines(name);
            assert!(lines.len() >= 4, "{name}: {lines:?}");
            for line in lines {
                let flags = flags(&line, Path::new("file"), command, &Given::default());
                let words = ["textgen", name].map(OsString::from).into_iter();
                let words = words
                    .chain(flags.expect(&line))
                    .chain((name == "score").then(|| "x".into()));
                if let Err(error) = crate::cli::matches(words) {
                    let needs_another =
                        error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
                    assert!(needs_another, "{name}: {line}: {error}");
                }
            }
        }
    }

    #[test]
    fn the_file_gives_flags_and_the_command_line_wins() {
        let text = "# a comment\ntemperature = 0.7\ntop-k = 40\njson = true\nunique = false\nprompt = \"--x\"\n";
        let line = [
            "textgen",
            "--runs-dir",
            "generate",
            "generate",
            "--config",
            "f",
            "--top-k",
            "3",
        ];
        let (command, matches) = crate::cli::matches(line).expect("a line");
        let command = command.find_subcommand("generate").expect("a command");
        let own = matches.subcommand_matches("generate").expect("its matches");
        let read = |text: &str| flags(text, Path::new("f"), command, &Given::of(command, own));
        let flags = read(text).expect("flags");
        assert_eq!(flags, ["--json", "--prompt=--x", "--temperature=0.7"]);
        for (wrong, why) in [
            ("a = 1", "f:1: a: no setting of generate"),
            ("\ntop_k = 1", "f:2: top_k: no setting of generate"),
            ("config = \"g\"", "config: no setting"),
            ("help = true", "help: no setting"),
            ("\njson = 3", "f:2: json: true or false"),
            ("seed = { a = 1 }", "seed: a number"),
            ("seed = ", "f:1: "),
        ] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
