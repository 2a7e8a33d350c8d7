//! The programs' linked libraries, and errors if a part of the installation is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::common::{Home, Ran, golden_model, json, textgen};

#[test]
fn textgen_answers_with_its_version() {
    let ran = Home::new().textgen("--version").succeeded();
    assert_eq!(
        ran.stdout,
        concat!("textgen ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn every_command_has_help() {
    let home = Home::new();
    for command in [
        "",
        "vocab",
        "train",
        "generate",
        "encode",
        "reconstruct",
        "interpolate",
        "analogy",
        "neighbours",
        "vary",
        "map",
        "eval",
        "export",
        "runs",
        "doctor",
    ] {
        let ran = home.textgen(&format!("{command} --help")).succeeded();
        assert!(ran.stdout.contains("Usage: textgen"), "{}", ran.stdout);
        assert_eq!(ran.stderr, "");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn textgen_is_not_linked_with_libtorch() {
    let ldd = Command::new("ldd").arg(textgen()).output().expect("ldd");
    let libraries = String::from_utf8_lossy(&ldd.stdout);
    assert!(libraries.contains("libc.so"), "{libraries}");
    for line in libraries.lines() {
        let library = line.split_whitespace().next().unwrap_or_default();
        for part in ["torch", "c10", "cuda", "stdc++", "gomp"] {
            assert!(!library.contains(part), "{library}");
        }
    }
}

#[test]
fn doctor_names_what_it_found() {
    let home = Home::new();
    let program = alone(&home);
    let report = run_alone(&home, &program, &["doctor"]).succeeded().stdout;
    for line in ["textgen ", "CPU ", "libtorch ", "CUDA ", "runs "] {
        assert!(
            report.lines().any(|l| l.starts_with(line)),
            "{line}: {report}"
        );
    }
    assert!(report.contains("not used: textgen-torch"), "{report}");
    let report = run_alone(&home, &program, &["doctor", "--json"]).succeeded();
    let report = json(&report.stdout);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["libtorch"], serde_json::Value::Null);
    assert!(report["threads"].as_u64() > Some(0), "{report}");
    // Either it trains in bf16, or it says what that needs.
    let missing = &report["bf16_missing"];
    assert_eq!(report["bf16"], missing.is_null(), "{report}");
    let mut portable = home.command(&program);
    portable.args(["doctor"]).env("TEXTGEN_SIMD", "portable");
    let said = Ran::of(&mut portable).succeeded().stdout;
    assert!(
        said.contains("trains in f32 (bf16 needs AVX512_BF16, which "),
        "{said}"
    );
    assert!(report["memory_bytes"].as_u64() > Some(0), "{report}");
}

/// A copy of `textgen` with nothing beside it.
fn alone(home: &Home) -> std::path::PathBuf {
    let copy = home.path("bin/textgen");
    fs::create_dir_all(home.path("bin")).expect("a folder");
    // By another process, as for `Home::program`.
    let copied = Command::new("cp").arg(textgen()).arg(&copy).status();
    assert!(copied.expect("cp runs").success());
    copy
}

fn run_alone(home: &Home, program: &Path, arguments: &[&str]) -> Ran {
    Ran::of(home.command(program).args(arguments).env("PATH", ""))
}

#[test]
fn textgen_alone_trains_and_generates() {
    let home = Home::new();
    let program = alone(&home);
    let train = "train --model char-lstm --hidden 8 --steps 2 --threads 1";
    let arguments: Vec<&str> = train.split(' ').collect();
    let ran = run_alone(&home, &program, &arguments).succeeded();
    assert!(ran.stderr.contains("; cpu, 1 thread\n"), "{}", ran.stderr);
    run_alone(&home, &program, &["generate", "--length", "10"]).succeeded();
    let model = golden_model();
    let model = model.to_str().expect("a path of Unicode");
    run_alone(&home, &program, &["generate", "--model-file", model]).succeeded();
}

#[test]
fn cuda_without_textgen_torch_is_refused_and_leaves_nothing() {
    let home = Home::new();
    let program = alone(&home);
    let before = home.files();
    for device in ["cuda", "cuda:0", "cuda:3"] {
        let arguments = ["train", "--model", "char-lstm", "--device", device];
        run_alone(&home, &program, &arguments)
            .refused(1)
            .names(&[&format!("--device {} needs", device.trim_end_matches(":0"))])
            .names(&["textgen-torch", "PATH"])
            .advises("make torch");
    }
    let arguments = ["train", "--model", "char-lstm", "--precision", "tf32"];
    run_alone(&home, &program, &arguments)
        .refused(1)
        .names(&["--precision tf32", "needs a CUDA device"])
        .advises("--precision f32");
    assert_eq!(home.files(), before);
}

#[test]
fn processes_without_textgen_torch_or_that_cannot_share_the_shards_are_refused() {
    let home = Home::new();
    let program = alone(&home);
    let before = home.files();
    let refused = |flags: &str, code: i32| {
        let arguments = format!("train --model char-lstm {flags}");
        let arguments: Vec<&str> = arguments.split(' ').collect();
        run_alone(&home, &program, &arguments).refused(code)
    };
    refused("--processes 2", 1)
        .names(&["--processes needs", "textgen-torch", "PATH"])
        .advises("make torch");
    refused("--processes 3 --shards 4", 2)
        .names(&["--processes 3", "4 shards"])
        .advises("--processes 1, 2, 4");
    refused("--processes 0", 2);
    refused("--processes 2 --timeout 0", 2);
    refused("--timeout 5", 2);
    assert_eq!(home.files(), before);
    let flags = "train --model char-lstm --hidden 8 --steps 2 --processes 1";
    let flags: Vec<&str> = flags.split(' ').collect();
    run_alone(&home, &program, &flags).succeeded();
}

/// `textgen` with this file as its `textgen-torch` refuses to train on CUDA, and creates no run.
#[cfg(unix)]
#[track_caller]
fn torch_is_refused(content: &str, mode: &str, parts: &[&str], hint: &str) {
    let home = Home::new();
    let program = alone(&home);
    home.program("bin/textgen-torch", content, mode);
    let arguments = ["train", "--model", "char-lstm", "--device", "cuda:1"];
    run_alone(&home, &program, &arguments)
        .refused(1)
        .names(parts)
        .advises(hint);
    assert!(!home.path("runs").exists());
}

#[cfg(unix)]
#[test]
fn a_textgen_torch_that_does_not_start_is_refused_with_the_reason() {
    let parts = ["textgen-torch", "does not start"];
    torch_is_refused("not a program", "644", &parts, "make torch");
    let broken =
        "#!/bin/sh\necho 'libtorch_cpu.so: cannot open shared object file' >&2\nexit 127\n";
    torch_is_refused(
        broken,
        "755",
        &["does not start", "libtorch_cpu.so"],
        "make torch",
    );
}

#[cfg(unix)]
#[test]
fn a_textgen_torch_of_another_version_or_without_that_device_is_refused() {
    let answering = |report: &str| format!("#!/bin/sh\necho '{report}'\n");
    let other = answering("{\"version\":\"9.8.7\",\"cuda_devices\":4}");
    let versions = ["9.8.7", env!("CARGO_PKG_VERSION")];
    torch_is_refused(&other, "755", &versions, "make torch");
    let none = answering("{\"cuda_devices\":0,\"cuda_missing\":\"no driver\"}");
    let parts = ["--device cuda", "no CUDA device", "no driver"];
    torch_is_refused(&none, "755", &parts, "--device cpu");
    let one = answering("{\"cuda_devices\":1}");
    let parts = ["--device cuda:1", "this machine has 1 CUDA device,"];
    torch_is_refused(&one, "755", &parts, "--device cpu");
}

#[cfg(unix)]
#[test]
fn a_network_that_does_not_fit_in_memory_is_refused_before_anything_is_written() {
    let home = Home::new();
    home.write("words.txt", "anna\nberta\nclara\ndora\nemilia\n");
    for train in [
        "--model char-lstm --hidden 16384 --layers 16",
        "--model word-vae --hidden 16384 --layers 16 --embedding 16384 --latent 4096 words.txt",
    ] {
        home.textgen(&format!("train {train}"))
            .refused(1)
            .names(&["training needs", "GB of memory", "are free"])
            .advises("--hidden");
    }
    let little = "ulimit -v 400000; exec textgen train --model char-lstm --hidden 2048 --layers 2";
    home.shell(little)
        .refused(1)
        .names(&["training needs", "of memory"])
        .advises("--hidden");
    assert!(!home.path("runs").exists());
    // A word can be long.
    home.write(
        "long.txt",
        format!("anna\nberta\nclara\ndora\n{}\n", "ab".repeat(500_000)),
    );
    let long = "ulimit -v 3000000; exec textgen train --model word-vae --words lines --hidden 256 long.txt";
    let refused = home.shell(long);
    assert!(
        refused
            .stderr
            .contains("; the longest has 1,000,000 letters\n"),
        "{refused:?}"
    );
    refused
        .refused(1)
        .names(&["training needs", "GB of memory"])
        .advises("the longest word has 1,000,000 letters: leave such words out");
    assert!(!home.path("runs").exists());
    // A batch larger than the words there are is as large as they are.
    let small = "--model word-vae --hidden 8 --latent 2 --steps 2 --batch 1000000 --threads 1";
    home.train(&format!("{small} words.txt"));
}
