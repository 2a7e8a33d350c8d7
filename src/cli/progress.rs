//! A line on stderr while a corpus is read or a model evaluated.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{
    DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::cli::output::{is_diverted, note};

/// Seconds until the first plain line, and between plain lines, if stderr is not a terminal.
const FIRST_LINE: u64 = 5;
const NEXT_LINE: u64 = 30;

enum Unit {
    Bytes,
    /// Units with this plural name.
    Of(&'static str),
}

/// Shows the rate and the time left of a long pass: a moving line in a terminal, else plain lines.
pub struct Progress {
    bar: ProgressBar,
    /// The participle shown before the count, as in `encoded`.
    done: String,
    unit: Unit,
    started: Instant,
    /// Seconds after the start at which the next plain line is due.
    due: AtomicU64,
    /// Whether nothing is shown, since the lines of this thread go elsewhere than to stderr.
    is_silent: bool,
}

impl Progress {
    /// Progress in reading a corpus of so many bytes, if known. The line appears after a second.
    pub fn new(size_bytes: Option<u64>) -> Self {
        Self::with(size_bytes, "read", Unit::Bytes)
    }

    /// Progress in scoring a text of so many bytes, if known.
    pub fn of_scored(size_bytes: Option<u64>) -> Self {
        Self::with(size_bytes, "scored", Unit::Bytes)
    }

    /// Progress in predicting so many tokens.
    pub fn of_tokens(tokens: u64) -> Self {
        Self::of(tokens, "evaluated", "characters")
    }

    /// Progress in counting or predicting so many tokens with n-gram models.
    pub fn of_ngrams(tokens: u64) -> Self {
        Self::of(tokens, "n-grams of", "characters")
    }

    /// Progress over so many words; `done` is a participle such as `encoded`.
    pub fn of_words(words: u64, done: &str) -> Self {
        Self::of(words, done, "words")
    }

    /// Progress over so many of `unit`, a plural noun.
    pub fn of(all: u64, done: &str, unit: &'static str) -> Self {
        Self::with(Some(all), done, Unit::Of(unit))
    }

    /// Progress over so many bytes; `done` is a participle such as `compressed`.
    pub fn of_bytes(bytes: u64, done: &str) -> Self {
        Self::with(Some(bytes), done, Unit::Bytes)
    }

    fn with(all: Option<u64>, done: &str, unit: Unit) -> Self {
        let (position, length, rate, name) = match unit {
            Unit::Bytes => (
                "decimal_bytes",
                "decimal_total_bytes",
                "decimal_bytes_per_sec",
                "",
            ),
            Unit::Of(name) => ("human_pos", "human_len", "rate", name),
        };
        let template = match all {
            Some(_) => {
                let space = if name.is_empty() { "" } else { " " };
                format!(
                    "{done} {{{position}}} of {{{length}}}{space}{name}, {{{rate}}}, {{eta}} left"
                )
            }
            None => format!("{done} {{{position}}}, {{{rate}}}"),
        };
        let bar = ProgressBar::with_draw_target(all, ProgressDrawTarget::hidden());
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.with_key("rate", rate));
        }
        Self {
            bar,
            done: done.to_owned(),
            unit,
            started: Instant::now(),
            due: AtomicU64::new(FIRST_LINE),
            is_silent: is_diverted(),
        }
    }

    /// Sets the amount done.
    pub fn show(&self, position: u64) {
        self.bar.set_position(position);
        self.appear_when_late();
    }

    /// Adds to the amount done. Several threads may call this at once.
    pub fn add(&self, more: u64) {
        self.bar.inc(more);
        self.appear_when_late();
    }

    fn appear_when_late(&self) {
        let elapsed = self.started.elapsed();
        if self.is_silent || elapsed <= Duration::from_secs(1) || !self.bar.is_hidden() {
            return;
        }
        if std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            return;
        }
        // Of several threads, one prints the line.
        let now = elapsed.as_secs();
        let later = |due| (now >= due).then_some(now + NEXT_LINE);
        let due = &self.due;
        if due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, later)
            .is_ok()
        {
            note!("{}", self.line(elapsed));
        }
    }

    /// The plain form of the moving line.
    fn line(&self, elapsed: Duration) -> String {
        let position = self.bar.position();
        let rate = position as f64 / elapsed.as_secs_f64();
        let (done, speed) = (&self.done, self.number(rate as u64));
        match self.bar.length().filter(|_| rate > 0.0) {
            Some(all) => {
                let left = all.saturating_sub(position) as f64 / rate;
                let (position, all) = (self.number(position), self.amount(all));
                format!("{done} {position} of {all}, {speed} a second, {left:.0} s left")
            }
            None => format!("{done} {}, {speed} a second", self.amount(position)),
        }
    }

    fn number(&self, count: u64) -> String {
        match self.unit {
            Unit::Bytes => DecimalBytes(count).to_string(),
            Unit::Of(_) => HumanCount(count).to_string(),
        }
    }

    fn amount(&self, count: u64) -> String {
        match self.unit {
            Unit::Bytes => self.number(count),
            Unit::Of(name) => format!("{} {name}", self.number(count)),
        }
    }

    /// Hides the line while `work` runs, so that it can print.
    pub fn aside<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bar.suspend(work)
    }

    /// Removes the line. If plain lines were printed, prints the total time.
    pub fn end(&self) {
        if self.due.load(Ordering::Relaxed) > FIRST_LINE {
            note!(
                "{} {} in {:.0} s",
                self.done,
                self.amount(self.bar.position()),
                self.started.elapsed().as_secs_f64()
            );
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_rate_and_time_left() {
        let progress = Progress::of_words(10_000, "encoded");
        progress.show(2_000);
        assert_eq!(
            progress.line(Duration::from_secs(4)),
            "encoded 2,000 of 10,000 words, 500 a second, 16 s left"
        );
        let progress = Progress::new(None);
        progress.show(2048);
        assert_eq!(
            progress.line(Duration::from_secs(2)),
            "read 2.05 kB, 1.02 kB a second"
        );
    }
}
