//! Trainings in several processes of `textgen-torch`: the same files as by one, and what happens when something goes
//! wrong. `TEXTGEN_KILLS=50` kills more of them.
#![cfg(target_os = "linux")]

use std::io::{self, BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use textgen::config::{ModelChoice, OnUnknown, Settings, TrainConfig};
use textgen::run::{CorpusData, Metrics, RunDir, Runs, State, TextData, WordData};
use textgen::text::{Corpus, TextError, Vocabulary, split_words, survey, tokens, words};
use textgen::train::{Engine, NativeEngine, Trainer};

const TEXT: &str = "model=char-lstm hidden=16 batch=8 seq=16 dropout=0.1 recurrent-dropout=0.2 shards=4 steps=60 \
    eval-every=20 sample-every=1 valid=0.2 test=0.1 threads=1";
/// 160 words to train on, so that the last batch of a pass is smaller.
const WORDS: &str = "model=word-vae hidden=12 latent=3 embedding=5 batch=49 shards=4 steps=60 eval-every=20 \
    sample-every=1 threads=1";
/// A training that does not end by itself.
const LONG: &str = "steps=1000000 eval-every=40";

fn config(settings: &str) -> TrainConfig {
    let mut all = Settings {
        model: Some(if settings.contains("word-vae") {
            ModelChoice::WordVae
        } else {
            ModelChoice::CharLstm
        }),
        ..Settings::default()
    };
    for setting in settings.split_whitespace() {
        let (key, value) = setting.split_once('=').expect("key=value");
        if key != "model" {
            all.set(key, value).expect("a setting");
        }
    }
    TrainConfig::resolve(&all).expect("valid")
}

/// A run that learns a piece of the bundled tales.
fn create(folder: &Path, name: &str, settings: &str) -> RunDir {
    let (config, corpus) = (config(settings), Corpus::bundled());
    let text = &config.text;
    let data = if settings.contains("word-vae") {
        let mut list = words(&corpus, text, |_| ()).expect("read");
        list.words.truncate(200);
        let (train, valid, test) = split_words(200, 0.1, 0.1, 1);
        let vocabulary = Vocabulary::for_words(text.unit, &list.counts(text.unit), 1, 400);
        let encode = |word: &String| vocabulary.encode(word, OnUnknown::Error).expect("known");
        let letters = list.words.iter().map(encode).collect();
        CorpusData::Words(WordData {
            vocabulary,
            words: list.words,
            letters,
            train,
            valid,
            test,
        })
    } else {
        let counts = survey(&corpus, text, |_| ()).expect("counted").counts;
        let vocabulary = Vocabulary::from_counts(text.unit, &counts, text.min_freq, text.max_vocab);
        let mut all = Vec::new();
        let take = |mut some: Vec<u32>| -> Result<(), TextError> {
            all.append(&mut some);
            Ok(())
        };
        tokens(&corpus, text, &vocabulary, |_| (), <[u32]>::to_vec, take).expect("read");
        all.truncate(4_000);
        CorpusData::Text(TextData {
            vocabulary,
            tokens: all.into(),
        })
    };
    let runs = Runs::new(folder);
    runs.create(name, &config, &data, None).expect("created")
}

/// Trains a run in this process, up to a step.
fn train_alone(run: &RunDir, last: Option<u64>) {
    let factory = |config: &TrainConfig, network: &_| {
        let engine: Box<dyn Engine> = Box::new(NativeEngine::new(config, network)?);
        Ok(engine)
    };
    let mut trainer = Trainer::new(run, &factory, |_| ()).expect("trainer");
    trainer.resume().expect("resumed");
    let go = AtomicBool::new(false);
    trainer.train_until(&go, last).expect("trained");
}

fn trainer(arguments: &[&str], run: &RunDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_textgen-torch"));
    command
        .arg("train")
        .args(arguments)
        .arg(run.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn train(arguments: &[&str], run: &RunDir) -> Output {
    trainer(arguments, run).output().expect("started")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn trained(processes: &str, run: &RunDir) {
    let output = train(&["--processes", processes], run);
    assert!(output.status.success(), "{}", said(&output));
}

fn state(run: &RunDir) -> State {
    run.state().expect("readable").expect("there")
}

/// Asserts that two trainings are at the same step with the same weights, moments and carried states.
#[track_caller]
fn are_alike(run: &RunDir, other: &RunDir) {
    let [one, two] = [state(run), state(other)];
    assert_eq!(one.progress.step, two.progress.step);
    assert!(one.tensors == two.tensors);
}

/// The lines of `metrics.jsonl` without times.
fn metrics(run: &RunDir) -> Vec<Metrics> {
    let lines = Metrics::read(&run.metrics_path()).expect("metrics");
    let timeless = lines.into_iter().map(|line| Metrics {
        seconds: 0.0,
        chars_per_second: 0.0,
        ..line
    });
    timeless.collect()
}

fn signal(name: &str, process: &str) {
    let status = Command::new("kill").args([name, "--", process]).status();
    assert!(status.expect("kill").success(), "{name} {process}");
}

/// A training in four processes.
struct Running {
    launcher: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// Their ids, by rank.
    ranks: Vec<String>,
}

impl Running {
    /// Starts it.
    fn begin(arguments: &[&str], run: &RunDir) -> Self {
        let all = [&["--processes", "4"], arguments].concat();
        let mut launcher = trainer(&all, run)
            .process_group(0)
            .spawn()
            .expect("started");
        let stderr = launcher.stderr.take().expect("piped");
        Self {
            launcher,
            lines: BufReader::new(stderr).lines(),
            ranks: Vec::new(),
        }
    }

    /// Starts it, and waits until it has saved something.
    fn start(arguments: &[&str], run: &RunDir) -> Self {
        let step = || {
            let state = run.state().expect("readable");
            state.map(|state| state.progress.step)
        };
        let before = step();
        let mut running = Self::begin(arguments, run);
        let id = running.launcher.id();
        let list = format!("/proc/{id}/task/{id}/children");
        let started = Instant::now();
        while running.ranks.len() < 4 || step() == before {
            let ranks = std::fs::read_to_string(&list).unwrap_or_default();
            running.ranks = ranks.split_whitespace().map(str::to_owned).collect();
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "nothing is saved"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    /// Waits for its end, and returns its exit code, its last lines and the seconds that it took.
    fn end(mut self) -> (Option<i32>, Vec<String>, f64) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.launcher.try_wait().expect("a process") {
                break status;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        };
        let seconds = started.elapsed().as_secs_f64();
        let lines = self.lines.collect::<Result<_, _>>().expect("text");
        (status.code(), lines, seconds)
    }
}

/// Asserts that all processes end within so many seconds with one error that has `words`.
#[track_caller]
fn failed(running: Running, within: f64, words: &str) {
    let (code, lines, seconds) = running.end();
    assert_eq!(code, Some(1), "{lines:?}");
    assert!(seconds < within, "{seconds} s");
    let errors: Vec<&String> = lines.iter().filter(|line| line.contains("error")).collect();
    assert!(errors.len() == 1 && errors[0].contains(words), "{lines:?}");
    let hint = lines.last().expect("a hint");
    assert!(
        hint.starts_with("hint:") && hint.contains("--resume"),
        "{hint}"
    );
}

/// The budget of a run, made so small that the training ends at step `steps`.
fn end_at(run: &RunDir, steps: u64) {
    let mut config = run.config().expect("settings");
    config.budget = textgen::config::Budget::Steps(steps);
    run.set_config(&config).expect("written");
}

#[test]
fn the_number_of_processes_changes_no_file() {
    for settings in [TEXT, WORDS] {
        let folder = tempfile::tempdir().expect("folder");
        let of = |name: &str| create(folder.path(), name, settings);
        let alone = of("alone");
        train_alone(&alone, None);
        for processes in ["2", "4"] {
            let run = of(processes);
            trained(processes, &run);
            are_alike(&run, &alone);
            assert_eq!(metrics(&run), metrics(&alone));
            let files = |run: &RunDir| {
                [run.model_path(), run.samples_path()]
                    .map(|path| std::fs::read(path).expect("there"))
            };
            assert!(files(&run) == files(&alone));
        }
        for (name, processes) in [("4-1", "1"), ("4-2", "2")] {
            let run = of(name);
            let running = Running::start(&[], &run);
            signal("-TERM", &running.launcher.id().to_string());
            running.end();
            if processes == "1" {
                train_alone(&run, None);
            } else {
                trained(processes, &run);
            }
            are_alike(&run, &alone);
        }
    }
}

#[test]
fn when_a_process_is_killed_all_end_and_nothing_that_was_saved_is_lost() {
    let kills = std::env::var("TEXTGEN_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", &format!("{TEXT} {LONG}"));
    for kill in 0..kills.unwrap_or(8) {
        let running = Running::start(&[], &run);
        // Anywhere in a step, an evaluation or a save.
        std::thread::sleep(Duration::from_micros(kill * 7919 % 50_000));
        let rank = kill as usize % 4;
        signal("-KILL", &running.ranks[rank]);
        failed(
            running,
            5.0,
            &format!("process {rank} of 4 ended by signal 9"),
        );
    }
    let steps = state(&run).progress.step + 7;
    let alone = create(folder.path(), "alone", &format!("{TEXT} {LONG}"));
    train_alone(&alone, Some(steps));
    train_alone(&run, Some(steps));
    are_alike(&run, &alone);
}

#[test]
fn a_process_that_does_not_answer_ends_the_training() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", &format!("{TEXT} {LONG}"));
    let running = Running::start(&["--timeout", "2"], &run);
    signal("-STOP", &running.ranks[1]);
    failed(running, 10.0, "process 1 of 4 did not answer");
}

#[test]
fn a_second_ctrl_c_ends_all_at_once_also_one_that_does_not_answer() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", &format!("{TEXT} {LONG}"));
    let running = Running::start(&[], &run);
    let group = format!("-{}", running.launcher.id());
    signal("-STOP", &running.ranks[1]);
    signal("-INT", &group);
    std::thread::sleep(Duration::from_millis(700));
    signal("-INT", &group);
    let (code, lines, seconds) = running.end();
    assert_eq!(code, Some(130), "{lines:?}");
    assert!(seconds < 10.0, "{seconds} s");
    assert!(
        lines.iter().all(|line| !line.contains("error")),
        "{lines:?}"
    );
}

#[test]
fn what_cannot_be_saved_when_the_training_is_stopped_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(
        folder.path(),
        "run",
        &format!("{TEXT} steps=1000000 eval-every=0"),
    );
    // One that goes on saves when it is stopped, also before its first step.
    train_alone(&run, Some(3));
    let mut running = Running::begin(&[], &run);
    let is_plan = |line: io::Result<String>| line.expect("text").starts_with("expected time:");
    assert!(running.lines.any(is_plan));
    std::fs::remove_file(run.state_path()).expect("removed");
    std::fs::create_dir(run.state_path()).expect("a folder");
    std::fs::write(run.state_path().join("file"), "").expect("a file");
    signal("-TERM", &running.launcher.id().to_string());
    let (code, lines, _) = running.end();
    assert_eq!(code, Some(1), "{lines:?}");
    let errors = lines.iter().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "{lines:?}");
    assert!(
        lines.iter().all(|line| !line.contains("is saved")),
        "{lines:?}"
    );
}

#[test]
fn processes_that_do_not_begin_leave_no_run() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", TEXT);
    let mut command = trainer(&["--processes", "2"], &run);
    let output = command.env("TMPDIR", "/nowhere").output().expect("started");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("TMPDIR") && text.lines().count() == 2,
        "{text}"
    );
    assert!(!run.path().exists());
}

