//! A network's parameters in one flat buffer, by name.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::NetworkConfig;
use crate::kernels::scalar::{cos, ln};
use crate::models::weights::{Array, WeightError, Weights, array, expected_shapes};

/// The name under which tied weights are stored, and their other name (Press & Wolf 2017).
const TIED: [&str; 2] = ["embedding.weight", "head.weight"];

/// One array of the parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As in [`expected_shapes`].
    pub name: String,
    /// The size of each dimension, the slowest first.
    pub shape: Vec<usize>,
    /// Its numbers in the flat buffer, row-major.
    pub range: Range<usize>,
}

impl Entry {
    /// Whether it is a word-vae's encoder's.
    pub fn is_of_encoder(&self) -> bool {
        self.name.starts_with("encoder.")
    }
}

/// The parameters of a network, in the order of [`expected_shapes`]. Gradients, moments and averages are
/// buffers of the same length.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// All numbers, array after array.
    pub values: Vec<f32>,
    entries: Vec<Entry>,
    tied: bool,
}

impl Parameters {
    /// All zeros. If `tied`, one matrix (V, H) embeds a char-lstm's tokens and predicts them.
    ///
    /// # Panics
    /// If `tied` and the network has no embedding of that shape.
    pub fn zeros(network: &NetworkConfig, tied: bool) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut count = 0;
        for (name, shape) in shapes(network) {
            if tied && name == TIED[1] {
                let same = |entry: &Entry| entry.name == TIED[0] && entry.shape == shape;
                assert!(entries.iter().any(same), "one matrix for both");
                continue;
            }
            let start = count;
            count += shape.iter().product::<usize>();
            entries.push(Entry {
                name,
                shape,
                range: start..count,
            });
        }
        Self {
            values: vec![0.0; count],
            entries,
            tied,
        }
    }

    /// Initial weights derived from `seed`.
    ///
    /// Recurrent weights and biases: uniform in ±1/√H; linear layers: uniform in ±1/√(inputs);
    /// embeddings: standard normal, all as PyTorch's modules do. A tied matrix is initialized for
    /// prediction, because an embedding's initial weights are too large for that.
    ///
    /// # Panics
    /// As [`Parameters::zeros`].
    pub fn init(network: &NetworkConfig, seed: u64, tied: bool) -> Self {
        let mut parameters = Self::zeros(network, tied);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shapes = shapes(network);
        for (name, _) in &shapes {
            let range = parameters.range(name);
            let values = &mut parameters.values[range];
            if name.ends_with("embedding.weight") {
                values.fill_with(|| normal(&mut rng));
            } else {
                let fan = if name.contains("rnn.") {
                    network.hidden
                } else {
                    fan_in(&shapes, name)
                };
                let bound = 1.0 / (fan as f32).sqrt();
                values.fill_with(|| rng.random_range(-bound..bound));
            }
        }
        parameters
    }

    /// The arrays in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of weights.
    pub const fn count(&self) -> usize {
        self.values.len()
    }

    /// Whether the network embeds and predicts tokens with one matrix.
    pub const fn is_tied(&self) -> bool {
        self.tied
    }

    /// Whether every weight is a finite number.
    pub fn are_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// The numbers of an array in the flat buffer.
    ///
    /// # Panics
    /// If the network has no such parameter: a bug in this crate.
    pub fn range(&self, name: &str) -> Range<usize> {
        let name = if self.tied && name == TIED[1] {
            TIED[0]
        } else {
            name
        };
        match self.entries.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.range.clone(),
            None => unreachable!("no parameter {name}"),
        }
    }

    /// The values of an array.
    ///
    /// # Panics
    /// If the network has no such parameter: a bug in this crate.
    pub fn get(&self, name: &str) -> &[f32] {
        &self.values[self.range(name)]
    }

    /// Overwrites all parameters with those of `source`, whose names are preceded by `prefix`.
    pub fn load(&mut self, source: &Weights, prefix: &str) -> Result<(), WeightError> {
        let Self {
            values, entries, ..
        } = self;
        read(entries, source, prefix, values)
    }

    /// Copies of all parameters by name, preceded by `prefix`. Tied weights are there under both names
    /// if the prefix is empty, as in a model file.
    pub fn to_weights(&self, prefix: &str) -> Weights<'static> {
        self.named(&self.values, prefix)
    }

    /// [`Parameters::to_weights`] of a buffer of the same layout, such as the averages.
    ///
    /// # Panics
    /// If the buffer has another length.
    pub fn named(&self, values: &[f32], prefix: &str) -> Weights<'static> {
        assert_eq!(values.len(), self.count(), "one number per weight");
        let copy = |entry: &Entry| {
            let array = Array::f32(entry.shape.clone(), values[entry.range.clone()].to_vec());
            (format!("{prefix}{}", entry.name), array)
        };
        let mut weights: Weights<'static> = self.entries.iter().map(copy).collect();
        if self.tied && prefix.is_empty() {
            let shared = weights.get(TIED[0]).cloned();
            weights.extend(shared.map(|weight| (TIED[1].to_owned(), weight)));
        }
        weights
    }

    /// [`Parameters::load`] into a buffer of the same layout, such as the averages.
    ///
    /// # Panics
    /// If the buffer has another length.
    pub fn read(&self, source: &Weights, prefix: &str, to: &mut [f32]) -> Result<(), WeightError> {
        assert_eq!(to.len(), self.count(), "one number per weight");
        read(&self.entries, source, prefix, to)
    }
}

