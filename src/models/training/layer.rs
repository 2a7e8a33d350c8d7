//! One recurrent layer of one direction, with the buffers of a training step.

use std::ops::Range;

use super::Parameters;
use crate::config::{Cell, NetworkConfig};
use crate::kernels::training::{
    Input, Layer, LayerGradients, OutputGradients, Outputs, Saved, Steps, Workers, backward,
    forward, saved,
};

/// A recurrent layer; its arrays are parts of the flat parameters. The buffers grow when needed.
#[derive(Clone, Debug)]
pub(super) struct RecurrentLayer {
    cell: Cell,
    hidden: usize,
    /// W_ih, W_hh, b_ih, b_hh.
    ranges: [Range<usize>; 4],
    /// h at every position (N, H).
    pub outputs: Vec<f32>,
    /// h after the last step of each row (B, H).
    pub h: Vec<f32>,
    /// c after it (B, H); empty unless an LSTM.
    pub c: Vec<f32>,
    gates: Vec<f32>,
    units: Vec<f32>,
}

/// What a layer reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read<'a> {
    /// Tokens, or vectors (N, I).
    pub input: Input<'a>,
    /// Another matrix in place of W_ih, such as a table of tokens (G·H, V).
    pub table: Option<&'a [f32]>,
    /// Another matrix in place of W_hh, of the same size.
    pub weight_hh: Option<&'a [f32]>,
    /// (B, G·H), added at every step.
    pub constant: Option<&'a [f32]>,
    /// (B, H).
    pub h0: &'a [f32],
    /// (B, H); empty unless an LSTM.
    pub c0: &'a [f32],
}

/// Where the gradients of what a layer reads go; empty if not wanted.
#[derive(Debug, Default)]
pub(super) struct ReadGradients<'a> {
    /// Of vectors (N, I).
    pub input: &'a mut [f32],
    /// Of the matrix in place of W_ih. If it is empty, the gradient of that matrix is W_ih's own.
    pub table: &'a mut [f32],
    /// (B, G·H).
    pub constant: &'a mut [f32],
    /// (B, H).
    pub h0: &'a mut [f32],
}

impl RecurrentLayer {
    /// The layer whose arrays are `{prefix}.weight_ih_l{suffix}` and so on.
    pub fn new(
        network: &NetworkConfig,
        parameters: &Parameters,
        prefix: &str,
        suffix: &str,
    ) -> Self {
        let range = |part: &str| parameters.range(&format!("{prefix}.{part}_l{suffix}"));
        Self {
            cell: network.cell,
            hidden: network.hidden,
            ranges: ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(range),
            outputs: Vec::new(),
            h: Vec::new(),
            c: Vec::new(),
            gates: Vec::new(),
            units: Vec::new(),
        }
    }

    /// Where W_ih is.
    pub fn weight_ih(&self) -> Range<usize> {
        self.ranges[0].clone()
    }

    /// Where W_hh is.
    pub fn weight_hh(&self) -> Range<usize> {
        self.ranges[1].clone()
    }

    /// The layer in the form that the kernels read.
    fn description<'a>(&self, values: &'a [f32], read: Read<'a>) -> Layer<'a> {
        let [weight_ih, weight_hh, bias_ih, bias_hh] =
            self.ranges.each_ref().map(|range| &values[range.clone()]);
        let weight_ih = read.table.unwrap_or(weight_ih);
        Layer {
            cell: self.cell,
            hidden: self.hidden,
            inputs: weight_ih.len() / bias_ih.len(),
            input: read.input,
            constant: read.constant,
            weight_ih,
            weight_hh: read.weight_hh.unwrap_or(weight_hh),
            bias_ih,
            bias_hh,
            h0: read.h0,
            c0: read.c0,
        }
    }

    /// Runs the layer with the parameters `values`, and saves what [`RecurrentLayer::backward`] needs if
    /// `save`.
    pub fn forward(
        &mut self,
        workers: Workers,
        values: &[f32],
        steps: &Steps,
        read: Read,
        save: bool,
    ) {
        let positions = steps.positions();
        self.outputs.resize(positions * self.hidden, 0.0);
        self.h.resize(read.h0.len(), 0.0);
        self.c.resize(read.c0.len(), 0.0);
        let layer = self.description(values, read);
        let out = Outputs {
            outputs: &mut self.outputs,
            h: &mut self.h,
            c: &mut self.c,
        };
        let saved = save.then(|| {
            let (gates, units) = saved(self.cell, self.hidden);
            self.gates.resize(positions * gates, 0.0);
            self.units.resize(positions * units, 0.0);
            Saved {
                gates: &mut self.gates,
                units: &mut self.units,
            }
        });
        forward(workers, &layer, steps, out, saved);
    }

    /// The gradients of what [`RecurrentLayer::forward`] has just computed from the same `read`: those
    /// of the layer's own arrays in `gradients`, which has the layout of the parameters. There is one
    /// backward pass for a forward pass.
    #[expect(
        clippy::too_many_arguments,
        reason = "those of `forward`, and gradients"
    )]
    pub fn backward(
        &mut self,
        workers: Workers,
        values: &[f32],
        steps: &Steps,
        read: Read,
        of: OutputGradients,
        to: ReadGradients,
        gradients: &mut [f32],
    ) {
        let layer = self.description(values, read);
        let ReadGradients {
            input,
            constant,
            table,
            h0,
        } = to;
        let Ok([weight_ih, weight_hh, bias_ih, bias_hh]) =
            gradients.get_disjoint_mut(self.ranges.clone())
        else {
            unreachable!("arrays do not overlap")
        };
        let saved = Saved {
            gates: &mut self.gates,
            units: &mut self.units,
        };
        let to = LayerGradients {
            input,
            constant,
            weight_ih: if table.is_empty() { weight_ih } else { table },
            weight_hh,
            bias_ih,
            bias_hh,
            h0,
            c0: &mut [],
        };
        backward(workers, &layer, steps, &self.outputs, saved, of, to);
    }
}
