//! Wrong corpora, flags and prompts: one clear line, no file created, none lost.

use super::common::{Home, Ran, Refusal, golden_model, model_of, textgen, vae_words};
use super::safetensors_file::Parts;

/// `train` refuses this corpus for every model with this exit code, and changes no file.
#[track_caller]
fn train_refuses(home: &Home, arguments: &str, code: i32) -> Refusal {
    let before = home.files();
    let refusal = home.textgen(&format!("train {arguments}")).refused(code);
    assert!(home.files() == before, "a refused command leaves no trace");
    refusal
}

// ---------------------------------------------------------------- corpora

#[test]
fn a_missing_corpus_is_refused_with_the_places_that_were_tried() {
    let home = Home::new();
    for command in [
        "train --model char-lstm",
        "train --model word-vae --words lines",
        "vocab",
    ] {
        home.textgen(&format!("{command} no-such.txt"))
            .refused(1)
            .names(&["no-such.txt: no such corpus", "corpora/no-such.txt"])
            .advises("fairy-tales.txt");
    }
    assert!(home.files().is_empty());
}

#[test]
fn an_empty_corpus_is_refused() {
    let home = Home::new();
    home.write("empty.txt", "");
    for model in ["char-lstm", "word-vae"] {
        train_refuses(&home, &format!("--model {model} empty.txt"), 1)
            .names(&["empty.txt", "is empty"]);
    }
    home.textgen("vocab empty.txt").refused(1);
    assert!(!home.path("runs").exists());
}

#[test]
fn a_corpus_that_holds_only_a_byte_order_mark_is_empty() {
    let home = Home::new();
    home.write("mark.txt", b"\xEF\xBB\xBF");
    for model in ["char-lstm", "word-vae"] {
        train_refuses(&home, &format!("--model {model} mark.txt"), 1).names(&["mark", "is empty"]);
    }
    home.textgen("vocab mark.txt").refused(1);
}

#[test]
fn a_corpus_of_one_character_has_nothing_to_learn() {
    let home = Home::new();
    home.write("one.txt", "a");
    home.write("same.txt", "a".repeat(100_000));
    for corpus in ["one", "same"] {
        train_refuses(&home, &format!("--model char-lstm ./{corpus}.txt"), 1).names(&[
            &format!("./{corpus}.txt: "),
            "single distinct token",
            "nothing to learn",
        ]);
        train_refuses(&home, &format!("--model word-vae ./{corpus}.txt"), 1)
            .names(&[&format!("./{corpus}.txt: too few")]);
    }
}

#[test]
fn a_folder_without_text_is_refused() {
    let home = Home::new();
    home.write("folder/picture.png", "x");
    for model in ["char-lstm", "word-vae"] {
        train_refuses(&home, &format!("--model {model} folder"), 1).names(&[
            "folder",
            "no text in it",
            ".png",
        ]);
    }
    home.textgen("vocab folder").refused(1);
    assert!(!home.path("runs").exists());
}

#[test]
fn an_invalid_byte_is_refused_with_file_line_and_offset() {
    let home = Home::new();
    home.write("good.txt", "a good line\n".repeat(50));
    home.write("bad.txt", b"abc\nd\xFFe\n");
    let place = ["bad.txt", "line 2", "byte offset 5", "0xFF", "UTF-8"];
    for command in ["train --model char-lstm", "train --model word-vae", "vocab"] {
        home.textgen(&format!("{command} good.txt bad.txt"))
            .refused(1)
            .names(&place)
            .advises("--encoding");
    }
    assert!(!home.path("runs").exists());
}

#[test]
fn bytes_that_the_encoding_does_not_have_are_refused() {
    let home = Home::new();
    home.write("bad.txt", b"\x8F\xA2\xFF\xFFab");
    train_refuses(&home, "--model char-lstm --encoding shift_jis bad.txt", 1)
        .names(&["bad.txt", "line 1", "Shift_JIS"])
        .advises("--encoding lossy");
}

