//! A barrier for threads that meet many thousand times per second. `tests/loom` runs this file in every order of its threads.

use crate::parallel::sync::{AtomicBool, AtomicU32, Ordering, pause};

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
    pub(crate) fn new(members: u32) -> Self {
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

/// Polls until `is_so` returns true, less and less often.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let mut polls = 0_u32;
    while !is_so() {
        polls = polls.saturating_add(1);
        pause(polls);
    }
}
