//! Model files are untrusted: any damage gives one line of error, never a crash.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::common::{Home, Ran, Refusal, golden_model, model_of, textgen, vae_words};
use super::safetensors_file::Parts;

/// `generate` refuses a model file of these bytes.
#[track_caller]
fn refused(bytes: impl AsRef<[u8]>) -> Refusal {
    let home = Home::new();
    let path = home.write("model.safetensors", bytes);
    refused_at(&home, &path).names(&["model.safetensors"])
}

#[track_caller]
fn refused_at(home: &Home, path: &Path) -> Refusal {
    let mut command = home.command(textgen());
    command.args(["generate", "--seed", "1", "--model-file"]);
    Ran::of(command.arg(path)).refused(1)
}

/// `generate` refuses the golden model with its header changed so.
#[track_caller]
fn refused_with(change: impl FnOnce(&mut Value)) -> Refusal {
    refused(Parts::read(&golden_model()).edit(change).to_bytes())
}

#[test]
fn a_model_taken_apart_and_put_together_still_works() {
    let home = Home::new();
    let bytes = Parts::read(&golden_model()).edit(|_| {}).to_bytes();
    let path = home.write("model.safetensors", bytes);
    let mut command = home.command(textgen());
    command.args(["generate", "--seed", "1", "--model-file"]);
    Ran::of(command.arg(path)).succeeded();
}

#[test]
fn a_model_file_that_is_missing_or_a_folder_is_refused() {
    let home = Home::new();
    refused_at(&home, &home.path("nothing")).names(&["nothing", "No such file"]);
    home.write("folder/file", "");
    refused_at(&home, &home.path("folder")).names(&["folder", "is not a run"]);
}

#[test]
fn a_model_file_cut_short_anywhere_is_refused() {
    let whole = fs::read(golden_model()).expect("the golden model");
    for length in [0, 1, 7, 8, 9, 100, 3000, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..length]);
    }
    refused(&whole[..whole.len() / 2]).names(&["not a textgen model", "cut short"]);
}

#[test]
fn a_model_file_with_bytes_too_many_is_refused() {
    let mut whole = fs::read(golden_model()).expect("the golden model");
    whole.extend([0; 16]);
    refused(&whole).names(&["not a textgen model"]);
}

#[test]
fn files_of_other_kinds_are_refused() {
    let text = "Once upon a time there was a text file.\n".repeat(100);
    refused(&text).names(&["not a textgen model"]);
    // Pseudo-random bytes, the same each time.
    let mut seed = 1_u32;
    let mut byte = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let random: Vec<u8> = (0..5000).map(|_| byte()).collect();
    refused(&random).names(&["not a textgen model"]);
    let mut parts = Parts::read(&golden_model());
    if let Some(header) = parts.header.as_object_mut() {
        header.remove("__metadata__");
    }
    refused(parts.to_bytes()).names(&["not a textgen model", "without the textgen header"]);
}

#[test]
fn a_newer_format_is_refused_with_both_numbers() {
    refused_with(|header| {
        // A newer version may have changed everything but this number.
        *header = json!({"format": 99, "invention": true});
    })
    .names(&["format 99", "formats 1 to 3"])
    .advises("newer");
    refused_with(|header| header["format"] = json!(0)).names(&["format 0"]);
}

#[test]
fn a_header_that_is_not_what_it_should_be_is_refused() {
    refused_with(|header| *header = json!([1, 2, 3])).names(&["its header"]);
    refused_with(|header| *header = json!({"format": "one"})).names(&["its header"]);
    refused_with(|header| header["network"]["cell"] = json!("transformer"))
        .names(&["its header", "transformer"]);
    refused_with(|header| header["network"]["hidden"] = json!(-1)).names(&["its header"]);
    refused_with(|header| {
        header["vocabulary"]["symbols"][0] = header["vocabulary"]["symbols"][1].clone();
    })
    .names(&["twice"]);
}

#[test]
fn a_vocabulary_of_another_size_than_the_weights_is_refused() {
    refused_with(|header| {
        let tokens = header["vocabulary"]["symbols"].as_array_mut();
        tokens.expect("tokens").pop();
    })
    .names(&["tokens", "vocabulary"]);
    refused_with(|header| {
        let tokens = header["vocabulary"]["symbols"].as_array_mut();
        tokens.expect("tokens").pop();
        for size in ["inputs", "outputs"] {
            header["network"][size] = json!(header["network"][size].as_u64().map(|n| n - 1));
        }
    })
    .names(&["tensor", "shape"]);
}

