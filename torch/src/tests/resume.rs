//! A training that is stopped and resumed gives the same result bit for bit as one that is not. Also
//! tests how training handles a loss that is not finite.

use std::sync::atomic::AtomicBool;

use tch::Device;
use textgen::config::TrainConfig;
use textgen::run::{Metrics, RunDir, State};

use crate::testing::{alone, constant, create_run, device, text_config, with, word_config};
use crate::train::{Ending, Trainer};

static GO: AtomicBool = AtomicBool::new(false);

fn train(run: &RunDir) -> Ending {
    tch::set_num_threads(1);
    let mut trainer = Trainer::new(run, Device::Cpu).expect("trainer");
    trainer.resume().expect("resumed");
    trainer.train(&GO).expect("trained")
}

/// Trains up to `steps`, as a process that is stopped there would have.
fn train_up_to(run: &RunDir, config: &TrainConfig, steps: u64) {
    tch::set_num_threads(1);
    let mut trainer = Trainer::new(run, Device::Cpu).expect("trainer");
    trainer.resume().expect("resumed");
    assert_eq!(
        trainer.train_until(&GO, Some(steps)).expect("trained"),
        Ending::Stopped
    );
    assert!(steps < config.text.max_vocab as u64);
}

fn state(run: &RunDir) -> State {
    run.state().expect("readable").expect("there")
}

fn stopping_changes_nothing(config: &TrainConfig) {
    let folder = tempfile::tempdir().expect("folder");
    let whole = create_run(folder.path(), "whole", config);
    assert_eq!(train(&whole), Ending::Budget);
    let want = state(&whole);
    for (name, stops) in [("a", vec![1]), ("b", vec![7, 8, 13]), ("c", vec![23])] {
        let run = create_run(folder.path(), name, config);
        for stop in stops {
            train_up_to(&run, config, stop);
        }
        assert_eq!(train(&run), Ending::Budget);
        let have = state(&run);
        assert_eq!(
            have.tensors.keys().collect::<Vec<_>>(),
            want.tensors.keys().collect::<Vec<_>>()
        );
        for (key, tensor) in &have.tensors {
            assert!(*tensor == want.tensors[key], "{name}: {key} differs");
        }
        let losses = |run: &RunDir| -> Vec<_> {
            let lines = Metrics::read(&run.metrics_path()).expect("metrics");
            lines
                .iter()
                .map(|line| (line.step, line.train_loss, line.valid))
                .collect()
        };
        assert_eq!(losses(&run), losses(&whole), "{name}");
        let model = |run: &RunDir| std::fs::read(run.model_path()).expect("model");
        assert!(
            model(&run) == model(&whole),
            "{name}: the model files differ"
        );
    }
}

#[test]
fn a_char_lstm_that_was_stopped_ends_with_the_same_bits() {
    let _alone = alone();
    stopping_changes_nothing(&text_config());
}

#[test]
fn drawn_sequence_lengths_survive_a_stop() {
    let _alone = alone();
    stopping_changes_nothing(&with(&constant(text_config(), 24), "seq-min=3"));
}

#[test]
fn averaged_weights_and_every_kind_of_dropout_survive_a_stop() {
    let _alone = alone();
    stopping_changes_nothing(&with(
        &text_config(),
        "ema=0.9 variational=true input-dropout=0.1 recurrent-dropout=0.3",
    ));
}

#[test]
fn tied_weights_survive_a_stop() {
    let _alone = alone();
    stopping_changes_nothing(&with(&text_config(), "tied=true embedding=16 ema=0.9"));
}

#[test]
fn a_word_vae_that_was_stopped_ends_with_the_same_bits() {
    let _alone = alone();
    stopping_changes_nothing(&word_config());
    stopping_changes_nothing(&word_config().no_latent_baseline().expect("it has a z"));
}

#[test]
fn a_rate_that_is_held_survives_a_stop() {
    let _alone = alone();
    stopping_changes_nothing(&with(&word_config(), "rate=2 free-bits=0 kl-warmup=0"));
}

#[test]
fn a_run_extended_later_is_the_run_of_that_length() {
    let _alone = alone();
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
fn a_killed_training_goes_on_from_its_last_save() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    let config = word_config();
    let whole = create_run(folder.path(), "whole", &config);
    train(&whole);
    let run = create_run(folder.path(), "killed", &config);
    train_up_to(&run, &config, 9);
    let saved = std::fs::read(run.state_path()).expect("state");
    train_up_to(&run, &config, 19);
    // As if the process had died between writing metrics and state, with a torn line at the end.
    std::fs::write(run.state_path(), saved).expect("put back");
    let mut log = std::fs::read(run.metrics_path()).expect("log");
    log.extend_from_slice(b"{\"step\": 24, \"ep");
    std::fs::write(run.metrics_path(), log).expect("torn");
    train(&run);
    assert!(state(&run).tensors == state(&whole).tensors);
    let steps: Vec<u64> = Metrics::read(&run.metrics_path())
        .expect("log")
        .iter()
        .map(|line| line.step)
        .collect();
    assert_eq!(steps, [8, 16, 24]);
}

#[test]
fn a_loss_that_is_never_finite_gives_up_after_three_returns() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    let config = TrainConfig {
        lr: 1e30,
        clip: 0.0,
        warmup: 0,
        ..text_config()
    };
    let run = create_run(folder.path(), "wild", &config);
    let mut trainer = Trainer::new(&run, device()).expect("trainer");
    let error = trainer.train(&GO).expect_err("diverges").to_string();
    assert!(
        error.contains("not finite") && error.contains("--lr"),
        "{error}"
    );
    let progress = state(&run).progress;
    assert_eq!((progress.rollbacks, progress.lr_scale), (3, 0.125));
    let finite = state(&run)
        .tensors
        .values()
        .all(|array| array.data().iter().all(|x| x.is_finite()));
    assert!(finite, "the saved state is a good one");
}

#[test]
fn a_single_bad_step_is_taken_back_with_half_the_learning_rate() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "once", &text_config());
    let mut trainer = Trainer::new(&run, device()).expect("trainer");
    assert_eq!(
        trainer.train_until(&GO, Some(10)).expect("trained"),
        Ending::Stopped
    );
    let _ = tch::no_grad(|| {
        trainer
            .task
            .parameters()
            .get("head.bias")
            .shallow_clone()
            .fill_(f64::NAN)
    });
    assert_eq!(trainer.train(&GO).expect("recovers"), Ending::Budget);
    let progress = state(&run).progress;
    assert_eq!(
        (progress.step, progress.rollbacks, progress.lr_scale),
        (24, 1, 0.5)
    );
}

#[test]
fn patience_ends_a_training_that_no_longer_improves() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    let config = TrainConfig {
        lr: 1e-12,
        patience: 2,
        eval_every: 1,
        budget: textgen::config::Budget::Steps(1000),
        ..text_config()
    };
    let run = create_run(folder.path(), "flat", &config);
    assert_eq!(train(&run), Ending::Patience);
    assert_eq!(state(&run).progress.finished.as_deref(), Some("1000 steps"));
}
