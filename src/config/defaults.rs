//! Defaults that depend on the model, the recipe, the goal or another setting.

use super::{
    Cell, Entry, FITTED, Goal, LossOver, ModelChoice, ModelKind, NormalForm, OptimizerKind, Recipe,
    Schedule, Settings, SplitKind, TrainConfig,
};

/// Default number of streams per step of a char-lstm.
const DEFAULT_BATCH: usize = 32;
/// Default number of tokens of each stream per step.
const DEFAULT_SEQ: usize = 32;
/// Default fraction of a corpus held out for validation.
const DEFAULT_VALID: f64 = 0.1;
/// Adam's β₂ in PyTorch.
const BETA2: f64 = 0.999;

impl Recipe {
    /// The model of the original system.
    pub const fn model(self) -> Option<ModelChoice> {
        match self {
            Self::Default => None,
            Self::Notebook => Some(ModelChoice::CharLstm),
            Self::Article => Some(ModelChoice::WordVae),
        }
    }
}

impl Goal {
    /// The settings of the original system.
    pub fn settings(self) -> Settings {
        of_goal(&Settings {
            goal: Some(self),
            ..Settings::default()
        })
    }
}

/// The defaults in which a model differs from the table, without those that are fitted to the text.
pub fn model_defaults(model: ModelChoice) -> Vec<Entry> {
    let given = Settings {
        model: Some(model),
        ..Settings::default()
    };
    let all = TrainConfig::resolve(&given).map(|config| config.to_settings());
    let mut entries = all.unwrap_or_default().entries();
    let is_fitted = |entry: &Entry| FITTED.contains(&&*entry.key());
    entries.retain(|entry| entry.is_default_of_model() && !is_fitted(entry));
    entries
}

/// The defaults of a model and a recipe, given some settings.
pub(super) fn defaults(given: &Settings, model: ModelChoice, recipe: Recipe) -> Settings {
    let own = match model.kind() {
        ModelKind::CharRnn => char_rnn(),
        ModelKind::WordVae => of_goal(given).over(word_vae()),
    };
    let original = match recipe {
        Recipe::Default => Settings::default(),
        Recipe::Notebook => notebook(),
        Recipe::Article => article(),
    };
    let cell = Settings {
        cell: Some(model.cell()),
        ..Settings::default()
    };
    original.over(own).over(cell).over(Settings::defaults())
}

/// Completes settings with the defaults that depend on other settings.
pub(super) fn derived(all: Settings, model: ModelChoice) -> Settings {
    let lstm = all.cell == Some(Cell::Lstm);
    let adamw = all.optimizer == Some(OptimizerKind::Adamw);
    let lr = match model.kind() {
        ModelKind::CharRnn => lr_of_cell(all.cell) * lr_of_embedding(all.embedding),
        ModelKind::WordVae if lstm => 5e-3,
        ModelKind::WordVae => 2e-3,
    };
    // At the full learning rate, a trained model would forget what it has learnt.
    let trained = all.from.as_ref().is_some_and(|from| !from.is_empty());
    let derived = Settings {
        lr: Some(if trained { lr * 0.3 } else { lr }),
        beta2: Some(if lstm { 0.99 } else { BETA2 }),
        // In plain Adam, weight decay would be an L2 term, which is not wanted by default.
        weight_decay: Some(if adamw { 0.01 } else { 0.0 }),
        // The interleaved split is char-rnn's, which holds out half as much.
        valid: Some(if all.split == Some(SplitKind::Interleaved) {
            DEFAULT_VALID / 2.0
        } else {
            DEFAULT_VALID
        }),
        seq_min: all.seq,
        decoder_dropout: all.dropout,
        ..Settings::default()
    };
    all.over(derived)
}

/// Learning rate of a char-lstm, measured in `docs/quality.md`.
const fn lr_of_cell(cell: Option<Cell>) -> f64 {
    match cell {
        Some(Cell::Lstm) => 3e-2,
        _ => 1e-2,
    }
}

/// Factor of the learning rate of a char-lstm with an embedding: its vectors are larger than one-hot
/// ones, and the full rate can drive a GRU to where it stops learning.
pub(super) const fn lr_of_embedding(embedding: Option<usize>) -> f64 {
    match embedding {
        None | Some(0) => 1.0,
        Some(_) => 0.4,
    }
}

/// Where no text is known; [`Means::fit`](super::Means::fit) chooses what fits a text.
fn char_rnn() -> Settings {
    Settings {
        hidden: Some(256),
        embedding: Some(0),
        dropout: Some(0.3),
        batch: Some(DEFAULT_BATCH),
        seq: Some(DEFAULT_SEQ),
        epochs: Some(20.0),
        final_lr: Some(0.01),
        test: Some(0.0),
        ..Settings::default()
    }
}

fn word_vae() -> Settings {
    Settings {
        hidden: Some(256),
        embedding: Some(32),
        latent: Some(32),
        dropout: Some(0.2),
        batch: Some(128),
        epochs: Some(25.0),
        test: Some(0.1),
        ..Settings::default()
    }
}

/// The defaults of a goal, of a target rate, or of the decoder without z.
pub(super) fn of_goal(given: &Settings) -> Settings {
    let unbound = Settings {
        kl_warmup: Some(0.0),
        free_bits: Some(0.0),
        // The table's default, which the help of the goals is to name.
        char_dropout: Some(0.1),
        ..Settings::default()
    };
    match given.goal {
        _ if given.latent == Some(0) => Settings {
            // Hidden letters make the decoder use z; without z they only hurt.
            char_dropout: Some(0.0),
            bidirectional: Some(false),
            ..unbound
        },
        Some(Goal::Explore) => Settings {
            rate: Some(8.0),
            ..unbound
        },
        Some(Goal::Autoencode) => Settings {
            beta: Some(0.02),
            ..unbound
        },
        _ if given.rate.is_some_and(|rate| rate > 0.0) => unbound,
        // Free bits ensure that z is used; hidden letters would cost 0.3 nats per name.
        _ => Settings {
            char_dropout: Some(0.0),
            ..Settings::default()
        },
    }
}

/// The notebook of 2020. It does not state hidden size and learning rate; these are the size of a small
/// layer and PyTorch's default.
fn notebook() -> Settings {
    Settings {
        normalize: Some(NormalForm::Ascii),
        hidden: Some(128),
        dropout: Some(0.0),
        batch: Some(1),
        seq: Some(40),
        seq_min: Some(10),
        loss: Some(LossOver::Last),
        epochs: Some(300.0),
        ..original(OptimizerKind::Amsgrad)
    }
}

/// The article of 2018: 5,000 words, one per step.
fn article() -> Settings {
    Settings {
        hidden: Some(20),
        embedding: Some(20),
        latent: Some(10),
        dropout: Some(0.0),
        batch: Some(1),
        steps: Some(5_000),
        ..original(OptimizerKind::Adam)
    }
}

/// The training settings of both original systems.
fn original(optimizer: OptimizerKind) -> Settings {
    Settings {
        optimizer: Some(optimizer),
        beta2: Some(BETA2),
        lr: Some(1e-3),
        schedule: Some(Schedule::Constant),
        warmup: Some(0),
        weight_decay: Some(0.0),
        clip: Some(0.0),
        ..Settings::default()
    }
}
