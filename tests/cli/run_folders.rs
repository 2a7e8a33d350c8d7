//! Runs that are locked, incomplete, damaged or cannot be written: refused in one line, and what
//! was saved before is still there.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use super::common::{Home, Refusal, copy_folder, files_below, json as parsed, texts};
use super::made_runs::{golden_run, word_run};
use super::safetensors_file::Parts;

/// Resuming the run `texts` is refused, and does not change it.
#[track_caller]
fn resuming_is_refused(home: &Home) -> Refusal {
    let before = home.files();
    let refusal = home.textgen("train --resume texts --steps 40").refused(1);
    let after = home.files();
    for (path, content) in &before {
        // A larger budget may already stand in the settings, which are not what is at stake.
        let kept = path.ends_with("config.toml") || after.get(path) == Some(content);
        assert!(kept, "{} is lost or changed", path.display());
    }
    for path in after.keys() {
        assert!(before.contains_key(path), "{} was made", path.display());
    }
    refusal
}

// ---------------------------------------------------------------- locked

#[test]
fn a_run_that_another_process_writes_is_refused_with_its_number() {
    let home = Home::with_run(texts());
    let mut lock = fs::File::create(home.path("runs/texts/lock")).expect("the lock file");
    writeln!(lock, "424242").expect("written");
    lock.try_lock().expect("locked");
    resuming_is_refused(&home)
        .names(&["texts", "another trainer", "process 424242"])
        .advises("stop that process");
    // Reading still works, and the list shows the lock.
    home.textgen("generate --run texts --length 10").succeeded();
    let runs = parsed(&home.textgen("runs --json").succeeded().stdout);
    assert_eq!(runs[0]["status"], "training");
    // A process that another test is just starting holds a copy of the file, so that closing this one is not enough.
    lock.unlock().expect("unlocked");
    let runs = parsed(&home.textgen("runs --json").succeeded().stdout);
    assert_eq!(runs[0]["status"], "finished");
}

// ---------------------------------------------------------------- incomplete

#[test]
fn a_run_without_settings_is_incomplete() {
    let home = Home::with_run(texts());
    fs::remove_file(home.path("runs/texts/config.toml")).expect("removed");
    resuming_is_refused(&home).names(&["texts", "incomplete", "config.toml"]);
    home.textgen("generate --run texts")
        .refused(1)
        .names(&["incomplete", "config.toml"]);
    home.textgen("runs").succeeded();
}

#[test]
fn a_run_without_its_corpus_is_incomplete_but_still_generates() {
    let home = Home::with_run(texts());
    fs::remove_file(home.path("runs/texts/corpus.safetensors")).expect("removed");
    resuming_is_refused(&home).names(&["texts", "incomplete", "corpus.safetensors"]);
    home.textgen("generate --run texts --length 10").succeeded();
}

#[test]
fn a_run_that_kept_only_its_model_does_not_lose_it_to_a_failed_resume() {
    let home = Home::with_run(texts());
    for file in ["corpus", "state"] {
        let path = home.path(&format!("runs/texts/{file}.safetensors"));
        fs::remove_file(path).expect("removed");
    }
    resuming_is_refused(&home).names(&["corpus.safetensors"]);
    home.textgen("generate --run texts --length 10").succeeded();
}

#[test]
fn a_run_without_a_model_says_how_to_get_one() {
    let home = Home::with_run(texts());
    fs::remove_file(home.path("runs/texts/model.safetensors")).expect("removed");
    for command in ["generate --run texts", "generate"] {
        home.textgen(command)
            .refused(1)
            .names(&["texts", "incomplete", "model.safetensors"])
            .advises("train --resume texts");
    }
}

