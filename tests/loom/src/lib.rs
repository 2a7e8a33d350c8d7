//! The files of textgen in which threads meet, with the atomics and locks of loom, which runs each test once for every
//! order of its threads that the memory model allows.
#![cfg(loom)]
#![allow(dead_code)]

#[path = "."]
mod kernels {
    #[path = "../../../src/kernels/barrier.rs"]
    pub mod barrier;
    #[path = "."]
    pub mod training {
        /// As in `workers.rs`.
        pub trait Team {
            fn threads(&self) -> usize;
            fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
        }

        #[path = "../../../src/kernels/training/pool.rs"]
        pub mod pool;
    }
}

#[path = "."]
mod parallel {
    /// What `parallel/sync.rs` has, of loom.
    pub mod sync {
        pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
        pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
        pub use loom::thread::{Builder, JoinHandle, park};
        pub use std::sync::PoisonError;
        use std::time::Duration;

        pub const POLLS: u32 = 1;

        pub fn pause(_polls: u32) {
            loom::thread::yield_now();
        }

        /// A clock on which everything takes a second, so that whoever polls parks.
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
        pub struct Instant;

        impl Instant {
            pub fn now() -> Self {
                Self
            }

            pub fn elapsed(&self) -> Duration {
                Duration::from_secs(1)
            }
        }

        impl std::ops::Add<Duration> for Instant {
            type Output = Self;

            fn add(self, _: Duration) -> Self {
                self
            }
        }
    }

    #[path = "../../../src/parallel/turn.rs"]
    pub mod turn;
}

#[cfg(test)]
mod orders;