#[test]
fn ctrl_c_stops_all_at_one_step_wherever_it_arrives() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", &format!("{WORDS} {LONG}"));
    // As from a terminal, to all of the group; and as from another program, to one.
    for (name, to_all, code) in [("-INT", true, 130), ("-TERM", false, 143)] {
        let running = Running::start(&[], &run);
        std::thread::sleep(Duration::from_millis(3));
        let id = running.launcher.id();
        signal(
            name,
            &if to_all {
                format!("-{id}")
            } else {
                id.to_string()
            },
        );
        let (ended, lines, _) = running.end();
        assert_eq!(ended, Some(code), "{lines:?}");
        let stopped = lines
            .iter()
            .filter(|line| line.contains("everything is saved"));
        assert_eq!(stopped.count(), 1, "{lines:?}");
        assert!(
            lines.iter().all(|line| !line.contains("error")),
            "{lines:?}"
        );
    }
    // One that was started for another that is gone.
    let mut running = Running::start(&[], &run);
    running.launcher.kill().expect("killed");
    running.launcher.wait().expect("ended");
    let started = Instant::now();
    while run.is_locked() {
        assert!(started.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let steps = state(&run).progress.step + 5;
    let alone = create(folder.path(), "alone", &format!("{WORDS} {LONG}"));
    train_alone(&alone, Some(steps));
    train_alone(&run, Some(steps));
    are_alike(&run, &alone);
}

/// Starts two processes that meet over TCP.
fn over_tcp(run: &RunDir) -> [Child; 2] {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a port").port().to_string();
    ["0", "1"].map(|rank| {
        let mut command = trainer(&["--timeout", "30"], run);
        command.envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port)]);
        command.envs([
            ("OMPI_COMM_WORLD_RANK", rank),
            ("OMPI_COMM_WORLD_SIZE", "2"),
        ]);
        command.spawn().expect("started")
    })
}

