//! `textgen novelty`: what a sample has in common with the training text.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, json, repository, textgen};
use super::made_runs::{golden_run, word_run};

#[track_caller]
fn report(home: &Home, arguments: &str) -> Value {
    let ran = home
        .textgen(&format!("novelty --json {arguments}"))
        .succeeded();
    json(&ran.stdout)
}

fn golden() -> Home {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    home
}

/// The corpus, and how many of its characters were trained on.
fn corpus() -> (Vec<char>, usize) {
    let text = fs::read_to_string(repository("tests/golden-run/corpus.txt")).expect("a corpus");
    let text: Vec<char> = text.chars().collect();
    let training = text.len() / 2;
    (text, training)
}

#[test]
fn shares_and_the_longest_copy_are_those_of_a_brute_force_search() {
    let home = golden();
    let (text, training) = corpus();
    let training: String = text[..training].iter().collect();
    let sample = "She gave a hill, é and was keeping her name upon a jar of clay,\nthey";
    home.write("sample.txt", sample);
    let found = report(&home, "golden sample.txt --ngrams 1,3,5,9,200");
    let sample: Vec<char> = sample.chars().collect();
    for ngrams in found["sample"]["ngrams"].as_array().expect("n-grams") {
        let n = ngrams["n"].as_u64().expect("n") as usize;
        let grams: Vec<String> = sample.windows(n).map(|w| w.iter().collect()).collect();
        let copied = grams.iter().filter(|gram| training.contains(*gram)).count();
        match ngrams["copied"].as_f64() {
            Some(found) => {
                let want = copied as f64 / grams.len() as f64;
                assert!((found - want).abs() < 1e-12, "{n}: {found} {want}");
            }
            None => assert!(grams.is_empty(), "{n}"),
        }
    }
    let longest = &found["sample"]["longest"];
    let copy = " a jar of clay,\nthey";
    assert_eq!(longest["text"], copy);
    assert_eq!(longest["tokens"], copy.chars().count());
    assert_eq!(longest["corpus_line"], 3);
    let character = longest["corpus_character"].as_u64().expect("a place") as usize;
    let there: String = text[character - 1..].iter().take(copy.len()).collect();
    assert_eq!(there, copy);
    let place = longest["sample_character"].as_u64().expect("a place") as usize;
    let here: String = sample[place - 1..].iter().take(copy.len()).collect();
    assert_eq!(here, copy);
    assert_eq!(found["held_out"]["tokens"], sample.len());
}

#[test]
fn the_sample_is_what_generate_writes() {
    let home = golden();
    let sampled = report(&home, "golden --length 300");
    assert_eq!(sampled["sample"]["tokens"], 300);
    let generated = home
        .textgen("generate --run golden --length 300 --seed 0")
        .succeeded();
    let mut command = home.command(textgen());
    command.args(["novelty", "golden", "-", "--json"]);
    let text = generated.stdout.strip_suffix('\n').expect("a line end");
    let piped = json(&Ran::of(command.write_stdin(text)).succeeded().stdout);
    assert_eq!(piped["sample"]["ngrams"], sampled["sample"]["ngrams"]);
    assert_eq!(piped["sample"]["longest"], sampled["sample"]["longest"]);
    // It has memorised the training text, and the held-out text is not part of it.
    let copied = |text: &Value| text["ngrams"][2]["copied"].as_f64().expect("a fraction");
    let cold = report(&home, "golden --temperature 0 --seed 3");
    assert!(
        copied(&cold["sample"]) > 0.2 && copied(&cold["held_out"]) < 0.05,
        "{cold}"
    );
    let table = home.textgen("novelty --length 300").succeeded();
    assert_eq!(table.stderr, "run: golden\n");
    for part in [
        "5-GRAMS",
        "40-GRAMS",
        "LONGEST",
        "sample",
        "valid part",
        "line ",
    ] {
        assert!(table.stdout.contains(part), "{part}: {}", table.stdout);
    }
}

#[test]
fn a_run_without_texts_and_wrong_flags_are_refused() {
    let home = golden();
    word_run(&home, "");
    home.textgen("novelty words")
        .refused(1)
        .names(&["words", "word-vae"]);
    home.textgen("novelty other").refused(1).names(&["other"]);
    home.textgen("novelty golden absent.txt")
        .refused(1)
        .names(&["absent.txt"]);
    home.textgen("novelty golden --ngrams 0")
        .refused(2)
        .names(&["--ngrams"]);
    home.textgen("novelty golden --temperature -1")
        .refused(2)
        .names(&["--temperature"]);
    home.write("text.txt", "A hen");
    home.textgen("novelty golden text.txt --seed 1").refused(2);
}

