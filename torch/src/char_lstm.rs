//! The character language model: symbols → (one-hot or embedding) → recurrent layers → logits.

use tch::{Kind, Tensor};
use textgen::config::NetworkConfig;

use crate::parameters::Parameters;
use crate::recurrent::Shape;

/// A char-lstm on a device.
pub struct CharLstm {
    /// The architecture.
    pub network: NetworkConfig,
    /// The weights.
    pub parameters: Parameters,
    /// Share of every layer's outputs dropped while training.
    pub dropout: f64,
}

impl CharLstm {
    /// With initial weights.
    pub fn new(network: NetworkConfig, parameters: Parameters, dropout: f64) -> Self {
        let model = Self {
            network,
            parameters,
            dropout,
        };
        model
            .shape()
            .flatten(&model.parameters.recurrent("rnn", model.network.layers));
        model
    }

    /// The recurrent layers.
    pub fn shape(&self) -> Shape {
        Shape {
            cell: self.network.cell,
            hidden: self.network.hidden,
            layers: self.network.layers,
        }
    }

    /// Logits (T, B, outputs) for `symbols` (T, B), and the state after them.
    pub fn forward(
        &self,
        symbols: &Tensor,
        state: &[Tensor],
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.hidden_outputs(symbols, state, train);
        (self.head(&outputs), state)
    }

    /// Mean cross-entropy, nats per symbol, of `targets` (T, B) after `symbols` (T, B): over all
    /// positions or the last alone.
    pub fn loss(
        &self,
        symbols: &Tensor,
        targets: &Tensor,
        state: &[Tensor],
        last_only: bool,
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let (outputs, state) = self.hidden_outputs(symbols, state, train);
        let (outputs, targets) = if last_only {
            let last = symbols.size()[0] - 1;
            (outputs.narrow(0, last, 1), targets.narrow(0, last, 1))
        } else {
            (outputs, targets.shallow_clone())
        };
        let logits = self
            .head(&outputs)
            .reshape([-1, self.network.outputs as i64]);
        (
            logits.cross_entropy_for_logits(&targets.reshape([-1])),
            state,
        )
    }

    fn hidden_outputs(
        &self,
        symbols: &Tensor,
        state: &[Tensor],
        train: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let size = symbols.size();
        let flat = symbols.reshape([-1]);
        let input = if self.network.embedding > 0 {
            self.parameters
                .get("embedding.weight")
                .index_select(0, &flat)
        } else {
            let inputs = self.network.inputs as i64;
            let mut zeros =
                Tensor::zeros([size[0] * size[1], inputs], (Kind::Float, symbols.device()));
            zeros.scatter_value_(1, &flat.unsqueeze(1), 1.0)
        };
        let input = input.reshape([size[0], size[1], -1]);
        let weights = self.parameters.recurrent("rnn", self.network.layers);
        let (outputs, state) = self
            .shape()
            .run(&input, state, &weights, self.dropout, train);
        let outputs = if train && self.dropout > 0.0 {
            outputs.dropout(self.dropout, true)
        } else {
            outputs
        };
        (outputs, state)
    }

    fn head(&self, outputs: &Tensor) -> Tensor {
        outputs.linear(
            self.parameters.get("head.weight"),
            Some(self.parameters.get("head.bias")),
        )
    }
}
