//! `find-libtorch` takes no libtorch that `textgen-torch` could not run on.

use std::path::Path;
use std::process::Command;

/// What `find-libtorch` says of the libtorch in `folder`, which it must refuse before it runs a command.
fn refused(folder: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("find-libtorch");
    let built = folder.with_file_name("built");
    let mut command = Command::new(script);
    let output = command.arg("touch").arg(&built).env("LIBTORCH", folder);
    let output = output.output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    assert!(!built.exists(), "nothing is built with it");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_libtorch_of_another_version_is_refused_with_both_versions() {
    let home = tempfile::tempdir().expect("folder");
    let libtorch = home.path().join("libtorch");
    std::fs::create_dir_all(libtorch.join("lib")).expect("folder");
    std::fs::write(libtorch.join("build-version"), "2.5.0+cpu\n").expect("written");
    std::fs::write(libtorch.join("lib/libtorch_cpu.so"), "").expect("written");
    let said = refused(&libtorch);
    for part in ["2.5.0", "2.11.0", "LIBTORCH=", "hint:"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn a_libtorch_that_is_not_there_is_refused() {
    let home = tempfile::tempdir().expect("folder");
    let said = refused(&home.path().join("nothing"));
    assert!(said.contains("not a folder"), "{said}");
}
