//! `textgen generate` as it should work.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::common::{
    Home, Ran, copy_folder, golden_model, json, model_of, textgen, texts, vae_words,
};
use super::made_runs::golden_run;
use super::safetensors_file::Parts;

/// `generate` with this model file and these arguments.
#[track_caller]
fn generate(model: &Path, arguments: &str) -> Ran {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    generate_with(model, &arguments)
}

#[track_caller]
fn generate_with(model: &Path, arguments: &[&str]) -> Ran {
    let home = Home::new();
    let mut command = home.command(textgen());
    command.arg("generate").arg("--model-file").arg(model);
    Ran::of(command.args(arguments)).succeeded()
}

/// The lines of `--json`.
#[track_caller]
fn samples(model: &Path, arguments: &str) -> Vec<Value> {
    let ran = generate(model, &format!("--json {arguments}"));
    ran.stdout.lines().map(json).collect()
}

/// The model of a word-vae that knows a few short words so well that it generates them.
fn few_words() -> &'static Path {
    static MODEL: OnceLock<(Home, PathBuf)> = OnceLock::new();
    let make = || {
        let home = Home::new();
        let mut pairs = String::new();
        for one in "abcd".chars() {
            for two in "abcd".chars() {
                pairs.extend([one, two, '\n']);
            }
        }
        home.write("pairs.txt", pairs);
        home.train(
            "--model word-vae --words lines --hidden 16 --latent 2 --embedding 4 --batch 8 --steps 200 \
             --lr 0.01 --warmup 0 --seed 1 --threads 1 --device cpu --name pairs pairs.txt",
        );
        let model = model_of(&home.path("runs/pairs"));
        (home, model)
    };
    &MODEL.get_or_init(make).1
}

/// The words that a word-vae was trained on, from its file.
fn training_words(model: &Path) -> HashSet<String> {
    let parts = Parts::read(model);
    let text = std::str::from_utf8(parts.tensor("training.words")).expect("words");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_text_mixed_with_an_n_gram_model_is_sampled_and_reproducible() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5\n");
    let text = |threads: u32| {
        let flags = "--run golden --mix-ngram --seed 1 --count 3 --length 60 --prompt A";
        let ran = home.textgen(&format!("generate {flags} --threads {threads}"));
        ran.succeeded().stdout
    };
    assert_eq!(text(1), text(2));
    home.textgen("generate --run golden --mix-ngram --decode beam:4")
        .refused(2)
        .names(&["--mix-ngram"]);
    home.textgen("generate --run golden --mix-ngram --fill h_n")
        .refused(2)
        .names(&["--fill"]);
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_another() {
    for model in [model_of(texts()), model_of(vae_words())] {
        let one = generate(&model, "--count 3 --seed 7").stdout;
        assert_eq!(one, generate(&model, "--count 3 --seed 7").stdout);
        assert_ne!(one, generate(&model, "--count 3 --seed 8").stdout);
    }
}

#[test]
fn a_seed_that_was_chosen_is_said_and_gives_the_text_again() {
    let model = model_of(texts());
    let ran = generate(&model, "--length 50");
    let seed = ran
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("seed: "));
    let again = format!("--length 50 --seed {}", seed.expect("the seed is said"));
    assert_eq!(generate(&model, &again).stdout, ran.stdout);
}

#[test]
fn a_sample_is_the_same_at_any_count_and_number_of_threads() {
    for model in [model_of(texts()), model_of(vae_words())] {
        let all = samples(&model, "--seed 3 --count 8 --threads 1");
        assert_eq!(all.len(), 8);
        for (count, threads) in [(1, 1), (3, 1), (8, 2), (8, 7), (5, 0)] {
            let some = samples(
                &model,
                &format!("--seed 3 --count {count} --threads {threads}"),
            );
            assert_eq!(some, all[..count], "--count {count} --threads {threads}");
        }
    }
}

