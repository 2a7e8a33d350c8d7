//! What trainings learn, and how their evaluations read a text.

use super::*;
use crate::config::{ModelConfig, SplitKind};
use crate::models::weights::Array;
use crate::run::{Evaluation, Metrics, Progress, Sampled};
use crate::train::task::{Extent, Part, Task};
use crate::train::text::{Reading, TextTask};
use crate::train::words::WordTask;
use crate::train::{Step, evaluate_exactly};

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
    let (parallel, same) = read(Reading::Parallel(Extent::All)).expect("read");
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
        let read = task.evaluate_as(
            Part::Valid,
            Reading::Parallel(Extent::All),
            &mut *engine,
            &GO,
        );
        assert_eq!(read.expect("read").1, want as u64, "{split}");
    }
}

#[test]
fn the_end_of_a_training_reads_all_that_is_held_out_with_the_best_model() {
    let folder = tempfile::tempdir().expect("folder");
    let config = with(
        &text_config(),
        "valid=0.5 test=0.1 eval-size=2000 lr=0.05 steps=48",
    );
    let run = create_run(folder.path(), "text", &config);
    train(&run);
    let lines = Metrics::read(&run.metrics_path()).expect("metrics");
    let (counted, of) = (2 * 1024, 9_999);
    for line in &lines {
        let sample = line.valid.and_then(|valid| valid.sample());
        assert_eq!(sample, Some(Sampled { counted, of }));
    }
    let best = lines.last().and_then(|line| line.best).expect("a loss");
    assert_eq!(best.sample(), None);
    let model = run.model().expect("a model");
    assert_eq!(model.header.valid, Some(best));
    let exact = evaluate_exactly(&run, &native).expect("evaluated");
    let last = [Some(best), lines.last().and_then(|line| line.test)];
    for (exact, found) in exact.into_iter().zip(last) {
        let [exact, found] = [exact, found].map(|loss| loss.expect("a loss").figure());
        assert!((exact - found).abs() < 1e-4, "{exact} {found}");
    }
    // Where evaluations read everything, the figure of the best model stands.
    let run = create_run(folder.path(), "all", &with(&config, "eval-size=0"));
    train(&run);
    let lines = Metrics::read(&run.metrics_path()).expect("metrics");
    let best = lines.last().and_then(|line| line.best).expect("a loss");
    assert!(lines.iter().any(|line| line.valid == Some(best)));
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
        let next = task.next(&mut progress, 1.0).expect("a batch");
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
        .evaluate(Part::Valid, Extent::All, &mut *engine, &GO)
        .expect("evaluated");
    let Some(Evaluation::Word(loss)) = loss else {
        unreachable!("a word-vae gives a word loss")
    };
    assert!(loss.rate_nats_per_word < 0.02, "{loss:?}");
    assert_eq!(loss.active_units, 0);
}

#[test]
fn a_decoder_that_learns_alone_leaves_the_encoder_as_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let config = with(
        &word_config(),
        "pretrain-decoder=0.5 lr=0.02 warmup=0 sample-every=0 valid=0",
    );
    let run = create_run(folder.path(), "words", &config);
    let encoder = |run: &RunDir| {
        let (state, prefix) = (state(run), "weights.encoder.");
        let own = state.tensors.range(prefix.to_owned()..);
        let own = own.take_while(|(name, _)| name.starts_with(prefix));
        own.map(|(_, array)| array.data().into_owned())
            .collect::<Vec<_>>()
    };
    train_up_to(&run, 1);
    let before = encoder(&run);
    assert!(before.len() > 4);
    train_up_to(&run, 12);
    assert!(encoder(&run) == before);
    // Its first step with z moves the decoder's weights for z, which were zero.
    train_up_to(&run, 16);
    assert!(encoder(&run) != before);
}

#[test]
fn a_model_whose_z_says_nothing_is_not_chosen() {
    let config = with(&word_config(), "free-bits=0.5 latent=4");
    let selection = |d: f64, r: f64| {
        Evaluation::Word(crate::run::WordLoss {
            distortion_nats_per_word: d,
            rate_nats_per_word: r,
            neg_elbo_nats_per_word: d + r,
            neg_elbo_nats_per_char: 1.0,
            active_units: 4,
            sample: None,
        })
        .selection(&config)
    };
    assert!(selection(14.0, 0.1) > selection(12.5, 2.1));
    assert_eq!(selection(12.0, 2.5), 14.5);
}
