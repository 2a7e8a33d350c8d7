//! Fits the weights of a trained network to a vocabulary with further tokens.

use super::{Array, Weights, expected_shapes};
use crate::config::{NetworkConfig, NetworkKind};

/// Which dimension of a weight runs over the tokens.
#[derive(Clone, Copy, PartialEq)]
enum Tokens {
    /// One row per token that is read.
    Rows,
    /// One column per token that is read.
    Columns,
    /// One row per token that is predicted.
    Predicted,
    /// One number per token that is predicted.
    Biases,
}

fn tokens_of(name: &str, network: &NetworkConfig) -> Option<Tokens> {
    let one_hot = network.kind == NetworkKind::CharRnn && network.embedding == 0;
    match name {
        "rnn.weight_ih_l0" if one_hot => Some(Tokens::Columns),
        "head.weight" | "decoder.head.weight" => Some(Tokens::Predicted),
        "head.bias" | "decoder.head.bias" => Some(Tokens::Biases),
        _ if name.ends_with("embedding.weight") => Some(Tokens::Rows),
        _ => None,
    }
}

/// The `weights` of the network `old` for the network `new`, which differs only in its tokens.
/// `origins` gives the old number of each new token, if it had one.
///
/// A new token is read as the mean of the old ones, and predicted as their mean with
/// the lowest of their biases. So it is improbable at first, and the probabilities of the
/// old tokens relative to each other don't change. Eight-bit weights become f32.
pub fn grow(
    weights: &Weights,
    old: &NetworkConfig,
    new: &NetworkConfig,
    origins: &[Option<usize>],
) -> Weights<'static> {
    let read: Vec<Option<usize>> = origins[..new.inputs].to_vec();
    let predicted: Vec<Option<usize>> = origins[..new.outputs]
        .iter()
        .map(|origin| origin.filter(|&origin| origin < old.outputs))
        .collect();
    let grown = expected_shapes(new)
        .into_iter()
        .filter_map(|(name, shape)| {
            let values = weights.get(&name)?.data();
            let values = match tokens_of(&name, new) {
                None => values.into_owned(),
                Some(Tokens::Rows) => rows(&values, old.inputs, &read),
                Some(Tokens::Predicted) => rows(&values, old.outputs, &predicted),
                Some(Tokens::Biases) => {
                    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
                    let bias =
                        |origin: &Option<usize>| origin.map_or(lowest, |origin| values[origin]);
                    predicted.iter().map(bias).collect()
                }
                Some(Tokens::Columns) => values
                    .chunks_exact(old.inputs)
                    .flat_map(|row| {
                        let mean = mean(row.iter().copied(), old.inputs);
                        let value =
                            move |origin: &Option<usize>| origin.map_or(mean, |origin| row[origin]);
                        read.iter().map(value)
                    })
                    .collect(),
            };
            Some((name, Array::f32(shape, values)))
        });
    grown.collect()
}

fn mean(values: impl Iterator<Item = f32>, count: usize) -> f32 {
    (values.map(f64::from).sum::<f64>() / count as f64) as f32
}

/// The rows of a matrix of `count` rows at `origins`; their mean for each `None`.
fn rows(values: &[f32], count: usize, origins: &[Option<usize>]) -> Vec<f32> {
    let width = values.len() / count;
    let means: Vec<f32> = (0..width)
        .map(|column| mean(values.iter().skip(column).step_by(width).copied(), count))
        .collect();
    let row = |origin: &Option<usize>| match origin {
        Some(origin) => &values[origin * width..(origin + 1) * width],
        None => &means[..],
    };
    origins.iter().flat_map(row).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::models::Network;
    use crate::models::char_rnn::CharRnn;
    use crate::testing;

    /// The new tokens 0, 1, 2 … are the old 2, none, 0, 1, 3.
    const ORIGINS: [Option<usize>; 5] = [Some(2), None, Some(0), Some(1), Some(3)];

    fn logits(network: &NetworkConfig, weights: &Weights, text: &[u32]) -> Vec<f32> {
        let model = CharRnn::new(network, weights).expect("a model");
        let mut state = model.state(1);
        for &token in text {
            model.step(&mut state, &[token]);
        }
        state.logits(0).to_vec()
    }

    #[test]
    fn old_tokens_are_predicted_as_before_and_new_ones_hardly() {
        for embedding in [0, 3] {
            let old = NetworkConfig {
                embedding,
                ..testing::char_lstm(Cell::Lstm, 8, 2, 4)
            };
            let new = NetworkConfig {
                inputs: 5,
                outputs: 5,
                ..old.clone()
            };
            let weights = testing::weights(&old);
            let grown = grow(&weights, &old, &new, &ORIGINS);
            super::super::check(&new, &grown).expect("complete");
            let before = logits(&old, &weights, &[0, 1, 3, 2]);
            let after = logits(&new, &grown, &[2, 3, 4, 0]);
            for (token, origin) in ORIGINS.iter().enumerate() {
                if let Some(origin) = origin {
                    assert_eq!(after[token].to_bits(), before[*origin].to_bits());
                }
            }
            let bias = weights["head.bias"].data();
            let lowest = bias.iter().copied().fold(f32::INFINITY, f32::min);
            assert_eq!(grown["head.bias"].data()[1], lowest);
        }
    }

    #[test]
    fn a_new_token_is_read_as_the_mean_of_the_others() {
        let old = testing::char_lstm(Cell::Gru, 8, 1, 4);
        let new = NetworkConfig {
            inputs: 5,
            outputs: 5,
            ..old.clone()
        };
        let weights = testing::weights(&old);
        let grown = grow(&weights, &old, &new, &ORIGINS);
        let (before, after) = (
            weights["rnn.weight_ih_l0"].data(),
            grown["rnn.weight_ih_l0"].data(),
        );
        for (before, after) in before.chunks(4).zip(after.chunks(5)) {
            let mean = before.iter().sum::<f32>() / 4.0;
            assert!((after[1] - mean).abs() < 1e-6);
            assert_eq!(after[0], before[2]);
        }
    }
}
