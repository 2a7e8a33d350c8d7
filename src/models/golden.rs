//! Tests the networks against PyTorch's numbers in `tests/golden/`, and against themselves.

use std::path::Path;

use safetensors::SafeTensors;

use crate::config::{Cell, LatentConfig, NetworkConfig, NetworkKind, ZPlacement};
use crate::generate::sampling::log_prob;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::models::Network;
use crate::models::article::Article;
use crate::models::char_rnn::CharRnn;
use crate::models::weights::{Array, Values, Weights};
use crate::models::word_vae::WordVae;
use crate::testing;

/// PyTorch sums in another order; the test networks are small enough for this tolerance.
const CLOSE: f32 = 1e-5;

/// A file of `tests/golden/`: a network, and what PyTorch computed with it.
pub(crate) struct Golden {
    pub config: NetworkConfig,
    pub weights: Weights<'static>,
    numbers: Weights<'static>,
    tokens: std::collections::BTreeMap<String, Vec<i64>>,
}

impl Golden {
    fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a golden file");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().clone().expect("metadata");
        let config = serde_json::from_str(&metadata["config"]).expect("a config");
        let (mut weights, mut numbers) = (Weights::new(), Weights::new());
        let mut tokens = std::collections::BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).expect("tensors").iter() {
            let short = name.strip_prefix("golden.").map(str::to_owned);
            if view.dtype() == safetensors::Dtype::I64 {
                let (words, _) = view.data().as_chunks::<8>();
                let values = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
                tokens.insert(short.expect("tokens are golden"), values);
                continue;
            }
            let (words, _) = view.data().as_chunks::<4>();
            let values = words.iter().map(|word| f32::from_le_bytes(*word));
            let array = Array::f32(view.shape(), values.collect::<Vec<_>>());
            match short {
                Some(short) => numbers.insert(short, array),
                None => weights.insert(name.to_owned(), array),
            };
        }
        Self {
            config,
            weights,
            numbers,
            tokens,
        }
    }

    /// Every file whose name starts with a prefix.
    pub fn all(prefix: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(prefix))
            })
            .collect();
        paths.sort();
        paths.iter().map(|path| Self::open(path)).collect()
    }

    /// Row `row` of an array with `width` columns.
    pub fn row(&self, name: &str, row: usize, width: usize) -> &[f32] {
        &self.numbers(name)[row * width..][..width]
    }

    pub fn numbers(&self, name: &str) -> &[f32] {
        match &self.numbers[name].values {
            Values::F32(values) => values,
            Values::Int8 { .. } => panic!("PyTorch's numbers are f32"),
        }
    }

    pub fn tokens(&self, name: &str) -> Vec<u32> {
        self.tokens[name]
            .iter()
            .map(|&token| token as u32)
            .collect()
    }

    pub fn special(&self, name: &str) -> u32 {
        self.tokens(name)[0]
    }
}

#[track_caller]
fn assert_close(found: &[f32], want: &[f32], what: impl std::fmt::Debug) {
    assert_eq!(found.len(), want.len(), "{what:?}");
    for (found, want) in found.iter().zip(want) {
        assert!(
            (found - want).abs() <= CLOSE * want.abs().max(1.0),
            "{found} {want} in {what:?}"
        );
    }
}

#[test]
fn a_char_lstm_computes_the_logits_and_the_loss_of_pytorch() {
    let files = Golden::all("char-lstm");
    assert_eq!(files.len(), 18);
    for golden in files {
        let network = CharRnn::new(&golden.config, &golden.weights).expect("a network");
        let mut state = network.state(1);
        let (input, target) = (golden.tokens("input"), golden.tokens("target"));
        let mut loss = 0.0;
        for (step, (&token, &target)) in input.iter().zip(&target).enumerate() {
            network.step(&mut state, &[token]);
            let logits = state.logits(0);
            assert_close(
                logits,
                golden.row("logits", step, network.outputs()),
                &golden.config,
            );
            loss -= log_prob(logits, target) / input.len() as f64;
        }
        assert_close(&[loss as f32], golden.row("loss", 0, 1), &golden.config);
    }
}

