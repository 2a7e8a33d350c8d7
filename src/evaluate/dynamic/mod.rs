//! Dynamic evaluation (Krause et al. 2018): a model that keeps learning from what it has just read.
//!
//! ```text
//! L_s(θ) = −(1/T) Σ ln p_θ(token | all before it)    over the T tokens of segment s
//! θ_{s+1} = θ_s − η ∇L_s(θ_s)
//! ```
//!
//! The cost of a segment is computed before its update, so every token is predicted before it is
//! learnt from. This is the paper's plain form, stochastic gradient descent: without clipping, the
//! scaling by root mean squares, and the decay to the first weights. The state is carried from segment
//! to segment, and no gradient passes between them.

use std::ops::Range;

use super::{EvaluateError, TextCost, check_predicted, check_read};
use crate::config::{Cell, NetworkConfig};
use crate::kernels::Kernels;
use crate::kernels::training::{
    Alone, Buffers, Head, HeadGradients, Input, Layer, LayerGradients, OutputGradients, Outputs,
    Saved, Steps, Workers, backward, forward, saved,
};
use crate::models::weights::{WeightError, Weights, check, values};

/// How a model learns from what it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dynamic {
    /// The learning rate η.
    pub lr: f32,
    /// Tokens per update, T; the last update of a text may cover fewer.
    pub segment: usize,
}

/// An array with its gradient.
#[derive(Clone, Debug)]
struct Parameter {
    values: Vec<f32>,
    gradient: Vec<f32>,
}

/// The arrays of a recurrent layer, or their gradients, under PyTorch's names.
#[derive(Clone, Debug, Default)]
struct Arrays {
    /// (G·H, I).
    weight_ih: Vec<f32>,
    /// (G·H, H).
    weight_hh: Vec<f32>,
    /// (G·H).
    bias_ih: Vec<f32>,
    /// (G·H).
    bias_hh: Vec<f32>,
}

/// A recurrent layer with its state and saved activations.
#[derive(Clone, Debug)]
struct Recurrent {
    inputs: usize,
    arrays: Arrays,
    gradients: Arrays,
    /// (H).
    h: Vec<f32>,
    /// (H); empty unless an LSTM.
    c: Vec<f32>,
}

/// What a layer computed for a segment.
struct Computed {
    /// The input (T, I) if it is vectors, else empty.
    input: Vec<f32>,
    /// (T, H).
    outputs: Vec<f32>,
    h: Vec<f32>,
    c: Vec<f32>,
    gates: Vec<f32>,
    units: Vec<f32>,
}

/// A char-lstm whose weights change as it reads one text.
#[derive(Clone, Debug)]
pub struct Learner {
    cell: Cell,
    hidden: usize,
    /// (V, E); none if tokens are one-hot.
    embedding: Option<Parameter>,
    layers: Vec<Recurrent>,
    head_weight: Parameter,
    head_bias: Parameter,
    tokens: usize,
    setting: Dynamic,
}

impl Parameter {
    fn new(weights: &Weights, name: &str) -> Result<Self, WeightError> {
        let values = values(weights, name)?.into_owned();
        Ok(Self {
            gradient: vec![0.0; values.len()],
            values,
        })
    }

    fn descend(&mut self, lr: f32) {
        descend(&mut self.values, &self.gradient, lr);
    }
}

fn descend(values: &mut [f32], gradient: &[f32], lr: f32) {
    for (value, gradient) in values.iter_mut().zip(gradient) {
        *value -= lr * gradient;
    }
}

impl Arrays {
    /// The arrays of layer `k`.
    fn new(weights: &Weights, k: usize) -> Result<Self, WeightError> {
        let array = |name: &str| Ok(values(weights, &format!("rnn.{name}_l{k}"))?.into_owned());
        Ok(Self {
            weight_ih: array("weight_ih")?,
            weight_hh: array("weight_hh")?,
            bias_ih: array("bias_ih")?,
            bias_hh: array("bias_hh")?,
        })
    }

    fn descend(&mut self, gradients: &Self, lr: f32) {
        descend(&mut self.weight_ih, &gradients.weight_ih, lr);
        descend(&mut self.weight_hh, &gradients.weight_hh, lr);
        descend(&mut self.bias_ih, &gradients.bias_ih, lr);
        descend(&mut self.bias_hh, &gradients.bias_hh, lr);
    }
}

