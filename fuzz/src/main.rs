//! Runs the targets on any compiler, one after the other: `textgen-fuzz 1000000 model state`; without names, all of
//! them. What fails is kept in the folder `failures`; a file in place of the number runs that file alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use textgen_fuzz::{TARGETS, Target, mutate, seeds, target};

/// The most that one run may take.
const LONGEST: Duration = Duration::from_secs(1);
const MOST_MEMORY: usize = 1 << 30;
/// After so long by the clock, a run is ended from outside.
const HANGING: Duration = Duration::from_secs(60);
/// Files of a target that are changed again: its seeds, and some that got past the reader.
const MOST_KEPT: usize = 256;
const MOST_FAILURES: usize = 20;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What runs now, and since when; for the watch.
static RUNNING: Mutex<Option<(Instant, &'static str, Vec<u8>)>> = Mutex::new(None);
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

fn keep(target: &str, bytes: &[u8], why: &str) {
    HAS_FAILED.store(true, Ordering::Relaxed);
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("failures");
    let path = folder.join(format!("{target}-{:016x}", hasher.finish()));
    let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, bytes));
    eprintln!("{target}: {why}: {}", path.display());
}

/// Ends the program if a run hangs.
fn watch() {
    std::thread::spawn(|| {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let running = RUNNING.lock().expect("no panic");
            if let Some((since, target, bytes)) = &*running
                && since.elapsed() > HANGING
            {
                keep(target, bytes, "it hangs");
                std::process::exit(1);
            }
        }
    });
}

/// The processor time of this program, where the system tells; else that since the first call.
fn processor_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    // A hundred a second on Linux.
    ticks().map_or_else(
        || START.elapsed(),
        |ticks| Duration::from_millis(10 * ticks),
    )
}

/// What one run did.
struct Ran {
    accepted: bool,
    time: Duration,
    memory: usize,
    failed: bool,
}

fn run(target: &'static Target, bytes: &[u8]) -> Ran {
    *RUNNING.lock().expect("no panic") = Some((Instant::now(), target.name, bytes.to_vec()));
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let (started, worked) = (Instant::now(), processor_time());
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let mut time = started.elapsed();
    if time > LONGEST {
        // Another program may have had the processor.
        time = time.min(processor_time().saturating_sub(worked));
    }
    let memory = MOST.load(Ordering::Relaxed).saturating_sub(before);
    *RUNNING.lock().expect("no panic") = None;
    let why = match &outcome {
        Err(_) => Some("it panics".to_owned()),
        Ok(_) if time > LONGEST => Some(format!("it takes {time:.1?}")),
        Ok(_) if memory > MOST_MEMORY => Some(format!("it takes {} MB", memory >> 20)),
        Ok(_) => None,
    };
    if let Some(why) = &why {
        keep(target.name, bytes, why);
    }
    Ran {
        accepted: outcome.unwrap_or(false),
        time,
        memory,
        failed: why.is_some(),
    }
}

/// Runs a target on changed copies of its seeds, and says what came of it.
fn attack(target: &'static Target, executions: u64, seed: u64) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(seeds(target.name))
        .expect("seeds")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut kept: Vec<Vec<u8>> = files
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"))
        .collect();
    let seeds = kept.len();
    let mut rng = Rng::with_seed(seed);
    let (mut accepted, mut failures, mut memory) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    let (started, mut done) = (Instant::now(), 0);
    while done < executions && failures < MOST_FAILURES {
        let bytes = match kept.get(done as usize).filter(|_| (done as usize) < seeds) {
            Some(whole) => whole.clone(),
            None => mutate(target.form, &kept[rng.usize(..kept.len())], &kept, &mut rng),
        };
        let ran = run(target, &bytes);
        done += 1;
        accepted += u64::from(ran.accepted);
        failures += usize::from(ran.failed);
        memory = memory.max(ran.memory);
        slowest = slowest.max(ran.time);
        if ran.accepted && !ran.failed && rng.u8(..16) == 0 {
            if kept.len() < MOST_KEPT {
                kept.push(bytes);
            } else {
                kept[rng.usize(seeds..MOST_KEPT)] = bytes;
            }
        }
    }
    println!(
        "{:<11} {done:>9} executions, {accepted:>8} accepted, {failures} failures; slowest {:.0} ms, most memory {} MB, {:.0} s",
        target.name,
        slowest.as_secs_f64() * 1e3,
        memory.div_ceil(1 << 20),
        started.elapsed().as_secs_f64()
    );
    let _ = std::io::stdout().flush();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((first, names)) = arguments.split_first() else {
        eprintln!("usage: textgen-fuzz EXECUTIONS|FILE [TARGET]...");
        return ExitCode::from(2);
    };
    let chosen: Vec<&Target> = match names {
        [] => TARGETS.iter().collect(),
        names => names.iter().map(|name| target(name)).collect(),
    };
    watch();
    for target in chosen {
        match first.parse() {
            Ok(executions) => {
                let seed = std::env::var("SEED")
                    .ok()
                    .and_then(|seed| seed.parse().ok());
                attack(target, executions, seed.unwrap_or(1));
            }
            Err(_) => {
                let ran = run(target, &std::fs::read(first).expect("a file"));
                println!(
                    "{}: accepted: {}, {:.1?}, {} bytes",
                    target.name, ran.accepted, ran.time, ran.memory
                );
            }
        }
    }
    ExitCode::from(u8::from(HAS_FAILED.load(Ordering::Relaxed)))
}
