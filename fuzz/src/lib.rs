//! What files and texts of strangers go through, as functions of bytes. Each may fail, but must not panic, take longer
//! than a second, or allocate more than a gigabyte.
//!
//! The program `textgen-fuzz` gives them changed copies of `seeds`, on any compiler; cargo-fuzz does the same
//! with an eye on coverage. Both change files in the same way, by their structure ([`mutate`]).

mod mutate;
mod targets;

pub use mutate::mutate;
pub use targets::{TARGETS, Target};

use std::path::PathBuf;

/// How the bytes of a target are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Safetensors with a JSON document; checksums are removed, as old files have none.
    Tensors,
    /// A compressed file, which gets a valid seal.
    Sealed,
    Json,
    /// Lines of text.
    Text,
    Bytes,
}

/// The folder of a target's seeds.
pub fn seeds(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "seeds", target]
        .iter()
        .collect()
}

/// The target of that name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target {name}"))
}

/// A cargo-fuzz target.
#[macro_export]
macro_rules! with_coverage {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            ($crate::target(stringify!($name)).run)(bytes);
        });

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
            if seed % 4 == 0 {
                return libfuzzer_sys::fuzzer_mutate(data, size, most);
            }
            let form = $crate::target(stringify!($name)).form;
            let changed = $crate::mutate(
                form,
                &data[..size],
                &[],
                &mut fastrand::Rng::with_seed(seed.into()),
            );
            let length = changed.len().min(most);
            data[..length].copy_from_slice(&changed[..length]);
            length
        });
    };
}
