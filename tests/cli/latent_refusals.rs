//! What the commands that traverse a latent space, and `generate`'s flags for words, refuse.

use textgen::models::weights::Array;
use textgen::run::ModelFile;

use super::common::{Home, golden_model};
use super::latent::{COMMANDS, home};
use super::made_runs::{baseline_run, golden_run, word_run};

#[test]
fn a_model_without_a_latent_space_is_refused_in_one_line() {
    let home = Home::new();
    golden_run(&home, "");
    for command in COMMANDS {
        for model in [
            "--run golden".to_owned(),
            format!("--model-file {}", golden_model().display()),
        ] {
            home.textgen(&format!("{command} {model}"))
                .refused(2)
                .names(&["model.safetensors", "char-lstm"])
                .advises("word-vae");
        }
    }
    let article = Home::new();
    word_run(&article, "recipe = \"article\"");
    for command in COMMANDS {
        article.textgen(command).refused(2).names(&["article"]);
    }
    for flag in [
        "--decode greedy",
        "--starts-with a",
        "--scores",
        "--constrain a",
    ] {
        article
            .textgen(&format!("generate {flag}"))
            .refused(2)
            .names(&["article"]);
    }
    for flag in ["--starts-with a", "--scores"] {
        home.textgen(&format!("generate {flag}"))
            .refused(2)
            .names(&["char-lstm"]);
    }
    home.textgen("generate --length 3-5")
        .refused(2)
        .names(&["3-5"]);
}

#[test]
fn a_model_that_went_wrong_in_training_is_refused() {
    let home = Home::new();
    let run = word_run(&home, "");
    let file = ModelFile::open(&run.model_path()).expect("a model");
    let mut weights = file.weights().expect("weights");
    // Finite, but whatever the summary of a word is, one of two opposite rows goes beyond f32.
    let rows = [f32::MAX, -f32::MAX, 0.0, 0.0].map(|x| [x; 32]);
    let weight = Array::f32([4, 32], rows.concat());
    weights.insert("encoder.mean.weight".to_owned(), weight);
    weights.insert(
        "encoder.mean.bias".to_owned(),
        Array::f32([4], vec![f32::MAX; 4]),
    );
    let words = file.training_text().expect("words");
    ModelFile::write(&home.path("wild.st"), &file.header, &weights, words).expect("written");
    for command in COMMANDS {
        home.textgen(&format!("{command} --model-file wild.st"))
            .refused(1)
            .names(&["wild.st", "not a number"]);
    }
}

#[test]
fn words_that_cannot_be_read_are_refused() {
    let home = home();
    for command in ["encode", "reconstruct", "neighbours", "vary"] {
        home.textgen(&format!("{command} abx"))
            .refused(1)
            .names(&["abx", "character 3", "nearest"])
            .advises("--on-unknown");
        home.textgen(command).refused(2);
        home.textgen_with([command, " "])
            .refused(2)
            .names(&["not a word"]);
        home.textgen_with([command, "xyz", "--on-unknown", "skip"])
            .refused(2)
            .names(&["xyz", "not a word"]);
    }
    let same = home.textgen("encode ab").stdout;
    assert_eq!(
        home.textgen("encode abx --on-unknown skip")
            .succeeded()
            .stdout,
        same
    );
    home.textgen("interpolate ab").refused(2);
    home.textgen("analogy ab cd").refused(2);
    home.write("bad.txt", "ab\n\nabx\n");
    home.textgen("encode --file bad.txt")
        .refused(1)
        .names(&["bad.txt", "line 3", "abx"]);
    home.write("blank.txt", "\n \n");
    home.textgen("encode --file blank.txt")
        .refused(1)
        .names(&["blank.txt", "no word"]);
    home.write("latin.txt", b"ab\n\xE9\n");
    home.textgen("neighbours ab --among latin.txt")
        .refused(1)
        .names(&["latin.txt", "byte offset 3"]);
    for flag in ["encode --file", "neighbours ab --among", "map --labels"] {
        let name = flag.rsplit(' ').next().expect("a flag");
        home.textgen(&format!("{flag} missing.txt"))
            .refused(1)
            .names(&[&format!("{name} missing.txt: No such file")])
            .advises("word");
    }
    home.textgen("encode ab --model-file missing.st")
        .refused(1)
        .names(&["no run named missing.st"])
        .advises("textgen runs");
    // A file that holds no word is none that the command line could mend.
    home.write("strange.txt", "ab\nxyz\n");
    home.textgen("encode --file strange.txt --on-unknown skip")
        .refused(1)
        .names(&["strange.txt", "line 2", "xyz", "not a word"]);
    home.write("labels.tsv", "ab\tone\ncd two\n");
    home.textgen("map --labels labels.tsv")
        .refused(1)
        .names(&["labels.tsv", "line 2", "tab"]);
    assert!(!home.path("map.svg").exists());
}

