//! The table of settings as text: for `docs/settings.md`, and as a settings file to start from.

use std::collections::BTreeMap;

use super::row::Row;
use super::{FITTED, ModelChoice, Settings, TrainConfig, name};

/// Where the default of every model depends on the text.
const FITS: &str = "fits the corpus";

/// The defaults of each model, by key, in the order of [`ModelChoice::ALL`].
pub(super) struct Defaults(Vec<BTreeMap<String, toml::Value>>);

impl Defaults {
    pub fn new() -> Self {
        let of = |&model: &ModelChoice| {
            let given = Settings {
                model: Some(model),
                ..Settings::default()
            };
            let config = TrainConfig::resolve(&given).ok();
            let all = config.and_then(|config| toml::Table::try_from(config.to_settings()).ok());
            all.unwrap_or_default().into_iter().collect()
        };
        Self(ModelChoice::ALL.iter().map(of).collect())
    }

    /// The default of the first model that has the setting.
    fn first(&self, key: &str) -> Option<&toml::Value> {
        self.0.iter().find_map(|all| all.get(key))
    }

    /// The defaults of the models that have the setting, each with its models where there are several; `quoted` makes
    /// a value stand out.
    pub fn of(&self, row: &Row, quoted: impl Fn(&str) -> String) -> String {
        let key = name(row.field);
        let mut values: Vec<(String, Vec<&str>)> = Vec::new();
        for (model, all) in ModelChoice::ALL.iter().zip(&self.0) {
            let value = match all.get(&key) {
                None => continue,
                Some(toml::Value::String(text)) if text.is_empty() => continue,
                Some(_) if FITTED.contains(&&*key) => FITS.to_owned(),
                Some(toml::Value::String(text)) => quoted(text),
                // A float as a flag takes it: 1.0 is 1.
                Some(toml::Value::Float(number)) => quoted(&number.to_string()),
                Some(value) => quoted(&value.to_string()),
            };
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, models)) => models.push(model.name()),
                None => values.push((value, vec![model.name()])),
            }
        }
        match &values[..] {
            _ if row.field == "model" || row.is_derived() => String::new(),
            [(value, _)] => value.clone(),
            several => {
                let each = several.iter();
                let each = each.map(|(value, models)| format!("{value} ({})", models.join(", ")));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

/// The values that a row takes, in words; `quoted` makes a name stand out.
pub(super) fn values(row: &Row, quoted: impl Fn(&str) -> String) -> String {
    let all = |names: &[&str]| {
        names
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (&row.range, row.names) {
        (Some(range), _) => range.clone(),
        (None, []) if row.is_switch => all(&["true", "false"]),
        (None, []) => row.value.unwrap_or_default().to_owned(),
        (None, names) => all(names),
    }
}

/// A setting of a command, as `textgen config` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documented {
    /// The heading that it stands under in the help.
    pub heading: String,
    /// Its key, which is also the flag's name.
    pub key: String,
    /// What it does, what values it takes, and its default.
    pub doc: String,
    /// Its default as TOML, or else a word for its value.
    pub value: String,
}

impl Settings {
    /// Every setting that has a flag.
    pub fn documented() -> Vec<Documented> {
        let defaults = Defaults::new();
        let plain = str::to_owned;
        let one = |row: &Row| {
            let key = name(row.field);
            let default = defaults.of(row, plain);
            let default = match &*default {
                "" | FITS => default,
                _ => format!("default: {default}"),
            };
            let facts = [values(row, plain), default].into_iter();
            let facts: Vec<String> = facts.filter(|fact| !fact.is_empty()).collect();
            let value = defaults.first(&key).filter(|_| !row.is_derived());
            let value = value.map(ToString::to_string);
            Documented {
                heading: row.heading.to_owned(),
                doc: match &facts[..] {
                    [] => row.doc.clone(),
                    facts => format!("{} ({})", row.doc, facts.join("; ")),
                },
                value: value
                    .unwrap_or_else(|| row.value.map_or_else(|| key.to_uppercase(), str::to_owned)),
                key,
            }
        };
        let rows = Self::rows().iter();
        rows.filter(|row| !row.heading.is_empty())
            .map(one)
            .collect()
    }
}
