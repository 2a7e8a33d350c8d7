//! A training that is stopped and resumed gives the same result bit for bit as one that is not.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::models::weights::Weights;
use crate::run::{Metrics, atomic};
use crate::train::{Batch, Costs, Distributed, Losses, Report, Step};

/// Asserts that a run ended as another one did: state, metrics, model and samples.
#[track_caller]
pub fn ended_alike(run: &RunDir, whole: &RunDir) {
    let (have, want) = (state(run), state(whole));
    let name = run.name();
    assert!(have.tensors.keys().eq(want.tensors.keys()), "{name}");
    for (key, tensor) in &have.tensors {
        assert!(*tensor == want.tensors[key], "{name}: {key} differs");
    }
    let losses = |run: &RunDir| -> Vec<_> {
        let lines = Metrics::read(&run.metrics_path()).expect("metrics");
        let figures = lines.iter();
        figures
            .map(|line| (line.step, line.train_loss, line.valid, line.best, line.test))
            .collect()
    };
    assert_eq!(losses(run), losses(whole), "{name}");
    let model = |run: &RunDir| std::fs::read(run.model_path()).expect("model");
    assert!(model(run) == model(whole), "{name}: the models differ");
    let samples = |run: &RunDir| std::fs::read_to_string(run.samples_path()).unwrap_or_default();
    assert_eq!(samples(run), samples(whole), "{name}");
}

fn stopping_changes_nothing(config: &TrainConfig) {
    let folder = tempfile::tempdir().expect("folder");
    let whole = create_run(folder.path(), "whole", config);
    assert_eq!(train(&whole), Ending::Budget);
    for (name, stops) in [("a", vec![1]), ("b", vec![7, 8, 13]), ("c", vec![23])] {
        let run = create_run(folder.path(), name, config);
        for stop in stops {
            train_up_to(&run, stop);
        }
        assert_eq!(train(&run), Ending::Budget);
        ended_alike(&run, &whole);
    }
}

#[test]
fn a_char_lstm_that_was_stopped_ends_with_the_same_bits() {
    stopping_changes_nothing(&text_config());
}

#[test]
fn a_corpus_that_is_cut_short_ends_a_training_which_goes_on_once_it_is_whole_again() {
    let folder = tempfile::tempdir().expect("folder");
    let [whole, run] = ["whole", "a"].map(|name| create_run(folder.path(), name, &text_config()));
    train(&whole);
    let path = run.path().join("corpus.safetensors");
    let bytes = std::fs::read(&path).expect("the corpus");
    let mut trainer = trainer(&run);
    trainer.train_until(&GO, Some(9)).expect("trained");
    let file = std::fs::File::options().write(true).open(&path);
    let cut = file.and_then(|file| file.set_len(bytes.len() as u64 / 2));
    cut.expect("cut short");
    let error = trainer.train(&GO).expect_err("damaged").to_string();
    assert!(error.contains("changed or cut short"), "{error}");
    drop(trainer);
    std::fs::write(&path, bytes).expect("whole again");
    assert_eq!(train(&run), Ending::Budget);
    ended_alike(&run, &whole);
}

#[test]
fn sampled_sequence_lengths_survive_a_stop() {
    stopping_changes_nothing(&with(&constant(text_config(), 24), "seq-min=3"));
}

#[test]
fn averaged_weights_and_every_kind_of_dropout_survive_a_stop() {
    let changes = "ema=0.9 variational=true input-dropout=0.1 recurrent-dropout=0.3 shards=3";
    stopping_changes_nothing(&with(&text_config(), changes));
}

#[test]
fn tied_weights_and_the_loss_of_the_last_position_survive_a_stop() {
    stopping_changes_nothing(&with(
        &text_config(),
        "tied=true embedding=16 ema=0.9 cell=gru loss=last optimizer=amsgrad",
    ));
}

#[test]
fn a_word_vae_that_was_stopped_ends_with_the_same_bits() {
    stopping_changes_nothing(&word_config());
    stopping_changes_nothing(&word_config().no_latent_baseline().expect("it has a z"));
    stopping_changes_nothing(&with(&word_config(), "pretrain-decoder=0.5 ema=0.9"));
}

#[test]
fn a_rate_that_is_held_survives_a_stop() {
    let config = with(&word_config(), "rate=2 free-bits=0 kl-warmup=0 shards=2");
    stopping_changes_nothing(&config);
}

#[test]
fn the_article_s_network_survives_a_stop() {
    stopping_changes_nothing(&article_config());
}

