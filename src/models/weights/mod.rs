//! Weights by name, and the table of names and shapes that the whole program uses.

mod add_z;
mod bytes;
mod grow;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

pub use self::add_z::{add_z, without_use_of_z};
pub use self::bytes::{from_bytes, to_bytes};
pub use self::grow::grow;

use crate::config::{LatentConfig, NetworkConfig, NetworkKind};
use crate::kernels::quantize_row;

/// The largest value of an eight-bit matrix.
const HIGHEST_INT8: f32 = 127.0;

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Values<'a> {
    /// Stored as they are.
    F32(Cow<'a, [f32]>),
    /// A matrix in eight bits: value = number · scale of its row.
    Int8 {
        /// −127…127, row-major.
        numbers: Cow<'a, [i8]>,
        /// One scale per row.
        scales: Cow<'a, [f32]>,
    },
}

/// An array of numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<'a> {
    /// The size of each dimension, the slowest first.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub values: Values<'a>,
}

impl<'a> Array<'a> {
    /// An array of f32.
    pub fn f32(shape: impl Into<Vec<usize>>, values: impl Into<Cow<'a, [f32]>>) -> Self {
        Self {
            shape: shape.into(),
            values: Values::F32(values.into()),
        }
    }

    /// The values as f32.
    pub fn data(&self) -> Cow<'_, [f32]> {
        match &self.values {
            Values::F32(values) => Cow::Borrowed(values),
            Values::Int8 { numbers, scales } => {
                let width = numbers.len() / scales.len().max(1);
                let rows = numbers.chunks(width.max(1)).zip(scales.iter());
                rows.flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q) * scale))
                    .collect()
            }
        }
    }

    /// A copy that owns its values.
    pub fn into_owned(self) -> Array<'static> {
        let Self { shape, values } = self;
        let values = match values {
            Values::F32(values) => Values::F32(values.into_owned().into()),
            Values::Int8 { numbers, scales } => Values::Int8 {
                numbers: numbers.into_owned().into(),
                scales: scales.into_owned().into(),
            },
        };
        Array { shape, values }
    }

    /// Rounds a matrix to eight bits; returns anything else as it is.
    fn quantize(&self) -> Array<'static> {
        let data = self.data();
        let shape = self.shape.clone();
        let &[rows, width] = &shape[..] else {
            return Array::f32(shape, data.into_owned());
        };
        let mut numbers = vec![0; data.len()];
        let mut scales = vec![0.0; rows];
        if width > 0 {
            let out = numbers.chunks_exact_mut(width).zip(&mut scales);
            for (row, (numbers, scale)) in data.chunks_exact(width).zip(out) {
                *scale = quantize_row(row, numbers);
            }
        }
        let (numbers, scales) = (numbers.into(), scales.into());
        Array {
            shape,
            values: Values::Int8 { numbers, scales },
        }
    }
}

/// Rounds every matrix to eight bits, with one scale per row. Vectors, and matrices that have
/// eight bits already, stay as they are.
pub fn quantize(weights: &Weights) -> Weights<'static> {
    let array = |array: &Array| match &array.values {
        Values::F32(_) => array.quantize(),
        Values::Int8 { .. } => array.clone().into_owned(),
    };
    let arrays = weights.iter();
    arrays.map(|(name, a)| (name.clone(), array(a))).collect()
}

/// Arrays by their names.
pub type Weights<'a> = BTreeMap<String, Array<'a>>;

/// Why a network cannot be built from weights. `index` counts values in row-major order.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum WeightError {
    #[error("the network cannot be built: {0}")]
    Config(String),
    #[error("weight {name} is missing")]
    Missing { name: String },
    #[error("weight {name} belongs to no part of this network")]
    Unexpected { name: String },
    #[error("weight {name} has shape {found:?}, but the network needs {want:?}")]
    Shape {
        name: String,
        want: Vec<usize>,
        found: Vec<usize>,
    },
    #[error("weight {name} has shape {shape:?}, but {found} values")]
    Length {
        name: String,
        shape: Vec<usize>,
        found: usize,
    },
    #[error("weight {name} of shape {shape:?} is in eight bits, which only a matrix can be")]
    NoMatrix { name: String, shape: Vec<usize> },
    #[error("weight {name} has {rows} rows, but {found} scales")]
    Scales {
        name: String,
        rows: usize,
        found: usize,
    },
    #[error("weight {name} holds -128 at index {index}, but eight-bit values go from -127 to 127")]
    OutOfRange { name: String, index: usize },
    #[error("weight {name} holds {value} at index {index}: the training of this model went wrong")]
    NotFinite {
        name: String,
        index: usize,
        value: String,
    },
}

