//! Defaults, ranges, files of both formats, and the reference page, which is made here.

use std::fmt::Write as _;

use super::documented::{Defaults, values};
use super::*;

#[test]
fn text_settings_that_came_later_are_left_out_at_their_defaults() {
    let json = serde_json::to_value(TextConfig::default()).expect("JSON");
    assert!(json.get("encoding").is_some());
    assert!(json.get("field").is_none() && json.get("strip").is_none());
    let own = TextConfig {
        field: "body".to_owned(),
        strip: Strip::Gutenberg,
        ..TextConfig::default()
    };
    for config in [TextConfig::default(), own] {
        let json = serde_json::to_value(&config).expect("JSON");
        let back: TextConfig = serde_json::from_value(json).expect("settings");
        assert_eq!(back, config);
    }
}

#[test]
fn a_flag_wins_over_a_file() {
    let flags = Settings {
        hidden: Some(7),
        epochs: Some(2.0),
        ..Settings::default()
    };
    let file = Settings {
        hidden: Some(9),
        layers: Some(2),
        steps: Some(5),
        ..Settings::default()
    };
    let both = flags.over(file);
    assert_eq!((both.hidden, both.layers), (Some(7), Some(2)));
    assert_eq!((both.epochs, both.steps), (Some(2.0), None));
}

#[test]
fn any_name_of_a_corpus_reads_back_the_same() {
    let names = [
        "",
        "a\nseed = 7\nb",
        "\r\n",
        "'\"\\#",
        "\"\"\"\n'''",
        "é\u{1b}[31m\u{202e}\u{7f}",
        " # ",
    ];
    for name in names {
        let settings = Settings {
            corpus: Some(vec![name.to_owned(), "b".to_owned()]),
            corpus_name: Some(name.to_owned()),
            seed: Some(3),
            ..Settings::default()
        };
        let text = settings.to_toml().expect("written");
        let read = Settings::parse(&text, "config.toml").expect("readable");
        assert_eq!(read, settings, "{name:?} in {text}");
    }
}

#[test]
fn a_written_file_reads_back_the_same() {
    let settings = Settings {
        format: Some(2),
        model: Some(ModelChoice::WordVae),
        corpus: Some(vec!["a \"b\".txt".to_owned(), "c # d".to_owned()]),
        lr: Some(0.002),
        seq_min: Some(10),
        lowercase: Some(true),
        pretrain_decoder: Some(0.25),
        ..Settings::default()
    };
    let text = settings.to_toml().expect("serialisable");
    assert_eq!(Settings::parse(&text, "test").expect("valid"), settings);
    assert!(text.contains("# Learning rate at its highest"), "{text}");
}

