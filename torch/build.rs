//! Compiles the C++ shim against the libtorch that torch-sys found, and sets the path by which the
//! program finds that libtorch again.

use std::path::{Path, PathBuf};

fn main() {
    let lib = PathBuf::from(std::env::var("DEP_TCH_LIBTORCH_LIB").unwrap());
    let root = lib.parent().unwrap().to_path_buf();
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-env=TEXTGEN_LIBTORCH={}", root.display());
    println!("cargo:rerun-if-changed=src/shim.cpp");
    let include = root.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .flag(format!("-isystem{}", include.display()))
        .flag(format!(
            "-isystem{}",
            include.join("torch/csrc/api/include").display()
        ))
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .warnings(false)
        .file("src/shim.cpp")
        .compile("textgen_shim");
    let _ = Path::new("");
}
