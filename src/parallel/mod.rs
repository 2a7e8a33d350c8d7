//! Work on many items in parallel whose results are consumed in order.
//!
//! [`map`] is for items that are independent of each other. It is built on [`ordered`], which serves
//! everything else: its workers take items one after another from a [`Queue`], may have several of them
//! in flight, and may send an item's result in pieces. The caller iterates over the [`Results`], which
//! wait for the next item in order. A caller that stops early cancels the remaining work, and a panic
//! of a worker cancels the others and is passed on.
//!
//! It uses scoped threads rather than a pool: a call has few, long jobs, the user sets its number of
//! threads, and most jobs borrow from the caller.

pub(crate) mod sync;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::iter::Enumerate;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use turn::Turn;

/// Parts that may wait for a consumer that has something to do. One that waits for the next part gets as many as it takes.
const MOST_WAITING: usize = 1024;

/// The number of threads of a call, and its progress callback.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// The number of threads; 0 counts as 1.
    pub threads: usize,
    /// Called from any thread with the number of tokens predicted since the last call.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// The results of `work` for 0, 1, … `count` − 1, in order.
///
/// # Panics
/// If `work` panics.
pub fn map<R: Send>(count: usize, threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if threads.min(count) <= 1 {
        return (0..count).map(work).collect();
    }
    ordered(
        0..count,
        threads.min(count),
        |queue| queue.work(&work),
        |results| results.map(|(_, result)| result).collect(),
    )
}

/// Runs `worker` on each of `threads` threads, and `consume` on this one. The workers take `items` from
/// their queues; `consume` gets their results in the order of the items.
///
/// Where the system allows fewer threads, there are fewer; without any, this one does all the work before it
/// consumes the results.
///
/// # Panics
/// If a worker or `consume` panics.
pub fn ordered<I: Iterator + Send, T: Send, R>(
    items: I,
    threads: usize,
    worker: impl Fn(&Queue<I, T>) + Sync,
    consume: impl FnOnce(&mut Results<T>) -> R,
) -> R {
    let items = Mutex::new(items.enumerate());
    let turn = Turn::new(MOST_WAITING);
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        let queue = || Queue {
            items: &items,
            turn: &turn,
            sender: sender.clone(),
        };
        let spawn = |_| {
            let (queue, worker) = (queue(), &worker);
            Builder::new()
                .spawn_scoped(scope, move || worker(&queue))
                .ok()
        };
        let threads: Vec<_> = (0..threads.max(1)).map_while(spawn).collect();
        if threads.is_empty() {
            worker(&queue());
        }
        drop(sender); // the results end with the last worker
        let mut results = Results {
            receiver,
            waiting: BTreeMap::new(),
            failed: false,
            turn: &turn,
        };
        let consumed = consume(&mut results);
        drop(results); // cancels what `consume` has not waited for
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        consumed
    })
}

/// A message from a worker: an item's index, a part of its result, and whether it is the last part.
/// `None` means that a worker has panicked.
type Message<T> = Option<(usize, T, bool)>;

/// A worker's source of items and outlet for results.
pub struct Queue<'a, I: Iterator, T> {
    items: &'a Mutex<Enumerate<I>>,
    turn: &'a Turn,
    sender: Sender<Message<T>>,
}

impl<I: Iterator, T> Queue<'_, I, T> {
    /// The next item with its index; `None` after the last one, or once the work is cancelled.
    pub fn next(&self) -> Option<(usize, I::Item)> {
        if self.turn.is_cancelled() {
            return None;
        }
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.next()
    }

    /// Whether the consumer is waiting for this item.
    pub fn is_due(&self, index: usize) -> bool {
        index == self.turn.due()
    }

    /// Sends a part of an item's result, but not the last one. False if the work is cancelled.
    pub fn send(&self, index: usize, part: T) -> bool {
        self.turn.send();
        self.sender.send(Some((index, part, false))).is_ok()
    }

    /// Sends the last part of an item's result, or all of it. False if the work is cancelled.
    pub fn finish(&self, index: usize, part: T) -> bool {
        self.turn.send();
        self.sender.send(Some((index, part, true))).is_ok()
    }

    /// Applies `work` to one item after another and sends the results.
    pub fn work(&self, mut work: impl FnMut(I::Item) -> T) {
        while let Some((index, item)) = self.next() {
            if !self.finish(index, work(item)) {
                break;
            }
        }
    }
}

impl<I: Iterator, T> Drop for Queue<'_, I, T> {
    /// Stops the other workers after a panic, since nobody will see their results.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.turn.cancel();
            let _ = self.sender.send(None); // the consumer may have stopped already
        }
    }
}

/// The parts that the workers send, each with the index of its item: those of the first item, then
/// those of the second, and so on. They end early if a worker panics; dropping them cancels the work.
pub struct Results<'a, T> {
    receiver: Receiver<Message<T>>,
    /// Parts of items that are not due yet, and whether they are the last ones.
    waiting: BTreeMap<usize, VecDeque<(T, bool)>>,
    failed: bool,
    turn: &'a Turn,
}

impl<T> Results<'_, T> {
    /// Whether [`next`](Iterator::next) would return without waiting for a worker.
    pub fn is_ready(&mut self) -> bool {
        while let Ok(message) = self.receiver.try_recv() {
            self.put(message);
        }
        let due = self.waiting.get(&self.turn.due());
        self.failed || due.is_some_and(|parts| !parts.is_empty())
    }

    fn put(&mut self, message: Message<T>) {
        match message {
            Some((index, part, last)) => {
                let parts = self.waiting.entry(index).or_default();
                parts.push_back((part, last));
            }
            None => self.failed = true,
        }
    }
}

