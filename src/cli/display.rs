//! The output of a training: one updating line in a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output::{counted, is_diverted, lines_on_stderr, note};
use crate::run::Mended;
use crate::train::{Line, Report};

/// The progress of a training on stderr.
pub struct Display {
    bar: Option<ProgressBar>,
}

/// The text of a progress line.
fn text(line: &Line) -> String {
    let of = |part: Option<String>| part.unwrap_or_default();
    let steps = of(line.steps.map(|steps| format!("/{}", HumanCount(steps))));
    let valid = of(line
        .valid
        .map(|valid| format!(" · valid {:.4}", valid.figure())));
    let left = of(line.left.map(|left| format!(" · {} left", duration(left))));
    format!(
        "step {}{steps} · epoch {:.1} · loss {:.4}{valid} · {} chars/s{left}",
        HumanCount(line.step),
        line.epoch,
        line.loss,
        HumanCount(line.rate as u64),
    )
}

impl Display {
    /// A display on stderr.
    pub fn on_stderr() -> Self {
        let bar = (std::io::stderr().is_terminal() && !is_diverted()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:20} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    /// Shows what a training tells.
    pub fn show(&self, report: Report) {
        match report {
            Report::Step(line) => {
                if let Some(bar) = &self.bar {
                    bar.set_position((line.fraction.min(1.0) * 1000.0) as u64);
                    bar.set_message(text(line));
                }
            }
            // What is printed of it is Report::Evaluated.
            Report::Logged(_) => {}
            Report::Evaluated(line) => self.say(&text(line)),
            Report::Sample(sample) => {
                let lines: Vec<String> = sample
                    .lines()
                    .map(|line| format!("    {line}"))
                    .collect();
                self.aside(|| lines_on_stderr(&lines.join("\n")));
            }
            Report::RolledBack { at, to, scale } => self.say(&format!(
                "the loss was not finite at step {at}: back to step {to} with the learning rate times {scale}"
            )),
            Report::Longer(seconds) => self.say(&format!(
                "expected time: about {} more, by the first steps",
                duration(seconds)
            )),
            Report::Mended(mended) => self.warn(mended),
            Report::Ended => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
        }
    }

    /// Says what was wrong with a log.
    fn warn(&self, mended: &Mended) {
        let path = mended.path.display();
        if let Some((line, aside)) = &mended.damaged {
            let aside = aside.display();
            self.say(&format!(
                "warning: {path}:{line}: damaged; it was set aside as {aside}, and the lines that are whole go on"
            ));
        }
        if mended.lines < mended.evaluations {
            let (lines, evaluations) = (mended.lines, counted(mended.evaluations, "evaluation"));
            self.say(&format!(
                "warning: {path} has {lines} of {evaluations}; the training goes on without the others"
            ));
        }
    }

    /// Prints a permanent line.
    pub fn say(&self, text: &str) {
        self.aside(|| note!("{text}"));
    }

    fn aside(&self, show: impl FnOnce()) {
        if let Some(bar) = &self.bar {
            bar.suspend(show);
        } else {
            show();
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
