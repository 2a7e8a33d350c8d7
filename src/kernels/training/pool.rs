//! Threads that live as long as a training. `tests/loom` runs this file in every order of its threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::Team;
use crate::kernels::barrier::wait_until;
use crate::parallel::sync::{
    Arc, AtomicBool, AtomicU32, AtomicUsize, Builder, Instant, JoinHandle, Mutex, MutexGuard,
    Ordering, POLLS, PoisonError, park, pause,
};

/// How long an idle thread polls before it parks: longer than the pauses within a step, and too short to
/// matter to other programs.
const SPIN: Duration = Duration::from_micros(50);
/// The rest of threads that were slower than none, as a multiple of the time that the caller waited for them.
const RESTS: u32 = 4;
const LONGEST_REST: Duration = Duration::from_millis(200);
/// A job's number once no more may be taken.
const NO_MORE: usize = usize::MAX / 2;

/// Threads that wait for work: they poll for a moment, then park.
///
/// Jobs are taken as threads become free. A thread that has no core, because other programs hold it, takes
/// none, and the caller waits only for jobs that have begun. If that took longer than the caller alone
/// would have, the threads rest for a while.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held during a call: when the threads' rest is over.
    rest: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of calls so far.
    calls: AtomicU32,
    /// The current call, if there is one.
    call: Mutex<Option<Call>>,
    /// The number of the next job.
    next: AtomicUsize,
    /// Threads in the current call, besides the caller's.
    active: AtomicU32,
    /// The first panic of a thread in the current call.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    closing: AtomicBool,
}

/// Jobs to be done. The borrow ends with the call, whatever its type says: see [`Pool::run`].
#[derive(Clone, Copy)]
struct Call {
    job: &'static (dyn Fn(usize) + Sync),
    jobs: usize,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs", self.jobs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// `threads` threads with the caller's; fewer if the system has no more.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let spawn = |_| {
            let shared = Arc::clone(&shared);
            let builder = Builder::new().name("textgen".to_owned());
            builder.spawn(move || shared.serve()).ok()
        };
        Self {
            threads: (1..threads).map_while(spawn).collect(),
            shared,
            rest: Mutex::new(None),
        }
    }
}

impl Team for Pool {
    fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        // A job that calls again, or a second caller, does its work alone.
        let mut rest = match self.rest.try_lock() {
            Ok(rest) if jobs > 1 && !self.threads.is_empty() => rest,
            _ => return (0..jobs).for_each(job),
        };
        let started = Instant::now();
        if rest.is_some_and(|end| started < end) {
            return (0..jobs).for_each(job);
        }
        // SAFETY: a thread enters a call only while `shared.call` holds it, counting itself before it
        // lets go of the lock, and never uses it after it has left. Below, the call is taken back and
        // all that entered have left before this function returns or unwinds.
        let job = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job)
        };
        let shared = &*self.shared;
        let call = Call { job, jobs };
        shared.next.store(0, Ordering::Relaxed);
        *lock(&shared.call) = Some(call);
        shared.calls.fetch_add(1, Ordering::Release);
        for thread in self.threads.iter().take(jobs - 1) {
            thread.thread().unpark();
        }
        let own = shared.work(call);
        *lock(&shared.call) = None;
        let worked = started.elapsed();
        wait_until(|| shared.active.load(Ordering::Acquire) == 0);
        let waited = started.elapsed().saturating_sub(worked);
        let alone = worked * self.threads.len() as u32;
        *rest = (waited > alone + SPIN).then(|| Instant::now() + LONGEST_REST.min(RESTS * waited));
        let panic = lock(&shared.panic).take().or(own);
        drop(rest);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // It has passed on its panics.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a thread.
    fn serve(&self) {
        let mut seen = 0;
        while self.is_called(&mut seen) {
            let call = {
                let call = lock(&self.call);
                if call.is_some() {
                    self.active.fetch_add(1, Ordering::AcqRel);
                }
                *call
            };
            if let Some(call) = call {
                if let Some(panic) = self.work(call) {
                    lock(&self.panic).get_or_insert(panic);
                }
                self.active.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Waits for a call after the `seen` ones; false if there will be none.
    fn is_called(&self, seen: &mut u32) -> bool {
        let mut since = Instant::now();
        let mut looks = 0_u32;
        loop {
            if self.closing.load(Ordering::Acquire) {
                return false;
            }
            let calls = self.calls.load(Ordering::Acquire);
            if calls != *seen {
                *seen = calls;
                return true;
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(POLLS) && since.elapsed() > SPIN {
                park();
                since = Instant::now();
            } else {
                pause(0);
            }
        }
    }

    /// Does jobs until none is left. Returns the panic of one that failed, after which no more begin.
    fn work(&self, call: Call) -> Option<Box<dyn Any + Send>> {
        let all = AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= call.jobs {
                    break;
                }
                (call.job)(index);
            }
        });
        let panic = catch_unwind(all).err();
        if panic.is_some() {
            self.next.store(NO_MORE, Ordering::Relaxed);
        }
        panic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_on_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for jobs in [0, 1, 2, 3, 100] {
                for _ in 0..200 {
                    let done: Vec<AtomicU32> = (0..jobs).map(|_| AtomicU32::new(0)).collect();
                    pool.run(jobs, &|index| {
                        done[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn a_pause_or_a_call_within_a_job_does_no_harm() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for _ in 0..5 {
            std::thread::sleep(4 * SPIN);
            pool.run(4, &|outer| {
                pool.run(3, &|inner| {
                    sum.fetch_add(outer * inner, Ordering::Relaxed);
                });
            });
        }
        assert_eq!(sum.into_inner(), 5 * 6 * 3);
    }

    #[test]
    fn the_panic_of_a_job_reaches_the_caller_and_the_threads_live_on() {
        let pool = Pool::new(3);
        for bad in [0, 1, 7] {
            let attempt = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|index| {
                    std::thread::sleep(Duration::from_micros(200));
                    assert!(index != bad, "job {bad}");
                });
            }));
            let panic = attempt.expect_err("a job failed");
            let message = panic.downcast_ref::<String>().expect("a message");
            assert!(message.contains(&format!("job {bad}")), "{message}");
        }
        let sum = AtomicUsize::new(0);
        pool.run(10, &|index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }
}
