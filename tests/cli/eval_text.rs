//! `textgen eval` on any text, by any protocol, compared with n-gram models of the training text.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, golden_model, json, repository, textgen};
use super::made_runs::{golden_run, word_run};

/// What the golden model's corpus costs in its second half, as `eval.rs` has it from plain arithmetic.
const HALF: [(&str, f64); 3] = [
    ("contiguous", 0.284_234_457_656_865_2),
    ("window:50", 0.641_531_103_669_066_3),
    ("interleaved", 2.735_585_101_014_669),
];

/// The JSON object and stderr of `eval` with these arguments.
#[track_caller]
fn report(home: &Home, arguments: &str) -> (Value, String) {
    let ran = home
        .textgen(&format!("eval --json {arguments}"))
        .succeeded();
    (json(&ran.stdout), ran.stderr)
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn nats(report: &Value) -> f64 {
    number(&report["results"][0]["loss_nats_per_char"])
}

/// The golden model and its corpus as files.
fn files(home: &Home) {
    fs::copy(golden_model(), home.path("model.safetensors")).expect("copied");
    let corpus = repository("tests/golden-run/corpus.txt");
    fs::copy(corpus, home.path("corpus.txt")).expect("copied");
}

#[test]
fn a_model_file_and_a_corpus_cost_what_the_run_costs_under_every_protocol() {
    let home = Home::new();
    files(&home);
    golden_run(&home, "valid = 0.5\n");
    for (protocol, want) in HALF {
        let asked = format!("--protocol {protocol} --part valid --valid 0.5");
        for model in [
            "model.safetensors corpus.txt",
            "--model-file model.safetensors corpus.txt",
            "golden",
            "golden corpus.txt",
            "--run golden corpus.txt",
        ] {
            let (found, _) = report(&home, &format!("{model} {asked}"));
            assert!((nats(&found) - want).abs() < 1e-5, "{model} {protocol}");
            assert_eq!(
                (&found["split"], &found["part"]),
                (&protocol.into(), &"valid".into())
            );
            assert_eq!(found["text"], "corpus");
        }
    }
}

#[test]
fn a_figure_of_text_that_was_trained_on_is_warned_of() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let (held_out, quiet) = report(&home, "golden --protocol window:50");
    assert_eq!(
        (&held_out["trained_on_tokens"], &quiet[..]),
        (&0.into(), "")
    );
    let (mixed, warning) = report(&home, "golden --protocol interleaved");
    let trained = mixed["trained_on_tokens"].as_u64().expect("a count");
    let fraction = trained as f64 / number(&mixed["tokens"]);
    assert!(
        (0.4..0.6).contains(&fraction),
        "half of each stream: {fraction}"
    );
    assert_eq!(warning.lines().count(), 1, "{warning}");
    assert!(
        warning.starts_with("warning: ") && warning.contains("trained"),
        "{warning}"
    );
    assert!(warning.contains(mixed["warnings"][0].as_str().expect("a warning")));
    let (all, _) = report(&home, "golden --part all");
    assert_eq!(
        (&all["tokens"], &all["trained_on_tokens"]),
        (&421.into(), &210.into())
    );
    // An excerpt of it is another file, but the same text.
    files(&home);
    let corpus = fs::read_to_string(home.path("corpus.txt")).expect("the corpus");
    let excerpt: String = corpus.chars().take(150).collect();
    home.write("excerpt.txt", &excerpt);
    let (found, warning) = report(&home, "golden excerpt.txt --no-baselines");
    assert!(number(&found["trained_on_tokens"]) > 140.0, "{found}");
    assert!(
        warning.contains("% of the characters evaluated are in"),
        "{warning}"
    );
    // A model file does not record what was held out.
    let (_, warning) = report(&home, "model.safetensors corpus.txt --no-baselines");
    assert!(warning.contains("does not say which part"), "{warning}");
}

#[test]
fn another_text_is_read_whole_in_the_models_normal_form() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    // Normal form NFC: the accent and its letter are one character, which the model does not know.
    home.write("other.txt", "A hen, e\u{301}\u{301}, and a hill.\n");
    let (found, warning) = report(&home, "golden other.txt");
    assert_eq!(
        (&found["part"], &found["text"]),
        (&"all".into(), &"other".into())
    );
    assert_eq!(found["left_out_tokens"], 2);
    assert_eq!(found["tokens"], 20);
    assert_eq!(found["trained_on_tokens"], 0);
    assert!(
        warning.contains("2 of 23 characters") && warning.contains("left out"),
        "{warning}"
    );
    // Left out means that the text costs what it costs without them.
    home.write("without.txt", "A hen, , and a hill.\n");
    home.write("more.txt", "A hen, é, and a hill.\n");
    let figures = |file: &str| nats(&report(&home, &format!("golden {file}")).0);
    assert_eq!(figures("more.txt"), figures("without.txt"));
    let mut command = home.command(textgen());
    command.args(["eval", "--run", "golden", "-", "--json"]);
    let piped = Ran::of(command.write_stdin("A hen, , and a hill.\n")).succeeded();
    assert_eq!(nats(&json(&piped.stdout)), figures("without.txt"));
    home.write("latin.txt", b"caf\xE9 and tea\n");
    home.textgen("eval golden latin.txt")
        .refused(1)
        .advises("--encoding");
    let (latin, _) = report(&home, "golden latin.txt --encoding latin-1");
    assert_eq!(latin["left_out_tokens"], 1);
}

