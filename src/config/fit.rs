//! Chooses a char-lstm's defaults: its size, sequences, learning rate and regularisation follow from the
//! text and from how much of it will be read. Measured in `docs/quality.md`.

use super::defaults::lr_of_embedding;
use super::{Budget, Cell, ModelChoice, Settings};

/// The settings that are chosen.
pub const FITTED: [&str; 7] = [
    "hidden",
    "batch",
    "seq",
    "lr",
    "dropout",
    "recurrent-dropout",
    "epochs",
];

/// What a training is given.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// The budget, if there is one.
    pub budget: Option<Budget>,
    /// Operations per second in training a large network, in units of 10⁹; only a budget in minutes
    /// depends on it.
    pub gigaflops: f64,
    /// Tokens of the training part.
    pub tokens: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
}

/// The settings chosen, and the expected training.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The settings; each may be overridden.
    pub settings: Settings,
    /// Approximate number of tokens that will be read.
    pub tokens: f64,
    /// Approximate number of passes over the training part.
    pub passes: f64,
}

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
const SIZES: [Size; 6] = [
    size(0.3, 1e5, 96, 16, 3e-2),
    size(3.0, 1e6, 128, 16, 3e-2),
    size(8.0, 2e6, 192, 32, 3e-2),
    size(40.0, 2e7, 256, 32, 2e-2),
    size(120.0, 5e7, 512, 32, 1e-2),
    size(f64::INFINITY, f64::INFINITY, 512, 64, 1e-2),
];

/// The largest hidden size that learns best from short sequences, many of them.
const SHORT_SEQUENCES: usize = 128;
/// Default number of streams per step.
const BATCH: usize = 32;
/// The hidden size at which a step takes twice the time of its products alone.
const HALF_RATE: f64 = 8.0;
/// Tokens that a text of a million deserves to have read if no budget is given; another text deserves
/// them times the square root of its size.
const DESERVED: f64 = 9e6;
/// The most passes over a text without a budget.
const MOST_PASSES: f64 = 200.0;
/// The vocabulary above which the learning rate falls, with its square root: most of the rows of a large
/// vocabulary get few gradients, and the common ones those of a difficult text.
const USUAL_VOCABULARY: f64 = 150.0;
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

/// The learning rate of this cell with this hidden size and one-hot input.
fn learning_rate(cell: Cell, hidden: usize) -> f64 {
    let size = SIZES.iter().find(|size| hidden <= size.hidden);
    let of_lstm = size.map_or(SIZES[SIZES.len() - 1].lr, |size| size.lr);
    match cell {
        Cell::Lstm => of_lstm,
        Cell::Gru | Cell::Rnn => of_lstm / 2.0,
    }
}

/// The regularisation of a network that reads each token this many times. A trained one starts from where
/// it would overfit, but unlearns what it knows if too much is dropped.
fn regularisation(passes: f64, trained: bool) -> Settings {
    let (dropout, recurrent) = match passes {
        _ if trained && passes >= 4.0 => (0.3, 0.1),
        _ if passes < 3.0 => (0.0, 0.0),
        _ if passes < 6.0 => (0.1, 0.0),
        _ if passes < 14.0 => (0.25, 0.0),
        _ if passes < 20.0 => (0.4, 0.1),
        _ => (0.5, 0.2),
    };
    Settings {
        dropout: Some(dropout),
        recurrent_dropout: Some(recurrent),
        ..Settings::default()
    }
}

