//! Whose turn it is: how workers and the consumer of their results wait for each other. `tests/loom` runs this file in
//! every order of its threads.

use super::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, PoisonError};

/// The item whose turn it is, and whether anybody still waits for results.
#[derive(Default)]
pub struct Turn {
    due: AtomicUsize,
    cancelled: AtomicBool,
    flow: Mutex<Flow>,
    changed: Condvar,
    /// The most parts that may wait for a consumer that has something to do.
    most: usize,
}

/// The parts between the workers and the consumer.
#[derive(Default)]
struct Flow {
    /// Those that were sent and not consumed.
    waiting: usize,
    /// Whether the consumer has what it needs next. Else nobody must wait for it.
    is_busy: bool,
}

impl Turn {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// The item whose turn it is.
    pub fn due(&self) -> usize {
        self.due.load(Ordering::Relaxed)
    }

    /// Passes the turn to the next item.
    pub fn advance(&self) {
        self.due.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a part that is to be sent, once there are not too many.
    pub fn send(&self) {
        let mut flow = self.flow();
        while flow.waiting >= self.most && flow.is_busy && !self.is_cancelled() {
            flow = self
                .changed
                .wait(flow)
                .unwrap_or_else(PoisonError::into_inner);
        }
        flow.waiting += 1;
    }

    /// Notes that the consumer has got a part, or waits for one.
    pub fn consumer(&self, is_busy: bool) {
        let mut flow = self.flow();
        flow.waiting -= usize::from(is_busy && flow.waiting > 0);
        flow.is_busy = is_busy;
        drop(flow);
        self.changed.notify_all();
    }

    pub fn cancel(&self) {
        let flow = self.flow(); // so that nobody is about to wait
        self.cancelled.store(true, Ordering::Relaxed);
        drop(flow);
        self.changed.notify_all();
    }
}
