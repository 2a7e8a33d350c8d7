//! The output of a training: one updating line in a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use textgen::run::Evaluation;

/// The shortest time between two updates of the progress line.
const UPDATE_EVERY: Duration = Duration::from_millis(100);

/// The progress of a training on stderr; copies write to the same line.
#[derive(Clone)]
pub struct Display {
    bar: Option<ProgressBar>,
    updated: Instant,
}

/// The figures on the progress line.
pub struct Line<'a> {
    /// The number of steps taken.
    pub step: u64,
    /// The total number of steps, if it is known.
    pub steps: Option<u64>,
    /// The fraction of the training that is done, 0 to 1.
    pub fraction: f64,
    /// Passes over the training part.
    pub epoch: f64,
    /// Mean training loss.
    pub loss: f64,
    /// The newest validation loss.
    pub valid: Option<&'a Evaluation>,
    /// Tokens per second.
    pub rate: f64,
    /// The estimated time left in seconds.
    pub left: Option<f64>,
}

impl Line<'_> {
    fn text(&self) -> String {
        let steps = self
            .steps
            .map_or_else(String::new, |steps| format!("/{}", HumanCount(steps)));
        let valid = self.valid.map_or_else(String::new, |valid| {
            format!(" · valid {:.4}", valid.figure())
        });
        let left = self
            .left
            .map_or_else(String::new, |left| format!(" · {} left", duration(left)));
        format!(
            "step {}{steps} · epoch {:.1} · loss {:.4}{valid} · {} chars/s{left}",
            HumanCount(self.step),
            self.epoch,
            self.loss,
            HumanCount(self.rate as u64),
        )
    }
}

impl Display {
    /// A display on stderr.
    pub fn on_stderr() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            updated: Instant::now(),
        }
    }

    /// Shows the line, unless it was just updated. Does nothing if stderr is not a terminal.
    pub fn update(&mut self, line: impl FnOnce() -> String, fraction: f64) {
        if let Some(bar) = &self.bar
            && self.updated.elapsed() >= UPDATE_EVERY
        {
            self.updated = Instant::now();
            bar.set_position((fraction * 1000.0) as u64);
            bar.set_message(line());
        }
    }

    /// Whether [`Display::update`] would show anything now.
    pub fn is_due(&self) -> bool {
        self.bar.is_some() && self.updated.elapsed() >= UPDATE_EVERY
    }

    /// Prints a permanent line.
    pub fn say(&self, text: &str) {
        let show = || note!("{text}");
        self.bar.as_ref().map_or_else(show, |bar| bar.suspend(show));
    }

    /// Prints a permanent progress line, after an evaluation.
    pub fn evaluated(&self, line: &Line) {
        self.say(&line.text());
    }

    /// The progress line's text.
    pub fn text(line: &Line) -> String {
        line.text()
    }

    /// Clears the progress line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A duration for people: `45 s`, `2 min 5 s`, `3 h 20 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        assert_eq!(duration(59.6), "1 min 0 s");
        assert_eq!(duration(7384.0), "2 h 3 min");
    }
}
