//! `textgen score` of texts: the cost of characters, words and lines, and which model wrote them.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, golden_model, json, repository, textgen};
use super::made_runs::{exported, golden_run, word_run};

/// The lines of `score --json` with these arguments.
#[track_caller]
fn rows(home: &Home, arguments: &str) -> Vec<Value> {
    let ran = home
        .textgen(&format!("score --json {arguments}"))
        .succeeded();
    ran.stdout.lines().map(json).collect()
}

fn nats(row: &Value, model: usize) -> f64 {
    row["models"][model]["nats"].as_f64().expect("a number")
}

fn with_corpus() -> Home {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let corpus = repository("tests/golden-run/corpus.txt");
    fs::copy(corpus, home.path("corpus.txt")).expect("copied");
    home
}

#[test]
fn every_column_adds_up_to_the_figure_of_eval() {
    let home = with_corpus();
    let eval = home
        .textgen("eval golden corpus.txt --part all --protocol contiguous --json")
        .succeeded();
    let eval = json(&eval.stdout);
    let tokens = eval["tokens"].as_u64().expect("a count");
    let per_char = &eval["results"][0]["loss_nats_per_char"];
    let want = per_char.as_f64().expect("a number") * tokens as f64;
    let text = fs::read_to_string(home.path("corpus.txt")).expect("a text");
    for per in ["file", "line", "word", "char"] {
        let rows = rows(&home, &format!("corpus.txt --run golden --per {per}"));
        let sum: f64 = rows.iter().map(|row| nats(row, 0)).sum();
        assert!((sum - want).abs() < 1e-9 * want, "{per}: {sum} {want}");
        let counted: u64 = rows.iter().filter_map(|row| row["tokens"].as_u64()).sum();
        assert_eq!(counted, tokens, "{per}");
        if per != "file" {
            let texts = rows.iter().filter_map(|row| row["text"].as_str());
            assert_eq!(texts.collect::<String>(), text, "{per}");
        }
        let tsv = home
            .textgen(&format!("score corpus.txt --per {per} --tsv"))
            .succeeded()
            .stdout;
        let header: Vec<&str> = tsv.lines().next().expect("a header").split('\t').collect();
        let column = header
            .iter()
            .position(|&name| name == "nats")
            .expect("nats");
        let sum: f64 = tsv
            .lines()
            .skip(1)
            .filter_map(|line| line.split('\t').nth(column)?.parse::<f64>().ok())
            .sum();
        assert!((sum - want).abs() < 1e-3 * want, "{per}: {sum} {want}");
        assert_eq!(tsv.lines().count(), rows.len() + 1, "{tsv}");
    }
    assert_eq!(
        rows(&home, "corpus.txt").len(),
        12,
        "lines where nothing else is said"
    );
}

#[test]
fn a_text_of_several_windows_is_scored_as_a_whole() {
    let home = with_corpus();
    let text = fs::read_to_string(home.path("corpus.txt")).expect("a text");
    let text = text.repeat(2_500_000 / text.len());
    home.write("long.txt", &text);
    let eval = home
        .textgen("eval golden long.txt --part all --protocol contiguous --json")
        .succeeded();
    let eval = json(&eval.stdout);
    let lines = rows(&home, "long.txt --run golden");
    assert_eq!(lines.len(), text.split_inclusive('\n').count());
    let texts = lines.iter().filter_map(|row| row["text"].as_str());
    assert!(texts.eq(text.split_inclusive('\n')));
    let tokens: u64 = lines.iter().filter_map(|row| row["tokens"].as_u64()).sum();
    assert_eq!(eval["tokens"], tokens);
    let mean = lines.iter().map(|row| nats(row, 0)).sum::<f64>() / tokens as f64;
    let want = &eval["results"][0]["loss_nats_per_char"];
    assert!((mean - want.as_f64().expect("a number")).abs() < 1e-5);
    let last = lines.last().expect("a line");
    assert_eq!(last["line"], lines.len() as u64);
}

