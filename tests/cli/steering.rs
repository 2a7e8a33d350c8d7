//! `textgen generate` with limits, expressions, blanks, beams, penalties,
//! saved states, and the reported probabilities.

use std::fs;

use serde_json::Value;

use super::common::{Home, Ran, golden_model, json, textgen};
use super::made_runs::word_run;

/// `generate` of the golden model with these arguments.
fn generate_in(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(textgen());
    command
        .arg("generate")
        .arg("--model-file")
        .arg(golden_model());
    Ran::of(command.args(arguments))
}

fn generate(arguments: &[&str]) -> Ran {
    generate_in(&Home::new(), arguments)
}

/// The lines of `--json`.
#[track_caller]
fn samples(arguments: &[&str]) -> Vec<Value> {
    let ran = generate(&[&["--json"], arguments].concat()).succeeded();
    ran.stdout.lines().map(json).collect()
}

fn text(sample: &Value) -> &str {
    sample["text"].as_str().expect("a text")
}

fn log_prob(sample: &Value) -> f64 {
    sample["log_prob_nats"].as_f64().expect("a number")
}

/// The same at any count and number of threads, on any instructions.
#[track_caller]
fn check_same(arguments: &[&str]) -> Vec<Value> {
    let all = samples(
        &[
            arguments,
            &["--seed", "3", "--count", "6", "--threads", "1"],
        ]
        .concat(),
    );
    assert_eq!(all.len(), 6);
    assert!(
        all.iter().any(|one| text(one) != text(&all[0])),
        "all alike"
    );
    for (count, threads) in [(1, "1"), (1, "2"), (6, "3"), (4, "2")] {
        let number = count.to_string();
        let more = ["--seed", "3", "--count", &number, "--threads", threads];
        assert_eq!(samples(&[arguments, &more].concat()), all[..count]);
    }
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["generate", "--json", "--seed", "3", "--count", "6"]);
    command
        .arg("--model-file")
        .arg(golden_model())
        .args(arguments);
    let portable = Ran::of(command.env("TEXTGEN_SIMD", "portable")).succeeded();
    assert_eq!(portable.stdout.lines().map(json).collect::<Vec<_>>(), all);
    all
}

#[test]
fn min_p_of_one_leaves_the_most_probable_token_alone() {
    let greedy = generate(&["--temperature", "0", "--length", "80", "--seed", "1"]).succeeded();
    let min_p = generate(&[
        "--min-p",
        "1",
        "--temperature",
        "3",
        "--length",
        "80",
        "--seed",
        "2",
    ]);
    assert_eq!(min_p.succeeded().stdout, greedy.stdout);
    check_same(&["--min-p", "0.02", "--temperature", "1.5", "--length", "50"]);
    generate(&["--min-p", "1.5"])
        .refused(2)
        .names(&["--min-p 1.5"]);
    generate(&["--min-p=-0.5"])
        .refused(2)
        .names(&["--min-p -0.5"]);
}

#[test]
fn greedy_is_temperature_zero_and_a_beam_of_one() {
    let greedy =
        generate(&["--decode", "greedy", "--length", "120", "--prompt", "A h"]).succeeded();
    assert_eq!(greedy.stderr, "", "nothing is sampled, so there is no seed");
    let zero = [
        "--temperature",
        "0",
        "--seed",
        "1",
        "--length",
        "120",
        "--prompt",
        "A h",
    ];
    assert_eq!(greedy.stdout, generate(&zero).succeeded().stdout);
    let beam = generate(&["--decode", "beam:1", "--length", "120", "--prompt", "A h"]);
    assert_eq!(beam.succeeded().stdout, greedy.stdout);
}

#[test]
fn a_beam_finds_texts_as_probable_as_the_greedy_one_best_first() {
    let common = ["--prompt", "was", "--length", "40"];
    let greedy = samples(&[&common[..], &["--decode", "greedy"]].concat());
    let beam = samples(&[&common[..], &["--decode", "beam:20", "--count", "4"]].concat());
    assert_eq!(beam.len(), 4);
    assert!(beam.is_sorted_by(|a, b| log_prob(a) >= log_prob(b)));
    assert!(log_prob(&beam[0]) >= log_prob(&greedy[0]) - 1e-3);
    assert!(beam[0].get("seed").is_none(), "nothing was sampled");
    let stopped = samples(&["--decode", "beam:5", "--prompt", "A hen", "--stop", "\n"]);
    assert!(!text(&stopped[0]).contains('\n') && !text(&stopped[0]).is_empty());
    for (wrong, named) in [
        (&["--temperature", "0.5"][..], "--temperature"),
        (&["--min-p", "0.5"], "--min-p"),
        (&["--repetition-penalty", "2"], "--repetition-penalty"),
        (&["--show-probs"], "--show-probs"),
        (&["--count", "6"], "5 best texts"),
    ] {
        let ran = generate(&[&["--decode", "beam:5"], wrong].concat());
        ran.refused(2).names(&[named]);
    }
}