#[test]
fn a_corpus_shorter_than_one_batch_is_refused_with_sizes_that_fit() {
    let home = Home::new();
    home.write("short.txt", "a short line\n".repeat(80));
    train_refuses(&home, "--model char-lstm --batch 32 --seq 128 short.txt", 1)
        .names(&["936 tokens", "32 streams of 128", "4097"])
        .advises("--batch 7 or --seq 29 would fit");
}

#[test]
fn a_text_of_fewer_than_200_characters_is_refused_in_one_line() {
    let home = Home::new();
    let text = "a short line, ".repeat(20);
    home.write("short.txt", &text[..199]);
    train_refuses(&home, "--model char-lstm short.txt", 1)
        .names(&["short.txt: too short", "199 of at least 200 characters"])
        .advises("use a longer text");
    home.train("--model char-lstm --batch 2 --seq 16 --steps 2 --hidden 8 short.txt");
}

#[test]
fn a_file_whose_name_starts_with_a_dash_is_recognised() {
    let home = Home::new();
    home.write("-rain.txt", "Rain and wind.\n".repeat(20));
    home.textgen("vocab -rain.txt")
        .refused(2)
        .names(&["unexpected argument"])
        .advises("tip: -rain.txt is a file: name it ./-rain.txt");
    home.textgen("vocab ./-rain.txt").succeeded();
    home.textgen("vocab -- -rain.txt").succeeded();
    // Without such a file it is but an unknown flag.
    let refused = home.textgen("vocab -wind.txt").refused(2);
    assert!(!refused.hint.contains("is a file"), "{refused:?}");
}

#[test]
fn an_empty_standard_input_is_refused() {
    train_refuses(&Home::new(), "--model char-lstm -", 1).names(&["standard input", "is empty"]);
}

// ---------------------------------------------------------------- flags of train

#[test]
fn an_unknown_value_is_answered_with_the_valid_ones() {
    let cases: &[(&str, &[&str])] = &[
        ("--cell", &["lstm", "gru", "rnn"]),
        ("--unit", &["char", "grapheme", "byte"]),
        ("--normalize", &["none", "nfc", "nfkc", "ascii"]),
        ("--split", &["contiguous", "window:N", "interleaved"]),
        ("--device", &["auto", "cpu", "cuda", "cuda:N"]),
        ("--precision", &["f32", "tf32", "bf16"]),
        ("--optimizer", &["adam", "amsgrad", "adamw"]),
        ("--schedule", &["constant", "cosine", "step", "plateau"]),
        ("--recipe", &["notebook", "article"]),
        ("--words", &["text", "lines"]),
    ];
    let home = Home::new();
    for (flag, valid) in cases {
        let arguments = format!("--model char-lstm {flag} nonsense");
        let refusal = train_refuses(&home, &arguments, 2).names(&[flag, "nonsense"]);
        let all = format!("{} {}", refusal.error, refusal.hint);
        for value in *valid {
            assert!(all.contains(value), "{flag}: {value} is not in: {all}");
        }
    }
}

#[test]
fn a_precision_that_the_cpu_lacks_is_refused_before_there_is_a_run() {
    let home = Home::new();
    let tf32 = "--model char-lstm --device cpu --precision tf32";
    train_refuses(&home, tf32, 2).names(&["--precision tf32", "needs a CUDA device"]);
    let before = home.files();
    let mut train = home.command(textgen());
    train.args(["train", "--model", "word-vae", "--precision", "bf16"]);
    // On every machine: a processor that has the instructions is kept from using them.
    Ran::of(
        train
            .args(["--device", "cpu"])
            .env("TEXTGEN_SIMD", "portable"),
    )
    .refused(1)
    .names(&["--precision bf16", "needs AVX512_BF16"])
    .advises("--precision f32");
    assert_eq!(home.files(), before);
}

