//! `textgen score`: the cost of words, their percentile among held-out words, and refusals.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, json, textgen};
use super::made_runs::{baseline_run, golden_run, word_run};

/// The lines of `score --json` with these arguments.
#[track_caller]
fn scores(home: &Home, arguments: &str) -> Vec<Value> {
    let ran = home
        .textgen(&format!("score --json {arguments}"))
        .succeeded();
    ran.stdout.lines().map(json).collect()
}

fn words(scores: &[Value]) -> Vec<&str> {
    scores
        .iter()
        .filter_map(|score| score["word"].as_str())
        .collect()
}

#[test]
fn a_word_costs_the_same_wherever_it_stands() {
    let home = Home::new();
    word_run(&home, "");
    home.write("list.txt", "abc\nedda\nabc\nbad\n");
    let found = scores(&home, "list.txt --words lines");
    assert_eq!(words(&found), ["abc", "edda", "bad"]);
    for score in &found {
        let (nats, word) = (score["nats"].as_f64(), score["word"].as_str());
        let (nats, word) = (nats.expect("a cost"), word.expect("a word"));
        let per_char = score["nats_per_char"].as_f64().expect("a cost");
        assert!((per_char - nats / (word.len() + 1) as f64).abs() < 1e-12);
        // Six tokens can be predicted: about ln 6 nats each for a model that knows nothing.
        assert!((0.5..4.0).contains(&per_char), "{score}");
        let percentile = score["percentile"].as_f64().expect("held-out words");
        assert!((0.0..=100.0).contains(&percentile));
        let alone = scores(&home, &format!("--word {word} --threads 1"));
        assert_eq!(&alone[0], score);
    }
    let other = scores(&home, "--word abc --seed 1");
    assert_ne!(other[0]["nats"], found[0]["nats"]);
    let unmeasured = scores(&home, "--word abc --reference 0");
    assert!(unmeasured[0]["percentile"].is_null());
    assert_eq!(unmeasured[0]["nats"], found[0]["nats"]);
}

#[test]
fn what_costs_most_comes_first_and_the_impossible_before_all() {
    let home = Home::new();
    word_run(&home, "");
    let found = scores(&home, "--word a --word abz --word eeee --sort score");
    assert_eq!(words(&found)[0], "abz");
    assert!(found[0]["nats"].is_null());
    assert_eq!(found[0]["percentile"], 100.0);
    assert!(found[1]["nats_per_char"].as_f64() >= found[2]["nats_per_char"].as_f64());
    let table = home
        .textgen("score --word abz --run words")
        .succeeded()
        .stdout;
    assert_eq!(
        table,
        "WORD\tNATS\tNATS/CHAR\tPERCENTILE\nabz\tinf\tinf\t100.0\n"
    );
}

#[test]
fn letters_that_are_not_known_are_treated_as_asked() {
    let home = Home::new();
    word_run(&home, "");
    let nats = |arguments: &str| scores(&home, arguments)[0]["nats"].clone();
    let ran = home.textgen("score --word ab1 --json --on-unknown nearest");
    let ran = ran.succeeded();
    assert!(ran.stderr.contains("1 as a"), "{}", ran.stderr);
    // The word is shown as it was given.
    let found = json(&ran.stdout);
    assert_eq!(found["word"], "ab1");
    assert_eq!(found["nats"], nats("--word aba"));
    let skip = "--word ab1 --on-unknown skip";
    assert_eq!(nats(skip), nats("--word ab"));
    assert!(nats("--word 12 --on-unknown skip").is_null());
    let ran = home.textgen("score --word 9 --word ab1 --on-unknown skip");
    let said = "1 of 2 words: nothing is left without the letters that the model does not know";
    let ran = ran.succeeded();
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    // Words are read from records as texts are.
    home.write("list.csv", "id,name\n1,abba\n");
    home.textgen("score list.csv --words lines")
        .refused(1)
        .advises("--field");
    let ran = home.textgen("score list.csv --words lines --field name");
    assert!(ran.succeeded().stdout.contains("\nabba\t"));
    home.textgen("score --word ab1 --on-unknown error")
        .refused(1)
        .names(&["ab1", "character 3"])
        .advises("--on-unknown");
}

