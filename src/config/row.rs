//! A row of the table of settings, and the flag that it becomes.

#[cfg(feature = "cli")]
use std::collections::HashSet;

#[cfg(feature = "cli")]
use clap::Arg;
#[cfg(feature = "cli")]
use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};

#[cfg(feature = "cli")]
use super::value::Value;
#[cfg(feature = "cli")]
use super::{FITTED, name};

/// A row of the table.
#[allow(
    dead_code,
    reason = "files, flags and the reference page each need some of it"
)]
pub(super) struct Row {
    pub field: &'static str,
    /// The configuration that it belongs to.
    pub owner: &'static str,
    /// The heading of the flag in `--help`; empty if there is no flag.
    pub heading: &'static str,
    pub doc: String,
    /// The name of its type.
    pub type_name: &'static str,
    pub value: Option<&'static str>,
    pub names: &'static [&'static str],
    pub is_switch: bool,
    pub default: Option<String>,
    pub range: Option<String>,
}

impl Row {
    /// Whether its default is the value of another setting.
    pub fn is_derived(&self) -> bool {
        self.doc.contains("[default: --")
    }
}

/// The flag of a row. Its help names the default, unless it depends on the model or on the text.
#[cfg(feature = "cli")]
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
    let default = default.filter(|default| {
        !default.is_empty() && !overridden.contains(&key) && !FITTED.contains(&&*key)
    });
    let help = match default {
        Some(default) => format!("{} [default: {default}]", row.doc),
        None => row.doc.clone(),
    };
    let flag = Arg::new(row.field)
        .long(key)
        .help(help)
        .allow_hyphen_values(T::HAS_HYPHENS)
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