#[test]
fn the_plain_output_holds_the_samples_of_the_json() {
    let model = model_of(texts());
    let plain = generate(&model, "--seed 3 --count 2 --length 30").stdout;
    let texts = samples(&model, "--seed 3 --count 2 --length 30");
    let text = |i: usize| texts[i]["text"].as_str().expect("a text");
    let want = format!("--- 1\n{}\n\n--- 2\n{}\n", text(0), text(1));
    assert_eq!(plain, want);
}

#[test]
fn the_length_is_in_tokens() {
    let sample = &samples(&model_of(texts()), "--seed 3 --length 37")[0];
    let text = sample["text"].as_str().expect("a text");
    assert_eq!(text.chars().count(), 37);
    assert_eq!(sample["tokens"], 37);
    assert_eq!(
        samples(&model_of(texts()), "--seed 3 --length 0")[0]["text"],
        ""
    );
}

#[test]
fn temperature_zero_does_not_depend_on_the_seed() {
    let text = |seed| {
        let arguments = format!("--temperature 0 --length 60 --seed {seed}");
        generate(&model_of(texts()), &arguments).stdout
    };
    assert_eq!(text(1), text(2));
    // Top-k 1 leaves only the most probable token, at any temperature.
    let top = generate(&model_of(texts()), "--top-k 1 --length 60 --seed 3");
    assert_eq!(text(1), top.stdout);
    // For words the prior is sampled too.
    let words = |seed| {
        let arguments = format!("--temperature 0 --z-temperature 0 --count 3 --seed {seed}");
        generate(&model_of(vae_words()), &arguments).stdout
    };
    assert_eq!(words(1), words(2));
    assert_eq!(words(1).lines().count(), 1, "there is only one word");
}

#[test]
fn log_probabilities_are_finite_and_negative() {
    for (model, arguments) in [
        (golden_model(), "--length 40"),
        (golden_model(), "--length 40 --temperature 0.5 --prompt A"),
        (model_of(texts()), "--length 40 --temperature 2"),
        (model_of(vae_words()), "--temperature 0.7"),
    ] {
        for sample in samples(&model, &format!("--seed 1 --count 4 {arguments}")) {
            let log_prob = sample["log_prob_nats"].as_f64().expect("a number");
            assert!(log_prob.is_finite() && log_prob < 0.0, "{sample}");
        }
    }
}

#[test]
fn a_text_ends_before_the_stop_text() {
    let whole = "A hen who lived beside the sea\nwas keeping bees for company.\n";
    for (stop, want) in [
        (".", &whole[..whole.len() - 2]),
        ("\n", "A hen who lived beside the sea"),
        ("bees for", "A hen who lived beside the sea\nwas keeping "),
        ("beside them", whole),
    ] {
        for count in ["1", "2"] {
            let length = (whole.chars().count() - 5).to_string();
            let ran = generate_with(
                &golden_model(),
                &[
                    "--top-k", "1", "--seed", "1", "--prompt", "A hen", "--length", &length,
                    "--stop", stop, "--count", count,
                ],
            );
            let want = match count {
                "1" => format!("{want}\n"),
                _ => format!("--- 1\n{want}\n\n--- 2\n{want}\n"),
            };
            assert_eq!(ran.stdout, want, "--stop {stop:?}");
        }
    }
}

#[test]
fn a_prompt_can_come_from_standard_input() {
    let home = Home::new();
    let from = |prompt: &str, stdin: &str| {
        let mut command = home.command(textgen());
        command.args([
            "generate", "--seed", "1", "--length", "40", "--prompt", prompt,
        ]);
        command.arg("--model-file").arg(golden_model());
        Ran::of(command.write_stdin(stdin)).succeeded().stdout
    };
    let text = from("-", "A hen who\nlived");
    assert!(text.starts_with("A hen who\nlived"), "{text}");
    assert_eq!(text, from("A hen who\nlived", ""));
}

