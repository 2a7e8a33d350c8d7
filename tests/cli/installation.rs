//! The programs' linked libraries, and errors if a part of the installation is missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::common::{Home, Ran, cuda_devices, golden_model, json, repository, textgen, trainer};

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
    trainer();
    let home = Home::new();
    let report = home.textgen("doctor").succeeded().stdout;
    for line in [
        "textgen ",
        "trainer ",
        "libtorch ",
        "CUDA ",
        "SIMD ",
        "threads ",
        "runs ",
    ] {
        assert!(
            report.lines().any(|l| l.starts_with(line)),
            "{line}: {report}"
        );
    }
    let report = json(&home.textgen("doctor --json").succeeded().stdout);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        report["libtorch"]["loaded_version"],
        report["libtorch"]["compiled_version"]
    );
    assert!(report["threads"].as_u64() > Some(0), "{report}");
    assert!(home.files().is_empty());
}

#[test]
fn cuda_where_there_is_none_is_refused_and_leaves_nothing() {
    let home = Home::new();
    if cuda_devices(&home) > 0 {
        return;
    }
    for device in ["cuda", "cuda:0", "cuda:3"] {
        home.textgen(&format!(
            "train --model char-lstm --steps 2 --device {device}"
        ))
        .refused(1)
        .names(&["--device cuda", "no CUDA device"])
        .advises("--device cpu");
    }
    for precision in ["tf32", "bf16"] {
        home.textgen(&format!(
            "train --model char-lstm --steps 2 --precision {precision}"
        ))
        .refused(1)
        .names(&[&format!("--precision {precision}"), "needs a CUDA device"])
        .advises("--precision f32");
    }
    let left: Vec<_> = home.files().into_keys().collect();
    assert!(left.iter().all(|path| path.ends_with("runs")), "{left:?}");
}

/// A copy of `textgen` with nothing beside it.
fn alone(home: &Home) -> std::path::PathBuf {
    let copy = home.path("bin/textgen");
    fs::create_dir_all(home.path("bin")).expect("a folder");
    fs::copy(textgen(), &copy).expect("copied");
    copy
}

fn run_alone(home: &Home, program: &Path, arguments: &[&str]) -> Ran {
    Ran::of(home.command(program).args(arguments).env("PATH", ""))
}

#[test]
fn without_textgen_torch_training_is_refused_and_the_rest_works() {
    let home = Home::new();
    let program = alone(&home);
    for arguments in [
        &["train", "--model", "char-lstm"][..],
        &["train", "--resume", "texts"],
    ] {
        run_alone(&home, &program, arguments)
            .refused(1)
            .names(&["textgen-torch", "not found", "bin", "PATH"])
            .advises("make build");
    }
    assert!(!home.path("runs").exists());
    run_alone(&home, &program, &["vocab"]).succeeded();
    run_alone(&home, &program, &["runs"]).succeeded();
    let model = golden_model();
    let model = model.to_str().expect("a path of Unicode");
    run_alone(&home, &program, &["generate", "--model-file", model]).succeeded();
    let report = run_alone(&home, &program, &["doctor"]).succeeded().stdout;
    assert!(report.contains("not found"), "{report}");
    let report = json(&run_alone(&home, &program, &["doctor", "--json"]).stdout);
    assert_eq!(report["libtorch"], serde_json::Value::Null);
}

#[test]
fn textgen_torch_is_found_on_path() {
    let home = Home::new();
    let program = alone(&home);
    let path = trainer().parent().expect("a folder").to_owned();
    let arguments = "train --model char-lstm --hidden 8 --steps 2 --threads 1";
    let mut command = home.command(&program);
    Ran::of(command.args(arguments.split(' ')).env("PATH", path)).succeeded();
}

/// `textgen` with this file as its trainer refuses to train, and creates no run.
#[cfg(unix)]
#[track_caller]
fn trainer_is_refused(content: &str, mode: u32, parts: &[&str]) {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let program = alone(&home);
    let file = home.write("bin/textgen-torch", content);
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
    run_alone(&home, &program, &["train", "--model", "char-lstm"])
        .refused(1)
        .names(&["textgen-torch"])
        .names(parts)
        .advises("make build");
    assert!(!home.path("runs").exists());
}

#[cfg(unix)]
#[test]
fn a_textgen_torch_that_does_not_start_is_refused_with_the_reason() {
    trainer_is_refused("not a program", 0o644, &["does not start"]);
    let broken =
        "#!/bin/sh\necho 'libtorch_cpu.so: cannot open shared object file' >&2\nexit 127\n";
    trainer_is_refused(broken, 0o755, &["does not start", "libtorch_cpu.so"]);
}

#[cfg(unix)]
#[test]
fn a_textgen_torch_of_another_version_is_refused_with_both_versions() {
    let other = "#!/bin/sh\necho textgen-torch 9.8.7\n";
    trainer_is_refused(other, 0o755, &["9.8.7", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn textgen_torch_called_by_hand_explains_itself() {
    let home = Home::new();
    let ran = Ran::of(&mut home.command(&trainer()));
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("usage: textgen-torch"),
        "{}",
        ran.stderr
    );
    let mut command = home.command(&trainer());
    Ran::of(command.args(["train", "nothing"]))
        .refused(1)
        .names(&["nothing", "config.toml"]);
}

#[test]
fn a_libtorch_of_another_version_is_refused_with_both_versions() {
    let home = Home::new();
    home.write("libtorch/build-version", "2.5.0+cpu\n");
    home.write("libtorch/lib/libtorch_cpu.so", "");
    let mut command = home.command(&repository("torch/find-libtorch"));
    command.env("LIBTORCH", home.path("libtorch"));
    Ran::of(command.args(["touch", "built"]))
        .refused(1)
        .names(&["2.5.0", "2.11.0", "LIBTORCH="])
        .advises("LIBTORCH");
    assert!(!home.path("built").exists(), "nothing is built with it");
}

#[test]
fn a_libtorch_that_is_not_there_is_refused() {
    let home = Home::new();
    let mut command = home.command(&repository("torch/find-libtorch"));
    command.env("LIBTORCH", home.path("nothing"));
    Ran::of(&mut command).refused(1).names(&["not a folder"]);
}
