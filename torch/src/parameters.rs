//! Named parameters: created from the engine's table of shapes, loaded from and saved to files.

use anyhow::{Context, Result, bail};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};
use textgen::config::NetworkConfig;
use textgen::models::weights::{Array, Weights, expected_shapes};

/// The parameters of a model, in the order of [`expected_shapes`].
pub struct Parameters {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    tied: bool,
}

/// The name under which tied weights are stored, and their other name (Press & Wolf 2017).
const TIED: (&str, &str) = ("embedding.weight", "head.weight");

impl Parameters {
    /// Initial weights derived from `seed`, the same on every device.
    ///
    /// Recurrent weights and biases: uniform in ±1/√H; linear layers: uniform in ±1/√(inputs);
    /// embeddings: standard normal, all as PyTorch's modules do.
    pub fn init(network: &NetworkConfig, seed: u64, device: Device) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut names = Vec::new();
        let mut tensors = Vec::new();
        // The article network's memory of its last word is not a parameter.
        let mut shapes = expected_shapes(network);
        shapes.retain(|(name, _)| !name.starts_with("article."));
        for (name, shape) in &shapes {
            let count: usize = shape.iter().product();
            let data: Vec<f32> = if name.ends_with("embedding.weight") {
                (0..count).map(|_| normal(&mut rng)).collect()
            } else {
                let fan = if name.contains("rnn.") {
                    network.hidden
                } else {
                    fan_in(&shapes, name)
                };
                let bound = 1.0 / (fan as f32).sqrt();
                (0..count)
                    .map(|_| rng.random_range(-bound..bound))
                    .collect()
            };
            tensors.push(
                from_array(&Array::f32(shape.as_slice(), data), device).set_requires_grad(true),
            );
            names.push(name.clone());
        }
        Self {
            names,
            tensors,
            tied: false,
        }
    }

    /// Uses one matrix (V, H) to embed a char-lstm's tokens and to predict them. It is initialized for
    /// prediction, because an embedding's initial weights are too large for that.
    ///
    /// # Panics
    /// If the network has no embedding of that size.
    #[must_use]
    pub fn tie(mut self) -> Self {
        let (embedding, head) = TIED;
        let index = |name: &str| self.names.iter().position(|known| known == name);
        let (Some(at), Some(from)) = (index(embedding), index(head)) else {
            unreachable!("tied weights without {embedding}");
        };
        assert_eq!(self.tensors[at].size(), self.tensors[from].size());
        self.tensors.swap(at, from);
        let _ = self.tensors.remove(from);
        self.names.remove(from);
        self.tied = true;
        self
    }

    /// The tensors in order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensors in order, mutable.
    pub fn tensors_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors
    }

    /// The names in the order of the tensors.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether every weight is a finite number.
    pub fn are_finite(&self) -> bool {
        // A sum is not finite if one of its terms is not.
        let sums: Vec<Tensor> = self
            .tensors
            .iter()
            .map(|tensor| tensor.detach().sum(Kind::Float))
            .collect();
        Tensor::stack(&sums, 0)
            .sum(Kind::Double)
            .double_value(&[])
            .is_finite()
    }

    /// The number of weights in all parameters.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(Tensor::numel).sum()
    }

    /// The tensor of that name.
    ///
    /// # Panics
    /// If the network has no such parameter: a bug in this crate.
    pub fn get(&self, name: &str) -> &Tensor {
        let name = if self.tied && name == TIED.1 {
            TIED.0
        } else {
            name
        };
        match self.names.iter().position(|known| known == name) {
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

    /// The weights and biases of all layers, bottom layer first.
    pub fn recurrent(&self, prefix: &str, layers: usize) -> Vec<Tensor> {
        (0..layers)
            .flat_map(|layer| self.layer(prefix, layer, ""))
            .collect()
    }

    /// Copies of all parameters on the CPU by name, as a model file stores them.
    pub fn to_weights(&self) -> Weights<'static> {
        let copies = self.tensors.iter().map(to_array);
        self.untie(self.names.iter().cloned().zip(copies).collect())
    }

    /// Adds tied weights under their other name.
    pub fn untie(&self, mut weights: Weights<'static>) -> Weights<'static> {
        let shared = weights.get(TIED.0).filter(|_| self.tied).cloned();
        weights.extend(shared.map(|weight| (TIED.1.to_owned(), weight)));
        weights
    }

    /// Overwrites all parameters with those of `source`, whose names are preceded by `prefix`.
    pub fn load(&mut self, source: &Weights, prefix: &str) -> Result<()> {
        copy_into_named(source, prefix, &self.names, &mut self.tensors)
    }
}

/// Overwrites each of `tensors` with that of `source`, whose name is preceded by `prefix`.
pub fn copy_into_named(
    source: &Weights,
    prefix: &str,
    names: &[String],
    tensors: &mut [Tensor],
) -> Result<()> {
    for (name, tensor) in names.iter().zip(tensors) {
        let key = format!("{prefix}{name}");
        let array = source
            .get(&key)
            .with_context(|| format!("{key} is missing"))?;
        copy_into(array, tensor).with_context(|| key.clone())?;
    }
    Ok(())
}

/// The number of inputs of the linear layer that `name` belongs to: the columns of its weight.
fn fan_in(shapes: &[(String, Vec<usize>)], name: &str) -> usize {
    let weight = name.replace(".bias", ".weight");
    shapes
        .iter()
        .find(|(known, _)| *known == weight)
        .and_then(|(_, shape)| shape.last().copied())
        .unwrap_or(1)
}

/// A standard normal number (Box & Muller 1958).
pub fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

/// The elements of a tensor, row-major, on the CPU.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor
        .detach()
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    let mut data = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut data, tensor.numel());
    data
}

/// A copy of a tensor on its way to a file or to the native engine.
pub fn to_array(tensor: &Tensor) -> Array<'static> {
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    Array::f32(shape, floats(tensor))
}

/// A tensor of an array's shape and elements.
pub fn from_array(array: &Array, device: Device) -> Tensor {
    let shape: Vec<i64> = array.shape.iter().map(|&n| n as i64).collect();
    Tensor::from_slice(&array.data())
        .reshape(shape)
        .to_device(device)
}

/// Overwrites `tensor`, which must have the same shape.
pub fn copy_into(array: &Array, tensor: &mut Tensor) -> Result<()> {
    let array = from_array(array, tensor.device());
    if tensor.size() != array.size() {
        bail!(
            "shape {:?} where {:?} was expected",
            array.size(),
            tensor.size()
        );
    }
    tch::no_grad(|| tensor.copy_(&array));
    Ok(())
}