#[test]
fn a_prompt_goes_through_the_normal_form_of_the_model() {
    let home = Home::new();
    let rain = "Es regnet über Köln, und über Münster auch.\n".repeat(150);
    home.write("rain.txt", rain);
    home.train(
        "--model char-lstm --lowercase --hidden 8 --steps 2 --threads 1 --name rain rain.txt",
    );
    let ran = home.textgen_with([
        "generate",
        "--run",
        "rain",
        "--prompt",
        "KO\u{308}LN",
        "--seed",
        "1",
    ]);
    let text = ran.succeeded().stdout;
    assert!(text.starts_with("köln"), "{text}");
}

#[test]
fn unique_words_come_once() {
    let words = generate(few_words(), "--seed 1 --unique --count 12").stdout;
    let distinct: HashSet<&str> = words.lines().collect();
    assert_eq!(distinct.len(), 12, "{words}");
    // Without the flag this model repeats itself, so the flag has an effect.
    let words = generate(few_words(), "--seed 1 --count 60").stdout;
    assert!(words.lines().collect::<HashSet<_>>().len() < 60, "{words}");
}

#[test]
fn novel_words_are_none_of_the_training_words() {
    let known = training_words(few_words());
    assert!(!known.is_empty());
    let count_known = |arguments: &str| {
        let words = generate(few_words(), arguments).stdout;
        assert_eq!(words.lines().count(), 60, "{words}");
        words.lines().filter(|word| known.contains(*word)).count()
    };
    assert!(
        count_known("--seed 1 --count 60") > 0,
        "it would prove nothing"
    );
    assert_eq!(count_known("--seed 1 --count 60 --novel"), 0);
}

