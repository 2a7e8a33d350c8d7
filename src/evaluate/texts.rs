//! What held-out text costs a char-lstm, in total or token by token, and what it costs the n-gram
//! models it is compared with.
//!
//! By definition a segment is read from its first token to its last, which takes one core ([`Reading::Exact`]).
//! [`Reading::Sections`] cuts a long one into [`Section`]s and reads them side by side on all cores, each after
//! some tokens that warm its state: the mean differs by less than 1e-4 nats.

use std::ops::Range;
use std::sync::OnceLock;

use super::{EvaluateError, LogSoftmax, check_predicted, check_read, check_segment, in_groups};
use crate::evaluate::ngram::NGrams;
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::parallel::{self, Running};
use crate::run::{RunError, TokenSource};
use crate::text::{Section, counted};
use serde::Serialize;

/// Tokens of a segment that are read between two reports of progress.
const PIECE: usize = 1024;

/// The cost of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextCost {
    /// −Σ ln p(token | all before it in its segment), in nats.
    pub nats: f64,
    /// Tokens predicted: all but the first of each segment.
    pub tokens: u64,
}

/// How a long segment is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// From its first token to its last.
    Exact,
    /// In [`Section`]s on all cores; a short segment is one section.
    #[default]
    Sections,
}

impl Reading {
    /// The sections of a segment.
    pub fn sections(self, segment: &Range<usize>) -> Vec<Section> {
        self.going_on(segment.start, segment)
    }

    /// The sections of a segment, after the tokens from `seen` on that warm the state.
    fn going_on(self, seen: usize, segment: &Range<usize>) -> Vec<Section> {
        match self {
            Self::Exact => vec![Section {
                range: seen..segment.end,
                warm_up: segment.start - seen,
            }],
            Self::Sections => Section::going_on(seen, segment),
        }
    }
}

/// A text to be read, or a part of one that goes on.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub model: &'a CharRnn,
    pub tokens: &'a [u32],
    /// The first tokens that were read before, which only warm the state.
    pub seen: usize,
}

impl<'a> Part<'a> {
    /// A whole text.
    pub const fn whole(model: &'a CharRnn, tokens: &'a [u32]) -> Self {
        Self {
            model,
            tokens,
            seen: 0,
        }
    }

    fn sections(&self, reading: Reading) -> Vec<Section> {
        let from = self.seen.saturating_sub(1);
        reading.going_on(0, &(from..self.tokens.len()))
    }
}

/// The cost of `segments` of a text under each of `models`. A segment is read from a zero state, and every
/// token of it but the first is predicted.
///
/// # Panics
/// If a segment is no part of `tokens`.
pub fn texts(
    models: &[&CharRnn],
    tokens: &dyn TokenSource,
    segments: &[Range<usize>],
    reading: Reading,
    running: Running,
) -> Result<Vec<TextCost>, EvaluateError> {
    for model in models {
        for segment in segments {
            check_segment(tokens, segment, (model.inputs(), model.outputs()))?;
        }
    }
    let sections: Vec<Section> = segments
        .iter()
        .flat_map(|segment| reading.sections(segment))
        .collect();
    let lengths: Vec<usize> = sections.iter().map(|section| section.range.len()).collect();
    let failed = Failed::default();
    let nats = in_groups(models, &lengths, running.threads, |model, group| {
        let group: Vec<&Section> = group.iter().map(|&item| &sections[item]).collect();
        let mut nats = vec![0.0; group.len()];
        let done = read(model, tokens, &group, running.progress, |row, surprisal| {
            nats[row] += surprisal;
        });
        failed.note(done);
        nats
    });
    failed.check()?;
    let cost = |nats: Vec<f64>| TextCost {
        nats: nats.into_iter().sum(),
        tokens: counted(&sections) as u64,
    };
    Ok(nats.into_iter().map(cost).collect())
}

/// The cost of every token but the first of each text under its model: −ln p(token | all before it), in
/// nats. Each text is one segment, read from a zero state. Of a part that goes on, the tokens that were seen cost
/// nothing, and all others are predicted.
pub fn surprisals(
    texts: &[Part],
    reading: Reading,
    running: Running,
) -> Result<Vec<Vec<f64>>, EvaluateError> {
    for &Part { model, tokens, .. } in texts {
        check_read(tokens, model.inputs())?;
        check_predicted(tokens.iter().skip(1), model.outputs())?;
    }
    let read_text = |part: Part, threads| -> Result<_, EvaluateError> {
        let sections = part.sections(reading);
        let lengths: Vec<usize> = sections.iter().map(|section| section.range.len()).collect();
        let failed = Failed::default();
        let mut found = in_groups(&[part.model], &lengths, threads, |model, group| {
            let group: Vec<&Section> = group.iter().map(|&item| &sections[item]).collect();
            let mut surprisals = vec![Vec::new(); group.len()];
            let done = read(
                model,
                &part.tokens,
                &group,
                running.progress,
                |row, nats| {
                    surprisals[row].push(nats);
                },
            );
            failed.note(done);
            surprisals
        });
        failed.check()?;
        Ok(found.pop().unwrap_or_default().concat())
    };
    // Texts of one section each are read in parallel.
    if texts.iter().all(|part| part.sections(reading).len() < 2) {
        let read = parallel::map(texts.len(), running.threads, |index| {
            read_text(texts[index], 1)
        });
        return read.into_iter().collect();
    }
    let texts = texts.iter();
    texts
        .map(|&text| read_text(text, running.threads))
        .collect()
}

