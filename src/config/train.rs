//! The complete, checked settings of a run, and the defaults that complete them.

use std::fmt;
use std::str::FromStr;

use super::defaults::defaults;
use super::{
    CONFIG_FORMATS, Cell, ConfigError, Goal, KlSchedule, LatentConfig, LossOver, ModelKind,
    NetworkConfig, NetworkKind, OptimizerKind, Precision, Recipe, Schedule, Settings, SplitKind,
    TextConfig, ZPlacement,
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

/// Where training runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The first CUDA device if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Self::Cuda(index)),
            _ => Err(ConfigError::Choice {
                flag: "device",
                value: text.to_owned(),
                valid: "auto, cpu, cuda, cuda:N".to_owned(),
            }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Every setting of a run, complete and in range. [`Settings`] documents each.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "documented once, in Settings")]
pub struct TrainConfig {
    pub model: ModelKind,
    pub recipe: Recipe,
    pub corpus: Vec<String>,
    pub corpus_name: String,
    pub corpus_digest: String,
    pub from: String,
    pub text: TextConfig,
    pub cell: Cell,
    pub hidden: usize,
    pub layers: usize,
    pub embedding: usize,
    pub latent: usize,
    pub z: ZPlacement,
    pub bidirectional: bool,
    pub tied: bool,
    pub dropout: f64,
    pub variational: bool,
    pub input_dropout: f64,
    pub recurrent_dropout: f64,
    pub batch: usize,
    pub seq: usize,
    pub seq_min: usize,
    pub loss: LossOver,
    pub budget: Budget,
    pub lr: f64,
    pub schedule: Schedule,
    pub warmup: u64,
    pub final_lr: f64,
    pub decay: f64,
    pub optimizer: OptimizerKind,
    pub weight_decay: f64,
    pub clip: f64,
    pub ema: f64,
    pub valid: f64,
    pub test: f64,
    pub split: SplitKind,
    pub patience: u64,
    pub eval_every: u64,
    pub sample_every: u64,
    pub save_every: u64,
    pub goal: Goal,
    pub rate: f64,
    pub beta: f64,
    pub kl_schedule: KlSchedule,
    pub kl_warmup: f64,
    pub free_bits: f64,
    pub char_dropout: f64,
    pub decoder_dropout: f64,
    pub seed: u64,
    pub device: Device,
    pub precision: Precision,
    pub threads: usize,
}

/// The one budget that is given, looked for in the strongest layer first.
fn budget(given: &Settings, fallback: &Settings) -> Result<Budget, ConfigError> {
    let find = |settings: &Settings| -> Result<Option<Budget>, ConfigError> {
        match (settings.steps, settings.epochs, settings.minutes) {
            (Some(_), Some(_), _) => Err(ConfigError::Conflict("steps", "epochs")),
            (Some(_), _, Some(_)) => Err(ConfigError::Conflict("steps", "minutes")),
            (_, Some(_), Some(_)) => Err(ConfigError::Conflict("epochs", "minutes")),
            (Some(steps), ..) => Ok(Some(Budget::Steps(steps))),
            (_, Some(epochs), _) => Ok(Some(Budget::Epochs(epochs))),
            (.., Some(minutes)) => Ok(Some(Budget::Minutes(minutes))),
            _ => Ok(None),
        }
    };
    let found = match find(given)? {
        Some(budget) => budget,
        None => match fallback.steps {
            Some(steps) => Budget::Steps(steps),
            None => Budget::Epochs(fallback.epochs.unwrap_or(1.0)),
        },
    };
    let (flag, value, good) = match found {
        Budget::Steps(steps) => ("steps", steps.to_string(), steps > 0),
        Budget::Epochs(epochs) => (
            "epochs",
            epochs.to_string(),
            epochs.is_finite() && epochs > 0.0,
        ),
        Budget::Minutes(minutes) => (
            "minutes",
            minutes.to_string(),
            minutes.is_finite() && minutes > 0.0,
        ),
    };
    if good {
        Ok(found)
    } else {
        Err(ConfigError::Range {
            flag,
            value,
            must: "must be above 0",
        })
    }
}

