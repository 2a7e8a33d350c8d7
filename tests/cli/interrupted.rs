//! Training that is interrupted, by Ctrl-C or by a kill, resumes as if it had not been: the final
//! weights are those of training without interruption, bit for bit.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;

use super::common::{Home, json, model_of, textgen};
use super::safetensors_file::Parts;

/// Long enough to be interrupted, with saves between the evaluations, and dropout and a carried
/// state to go wrong.
const TEXTS: &str = "--model char-lstm --hidden 16 --layers 2 --batch 8 --seq 32 --steps 1500 --eval-every 150 \
     --save-every 40 --patience 50 --seed 5 --threads 1 --device cpu";
const WORDS: &str = "--model word-vae --hidden 16 --latent 4 --steps 200 --eval-every 20 --save-every 7 \
     --seed 5 --threads 1 --device cpu";

/// The run without interruption.
fn reference(arguments: &'static str) -> &'static Path {
    static RUNS: [OnceLock<(Home, PathBuf)>; 2] = [OnceLock::new(), OnceLock::new()];
    let cell = &RUNS[usize::from(arguments == WORDS)];
    &cell
        .get_or_init(|| {
            let home = Home::new();
            home.train(&format!("{arguments} --name whole"));
            let run = home.path("runs/whole");
            (home, run)
        })
        .1
}

/// Starts a training and returns it when it has written a line with this part, with what it said.
fn start_and_wait_for(
    home: &Home,
    arguments: &str,
    part: &str,
) -> (Child, BufReader<impl std::io::Read>, String) {
    let mut child = home.background(arguments).spawn().expect("started");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut said = String::new();
    while !said.lines().last().is_some_and(|line| line.contains(part)) {
        let read = stderr.read_line(&mut said).expect("readable");
        assert!(read > 0, "it ended before `{part}`: {said}");
    }
    (child, stderr, said)
}

fn send(signal: &str, child: &Child) {
    let kill = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {}", child.id())])
        .status();
    assert!(kill.expect("kill").success());
}

/// The run has the weights, moments and carried state of the run without interruption.
#[track_caller]
fn is_as_without_interruption(home: &Home, run: &str, arguments: &'static str) {
    let folder = home.path("runs").join(run);
    let whole = reference(arguments);
    let model = |folder: &Path| fs::read(model_of(folder)).expect("a model");
    assert!(model(&folder) == model(whole), "the models differ");
    let state = |folder: &Path| Parts::read(&folder.join("state.safetensors"));
    let (ours, theirs) = (state(&folder), state(whole));
    let names = |parts: &Parts| {
        let header = parts.header.as_object().expect("tensors");
        let names = header.keys().filter(|name| *name != "__metadata__");
        names.cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&ours), names(&theirs));
    for name in names(&ours) {
        assert!(ours.tensor(&name) == theirs.tensor(&name), "{name} differs");
    }
    let losses = |folder: &Path| -> Vec<_> {
        let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("metrics");
        let line = |line| {
            let line = json(line);
            (
                line["step"].clone(),
                line["train_loss"].clone(),
                line["valid"].clone(),
            )
        };
        text.lines().map(line).collect()
    };
    assert_eq!(losses(&folder), losses(whole));
}

fn status(home: &Home) -> serde_json::Value {
    json(&home.textgen("runs --json").succeeded().stdout)[0]["status"].clone()
}

fn ctrl_c_then_resume(arguments: &'static str, part: &str) {
    let home = Home::new();
    let train = format!("train {arguments} --name cut");
    let (mut child, stderr, mut said) = start_and_wait_for(&home, &train, part);
    assert_eq!(status(&home), "training");
    send("INT", &child);
    let rest: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let code = child.wait().expect("it ends").code();
    said.push_str(&rest.join("\n"));
    // So that `train && deploy` can tell.
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("everything is saved"), "{said}");
    assert!(said.contains("textgen train --resume cut"), "{said}");
    assert_eq!(status(&home), "stopped");
    home.textgen("generate --run cut --count 1").succeeded();
    let resumed = home.train("--resume cut");
    assert!(
        resumed.stderr.contains("going on with cut at step"),
        "{}",
        resumed.stderr
    );
    assert_eq!(status(&home), "finished");
    is_as_without_interruption(&home, "cut", arguments);
}

#[test]
fn ctrl_c_saves_says_how_to_go_on_and_going_on_is_exact_for_texts() {
    ctrl_c_then_resume(TEXTS, "step 300/");
}

#[test]
fn ctrl_c_saves_says_how_to_go_on_and_going_on_is_exact_for_words() {
    ctrl_c_then_resume(WORDS, "step 40/");
}

/// Kills the trainer at arbitrary moments until training completes.
fn killed_then_resumed(arguments: &'static str) {
    use std::hash::{BuildHasher as _, RandomState};
    reference(arguments);
    let home = Home::new();
    let mut command = format!("train {arguments} --name killed");
    for attempt in 0..3_u64 {
        let (mut child, ..) = start_and_wait_for(&home, &command, "expected time");
        let random = RandomState::new().hash_one(attempt);
        std::thread::sleep(std::time::Duration::from_millis(random % 600));
        child.kill().expect("killed");
        child.wait().expect("it ends");
        "train --resume killed".clone_into(&mut command);
        if status(&home) == "finished" {
            break;
        }
    }
    let ran = home.textgen(&command);
    // It may have been over at the last kill.
    assert!(
        ran.code == Some(0) || ran.stderr.contains("has finished"),
        "{ran:?}"
    );
    is_as_without_interruption(&home, "killed", arguments);
    let left = fs::read_dir(home.path("runs/killed")).expect("the run");
    for entry in left.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with('.'), "{name} was left behind");
    }
}

