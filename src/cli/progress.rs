//! A line on stderr while a corpus is read or a model evaluated.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A line on stderr with rate and time left, for passes that last.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Hidden, until it lasts over a second.
    pub fn new(size_bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(size_bytes, ProgressDrawTarget::hidden());
        let template = match size_bytes {
            Some(_) => "reading {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "reading {bytes}, {bytes_per_sec}",
        };
        Self::with_template(bar, template)
    }

    /// The same for so many symbols to predict.
    pub fn of_symbols(symbols: u64) -> Self {
        Self::of("evaluated", symbols, "characters")
    }

    /// The same for so many words that are `done`: encoded, for instance.
    pub fn of_words(words: u64, done: &str) -> Self {
        Self::of(done, words, "words")
    }

    /// The same for so many things that are `done`.
    pub fn of(done: &str, count: u64, things: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::hidden());
        let template =
            format!("{done} {{human_pos}} of {{human_len}} {things}, {{rate}}, {{eta}} left");
        Self::with_template(bar, &template)
    }

    fn with_template(bar: ProgressBar, template: &str) -> Self {
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// So much has been done.
    pub fn show(&self, position: u64) {
        self.bar.set_position(position);
        self.appear_when_late();
    }

    /// So much more has been done; threads may say so at the same time.
    pub fn add(&self, more: u64) {
        self.bar.inc(more);
        self.appear_when_late();
    }

    fn appear_when_late(&self) {
        let late = self.started.elapsed() > Duration::from_secs(1);
        if late && self.bar.is_hidden() && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Does something, printing for instance, while the line is away.
    pub fn aside<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bar.suspend(work)
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
