//! How fast this machine trains, before anything is trained: what fits a budget of time depends on it.

use std::collections::BTreeMap;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::config::{Cell, NetworkConfig};
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::models::weights::{Array, Weights, expected_shapes};

/// Texts read in parallel, as in training.
const TEXTS: usize = 32;
/// How long the measurement runs.
const MEASURED: Duration = Duration::from_millis(60);
/// The rate of a whole training step of a large network, as a fraction of the rate of reading alone.
const OF_READING: f64 = 0.8;

/// Floating-point operations per second, in units of 10⁹, that training a large network on `threads`
/// threads reaches. Each thread reads 32 texts with a GRU of 256 units for a moment, all at once.
pub fn training_gigaflops(threads: usize) -> f64 {
    let network = NetworkConfig::char_rnn(Cell::Gru, 256, 1, 64);
    let small = |(name, shape): (String, Vec<usize>)| {
        let count = shape.iter().product();
        (name, Array::f32(shape, vec![0.01; count]))
    };
    let weights: Weights = expected_shapes(&network)
        .into_iter()
        .map(small)
        .collect::<BTreeMap<_, _>>();
    let Ok(model) = CharRnn::new(&network, &weights) else {
        unreachable!("weights of its own shapes")
    };
    let hidden = network.hidden as f64;
    let a_token = 2.0 * hidden * (3.0 * hidden + network.outputs as f64);
    let rate = || {
        let mut state = model.state(TEXTS);
        let tokens = [1; TEXTS];
        let (started, mut steps) = (Instant::now(), 0);
        while started.elapsed() < MEASURED {
            model.step(&mut state, &tokens);
            steps += 1;
        }
        f64::from(steps) * TEXTS as f64 * a_token / started.elapsed().as_secs_f64()
    };
    let all: f64 = std::thread::scope(|scope| {
        // The system may allow no more threads.
        let spawn = |_| Builder::new().spawn_scoped(scope, rate).ok();
        let others: Vec<_> = (1..threads).map_while(spawn).collect();
        let own = rate();
        let others = others.into_iter().map(|one| one.join().unwrap_or(0.0));
        own + others.sum::<f64>()
    });
    all * OF_READING / 1e9
}
