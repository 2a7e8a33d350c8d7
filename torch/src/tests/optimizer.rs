//! Compares the optimizer with the papers' formulas, written out in f64.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};
use textgen::config::{OptimizerKind, TrainConfig};

use crate::optimizer::Optimizer;
use crate::parameters::{Parameters, floats};
use crate::shim;
use crate::testing::{assert_close, device, text_config, tolerance};

/// One scalar's trajectory under Adam (Kingma & Ba 2015, algorithm 1), AMSGrad as PyTorch has it
/// (the maximum before bias correction), or AdamW.
fn reference(kind: OptimizerKind, decay: f64, lr: f64, start: f64, gradients: &[f64]) -> f64 {
    let (mut x, mut m, mut v, mut largest) = (start, 0.0f64, 0.0f64, 0.0f64);
    for (t, &gradient) in gradients.iter().enumerate() {
        let power = t as i32 + 1;
        let gradient = if kind == OptimizerKind::Adamw {
            x -= lr * decay * x;
            gradient
        } else {
            gradient + decay * x
        };
        m = 0.9 * m + 0.1 * gradient;
        v = 0.999 * v + 0.001 * gradient * gradient;
        largest = largest.max(v);
        let second = if kind == OptimizerKind::Amsgrad {
            largest
        } else {
            v
        };
        let (m_hat, v_hat) = (
            m / (1.0 - 0.9f64.powi(power)),
            second / (1.0 - 0.999f64.powi(power)),
        );
        x -= lr * m_hat / (v_hat.sqrt() + 1e-8);
    }
    x
}

#[test]
fn every_optimizer_follows_its_paper() {
    let gradients = [0.5, -0.3, 2.0, 0.01, 0.2];
    for kind in [
        OptimizerKind::Adam,
        OptimizerKind::Amsgrad,
        OptimizerKind::Adamw,
    ] {
        let config = TrainConfig {
            optimizer: kind,
            beta2: 0.999,
            weight_decay: 0.1,
            clip: 0.0,
            ..text_config()
        };
        let network = config.network(5, 5);
        let parameters = Parameters::init(&network, 1, device());
        let start: Vec<f32> = floats(parameters.get("head.weight"));
        let mut optimizer = Optimizer::new(&config, &parameters);
        for &gradient in &gradients {
            optimizer.drop_gradients().expect("dropped");
            let sum: Tensor = parameters
                .tensors()
                .iter()
                .map(|tensor| tensor.sum(Kind::Float))
                .sum();
            (sum * gradient).backward();
            optimizer.step(0.01).expect("stepped");
        }
        let want: Vec<f32> = start
            .iter()
            .map(|&x| reference(kind, 0.1, 0.01, f64::from(x), &gradients) as f32)
            .collect();
        assert_close(
            &floats(parameters.get("head.weight")),
            &want,
            tolerance(1e-5),
            kind.name(),
        );
    }
}

#[test]
fn saved_moments_continue_as_if_nothing_had_happened() {
    let config = TrainConfig {
        optimizer: OptimizerKind::Amsgrad,
        ..text_config()
    };
    let network = config.network(5, 5);
    let step = |parameters: &Parameters, optimizer: &mut Optimizer, gradient: f64| {
        optimizer.drop_gradients().expect("dropped");
        let sum: Tensor = parameters
            .tensors()
            .iter()
            .map(|tensor| tensor.square().sum(Kind::Float))
            .sum();
        (sum * gradient).backward();
        optimizer.step(0.01).expect("stepped");
    };
    let whole = Parameters::init(&network, 1, device());
    let mut optimizer = Optimizer::new(&config, &whole);
    step(&whole, &mut optimizer, 1.0);
    let mut saved = BTreeMap::new();
    optimizer.save(&mut saved);
    let weights = whole.to_weights();
    step(&whole, &mut optimizer, 0.5);
    let mut resumed = Parameters::init(&network, 2, device());
    resumed.load(&weights, "").expect("loaded");
    let mut optimizer = Optimizer::new(&config, &resumed);
    optimizer.load(&saved, 1).expect("loaded");
    step(&resumed, &mut optimizer, 0.5);
    assert_eq!(whole.to_weights(), resumed.to_weights());
}

#[test]
fn gradients_are_scaled_down_to_the_limit_and_never_up() {
    let gradients = || {
        vec![
            Tensor::from_slice(&[3.0f32]).to_device(device()),
            Tensor::from_slice(&[0.0f32, 4.0]).to_device(device()),
        ]
    };
    let clipped = gradients();
    shim::clip(&clipped, 1.0).expect("clipped");
    assert_close(&floats(&clipped[0]), &[0.6], tolerance(1e-5), "scaled");
    assert_close(&floats(&clipped[1]), &[0.0, 0.8], tolerance(1e-5), "scaled");
    let small = gradients();
    shim::clip(&small, 100.0).expect("clipped");
    assert_close(&floats(&small[1]), &[0.0, 4.0], 0.0, "left alone");
}