/// The first error of several threads.
#[derive(Default)]
struct Failed(OnceLock<RunError>);

impl Failed {
    fn note(&self, outcome: Result<(), RunError>) {
        if let Err(error) = outcome {
            let _ = self.0.set(error); // an earlier one says as much
        }
    }

    fn check(self) -> Result<(), EvaluateError> {
        self.0
            .into_inner()
            .map_or(Ok(()), |error| Err(error.into()))
    }
}

/// p(model | text) of models that are equally probable a priori, from the text's cost in nats under
/// each: softmax(−nats).
pub fn posterior(nats: &[f64]) -> Vec<f64> {
    let least = nats.iter().copied().fold(f64::INFINITY, f64::min);
    let odds: Vec<f64> = nats.iter().map(|nats| (least - nats).exp()).collect();
    let total: f64 = odds.iter().sum();
    odds.into_iter().map(|odds| odds / total).collect()
}

/// The cost in nats of `segments` of a text under the n-gram models of every order from 1 on. A segment is
/// read as [`texts`] reads it: nothing is known before its first token, which is not predicted.
///
/// # Panics
/// If a segment is no part of `tokens`.
pub fn ngram_nats(
    models: &NGrams,
    tokens: &[u32],
    segments: &[Range<usize>],
    running: Running,
) -> Vec<f64> {
    // A model looks back at most order − 1 tokens, so a piece can be read on its own.
    let pieces: Vec<(usize, Range<usize>)> = segments
        .iter()
        .flat_map(|segment| {
            let first = segment.start + 1;
            (first..segment.end).step_by(PIECE).map(move |at| {
                let seen = segment.start.max(at.saturating_sub(models.order() - 1));
                (seen, at..segment.end.min(at + PIECE))
            })
        })
        .collect();
    let read = parallel::map(pieces.len(), running.threads, |index| {
        let (seen, piece) = &pieces[index];
        let mut context = models.anywhere();
        for &token in &tokens[*seen..piece.start] {
            models.read(&mut context, token, &mut []);
        }
        let mut probabilities = vec![0.0; models.order()];
        let mut nats = vec![0.0; models.order()];
        for &token in &tokens[piece.clone()] {
            models.read(&mut context, token, &mut probabilities);
            for (nats, probability) in nats.iter_mut().zip(&probabilities) {
                *nats -= probability.ln();
            }
        }
        (running.progress)(piece.len() as u64);
        nats
    });
    let mut nats = vec![0.0; models.order()];
    for piece in read {
        for (nats, piece) in nats.iter_mut().zip(piece) {
            *nats += piece;
        }
    }
    nats
}

/// Reads sections of a text, the longest first, and passes `each` the row and the nats of every prediction
/// that counts.
fn read(
    model: &CharRnn,
    tokens: &dyn TokenSource,
    group: &[&Section],
    progress: &dyn Fn(u64),
    each: impl FnMut(usize, f64),
) -> Result<(), RunError> {
    match group {
        [alone] => read_alone(model, tokens, alone, progress, each),
        _ => read_side_by_side(model, tokens, group, progress, each),
    }
}

/// Reads one section, with the input products of many tokens computed at once.
fn read_alone(
    model: &CharRnn,
    tokens: &dyn TokenSource,
    section: &Section,
    progress: &dyn Fn(u64),
    mut each: impl FnMut(usize, f64),
) -> Result<(), RunError> {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(1);
    let Range { start, end } = section.range;
    let counted = start + section.warm_up;
    model.prefill(&mut state, &tokens.read(start..counted)?);
    for at in (counted..end.saturating_sub(1)).step_by(PIECE) {
        let piece = tokens.read(at..end.min(at + PIECE + 1))?;
        let (inputs, targets) = (&piece[..piece.len() - 1], &piece[1..]);
        model.read(&mut state, inputs, |index, logits| {
            each(0, -softmax.log_prob(logits, targets[index]));
        });
        progress(targets.len() as u64);
    }
    Ok(())
}

/// Reads sections side by side, the longest first.
fn read_side_by_side(
    model: &CharRnn,
    tokens: &dyn TokenSource,
    group: &[&Section],
    progress: &dyn Fn(u64),
    mut each: impl FnMut(usize, f64),
) -> Result<(), RunError> {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(group.len());
    let mut live = group;
    let mut inputs = Vec::with_capacity(group.len());
    let longest = group.first().map_or(0, |section| section.range.len());
    let mut pieces = Vec::new();
    for at in 1..longest {
        // The shortest sections come last and end first.
        while let Some((_, others)) = live.split_last().filter(|(last, _)| last.range.len() <= at) {
            live = others;
            state.swap_remove_row(live.len());
        }
        let within = (at - 1) % PIECE;
        if within == 0 {
            let piece = |section: &&Section| {
                let start = section.range.start + at - 1;
                tokens.read(start..section.range.end.min(start + PIECE + 1))
            };
            pieces = live.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
        }
        inputs.clear();
        inputs.extend(pieces.iter().take(live.len()).map(|piece| piece[within]));
        model.step(&mut state, &inputs);
        let mut count = 0;
        for (row, section) in live.iter().enumerate() {
            if at > section.warm_up {
                let target = pieces[row][within + 1];
                each(row, -softmax.log_prob(state.logits(row), target));
                count += 1;
            }
        }
        progress(count);
    }
    Ok(())
}
