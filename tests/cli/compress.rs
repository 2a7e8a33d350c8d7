//! `textgen compress` and `textgen decompress`: everything comes back, on any processor and with no
//! other model; and what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::common::{Home, Ran, golden_model, json, repository, textgen};
use super::made_runs::{exported, golden_run, word_run};

/// Compresses `name` with the golden model and returns the report.
#[track_caller]
fn compressed(home: &Home, name: &str, more: &str) -> Value {
    let model = golden_model();
    let command = ["compress", name, "--json", "-m"];
    let command = command.iter().map(AsRef::as_ref).chain([model.as_os_str()]);
    let more = more.split_whitespace().map(AsRef::as_ref);
    json(&home.textgen_with(command.chain(more)).succeeded().stdout)
}

/// Compresses and decompresses bytes with the golden model and returns the report on the first.
#[track_caller]
fn round_trip(home: &Home, original: &[u8], more: &str) -> Value {
    home.write("file", original);
    let report = compressed(home, "file", &format!("--force {more}"));
    let size = fs::metadata(home.path("file.textgen"))
        .expect("a file")
        .len();
    assert_eq!(report["compressed_bytes"], size);
    assert_eq!(report["original_bytes"], original.len());
    let model = golden_model();
    let command = ["decompress", "file.textgen", "-o", "back", "--force", "-m"];
    let command = command.iter().map(AsRef::as_ref).chain([model.as_os_str()]);
    home.textgen_with(command).succeeded();
    assert!(fs::read(home.path("back")).expect("a file") == original);
    report
}