#[test]
fn n_gram_models_of_the_training_part_stand_beside_the_network() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let (found, _) = report(&home, "golden");
    let baselines = &found["baselines"];
    assert_eq!(baselines["order_chosen_on_valid"], true);
    assert_eq!(baselines["unigram"]["order"], 1);
    let order = baselines["ngram"]["order"].as_u64().expect("an order");
    assert!((1..=16).contains(&order));
    let bits = |row: &Value| number(&row["loss_bits_per_char"]);
    let (unigram, ngram) = (&baselines["unigram"], &baselines["ngram"]);
    assert!(bits(ngram) <= bits(unigram));
    let gain = bits(ngram) - bits(&found["results"][0]);
    assert!((number(&ngram["network_gains_bits_per_char"]) - gain).abs() < 1e-12);
    // The unigram by hand: modified Kneser-Ney over the first 211 characters, 40 tokens in all.
    let text = fs::read_to_string(repository("tests/golden-run/corpus.txt")).expect("a corpus");
    let text: Vec<char> = text.chars().collect();
    let (training, valid) = text.split_at(text.len() - text.len().div_ceil(2));
    let mut kinds = training.to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let count = |c: &char| training.iter().filter(|&other| other == c).count();
    let n = |k: usize| kinds.iter().filter(|&c| count(c) == k).count() as f64;
    let y = n(1) / (n(1) + 2.0 * n(2));
    let discounts = [1, 2, 3].map(|k| {
        let estimate = k as f64 - (k + 1) as f64 * y * n(k + 1) / n(k);
        if estimate > 0.0 && n(k + 1) > 0.0 {
            estimate
        } else {
            k as f64 / 2.0
        }
    });
    let discount = |count: usize| discounts[count.min(3) - 1];
    let taken: f64 = kinds.iter().map(|c| discount(count(c))).sum();
    let surprisal = |c: &char| {
        let seen = count(c);
        let kept = if seen > 0 {
            seen as f64 - discount(seen)
        } else {
            0.0
        };
        -((kept + taken / 40.0) / training.len() as f64).ln()
    };
    let want = valid[1..].iter().map(surprisal).sum::<f64>() / (valid.len() - 1) as f64;
    let found = number(&unigram["loss_nats_per_char"]);
    assert!((found - want).abs() < 1e-9, "{found} {want}");
    // They are left out on request, and if there is no text to count.
    let (without, quiet) = report(&home, "golden --no-baselines");
    assert!(
        without["baselines"].is_null() && quiet.is_empty(),
        "{quiet}"
    );
    files(&home);
    home.write("other.txt", "A hen and a hill.\n");
    let (without, said) = report(&home, "model.safetensors other.txt");
    assert!(without["baselines"].is_null());
    assert!(said.contains("has no training text"), "{said}");
    // A model file is told which text that was; it assumes that a tenth was held out.
    let (named, _) = report(&home, "model.safetensors other.txt --corpus corpus.txt");
    assert!(number(&named["baselines"]["ngram"]["order"]) >= 1.0);
    home.textgen("eval model.safetensors other.txt --corpus other.txt")
        .refused(1)
        .names(&["other", "model.safetensors"])
        .advises("--corpus");
    home.textgen("eval golden --corpus corpus.txt")
        .refused(2)
        .names(&["golden", "own"])
        .advises("--corpus");
    let asked = "--part valid --valid 0.1 --protocol contiguous";
    let (own, _) = report(&home, &format!("model.safetensors corpus.txt {asked}"));
    assert_eq!(own["baselines"]["order_chosen_on_valid"], true);
    let (beside, _) = report(&home, "golden other.txt");
    assert_eq!(
        beside["baselines"]["ngram"]["order"], order,
        "chosen on the same part"
    );
    assert_eq!(nats(&without), nats(&beside));
}