impl Means {
    /// The settings that fit, given the settings in `given`.
    pub fn fit(&self, given: &Settings) -> Fit {
        let model = given.model.unwrap_or(ModelChoice::CharLstm);
        let cell = given.cell.unwrap_or(model.cell());
        let trained = given.from.as_ref().is_some_and(|from| !from.is_empty());
        let all = self.tokens.max(1) as f64;
        let [of_passes, of_lr] = if trained { OF_TRAINED } else { [1.0, 1.0] };
        let deserved = (of_passes * DESERVED * (all / 1e6).sqrt()).min(MOST_PASSES * all);
        let of_steps = |steps: u64, batch: usize, seq: usize| steps as f64 * (batch * seq) as f64;
        let read = match self.budget {
            None => Some(deserved),
            Some(Budget::Epochs(epochs)) => Some(epochs * all),
            Some(Budget::Steps(steps)) => {
                let (batch, seq) = self.in_text(given, given.seq.unwrap_or(32));
                Some(of_steps(steps, batch, seq))
            }
            Some(Budget::Minutes(_)) => None,
        };
        let work = match self.budget {
            Some(Budget::Minutes(minutes)) => minutes * 60.0 * self.gigaflops / 1e3,
            _ => 0.0,
        };
        let fits = |size: &&Size| read.map_or(work < size.work, |read| read < size.tokens);
        let [.., last] = &SIZES;
        let size = SIZES.iter().find(fits).unwrap_or(last);
        let hidden = given.hidden.unwrap_or(size.hidden);
        let seq = match given.hidden {
            None => size.seq,
            Some(..=SHORT_SEQUENCES) => 16,
            Some(_) => 32,
        };
        let (batch, seq) = self.in_text(given, seq);
        let operations = self.operations(hidden, given.layers.unwrap_or(1), cell);
        let read = match (self.budget, read) {
            (Some(Budget::Steps(steps)), _) => of_steps(steps, batch, seq),
            (_, Some(read)) => read,
            _ => work * 1e12 / operations * (hidden as f64 / (hidden as f64 + HALF_RATE)),
        };
        let passes = read / all;
        let vocabulary = (USUAL_VOCABULARY / self.vocabulary.max(1) as f64).sqrt();
        let lr = learning_rate(cell, hidden) * lr_of_embedding(given.embedding);
        let settings = Settings {
            cell: Some(cell),
            hidden: Some(hidden),
            batch: Some(batch),
            seq: Some(seq),
            lr: Some(rounded(lr * vocabulary.min(1.0) * of_lr)),
            epochs: self.budget.is_none().then(|| rounded(passes)),
            ..regularisation(passes, trained)
        };
        Fit {
            settings,
            tokens: read,
            passes,
        }
    }

    /// Streams and their length per step, of which a short text has fewer: fewer streams first, then
    /// shorter sequences.
    fn in_text(&self, given: &Settings, seq: usize) -> (usize, usize) {
        let have = self.tokens.saturating_sub(1).max(1);
        let seq = given.seq.unwrap_or(seq);
        let batch = given.batch.unwrap_or(BATCH.min((have / seq).max(1)));
        (batch, given.seq.unwrap_or(seq.min((have / batch).max(1))))
    }

    /// Operations per token: each weight is multiplied and added once forward and twice backward.
    fn operations(&self, hidden: usize, layers: usize, cell: Cell) -> f64 {
        let (hidden, layers) = (hidden as f64, layers.max(1) as f64);
        let recurrent = (2.0 * layers - 1.0) * cell.gates() as f64 * hidden * hidden;
        6.0 * (recurrent + hidden * self.vocabulary as f64)
    }
}

