//! `--documents`: texts that end.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use super::common::{Home, json};

/// Sentences that each end by themselves, all different.
fn sentences() -> Vec<String> {
    let (who, what) = (["hen", "fox", "king", "cook"], ["sang", "slept", "ate"]);
    let one = |n: usize| format!("The {} {}.", who[n % 4], what[n % 3]);
    (0..120).map(one).collect()
}

/// A run that learnt the sentences as documents.
fn learnt() -> &'static Path {
    static HOME: OnceLock<Home> = OnceLock::new();
    static RUN: OnceLock<std::path::PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = Home::new();
        home.write("lines.txt", sentences().join("\n"));
        let train = "train lines.txt --documents line --model char-lstm --name said --hidden 32 \
                     --steps 250 --lr 0.02 --dropout 0 --threads 1 --device cpu --eval-size 0";
        let ran = home.textgen(train).succeeded();
        assert!(ran.stderr.contains("documents: 120"), "{}", ran.stderr);
        home
    });
    RUN.get_or_init(|| home.path("runs/said"))
}

#[test]
fn count_gives_whole_documents_and_a_prompt_is_the_start_of_one() {
    let home = Home::with_run(learnt());
    let known = sentences();
    let written = home
        .textgen("generate --count 10 --seed 1 --temperature 0.5")
        .succeeded();
    let written: Vec<&str> = written.stdout.lines().collect();
    assert_eq!(written.len(), 10, "{written:?}");
    for text in &written {
        assert!(known.iter().any(|sentence| sentence == text), "{text}");
    }
    let ran = home.textgen_with(["generate", "--prompt", "The fox s", "--temperature", "0"]);
    assert!(ran.succeeded().stdout.starts_with("The fox s"));
    let asked = "generate --count 2 --seed 1 --temperature 0.5 --json";
    let answers: Vec<Value> = home
        .textgen(asked)
        .succeeded()
        .stdout
        .lines()
        .map(json)
        .collect();
    // The end is a token, too.
    let tokens = answers[0]["text"]
        .as_str()
        .map(|text| text.chars().count() as u64 + 1);
    assert_eq!(answers[0]["tokens"].as_u64(), tokens);
    for how in ["--seed 1", "--decode beam:4"] {
        let cut = home.textgen(&format!("generate --count 3 --length 4 {how}"));
        let said = cut.succeeded().stderr;
        assert!(said.contains("3 documents cut after 4 tokens"), "{said}");
    }
    // None is empty, however probable that is.
    let hot = "generate --count 200 --temperature 5 --seed 1 --json --length 20";
    let hot = home.textgen(hot).succeeded().stdout;
    assert!(hot.lines().map(json).all(|sample| sample["text"] != ""));
    for ended in ["document", "length"] {
        assert!(hot.contains(&format!("\"ended\":\"{ended}\"")), "{hot}");
    }
    // Searches and constraints end with the document as well.
    let found = home
        .textgen("generate --decode beam:4 --count 2")
        .succeeded()
        .stdout;
    for text in found.lines() {
        assert!(known.iter().any(|sentence| sentence == text), "{text}");
    }
    let constrained = [
        "generate",
        "--constrain",
        "The [a-z]+ [a-z]+\\.?",
        "--seed",
        "2",
    ];
    let text = home.textgen_with(constrained).succeeded().stdout;
    assert!(known.contains(&text.trim_end().to_owned()), "{text}");
    let filled = home.textgen_with(["generate", "--fill", "The h_n s__g.", "--decode", "beam:8"]);
    assert_eq!(filled.succeeded().stdout, "The hen sang.\n");
    let chat = home.shell("echo 'The king ' | textgen chat --seed 1 --temperature 0");
    assert!(
        chat.succeeded()
            .stderr
            .contains("what follows is a new one")
    );
}

#[test]
fn documents_are_scored_and_evaluated_alone() {
    let home = Home::with_run(learnt());
    let texts = ["The hen sang.", "The cook ate.", "The fox slept."];
    let costs = |name: &str, lines: &[&str]| -> Vec<f64> {
        home.write(name, lines.join("\n\n"));
        let ran = home.textgen(&format!("score {name} --json")).succeeded();
        let rows: Vec<Value> = ran.stdout.lines().map(json).collect();
        assert_eq!(rows.len(), lines.len());
        let cost = |row: &Value| row["models"][0]["nats"].as_f64().expect("a cost");
        rows.iter().map(cost).collect()
    };
    let together = costs("all.txt", &texts);
    for (text, cost) in texts.iter().zip(&together) {
        let alone = costs("one.txt", &[text]);
        assert!((alone[0] - cost).abs() < 1e-4, "{text}: {alone:?} {cost}");
    }
    let rows = home
        .textgen("score all.txt --per document --tsv")
        .succeeded();
    assert_eq!(rows.stdout.lines().count(), 1 + texts.len());
    let eval = home
        .textgen("eval said all.txt --json --no-baselines")
        .succeeded();
    let report = json(&eval.stdout);
    let nats = report["results"][0]["loss_nats_per_char"]
        .as_f64()
        .expect("a loss");
    let tokens = report["tokens"].as_f64().expect("tokens");
    let sum: f64 = together.iter().sum();
    assert!(
        (nats * tokens - sum).abs() < 1e-3,
        "{nats} · {tokens} is not {sum}"
    );
    assert_eq!(
        tokens as usize,
        texts.iter().map(|text| text.len() + 1).sum::<usize>()
    );
    assert!(
        eval.stderr.contains("2 empty documents left out"),
        "{}",
        eval.stderr
    );
    let of_run = home.textgen("eval said --exact --no-baselines").succeeded();
    assert!(of_run.stdout.contains("valid"));
    let packed = "compress all.txt -o packed.tg && textgen decompress packed.tg -o back.txt && cmp all.txt back.txt";
    home.shell(&format!("textgen {packed}")).succeeded();
    home.textgen("novelty --length 300").succeeded();
}

