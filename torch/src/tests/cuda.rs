//! Precisions lower than f32, which only CUDA has.

use textgen::config::{ModelChoice, Precision};
use textgen::train::{Batch, Engine, Step};

use crate::TorchEngine;
use crate::device::set_precision;
use crate::testing::{SPECIAL, config, device, network, text_batch, word_batch, words};

/// The mean training loss of the last 20 of 100 steps.
fn loss(model: ModelChoice, precision: Precision) -> f64 {
    let changes = format!("hidden=64 layers=2 batch=16 precision={precision} device=cuda:0");
    let config = config(model, &changes);
    let mut engine = TorchEngine::new(&config, &network(&config), device()).expect("an engine");
    for number in 0..100 {
        let batch = match config.word_vae() {
            None => Batch::Text(text_batch(&config, number, false)),
            Some(own) => Batch::Words(word_batch(&words(16, number), own.latent, SPECIAL, number)),
        };
        let step = Step {
            number,
            lr: 3e-3,
            kl_weight: 0.5,
            ..Step::default()
        };
        if number == 80 {
            engine.losses(true);
        }
        engine.step(&batch, &step).expect("a step");
    }
    let losses = engine.losses(true);
    // The setting is global to the process.
    set_precision(Precision::F32, device()).expect("set back");
    losses.sum / losses.steps as f64
}

#[test]
fn less_precision_learns_about_as_much() {
    if !device().is_cuda() {
        return;
    }
    for (model, limit) in [(ModelChoice::CharLstm, 0.02), (ModelChoice::WordVae, 0.05)] {
        let want = loss(model, Precision::F32);
        for precision in [Precision::Tf32, Precision::Bf16] {
            let have = loss(model, precision);
            // The noise is the same, so only rounding differs.
            assert!(
                (have - want).abs() <= limit * want,
                "{model} in {precision}: {have} is far from {want}"
            );
        }
    }
}

#[test]
fn less_precision_than_f32_is_refused_where_training_is_on_the_cpu() {
    let config = config(ModelChoice::CharLstm, "precision=bf16 device=auto");
    let engine = TorchEngine::new(&config, &network(&config), tch::Device::Cpu);
    let error = engine.err().expect("refused");
    assert!(error.to_string().starts_with("--precision bf16"), "{error}");
}
