//! `textgen train` as it should work, and the lists of its runs.

use std::fs;
use std::path::Path;

use textgen::config::{ModelChoice, ModelConfig, Settings, TrainConfig};

use super::common::{Home, Ran, json, model_of, repository, textgen, texts, vae_words};

/// The settings that a run recorded.
fn settings(home: &Home, run: &str) -> String {
    let path = home.path("runs").join(run).join("config.toml");
    fs::read_to_string(path).expect("settings")
}

/// Whether the settings hold this line, whatever its comment.
#[track_caller]
fn has_line(settings: &str, line: &str) {
    let found = settings
        .lines()
        .any(|l| l.split(" #").next().is_some_and(|l| l.trim_end() == line));
    assert!(found, "{line} is not in:\n{settings}");
}

fn model(home: &Home, run: &str) -> Vec<u8> {
    fs::read(model_of(&home.path("runs").join(run))).expect("a model")
}

/// A text of 1,200 distinct characters, as a Chinese one has.
fn many_characters() -> String {
    let character = |i: u32| char::from_u32(0x4E00 + i % 1200 * (i % 7 + 1) % 1200);
    (0..30_000).filter_map(character).collect()
}

#[test]
fn a_cut_is_reported_and_the_default_ruins_no_script() {
    let home = Home::new();
    home.write("zh.txt", many_characters());
    let small = "zh.txt --model char-lstm --hidden 4 --batch 2 --seq 8 --steps 1";
    let ran = home.train(&format!("{small} --name all"));
    assert!(ran.stderr.contains("since 400 would cut"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("cut: "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("times as much as --max-vocab 400"),
        "{}",
        ran.stderr
    );
    has_line(&settings(&home, "all"), "max-vocab = 1200");
    home.textgen("vocab zh.txt").succeeded();
    let ran = home.train(&format!(
        "{} --name same",
        small.trim_start_matches("zh.txt ")
    ));
    has_line(&settings(&home, "same"), "max-vocab = 1200");
    for part in ["since 400 would cut", "times as much as --max-vocab 400"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    // From another model, most of its characters are new, and are not all listed.
    let small_text = "--model char-lstm --hidden 4 --batch 2 --seq 8 --steps 1";
    home.write("abc.txt", "an abacus\n".repeat(30));
    home.train(&format!("abc.txt {small_text} --name abc"));
    let ran = home.train("zh.txt --from abc --batch 2 --seq 8 --steps 1");
    let new = ran.stderr.lines().find(|line| line.contains("1,200 new: "));
    let new = new.expect("a count");
    assert!(new.ends_with(" …") && new.chars().count() < 200, "{new}");

    let ran = home.train(&format!("{small} --max-vocab 400 --name cut"));
    let said = "cut: 800 of 1,200 distinct tokens, ";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--max-vocab 1200 keeps all"),
        "{}",
        ran.stderr
    );
    let ran = home.textgen("eval cut --no-baselines").succeeded();
    for part in ["were cut from the vocabulary", " …)", "--max-vocab 1200"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    for limit in ["--min-freq 100000", "--max-vocab 1"] {
        home.textgen(&format!("train {small} {limit}"))
            .refused(1)
            .names(&["1200 distinct tokens", "nothing to learn"])
            .advises("--max-vocab 2");
    }
}

#[test]
fn a_diverged_run_is_listed_as_failed_and_goes_on_with_a_lower_rate() {
    let home = Home::new();
    let wild = "--lr 1e38 --clip 0 --warmup 0 --optimizer adam --schedule constant --seed 1";
    let small = "--model char-lstm --hidden 8 --batch 4 --seq 16 --steps 20 --threads 1";
    home.textgen(&format!("train {small} {wild} --name wild"))
        .refused(1)
        .names(&["not finite"])
        .advises("train --resume wild --lr ");
    home.textgen("generate --run wild")
        .refused(1)
        .names(&["incomplete"])
        .advises("train --resume wild --lr ");
    let listed = |runs: &str| json(&home.textgen(runs).succeeded().stdout)[0].clone();
    let run = listed("runs --json");
    assert_eq!(run["status"], "failed");
    assert!(
        run["failure"]
            .as_str()
            .is_some_and(|why| why.contains("not finite"))
    );
    home.textgen("train --resume wild --lr 2e38")
        .refused(2)
        .names(&["not below"]);
    let ran = home.train("--resume --lr 0.01");
    assert!(ran.stderr.starts_with("run: wild\n"), "{}", ran.stderr);
    let run = listed("runs --json");
    assert_eq!(
        (&run["status"], &run["failure"]),
        (&json("\"finished\""), &json("null"))
    );
    has_line(&settings(&home, "wild"), "lr = 0.01");
    home.textgen("train --resume")
        .refused(1)
        .names(&["unfinished"]);
}

#[test]
fn what_a_recorded_run_started_from_is_compared_with_what_there_is() {
    let home = Home::with_run(texts());
    home.write("more.txt", "A giant lived by the sea.\n".repeat(40));
    home.train("more.txt --from texts --steps 1 --name more");
    let again = "--config runs/more/config.toml --steps 1";
    let ran = home.train(&format!("{again} --name same"));
    assert!(!ran.stderr.contains("changed"), "{}", ran.stderr);
    home.write("more.txt", "A giant lived by the lake.\n".repeat(40));
    let ran = home.train(&format!("{again} --name other"));
    assert!(
        ran.stderr.contains("the corpus has changed"),
        "{}",
        ran.stderr
    );
    home.train("--resume texts --steps 40");
    let ran = home.train(&format!("{again} --name third"));
    assert!(
        ran.stderr.contains("the model of --from has changed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn settings_of_vocab_that_are_not_taken_over_are_named() {
    let home = Home::new();
    home.write("rain.txt", "Rain AND wind.\n".repeat(40));
    home.textgen("vocab rain.txt --lowercase").succeeded();
    let small = "--model char-lstm --hidden 4 --steps 1";
    let ran = home.train(&format!("rain.txt {small}"));
    assert!(
        ran.stderr.contains("--lowercase=true (now false)"),
        "{}",
        ran.stderr
    );
    for taken in ["", "rain.txt --lowercase"] {
        let ran = home.train(&format!("{taken} {small}"));
        assert!(!ran.stderr.contains("not taken over"), "{}", ran.stderr);
    }
    // A flag that was given is meant.
    home.textgen("vocab rain.txt --lowercase --min-freq 2")
        .succeeded();
    let ran = home.train(&format!("rain.txt {small} --min-freq 3"));
    assert!(
        ran.stderr.contains("with --lowercase=true (now false);"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_run_that_is_resumed_has_its_text() {
    let home = Home::new();
    home.write("text.txt", "a text\n");
    for line in [
        "- --resume run",
        "text.txt --resume",
        "text.txt --resume run",
    ] {
        home.textgen(&format!("train {line}"))
            .refused(2)
            .names(&["the run's own text"])
            .advises("leave the text out");
    }
}

#[test]
fn a_text_too_short_for_its_split_is_said_to_hold_nothing_out() {
    let home = Home::new();
    home.write("tiny.txt", "Rain AND wind.\n".repeat(20));
    let small = "tiny.txt --model char-lstm --hidden 4 --steps 1 --batch 1 --seq 8";
    let ran = home.train(&format!("{small} --split interleaved"));
    assert!(
        ran.stderr
            .contains("--split interleaved --valid 0.05 holds out no"),
        "{}",
        ran.stderr
    );
    let ran = home.train(small);
    assert!(!ran.stderr.contains("holds out no"), "{}", ran.stderr);
    home.write("ten.txt", "short text");
    home.textgen("train ten.txt --model char-lstm")
        .refused(1)
        .advises("--batch 1 --seq 8");
    home.train("ten.txt --model char-lstm --hidden 4 --steps 1 --batch 1 --seq 8");
}

#[test]
fn an_empty_folder_is_enough_to_train_and_generate() {
    let home = Home::new();
    let ran = home.train("--model char-lstm --hidden 8 --steps 2 --threads 1");
    assert!(
        ran.stderr.contains("corpus: fairy-tales (bundled)"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "", "training has no data for stdout");
    for file in [
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "state.safetensors",
        "samples.txt",
    ] {
        let path = home.path("runs/char-lstm-fairy-tales-1").join(file);
        assert!(path.is_file(), "{file} is missing");
    }
    let ran = home.textgen("generate --length 10").succeeded();
    assert!(
        ran.stderr.contains("run: char-lstm-fairy-tales-1"),
        "{}",
        ran.stderr
    );
    // The next run gets the next number.
    home.train("--model char-lstm --hidden 8 --steps 2 --threads 1");
    assert!(home.path("runs/char-lstm-fairy-tales-2").is_dir());
}

#[test]
fn training_first_says_what_it_will_cost_in_plain_lines() {
    let home = Home::new();
    let ran = home.train("--model char-lstm --hidden 8 --steps 4 --threads 1");
    let at = |part: &str| {
        let found = ran.stderr.lines().position(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("{part} is not said: {}", ran.stderr))
    };
    let first_step = at("step 4/4");
    for part in ["parameters", " MB", "4 steps", "expected time: about"] {
        assert!(
            at(part) < first_step,
            "{part} comes too late: {}",
            ran.stderr
        );
    }
    assert!(at("generate: textgen generate --run") > first_step);
    for code in ['\u{1b}', '\r', '\u{8}'] {
        assert!(!ran.stderr.contains(code), "{:?}", ran.stderr);
    }
}

#[test]
fn a_settings_file_is_taken_and_flags_win_over_it() {
    let home = Home::new();
    let file = "model = \"char-lstm\"\nhidden = 8\nlayers = 2\nsteps = 3\nbatch = 4\nthreads = 1\n";
    home.write("my.toml", file);
    home.train("--config my.toml --hidden 12 --epochs 0.01 --name mixed");
    let recorded = settings(&home, "mixed");
    for line in ["hidden = 12", "layers = 2", "batch = 4", "epochs = 0.01"] {
        has_line(&recorded, line);
    }
    assert!(!recorded.contains("\nsteps ="), "one budget: {recorded}");
}

#[test]
fn a_run_s_own_settings_give_the_same_model_byte_for_byte() {
    for run in [texts(), vae_words()] {
        let home = Home::with_run(run);
        let name = run
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        home.train(&format!("--config runs/{name}/config.toml --name again"));
        assert!(model(&home, name) == model(&home, "again"), "{name}");
        assert_eq!(settings(&home, name), settings(&home, "again"));
    }
}

#[test]
fn another_seed_gives_another_model() {
    let home = Home::with_run(texts());
    home.train("--config runs/texts/config.toml --seed 2 --name other");
    assert!(model(&home, "texts") != model(&home, "other"));
}

#[test]
fn the_original_systems_train_and_generate() {
    let home = Home::new();
    home.train("--model char-lstm --recipe notebook --steps 20 --threads 1 --name notebook");
    has_line(&settings(&home, "notebook"), "optimizer = \"amsgrad\"");
    let text = home.textgen("generate --run notebook --length 50 --seed 1");
    assert!(text.succeeded().stdout.trim_end().len() > 20);
    home.train("--model word-vae --recipe article --steps 20 --threads 1 --name article");
    has_line(&settings(&home, "article"), "latent = 10");
    let words = home.textgen("generate --run article --count 3 --seed 1");
    assert_eq!(words.succeeded().stdout.lines().count(), 3);
}

#[test]
fn every_cell_trains_and_generates_in_both_models() {
    let home = Home::new();
    for cell in ["lstm", "gru", "rnn"] {
        let common = format!("--cell {cell} --layers 2 --hidden 8 --steps 5 --threads 1");
        home.train(&format!("--model char-lstm {common} --name text-{cell}"));
        let text = home.textgen(&format!("generate --run text-{cell} --length 20 --seed 1"));
        assert!(text.succeeded().stdout.chars().count() >= 20);
        home.train(&format!(
            "--model word-vae {common} --latent 4 --name words-{cell}"
        ));
        let words = home.textgen(&format!("generate --run words-{cell} --count 3 --seed 1"));
        assert_eq!(words.succeeded().stdout.lines().count(), 3);
    }
}

#[test]
fn z_may_enter_the_decoder_at_one_place() {
    let home = Home::new();
    for (z, missing) in [("start", ""), ("steps", "decoder.init.weight")] {
        home.train(&format!(
            "--model word-vae --z {z} --hidden 8 --latent 4 --steps 5 --threads 1 --name {z}"
        ));
        has_line(&settings(&home, z), &format!("z = \"{z}\""));
        let bytes = model(&home, z);
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        assert_eq!(
            tensors.tensor("decoder.init.weight").is_ok(),
            missing.is_empty()
        );
        let words = home.textgen(&format!("generate --run {z} --count 3 --seed 1"));
        assert_eq!(words.succeeded().stdout.lines().count(), 3);
    }
}

#[test]
fn every_split_optimizer_and_schedule_trains() {
    let home = Home::new();
    for (split, optimizer, schedule) in [
        ("window:64", "adam", "step"),
        ("interleaved", "amsgrad", "plateau"),
        ("contiguous", "adamw", "constant"),
    ] {
        home.train(&format!(
            "--model char-lstm --hidden 8 --steps 3 --threads 1 --batch 8 --embedding 4 --split {split} \
             --optimizer {optimizer} --schedule {schedule}"
        ));
    }
}

#[test]
fn words_can_stand_one_a_line() {
    let home = Home::new();
    let names: Vec<String> = ('a'..='z').map(|c| format!("{c}na maria")).collect();
    home.write("names.txt", names.join("\n"));
    let ran = home.train(
        "--model word-vae --words lines --hidden 8 --latent 2 --steps 2 --threads 1 names.txt",
    );
    assert!(ran.stderr.contains("26 distinct"), "{}", ran.stderr);
}

#[test]
fn minutes_and_epochs_are_budgets() {
    let home = Home::new();
    home.train("--model char-lstm --minutes 0.01 --hidden 8 --threads 1 --name minutes");
    home.train("--model char-lstm --epochs 0.5 --hidden 8 --threads 1 --name epochs");
    let runs = json(&home.textgen("runs --json").succeeded().stdout);
    for run in runs.as_array().expect("a list") {
        assert_eq!(run["status"], "finished", "{run}");
    }
}

/// The bundled tales, cut after so many characters.
fn tales(characters: usize) -> String {
    let tales = fs::read_to_string(repository("corpora/fairy-tales.txt")).expect("tales");
    tales.chars().take(characters).collect()
}

#[test]
fn any_text_of_200_characters_trains_with_defaults() {
    let home = Home::new();
    for (characters, batch) in [(200, 11), (500, 28), (1000, 32)] {
        home.write("short.txt", tales(characters));
        let name = format!("short-{characters}");
        home.train(&format!(
            "--model char-lstm --steps 3 --name {name} short.txt"
        ));
        let settings = settings(&home, &name);
        has_line(&settings, &format!("batch = {batch}"));
        has_line(&settings, "seq = 16");
        has_line(&settings, "eval-size = 0");
    }
    // Fewer streams first, then shorter sequences; what is given stays.
    home.write("short.txt", tales(200));
    home.train("--model char-lstm --steps 2 --batch 32 --name batch short.txt");
    has_line(&settings(&home, "batch"), "seq = 5");
    home.train("--model char-lstm --steps 2 --seq 100 --name seq short.txt");
    has_line(&settings(&home, "seq"), "batch = 1");
    home.train("--recipe notebook --steps 2 short.txt");
    home.train("--model char-lstm --minutes 0.01 short.txt");
}

#[test]
fn a_long_held_out_part_is_sampled_while_a_short_training_goes_on() {
    let home = Home::new();
    home.write("long.txt", tales(100_000).repeat(3));
    let flags = "--model char-lstm --hidden 8 --steps 30 --threads 1 --name long long.txt";
    let ran = home.train(flags);
    let said = "evaluations read a sample of 7,936 of the 29,999 held-out characters";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let log = fs::read_to_string(home.path("runs/long/metrics.jsonl")).expect("metrics");
    let lines: Vec<_> = log.lines().map(json).collect();
    // Thirty steps read less than an evaluation may cost: there is one, at the end.
    assert_eq!(lines.len(), 1, "{log}");
    assert_eq!(lines[0]["valid"]["sample"]["counted"], 7936);
    assert_eq!(lines[0]["valid"]["sample"]["of"], 29_999);
    assert!(lines[0]["best"]["sample"].is_null());
    let best = lines[0]["best"]["loss_nats_per_char"]
        .as_f64()
        .expect("a loss");
    let said = format!("best validation, at step 30: {best:.4} nats/char");
    assert!(ran.stderr.contains(&said), "{said}\n{}", ran.stderr);
    let eval = |flags: &str| {
        let ran = home.textgen(&format!("eval long --no-baselines --json {flags}"));
        json(&ran.succeeded().stdout)
    };
    let (fast, exact) = (eval(""), eval("--exact"));
    assert_eq!([&fast["reading"], &exact["reading"]], ["sections", "exact"]);
    assert_eq!([&fast["sections"], &exact["sections"]], [29, 1]);
    for report in [fast, exact] {
        let found = &report["results"][0]["loss_nats_per_char"];
        assert!((found.as_f64().expect("a loss") - best).abs() < 1e-4);
    }
    let list = json(&home.textgen("runs --json").succeeded().stdout);
    assert_eq!(list[0]["best_loss"], lines[0]["best"]["loss_nats_per_char"]);
}

#[test]
fn a_budget_that_is_used_up_already_is_refused_and_changes_nothing() {
    let home = Home::new();
    let small = "--model char-lstm --hidden 4 --batch 4 --seq 16 --threads 1 --name";
    home.write("short.txt", "A short text. ".repeat(30));
    home.train(&format!("{small} steps --steps 300 short.txt"));
    home.train(&format!("{small} time --minutes 0.02 short.txt"));
    for (run, budget, done) in [
        ("steps", "--steps 20", "run steps is at step 300 already"),
        ("steps", "--epochs 2", "run steps has trained for "),
        ("time", "--minutes 0.0001", "run time has trained for "),
    ] {
        let before = settings(&home, run);
        let (flag, _) = budget.split_once(' ').expect("a flag");
        home.textgen(&format!("train --resume {run} {budget}"))
            .refused(1)
            .names(&[done, " already"])
            .advises(&format!("give more {flag}"));
        assert_eq!(settings(&home, run), before);
    }
}

#[test]
fn a_setting_that_resuming_does_not_change_is_named() {
    let home = Home::with_run(texts());
    home.textgen("train --resume texts --steps 40 --eval-every 5 --hidden 8")
        .refused(2)
        .names(&["--hidden, --eval-every: --resume keeps"])
        .advises("--resume takes --steps, ");
}

#[test]
fn a_text_that_was_moved_since_vocab_is_said_to_be_that_one() {
    let home = Home::new();
    home.write("old.txt", "Rain and wind.\n".repeat(40));
    home.textgen("vocab old.txt").succeeded();
    home.train("--model char-lstm --hidden 4 --steps 1 --threads 1 --name one old.txt");
    fs::rename(home.path("old.txt"), home.path("new.txt")).expect("moved");
    home.textgen("train --model char-lstm")
        .refused(1)
        .names(&["old.txt: no such corpus"])
        .advises("the text last given to vocab; name it where it is now");
    home.textgen("train --config runs/one/config.toml")
        .refused(1)
        .names(&["old.txt: no such corpus"])
        .advises("the text of --config; name it");
}

#[test]
fn a_finished_run_trains_on_with_a_larger_budget() {
    let home = Home::with_run(texts());
    let ran = home.train("--resume texts --steps 33");
    assert!(ran.stderr.contains("at step 30"), "{}", ran.stderr);
    let rise = "the learning rate rises again from 0.00";
    assert!(ran.stderr.contains(rise), "{}", ran.stderr);
    has_line(&settings(&home, "texts"), "steps = 33");
    let runs = json(&home.textgen("runs --json").succeeded().stdout);
    assert_eq!(runs[0]["step"], 33);
}

#[test]
fn runs_are_listed_the_newest_first() {
    let home = Home::with_run(texts());
    home.train("--model word-vae --hidden 8 --latent 2 --steps 2 --threads 1 --name newer");
    let table = home.textgen("runs").succeeded().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME"), "{table}");
    assert!(
        lines[1].starts_with("newer ") && lines[1].contains("nats/word"),
        "{table}"
    );
    assert!(
        lines[2].starts_with("texts ") && lines[2].contains("nats/char"),
        "{table}"
    );
    let list = json(&home.textgen("runs --json").succeeded().stdout);
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(list[1]["name"], "texts");
    assert_eq!(list[1]["model"], "char-lstm");
    assert_eq!(list[1]["corpus"], "fairy-tales");
    assert_eq!(list[1]["step"], 30);
    assert_eq!(list[1]["status"], "finished");
    assert_eq!(list[1]["unit"], "nats/char");
    let loss = list[1]["best_loss"].as_f64().expect("a loss");
    assert!((3.0..5.0).contains(&loss), "{loss}");
}

#[test]
fn no_runs_are_an_empty_list() {
    let home = Home::new();
    let ran = home.textgen("runs").succeeded();
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("no runs in runs yet"), "{}", ran.stderr);
    assert_eq!(
        json(&home.textgen("runs --json").succeeded().stdout),
        json("[]")
    );
}

#[test]
fn the_folder_of_the_runs_can_be_chosen_by_flag_and_variable() {
    let home = Home::new();
    let with_variable = |arguments: &str| {
        let mut command = home.command(textgen());
        command.args(arguments.split(' '));
        Ran::of(command.env("TEXTGEN_RUNS", "by-variable")).succeeded()
    };
    let train = "train --model char-lstm --hidden 8 --steps 2 --threads 1 --name one";
    with_variable(train);
    with_variable(&format!("{train} --runs-dir by-flag"));
    with_variable("generate --length 5");
    for folder in ["by-variable", "by-flag"] {
        assert!(
            model_of(&home.path(folder).join("one")).is_file(),
            "{folder}"
        );
    }
    home.textgen("generate --runs-dir by-flag --run one --length 5")
        .succeeded();
    assert!(!home.path("runs").exists());
}

#[test]
fn the_best_model_can_be_read_as_plain_safetensors() {
    let bytes = fs::read(model_of(texts())).expect("a model");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let shape = |name: &str| tensors.tensor(name).expect(name).shape().to_vec();
    // Four gates of an LSTM.
    assert_eq!(shape("rnn.weight_hh_l0"), [64, 16]);
    let tokens = shape("head.bias")[0];
    assert_eq!(shape("rnn.weight_ih_l0"), [64, tokens]);
    assert_eq!(shape("head.weight"), [tokens, 16]);
}

#[test]
fn a_run_holds_no_path_of_the_machine_in_its_model() {
    let bytes = fs::read(model_of(texts())).expect("a model");
    let folder = texts().ancestors().nth(2).map(Path::to_string_lossy);
    let folder = folder.expect("the home");
    let found = bytes.windows(folder.len()).any(|w| w == folder.as_bytes());
    assert!(!found, "the model file contains {folder}");
}

#[test]
fn a_training_that_begins_with_a_model_knows_what_it_knows() {
    let home = Home::new();
    let tales = fs::read_to_string(repository("corpora/fairy-tales.txt")).expect("tales");
    let old: String = tales.chars().take(20_000).collect();
    home.write("old.txt", &old);
    home.write("new.txt", old.replace("the", "\u{436}\u{e6}"));
    home.train(
        "old.txt --model char-lstm --name old --hidden 16 --batch 4 --steps 300 --threads 1",
    );
    let first_loss = |run: &str| {
        let log = fs::read_to_string(home.path("runs").join(run).join("metrics.jsonl"));
        let first = log.expect("metrics").lines().next().map(json);
        first.expect("a line")["train_loss"]
            .as_f64()
            .expect("a loss")
    };
    let flags = "new.txt --batch 4 --steps 4 --eval-every 1 --threads 1";
    let ran = home.train(&format!("{flags} --from old --name on"));
    assert!(
        ran.stderr.contains("2 new: \u{e6} \u{436}"),
        "{}",
        ran.stderr
    );
    home.train(&format!(
        "{flags} --model char-lstm --hidden 16 --name anew"
    ));
    let (on, anew) = (first_loss("on"), first_loss("anew"));
    assert!(on < 0.8 * anew, "{on} {anew}");
    let recorded = settings(&home, "on");
    has_line(&recorded, "hidden = 16");
    has_line(&recorded, "lr = 0.018");
    // From a model file, with a budget of its own; the run needs neither file any more.
    fs::copy(model_of(&home.path("runs/old")), home.path("m.safetensors")).expect("copied");
    home.train(&format!("{flags} --from m.safetensors --name file"));
    assert_eq!(model(&home, "on"), model(&home, "file"));
    fs::remove_file(home.path("m.safetensors")).expect("removed");
    home.textgen("train --resume file --steps 5").succeeded();
}

#[test]
fn what_a_model_settles_cannot_be_changed_by_flags() {
    let home = Home::new();
    home.train("--model char-lstm --name old --hidden 8 --steps 2 --threads 1");
    for flags in [
        "--hidden 9",
        "--cell rnn",
        "--model word-vae",
        "--unit byte",
    ] {
        home.textgen(&format!("train --from old {flags}"))
            .refused(2)
            .names(&["--from determines the network"])
            .advises("leave --");
    }
    home.textgen("train --from nowhere")
        .refused(1)
        .names(&["nowhere"]);
}

#[test]
fn a_decoder_without_z_is_given_one() {
    let home = Home::new();
    home.train("--model word-vae --latent 0 --name twin --hidden 8 --steps 2 --threads 1");
    home.train("--from twin --latent 3 --name vae --steps 2 --threads 1");
    let recorded = settings(&home, "vae");
    has_line(&recorded, "latent = 3");
    has_line(&recorded, "bidirectional = true");
    has_line(&recorded, "hidden = 8");
    home.textgen("encode --run vae ana").succeeded();
    home.textgen("train --from vae --latent 4")
        .refused(2)
        .names(&["--from determines the network"])
        .advises("--latent");
}

#[test]
fn a_flag_wins_over_the_goal_beside_it_and_that_is_said() {
    let home = Home::new();
    let tiny = "--model word-vae --hidden 8 --latent 2 --steps 2 --threads 1 --device cpu";
    let ran = home.train(&format!("{tiny} --goal explore --rate 3 --name one"));
    let note = "--rate 3 overrides --goal explore, which sets --rate 8";
    assert!(
        ran.stderr.lines().any(|line| line == note),
        "{}",
        ran.stderr
    );
    has_line(&settings(&home, "one"), "rate = 3.0");
    let ran = home.train(&format!("{tiny} --goal explore --name two"));
    assert!(!ran.stderr.contains("overrides"), "{}", ran.stderr);
}

#[test]
fn a_char_gru_is_a_char_lstm_with_another_cell_and_a_recipe_implies_its_model() {
    let home = Home::new();
    let tiny = "--hidden 8 --steps 2 --threads 1 --device cpu";
    home.train(&format!("--model char-gru {tiny}"));
    let gru = settings(&home, "char-gru-fairy-tales-1");
    has_line(&gru, "model = \"char-lstm\"");
    has_line(&gru, "cell = \"gru\"");
    has_line(&gru, "lr = 0.015");
    home.train(&format!("--recipe notebook --name notebook {tiny}"));
    let notebook = settings(&home, "notebook");
    has_line(&notebook, "model = \"char-lstm\"");
    has_line(&notebook, "beta2 = 0.999");
    assert!(!notebook.contains("\nlatent"), "{notebook}");
    assert!(notebook.contains("format = 2"), "{notebook}");
}

#[test]
fn the_long_help_tells_the_defaults_there_are() {
    let home = Home::new();
    let help = home.textgen("train --help").succeeded().stdout;
    let paragraph = |start: &str| {
        let from = help.find(start);
        let from = from.unwrap_or_else(|| panic!("{start}: {help}"));
        let lines = help[from..].lines().enumerate();
        let own = lines.take_while(|(i, line)| *i == 0 || line.starts_with("  "));
        let words = own.flat_map(|(_, line)| line.split_whitespace());
        format!("{} ", words.collect::<Vec<_>>().join(" "))
    };
    for &model in ModelChoice::ALL {
        let config = TrainConfig::resolve(&Settings {
            model: Some(model),
            ..Settings::default()
        });
        let config = config.expect("in range");
        let text = paragraph(&format!("Defaults of {model}:"));
        let mut told = vec![
            ("cell", config.cell.to_string()),
            ("valid", config.valid.to_string()),
            ("beta2", config.beta2.to_string()),
        ];
        match &config.model {
            ModelConfig::CharRnn(_) => {}
            ModelConfig::WordVae(own) => told.push(("latent", own.latent.to_string())),
            ModelConfig::Article(_) => panic!("{model}"),
        }
        // The others fit the corpus.
        assert!(!text.contains("--hidden"), "{text}");
        for (flag, value) in told {
            let wanted = format!("--{flag} {value} ");
            assert!(text.contains(&wanted), "{wanted}: {text}");
        }
    }
    for (flag, default) in [("--warmup <STEPS>", "100"), ("--clip <NORM>", "5")] {
        assert!(
            paragraph(flag).contains(&format!("[default: {default}]")),
            "{flag}"
        );
    }
    let goals = paragraph("Goals");
    for flags in ["--rate 8 ", "--beta 0.02 ", "--char-dropout 0 "] {
        assert!(goals.contains(flags), "{flags}: {goals}");
    }
}