/// Pseudo-random bytes.
fn random(length: usize) -> Vec<u8> {
    let mut seed = 7_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn golden_corpus() -> Vec<u8> {
    fs::read(repository("tests/golden-run/corpus.txt")).expect("the golden corpus")
}

#[test]
fn a_text_costs_what_eval_says_of_it() {
    let home = Home::new();
    golden_run(&home, "valid = 0.5");
    let eval = json(&home.textgen("eval golden --json").succeeded().stdout);
    let bits = eval["results"][0]["loss_bits_per_char"].as_f64();
    // The part that was held out, and the first token, which an evaluation does not predict.
    let corpus = String::from_utf8(golden_corpus()).expect("UTF-8");
    let tokens = eval["tokens"].as_u64().expect("a count") as usize + 1;
    let held_out: Vec<char> = corpus.chars().collect();
    let held_out: String = held_out[held_out.len() - tokens..].iter().collect();
    let report = round_trip(&home, held_out.as_bytes(), "");
    let want = bits.expect("a figure") * (tokens - 1) as f64 + 40_f64.log2();
    let found = 8.0 * report["compressed_bytes"].as_f64().expect("a size");
    // 45 bytes are the header, and a few bits tell that nothing was escaped.
    assert!(
        (want - 1.0..want * 1.005 + 8.0 * 45.0 + 24.0).contains(&found),
        "{found} bits, not {want}"
    );
    assert_eq!(report["escaped_bytes"], 0);
    let per_char = report["bits_per_char"].as_f64().expect("a figure");
    assert!((per_char - found / tokens as f64).abs() < 1e-9);
}

#[test]
fn every_bundled_corpus_comes_back() {
    let home = Home::new();
    let mut corpora = 0;
    for entry in fs::read_dir(repository("corpora")).expect("a folder") {
        let path = entry.expect("a file").path();
        let report = round_trip(&home, &fs::read(&path).expect("a file"), "");
        // The model knows forty characters of a small text; what it knows nothing of must not grow.
        assert!(report["ratio"].as_f64() > Some(0.98), "{report}");
        corpora += 1;
    }
    assert!(corpora >= 3);
}

#[test]
fn what_is_no_text_comes_back_and_grows_by_a_few_bytes_at_most() {
    let home = Home::new();
    for length in [0, 1, 2, 1000, 300_000] {
        let report = round_trip(&home, &random(length), "");
        let size = report["compressed_bytes"].as_u64().expect("a size");
        assert!(size <= length as u64 + 40, "{report}");
        assert_eq!(report["stored_blocks"], report["blocks"]);
        assert!(length > 0 || report["bits_per_byte"].is_null());
    }
    // Blocks stored uncompressed need no model.
    home.write("file", random(1000));
    compressed(&home, "file", "--force");
    fs::remove_file(home.path("file")).expect("removed");
    home.textgen("decompress file.textgen").succeeded();
    assert!(fs::read(home.path("file")).expect("a file") == random(1000));

    let text = "\u{FEFF}The e\u{301}te\u{301} of \u{4E2D}\u{6587}\r\nÉTÉ\0\u{FFFD}\r\n".repeat(50);
    let mut text = text.into_bytes();
    text.extend([0xC3, 0xFF, 0xE4, 0xB8]);
    let report = round_trip(&home, &text, "--blocks 3");
    assert_eq!(report["blocks"], 3);
    assert!(report["escaped_bytes"].as_u64() > Some(500), "{report}");
    assert!(report["bits_per_char"].is_null(), "{report}");
}

#[test]
fn other_instructions_and_threads_write_the_same_bytes_and_read_them() {
    let home = Home::new();
    let original = golden_corpus().repeat(20);
    home.write("file", &original);
    let model = golden_model();
    let ran = |command: &str, simd: &str| {
        let mut textgen = home.command(textgen());
        textgen.args(command.split(' ')).arg("-m").arg(&model);
        Ran::of(textgen.env("TEXTGEN_SIMD", simd)).succeeded()
    };
    let mut levels = vec!["portable"];
    let mut avx2 = home.command(textgen());
    avx2.args(["doctor"]).env("TEXTGEN_SIMD", "avx2");
    if Ran::of(&mut avx2).code == Some(0) {
        levels.push("avx2");
    }
    // The fastest instructions, whichever they are.
    levels.push("");
    for threads in [1, 3] {
        for blocks in [1, 4] {
            let mut written: Option<Vec<u8>> = None;
            for level in &levels {
                let more = format!("--threads {threads} --blocks {blocks} --force");
                ran(&format!("compress file {more}"), level);
                let bytes = fs::read(home.path("file.textgen")).expect("a file");
                assert!(*written.get_or_insert(bytes.clone()) == bytes, "{level}");
            }
            for level in &levels {
                let command =
                    format!("decompress file.textgen -o back --threads {threads} --force");
                ran(&command, level);
                assert!(fs::read(home.path("back")).expect("a file") == original);
            }
        }
    }
}

#[test]
fn a_file_of_the_first_format_can_be_read_for_good() {
    let home = Home::new();
    let file = repository("tests/golden-run/altered.txt.textgen");
    let model = golden_model();
    let parts = ["decompress".as_ref(), file.as_os_str(), "-o".as_ref()];
    let more = ["-".as_ref(), "-m".as_ref(), model.as_os_str()];
    let ran = home.textgen_with(parts.into_iter().chain(more)).succeeded();
    let want = fs::read_to_string(repository("tests/golden-run/altered.txt"));
    assert_eq!(ran.stdout, want.expect("a file"));
}

#[test]
fn standard_input_and_output_take_part() {
    let home = Home::new();
    golden_run(&home, "");
    let original = golden_corpus();
    let piped = |arguments: &str, input: &[u8]| {
        let mut command = home.command(textgen());
        command.args(arguments.split(' ')).write_stdin(input);
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let small = piped("compress -", &original);
    assert!(small.len() * 2 < original.len());
    assert!(piped("decompress - --run golden", &small) == original);
    home.write("file", &original);
    assert!(piped("compress file -o -", b"") == small);
    home.textgen("compress file").succeeded();
    assert!(fs::read(home.path("file.textgen")).expect("a file") == small);
    piped("compress - -o named", &original);
    assert!(fs::read(home.path("named")).expect("a file") == small);
    home.textgen("compress file -o - --json")
        .refused(2)
        .names(&["--json"])
        .advises("--output");
    home.textgen("compress file -o - --compare")
        .refused(2)
        .names(&["--compare"]);
}

#[test]
fn the_line_on_stderr_says_how_small_it_is_and_why_not_smaller() {
    let home = Home::new();
    golden_run(&home, "");
    home.write("file", [golden_corpus(), b"\x80".to_vec()].concat());
    let ran = home.textgen("compress file --compare").succeeded();
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines[0], "run: golden");
    assert!(lines[1].starts_with("file.textgen: "), "{}", lines[1]);
    assert!(lines[1].contains(" bits/byte, "), "{}", lines[1]);
    assert!(lines[2].contains("1 of the bytes"), "{}", lines[2]);
    let table: Vec<&str> = ran.stdout.lines().collect();
    assert!(table[0].starts_with("PROGRAM"), "{}", ran.stdout);
    for (row, name) in
        table[1..]
            .iter()
            .zip(["textgen", "gzip -9", "xz -9", "zstd -19", "7z -m0=PPMd"])
    {
        assert!(row.starts_with(name), "{row}");
    }
    // Without them there is nothing to compare with.
    let mut command = home.command(textgen());
    let arguments = "compress file --compare --force --json";
    command
        .args(arguments.split(' '))
        .env("PATH", home.path("nothing"));
    let report = json(&Ran::of(&mut command).succeeded().stdout);
    assert_eq!(report["compared"][2]["program"], "zstd -19");
    for peer in report["compared"].as_array().expect("programs") {
        assert!(peer["bytes"].is_null(), "{peer}");
    }
}

/// Programs in a folder that stands for PATH: 7z under its other name, which keeps half of the bytes.
#[cfg(unix)]
#[test]
fn an_archive_is_as_large_as_the_file_that_7z_writes() {
    let home = Home::new();
    golden_run(&home, "");
    home.write("file", golden_corpus());
    let script = r#"#!/bin/sh
for archive; do :; done
/usr/bin/head -c 123 > "$archive"
/bin/cat > /dev/null
"#;
    home.program("programs/7zz", script, "755");
    let mut command = home.command(textgen());
    command
        .args(["compress", "file", "--compare"])
        .env("PATH", home.path("programs"));
    let ran = Ran::of(&mut command).succeeded();
    let row = ran.stdout.lines().last().expect("a row");
    assert!(row.starts_with("7z -m0=PPMd"), "{row}");
    assert!(row.contains(" 123 "), "{row}");
    let missing = "not compared, as not installed: gzip -9, xz -9, zstd -19\n";
    assert!(ran.stderr.ends_with(missing), "{}", ran.stderr);
}

#[test]
fn a_file_that_was_compressed_with_an_n_gram_model_needs_it_again() {
    let home = Home::new();
    golden_run(&home, "");
    let original = [golden_corpus(), "and é, not known".as_bytes().to_vec()].concat();
    home.write("file", &original);
    home.textgen("compress file --mix-ngram --blocks 2")
        .succeeded();
    home.textgen("decompress file.textgen --run golden -o other")
        .refused(1)
        .advises("--mix-ngram");
    let restored = |flags: &str| {
        home.textgen(&format!(
            "decompress file.textgen -o restored --force {flags}"
        ))
        .succeeded();
        fs::read(home.path("restored")).expect("restored")
    };
    assert!(restored("--run golden --mix-ngram --threads 1") == original);
    // The model file and its text are enough.
    fs::copy(golden_model(), home.path("model.safetensors")).expect("copied");
    home.write("corpus.txt", golden_corpus());
    let named = "--run model.safetensors --mix-ngram --corpus corpus.txt";
    assert!(restored(named) == original);
    // That text is read as in training, so no flag is advised that would change this.
    home.write("records.jsonl", "{\"body\": \"no\"}\n");
    let line = "--run model.safetensors --mix-ngram --corpus records.jsonl --count 1";
    let refused = home.textgen(&format!("generate {line}")).refused(1);
    assert!(!refused.hint.contains("--field"), "{refused:?}");
    refused
        .names(&["is not the text that", "no field text"])
        .advises("--corpus");
}

#[test]
fn another_model_is_refused_by_name() {
    let home = Home::new();
    golden_run(&home, "");
    home.write("file", golden_corpus());
    let report = json(&home.textgen("compress file --json").succeeded().stdout);
    let digest = report["model_digest"].as_str().expect("a digest");
    exported(&home, "golden");
    let other = home.textgen("decompress file.textgen -o back -m small.safetensors");
    other
        .refused(1)
        .names(&["file.textgen", "a model of corpus", digest, "and this is"])
        .advises("--run");
    assert!(!home.path("back").exists());
    // An exported copy is the same model.
    home.textgen("export golden -o copy.safetensors")
        .succeeded();
    home.textgen("decompress file.textgen -o back -m copy.safetensors")
        .succeeded();
    assert!(fs::read(home.path("back")).expect("a file") == golden_corpus());
    word_run(&home, "");
    for command in ["compress file -o x", "decompress file.textgen -o x"] {
        home.textgen(&format!("{command} --run words"))
            .refused(2)
            .names(&["word-vae"])
            .advises("char-lstm");
    }
}

#[test]
fn damaged_and_foreign_files_are_refused_in_one_line() {
    let home = Home::new();
    golden_run(&home, "");
    home.write("file", golden_corpus().repeat(8));
    home.textgen("compress file").succeeded();
    let bytes = fs::read(home.path("file.textgen")).expect("a file");
    let refused = |bytes: &[u8]| {
        home.write("bad.textgen", bytes);
        let refusal = home.textgen("decompress bad.textgen").refused(1);
        assert!(!home.path("bad").exists());
        refusal.names(&["bad.textgen"])
    };
    for end in [1, 4, 5, 13, 20, 40, bytes.len() / 2, bytes.len() - 1] {
        refused(&bytes[..end])
            .names(&["damaged"])
            .advises("copy it again");
    }
    for at in (5..bytes.len()).step_by(97) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        refused(&changed).names(&["damaged"]);
    }
    refused(&[&bytes[..], b"more"].concat()).names(&["damaged"]);
    let mut newer = bytes.clone();
    newer[4] = 2;
    refused(&newer)
        .names(&["format 2", "reads format 1"])
        .advises("newer");
    for foreign in [&b""[..], b"a text", &random(100), &golden_corpus()] {
        refused(foreign)
            .names(&["not a file that textgen compress wrote"])
            .advises("textgen compress");
    }
}

