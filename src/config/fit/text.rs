//! The defaults of a char-lstm.

use super::{Fit, Means, rounded};
use crate::config::defaults::lr_of_embedding;
use crate::config::{Budget, Cell, ModelChoice, Schedule, Settings};

/// A network and its training settings.
struct Size {
    /// The upper limit of a budget in minutes, in units of 10¹² operations.
    work: f64,
    /// The upper limit of the tokens that any other budget reads.
    tokens: f64,
    hidden: usize,
    seq: usize,
    /// The learning rate of an LSTM.
    lr: f64,
}

/// Networks for budgets from a few seconds of two cores to hours.
const SIZES: [Size; 7] = [
    size(0.3, 1e5, 96, 16, 3e-2),
    size(1.6, 1e6, 128, 16, 3e-2),
    size(5.5, 2e6, 192, 16, 3e-2),
    size(9.0, 2e6, 256, 16, 2e-2),
    size(25.0, 2e7, 256, 32, 2e-2),
    size(120.0, 5e7, 512, 32, 1e-2),
    size(f64::INFINITY, f64::INFINITY, 512, 64, 1e-2),
];

/// The largest hidden size that learns best from short sequences, many of them.
const SHORT_SEQUENCES: usize = 128;
/// Default number of streams per step.
const BATCH: usize = 32;
/// The hidden size at which a step takes twice the time of its products alone.
const HALF_RATE: f64 = 8.0;
/// What else a token takes in a small network, in operations: all of it without units, nothing from this size on. (On a Zen 4
/// a token takes 1.7 µs with 32 units, 3 with 64 and 3.8 with 128, their products 0.2, 0.6 and 2.1.)
const OVERHEAD: f64 = 5.5e5;
/// The hidden size from which products are all that counts.
const SMALL: f64 = 192.0;
/// The hidden sizes below which a network overfits later and above which it does so sooner, in proportion to its size (26
/// passes over 0.12 million characters: 32 units cost 1.713 with a dropout of 0.1, 1.730 with 0.25, and 1.800 with 0.4 and a
/// DropConnect of 0.2; 64 units 1.601, 1.597 and 1.624, and 1.589 with 0.3 and 0.1),
const OVERFIT: [f64; 2] = [SMALL, 256.0];
/// and the tokens of a text below which it does so too, by the fourth root of the text's size. (512 units do best with a
/// dropout of 0.3 and a DropConnect of 0.1 in 18 passes over a million characters, 256 units with 0.4 and 0.2 in 26 passes
/// over 0.13 million; see docs/quality.md.) A budget in minutes is then as large as one for a larger text, in the same
/// proportion: with much dropout more units learn a short text better than more passes do.
const OVERFITTED: f64 = 1e6;
/// The vocabulary above which a GRU's learning rate falls, with its square root. An LSTM of 512 units learns the first
/// 11 MB of enwik8 (400 tokens) better at the full rate, 1.520 against 1.565.
const USUAL_VOCABULARY: f64 = 150.0;
/// The steps that the average of the weights spans, as a share of all.
const AVERAGED: f64 = 0.25;
/// The smallest hidden size whose weights are averaged,
const AVERAGED_SIZE: usize = 256;
/// and the passes from which such a network does better so: after 6.1 passes over tinyshakespeare it costs 1.469,
/// where a falling rate gives 1.485; 512 units after 7.4 passes 1.427 and 1.449. 128 units after 2.8: 1.611 and 1.581.
const LEARNT_BY_HEART: f64 = 6.0;
/// The share of the deserved passes that a trained model needs, and the factor of its learning rate.
const OF_TRAINED: [f64; 2] = [0.25, 0.6];

const fn size(work: f64, tokens: f64, hidden: usize, seq: usize, lr: f64) -> Size {
    Size {
        work,
        tokens,
        hidden,
        seq,
        lr,
    }
}

/// The learning rate of this cell with this hidden size and one-hot input of this vocabulary.
fn learning_rate(cell: Cell, hidden: usize, vocabulary: usize) -> f64 {
    let size = SIZES.iter().find(|size| hidden <= size.hidden);
    let of_lstm = size.map_or(SIZES[SIZES.len() - 1].lr, |size| size.lr);
    let of_vocabulary = (USUAL_VOCABULARY / vocabulary.max(1) as f64)
        .sqrt()
        .min(1.0);
    match cell {
        Cell::Lstm => of_lstm,
        Cell::Gru | Cell::Rnn => of_lstm / 2.0 * of_vocabulary,
    }
}

/// The regularisation of a network of 192 to 256 units that reads each token of a million this many times. A trained one starts from where
/// it would overfit, but unlearns what it knows if too much is dropped.
fn regularisation(passes: f64, trained: bool) -> Settings {
    let (dropout, recurrent) = match passes {
        _ if trained && passes >= 4.0 => (0.3, 0.1),
        _ if passes < 3.0 => (0.0, 0.0),
        _ if passes < 6.0 => (0.1, 0.0),
        _ if passes < 14.0 => (0.25, 0.0),
        _ if passes < 40.0 => (0.3, 0.1),
        _ if passes < 120.0 => (0.4, 0.2),
        _ => (0.5, 0.35),
    };
    Settings {
        dropout: Some(dropout),
        recurrent_dropout: Some(recurrent),
        ..Settings::default()
    }
}

