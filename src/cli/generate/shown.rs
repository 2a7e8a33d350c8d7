//! Shows texts: while they are written, or as JSON once they have ended.

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Sample;
use crate::cli::output::{Stdout, counted, json_line, note, stdout};
use crate::model::{self, Ending, Event, Piece, Step, TokenProbability};

/// The longest delay before text is shown: too short to notice, and long enough to cost nothing.
const SHOWN_EVERY: Duration = Duration::from_millis(8);
/// The header of the table of probabilities.
const TABLE_HEADER: &str = "TOKEN    P      AS     MOST PROBABLE";

/// Buffered stdout for text that arrives in pieces.
pub struct Paced {
    pub out: BufWriter<Stdout>,
    /// The time of the last flush.
    flushed: Option<Instant>,
}

impl Paced {
    pub fn new() -> Self {
        Self {
            out: BufWriter::new(stdout()),
            flushed: None,
        }
    }

    /// Shows text, at once or with the first text that comes [`SHOWN_EVERY`] after the last flush.
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

/// The form in which texts are shown.
pub struct Shown<'a> {
    pub prompt: Option<&'a str>,
    pub json: bool,
    /// Whether the table of probabilities replaces the texts.
    pub table: bool,
    pub count: usize,
    /// Whether each text is a line, so that nothing needs to tell them apart.
    pub is_listed: bool,
    /// The number of texts that were as long as they could be.
    pub cut: usize,
    /// `None` if nothing is sampled.
    pub seed: Option<u64>,
    pub paced: Paced,
}

impl Shown<'_> {
    /// Handles an event of a sample.
    pub fn event(&mut self, index: usize, event: Event) -> Result<()> {
        match event {
            Event::Begin => self.begin(index),
            Event::Piece(_) if self.json => Ok(()),
            Event::Piece(Piece { steps, .. }) if self.table => steps
                .iter()
                .try_for_each(|step| self.paced.piece(&line(step))),
            Event::Piece(piece) => self.paced.piece(&piece.text),
            Event::Wait => Ok(self.paced.out.flush()?),
            Event::End(sample) => self.end(index, &sample),
        }
    }

    /// Says how many documents were cut after `length` tokens.
    pub fn say_cut(&self, length: usize) {
        if self.cut > 0 {
            let cut = counted(self.cut, "document");
            note!(
                "{cut} cut after {}; --length N writes more",
                counted(length, "token")
            );
        }
    }

    /// Shows a complete sample.
    pub fn whole(&mut self, index: usize, sample: &model::Sample) -> Result<()> {
        self.begin(index)?;
        if !self.json {
            self.paced.piece(&sample.text)?;
        }
        self.end(index, sample)
    }

    fn begin(&mut self, index: usize) -> Result<()> {
        if self.json {
            return Ok(());
        }
        let out = &mut self.paced.out;
        if self.count > 1 && (self.table || !self.is_listed) {
            let before = if index > 0 { "\n" } else { "" };
            writeln!(out, "{before}--- {}", index + 1)?;
        }
        if self.table {
            writeln!(out, "{TABLE_HEADER}")?;
            return Ok(());
        }
        self.paced.piece(self.prompt.unwrap_or_default())
    }

    /// Handles the end of a sample.
    pub fn end(&mut self, index: usize, sample: &model::Sample) -> Result<()> {
        self.cut += usize::from(sample.ending == Ending::Length);
        let out = &mut self.paced.out;
        if self.json {
            let json = Sample {
                index,
                seed: self.seed,
                prompt: self.prompt,
                text: &sample.text,
                tokens: sample.tokens.len(),
                ended: (self.seed.is_some() || sample.ending == Ending::Document)
                    .then_some(sample.ending),
                log_prob_nats: sample.log_prob.is_finite().then_some(sample.log_prob),
                probs: self.table.then_some(&sample.steps),
            };
            writeln!(out, "{}", json_line(&json)?)?;
        } else if !self.table {
            writeln!(out)?;
        }
        Ok(out.flush()?)
    }
}

/// A line of the table of probabilities.
fn line(Step { sampled, top }: &Step) -> String {
    let choice = |token: &TokenProbability| format!("{} {:.3}", token.visible, token.p);
    let choices: Vec<String> = top.iter().map(choice).collect();
    format!(
        "{:<8} {:.3}  {:.3}  {}\n",
        sampled.visible,
        sampled.p,
        sampled.sampled_p,
        choices.join("  ")
    )
}
