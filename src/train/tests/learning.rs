//! What trainings learn, and how their evaluations read a text.

use super::*;
use crate::config::{ModelConfig, SplitKind};
use crate::models::weights::Array;
use crate::run::{Evaluation, Metrics, Progress};
use crate::train::Step;
use crate::train::task::{Part, Task};
use crate::train::text::{Reading, TextTask};
use crate::train::words::WordTask;

fn text_task(config: &TrainConfig, length: usize) -> (TextTask, Box<dyn Engine>) {
    let ModelConfig::CharRnn(own) = &config.model else {
        unreachable!("a text")
    };
    let task = TextTask::new(config, own, text_data(length)).expect("task");
    let engine = native(config, task.network()).expect("engine");
    (task, engine)
}

#[test]
fn parallel_reading_agrees_with_one_token_after_the_other() {
    let config = with(&text_config(), "valid=0.5 test=0");
    let (task, mut engine) = text_task(&config, 20_000);
    let mut read = |reading| task.evaluate_as(Part::Valid, reading, &mut *engine, &GO);
    let (exact, tokens) = read(Reading::Exact).expect("read");
    let (parallel, same) = read(Reading::Parallel).expect("read");
    assert_eq!((tokens, same), (9_999, 9_999));
    let off = (exact - parallel).abs() / exact;
    assert!(off < 1e-5, "{exact} {parallel}");
}

#[test]
fn every_token_but_a_ranges_first_is_predicted_once() {
    for split in [
        SplitKind::Contiguous,
        SplitKind::Window(64),
        SplitKind::Interleaved,
    ] {
        let config = with(&text_config(), &format!("valid=0.2 split={split}"));
        let (task, mut engine) = text_task(&config, 10_000);
        let split_text = crate::text::split_text(10_000, split, config.valid, config.test);
        let want: usize = split_text.valid.iter().map(|range| range.len() - 1).sum();
        let read = task.evaluate_as(Part::Valid, Reading::Parallel, &mut *engine, &GO);
        assert_eq!(read.expect("read").1, want as u64, "{split}");
    }
}

#[test]
fn training_holds_the_rate_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("folder");
    for (name, rate) in [("low", 1.5), ("high", 4.0)] {
        let changes = format!(
            "rate={rate} free-bits=0 kl-warmup=0 dropout=0 decoder-dropout=0 lr=0.005 steps=1000 \
             eval-every=500"
        );
        let run = create_run(folder.path(), name, &with(&word_config(), &changes));
        train(&run);
        let metrics = Metrics::read(&run.metrics_path()).expect("metrics");
        let Some(Evaluation::Word(loss)) = metrics.last().and_then(|line| line.valid) else {
            unreachable!("words")
        };
        let found = loss.rate_nats_per_word;
        assert!((found - rate).abs() < 0.15 * rate, "{found}, not {rate}");
    }
}

#[test]
fn a_decoder_that_ignores_z_learns_a_rate_of_zero_and_no_active_unit() {
    let config = with(
        &word_config(),
        "free-bits=0 kl-warmup=0 lr=0.01 warmup=0 dropout=0 decoder-dropout=0",
    );
    let own = config.word_vae().expect("a word-vae");
    let mut task = WordTask::new(&config, own, word_data(&config)).expect("task");
    let mut engine = native(&config, task.network()).expect("engine");
    let (embedding, latent) = (config.embedding, own.latent);
    let cut_z = |engine: &mut dyn Engine| {
        let mut weights = engine.weights();
        for name in ["decoder.init.weight", "decoder.rnn.weight_ih_l0"] {
            let array = weights.get_mut(name).expect("there");
            let mut values = array.data().into_owned();
            if name == "decoder.init.weight" {
                values.fill(0.0);
            } else {
                for row in values.chunks_exact_mut(embedding + latent) {
                    row[embedding..].fill(0.0);
                }
            }
            *array = Array::f32(array.shape.clone(), values);
        }
        engine.set_weights(&weights).expect("they fit");
    };
    let mut progress = Progress::default();
    for number in 0..400 {
        cut_z(&mut *engine);
        let next = task.next(&mut progress, 1.0);
        let step = Step {
            number,
            lr: 1e-2,
            kl_weight: next.kl_weight as f32,
            ..Step::default()
        };
        engine.step(&next.batch, &step).expect("stepped");
        progress.step += 1;
    }
    cut_z(&mut *engine);
    let loss = task
        .evaluate(Part::Valid, &mut *engine, &GO)
        .expect("evaluated");
    let Some(Evaluation::Word(loss)) = loss else {
        unreachable!("a word-vae gives a word loss")
    };
    assert!(loss.rate_nats_per_word < 0.02, "{loss:?}");
    assert_eq!(loss.active_units, 0);
}
