//! The complete, checked settings of a run.

use std::fmt;

use super::defaults::{defaults, derived};
use super::{
    CONFIG_FORMATS, Cell, CharRnnConfig, ConfigError, Goal, LatentConfig, ModelChoice, ModelKind,
    NetworkConfig, NetworkKind, Recipe, Settings, SplitKind, TextConfig, TrainConfig,
    WordVaeConfig, ZPlacement,
};

/// The fewest tokens of a text that a char-lstm is trained on with defaults: two steps of a few streams.
pub const LEAST_TEXT: usize = 200;

/// The amount of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// A number of optimizer steps.
    Steps(u64),
    /// Passes over the training text.
    Epochs(f64),
    /// Minutes of training, evaluation included.
    Minutes(f64),
}

/// The form that training states record, always in the plural.
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
        let mut settings = Settings::default();
        match self {
            Self::Steps(steps) => settings.steps = Some(steps),
            Self::Epochs(epochs) => settings.epochs = Some(epochs),
            Self::Minutes(minutes) => settings.minutes = Some(minutes),
        }
        settings
    }
}

/// The settings that only one kind of model has.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    /// A character-level language model.
    CharRnn(CharRnnConfig),
    /// A variational autoencoder of words.
    WordVae(WordVaeConfig),
    /// The original article's network.
    Article(ArticleConfig),
}

/// The settings of the original article's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArticleConfig {
    /// Latent size Z.
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

    /// The kind of generator.
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

    /// How text is held out; words are held out individually, which files call `contiguous`.
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

    /// The settings of a word VAE, if it is one.
    pub const fn word_vae(&self) -> Option<&WordVaeConfig> {
        match &self.model {
            ModelConfig::WordVae(own) => Some(own),
            ModelConfig::CharRnn(_) | ModelConfig::Article(_) => None,
        }
    }

    /// Makes the batch of a char-lstm fit a short text, where `given` does not set it: `train` is the size of the
    /// training part in tokens. Fewer streams first, then shorter sequences.
    pub fn fit_batch(&mut self, given: &Settings, train: usize) {
        let ModelConfig::CharRnn(own) = &mut self.model else {
            return;
        };
        let have = train.saturating_sub(1).max(1);
        if given.batch.is_none() {
            self.batch = self.batch.min((have / own.seq).max(1));
        }
        if given.seq.is_none() {
            own.seq = own.seq.min((have / self.batch).max(1));
            own.seq_min = own.seq_min.min(own.seq);
        }
    }

    /// Whether the newest model is kept instead of the one with the lowest loss: the original systems did
    /// not choose one, and the multiplier that holds a target rate settles towards the end.
    pub fn keeps_newest(&self) -> bool {
        self.recipe != Recipe::Default || self.word_vae().is_some_and(|own| own.rate > 0.0)
    }

    /// Whether the decoder of a word-vae learns alone after `fraction` of the training.
    pub fn pretrains(&self, fraction: f64) -> bool {
        self.word_vae().is_some_and(|own| own.pretrains(fraction))
    }

    /// Whether it is a word-vae without z, which is a decoder alone.
    pub fn is_without_z(&self) -> bool {
        self.word_vae().is_some_and(|own| own.latent == 0)
    }

    /// Whether it is a word-vae with a latent space: not a decoder alone, nor the article's network, whose
    /// decoder ignores the word that was encoded.
    pub fn has_latent_space(&self) -> bool {
        self.word_vae().is_some_and(|own| own.latent > 0)
    }

    /// The no-latent baseline: the same decoder without z, with the same budget. `None` for a model
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
                pretrain_decoder: 0.0,
                // Hidden letters make the decoder use z, which is missing here.
                char_dropout: 0.0,
                decoder_dropout: own.decoder_dropout,
            }),
            ..self.clone()
        })
    }

    /// The settings as stored in a file, which [`TrainConfig::resolve`] turns back into `self`.
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

    /// The architecture for a vocabulary of `inputs` tokens, of which `outputs` can be predicted and `eos` ends a
    /// document.
    pub fn network(&self, inputs: usize, outputs: usize, eos: Option<u32>) -> NetworkConfig {
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
            eos,
        }
    }
}
