//! Measures how fast this machine reads a buffer of a given size, the bound that the engine is compared
//! with.

use std::error::Error;
use std::fs;
use std::hint::black_box;

use serde::Deserialize;
use serde_json::{Value, json};
use textgen::kernels::simd::{Level, level};

use super::{at_least_one, rates, rates_of_threads};

/// Bytes that are read, at least, between two looks at the clock.
const BYTES_BETWEEN_LOOKS: usize = 1 << 20;

/// Reads a buffer of `bytes` again and again; each thread reads its own part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    bytes: usize,
    #[serde(default = "super::one")]
    threads: usize,
    seconds: f64,
}

/// A cache line of 64 bytes.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "it is read by whole registers")] [u64; 8]);

/// How a buffer is read: at four positions at a time, which are `apart` lines from each other and
/// move on by `step` lines.
#[derive(Clone, Copy)]
struct Pattern {
    apart: usize,
    step: usize,
}

impl Pattern {
    /// Both patterns read all of `lines` lines, a multiple of four: from the first line to the last, and
    /// every quarter by itself, which occupies more prefetchers.
    const fn all(lines: usize) -> [Self; 2] {
        [
            Self { apart: 1, step: 4 },
            Self {
                apart: lines / 4,
                step: 1,
            },
        ]
    }
}

/// A function that adds up all lines by explicit loads of whole registers. Each register of the four
/// lines has a sum of its own: left to itself, a compiler splits registers or stores the sums.
macro_rules! reader {
    ($arch:meta, $module:ident, $(#[$feature:meta])? $register:ty, $load:path, $add:path) => {
        #[cfg($arch)]
        mod $module {
            use super::{Line, Pattern};

            const REGISTERS: usize = size_of::<Line>() / size_of::<$register>();

            #[allow(clippy::allow_attributes, unused_unsafe, reason = "portable code is safe")]
            $(#[$feature])?
            pub(super) fn read(pattern: Pattern, lines: &[Line]) {
                let Pattern { apart, step } = pattern;
                let count = lines.len() / 4;
                assert!(3 * apart + (count - 1) * step < lines.len(), "positions");
                // SAFETY: a register may be all zeros.
                let mut sums: [[$register; REGISTERS]; 4] = unsafe { std::mem::zeroed() };
                for at in 0..count {
                    for (position, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the last line of all has been checked.
                        let line = unsafe { lines.as_ptr().add(position * apart + at * step) };
                        for (part, sum) in sums.iter_mut().enumerate() {
                            // SAFETY: these registers fill a line, which is aligned to 64 bytes.
                            let value =
                                unsafe { $load(line.cast::<$register>().add(part).cast()) };
                            *sum = $add(*sum, value);
                        }
                    }
                }
                std::hint::black_box(sums);
            }
        }
    };
}

reader!(
    target_arch = "x86_64",
    avx512,
    #[target_feature(enable = "avx512f")]
    std::arch::x86_64::__m512i,
    std::arch::x86_64::_mm512_load_si512,
    std::arch::x86_64::_mm512_add_epi64
);
reader!(
    target_arch = "x86_64",
    avx2,
    #[target_feature(enable = "avx2")]
    std::arch::x86_64::__m256i,
    std::arch::x86_64::_mm256_load_si256,
    std::arch::x86_64::_mm256_add_epi64
);
reader!(
    target_arch = "aarch64",
    neon,
    #[target_feature(enable = "neon")]
    std::arch::aarch64::uint64x2_t,
    std::arch::aarch64::vld1q_u64,
    std::arch::aarch64::vaddq_u64
);
reader!(all(), portable, [u64; 2], std::ptr::read, super::add_pairs);

fn add_pairs(sum: [u64; 2], value: [u64; 2]) -> [u64; 2] {
    [sum[0].wrapping_add(value[0]), sum[1].wrapping_add(value[1])]
}

/// Reads all lines with the registers of the level in use.
fn read(pattern: Pattern, lines: &[Line]) {
    match level() {
        // SAFETY: `level` is one that this machine supports.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Vnni | Level::Bf16 => unsafe { avx512::read(pattern, lines) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::read(pattern, lines) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Level::Neon => unsafe { neon::read(pattern, lines) },
        _ => portable::read(pattern, lines),
    }
}

/// Bytes read per second by one thread, one number per slice.
fn rates_of_reading(pattern: Pattern, lines: &[Line], seconds: f64) -> Vec<f64> {
    let bytes = size_of_val(lines);
    let passes = BYTES_BETWEEN_LOOKS.div_ceil(bytes);
    rates(seconds, || {
        for _ in 0..passes {
            read(pattern, black_box(lines));
        }
        passes * bytes
    })
}

pub(super) fn answer(request: &Request) -> Result<Value, Box<dyn Error>> {
    let &Request {
        bytes,
        threads,
        seconds,
    } = request;
    at_least_one(&[bytes, threads])?;
    // A multiple of four lines, so that both patterns read all of them.
    let part = (bytes / threads / size_of::<Line>())
        .next_multiple_of(4)
        .max(4);
    let best = Pattern::all(part)
        .into_iter()
        .flat_map(|pattern| {
            rates_of_threads(threads, |thread, barrier| {
                // Written by the thread that reads them, so that the pages exist.
                let lines = vec![Line([thread as u64 + 1; 8]); part];
                barrier.wait();
                rates_of_reading(pattern, &lines, seconds / 2.0)
            })
        })
        .fold(0.0, f64::max);
    Ok(json!({
        "what": "bandwidth", "bytes": bytes, "threads": threads, "bytes_per_second": best,
        "level": cache_level(bytes, threads),
    }))
}

/// The memory level that holds a buffer of `bytes` split among `threads` cores: `L1`…, `memory`, or
/// nothing if the system does not describe its caches.
fn cache_level(bytes: usize, threads: usize) -> Option<String> {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    let mut caches: Vec<(u32, usize)> = caches
        .filter_map(|entry| {
            let file = |name| fs::read_to_string(entry.as_ref().ok()?.path().join(name)).ok();
            if file("type")?.trim() == "Instruction" {
                return None;
            }
            Some((
                file("level")?.trim().parse().ok()?,
                kilobytes(&file("size")?)? << 10,
            ))
        })
        .collect();
    caches.sort_unstable();
    let level = caches.iter().find(|&&(level, size)| {
        // The first two levels are private to each core.
        let own = if level <= 2 { bytes / threads } else { bytes };
        own <= size
    });
    match (level, caches.is_empty()) {
        (Some((level, _)), _) => Some(format!("L{level}")),
        (None, false) => Some("memory".to_owned()),
        (None, true) => None,
    }
}

/// Parses a size such as `512K` to KiB.
fn kilobytes(size: &str) -> Option<usize> {
    size.trim().strip_suffix('K')?.parse().ok()
}
