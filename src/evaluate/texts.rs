//! What held-out text costs a char-lstm, in total or token by token, and what it costs the n-gram
//! models it is compared with.

use std::ops::Range;

use super::{EvaluateError, LogSoftmax, check_predicted, check_read, in_groups};
use crate::evaluate::ngram::NGrams;
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::parallel::{self, Running};

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

/// The cost of `segments` of a text under each of `models`. A segment is read from a zero state, and every
/// token of it but the first is predicted.
///
/// # Panics
/// If a segment is no part of `tokens`.
pub fn texts(
    models: &[&CharRnn],
    tokens: &[u32],
    segments: &[Range<usize>],
    running: Running,
) -> Result<Vec<TextCost>, EvaluateError> {
    let segments: Vec<&[u32]> = segments
        .iter()
        .map(|range| &tokens[range.clone()])
        .collect();
    for model in models {
        for &segment in &segments {
            check_read(segment, model.inputs())?;
            check_predicted(segment.iter().skip(1), model.outputs())?;
        }
    }
    let lengths: Vec<usize> = segments.iter().map(|segment| segment.len()).collect();
    let nats = in_groups(models, &lengths, running.threads, |model, group| {
        let group: Vec<&[u32]> = group.iter().map(|&item| segments[item]).collect();
        match group[..] {
            [alone] => {
                let mut nats = 0.0;
                read_alone(model, alone, running.progress, |surprisal| {
                    nats += surprisal;
                });
                vec![nats]
            }
            _ => read_side_by_side(model, &group, running.progress),
        }
    });
    let predicted = |length: &usize| length.saturating_sub(1) as u64;
    let tokens = lengths.iter().map(predicted).sum();
    let cost = |nats: Vec<f64>| TextCost {
        nats: nats.into_iter().sum(),
        tokens,
    };
    Ok(nats.into_iter().map(cost).collect())
}

/// The cost of every token but the first of each text under its model: −ln p(token | all before it), in
/// nats. Each text is read in one segment from a zero state.
pub fn surprisals(
    texts: &[(&CharRnn, &[u32])],
    running: Running,
) -> Result<Vec<Vec<f64>>, EvaluateError> {
    for &(model, tokens) in texts {
        check_read(tokens, model.inputs())?;
        check_predicted(tokens.iter().skip(1), model.outputs())?;
    }
    Ok(parallel::map(texts.len(), running.threads, |index| {
        let (model, tokens) = texts[index];
        let mut surprisals = Vec::with_capacity(tokens.len());
        read_alone(model, tokens, running.progress, |nats| {
            surprisals.push(nats);
        });
        surprisals
    }))
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

/// Reads one segment, with all its input products computed at once, and passes `each` the nats of
/// every token predicted.
fn read_alone(model: &CharRnn, segment: &[u32], progress: &dyn Fn(u64), mut each: impl FnMut(f64)) {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(1);
    let (inputs, targets) = (segment, segment.get(1..).unwrap_or_default());
    for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
        model.read(&mut state, &inputs[..targets.len()], |index, logits| {
            each(-softmax.log_prob(logits, targets[index]));
        });
        progress(targets.len() as u64);
    }
}

/// Nats of each segment of a group, longest first.
fn read_side_by_side(model: &CharRnn, group: &[&[u32]], progress: &dyn Fn(u64)) -> Vec<f64> {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(group.len());
    let mut nats = vec![0.0; group.len()];
    let mut live = group;
    let mut tokens = Vec::with_capacity(group.len());
    let longest = group.first().map_or(0, |segment| segment.len());
    for at in 1..longest {
        // The shortest segments come last and end first.
        while let Some((_, others)) = live.split_last().filter(|(last, _)| last.len() <= at) {
            live = others;
            state.swap_remove_row(live.len());
        }
        tokens.clear();
        tokens.extend(live.iter().map(|segment| segment[at - 1]));
        model.step(&mut state, &tokens);
        for (row, (nats, segment)) in nats.iter_mut().zip(live).enumerate() {
            *nats -= softmax.log_prob(state.logits(row), segment[at]);
        }
        progress(live.len() as u64);
    }
    nats
}