#[test]
fn files_records_blank_lines_and_separators_make_the_same_documents() {
    let home = Home::new();
    let texts = sentences();
    for (number, text) in texts.iter().enumerate() {
        home.write(&format!("folder/{number:03}.txt"), format!("{text}\n"));
    }
    home.write("blank.txt", texts.join("\r\n\r\n\r\n"));
    home.write("ended.txt", texts.join("<|endoftext|>"));
    home.write("ruled.txt", texts.join("\n---\n") + "\n---\n");
    let mut records = String::new();
    for text in &texts {
        let _ = writeln!(records, "{{\"text\":\"{text}\"}}");
    }
    home.write("records.jsonl", records);
    home.write("lines.txt", texts.join("\n"));
    let mut runs = Vec::new();
    for (name, corpus, documents) in [
        ("a", "lines.txt", "line"),
        ("b", "folder", "file"),
        ("c", "blank.txt", "blank-line"),
        ("d", "ended.txt", "<|endoftext|>"),
        ("e", "ruled.txt", "---"),
        ("f", "records.jsonl", "record"),
    ] {
        let train = "train --model char-lstm --hidden 4 --steps 1 --threads 1 --device cpu";
        let mut arguments: Vec<&str> = train.split(' ').collect();
        arguments.extend(["--name", name, corpus, "--documents", documents]);
        let ran = home.textgen_with(&arguments).succeeded();
        assert!(ran.stderr.contains("documents: 120"), "{}", ran.stderr);
        let tokens = std::fs::read(home.path(&format!("runs/{name}/corpus.safetensors")));
        runs.push(tokens.expect("a corpus"));
    }
    assert!(runs.iter().all(|run| *run == runs[0]));
}

#[test]
fn a_trained_model_learns_documents_and_training_resumes() {
    let home = Home::new();
    home.write("lines.txt", sentences().join("\n"));
    let train = "train lines.txt --model char-lstm --hidden 8 --threads 1 --device cpu";
    home.textgen(&format!("{train} --name plain --steps 5"))
        .succeeded();
    let adapted = "train lines.txt --documents line --from plain --name told --steps 5 --threads 1";
    home.textgen(adapted).succeeded();
    let twice = format!("{train} --documents line --dropout 0.1 --recurrent-dropout 0.1");
    home.textgen(&format!(
        "{twice} --name whole --steps 12 --schedule constant"
    ))
    .succeeded();
    home.textgen(&format!(
        "{twice} --name parts --steps 6 --schedule constant"
    ))
    .succeeded();
    home.textgen("train --resume parts --steps 12").succeeded();
    // What follows a model of documents has them, too.
    let more = "train lines.txt --from told --steps 2 --threads 1 --device cpu";
    let ran = home.textgen(&format!("{more} --name more")).succeeded();
    assert!(ran.stderr.contains("documents: 120"), "{}", ran.stderr);
    let ran = home
        .textgen(&format!("{more} --documents none --loss last"))
        .refused(2);
    assert!(ran.error.contains("the model learnt documents"), "{ran:?}");
    let model = |name: &str| {
        let sample = format!("generate --run {name} --seed 1 --count 3 --json");
        home.textgen(&sample).succeeded().stdout
    };
    assert_eq!(model("whole"), model("parts"));
    assert_eq!(model("told").lines().count(), 3);
}

#[test]
fn what_cannot_have_documents_says_so() {
    let home = Home::new();
    home.write("text.txt", sentences().join(" "));
    home.write("marked.txt", format!("{}\u{FDD0}", sentences().join("\n")));
    home.write("empty.txt", "\n\n\n");
    let train = "train text.txt --steps 1 --hidden 4 --device cpu";
    for (command, error) in [
        (
            format!("{train} --model char-lstm --documents lines"),
            "--documents <WHAT>",
        ),
        (
            format!("{train} --model word-vae --documents line"),
            "belongs to char-lstm",
        ),
        (
            format!("{train} --model char-lstm --documents line --loss last"),
            "needs --loss all",
        ),
        (
            "train text.txt --recipe notebook --steps 1 --documents line".to_owned(),
            "is not for --recipe notebook",
        ),
        (
            "vocab marked.txt --documents line".to_owned(),
            "contains U+FDD0",
        ),
        (
            "vocab empty.txt --documents line".to_owned(),
            "has no documents",
        ),
        ("vocab text.txt --documents \\q".to_owned(), "\\q"),
        (
            "eval english text.txt --documents line".to_owned(),
            "was trained without documents",
        ),
    ] {
        let ran = home.textgen(&command);
        assert!(ran.stderr.contains(error), "{command}: {}", ran.stderr);
        assert_ne!(ran.code, Some(0), "{command}");
    }
    let vocab = "vocab text.txt --documents ~~~".to_owned();
    for command in [vocab, format!("{train} --model char-lstm --documents ~~~")] {
        let said = home.textgen(&command).succeeded().stderr;
        assert!(said.contains("ends no document of this text"), "{said}");
    }
}
