//! `textgen eval`: the cost of held-out text and words, and the errors if there is nothing to
//! measure.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, json, model_of, textgen, texts, vae_words};
use super::made_runs::{baseline_run, exported, golden_run, made_words, word_run};
use super::safetensors_file::Parts;

/// The JSON object of `eval` with these arguments.
#[track_caller]
fn report(home: &Home, arguments: &str) -> Value {
    let ran = home
        .textgen(&format!("eval --json {arguments}"))
        .succeeded();
    json(&ran.stdout)
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

#[track_caller]
fn assert_close(found: &Value, want: f64, within: f64) {
    let found = number(found);
    assert!((found - want).abs() < within, "{found}, not {want}");
}

/// What the golden model's corpus costs, by split; of plain Python in double precision, a sum over
/// the cells' formulas, with the ranges that `split_text` documents.
const GOLDEN: [(&str, u64, f64); 3] = [
    ("contiguous", 210, 0.284_234_457_656_865_2),
    ("window:50", 210, 0.641_531_103_669_066_3),
    ("interleaved", 172, 2.735_585_101_014_669),
];

#[test]
fn the_golden_model_costs_what_plain_arithmetic_says() {
    for (split, tokens, nats) in GOLDEN {
        let home = Home::new();
        golden_run(&home, &format!("valid = 0.5\nsplit = \"{split}\"\n"));
        let report = report(&home, "golden");
        assert_eq!(report["tokens"], tokens, "{split}");
        assert_eq!(report["split"], split);
        let result = &report["results"][0];
        assert_close(&result["loss_nats_per_char"], nats, 1e-5);
        assert_close(
            &result["loss_bits_per_char"],
            nats / std::f64::consts::LN_2,
            2e-5,
        );
        assert_close(&result["perplexity"], nats.exp(), 2e-4);
        if split != "interleaved" {
            assert_eq!(report["bytes"], 216);
            let bits = nats * 210.0 / std::f64::consts::LN_2 / 216.0;
            assert_close(&result["bits_per_byte"], bits, 2e-5);
        }
    }
}

#[test]
fn a_figure_depends_on_neither_threads_nor_instructions() {
    for split in ["contiguous", "window:20", "interleaved"] {
        let home = Home::new();
        golden_run(&home, &format!("valid = 0.5\nsplit = \"{split}\"\n"));
        let first = home
            .textgen("eval golden --quantize int8 --json")
            .succeeded();
        for threads in [1, 2, 7] {
            let command = format!("eval golden --quantize int8 --json --threads {threads}");
            assert_eq!(home.textgen(&command).succeeded().stdout, first.stdout);
        }
        let mut portable = home.command(textgen());
        portable.args(["eval", "golden", "--quantize", "int8", "--json"]);
        portable.env("TEXTGEN_SIMD", "portable");
        assert_eq!(Ran::of(&mut portable).succeeded().stdout, first.stdout);
    }
}

#[test]
fn the_table_says_corpus_part_split_and_figures() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\ntest = 0.25\n");
    let ran = home.textgen("eval --part test").succeeded();
    assert_eq!(ran.stderr, "run: golden\n");
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let header = "MODEL CORPUS PART SPLIT TOKENS NATS/CHAR BITS/CHAR BITS/BYTE PERPLEXITY";
    assert_eq!(lines[0].join(" "), header);
    assert_eq!(lines[1][0], "f32");
    assert_eq!(lines[1][2..4], ["test", "contiguous"]);
    assert_eq!(lines[2][0], "unigram");
    assert!(lines[3][0].ends_with("-gram"), "{}", ran.stdout);
    assert!(lines[4].join(" ").starts_with("the network "));
    assert_eq!(lines.len(), 5, "{}", ran.stdout);
    // If the model is named, in either way, its name is not printed.
    for command in ["eval golden --part test", "eval --run golden --part test"] {
        let named = home.textgen(command).succeeded();
        assert_eq!(
            (named.stdout, named.stderr),
            (ran.stdout.clone(), String::new())
        );
    }
}

