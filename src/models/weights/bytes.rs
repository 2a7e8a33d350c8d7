//! A network and its weights as plain bytes, for an engine that reads neither JSON nor safetensors: the one in web pages.
//!
//! Twelve u32, little-endian, are the architecture; the arrays of [`expected_shapes`] follow in that order, f32 or, after
//! the scales of its rows, i8.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Array, Values, WeightError, Weights, array, expected_shapes};
use crate::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, ZPlacement};

/// Changes with the layout.
const FORMAT: u32 = 1;
const CELLS: [Cell; 3] = [Cell::Lstm, Cell::Gru, Cell::Rnn];
const PLACEMENTS: [ZPlacement; 3] = [ZPlacement::Both, ZPlacement::Start, ZPlacement::Steps];
/// Numbers of the architecture.
const HEAD: usize = 12;

/// The index of a choice.
fn index<T: PartialEq>(all: &[T], one: &T) -> u32 {
    all.iter().position(|other| other == one).unwrap_or(0) as u32
}

/// The network and its weights, in f32 or eight bits as they are.
pub fn to_bytes(config: &NetworkConfig, weights: &Weights) -> Result<Vec<u8>, WeightError> {
    let shapes = expected_shapes(config);
    let arrays = shapes.iter().map(|(name, _)| array(weights, name));
    let arrays: Vec<&Array> = arrays.collect::<Result<_, _>>()?;
    let is_int8 = |array: &&Array| matches!(array.values, Values::Int8 { .. });
    let (latent, z, both) = match config.kind {
        NetworkKind::WordVae(vae) => (vae.latent, vae.z, vae.bidirectional),
        NetworkKind::CharRnn => (0, ZPlacement::Both, false),
        NetworkKind::Article { .. } => {
            let what = "the article's network has no bytes";
            return Err(WeightError::Config(what.to_owned()));
        }
    };
    let head: [u32; HEAD] = [
        FORMAT,
        u32::from(config.is_words()),
        index(&CELLS, &config.cell),
        config.hidden as u32,
        config.layers as u32,
        config.embedding as u32,
        config.inputs as u32,
        config.outputs as u32,
        config.eos.map_or(0, |eos| eos + 1),
        latent as u32,
        index(&PLACEMENTS, &z) * 2 + u32::from(both),
        u32::from(arrays.iter().any(is_int8)),
    ];
    let mut bytes: Vec<u8> = head.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut numbers = |values: &[f32]| bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
    // All f32 come first, so that they stay aligned.
    for array in &arrays {
        match &array.values {
            Values::F32(values) => numbers(values),
            Values::Int8 { scales, .. } => numbers(scales),
        }
    }
    for array in &arrays {
        if let Values::Int8 { numbers, .. } = &array.values {
            bytes.extend_from_slice(bytemuck::cast_slice(numbers));
        }
    }
    Ok(bytes)
}

/// What [`to_bytes`] wrote; `None` if it is cut short or something else.
pub fn from_bytes(bytes: &[u8]) -> Option<(NetworkConfig, Weights<'static>)> {
    let mut rest = bytes;
    let mut head = [0; HEAD];
    for number in &mut head {
        *number = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
    }
    let [
        format,
        words,
        cell,
        hidden,
        layers,
        embedding,
        inputs,
        outputs,
        eos,
        latent,
        z,
        int8,
    ] = head;
    let size = |size: u32| size as usize;
    let latent = LatentConfig {
        latent: size(latent),
        z: *PLACEMENTS.get(size(z / 2))?,
        bidirectional: z % 2 == 1,
    };
    let config = NetworkConfig {
        kind: if words == 1 {
            NetworkKind::WordVae(latent)
        } else {
            NetworkKind::CharRnn
        },
        cell: *CELLS.get(size(cell))?,
        hidden: size(hidden),
        layers: size(layers),
        embedding: size(embedding),
        inputs: size(inputs),
        outputs: size(outputs),
        eos: eos.checked_sub(1),
    };
    if format != FORMAT || config.check().is_err() {
        return None;
    }
    let shapes = expected_shapes(&config);
    let is_int8 = |shape: &[usize]| int8 == 1 && shape.len() == 2;
    let mut floats = Vec::new();
    for (_, shape) in &shapes {
        let count = if is_int8(shape) {
            shape[0]
        } else {
            product(shape)?
        };
        let values = rest.split_off(..count.checked_mul(4)?)?;
        let values = values.chunks_exact(4);
        let value = |four: &[u8]| Some(f32::from_le_bytes(*four.first_chunk()?));
        floats.push(values.map(value).collect::<Option<Vec<f32>>>()?);
    }
    let mut weights = BTreeMap::new();
    for ((name, shape), floats) in shapes.into_iter().zip(floats) {
        let values = if is_int8(&shape) {
            let numbers = rest.split_off(..product(&shape)?)?;
            Values::Int8 {
                numbers: Cow::Owned(bytemuck::cast_slice(numbers).to_vec()),
                scales: Cow::Owned(floats),
            }
        } else {
            Values::F32(Cow::Owned(floats))
        };
        weights.insert(name, Array { shape, values });
    }
    rest.is_empty().then_some((config, weights))
}

fn product(shape: &[usize]) -> Option<usize> {
    let product = |product: usize, &size: &usize| product.checked_mul(size);
    shape.iter().try_fold(1, product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::quantize;
    use crate::testing;

    #[test]
    fn bytes_give_the_network_again_and_no_part_of_them_does() {
        let text = NetworkConfig {
            eos: Some(3),
            ..testing::char_lstm(Cell::Gru, 9, 2, 17)
        };
        let words = testing::word_vae(Cell::Lstm, 9, 2);
        for config in [text, words] {
            let plain = testing::weights(&config);
            for weights in [&plain, &quantize(&plain)] {
                let bytes = to_bytes(&config, weights).expect("bytes");
                let (found, read) = from_bytes(&bytes).expect("a network");
                assert_eq!(found, config);
                assert!(read == *weights);
                for end in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
                    assert!(from_bytes(&bytes[..end]).is_none(), "{end}");
                }
                assert!(from_bytes(&[&bytes[..], &[0]].concat()).is_none());
                for at in 0..HEAD {
                    let mut other = bytes.clone();
                    other[4 * at + 3] = 0x7f; // a number too large for anything
                    assert!(
                        from_bytes(&other).is_none_or(|(found, _)| found == config),
                        "{at}"
                    );
                }
            }
        }
    }
}
