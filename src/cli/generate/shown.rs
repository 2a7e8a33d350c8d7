//! How texts are shown: as they are drawn, or as JSON once they have ended.

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Sample;
use super::writing::{Drawn, TABLE_HEADER};
use crate::cli::output::{Stdout, stdout};

/// Text is shown at least so often: too fast for the eye, and seldom enough to cost nothing.
const SHOWN_EVERY: Duration = Duration::from_millis(8);

/// stdout, for text that comes bit by bit.
pub struct Paced {
    pub out: BufWriter<Stdout>,
    /// When text last went out.
    flushed: Option<Instant>,
}

impl Paced {
    pub fn new() -> Self {
        Self {
            out: BufWriter::new(stdout()),
            flushed: None,
        }
    }

    /// Shows text, at once or within [`SHOWN_EVERY`] of what comes next.
    pub fn piece(&mut self, piece: &str) -> Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.out.write_all(piece.as_bytes())?;
        let now = Instant::now();
        if self.flushed.is_none_or(|at| now - at >= SHOWN_EVERY) {
            self.out.flush()?;
            self.flushed = Some(now);
        }
        Ok(())
    }
}

/// How texts are shown.
pub struct Shown<'a> {
    pub prompt: Option<&'a str>,
    pub json: bool,
    /// Whether pieces are lines of the table of draws.
    pub table: bool,
    pub count: usize,
    /// None where nothing is drawn.
    pub seed: Option<u64>,
    pub paced: Paced,
}

impl Shown<'_> {
    /// Shows a piece of text, or of the table.
    pub fn piece(&mut self, piece: &str) -> Result<()> {
        if self.json {
            return Ok(());
        }
        self.paced.piece(piece)
    }

    /// A sample begins.
    pub fn begin(&mut self, index: usize) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let out = &mut self.paced.out;
        if self.count > 1 {
            let before = if index > 0 { "\n" } else { "" };
            writeln!(out, "{before}--- {}", index + 1)?;
        }
        if self.table {
            writeln!(out, "{TABLE_HEADER}")?;
            return Ok(());
        }
        self.piece(self.prompt.unwrap_or_default())
    }

    /// A sample has ended.
    pub fn end(&mut self, index: usize, drawn: &Drawn) -> Result<()> {
        let out = &mut self.paced.out;
        if self.json {
            let sample = Sample {
                index,
                seed: self.seed,
                prompt: self.prompt,
                text: &drawn.text,
                tokens: drawn.tokens,
                log_prob_nats: drawn.log_prob.is_finite().then_some(drawn.log_prob),
                probs: self.table.then_some(&drawn.steps),
            };
            writeln!(out, "{}", serde_json::to_string(&sample)?)?;
        } else if !self.table {
            writeln!(out)?;
        }
        Ok(out.flush()?)
    }
}