#[test]
fn a_word_vae_computes_what_pytorch_does() {
    let files = Golden::all("word-vae");
    assert_eq!(files.len(), 18);
    for golden in files {
        let network = WordVae::new(&golden.config, &golden.weights).expect("a network");
        let words = golden.tokens("words");
        let lengths = golden.tokens("lengths");
        let longest = words.len() / lengths.len();
        for (row, &length) in lengths.iter().enumerate() {
            check_word(
                &golden,
                &network,
                row,
                &words[row * longest..][..length as usize],
            );
        }
    }
}

/// One word of a word-vae's file: encoder, z, decoder, distortion and rate.
fn check_word(golden: &Golden, network: &WordVae, row: usize, letters: &[u32]) {
    let latent = network.latent();
    let posterior = network.encode(letters);
    assert_close(
        &posterior.mean,
        golden.row("mean", row, latent),
        &golden.config,
    );
    assert_close(
        &posterior.log_var,
        golden.row("log_var", row, latent),
        &golden.config,
    );
    let pairs = || posterior.mean.iter().zip(&posterior.log_var);
    let noise = golden.row("eps", row, latent);
    let z: Vec<f32> = pairs()
        .zip(noise)
        .map(|((mean, log_var), eps)| mean + (0.5 * log_var).exp() * eps)
        .collect();
    assert_close(&z, golden.row("z", row, latent), &golden.config);

    let mut state = network.decoder(1, golden.row("z", row, latent));
    let (bos, eos) = (golden.special("bos"), golden.special("eos"));
    let given = [&[bos], letters].concat();
    let targets = [letters, &[eos]].concat();
    let steps = golden.numbers["logits"].shape[1];
    let mut distortion = 0.0;
    for (step, (&token, &target)) in given.iter().zip(&targets).enumerate() {
        network.step(&mut state, &[token]);
        let logits = state.logits(0);
        let want = golden.row("logits", row * steps + step, network.outputs());
        assert_close(logits, want, &golden.config);
        distortion -= log_prob(logits, target);
    }
    let rate: f32 = pairs()
        .map(|(m, v)| 0.5 * (m * m + v.exp() - v - 1.0))
        .sum();
    assert_close(
        &[distortion as f32],
        golden.row("d", row, 1),
        &golden.config,
    );
    assert_close(&[rate], golden.row("r", row, 1), &golden.config);
}

#[test]
fn the_articles_network_writes_what_pytorch_does() {
    let golden = &Golden::all("article")[0];
    let network = Article::new(&golden.config, &golden.weights).expect("a network");
    let mut noise = golden.numbers("eps").iter().copied();
    let found = network.generate(|| noise.next().expect("noise for every letter"));
    let eos = golden.special("eos");
    let want: Vec<u32> = golden
        .tokens("letters")
        .into_iter()
        .take_while(|&letter| letter != eos)
        .collect();
    assert_eq!(found, want);
    assert!(!want.is_empty());
}

#[test]
fn every_level_computes_the_same_bits() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let config = testing::char_lstm(cell, 33, 2, 17);
        let vae = testing::word_vae(cell, 33, 2);
        let (weights, vae_weights) = (testing::weights(&config), testing::weights(&vae));
        let logits = |kernels| {
            let network = CharRnn::with_kernels(&config, &weights, kernels).expect("a network");
            let mut state = network.state(1);
            network.prefill(&mut state, &[3, 1, 4, 1, 5, 9, 2, 6]);
            let words = WordVae::with_kernels(&vae, &vae_weights, kernels).expect("a network");
            let mut decoder = words.decoder(1, &words.encode(&[1, 2, 3]).mean);
            words.step(&mut decoder, &[9]);
            let logits = [state.logits(0), decoder.logits(0)].concat();
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let mut found = Level::supported().filter_map(Kernels::at).map(logits);
        let first = found.next();
        assert!(found.all(|other| Some(other) == first), "{cell}");
    }
}

