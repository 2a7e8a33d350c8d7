//! What threads share and how they meet. `tests/loom` has another one, with which it tries every order of the threads in
//! the files that take it from here.

pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub use std::thread::{Builder, JoinHandle, park};
pub use std::time::Instant;

/// Polls of a waiting thread before it looks at the clock, which takes as long as some of them.
pub const POLLS: u32 = 64;

/// Lets time pass for a thread that has polled so many times: by spinning at first, then yielding, then sleeping ever
/// longer, because it is not needed now.
#[inline]
pub fn pause(polls: u32) {
    const SPINS: u32 = 5_000;
    const YIELDS: u32 = 1_000;
    const LONGEST_NAP: u64 = 2_000;
    if polls < SPINS {
        std::hint::spin_loop();
    } else if polls < SPINS + YIELDS {
        std::thread::yield_now();
    } else {
        let nap = u64::from(polls - SPINS - YIELDS).min(LONGEST_NAP);
        std::thread::sleep(std::time::Duration::from_micros(nap));
    }
}
