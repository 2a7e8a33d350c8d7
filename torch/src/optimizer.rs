//! Adam, AMSGrad and AdamW with moments that are plain tensors, so that they can be saved.

use anyhow::Result;
use tch::{Device, Kind, Tensor};
use textgen::config::{OptimizerKind, TrainConfig};
use textgen::kernels::AdamPiece;
use textgen::kernels::training::{Adam, Parameter};
use textgen::models::weights::Weights;

use crate::operators::{numbers, numbers_mut, workers};
use crate::parameters::{Parameters, copy_into_named, to_array};
use crate::shim::{self, AdamConstants, AdamTensors};

const BETA1: f64 = 0.9;
const EPSILON: f64 = 1e-8;

/// Parameters with the same weight decay: under AdamW, matrices have it and vectors do not.
struct Group {
    parameters: Vec<Tensor>,
    names: Vec<String>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    largest: Option<Vec<Tensor>>,
    /// On CUDA, a step count per parameter, as libtorch's operator wants.
    steps: Vec<Tensor>,
    weight_decay: f64,
}

/// The optimizer of a run.
pub struct Optimizer {
    groups: Vec<Group>,
    decoupled: bool,
    clip: f64,
    beta2: f64,
    /// The number of steps taken.
    taken: u64,
}

impl Optimizer {
    /// Starts with all moments at zero.
    pub fn new(config: &TrainConfig, parameters: &Parameters) -> Self {
        let decoupled = config.optimizer == OptimizerKind::Adamw;
        let is_vector = |tensor: &Tensor| decoupled && tensor.dim() < 2;
        let group = |vectors: bool| {
            let (names, tensors): (Vec<String>, Vec<Tensor>) = parameters
                .names()
                .iter()
                .zip(parameters.tensors())
                .filter(|(_, tensor)| is_vector(tensor) == vectors)
                .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
                .unzip();
            let zeros = || {
                tensors
                    .iter()
                    .map(|tensor| tensor.detach().zeros_like())
                    .collect::<Vec<_>>()
            };
            let device = tensors.first().map_or(Device::Cpu, Tensor::device);
            Group {
                first: zeros(),
                second: zeros(),
                largest: (config.optimizer == OptimizerKind::Amsgrad).then(zeros),
                steps: tensors
                    .iter()
                    .filter(|_| device != Device::Cpu)
                    .map(|_| Tensor::zeros([], (Kind::Float, device)))
                    .collect(),
                weight_decay: if vectors { 0.0 } else { config.weight_decay },
                names,
                parameters: tensors,
            }
        };
        Self {
            groups: vec![group(false), group(true)],
            decoupled,
            clip: config.clip,
            beta2: config.beta2,
            taken: 0,
        }
    }

    /// Clears the gradients of the last step.
    pub fn drop_gradients(&mut self) -> Result<()> {
        for group in &self.groups {
            shim::drop_gradients(&group.parameters)?;
        }
        Ok(())
    }

    /// Clips the gradients and takes one step with the learning rate `lr`.
    pub fn step(&mut self, lr: f64) -> Result<()> {
        self.taken += 1;
        let gradients: Vec<Vec<Tensor>> = self
            .groups
            .iter()
            .map(|group| group.parameters.iter().map(Tensor::grad).collect())
            .collect();
        let mut tensors = self.groups.iter().flat_map(|group| &group.parameters);
        if tensors.all(|tensor| tensor.device() == Device::Cpu) {
            self.step_native(lr, gradients);
            return Ok(());
        }
        if self.clip > 0.0 {
            let all: Vec<Tensor> = gradients
                .iter()
                .flatten()
                .map(Tensor::shallow_clone)
                .collect();
            shim::clip(&all, self.clip)?;
        }
        for (group, gradients) in self.groups.iter().zip(&gradients) {
            shim::adam(
                &AdamTensors {
                    parameters: &group.parameters,
                    gradients,
                    first: &group.first,
                    second: &group.second,
                    largest: group.largest.as_deref(),
                    steps: &group.steps,
                },
                AdamConstants {
                    lr,
                    beta1: BETA1,
                    beta2: self.beta2,
                    weight_decay: group.weight_decay,
                    epsilon: EPSILON,
                    decoupled: self.decoupled,
                },
            )?;
        }
        Ok(())
    }

    /// The step on the CPU: clipping and Adam in one pass.
    fn step_native(&mut self, lr: f64, gradients: Vec<Vec<Tensor>>) {
        let adam = Adam {
            lr,
            beta1: BETA1,
            beta2: self.beta2,
            epsilon: EPSILON,
            decoupled: self.decoupled,
            step: self.taken,
        };
        let plain = |group: Vec<Tensor>| group.iter().map(Tensor::contiguous).collect();
        let gradients: Vec<Vec<Tensor>> = gradients.into_iter().map(plain).collect();
        let mut parameters = Vec::new();
        for (group, gradients) in self.groups.iter_mut().zip(&gradients) {
            let mut largest = group.largest.iter_mut().flatten();
            let tensors = group
                .parameters
                .iter_mut()
                .zip(gradients)
                .zip(&mut group.first)
                .zip(&mut group.second);
            for (((weight, gradient), first), second) in tensors {
                parameters.push(Parameter {
                    arrays: AdamPiece {
                        weight: numbers_mut(weight),
                        gradient: numbers(gradient),
                        first: numbers_mut(first),
                        second: numbers_mut(second),
                        largest: largest.next().map(numbers_mut).unwrap_or_default(),
                    },
                    weight_decay: group.weight_decay,
                });
            }
        }
        adam.step(workers(), parameters, self.clip);
    }

    /// Adds the moments to a training state.
    pub fn save(&mut self, into: &mut Weights<'static>) {
        for (names, kind, moments) in self.groups.iter_mut().flat_map(Group::moments) {
            for (name, moment) in names.iter().zip(moments) {
                into.insert(format!("optimizer.{kind}.{name}"), to_array(moment));
            }
        }
    }

    /// Restores the moments as they were after `step` steps.
    pub fn load(&mut self, from: &Weights, step: u64) -> Result<()> {
        self.taken = step;
        for count in self.groups.iter_mut().flat_map(|group| &mut group.steps) {
            let _ = count.fill_(step as f64);
        }
        for (names, kind, moments) in self.groups.iter_mut().flat_map(Group::moments) {
            copy_into_named(from, &format!("optimizer.{kind}."), names, moments)?;
        }
        Ok(())
    }
}

impl Group {
    /// The names of the parameters, of a moment, and the moment of each parameter.
    fn moments(&mut self) -> impl Iterator<Item = (&[String], &'static str, &mut Vec<Tensor>)> {
        let names = &self.names[..];
        let lists = [
            ("first", Some(&mut self.first)),
            ("second", Some(&mut self.second)),
            ("largest", self.largest.as_mut()),
        ];
        let lists = lists.into_iter();
        lists.filter_map(move |(kind, moments)| Some((names, kind, moments?)))
    }
}