/// The names and shapes of a network's weights, in the order of the computation: the sizes H, L, E,
/// Z, V of [`NetworkConfig`], G gates, D directions.
///
/// | char-lstm | |
/// |---|---|
/// | `embedding.weight` (if E > 0) | V, E |
/// | `rnn.weight_ih_l{k}`, `rnn.weight_hh_l{k}` | G·H, (E or V, above H); G·H, H |
/// | `rnn.bias_ih_l{k}`, `rnn.bias_hh_l{k}` | G·H |
/// | `head.weight`, `head.bias` | outputs, H; outputs |
///
/// | word-vae | |
/// |---|---|
/// | `encoder.embedding.weight` | V, E |
/// | `encoder.rnn.*`, and `*_reverse` if D = 2 | as above; layers above the first read D·H |
/// | `encoder.mean.*`, `encoder.log_var.*` | Z, D·H; Z |
/// | `decoder.embedding.weight` | V, E |
/// | `decoder.init.*` | L·H, Z; L·H |
/// | `decoder.rnn.*` | as above; the first layer reads E + Z |
/// | `decoder.head.*` | outputs, H; outputs |
///
/// A word-vae whose decoder reads z with every letter only (`z` = steps) has no `decoder.init`, and one whose z
/// only gives the first state (`z` = start) has a first layer that reads E. One with Z = 0 has neither encoder nor `decoder.init`: its decoder starts from zeros and
/// its first layer reads E. The article's network has neither `decoder.embedding` nor `decoder.init`, its decoder reads Z,
/// and `article.mean`, `article.std` (Z) are those of the last word that it was trained on.
pub fn expected_shapes(config: &NetworkConfig) -> Vec<(String, Vec<usize>)> {
    let &NetworkConfig {
        kind,
        hidden,
        layers,
        embedding,
        inputs,
        outputs,
        ..
    } = config;
    let mut table = Table::default();
    let (latent, both) = (config.latent(), config.is_bidirectional());
    let (prefix, reads) = match kind {
        NetworkKind::CharRnn if embedding == 0 => ("", inputs),
        NetworkKind::CharRnn => {
            table.add("embedding.weight", [inputs, embedding]);
            ("", embedding)
        }
        NetworkKind::WordVae(_) | NetworkKind::Article { .. } => {
            if latent > 0 {
                let summary = hidden.saturating_mul(1 + usize::from(both));
                table.add("encoder.embedding.weight", [inputs, embedding]);
                table.recurrent("encoder.rnn", config, embedding, both);
                table.linear("encoder.mean", latent, summary);
                table.linear("encoder.log_var", latent, summary);
            }
            if let NetworkKind::WordVae(LatentConfig { z, .. }) = kind {
                table.add("decoder.embedding.weight", [inputs, embedding]);
                if latent > 0 && z.at_start() {
                    table.linear("decoder.init", layers.saturating_mul(hidden), latent);
                }
                let z_inputs = if z.at_steps() { latent } else { 0 };
                ("decoder.", embedding.saturating_add(z_inputs))
            } else {
                ("decoder.", latent)
            }
        }
    };
    table.recurrent(&format!("{prefix}rnn"), config, reads, false);
    table.linear(&format!("{prefix}head"), outputs, hidden);
    if config.is_article() {
        table.add("article.mean", [latent]);
        table.add("article.std", [latent]);
    }
    table.0
}

/// Collects names and shapes.
#[derive(Default)]
struct Table(Vec<(String, Vec<usize>)>);

impl Table {
    fn add(&mut self, name: &str, shape: impl Into<Vec<usize>>) {
        self.0.push((name.to_owned(), shape.into()));
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(&format!("{name}.weight"), [outputs, inputs]);
        self.add(&format!("{name}.bias"), [outputs]);
    }

    fn recurrent(&mut self, name: &str, config: &NetworkConfig, input: usize, both: bool) {
        let hidden = config.hidden;
        let gates = config.cell.gates().saturating_mul(hidden);
        let suffixes: &[&str] = if both { &["", "_reverse"] } else { &[""] };
        for layer in 0..config.layers {
            let below = hidden.saturating_mul(suffixes.len());
            let width = if layer == 0 { input } else { below };
            for suffix in suffixes {
                let mut add = |part: &str, shape: &[usize]| {
                    self.add(&format!("{name}.{part}_l{layer}{suffix}"), shape);
                };
                add("weight_ih", &[gates, width]);
                add("weight_hh", &[gates, hidden]);
                add("bias_ih", &[gates]);
                add("bias_hh", &[gates]);
            }
        }
    }
}