#[test]
fn a_prompt_fed_at_once_leaves_the_state_of_single_steps() {
    let config = testing::char_lstm(Cell::Lstm, 7, 2, 11);
    let network = CharRnn::new(&config, &testing::weights(&config)).expect("a network");
    let (mut fed, mut stepped) = (network.state(1), network.state(1));
    network.prefill(&mut fed, &[]);
    assert!(fed.logits(0).iter().all(|&logit| logit == 0.0));
    network.prefill(&mut fed, &[1, 2, 3]);
    for token in [1, 2, 3] {
        network.step(&mut stepped, &[token]);
    }
    assert_eq!(fed.logits(0), stepped.logits(0));
    network.step(&mut fed, &[4]);
    network.step(&mut stepped, &[4]);
    assert_eq!(fed.logits(0), stepped.logits(0));
}

#[test]
fn a_later_letter_changes_no_earlier_logit() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let config = testing::char_lstm(cell, 7, 3, 11);
        let network = CharRnn::new(&config, &testing::weights(&config)).expect("a network");
        let logits = |text: &[u32]| {
            let mut state = network.state(1);
            text.iter()
                .map(|&token| {
                    network.step(&mut state, &[token]);
                    state.logits(0).to_vec()
                })
                .collect::<Vec<_>>()
        };
        let (one, other) = (logits(&[1, 2, 3, 4, 5]), logits(&[1, 2, 3, 9, 5]));
        assert_eq!(one[..3], other[..3]);
        assert!(
            one[3] != other[3] && one[4] != other[4],
            "what was read is remembered"
        );
    }
}

#[test]
fn a_word_without_letters_has_the_posterior_of_a_zero_summary() {
    let config = testing::word_vae(Cell::Gru, 7, 2);
    let mut weights = testing::weights(&config);
    let log_var = Array::f32([3], vec![50.0, -50.0, 1.0]);
    weights.insert("encoder.log_var.bias".to_owned(), log_var);
    let posterior = WordVae::new(&config, &weights)
        .expect("a network")
        .encode(&[]);
    assert_eq!(posterior.mean[..], weights["encoder.mean.bias"].data()[..]);
    assert_eq!(
        posterior.log_var,
        [10.0, -10.0, 1.0],
        "held within the limits"
    );
}

#[test]
fn a_decoder_without_z_computes_the_logits_of_pytorch() {
    // It is a char-lstm with an embedding under other names.
    let files = Golden::all("char-lstm").into_iter();
    let files: Vec<_> = files.filter(|golden| golden.config.embedding > 0).collect();
    assert_eq!(files.len(), 9);
    for golden in files {
        let named =
            |(name, array): (&String, &Array<'static>)| (format!("decoder.{name}"), array.clone());
        let weights: Weights = golden.weights.iter().map(named).collect();
        let config = NetworkConfig {
            kind: NetworkKind::WordVae(LatentConfig {
                latent: 0,
                z: ZPlacement::Both,
                bidirectional: true,
            }),
            ..golden.config.clone()
        };
        let network = WordVae::new(&config, &weights).expect("a network");
        assert_eq!(network.latent(), 0);
        assert!(network.encode(&[1]).mean.is_empty());
        let input = golden.tokens("input");
        // Three rows, of which two end early.
        let mut state = network.state(3);
        state.set_row(1, &network.decoder(1, &[]));
        for (step, &token) in input.iter().enumerate() {
            let tokens = vec![token; state.rows()];
            network.step(&mut state, &tokens);
            let want = golden.row("logits", step, network.outputs());
            for row in 0..state.rows() {
                assert_close(state.logits(row), want, &config);
            }
            if state.rows() > 1 {
                state.swap_remove_row(0);
            }
        }
    }
}

#[test]
fn words_have_the_same_posterior_alone_and_side_by_side() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for layers in [1, 3] {
            let config = testing::word_vae(cell, 33, layers);
            let network = WordVae::new(&config, &testing::weights(&config)).expect("a network");
            let words: [&[u32]; 6] = [&[1, 2], &[], &[3], &[5, 4, 3, 2, 1, 0], &[1, 2], &[7, 7, 7]];
            let together = network.encode_all(&words);
            for (word, posterior) in words.iter().zip(&together) {
                assert_eq!(&network.encode(word), posterior);
            }
            assert_eq!(together[0], together[4]);
            assert_ne!(together[0].mean, together[3].mean);
        }
    }
}
