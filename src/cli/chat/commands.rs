//! The commands of `textgen chat`.

use std::path::PathBuf;
use std::str::FromStr;

use super::Settings;
use crate::cli::error::CliError;
use crate::cli::generate::typed;
use crate::text::as_typed;

/// The text of `/help`, one line per command.
pub const HELP: &str = "\
/temperature T         below 1 safer, above 1 more varied, 0 always the most probable token
/top-k K  /top-p P  /min-p P
                       sample from the most probable tokens only; off: from all of them
/repetition-penalty R  against loops; 1 is none
/repetition-window N   tokens back that repeats are looked for
/length N              the most tokens in a reply
/stop TEXT             ends a reply; \\n is the end of a line
/pick                  lists the ten most probable tokens: type the number of one, then of
                       the next; an empty line ends that
/seed N                restarts the random numbers
/undo                  takes the last turn back
/reset                 starts the conversation again
/save FILE             saves the state of the conversation, for --state
/quit                  ends, as Ctrl-D does
Without a value, a setting is shown. After an empty line the model continues.";

/// A parsed line that starts with `/`.
#[derive(Debug)]
pub enum Command {
    Help,
    Quit,
    Reset,
    Undo,
    Save(PathBuf),
    Pick,
    /// Sets or shows a setting: its name, and the new value if any.
    Setting(&'static Setting, Option<String>),
}

/// A setting that a command can show and change.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    /// Formats the value as it is typed.
    pub get: fn(&Settings) -> String,
    /// Parses a value. [`Settings::validate`] checks its range.
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

macro_rules! setting {
    ($name:literal, $($field:ident).+, $show:expr, $read:expr) => {
        Setting {
            name: $name,
            get: |settings| $show(&settings.$($field).+),
            set: |settings, value| {
                settings.$($field).+ = $read(value)?;
                Ok(())
            },
        }
    };
}

const SETTINGS: [Setting; 9] = [
    setting!("temperature", sampling.temperature, f32::to_string, read),
    setting!("top-k", sampling.top_k, show_limit, read_limit),
    setting!("top-p", sampling.top_p, show_limit, read_limit),
    setting!("min-p", sampling.min_p, show_limit, read_limit),
    setting!(
        "repetition-penalty",
        sampling.repetition_penalty,
        f32::to_string,
        read
    ),
    setting!(
        "repetition-window",
        sampling.repetition_window,
        usize::to_string,
        read
    ),
    setting!("length", length, usize::to_string, read),
    setting!("stop", sampling.stop, show_stop, read_stop),
    setting!("seed", sampling.seed, u64::to_string, read),
];

fn read<T: FromStr>(value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| "not a valid number here".to_owned())
}

#[allow(clippy::ref_option, reason = "a field, as the others")]
fn show_limit<T: ToString>(limit: &Option<T>) -> String {
    limit
        .as_ref()
        .map_or_else(|| "off".to_owned(), T::to_string)
}

fn read_limit<T: FromStr>(value: &str) -> Result<Option<T>, String> {
    match value {
        "off" => Ok(None),
        _ => read(value).map(Some),
    }
}

#[allow(clippy::ref_option, reason = "a field, as the others")]
fn show_stop(stop: &Option<String>) -> String {
    as_typed(stop.as_deref().unwrap_or_default())
}

fn read_stop(value: &str) -> Result<Option<String>, String> {
    typed(value).map(|typed| Some(typed.text))
}

impl FromStr for Command {
    type Err = CliError;

    /// The line without its leading `/`.
    fn from_str(line: &str) -> Result<Self, CliError> {
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
            let value = (!value.is_empty()).then(|| value.to_owned());
            return Ok(Self::Setting(setting, value));
        }
        match (name, value.is_empty()) {
            ("help", true) => Ok(Self::Help),
            ("quit" | "exit", true) => Ok(Self::Quit),
            ("reset", true) => Ok(Self::Reset),
            ("undo", true) => Ok(Self::Undo),
            ("pick", true) => Ok(Self::Pick),
            ("save", false) => Ok(Self::Save(value.into())),
            ("save", true) => Err(CliError::misuse("/save: it needs a file", "/save FILE")),
            ("help" | "quit" | "exit" | "reset" | "undo" | "pick", false) => {
                let message = format!("/{name} {value}: it takes no value");
                Err(CliError::misuse(message, format!("/{name}")))
            }
            _ => {
                let message = format!("/{name}: no such command");
                let hint = "/help shows the commands; // types a line that begins with /";
                Err(CliError::misuse(message, hint))
            }
        }
    }
}

impl Setting {
    /// Parses and sets a value. [`Settings::validate`] checks its range.
    pub fn set(&self, settings: &mut Settings, value: &str) -> Result<(), CliError> {
        (self.set)(settings, value).map_err(|why| {
            let message = format!("/{} {value}: {why}", self.name);
            CliError::misuse(message, "/help shows the commands")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Sampling;

    use super::*;

    #[test]
    fn every_setting_is_read_as_it_is_shown() {
        let mut settings = Settings {
            sampling: Sampling::new(1),
            length: 5,
        };
        for (setting, value) in SETTINGS
            .iter()
            .zip(["0.7", "3", "off", "0.05", "1.5", "64", "20", "\\n", "8"])
        {
            let line = format!("{} {value}", setting.name);
            let command: Command = line.parse().expect("a command");
            let Command::Setting(found, Some(typed)) = command else {
                panic!("{command:?}");
            };
            assert_eq!((found.name, &*typed), (setting.name, value));
            setting.set(&mut settings, value).expect("a value");
            assert_eq!((setting.get)(&settings), value);
        }
        assert!(settings.validate().is_ok());
        let length = SETTINGS.iter().find(|setting| setting.name == "length");
        let length = length.expect("a setting");
        assert!(length.set(&mut settings, "many").is_err());
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in ["", "tempo 3", "save", "undo 2", "Help"] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
        let save = "save a b.state".parse::<Command>().expect("one");
        assert!(matches!(save, Command::Save(path) if path.as_os_str() == "a b.state"));
    }
}
