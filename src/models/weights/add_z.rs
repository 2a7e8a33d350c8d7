//! Adds z to a decoder that was trained without it.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Array, Values, Weights, expected_shapes};
use crate::config::NetworkConfig;

/// Fits the weights of a decoder without z to the network `new`, which is the same but for z.
///
/// The decoder's weights for z are zero, so it writes as before until it is trained.
/// The encoder starts from the decoder's embedding and random weights, uniform in ±1/√H and derived
/// from `seed` alone.
pub fn add_z(weights: &Weights, new: &NetworkConfig, seed: u64) -> Weights<'static> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let added = expected_shapes(new).into_iter().map(|(name, shape)| {
        let count = shape.iter().product();
        let decoders = name.replace("encoder.embedding", "decoder.embedding");
        let values = match weights.get(&decoders) {
            Some(array) if array.shape == shape => array.data().into_owned(),
            Some(array) => widened(array, shape[1]),
            None if name.starts_with("encoder.") => uniform(count, new.hidden, &mut rng),
            None => vec![0.0; count],
        };
        (name, Array::f32(shape, values))
    });
    added.collect()
}

/// Sets the decoder's weights for z to zero, so that it writes as one without z until these are trained.
pub fn without_use_of_z(
    mut weights: Weights<'static>,
    network: &NetworkConfig,
) -> Weights<'static> {
    for (name, array) in &mut weights {
        let Values::F32(values) = &mut array.values else {
            continue;
        };
        let values = values.to_mut();
        if name.starts_with("decoder.init.") {
            values.fill(0.0);
        } else if name == "decoder.rnn.weight_ih_l0" {
            for row in values.chunks_exact_mut(array.shape[1]) {
                row[network.embedding..].fill(0.0);
            }
        }
    }
    weights
}

/// The matrix with zeros to the right, up to `width` columns.
fn widened(matrix: &Array, width: usize) -> Vec<f32> {
    let (data, old) = (matrix.data(), matrix.shape[1]);
    let row = |row: &[f32]| {
        let mut row = row.to_vec();
        row.resize(width, 0.0);
        row
    };
    data.chunks_exact(old).flat_map(row).collect()
}

fn uniform(count: usize, hidden: usize, rng: &mut impl Rng) -> Vec<f32> {
    let bound = 1.0 / (hidden as f32).sqrt();
    let values = std::iter::repeat_with(|| rng.random_range(-bound..bound));
    values.take(count).collect()
}
