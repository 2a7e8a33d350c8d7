//! The commands of the README and of the tour work as printed, one after the other in one folder.
//!
//! Only the trainings are shorter: the tests have minutes, not hours. A script in place of `textgen`
//! replaces their budget and then execs the real program.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use super::common::{Home, Ran, repository, textgen};

const PROMPT: &str = "$ ";
/// Steps of every training.
const STEPS: u32 = 25;

/// The `textgen` commands in the console blocks of a document, each with its line number.
fn commands(document: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let mut commands = Vec::new();
    for (index, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if in_block && line.starts_with("$ textgen ") {
            commands.push((index + 1, &line[PROMPT.len()..]));
        }
    }
    commands
}

/// A folder with a `textgen` that trains only a few steps; a run that is resumed, a few more.
fn programs(home: &Home) -> std::path::PathBuf {
    let script = format!(
        r#"#!/bin/sh
case "$1" in
train | sweep)
    steps={STEPS}
    for argument; do
        shift
        case "$argument" in
        --steps | --epochs | --minutes) skip=yes ;;
        *)
            [ "$argument" = --resume ] && steps=$((steps + 5))
            [ "$skip" ] || set -- "$@" "$argument"
            skip=
            ;;
        esac
    done
    set -- "$@" --steps "$steps"
    ;;
esac
exec '{}' "$@"
"#,
        textgen().display()
    );
    home.program("bin/textgen", &script, "755");
    home.path("bin")
}

fn run(home: &Home, bin: &Path, command: &str) -> Ran {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(all).expect("a PATH");
    fs::create_dir_all(home.path("tour")).expect("a folder");
    let mut shell = home.command(Path::new("sh"));
    shell.args(["-c", command]).env("PATH", path);
    Ran::of(shell.current_dir(home.path("tour")))
}

/// Runs every command of a document of this repository, which must have some.
fn run_all(path: &str) {
    let document = fs::read_to_string(repository(path)).expect(path);
    let commands = commands(&document);
    assert!(!commands.is_empty(), "{path} has no `$ textgen` command");
    let home = Home::new();
    let bin = programs(&home);
    for (line, command) in commands {
        let ran = run(&home, &bin, command);
        let failed = format!("{path}:{line}: `{command}` failed:\n{}", ran.stderr);
        assert_eq!(ran.code, Some(0), "{failed}");
    }
}

#[test]
fn every_command_of_the_readme_works() {
    run_all("README.md");
}

#[test]
fn every_command_of_the_tour_works() {
    run_all("docs/tour.md");
}

#[test]
fn every_command_of_the_page_on_shells_works() {
    run_all("docs/shell.md");
}

#[test]
fn only_console_blocks_hold_commands() {
    let document = "$ textgen no\n```console\n$ textgen a\nout\n$ ls\n$ textgen b\n```\n```\n$ textgen no\n```\n";
    assert_eq!(commands(document), [(3, "textgen a"), (6, "textgen b")]);
}