impl<T> Iterator for Results<'_, T> {
    type Item = (usize, T);

    fn next(&mut self) -> Option<(usize, T)> {
        let due = self.turn.due();
        while !self.failed {
            let waiting = self.waiting.get_mut(&due);
            if let Some((part, last)) = waiting.and_then(VecDeque::pop_front) {
                if last {
                    self.waiting.remove(&due);
                    self.turn.advance();
                }
                self.turn.consumer(true);
                return Some((due, part));
            }
            let message = if let Ok(message) = self.receiver.try_recv() {
                message
            } else {
                self.turn.consumer(false);
                self.receiver.recv().ok()?
            };
            self.put(message);
        }
        None
    }
}

impl<T> Drop for Results<'_, T> {
    fn drop(&mut self) {
        self.turn.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Later items are done sooner.
    fn dawdle(index: usize) {
        std::thread::sleep(Duration::from_micros(100 * (20 - index.min(20)) as u64));
    }

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        for threads in [0, 1, 2, 3, 16, 40] {
            let squares = map(20, threads, |index| {
                dawdle(index);
                index * index
            });
            let expected: Vec<usize> = (0..20).map(|index| index * index).collect();
            assert_eq!(squares, expected, "{threads} threads");
        }
        assert!(map(0, 4, |index| index).is_empty());
    }

    #[test]
    fn a_worker_may_have_several_items_in_flight_and_send_them_in_pieces() {
        let shout = |queue: &Queue<std::slice::Iter<&str>, String>| {
            // Two items at a time, piece by piece in turn, as texts are written in lock-step.
            while let Some((first, word)) = queue.next() {
                let second = queue.next();
                let words = second.into_iter().chain([(first, word)]);
                for (index, word) in words.clone() {
                    queue.send(index, format!("{word}-"));
                }
                for (index, word) in words {
                    queue.finish(index, word.to_uppercase());
                }
            }
        };
        let words = ["a", "b", "c", "d", "e"];
        for threads in 1..4 {
            let said = ordered(words.iter(), threads, shout, |results| {
                results
                    .map(|(index, part)| format!("{index}{part}"))
                    .collect::<Vec<_>>()
            });
            assert_eq!(said.concat(), "0a-0A1b-1B2c-2C3d-3D4e-4E");
        }
    }

    #[test]
    fn a_consumer_that_stops_cancels_endless_work() {
        let taken = AtomicUsize::new(0);
        let count = |queue: &Queue<_, usize>| {
            queue.work(|item| {
                taken.fetch_add(1, Ordering::Relaxed);
                item
            });
        };
        let outcome: Result<(), usize> = ordered(0.., 3, count, |results| {
            for (index, item) in results {
                assert_eq!(index, item);
                if item == 5 {
                    return Err(item);
                }
            }
            Ok(())
        });
        assert_eq!(outcome, Err(5));
        assert!(taken.load(Ordering::Relaxed) > 5);
    }

    #[test]
    fn workers_wait_for_a_slow_consumer_but_not_for_one_that_waits() {
        let sent = AtomicUsize::new(0);
        let count = |queue: &Queue<_, usize>| {
            queue.work(|item| {
                sent.fetch_add(1, Ordering::Relaxed);
                item
            });
        };
        ordered(0.., 3, count, |results| {
            // While it waits for the first, they may send any number.
            let (mut first, mut sent_at_first) = (true, 0);
            for (index, _) in results.take(20) {
                std::thread::sleep(Duration::from_millis(2));
                let sent = sent.load(Ordering::Relaxed);
                if std::mem::take(&mut first) {
                    sent_at_first = sent;
                }
                let most = sent_at_first.max(index + 1 + MOST_WAITING) + 3;
                assert!(sent <= most, "{sent} at {index}");
            }
        });
        // The first item comes last, from a worker that has taken it with all others.
        let items = 3 * MOST_WAITING;
        let backwards = |queue: &Queue<_, usize>| {
            let mut mine: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
            while let Some((index, item)) = mine.pop() {
                queue.finish(index, item);
            }
        };
        let all = ordered(0..items, 2, backwards, |results| results.count());
        assert_eq!(all, items);
    }

    #[test]
    fn a_panic_of_a_worker_or_of_the_consumer_ends_the_others_and_is_passed_on() {
        let message = |panic: Box<dyn std::any::Any + Send>| panic.downcast::<&str>().unwrap();
        let fail = |index| if index == 3 { panic!("three") } else { index };
        let panic =
            catch_unwind(|| ordered(0.., 2, |queue| queue.work(fail), |results| results.count()));
        assert_eq!(*message(panic.unwrap_err()), "three");
        let panic = catch_unwind(AssertUnwindSafe(|| {
            ordered(
                0..,
                2,
                |queue| queue.work(|index| index),
                |_| panic!("mine"),
            )
        }));
        assert_eq!(*message(panic.unwrap_err()), "mine");
    }

    #[test]
    fn a_consumer_can_ask_whether_it_would_wait_and_a_worker_whether_it_is_waited_for() {
        let (go, wait) = channel::<()>();
        let wait = Mutex::new(wait);
        let worker = |queue: &Queue<_, bool>| {
            let (first, ()) = queue.next().unwrap();
            let (second, ()) = queue.next().unwrap();
            queue.finish(second, queue.is_due(second));
            wait.lock().unwrap().recv().unwrap();
            queue.finish(first, queue.is_due(first));
        };
        let due = ordered([(); 2].into_iter(), 1, worker, |results| {
            assert!(!results.is_ready());
            go.send(()).unwrap();
            let first = results.next();
            while !results.is_ready() {
                std::thread::yield_now();
            }
            [first, results.next(), results.next()]
        });
        assert_eq!(due, [Some((0, true)), Some((1, false)), None]);
    }
}