#[test]
fn an_unknown_model_is_answered_with_the_two_there_are() {
    let refusal = train_refuses(&Home::new(), "--model transformer", 2);
    let all = format!("{} {}", refusal.error, refusal.hint);
    for part in ["--model", "transformer", "char-lstm", "word-vae"] {
        assert!(all.contains(part), "{part} is not in: {all}");
    }
}

#[test]
fn training_without_a_model_is_answered_with_the_two_there_are() {
    train_refuses(&Home::new(), "", 2)
        .names(&["--model"])
        .advises("--model word-vae");
}

#[test]
fn an_unknown_encoding_is_answered_with_common_ones() {
    let home = Home::new();
    for command in ["train --model char-lstm", "vocab"] {
        home.textgen(&format!("{command} --encoding klingon"))
            .refused(2)
            .names(&["encoding", "klingon"])
            .advises("windows-1252");
    }
    assert!(home.files().is_empty());
}

#[test]
fn unknown_values_of_vocab_are_answered_with_the_valid_ones() {
    let home = Home::new();
    let unit = home.textgen("vocab --unit syllable").refused(2);
    unit.names(&["--unit", "char", "grapheme", "byte"]);
    let form = home.textgen("vocab --normalize upper").refused(2);
    form.names(&["--normalize", "none", "nfc", "nfkc", "ascii"]);
    home.textgen("vocab --max-vocab 0")
        .refused(2)
        .names(&["--max-vocab", "at least 1"]);
    assert!(home.files().is_empty());
}

#[test]
fn two_budgets_exclude_each_other() {
    let home = Home::new();
    for (one, other) in [
        ("steps", "minutes"),
        ("steps", "epochs"),
        ("epochs", "minutes"),
    ] {
        train_refuses(
            &home,
            &format!("--model char-lstm --{one} 1 --{other} 1"),
            2,
        )
        .names(&[&format!("--{one}"), &format!("--{other}")]);
    }
    home.write("two.toml", "steps = 3\nminutes = 1.0\n");
    train_refuses(&home, "--model char-lstm --config two.toml", 2).names(&["--steps", "--minutes"]);
}

#[test]
fn numbers_out_of_range_are_refused_with_their_range() {
    let home = Home::new();
    for (flags, must) in [
        ("--hidden 0", "1 to 16384"),
        ("--layers 99", "1 to 16"),
        ("--steps 0", "above 0"),
        ("--lr NaN", "above 0"),
        ("--lr -0.1", "above 0"),
        ("--batch -2", "not below 0"),
        ("--dropout 1", "below 1"),
        ("--valid 0.6 --test 0.5", "leave something to train on"),
        ("--seq 10 --seq-min 11", "at most --seq"),
    ] {
        let flag = flags.split(' ').rev().nth(1).expect("a flag");
        train_refuses(&home, &format!("--model char-lstm {flags}"), 2).names(&[flag, must]);
    }
}

#[test]
fn settings_of_the_other_model_are_refused() {
    let home = Home::new();
    train_refuses(&home, "--model char-lstm --latent 3", 2).names(&["--latent 3", "word-vae"]);
    train_refuses(&home, "--model char-lstm --recipe article", 2).names(&["--recipe article"]);
    train_refuses(&home, "--model word-vae --recipe notebook", 2).names(&["--recipe notebook"]);
}

#[test]
fn a_settings_file_that_is_missing_wrong_or_newer_is_refused() {
    let home = Home::new();
    home.write("typo.toml", "layers = 1\nhiden = 4\n");
    home.write("type.toml", "hidden = \"many\"\n");
    home.write("newer.toml", "format = 99\n");
    let train = |file: &str| train_refuses(&home, &format!("--model char-lstm --config {file}"), 2);
    train_refuses(&home, "--model char-lstm --config none.toml", 1)
        .names(&["--config none.toml: No such file"])
        .advises("config.toml");
    train("typo.toml").names(&["typo.toml:2", "hiden"]);
    train("type.toml").names(&["type.toml:1"]);
    train("newer.toml").names(&["newer.toml", "format 99", "newer"]);
}

