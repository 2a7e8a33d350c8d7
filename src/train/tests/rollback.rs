//! How training handles a loss that is not finite, and the end of its patience.

use super::*;
use crate::train::TrainError;
use std::time::Duration;

#[test]
fn a_loss_that_is_never_finite_gives_up_after_three_returns() {
    let folder = tempfile::tempdir().expect("folder");
    let config = TrainConfig {
        lr: 1e30,
        clip: 0.0,
        warmup: 0,
        ..text_config()
    };
    let run = create_run(folder.path(), "wild", &config);
    let error = trainer(&run).train(&GO).expect_err("diverges");
    assert!(
        matches!(error, TrainError::Diverged { times: 4, .. }),
        "{error}"
    );
    let progress = state(&run).progress;
    assert_eq!((progress.rollbacks, progress.lr_scale), (3, 0.125));
    let tensors = state(&run).tensors;
    let finite = |array: &crate::models::weights::Array| array.data().iter().all(|x| x.is_finite());
    assert!(
        tensors.values().all(finite),
        "the saved state is a good one"
    );
}

#[test]
fn a_single_bad_step_is_taken_back_with_half_the_learning_rate() {
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "once", &text_config());
    let mut trainer = trainer(&run);
    let ending = trainer.train_until(&GO, Some(10)).expect("trained");
    assert_eq!(ending, Ending::Stopped);
    let mut weights = trainer.engine.weights();
    let bias = weights.get_mut("head.bias").expect("there");
    let broken = vec![f32::NAN; bias.data().len()];
    *bias = crate::models::weights::Array::f32(bias.shape.clone(), broken);
    trainer.engine.set_weights(&weights).expect("they fit");
    assert_eq!(trainer.train(&GO).expect("recovers"), Ending::Budget);
    let progress = state(&run).progress;
    assert_eq!(
        (progress.step, progress.rollbacks, progress.lr_scale),
        (24, 1, 0.5)
    );
}

#[test]
fn a_bad_step_returns_to_the_state_of_an_evaluation_and_not_to_one_of_the_clock() {
    let folder = tempfile::tempdir().expect("folder");
    let [run, without] = ["with", "without"].map(|name| {
        let run = create_run(folder.path(), name, &text_config());
        let mut trainer = trainer(&run);
        trainer.train_until(&GO, Some(1)).expect("trained");
        if name == "with" {
            trainer.unsaved = Duration::ZERO;
        }
        assert!(trainer.go_on(&GO, Some(13)).is_err(), "stopped");
        let mut weights = trainer.engine.weights();
        let bias = weights.get_mut("head.bias").expect("there");
        let broken = vec![f32::NAN; bias.data().len()];
        *bias = crate::models::weights::Array::f32(bias.shape.clone(), broken);
        trainer.engine.set_weights(&weights).expect("they fit");
        assert_eq!(trainer.train(&GO).expect("recovers"), Ending::Budget);
        drop(trainer);
        run
    });
    assert_eq!(state(&run).progress.rollbacks, 1);
    assert!(state(&run).tensors == state(&without).tensors);
    assert!(!run.recent_path().exists());
}

#[test]
fn patience_ends_a_training_that_no_longer_improves() {
    let folder = tempfile::tempdir().expect("folder");
    let config = TrainConfig {
        lr: 1e-12,
        patience: 2,
        eval_every: 1,
        budget: Budget::Steps(1000),
        ..text_config()
    };
    let run = create_run(folder.path(), "flat", &config);
    assert_eq!(train(&run), Ending::Patience);
    assert_eq!(state(&run).progress.finished.as_deref(), Some("1000 steps"));
}
