//! A thread that writes files, for which training need not wait: syncing to a busy disk can take seconds.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::TrainError;

type Job = Box<dyn FnOnce() -> Result<(), TrainError> + Send>;

/// The most jobs that may wait: an evaluation's model and state. A slower disk slows the
/// training down.
const WAITING: usize = 2;

/// A thread that runs jobs in the order in which they were handed in.
pub struct Saver {
    jobs: Option<SyncSender<Job>>,
    outcomes: Receiver<Result<(), TrainError>>,
    pending: usize,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread that runs the jobs.
    pub fn new() -> Self {
        let (jobs, received) = sync_channel::<Job>(WAITING);
        let (report, outcomes) = std::sync::mpsc::channel();
        let serve = move || {
            for job in received {
                let outcome = job();
                // What follows a file that is missing must not say that it is there.
                let is_last = outcome.is_err();
                if report.send(outcome).is_err() || is_last {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().spawn(serve).ok();
        Self {
            jobs: thread.as_ref().map(|_| jobs),
            outcomes,
            pending: 0,
            thread,
        }
    }

    /// Hands in a job. Returns the failure of an earlier one, if there was one; none is run after that.
    pub fn submit(
        &mut self,
        job: impl FnOnce() -> Result<(), TrainError> + Send + 'static,
    ) -> Result<(), TrainError> {
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.pending -= 1;
            outcome?;
        }
        let Some(jobs) = &self.jobs else {
            return job(); // there was no thread to be had
        };
        self.pending += 1;
        match jobs.send(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(_) => self.wait(), // an earlier one has just failed
        }
    }

    /// Waits until everything handed in is done.
    pub fn wait(&mut self) -> Result<(), TrainError> {
        while self.pending > 0 {
            self.pending -= 1;
            self.outcomes.recv().map_err(|_| TrainError::Saver)??;
        }
        Ok(())
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
