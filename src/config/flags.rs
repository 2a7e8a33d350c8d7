//! The settings as flags of a command.

use std::collections::HashSet;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::settings::Settings;
use super::{ModelChoice, model_defaults};

/// The keys whose default depends on the model; the help of `train` lists these defaults.
fn overridden() -> HashSet<String> {
    let models = ModelChoice::ALL.iter();
    let defaults = models.flat_map(|&model| model_defaults(model));
    defaults.map(|entry| entry.key()).collect()
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
                Settings::add_flags(command, $wanted, &overridden())
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

as_flags!(Settings, std::convert::identity, |_| true);
as_flags!(TextFlags, TextFlags, |owner| owner == "TextConfig");
