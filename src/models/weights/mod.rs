//! Weights by name, and the one table of names and shapes that every part goes by.

mod add_z;
mod grow;

use std::borrow::Cow;
use std::collections::BTreeMap;

use thiserror::Error;

pub use self::add_z::add_z;
pub use self::grow::grow;

use crate::config::{LatentConfig, NetworkConfig, NetworkKind};
use crate::kernels::quantize_row;

/// The highest number of a matrix in eight bits.
const HIGHEST_INT8: f32 = 127.0;

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Values<'a> {
    /// As they are.
    F32(Cow<'a, [f32]>),
    /// A matrix in eight bits: value = number · scale of its row.
    Int8 {
        /// −127…127, row-major.
        numbers: Cow<'a, [i8]>,
        /// One a row.
        scales: Cow<'a, [f32]>,
    },
}

/// An array of numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<'a> {
    /// The size of each dimension, the slowest first.
    pub shape: Vec<usize>,
    /// As many as the product of `shape`.
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

    /// A matrix in eight bits; anything else as it is.
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

/// Every matrix in eight bits, one scale a row; vectors stay as they are. What is in eight bits
/// already stays the same.
pub fn quantize(weights: &Weights) -> Weights<'static> {
    let array = |array: &Array| match &array.values {
        Values::F32(_) => array.quantize(),
        Values::Int8 { numbers, scales } => Array {
            shape: array.shape.clone(),
            values: Values::Int8 {
                numbers: numbers.clone().into_owned().into(),
                scales: scales.clone().into_owned().into(),
            },
        },
    };
    let arrays = weights.iter();
    arrays.map(|(name, a)| (name.clone(), array(a))).collect()
}

/// Arrays by their names.
pub type Weights<'a> = BTreeMap<String, Array<'a>>;

/// Why weights do not make a network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WeightError {
    /// The settings describe no network that can be built.
    #[error("the network cannot be built: {0}")]
    Config(String),
    /// An array is not there.
    #[error("weight {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// An array is there that the network has no use for, so the settings are another network's.
    #[error("weight {name} belongs to no part of this network")]
    Unexpected {
        /// Its name.
        name: String,
    },
    /// An array has another shape.
    #[error("weight {name} has shape {found:?}, but the network needs {want:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape that the settings call for.
        want: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// An array's values are fewer or more than its shape says.
    #[error("weight {name} has shape {shape:?}, but {found} values")]
    Length {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its values.
        found: usize,
    },
    /// An array in eight bits that is no matrix.
    #[error("weight {name} of shape {shape:?} is in eight bits, which only a matrix can be")]
    NoMatrix {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A matrix in eight bits has fewer or more scales than rows.
    #[error("weight {name} has {rows} rows, but {found} scales")]
    Scales {
        /// Its name.
        name: String,
        /// Its rows.
        rows: usize,
        /// Its scales.
        found: usize,
    },
    /// A number of a matrix in eight bits is none of −127…127.
    #[error("weight {name} holds -128 at index {index}, but eight bits go from -127 to 127")]
    OutOfRange {
        /// Its name.
        name: String,
        /// Where, counted in row-major order.
        index: usize,
    },
    /// A value, or what it is the scale of, is infinite or not a number.
    #[error("weight {name} holds {value} at index {index}: the training of this model went wrong")]
    NotFinite {
        /// Its name.
        name: String,
        /// Where, counted in row-major order.
        index: usize,
        /// The value, `NaN` or `inf`.
        value: String,
    },
}

/// The names and shapes of a network's weights, in the order of the computation: the sizes H, L, E,
/// Z, V of [`NetworkConfig`], G gates, D directions.
///
/// | char-lstm | |
/// |---|---|
/// | `embedding.weight` (where E > 0) | V, E |
/// | `rnn.weight_ih_l{k}`, `rnn.weight_hh_l{k}` | G·H, (E or V, above H); G·H, H |
/// | `rnn.bias_ih_l{k}`, `rnn.bias_hh_l{k}` | G·H |
/// | `head.weight`, `head.bias` | outputs, H; outputs |
///
/// | word-vae | |
/// |---|---|
/// | `encoder.embedding.weight` | V, E |
/// | `encoder.rnn.*`, and `*_reverse` where D = 2 | as above; layers above the first read D·H |
/// | `encoder.mean.*`, `encoder.log_var.*` | Z, D·H; Z |
/// | `decoder.embedding.weight` | V, E |
/// | `decoder.init.*` | L·H, Z; L·H |
/// | `decoder.rnn.*` | as above; the first layer reads E + Z |
/// | `decoder.head.*` | outputs, H; outputs |
///
/// A word-vae whose z stands beside letters only (`z` = steps) has no `decoder.init`, and one whose z
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
    if kind == NetworkKind::CharRnn {
        if embedding > 0 {
            table.add("embedding.weight", [inputs, embedding]);
        }
        table.recurrent(
            "rnn",
            config,
            if embedding > 0 { embedding } else { inputs },
            false,
        );
        table.linear("head", outputs, hidden);
        return table.0;
    }
    let (latent, both) = (config.latent(), config.is_bidirectional());
    let summary = if both {
        hidden.saturating_mul(2)
    } else {
        hidden
    };
    if latent > 0 {
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
        let beside = if z.at_steps() { latent } else { 0 };
        let reads = embedding.saturating_add(beside);
        table.recurrent("decoder.rnn", config, reads, false);
    } else {
        table.recurrent("decoder.rnn", config, latent, false);
    }
    table.linear("decoder.head", outputs, hidden);
    if config.is_article() {
        table.add("article.mean", [latent]);
        table.add("article.std", [latent]);
    }
    table.0
}