#[test]
fn an_unknown_key_names_file_and_line() {
    let error = Settings::parse("hidden = 3\nhiden = 4\n", "x.toml")
        .expect_err("unknown key")
        .to_string();
    assert!(
        error == "x.toml:2: no setting is named `hiden`; did you mean `hidden`?",
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused() {
    let error = Settings::parse("format = 99\n", "x.toml")
        .expect_err("newer")
        .to_string();
    assert!(error.contains("format 99"), "{error}");
}

#[test]
fn a_run_from_before_decoders_learnt_alone_is_repeated_as_it_was() {
    let of = |text: &str| Settings::parse(text, "x").expect("valid").pretrain_decoder;
    assert_eq!(of("format = 2\nmodel = \"word-vae\"\n"), Some(0.0));
    let other = "format = 2\nmodel = \"word-vae\"\npretrain-decoder = 0.5\n";
    assert_eq!(of(other), Some(0.5));
    for own in [
        "model = \"word-vae\"\n",
        "format = 2\nmodel = \"char-lstm\"\n",
        "format = 2\nmodel = \"word-vae\"\nrecipe = \"article\"\n",
    ] {
        assert_eq!(of(own), None);
    }
}

/// The config.toml of a run of July 2026, which has every setting, and none of those that came later.
#[test]
fn a_file_of_format_1_means_what_it_meant() {
    let old = "format = 1\nmodel = \"char-lstm\"\nrecipe = \"default\"\ncell = \"lstm\"\nlatent = 0\nz = \"both\"\n\
         bidirectional = false\ngoal = \"density\"\nrate = 0.0\nbeta = 1.0\nkl-warmup = 0.0\ndecoder-dropout = 0.3\nlr = 0.01\n";
    let config = TrainConfig::resolve(&Settings::parse(old, "x").expect("valid")).expect("valid");
    assert_eq!(
        (config.beta2, config.lr, config.cell),
        (0.999, 0.01, Cell::Lstm)
    );
    let error = TrainConfig::resolve(&Settings::parse(&old[11..], "x").expect("valid"));
    assert!(
        error
            .expect_err("strict")
            .to_string()
            .contains("belongs to word-vae")
    );
    let words = "format = 1\nmodel = \"word-vae\"\nseq = 0\nsplit = \"contiguous\"\ntied = false\n";
    let config = Settings::parse(words.replace("seq = 0\n", "").as_str(), "x").expect("valid");
    assert_eq!((config.split, config.tied), (None, None));
    let config = Settings::parse(words, "x").expect("valid");
    TrainConfig::resolve(&config).expect("valid");
    let short = Settings::parse("format = 1\nmodel = \"char-lstm\"\n", "x").expect("valid");
    assert_eq!(TrainConfig::resolve(&short).expect("valid").cell, Cell::Gru);
}

#[test]
fn every_setting_is_set_by_the_text_that_shows_it() {
    for model in ModelChoice::ALL {
        let given = Settings {
            model: Some(*model),
            ..Settings::default()
        };
        let all = TrainConfig::resolve(&given).expect("valid").to_settings();
        let mut again = Settings::default();
        for entry in all.entries() {
            again.set(&entry.key(), &entry.value).expect("read");
        }
        again.corpus = all.corpus.clone();
        assert_eq!(again, all);
    }
    let error = Settings::default().set("hiden", "3").expect_err("unknown");
    assert!(error.to_string().contains("no setting hiden"));
    let error = Settings::default().set("hidden", "x").expect_err("wrong");
    assert!(error.to_string().starts_with("--hidden x: "), "{error}");
}

/// `docs/settings.md` is made of the table: `TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page` writes it.
#[test]
fn the_reference_page_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
    let page = page();
    if std::env::var_os("TEXTGEN_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("written");
    }
    let committed = std::fs::read_to_string(path).expect("a page");
    let how =
        "TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page writes docs/settings.md anew";
    assert!(committed == page, "the table has changed: {how}");
}

/// `python/textgen/_settings.pyi` is made of the table, in the same way.
#[test]
fn the_reference_page_for_python_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/python/textgen/_settings.pyi");
    let page = python_page();
    if std::env::var_os("TEXTGEN_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("written");
    }
    let committed = std::fs::read_to_string(path).expect("a page");
    let how = "TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page writes it anew";
    assert!(committed == page, "the table has changed: {how}");
}

/// The types of the settings in Python.
fn python_page() -> String {
    let mut page = "\
# Made from the table in src/config/settings.rs by `TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page`.

from os import PathLike
from typing import Literal, SupportsFloat, SupportsIndex, TypedDict

class Settings(TypedDict, total=False):
"
    .to_owned();
    for row in Settings::rows()
        .iter()
        .filter(|row| !row.heading.is_empty())
    {
        let numbered = row.names.iter().any(|name| name.contains(['N', 'K']));
        let name = match row.field {
            "from" => "from_",
            field => field,
        };
        let kind = match row.type_name {
            "bool" => "bool".to_owned(),
            "u32" | "u64" | "usize" => "SupportsIndex".to_owned(),
            "f64" => "SupportsFloat | SupportsIndex".to_owned(),
            _ if row.names.is_empty() && name == "from_" => "str | PathLike[str]".to_owned(),
            _ if row.names.is_empty() || numbered => "str".to_owned(),
            _ => {
                let names = row.names.iter().map(|name| format!("{name:?}"));
                format!("Literal[{}]", names.collect::<Vec<_>>().join(", "))
            }
        };
        let _ = writeln!(page, "    {name}: {kind} | None");
    }
    page
}

