//! A barrier for threads that meet many thousand times per second.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How often a waiting thread polls, at some nanoseconds a time, before it yields.
const LOOKS: u32 = 5_000;
/// How often it yields before it sleeps, for longer and longer, because it is not needed now.
const YIELDS: u32 = 1_000;
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// A spinning barrier: the wait is usually shorter than a sleep.
#[derive(Debug)]
pub(crate) struct Barrier {
    members: u32,
    arrived: AtomicU32,
    round: AtomicU32,
    /// A thread has failed.
    broken: AtomicBool,
}

impl Barrier {
    /// A barrier for `members` threads.
    pub(crate) const fn new(members: u32) -> Self {
        Self {
            members,
            arrived: AtomicU32::new(0),
            round: AtomicU32::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all threads have arrived; whatever any of them stored before is then visible to all.
    ///
    /// # Panics
    /// If one of the threads has panicked.
    pub(crate) fn wait(&self) {
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        wait_until(|| {
            let over = self.round.load(Ordering::Acquire) != round;
            assert!(
                over || !self.broken.load(Ordering::Acquire),
                "a thread has failed"
            );
            over
        });
    }

    /// Marks a thread as failed, so that nobody waits for it any more.
    pub(crate) fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// Breaks the barrier if its thread panics, so that nobody waits for it forever.
pub(crate) struct Presence<'a>(pub(crate) &'a Barrier);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

/// Polls until `is_so` returns true: by spinning at first, then yielding, then sleeping ever longer.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let mut looks = 0_u32;
    while !is_so() {
        looks = looks.saturating_add(1);
        if looks < LOOKS {
            std::hint::spin_loop();
        } else if looks < LOOKS + YIELDS {
            std::thread::yield_now();
        } else {
            let nap = Duration::from_micros(u64::from(looks - LOOKS - YIELDS));
            std::thread::sleep(nap.min(LONGEST_NAP));
        }
    }
}
