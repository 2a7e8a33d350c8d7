//! The settings as flags of a command.

use std::collections::HashSet;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::settings::{Row, Settings};
use super::value::Value;
use super::{ModelChoice, model_defaults, name};

/// The keys whose default depends on the model; the help of `train` lists these defaults.
pub(super) fn overridden() -> HashSet<String> {
    let models = ModelChoice::ALL.iter();
    let defaults = models.flat_map(|&model| model_defaults(model));
    defaults.map(|entry| entry.key()).collect()
}

/// The flag of a row of the table.
pub(super) fn flag<T: Value + Send + Sync + 'static>(
    row: &Row,
    overridden: &HashSet<String>,
) -> Arg {
    let parser = if T::NAMES.is_empty() {
        ValueParser::from(T::read as fn(&str) -> Result<T, String>)
    } else {
        PossibleValuesParser::new(T::NAMES)
            .try_map(|name| T::read(&name))
            .into()
    };
    let (key, named) = (name(row.field), row.field.to_uppercase());
    let default = row.default.as_ref();
    let default = default.filter(|default| !default.is_empty() && !overridden.contains(&key));
    let help = match default {
        Some(default) => format!("{} [default: {default}]", row.doc),
        None => row.doc.clone(),
    };
    let flag = Arg::new(row.field)
        .long(key)
        .help(help)
        .value_parser(parser);
    let flag = match row.heading {
        "Options" => flag,
        heading => flag.help_heading(heading),
    };
    if row.is_switch {
        flag.value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        flag.value_name(row.value.map_or(named, str::to_owned))
    }
}

/// The text settings as flags.
#[derive(Clone, Debug)]
pub(crate) struct TextFlags(pub Settings);

macro_rules! as_flags {
    ($type:ty, $wrap:expr, $wanted:expr) => {
        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Ok($wrap(Settings::from_flags(matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                Settings::add_flags(command, $wanted)
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

as_flags!(Settings, std::convert::identity, |_| true);
as_flags!(TextFlags, TextFlags, |owner| owner == "TextConfig");