#[test]
fn a_name_that_is_taken_or_is_no_name_is_refused() {
    let home = Home::with_run(vae_words());
    train_refuses(&home, "--model char-lstm --steps 2 --name words", 1)
        .names(&["a run named words exists"])
        .advises("--resume words");
    for name in ["../words", ".hidden", "a/b", "-a"] {
        let arguments = format!("--model char-lstm --steps 2 --name={name}");
        train_refuses(&home, &arguments, 1).names(&[name, "not a valid name for a run"]);
    }
}

#[test]
fn resuming_takes_no_other_settings_and_no_unknown_name() {
    let home = Home::with_run(vae_words());
    train_refuses(&home, "--resume words --lr 0.1", 2).advises("--steps");
    train_refuses(&home, "--resume nothing", 1).names(&["no run named nothing"]);
    train_refuses(&home, "--resume words", 1)
        .names(&["words has finished"])
        .advises("larger --steps");
}

#[test]
fn an_unknown_command_or_flag_is_misuse() {
    let home = Home::new();
    home.textgen("knit").refused(2).names(&["knit"]);
    home.textgen("generate --wings 2")
        .refused(2)
        .names(&["--wings"]);
    home.textgen("generate --length many")
        .refused(2)
        .names(&["--length", "many"]);
}

// ---------------------------------------------------------------- generate

/// `generate` with the golden model and these arguments.
fn generate(arguments: &[&str]) -> Ran {
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["generate", "--length", "20", "--seed", "1", "--model-file"]);
    Ran::of(command.arg(golden_model()).args(arguments))
}

#[test]
fn an_unknown_character_of_a_prompt_is_named_with_its_code_point_and_the_nearest() {
    generate(&["--prompt", "Héy"])
        .refused(1)
        .names(&["é", "U+00E9", "character 2", "nearest", "'e'"])
        .advises("--on-unknown nearest");
}

#[test]
fn unknown_characters_of_a_prompt_can_be_skipped_or_replaced() {
    let said = |prompt, how: &[&str]| {
        let arguments = [&["--json", "--prompt", prompt], how].concat();
        let line = generate(&arguments).succeeded().stdout;
        super::common::json(&line)["text"].clone()
    };
    let nearest = said("A hén", &["--on-unknown", "nearest"]);
    let notes = generate(&["--prompt", "é", "--on-unknown", "nearest"]).stderr;
    assert!(notes.contains("é as e"), "{notes}");
    assert_eq!(nearest, said("A hen", &[]));
    let skipped = said("A h☃en", &["--on-unknown", "skip"]);
    assert_eq!(skipped, said("A hen", &[]));
    // A prompt that is empty after normalisation is refused.
    assert_eq!(said("☃", &["--on-unknown", "skip"]), said("", &[]));
}

#[test]
fn a_prompt_that_is_not_utf_8_is_refused_with_the_offset() {
    let home = Home::new();
    let mut command = home.command(textgen());
    command.args(["generate", "--prompt", "-", "--model-file"]);
    command
        .arg(golden_model())
        .write_stdin(b"A h\xFFn".to_vec());
    Ran::of(&mut command)
        .refused(1)
        .names(&["not UTF-8", "offset 3"]);
}

#[test]
fn a_temperature_must_be_a_number_of_at_least_zero() {
    for value in ["-1", "-0.001", "NaN", "inf"] {
        generate(&["--temperature", value])
            .refused(2)
            .names(&[&format!("--temperature {value}"), "at least 0"]);
    }
    generate(&["--temperature", "warm"])
        .refused(2)
        .names(&["--temperature", "warm"]);
}

