use std::collections::BTreeMap;

use safetensors::Dtype;

use super::*;
use crate::config::{Cell, Unit};
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::models::weights::quantize;
use crate::testing::{char_lstm, model_header, weights};
use crate::text::Token;

/// A char-lstm of `hidden` units that reads 65 tokens, and its weights.
fn model(hidden: usize) -> (ModelHeader, Weights<'static>) {
    let network = char_lstm(Cell::Lstm, hidden, 1, 65);
    let letters = (0..65).map(|i| Token::Text(char::from(48 + i).to_string()));
    let vocabulary = Vocabulary::new(Unit::Char, letters.collect(), 0, false);
    let weights = weights(&network);
    let header = model_header(network, vocabulary.expect("a vocabulary"));
    (header, weights)
}

/// The same in eight bits, before they are written.
fn small() -> (ModelHeader, Weights<'static>) {
    let (header, weights) = model(8);
    (header, quantize(&weights))
}

/// What opening a file of these tensors says.
fn refused(change: impl FnOnce(&mut BTreeMap<String, StoredTensor<'static>>)) -> String {
    let (header, weights) = small();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let mut stored = BTreeMap::new();
    for (name, tensor) in tensors::stored(&weights) {
        let owned = raw(tensor.dtype, &tensor.shape, tensor.bytes.into_owned());
        stored.insert(name, owned);
    }
    change(&mut stored);
    tensors::write(&path, &header, &stored).expect("written");
    match ModelFile::open(&path) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => {
            let message = error.to_string();
            let start = format!("{}: not a textgen model: ", path.display());
            message.strip_prefix(&start).expect(&message).to_owned()
        }
    }
}

fn raw(dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> StoredTensor<'static> {
    StoredTensor {
        dtype,
        shape: shape.to_vec(),
        bytes: bytes.into(),
    }
}

#[test]
fn a_model_opens_from_its_bytes_and_from_no_others() {
    let (header, weights) = small();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    ModelFile::write(&path, &header, &weights, None).expect("written");
    let bytes = std::fs::read(&path).expect("read");
    let model = ModelFile::of_bytes("bytes", &bytes).expect("a model");
    assert_eq!((model.bytes(), &model.header), (&*bytes, &header));
    let cut = ModelFile::of_bytes("bytes", &bytes[1..]).map(|_| ());
    let message = cut.expect_err("not a model").to_string();
    assert!(
        message.starts_with("bytes: not a textgen model: "),
        "{message}"
    );
}

#[test]
fn a_model_in_eight_bits_comes_back_as_it_was_written() {
    let (header, weights) = small();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    ModelFile::write(&path, &header, &weights, Some("one\ntwo")).expect("written");
    let file = ModelFile::open(&path).expect("open");
    assert_eq!(file.header, header);
    assert_eq!(file.weights().expect("weights"), weights);
    assert_eq!(file.training_text().expect("UTF-8"), Some("one\ntwo"));
    assert!(file.is_int8().expect("tensors"));
}

#[test]
#[cfg_attr(miri, ignore = "it takes more than twenty minutes")]
fn a_model_in_eight_bits_takes_about_a_quarter_of_the_room_and_says_the_same() {
    let (header, weights) = model(128);
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, eight) = (folder.path().join("whole"), folder.path().join("eight"));
    ModelFile::write(&whole, &header, &weights, None).expect("written");
    let file = ModelFile::open(&whole).expect("open");
    assert!(!file.is_int8().expect("tensors"));
    assert_eq!(file.training_text().expect("none"), None);
    let quantized = quantize(&file.weights().expect("weights"));
    ModelFile::write(&eight, &header, &quantized, None).expect("written");
    let size = |path| std::fs::metadata(path).expect("a file").len() as f64;
    let ratio = size(&eight) / size(&whole);
    assert!((0.24..0.28).contains(&ratio), "{ratio}");

    let logits = |weights: &Weights| {
        let network = CharRnn::new(&header.network, weights).expect("a network");
        let mut state = network.state(1);
        network.prefill(&mut state, &[1, 64, 7, 0, 20]);
        let bits = state.logits(0).iter().map(|logit| logit.to_bits());
        bits.collect::<Vec<_>>()
    };
    let file = ModelFile::open(&eight).expect("open");
    assert_eq!(
        logits(&file.weights().expect("weights")),
        logits(&quantized)
    );
    assert_ne!(logits(&quantized), logits(&weights));
}