#[test]
fn what_is_most_unusual_comes_first() {
    let home = with_corpus();
    home.write(
        "odd.txt",
        "A hen who lived beside the sea\nQQQ:;!TTT\nwas keeping bees for company.\n",
    );
    let summary = home.textgen("score odd.txt").succeeded();
    assert_eq!(summary.stderr, "run: golden\n");
    let lines: Vec<&str> = summary.stdout.lines().collect();
    assert!(
        lines[0].starts_with("MODEL") && lines[1].starts_with("golden"),
        "{lines:?}"
    );
    assert!(
        lines[4].starts_with("2 ") && lines[4].ends_with("QQQ:;!TTT"),
        "{lines:?}"
    );
    let rows = rows(&home, "odd.txt --per word --sort score --top 2");
    assert_eq!((rows.len(), &rows[0]["text"]), (2, &"QQQ:;!TTT\n".into()));
    assert_eq!(
        (&rows[0]["line"], &rows[0]["column"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn several_models_have_columns_and_a_posterior_that_sums_to_one() {
    let home = with_corpus();
    exported(&home, "golden");
    // A model of another alphabet: the same network with two letters swapped.
    swap_letters(&home);
    let models = "--run golden --model-file small.safetensors --model-file swapped.safetensors";
    for per in ["file", "line", "char"] {
        for row in rows(&home, &format!("corpus.txt {models} --per {per}")) {
            let models = row["models"].as_array().expect("models");
            assert_eq!(models.len(), 3);
            let p = |model: &Value| model["posterior"].as_f64().expect("a probability");
            let sum: f64 = models.iter().map(p).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{row}");
            // Bayes' rule with equal priors.
            let ratio = (nats(&row, 1) - nats(&row, 0)).exp();
            assert!(
                (p(&models[0]) - ratio * p(&models[1])).abs() < 1e-9,
                "{row}"
            );
        }
    }
    let whole = &rows(&home, &format!("corpus.txt {models} --per file"))[0];
    let alone = &rows(&home, "corpus.txt --run golden --per file")[0];
    assert_eq!(nats(whole, 0), nats(alone, 0));
    assert!(
        nats(whole, 2) > nats(whole, 0),
        "the swapped model expects another text"
    );
    let table = home
        .textgen(&format!("score corpus.txt {models}"))
        .succeeded();
    assert!(
        table
            .stdout
            .lines()
            .next()
            .expect("a header")
            .contains("POSTERIOR")
    );
}

/// Writes the golden model with `e` and `t` exchanged in its vocabulary.
fn swap_letters(home: &Home) {
    use super::safetensors_file::Parts;
    let parts = Parts::read(&golden_model()).edit(|header| {
        let tokens = header["vocabulary"]["symbols"]
            .as_array_mut()
            .expect("tokens");
        let place = |letter: &str| tokens.iter().position(|s| s == letter).expect("known");
        let (e, t) = (place("e"), place("t"));
        tokens.swap(e, t);
    });
    fs::write(home.path("swapped.safetensors"), parts.to_bytes()).expect("written");
}

#[test]
fn characters_that_are_unknown_count_for_nothing_and_are_reported() {
    let home = with_corpus();
    home.write("text.txt", "A hén who\n");
    let ran = home
        .textgen("score text.txt --run golden --per char --json")
        .succeeded();
    assert!(ran.stderr.contains("1 of 10 characters"), "{}", ran.stderr);
    let rows: Vec<Value> = ran.stdout.lines().map(json).collect();
    assert_eq!(
        (&rows[3]["text"], &rows[3]["tokens"]),
        (&"é".into(), &0.into())
    );
    assert!(rows[3]["models"][0]["bits_per_char"].is_null());
    home.write("without.txt", "A hn who\n");
    let whole = |file: &str| nats(&self::rows(&home, &format!("{file} --per file"))[0], 0);
    assert_eq!(whole("text.txt"), whole("without.txt"));
}

#[test]
fn colours_are_for_terminals_unless_always() {
    let home = with_corpus();
    home.write("text.txt", "A hen\x1b[2J\twho lived\n");
    let painted = home
        .textgen("score text.txt --run golden --color=always")
        .succeeded();
    assert!(painted.stdout.contains("\x1b[38;5;"), "{painted:?}");
    assert!(
        !painted.stdout.contains("\x1b[2J"),
        "a text commands no terminal: {painted:?}"
    );
    assert!(painted.stderr.contains("bits: "), "{painted:?}");
    // The text itself is all there, its line ends where they were.
    assert_eq!(painted.stdout.lines().count(), 2, "{painted:?}");
    for (variable, flag) in [
        ("NO_COLOR", "--color"),
        ("TERM", "--color"),
        ("TERM", "--color=never"),
    ] {
        let mut command = home.command(textgen());
        command
            .args(["score", "text.txt", "--run", "golden", flag])
            .env(variable, "1");
        let plain = Ran::of(&mut command).succeeded();
        assert!(!plain.stdout.contains('\x1b'), "{plain:?}");
        assert!(plain.stdout.starts_with("MODEL"), "{plain:?}");
        assert_eq!(
            plain.stderr.contains("--color=always"),
            flag == "--color",
            "{plain:?}"
        );
    }
    let mut command = home.command(textgen());
    command
        .args(["score", "text.txt", "--run", "golden", "--color=always"])
        .env("NO_COLOR", "1");
    assert!(
        Ran::of(&mut command)
            .succeeded()
            .stdout
            .contains("\x1b[38;5;")
    );
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let home = with_corpus();
    word_run(&home, "");
    home.textgen("score corpus.txt --run golden --run words")
        .refused(2);
    home.textgen("score corpus.txt --run words --per line")
        .refused(2)
        .names(&["--per", "word-vae"]);
    home.textgen("score corpus.txt --run golden --iw 5")
        .refused(2)
        .names(&["--iw", "char-lstm"]);
    home.textgen("score corpus.txt --run golden --run golden --color")
        .refused(2)
        .names(&["--color"]);
    home.textgen("score corpus.txt --run golden --color --json")
        .refused(2);
    home.write("foreign.txt", "日本");
    let foreign = home.textgen("score foreign.txt --run golden");
    assert_eq!(foreign.code, Some(1), "{foreign:?}");
    let parts = super::safetensors_file::Parts::read(&golden_model()).edit(|header| {
        header["text"]["lowercase"] = true.into();
    });
    fs::write(home.path("lower.safetensors"), parts.to_bytes()).expect("written");
    home.textgen("score corpus.txt --run golden --model-file lower.safetensors")
        .refused(1)
        .names(&["lower.safetensors", "differently"])
        .advises("--lowercase");
}