/// Checks that `weights` are exactly those that [`expected_shapes`] lists, and all finite.
pub fn check(config: &NetworkConfig, weights: &Weights) -> Result<(), WeightError> {
    check_layout(config, weights)?;
    weights
        .iter()
        .try_for_each(|(name, array)| check_values(name, array))
}

/// Checks the names, shapes and scales of weights, but not their values. Settings and weights come from
/// a file, so neither can be trusted.
pub(crate) fn check_layout(config: &NetworkConfig, weights: &Weights) -> Result<(), WeightError> {
    config.check().map_err(WeightError::Config)?;
    let (layers, arrays) = (config.layers, weights.len());
    if layers > arrays {
        let what = format!("{layers} layers cannot be made of {arrays} weights");
        return Err(WeightError::Config(what));
    }
    let mut unexpected: BTreeSet<_> = weights.keys().cloned().collect();
    for (name, want) in expected_shapes(config) {
        check_shape(&name, want, array(weights, &name)?)?;
        unexpected.remove(&name);
    }
    match unexpected.pop_first() {
        Some(name) => Err(WeightError::Unexpected { name }),
        None => Ok(()),
    }
}

fn check_shape(name: &str, want: Vec<usize>, array: &Array) -> Result<(), WeightError> {
    let name = name.to_owned();
    let (found, rows) = match &array.values {
        Values::F32(values) => (values.len(), None),
        Values::Int8 { numbers, scales } => (numbers.len(), Some(scales.len())),
    };
    if rows.is_some() && array.shape.len() != 2 {
        let shape = array.shape.clone();
        return Err(WeightError::NoMatrix { name, shape });
    }
    if array.shape != want {
        let found = array.shape.clone();
        return Err(WeightError::Shape { name, want, found });
    }
    let size = want
        .iter()
        .try_fold(1_usize, |size, &n| size.checked_mul(n));
    if size != Some(found) {
        let shape = want;
        return Err(WeightError::Length { name, shape, found });
    }
    match rows {
        Some(found) if found != want[0] => Err(WeightError::Scales {
            name,
            rows: want[0],
            found,
        }),
        _ => Ok(()),
    }
}

fn check_values(name: &str, array: &Array) -> Result<(), WeightError> {
    match &array.values {
        Values::F32(values) => check_finite(name, values, 1.0),
        Values::Int8 { numbers, scales } => {
            match numbers.iter().position(|&number| number == i8::MIN) {
                Some(index) => Err(WeightError::OutOfRange {
                    name: name.to_owned(),
                    index,
                }),
                None => check_finite(&scale_name(name), scales, HIGHEST_INT8),
            }
        }
    }
}

/// Checks that every value is finite, also after multiplication by `most`.
fn check_finite(name: &str, values: &[f32], most: f32) -> Result<(), WeightError> {
    let infinite = |value: &f32| !(value * most).is_finite();
    match values.iter().position(infinite) {
        Some(index) => Err(WeightError::NotFinite {
            name: name.to_owned(),
            index,
            value: shown(values[index]),
        }),
        None => Ok(()),
    }
}

/// A number in a message. WebAssembly modules stay smaller without the digits of a finite one.
fn shown(value: f32) -> String {
    if cfg!(target_arch = "wasm32") {
        let kind = if value.is_nan() {
            "NaN"
        } else {
            "a number too large"
        };
        kind.to_owned()
    } else {
        value.to_string()
    }
}

/// The suffix of the name of an eight-bit matrix's scales.
pub(crate) const SCALE: &str = ".scale";

/// The name of the scales of an eight-bit matrix.
pub fn scale_name(matrix: &str) -> String {
    format!("{matrix}{SCALE}")
}

pub(crate) fn array<'w, 'a>(
    weights: &'w Weights<'a>,
    name: &str,
) -> Result<&'w Array<'a>, WeightError> {
    weights.get(name).ok_or_else(|| WeightError::Missing {
        name: name.to_owned(),
    })
}

/// The values of an array as f32.
pub(crate) fn values<'w>(
    weights: &'w Weights<'_>,
    name: &str,
) -> Result<Cow<'w, [f32]>, WeightError> {
    array(weights, name).map(Array::data)
}

#[cfg(test)]
mod tests;
