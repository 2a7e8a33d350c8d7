//! The character language model: tokens → (one-hot or embedding) → recurrent layers → logits.

use tch::{Kind, Tensor};
use textgen::config::{NetworkConfig, Precision};

use crate::dropout::{Dropout, drop_tokens, with_nothing};
use crate::operators;
use crate::parameters::Parameters;
use crate::recurrent::{Input, Shape};
use crate::steps::Steps;

/// A char-lstm on a device.
pub struct CharRnn {
    /// Sizes, cell and kind.
    pub network: NetworkConfig,
    /// Under the names of the engine's table of shapes.
    pub parameters: Parameters,
    /// Dropout of every layer's outputs while training.
    pub dropout: Dropout,
    /// Probability that a token is read as zeros while training.
    pub input_dropout: f64,
    /// Probability that a recurrent weight is dropped while training (DropConnect; Merity et al. 2017).
    pub recurrent_dropout: f64,
    /// The precision of training on CUDA.
    pub precision: Precision,
    /// On CUDA the vectors of one-hot tokens (V, V), looked up instead of made at every step.
    one_hot: Option<Tensor>,
}

impl CharRnn {
    /// Builds the model without dropout.
    pub fn new(network: NetworkConfig, parameters: Parameters) -> Self {
        let device = parameters.tensors()[0].device();
        let inputs = network.inputs as i64;
        let model = Self {
            one_hot: (device.is_cuda() && network.embedding == 0)
                .then(|| Tensor::eye(inputs, (Kind::Float, device))),
            network,
            parameters,
            dropout: Dropout::default(),
            input_dropout: 0.0,
            recurrent_dropout: 0.0,
            precision: Precision::F32,
        };
        model
            .shape()
            .flatten(&model.parameters.recurrent("rnn", model.network.layers));
        model
    }

    /// The shape of the recurrent layers.
    pub fn shape(&self) -> Shape {
        Shape::of(&self.network, self.precision)
    }

    /// Logits (T·B, outputs) for `tokens` (T, B), and the state after them.
    pub fn forward(&self, tokens: &Tensor, state: &[Tensor], train: bool) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.hidden_outputs(tokens, state, train);
        (self.parameters.linear(&outputs, "head"), state)
    }

    /// Mean cross-entropy, nats per token, of `targets` (T, B) after `tokens` (T, B): over all
    /// positions or only the last.
    pub fn loss(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        state: &[Tensor],
        last_only: bool,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.hidden_outputs(tokens, state, train);
        let (outputs, targets) = if last_only {
            let [steps, batch] = tokens.size()[..] else {
                unreachable!("tokens are (T, B)")
            };
            let last = (steps - 1) * batch;
            (outputs.narrow(0, last, batch), targets.select(0, steps - 1))
        } else {
            (outputs, targets.reshape([-1]))
        };
        let nats = self.head_nats(&outputs, &targets, train);
        (nats.mean(Kind::Float), state)
    }

    /// −log p of `targets` (T, B) after `tokens` (T, B), nats (T·B), and the state after them.
    pub fn nats(
        &self,
        tokens: &Tensor,
        targets: &Tensor,
        state: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.hidden_outputs(tokens, state, false);
        let targets = targets.reshape([-1]);
        (self.head_nats(&outputs, &targets, false), state)
    }

    /// The top layer's outputs (T·B, H) and the state after them.
    fn hidden_outputs(
        &self,
        tokens: &Tensor,
        state: &[Tensor],
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let [steps, batch] = tokens.size()[..] else {
            unreachable!("tokens are (T, B)")
        };
        let mut tokens = tokens.reshape([-1]);
        let embedding = if self.network.embedding > 0 {
            Some(self.parameters.get("embedding.weight"))
        } else {
            self.one_hot.as_ref()
        };
        let mut with_gaps = None;
        if train && self.input_dropout > 0.0 {
            let inputs = self.network.inputs as i64;
            tokens = drop_tokens(&tokens, self.input_dropout, inputs);
            with_gaps = Some(with_nothing(embedding, inputs, self.input_dropout, &tokens));
        }
        let mut weights = self.parameters.recurrent("rnn", self.network.layers);
        if train && self.recurrent_dropout > 0.0 {
            for weight in weights.iter_mut().skip(1).step_by(4) {
                *weight = weight.dropout(self.recurrent_dropout, true);
            }
        }
        let (outputs, state) = self.shape().run(
            Input::tokens(&tokens, with_gaps.as_ref().or(embedding)),
            &Steps::even(steps, batch),
            state,
            &weights,
            self.dropout,
            train,
        );
        (self.dropout.apply(&outputs, batch, train), state)
    }

    fn head_nats(&self, outputs: &Tensor, targets: &Tensor, train: bool) -> Tensor {
        operators::predict(
            outputs,
            self.parameters.get("head.weight"),
            self.parameters.get("head.bias"),
            targets,
            self.shape().computes_in(train),
        )
    }
}
