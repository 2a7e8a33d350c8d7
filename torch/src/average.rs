//! An exponential moving average of the weights during training (EMA). It is nearer to the middle of
//! the valley in which single steps jump about.

use anyhow::Result;
use tch::Tensor;

use crate::parameters::{Parameters, copy_into_named, to_array};
use textgen::models::weights::Weights;

/// The prefix of the names of averaged weights in a training state.
const PREFIX: &str = "average.";

/// Averaged weights, in the order of the parameters.
pub struct Average {
    decay: f64,
    tensors: Vec<Tensor>,
}

impl Average {
    /// Starts from `parameters`; a step weights the previous average by `decay`.
    pub fn new(decay: f64, parameters: &Parameters) -> Self {
        Self {
            decay,
            tensors: parameters
                .tensors()
                .iter()
                .map(|tensor| tensor.detach().copy())
                .collect(),
        }
    }

    /// Adds `parameters` after step `step` (from 1). The first steps use a smaller decay, (1 + step) / (10 + step),
    /// so that the initial weights are soon forgotten.
    pub fn step(&mut self, parameters: &Parameters, step: u64) {
        let decay = self.decay.min((1 + step) as f64 / (10 + step) as f64);
        tch::no_grad(|| {
            for (average, tensor) in self.tensors.iter_mut().zip(parameters.tensors()) {
                let _ = average.lerp_(tensor, 1.0 - decay);
            }
        });
    }

    /// Swaps the average with the weights of `parameters`.
    pub fn exchange(&mut self, parameters: &mut Parameters) {
        tch::no_grad(|| {
            for (average, tensor) in self.tensors.iter_mut().zip(parameters.tensors_mut()) {
                let saved = tensor.copy();
                tensor.copy_(average);
                average.copy_(&saved);
            }
        });
    }

    /// Copies on the CPU by name, each name preceded by `prefix`.
    fn named(&self, names: &[String], prefix: &str) -> Weights<'static> {
        let named = names.iter().map(|name| format!("{prefix}{name}"));
        named.zip(self.tensors.iter().map(to_array)).collect()
    }

    /// The averaged weights by the names of `parameters`, on the CPU.
    pub fn to_weights(&self, parameters: &Parameters) -> Weights<'static> {
        parameters.untie(self.named(parameters.names(), ""))
    }

    /// Adds the average to a training state.
    pub fn save(&self, parameters: &Parameters, into: &mut Weights<'static>) {
        into.append(&mut self.named(parameters.names(), PREFIX));
    }

    /// Restores the average from a training state.
    pub fn load(&mut self, parameters: &Parameters, from: &Weights) -> Result<()> {
        copy_into_named(from, PREFIX, parameters.names(), &mut self.tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, text_config};

    #[test]
    fn the_average_is_the_weighted_sum_of_what_it_has_seen() {
        let network = text_config().network(5, 5);
        let mut parameters = Parameters::init(&network, 1, device());
        let mut average = Average::new(0.5, &parameters);
        let fill = |parameters: &mut Parameters, value: f64| {
            tch::no_grad(|| {
                for tensor in parameters.tensors_mut() {
                    let _ = tensor.fill_(value);
                }
            });
        };
        let of = |tensor: &Tensor| tensor.flatten(0, -1).double_value(&[0]);
        fill(&mut parameters, 4.0);
        let mut want = of(&average.tensors[0]);
        // 2/11 and 3/12 are below the decay; from step 8 on it is a half.
        for step in 1..=10u64 {
            fill(&mut parameters, step as f64);
            average.step(&parameters, step);
            let decay = f64::min(0.5, (1 + step) as f64 / (10 + step) as f64);
            want = decay * want + (1.0 - decay) * step as f64;
            assert!((of(&average.tensors[0]) - want).abs() < 1e-5, "{step}");
        }
        average.exchange(&mut parameters);
        assert!((of(&parameters.tensors()[0]) - want).abs() < 1e-5);
        assert!((of(&average.tensors[0]) - 10.0).abs() < 1e-6);
    }
}
