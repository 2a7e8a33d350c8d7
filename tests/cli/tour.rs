//! The commands of the README's tour work as they stand, one after the other in one folder.
//!
//! Only the length of the trainings is not the README's: the tests have minutes, not hours. It is
//! cut where no command line can see it: a script that stands in for `textgen-torch` shortens the
//! budget in the run's settings and then becomes the real one.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::common::{Home, Ran, repository, textgen, trainer};

const SECTION: &str = "## A tour";
const PROMPT: &str = "$ ";
/// Steps of every training.
const STEPS: u32 = 25;

/// The commands of the tour, each with its line number in the README.
fn commands(readme: &str) -> Vec<(usize, &str)> {
    let (mut in_section, mut in_block) = (false, false);
    let mut commands = Vec::new();
    for (index, line) in readme.lines().enumerate() {
        if line.starts_with("```") {
            in_block = line == "```console";
        } else if line.starts_with("## ") {
            in_section = line.trim_end() == SECTION;
        } else if in_section && in_block && line.starts_with("$ textgen ") {
            commands.push((index + 1, &line[PROMPT.len()..]));
        }
    }
    commands
}

/// A folder with `textgen` and a `textgen-torch` that trains only a few steps.
fn programs(home: &Home) -> std::path::PathBuf {
    let bin = home.path("bin");
    fs::create_dir(&bin).expect("a folder");
    fs::copy(textgen(), bin.join("textgen")).expect("copied");
    let budget = format!("s/^(steps|epochs|minutes) = [0-9.]+/steps = {STEPS}/");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = train ] && sed -E -i.long '{budget}' \"$2/config.toml\"\nexec '{}' \"$@\"\n",
        trainer().display()
    );
    let stand_in = home.write("bin/textgen-torch", script);
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).expect("permissions");
    bin
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

#[test]
fn every_command_of_the_readme_s_tour_works() {
    let readme = fs::read_to_string(repository("README.md")).expect("README.md");
    let commands = commands(&readme);
    assert!(
        !commands.is_empty(),
        "README.md has no line that begins with `$ textgen ` in a ```console block of its section `{SECTION}`"
    );
    let home = Home::new();
    let bin = programs(&home);
    for (line, command) in commands {
        let ran = run(&home, &bin, command);
        assert_eq!(
            ran.code,
            Some(0),
            "README.md:{line}: `{command}` failed:\n{}",
            ran.stderr
        );
    }
}

#[test]
fn only_console_blocks_of_the_tour_are_commands() {
    let readme = "## Other\n```console\n$ textgen no\n```\n## A tour\n$ textgen no\n```console\n$ textgen a\nout\n\
         $ ls\n$ textgen b\n```\n```\n$ textgen no\n```\n### Part\n```console\n$ textgen c\n```\n## Next\n```console\n$ textgen no\n```\n";
    let found: Vec<_> = commands(readme);
    assert_eq!(
        found,
        [(8, "textgen a"), (11, "textgen b"), (18, "textgen c")]
    );
}