#[test]
fn a_run_extended_later_is_the_run_of_that_length() {
    let folder = tempfile::tempdir().expect("folder");
    let long = constant(text_config(), 24);
    let whole = create_run(folder.path(), "whole", &long);
    train(&whole);
    let run = create_run(folder.path(), "extended", &constant(text_config(), 16));
    train(&run);
    run.set_config(&long).expect("written");
    train(&run);
    assert!(state(&run).tensors == state(&whole).tensors);
}

#[test]
fn a_rate_that_rises_again_with_a_larger_budget_is_known() {
    let folder = tempfile::tempdir().expect("folder");
    let steps = |steps| TrainConfig {
        budget: Budget::Steps(steps),
        ..with(
            &text_config(),
            "schedule=cosine lr=0.1 final-lr=0.01 warmup=0",
        )
    };
    let run = create_run(folder.path(), "more", &steps(16));
    train_up_to(&run, 9);
    assert_eq!(trainer(&run).rise(), None);
    train(&run);
    run.set_config(&steps(32)).expect("written");
    let [from, to] = trainer(&run).rise().expect("it rises");
    assert!(
        (0.001..0.0025).contains(&from) && (0.049..0.052).contains(&to),
        "{from} {to}"
    );
    // One that is constant does not.
    let run = create_run(folder.path(), "same", &constant(text_config(), 16));
    train(&run);
    run.set_config(&constant(text_config(), 32))
        .expect("written");
    assert_eq!(trainer(&run).rise(), None);
}

#[test]
fn a_killed_training_goes_on_from_its_last_save() {
    let folder = tempfile::tempdir().expect("folder");
    let config = word_config();
    let whole = create_run(folder.path(), "whole", &config);
    train(&whole);
    let run = create_run(folder.path(), "killed", &config);
    train_up_to(&run, 9);
    let saved = std::fs::read(run.state_path()).expect("state");
    train_up_to(&run, 19);
    // As if the process had died between writing metrics and state, with a torn line at the end.
    std::fs::write(run.state_path(), saved).expect("put back");
    let mut log = std::fs::read(run.metrics_path()).expect("log");
    log.extend_from_slice(b"{\"step\": 24, \"ep");
    std::fs::write(run.metrics_path(), log).expect("torn");
    train(&run);
    assert!(state(&run).tensors == state(&whole).tensors);
    let lines = Metrics::read(&run.metrics_path()).expect("log");
    let steps: Vec<u64> = lines.iter().map(|line| line.step).collect();
    assert_eq!(steps, [8, 16, 24]);
}

#[test]
fn a_training_that_dies_between_two_evaluations_goes_on_from_its_recent_save() {
    for config in [text_config(), word_config()] {
        let folder = tempfile::tempdir().expect("folder");
        let whole = create_run(folder.path(), "whole", &config);
        train(&whole);
        let run = create_run(folder.path(), "dead", &config);
        train_up_to(&run, 1);
        let mut dying = trainer(&run);
        dying.unsaved = Duration::ZERO;
        assert!(
            dying.go_on(&GO, Some(13)).is_err(),
            "it is stopped, and saves nothing"
        );
        dying.saver.wait().expect("saved");
        drop(dying);
        let steady = run.steady_state().expect("readable").expect("there");
        assert_eq!((steady.progress.step, state(&run).progress.step), (8, 13));
        assert_eq!(train(&run), Ending::Budget);
        assert!(!run.recent_path().exists());
        ended_alike(&run, &whole);
    }
}

/// A call that changes an engine or reads it.
#[derive(Clone, Copy, PartialEq)]
enum Call {
    Evaluate,
    Other,
}

/// An engine of which each call is announced, and fails if that fails.
struct Watched<'a> {
    engine: Box<dyn Engine>,
    watch: Box<dyn FnMut(Call) -> Result<(), EngineError> + 'a>,
}

impl Engine for Watched<'_> {
    fn join(&mut self, distributed: Rc<Distributed>) -> Result<(), EngineError> {
        self.engine.join(distributed)
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Costs, EngineError> {
        (self.watch)(Call::Evaluate)?;
        self.engine.evaluate(batch)
    }
    fn step(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        (self.watch)(Call::Other)?;
        self.engine.step(batch, step)
    }
    fn trial(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        self.engine.trial(batch, step)
    }
    fn losses(&mut self, wait: bool) -> Losses {
        self.engine.losses(wait)
    }
    fn weights(&self) -> Weights<'static> {
        self.engine.weights()
    }
    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        (self.watch)(Call::Other)?;
        self.engine.set_weights(weights)
    }
    fn use_average(&mut self, on: bool) {
        self.engine.use_average(on);
    }
    fn state(&self) -> Result<Weights<'static>, EngineError> {
        self.engine.state()
    }
    fn restore(&mut self, state: &Weights, step: u64) -> Result<(), EngineError> {
        (self.watch)(Call::Other)?;
        self.engine.restore(state, step)
    }
    fn are_finite(&self) -> bool {
        self.engine.are_finite()
    }
    fn parameters(&self) -> usize {
        self.engine.parameters()
    }
    fn describe(&self) -> String {
        self.engine.describe()
    }
}

