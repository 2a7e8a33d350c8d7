//! What a training tells as it goes.

use std::time::{Duration, Instant};

use super::Trainer;
use crate::config::Budget;
use crate::run::{Evaluation, METRICS_FORMAT, Mended, Metrics};

/// The shortest time between two progress reports.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// A training that takes longer than expected by more than this factor says so,
const LONGER: f64 = 2.0;
/// once it has trained for so many seconds and steps,
const MEASURED: (f64, u64) = (1.0, 2);
/// if it goes on for so many seconds.
const WORTH_SAYING: f64 = 10.0;

/// The figures of a progress line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// The number of steps taken.
    pub step: u64,
    /// The total number of steps, if it is known.
    pub steps: Option<u64>,
    /// The fraction of the training that is done, 0 to 1.
    pub fraction: f64,
    /// Passes over the training part.
    pub epoch: f64,
    /// Mean training loss since the last evaluation.
    pub loss: f64,
    /// The newest validation loss.
    pub valid: Option<Evaluation>,
    /// Tokens per second.
    pub rate: f64,
    /// The estimated time left in seconds.
    pub left: Option<f64>,
}

/// What a training tells as it goes.
#[derive(Clone, Copy, Debug)]
pub enum Report<'a> {
    /// It goes on; told some ten times a second.
    Step(&'a Line),
    /// The line of `metrics.jsonl` for an evaluation, which is told next.
    Logged(&'a Metrics),
    /// An evaluation is done.
    Evaluated(&'a Line),
    /// A sample of the model.
    Sample(&'a str),
    /// The loss was not finite at step `at`: training goes on from step `to`, with the learning rate times `scale`.
    RolledBack {
        /// The step of that loss.
        at: u64,
        /// The step that training goes on from.
        to: u64,
        /// The factor of the learning rate.
        scale: f64,
    },
    /// The training will take much longer than its [`Plan`](super::Plan) said: so many seconds from now on.
    Longer(f64),
    /// `metrics.jsonl` was damaged or incomplete, and follows the saved state now.
    Mended(&'a Mended),
    /// No more lines follow.
    Ended,
}

impl Trainer<'_> {
    /// The mean training loss since the last evaluation.
    pub(super) fn train_loss(&self) -> f64 {
        self.progress.loss_sum / self.progress.loss_steps.max(1) as f64
    }

    /// Tokens per second since the last evaluation.
    pub(super) fn rate(&self) -> f64 {
        let (chars, seconds) = self.progress.last;
        (self.progress.chars - chars) as f64 / (self.seconds() - seconds).max(1e-9)
    }

    /// The line of `metrics.jsonl` for an evaluation.
    pub(super) fn metrics(
        &self,
        train_loss: f64,
        valid: Option<Evaluation>,
        chars_per_second: f64,
    ) -> Metrics {
        Metrics {
            format: METRICS_FORMAT,
            step: self.progress.step,
            epoch: self.epoch(),
            chars: self.progress.chars,
            seconds: self.seconds(),
            lr: self.rate_of(self.progress.step.saturating_sub(1)),
            train_loss,
            valid,
            best: None,
            test: None,
            chars_per_second,
            finished: false,
        }
    }

    /// The figures of a progress line.
    pub(super) fn line(&self, loss: f64, rate: f64) -> Line {
        let fraction = self.fraction();
        let left = match self.config.budget {
            Budget::Minutes(minutes) => Some((minutes * 60.0 - self.seconds()).max(0.0)),
            _ if fraction > 0.0 => Some(self.seconds() * (1.0 - fraction).max(0.0) / fraction),
            _ => None,
        };
        Line {
            step: self.progress.step,
            steps: self.total_steps(),
            fraction,
            epoch: self.epoch(),
            loss,
            valid: self.valid,
            rate,
            left,
        }
    }

    /// Reports the time left if it is much longer than was said, as with a large vocabulary, whose weights take time to
    /// update, to evaluate and to save, which no trial step shows.
    fn correct_expectation(&mut self) {
        let elapsed = self.distributed.elapsed();
        let (step, fraction) = self.began;
        let done = self.fraction() - fraction;
        if elapsed < MEASURED.0 || self.progress.step < step + MEASURED.1 || done <= 0.0 {
            return;
        }
        let left = elapsed * (1.0 - self.fraction()).max(0.0) / done;
        let is_longer = |expected| elapsed + left > LONGER * expected && left > WORTH_SAYING;
        if self.expected.is_some_and(is_longer) {
            self.expected = Some(elapsed + left);
            (self.report)(Report::Longer(left));
        }
    }

    /// Reports the progress, unless it was just reported.
    pub(super) fn show(&mut self) {
        self.correct_expectation();
        if self.reported.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported = Instant::now();
        let line = self.line(self.train_loss(), self.rate());
        (self.report)(Report::Step(&line));
    }
}
