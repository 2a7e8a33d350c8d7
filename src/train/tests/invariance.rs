//! The bits of a training depend on nothing but its settings.

use super::*;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::models::weights::Weights;

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

/// The state at the end of a training with the kernels of one level.
fn trained(config: &TrainConfig, level: Option<Level>) -> Weights<'static> {
    let folder = tempfile::tempdir().expect("folder");
    let run = create_run(folder.path(), "run", config);
    let kernels = level.map_or_else(Kernels::new, |level| Kernels::at(level).expect("supported"));
    let factory = |config: &TrainConfig, network: &NetworkConfig| {
        let engine: Box<dyn Engine> = Box::new(NativeEngine::with(config, network, kernels)?);
        Ok(engine)
    };
    let mut trainer = Trainer::new(&run, &factory, |_| ()).expect("trainer");
    trainer.train(&GO).expect("trained");
    state(&run).tensors
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