/// Trains a new run until its engine has had this many calls, after which nothing is saved, as if the process had died;
/// none if it gets to its end before.
fn dies_after(calls: usize, run: &RunDir) -> Option<()> {
    let factory = |config: &TrainConfig, network: &NetworkConfig| {
        let mut left = calls;
        let die = move |_| {
            let died = || EngineError::Device("it died".to_owned());
            left = left.checked_sub(1).ok_or_else(died)?;
            Ok(())
        };
        let engine: Box<dyn Engine> = Box::new(Watched {
            engine: native(config, network)?,
            watch: Box::new(die),
        });
        Ok(engine)
    };
    let mut trainer = Trainer::new(run, &factory, |_| ()).expect("trainer");
    trainer.train(&GO).is_err().then_some(())
}

/// The counters of a run that do not depend on the clock.
pub fn counters(run: &RunDir) -> impl PartialEq + std::fmt::Debug {
    let progress = state(run).progress;
    (
        (progress.step, progress.best_step, progress.since_best),
        (progress.evaluations, progress.lr_scale, progress.samples),
        (progress.finished, progress.unfinished),
    )
}

/// Trainings with everything that an evaluation decides: the learning rate, the end, the average that is kept.
fn deciding() -> [TrainConfig; 3] {
    let changes =
        "schedule=plateau decay=0.5 patience=2 ema=0.9 sample-every=1 eval-every=4 lr=0.5";
    let text = with(&text_config(), changes);
    let words = with(&word_config(), changes);
    [with(&text, "patience=0"), text, words]
}

/// The number of engine calls of a whole training.
fn calls_of(config: &TrainConfig, folder: &Path) -> usize {
    let least = |calls: &usize| {
        let run = create_run(folder, &format!("count-{calls}"), config);
        dies_after(*calls, &run).is_none()
    };
    (20..200).find(least).expect("it ends")
}

#[test]
fn a_training_that_dies_at_any_call_goes_on_to_the_same_end() {
    for config in deciding() {
        let folder = tempfile::tempdir().expect("folder");
        let whole = create_run(folder.path(), "whole", &config);
        let want = train(&whole);
        for calls in 0.. {
            let run = create_run(folder.path(), &format!("dead-{calls}"), &config);
            if dies_after(calls, &run).is_none() {
                println!("died at {calls} calls, one after the other");
                assert!(calls > 20);
                break;
            }
            assert_eq!(train(&run), want);
            ended_alike(&run, &whole);
            assert_eq!(counters(&run), counters(&whole), "{calls} calls");
        }
    }
}

#[test]
fn a_training_that_was_stopped_before_its_first_evaluation_has_a_model() {
    for config in [text_config(), word_config()] {
        let folder = tempfile::tempdir().expect("folder");
        let run = create_run(folder.path(), "early", &config);
        train_up_to(&run, 3);
        let header = run.model().expect("a model").header.clone();
        assert_eq!((header.step, header.valid), (3, None));
        // Later it has that of an evaluation, and no other.
        train_up_to(&run, 9);
        let header = run.model().expect("a model").header.clone();
        assert_eq!(header.step, 8);
        assert!(header.valid.is_some());
    }
}

#[test]
fn a_state_that_is_nowhere_in_the_corpus_is_refused() {
    for config in [text_config(), word_config(), article_config()] {
        let folder = tempfile::tempdir().expect("folder");
        let run = create_run(folder.path(), "away", &config);
        train_up_to(&run, 3);
        let mut state = run.state().expect("readable").expect("there");
        state.progress.cursor = 100_000;
        state.write(&run.state_path()).expect("written");
        let mut trainer = Trainer::new(&run, &native, |_| ()).expect("a run");
        let error = trainer.resume().expect_err("refused").to_string();
        assert!(error.contains("it is at position 100000 of "), "{error}");
    }
}

