//! The bits of a training depend on nothing but its settings.

use super::*;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::models::weights::Weights;
use crate::run::Metrics;
use crate::text::Source;

/// Large enough that several threads are worth meeting.
fn configs() -> [TrainConfig; 3] {
    let text = "hidden=64 batch=8 seq=24 steps=6 eval-every=3 dropout=0.2 input-dropout=0.1 \
        recurrent-dropout=0.2 ema=0.9 sample-every=0";
    let words = "hidden=48 layers=2 batch=60 steps=4 eval-every=2 sample-every=0";
    [
        with(&text_config(), text),
        with(&word_config(), words),
        with(&article_config(), "steps=4 eval-every=2"),
    ]
}

/// Trains a run with these kernels.
fn train_with(run: &RunDir, kernels: Kernels) {
    let factory = |config: &TrainConfig, network: &NetworkConfig| {
        let engine: Box<dyn Engine> = Box::new(NativeEngine::with(config, network, kernels)?);
        Ok(engine)
    };
    let mut trainer = Trainer::new(run, &factory, |_| ()).expect("trainer");
    trainer.train(&GO).expect("trained");
}

/// The state at the end of a training with the kernels of one level.
fn trained(config: &TrainConfig, level: Option<Level>) -> Weights<'static> {
    let kernels = level.map_or_else(Kernels::new, |level| Kernels::at(level).expect("supported"));
    trained_with(config, kernels)
}

fn trained_with(config: &TrainConfig, kernels: Kernels) -> Weights<'static> {
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "run", config);
    train_with(&run, kernels);
    state(&run).tensors
}

/// The loss of a run at its last evaluation, in nats.
fn last_loss(run: &RunDir) -> f64 {
    let metrics = Metrics::read(&run.metrics_path()).expect("metrics");
    let last = metrics.last().and_then(|line| line.valid);
    last.expect("evaluated").figure()
}

/// bf16 without instructions for it, at the fastest level.
fn emulated() -> Kernels {
    let levels = Level::supported().filter(|&level| level != Level::Bf16);
    let kernels = levels.filter_map(Kernels::at).last();
    kernels.expect("the portable level").in_bf16()
}

#[test]
fn threads_change_no_bit_in_bf16_and_training_learns_as_much() {
    for config in configs() {
        let of = |threads: usize, shards: usize| {
            let config = with(&config, &format!("threads={threads} shards={shards}"));
            trained_with(&config, emulated())
        };
        assert!(of(1, 2) == of(3, 2));
    }
    let config = with(
        &text_config(),
        "hidden=32 seq=32 batch=8 steps=150 eval-every=150 sample-every=0",
    );
    let folder = tempfile::tempdir().expect("folder");
    let [f32, bf16] = [emulated().in_f32(), emulated()].map(|kernels| {
        let name = if kernels.is_bf16() { "bf16" } else { "f32" };
        let run = create_run(folder.path(), name, &config);
        train_with(&run, kernels);
        last_loss(&run)
    });
    assert!(f32 != bf16 && (f32 - bf16).abs() < 0.02, "{f32} {bf16}");
}

/// What bf16 costs in validation: `TEXTGEN_TEXT=FILE cargo test --release --lib -- --ignored --nocapture
/// what_bf16_costs`. `TEXTGEN_SETTINGS` adds settings, such as `seed=1 cell=lstm`.
#[test]
#[ignore = "it takes minutes"]
fn what_bf16_costs() {
    let Ok(file) = std::env::var("TEXTGEN_TEXT") else {
        return;
    };
    let more = std::env::var("TEXTGEN_SETTINGS");
    let changes = "hidden=256 layers=1 batch=32 seq=32 steps=4000 eval-every=1000 sample-every=0 \
        dropout=0.25 threads=1";
    let mut config = with(&text_config(), changes);
    if let Ok(more) = more {
        config = with(&config, &more);
    }
    let corpus = Corpus::new("text", vec![Source::File(file.into())]);
    let counts = survey(&corpus, &config.text, |_| ())
        .expect("counted")
        .counts;
    let (unit, text) = (config.text.unit, &config.text);
    let vocabulary = Vocabulary::from_counts(unit, &counts, text.min_freq, text.max_vocab);
    let tokens = all_tokens(&corpus, text, &vocabulary).into();
    let corpus = CorpusData::Text(TextData { vocabulary, tokens });
    let folder = tempfile::tempdir().expect("folder");
    for kernels in [emulated().in_f32(), emulated()] {
        let name = if kernels.is_bf16() { "bf16" } else { "f32" };
        let run = Runs::new(folder.path()).create(name, &config, &corpus, None);
        let run = run.expect("created");
        train_with(&run, kernels);
        println!("{name} {:.5}", last_loss(&run));
    }
}

#[test]
fn threads_change_no_bit_whatever_the_shards() {
    for config in configs() {
        for shards in 1..=3 {
            let of = |threads: usize| {
                let changes = format!("threads={threads}");
                let config = with(&config, &changes);
                trained(&TrainConfig { shards, ..config }, None)
            };
            let want = of(1);
            for threads in [2, 3] {
                assert!(of(threads) == want, "{shards} shards, {threads} threads");
            }
        }
    }
}

#[test]
fn simd_levels_change_no_bit() {
    for config in configs() {
        let want = trained(&config, Some(Level::Portable));
        for level in Level::supported() {
            assert!(trained(&config, Some(level)) == want, "{level}");
        }
    }
}

#[test]
fn shards_change_gradients_by_no_more_than_rounding() {
    for config in configs() {
        let config = TrainConfig {
            budget: Budget::Steps(1),
            ..config
        };
        let of = |shards: usize| {
            trained(
                &TrainConfig {
                    shards,
                    ..config.clone()
                },
                None,
            )
        };
        let want = of(1);
        for shards in [2, 3, 5] {
            for (name, array) in of(shards) {
                // The first moments are a tenth of the clipped gradients.
                let numbers = array.data().into_owned().into_iter();
                let wanted = want[&name].data();
                let differ = numbers.zip(wanted.iter());
                let most = differ.map(|(have, want)| (have - want).abs());
                let most = most.fold(0.0, f32::max);
                let is_moment = name.starts_with("optimizer.first");
                assert!(!is_moment || most < 1e-6, "{shards} {name}: {most}");
            }
        }
    }
}