#[test]
fn a_test_part_that_chose_the_model_is_none() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    home.textgen("eval golden --part test")
        .refused(1)
        .names(&["golden has no test split"])
        .advises("train with --test 0.1");
    let ran = home
        .textgen("eval golden --part test --test 0.25")
        .succeeded();
    assert!(
        ran.stderr
            .contains("warning: 100.0 % of the characters evaluated are of the validation part"),
        "{ran:?}"
    );
}

#[test]
fn a_text_that_stands_where_the_model_does_is_told_its_place() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    home.write("my.txt", "It was late, and nobody came to the door.\n");
    home.textgen("eval my.txt")
        .refused(1)
        .names(&["my.txt: not a textgen model"])
        .advises("RUN my.txt");
}

#[test]
fn eight_bits_stand_beside_f32_with_what_they_cost() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let report = report(&home, "golden --quantize int8");
    let [whole, eight] = [0, 1].map(|row| &report["results"][row]);
    assert_eq!(
        (&whole["weights"], &eight["weights"]),
        (&"f32".into(), &"int8".into())
    );
    let bits = |row: &Value| number(&row["loss_bits_per_char"]);
    let cost = bits(eight) - bits(whole);
    assert!(cost != 0.0 && cost.abs() < 0.05, "{cost}");
    assert_close(&report["int8_costs_bits_per_char"], cost, 1e-12);
    let table = home
        .textgen("eval golden --quantize int8")
        .succeeded()
        .stdout;
    let last = table.lines().last().expect("a line");
    assert_eq!(last, format!("int8 costs {cost:+.4} bits/char"));

    // A run whose model is in eight bits already has the same figure, once.
    fs::copy(
        exported(&home, "golden"),
        home.path("runs/golden/model.safetensors"),
    )
    .expect("copied");
    let again = self::report(&home, "golden --quantize int8");
    assert_eq!(again["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(&again["results"][0], eight);
    assert!(again.get("int8_costs_bits_per_char").is_none());
}

#[test]
fn words_cost_d_and_r_and_the_seed_is_of_their_noise() {
    let home = Home::new();
    word_run(&home, "");
    let first = report(&home, "words");
    assert_eq!((&first["words"], &first["seed"]), (&20.into(), &0.into()));
    let row = &first["results"][0];
    let sum = number(&row["distortion_nats_per_word"]) + number(&row["rate_nats_per_word"]);
    assert_close(&row["neg_elbo_nats_per_word"], sum, 1e-9);
    let per_char = sum * 20.0 / number(&first["tokens"]);
    assert_close(&row["neg_elbo_nats_per_char"], per_char, 1e-9);
    assert_eq!(report(&home, "words --seed 0 --threads 1"), first);
    let other = report(&home, "words --seed 1");
    let distortion = |report: &Value| report["results"][0]["distortion_nats_per_word"].clone();
    let rate = |report: &Value| report["results"][0]["rate_nats_per_word"].clone();
    assert_ne!(distortion(&other), distortion(&first));
    assert_eq!(rate(&other), rate(&first), "R has no noise in it");
    let table = home
        .textgen("eval words --quantize int8 --iw 0 --samples 0")
        .succeeded()
        .stdout;
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .filter_map(|line| line.split_whitespace().next())
        .take(5)
        .collect();
    assert_eq!(rows[..3], ["MODEL", "word-vae", "word-vae"], "{table}");
    assert!(rows[3].ends_with("-gram"), "{table}");
    assert_eq!(rows[4], "int8", "{table}");
}

#[test]
fn bounds_fall_with_k_and_stand_in_the_table() {
    let home = Home::new();
    word_run(&home, "");
    let found = report(&home, "words --iw 200,3 --samples 0");
    let row = &found["results"][0];
    let bounds = row["iw"].as_array().expect("bounds");
    assert_eq!(bounds.len(), 2);
    assert_eq!((&bounds[0]["k"], &bounds[1]["k"]), (&3.into(), &200.into()));
    let nats = |value: &Value| number(&value["nats_per_word"]);
    // Of a decoder that has learnt nothing all samples cost about the same, but R is saved.
    assert!(nats(&bounds[1]) < number(&row["neg_elbo_nats_per_word"]));
    assert!(nats(&bounds[1]) < nats(&bounds[0]) + 0.1);
    let per_char = nats(&bounds[1]) * 20.0 / number(&found["tokens"]);
    assert_close(&bounds[1]["nats_per_char"], per_char, 1e-9);
    let bits = per_char / std::f64::consts::LN_2;
    assert_close(&bounds[1]["bits_per_char"], bits, 1e-9);
    assert_eq!(found["samples"], Value::Array(Vec::new()));
    assert_eq!(
        report(&home, "words --iw 200,3 --samples 0 --threads 1"),
        found
    );
    let table = home.textgen("eval words --iw 3,200").succeeded().stdout;
    for part in [
        "IW-3",
        "IW-200",
        "NATS/CHAR",
        "BITS/CHAR",
        "active",
        "KL(q(z)‖p(z))",
        "edits per word",
        "10000 WORDS OF",
        "HITS/NEW WORD",
        "z is ",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    home.textgen("eval words --iw many").refused(2);
}

#[test]
fn the_latents_figures_belong_together() {
    let home = Home::new();
    word_run(&home, "");
    let found = report(&home, "words --iw 0 --samples 500");
    let latent = &found["latent"];
    let rates = latent["rate_nats_per_dimension"].as_array().expect("rates");
    assert_eq!(rates.len(), 4);
    let rate: f64 = rates.iter().map(number).sum();
    assert_close(&latent["rate_nats"], rate, 1e-9);
    assert_close(&found["results"][0]["rate_nats_per_word"], rate, 1e-9);
    let ceiling = 20.0_f64.ln();
    assert_close(&latent["information_ceiling_nats"], ceiling, 1e-9);
    let information = number(&latent["information_nats"]);
    assert!(information <= ceiling, "{latent}");
    let parts = information + number(&latent["marginal_kl_nats"]);
    assert!((parts - rate).abs() < 1.5, "{parts} {rate}");
    // Weights that are random and not trained have a z with almost no information.
    assert_eq!(found["verdict"]["latent"], "collapsed", "{found}");
    let why = found["verdict"]["why"].as_str().expect("a reason");
    assert!(why.contains("--goal explore"), "{why}");
    let sampled = &found["samples"];
    let names: Vec<&Value> = sampled
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["name"])
        .collect();
    let order = found["baselines"]["ngram"]["order"]
        .as_u64()
        .expect("an order");
    assert_eq!(
        names,
        [&Value::from("word-vae"), &format!("{order}-gram").into()]
    );
    assert_eq!(sampled[0]["words"], 500);
}

#[test]
fn the_no_latent_baseline_is_shown_and_asked_for_if_it_is_missing() {
    let home = Home::new();
    let run = word_run(&home, "");
    let ran = home
        .textgen("eval words --json --iw 0 --samples 100")
        .succeeded();
    assert!(json(&ran.stdout)["baselines"]["no_latent"].is_null());
    assert!(
        ran.stderr.contains("textgen train --baseline no-latent"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);

    let baseline = baseline_run(&home);
    let ran = home
        .textgen("eval words --json --iw 0 --samples 100")
        .succeeded();
    assert_eq!(ran.stderr, "");
    let found = json(&ran.stdout);
    let row = &found["baselines"]["no_latent"];
    assert_eq!(row["name"], "words-twin");
    assert_eq!(found["samples"].as_array().map(Vec::len), Some(3));
    // Evaluated alone it costs the same, without z and without noise.
    let alone = report(&home, "words-twin --samples 100 --seed 7");
    let whole = &alone["results"][0];
    assert_eq!(whole["rate_nats_per_word"], 0.0);
    assert_close(
        &whole["neg_elbo_nats_per_word"],
        number(&row["nats_per_word"]),
        1e-9,
    );
    assert_eq!(whole["iw"], Value::Array(Vec::new()));
    assert!(alone["latent"].is_null() && alone["verdict"].is_null());
    let gain =
        number(&row["nats_per_word"]) - number(&found["results"][0]["neg_elbo_nats_per_word"]);
    assert_close(&row["model_gains_nats_per_word"], gain, 1e-9);
    // Its own report uses the same name.
    assert_eq!(alone["samples"][0]["name"], "words-twin");
    let table = home
        .textgen("eval words-twin --samples 100")
        .succeeded()
        .stdout;
    assert!(table.contains("\nwords-twin f32 "), "{table}");
    assert!(!table.contains("word-vae"), "{table}");
    // It also generates.
    let words = home
        .textgen("generate --run words-twin --count 5 --seed 1")
        .succeeded()
        .stdout;
    assert_eq!(words.lines().count(), 5);

    // A model with a latent variable is not a baseline, nor is one of other words.
    fs::copy(run.model_path(), baseline.model_path()).expect("copied");
    let ran = home
        .textgen("eval words --json --iw 0 --samples 0")
        .succeeded();
    assert!(
        ran.stderr.contains("passed over words-twin"),
        "{}",
        ran.stderr
    );
    assert!(json(&ran.stdout)["baselines"]["no_latent"].is_null());
}

#[test]
fn the_runs_of_a_sweep_share_its_baseline() {
    let home = Home::new();
    made_words(&home, "s-rate-0.5", "latent = 4\nrate = 0.5");
    made_words(&home, "s-twin", "latent = 0");
    let ran = home
        .textgen("eval s-rate-0.5 --json --iw 0 --samples 100")
        .succeeded();
    assert_eq!(ran.stderr, "");
    let found = json(&ran.stdout);
    assert_eq!(found["baselines"]["no_latent"]["name"], "s-twin");
    assert_eq!(found["samples"][1]["name"], "s-twin");
    // A baseline of its own comes before, and a new name before an old one.
    made_words(&home, "s-no-latent", "latent = 0");
    let found = report(&home, "s-rate-0.5 --iw 0 --samples 0");
    assert_eq!(found["baselines"]["no_latent"]["name"], "s-no-latent");
    fs::remove_dir_all(home.path("runs/s-no-latent")).expect("removed");
    made_words(&home, "s-rate-0.5-twin", "latent = 0");
    let found = report(&home, "s-rate-0.5 --iw 0 --samples 0");
    assert_eq!(found["baselines"]["no_latent"]["name"], "s-rate-0.5-twin");
    // The list of runs marks baselines, but not a run that only has such a name.
    made_words(&home, "words", "latent = 4");
    made_words(&home, "words-twin", "latent = 4");
    made_words(&home, "other-twin", "latent = 0");
    let list = json(&home.textgen("runs --json").succeeded().stdout);
    let baselines: Vec<[Option<&str>; 2]> = list
        .as_array()
        .expect("runs")
        .iter()
        .map(|run| ["name", "baseline_of"].map(|key| run[key].as_str()))
        .filter(|[_, of]| of.is_some())
        .collect();
    assert_eq!(baselines.len(), 2, "{baselines:?}");
    assert!(baselines.contains(&[Some("s-twin"), Some("s-rate-*")]));
    assert!(baselines.contains(&[Some("s-rate-0.5-twin"), Some("s-rate-0.5")]));
    let table = home.textgen("runs").succeeded().stdout;
    assert!(table.contains("new, baseline of s-rate-0.5 "), "{table}");
}

#[test]
fn the_flags_of_words_are_refused_for_texts() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    for flag in ["--iw 100", "--samples 10"] {
        let name = flag.split(' ').next().expect("a flag");
        home.textgen(&format!("eval golden {flag}"))
            .refused(2)
            .names(&[name, "word-vae"]);
    }
}

#[test]
fn bits_a_byte_are_unknown_where_tokens_are() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    // The most frequent token becomes one that was cut: its place is the last.
    let cut = |path: &std::path::Path| {
        let parts = Parts::read(path).edit(|header| {
            let vocabulary = &mut header["vocabulary"];
            let tokens = vocabulary["symbols"].as_array_mut().expect("tokens");
            tokens.pop();
            let unk = tokens.len();
            vocabulary["unk"] = unk.into();
            vocabulary["cut"] = 1.into();
        });
        fs::write(path, parts.to_bytes()).expect("written");
    };
    cut(&home.path("runs/golden/model.safetensors"));
    cut(&home.path("runs/golden/corpus.safetensors"));
    let report = report(&home, "golden");
    assert!(number(&report["unknown_tokens"]) > 0.0, "{report}");
    assert!(report["bytes"].is_null());
    assert!(report["results"][0]["bits_per_byte"].is_null());
    // What it costs is the same: `<unk>` is a token like others.
    assert_close(
        &report["results"][0]["loss_nats_per_char"],
        GOLDEN[0].2,
        1e-5,
    );
}

