//! What held-out text costs a char-lstm, all of it or symbol by symbol, and what it costs the n-gram
//! models that stand beside it.

use std::ops::Range;

use super::{
    EvaluateError, LogSoftmax, Running, check_predicted, check_read, in_groups, in_parallel,
};
use crate::models::char_rnn::CharRnn;
use crate::evaluate::ngram::NGrams;

/// Symbols of a stretch that are read between two reports of progress.
const PIECE: usize = 1024;

/// What a text costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextCost {
    /// −Σ ln p(symbol | all before it in its stretch), in nats.
    pub nats: f64,
    /// Symbols predicted.
    pub symbols: u64,
}

/// What `stretches` of a text cost each of `models`. A stretch is read from a zero state, and every
/// symbol of it but the first is predicted.
///
/// # Panics
/// Where a stretch is no part of `tokens`.
pub fn texts(
    models: &[&CharRnn],
    tokens: &[u32],
    stretches: &[Range<usize>],
    running: Running,
) -> Result<Vec<TextCost>, EvaluateError> {
    let stretches: Vec<&[u32]> = stretches
        .iter()
        .map(|range| &tokens[range.clone()])
        .collect();
    for model in models {
        for &stretch in &stretches {
            check_read(stretch, model.inputs())?;
            check_predicted(stretch.iter().skip(1), model.outputs())?;
        }
    }
    let lengths: Vec<usize> = stretches.iter().map(|stretch| stretch.len()).collect();
    let nats = in_groups(models, &lengths, running.threads, |model, group| {
        let group: Vec<&[u32]> = group.iter().map(|&item| stretches[item]).collect();
        match group[..] {
            [alone] => {
                let mut nats = 0.0;
                read_alone(model, alone, running.progress, |surprise| nats += surprise);
                vec![nats]
            }
            _ => read_side_by_side(model, &group, running.progress),
        }
    });
    let predicted = |length: &usize| length.saturating_sub(1) as u64;
    let symbols = lengths.iter().map(predicted).sum();
    let cost = |nats: Vec<f64>| TextCost {
        nats: nats.into_iter().sum(),
        symbols,
    };
    Ok(nats.into_iter().map(cost).collect())
}

/// What every symbol but the first of each text costs its model: −ln p(symbol | all before it), in
/// nats. Each text is read in one stretch from a zero state.
pub fn surprises(
    texts: &[(&CharRnn, &[u32])],
    running: Running,
) -> Result<Vec<Vec<f64>>, EvaluateError> {
    for &(model, tokens) in texts {
        check_read(tokens, model.inputs())?;
        check_predicted(tokens.iter().skip(1), model.outputs())?;
    }
    Ok(in_parallel(texts.len(), running.threads, |index| {
        let (model, tokens) = texts[index];
        let mut surprises = Vec::with_capacity(tokens.len());
        read_alone(model, tokens, running.progress, |nats| surprises.push(nats));
        surprises
    }))
}

/// p(model | text) of models that were equally probable before the text was read, from what it
/// costs each, in nats: softmax(−nats).
pub fn posterior(nats: &[f64]) -> Vec<f64> {
    let least = nats.iter().copied().fold(f64::INFINITY, f64::min);
    let shares: Vec<f64> = nats.iter().map(|nats| (least - nats).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

/// What `stretches` of a text cost the n-gram models of every order from 1 on, in nats. A stretch is
/// read as [`texts`] reads it: nothing is known before its first symbol, which is not predicted.
///
/// # Panics
/// Where a stretch is no part of `tokens`.
pub fn ngram_nats(
    models: &NGrams,
    tokens: &[u32],
    stretches: &[Range<usize>],
    running: Running,
) -> Vec<f64> {
    // A model sees no more than order − 1 symbols back, so a piece may be read by itself.
    let pieces: Vec<(usize, Range<usize>)> = stretches
        .iter()
        .flat_map(|stretch| {
            let first = stretch.start + 1;
            (first..stretch.end).step_by(PIECE).map(move |at| {
                let seen = stretch.start.max(at.saturating_sub(models.order() - 1));
                (seen, at..stretch.end.min(at + PIECE))
            })
        })
        .collect();
    let read = in_parallel(pieces.len(), running.threads, |index| {
        let (seen, piece) = &pieces[index];
        let mut context = models.anywhere();
        for &symbol in &tokens[*seen..piece.start] {
            models.read(&mut context, symbol, &mut []);
        }
        let mut probabilities = vec![0.0; models.order()];
        let mut nats = vec![0.0; models.order()];
        for &symbol in &tokens[piece.clone()] {
            models.read(&mut context, symbol, &mut probabilities);
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

/// Reads one stretch, whose products with the input are taken together, and tells `each` the nats of
/// every symbol predicted.
fn read_alone(
    model: &CharRnn,
    stretch: &[u32],
    progress: &dyn Fn(u64),
    mut each: impl FnMut(f64),
) {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(1);
    let (inputs, targets) = (stretch, stretch.get(1..).unwrap_or_default());
    for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
        model.read(&mut state, &inputs[..targets.len()], |index, logits| {
            each(-softmax.log_prob(logits, targets[index]));
        });
        progress(targets.len() as u64);
    }
}

/// Nats of each stretch of a group, the longest first.
fn read_side_by_side(model: &CharRnn, group: &[&[u32]], progress: &dyn Fn(u64)) -> Vec<f64> {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(group.len());
    let mut nats = vec![0.0; group.len()];
    let mut live = group;
    let mut symbols = Vec::with_capacity(group.len());
    let longest = group.first().map_or(0, |stretch| stretch.len());
    for at in 1..longest {
        // The shortest ones, which stand last, end first.
        while let Some((_, others)) = live.split_last().filter(|(last, _)| last.len() <= at) {
            live = others;
            state.swap_remove_row(live.len());
        }
        symbols.clear();
        symbols.extend(live.iter().map(|stretch| stretch[at - 1]));
        model.step(&mut state, &symbols);
        for (row, (nats, stretch)) in nats.iter_mut().zip(live).enumerate() {
            *nats -= softmax.log_prob(state.logits(row), stretch[at]);
        }
        progress(live.len() as u64);
    }
    nats
}
