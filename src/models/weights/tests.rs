use super::*;
use crate::config::{Cell, ZPlacement};
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::models::word_vae::WordVae;
use crate::testing::{char_lstm, weights, with_latent, word_vae};

/// The result of building a char-lstm of two layers after a change to its weights.
fn refused(change: impl FnOnce(&mut NetworkConfig, &mut Weights<'static>)) -> WeightError {
    let mut config = char_lstm(Cell::Gru, 4, 2, 6);
    let mut weights = weights(&config);
    change(&mut config, &mut weights);
    CharRnn::new(&config, &weights).expect_err("it must be refused")
}

#[test]
fn a_network_is_made_from_the_weights_that_the_table_lists() {
    let config = char_lstm(Cell::Lstm, 4, 2, 6);
    assert!(CharRnn::new(&config, &weights(&config)).is_ok());
    let config = word_vae(Cell::Rnn, 4, 2);
    assert!(WordVae::new(&config, &weights(&config)).is_ok());
}

#[test]
fn a_missing_weight_is_named() {
    let error = refused(|_, weights| drop(weights.remove("rnn.bias_hh_l1")));
    assert_eq!(
        error,
        WeightError::Missing {
            name: "rnn.bias_hh_l1".to_owned()
        }
    );
}

#[test]
fn a_wrong_shape_is_named_with_both_shapes() {
    let error = refused(|config, _| config.hidden = 5);
    let message = error.to_string();
    let want = "weight rnn.weight_ih_l0 has shape [12, 6], but the network needs [15, 6]";
    assert_eq!(message, want);
}

#[test]
fn a_transposed_weight_is_a_wrong_shape() {
    let error = refused(|_, weights| {
        weights
            .get_mut("rnn.weight_ih_l0")
            .expect("it is in the table")
            .shape
            .reverse();
    });
    assert!(matches!(error, WeightError::Shape { .. }), "{error}");
}

#[test]
fn a_shape_that_its_values_do_not_fill_is_an_error() {
    let error = refused(|_, weights| {
        let bias = weights.get_mut("head.bias").expect("it is in the table");
        let mut values = bias.data().into_owned();
        values.pop();
        *bias = Array::f32([6], values);
    });
    assert_eq!(
        error.to_string(),
        "weight head.bias has shape [6], but 5 values"
    );
}

#[test]
fn a_value_that_is_not_finite_is_named_with_its_place() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let error = refused(|_, weights| {
            let head = weights.get_mut("head.weight").expect("it is in the table");
            let mut values = head.data().into_owned();
            values[9] = value;
            *head = Array::f32(head.shape.clone(), values);
        });
        let (name, value) = ("head.weight".to_owned(), text.to_owned());
        assert_eq!(
            error,
            WeightError::NotFinite {
                name,
                index: 9,
                value
            }
        );
    }
}

#[test]
fn a_weight_of_another_network_is_an_error() {
    let error = refused(|config, _| config.layers = 1);
    assert_eq!(
        error,
        WeightError::Unexpected {
            name: "rnn.bias_hh_l1".to_owned()
        }
    );
}

#[test]
fn settings_that_describe_no_network_are_refused_before_anything_is_allocated() {
    let changes: [fn(&mut NetworkConfig); 6] = [
        |config| config.hidden = 0,
        |config| config.layers = usize::MAX,
        |config| config.outputs = 0,
        |config| config.outputs = 7,
        |config| config.hidden = usize::MAX,
        |config| config.kind = word_vae(Cell::Gru, 4, 1).kind,
    ];
    for change in changes {
        let error = refused(|config, _| change(config));
        assert!(matches!(error, WeightError::Config(_)), "{error}");
    }
}

/// The result of building a char-lstm with eight-bit weights, one of them changed.
fn refused_in_eight_bits(
    name: &str,
    change: fn(&mut Vec<usize>, &mut Vec<i8>, &mut Vec<f32>),
) -> String {
    let error = refused(|_, weights| {
        *weights = quantize(weights);
        let array = weights.get_mut(name).expect("it is in the table");
        let (mut numbers, mut scales) = match &array.values {
            Values::Int8 { numbers, scales } => (numbers.to_vec(), scales.to_vec()),
            Values::F32(values) => (vec![1; values.len()], vec![1.0; values.len()]),
        };
        change(&mut array.shape, &mut numbers, &mut scales);
        let (numbers, scales) = (numbers.into(), scales.into());
        array.values = Values::Int8 { numbers, scales };
    });
    error.to_string()
}