#[test]
fn a_state_that_is_cut_short_foreign_or_newer_is_refused() {
    let state = fs::read(texts().join("state.safetensors")).expect("a state");
    let newer = Parts::read(&texts().join("state.safetensors"))
        .edit(|header| *header = json!({"format": 99}))
        .to_bytes();
    let cases: [(&[u8], &str); 3] = [
        (&state[..5000], "damaged"),
        (b"not a state at all, but some text", "damaged"),
        (&newer, "format 99"),
    ];
    for (bytes, part) in cases {
        let home = Home::with_run(texts());
        home.write("runs/texts/state.safetensors", bytes);
        resuming_is_refused(&home).names(&["state.safetensors", part]);
        home.textgen("generate --run texts --length 10").succeeded();
    }
}

#[test]
fn a_state_of_another_network_is_refused() {
    let home = Home::with_run(texts());
    let path = home.path("runs/texts/config.toml");
    let settings = fs::read_to_string(&path).expect("settings");
    fs::write(&path, settings.replace("hidden = 16", "hidden = 17")).expect("written");
    resuming_is_refused(&home);
}

#[test]
fn damaged_settings_and_a_damaged_corpus_are_refused() {
    let home = Home::with_run(texts());
    home.write("runs/texts/config.toml", "format = 1\nhidd");
    resuming_is_refused(&home).names(&["config.toml:2"]);

    let home = Home::with_run(texts());
    let whole = fs::read(home.path("runs/texts/corpus.safetensors")).expect("a corpus");
    for damaged in [&b"no corpus"[..], &whole[..whole.len() - 1]] {
        home.write("runs/texts/corpus.safetensors", damaged);
        resuming_is_refused(&home).names(&["corpus.safetensors", "damaged"]);
    }
}

#[test]
fn figures_that_were_cut_short_in_the_last_line_do_no_harm() {
    let home = Home::with_run(texts());
    let path = home.path("runs/texts/metrics.jsonl");
    let whole = fs::read_to_string(&path).expect("metrics");
    fs::write(&path, &whole[..whole.len() - 10]).expect("written");
    home.textgen("runs").succeeded();
    home.train("--resume texts --steps 32");
}

#[test]
fn a_damaged_log_hides_no_run_and_stops_no_training() {
    let home = Home::with_run(texts());
    let path = home.path("runs/texts/metrics.jsonl");
    let whole = fs::read_to_string(&path).expect("metrics");
    let damaged = format!("rubbish\n{whole}");
    fs::write(&path, &damaged).expect("written");
    let runs = home.textgen("runs --json").succeeded();
    assert!(
        runs.stderr.contains("metrics.jsonl:1: damaged"),
        "{}",
        runs.stderr
    );
    assert_eq!(parsed(&runs.stdout)[0]["status"], "finished");
    let ran = home.train("--resume texts --steps 32");
    let aside = "metrics.jsonl.damaged-1";
    assert!(ran.stderr.contains(aside), "{}", ran.stderr);
    let aside = fs::read_to_string(home.path("runs/texts").join(aside));
    assert_eq!(aside.expect("set aside"), damaged);
    let log = fs::read_to_string(&path).expect("metrics");
    assert!(log.starts_with(&whole), "{log}");

    fs::remove_file(&path).expect("removed");
    let ran = home.train("--resume texts --steps 40");
    assert!(
        ran.stderr
            .contains("the training goes on without the others"),
        "{}",
        ran.stderr
    );
}

// ---------------------------------------------------------------- cannot be written

#[cfg(unix)]
#[test]
fn a_file_in_place_of_the_folder_of_the_runs_is_refused() {
    let home = Home::new();
    home.write("file", "precious");
    for command in ["train --model char-lstm --steps 2", "generate", "runs"] {
        home.textgen(&format!("{command} --runs-dir file"))
            .refused(1)
            .names(&["file"]);
    }
    // The report itself needs no folder: it is data, whatever comes after it.
    home.shell("exec textgen vocab --runs-dir file >report.txt")
        .refused(1)
        .names(&["file"]);
    assert_eq!(fs::read(home.path("file")).expect("the file"), b"precious");
}