#[test]
fn top_p_and_top_k_must_be_in_their_ranges() {
    for value in ["0", "-1", "1.5", "NaN"] {
        generate(&["--top-p", value])
            .refused(2)
            .names(&[&format!("--top-p {value}"), "above 0 and at most 1"]);
    }
    generate(&["--top-k", "0"])
        .refused(2)
        .names(&["--top-k 0", "at least 1"]);
    for value in [&["--top-k=-3"][..], &["--top-k", "-3"]] {
        generate(value)
            .refused(2)
            .names(&["'-3' for '--top-k <K>'", "whole number, and not below 0"]);
    }
}

#[test]
fn flags_of_the_other_model_are_refused_with_its_name() {
    for flags in [
        &["--unique"][..],
        &["--novel"],
        &["--z-temperature", "2"],
        &["--starts-with", "a"],
        &["--scores"],
    ] {
        let refusal = {
            let home = Home::new();
            let mut command = home.command(textgen());
            command
                .args(["generate", "--model-file"])
                .arg(golden_model());
            Ran::of(command.args(flags)).refused(2)
        };
        refusal.names(&[flags[0], "belongs to word-vae", "is a char-lstm"]);
    }
    let home = Home::new();
    for flags in [["--prompt", "a"], ["--stop", "a"]] {
        let mut command = home.command(textgen());
        command.args(["generate", "--model-file"]);
        command.arg(model_of(vae_words())).args(flags);
        Ran::of(&mut command).refused(2).names(&[
            flags[0],
            "belongs to char-lstm",
            "is a word-vae",
        ]);
    }
}

#[test]
fn a_z_temperature_must_be_a_number_of_at_least_zero() {
    let home = Home::new();
    for value in ["-1", "NaN"] {
        let mut command = home.command(textgen());
        command.args(["generate", "--z-temperature", value, "--model-file"]);
        Ran::of(command.arg(model_of(vae_words())))
            .refused(2)
            .names(&[&format!("--z-temperature {value}"), "at least 0"]);
    }
}

#[test]
fn generating_without_any_run_says_how_to_train_one() {
    let home = Home::new();
    home.textgen("generate")
        .refused(1)
        .names(&["runs", "no runs"])
        .advises("textgen train");
    home.textgen("generate --run nothing")
        .refused(1)
        .names(&["no run named nothing"]);
    assert!(home.files().is_empty());
}

#[test]
fn an_unknown_instruction_set_is_answered_with_the_valid_ones() {
    let home = Home::new();
    let mut command = home.command(textgen());
    command
        .args(["generate", "--model-file"])
        .arg(golden_model());
    Ran::of(command.env("TEXTGEN_SIMD", "mmx"))
        .refused(2)
        .names(&["TEXTGEN_SIMD=mmx", "portable"]);
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_an_error() {
    for command in ["--help", "train --help", "--version"] {
        Home::new()
            .shell(&format!("exec textgen {command} >/dev/full"))
            .refused(1)
            .names(&["writing to standard output", "No space left"]);
    }
}

#[test]
fn what_a_stranger_s_file_says_reaches_the_terminal_on_one_short_line() {
    let home = Home::new();
    let mut parts = Parts::read(&golden_model());
    let name = format!(
        "\u{1b}]0;owned\u{7}\nhint: rm -rf \u{202e}{}",
        "x".repeat(100_000)
    );
    let end = parts.data.len();
    parts.header[name] =
        serde_json::json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
    parts.data.extend([0; 4]);
    home.write("model.safetensors", parts.to_bytes());
    let ran = home.textgen("generate -m model.safetensors");
    ran.refused(1)
        .names(&["model.safetensors", "owned", r"\u{1b}]0;", r"\nhint: rm"]);
    assert!(ran.stderr.len() < 3000, "{} bytes", ran.stderr.len());
    assert!(
        !ran.stderr.contains(|c: char| c.is_control() && c != '\n'),
        "{:?}",
        ran.stderr
    );
    assert!(!ran.stderr.contains('\u{202e}'), "{:?}", ran.stderr);
    assert!(ran.stderr.lines().count() <= 2, "{}", ran.stderr);
}
