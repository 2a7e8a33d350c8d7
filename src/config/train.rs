//! The complete, checked settings of a run.

use std::fmt;

use super::defaults::{defaults, derived};
use super::{
    CONFIG_FORMATS, Cell, CharRnnConfig, ConfigError, Goal, LatentConfig, ModelChoice, ModelKind,
    NetworkConfig, NetworkKind, Recipe, Settings, SplitKind, TextConfig, TrainConfig,
    WordVaeConfig, ZPlacement,
};

/// Steps that the default budget has at least, however small the corpus: char-lstm, word-vae.
const LEAST_STEPS: [f64; 2] = [2000.0, 1200.0];

/// And passes over it that this may raise the default budget to, at the most.
const MOST_EPOCHS: f64 = 200.0;

/// How much training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Optimizer steps.
    Steps(u64),
    /// Passes over the training text.
    Epochs(f64),
    /// Minutes of training, evaluation included.
    Minutes(f64),
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps} steps"),
            Self::Epochs(epochs) => write!(f, "{epochs} epochs"),
            Self::Minutes(minutes) => write!(f, "{minutes} minutes"),
        }
    }
}

impl Budget {
    fn of(all: &Settings) -> Result<Self, ConfigError> {
        match (all.steps, all.epochs, all.minutes) {
            (Some(steps), None, None) => Ok(Self::Steps(steps)),
            (None, Some(epochs), None) => Ok(Self::Epochs(epochs)),
            (None, None, Some(minutes)) => Ok(Self::Minutes(minutes)),
            (None, None, None) => Err(ConfigError::range("epochs", "", "must be given")),
            (Some(_), Some(_), _) => Err(ConfigError::Conflict("steps", "epochs")),
            (Some(_), None, Some(_)) => Err(ConfigError::Conflict("steps", "minutes")),
            (None, Some(_), Some(_)) => Err(ConfigError::Conflict("epochs", "minutes")),
        }
    }

    fn settings(self) -> Settings {
        let none = Settings::default();
        match self {
            Self::Steps(steps) => Settings {
                steps: Some(steps),
                ..none
            },
            Self::Epochs(epochs) => Settings {
                epochs: Some(epochs),
                ..none
            },
            Self::Minutes(minutes) => Settings {
                minutes: Some(minutes),
                ..none
            },
        }
    }
}

/// What only one model has.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// A character-level language model.
    CharRnn(CharRnnConfig),
    /// A word VAE.
    WordVae(WordVaeConfig),
    /// The original article's network.
    Article(ArticleConfig),
}

/// What only the original article's network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArticleConfig {
    /// Latent size.
    pub latent: usize,
}

impl TrainConfig {
    /// Completes `given` with the defaults of its model, recipe and budget, and checks every range.
    pub fn resolve(given: &Settings) -> Result<Self, ConfigError> {
        let recipe = given.recipe.unwrap_or(Recipe::Default);
        let model = given.model.or(recipe.model());
        let model = model.ok_or_else(|| ConfigError::choice("model", "", ModelChoice::NAMES))?;
        let kind = model.kind();
        if recipe.model().is_some_and(|own| own.kind() != kind) {
            let must = "belongs to the other model: notebook is char-lstm's, article is word-vae's";
            return Err(ConfigError::range("recipe", recipe, must));
        }
        for setting in given.entries() {
            setting.check_belongs(kind, recipe)?;
        }
        let all = derived(given.clone().over(defaults(given, model, recipe)), model);
        all.check_ranges()?;
        let own = match (kind, recipe) {
            (ModelKind::CharRnn, _) => ModelConfig::CharRnn(CharRnnConfig::of(&all)?),
            (ModelKind::WordVae, Recipe::Article) => ModelConfig::Article(ArticleConfig {
                latent: WordVaeConfig::of(&all)?.latent,
            }),
            (ModelKind::WordVae, _) => ModelConfig::WordVae(WordVaeConfig::of(&all)?),
        };
        let config = Self::of(&all, TextConfig::of(&all)?, Budget::of(&all)?, own)?;
        config.validate()?;
        Ok(config)
    }

    /// This configuration with some settings changed.
    pub fn with(&self, changes: Settings) -> Result<Self, ConfigError> {
        Self::resolve(&changes.over(self.to_settings()))
    }

    /// Which generator.
    pub const fn kind(&self) -> ModelKind {
        match self.model {
            ModelConfig::CharRnn(_) => ModelKind::CharRnn,
            ModelConfig::WordVae(_) | ModelConfig::Article(_) => ModelKind::WordVae,
        }
    }

