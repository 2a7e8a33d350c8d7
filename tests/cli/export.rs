//! `textgen export`: one file, whole or in eight bits, and what it refuses to write.

use std::fs;

use super::common::{Home, Ran, Refusal, golden_model, textgen};
use super::made_runs::{exported, golden_run, word_run};
use super::safetensors_file::Parts;

/// What a model file generates.
#[track_caller]
fn says(home: &Home, file: &str, more: &str) -> String {
    let command = format!("generate --model-file {file} --seed 3 {more}");
    home.textgen(&command).succeeded().stdout
}

#[test]
fn a_model_is_exported_as_it_is() {
    let home = Home::new();
    golden_run(&home, "");
    let ran = home
        .textgen("export --output whole.safetensors")
        .succeeded();
    assert_eq!(ran.stdout, "");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines[0], "run: golden");
    assert!(
        lines[1].starts_with("whole.safetensors: 32x1: "),
        "{}",
        lines[1]
    );
    let [from, to] = [golden_model(), home.path("whole.safetensors")].map(|p| Parts::read(&p));
    assert_eq!(to.textgen(), from.textgen());
    assert_eq!(to.tensor("head.weight"), from.tensor("head.weight"));
    let model = golden_model();
    let golden = home.textgen_with([
        "generate".as_ref(),
        "--model-file".as_ref(),
        model.as_os_str(),
        "--seed".as_ref(),
        "3".as_ref(),
    ]);
    assert_eq!(
        says(&home, "whole.safetensors", ""),
        golden.succeeded().stdout
    );
}

#[test]
fn a_model_that_somebody_trained_is_not_replaced_unasked() {
    let home = Home::new();
    golden_run(&home, "");
    let other = word_run(&home, "");
    let model = other.model_path();
    fs::copy(golden_model(), &model).expect("copied");
    let trained = fs::read(&model).expect("a model");
    for command in [
        "export golden --output runs/words/model.safetensors",
        "export golden --format hub --output runs/words",
    ] {
        let refusal = home.textgen(command).refused(1);
        refusal.names(&["is the model of a run"]).advises("--force");
        assert_eq!(fs::read(&model).expect("a model"), trained);
    }
    // Weights beside a program that textgen did not write.
    let mine = home.path("mine.safetensors");
    fs::copy(golden_model(), &mine).expect("copied");
    let command = "export golden --format torch --output mine.py";
    home.textgen(command)
        .refused(1)
        .names(&["mine.safetensors: exists already, without mine.py"])
        .advises("--force");
    home.textgen(&format!("{command} --force")).succeeded();
    home.textgen(command).succeeded();
    // One stream cannot take two files.
    for format in ["torch", "js"] {
        home.textgen(&format!(
            "export golden --format {format} --output /dev/null"
        ))
        .refused(2)
        .names(&["2 files are written"]);
    }
}

#[test]
fn eight_bits_have_one_scale_a_row_and_the_same_header() {
    let home = Home::new();
    golden_run(&home, "");
    let small = Parts::read(&exported(&home, "golden"));
    let whole = Parts::read(&golden_model());
    assert_eq!(small.textgen(), whole.textgen());
    assert!(small.data.len() * 3 < whole.data.len());
    for name in ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"] {
        assert_eq!(small.header[name]["dtype"], "I8");
        assert_eq!(small.header[name]["shape"], whole.header[name]["shape"]);
        let scale = &small.header[format!("{name}.scale")];
        assert_eq!(scale["dtype"], "F32");
        assert_eq!(scale["shape"][0], whole.header[name]["shape"][0]);
    }
    assert_eq!(small.tensor("head.bias"), whole.tensor("head.bias"));
    // It generates, the same each time, and can be exported again to the same bytes.
    let text = says(&home, "small.safetensors", "");
    assert_eq!(text, says(&home, "small.safetensors", "--threads 1"));
    let again = "export --model-file small.safetensors --quantize int8 --output again.safetensors";
    assert_eq!(home.textgen(again).succeeded().stdout, "");
    let bytes = |name| fs::read(home.path(name)).expect("a file");
    assert_eq!(bytes("small.safetensors"), bytes("again.safetensors"));
}

#[test]
fn the_words_of_a_word_vae_come_along() {
    let home = Home::new();
    let run = word_run(&home, "");
    let small = Parts::read(&exported(&home, "words"));
    let whole = Parts::read(&run.model_path());
    assert_eq!(
        small.tensor("training.words"),
        whole.tensor("training.words")
    );
    let words = says(&home, "small.safetensors", "--count 5 --novel");
    assert_eq!(words.lines().count(), 5, "{words}");
}

