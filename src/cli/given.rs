//! Which flags the user gave, as clap saw them: a flag that repeats its default counts.

use anyhow::Result;
use clap::ArgMatches;
use clap::parser::ValueSource;

use super::error::CliError;
use crate::config::ModelKind;

/// The flags given on a command line, in the order of the command's help.
#[derive(Debug, Default)]
pub struct Given {
    flags: Vec<Flag>,
}

#[derive(Debug)]
struct Flag {
    /// The flag's name, without the dashes.
    name: String,
    heading: Option<String>,
}

impl Given {
    /// Collects the subcommand's flags from the matches of a whole command line.
    pub fn of_subcommand(command: &clap::Command, matches: &ArgMatches) -> Self {
        let subcommand = matches.subcommand();
        subcommand
            .and_then(|(name, matches)| Some(Self::of(command.find_subcommand(name)?, matches)))
            .unwrap_or_default()
    }

    /// Collects the flags of a command from its own matches.
    pub fn of(command: &clap::Command, matches: &ArgMatches) -> Self {
        let flags = command.get_arguments().filter_map(|arg| {
            let source = matches.value_source(arg.get_id().as_str());
            let name = arg
                .get_long()
                .filter(|_| source == Some(ValueSource::CommandLine));
            Some(Flag {
                name: name?.to_owned(),
                heading: arg.get_help_heading().map(str::to_owned),
            })
        });
        Self {
            flags: flags.collect(),
        }
    }

    /// Whether the flag of this name (without dashes) was given.
    pub fn flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag.name == name)
    }

    /// The first of these flags (without dashes) that was given.
    pub fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.flag(name))
    }

    /// The first flag given that the help lists under this heading.
    pub fn under(&self, heading: &str) -> Option<&str> {
        let found = |flag: &&Flag| flag.heading.as_deref() == Some(heading);
        self.flags.iter().find(found).map(|flag| &flag.name[..])
    }

    /// The kind of model that the given flags apply to; `None` if they apply to any kind or to both.
    pub fn kind(&self) -> Option<ModelKind> {
        let has = |kind| self.under(heading(kind)).is_some();
        match (has(ModelKind::CharRnn), has(ModelKind::WordVae)) {
            (true, false) => Some(ModelKind::CharRnn),
            (false, true) => Some(ModelKind::WordVae),
            _ => None,
        }
    }

    /// Refuses flags of another kind of model than the one chosen.
    pub fn check_kind(&self, kind: ModelKind) -> Result<()> {
        let other = heading(match kind {
            ModelKind::CharRnn => ModelKind::WordVae,
            ModelKind::WordVae => ModelKind::CharRnn,
        });
        let Some(flag) = self.under(other) else {
            return Ok(());
        };
        let kind = heading(kind);
        let message = format!("--{flag} belongs to {other}, but this model is a {kind}");
        let hint = format!("leave it out, or choose a {other} with --run");
        Err(CliError::misuse(message, hint).into())
    }
}

/// The help's heading for the flags of one kind of model.
const fn heading(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::CharRnn => "char-lstm",
        ModelKind::WordVae => "word-vae",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Given {
        let (command, matches) = super::super::matches(line.split(' ')).expect("a command line");
        Given::of_subcommand(&command, &matches)
    }

    #[test]
    fn a_flag_that_repeats_its_default_is_given() {
        assert!(!given("textgen generate").flag("temperature"));
        assert!(given("textgen generate --temperature 1").flag("temperature"));
        let some = given("textgen generate --json --top-k 3");
        assert_eq!(some.first(&["temperature", "top-k", "json"]), Some("top-k"));
    }

    #[test]
    fn flags_under_a_models_heading_say_which_kind_is_meant() {
        assert_eq!(given("textgen generate --count 3").kind(), None);
        let text = given("textgen generate --prompt a --count 3");
        assert_eq!(text.kind(), Some(ModelKind::CharRnn));
        assert_eq!(text.under("char-lstm"), Some("prompt"));
        let error = text.check_kind(ModelKind::WordVae).expect_err("a word-vae");
        assert!(
            error
                .to_string()
                .starts_with("--prompt belongs to char-lstm")
        );
        assert_eq!(given("textgen generate --prompt a --novel").kind(), None);
        assert_eq!(
            given("textgen score --word anna").kind(),
            Some(ModelKind::WordVae)
        );
    }
}
