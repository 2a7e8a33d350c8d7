//! `textgen vocab`: the report, its numbers, and the file that `train` reads.

use std::fs;

use serde_json::{Value, json};

use super::common::{Home, Ran, json as parsed, textgen};

/// The report on the corpus in these arguments, as JSON.
#[track_caller]
fn report(home: &Home, arguments: &str) -> Value {
    let ran = home.textgen(&format!("vocab --json {arguments}"));
    parsed(&ran.succeeded().stdout)
}

/// The tokens and counts of a report, in its order.
fn table(report: &Value) -> Vec<(Value, u64)> {
    let rows = report["table"].as_array().expect("a table");
    let count = |row: &Value| row["count"].as_u64().expect("a count");
    let row = |row: &Value| (row["token"].clone(), count(row));
    rows.iter().map(row).collect()
}

/// The counts of these tokens in a report.
fn counts(report: &Value, tokens: &[&str]) -> Vec<u64> {
    let table = table(report);
    let count = |token: &&str| {
        let found = table.iter().find(|(text, _)| text == token);
        found.map_or(0, |(_, count)| *count)
    };
    tokens.iter().map(count).collect()
}

#[test]
fn the_report_shows_counts_shares_and_names() {
    let home = Home::new();
    home.write("hello.txt", "hello world\nhello\n");
    let ran = home.textgen("vocab hello.txt").succeeded();
    for line in [
        "corpus      hello (1 source)",
        "bytes       18",
        "lines       2",
        "words       3",
        "tokens      18 of 9 distinct (unit char)",
        "   0              5   27.778%     27.778%  U+006C    l     LATIN SMALL LETTER L",
        "--min-freq 1 --max-vocab 400 (chosen) cuts nothing",
    ] {
        assert!(
            ran.stdout.lines().any(|l| l == line),
            "{line}\n{}",
            ran.stdout
        );
    }
    assert!(
        ran.stderr.contains("warning: too short to train"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_json_counts_a_small_text_right() {
    let home = Home::new();
    home.write("hello.txt", "hello world\nhello\n");
    let report = report(&home, "hello.txt");
    for (key, number) in [
        ("bytes", 18),
        ("chars", 18),
        ("lines", 2),
        ("words", 3),
        ("tokens", 18),
        ("distinct", 9),
        ("vocabulary_size", 9),
    ] {
        assert_eq!(report[key], number, "{key}");
    }
    // The most frequent first, ties by code point.
    let want = [
        ("l", 5),
        ("o", 3),
        ("\n", 2),
        ("e", 2),
        ("h", 2),
        (" ", 1),
        ("d", 1),
        ("r", 1),
        ("w", 1),
    ];
    assert_eq!(table(&report), want.map(|(s, n)| (json!(s), n)));
    // -Σ p log₂ p over 5, 3, 2, 2, 2, 1, 1, 1, 1 of 18.
    let entropy = report["entropy_bits_per_char"].as_f64().expect("entropy");
    assert!((entropy - 2.927_451_224_964_518).abs() < 1e-12, "{entropy}");
    let last = report["table"][8]["cumulative"]
        .as_f64()
        .expect("a fraction");
    assert!((last - 1.0).abs() < 1e-12, "{last}");
}

#[test]
fn standard_input_several_files_and_folders_are_corpora() {
    let home = Home::new();
    home.write("a.txt", "ab");
    home.write("books/b.txt", "cd");
    home.write("books/deep/c.txt", "ef");
    home.write("books/notes.md", "xyz");
    let mut command = home.command(textgen());
    command.args(["vocab", "--json", "-"]).write_stdin("ababc");
    let stdin = parsed(&Ran::of(&mut command).succeeded().stdout);
    assert_eq!(counts(&stdin, &["a", "b", "c"]), [2, 2, 1]);
    let both = report(&home, "a.txt books");
    assert_eq!(
        counts(&both, &["a", "b", "c", "d", "e", "f", "x"]),
        [1, 1, 1, 1, 1, 1, 1]
    );
    assert_eq!(both["corpus"].as_array().map(Vec::len), Some(4));
    // Under corpora/ a corpus needs no path.
    home.write("corpora/own.txt", "zz");
    assert_eq!(counts(&report(&home, "own.txt"), &["z"]), [2]);
}

#[test]
fn the_bundled_corpus_is_there_without_any_file() {
    let home = Home::new();
    let ran = home.textgen("vocab --json").succeeded();
    assert!(ran.stderr.contains("bundled fairy-tales"), "{}", ran.stderr);
    let unnamed = parsed(&ran.stdout);
    assert_eq!(unnamed, report(&home, "fairy-tales.txt"));
    assert!(unnamed["chars"].as_u64() > Some(100_000));
}

#[test]
fn every_unit_cuts_the_text_its_own_way() {
    let home = Home::new();
    // e and a combining acute, twice: the form `none` keeps them apart.
    home.write("text.txt", "e\u{301}xe\u{301}");
    let unit = |unit| report(&home, &format!("--normalize none --unit {unit} text.txt"));
    assert_eq!(counts(&unit("char"), &["e", "\u{301}", "x"]), [2, 2, 1]);
    assert_eq!(counts(&unit("grapheme"), &["e\u{301}", "x"]), [2, 1]);
    let bytes = table(&unit("byte"));
    let want = [(101, 2), (0x81, 2), (0xCC, 2), (120, 1)].map(|(b, n)| (json!(b), n));
    assert_eq!(bytes.len(), want.len());
    for pair in want {
        assert!(bytes.contains(&pair), "{pair:?} in {bytes:?}");
    }
}

#[test]
fn every_normal_form_changes_what_it_should() {
    let home = Home::new();
    home.write("text.txt", "e\u{301}ﬁß");
    let tokens = |flags: &str| {
        let mut found: Vec<String> = table(&report(&home, &format!("{flags} text.txt")))
            .iter()
            .filter_map(|(token, _)| token.as_str().map(str::to_owned))
            .collect();
        found.sort();
        found
    };
    assert_eq!(tokens("--normalize none"), ["e", "ß", "\u{301}", "ﬁ"]);
    assert_eq!(tokens("--normalize nfc"), ["ß", "é", "ﬁ"]);
    assert_eq!(tokens("--normalize nfkc"), ["f", "i", "ß", "é"]);
    assert_eq!(tokens("--normalize ascii"), ["e", "f", "i", "s"]);
    home.write("text.txt", "Aa\r\nÉ");
    assert_eq!(tokens("--lowercase"), ["\n", "\r", "a", "é"]);
    assert_eq!(tokens("--newlines unix"), ["\n", "A", "a", "É"]);
}

#[test]
fn older_encodings_are_read_by_their_name_and_faults_by_lossy() {
    let home = Home::new();
    home.write("old.txt", b"caf\xE9 \x80");
    let tokens = ["é", "€", "\u{FFFD}"];
    let windows = report(&home, "--encoding windows-1252 old.txt");
    assert_eq!(counts(&windows, &tokens), [1, 1, 0]);
    let lossy = report(&home, "--encoding lossy old.txt");
    assert_eq!(counts(&lossy, &tokens), [0, 0, 2]);
}

#[test]
fn limits_cut_the_rarest_tokens_and_say_what_that_costs() {
    let home = Home::new();
    home.write("text.txt", "aaaabbbccd");
    for flags in ["--min-freq 3", "--max-vocab 2"] {
        let report = report(&home, &format!("{flags} text.txt"));
        assert_eq!(report["vocabulary_size"], 3, "a, b and <unk>");
        assert_eq!(report["cut"]["tokens"], 2, "c and d");
        assert_eq!(report["cut"]["count"], 3);
        assert_eq!(report["cut"]["share"], 0.3);
        let kept: Value = parsed(&fs::read_to_string(home.path("runs/vocab.json")).expect("kept"));
        assert_eq!(kept["vocabulary"]["symbols"], json!(["a", "b"]));
        assert_eq!(kept["vocabulary"]["unk"], 2);
    }
}

#[test]
fn data_goes_to_stdout_and_everything_else_to_stderr() {
    let home = Home::new();
    let ran = home.textgen("vocab").succeeded();
    assert!(
        ran.stdout.starts_with("corpus      fairy-tales"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("vocab.json"), "{}", ran.stdout);
    assert!(ran.stderr.contains("runs/vocab.json"), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'));
}

#[test]
fn the_same_text_gives_the_same_vocabulary_file() {
    let home = Home::new();
    let vocabulary = || {
        home.textgen("vocab").succeeded();
        fs::read(home.path("runs/vocab.json")).expect("a vocabulary")
    };
    assert_eq!(vocabulary(), vocabulary());
}

#[test]
fn train_takes_up_the_corpus_and_the_settings_last_given_to_vocab() {
    let home = Home::new();
    home.write(
        "rain.txt",
        "The rain in Spain stays mainly in the plain.\n".repeat(200),
    );
    home.textgen("vocab --lowercase --max-vocab 12 rain.txt")
        .succeeded();
    let ran = home.train("--model char-lstm --hidden 8 --steps 2 --threads 1 --name rain");
    assert!(
        ran.stderr
            .contains("corpus: rain (the one last given to vocab)"),
        "{}",
        ran.stderr
    );
    let settings = fs::read_to_string(home.path("runs/rain/config.toml")).expect("settings");
    for line in [
        "lowercase = true",
        "max-vocab = 12",
        "corpus-name = \"rain\"",
    ] {
        assert!(settings.contains(line), "{line}: {settings}");
    }
    let text = home
        .textgen("generate --run rain --length 200 --seed 1")
        .succeeded()
        .stdout;
    assert!(text.chars().all(|c| !c.is_uppercase()), "{text}");
}

#[test]
fn a_corpus_given_to_train_wins_over_the_one_given_to_vocab() {
    let home = Home::new();
    home.write(
        "rain.txt",
        "The rain in Spain stays mainly in the plain.\n".repeat(200),
    );
    home.textgen("vocab --lowercase fairy-tales.txt")
        .succeeded();
    let ran = home.train("--model char-lstm --hidden 8 --steps 2 --threads 1 --name rain rain.txt");
    assert!(
        !ran.stderr.contains("last given to vocab"),
        "{}",
        ran.stderr
    );
    let settings = fs::read_to_string(home.path("runs/rain/config.toml")).expect("settings");
    assert!(settings.contains("lowercase = false"), "{settings}");
}

#[test]
fn a_vocabulary_file_that_is_damaged_or_newer_is_refused_by_train() {
    let home = Home::new();
    for (content, part) in [
        ("{\"format\":1,", "vocab.json"),
        ("{\"format\":99}", "format 99"),
    ] {
        home.write("runs/vocab.json", content);
        home.textgen("train --model char-lstm --steps 2")
            .refused(1)
            .names(&["vocab.json", part]);
    }
}

#[test]
fn a_file_of_somebody_elses_is_not_replaced() {
    let home = Home::new();
    home.write("runs/vocab.json", "{\"my\": \"vocabulary\"}");
    // What was counted is shown all the same.
    let ran = home.textgen("vocab fairy-tales.txt");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("LATIN SMALL LETTER E"), "{ran:?}");
    assert!(
        ran.stderr
            .contains("vocab.json: cannot write: exists already and is not a vocabulary"),
        "{ran:?}"
    );
    let kept = fs::read_to_string(home.path("runs/vocab.json")).expect("kept");
    assert!(kept.contains("my"), "{kept}");
    home.write("file", "no folder");
    home.textgen("train fairy-tales.txt --model char-lstm --runs-dir file")
        .refused(1)
        .names(&["file", "is not a folder"])
        .advises("--runs-dir");
}

#[test]
fn words_that_come_again_are_counted_where_words_are_asked_for() {
    let home = Home::new();
    home.write("names.txt", "anna\nbob\nanna\n\n \ncarl\nbob\nanna\n");
    let plain = home.textgen("vocab names.txt").succeeded().stdout;
    assert!(!plain.contains("repetitions"), "{plain}");
    assert!(report(&home, "names.txt")["word_list"].is_null());
    let table = home
        .textgen("vocab names.txt --words lines")
        .succeeded()
        .stdout;
    assert!(table.starts_with(&plain), "{table}");
    assert_eq!(
        &table[plain.len()..],
        "\nwords (lines): 6 in all, 3 distinct, 3 repetitions; 1 blank passed over\n\
         repeated: 3 × anna, 2 × bob\n"
    );
    let words = &report(&home, "names.txt --words lines")["word_list"];
    for (key, number) in [
        ("words", 6),
        ("distinct", 3),
        ("repetitions", 3),
        ("repeated", 2),
        ("empty", 1),
    ] {
        assert_eq!(words[key], number, "{key}");
    }
    assert_eq!(
        words["most_repeated"],
        json!([{"word": "anna", "count": 3}, {"word": "bob", "count": 2}])
    );
    home.write("text.txt", "The end, the end!");
    let words = &report(&home, "text.txt --words text --lowercase")["word_list"];
    assert_eq!(
        (&words["distinct"], &words["words"]),
        (&2.into(), &4.into())
    );
    let mut command = home.command(textgen());
    command
        .args(["vocab", "--words", "lines", "-"])
        .write_stdin("ab\nab\n");
    let ran = Ran::of(&mut command).succeeded();
    assert!(ran.stdout.contains("1 distinct"), "{}", ran.stdout);
}
