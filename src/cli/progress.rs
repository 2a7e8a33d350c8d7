//! A line on stderr while a corpus is read.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            started: Instant::now(),
        }
    }

    /// So many bytes have been read.
    pub fn show(&self, bytes: u64) {
        self.bar.set_position(bytes);
        let late = self.started.elapsed() > Duration::from_secs(1);
        if late && self.bar.is_hidden() && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
