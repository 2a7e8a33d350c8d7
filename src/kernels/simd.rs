//! The instruction set that the kernels use, detected once, when the first network is built.
//!
//! The variable `TEXTGEN_SIMD` forces a level. [`level`] never fails, so that library users need
//! not care; a program calls [`check`] first and reports an invalid variable.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::fmt;
use std::sync::OnceLock;

use thiserror::Error;

/// The environment variable that forces a level.
pub const VARIABLE: &str = "TEXTGEN_SIMD";

/// An instruction set. All of them compute the same bits, but for bf16 products by [`Level::Bf16`], whose
/// treatment of subnormals is the processor's, and for [`Level::Simd128`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain code, compiled for the instructions that the target guarantees: on x86-64 with fused multiply-adds in
    /// software, slowly.
    Portable,
    /// NEON on AArch64, four lanes.
    Neon,
    /// SIMD of WebAssembly, four lanes, chosen when the module is built. It has no fused multiply-add; f64 takes its place, so
    /// that one result in some hundred million differs from those of the others in the last bit.
    Simd128,
    /// AVX2 and FMA, eight lanes.
    Avx2,
    /// AVX-512F, sixteen lanes.
    Avx512,
    /// AVX-512F, and VNNI for eight-bit products.
    Vnni,
    /// [`Level::Vnni`], and AVX512_BF16 for bf16 products.
    Bf16,
}

impl Level {
    /// Every level, slowest first.
    pub const ALL: [Self; 7] = [
        Self::Portable,
        Self::Neon,
        Self::Simd128,
        Self::Avx2,
        Self::Avx512,
        Self::Vnni,
        Self::Bf16,
    ];

    /// The level's name in `TEXTGEN_SIMD` and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
            Self::Bf16 => "avx512bf16",
        }
    }

    /// Whether this processor and operating system can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => is_aarch64_feature_detected!("neon"),
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => false,
            Self::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx2.is_supported() && is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => Self::Avx512.is_supported() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => Self::Vnni.is_supported() && is_x86_feature_detected!("avx512bf16"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Vnni | Self::Bf16 => false,
        }
    }

    /// The levels that this machine can run, slowest first.
    pub fn supported() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_supported())
    }

    /// The fastest level that this machine can run.
    fn best() -> Self {
        Self::supported().last().unwrap_or(Self::Portable)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why the value of `TEXTGEN_SIMD` is invalid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SimdError {
    /// No level has this name.
    #[error("{VARIABLE}={value}: not one of {valid}")]
    Unknown {
        /// The value of the variable.
        value: String,
        /// The levels of this machine, separated by commas.
        valid: String,
    },
    /// The level exists, but not on this machine.
    #[error("{VARIABLE}={level}: this machine cannot run it, only {valid}")]
    Unsupported {
        /// The level asked for.
        level: Level,
        /// The levels of this machine, separated by commas.
        valid: String,
    },
}

/// The level that a value of `TEXTGEN_SIMD` asks for; no value or an empty one asks for the fastest.
fn parse(value: Option<&str>) -> Result<Level, SimdError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(Level::best());
    };
    let valid = || {
        Level::supported()
            .map(Level::name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    match Level::ALL.into_iter().find(|level| level.name() == value) {
        Some(level) if level.is_supported() => Ok(level),
        Some(level) => Err(SimdError::Unsupported {
            level,
            valid: valid(),
        }),
        None => Err(SimdError::Unknown {
            value: value.to_owned(),
            valid: valid(),
        }),
    }
}

/// The variable is read once per process.
fn chosen() -> &'static Result<Level, SimdError> {
    static CHOSEN: OnceLock<Result<Level, SimdError>> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let value = std::env::var_os(VARIABLE);
        parse(
            value
                .as_deref()
                .map(|value| value.to_string_lossy())
                .as_deref(),
        )
    })
}

/// The level in use, or why the value of `TEXTGEN_SIMD` is invalid.
pub fn check() -> Result<Level, SimdError> {
    chosen().clone()
}

/// The level in use: the one that `TEXTGEN_SIMD` names if this machine can run it, else the
/// fastest.
pub fn level() -> Level {
    chosen()
        .as_ref()
        .map_or_else(|_| Level::best(), |level| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_asks_for_the_fastest_level() {
        assert_eq!(parse(None), Ok(Level::best()));
        assert_eq!(parse(Some("")), Ok(Level::best()));
    }

    #[test]
    fn a_level_is_forced_by_its_name() {
        for level in Level::supported() {
            assert_eq!(parse(Some(level.name())), Ok(level));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_valid_ones() {
        let message = parse(Some("mmx")).unwrap_err().to_string();
        assert!(
            message.starts_with("TEXTGEN_SIMD=mmx: not one of portable"),
            "{message}"
        );
    }

    #[test]
    fn a_level_that_the_machine_lacks_is_an_error() {
        for level in Level::ALL.into_iter().filter(|level| !level.is_supported()) {
            let error = parse(Some(level.name())).unwrap_err();
            assert!(matches!(error, SimdError::Unsupported { .. }), "{error}");
        }
    }
}
