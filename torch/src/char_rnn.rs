//! The character language model: tokens → (one-hot or embedding) → recurrent layers → logits.

use tch::{Kind, Tensor};
use textgen::config::{CharRnnConfig, NetworkConfig, Precision};
use textgen::kernels::training::Steps;
use textgen::models::batch::TextBatch;
use textgen::models::noise::Use;
use textgen::models::pieces::Pieces;

use crate::dropout::{Dropout, Pass, Places, token_mask, weight_mask};
use crate::graph::Uploads;
use crate::parameters::Parameters;
use crate::predict;
use crate::recurrent::{Shape, packed};

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
    /// What is read (N).
    inputs: Tensor,
    /// What follows it (N).
    targets: Tensor,
    steps: Steps,
    places: Places<'static>,
    /// Where the rows are cut, if the network tells documents apart.
    cut: Option<Cut>,
}

/// Where the rows of a batch are cut, on the device.
struct Cut {
    /// The position of every place of the batch (T·B).
    positions: Tensor,
    /// The row that each sequence goes on from (S), or the one after the last, of zeros.
    starts: Tensor,
    /// The last sequence of each row (B).
    ends: Tensor,
}

impl Text {
    /// Uploads a batch, cut before every `eos`.
    pub fn new(batch: &TextBatch, eos: Option<u32>, uploads: &mut Uploads) -> Self {
        if eos.is_none() {
            let [inputs, targets] = uploads.indices([&batch.inputs, &batch.targets]);
            return Self {
                inputs,
                targets,
                steps: Steps::new(vec![batch.rows; batch.steps]),
                places: Places::of_text(batch),
                cut: None,
            };
        }
        let pieces = Pieces::new(batch, eos);
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        pieces.gather(&batch.inputs, &mut inputs);
        pieces.gather(&batch.targets, &mut targets);
        let [inputs, targets] = uploads.indices([&inputs, &targets]);
        Self {
            inputs,
            targets,
            places: Places::of_pieces(&pieces, batch),
            cut: Some(Cut::new(&pieces, batch.rows, uploads)),
            steps: pieces.steps,
        }
    }
}

impl Cut {
    fn new(pieces: &Pieces, rows: usize, uploads: &mut Uploads) -> Self {
        let mut positions = vec![0; pieces.places.len()];
        for (position, &place) in (0..).zip(&pieces.places) {
            positions[place as usize] = position;
        }
        let starts = pieces.starts.iter();
        let starts = starts.map(|start| start.map_or(rows as i64, i64::from));
        let starts: Vec<i64> = starts.collect();
        let ends: Vec<i64> = pieces.ends.iter().map(|&end| i64::from(end)).collect();
        let [positions, starts, ends] = uploads.indices([&positions, &starts, &ends]);
        Self {
            positions,
            starts,
            ends,
        }
    }

    /// The states (L, S, H) that the sequences start from, of those of the rows (L, B, H).
    fn starting(&self, state: &[Tensor]) -> Vec<Tensor> {
        let start = |rows: &Tensor| {
            let zeros = rows.narrow(1, 0, 1).zeros_like();
            Tensor::cat(&[rows, &zeros], 1).index_select(1, &self.starts)
        };
        state.iter().map(start).collect()
    }

    /// The states (L, B, H) that the rows end with.
    fn ending(&self, state: &[Tensor]) -> Vec<Tensor> {
        let end = |sequences: &Tensor| sequences.index_select(1, &self.ends);
        state.iter().map(end).collect()
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
        let in_bf16 = self.shape().is_in_bf16(pass);
        let of = |outputs: &Tensor| predict(parameters, "head", outputs, &text.targets, in_bf16);
        let Some(cut) = &text.cut else {
            let (outputs, state) = self.outputs(parameters, text, state, pass);
            return (of(&outputs), state);
        };
        let (outputs, state) = self.outputs(parameters, text, &cut.starting(state), pass);
        let nats = of(&outputs).index_select(0, &cut.positions);
        (nats, cut.ending(&state))
    }

    /// The top layer's outputs (N, H) after dropout, and the state after each sequence.
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
        let mut input = if self.one_hot.is_some() && self.shape().is_in_bf16(pass) {
            let exact = vectors.to_kind(Kind::BFloat16);
            exact.index_select(0, &text.inputs)
        } else {
            vectors.index_select(0, &text.inputs)
        };
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
        (dropout.apply(&outputs, last, pass), state)
    }
}