#[test]
fn weights_of_another_shape_are_refused_with_both_shapes() {
    let mut parts = Parts::read(&golden_model());
    let shape = parts.header["rnn.weight_hh_l0"]["shape"].take();
    assert_eq!(shape, json!([128, 32]));
    parts.header["rnn.weight_hh_l0"]["shape"] = json!([32, 128]);
    refused(parts.to_bytes()).names(&["rnn.weight_hh_l0", "[32, 128]", "[128, 32]"]);
    refused_with(|header| header["network"]["hidden"] = json!(33)).names(&["shape"]);
}

#[test]
fn a_missing_weight_is_refused_with_its_name() {
    let mut parts = Parts::read(&golden_model());
    if let Some(header) = parts.header.as_object_mut() {
        let tensor = header.remove("rnn.bias_hh_l0").expect("a tensor");
        header.insert("rnn.bias_of_mine".to_owned(), tensor);
    }
    refused(parts.to_bytes()).names(&["rnn.bias_hh_l0", "missing"]);
    refused_with(|header| header["network"]["layers"] = json!(2)).names(&["_l1", "missing"]);
}

#[test]
fn a_weight_that_belongs_to_no_part_of_the_network_is_refused() {
    let mut parts = Parts::read(&golden_model());
    let end = parts.data.len();
    parts.header["rnn.weight_hh_l7"] =
        json!({"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]});
    parts.data.extend([0; 8]);
    refused(parts.to_bytes()).names(&["rnn.weight_hh_l7"]);
}

#[test]
fn weights_of_another_type_are_refused() {
    let mut parts = Parts::read(&golden_model());
    parts.header["head.bias"]["dtype"] = json!("I32");
    refused(parts.to_bytes()).names(&["head.bias", "I32", "F32"]);
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_place() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        let mut parts = Parts::read(&golden_model());
        parts.tensor_mut("head.weight")[8..12].copy_from_slice(&value.to_le_bytes());
        refused(parts.to_bytes()).names(&["head.weight", name, "index 2"]);
    }
}

#[test]
fn huge_sizes_in_the_header_are_refused_at_once() {
    for (size, value) in [
        ("hidden", 1_u64 << 40),
        ("hidden", u64::MAX),
        ("hidden", 1 << 16),
        ("layers", 1 << 40),
        ("layers", 1 << 16),
        ("embedding", u64::MAX),
        ("latent", u64::MAX),
        ("inputs", u64::MAX),
        ("outputs", 1 << 40),
    ] {
        refused_with(|header| header["network"][size] = json!(value));
    }
    for shape in [json!([u64::MAX, 2]), json!([1_u64 << 62, 32])] {
        let mut parts = Parts::read(&golden_model());
        parts.header["head.weight"]["shape"] = shape;
        refused(parts.to_bytes());
    }
    let mut parts = Parts::read(&golden_model());
    parts.header["head.weight"]["data_offsets"] = json!([0, 1_u64 << 50]);
    refused(parts.to_bytes());
    let mut bytes = fs::read(golden_model()).expect("the golden model");
    bytes[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    refused(&bytes);
}

#[test]
fn a_char_lstm_that_calls_itself_a_word_vae_is_refused() {
    refused_with(|header| header["network"]["model"] = json!("word-vae"));
    let words = Parts::read(&model_of(vae_words()));
    refused(
        words
            .edit(|header| header["network"]["model"] = json!("char-lstm"))
            .to_bytes(),
    );
}

#[test]
fn training_words_that_are_not_utf_8_are_refused_when_they_are_needed() {
    let home = Home::new();
    let mut parts = Parts::read(&model_of(vae_words()));
    parts.tensor_mut("training.words")[0] = 0xFF;
    let path = home.write("model.safetensors", parts.to_bytes());
    let mut command = home.command(textgen());
    command.args(["generate", "--novel", "--seed", "1", "--model-file"]);
    Ran::of(command.arg(path)).refused(1).names(&["damaged"]);
}