#[test]
fn scales_that_are_missing_or_others_are_refused() {
    assert_eq!(refused(|_| ()), "accepted");
    let scale = "head.weight.scale";
    let message = refused(|stored| drop(stored.remove(scale)));
    assert_eq!(message, "tensor head.weight.scale is missing");
    let others = [
        (Dtype::F32, vec![64]),
        (Dtype::F32, vec![65, 1]),
        (Dtype::F32, vec![]),
        (Dtype::I32, vec![65]),
        (Dtype::F16, vec![65]),
    ];
    for (dtype, shape) in others {
        let bytes = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
        let tensor = raw(dtype, &shape, bytes);
        let message = refused(|stored| drop(stored.insert(scale.to_owned(), tensor)));
        let want = match (dtype, shape.len()) {
            (Dtype::F32, 1) => "weight head.weight has 65 rows, but 64 scales".to_owned(),
            (Dtype::F32, _) => format!("tensor {scale} has shape {shape:?}, not one dimension"),
            _ => format!("tensor {scale} is {dtype:?}, not F32"),
        };
        assert_eq!(message, want);
    }
}

#[test]
fn only_a_matrix_can_be_in_eight_bits() {
    let bias = raw(Dtype::I8, &[65], vec![1; 65]);
    let scale = raw(Dtype::F32, &[1], vec![0; 4]);
    let message = refused(|stored| {
        stored.insert("head.bias".to_owned(), bias);
        stored.insert("head.bias.scale".to_owned(), scale);
    });
    let want = "weight head.bias of shape [65] is in eight bits, which only a matrix can be";
    assert_eq!(message, want);
    let wrong = raw(Dtype::U8, &[65, 8], vec![1; 65 * 8]);
    let message = refused(|stored| drop(stored.insert("head.weight".to_owned(), wrong)));
    assert_eq!(message, "tensor head.weight is U8, not F32");
    let wrong = raw(Dtype::I8, &[8, 65], vec![1; 65 * 8]);
    let message = refused(|stored| drop(stored.insert("head.weight".to_owned(), wrong)));
    assert_eq!(
        message,
        "weight head.weight has shape [8, 65], but the network needs [65, 8]"
    );
}

#[test]
fn a_tensor_that_the_network_has_no_use_for_is_refused() {
    let stray = |name: &str| {
        let tensor = raw(Dtype::F32, &[65], vec![0; 4 * 65]);
        refused(|stored| drop(stored.insert(name.to_owned(), tensor)))
    };
    for name in [
        "rnn.weight_hh_l7",
        "head.bias.scale",
        "extra",
        "head.weight.scale.scale",
    ] {
        let want = format!("weight {name} belongs to no part of this network");
        assert_eq!(stray(name), want);
    }
    assert_eq!(stray("training.words"), "accepted");
    // The matrix itself is in f32 here, so that its scales have no meaning.
    let message = refused(|stored| {
        let whole = raw(Dtype::F32, &[65, 8], vec![0; 4 * 65 * 8]);
        stored.insert("head.weight".to_owned(), whole);
    });
    assert_eq!(
        message,
        "weight head.weight.scale belongs to no part of this network"
    );
}

#[test]
fn a_file_says_where_z_enters_only_where_older_programs_could_not_know() {
    let network = crate::testing::word_vae(Cell::Gru, 4, 1);
    let text = serde_json::to_string(&network).expect("serialisable");
    assert!(!text.contains("\"z\""), "{text}");
    let read: NetworkConfig = serde_json::from_str(&text).expect("readable");
    assert_eq!((&read, model_format(&read)), (&network, 1));
    let steps = crate::config::ZPlacement::Steps;
    let network = crate::testing::with_latent(&network, |latent| latent.z = steps);
    let text = serde_json::to_string(&network).expect("serialisable");
    let read: NetworkConfig = serde_json::from_str(&text).expect("readable");
    assert_eq!((&read, model_format(&read)), (&network, 2));
}

#[test]
fn a_model_of_documents_has_its_own_format() {
    let mut network = crate::testing::char_lstm(Cell::Lstm, 4, 1, 5);
    network.eos = Some(4);
    assert_eq!(model_format(&network), 3);
    let json = serde_json::to_string(&network).expect("json");
    assert!(json.ends_with("\"eos\":4}"), "{json}");
    assert_eq!(
        serde_json::from_str::<NetworkConfig>(&json).expect("valid"),
        network
    );
    let beyond = json.replace("\"eos\":4", "\"eos\":5");
    assert!(serde_json::from_str::<NetworkConfig>(&beyond).is_err());
}
