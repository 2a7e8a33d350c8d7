//! `generate`: what is typed for its flags, and what is printed of it.

use super::common::{Home, Ran, generate, golden_model, textgen};

#[test]
fn escapes_are_interpreted_where_text_is_typed_and_not_where_it_is_read() {
    let home = Home::new();
    let run = |arguments: &[&str], stdin: &str| {
        let mut command = home.command(textgen());
        command.args(["generate", "--temperature", "0", "--length", "20"]);
        command.arg("--model-file").arg(golden_model());
        Ran::of(command.args(arguments).write_stdin(stdin))
    };
    let plain = run(&["--prompt", "A hen who\nlived"], "").succeeded();
    for typed in [r"A hen who\nlived", r"A\u{20}hen who\nlived"] {
        let typed = run(&["--prompt", typed], "").succeeded();
        assert_eq!(typed.stdout, plain.stdout);
    }
    let read = run(&["--prompt", "-"], "\u{feff}A hen who\nlived").succeeded();
    assert_eq!(read.stdout, plain.stdout, "a byte-order mark is skipped");
    // The model does not know the backslash.
    run(&["--prompt", "-"], r"A hen who\nlived")
        .refused(1)
        .names(&["character 10", r"'\'"]);
    run(&["--prompt", r"A\hen"], "")
        .refused(2)
        .names(&["character 2", r"\h"]);
    run(&["--prompt", r"A\u{110000}"], "")
        .refused(2)
        .names(&[r"character 2: \u{110000} is the code of no character"]);
    let sampled = |arguments: &[&str]| {
        let mut command = home.command(textgen());
        command.arg("generate").args(arguments);
        command.arg("--model-file").arg(golden_model());
        Ran::of(&mut command)
    };
    for wrong in [["--stop", "ß"], ["--fill", "ß_"], ["--fill", ""]] {
        let ran = sampled(&[&wrong[..], &["--decode", "sample"]].concat());
        assert!(!ran.stderr.contains("seed: "), "{}", ran.stderr);
    }
    let empty = sampled(&["--fill", ""]).refused(2);
    assert_eq!(empty.error, "--fill: the text is empty");
    run(&["--fill", r"b_\u{de}"], "").refused(2);
    let stopped = run(&["--prompt", "A hen", "--stop", r"\u{73}ide"], "");
    assert_eq!(stopped.succeeded().stdout, "A hen who lived be\n");
    for (stop, part) in [("", "empty"), ("ß", "'ß'"), (r"b\\", r"'\'")] {
        run(&["--stop", stop], "").refused(2).names(&["stop", part]);
    }
}

#[test]
fn an_unknown_character_is_counted_from_the_start_of_what_was_typed() {
    let refused = |arguments: &[&str], place: &str| {
        let home = Home::new();
        let mut command = home.command(textgen());
        command.arg("generate").args(arguments);
        command.arg("--model-file").arg(golden_model());
        Ran::of(&mut command).refused(1).names(&[place]);
    };
    refused(
        &["--fill", "The _en é", "--length", "3"][..2],
        "character 9 ",
    );
    refused(&["--fill", r"\u{54}he _en é"], "character 14 ");
    refused(&["--prompt", r"a\nbé"], "character 5 ");
    let skipped = generate(&["--prompt", "A é→hen", "--on-unknown", "skip"]);
    let said = "not known to the model, and left out: é, →\n";
    assert!(skipped.stderr.contains(said), "{}", skipped.stderr);
}

#[test]
fn at_temperature_zero_there_is_one_text_and_no_seed() {
    let ran = generate(&["--temperature", "0", "--count", "3"]);
    assert!(ran.stderr.contains("only one text"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("seed"), "{}", ran.stderr);
    let one = generate(&["--temperature", "0"]);
    assert_eq!((&*one.stderr, one.stdout), ("", ran.stdout));
}

#[test]
fn the_prompt_is_left_out_on_request() {
    let all = ["--prompt", "A hen", "--temperature", "0", "--length", "10"];
    let with = generate(&all).stdout;
    let without = generate(&[&all[..], &["--no-prompt"]].concat()).stdout;
    assert_eq!(with, format!("A hen{without}"));
    let json = generate(&[&all[..], &["--no-prompt", "--json"]].concat());
    assert!(!json.stdout.contains("prompt"), "{}", json.stdout);
}
