//! Tests that need a CUDA device. Elsewhere they do nothing.

use std::sync::atomic::AtomicBool;

use textgen::config::{ModelKind, Precision, TrainConfig};
use textgen::run::Metrics;

use crate::device::set_precision;
use crate::testing::{alone, constant, create_run, device, text_config, with, word_config};
use crate::train::Trainer;

/// Validation loss after 60 steps.
fn valid_loss(config: &TrainConfig, precision: Precision) -> f64 {
    let folder = tempfile::tempdir().expect("folder");
    let words = match config.kind() {
        ModelKind::CharRnn => "",
        ModelKind::WordVae => " decoder-dropout=0",
    };
    let changes = "dropout=0 hidden=64 layers=2 eval-every=60 device=cuda:0";
    let config = with(
        &constant(config.clone(), 60),
        &format!("{changes} precision={precision}{words}"),
    );
    let run = create_run(folder.path(), "run", &config);
    let mut trainer = Trainer::new(&run, device()).expect("trainer");
    trainer.train(&AtomicBool::new(false)).expect("trained");
    // The setting is global to the process.
    set_precision(Precision::F32, device()).expect("set back");
    let lines = Metrics::read(&run.metrics_path()).expect("metrics");
    lines[0].valid.expect("a validation part").figure()
}

#[test]
fn less_precision_learns_about_as_much() {
    let _alone = alone();
    if !device().is_cuda() {
        return;
    }
    for config in [text_config(), word_config()] {
        let want = valid_loss(&config, Precision::F32);
        for precision in [Precision::Tf32, Precision::Bf16] {
            let have = valid_loss(&config, precision);
            // The noise is the same, so only rounding differs.
            let limit = if config.kind() == ModelKind::CharRnn {
                0.02
            } else {
                0.05
            };
            assert!(
                (have - want).abs() <= limit * want,
                "{} in {precision}: {have} is far from {want}",
                config.kind()
            );
        }
    }
}

#[test]
fn less_precision_than_f32_is_refused_where_training_is_on_the_cpu() {
    let folder = tempfile::tempdir().expect("folder");
    let config = TrainConfig {
        precision: Precision::Bf16,
        device: textgen::config::Device::Auto,
        ..text_config()
    };
    let run = create_run(folder.path(), "run", &config);
    let error = Trainer::new(&run, tch::Device::Cpu).err().expect("refused");
    assert!(error.to_string().starts_with("--precision bf16"), "{error}");
}