/// Makes a folder read-only; false if that has no effect, as for root.
#[cfg(unix)]
fn make_read_only(folder: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).expect("permissions");
    let probe = folder.join("probe");
    let binds = fs::write(&probe, "").is_err();
    let _ = fs::remove_file(&probe);
    binds
}

/// So that the temporary folder can be removed.
#[cfg(unix)]
fn make_writable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[cfg(unix)]
#[test]
fn a_read_only_run_is_refused_and_still_generates() {
    let home = Home::with_run(texts());
    let run = home.path("runs/texts");
    fs::remove_file(run.join("lock")).expect("removed");
    if make_read_only(&run) {
        resuming_is_refused(&home).names(&["texts", "cannot write"]);
        home.textgen("generate --run texts --length 10").succeeded();
    }
    make_writable(&run);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_of_the_runs_is_refused() {
    let home = Home::new();
    let runs = home.path("runs");
    fs::create_dir(&runs).expect("a folder");
    if make_read_only(&runs) {
        home.textgen("train --model char-lstm --steps 2")
            .refused(1)
            .names(&["runs", "cannot write"]);
        home.shell("exec textgen vocab >report.txt")
            .refused(1)
            .names(&["runs"]);
    }
    make_writable(&runs);
    assert!(files_below(&runs).is_empty());
}

/// What cannot be made read-only for root: the lock's place is taken by a folder.
#[test]
fn a_run_whose_lock_cannot_be_written_is_refused() {
    let home = Home::with_run(texts());
    fs::remove_file(home.path("runs/texts/lock")).expect("removed");
    fs::create_dir(home.path("runs/texts/lock")).expect("a folder");
    resuming_is_refused(&home).names(&["lock", "cannot write"]);
}

// ---------------------------------------------------------------- a full disk

/// A limit on the size of files simulates a full disk: writes past it fail. It is below the size
/// of a model and a state, and above that of settings and figures. Units are 512 bytes, or 1024 in
/// shells that are not quite POSIX.
#[cfg(unix)]
const FULL_DISK: &str = "ulimit -f 24; exec";

#[cfg(unix)]
#[test]
fn a_full_disk_is_one_line_and_the_saved_state_survives_and_resumes() {
    let home = Home::with_run(texts());
    copy_folder(&home.path("runs/texts"), &home.path("runs/lucky"));
    let saved = ["state.safetensors", "model.safetensors"].map(|name| {
        let path = home.path("runs/texts").join(name);
        (path.clone(), fs::read(path).expect("saved"))
    });
    for attempt in [
        "textgen train --resume texts --steps 60",
        "textgen train --resume texts",
    ] {
        home.shell(&format!("{FULL_DISK} {attempt}"))
            .refused(1)
            .names(&["safetensors", "cannot write"]);
        for (path, before) in &saved {
            let now = fs::read(path).expect("still there");
            assert!(&now == before, "{} has changed", path.display());
        }
        let strays = fs::read_dir(home.path("runs/texts")).expect("the run");
        for entry in strays.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with('.'), "{name} was left behind");
        }
        home.textgen("generate --run texts --length 10").succeeded();
    }
    // With space again, it continues as if nothing had happened, to its budget.
    home.train("--resume texts");
    home.train("--resume lucky --steps 60");
    let model = |run: &str| fs::read(home.path(&format!("runs/{run}/model.safetensors")));
    assert!(model("texts").expect("a model") == model("lucky").expect("a model"));
}