#[test]
fn processes_of_any_launcher_meet_over_tcp() {
    let folder = tempfile::tempdir().expect("folder");
    let [alone, run] = ["alone", "run"].map(|name| create(folder.path(), name, TEXT));
    train_alone(&alone, None);
    for rank in over_tcp(&run) {
        let output = rank.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", said(&output));
    }
    are_alike(&run, &alone);
}

#[test]
fn one_that_ends_elsewhere_is_named_with_its_host() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", &format!("{TEXT} {LONG}"));
    let [first, mut second] = over_tcp(&run);
    while run.state().expect("readable").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    second.kill().expect("killed");
    second.wait().expect("ended");
    let output = first.wait_with_output().expect("ended");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(": process 1 (") && text.contains("step "),
        "{text}"
    );
    assert!(text.contains("--resume"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create(folder.path(), "run", TEXT);
    let socket = TcpListener::bind("0.0.0.0:0").expect("a port");
    let busy = socket.local_addr().expect("an address").port().to_string();
    let free = TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr());
    let free = free.expect("a port").port().to_string();
    let of = |rank: &str, port: &str| {
        let mut command = trainer(&["--timeout", "1"], &run);
        command.envs([
            ("RANK", rank),
            ("WORLD_SIZE", "4"),
            ("MASTER_ADDR", "127.0.0.1"),
        ]);
        command.env("MASTER_PORT", port).output().expect("started")
    };
    for (rank, port, words) in [
        ("0", &busy, format!("port {busy} of this host is in use")),
        (
            "0",
            &free,
            "processes 1, 2, 3 did not come within 1 s".to_owned(),
        ),
        (
            "2",
            &free,
            format!("rank 0 was not reached at 127.0.0.1:{free} within 1 s"),
        ),
    ] {
        let output = of(rank, port);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(&words) && text.lines().count() == 2, "{text}");
    }
    let output = train(&["--processes", "3"], &run);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("allows --processes 1, 2, 4"), "{text}");
}

#[test]
fn minutes_are_those_of_rank_0() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = TEXT
        .replace("steps=60", "minutes=0.01")
        .replace("eval-every=20", "eval-every=0");
    let run = create(folder.path(), "run", &settings);
    trained("4", &run);
    let progress = state(&run).progress;
    assert!(progress.finished.is_some() && progress.step > 0);
    assert!(
        (0.6..5.0).contains(&progress.seconds),
        "{}",
        progress.seconds
    );
}

#[test]
fn a_budget_that_was_used_up_in_several_processes_can_be_raised_in_one() {
    let folder = tempfile::tempdir().expect("folder");
    let [alone, run] = ["alone", "run"].map(|name| create(folder.path(), name, TEXT));
    train_alone(&alone, None);
    trained("2", &run);
    for run in [&alone, &run] {
        end_at(run, 90);
        train_alone(run, None);
    }
    are_alike(&run, &alone);
}