#[test]
fn a_part_that_does_not_exist_is_refused_with_the_way_to_get_one() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    word_run(&home, "");
    for run in ["golden", "words"] {
        home.textgen(&format!("eval {run} --part test"))
            .refused(1)
            .names(&[run, "no test split"])
            .advises("--test 0.1");
    }
    let home = Home::new();
    golden_run(&home, "valid = 0.0\n");
    home.textgen("eval")
        .refused(1)
        .names(&["golden", "valid"])
        .advises("--valid 0.1");
    home.textgen("eval golden --part train")
        .refused(2)
        .names(&["train"]);
}

#[test]
fn a_run_that_is_not_whole_is_refused() {
    let home = Home::new();
    home.textgen("eval")
        .refused(1)
        .names(&["no runs"])
        .advises("train");
    golden_run(&home, "valid = 0.5\n");
    home.textgen("eval other")
        .refused(1)
        .names(&["other"])
        .advises("textgen runs");
    home.textgen("eval one two --run other").refused(2);
    home.textgen("eval golden --quantize int4")
        .refused(2)
        .names(&["int4", "int8"]);
    home.textgen("eval golden --seed 1")
        .refused(2)
        .names(&["--seed", "char-lstm"]);

    let corpus = home.path("runs/golden/corpus.safetensors");
    let other = Home::new();
    word_run(&other, "");
    fs::copy(other.path("runs/words/corpus.safetensors"), &corpus).expect("copied");
    home.textgen("eval golden").refused(1).names(&[
        "golden",
        "corpus.safetensors",
        "model.safetensors",
    ]);
    fs::remove_file(corpus).expect("removed");
    home.textgen("eval golden")
        .refused(1)
        .names(&["corpus.safetensors", "missing"]);
    fs::remove_file(home.path("runs/golden/model.safetensors")).expect("removed");
    home.textgen("eval golden")
        .refused(1)
        .names(&["model.safetensors", "missing"]);
}

#[test]
fn the_articles_network_has_no_figure() {
    let home = Home::new();
    word_run(&home, "recipe = \"article\"");
    home.textgen("eval words")
        .refused(2)
        .names(&["words", "article", "no probability"])
        .advises("--recipe article");
}

#[test]
fn a_trained_model_costs_what_the_trainer_measured() {
    let home = Home::with_run(texts());
    let metrics = fs::read_to_string(home.path("runs/texts/metrics.jsonl")).expect("metrics");
    let best = metrics
        .lines()
        .map(|line| number(&json(line)["valid"]["loss_nats_per_char"]))
        .fold(f64::INFINITY, f64::min);
    let found = report(&home, "texts");
    assert_close(&found["results"][0]["loss_nats_per_char"], best, 1e-4);

    let home = Home::with_run(vae_words());
    let header = Parts::read(&model_of(vae_words())).textgen();
    let found = report(&home, "words");
    // The trainer samples other noise for D.
    let (row, valid) = (&found["results"][0], &header["valid"]);
    let name = "rate_nats_per_word";
    assert_close(&row[name], number(&valid[name]), 1e-3);
    let name = "distortion_nats_per_word";
    assert_close(&row[name], number(&valid[name]), 0.1);
}
