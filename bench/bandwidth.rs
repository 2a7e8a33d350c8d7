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
struct Line([u64; 8]);

/// Four sums of lines: enough for two loads per cycle in flight.
type Sums = [[u64; 8]; 4];

#[expect(
    clippy::inline_always,
    reason = "it must become part of the function that enables the level"
)]
#[inline(always)]
fn add(sum: &mut [u64; 8], line: &Line) {
    for (sum, value) in sum.iter_mut().zip(&line.0) {
        *sum = sum.wrapping_add(*value);
    }
}

/// The sums of all lines, from the first to the last.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn in_order(lines: &[Line]) -> Sums {
    let mut sums = Sums::default();
    for four in lines.chunks_exact(4) {
        for (sum, line) in sums.iter_mut().zip(four) {
            add(sum, line);
        }
    }
    sums
}

/// The sums of all lines, read at four positions at a time, which occupies more prefetchers.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn in_four_places(lines: &[Line]) -> Sums {
    let mut sums = Sums::default();
    let quarter = lines.len() / 4;
    let (a, b) = (&lines[..quarter], &lines[quarter..2 * quarter]);
    let (c, d) = (
        &lines[2 * quarter..3 * quarter],
        &lines[3 * quarter..4 * quarter],
    );
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        add(&mut sums[0], a);
        add(&mut sums[1], b);
        add(&mut sums[2], c);
        add(&mut sums[3], d);
    }
    sums
}

/// The two ways to read with registers of one level.
macro_rules! compiled_for {
    ($module:ident, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        mod $module {
            use super::{Line, Sums};
            #[target_feature(enable = $features)]
            pub(super) fn in_order(lines: &[Line]) -> Sums {
                super::in_order(lines)
            }
            #[target_feature(enable = $features)]
            pub(super) fn in_four_places(lines: &[Line]) -> Sums {
                super::in_four_places(lines)
            }
        }
    };
}
compiled_for!(avx2, "avx2");
compiled_for!(avx512, "avx512f");

/// How a buffer is read.
#[derive(Clone, Copy)]
enum Way {
    InOrder,
    InFourPlaces,
}

fn read(way: Way, lines: &[Line]) -> Sums {
    match (level(), way) {
        // SAFETY: `level` is one that this machine supports.
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Vnni, Way::InOrder) => unsafe { avx512::in_order(lines) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512 | Level::Vnni, Way::InFourPlaces) => unsafe {
            avx512::in_four_places(lines)
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, Way::InOrder) => unsafe { avx2::in_order(lines) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, Way::InFourPlaces) => unsafe { avx2::in_four_places(lines) },
        (_, Way::InOrder) => in_order(lines),
        (_, Way::InFourPlaces) => in_four_places(lines),
    }
}

/// Bytes read per second by one thread, one number per slice.
fn rates_of_reading(way: Way, lines: &[Line], seconds: f64) -> Vec<f64> {
    let bytes = size_of_val(lines);
    let passes = BYTES_BETWEEN_LOOKS.div_ceil(bytes);
    rates(seconds, || {
        for _ in 0..passes {
            black_box(read(way, black_box(lines)));
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
    // A multiple of four lines, so that both ways read all of them.
    let part = (bytes / threads / size_of::<Line>())
        .next_multiple_of(4)
        .max(4);
    let best = [Way::InOrder, Way::InFourPlaces]
        .into_iter()
        .flat_map(|way| {
            rates_of_threads(threads, |thread, barrier| {
                // Written by the thread that reads them, so that the pages exist.
                let lines = vec![Line([thread as u64 + 1; 8]); part];
                barrier.wait();
                rates_of_reading(way, &lines, seconds / 2.0)
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