#[test]
fn a_constraint_is_kept_at_any_temperature() {
    for (regex, length, fits) in [
        (
            "[a-z]{3} [a-z]{3}\n",
            "20",
            (|text: &str| text.len() == 8) as fn(&str) -> bool,
        ),
        ("(the |a )*end", "30", |text| {
            text.ends_with("end") && text.len() <= 30
        }),
        ("(?i)[^aeiou]+", "25", |text| {
            !text.contains(['a', 'e', 'i', 'o', 'u', 'A']) && text.chars().count() == 25
        }),
        ("(wo|w)(olf|lf)", "9", |text| {
            ["woolf", "wolf", "wlf"].contains(&text)
        }),
    ] {
        for temperature in ["0", "0.1", "1", "8"] {
            let arguments = [
                "--constrain",
                regex,
                "--length",
                length,
                "--temperature",
                temperature,
                "--count",
                "8",
                "--seed",
                "2",
            ];
            for sample in samples(&arguments) {
                assert!(fits(text(&sample)), "{regex} at {temperature}: {sample}");
                assert!(log_prob(&sample) < 0.0);
            }
        }
        let beam = [
            "--constrain",
            regex,
            "--length",
            length,
            "--decode",
            "beam:4",
        ];
        assert!(fits(text(&samples(&beam)[0])), "{regex} by beam");
    }
    check_same(&["--constrain", "([a-z]{1,5} ?)+", "--length", "30"]);
}

#[test]
fn a_constraint_that_cannot_be_kept_is_refused() {
    let refused =
        |regex: &str, more: &[&str]| generate(&[&["--constrain", regex], more].concat()).refused(2);
    refused("[a-z]{9}", &["--length", "5"])
        .names(&["a length of 5 is too small", "[a-z]{9}", "9 tokens"])
        .advises("--length 9");
    refused("[0-9]+", &[]).names(&["no text of characters"]);
    refused("(a", &[]).names(&["(a", "unclosed group"]);
    refused("[a-z]{1000}{1000}", &[]).names(&["[a-z]{1000}", "too large"]);
    refused(r"\bw", &[])
        .names(&["word boundary"])
        .advises("(?-u:");
    refused("a", &["--stop", "."]).names(&["--stop"]);
    // Exactly the least is enough.
    let ran = generate(&["--constrain", "[a-z]{9}", "--length", "9", "--seed", "1"]).succeeded();
    assert_eq!(ran.stdout.len(), 10);
}

#[test]
fn holes_are_filled_and_what_is_given_stays() {
    let pattern = "A h_n who liv__ bes_de the se_";
    let whole = "A hen who lived beside the sea";
    let best = generate(&["--fill", pattern]).succeeded();
    assert_eq!(
        (best.stdout.as_str(), best.stderr.as_str()),
        (&*format!("{whole}\n"), "")
    );
    let fits = |text: &str| {
        let pairs = text.chars().zip(pattern.chars());
        assert_eq!(text.chars().count(), pattern.len());
        pairs.clone().all(|(a, b)| a == b || b == '_')
    };
    let several = samples(&["--fill", pattern, "--count", "3"]);
    assert!(several.is_sorted_by(|a, b| log_prob(a) >= log_prob(b)));
    assert!(
        several.iter().all(|sample| fits(text(sample))),
        "{several:?}"
    );
    assert_eq!(text(&several[0]), whole);
    let sampled = check_same(&[
        "--fill",
        "w_s k__p___ b__s",
        "--decode",
        "sample",
        "--temperature",
        "2",
    ]);
    assert!(sampled.iter().all(|sample| text(sample).starts_with('w')));
    // The text after a blank counts: the first letter alone would be another.
    let first = |pattern: &str| text(&samples(&["--fill", pattern])[0]).chars().next();
    assert_ne!(first("_"), first("_as keeping bees"));
    // The prompt is the text before.
    let after = generate(&["--fill", "__", "--prompt", "A hen who lived beside the s"]);
    assert_eq!(after.succeeded().stdout, "ea\n");
}