/// A field that the defaults always fill.
macro_rules! filled {
    ($settings:ident.$field:ident) => {
        $settings.$field.clone().ok_or(ConfigError::Range {
            flag: stringify!($field),
            value: String::new(),
            must: "must be given",
        })?
    };
}

impl TrainConfig {
    /// Completes `given` with the defaults of its model, recipe and budget, and checks every range.
    pub fn resolve(given: &Settings) -> Result<Self, ConfigError> {
        let model = given.model.ok_or_else(|| ConfigError::Choice {
            flag: "model",
            value: String::new(),
            valid: ModelKind::NAMES.join(", "),
        })?;
        let recipe = given.recipe.unwrap_or(Recipe::Default);
        match (recipe, model) {
            (Recipe::Notebook, ModelKind::WordVae) | (Recipe::Article, ModelKind::CharRnn) => {
                return Err(ConfigError::Range {
                    flag: "recipe",
                    value: recipe.to_string(),
                    must: "belongs to the other model: notebook is char-lstm's, article is word-vae's",
                });
            }
            _ => {}
        }
        let fallback = defaults(given, model, recipe);
        let budget = budget(given, &fallback)?;
        let all = given.clone().over(fallback);
        let (seq, dropout) = (filled!(all.seq), filled!(all.dropout));
        let config = Self {
            model,
            recipe,
            corpus: filled!(all.corpus),
            corpus_name: filled!(all.corpus_name),
            corpus_digest: filled!(all.corpus_digest),
            from: filled!(all.from),
            text: TextConfig {
                unit: filled!(all.unit),
                normalize: filled!(all.normalize),
                lowercase: filled!(all.lowercase),
                encoding: filled!(all.encoding),
                newlines: filled!(all.newlines),
                min_freq: filled!(all.min_freq),
                max_vocab: filled!(all.max_vocab),
                words: filled!(all.words),
            },
            cell: filled!(all.cell),
            hidden: filled!(all.hidden),
            layers: filled!(all.layers),
            embedding: filled!(all.embedding),
            latent: filled!(all.latent),
            z: filled!(all.z),
            bidirectional: filled!(all.bidirectional),
            tied: filled!(all.tied),
            dropout,
            variational: filled!(all.variational),
            input_dropout: filled!(all.input_dropout),
            recurrent_dropout: filled!(all.recurrent_dropout),
            batch: filled!(all.batch),
            seq,
            seq_min: all.seq_min.unwrap_or(seq),
            loss: filled!(all.loss),
            budget,
            lr: filled!(all.lr),
            schedule: filled!(all.schedule),
            warmup: filled!(all.warmup),
            final_lr: filled!(all.final_lr),
            decay: filled!(all.decay),
            optimizer: filled!(all.optimizer),
            weight_decay: filled!(all.weight_decay),
            clip: filled!(all.clip),
            ema: filled!(all.ema),
            valid: filled!(all.valid),
            test: filled!(all.test),
            split: filled!(all.split).parse()?,
            patience: filled!(all.patience),
            eval_every: filled!(all.eval_every),
            sample_every: filled!(all.sample_every),
            save_every: filled!(all.save_every),
            goal: filled!(all.goal),
            rate: filled!(all.rate),
            beta: filled!(all.beta),
            kl_schedule: filled!(all.kl_schedule),
            kl_warmup: filled!(all.kl_warmup),
            free_bits: filled!(all.free_bits),
            char_dropout: filled!(all.char_dropout),
            decoder_dropout: all.decoder_dropout.unwrap_or(dropout),
            seed: filled!(all.seed),
            device: filled!(all.device).parse()?,
            precision: filled!(all.precision),
            threads: filled!(all.threads),
        };
        config.validate()?;
        Ok(config)
    }

    /// Raises a budget in epochs that nobody asked for, so that a small corpus gets steps enough.
    /// `train` is the size of the training part in tokens (char-lstm) or words (word-vae).
    pub fn fit_default_budget(&mut self, train: usize) {
        let (a_step, least) = match self.model {
            ModelKind::CharRnn => (self.batch * self.seq, LEAST_STEPS[0]),
            ModelKind::WordVae => (self.batch, LEAST_STEPS[1]),
        };
        if let Budget::Epochs(epochs) = self.budget {
            let needed = (least * a_step as f64 / train.max(1) as f64).ceil();
            self.budget = Budget::Epochs(epochs.max(needed.min(MOST_EPOCHS)));
        }
    }