fn given(model: ModelChoice) -> Settings {
    Settings {
        model: Some(model),
        ..Settings::default()
    }
}

#[test]
fn resolved_settings_resolve_to_themselves() {
    for (model, recipe) in [
        (ModelChoice::CharLstm, Recipe::Default),
        (ModelChoice::CharLstm, Recipe::Notebook),
        (ModelChoice::WordVae, Recipe::Default),
        (ModelChoice::WordVae, Recipe::Article),
    ] {
        let config = TrainConfig::resolve(&Settings {
            recipe: Some(recipe),
            ..given(model)
        })
        .expect("valid defaults");
        let text = config.to_settings().to_toml().expect("serialisable");
        let again =
            TrainConfig::resolve(&Settings::parse(&text, "test").expect("valid")).expect("valid");
        assert_eq!(config, again);
    }
}

#[test]
fn weights_are_tied_only_where_they_have_one_size() {
    let tied = |embedding| Settings {
        tied: Some(true),
        hidden: Some(24),
        embedding: Some(embedding),
        ..given(ModelChoice::CharLstm)
    };
    let config = TrainConfig::resolve(&tied(24)).expect("valid");
    assert!(matches!(config.model, ModelConfig::CharRnn(own) if own.tied));
    for embedding in [0, 16] {
        let error = TrainConfig::resolve(&tied(embedding)).expect_err("refused");
        assert!(error.to_string().contains("--tied"), "{error}");
    }
}

#[test]
fn a_word_vae_may_be_without_z_but_not_the_articles() {
    let latent = |recipe| Settings {
        latent: Some(0),
        recipe: Some(recipe),
        ..given(ModelChoice::WordVae)
    };
    let config = TrainConfig::resolve(&latent(Recipe::Default)).expect("valid");
    assert!(config.is_without_z() && !config.has_latent_space());
    let error = TrainConfig::resolve(&latent(Recipe::Article)).expect_err("refused");
    assert!(error.to_string().contains("--latent 0"), "{error}");
}

#[test]
fn where_z_enters_is_refused_where_there_is_none_or_no_choice() {
    let resolve = |given: Settings, z| TrainConfig::resolve(&Settings { z, ..given });
    let vae = || given(ModelChoice::WordVae);
    let entering = |config: Result<TrainConfig, ConfigError>| {
        config.expect("valid").word_vae().expect("a word-vae").z
    };
    let none = Settings {
        latent: Some(0),
        ..vae()
    };
    let article = Settings {
        recipe: Some(Recipe::Article),
        ..vae()
    };
    for z in [ZPlacement::Start, ZPlacement::Steps] {
        assert_eq!(entering(resolve(vae(), Some(z))), z);
        for given in [given(ModelChoice::CharLstm), none.clone(), article.clone()] {
            let error = resolve(given, Some(z)).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("--z {z}: ")), "{error}");
        }
    }
    assert_eq!(entering(resolve(vae(), None)), ZPlacement::Both);
    let config = resolve(vae(), Some(ZPlacement::Steps)).expect("valid");
    let baseline = config.no_latent_baseline().expect("it has a z");
    baseline.validate().expect("a baseline is valid");
    assert!(baseline.is_without_z() && baseline.no_latent_baseline().is_none());
}

#[test]
fn a_char_lstm_is_an_lstm_and_a_char_gru_the_same_model_with_another_cell() {
    let resolve = |settings: Settings| TrainConfig::resolve(&settings).expect("valid");
    let lstm = resolve(given(ModelChoice::CharLstm));
    let gru = resolve(given(ModelChoice::CharGru));
    assert_eq!((lstm.cell, lstm.lr, lstm.beta2), (Cell::Lstm, 0.03, 0.99));
    assert_eq!((gru.cell, gru.lr, gru.beta2), (Cell::Gru, 0.01, 0.999));
    assert_eq!(
        (lstm.kind(), gru.kind()),
        (ModelKind::CharRnn, ModelKind::CharRnn)
    );
    assert_eq!(gru.to_settings().model, Some(ModelChoice::CharLstm));
    let named = resolve(Settings {
        cell: Some(Cell::Gru),
        ..given(ModelChoice::CharLstm)
    });
    assert_eq!(named, gru);
    let embedded = resolve(Settings {
        embedding: Some(16),
        ..given(ModelChoice::CharLstm)
    });
    assert!((embedded.lr - 0.012).abs() < 1e-12);
}

