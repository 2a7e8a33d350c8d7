//! The character language model: tokens → (one-hot or embedding) → recurrent layers → logits.

use tch::{Device, Kind, Tensor};
use textgen::config::{CharRnnConfig, NetworkConfig, Precision};
use textgen::kernels::training::Steps;
use textgen::models::batch::TextBatch;
use textgen::models::noise::Use;

use crate::dropout::{Dropout, Pass, Places, token_mask, weight_mask};
use crate::parameters::Parameters;
use crate::recurrent::{Shape, packed};
use crate::{indices, predict};

/// A char-lstm on a device.
pub struct CharRnn {
    /// Sizes, cell and kind.
    pub network: NetworkConfig,
    /// Dropout rate of every layer's outputs while training.
    pub dropout: f64,
    /// The other kinds of dropout.
    pub own: CharRnnConfig,
    /// The precision of training on CUDA.
    pub precision: Precision,
    /// The vectors of one-hot tokens (V, V), looked up instead of made at every step.
    one_hot: Option<Tensor>,
}

/// A batch on the device.
pub struct Text {
    /// What is read (T·B).
    inputs: Tensor,
    /// What follows it (T·B).
    targets: Tensor,
    steps: Steps,
    places: Places<'static>,
}

impl Text {
    /// Uploads a batch.
    pub fn new(batch: &TextBatch, device: Device) -> Self {
        let [inputs, targets] = indices([&batch.inputs, &batch.targets], device);
        Self {
            inputs,
            targets,
            steps: Steps::new(vec![batch.rows; batch.steps]),
            places: Places::of_text(batch.steps, batch.rows, batch.first),
        }
    }
}

impl CharRnn {
    /// Packs the recurrent weights of `parameters` as cuDNN wants them. Every call gets the parameters anew.
    pub fn new(
        network: NetworkConfig,
        dropout: f64,
        own: CharRnnConfig,
        precision: Precision,
        parameters: &Parameters,
    ) -> Self {
        let device = parameters.tensors()[0].device();
        let inputs = network.inputs as i64;
        let model = Self {
            one_hot: (network.embedding == 0).then(|| Tensor::eye(inputs, (Kind::Float, device))),
            network,
            dropout,
            own,
            precision,
        };
        let weights = parameters.recurrent("rnn", model.network.layers);
        if model.own.variational {
            // Layer by layer, as they run.
            for weights in weights.chunks_exact(4) {
                model.shape().single().flatten(weights);
            }
        } else {
            model.shape().flatten(&weights);
        }
        model
    }

    /// The shape of the recurrent layers.
    pub const fn shape(&self) -> Shape {
        Shape::of(&self.network, self.precision)
    }

    /// −log p of the targets, nats (T·B), and the state after the text.
    pub fn nats(
        &self,
        parameters: &Parameters,
        text: &Text,
        state: &[Tensor],
        pass: Pass,
    ) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.outputs(parameters, text, state, pass);
        let in_bf16 = self.shape().is_in_bf16(pass);
        let nats = predict(parameters, "head", &outputs, &text.targets, in_bf16);
        (nats, state)
    }

    /// The top layer's outputs (T·B, H) after dropout, and the state after the text.
    fn outputs(
        &self,
        parameters: &Parameters,
        text: &Text,
        state: &[Tensor],
        pass: Pass,
    ) -> (Tensor, Vec<Tensor>) {
        let device = text.inputs.device();
        let vectors = match &self.one_hot {
            Some(vectors) => vectors,
            None => parameters.get("embedding.weight"),
        };
        let mut input = vectors.index_select(0, &text.inputs);
        if pass.trains() && self.own.input_dropout > 0.0 {
            input *= token_mask(&text.places, self.own.input_dropout, pass, device);
        }
        let mut weights = parameters.recurrent("rnn", self.network.layers);
        if pass.trains() && self.own.recurrent_dropout > 0.0 {
            for (layer, weight) in weights.iter_mut().skip(1).step_by(4).enumerate() {
                let mask = weight_mask(weight, layer, self.own.recurrent_dropout, pass);
                *weight = &*weight * mask;
            }
            // Variational dropout runs layer by layer.
            let together = if self.own.variational {
                4
            } else {
                weights.len()
            };
            let parts = weights.chunks(together);
            weights = parts.flat_map(|part| packed(part).1).collect();
        }
        let dropout = Dropout {
            rate: self.dropout,
            variational: self.own.variational,
            what: Use::Dropout,
            places: &text.places,
        };
        let (steps, last) = (&text.steps, self.network.layers - 1);
        let (outputs, state) = self
            .shape()
            .run(&input, steps, state, &weights, &dropout, pass);
        (dropout.apply(&outputs, last, steps.batch(), pass), state)
    }
}