#[test]
fn the_logs_follow_the_state_wherever_a_crash_has_left_them() {
    type Damage = fn(&RunDir, &RunDir);
    let damages: [Damage; 6] = [
        // It died before its last save, but with everything else written.
        |run, whole| {
            for path in [
                RunDir::metrics_path,
                RunDir::samples_path,
                RunDir::model_path,
            ] {
                std::fs::copy(path(whole), path(run)).expect("copied");
            }
        },
        // The last line was dropped, and not yet written again; or it was cut short.
        |run, _| {
            let log = std::fs::read_to_string(run.metrics_path()).expect("log");
            let lines: Vec<&str> = log.lines().collect();
            let cut = lines[..lines.len() - 1].join("\n") + "\n";
            std::fs::write(run.metrics_path(), cut).expect("cut");
        },
        |run, _| {
            let log = std::fs::read(run.metrics_path()).expect("log");
            std::fs::write(run.metrics_path(), &log[..log.len() - 9]).expect("cut");
        },
        // It stands there twice.
        |run, _| {
            let log = std::fs::read_to_string(run.metrics_path()).expect("log");
            let last = log.lines().next_back().expect("a line");
            std::fs::write(run.metrics_path(), format!("{log}{last}\n")).expect("written");
        },
        // A sample that the state does not know, whole and cut short.
        |run, _| atomic::append(&run.samples_path(), b"== step 99\nOnce\n\n").expect("written"),
        |run, _| atomic::append(&run.samples_path(), b"== st").expect("written"),
    ];
    for config in deciding() {
        let folder = tempfile::tempdir().expect("folder");
        let calls = calls_of(&config, folder.path());
        let whole = create_run(folder.path(), "whole", &config);
        train(&whole);
        for (number, damage) in damages.iter().enumerate() {
            // Its last call restores the state after the last evaluation.
            let run = create_run(folder.path(), &format!("damaged-{number}"), &config);
            dies_after(calls - 1, &run).expect("it dies");
            assert_eq!(state(&run).progress.finished, None);
            damage(&run, &whole);
            train(&run);
            ended_alike(&run, &whole);
            assert_eq!(counters(&run), counters(&whole), "damage {number}");
        }
    }
}

#[test]
fn what_somebody_writes_into_the_samples_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "a", &with(&text_config(), "sample-every=1"));
    train_up_to(&run, 9);
    atomic::append(&run.samples_path(), b"My favourite!\n").expect("written");
    train(&run);
    let samples = std::fs::read_to_string(run.samples_path()).expect("samples");
    assert!(
        samples.contains("\nMy favourite!\n== step 16\n"),
        "{samples}"
    );
}

#[cfg(unix)]
#[test]
fn a_run_that_is_moved_while_it_trains_is_not_written_to_another_of_its_name() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = create_run(folder.path(), "whole", &text_config());
    train(&whole);
    let run = create_run(folder.path(), "a", &text_config());
    let moved = folder.path().join("b");
    let report = |report: Report| {
        if matches!(report, Report::Evaluated(line) if line.step == 16) {
            std::fs::rename(run.path(), &moved).expect("moved");
            create_run(folder.path(), "a", &text_config());
        }
    };
    let mut trainer = Trainer::new(&run, &native, report).expect("trainer");
    let error = trainer.train(&GO).expect_err("moved").to_string();
    assert!(
        error.contains("run a was moved, removed or replaced"),
        "{error}"
    );
    drop(trainer);
    let files = std::fs::read_dir(run.path()).expect("listed").count();
    assert_eq!(
        files, 2,
        "settings and corpus of the new run, and nothing of the old one"
    );
    let moved = RunDir::open(&moved).expect("there");
    assert_eq!(train(&moved), Ending::Budget);
    ended_alike(&moved, &whole);
}