#[test]
fn a_trainer_killed_at_any_moment_goes_on_exactly_with_texts() {
    killed_then_resumed(TEXTS);
}

#[test]
fn a_trainer_killed_at_any_moment_goes_on_exactly_with_words() {
    killed_then_resumed(WORDS);
}

#[test]
fn two_trainers_cannot_write_one_run() {
    let home = Home::new();
    let train = format!("train {TEXTS} --name busy");
    let (mut child, _stderr, _) = start_and_wait_for(&home, &train, "step 150/");
    let mut second = home.command(textgen());
    super::common::Ran::of(second.args(["train", "--resume", "busy"]))
        .refused(1)
        .names(&["busy", &format!("process {}", child.id())]);
    child.kill().expect("killed");
    child.wait().expect("it ends");
}

#[test]
fn a_training_stopped_before_its_first_evaluation_has_a_model() {
    let home = Home::new();
    let train =
        "train --model char-lstm --hidden 8 --steps 1000000 --threads 1 --device cpu --name cut";
    let (mut child, stderr, _) = start_and_wait_for(&home, train, "expected time");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    // As from a program that passes on what the terminal has sent to both: still one Ctrl-C.
    let twice = format!("kill -INT {0}; sleep 0.1; kill -INT {0}", child.id());
    let sent = Command::new("sh").args(["-c", &twice]).status();
    assert!(sent.expect("kill").success());
    let said: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let said = said.join("\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{said}");
    assert!(said.contains("everything is saved"), "{said}");
    assert!(
        said.contains("generate: textgen generate --run cut"),
        "{said}"
    );
    home.textgen("generate --run cut --length 20 --seed 1")
        .succeeded();
    let listed = json(&home.textgen("runs --json").succeeded().stdout);
    assert!(listed[0]["step"].as_u64() > Some(0), "{listed}");
}

#[test]
fn a_trainer_whose_run_is_moved_writes_no_other_run_of_that_name() {
    let home = Home::new();
    let train = format!("train {TEXTS} --name old");
    let (mut child, stderr, _) = start_and_wait_for(&home, &train, "step 150/");
    fs::remove_file(home.path("runs/old/lock")).expect("removed");
    home.textgen("train --resume old")
        .refused(1)
        .names(&["old", "another trainer"]);
    fs::rename(home.path("runs/old"), home.path("runs/new")).expect("moved");
    home.train("--model char-lstm --hidden 8 --steps 4 --threads 1 --device cpu --name old");
    let other = super::common::files_below(&home.path("runs/old"));
    let said: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let said = said.join("\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said}");
    assert!(
        said.contains("run old was moved, removed or replaced"),
        "{said}"
    );
    assert!(
        said.contains("hint: nothing was written anywhere else"),
        "{said}"
    );
    assert!(super::common::files_below(&home.path("runs/old")) == other);
    home.train("--resume new");
    is_as_without_interruption(&home, "new", TEXTS);
}

/// A long evaluation, and what the user does meanwhile.
fn stops_soon(signal: &str, arguments: &str, said_before: &str) {
    let home = Home::new();
    let train = format!("train {arguments} --threads 1 --device cpu --name cut");
    let (mut child, stderr, _) = start_and_wait_for(&home, &train, said_before);
    std::thread::sleep(std::time::Duration::from_millis(700));
    let sent = std::time::Instant::now();
    send(signal, &child);
    let said: Vec<String> = stderr.lines().map_while(Result::ok).collect();
    let code = child.wait().expect("it ends").code();
    // Half a second on a machine that does nothing else, where the whole evaluation takes ten.
    assert!(sent.elapsed().as_secs_f64() < 6.0, "{:?}", sent.elapsed());
    // 128 + the number of the signal, as shells have it.
    let number = match signal {
        "HUP" => 1,
        "TERM" => 15,
        _ => 2,
    };
    assert_eq!(code, Some(128 + number), "{said:?}");
    assert!(said.join("\n").contains("everything is saved"), "{said:?}");
    assert_eq!(status(&home), "stopped");
}

#[test]
fn every_signal_to_end_stops_a_long_evaluation_at_once() {
    let training = "--model char-lstm --hidden 1024 --batch 4 --seq 8 --steps 2 --valid 0.4 --eval-every 1 \
                    --eval-size 60000";
    for signal in ["INT", "TERM", "HUP"] {
        if signal == "HUP" && is_hangup_ignored() {
            continue; // these tests were started by nohup
        }
        stops_soon(signal, training, "expected time");
    }
}

/// Whether this process, and so what it runs, ignores that its terminal is closed.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.is_some_and(|mask| mask.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
}

/// As `nohup textgen train … &` before the user logs out.
#[cfg(target_os = "linux")]
#[test]
fn a_training_that_ignores_the_end_of_its_terminal_goes_on() {
    let home = Home::new();
    let train =
        "train --model char-lstm --hidden 8 --steps 1000000 --threads 1 --device cpu --name night";
    let direct = home.background(train);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    nohup.arg(direct.get_program()).args(direct.get_args());
    nohup
        .current_dir(home.path("."))
        .stderr(std::process::Stdio::piped());
    let mut child = nohup.spawn().expect("started");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr"));
    let mut said = String::new();
    while !said.contains("expected time") {
        assert!(stderr.read_line(&mut said).expect("readable") > 0, "{said}");
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    send("HUP", &child);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(status(&home), "training");
    send("TERM", &child);
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    assert_eq!(status(&home), "stopped");
}
