//! Fits a char-lstm to a time budget: its sizes and training settings follow from the operations that
//! the machine can do in that time and from the size of the text. Measured in `docs/quality.md`.

use super::defaults::lr_of_embedding;
use super::{Cell, ModelChoice, Settings};

/// A time budget for a char-lstm.
#[derive(Clone, Copy, Debug)]
pub struct TimeBudget {
    /// Minutes of training, including evaluations.
    pub minutes: f64,
    /// Operations per second in training a large network, in units of 10⁹.
    pub gigaflops: f64,
    /// Tokens of the training part.
    pub tokens: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
}

/// The settings chosen for a budget, and the expected training.
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
    /// The upper limit of the budget, in units of 10¹² operations.
    below: f64,
    hidden: usize,
    seq: usize,
    /// The learning rate of a GRU.
    lr: f64,
}

/// Networks for budgets from a few seconds of two cores to hours.
const SIZES: [Size; 6] = [
    size(0.3, 96, 16, 1.5e-2),
    size(2.5, 160, 16, 1e-2),
    size(8.0, 224, 32, 1e-2),
    size(30.0, 256, 32, 1e-2),
    size(120.0, 512, 32, 5e-3),
    size(f64::INFINITY, 512, 64, 4e-3),
];

/// Default number of streams per step.
const BATCH: usize = 32;
/// The hidden size at which a step takes twice the time of its products alone.
const HALF_RATE: f64 = 64.0;

const fn size(below: f64, hidden: usize, seq: usize, lr: f64) -> Size {
    Size {
        below,
        hidden,
        seq,
        lr,
    }
}

/// The ratio of an LSTM's learning rate to that of a GRU of this hidden size.
const fn lr_of_cell(cell: Cell, hidden: usize) -> f64 {
    match (cell, hidden) {
        (Cell::Lstm, ..=256) => 3.0,
        (Cell::Lstm, _) => 2.0,
        (Cell::Gru | Cell::Rnn, _) => 1.0,
    }
}

/// The regularisation of a network that reads each token this many times.
fn regularisation(passes: f64) -> Settings {
    let (dropout, recurrent) = match passes {
        _ if passes < 3.0 => (0.0, 0.0),
        _ if passes < 6.0 => (0.1, 0.0),
        _ if passes < 18.0 => (0.25, 0.0),
        _ if passes < 25.0 => (0.4, 0.2),
        _ => (0.5, 0.3),
    };
    Settings {
        dropout: Some(dropout),
        recurrent_dropout: Some(recurrent),
        ..Settings::default()
    }
}

impl TimeBudget {
    /// The settings that fit the budget, given the settings in `given`.
    pub fn fit(&self, given: &Settings) -> Fit {
        let work = self.minutes * 60.0 * self.gigaflops / 1e3;
        let [first, .., last] = &SIZES;
        let size = SIZES.iter().find(|size| work < size.below).unwrap_or(last);
        let size = if work > 0.0 { size } else { first };
        let hidden = given.hidden.unwrap_or(size.hidden);
        let model = given.model.unwrap_or(ModelChoice::CharLstm);
        let cell = given.cell.unwrap_or(model.cell());
        let tokens = work * 1e12 / self.operations(hidden, given.layers.unwrap_or(1), cell)
            * (hidden as f64 / (hidden as f64 + HALF_RATE));
        let passes = tokens / self.tokens.max(1) as f64;
        let settings = Settings {
            cell: Some(cell),
            hidden: Some(hidden),
            batch: Some(BATCH),
            seq: Some(size.seq),
            lr: Some(size.lr * lr_of_cell(cell, hidden) * lr_of_embedding(given.embedding)),
            ..regularisation(passes)
        };
        Fit {
            settings,
            tokens,
            passes,
        }
    }

    /// Operations per token: each weight is multiplied and added once forward and twice backward.
    fn operations(&self, hidden: usize, layers: usize, cell: Cell) -> f64 {
        let (hidden, layers) = (hidden as f64, layers.max(1) as f64);
        let recurrent = (2.0 * layers - 1.0) * cell.gates() as f64 * hidden * hidden;
        6.0 * (recurrent + hidden * self.vocabulary as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAKESPEARE: TimeBudget = TimeBudget {
        minutes: 3.0,
        gigaflops: 100.0,
        tokens: 1_000_000,
        vocabulary: 65,
    };

    #[test]
    fn more_time_or_a_faster_machine_takes_a_larger_network() {
        let hidden = |budget: TimeBudget| budget.fit(&Settings::default()).settings.hidden;
        let of = |minutes| TimeBudget {
            minutes,
            ..SHAKESPEARE
        };
        let sizes = [0.02, 0.25, 1.0, 3.0, 10.0, 60.0].map(|minutes| hidden(of(minutes)));
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert!(sizes[0] < sizes[5]);
        let faster = TimeBudget {
            gigaflops: 1000.0,
            ..of(0.25)
        };
        assert!(hidden(faster) > hidden(of(0.25)));
    }

    #[test]
    fn the_tokens_expected_are_the_work_over_what_a_token_takes() {
        let fit = SHAKESPEARE.fit(&Settings::default());
        let hidden = fit.settings.hidden.expect("chosen") as f64;
        let a_token = 6.0 * hidden * (4.0 * hidden + 65.0);
        let want = 180.0 * 100e9 / a_token * hidden / (hidden + 64.0);
        assert!((fit.tokens / want - 1.0).abs() < 1e-9);
        assert!((fit.passes - fit.tokens / 1e6).abs() < 1e-9);
    }

    #[test]
    fn a_small_text_is_guarded_more() {
        let small = TimeBudget {
            tokens: 100_000,
            ..SHAKESPEARE
        };
        let dropout = |budget: TimeBudget| budget.fit(&Settings::default()).settings.dropout;
        assert!(dropout(small) > dropout(SHAKESPEARE));
    }

    #[test]
    fn an_embedding_is_trained_more_slowly() {
        let given = Settings {
            embedding: Some(64),
            ..Settings::default()
        };
        let lr = |given| SHAKESPEARE.fit(given).settings.lr.expect("chosen");
        assert!(lr(&given) < 0.5 * lr(&Settings::default()));
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