#[test]
fn a_recipe_implies_its_model() {
    let of = |recipe| {
        TrainConfig::resolve(&Settings {
            recipe: Some(recipe),
            ..Settings::default()
        })
    };
    let notebook = of(Recipe::Notebook).expect("valid");
    assert_eq!((notebook.cell, notebook.beta2), (Cell::Lstm, 0.999));
    assert_eq!(notebook.optimizer, OptimizerKind::Amsgrad);
    assert!(matches!(
        of(Recipe::Article).expect("valid").model,
        ModelConfig::Article(_)
    ));
    assert!(of(Recipe::Default).is_err());
}

#[test]
fn what_belongs_to_the_other_model_is_refused() {
    for (key, value, model, part) in [
        (
            "latent",
            "5",
            ModelChoice::CharLstm,
            "--latent 5: belongs to word-vae",
        ),
        (
            "kl-warmup",
            "0.1",
            ModelChoice::CharGru,
            "--kl-warmup 0.1: belongs to word-vae",
        ),
        (
            "seq",
            "9",
            ModelChoice::WordVae,
            "--seq 9: belongs to char-lstm",
        ),
    ] {
        let mut settings = given(model);
        settings.set(key, value).expect("a value");
        let error = TrainConfig::resolve(&settings).expect_err(part).to_string();
        assert_eq!(error, part);
    }
}

#[test]
fn two_budgets_at_once_are_refused() {
    let both = Settings {
        steps: Some(5),
        minutes: Some(1.0),
        ..given(ModelChoice::CharLstm)
    };
    let error = TrainConfig::resolve(&both)
        .expect_err("conflict")
        .to_string();
    assert!(error.contains("--steps and --minutes"), "{error}");
}

#[test]
fn settings_written_before_there_was_a_precision_mean_f32() {
    let config = TrainConfig::resolve(&given(ModelChoice::CharLstm)).expect("valid defaults");
    let text = config.to_settings().to_toml().expect("serialisable");
    let old: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("precision"))
        .collect();
    assert!(old.len() < text.len());
    let again = TrainConfig::resolve(&Settings::parse(&old, "test").expect("valid"));
    assert_eq!(again.expect("valid"), config);
    assert_eq!(config.precision, Precision::F32);
}

#[test]
fn tf32_is_refused_on_the_cpu_alone() {
    let resolve = |device: &str, precision| {
        TrainConfig::resolve(&Settings {
            device: Some(device.parse().expect("a device")),
            precision: Some(precision),
            ..given(ModelChoice::WordVae)
        })
    };
    let error = resolve("cpu", Precision::Tf32)
        .expect_err("CPU")
        .to_string();
    let want = "--precision tf32: needs a CUDA device; --device cpu";
    assert!(error.starts_with(want), "{error}");
    for precision in [Precision::Tf32, Precision::Bf16] {
        for device in ["auto", "cuda"] {
            assert_eq!(
                resolve(device, precision).expect("valid").precision,
                precision
            );
        }
    }
    for precision in [Precision::F32, Precision::Bf16] {
        resolve("cpu", precision).expect("valid");
    }
}