/// Interrupts every session during its first evaluation, with `calls` calls of it done, or at its first
/// report of an evaluation if `calls` is none, until a session gets to the end.
fn interrupted_in_evaluations(config: &TrainConfig, calls: Option<usize>) {
    let folder = tempfile::tempdir().expect("folder");
    let whole = create_run(folder.path(), "whole", config);
    let want = train(&whole);
    let run = create_run(folder.path(), "cut", config);
    let mut sessions = 0;
    loop {
        sessions += 1;
        // Every other session may finish the evaluation that the one before was stopped in.
        let skipped = if sessions % 2 == 0 { usize::MAX / 2 } else { 0 };
        let stop = Rc::new(AtomicBool::new(false));
        let factory = |config: &TrainConfig, network: &NetworkConfig| {
            let mut left = calls.map_or(usize::MAX, |calls| calls + skipped);
            let stop = stop.clone();
            let interrupt = move |call| {
                if call == Call::Evaluate {
                    // Ctrl-C during the last of these calls.
                    stop.fetch_or(left == 0, Ordering::Relaxed);
                    left = left.wrapping_sub(1);
                }
                Ok(())
            };
            let engine: Box<dyn Engine> = Box::new(Watched {
                engine: native(config, network)?,
                watch: Box::new(interrupt),
            });
            Ok(engine)
        };
        let report = |report: Report| {
            if calls.is_none() && matches!(report, Report::Evaluated(_)) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let mut trainer = Trainer::new(&run, &factory, report).expect("trainer");
        trainer.resume().expect("resumed");
        let last = (skipped > 0).then_some(sessions * 4);
        let ending = trainer.train_until(&stop, last).expect("trained");
        if ending != Ending::Stopped {
            assert_eq!(ending, want);
            break;
        }
        assert!(sessions < 40, "it never ends");
    }
    assert!(sessions > 3, "{sessions} sessions");
    ended_alike(&run, &whole);
}

#[test]
fn a_stop_during_an_evaluation_is_as_exact_as_between_two_steps() {
    // A window of 32 makes evaluations of several calls.
    let text = with(&text_config(), "ema=0.9 valid=0.3");
    for config in [&text, &word_config(), &article_config()] {
        interrupted_in_evaluations(config, Some(0));
    }
    interrupted_in_evaluations(&article_config(), Some(3));
}

#[test]
fn evaluations_of_a_sample_survive_a_stop() {
    let text = with(&text_config(), "valid=0.5 eval-size=2000 ema=0.9");
    for config in [text, with(&word_config(), "eval-size=7")] {
        stopping_changes_nothing(&config);
        interrupted_in_evaluations(&config, Some(0));
    }
}

#[test]
fn a_stop_before_a_sample_is_as_exact_as_between_two_steps() {
    for config in [text_config(), word_config(), article_config()] {
        interrupted_in_evaluations(&with(&config, "sample-every=1"), None);
    }
}

#[test]
fn a_stop_while_patience_ends_a_training_is_remembered() {
    let config = TrainConfig {
        lr: 1e-12,
        patience: 2,
        eval_every: 4,
        budget: Budget::Steps(1000),
        ..word_config()
    };
    interrupted_in_evaluations(&config, Some(0));
}

#[test]
fn a_stop_during_a_step_is_as_exact_as_between_two_steps() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, config) in [
        ("text", text_config()),
        ("words", word_config()),
        ("article", article_config()),
    ] {
        let whole = create_run(folder.path(), name, &config);
        train(&whole);
        let run = create_run(folder.path(), &format!("{name}-cut"), &config);
        let mut ending = Ending::Stopped;
        // A little more time every session, so that they stop anywhere and get to the end at last.
        for session in 1.. {
            let stop = AtomicBool::new(false);
            ending = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(session));
                    stop.store(true, Ordering::Relaxed);
                });
                let mut trainer = Trainer::new(&run, &native, |_| ()).expect("trainer");
                trainer.resume().expect("resumed");
                trainer.train(&stop).expect("trained")
            });
            if ending != Ending::Stopped {
                break;
            }
        }
        assert_eq!(ending, Ending::Budget);
        ended_alike(&run, &whole);
    }
}

#[test]
fn a_training_whose_steps_take_much_longer_than_its_trials_says_so_once() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "slow", &constant(text_config(), 400));
    let slow = |config: &TrainConfig, network: &NetworkConfig| {
        let wait = |_| {
            std::thread::sleep(Duration::from_millis(120));
            Ok(())
        };
        let engine: Box<dyn Engine> = Box::new(Watched {
            engine: native(config, network)?,
            watch: Box::new(wait),
        });
        Ok(engine)
    };
    let mut said = Vec::new();
    let report = |report: Report| {
        if let Report::Longer(seconds) = report {
            said.push(seconds);
        }
    };
    let mut trainer = Trainer::new(&run, &slow, report).expect("trainer");
    let expected = trainer.plan(&GO).expect("a plan").expected_seconds;
    trainer.train_until(&GO, Some(16)).expect("trained");
    drop(trainer);
    // 48 s by the sleep alone, and more on a machine that does something else.
    assert!(expected < 20.0, "{expected}");
    assert!(matches!(said[..], [seconds] if seconds > 40.0), "{said:?}");
}
