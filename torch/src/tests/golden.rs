//! Compares libtorch with PyTorch's numbers, and the native engine with libtorch.

use tch::{Kind, Tensor};
use textgen::config::{Cell, Precision, ZPlacement};
use textgen::models::Network;

use crate::char_rnn::CharRnn;
use crate::parameters::{Parameters, floats, from_array};
use crate::testing::{Golden, assert_close, device, tolerance};
use crate::word_vae::{WordBatch, WordVae};
use textgen::text::SpecialTokens;

fn flat(tensor: &Tensor) -> Vec<f32> {
    floats(tensor)
}

#[test]
fn a_char_lstm_computes_pytorchs_logits_and_loss_for_every_cell_and_depth() {
    let files = Golden::all("char-lstm-");
    assert_eq!(files.len(), 18);
    for golden in files {
        let what = format!("{:?}", golden.network);
        let model = CharRnn::new(golden.network.clone(), golden.parameters());
        let input = Tensor::from_slice(&golden.tokens["input"])
            .unsqueeze(1)
            .to_device(device());
        let target = Tensor::from_slice(&golden.tokens["target"])
            .unsqueeze(1)
            .to_device(device());
        let state = model.shape().zero_state(1, device());
        let (logits, _) = model.forward(&input, &state, false);
        assert_close(
            &flat(&logits),
            &golden.numbers["logits"].data(),
            tolerance(1e-5),
            &what,
        );
        let (loss, _) = model.loss(&input, &target, &state, false, true);
        assert_close(
            &flat(&loss),
            &golden.numbers["loss"].data(),
            tolerance(1e-5),
            &what,
        );
    }
}

#[test]
fn a_word_vae_computes_pytorchs_posteriors_and_losses_for_every_cell_and_depth() {
    let files = Golden::all("word-vae-");
    assert_eq!(files.len(), 18);
    for golden in files {
        let what = format!("{:?}", golden.network);
        let words = golden_words(&golden);
        let vae = vae(&golden);
        let letters: Vec<&[u32]> = words.iter().map(Vec::as_slice).collect();
        let batch = WordBatch::new(&letters, vae.special, device());
        let number = |name: &str| from_array(&golden.numbers[name], device());
        let terms = vae.terms(&batch, &number("eps"), false);
        assert_close(
            &flat(&terms.mean),
            &flat(&number("mean")),
            tolerance(1e-5),
            &what,
        );
        assert_close(
            &flat(&terms.distortion(&batch)),
            &flat(&number("d")),
            tolerance(1e-5),
            &what,
        );
        let rate = terms
            .rate
            .sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        assert_close(&flat(&rate), &flat(&number("r")), tolerance(1e-5), &what);
    }
}

fn golden_words(golden: &Golden) -> Vec<Vec<u32>> {
    let lengths = &golden.tokens["lengths"];
    let padded = &golden.tokens["words"];
    let width = padded.len() / lengths.len();
    let rows = padded.chunks(width).zip(lengths);
    rows.map(|(row, &length)| {
        row[..length as usize]
            .iter()
            .map(|&letter| letter as u32)
            .collect()
    })
    .collect()
}

fn vae(golden: &Golden) -> WordVae {
    let special = |name: &str| golden.tokens[name][0] as u32;
    WordVae {
        network: golden.network.clone(),
        parameters: golden.parameters(),
        special: SpecialTokens {
            bos: special("bos"),
            eos: special("eos"),
            unk: special("eos"),
        },
        dropout: 0.0,
        decoder_dropout: 0.0,
        precision: Precision::F32,
    }
}

/// Random weights of sizes that fill no vector register evenly.
fn random_parameters(network: &textgen::config::NetworkConfig) -> Parameters {
    Parameters::init(network, 7, device())
}

#[test]
fn the_native_engine_gives_libtorchs_logits_on_a_char_lstm() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for (layers, embedding) in [(1, 0), (2, 5), (3, 0)] {
            let network = textgen::config::NetworkConfig {
                cell,
                layers,
                embedding,
                hidden: 33,
                inputs: 41,
                outputs: 41,
                ..Golden::all("char-lstm-lstm-1-onehot").remove(0).network
            };
            let model = CharRnn::new(network.clone(), random_parameters(&network));
            let tokens: Vec<u32> = (0..50).map(|i| i * 7 % 41).collect();
            let weights = model.parameters.to_weights();
            let native = textgen::models::char_rnn::CharRnn::new(&network, &weights).expect("fits");
            let mut state = native.state(1);
            let have: Vec<f32> = tokens
                .iter()
                .flat_map(|&token| {
                    native.step(&mut state, &[token]);
                    state.logits(0).to_vec()
                })
                .collect();
            let wide: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
            let input = Tensor::from_slice(&wide).unsqueeze(1).to_device(device());
            let (want, _) = model.forward(&input, &model.shape().zero_state(1, device()), false);
            assert_close(
                &have,
                &flat(&want),
                tolerance(1e-4),
                &format!("{network:?}"),
            );
        }
    }
}