/// The names and shapes of a network's parameters, tied or not.
fn shapes(network: &NetworkConfig) -> Vec<(String, Vec<usize>)> {
    let mut shapes = expected_shapes(network);
    // The article network's memory of its last word is not a parameter.
    shapes.retain(|(name, _)| !name.starts_with("article."));
    shapes
}

/// Copies arrays of `source` by name into a flat buffer.
fn read(
    entries: &[Entry],
    source: &Weights,
    prefix: &str,
    to: &mut [f32],
) -> Result<(), WeightError> {
    for entry in entries {
        let name = format!("{prefix}{}", entry.name);
        let found = array(source, &name)?;
        let data = found.data();
        if found.shape != entry.shape || data.len() != entry.range.len() {
            return Err(WeightError::Shape {
                name,
                want: entry.shape.clone(),
                found: found.shape.clone(),
            });
        }
        to[entry.range.clone()].copy_from_slice(&data);
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
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * ln(1.0 - rng.random::<f64>())).sqrt();
    (radius * cos(std::f64::consts::TAU * rng.random::<f64>())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cell, ZPlacement};
    use crate::models::weights::check;
    use crate::testing::{char_lstm, with_latent, word_vae};

    fn embedded() -> NetworkConfig {
        NetworkConfig {
            embedding: 6,
            ..char_lstm(Cell::Gru, 6, 2, 5)
        }
    }

    #[test]
    fn initial_weights_are_those_of_the_first_versions() {
        let plain = Parameters::init(&char_lstm(Cell::Lstm, 4, 1, 3), 1, false);
        assert_eq!(
            plain.get("rnn.weight_ih_l0")[..4],
            [0.049_378_157, -0.097_514_39, 0.484_597_1, -0.419_616_34]
        );
        assert_eq!(
            plain.get("head.weight")[..4],
            [-0.481_941_22, 0.390_108_6, -0.305_387_97, 0.154_110_31]
        );
        let embedded = Parameters::init(&embedded(), 7, false);
        assert_eq!(
            embedded.get("embedding.weight")[..4],
            [0.288_801_85, -0.227_308_53, -0.860_202_5, 0.243_273_82]
        );
        assert_eq!(
            embedded.get("head.weight")[..4],
            [-0.211_037_47, -0.262_522_58, -0.042_182_416, -0.151_754_38]
        );
        let words = Parameters::init(&word_vae(Cell::Gru, 4, 1), 7, false);
        assert_eq!(
            words.get("decoder.init.weight")[..3],
            [-0.338_690_64, -0.572_891_35, -0.425_734_82]
        );
        for parameters in [plain, embedded, words] {
            let bound = 1.0 / (4.0_f32).sqrt();
            let rnn = |entry: &&Entry| entry.name.contains("rnn.");
            for entry in parameters.entries().iter().filter(rnn) {
                let values = &parameters.values[entry.range.clone()];
                assert!(values.iter().all(|x| x.abs() <= bound), "{}", entry.name);
            }
            assert!(parameters.are_finite());
        }
    }

    #[test]
    fn tied_weights_are_one_matrix_with_two_names() {
        let network = embedded();
        let apart = Parameters::init(&network, 7, false);
        let tied = Parameters::init(&network, 7, true);
        assert!(tied.is_tied());
        assert_eq!(tied.count() + 5 * 6, apart.count());
        assert_eq!(tied.get("embedding.weight"), apart.get("head.weight"));
        assert_eq!(tied.range("head.weight"), tied.range("embedding.weight"));
        for name in ["head.bias", "rnn.weight_hh_l1"] {
            assert_eq!(tied.get(name), apart.get(name));
        }
        let weights = tied.to_weights("");
        check(&network, &weights).expect("a network");
        assert_eq!(weights["head.weight"], weights["embedding.weight"]);
        assert_eq!(tied.to_weights("weights.").len() + 1, weights.len());
    }

    #[test]
    fn weights_come_back_as_they_were_saved() {
        for network in [
            char_lstm(Cell::Rnn, 5, 2, 4),
            word_vae(Cell::Lstm, 4, 2),
            with_latent(&word_vae(Cell::Gru, 4, 1), |latent| {
                latent.z = ZPlacement::Steps;
            }),
        ] {
            let saved = Parameters::init(&network, 1, false);
            let mut other = Parameters::init(&network, 2, false);
            assert_ne!(saved.values, other.values);
            other
                .load(&saved.to_weights("a."), "a.")
                .expect("the same network");
            assert_eq!(saved.values, other.values);
            let mut average = vec![0.0; saved.count()];
            let named = saved.named(&saved.values, "");
            check(&network, &named).expect("a network");
            saved
                .read(&named, "", &mut average)
                .expect("the same network");
            assert_eq!(saved.values, average);
        }
        let mut small = Parameters::init(&char_lstm(Cell::Lstm, 3, 1, 4), 1, false);
        let large = Parameters::init(&char_lstm(Cell::Lstm, 4, 1, 4), 1, false);
        let error = small
            .load(&large.to_weights(""), "")
            .expect_err("other shapes");
        assert!(error.to_string().contains("rnn.weight_ih_l0"), "{error}");
        let error = small.load(&Weights::new(), "x.").expect_err("nothing");
        assert!(
            error.to_string().contains("x.rnn.weight_ih_l0 is missing"),
            "{error}"
        );
    }
}
