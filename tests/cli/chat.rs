//! `textgen chat`, through a pipe.

use super::common::{Home, Ran, golden_model, textgen};
use super::made_runs::word_run;

/// A conversation with the golden model.
fn chat_in(home: &Home, arguments: &str, typed: &str) -> Ran {
    let mut command = home.command(textgen());
    command.arg("chat").arg("--model-file").arg(golden_model());
    command.args(arguments.split_whitespace());
    Ran::of(command.write_stdin(typed))
}

#[track_caller]
fn chat(arguments: &str, typed: &str) -> Ran {
    chat_in(&Home::new(), arguments, typed).succeeded()
}

#[test]
fn a_reply_goes_on_from_what_is_typed_up_to_the_end_of_the_line() {
    let ran = chat("--temperature 0 --seed 1", "A hen\n");
    assert_eq!(ran.stdout, " who lived beside the sea\n");
    assert_eq!(ran.stderr, "");
    // An empty line continues the text written before.
    let ran = chat("--temperature 0 --seed 1", "A hen\n\n");
    assert_eq!(
        ran.stdout,
        " who lived beside the sea\nwas keeping bees for company.\n"
    );
    let ran = chat("--temperature 0 --seed 1 --stop bees", "A hen\n\n");
    assert!(
        ran.stdout
            .starts_with(" who lived beside the sea\nwas keeping bees\n for"),
        "{ran:?}"
    );
    let ran = chat("--temperature 0 --seed 1 --length 4", "A hen\n");
    assert_eq!(ran.stdout, " who\n");
}

#[test]
fn commands_change_what_follows() {
    let typed = "A hen\n/reset\n/length 4\nA hen\n/undo\n/stop e\n/length 50\n\n/quit\nA hen\n";
    let ran = chat("--temperature 0 --seed 1", typed);
    let want = format!(" who lived beside the sea\n who\n{}\n", first_to_e());
    assert_eq!(ran.stdout, want);
    for said in ["starts again", "length 4", "taken back", "stop e"] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    let ran = chat(
        "--seed 1",
        "/temperature 0.5\n/temperature\n/top-k 3\n/top-k off\n/help\n",
    );
    assert_eq!(ran.stdout, "");
    for said in ["temperature 0.5", "top-k 3", "top-k off", "/undo"] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
}

/// What the model writes without a prompt, up to the first e.
fn first_to_e() -> String {
    let ran = chat("--temperature 0 --seed 1 --stop e", "\n");
    ran.stdout.trim_end_matches('\n').to_owned()
}

#[test]
fn the_same_seed_gives_the_same_conversation() {
    let typed = "The \nA \n\n/temperature 1.5\n\n";
    let one = chat("--seed 5", typed).stdout;
    assert_eq!(one, chat("--seed 5 --threads 1", typed).stdout);
    assert_ne!(one, chat("--seed 6", typed).stdout);
    assert_eq!(one, chat("--seed 4", &format!("/seed 5\n{typed}")).stdout);
    // Undone and typed again with the same seed, the reply is the same.
    let again = chat(
        "--seed 5",
        &format!("The \n/undo\n/seed 6\n/seed 5\n{typed}"),
    );
    assert!(again.stdout.ends_with(&one), "{again:?}");
}

#[test]
fn what_is_wrong_with_a_line_does_not_end_the_conversation() {
    let typed = "ß\n/tempo\n/temperature -1\n/save\n/length 0\nA hen\n";
    let ran = chat("--temperature 0 --seed 1", typed);
    assert_eq!(ran.stdout, " who lived beside the sea\n");
    assert_eq!(ran.stderr.matches("error: ").count(), 5, "{ran:?}");
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["chat", "--temperature", "0", "--seed", "1", "--model-file"]);
    command.arg(golden_model()).write_stdin(&b"\xFF\nA hen"[..]);
    let ran = Ran::of(&mut command).succeeded();
    assert_eq!(ran.stdout, " who lived beside the sea\n");
    assert!(ran.stderr.contains("not UTF-8"), "{ran:?}");
}

#[test]
fn the_next_characters_can_be_picked_by_hand() {
    let ran = chat(
        "--temperature 0",
        "A he\n/undo\n/pick\n1\n1\n/undo\n2\n99\n\n/quit\n",
    );
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(
        lines[1].chars().count(),
        2,
        "two tokens were picked: {ran:?}"
    );
    assert_eq!(ran.stderr.matches("error: 99: no such choice").count(), 1);
    let lists = ran.stderr.lines().filter(|line| line.contains("   10 "));
    assert_eq!(lists.count(), 5, "{ran:?}");
    // What was picked is part of the text.
    let picked = chat(
        "--temperature 0 --length 10",
        "A hen\n/reset\nA he\n/undo\nA\n/undo\n",
    );
    assert!(picked.stderr.contains("taken back"), "{picked:?}");
    // A line that is no number ends it and is read as usual; so does the end of the input.
    let ran = chat("--temperature 0 --length 4", "/pick\n1\nA hen\n/pick\n2\n");
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
}

#[test]
fn escapes_are_interpreted_in_what_is_typed() {
    let ran = chat("--temperature 0", "A\\u{20}hen\n");
    assert_eq!(ran.stdout, " who lived beside the sea\n");
    let ran = chat("--temperature 0", "\u{feff}A hen\n");
    assert_eq!(ran.stdout, " who lived beside the sea\n");
    let ran = chat(
        "--temperature 0",
        "\\d\na\\u{62}\\u{e9}\n/stop \n/stop ß\n/stop \\u{73}\n",
    );
    for said in [
        "character 1: \\d is no escape",
        "(character 8 of the text)",
        "stop \\n\n",
        "can never be written",
        "stop s\n",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
}

#[test]
fn a_conversation_goes_on_from_where_it_was_saved() {
    let home = Home::new();
    let talk = |arguments: &str, typed: &str| {
        let all = format!("--seed 1 --temperature 0 {arguments}");
        chat_in(&home, &all, typed).succeeded().stdout
    };
    let whole = talk("", "A hen\n\n\n");
    let first = talk("", "A hen\n/save talk.state\n");
    let rest = talk("--state talk.state", "\n\n");
    assert_eq!(format!("{first}{rest}"), whole);
    // `generate` reads the same file.
    let mut command = home.command(textgen());
    command.args([
        "generate",
        "--temperature",
        "0",
        "--seed",
        "1",
        "--stop",
        "\n",
    ]);
    command
        .args(["--state", "talk.state", "--model-file"])
        .arg(golden_model());
    let next = Ran::of(&mut command).succeeded().stdout;
    assert!(rest.starts_with(&next), "{next}, {rest}");
}

#[test]
fn a_model_of_words_does_not_chat() {
    let home = Home::new();
    word_run(&home, "");
    home.textgen("chat --run words")
        .refused(2)
        .names(&["word-vae"])
        .advises("char-lstm");
    for wrong in ["--length 0", "--temperature -1", "--repetition-penalty 0.9"] {
        chat_in(&home, wrong, "").refused(2);
    }
}
