//! What only CUDA has: precisions lower than f32, and graphs.

use textgen::config::{ModelChoice, Precision};
use textgen::train::{Batch, Engine, Step};

use crate::TorchEngine;
use crate::device::set_precision;
use crate::graph::Graphs;
use crate::testing::{SPECIAL, config, device, network, text_batch, word_batch, words};

/// The mean training loss of the last 20 of 100 steps.
fn loss(model: ModelChoice, precision: Precision) -> f64 {
    let changes = format!("hidden=136 layers=2 batch=16 precision={precision} device=cuda:0");
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

/// Losses of steps, an evaluation and the weights, with graphs or without. In between, a trial, and the state
/// saved and restored.
fn trained(model: ModelChoice, changes: &str, with_graphs: bool) -> (Vec<f64>, Vec<f32>) {
    let config = config(model, &format!("{changes} device=cuda:0"));
    let mut engine = TorchEngine::new(&config, &network(&config), device()).expect("an engine");
    if !with_graphs {
        engine.graphs = Graphs::default();
    }
    let batch = |number: u64| match config.word_vae() {
        None => Batch::Text(text_batch(&config, number, false)),
        Some(own) => {
            let step = number % 3;
            Batch::Words(word_batch(&words(5, step), own.latent, SPECIAL, step))
        }
    };
    let mut losses = Vec::new();
    for number in 0..30 {
        let step = Step {
            number,
            lr: 3e-3 / (1.0 + number as f64),
            kl_weight: 0.1 * number as f32,
            ..Step::default()
        };
        if number == 4 || number == 15 {
            for _ in 0..3 {
                engine.trial(&batch(number), &step).expect("a trial");
            }
        }
        if number == 15 {
            let state = engine.state().expect("a state");
            engine.restore(&state, number).expect("its own state");
        }
        engine.step(&batch(number), &step).expect("a step");
        losses.push(engine.losses(true).sum);
        if number == 20 {
            engine.use_average(true);
            losses.extend(
                engine
                    .evaluate(&batch(0))
                    .expect("costs")
                    .nats
                    .iter()
                    .map(|&nats| f64::from(nats)),
            );
            engine.use_average(false);
        }
    }
    assert_eq!(engine.graphs.count() > 0, with_graphs, "{changes}");
    set_precision(Precision::F32, device()).expect("set back");
    let state = engine.state().expect("a state");
    (
        losses,
        state
            .values()
            .flat_map(|array| array.data().to_vec())
            .collect(),
    )
}

#[test]
fn steps_as_graphs_are_the_same_steps() {
    if !device().is_cuda() {
        return;
    }
    let text = [
        "",
        "cell=gru layers=2 dropout=0.3 clip=1 ema=0.9",
        "cell=rnn embedding=6 optimizer=adamw weight-decay=0.1",
        "layers=2 dropout=0.3 input-dropout=0.1 recurrent-dropout=0.2 variational=true",
        "layers=2 hidden=136 dropout=0.1 optimizer=amsgrad precision=bf16",
        "hidden=64 precision=tf32",
    ];
    let words = [
        "",
        "layers=2 decoder-dropout=0.3 dropout=0.2 clip=1",
        "rate=2",
        "hidden=136 precision=bf16",
    ];
    let text = text.map(|changes| (ModelChoice::CharLstm, changes));
    let words = words.map(|changes| (ModelChoice::WordVae, changes));
    for (model, changes) in text.into_iter().chain(words) {
        let (losses, weights) = trained(model, changes, true);
        let (eager_losses, eager_weights) = trained(model, changes, false);
        let widest = |have: &[f64], want: &[f64]| {
            let apart = have
                .iter()
                .zip(want)
                .map(|(have, want)| (have - want).abs() / (1.0 + want.abs()));
            apart.fold(0.0, f64::max)
        };
        let wide = |of: &[f32]| of.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let of_losses = widest(&losses, &eager_losses);
        let of_weights = widest(&wide(&weights), &wide(&eager_weights));
        println!("{model} {changes}: losses {of_losses:.1e} apart, weights {of_weights:.1e}");
        assert!(
            of_losses < 1e-5 && of_weights < 1e-4,
            "{model} {changes}: {of_losses} {of_weights}"
        );
    }
}

#[test]
fn less_precision_than_f32_is_refused_where_training_is_on_the_cpu() {
    let config = config(ModelChoice::CharLstm, "precision=bf16 device=auto");
    let engine = TorchEngine::new(&config, &network(&config), tch::Device::Cpu);
    let error = engine.err().expect("refused");
    assert!(error.to_string().starts_with("--precision bf16"), "{error}");
}
