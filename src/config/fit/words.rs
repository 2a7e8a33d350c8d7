//! The defaults of a word-vae, which follow the list and how much of it will be read.

use super::{Fit, Means, rounded};
use crate::config::{Budget, Cell, Goal, Settings};

/// A hidden size and the budgets that it is for.
struct Size {
    /// The upper limit of a budget in minutes, in units of 10¹² operations.
    work: f64,
    /// The upper limit of the tokens that any other budget reads.
    tokens: f64,
    hidden: usize,
    /// The factor of the learning rate.
    of_lr: f64,
}

const SIZES: [Size; 3] = [
    size(3.0, 3e5, 128, 1.0),
    size(100.0, 3e7, 256, 1.0),
    size(f64::INFINITY, f64::INFINITY, 512, 0.5),
];
/// Default number of words per step.
const BATCH: usize = 128;
/// A step with z takes the time of so many steps of the decoder alone: both directions of the encoder and
/// the decoder.
pub const WITH_Z: f64 = 3.0;
/// The passes up to which an LSTM learns more than a GRU, which overfits less.
const SEVERAL_PASSES: f64 = 14.0;

/// The most dropout of a model that is not for density.
const DROPOUT_OF_OTHERS: f64 = 0.2;

/// How a list is trained on, by the number of passes.
struct Way {
    /// The upper limit of the passes.
    passes: f64,
    /// The factor of the learning rate: what is read often is learnt more gently.
    of_lr: f64,
    /// Of a density model; the others need their z more than they overfit.
    dropout: f64,
    /// The share of a density model's training in which its decoder learns alone.
    alone: f64,
    /// The nats that each dimension of its z may carry without penalty.
    free_bits: f64,
}

const WAYS: [Way; 4] = [
    way(6.0, 1.0, 0.0, 0.9, 0.02),
    way(SEVERAL_PASSES, 0.5, 0.1, 0.9, 0.02),
    way(30.0, 0.25, 0.2, 0.6, 0.06),
    way(f64::INFINITY, 0.25, 0.4, 0.3, 0.06),
];

const fn size(work: f64, tokens: f64, hidden: usize, of_lr: f64) -> Size {
    Size {
        work,
        tokens,
        hidden,
        of_lr,
    }
}

const fn way(passes: f64, of_lr: f64, dropout: f64, alone: f64, free_bits: f64) -> Way {
    Way {
        passes,
        of_lr,
        dropout,
        alone,
        free_bits,
    }
}

