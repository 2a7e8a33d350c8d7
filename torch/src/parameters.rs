//! A network's parameters as libtorch's tensors, in the layout of the library's.

use tch::{Device, Kind, Tensor};
use textgen::models::training::{Entry, Parameters as Layout};
use textgen::models::weights::{Array, WeightError, Weights};

use crate::shim;

/// The parameters of a model on a device.
pub struct Parameters {
    layout: Layout,
    tensors: Vec<Tensor>,
}

impl Parameters {
    /// Copies `layout` to a device.
    pub fn new(layout: Layout, device: Device) -> Self {
        let tensor = |entry: &Entry| {
            let shape: Vec<i64> = entry.shape.iter().map(|&n| n as i64).collect();
            Tensor::from_slice(&layout.values[entry.range.clone()])
                .reshape(shape)
                .to_device(device)
                .set_requires_grad(true)
        };
        Self {
            tensors: layout.entries().iter().map(tensor).collect(),
            layout,
        }
    }

    /// The tensors in the layout's order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The number of weights.
    pub const fn count(&self) -> usize {
        self.layout.count()
    }

    /// The tensor of that name.
    ///
    /// # Panics
    /// If the network has no such parameter: a bug in this crate.
    pub fn get(&self, name: &str) -> &Tensor {
        let range = self.layout.range(name);
        let mut entries = self.layout.entries().iter();
        match entries.position(|entry| entry.range == range) {
            Some(index) => &self.tensors[index],
            None => unreachable!("no parameter {name}"),
        }
    }

    /// Applies the linear layer `name` to `input` (…, I).
    pub fn linear(&self, input: &Tensor, name: &str) -> Tensor {
        let [weight, bias] = ["weight", "bias"].map(|part| self.get(&format!("{name}.{part}")));
        input.linear(weight, Some(bias))
    }

    /// The weights and biases of one recurrent layer in the order that libtorch wants; `direction`
    /// is `_reverse` for the network that reads backward, else empty.
    pub fn layer(&self, prefix: &str, layer: usize, direction: &str) -> Vec<Tensor> {
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            .iter()
            .map(|part| {
                self.get(&format!("{prefix}.{part}_l{layer}{direction}"))
                    .shallow_clone()
            })
            .collect()
    }

    /// Whether parameter `index` is a word-vae's encoder's.
    pub fn is_of_encoder(&self, index: usize) -> bool {
        self.layout.entries()[index].is_of_encoder()
    }

    /// The weights and biases of all layers, bottom layer first.
    pub fn recurrent(&self, prefix: &str, layers: usize) -> Vec<Tensor> {
        (0..layers)
            .flat_map(|layer| self.layer(prefix, layer, ""))
            .collect()
    }

    /// Copies of `tensors`, one of the shape of each parameter, by name after `prefix`.
    pub fn named(&self, tensors: &[Tensor], prefix: &str) -> Weights<'static> {
        self.layout.named(&all_floats(tensors), prefix)
    }

    /// Overwrites `tensors`, one of the shape of each parameter, with arrays named after `prefix`.
    pub fn read(
        &self,
        source: &Weights,
        prefix: &str,
        tensors: &[Tensor],
    ) -> Result<(), WeightError> {
        let mut values = vec![0.0; self.count()];
        self.layout.read(source, prefix, &mut values)?;
        for (entry, tensor) in self.layout.entries().iter().zip(tensors) {
            let value = Tensor::from_slice(&values[entry.range.clone()]).reshape(tensor.size());
            tch::no_grad(|| tensor.shallow_clone().copy_(&value));
        }
        Ok(())
    }
}

/// Tensors of zeros of the same shapes.
pub fn zeros_like(tensors: &[Tensor]) -> Vec<Tensor> {
    let zeros = tensors.iter().map(|tensor| tensor.detach().zeros_like());
    zeros.collect()
}

/// The elements of a tensor, row-major.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    shim::download(&tensor.detach().to_kind(Kind::Float).contiguous())
}

/// A copy of a tensor.
pub fn array(tensor: &Tensor) -> Array<'static> {
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    Array::f32(shape, floats(tensor))
}

/// A copy of an array.
pub fn tensor(array: &Array, device: Device) -> Tensor {
    let shape: Vec<i64> = array.shape.iter().map(|&n| n as i64).collect();
    Tensor::from_slice(&array.data())
        .reshape(shape)
        .to_device(device)
}

/// The elements of all tensors, one after the other, read back at once.
pub fn all_floats(tensors: &[Tensor]) -> Vec<f32> {
    let flat: Vec<Tensor> = tensors
        .iter()
        .map(|one| one.detach().flatten(0, -1))
        .collect();
    floats(&Tensor::cat(&flat, 0))
}
