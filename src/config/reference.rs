//! The reference page of the settings, `docs/settings.md`, made of the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::settings::Row;
use super::{ModelChoice, Settings, TrainConfig, name};

const INTRODUCTION: &str = "\
# Settings

Made from the table in `src/config/settings.rs` by `TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page`;
do not edit it.

Every setting is a flag of `textgen train` and `textgen sweep`, and a key of `config.toml` and `--config`
files. A flag overrides the file, the file overrides the default. With `--minutes`, `--from`, `--goal` or
`--recipe` some defaults are others (`textgen train --help`).
";

/// The whole page.
pub(super) fn page() -> String {
    let models = ModelChoice::ALL.iter().map(|&model| {
        let given = Settings {
            model: Some(model),
            ..Settings::default()
        };
        let config = TrainConfig::resolve(&given).expect("defaults are valid");
        let entries = config.to_settings().entries().into_iter();
        entries.map(|entry| (entry.key(), entry.value)).collect()
    });
    let models: Vec<BTreeMap<String, String>> = models.collect();
    let mut headings: Vec<&str> = Vec::new();
    for row in Settings::rows() {
        if !headings.contains(&row.heading) && !row.heading.is_empty() {
            headings.push(row.heading);
        }
    }
    let mut page = INTRODUCTION.to_owned();
    for heading in headings {
        let _ = write!(
            page,
            "\n## {heading}\n\n| setting | values | default | |\n|---|---|---|---|\n"
        );
        for row in Settings::rows().iter().filter(|row| row.heading == heading) {
            let key = name(row.field);
            let _ = writeln!(
                page,
                "| `{key}` | {} | {} | {} |",
                values(row),
                default(row, &key, &models),
                row.doc.replace('|', "\\|")
            );
        }
    }
    page
}

fn values(row: &Row) -> String {
    match (&row.range, row.names) {
        (Some(range), _) => range.clone(),
        (None, names) if !names.is_empty() => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
        (None, _) if row.is_switch => "`true`, `false`".to_owned(),
        (None, _) => row.value.unwrap_or_default().replace('|', "\\|"),
    }
}

/// The values of the models that have the setting, each with its models where there are several.
fn default(row: &Row, key: &str, models: &[BTreeMap<String, String>]) -> String {
    let mut values: Vec<(&String, Vec<&str>)> = Vec::new();
    for (model, all) in ModelChoice::ALL.iter().zip(models) {
        let Some(value) = all.get(key).filter(|value| !value.is_empty()) else {
            continue;
        };
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, models)) => models.push(model.name()),
            None => values.push((value, vec![model.name()])),
        }
    }
    match &values[..] {
        _ if row.field == "model" => String::new(),
        [(value, _)] => format!("`{value}`"),
        several => {
            let shown = several.iter();
            let shown = shown.map(|(value, models)| format!("`{value}` ({})", models.join(", ")));
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}
