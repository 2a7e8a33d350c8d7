//! Adam, AMSGrad and AdamW of libtorch, with moments that are plain tensors, so that they can be saved.

use tch::Tensor;
use textgen::config::{OptimizerKind, TrainConfig};
use textgen::models::weights::{WeightError, Weights};

use crate::parameters::{Parameters, zeros_like};
use crate::shim::{self, AdamConstants, AdamTensors};

const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// The optimizer of a training.
pub struct Optimizer {
    /// By name: the first and second moments, and their largest values (AMSGrad).
    moments: Vec<(&'static str, Vec<Tensor>)>,
    groups: Vec<Group>,
    decoupled: bool,
    clip: f64,
    beta2: f64,
}

/// Parameters that are updated together.
struct Group {
    /// Their numbers.
    indices: Vec<usize>,
    /// Under AdamW, matrices have it and vectors do not.
    weight_decay: f64,
    /// Whether they are a word-vae's encoder's.
    is_encoder: bool,
}

impl Optimizer {
    /// Starts with all moments at zero.
    pub fn new(config: &TrainConfig, parameters: &Parameters) -> Self {
        let tensors = parameters.tensors();
        let decoupled = config.optimizer == OptimizerKind::Adamw;
        let names = ["first", "second", "largest"];
        let kinds = if config.optimizer == OptimizerKind::Amsgrad {
            3
        } else {
            2
        };
        let group = |is_vector: bool, is_encoder: bool| {
            let is_in = |&i: &usize| {
                (decoupled && tensors[i].dim() < 2) == is_vector
                    && parameters.is_of_encoder(i) == is_encoder
            };
            Group {
                indices: (0..tensors.len()).filter(is_in).collect(),
                weight_decay: if is_vector { 0.0 } else { config.weight_decay },
                is_encoder,
            }
        };
        Self {
            moments: names[..kinds]
                .iter()
                .map(|&name| (name, zeros_like(tensors)))
                .collect(),
            groups: [false, true]
                .into_iter()
                .flat_map(|is_encoder| [group(false, is_encoder), group(true, is_encoder)])
                .collect(),
            decoupled,
            clip: config.clip,
            beta2: config.beta2,
        }
    }

    /// Clips the gradients and takes step `step`, from 1, with the learning rate `rate`. Both are f32 on the device. An encoder
    /// stays as it is if the decoder learns `alone`.
    pub fn step(
        &self,
        parameters: &Parameters,
        gradients: &[Tensor],
        step: &Tensor,
        rate: &Tensor,
        alone: bool,
    ) {
        if self.clip > 0.0 {
            shim::clip(gradients, self.clip);
        }
        let updated = self.groups.iter();
        for group in updated.filter(|group| !alone || !group.is_encoder) {
            let pick = |all: &[Tensor]| -> Vec<Tensor> {
                group
                    .indices
                    .iter()
                    .map(|&i| all[i].shallow_clone())
                    .collect()
            };
            let moments: Vec<_> = self.moments.iter().map(|(_, all)| pick(all)).collect();
            let tensors = AdamTensors {
                parameters: &pick(parameters.tensors()),
                gradients: &pick(gradients),
                first: &moments[0],
                second: &moments[1],
                largest: moments.get(2).map(Vec::as_slice),
                step,
                rate,
            };
            let constants = AdamConstants {
                beta1: BETA1,
                beta2: self.beta2,
                weight_decay: group.weight_decay,
                epsilon: EPSILON,
                decoupled: self.decoupled,
            };
            shim::adam(&tensors, constants);
        }
    }

    /// Adds the moments to a training state.
    pub fn save(&self, parameters: &Parameters, into: &mut Weights<'static>) {
        for (kind, tensors) in &self.moments {
            into.append(&mut parameters.named(tensors, &format!("optimizer.{kind}.")));
        }
    }

    /// Restores the moments.
    pub fn load(&self, parameters: &Parameters, from: &Weights) -> Result<(), WeightError> {
        for (kind, tensors) in &self.moments {
            parameters.read(from, &format!("optimizer.{kind}."), tensors)?;
        }
        Ok(())
    }
}
