//! Chooses the defaults of a model: its size, sequences, learning rate and regularisation follow from the
//! corpus and from how much of it will be read. Measured in `docs/quality.md`.

mod text;
mod words;

pub use words::WITH_Z;

use super::{Budget, Cell, ModelChoice, ModelKind, Precision, Settings, TrainConfig};

/// The settings that follow the corpus, of those that a model has.
pub const FITTED: [&str; 11] = [
    "hidden",
    "batch",
    "seq",
    "lr",
    "dropout",
    "recurrent-dropout",
    "schedule",
    "ema",
    "pretrain-decoder",
    "free-bits",
    "epochs",
];

/// What a training is given.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// The budget, if there is one.
    pub budget: Option<Budget>,
    /// Operations per second in training a large network, in units of 10⁹; only a budget in minutes
    /// depends on it. Of products in f32,
    pub gigaflops: f64,
    /// and whether it has faster ones in bf16.
    pub has_bf16: bool,
    /// Tokens of the training part.
    pub tokens: usize,
    /// Words of the training part; 0 for a text.
    pub words: usize,
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

/// The speed of training in bf16, by that in f32: 1.3 with 128 units and 1.5 with 256 or 512 on a Zen 4.
pub const OF_BF16: f64 = 1.4;
/// Tokens that a corpus of a million deserves to have read if no budget is given; another one deserves
/// them times the square root of its size.
const DESERVED: f64 = 9e6;
/// The most passes over a corpus without a budget.
const MOST_PASSES: f64 = 200.0;

impl Means {
    /// The settings that fit, given the settings in `given`.
    pub fn fit(&self, given: &Settings) -> Fit {
        match given.model.unwrap_or(ModelChoice::CharLstm).kind() {
            ModelKind::CharRnn => text::fit(self, given),
            ModelKind::WordVae => words::fit(self, given),
        }
    }

    /// The precision of products: bf16 where that learns more in the time.
    fn precision(&self, given: &Settings) -> Precision {
        let is_faster = self.has_bf16 && matches!(self.budget, Some(Budget::Minutes(_)));
        let usual = if is_faster {
            Precision::Bf16
        } else {
            Precision::F32
        };
        given.precision.unwrap_or(usual)
    }

    /// The operations of a budget in minutes, in units of 10¹²; 0 for any other.
    fn work(&self, precision: Precision) -> f64 {
        let times = if self.has_bf16 && precision == Precision::Bf16 {
            OF_BF16
        } else {
            1.0
        };
        match self.budget {
            Some(Budget::Minutes(minutes)) => minutes * 60.0 * self.gigaflops * times / 1e3,
            _ => 0.0,
        }
    }

    /// The tokens that are read if there is no budget; a trained model needs only a share of its passes.
    fn deserved(&self, share: f64) -> f64 {
        let all = self.tokens.max(1) as f64;
        (share * DESERVED * (all / 1e6).sqrt()).min(MOST_PASSES * all)
    }

    /// How often the operations of a token of a model with `usual` tokens this one's are.
    pub fn work_compared(&self, config: &TrainConfig, usual: usize) -> f64 {
        let work = |vocabulary| {
            Self {
                vocabulary,
                ..*self
            }
            .operations(config.hidden, config.layers, config.cell)
        };
        work(self.vocabulary) / work(usual)
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
    use crate::config::Schedule;

    const SHAKESPEARE: Means = Means {
        budget: Some(Budget::Minutes(3.0)),
        gigaflops: 100.0,
        has_bf16: false,
        tokens: 1_000_000,
        words: 0,
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
    fn a_short_text_takes_a_larger_network_in_the_same_time() {
        let of = |tokens, time| {
            let chosen = chosen(Means {
                tokens,
                gigaflops: 62.0,
                ..minutes(time)
            });
            (chosen.hidden, chosen.dropout, chosen.recurrent_dropout)
        };
        // Onegin by docs/quality.md.
        assert_eq!(of(134_000, 10.0), (Some(512), Some(0.5), Some(0.35)));
        assert_eq!(of(134_000, 6.0).0, Some(512));
        assert_eq!(of(1_000_000, 6.0).0, Some(256));
    }

    #[test]
    fn the_tokens_expected_are_the_work_over_what_a_token_takes() {
        let fit = SHAKESPEARE.fit(&Settings::default());
        let hidden = fit.settings.hidden.expect("chosen") as f64;
        let a_token = 6.0 * hidden * (4.0 * hidden + 65.0);
        let want = 180.0 * 100e9 / a_token * hidden / (hidden + 8.0);
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
                has_bf16: true,
                ..slow
            };
            assert_eq!(chosen(slow), chosen(fast));
        }
    }