/// Names and shapes as they are collected.
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
                self.add(
                    &format!("{name}.weight_ih_l{layer}{suffix}"),
                    [gates, width],
                );
                self.add(
                    &format!("{name}.weight_hh_l{layer}{suffix}"),
                    [gates, hidden],
                );
                self.add(&format!("{name}.bias_ih_l{layer}{suffix}"), [gates]);
                self.add(&format!("{name}.bias_hh_l{layer}{suffix}"), [gates]);
            }
        }
    }
}

/// Whether `weights` are exactly those that [`expected_shapes`] lists, and all finite.
pub fn check(config: &NetworkConfig, weights: &Weights) -> Result<(), WeightError> {
    check_config(config, weights.len())?;
    let table = expected_shapes(config);
    for (name, want) in &table {
        let array = weights
            .get(name)
            .ok_or_else(|| WeightError::Missing { name: name.clone() })?;
        check_array(name, want, array)?;
    }
    let known: std::collections::BTreeSet<_> = table.into_iter().map(|(name, _)| name).collect();
    match weights.keys().find(|name| !known.contains(*name)) {
        Some(name) => Err(WeightError::Unexpected { name: name.clone() }),
        None => Ok(()),
    }
}

/// The settings come from a file and may say anything.
fn check_config(config: &NetworkConfig, arrays: usize) -> Result<(), WeightError> {
    config.check().map_err(WeightError::Config)?;
    if config.layers > arrays {
        let what = format!(
            "{} layers cannot be made of {arrays} weights",
            config.layers
        );
        return Err(WeightError::Config(what));
    }
    Ok(())
}

fn check_array(name: &str, want: &[usize], array: &Array) -> Result<(), WeightError> {
    if array.shape != want {
        return Err(WeightError::Shape {
            name: name.to_owned(),
            want: want.to_vec(),
            found: array.shape.clone(),
        });
    }
    let length = |found| {
        let size = want
            .iter()
            .try_fold(1_usize, |size, &n| size.checked_mul(n));
        if size == Some(found) {
            return Ok(());
        }
        Err(WeightError::Length {
            name: name.to_owned(),
            shape: want.to_vec(),
            found,
        })
    };
    match &array.values {
        Values::F32(values) => {
            length(values.len())?;
            check_finite(name, values, 1.0)
        }
        Values::Int8 { numbers, scales } => {
            length(numbers.len())?;
            check_int8(name, want, numbers, scales)
        }
    }
}

/// Whether every value is finite, also once it is multiplied by `most`.
fn check_finite(name: &str, values: &[f32], most: f32) -> Result<(), WeightError> {
    let infinite = |value: &f32| !(value * most).is_finite();
    match values.iter().position(infinite) {
        Some(index) => Err(WeightError::NotFinite {
            name: name.to_owned(),
            index,
            value: values[index].to_string(),
        }),
        None => Ok(()),
    }
}

fn check_int8(
    name: &str,
    shape: &[usize],
    numbers: &[i8],
    scales: &[f32],
) -> Result<(), WeightError> {
    let &[rows, _] = shape else {
        return Err(WeightError::NoMatrix {
            name: name.to_owned(),
            shape: shape.to_vec(),
        });
    };
    if scales.len() != rows {
        return Err(WeightError::Scales {
            name: name.to_owned(),
            rows,
            found: scales.len(),
        });
    }
    if let Some(index) = numbers.iter().position(|&number| number == i8::MIN) {
        return Err(WeightError::OutOfRange {
            name: name.to_owned(),
            index,
        });
    }
    check_finite(&scale_name(name), scales, HIGHEST_INT8)
}

/// The name of the scales of an eight-bit matrix.
pub fn scale_name(matrix: &str) -> String {
    format!("{matrix}.scale")
}

/// An array.
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
