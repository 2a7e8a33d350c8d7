//! Compares dropout while training with the same network whose units are dropped by hand.

use tch::{Kind, Tensor};
use textgen::config::{Cell, NetworkConfig};

use crate::char_rnn::CharRnn;
use crate::dropout::{Dropout, drop_tokens};
use crate::parameters::Parameters;
use crate::testing::{alone, device, text_config, tolerance};

const TOKENS: i64 = 7;

fn model(cell: Cell, layers: usize, embedding: usize) -> CharRnn {
    let network = NetworkConfig {
        cell,
        layers,
        embedding,
        hidden: 9,
        ..text_config().network(TOKENS as usize, TOKENS as usize)
    };
    let parameters = Parameters::init(&network, 3, device());
    CharRnn::new(network, parameters)
}

/// Tokens and targets (T, B).
fn batch() -> (Tensor, Tensor) {
    tch::manual_seed(4);
    let random = || Tensor::randint(TOKENS, [6, 5], (Kind::Int64, device()));
    (random(), random())
}

fn loss(model: &CharRnn, train: bool) -> f64 {
    let (tokens, targets) = batch();
    let state = model.shape().zero_state(5, device());
    tch::manual_seed(8);
    let (loss, _) = model.loss(&tokens, &targets, &state, false, train);
    loss.double_value(&[])
}

#[test]
fn dropped_recurrent_weights_are_weights_of_zero() {
    let _alone = alone();
    let rate = 0.5;
    for (cell, layers) in [(Cell::Lstm, 1), (Cell::Gru, 2)] {
        let mut dropping = model(cell, layers, 0);
        dropping.recurrent_dropout = rate;
        let have = loss(&dropping, true);
        let mut by_hand = model(cell, layers, 0);
        assert!((loss(&dropping, false) - loss(&by_hand, false)).abs() < 1e-9);
        tch::manual_seed(8);
        let names = by_hand.parameters.names().to_vec();
        tch::no_grad(|| {
            for layer in 0..layers {
                let name = format!("rnn.weight_hh_l{layer}");
                let index = names
                    .iter()
                    .position(|known| *known == name)
                    .expect("named");
                let weight = &mut by_hand.parameters.tensors_mut()[index];
                let left = weight.dropout(rate, true);
                weight.copy_(&left);
            }
        });
        let want = loss(&by_hand, false);
        assert!(
            (have - want).abs() < f64::from(tolerance(1e-5)),
            "{cell:?}: {have} {want}"
        );
        assert!((have - loss(&model(cell, layers, 0), false)).abs() > 1e-4);
    }
}

/// One token is replaced by a vector of zeros by hand; no other token is dropped.
#[test]
fn dropped_tokens_are_read_as_zeros() {
    let _alone = alone();
    let rate = 0.3;
    for embedding in [0, 4] {
        let mut dropping = model(Cell::Lstm, 1, embedding);
        dropping.input_dropout = rate;
        let have = loss(&dropping, true);
        let (tokens, targets) = batch();
        tch::manual_seed(8);
        let left = drop_tokens(&tokens.reshape([-1]), rate, TOKENS);
        // The same network with one more token, whose column of the input weights is zero.
        let plain = model(Cell::Lstm, 1, embedding);
        let vectors = match embedding {
            0 => Tensor::eye(TOKENS, (Kind::Float, device())),
            _ => plain.parameters.get("embedding.weight").detach(),
        };
        let inputs = Tensor::cat(&[&vectors / (1.0 - rate), vectors.narrow(0, 0, 1) * 0.0], 0);
        let state = plain.shape().zero_state(5, device());
        let (outputs, _, _) = inputs.index_select(0, &left).reshape([6, 5, -1]).lstm(
            &state,
            &plain.parameters.recurrent("rnn", 1),
            true,
            1,
            0.0,
            false,
            false,
            false,
        );
        let logits = outputs.linear(
            plain.parameters.get("head.weight"),
            Some(plain.parameters.get("head.bias")),
        );
        let want = logits
            .reshape([-1, TOKENS])
            .cross_entropy_for_logits(&targets.reshape([-1]))
            .double_value(&[]);
        assert!(
            (have - want).abs() < f64::from(tolerance(1e-5)),
            "{embedding}: {have} {want}"
        );
    }
}

#[test]
fn units_taken_away_above_the_top_layer_stay_away() {
    let _alone = alone();
    let mut dropping = model(Cell::Lstm, 1, 0);
    dropping.dropout = Dropout {
        rate: 0.5,
        variational: true,
    };
    let have = loss(&dropping, true);
    let (tokens, targets) = batch();
    let state = dropping.shape().zero_state(5, device());
    // The layer's own outputs, masked by hand.
    let mut whole = model(Cell::Lstm, 1, 0);
    let weight = whole.parameters.get("head.weight").copy();
    tch::manual_seed(8);
    let mask = Tensor::ones([1, 5, 9], (Kind::Float, device())).dropout(0.5, true);
    let total: f64 = (0..5)
        .map(|text| {
            tch::no_grad(|| {
                let names = whole.parameters.names().to_vec();
                let index = names.iter().position(|name| name == "head.weight");
                let head = &mut whole.parameters.tensors_mut()[index.expect("named")];
                head.copy_(&(&weight * mask.select(1, text)));
            });
            let (nats, _) = whole.nats(&tokens, &targets, &state);
            nats.reshape([6, 5])
                .select(1, text)
                .sum(Kind::Double)
                .double_value(&[])
        })
        .sum();
    let want = total / 30.0;
    assert!(
        (have - want).abs() < f64::from(tolerance(1e-5)),
        "{have} {want}"
    );
}

#[test]
fn tied_weights_learn_from_both_of_their_uses() {
    let _alone = alone();
    let mut tied = model(Cell::Gru, 1, 9);
    tied.parameters = tied.parameters.tie();
    let mut apart = model(Cell::Gru, 1, 9);
    let plain = tied.parameters.to_weights();
    assert_eq!(plain["head.weight"], plain["embedding.weight"]);
    apart.parameters.load(&plain, "").expect("complete");
    let gradient = |model: &CharRnn, name: &str| {
        let (tokens, targets) = batch();
        let state = model.shape().zero_state(5, device());
        let (loss, _) = model.loss(&tokens, &targets, &state, false, true);
        loss.backward();
        model.parameters.get(name).grad().copy()
    };
    assert!((loss(&tied, false) - loss(&apart, false)).abs() < 1e-9);
    let have = gradient(&tied, "embedding.weight");
    let read = gradient(&apart, "embedding.weight");
    // The second backward pass added the same once more.
    let predicted = gradient(&apart, "head.weight") / 2.0;
    let wrong = (have - read - predicted).abs().max().double_value(&[]);
    assert!(wrong < f64::from(tolerance(1e-6)), "{wrong}");
}