#[test]
fn flags_out_of_range_are_misuse() {
    let home = home();
    for (arguments, part) in [
        ("neighbours ab -k 0", "--count 0"),
        ("vary ab --radius -1", "--radius -1"),
        ("vary ab --radius NaN", "--radius NaN"),
        ("vary ab --count 0", "--count 0"),
        ("interpolate ab cd --steps 1", "--steps 1"),
        ("reconstruct ab --decode beam:0", "beam:K"),
        ("reconstruct ab --decode best", "greedy, sample, beam:K"),
        ("reconstruct ab --temperature 2", "--decode sample"),
        (
            "reconstruct ab --decode sample --temperature -1",
            "--temperature -1",
        ),
        ("reconstruct ab --tsv --json", "--json"),
        ("map --count 0", "--count 0"),
        ("map --tsv --out -", "standard output"),
        ("vary ab --count -3", "'-3' for '--count <N>'"),
        ("neighbours ab -k -1", "not below 0"),
        ("interpolate ab cd --steps -1", "not below 0"),
        ("map --color label", "--color label"),
        ("map --color loud", "length, first, label"),
        ("generate --length 0", "1 to 64"),
        ("generate --length 65", "1 to 64"),
        ("generate --length 7-3", "7-3"),
        ("generate --length x", "x"),
        ("generate --starts-with abcde --length 3", "5 letters"),
        ("generate --constrain [a-z]{5} --length 3", "5 tokens"),
        ("generate --constrain 1+", "no text of characters"),
        ("generate --constrain a.* --starts-with a", "--starts-with"),
        (
            "generate --decode beam:4 --temperature 0.5",
            "--temperature",
        ),
        ("generate --decode greedy --top-k 3", "--top-k"),
        ("generate --on-unknown skip", "--starts-with"),
    ] {
        home.textgen(arguments).refused(2).names(&[part]);
    }
    home.textgen("generate --starts-with axb")
        .refused(1)
        .names(&["--starts-with", "character 2"]);
}

#[test]
fn without_a_run_the_way_to_a_word_vae_is_said() {
    let home = Home::new();
    for command in COMMANDS {
        home.textgen(command)
            .refused(1)
            .names(&["no runs yet"])
            .advises("--model word-vae");
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_named_as_it_was_given() {
    let home = home();
    let refusal = home.textgen("map --out nowhere/map.svg").refused(1);
    assert_eq!(
        refusal.error,
        "nowhere/map.svg: cannot write: No such file or directory (os error 2)"
    );
    refusal.advises("folder");
}

#[test]
fn a_z_temperature_needs_a_z() {
    let home = Home::new();
    baseline_run(&home);
    home.textgen("generate --run words-twin --z-temperature 2")
        .refused(2)
        .names(&["--z-temperature", "latent 0"])
        .advises("--temperature");
    word_run(&home, "recipe = \"article\"");
    home.textgen("generate --run words --z-temperature 2")
        .refused(2)
        .names(&["--z-temperature", "article"]);
}

#[test]
fn lengths_that_are_never_written_are_answered_with_those_that_are() {
    let home = home();
    let ran = home.textgen(
        "generate --run words --length 33 --count 3 --seed 1 --temperature 0 --z-temperature 0",
    );
    ran.refused(1)
        .names(&["only 0 such words"])
        .advises("nine of ten words that this model writes have ");
    // There are six words of one letter at the most, and they are written often.
    let ran = home.textgen("generate --run words --length 1 --unique --count 50 --seed 1");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("raise --temperature"), "{ran:?}");
}