#[test]
fn nothing_is_overwritten_but_by_force() {
    let home = Home::new();
    golden_run(&home, "");
    let original = golden_corpus();
    home.write("file", &original);
    home.write("file.textgen", "precious");
    let exists = |command: &str, name: &str| {
        home.textgen(command)
            .refused(1)
            .names(&[name, "exists"])
            .advises("--force");
    };
    exists("compress file", "file.textgen");
    assert_eq!(
        fs::read(home.path("file.textgen")).expect("a file"),
        b"precious"
    );
    home.textgen("compress file --force").succeeded();
    exists("decompress file.textgen", "file");
    home.write("file", "precious too");
    home.textgen("decompress file.textgen --force").succeeded();
    assert!(fs::read(home.path("file")).expect("a file") == original);
    // Neither the input nor a folder is replaced, even with --force.
    home.textgen("compress file -o ./file --force")
        .refused(1)
        .names(&["file that is read"]);
    home.textgen("compress file -o runs --force")
        .refused(1)
        .names(&["runs", "folder"]);
    home.textgen("compress file -o nowhere/file")
        .refused(1)
        .names(&["nowhere/file", "cannot write"]);
    home.textgen("compress nothing")
        .refused(1)
        .names(&["nothing"]);
    home.textgen("compress runs").refused(1).names(&["runs"]);
    home.textgen("decompress file")
        .refused(2)
        .names(&["file", ".textgen"])
        .advises("--output");
    home.textgen("compress").refused(2);
    home.textgen("compress file --blocks 0").refused(2);
    assert!(fs::read(home.path("file")).expect("a file") == original);
    assert!(!Path::new(&home.path("nothing.textgen")).exists());
}

#[test]
fn what_is_larger_than_allowed_is_refused_and_no_part_of_a_file_is_left() {
    let home = Home::new();
    let text = golden_corpus().repeat(40);
    home.write("file", &text);
    compressed(&home, "file", "");
    fs::remove_file(home.path("file")).expect("removed");
    let before = home.files();
    let model = golden_model();
    let model = model.to_str().expect("UTF-8");
    let command = format!("decompress file.textgen -m {model}");
    home.textgen(&format!("{command} --max-size 1kB"))
        .refused(1)
        .names(&["file.textgen", "it claims to be", "1000"])
        .advises("--max-size");
    home.textgen(&format!("{command} --max-size 5miles"))
        .refused(2);
    #[cfg(unix)]
    home.shell(&format!("ulimit -f 8; exec textgen {command}"))
        .refused(1)
        .names(&["file: cannot write", "too large"])
        .advises("free some space");
    assert_eq!(home.files(), before);
    home.textgen(&format!("{command} --max-size 1GB"))
        .succeeded();
    assert!(fs::read(home.path("file")).expect("restored") == text);
}