impl Learner {
    /// From the weights that [`expected_shapes`](crate::models::weights::expected_shapes) lists.
    pub fn new(
        config: &NetworkConfig,
        weights: &Weights,
        setting: Dynamic,
    ) -> Result<Self, WeightError> {
        check(config, weights)?;
        let cells = if config.cell == Cell::Lstm {
            config.hidden
        } else {
            0
        };
        let layer = |k: usize| {
            let below = if config.embedding > 0 {
                config.embedding
            } else {
                config.inputs
            };
            Ok(Recurrent {
                inputs: if k == 0 { below } else { config.hidden },
                gradients: Arrays::new(weights, k)?,
                arrays: Arrays::new(weights, k)?,
                h: vec![0.0; config.hidden],
                c: vec![0.0; cells],
            })
        };
        let embedding = || Parameter::new(weights, "embedding.weight");
        Ok(Self {
            cell: config.cell,
            hidden: config.hidden,
            embedding: (config.embedding > 0).then(embedding).transpose()?,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            head_weight: Parameter::new(weights, "head.weight")?,
            head_bias: Parameter::new(weights, "head.bias")?,
            tokens: config.inputs,
            setting,
        })
    }

    /// The cost of `segments` of a text, one after the other. Each starts from a zero state, as in
    /// [`texts`](super::texts), with the weights that the one before left. `progress` is told
    /// how many more tokens have been predicted.
    ///
    /// # Panics
    /// If a segment is no part of `tokens`.
    pub fn read(
        &mut self,
        tokens: &[u32],
        segments: &[Range<usize>],
        progress: impl Fn(u64),
    ) -> Result<TextCost, EvaluateError> {
        let mut cost = TextCost::default();
        for segment in segments {
            let text = &tokens[segment.clone()];
            check_read(text, self.tokens)?;
            check_predicted(text.iter().skip(1), self.head_bias.values.len())?;
            for layer in &mut self.layers {
                layer.h.fill(0.0);
                layer.c.fill(0.0);
            }
            let tokens: Vec<i64> = text.iter().map(|&token| i64::from(token)).collect();
            let segment = self.setting.segment.max(1);
            let targets = tokens.get(1..).unwrap_or_default();
            for (inputs, targets) in tokens.chunks(segment).zip(targets.chunks(segment)) {
                cost.nats += self.segment(&inputs[..targets.len()], targets);
                cost.tokens += targets.len() as u64;
                progress(targets.len() as u64);
            }
        }
        Ok(cost)
    }

