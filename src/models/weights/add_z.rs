//! A z for a decoder that was trained without one.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Array, Weights, expected_shapes};
use crate::config::NetworkConfig;

/// The weights of a decoder without z for the network `new`, which differs in having one.
///
/// The decoder takes no notice of z at first (its weights for z are zero), so that it writes as it did.
/// The encoder starts from the decoder's embedding and random weights, drawn from `seed` and uniform
/// in ±1/√H.
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
    let draws = std::iter::repeat_with(|| rng.random_range(-bound..bound));
    draws.take(count).collect()
}