    #[test]
    fn minutes_are_spent_in_bf16_where_that_is_faster() {
        let fast = Means {
            has_bf16: true,
            ..SHAKESPEARE
        };
        let fit = |means: Means, precision| {
            means.fit(&Settings {
                precision,
                hidden: Some(256),
                ..Settings::default()
            })
        };
        let [slow, quick] = [SHAKESPEARE, fast].map(|means| fit(means, None));
        assert_eq!(slow.settings.precision, Some(Precision::F32));
        assert_eq!(quick.settings.precision, Some(Precision::Bf16));
        assert!((quick.tokens / slow.tokens - OF_BF16).abs() < 1e-9);
        let given = fit(fast, Some(Precision::F32));
        assert_eq!(given.tokens, slow.tokens);
        let words = Settings {
            model: Some(ModelChoice::WordVae),
            ..Settings::default()
        };
        assert_eq!(fast.fit(&words).settings.precision, Some(Precision::Bf16));
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
    fn dropout_follows_passes_units_and_the_length_of_the_text() {
        let of = |tokens: usize, hidden, passes| {
            let means = Means {
                budget: Some(Budget::Epochs(passes)),
                tokens,
                ..SHAKESPEARE
            };
            let given = Settings {
                hidden: Some(hidden),
                ..Settings::default()
            };
            let chosen = means.fit(&given).settings;
            (chosen.dropout, chosen.recurrent_dropout)
        };
        // The measured texts of docs/quality.md.
        assert_eq!(of(1_004_000, 512, 18.0), (Some(0.3), Some(0.1)));
        assert_eq!(of(1_004_000, 512, 45.0), (Some(0.4), Some(0.2)));
        assert_eq!(of(116_000, 256, 26.4), (Some(0.4), Some(0.2)));
        assert_eq!(of(134_000, 256, 60.0), (Some(0.4), Some(0.2)));
        assert_eq!(of(134_000, 512, 62.0), (Some(0.5), Some(0.35)));
        assert_eq!(of(1_796_000, 512, 4.7), (Some(0.25), Some(0.0)));
    }

    #[test]
    fn an_embedding_and_a_gru_with_a_large_vocabulary_are_trained_more_slowly() {
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
        assert_eq!(lr(many, &plain), usual);
        let gru = Settings {
            model: Some(ModelChoice::CharGru),
            ..Settings::default()
        };
        assert_eq!(lr(SHAKESPEARE, &gru), usual / 2.0);
        assert_eq!(lr(many, &gru), usual / 4.0);
    }

    #[test]
    fn what_is_read_often_is_averaged_unless_a_schedule_is_given() {
        let of = |steps, given: &Settings| {
            let budget = Some(Budget::Steps(steps));
            Means {
                budget,
                ..SHAKESPEARE
            }
            .fit(given)
            .settings
        };
        let settled = |chosen: &Settings| (chosen.schedule, chosen.ema);
        let plain = Settings::default();
        assert_eq!(settled(&of(3000, &plain)), (None, None));
        let often = settled(&of(9000, &plain));
        assert_eq!(often, (Some(Schedule::Constant), Some(0.999_56)));
        for given in [
            Settings {
                schedule: Some(Schedule::Cosine),
                ..Settings::default()
            },
            Settings {
                ema: Some(0.9),
                ..Settings::default()
            },
            Settings {
                from: Some("english".to_owned()),
                ..Settings::default()
            },
            Settings {
                model: Some(ModelChoice::CharGru),
                ..Settings::default()
            },
        ] {
            assert_eq!(settled(&of(9000, &given)), (None, None));
        }
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
