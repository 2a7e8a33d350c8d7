//! The native optimizer beside libtorch's.

use tch::Tensor;
use textgen::kernels::training::{Adam, Alone, Buffers, Parameter, Workers};
use textgen::kernels::{AdamPiece, Kernels};
use textgen::models::noise::{Noise, Use};

use crate::parameters::floats;
use crate::shim::{self, AdamConstants, AdamTensors};
use crate::testing::{assert_close, device, tolerance};

const LENGTHS: [usize; 2] = [70, 7];

/// Random numbers for two arrays.
fn arrays(step: u64) -> Vec<Vec<f32>> {
    let numbers = |(index, &length): (usize, &usize)| {
        let noise = Noise::new(5, Use::Latent, step).sub(index as u64);
        (0..length as u64).map(|at| noise.normal(at)).collect()
    };
    LENGTHS.iter().enumerate().map(numbers).collect()
}

fn tensors(arrays: &[Vec<f32>]) -> Vec<Tensor> {
    let device = device();
    let tensor = |array: &Vec<f32>| Tensor::from_slice(array).to_device(device);
    arrays.iter().map(tensor).collect()
}

fn number(number: f32) -> Tensor {
    Tensor::from(number).to_device(device())
}

/// Five steps of both with one set of gradients each.
fn compare(decoupled: bool, amsgrad: bool, weight_decay: f64, limit: f64) {
    let zeros = || vec![vec![0.0; LENGTHS[0]], vec![0.0; LENGTHS[1]]];
    let mut weights = arrays(100);
    let (mut first, mut second, mut largest) = (zeros(), zeros(), zeros());
    let theirs = tensors(&weights);
    let moments = [zeros(), zeros(), zeros()].map(|moments| tensors(&moments));
    let buffers = Buffers::new();
    for step in 1..=5 {
        let gradients = arrays(step);
        let of_theirs = tensors(&gradients);
        if limit > 0.0 {
            shim::clip(&of_theirs, limit);
        }
        shim::adam(
            &AdamTensors {
                parameters: &theirs,
                gradients: &of_theirs,
                first: &moments[0],
                second: &moments[1],
                largest: amsgrad.then_some(&moments[2][..]),
                step: &number(step as f32),
                rate: &number(0.01),
            },
            AdamConstants {
                beta1: 0.9,
                beta2: 0.99,
                weight_decay,
                epsilon: 1e-8,
                decoupled,
            },
        );
        let adam = Adam {
            lr: 0.01,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            decoupled,
            step,
        };
        let pieces = weights
            .iter_mut()
            .zip(&gradients)
            .zip(first.iter_mut().zip(&mut second).zip(&mut largest));
        let parameters = pieces.map(
            |((weight, gradient), ((first, second), largest))| Parameter {
                arrays: AdamPiece {
                    weight,
                    gradient,
                    first,
                    second,
                    largest: if amsgrad { largest } else { &mut [] },
                },
                weight_decay,
            },
        );
        let workers = Workers {
            team: &Alone,
            kernels: Kernels::new(),
            buffers: &buffers,
        };
        adam.step(workers, parameters.collect(), limit);
        for (have, want) in weights.iter().zip(&theirs) {
            let what = format!("step {step}, decoupled {decoupled}, amsgrad {amsgrad}");
            assert_close(have, &floats(want), tolerance(1e-6), &what);
        }
    }
}

#[test]
fn every_optimizer_steps_as_libtorchs() {
    for limit in [0.0, 0.5, 1e3] {
        for weight_decay in [0.0, 0.1] {
            compare(false, false, weight_decay, limit);
            compare(false, true, weight_decay, limit);
            compare(true, false, weight_decay, limit);
        }
    }
}