    /// Computes the cost of a segment in nats, and learns from it.
    fn segment(&mut self, inputs: &[i64], targets: &[i64]) -> f64 {
        let buffers = Buffers::new();
        let workers = Workers {
            team: &Alone,
            kernels: Kernels::new(),
            buffers: &buffers,
        };
        let steps = Steps::new(vec![1; inputs.len()]);
        let mut computed: Vec<Computed> = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let input = match computed.last() {
                Some(below) => below.outputs.clone(),
                None => self.embedded(inputs),
            };
            let mut made = layer.computed(self.cell, self.hidden, input, steps.positions());
            let is_one_hot = index == 0 && self.embedding.is_none();
            let read = if is_one_hot {
                Input::Tokens(inputs)
            } else {
                Input::Vectors(&made.input)
            };
            let description = layer.description(self.cell, self.hidden, read);
            let out = Outputs {
                outputs: &mut made.outputs,
                h: &mut made.h,
                c: &mut made.c,
            };
            let keeping = Saved {
                gates: &mut made.gates,
                units: &mut made.units,
            };
            forward(workers, &description, &steps, out, Some(keeping));
            computed.push(made);
        }
        let hidden = computed.last().map_or(&[][..], |top| &top.outputs);
        let head = Head {
            hidden,
            weight: &self.head_weight.values,
            bias: &self.head_bias.values,
            targets,
        };
        let mut probabilities = vec![0.0; targets.len() * head.layout().len()];
        let mut nats = vec![0.0; targets.len()];
        head.forward(workers, &mut probabilities, &mut nats);
        let d_nats = vec![1.0 / targets.len() as f32; targets.len()];
        let mut d_outputs = vec![0.0; hidden.len()];
        let to = HeadGradients {
            hidden: &mut d_outputs,
            weight: &mut self.head_weight.gradient,
            bias: &mut self.head_bias.gradient,
        };
        head.backward(workers, &mut probabilities, &d_nats, to);
        self.go_back(workers, &steps, inputs, computed, d_outputs);
        self.descend();
        nats.iter().map(|&nats| f64::from(nats)).sum()
    }

    /// The gradients of all below the head, from that of the last layer's outputs (T, H). Moves the
    /// state to the end of the segment.
    fn go_back(
        &mut self,
        workers: Workers,
        steps: &Steps,
        tokens: &[i64],
        computed: Vec<Computed>,
        mut d_outputs: Vec<f32>,
    ) {
        let (cell, hidden) = (self.cell, self.hidden);
        for (index, mut made) in computed.into_iter().enumerate().rev() {
            let is_one_hot = index == 0 && self.embedding.is_none();
            let layer = &mut self.layers[index];
            let mut d_input = vec![0.0; made.input.len()];
            let read = if is_one_hot {
                Input::Tokens(tokens)
            } else {
                Input::Vectors(&made.input)
            };
            let mut gradients = std::mem::take(&mut layer.gradients);
            let description = layer.description(cell, hidden, read);
            let saved = Saved {
                gates: &mut made.gates,
                units: &mut made.units,
            };
            let of = OutputGradients {
                outputs: Some(&d_outputs),
                ..OutputGradients::default()
            };
            let to = LayerGradients {
                input: &mut d_input,
                weight_ih: &mut gradients.weight_ih,
                weight_hh: &mut gradients.weight_hh,
                bias_ih: &mut gradients.bias_ih,
                bias_hh: &mut gradients.bias_hh,
                ..LayerGradients::default()
            };
            backward(workers, &description, steps, &made.outputs, saved, of, to);
            layer.gradients = gradients;
            layer.h = made.h;
            layer.c = made.c;
            d_outputs = d_input;
        }
        if let Some(embedding) = &mut self.embedding {
            let size = embedding.values.len() / self.tokens;
            embedding.gradient.fill(0.0);
            for (&token, gradient) in tokens.iter().zip(d_outputs.chunks_exact(size)) {
                let row = &mut embedding.gradient[token as usize * size..][..size];
                for (sum, gradient) in row.iter_mut().zip(gradient) {
                    *sum += gradient;
                }
            }
        }
    }

    fn descend(&mut self) {
        let lr = self.setting.lr;
        self.head_weight.descend(lr);
        self.head_bias.descend(lr);
        if let Some(embedding) = &mut self.embedding {
            embedding.descend(lr);
        }
        for layer in &mut self.layers {
            layer.arrays.descend(&layer.gradients, lr);
        }
    }

    /// The tokens' rows of the embedding (T, E); nothing if they are one-hot.
    fn embedded(&self, tokens: &[i64]) -> Vec<f32> {
        let Some(embedding) = &self.embedding else {
            return Vec::new();
        };
        let size = embedding.values.len() / self.tokens;
        let row = |&token: &i64| &embedding.values[token as usize * size..][..size];
        tokens.iter().flat_map(row).copied().collect()
    }
}

impl Recurrent {
    /// The layer in the form that the kernels read.
    fn description<'a>(&'a self, cell: Cell, hidden: usize, input: Input<'a>) -> Layer<'a> {
        Layer {
            cell,
            hidden,
            inputs: self.inputs,
            input,
            constant: None,
            weight_ih: &self.arrays.weight_ih,
            weight_hh: &self.arrays.weight_hh,
            bias_ih: &self.arrays.bias_ih,
            bias_hh: &self.arrays.bias_hh,
            h0: &self.h,
            c0: &self.c,
        }
    }

    /// Allocates the results for `positions` tokens.
    fn computed(&self, cell: Cell, hidden: usize, input: Vec<f32>, positions: usize) -> Computed {
        let (gates, units) = saved(cell, hidden);
        Computed {
            input,
            outputs: vec![0.0; positions * hidden],
            h: vec![0.0; self.h.len()],
            c: vec![0.0; self.c.len()],
            gates: vec![0.0; positions * gates],
            units: vec![0.0; positions * units],
        }
    }
}

#[cfg(test)]
mod tests;
