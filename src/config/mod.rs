//! Every setting of a run: its type, its default, its documentation and its range.
//!
//! Three layers, highest priority first: flags, a `--config` file, defaults. Flags and files arrive as
//! [`Settings`], in which every field is optional and every key is the flag's name; [`TrainConfig`]
//! is what the program uses, complete and checked. A run's `config.toml` is the resolved settings,
//! so it is itself a valid `--config` file.
//!
//! `settings.rs` has one row for each setting. To add a setting, add its row and use it.

use std::borrow::Cow;

use thiserror::Error;

mod checks;
mod choices;
mod defaults;
mod documented;
mod documents;
mod fit;
#[cfg(feature = "cli")]
mod flags;
mod network;
mod row;
mod sampling;
mod settings;
mod train;
mod value;

pub use choices::*;
pub use defaults::model_defaults;
pub use documented::Documented;
pub use documents::Documents;
pub use fit::{FITTED, Fit, Means, OF_BF16, WITH_Z};
#[cfg(feature = "cli")]
pub(crate) use flags::TextFlags;
pub use network::{LatentConfig, NetworkConfig, NetworkKind};
pub use sampling::Sampling;
pub use settings::{CharRnnConfig, Entry, Settings, TextConfig, TrainConfig, WordVaeConfig};
pub use train::{ArticleConfig, Budget, LEAST_TEXT, ModelConfig};

/// The smallest and the largest `format` of `config.toml` that this version reads; it writes the largest.
/// Format 1 contains every setting, including those of the other model.
pub const CONFIG_FORMATS: std::ops::RangeInclusive<u32> = 1..=2;

/// An error in a setting.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A value outside its range.
    #[error("--{} {value}: {must}", name(flag))]
    Range {
        /// The flag's name, without dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// The requirement, as in `must be above 0`.
        must: Cow<'static, str>,
    },
    /// A name that is not a valid value.
    #[error("--{} {value}: not one of {valid}", name(flag))]
    Choice {
        /// The flag's name, without dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// The valid values, separated by commas.
        valid: String,
    },
    /// An unknown setting.
    #[error("there is no setting {0}: `textgen train --help` lists them")]
    Unknown(String),
    /// Two settings that exclude one another.
    #[error("--{} and --{} exclude each other: give one of them", name(.0), name(.1))]
    Conflict(&'static str, &'static str),
    /// A settings file that cannot be read.
    #[error("{path}")]
    Read {
        /// The path as given.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A settings file that is not valid TOML, or has an unknown key.
    #[error("{path}: {message}")]
    Parse {
        /// The path as given.
        path: String,
        /// The parser's message, on one line.
        message: String,
    },
    /// A settings file of a format that this version does not read.
    #[error(
        "{path}: format {found}, but this textgen reads up to format {newest}: use a newer textgen"
    )]
    Format {
        /// The path as given.
        path: String,
        /// The file's `format` number.
        found: u32,
        /// The newest format known.
        newest: u32,
    },
}

/// What serde says of a settings file, in the words of the flags: it lists every setting, and names types of Rust.
fn plain(message: &str) -> String {
    if let Some((unknown, known)) = message.split_once(", expected one of ")
        && let Some(unknown) = unknown.strip_prefix("unknown field ")
    {
        let bare = |name: &str| name.trim_matches('`').to_owned();
        let likeness = |known: &&str| strsim::jaro(&bare(unknown), &bare(known));
        let nearest = known.split(", ");
        let nearest = nearest.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let nearest = nearest.filter(|nearest| likeness(nearest) > 0.8);
        return match nearest {
            Some(nearest) => format!("no setting is named {unknown}; did you mean {nearest}?"),
            None => format!("no setting is named {unknown}; textgen config prints all"),
        };
    }
    match message.rsplit_once(", expected ") {
        Some((found, "f32" | "f64")) => format!("{found}, expected a number"),
        Some((found, "usize" | "u32" | "u64")) => {
            format!("{found}, expected a whole number, and not below 0")
        }
        _ => message.to_owned(),
    }
}

impl ConfigError {
    #[allow(clippy::needless_pass_by_value, reason = "most values are numbers")]
    pub(crate) fn range(
        flag: &'static str,
        value: impl ToString,
        must: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Range {
            flag,
            value: value.to_string(),
            must: must.into(),
        }
    }

    /// The error for the text of a settings file, which `shown` names.
    pub(crate) fn parse(text: &str, shown: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| {
            text[..span.start.min(text.len())].matches('\n').count() + 1
        });
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        Self::Parse {
            path: format!("{shown}:{line}"),
            message: plain(&message),
        }
    }

    fn choice(flag: &'static str, value: &str, valid: &[&str]) -> Self {
        Self::Choice {
            flag,
            value: value.to_owned(),
            valid: valid.join(", "),
        }
    }

    /// The message without flag and value, for a parser that names them itself.
    fn reason(self) -> String {
        match self {
            Self::Range { must, .. } => must.into_owned(),
            Self::Choice { valid, .. } => format!("not one of {valid}"),
            other => other.to_string(),
        }
    }
}

/// The name of the field of [`Settings`] on the command line and in files.
fn name(field: &str) -> String {
    field.replace('_', "-")
}

#[cfg(test)]
mod tests;