#[test]
fn an_n_gram_model_is_mixed_in_at_a_weight_that_was_fitted_on_other_text() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let (plain, _) = report(&home, "golden");
    assert!(plain["baselines"].get("mixed").is_none());
    let (found, _) = report(&home, "golden --mix-ngram");
    let mixed = &found["baselines"]["mixed"];
    // The first half of the validation part is what the weight is fitted on.
    let predicted = found["tokens"].as_u64().expect("a number");
    assert_eq!(mixed["tokens"], predicted - predicted / 2);
    assert_eq!(found["results"], plain["results"]);
    let weight = number(&mixed["weight"]);
    assert!((0.0..=1.0).contains(&weight), "{mixed}");
    home.write("other.txt", "A hen and a hill, and a queer old line.\n");
    let (other, _) = report(&home, "golden other.txt --mix-ngram");
    let mixed = &other["baselines"]["mixed"];
    assert_eq!(mixed["tokens"], other["tokens"]);
    let gain =
        number(&other["results"][0]["loss_bits_per_char"]) - number(&mixed["loss_bits_per_char"]);
    assert!(
        (number(&mixed["gains_bits_per_char"]) - gain).abs() < 1e-9,
        "{other}"
    );
    // `score` fits the same weight.
    let arguments = "score other.txt --run golden --mix-ngram --per file --json";
    let ran = home.textgen(arguments).succeeded();
    let scored = json(&ran.stdout);
    let per_char = number(&scored["models"][0]["nats"]) / number(&scored["tokens"]);
    assert!((per_char - number(&mixed["loss_nats_per_char"])).abs() < 1e-9);
    assert!(ran.stderr.contains("mixed with a "), "{}", ran.stderr);
    let shown = home.textgen("eval golden --mix-ngram").succeeded();
    assert!(
        shown.stdout.contains("\nmixed at weight "),
        "{}",
        shown.stdout
    );
    home.textgen("eval golden --mix-ngram --no-baselines")
        .refused(2);
    files(&home);
    home.textgen("eval model.safetensors other.txt --mix-ngram")
        .refused(2)
        .names(&["no training text"])
        .advises("--corpus");
    home.textgen("score other.txt --run model.safetensors --mix-ngram")
        .refused(2)
        .names(&["model.safetensors", "training text"])
        .advises("--corpus");
    let named = "score other.txt --run model.safetensors --mix-ngram --corpus corpus.txt";
    home.textgen(named).succeeded();
    let home = Home::new();
    golden_run(&home, "valid = 0.0\n");
    home.write("other.txt", "A hen and a hill.\n");
    for command in ["eval golden other.txt", "score other.txt --run golden"] {
        home.textgen(&format!("{command} --mix-ngram"))
            .refused(1)
            .names(&["no validation part"]);
    }
}

#[test]
fn dynamic_evaluation_stands_apart_and_learns_what_a_text_repeats() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    home.write("again.txt", "Quill and May, a queer old line;\n".repeat(40));
    let (plain, _) = report(&home, "golden again.txt --no-baselines");
    assert!(plain.get("dynamic").is_none());
    let (found, _) = report(&home, "golden again.txt --dynamic 0.2");
    assert_eq!(
        found["results"], plain["results"],
        "the static figure is what it was"
    );
    let dynamic = &found["dynamic"];
    assert_eq!(dynamic["segment"], 20);
    let learnt = number(&dynamic["loss_nats_per_char"]);
    assert!(learnt < 0.5 * nats(&found), "{found}");
    // A segment as long as the text is predicted before the model can learn from it.
    let (whole, _) = report(&home, "golden again.txt --dynamic 0.2 --dynamic-seq 100000");
    let costed = number(&whole["dynamic"]["loss_nats_per_char"]);
    assert!((costed - nats(&whole)).abs() < 1e-4, "{whole}");
    let shown = home
        .textgen("eval golden again.txt --dynamic 0.2")
        .succeeded();
    let last = shown.stdout.lines().last().expect("a line");
    assert!(
        last.starts_with("dynamic, learning rate 0.2 every 20 characters: "),
        "{last}"
    );
    home.textgen("eval golden --dynamic 0")
        .refused(2)
        .names(&["--dynamic"]);
    home.textgen("eval golden --dynamic-seq 5")
        .refused(2)
        .names(&["--dynamic"]);
    home.textgen("eval golden --dynamic 1e30")
        .refused(1)
        .names(&["--dynamic", "too long"]);
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let home = Home::new();
    files(&home);
    home.textgen("eval model.safetensors")
        .refused(2)
        .names(&["model.safetensors", "no text"])
        .advises("TEXT");
    home.textgen("eval model.safetensors no-such-text")
        .refused(1)
        .names(&["no-such-text"]);
    home.textgen("eval absent.safetensors corpus.txt")
        .refused(1)
        .names(&["absent.safetensors"]);
    golden_run(&home, "valid = 0.5\n");
    for flag in ["--protocol window:0", "--protocol nanogpt", "--valid 2"] {
        let name = flag.split(' ').next().expect("a flag");
        home.textgen(&format!("eval golden {flag}"))
            .refused(2)
            .names(&[name]);
    }
    home.write("foreign.txt", "日本語");
    let refused = home.textgen("eval golden foreign.txt");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    word_run(&home, "");
    for flag in ["--protocol contiguous", "--no-baselines"] {
        home.textgen(&format!("eval words {flag}"))
            .refused(2)
            .names(&["char-lstm"]);
    }
    home.textgen("eval words corpus.txt")
        .refused(2)
        .advises("textgen score");
    home.textgen("eval words --part all").refused(2);
    let model = home.path("runs/words/model.safetensors");
    fs::rename(model, home.path("words.safetensors")).expect("moved");
    home.textgen("eval words.safetensors")
        .refused(1)
        .advises("RUN");
}