#[test]
fn matrices_in_eight_bits_are_checked_as_others_are() {
    let config = char_lstm(Cell::Gru, 4, 2, 6);
    assert!(CharRnn::new(&config, &quantize(&weights(&config))).is_ok());
    let head = "head.weight";
    let message = refused_in_eight_bits("head.bias", |_, _, _| ());
    assert_eq!(
        message,
        "weight head.bias of shape [6] is in eight bits, which only a matrix can be"
    );
    let message = refused_in_eight_bits(head, |_, numbers, _| numbers.truncate(6));
    assert_eq!(message, "weight head.weight has shape [6, 4], but 6 values");
    let message = refused_in_eight_bits(head, |shape, _, _| shape.reverse());
    assert_eq!(
        message,
        "weight head.weight has shape [4, 6], but the network needs [6, 4]"
    );
    let message = refused_in_eight_bits(head, |_, _, scales| scales.truncate(5));
    assert_eq!(message, "weight head.weight has 6 rows, but 5 scales");
    let message = refused_in_eight_bits(head, |_, numbers, _| numbers[9] = -128);
    assert!(
        message.starts_with("weight head.weight holds -128 at index 9"),
        "{message}"
    );
    let message = refused_in_eight_bits(head, |_, _, scales| scales[2] = f32::NAN);
    assert!(
        message.starts_with("weight head.weight.scale holds NaN at index 2"),
        "{message}"
    );
    // The scale is finite, 127 times the scale is not.
    let message = refused_in_eight_bits(head, |_, _, scales| scales[2] = 3e36);
    assert!(message.contains("head.weight.scale holds 3"), "{message}");
}

#[test]
fn what_is_in_eight_bits_already_stays_as_it_is() {
    let config = word_vae(Cell::Lstm, 4, 1);
    let once = quantize(&weights(&config));
    assert_eq!(quantize(&once), once);
    for (name, array) in &once {
        let eight = matches!(array.values, Values::Int8 { .. });
        assert_eq!(eight, array.shape.len() == 2, "{name}");
    }
}

/// A z that enters at one point equals a z that enters at both, if the other's weights are zero.
#[test]
fn z_at_one_place_is_z_at_both_with_nothing_at_the_other() {
    let both = word_vae(Cell::Gru, 4, 2);
    let (letters, latent) = (both.embedding, both.latent());
    let first = "decoder.rnn.weight_ih_l0";
    let logits = |config: &NetworkConfig, weights: &Weights| {
        let vae = WordVae::new(config, weights).expect("a network");
        let mut state = vae.decoder(1, &[0.7, -1.2, 0.4]);
        let read = |token| {
            vae.step(&mut state, &[token]);
            state.logits(0).to_vec()
        };
        [1, 5, 2].into_iter().flat_map(read).collect::<Vec<f32>>()
    };
    let map_rows = |array: &Array, row: &dyn Fn(&[f32]) -> Vec<f32>| {
        let rows: Vec<Vec<f32>> = array.data().chunks(letters + latent).map(row).collect();
        Array::f32([rows.len(), rows[0].len()], rows.concat())
    };
    let all = weights(&both);

    let mut none = all.clone();
    let padded = |row: &[f32]| [&row[..letters], &vec![0.0; latent]].concat();
    none.insert(first.to_owned(), map_rows(&all[first], &padded));
    let mut start = all.clone();
    let cut = |row: &[f32]| row[..letters].to_vec();
    start.insert(first.to_owned(), map_rows(&all[first], &cut));
    let config = with_latent(&both, |latent| latent.z = ZPlacement::Start);
    assert_eq!(logits(&config, &start), logits(&both, &none));

    let (mut none, mut steps) = (all.clone(), all.clone());
    for name in ["decoder.init.weight", "decoder.init.bias"] {
        let array = &all[name];
        let zeros = vec![0.0; array.data().len()];
        none.insert(name.to_owned(), Array::f32(array.shape.clone(), zeros));
        steps.remove(name);
    }
    let config = with_latent(&both, |latent| latent.z = ZPlacement::Steps);
    assert_eq!(logits(&config, &steps), logits(&both, &none));
    assert_ne!(logits(&both, &all), logits(&both, &none));
}

#[test]
fn z_enters_a_network_without_z_nowhere() {
    let config = with_latent(&word_vae(Cell::Gru, 4, 1), |latent| {
        latent.latent = 0;
        latent.z = ZPlacement::Start;
    });
    let error = WordVae::new(&config, &weights(&config)).expect_err("refused");
    assert!(error.to_string().contains("start"), "{error}");
}

#[test]
fn a_decoder_that_gains_a_z_writes_as_before() {
    for z in [ZPlacement::Both, ZPlacement::Start, ZPlacement::Steps] {
        let new = with_latent(&word_vae(Cell::Gru, 6, 2), |latent| latent.z = z);
        let old = with_latent(&new, |latent| {
            *latent = LatentConfig {
                latent: 0,
                z: ZPlacement::Both,
                bidirectional: false,
            };
        });
        let trained = weights(&old);
        let with_z = add_z(&trained, &new, 1);
        check(&new, &with_z).expect("complete");
        let logits = |config: &NetworkConfig, weights: &Weights, z: &[f32]| {
            let model = WordVae::new(config, weights).expect("a model");
            let mut state = model.decoder(1, z);
            model.step(&mut state, &[1]);
            state.logits(0).to_vec()
        };
        let before = logits(&old, &trained, &[]);
        assert_eq!(logits(&new, &with_z, &[0.5, -2.0, 1.0]), before);
        let model = WordVae::new(&new, &with_z).expect("a model");
        assert_ne!(model.encode(&[1, 2]).mean, model.encode(&[2, 1]).mean);
        assert_ne!(with_z, add_z(&trained, &new, 2));
    }
}