#[test]
fn a_fill_that_cannot_be_is_refused() {
    generate(&["--fill", "bees"])
        .refused(2)
        .names(&["no blank"]);
    // An escaped blank is an underscore, which the model does not know.
    generate(&["--fill", r"b\_s"]).refused(1).names(&["'_'"]);
    generate(&["--fill", "b_ß"]).refused(1).names(&["ß"]);
    generate(&["--fill", "b_s", "--length", "3"])
        .refused(2)
        .names(&["--length"]);
    generate(&["--fill", "b_s", "--temperature", "2"])
        .refused(2)
        .names(&["--temperature"]);
    generate(&["--fill", "b_s", "--count", "17"])
        .refused(2)
        .names(&["not 17"]);
    let none = [
        "--fill",
        "b_s",
        "--decode",
        "sample",
        "--temperature",
        "0",
        "--seed",
        "1",
    ];
    generate(&none).refused(2).names(&["temperature 0"]);
}

#[test]
fn a_repetition_penalty_breaks_loops_and_one_is_none() {
    let greedy = ["--decode", "greedy", "--length", "700", "--prompt", "A hen"];
    let plain = samples(&greedy);
    let with = |penalty: &str| {
        let more = [
            "--repetition-penalty",
            penalty,
            "--repetition-window",
            "1000",
        ];
        samples(&[&greedy[..], &more].concat())
    };
    assert_eq!(with("1"), plain);
    // How often the most frequent segment of 24 characters occurs in the text.
    let loops = |sample: &Value| {
        let text: Vec<char> = text(sample).chars().collect();
        let count = |one: &[char]| text.windows(24).filter(|other| *other == one).count();
        text.windows(24).map(count).max()
    };
    let (before, after) = (loops(&plain[0]), loops(&with("3")[0]));
    assert!(after < before, "{after:?}, {before:?}");
    check_same(&[
        "--repetition-penalty",
        "2",
        "--repetition-window",
        "64",
        "--length",
        "90",
    ]);
    generate(&["--repetition-penalty", "0.5"])
        .refused(2)
        .names(&["--repetition-penalty 0.5"]);
    generate(&["--repetition-window", "0"])
        .refused(2)
        .names(&["--repetition-window 0"]);
}

#[test]
fn the_table_of_draws_tells_of_every_token() {
    let arguments = [
        "--show-probs=3",
        "--length",
        "12",
        "--seed",
        "4",
        "--temperature",
        "0.7",
    ];
    let sample = &samples(&arguments)[0];
    let probs = sample["probs"].as_array().expect("samples");
    assert_eq!(probs.len(), 12);
    let mut decoded = String::new();
    let mut total = 0.0;
    for step in probs {
        decoded.push_str(step["text"].as_str().expect("a token"));
        let p = |of: &Value, name: &str| of[name].as_f64().expect("a probability");
        total += p(step, "p").ln();
        let top = step["top"].as_array().expect("the most probable");
        assert_eq!(top.len(), 3);
        assert!(top.is_sorted_by(|a, b| p(a, "p") >= p(b, "p")));
        // Below temperature 1 the most probable one becomes more probable.
        assert!(p(&top[0], "drawn_p") >= p(&top[0], "p") - 1e-6);
    }
    assert_eq!(decoded, text(sample));
    assert!((total - log_prob(sample)).abs() < 1e-4);
    let table = generate(&arguments).succeeded().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 13, "{table}");
    assert!(lines[0].starts_with("TOKEN"), "{table}");
    // Five are shown by default, and the text does not change.
    let usual = samples(&[
        "--show-probs",
        "--length",
        "12",
        "--seed",
        "4",
        "--temperature",
        "0.7",
    ]);
    assert_eq!(
        usual[0]["probs"][0]["top"].as_array().map(Vec::len),
        Some(5)
    );
    let without = samples(&["--length", "12", "--seed", "4", "--temperature", "0.7"]);
    assert_eq!(
        (text(&usual[0]), log_prob(&usual[0])),
        (text(&without[0]), log_prob(&without[0]))
    );
    check_same(&["--show-probs", "--length", "20"]);
    generate(&["--show-probs=0"])
        .refused(2)
        .names(&["--show-probs"]);
}