#[test]
fn a_word_with_letters_that_were_cut_is_impossible() {
    let home = Home::new();
    let words: String = (0..60)
        .map(|i| format!("ab{}\n", "ab".repeat(i % 7) + &"ba".repeat(i / 7)))
        .chain(["abc\n".to_owned()])
        .collect();
    home.write("words.txt", words);
    home.train("words.txt --model word-vae --words lines --max-vocab 2 --hidden 4 --latent 2 --steps 2 --name cut");
    let found = scores(&home, "--word ab --word abc --run cut");
    assert!(found[0]["nats"].is_number(), "{found:?}");
    assert!(found[1]["nats"].is_null(), "{found:?}");
}

#[test]
fn standard_input_and_a_model_file_will_do() {
    let home = Home::new();
    let run = word_run(&home, "");
    fs::copy(run.model_path(), home.path("model.safetensors")).expect("copied");
    let mut command = home.command(textgen());
    command.args(["score", "-", "--model-file", "model.safetensors"]);
    let ran = Ran::of(command.write_stdin("abc, bad!")).succeeded();
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!((lines[1][0], lines[1][3]), ("abc", "-"));
    assert_eq!((lines[2][0], lines.len()), ("bad", 3));
}

#[test]
fn without_z_a_score_is_exact() {
    let home = Home::new();
    baseline_run(&home);
    let found = scores(&home, "--word abc --iw 1");
    assert_eq!(scores(&home, "--word abc --iw 50 --seed 3"), found);
}

#[test]
fn several_models_each_get_a_column_and_a_posterior() {
    let home = Home::new();
    let run = word_run(&home, "");
    baseline_run(&home);
    fs::copy(run.model_path(), home.path("copy.safetensors")).expect("copied");
    let models = "--run words --run words-twin --run copy.safetensors";
    let found = scores(
        &home,
        &format!("--word abc --word eeee --word abz {models}"),
    );
    assert_eq!(words(&found), ["abc", "eeee", "abz"]);
    for score in &found[..2] {
        let rows = score["models"].as_array().expect("models");
        let names: Vec<_> = rows
            .iter()
            .filter_map(|row| row["model"].as_str())
            .collect();
        assert_eq!(names, ["words", "words-twin", "copy.safetensors"]);
        let word = score["word"].as_str().expect("a word");
        let nats: Vec<f64> = names
            .iter()
            .zip(rows)
            .map(|(name, row)| {
                let alone = scores(&home, &format!("--word {word} --run {name}"));
                for key in ["nats", "nats_per_char", "percentile"] {
                    assert_eq!(alone[0][key], row[key], "{name} {key}");
                }
                row["nats"].as_f64().expect("a cost")
            })
            .collect();
        let total: f64 = nats.iter().map(|nats| (-nats).exp()).sum();
        for (row, nats) in rows.iter().zip(&nats) {
            let posterior = row["posterior"].as_f64().expect("a probability");
            assert!((posterior - (-nats).exp() / total).abs() < 1e-12, "{score}");
        }
    }
    assert!(found[2]["models"][0]["nats"].is_null());
    assert!(found[2]["models"][0]["posterior"].is_null());
    let ran = home.textgen(&format!("score --word abc --word abz {models}"));
    let ran = ran.succeeded();
    let lines: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let header = "WORD,NATS words,NATS words-twin,NATS copy.safetensors,P words,P words-twin,P copy.safetensors";
    assert_eq!(lines[0].join(","), header);
    assert_eq!(lines[2].join(","), "abz,inf,inf,inf,-,-,-");
    assert!(
        ran.stderr.contains("letters that words-twin does not know"),
        "{}",
        ran.stderr
    );
    golden_run(&home, "valid = 0.5\n");
    home.textgen("score --word abc --run words --run golden")
        .refused(2)
        .names(&["char-lstm", "word-vae"]);
}

#[test]
fn other_models_and_nothing_to_score_are_refused() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    home.textgen("score --word abc")
        .refused(2)
        .names(&["char-lstm"])
        .advises("--run");
    home.textgen("score").refused(2).names(&["FILE"]);
    home.textgen("score no-such-file --run golden").refused(1);
    let home = Home::new();
    word_run(&home, "recipe = \"article\"");
    home.textgen("score --word abc")
        .refused(2)
        .names(&["article", "no probability"]);
    let home = Home::new();
    word_run(&home, "");
    home.textgen("score no-such-file")
        .refused(1)
        .names(&["no-such-file"]);
    home.textgen("score --word a --iw 0")
        .refused(2)
        .names(&["--iw"]);
}