#[cfg(unix)]
#[test]
fn a_full_disk_before_the_first_step_leaves_nothing_behind() {
    let home = Home::new();
    home.shell(&format!(
        "{FULL_DISK} textgen train --model char-lstm --steps 2 --hidden 8"
    ))
    .refused(1)
    .names(&["cannot write"]);
    let left = home.files();
    assert!(left.is_empty(), "left behind: {:?}", left.keys());
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_vocabulary_that_was_there() {
    let home = Home::new();
    home.textgen("vocab").succeeded();
    let before = home.files();
    home.write("many.txt", ('一'..='鿿').collect::<String>());
    let script = format!("{FULL_DISK} textgen vocab --max-vocab 100000 many.txt >report.txt");
    home.shell(&script).refused(1).names(&["vocab.json"]);
    let vocabulary = home.path("runs/vocab.json");
    let now = fs::read(&vocabulary).expect("a vocabulary");
    assert!(now == before[&vocabulary], "the vocabulary has changed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_on_standard_output_is_named() {
    let home = Home::new();
    word_run(&home, "");
    for command in [
        "vocab",
        "runs",
        "runs --json",
        "generate --count 2 --seed 1",
        "encode ab",
        "reconstruct ab --tsv",
        "map --out -",
        "score --word ab",
        "eval --iw 0 --samples 0",
        "doctor",
    ] {
        home.shell(&format!("textgen {command} >/dev/full"))
            .refused(1)
            .names(&["writing to standard output: No space left on device"]);
    }
}

// ---------------------------------------------------------------- named

#[test]
fn a_run_is_named_by_its_name_its_folder_or_its_model_file() {
    let home = Home::new();
    golden_run(&home, "");
    let write = |named: &str, more: &str| {
        let arguments = format!("generate --length 20 --seed 1 {more} --run {named}");
        home.textgen(&arguments).succeeded().stdout
    };
    let by_name = write("golden", "");
    let file = "runs/golden/model.safetensors";
    for named in ["runs/golden", "./runs/golden/", file] {
        assert_eq!(write(named, "--runs-dir elsewhere"), by_name, "{named}");
    }
    let old = format!("generate --length 20 --seed 1 --model-file {file}");
    assert_eq!(home.textgen(&old).succeeded().stdout, by_name);
    // As a run, it has a corpus of its own.
    let eval = home.textgen(&format!("eval {file} --json")).succeeded();
    assert_eq!(parsed(&eval.stdout)["run"], "golden");
}

#[test]
fn a_typo_is_answered_with_the_nearest_name() {
    let home = Home::new();
    golden_run(&home, "");
    for command in ["generate --run", "eval", "export -o x --run", "novelty"] {
        home.textgen(&format!("{command} goldne"))
            .refused(1)
            .names(&["no run named goldne"])
            .advises("did you mean golden?");
    }
    home.textgen("generate --run xyz --runs-dir ./runs")
        .refused(1)
        .advises("textgen runs --runs-dir ./runs");
    home.textgen("generate --run nowhere/model.safetensors")
        .refused(1)
        .names(&["nowhere/model.safetensors", "No such file"]);
}

#[test]
fn a_flag_of_one_kind_of_model_chooses_the_newest_run_of_that_kind() {
    let home = Home::new();
    let older = golden_run(&home, "");
    word_run(&home, "");
    // Files of one moment have the same time.
    let model = fs::File::options().append(true).open(older.model_path());
    let hour = std::time::Duration::from_secs(3600);
    let time = std::time::SystemTime::now() - hour;
    model.and_then(|file| file.set_modified(time)).expect("set");
    let chosen = |arguments: &str| {
        let ran = home.textgen(arguments).succeeded();
        ran.stderr.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(chosen("generate --count 1"), "run: words");
    assert_eq!(chosen("generate --prompt The --length 5"), "run: golden");
    assert_eq!(chosen("generate --count 1 --novel"), "run: words");
    assert_eq!(chosen("novelty --length 50"), "run: golden");
}

#[cfg(unix)]
#[test]
fn a_command_that_is_printed_works_when_it_is_pasted() {
    let home = Home::new();
    let hint = home.textgen_with(["generate", "--runs-dir", "my runs"]);
    let hint = hint.refused(1).hint;
    let (_, command) = hint.split_once(": ").expect("a command");
    assert_eq!(
        command,
        "textgen train --model char-lstm --runs-dir 'my runs'"
    );
    home.shell(&format!("{command} --help")).succeeded();
}
