//! Compares libtorch's engine with PyTorch's numbers, and the native networks that sample with libtorch.

use textgen::config::{Cell, ModelChoice, NetworkConfig};
use textgen::generate::sampling::log_prob;
use textgen::models::Network;
use textgen::models::batch::TextBatch;
use textgen::text::SpecialTokens;
use textgen::train::{Batch, Engine, NativeEngine, Step};

use crate::TorchEngine;
use crate::testing::{Golden, assert_close, config, device, tolerance, word_batch};

/// A text of one row from the zero state.
fn text(inputs: &[i64], targets: &[i64]) -> Batch {
    Batch::Text(TextBatch {
        steps: inputs.len(),
        rows: 1,
        inputs: inputs.to_vec(),
        targets: targets.to_vec(),
        from_zero: true,
        ..TextBatch::default()
    })
}

#[test]
fn a_char_lstm_has_pytorchs_loss_for_every_cell_and_depth() {
    let files = Golden::all("char-lstm-");
    assert_eq!(files.len(), 18);
    for golden in files {
        let what = format!("{:?}", golden.network);
        let mut engine = golden.engine(&config(ModelChoice::CharLstm, ""));
        let batch = text(&golden.tokens["input"], &golden.tokens["target"]);
        let nats = engine.evaluate(&batch).expect("costs").nats;
        let mean = nats.iter().sum::<f32>() / nats.len() as f32;
        let want = &golden.numbers["loss"].data();
        assert_close(&[mean], want, tolerance(1e-5), &what);
    }
}

#[test]
fn a_word_vae_has_pytorchs_posteriors_and_losses_for_every_cell_and_depth() {
    let files = Golden::all("word-vae-");
    assert_eq!(files.len(), 18);
    for golden in files {
        let what = format!("{:?}", golden.network);
        let special = |name: &str| golden.tokens[name][0] as u32;
        let special = SpecialTokens {
            bos: special("bos"),
            eos: special("eos"),
            unk: special("eos"),
        };
        let lengths = &golden.tokens["lengths"];
        let padded = &golden.tokens["words"];
        let rows = padded.chunks(padded.len() / lengths.len()).zip(lengths);
        let word = |(row, &length): (&[i64], &i64)| {
            let letters = row[..length as usize].iter();
            letters.map(|&letter| letter as u32).collect()
        };
        let words: Vec<Vec<u32>> = rows.map(word).collect();
        let latent = golden.network.latent();
        let mut batch = word_batch(&words, latent, special, 0);
        batch.noise = golden.numbers["eps"].data().into_owned();
        let mut engine = golden.engine(&config(ModelChoice::WordVae, ""));
        let costs = engine
            .evaluate(&Batch::Words(batch.clone()))
            .expect("costs");
        let number = |name: &str| golden.numbers[name].data();
        assert_close(&costs.means, &number("mean"), tolerance(1e-5), &what);
        let mut distortion = vec![0.0; words.len()];
        for (&row, nats) in batch.inputs.rows.iter().zip(costs.nats) {
            distortion[row as usize] += nats;
        }
        assert_close(&distortion, &number("d"), tolerance(1e-5), &what);
        let rates = costs.rates.chunks(latent);
        let rates: Vec<f32> = rates.map(|rates| rates.iter().sum()).collect();
        assert_close(&rates, &number("r"), tolerance(1e-5), &what);
    }
}

#[test]
fn the_native_network_that_samples_has_libtorchs_probabilities() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for (layers, embedding) in [(1, 0), (2, 5), (3, 0)] {
            let network = NetworkConfig {
                embedding,
                ..NetworkConfig::char_rnn(cell, 33, layers, 41)
            };
            let config = config(ModelChoice::CharLstm, "batch=1");
            let mut torch = TorchEngine::new(&config, &network, device()).expect("an engine");
            let weights = torch.weights();
            let native = textgen::models::char_rnn::CharRnn::new(&network, &weights).expect("fits");
            let tokens: Vec<u32> = (0..50).map(|i| i * 7 % 41).collect();
            let mut state = native.state(1);
            let have: Vec<f32> = tokens
                .windows(2)
                .map(|pair| {
                    native.step(&mut state, &pair[..1]);
                    -log_prob(state.logits(0), pair[1]) as f32
                })
                .collect();
            let wide: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
            let want = torch
                .evaluate(&text(&wide[..49], &wide[1..]))
                .expect("costs");
            assert_close(&have, &want.nats, tolerance(1e-4), &format!("{network:?}"));
        }
    }
}

/// Both compute in f32 but sum in another order; over 200 steps the difference stays below this.
#[test]
fn two_hundred_steps_of_training_lose_what_they_lose_in_pytorch() {
    let files = Golden::all("training-");
    assert_eq!(files.len(), 4);
    for golden in files {
        let what = format!("{:?}", golden.network);
        let changes = "batch=5 seq=8 optimizer=amsgrad beta2=0.999 clip=1";
        let config = config(ModelChoice::CharLstm, changes);
        let mut native = NativeEngine::new(&config, &golden.network).expect("an engine");
        native
            .set_weights(&golden.weights)
            .expect("the weights fit");
        let engines: [Box<dyn Engine>; 2] = [Box::new(native), Box::new(golden.engine(&config))];
        let streams = &golden.tokens["streams"];
        let want = golden.numbers["losses"].data();
        for mut engine in engines {
            for (number, &want) in want.iter().enumerate() {
                let at = number * 8 * 5;
                let batch = Batch::Text(TextBatch {
                    steps: 8,
                    rows: 5,
                    inputs: streams[at..at + 40].to_vec(),
                    targets: streams[at + 5..at + 45].to_vec(),
                    from_zero: number == 0,
                    ..TextBatch::default()
                });
                let step = Step {
                    number: number as u64,
                    lr: 3e-3,
                    kl_weight: 0.0,
                    ..Step::default()
                };
                engine.step(&batch, &step).expect("a step");
                let have = engine.losses(true).sum as f32;
                assert!(
                    (have - want).abs() <= tolerance(1e-4) * want,
                    "{what}: step {number}: {have} is not {want}"
                );
            }
        }
        assert!(want[199] < 0.7 * want[0], "{what}: something was learnt");
    }
}