/// Two significant digits, as a person would write the number.
fn rounded(value: f64) -> f64 {
    let text = format!("{value:.1e}");
    text.parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAKESPEARE: Means = Means {
        budget: Some(Budget::Minutes(3.0)),
        gigaflops: 100.0,
        tokens: 1_000_000,
        vocabulary: 65,
    };

    fn chosen(means: Means) -> Settings {
        means.fit(&Settings::default()).settings
    }

    fn minutes(minutes: f64) -> Means {
        Means {
            budget: Some(Budget::Minutes(minutes)),
            ..SHAKESPEARE
        }
    }

    #[test]
    fn more_time_or_a_faster_machine_takes_a_larger_network() {
        let sizes = [0.02, 0.25, 1.0, 3.0, 10.0, 60.0].map(|time| chosen(minutes(time)).hidden);
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert!(sizes[0] < sizes[5]);
        let faster = Means {
            gigaflops: 1000.0,
            ..minutes(0.25)
        };
        assert!(chosen(faster).hidden > sizes[1]);
    }

    #[test]
    fn the_tokens_expected_are_the_work_over_what_a_token_takes() {
        let fit = SHAKESPEARE.fit(&Settings::default());
        let hidden = fit.settings.hidden.expect("chosen") as f64;
        let a_token = 6.0 * hidden * (4.0 * hidden + 65.0);
        let want = 180.0 * 100e9 / a_token * hidden / (hidden + HALF_RATE);
        assert!((fit.tokens / want - 1.0).abs() < 1e-9);
        assert!((fit.passes - fit.tokens / 1e6).abs() < 1e-9);
    }

    #[test]
    fn only_minutes_depend_on_the_machine() {
        for budget in [None, Some(Budget::Steps(5000)), Some(Budget::Epochs(7.0))] {
            let slow = Means {
                budget,
                ..SHAKESPEARE
            };
            let fast = Means {
                gigaflops: 1000.0,
                ..slow
            };
            assert_eq!(chosen(slow), chosen(fast));
        }
    }

    #[test]
    fn every_budget_says_how_much_is_read() {
        let read = |budget| {
            let means = Means {
                budget,
                ..SHAKESPEARE
            };
            means.fit(&Settings::default()).tokens
        };
        assert_eq!(read(Some(Budget::Epochs(7.0))), 7e6);
        assert_eq!(read(Some(Budget::Steps(1000))), 1000.0 * 1024.0);
        assert_eq!(read(None), DESERVED);
    }

    #[test]
    fn without_a_budget_a_small_text_is_read_more_often_and_guarded_more() {
        let of = |tokens| {
            let means = Means {
                budget: None,
                tokens,
                ..SHAKESPEARE
            };
            chosen(means)
        };
        let texts = [200, 100_000, 1_000_000, 10_000_000, 100_000_000].map(of);
        let passes = texts.each_ref().map(|chosen| chosen.epochs);
        assert!(passes.is_sorted_by(|a, b| a >= b), "{passes:?}");
        assert_eq!(passes[0], Some(MOST_PASSES));
        let dropout = texts.each_ref().map(|chosen| chosen.dropout);
        assert!(dropout.is_sorted_by(|a, b| a >= b), "{dropout:?}");
        let sizes = texts.each_ref().map(|chosen| chosen.hidden);
        assert!(sizes.is_sorted(), "{sizes:?}");
    }

    #[test]
    fn a_large_vocabulary_and_an_embedding_are_trained_more_slowly() {
        let lr = |means: Means, given| means.fit(given).settings.lr.expect("chosen");
        let plain = Settings::default();
        let usual = lr(SHAKESPEARE, &plain);
        let embedded = Settings {
            embedding: Some(64),
            ..Settings::default()
        };
        assert!(lr(SHAKESPEARE, &embedded) < 0.5 * usual);
        let many = Means {
            vocabulary: 600,
            ..SHAKESPEARE
        };
        assert_eq!(lr(many, &plain), usual / 2.0);
        let gru = Settings {
            model: Some(ModelChoice::CharGru),
            ..Settings::default()
        };
        assert_eq!(lr(SHAKESPEARE, &gru), usual / 2.0);
    }

    #[test]
    fn a_trained_model_learns_more_gently_and_for_less_long() {
        let from = Settings {
            from: Some("english".to_owned()),
            ..Settings::default()
        };
        let means = Means {
            budget: None,
            tokens: 100_000,
            ..SHAKESPEARE
        };
        let (anew, on) = (chosen(means), means.fit(&from).settings);
        assert!(on.lr < anew.lr && on.epochs < anew.epochs);
    }

    #[test]
    fn a_short_text_has_fewer_streams_and_then_shorter_sequences() {
        let of = |given: Settings| {
            let means = Means {
                budget: Some(Budget::Steps(3)),
                tokens: 180,
                ..SHAKESPEARE
            };
            let fit = means.fit(&given);
            (fit.settings.batch, fit.settings.seq, fit.tokens)
        };
        assert_eq!(of(Settings::default()), (Some(11), Some(16), 528.0));
        let streams = Settings {
            batch: Some(64),
            ..Settings::default()
        };
        assert_eq!(of(streams), (Some(64), Some(2), 384.0));
        let long = Settings {
            seq: Some(100),
            ..Settings::default()
        };
        assert_eq!(of(long), (Some(1), Some(100), 300.0));
    }

    #[test]
    fn what_is_given_counts_as_chosen() {
        let given = Settings {
            hidden: Some(512),
            cell: Some(Cell::Lstm),
            layers: Some(2),
            ..Settings::default()
        };
        let fit = SHAKESPEARE.fit(&given);
        assert_eq!(fit.settings.hidden, Some(512));
        assert_eq!(fit.settings.cell, Some(Cell::Lstm));
        assert!(fit.tokens < SHAKESPEARE.fit(&Settings::default()).tokens / 4.0);
    }
}
