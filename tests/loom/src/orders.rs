use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::kernels::barrier::Barrier;
use crate::kernels::training::Team as _;
use crate::kernels::training::pool::Pool;
use crate::parallel::turn::Turn;

/// Tries the orders in which a thread loses its core at most so many times where it need not.
fn every_order(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(test);
}

// With three, two that poll let each other go first for ever, which loom takes for progress.
fn meeting(threads: usize, rounds: usize) {
    let barrier = Arc::new(Barrier::new(threads as u32));
    let stored: Arc<Vec<AtomicUsize>> = Arc::new((0..threads).map(|_| AtomicUsize::new(0)).collect());
    let member = |own: usize| {
        let (barrier, stored) = (barrier.clone(), stored.clone());
        move || {
            for round in 1..=rounds {
                stored[own].store(round, Ordering::Relaxed);
                barrier.wait();
                for other in stored.iter() {
                    assert_eq!(other.load(Ordering::Relaxed), round, "what was stored before is seen");
                }
                if round < rounds {
                    barrier.wait();
                }
            }
        }
    };
    let others: Vec<_> = (1..threads).map(|own| thread::spawn(member(own))).collect();
    member(0)();
    others.into_iter().for_each(|other| other.join().unwrap());
}

#[test]
fn two_threads_that_met_see_what_each_stored_before() {
    every_order(3, || meeting(2, 1));
}

#[test]
fn they_meet_again() {
    every_order(2, || meeting(2, 2));
}

#[test]
fn nobody_waits_for_a_thread_that_has_failed() {
    every_order(3, || {
        let barrier = Arc::new(Barrier::new(2));
        let failing = barrier.clone();
        let other = thread::spawn(move || failing.give_up());
        catch_unwind(AssertUnwindSafe(|| barrier.wait())).expect_err("a thread has failed");
        other.join().unwrap();
    });
}

#[test]
fn every_job_of_every_call_is_done_once_before_the_call_returns() {
    every_order(2, || {
        let pool = Pool::new(2);
        for jobs in [2, 1] {
            let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
            pool.run(jobs, &|job| {
                done[job].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        }
    });
}

#[test]
fn a_pool_that_is_called_again_loses_no_call() {
    every_order(2, || {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        for _ in 0..2 {
            pool.run(2, &|job| {
                sum.fetch_add(1 + job, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 6);
    });
}

#[test]
fn workers_wait_for_a_busy_consumer_and_nobody_waits_for_ever() {
    every_order(3, || {
        let turn = Arc::new(Turn::new(1));
        let theirs = turn.clone();
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let worker = thread::spawn(move || {
            for _ in 0..3 {
                theirs.send();
                count.fetch_add(1, Ordering::Release);
            }
        });
        // The consumer takes what is there, and says so when it has to wait.
        for wanted in 1..=3 {
            while sent.load(Ordering::Acquire) < wanted {
                turn.consumer(false);
                thread::yield_now();
            }
            turn.consumer(true);
        }
        worker.join().unwrap();
    });
}

#[test]
fn a_consumer_that_stops_releases_a_worker_that_waits() {
    every_order(3, || {
        let turn = Arc::new(Turn::new(1));
        turn.send();
        turn.send();
        turn.consumer(true);
        let theirs = turn.clone();
        let worker = thread::spawn(move || theirs.send());
        turn.cancel();
        worker.join().unwrap();
        assert!(turn.is_cancelled());
    });
}