#[test]
fn a_value_out_of_range_is_named_with_its_range() {
    for (settings, part) in [
        (
            Settings {
                hidden: Some(0),
                ..given(ModelChoice::CharLstm)
            },
            "--hidden 0: must be 1 to 16384",
        ),
        (
            Settings {
                lr: Some(f64::NAN),
                ..given(ModelChoice::CharLstm)
            },
            "--lr NaN: must be above 0",
        ),
        (
            Settings {
                epochs: Some(-1.0),
                ..given(ModelChoice::WordVae)
            },
            "--epochs -1: must be above 0",
        ),
        (
            Settings {
                valid: Some(0.6),
                test: Some(0.5),
                ..given(ModelChoice::WordVae)
            },
            "--test 0.5",
        ),
        (
            Settings {
                recipe: Some(Recipe::Article),
                ..given(ModelChoice::CharLstm)
            },
            "--recipe article",
        ),
    ] {
        let error = TrainConfig::resolve(&settings).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

const INTRODUCTION: &str = "\
# Settings

Made from the table in `src/config/settings.rs` by `TEXTGEN_WRITE_DOCS=1 cargo test --lib the_reference_page`;
do not edit it.

Every setting is a flag of `textgen train` and `textgen sweep`, and a key of `config.toml` and `--config`
files. A flag overrides the file, the file overrides the default. What fits the corpus is chosen by the corpus and the
budget, and printed. With `--from`, `--goal` or `--recipe` some defaults are others (`textgen train --help`).
";

/// The text of `docs/settings.md`.
fn page() -> String {
    let defaults = Defaults::new();
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
            let cells = [
                values(row, quoted),
                defaults.of(row, quoted),
                row.doc.clone(),
            ];
            let cells = cells.map(|cell| cell.replace('|', "\\|")).join(" | ");
            let _ = writeln!(page, "| `{}` | {cells} |", name(row.field));
        }
    }
    page
}

fn quoted(value: &str) -> String {
    if value.contains(' ') {
        value.to_owned()
    } else {
        format!("`{value}`")
    }
}

proptest::proptest! {
    #[test]
    fn any_string_comes_back_from_a_settings_file(
        strings in proptest::collection::vec("(?s).{0,30}|[\n\r\t\u{0}\u{1b}\u{7f}\u{85}\u{2028}\u{202e}\u{fdd0}\"'\\\\#=\\[\\]]{0,9}", 5),
    ) {
        let [corpus, name, from, encoding, field] = &strings[..] else {
            unreachable!("there are five");
        };
        let mut given = Settings {
            model: Some(ModelChoice::CharLstm),
            steps: Some(3),
            corpus: Some(vec![corpus.clone(), name.clone()]),
            corpus_name: Some(name.clone()),
            from: Some(from.clone()),
            encoding: Some(encoding.clone()),
            field: Some(field.clone()),
            ..Settings::default()
        };
        // As a separator is typed, if it can be one.
        let _ = given.set("documents", &crate::text::as_typed(corpus));
        let written = given.to_toml().expect("TOML");
        let read = Settings::parse(&written, "file").expect("TOML");
        proptest::prop_assert_eq!(&read, &given, "{}", written);
    }
}

#[test]
fn what_is_no_number_says_what_it_must_be() {
    let said = |key, text| {
        let error = Settings::default().set(key, text).expect_err("no number");
        error.to_string()
    };
    for text in ["", "x", "1.5", "-1"] {
        let must = "must be a whole number, and not below 0";
        for key in ["hidden", "seed"] {
            assert_eq!(said(key, text), format!("--{key} {text}: {must}"));
        }
    }
    assert_eq!(said("lr", "fast"), "--lr fast: must be a number");
}

#[test]
fn a_whole_number_that_no_settings_file_can_hold_is_refused() {
    let mut settings = Settings::default();
    settings
        .set("seed", &i64::MAX.to_string())
        .expect("the largest");
    let written = settings.to_toml().expect("TOML");
    assert_eq!(Settings::parse(&written, "file").expect("TOML"), settings);
    for seed in [1 << 63, u64::MAX] {
        let error = settings
            .set("seed", &seed.to_string())
            .expect_err("too large");
        assert!(error.to_string().contains("must be below 2^63"), "{error}");
        // A file can name one all the same.
        for key in ["seed", "max-vocab", "min-freq"] {
            let given = Settings::parse(&format!("{key} = {seed}"), "file").expect("TOML");
            let error = given.check_ranges().expect_err("too large");
            assert!(error.to_string().contains("must be below 2^63"), "{error}");
        }
    }
}
