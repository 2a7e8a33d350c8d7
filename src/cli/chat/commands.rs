//! The commands of a conversation.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;

use super::Settings;
use crate::cli::error::CliError;

/// What `/help` says.
pub const HELP: &str = "\
/temperature T         below 1 safer, above 1 wilder, 0 always the most probable
/top-k K  /top-p P  /min-p P
                       draw from the most probable tokens only; off: from all
/repetition-penalty R  against loops; 1 is none
/repetition-window N   tokens back that repeats are looked for
/length N              tokens of a reply at the most
/stop TEXT             ends a reply; \\n is the end of a line
/seed N                begins the draws anew
/undo                  takes the last turn back
/reset                 forgets all of it
/save FILE             keeps what is remembered, for --state
/quit                  ends, as Ctrl-D does
Without a value a setting is shown. An empty line lets the model write on.";

/// A line that begins with `/`.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Help,
    Quit,
    Reset,
    Undo,
    Save(PathBuf),
    /// A setting, and its new value.
    Setting(Setting, Option<String>),
}

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Temperature,
    TopK,
    TopP,
    MinP,
    RepetitionPenalty,
    RepetitionWindow,
    Length,
    Stop,
    Seed,
}

const SETTINGS: [Setting; 9] = [
    Setting::Temperature,
    Setting::TopK,
    Setting::TopP,
    Setting::MinP,
    Setting::RepetitionPenalty,
    Setting::RepetitionWindow,
    Setting::Length,
    Setting::Stop,
    Setting::Seed,
];

impl FromStr for Command {
    type Err = CliError;

    /// Without the `/`.
    fn from_str(line: &str) -> Result<Self, CliError> {
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        if let Some(&setting) = SETTINGS.iter().find(|setting| setting.name() == name) {
            let value = (!value.is_empty()).then(|| value.to_owned());
            return Ok(Self::Setting(setting, value));
        }
        match (name, value.is_empty()) {
            ("help", true) => Ok(Self::Help),
            ("quit" | "exit", true) => Ok(Self::Quit),
            ("reset", true) => Ok(Self::Reset),
            ("undo", true) => Ok(Self::Undo),
            ("save", false) => Ok(Self::Save(value.into())),
            ("save", true) => Err(CliError::misuse("/save: it needs a file", "/save FILE")),
            ("help" | "quit" | "exit" | "reset" | "undo", false) => {
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
    /// As it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TopK => "top-k",
            Self::TopP => "top-p",
            Self::MinP => "min-p",
            Self::RepetitionPenalty => "repetition-penalty",
            Self::RepetitionWindow => "repetition-window",
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Seed => "seed",
        }
    }

    /// Its value, as it is typed.
    pub fn get(self, settings: &Settings) -> String {
        fn limit<T: ToString>(value: Option<T>) -> String {
            value.map_or_else(|| "off".to_owned(), |value| value.to_string())
        }
        let sampling = &settings.sampling;
        match self {
            Self::Temperature => sampling.temperature.to_string(),
            Self::TopK => limit(sampling.top_k),
            Self::TopP => limit(sampling.top_p),
            Self::MinP => limit(sampling.min_p),
            Self::RepetitionPenalty => sampling.repetition_penalty.to_string(),
            Self::RepetitionWindow => sampling.repetition_window.to_string(),
            Self::Length => settings.length.to_string(),
            Self::Stop => sampling
                .stop
                .as_deref()
                .unwrap_or_default()
                .replace('\n', "\\n"),
            Self::Seed => sampling.seed.to_string(),
        }
    }

    /// Takes a value as it is typed, whose range is checked by [`Settings::validate`].
    pub fn set(self, settings: &mut Settings, value: &str) -> Result<()> {
        let sampling = &mut settings.sampling;
        match self {
            Self::Temperature => sampling.temperature = self.number(value)?,
            Self::TopK => sampling.top_k = self.limit(value)?,
            Self::TopP => sampling.top_p = self.limit(value)?,
            Self::MinP => sampling.min_p = self.limit(value)?,
            Self::RepetitionPenalty => sampling.repetition_penalty = self.number(value)?,
            Self::RepetitionWindow => sampling.repetition_window = self.number(value)?,
            Self::Length => settings.length = self.number(value)?,
            Self::Stop => sampling.stop = Some(value.replace("\\n", "\n")),
            Self::Seed => sampling.seed = self.number(value)?,
        }
        Ok(())
    }

    fn number<T: FromStr>(self, value: &str) -> Result<T, CliError> {
        value.parse().map_err(|_| {
            let message = format!("/{} {value}: not such a number", self.name());
            CliError::misuse(message, "/help shows the commands")
        })
    }

    fn limit<T: FromStr>(self, value: &str) -> Result<Option<T>, CliError> {
        match value {
            "off" => Ok(None),
            _ => self.number(value).map(Some),
        }
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
            .into_iter()
            .zip(["0.7", "3", "off", "0.05", "1.5", "64", "20", "\\n", "8"])
        {
            let line = format!("{} {value}", setting.name());
            let command: Command = line.parse().expect("a command");
            assert_eq!(command, Command::Setting(setting, Some(value.to_owned())));
            setting.set(&mut settings, value).expect("a value");
            assert_eq!(setting.get(&settings), value);
        }
        assert!(settings.validate().is_ok());
        assert!(Setting::Length.set(&mut settings, "many").is_err());
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for line in ["", "tempo 3", "save", "undo 2", "Help"] {
            assert!(line.parse::<Command>().is_err(), "{line}");
        }
        assert_eq!(
            "save a b.state".parse::<Command>().expect("one"),
            Command::Save("a b.state".into())
        );
    }
}
