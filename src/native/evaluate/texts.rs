//! What held-out text costs a char-lstm.

use std::ops::Range;

use super::{EvaluateError, LogSoftmax, Running, check_predicted, check_read, in_groups};
use crate::native::char_lstm::CharLstm;

/// Symbols of a stretch that is read alone between two reports of progress.
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
    models: &[&CharLstm],
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
            [alone] => vec![read_alone(model, alone, running.progress)],
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

/// Nats of one stretch, whose products with the input are taken together.
fn read_alone(model: &CharLstm, stretch: &[u32], progress: &dyn Fn(u64)) -> f64 {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(1);
    let mut nats = 0.0;
    let (inputs, targets) = (stretch, stretch.get(1..).unwrap_or_default());
    for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
        model.read(&mut state, &inputs[..targets.len()], |index, logits| {
            nats -= softmax.log_prob(logits, targets[index]);
        });
        progress(targets.len() as u64);
    }
    nats
}

/// Nats of each stretch of a group, the longest first.
fn read_side_by_side(model: &CharLstm, group: &[&[u32]], progress: &dyn Fn(u64)) -> Vec<f64> {
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