/// How a training of some steps settles: an LSTM that reads a text so often that it may learn it by heart, on the average of
/// its last weights, at a learning rate that stays as it is. Others let the rate fall, which is better for a GRU (256
/// units, 3 minutes of one core: 1.502 against 1.555) and at the higher rates of small networks (192 units: 1.478
/// against 1.493), and was measured for a training that begins with a trained model.
fn settling(
    (cell, hidden): (Cell, usize),
    given: &Settings,
    steps: f64,
    passes: f64,
    trained: bool,
) -> Settings {
    let is_chosen = given.schedule.is_some() || given.ema.is_some() || given.final_lr.is_some();
    let span = AVERAGED * steps;
    let is_large = cell == Cell::Lstm && hidden >= AVERAGED_SIZE;
    if is_chosen || trained || !is_large || passes < LEARNT_BY_HEART || span < 1.0 {
        return Settings::default();
    }
    Settings {
        schedule: Some(Schedule::Constant),
        // Without the digits that the subtraction adds.
        ema: Some(((1.0 - rounded(1.0 / span)) * 1e9).round() / 1e9),
        ..Settings::default()
    }
}

/// The settings that fit a text, given the settings in `given`.
pub(super) fn fit(means: &Means, given: &Settings) -> Fit {
    let model = given.model.unwrap_or(ModelChoice::CharLstm);
    let cell = given.cell.unwrap_or(model.cell());
    let trained = given.from.as_ref().is_some_and(|from| !from.is_empty());
    let all = means.tokens.max(1) as f64;
    let [of_passes, of_lr] = if trained { OF_TRAINED } else { [1.0, 1.0] };
    let of_steps = |steps: u64, batch: usize, seq: usize| steps as f64 * (batch * seq) as f64;
    let read = match means.budget {
        None => Some(means.deserved(of_passes)),
        Some(Budget::Epochs(epochs)) => Some(epochs * all),
        Some(Budget::Steps(steps)) => {
            let (batch, seq) = in_text(means, given, given.seq.unwrap_or(32));
            Some(of_steps(steps, batch, seq))
        }
        Some(Budget::Minutes(_)) => None,
    };
    let precision = means.precision(given);
    let work = means.work(precision);
    let short = (OVERFITTED / all).max(1.0).powf(0.25);
    let fits = |size: &&Size| read.map_or(work * short < size.work, |read| read < size.tokens);
    let [.., last] = &SIZES;
    let size = SIZES.iter().find(fits).unwrap_or(last);
    let hidden = given.hidden.unwrap_or(size.hidden);
    let seq = match (given.hidden, means.budget) {
        // As many steps of shorter sequences would read less.
        (None, Some(Budget::Steps(_))) if hidden > SHORT_SEQUENCES => size.seq.max(32),
        (None, _) => size.seq,
        (Some(..=SHORT_SEQUENCES), _) => 16,
        (Some(_), _) => 32,
    };
    let (batch, seq) = in_text(means, given, seq);
    let operations = means.operations(hidden, given.layers.unwrap_or(1), cell);
    let read = match (means.budget, read) {
        (Some(Budget::Steps(steps)), _) => of_steps(steps, batch, seq),
        (_, Some(read)) => read,
        _ => {
            let rest = OVERHEAD * (1.0 - hidden as f64 / SMALL).max(0.0);
            work * 1e12 / (operations * (1.0 + HALF_RATE / hidden as f64) + rest)
        }
    };
    let passes = read / all;
    let [small, large] = OVERFIT.map(|size| hidden as f64 / size);
    let scaled = passes * small.min(1.0) * large.max(1.0);
    let lr = learning_rate(cell, hidden, means.vocabulary) * lr_of_embedding(given.embedding);
    let settings = Settings {
        cell: Some(cell),
        hidden: Some(hidden),
        batch: Some(batch),
        seq: Some(seq),
        lr: Some(rounded(lr * of_lr)),
        epochs: means.budget.is_none().then(|| rounded(passes)),
        precision: Some(precision),
        ..regularisation(scaled * short, trained)
    };
    let steps = read / (batch * seq) as f64;
    Fit {
        settings: settings.over(settling((cell, hidden), given, steps, scaled, trained)),
        tokens: read,
        passes,
    }
}

/// Streams and their length per step, of which a short text has fewer: fewer streams first, then
/// shorter sequences.
fn in_text(means: &Means, given: &Settings, seq: usize) -> (usize, usize) {
    let have = means.tokens.saturating_sub(1).max(1);
    let seq = given.seq.unwrap_or(seq);
    let batch = given.batch.unwrap_or(BATCH.min((have / seq).max(1)));
    (batch, given.seq.unwrap_or(seq.min((have / batch).max(1))))
}
