//! Threads, and what they are given to do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::super::Kernels;
use super::super::matrix::{Layout, PanelMut};
use crate::kernels::barrier::{Barrier, Presence, wait_until};

/// Fewer multiplications than this, some 20 µs of them, one thread has done before several have met,
/// and long before where another program holds one of them up.
const WORTH_MEETING: usize = 1 << 20;
/// Copying a number to where it belongs takes about as long as so many multiplications.
pub(super) const A_COPY: usize = 16;
/// How long the first thread waits for others that it is to meet at every step. One that is not
/// there by then has no core.
const PATIENCE: Duration = Duration::from_millis(1);
/// Instead of the number of threads that have come: no more may.
const CLOSED: u32 = u32::MAX;

/// Threads that work together.
pub trait Team: Sync {
    /// How many.
    fn threads(&self) -> usize;
    /// Calls `job` with every number below `jobs`, each once, and returns when all are done.
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
}

/// The caller's thread alone.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Team for Alone {
    fn threads(&self) -> usize {
        1
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// Who computes, and with what.
#[derive(Clone, Copy)]
pub struct Workers<'a> {
    /// The threads.
    pub team: &'a dyn Team,
    /// What they run.
    pub kernels: Kernels,
}

impl Workers<'_> {
    /// The caller's thread alone for little work, counted in multiplications.
    pub(super) fn for_work(self, work: usize) -> Self {
        if work < WORTH_MEETING {
            Self {
                team: &Alone,
                ..self
            }
        } else {
            self
        }
    }

    /// As many as there are threads.
    pub(super) fn threads(self) -> usize {
        self.team.threads()
    }

    /// Hands every part to one thread.
    pub(super) fn each<T: Send>(
        self,
        parts: impl IntoIterator<Item = T>,
        work: impl Fn(usize, T) + Sync,
    ) {
        let parts: Vec<_> = parts.into_iter().map(to_be_taken).collect();
        self.team.run(parts.len(), &|index| {
            if let Some(part) = take(&parts[index]) {
                work(index, part);
            }
        });
    }

    /// Hands every part to one thread; the threads work side by side and meet at the barrier as often
    /// as they like. A team may have fewer threads to spare than it says, so those that come share
    /// the parts between them: there may be one.
    pub(super) fn together<T: Send>(
        self,
        parts: impl IntoIterator<Item = T>,
        work: impl Fn(Vec<T>, &Barrier) + Sync,
    ) {
        let parts: Vec<_> = parts.into_iter().map(to_be_taken).collect();
        let most = self.threads().min(parts.len());
        let gathering = Gathering::new(most as u32);
        self.team.run(most, &|_| {
            let Some(position) = gathering.join() else {
                return;
            };
            let share = |index: usize| parts.len() * index / position.members;
            let own = &parts[share(position.index)..share(position.index + 1)];
            let _presence = Presence(position.barrier);
            work(own.iter().filter_map(take).collect(), position.barrier);
        });
    }

    /// Fills panels of several packed matrices side by side.
    pub(super) fn fill<'a>(self, panels: Vec<(PanelMut<'a>, Filling<'a>)>) {
        let numbers: usize = panels.iter().map(|(panel, _)| panel.len()).sum();
        let parts = panels.into_iter();
        self.for_work(numbers * A_COPY)
            .each(parts, |_, (mut panel, filling)| match filling {
                Filling::Rows(matrix) => panel.fill(matrix),
                Filling::Transposed(matrix, inputs) => panel.fill_transposed(matrix, inputs),
            });
    }
}

/// A part that one thread will take.
fn to_be_taken<T>(part: T) -> Mutex<Option<T>> {
    Mutex::new(Some(part))
}

/// Takes it, once.
fn take<T>(part: &Mutex<Option<T>>) -> Option<T> {
    part.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Threads that come to work together: all that are wanted, or those that came in time.
struct Gathering {
    most: u32,
    /// How many have come, or [`CLOSED`].
    present: AtomicU32,
    /// Where they meet, once it is known who they are.
    closed: OnceLock<(Barrier, usize)>,
}

/// A thread among those that work together.
struct Position<'a> {
    index: usize,
    members: usize,
    barrier: &'a Barrier,
}

impl Gathering {
    const fn new(most: u32) -> Self {
        Self {
            most,
            present: AtomicU32::new(0),
            closed: OnceLock::new(),
        }
    }

    /// Waits for the others; none if they have begun without this thread.
    fn join(&self) -> Option<Position<'_>> {
        let one_more = |present: u32| (present < self.most).then_some(present + 1);
        let order = Ordering::AcqRel;
        let index = self
            .present
            .fetch_update(order, Ordering::Acquire, one_more)
            .ok()?;
        if index + 1 == self.most {
            self.close();
        } else if index == 0 {
            let since = Instant::now();
            wait_until(|| self.closed.get().is_some() || since.elapsed() > PATIENCE);
            self.close();
        }
        wait_until(|| self.closed.get().is_some());
        self.closed.get().map(|(barrier, members)| Position {
            index: index as usize,
            members: *members,
            barrier,
        })
    }

    /// Those who have come begin.
    fn close(&self) {
        let present = self.present.swap(CLOSED, Ordering::AcqRel);
        if present != CLOSED {
            self.closed
                .get_or_init(|| (Barrier::new(present), present as usize));
        }
    }
}

/// Where a packed matrix comes from.
#[derive(Clone, Copy)]
pub(super) enum Filling<'a> {
    /// A row-major matrix.
    Rows(&'a [f32]),
    /// The transpose of one, whose rows are laid out so.
    Transposed(&'a [f32], Layout),
}