#[test]
fn the_native_engine_gives_libtorchs_posteriors_and_logits_on_a_word_vae() {
    for golden in Golden::all("word-vae-") {
        native_is_libtorch(&vae(&golden), &golden_words(&golden));
    }
}

#[test]
fn the_native_engine_gives_libtorchs_logits_wherever_z_enters_and_without_z() {
    let golden = Golden::all("word-vae-gru-2-both").remove(0);
    let latent = golden.network.latent();
    for (z, latent) in [
        (ZPlacement::Both, latent),
        (ZPlacement::Start, latent),
        (ZPlacement::Steps, latent),
        (ZPlacement::Both, 0),
    ] {
        for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
            let network = textgen::config::NetworkConfig {
                kind: textgen::config::NetworkKind::WordVae(textgen::config::LatentConfig {
                    z,
                    latent,
                    bidirectional: true,
                }),
                cell,
                ..golden.network.clone()
            };
            let vae = WordVae {
                parameters: random_parameters(&network),
                network,
                ..vae(&golden)
            };
            native_is_libtorch(&vae, &golden_words(&golden));
        }
    }
}

/// The same posteriors of words, and the same logits along them.
fn native_is_libtorch(vae: &WordVae, words: &[Vec<u32>]) {
    let weights = vae.parameters.to_weights();
    let native = textgen::models::word_vae::WordVae::new(&vae.network, &weights).expect("fits");
    for word in words {
        let batch = WordBatch::new(&[word], vae.special, device());
        let (mean, log_var) = vae.encode(&batch, false);
        let posterior = native.encode(word);
        assert_close(&posterior.mean, &flat(&mean), tolerance(1e-4), "mean");
        assert_close(
            &posterior.log_var,
            &flat(&log_var),
            tolerance(1e-4),
            "log_var",
        );
        let want = flat(&vae.decode(&batch, &mean, false));
        let mut state = native.decoder(1, &posterior.mean);
        let inputs = std::iter::once(vae.special.bos).chain(word.iter().copied());
        let have: Vec<f32> = inputs
            .flat_map(|token| {
                native.step(&mut state, &[token]);
                state.logits(0).to_vec()
            })
            .collect();
        assert_close(&have, &want, tolerance(1e-4), "logits");
    }
}

#[test]
fn a_later_letter_changes_no_earlier_logit() {
    let golden = Golden::all("char-lstm-gru-2-onehot").remove(0);
    let model = CharRnn::new(golden.network.clone(), golden.parameters());
    let logits = |tokens: [i64; 4]| {
        let input = Tensor::from_slice(&tokens).unsqueeze(1).to_device(device());
        flat(
            &model
                .forward(&input, &model.shape().zero_state(1, device()), false)
                .0
                .narrow(0, 0, 3),
        )
    };
    assert_eq!(logits([1, 2, 3, 4]), logits([1, 2, 3, 9]));
    let golden = Golden::all("word-vae-gru-1-both").remove(0);
    let vae = vae(&golden);
    let z = Tensor::ones([1, golden.network.latent() as i64], (Kind::Float, device()));
    let logits = |word: &[u32]| {
        flat(
            &vae.decode(&WordBatch::new(&[word], vae.special, device()), &z, false)
                .narrow(0, 0, 3),
        )
    };
    assert_eq!(logits(&[1, 2, 3]), logits(&[1, 2, 0]));
}

/// Both compute in f32 but sum in another order; over 200 steps the difference stays below this.
#[test]
fn two_hundred_steps_of_training_lose_what_they_lose_in_pytorch() {
    let files = Golden::all("training-");
    assert_eq!(files.len(), 4);
    for golden in files {
        let network = golden.network.clone();
        let what = format!("{network:?}");
        let config = textgen::config::TrainConfig {
            optimizer: textgen::config::OptimizerKind::Amsgrad,
            beta2: 0.999,
            weight_decay: 0.0,
            clip: 1.0,
            ..crate::testing::text_config()
        };
        let model = CharRnn::new(network, golden.parameters());
        let mut optimizer = crate::optimizer::Optimizer::new(&config, &model.parameters);
        let (steps, batch) = (8, 5);
        let streams = Tensor::from_slice(&golden.tokens["streams"])
            .reshape([-1, batch])
            .to_device(device());
        let mut state = model.shape().zero_state(batch, device());
        let want = &golden.numbers["losses"].data();
        for (step, &want) in want.iter().enumerate() {
            let at = step as i64 * steps;
            let inputs = streams.narrow(0, at, steps);
            let targets = streams.narrow(0, at + 1, steps);
            let (loss, next) = model.loss(&inputs, &targets, &state, false, true);
            state = next.iter().map(Tensor::detach).collect();
            optimizer.drop_gradients().expect("dropped");
            loss.backward();
            optimizer.step(3e-3).expect("stepped");
            let have = flat(&loss)[0];
            assert!(
                (have - want).abs() <= tolerance(1e-4) * want,
                "{what}: step {step}: {have} is not {want}"
            );
        }
        assert!(want[199] < 0.7 * want[0], "{what}: something was learnt");
    }
}
