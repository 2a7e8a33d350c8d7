//! Dense layers: packed matrices in f32 or in eight bits, and biases.

use std::ops::Range;

use crate::kernels::{Kernels, Layout, PANEL, Packed, PackedInt8, Quantized};
use crate::models::weights::{Array, Values, WeightError, Weights, array, values};

/// A matrix packed for products.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    F32(Packed),
    Int8(PackedInt8),
}

impl Matrix {
    /// `columns` of an array (rows, width) whose rows are `gates` gates.
    pub fn new(array: &Array, columns: Range<usize>, gates: usize) -> Self {
        let width = array.shape[1];
        match &array.values {
            Values::F32(values) => Self::F32(Packed::new(values, width, columns, gates)),
            Values::Int8 { numbers, scales } => {
                Self::Int8(PackedInt8::new(numbers, scales, width, columns, gates))
            }
        }
    }

    pub const fn layout(&self) -> Layout {
        match self {
            Self::F32(packed) => packed.layout(),
            Self::Int8(packed) => packed.layout(),
        }
    }

    pub const fn columns(&self) -> usize {
        match self {
            Self::F32(packed) => packed.columns(),
            Self::Int8(packed) => packed.columns(),
        }
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(packed) => packed.bytes(),
            Self::Int8(packed) => packed.bytes(),
        }
    }

    /// `out += weight · x` for every row of x (N, columns), for only some of the panels: out
    /// (N, panels · 32). `scratch` holds x in eight bits if the weight is.
    pub fn accumulate(
        &self,
        kernels: Kernels,
        panels: Range<usize>,
        x: &[f32],
        scratch: &mut Quantized,
        out: &mut [f32],
    ) {
        match self {
            Self::F32(packed) => kernels.accumulate(packed.panels(panels), x, out),
            Self::Int8(packed) if packed.columns() > 0 => {
                kernels.quantize(x, packed.columns(), scratch);
                kernels.accumulate_int8(packed.panels(panels), scratch, out);
            }
            Self::Int8(_) => (),
        }
    }
}

/// A dense layer: `weight` (rows, columns) and `bias` (rows).
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Matrix,
    /// (panels · 32), in the weight's layout.
    bias: Vec<f32>,
}

impl Linear {
    /// From `{name}.weight` and `{name}.bias`.
    pub fn new(weights: &Weights, name: &str) -> Result<Self, WeightError> {
        let bias = values(weights, &format!("{name}.bias"))?;
        let weight = array(weights, &format!("{name}.weight"))?;
        let weight = Matrix::new(weight, 0..weight.shape[1], 1);
        Ok(Self {
            bias: weight.layout().spread(&bias),
            weight,
        })
    }

    /// Outputs: the length of a row without padding.
    pub const fn rows(&self) -> usize {
        self.weight.layout().units
    }

    /// Outputs padded to whole panels: the length of a row of [`Linear::apply`].
    pub const fn width(&self) -> usize {
        self.weight.layout().len()
    }

    /// Bytes that a product reads, without the bias.
    pub fn weight_bytes(&self) -> usize {
        self.weight.bytes()
    }

    /// Panels of 32 outputs each.
    pub const fn panels(&self) -> usize {
        self.weight.layout().panels()
    }

    /// `out = weight · x + bias` for every row of x (N, columns): out (N, [`Linear::width`]).
    pub fn apply(&self, kernels: Kernels, x: &[f32], scratch: &mut Quantized, out: &mut [f32]) {
        self.apply_panels(kernels, 0..self.panels(), x, scratch, out);
    }

    /// [`Linear::apply`] for only some of the panels: out (N, panels · 32).
    pub fn apply_panels(
        &self,
        kernels: Kernels,
        panels: Range<usize>,
        x: &[f32],
        scratch: &mut Quantized,
        out: &mut [f32],
    ) {
        if panels.is_empty() {
            return;
        }
        let bias = &self.bias[panels.start * PANEL..panels.end * PANEL];
        for out in out.chunks_exact_mut(bias.len()) {
            out.copy_from_slice(bias);
        }
        self.weight.accumulate(kernels, panels, x, scratch, out);
    }

    /// [`Linear::apply`] without the padding: (N, rows).
    pub fn plain(&self, kernels: Kernels, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.weight.columns().max(1);
        let mut out = vec![0.0; rows * self.width()];
        self.apply(kernels, x, &mut Quantized::default(), &mut out);
        let rows = out.chunks_exact(self.width());
        rows.flat_map(|row| &row[..self.rows()]).copied().collect()
    }
}
