//! Threads and their work.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::super::Kernels;
use super::super::matrix::{Layout, Packed, PanelMut, Panels};
use super::Buffers;
use super::buffers::Loan;
use crate::kernels::barrier::{Barrier, Presence, wait_until};

/// Below this many multiplications, some 20 µs, one thread is done before several have met, and
/// long before if another program delays one of them.
const WORTH_MEETING: usize = 1 << 20;
/// The cost of copying a number, in multiplications.
pub(super) const A_COPY: usize = 16;
/// How long the first thread waits for the others that it meets at every step. A thread that has
/// not come by then has no core.
const PATIENCE: Duration = Duration::from_millis(1);
/// Replaces the number of threads that have come once no more may come.
const CLOSED: u32 = u32::MAX;

/// Threads that work together.
pub trait Team: Sync {
    /// The number of threads.
    fn threads(&self) -> usize;
    /// Calls `job` once with every number below `jobs`, and returns when all calls are done.
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
    /// Whether the result is no longer wanted. Passes then leave out what they have not begun, and what they
    /// computed means nothing. Once true, it stays so until the pass has ended.
    fn is_stopping(&self) -> bool {
        false
    }
}

/// Runs everything on the caller's thread.
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

/// The threads, kernels and buffers of a computation.
#[derive(Clone, Copy)]
pub struct Workers<'a> {
    /// Its threads.
    pub team: &'a dyn Team,
    /// Its kernels.
    pub kernels: Kernels,
    /// Where passes find their scratch buffers, and leave them for the next.
    pub buffers: &'a Buffers,
}

impl<'a> Workers<'a> {
    /// A matrix of arbitrary numbers, to be overwritten by [`Workers::fill`].
    pub(super) fn packed(self, layout: Layout, columns: usize) -> Loan<'a, Packed> {
        self.buffers.packed(layout, columns, self.kernels.is_bf16())
    }

    /// `out += weight · x` for every vector, in the precision of the weights: x (N, columns), out (N, panels · 32).
    pub(super) fn accumulate(self, weight: Panels, x: &[f32], out: &mut [f32]) {
        if !weight.pairs() {
            return self.kernels.accumulate(weight, x, out);
        }
        let columns = weight.columns();
        let rows = x.len().checked_div(columns).unwrap_or(0);
        let mut pairs = self.buffers.numbers(rows * weight.depth());
        self.kernels.pairs(x, columns, &mut pairs);
        self.kernels.accumulate_pairs(weight, &pairs, out);
    }

    /// Uses only the caller's thread for little work, measured in multiplications.
    #[must_use]
    pub fn for_work(self, work: usize) -> Self {
        if work < WORTH_MEETING {
            Self {
                team: &Alone,
                ..self
            }
        } else {
            self
        }
    }

    /// The number of threads.
    pub(super) fn threads(self) -> usize {
        self.team.threads()
    }

    /// Hands every part, with its number, to one thread.
    pub fn each<T: Send>(self, parts: impl IntoIterator<Item = T>, work: impl Fn(usize, T) + Sync) {
        let parts: Vec<_> = parts.into_iter().map(to_be_taken).collect();
        self.team.run(parts.len(), &|index| {
            if let Some(part) = take(&parts[index]).filter(|_| !self.team.is_stopping()) {
                work(index, part);
            }
        });
    }

    /// Hands parts of `size` numbers of an array to the threads, if there are many; `work` gets a part's number
    /// and the part.
    pub fn in_parts(
        self,
        values: &mut [f32],
        size: usize,
        work: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.for_work(values.len() * A_COPY)
            .each(values.chunks_mut(size), work);
    }

    /// Hands every part to one thread; the threads run in parallel and meet at the barrier as often
    /// as they like. Fewer threads may come than promised, perhaps only one; those that come split
    /// the parts among them.
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
            let start = |index: usize| parts.len() * index / position.members;
            let own = &parts[start(position.index)..start(position.index + 1)];
            let _presence = Presence(position.barrier);
            work(own.iter().filter_map(take).collect(), position.barrier);
        });
    }

    /// Fills panels of several packed matrices in parallel.
    pub(super) fn fill(self, panels: Vec<(PanelMut, Filling)>) {
        let numbers: usize = panels.iter().map(|(panel, _)| panel.len()).sum();
        let parts = panels.into_iter();
        self.for_work(numbers * A_COPY)
            .each(parts, |_, (mut panel, filling)| {
                let fill = |panel: &mut PanelMut| match filling {
                    Filling::Rows(matrix) => panel.fill(self.kernels, matrix),
                    Filling::Transposed(matrix, inputs) => panel.fill_transposed(matrix, inputs),
                };
                if self.kernels.is_bf16() {
                    panel.fill_pairs(self.kernels, &mut self.buffers.stacked(), fill);
                } else {
                    fill(&mut panel);
                }
            });
    }
}

/// A part for one thread to take.
fn to_be_taken<T>(part: T) -> Mutex<Option<T>> {
    Mutex::new(Some(part))
}

/// Takes the part; `None` if it has been taken already.
fn take<T>(part: &Mutex<Option<T>>) -> Option<T> {
    part.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The threads that work together: all that are wanted, or those that came in time.
struct Gathering {
    most: u32,
    /// The number of threads that have come, or [`CLOSED`].
    present: AtomicU32,
    /// Their barrier, once it is known who they are.
    closed: OnceLock<(Barrier, usize)>,
}

/// The position of one of the threads that work together.
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

    /// Waits for the others; `None` if they have started without this thread.
    fn join(&self) -> Option<Position<'_>> {
        let one_more = |present: u32| (present < self.most).then(|| present + 1);
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

    /// Lets the threads that have come start.
    fn close(&self) {
        let present = self.present.swap(CLOSED, Ordering::AcqRel);
        if present != CLOSED {
            self.closed
                .get_or_init(|| (Barrier::new(present), present as usize));
        }
    }
}

/// The source of a packed matrix.
#[derive(Clone, Copy)]
pub(super) enum Filling<'a> {
    /// A row-major matrix.
    Rows(&'a [f32]),
    /// The transpose of a row-major matrix whose rows have this layout.
    Transposed(&'a [f32], Layout),
}