#[test]
fn a_text_is_read_as_utf_8_whatever_the_training_text_was() {
    let home = Home::new();
    let old = |text: &str| {
        let byte = |c: char| match c {
            'а'..='я' => 0xE0 + (c as u32 - 'а' as u32) as u8,
            c => c as u8,
        };
        text.chars().map(byte).collect::<Vec<u8>>()
    };
    let trained = "шла саша по шоссе и сосала сушку, а паша шел домой.\n".repeat(40);
    home.write("trained.txt", old(&trained));
    let small = "--model char-lstm --hidden 8 --steps 2 --batch 2 --seq 16";
    home.train(&format!(
        "trained.txt {small} --encoding windows-1251 --name old"
    ));
    let other = "паша шел по шоссе, а саша сосала сушку.\n";
    home.write("utf8.txt", other);
    home.write("other.txt", old(other));
    let eval = |arguments: &str| {
        let ran = home.textgen(&format!("eval old --json --no-baselines {arguments}"));
        let mut found = json(&ran.succeeded().stdout);
        assert_eq!(found["left_out_tokens"], 0, "{found}");
        found["results"].take()
    };
    let score = |arguments: &str| {
        let ran = home.textgen(&format!("score --json --run old {arguments}"));
        ran.succeeded().stdout
    };
    let named = "other.txt --encoding windows-1251";
    assert_eq!(eval("utf8.txt"), eval(named));
    assert_eq!(score("utf8.txt"), score(named));
    let copied = |arguments: &str| report(&home, &format!("old {arguments}"))["sample"].clone();
    assert_eq!(copied("utf8.txt")["longest"]["text"], " сосала сушку");
    assert_eq!(copied("utf8.txt")["ngrams"], copied(named)["ngrams"]);
    for command in [
        "eval old other.txt",
        "score other.txt --run old",
        "novelty old other.txt",
    ] {
        home.textgen(command)
            .refused(1)
            .names(&["other.txt", "0xEF is not valid UTF-8"])
            .advises("--encoding windows-1251");
    }
    // The text that it was trained on is still known as such.
    assert_eq!(eval("trained.txt"), eval(""));
}

#[test]
fn characters_that_were_cut_are_not_compared() {
    let home = Home::new();
    let line = "the quick brown fox jumps over the lazy dog, and so on.\n";
    home.write("fox.txt", line.repeat(40));
    let small = "--model char-lstm --hidden 8 --steps 2 --batch 2 --seq 16 --valid 0.2";
    home.train(&format!("fox.txt {small} --max-vocab 20 --name cut"));
    let known = |c: &char| "thequickrownvfdas ,.\njmplzyxbg".contains(*c);
    assert!(line.chars().all(|c| known(&c)), "letters are not the point");
    home.write("copy.txt", line);
    let found = report(&home, "cut copy.txt --ngrams 1,2,50");
    for part in ["sample", "held_out"] {
        let part = &found[part];
        assert_eq!(part["tokens"], line.len(), "{found}");
        let unknown = part["unknown_tokens"].as_u64().expect("a number");
        assert!((5..20).contains(&unknown), "{found}");
        for n in [0, 1] {
            assert_eq!(part["ngrams"][n]["copied"], 1.0, "{found}");
        }
        assert!(part["ngrams"][2]["copied"].is_null(), "{found}");
        let longest = part["longest"]["text"].as_str().expect("a text");
        assert!(line.contains(longest), "{longest}");
        let place = part["longest"]["sample_character"]
            .as_u64()
            .expect("a place") as usize;
        if part["name"] != "valid part" {
            assert!(line[place - 1..].starts_with(longest), "{found}");
        }
    }
    home.write("strange.txt", "ЖЖЖЖЖЖЖЖЖЖ");
    let found = report(&home, "cut strange.txt --ngrams 1");
    assert!(found["sample"]["longest"].is_null(), "{found}");
    assert!(found["sample"]["ngrams"][0]["copied"].is_null(), "{found}");
    let table = home.textgen("novelty cut strange.txt").succeeded().stdout;
    let said = "strange: 100.0 % of it are characters outside the model's vocabulary";
    assert!(table.contains(said), "{table}");
    // Without <unk>, no character of the training text is unknown.
    home.train(&format!("fox.txt {small} --name whole"));
    let found = report(&home, "whole strange.txt --ngrams 1");
    assert_eq!(found["sample"]["ngrams"][0]["copied"], 0.0);
    assert_eq!(found["sample"]["unknown_tokens"], 0);
}
