//! Compiles the C++ shim against the libtorch that torch-sys found, and sets the path by which the
//! program finds that libtorch again.

use std::path::{Path, PathBuf};

/// The version that `tch` is written for, as in `find-libtorch`.
const NEEDED: &str = "2.11.0";
/// Where a version stands: libtorch's archive, the Python package, its headers new and old.
const VERSION_FILES: [&str; 4] = [
    "build-version",
    "version.py",
    "include/torch/headeronly/version.h",
    "include/torch/csrc/api/include/torch/version.h",
];
const SHIM: [&str; 3] = ["src/shim.cpp", "src/process_group.cpp", "src/nccl.cpp"];
/// Their own headers, and those that the wheel lacks.
const HEADERS: [&str; 3] = ["src/guarded.h", "src/of_cuda.h", "src/gloo"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for file in SHIM.iter().chain(&HEADERS) {
        println!("cargo::rerun-if-changed={file}");
    }
    if let Err(message) = build() {
        println!("cargo::error={message}");
    }
}

fn build() -> Result<(), String> {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB")
        .map_err(|_| "torch-sys does not say where libtorch is".to_owned())?;
    let lib = PathBuf::from(lib);
    let root = lib.parent().unwrap_or(&lib);
    let version = version(root)?;
    if version != NEEDED {
        return Err(format!(
            "{} is libtorch {version}, textgen needs {NEEDED}: see `make libtorch`",
            root.display()
        ));
    }
    // Every program, test and bench of this package finds libtorch without LD_LIBRARY_PATH.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::rustc-env=TEXTGEN_LIBTORCH={}", root.display());
    println!("cargo::rustc-env=TEXTGEN_LIBTORCH_VERSION={version}");
    compile_shim(&root.join("include"));
    Ok(())
}

/// The version of the libtorch in `root`, without its build's suffix (`+cu130`).
fn version(root: &Path) -> Result<String, String> {
    for name in VERSION_FILES {
        let file = root.join(name);
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        if let Some(version) = text.split(['"', '\'', '+', '\n', ' ']).find(is_version) {
            println!("cargo::rerun-if-changed={}", file.display());
            return Ok(version.to_owned());
        }
    }
    Err(format!(
        "no libtorch in {}: see `make libtorch`",
        root.display()
    ))
}

/// Three numbers between dots.
fn is_version(word: &&str) -> bool {
    word.split('.').count() == 3 && word.split('.').all(|part| part.parse::<u32>().is_ok())
}

/// libtorch's headers count as the system's: their warnings are not ours.
fn compile_shim(include: &Path) {
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .flag(format!("-isystem{}", include.display()))
        .flag(format!(
            "-isystem{}",
            include.join("torch/csrc/api/include").display()
        ))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_C10D_GLOO", None)
        .include("src")
        .files(SHIM)
        .compile("textgen_shim");
}
