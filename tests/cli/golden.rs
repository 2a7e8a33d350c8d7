//! A committed model must load and generate the same text in every version. `tests/golden-run/README.md` has the
//! commands that made the model and its text.

use super::common::{Home, Ran, golden_model, repository, textgen};

const COMMAND: [&str; 8] = [
    "--temperature",
    "0",
    "--seed",
    "1",
    "--length",
    "700",
    "--prompt",
    "A hen",
];

/// The model's output with the processor's instructions of this name (`None`: the fastest).
#[track_caller]
fn says(simd: Option<&str>, more: &[&str]) -> String {
    let home = Home::new();
    let mut command = home.command(textgen());
    command
        .args(["generate", "--model-file"])
        .arg(golden_model());
    command.args(COMMAND).args(more);
    if let Some(level) = simd {
        command.env("TEXTGEN_SIMD", level);
    }
    Ran::of(&mut command).succeeded().stdout
}

fn expected() -> String {
    let path = repository("tests/golden-run/expected.txt");
    std::fs::read_to_string(path).expect("the golden text")
}

#[test]
fn the_golden_model_says_its_text_byte_for_byte() {
    assert_eq!(says(None, &[]), expected());
}

#[test]
fn the_golden_model_says_the_same_without_simd() {
    assert_eq!(says(Some("portable"), &[]), expected());
}

#[test]
fn the_golden_model_says_the_same_on_several_threads() {
    let all = says(None, &["--count", "3", "--threads", "2"]);
    for (index, sample) in all.split("--- ").skip(1).enumerate() {
        let text = sample.strip_prefix(&format!("{}\n", index + 1));
        assert_eq!(text.map(str::trim_end), Some(expected().trim_end()));
    }
}
