//! libtorch's engine as one of several; here each is a thread.

use std::rc::Rc;

use tch::Tensor;
use textgen::config::{ModelChoice, TrainConfig};
use textgen::models::weights::Weights;
use textgen::train::{
    Distributed, Engine, EngineError, NativeEngine, ProcessGroup as _, Step, Threads,
};

use super::oracle::{CLOSE, assert_alike, batch};
use crate::TorchEngine;
use crate::gradients::{Collectives, Gradients};
use crate::parameters::floats;
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

/// The operations of devices, between threads.
struct ByThreads(Threads);

impl Collectives for ByThreads {
    fn all_to_all(&self, send: &Tensor, receive: &mut Tensor) -> Result<(), EngineError> {
        let mut received = vec![0.0; send.numel()];
        self.0.all_to_all(&floats(send), &mut received)?;
        receive.copy_(&Tensor::from_slice(&received).view(send.size().as_slice()));
        Ok(())
    }

    fn all_gather(&self, own: &Tensor, receive: &mut Tensor) -> Result<(), EngineError> {
        let own: Vec<u8> = floats(own).into_iter().flat_map(f32::to_le_bytes).collect();
        let mut all = vec![0; own.len() * self.0.size()];
        self.0.all_gather(&own, &mut all)?;
        let numbers = all.chunks_exact(4);
        let numbers = numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes")));
        receive.copy_(&Tensor::from_slice(&numbers.collect::<Vec<f32>>()));
        Ok(())
    }
}

/// Where gradients are added.
#[derive(Clone, Copy, PartialEq)]
enum Added {
    OnCpu,
    OnDevice,
}

/// The state after some steps, as the last of `size` threads has it.
fn state_of(size: usize, config: &TrainConfig, lr: f64, added: Added) -> (Weights<'static>, f64) {
    std::thread::scope(|scope| {
        let groups = Threads::group(size).into_iter().zip(Threads::group(size));
        let members = groups.map(|(group, other)| {
            scope.spawn(move || {
                one_thread();
                let network = network(config);
                let mut engine = TorchEngine::new(config, &network, device()).expect("an engine");
                if added == Added::OnDevice {
                    engine.gradients = Gradients::on_device(Box::new(ByThreads(other)));
                }
                engine
                    .join(Rc::new(Distributed::new(Box::new(group))))
                    .expect("a group");
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
        // Processes whose shards are no subtrees.
        (ModelChoice::CharLstm, "shards=12 batch=12"),
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
        let (have, own) = state_of(2, &config, 0.0, Added::OnCpu);
        let close = tolerance(CLOSE);
        assert!(
            (own - loss).abs() <= f64::from(close) * loss,
            "{own} {loss}"
        );
        for kind in ["weights.", "carried.", "rate.", "optimizer.first."] {
            assert_alike(&have, &want, kind, close, changes);
        }
        let (one, loss) = state_of(1, &config, 0.01, Added::OnCpu);
        let groups = [1, 2, 4].map(|size| [(size, Added::OnCpu), (size, Added::OnDevice)]);
        for (size, added) in groups.into_iter().flatten().skip(1) {
            let (state, own) = state_of(size, &config, 0.01, added);
            if device().is_cuda() {
                assert_alike(&state, &one, "optimizer.first.", 10.0 * close, changes);
            } else {
                assert!(state == one && own == loss, "{changes}: {size}");
            }
        }
    }
}
