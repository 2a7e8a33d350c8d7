//! libtorch's engine as one of several; here each is a thread.

use std::rc::Rc;

use textgen::config::{ModelChoice, TrainConfig};
use textgen::models::weights::Weights;
use textgen::train::{Distributed, Engine, NativeEngine, Step, Threads};

use super::oracle::{CLOSE, assert_alike, batch};
use crate::TorchEngine;
use crate::testing::{config, device, network, one_thread, tolerance};

const STEPS: u64 = 3;

fn steps(config: &TrainConfig, engine: &mut dyn Engine, lr: f64) -> (Weights<'static>, f64) {
    for number in 0..STEPS {
        let step = Step {
            number,
            lr,
            kl_weight: 0.7,
            ..Step::default()
        };
        engine.step(&batch(config, number), &step).expect("a step");
    }
    let losses = engine.losses(true);
    assert_eq!(losses.steps, STEPS);
    (engine.state().expect("a state"), losses.sum)
}

/// The state after some steps, as the last of `size` threads has it.
fn state_of(size: usize, config: &TrainConfig, lr: f64) -> (Weights<'static>, f64) {
    std::thread::scope(|scope| {
        let members = Threads::group(size).into_iter().map(|group| {
            scope.spawn(move || {
                one_thread();
                let network = network(config);
                let mut engine = TorchEngine::new(config, &network, device()).expect("an engine");
                engine.join(Rc::new(Distributed::new(Box::new(group))));
                steps(config, &mut engine, lr)
            })
        });
        let members: Vec<_> = members.collect();
        let states = members.into_iter().map(|one| one.join().expect("no panic"));
        states.last().expect("a member")
    })
}

#[test]
fn the_number_of_processes_changes_no_bit_and_little_from_the_native_engine() {
    for (model, changes) in [
        (ModelChoice::CharLstm, "shards=4 layers=2"),
        (
            ModelChoice::CharLstm,
            "shards=4 cell=gru loss=last embedding=5",
        ),
        (ModelChoice::WordVae, "shards=4 free-bits=0.1"),
        (
            ModelChoice::WordVae,
            "shards=4 rate=2 free-bits=0 kl-warmup=0",
        ),
    ] {
        let config = config(model, changes);
        let mut native = NativeEngine::new(&config, &network(&config)).expect("an engine");
        // Gradients are read from the first moments, under weights that stay as they are.
        let (want, loss) = steps(&config, &mut native, 0.0);
        let (have, own) = state_of(2, &config, 0.0);
        let close = tolerance(CLOSE);
        assert!(
            (own - loss).abs() <= f64::from(close) * loss,
            "{own} {loss}"
        );
        for kind in ["weights.", "carried.", "rate.", "optimizer.first."] {
            assert_alike(&have, &want, kind, close, changes);
        }
        let (one, loss) = state_of(1, &config, 0.01);
        for size in [2, 4] {
            let (state, own) = state_of(size, &config, 0.01);
            if device().is_cuda() {
                assert_alike(&state, &one, "optimizer.first.", 10.0 * close, changes);
            } else {
                assert!(state == one && own == loss, "{changes}: {size}");
            }
        }
    }
}