    /// The generator with its cell, if it has a name: what runs are called.
    pub fn model_name(&self) -> &'static str {
        match (self.kind(), self.cell) {
            (ModelKind::CharRnn, Cell::Gru) => ModelChoice::CharGru.name(),
            (kind, _) => kind.name(),
        }
    }

    /// How a text is held out; words are held out one by one, for which files say `contiguous`.
    pub const fn split(&self) -> SplitKind {
        match &self.model {
            ModelConfig::CharRnn(own) => own.split,
            ModelConfig::WordVae(_) | ModelConfig::Article(_) => SplitKind::Contiguous,
        }
    }

    /// The shortest and the longest sequence of a step, if lengths vary.
    pub fn varying_lengths(&self) -> Option<[usize; 2]> {
        match &self.model {
            ModelConfig::CharRnn(own) if own.seq_min < own.seq => Some([own.seq_min, own.seq]),
            _ => None,
        }
    }

    /// What only a word VAE has, if it is one.
    pub const fn word_vae(&self) -> Option<&WordVaeConfig> {
        match &self.model {
            ModelConfig::WordVae(own) => Some(own),
            ModelConfig::CharRnn(_) | ModelConfig::Article(_) => None,
        }
    }

    /// Raises a budget in epochs that nobody asked for, so that a small corpus gets enough steps.
    /// `train` is the size of the training part in tokens (char-lstm) or words (word-vae).
    pub fn fit_default_budget(&mut self, train: usize) {
        let (per_step, least) = match &self.model {
            ModelConfig::CharRnn(own) => (self.batch * own.seq, LEAST_STEPS[0]),
            ModelConfig::WordVae(_) | ModelConfig::Article(_) => (self.batch, LEAST_STEPS[1]),
        };
        if let Budget::Epochs(epochs) = self.budget {
            let needed = (least * per_step as f64 / train.max(1) as f64).ceil();
            self.budget = Budget::Epochs(epochs.max(needed.min(MOST_EPOCHS)));
        }
    }

    /// Whether the newest model is kept and not the one with the lowest loss: the original systems
    /// never chose one, and the multiplier that holds a rate settles towards the end.
    pub fn keeps_newest(&self) -> bool {
        self.recipe != Recipe::Default || self.word_vae().is_some_and(|own| own.rate > 0.0)
    }

    /// Whether it is the decoder of a word-vae alone.
    pub fn is_without_z(&self) -> bool {
        self.word_vae().is_some_and(|own| own.latent == 0)
    }

    /// Whether it is a word-vae with a latent space: not a decoder alone, nor the article's network, whose
    /// decoder ignores the word that was encoded.
    pub fn has_latent_space(&self) -> bool {
        self.word_vae().is_some_and(|own| own.latent > 0)
    }

    /// The same decoder without z, under the same budget: what z is measured against. None for a model
    /// without z.
    pub fn no_latent_baseline(&self) -> Option<Self> {
        let own = self.word_vae().filter(|own| own.latent > 0)?;
        Some(Self {
            model: ModelConfig::WordVae(WordVaeConfig {
                latent: 0,
                z: ZPlacement::Both,
                bidirectional: false,
                goal: Goal::Density,
                rate: 0.0,
                beta: 1.0,
                kl_schedule: super::KlSchedule::Linear,
                kl_warmup: 0.0,
                free_bits: 0.0,
                // Letters are hidden so that the decoder turns to z for them.
                char_dropout: 0.0,
                decoder_dropout: own.decoder_dropout,
            }),
            ..self.clone()
        })
    }

    /// The settings as a file holds them: what [`TrainConfig::resolve`] turns into `self` again.
    pub fn to_settings(&self) -> Settings {
        let own = match &self.model {
            ModelConfig::CharRnn(own) => own.own_settings(),
            ModelConfig::WordVae(own) => own.own_settings(),
            ModelConfig::Article(own) => Settings {
                latent: Some(own.latent),
                ..Settings::default()
            },
        };
        let file = Settings {
            format: Some(*CONFIG_FORMATS.end()),
            model: Some(self.kind().into()),
            ..self.own_settings()
        };
        let budget = self.budget.settings();
        file.over(self.text.own_settings()).over(own).over(budget)
    }

    /// The architecture for a vocabulary of `inputs` tokens, of which `outputs` can be predicted.
    pub fn network(&self, inputs: usize, outputs: usize) -> NetworkConfig {
        let kind = match &self.model {
            ModelConfig::CharRnn(_) => NetworkKind::CharRnn,
            ModelConfig::Article(own) => NetworkKind::Article { latent: own.latent },
            ModelConfig::WordVae(own) => NetworkKind::WordVae(LatentConfig {
                latent: own.latent,
                z: own.z,
                bidirectional: own.bidirectional,
            }),
        };
        NetworkConfig {
            kind,
            cell: self.cell,
            hidden: self.hidden,
            layers: self.layers,
            embedding: self.embedding,
            inputs,
            outputs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cell, OptimizerKind, Precision};

    fn given(model: ModelChoice) -> Settings {
        Settings {
            model: Some(model),
            ..Settings::default()
        }
    }

    #[test]
    fn resolved_settings_resolve_to_themselves() {
        for (model, recipe) in [
            (ModelChoice::CharLstm, Recipe::Default),
            (ModelChoice::CharLstm, Recipe::Notebook),
            (ModelChoice::WordVae, Recipe::Default),
            (ModelChoice::WordVae, Recipe::Article),
        ] {
            let config = TrainConfig::resolve(&Settings {
                recipe: Some(recipe),
                ..given(model)
            })
            .expect("valid defaults");
            let text = config.to_settings().to_toml().expect("serialisable");
            let again = TrainConfig::resolve(&Settings::parse(&text, "test").expect("valid"))
                .expect("valid");
            assert_eq!(config, again);
        }
    }

    #[test]
    fn weights_are_tied_only_where_they_have_one_size() {
        let tied = |embedding| Settings {
            tied: Some(true),
            hidden: Some(24),
            embedding: Some(embedding),
            ..given(ModelChoice::CharLstm)
        };
        let config = TrainConfig::resolve(&tied(24)).expect("valid");
        assert!(matches!(config.model, ModelConfig::CharRnn(own) if own.tied));
        for embedding in [0, 16] {
            let error = TrainConfig::resolve(&tied(embedding)).expect_err("refused");
            assert!(error.to_string().contains("--tied"), "{error}");
        }
    }

    #[test]
    fn a_word_vae_may_be_without_z_but_not_the_articles() {
        let latent = |recipe| Settings {
            latent: Some(0),
            recipe: Some(recipe),
            ..given(ModelChoice::WordVae)
        };
        let config = TrainConfig::resolve(&latent(Recipe::Default)).expect("valid");
        assert!(config.is_without_z() && !config.has_latent_space());
        let error = TrainConfig::resolve(&latent(Recipe::Article)).expect_err("refused");
        assert!(error.to_string().contains("--latent 0"), "{error}");
    }

    #[test]
    fn where_z_enters_is_refused_where_there_is_none_or_no_choice() {
        let resolve = |given: Settings, z| TrainConfig::resolve(&Settings { z, ..given });
        let vae = || given(ModelChoice::WordVae);
        let entering = |config: Result<TrainConfig, ConfigError>| {
            config.expect("valid").word_vae().expect("a word-vae").z
        };
        let none = Settings {
            latent: Some(0),
            ..vae()
        };
        let article = Settings {
            recipe: Some(Recipe::Article),
            ..vae()
        };
        for z in [ZPlacement::Start, ZPlacement::Steps] {
            assert_eq!(entering(resolve(vae(), Some(z))), z);
            for given in [given(ModelChoice::CharLstm), none.clone(), article.clone()] {
                let error = resolve(given, Some(z)).expect_err("refused").to_string();
                assert!(error.starts_with(&format!("--z {z}: ")), "{error}");
            }
        }
        assert_eq!(entering(resolve(vae(), None)), ZPlacement::Both);
        let config = resolve(vae(), Some(ZPlacement::Steps)).expect("valid");
        let baseline = config.no_latent_baseline().expect("it has a z");
        baseline.validate().expect("a baseline is valid");
        assert!(baseline.is_without_z() && baseline.no_latent_baseline().is_none());
    }

    #[test]
    fn a_char_lstm_is_an_lstm_and_a_char_gru_the_same_model_with_another_cell() {
        let resolve = |settings: Settings| TrainConfig::resolve(&settings).expect("valid");
        let lstm = resolve(given(ModelChoice::CharLstm));
        let gru = resolve(given(ModelChoice::CharGru));
        assert_eq!((lstm.cell, lstm.lr, lstm.beta2), (Cell::Lstm, 0.03, 0.99));
        assert_eq!((gru.cell, gru.lr, gru.beta2), (Cell::Gru, 0.01, 0.999));
        assert_eq!(
            (lstm.kind(), gru.kind()),
            (ModelKind::CharRnn, ModelKind::CharRnn)
        );
        assert_eq!(gru.to_settings().model, Some(ModelChoice::CharLstm));
        let named = resolve(Settings {
            cell: Some(Cell::Gru),
            ..given(ModelChoice::CharLstm)
        });
        assert_eq!(named, gru);
        let embedded = resolve(Settings {
            embedding: Some(16),
            ..given(ModelChoice::CharLstm)
        });
        assert!((embedded.lr - 0.012).abs() < 1e-12);
    }

    #[test]
    fn a_recipe_implies_its_model() {
        let of = |recipe| {
            TrainConfig::resolve(&Settings {
                recipe: Some(recipe),
                ..Settings::default()
            })
        };
        let notebook = of(Recipe::Notebook).expect("valid");
        assert_eq!((notebook.cell, notebook.beta2), (Cell::Lstm, 0.999));
        assert_eq!(notebook.optimizer, OptimizerKind::Amsgrad);
        assert!(matches!(
            of(Recipe::Article).expect("valid").model,
            ModelConfig::Article(_)
        ));
        assert!(of(Recipe::Default).is_err());
    }

    #[test]
    fn what_belongs_to_the_other_model_is_refused() {
        for (key, value, model, part) in [
            (
                "latent",
                "5",
                ModelChoice::CharLstm,
                "--latent 5: belongs to word-vae",
            ),
            (
                "kl-warmup",
                "0.1",
                ModelChoice::CharGru,
                "--kl-warmup 0.1: belongs to word-vae",
            ),
            (
                "seq",
                "9",
                ModelChoice::WordVae,
                "--seq 9: belongs to char-lstm",
            ),
        ] {
            let mut settings = given(model);
            settings.set(key, value).expect("a value");
            let error = TrainConfig::resolve(&settings).expect_err(part).to_string();
            assert_eq!(error, part);
        }
    }

    #[test]
    fn two_budgets_at_once_are_refused() {
        let both = Settings {
            steps: Some(5),
            minutes: Some(1.0),
            ..given(ModelChoice::CharLstm)
        };
        let error = TrainConfig::resolve(&both)
            .expect_err("conflict")
            .to_string();
        assert!(error.contains("--steps and --minutes"), "{error}");
    }

    #[test]
    fn settings_written_before_there_was_a_precision_mean_f32() {
        let config = TrainConfig::resolve(&given(ModelChoice::CharLstm)).expect("valid defaults");
        let text = config.to_settings().to_toml().expect("serialisable");
        let old: String = text
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("precision"))
            .collect();
        assert!(old.len() < text.len());
        let again = TrainConfig::resolve(&Settings::parse(&old, "test").expect("valid"));
        assert_eq!(again.expect("valid"), config);
        assert_eq!(config.precision, Precision::F32);
    }

    #[test]
    fn less_precision_than_f32_is_refused_on_the_cpu_alone() {
        let resolve = |device: &str, precision| {
            TrainConfig::resolve(&Settings {
                device: Some(device.parse().expect("a device")),
                precision: Some(precision),
                ..given(ModelChoice::WordVae)
            })
        };
        for precision in [Precision::Tf32, Precision::Bf16] {
            let error = resolve("cpu", precision).expect_err("CPU").to_string();
            let want = format!("--precision {precision}: needs a CUDA device; --device cpu");
            assert!(error.starts_with(&want), "{error}");
            for device in ["auto", "cuda"] {
                assert_eq!(
                    resolve(device, precision).expect("valid").precision,
                    precision
                );
            }
        }
        resolve("cpu", Precision::F32).expect("valid");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        for (settings, part) in [
            (
                Settings {
                    hidden: Some(0),
                    ..given(ModelChoice::CharLstm)
                },
                "--hidden 0: must be 1 to 16384",
            ),
            (
                Settings {
                    lr: Some(f64::NAN),
                    ..given(ModelChoice::CharLstm)
                },
                "--lr NaN: must be above 0",
            ),
            (
                Settings {
                    epochs: Some(-1.0),
                    ..given(ModelChoice::WordVae)
                },
                "--epochs -1: must be above 0",
            ),
            (
                Settings {
                    valid: Some(0.6),
                    test: Some(0.5),
                    ..given(ModelChoice::WordVae)
                },
                "--test 0.5",
            ),
            (
                Settings {
                    recipe: Some(Recipe::Article),
                    ..given(ModelChoice::CharLstm)
                },
                "--recipe article",
            ),
        ] {
            let error = TrainConfig::resolve(&settings).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
