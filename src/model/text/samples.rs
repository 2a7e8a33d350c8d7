//! Writes several texts in parallel and passes them on in order.

use super::writing::{Piece, Plan, Sample, Text};
use super::{ModelError, Snapshot};
use crate::generate::{Start, Writer, lockstep, rows};
use crate::parallel::{Queue, ordered};

/// The bytes per piece of a text that waited for its turn.
const PIECE: usize = 4096;

/// An event while texts are written, always of the text whose turn it is.
pub(crate) enum Event {
    Begin,
    Piece(Piece),
    /// No more text is ready at the moment.
    Wait,
    End(Sample),
}

/// A piece of a text; the last one comes with the finished sample.
type Part = (Piece, Option<Sample>);

/// A text that is written in parallel with others.
struct Queued<'a, 'q, I: Iterator> {
    index: usize,
    text: Text<'a>,
    queue: &'q Queue<'q, I, Part>,
}

impl<I: Iterator> Writer for Queued<'_, '_, I> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        let token = self.text.write(logits);
        let Piece { text, steps } = &self.text.ready;
        let some = !(text.is_empty() && steps.is_empty());
        if (some && self.queue.is_due(self.index)) || text.len() > PIECE {
            let part = (std::mem::take(&mut self.text.ready), None);
            let wanted = self.queue.send(self.index, part);
            return token.filter(|_| wanted);
        }
        token
    }
}

impl Snapshot {
    /// Writes `count` texts, many at a time on each thread; a single one on all threads. `each` gets their
    /// events in order: those of the current text as they happen, those of later texts when their turn
    /// comes.
    pub(crate) fn write_many<E>(
        &self,
        plan: &Plan,
        count: usize,
        mut each: impl FnMut(usize, Event) -> Result<(), E>,
    ) -> Result<(), E> {
        if count == 1 {
            each(0, Event::Begin)?;
            let piece = |piece| each(0, Event::Piece(piece)).map(|()| true);
            let sample = self.clone().write(plan, 0, piece)?;
            return each(0, Event::End(sample));
        }
        let threads = self.model.threads().min(count);
        let worker = |queue: &Queue<_, _>| self.write_here(plan, rows(count, threads), queue);
        ordered(0..count, threads, worker, |parts| {
            for due in 0..count {
                each(due, Event::Begin)?;
                loop {
                    if !parts.is_ready() {
                        each(due, Event::Wait)?;
                    }
                    // `None` after a panic, which is propagated.
                    let Some((_, (piece, sample))) = parts.next() else {
                        return Ok(());
                    };
                    each(due, Event::Piece(piece))?;
                    if let Some(sample) = sample {
                        each(due, Event::End(sample))?;
                        break;
                    }
                }
            }
            Ok(())
        })
    }

    /// Writes the texts in `queue`, `rows` at a time, until they are no longer wanted.
    fn write_here<I: Iterator>(&self, plan: &Plan, rows: usize, queue: &Queue<I, Part>) {
        let done = |writer: Queued<I>| {
            let Text { ready, sample, .. } = writer.text;
            queue.finish(writer.index, (ready, Some(sample)));
        };
        let begin = || {
            loop {
                let (index, _) = queue.next()?;
                let text = Text::new(&self.model, plan, index);
                let mut writer = Queued { index, text, queue };
                // The first token follows the prompt, which has been read.
                match writer.write(self.state.logits(0)) {
                    Some(token) => {
                        let state = self.state.clone();
                        return Some(Start {
                            writer,
                            state,
                            token,
                        });
                    }
                    None => done(writer),
                }
            }
        };
        lockstep(&self.model.0.network, rows, begin, done);
    }
}

impl ModelError {
    /// Refuses a `count` larger than the `width` of the beam.
    pub(super) fn check_beam(width: usize, count: usize) -> Result<(), Self> {
        if count > width {
            return Err(Self::BeamWidth { width, count });
        }
        Ok(())
    }
}