#[test]
fn more_unique_words_than_there_are_is_an_error_with_a_hint() {
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["generate", "--unique", "--count", "5", "--seed", "1"]);
    command.args(["--temperature", "0", "--z-temperature", "0", "--model-file"]);
    let ran = Ran::of(command.arg(few_words()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // The words found are still printed.
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines[0].starts_with("error: only 1 such word"), "{ran:?}");
    assert!(lines[1].starts_with("hint: "), "{ran:?}");
    assert_eq!(lines.len(), 2, "{ran:?}");
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_not_an_error() {
    let home = Home::with_run(texts());
    copy_folder(vae_words(), &home.path("runs/words"));
    for command in [
        "generate --run texts --length 200000",
        "generate --run texts --length 5000 --count 100 --threads 2",
        "generate --run words --count 100000",
        "vocab --json --unit grapheme --top 10000",
        "runs --json",
    ] {
        let script =
            format!("{{ textgen {command} 2>errors; echo $? >status; }} | head -c 10 >/dev/null");
        home.shell(&script).succeeded();
        let read = |name: &str| fs::read_to_string(home.path(name)).expect(name);
        let errors = read("errors");
        assert_eq!(read("status"), "0\n", "{command}: {errors}");
        assert!(!errors.contains("error"), "{command}: {errors}");
    }
}

#[cfg(unix)]
#[test]
fn a_training_that_is_cut_short_by_a_closed_pipe_says_so() {
    let home = Home::new();
    let train = "train --model char-lstm --hidden 8 --steps 1000000 --eval-every 10 --device cpu --name cut --json";
    let script = format!("{{ textgen {train} 2>errors; echo $? >status; }} | head -1 >/dev/null");
    home.shell(&script).succeeded();
    let read = |name: &str| fs::read_to_string(home.path(name)).expect(name);
    let errors = read("errors");
    assert_eq!(read("status"), "141\n", "{errors}");
    assert!(
        errors.contains("resume:   textgen train --resume cut"),
        "{errors}"
    );
}

#[cfg(unix)]
#[test]
fn a_signal_says_more_than_a_closed_pipe_and_a_pipe_that_is_named_is_an_error() {
    let home = Home::new();
    // `wait` gets the training's exit code; the reader of its events is gone before the signal comes.
    let script = "mkfifo events
        textgen train --model char-lstm --hidden 8 --steps 1000000 --eval-every 0 --device cpu --name cut --json \
            >events 2>errors &
        head -1 <events >/dev/null
        sleep 0.5
        kill -TERM $!
        wait $!
        echo $? >status";
    home.shell(script).succeeded();
    let read = |name: &str| fs::read_to_string(home.path(name)).expect(name);
    assert_eq!(read("status"), "143\n", "{}", read("errors"));
    copy_folder(texts(), &home.path("runs/texts"));
    let script = "mkfifo state
        { head -c 1 >/dev/null; } <state &
        textgen generate --run texts --count 0 --prompt The --save-state state";
    let ran = home.shell(script);
    assert_eq!(
        ran.code.unwrap_or(0) == 0,
        ran.stderr.contains("prompt state"),
        "{ran:?}"
    );
}

#[test]
fn words_that_match_are_found_however_many() {
    let home = Home::with_run(vae_words());
    let ran = home
        .textgen("generate --count 110000 --constrain .* --length 1-64 --seed 1")
        .succeeded();
    assert_eq!(ran.stdout.lines().count(), 110_000);
}

#[test]
fn a_model_file_copied_elsewhere_works_alone() {
    for run in [texts(), vae_words()] {
        let home = Home::new();
        fs::copy(model_of(run), home.path("elsewhere.st")).expect("copied");
        let here = home
            .textgen("generate --model-file elsewhere.st --seed 5 --count 2")
            .succeeded();
        assert_eq!(
            here.stdout,
            generate(&model_of(run), "--seed 5 --count 2").stdout
        );
        let copy = home.path("elsewhere.st");
        assert_eq!(home.files().into_keys().collect::<Vec<_>>(), [copy]);
    }
}

#[test]
fn the_newest_run_is_chosen_and_said() {
    let home = Home::with_run(texts());
    let (old, new) = (home.path("runs/texts"), home.path("runs/words"));
    copy_folder(vae_words(), &new);
    let touch = |run: &Path, age| {
        let file = fs::File::options().write(true).open(model_of(run));
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        file.and_then(|file| file.set_modified(time))
            .expect("touched");
    };
    touch(&old, 100);
    touch(&new, 50);
    assert!(
        home.textgen("generate --count 1")
            .succeeded()
            .stderr
            .contains("run: words")
    );
    touch(&old, 10);
    assert!(
        home.textgen("generate")
            .succeeded()
            .stderr
            .contains("run: texts")
    );
    home.textgen("generate --run words --prompt a").refused(2);
}

#[test]
fn bytes_that_are_not_utf_8_never_reach_the_output() {
    let home = Home::new();
    // Mostly letters of two and three bytes, so that random bytes are often wrong ones.
    home.write(
        "greek.txt",
        "Ἐν ἀρχῇ ἦν ὁ λόγος, καὶ ὁ λόγος ἦν πρὸς τὸν θεόν.\n".repeat(100),
    );
    home.train(
        "--model char-lstm --unit byte --hidden 8 --steps 2 --threads 1 --name greek greek.txt",
    );
    let mut replaced = false;
    for seed in 0..5 {
        // `Ran` refuses output that is not UTF-8.
        for more in ["", "--count 2", "--json"] {
            let command = format!("generate --run greek --length 300 --seed {seed} {more}");
            replaced |= home
                .textgen(&command)
                .succeeded()
                .stdout
                .contains('\u{FFFD}');
        }
    }
    assert!(
        replaced,
        "the model wrote only valid bytes, so this proves nothing"
    );
    let prompt: [&OsStr; 5] = ["generate", "--run", "greek", "--prompt", "λόγος"].map(OsStr::new);
    let text = home.textgen_with(prompt).succeeded().stdout;
    assert!(text.starts_with("λόγος"), "{text}");
}