#[test]
fn new_words_are_not_promised_without_the_known_ones() {
    let home = Home::new();
    word_run(&home, "");
    home.textgen("export words --no-training-words --output bare.safetensors")
        .succeeded();
    home.textgen("generate --run bare.safetensors --novel --count 2")
        .refused(2)
        .names(&["--novel", "training words are not in its file"]);
}

#[test]
fn what_was_rounded_is_not_exported_as_f32() {
    let home = Home::new();
    golden_run(&home, "");
    exported(&home, "golden");
    home.textgen("export --model-file small.safetensors --output back.safetensors")
        .refused(1)
        .names(&["small.safetensors", "eight bits"])
        .advises("--quantize int8");
    assert!(!home.path("back.safetensors").exists());
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let home = Home::new();
    golden_run(&home, "");
    home.write("precious", "words");
    home.textgen("export --output precious")
        .refused(1)
        .names(&["precious", "exists"])
        .advises("--force");
    assert_eq!(fs::read(home.path("precious")).expect("a file"), b"words");
    home.textgen("export --output precious --force").succeeded();
    assert!(fs::read(home.path("precious")).expect("a file").len() > 1000);

    // Neither a folder nor the model itself is replaced, even with --force.
    home.textgen("export --output runs --force")
        .refused(1)
        .names(&["runs", "folder"]);
    let model = home.path("runs/golden/model.safetensors");
    let before = fs::read(&model).expect("a model");
    home.textgen("export --quantize int8 --force --output runs/golden/../golden/model.safetensors")
        .refused(1)
        .names(&["model.safetensors", "is exported"]);
    assert!(fs::read(&model).expect("a model") == before);
    home.textgen("export --output nowhere/file")
        .refused(1)
        .names(&["nowhere/file", "cannot write"]);
    home.textgen("export").refused(2).names(&["--output"]);
    home.textgen("export golden --model-file x --output y")
        .refused(2);
    home.textgen("export --model-file nothing --output y")
        .refused(1)
        .names(&["nothing"]);
}

/// `generate` and `export` refuse these bytes with the same message.
#[track_caller]
fn refused(parts: &Parts) -> Refusal {
    let home = Home::new();
    home.write("bad.safetensors", parts.to_bytes());
    let export = home.textgen("export --model-file bad.safetensors --quantize int8 --output x");
    assert!(!home.path("x").exists());
    let export = export.refused(1);
    let mut generate = home.command(textgen());
    generate.args(["generate", "--seed", "1", "--model-file", "bad.safetensors"]);
    let generate = Ran::of(&mut generate).refused(1);
    assert_eq!(generate.error, export.error);
    generate.names(&["bad.safetensors"])
}

#[test]
fn eight_bits_that_are_damaged_are_refused() {
    let home = Home::new();
    golden_run(&home, "");
    let path = exported(&home, "golden");
    let damaged = |change: fn(&mut Parts)| {
        let mut parts = Parts::read(&path);
        change(&mut parts);
        refused(&parts)
    };
    damaged(|parts| parts.header["head.weight.scale"]["dtype"] = "I32".into()).names(&[
        "head.weight.scale",
        "I32",
        "F32",
    ]);
    damaged(|parts| {
        let header = parts.header.as_object_mut().expect("an object");
        let scale = header.remove("head.weight.scale").expect("a tensor");
        header.insert("head.weight.scales".to_owned(), scale);
    })
    .names(&["head.weight.scale is missing"]);
    damaged(|parts| {
        let rows = parts.header["head.weight.scale"]["shape"][0].take();
        parts.header["head.weight.scale"]["shape"] = serde_json::json!([1, rows]);
    })
    .names(&["head.weight.scale", "shape"]);
    damaged(|parts| parts.header["head.weight"]["dtype"] = "U8".into())
        .names(&["head.weight", "U8"]);
    damaged(|parts| {
        parts.tensor_mut("head.weight.scale")[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    })
    .names(&["head.weight.scale", "NaN", "index 0"]);
    damaged(|parts| {
        parts.tensor_mut("head.weight.scale")[4..8].copy_from_slice(&1e37_f32.to_le_bytes());
    })
    .names(&["head.weight.scale", "index 1"]);
    damaged(|parts| parts.tensor_mut("head.weight")[5] = 0x80).names(&[
        "head.weight",
        "-128",
        "index 5",
    ]);
}