    /// Whether the newest model is kept and not the one with the lowest loss: the original systems
    /// never chose one, and the multiplier that holds a rate settles towards the end.
    pub fn keeps_newest(&self) -> bool {
        self.recipe != Recipe::Default || self.rate > 0.0
    }

    /// Whether it is a word-vae's decoder alone.
    pub fn is_without_z(&self) -> bool {
        self.model == ModelKind::WordVae && self.latent == 0
    }

    /// Whether it is a word-vae with a latent space to walk in: not a decoder alone, nor the article's
    /// network, whose decoder ignores the word encoded.
    pub fn has_latent_space(&self) -> bool {
        self.model == ModelKind::WordVae && self.latent > 0 && self.recipe != Recipe::Article
    }

    /// The same decoder without z, under the same budget: what z is measured against.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self {
            latent: 0,
            z: ZPlacement::Both,
            bidirectional: false,
            goal: Goal::Density,
            rate: 0.0,
            beta: 1.0,
            kl_schedule: KlSchedule::Linear,
            kl_warmup: 0.0,
            free_bits: 0.0,
            // Letters are hidden so that the decoder turns to z for them.
            char_dropout: 0.0,
            ..self.clone()
        }
    }

    /// The settings as a file holds them: what [`TrainConfig::resolve`] turns into `self` again.
    pub fn to_settings(&self) -> Settings {
        Settings {
            format: Some(*CONFIG_FORMATS.end()),
            model: Some(self.model),
            recipe: Some(self.recipe),
            corpus: Some(self.corpus.clone()),
            corpus_name: Some(self.corpus_name.clone()),
            corpus_digest: Some(self.corpus_digest.clone()),
            from: Some(self.from.clone()),
            cell: Some(self.cell),
            hidden: Some(self.hidden),
            layers: Some(self.layers),
            embedding: Some(self.embedding),
            latent: Some(self.latent),
            z: Some(self.z),
            bidirectional: Some(self.bidirectional),
            tied: Some(self.tied),
            dropout: Some(self.dropout),
            variational: Some(self.variational),
            input_dropout: Some(self.input_dropout),
            recurrent_dropout: Some(self.recurrent_dropout),
            batch: Some(self.batch),
            seq: Some(self.seq),
            seq_min: Some(self.seq_min),
            loss: Some(self.loss),
            steps: if let Budget::Steps(steps) = self.budget {
                Some(steps)
            } else {
                None
            },
            epochs: if let Budget::Epochs(epochs) = self.budget {
                Some(epochs)
            } else {
                None
            },
            minutes: if let Budget::Minutes(minutes) = self.budget {
                Some(minutes)
            } else {
                None
            },
            lr: Some(self.lr),
            schedule: Some(self.schedule),
            warmup: Some(self.warmup),
            final_lr: Some(self.final_lr),
            decay: Some(self.decay),
            optimizer: Some(self.optimizer),
            weight_decay: Some(self.weight_decay),
            clip: Some(self.clip),
            ema: Some(self.ema),
            valid: Some(self.valid),
            test: Some(self.test),
            split: Some(self.split.to_string()),
            patience: Some(self.patience),
            eval_every: Some(self.eval_every),
            sample_every: Some(self.sample_every),
            save_every: Some(self.save_every),
            goal: Some(self.goal),
            rate: Some(self.rate),
            beta: Some(self.beta),
            kl_schedule: Some(self.kl_schedule),
            kl_warmup: Some(self.kl_warmup),
            free_bits: Some(self.free_bits),
            char_dropout: Some(self.char_dropout),
            decoder_dropout: Some(self.decoder_dropout),
            seed: Some(self.seed),
            device: Some(self.device.to_string()),
            precision: Some(self.precision),
            threads: Some(self.threads),
            ..Settings::of_text(self.text.clone())
        }
    }

    /// The architecture for a vocabulary of `inputs` tokens, of which `outputs` can be predicted.
    pub fn network(&self, inputs: usize, outputs: usize) -> NetworkConfig {
        let latent = self.latent;
        let kind = match self.model {
            ModelKind::CharRnn => NetworkKind::CharRnn,
            ModelKind::WordVae if self.recipe == Recipe::Article => NetworkKind::Article { latent },
            ModelKind::WordVae => NetworkKind::WordVae(LatentConfig {
                latent,
                z: self.z,
                bidirectional: self.bidirectional,
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

    fn given(model: ModelKind) -> Settings {
        Settings {
            model: Some(model),
            ..Settings::default()
        }
    }

    #[test]
    fn resolved_settings_resolve_to_themselves() {
        for (model, recipe) in [
            (ModelKind::CharRnn, Recipe::Default),
            (ModelKind::CharRnn, Recipe::Notebook),
            (ModelKind::WordVae, Recipe::Default),
            (ModelKind::WordVae, Recipe::Article),
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
            ..given(ModelKind::CharRnn)
        };
        assert!(TrainConfig::resolve(&tied(24)).expect("valid").tied);
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
            ..given(ModelKind::WordVae)
        };
        let config = TrainConfig::resolve(&latent(Recipe::Default)).expect("valid");
        assert_eq!(config.latent, 0);
        let error = TrainConfig::resolve(&latent(Recipe::Article)).expect_err("refused");
        assert!(error.to_string().contains("--latent 0"), "{error}");
    }

    #[test]
    fn where_z_enters_is_refused_where_there_is_none_or_no_choice() {
        let resolve = |given: Settings, z| TrainConfig::resolve(&Settings { z, ..given });
        let vae = || given(ModelKind::WordVae);
        let none = Settings {
            latent: Some(0),
            ..vae()
        };
        let article = Settings {
            recipe: Some(Recipe::Article),
            ..vae()
        };
        for z in [ZPlacement::Start, ZPlacement::Steps] {
            assert_eq!(resolve(vae(), Some(z)).expect("valid").z, z);
            for given in [given(ModelKind::CharRnn), none.clone(), article.clone()] {
                let error = resolve(given, Some(z)).expect_err("refused").to_string();
                assert!(error.starts_with(&format!("--z {z}: ")), "{error}");
            }
        }
        assert_eq!(resolve(vae(), None).expect("valid").z, ZPlacement::Both);
        let twin = resolve(vae(), Some(ZPlacement::Steps))
            .expect("valid")
            .twin();
        twin.validate().expect("a twin is valid");
    }

    #[test]
    fn two_budgets_at_once_are_refused() {
        let both = Settings {
            steps: Some(5),
            minutes: Some(1.0),
            ..given(ModelKind::CharRnn)
        };
        let error = TrainConfig::resolve(&both)
            .expect_err("conflict")
            .to_string();
        assert!(error.contains("--steps and --minutes"), "{error}");
    }

    #[test]
    fn settings_written_before_there_was_a_precision_mean_f32() {
        let config = TrainConfig::resolve(&given(ModelKind::CharRnn)).expect("valid defaults");
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
                device: Some(device.into()),
                precision: Some(precision),
                ..given(ModelKind::WordVae)
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
                    ..given(ModelKind::CharRnn)
                },
                "--hidden 0: must be 1 to 16384",
            ),
            (
                Settings {
                    lr: Some(f64::NAN),
                    ..given(ModelKind::CharRnn)
                },
                "--lr NaN: must be above 0",
            ),
            (
                Settings {
                    epochs: Some(-1.0),
                    ..given(ModelKind::WordVae)
                },
                "--epochs -1: must be above 0",
            ),
            (
                Settings {
                    valid: Some(0.6),
                    test: Some(0.5),
                    ..given(ModelKind::WordVae)
                },
                "--test 0.5",
            ),
            (
                Settings {
                    split: Some("random".into()),
                    ..given(ModelKind::CharRnn)
                },
                "contiguous, window:N",
            ),
            (
                Settings {
                    device: Some("gpu".into()),
                    ..given(ModelKind::CharRnn)
                },
                "auto, cpu, cuda",
            ),
            (
                Settings {
                    recipe: Some(Recipe::Article),
                    ..given(ModelKind::CharRnn)
                },
                "--recipe article",
            ),
        ] {
            let error = TrainConfig::resolve(&settings).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
