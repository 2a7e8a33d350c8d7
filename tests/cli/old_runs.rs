//! Runs, states and compressed files of older versions open and give the same results.
//! `tests/old-runs/README.md` has the commands that made them.

use std::fs;

use super::common::{Home, repository};

/// A folder with the old files.
fn old() -> Home {
    let home = Home::new();
    let from = repository("tests/old-runs");
    super::common::copy_folder(&from, home.folder());
    home
}

/// A command's arguments; those with spaces are in double quotes.
fn arguments(command: &str) -> Vec<&str> {
    let pieces = command.split('"').enumerate();
    pieces
        .flat_map(|(index, piece)| match index % 2 {
            0 => piece.split_whitespace().collect(),
            _ => vec![piece],
        })
        .collect()
}

#[test]
fn old_models_give_the_same_texts_words_and_scores() {
    let home = old();
    let expected = fs::read_to_string(home.path("expected.txt")).expect("committed");
    let mut examples = 0;
    for example in expected.split("$ textgen ").skip(1) {
        let (command, output) = example.split_once('\n').expect("a command line");
        let ran = home.textgen_with(arguments(command)).succeeded();
        assert_eq!(ran.stdout, output, "textgen {command}");
        examples += 1;
    }
    assert_eq!(examples, 23);
}

#[test]
fn an_old_compressed_file_comes_back_and_is_made_again() {
    let home = old();
    home.textgen("decompress tales.textgen --run lstm --output back.txt")
        .succeeded();
    home.textgen("compress tales.txt --run lstm --output again.textgen")
        .succeeded();
    let read = |name: &str| fs::read(home.path(name)).expect(name);
    assert_eq!(read("back.txt"), read("tales.txt"));
    assert_eq!(read("again.textgen"), read("tales.textgen"));
}

#[test]
fn old_runs_are_listed_and_evaluated_with_their_baseline() {
    let home = old();
    let runs = home.textgen("runs").succeeded().stdout;
    for name in ["lstm", "gru", "words", "words-twin", "article"] {
        assert!(runs.contains(name), "{runs}");
        if name != "article" {
            home.textgen(&format!("eval {name}")).succeeded();
        }
    }
    let eval = home.textgen("eval words --json").succeeded().stdout;
    assert!(eval.contains("words-twin"), "{eval}");
}

#[test]
fn an_old_run_cannot_be_resumed_but_a_new_one_starts_from_its_model() {
    let home = old();
    for run in ["lstm", "gru", "words"] {
        let before = home.files();
        home.textgen(&format!("train --resume {run} --steps 60"))
            .refused(1)
            .names(&["state.safetensors", "state format 1", "only format 2"])
            .advises(&format!("textgen train --from {run}"));
        assert_eq!(home.files(), before);
    }
    home.write(
        "tales.txt",
        "Once upon a time there was a hen.\n".repeat(200),
    );
    home.train("--from lstm tales.txt --batch 4 --seq 16 --steps 2 --threads 1 --name on");
    home.textgen("generate --run on --length 10").succeeded();
}