#[test]
fn a_saved_state_and_the_rest_of_a_prompt_are_the_whole_prompt() {
    let home = Home::new();
    let whole = "A hen who lived beside the sea\nwas kee";
    let common = [
        "--length",
        "60",
        "--seed",
        "7",
        "--json",
        "--repetition-penalty",
        "1.5",
    ];
    for quantize in ["none", "int8"] {
        let run = |more: &[&str]| {
            generate_in(
                &home,
                &[&common[..], &["--quantize", quantize], more].concat(),
            )
            .succeeded()
            .stdout
        };
        let continued = |line: &str| (text(&json(line)).to_owned(), log_prob(&json(line)));
        let want = continued(&run(&["--prompt", whole]));
        for cut in [1, 14, whole.len()] {
            let (first, rest) = whole.split_at(cut);
            let only = run(&["--prompt", first, "--save-state", "a.state", "--count", "0"]);
            assert_eq!(only, "");
            assert_eq!(
                continued(&run(&["--state", "a.state", "--prompt", rest])),
                want
            );
        }
        // Without more prompt, and saved again on the way.
        let again = run(&["--state", "a.state", "--save-state", "b.state"]);
        assert_eq!(continued(&again), want);
        let bytes = |name: &str| fs::read(home.path(name)).expect("a state");
        assert_eq!(bytes("a.state"), bytes("b.state"));
    }
    // What is read is not replaced, but by force.
    let onto_itself = [
        "--state",
        "a.state",
        "--prompt",
        "p",
        "--save-state",
        "a.state",
        "--count",
        "0",
    ];
    let before = fs::read(home.path("a.state")).expect("a state");
    let int8 = ["--quantize", "int8"];
    generate_in(&home, &[&onto_itself[..], &int8].concat())
        .refused(1)
        .names(&["a.state", "is the state that is read"])
        .advises("--force");
    assert!(fs::read(home.path("a.state")).expect("a state") == before);
    generate_in(&home, &[&onto_itself[..], &int8, &["--force"]].concat()).succeeded();
    assert!(fs::read(home.path("a.state")).expect("a state") != before);
    home.write("a.state", before);
    // The other weights' state is refused, and so is what is no state.
    let other = generate_in(&home, &["--state", "a.state"]);
    other
        .refused(1)
        .names(&["a.state", "another model", "model.safetensors"]);
    let model = golden_model();
    let path = model.to_str().expect("a path");
    generate_in(&home, &["--state", path])
        .refused(1)
        .names(&[path]);
    generate_in(&home, &["--state", "none.state"])
        .refused(1)
        .names(&["none.state"]);
}

#[test]
fn what_belongs_to_texts_is_refused_for_words() {
    let home = Home::new();
    word_run(&home, "");
    for flags in [
        "--fill a_",
        "--show-probs",
        "--repetition-penalty 2",
        "--state x",
        "--output x",
    ] {
        let name = flags.split(' ').next().expect("a flag");
        let ran = home.textgen(&format!("generate --run words {flags}"));
        ran.refused(2).names(&[name, "belongs to char-lstm"]);
    }
    let words = |more: &str| {
        let ran = home.textgen(&format!("generate --run words --seed 1 --count 9 {more}"));
        ran.succeeded().stdout
    };
    assert_eq!(words("--min-p 1"), words("--temperature 0"));
}

#[test]
fn a_prompts_state_replaces_no_other_file_but_by_force() {
    let home = Home::new();
    fs::write(home.path("novel.txt"), "mine").expect("written");
    fs::copy(golden_model(), home.path("m.safetensors")).expect("copied");
    let save = |to: &str| {
        home.textgen(&format!(
            "generate --run m.safetensors --count 0 --save-state {to}"
        ))
    };
    save("novel.txt")
        .refused(1)
        .names(&["novel.txt", "exists"])
        .advises("--force");
    assert_eq!(fs::read(home.path("novel.txt")).expect("a file"), b"mine");
    save("novel.txt --force").succeeded();
    save("novel.txt").succeeded();
    let refused = save("m.safetensors --force").refused(1);
    refused.names(&["the model"]);
}