/// The settings that fit a list of words, given the settings in `given`.
pub(super) fn fit(means: &Means, given: &Settings) -> Fit {
    let all = means.tokens.max(1) as f64;
    let batch = given.batch.unwrap_or(BATCH);
    let read = match means.budget {
        None => Some(means.deserved(1.0)),
        Some(Budget::Epochs(epochs)) => Some(epochs * all),
        Some(Budget::Steps(steps)) => {
            Some(steps as f64 * batch as f64 * all / means.words.max(1) as f64)
        }
        Some(Budget::Minutes(_)) => None,
    };
    let precision = means.precision(given);
    let work = means.work(precision);
    let [.., largest] = &SIZES;
    let fits = |size: &&Size| read.map_or(work < size.work, |read| read < size.tokens);
    let chosen = SIZES.iter().find(fits).unwrap_or(largest).hidden;
    let hidden = given.hidden.unwrap_or(chosen);
    let size = SIZES.iter().find(|size| hidden <= size.hidden);
    let size = size.unwrap_or(largest);

    let trained = given.from.as_ref().is_some_and(|from| !from.is_empty());
    let with_z = given.latent != Some(0);
    let held = given.rate.is_some_and(|rate| rate > 0.0);
    let density = given.goal.is_none_or(|goal| goal == Goal::Density);
    let alone = |way: &Way| {
        let own = if density && with_z && !held && !trained {
            way.alone
        } else {
            0.0
        };
        given.pretrain_decoder.unwrap_or(own)
    };
    let tokens = |cell: Cell, way: &Way| {
        let alone = alone(way);
        let steps = if with_z {
            alone + (1.0 - alone) * WITH_Z
        } else {
            1.0
        };
        let layers = given.layers.unwrap_or(1);
        let a_token = means.operations(hidden, layers, cell) * steps;
        read.unwrap_or(work * 1e12 / a_token)
    };
    let [.., often] = &WAYS;
    let way = |cell| {
        let fits = |way: &&Way| tokens(cell, way) / all < way.passes;
        WAYS.iter().find(fits).unwrap_or(often)
    };
    let several = tokens(Cell::Lstm, way(Cell::Lstm)) / all < SEVERAL_PASSES;
    let usual = if several { Cell::Lstm } else { Cell::Gru };
    let cell = given.cell.unwrap_or(usual);
    let way = way(cell);
    let lr = match cell {
        Cell::Lstm => 2e-2,
        Cell::Gru | Cell::Rnn => 8e-3,
    };
    // At the full learning rate, a trained model would forget what it has learnt.
    let of_trained = if trained { 0.3 } else { 1.0 };
    let tokens = tokens(cell, way);
    let passes = tokens / all;
    Fit {
        settings: Settings {
            cell: Some(cell),
            hidden: Some(hidden),
            batch: Some(batch),
            lr: Some(rounded(lr * size.of_lr * way.of_lr * of_trained)),
            dropout: Some(if density {
                way.dropout
            } else {
                way.dropout.min(DROPOUT_OF_OTHERS)
            }),
            epochs: means.budget.is_none().then(|| rounded(passes)),
            precision: Some(precision),
            pretrain_decoder: Some(alone(way)),
            free_bits: (density && with_z && !held).then_some(way.free_bits),
            ..Settings::default()
        },
        tokens,
        passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelChoice;

    /// 284,000 words of 12 letters.
    const LIST: Means = Means {
        budget: Some(Budget::Minutes(4.0)),
        gigaflops: 50.0,
        has_bf16: false,
        tokens: 3_700_000,
        words: 284_000,
        vocabulary: 67,
    };

    fn chosen(means: Means, more: Settings) -> Fit {
        means.fit(&Settings {
            model: Some(ModelChoice::WordVae),
            ..more
        })
    }

    #[test]
    fn a_small_list_is_read_more_often_and_guarded_more() {
        let of = |words: usize| {
            let means = Means {
                budget: None,
                tokens: 13 * words,
                words,
                ..LIST
            };
            chosen(means, Settings::default()).settings
        };
        let lists = [100, 3_000, 30_000, 300_000, 3_000_000].map(of);
        let passes = lists.each_ref().map(|chosen| chosen.epochs);
        assert!(
            passes.is_sorted_by(|a, b| a > b || *a == Some(200.0)),
            "{passes:?}"
        );
        let dropout = lists.each_ref().map(|chosen| chosen.dropout);
        assert!(dropout.is_sorted_by(|a, b| a >= b), "{dropout:?}");
        assert!(dropout[0] > dropout[4]);
    }

    #[test]
    fn a_list_that_is_read_a_few_times_is_learnt_by_an_lstm() {
        let of = |minutes: f64| {
            let means = Means {
                budget: Some(Budget::Minutes(minutes)),
                ..LIST
            };
            let chosen = chosen(means, Settings::default()).settings;
            (chosen.cell, chosen.lr)
        };
        assert_eq!(of(4.0), (Some(Cell::Lstm), Some(0.02)));
        assert_eq!(of(20.0), (Some(Cell::Lstm), Some(0.01)));
        assert_eq!(of(400.0), (Some(Cell::Gru), Some(0.001)));
    }

    #[test]
    fn the_decoder_learns_alone_first_where_words_shall_be_probable() {
        let alone = |more: Settings| chosen(LIST, more).settings.pretrain_decoder;
        assert_eq!(alone(Settings::default()), Some(0.9));
        for more in [
            Settings {
                goal: Some(Goal::Explore),
                ..Settings::default()
            },
            Settings {
                latent: Some(0),
                ..Settings::default()
            },
            Settings {
                rate: Some(4.0),
                ..Settings::default()
            },
            Settings {
                from: Some("names".to_owned()),
                ..Settings::default()
            },
        ] {
            assert_eq!(alone(more), Some(0.0));
        }
    }

    #[test]
    fn steps_and_minutes_say_how_much_is_read() {
        let steps = Means {
            budget: Some(Budget::Steps(1000)),
            ..LIST
        };
        let want = 1000.0 * 128.0 * 3_700_000.0 / 284_000.0;
        let read = chosen(steps, Settings::default()).tokens;
        assert!((read / want - 1.0).abs() < 1e-9, "{read} {want}");
        // Without z a word takes less time, so more of them are read.
        let with_z = chosen(LIST, Settings::default()).tokens;
        let without = Settings {
            latent: Some(0),
            ..Settings::default()
        };
        let without = chosen(LIST, without).tokens;
        assert!((without / with_z - 0.9 - 0.1 * WITH_Z).abs() < 1e-9);
    }
}
