//! What a model, a recipe and a budget settle where nothing is given.

use super::{
    Cell, Device, Goal, KlSchedule, LossOver, ModelKind, NormalForm, OptimizerKind, Precision,
    Recipe, Schedule, Settings, SplitKind, TextConfig, ZPlacement,
};

/// Streams a step of a char-lstm unless told otherwise.
pub const DEFAULT_BATCH: usize = 32;
/// Tokens of each stream a step unless told otherwise.
pub const DEFAULT_SEQ: usize = 32;
/// Share of a corpus held out for validation unless told otherwise.
pub const DEFAULT_VALID: f64 = 0.1;
/// Nats a word that z carries under `--goal explore`.
const EXPLORE_RATE: f64 = 8.0;

/// The defaults of a model, a recipe and a budget.
pub(super) fn defaults(given: &Settings, model: ModelKind, recipe: Recipe) -> Settings {
    let common = common_defaults(given);
    let own = match model {
        ModelKind::CharRnn => char_lstm_defaults(given),
        ModelKind::WordVae => of_goal(given).over(word_vae_defaults(given)),
    };
    let original = match recipe {
        Recipe::Default => Settings::default(),
        Recipe::Notebook => notebook(),
        Recipe::Article => article(),
    };
    original.over(own).over(common)
}

fn common_defaults(given: &Settings) -> Settings {
    let optimizer = given.optimizer.unwrap_or(OptimizerKind::Adamw);
    Settings {
        corpus: Some(Vec::new()),
        corpus_name: Some(String::new()),
        corpus_digest: Some(String::new()),
        from: Some(String::new()),
        loss: Some(LossOver::All),
        schedule: Some(Schedule::Cosine),
        warmup: Some(100),
        final_lr: Some(0.05),
        decay: Some(0.5),
        optimizer: Some(optimizer),
        // Under plain Adam weight decay is an L2 term, which nobody asked for.
        weight_decay: Some(if optimizer == OptimizerKind::Adamw {
            0.01
        } else {
            0.0
        }),
        clip: Some(5.0),
        ema: Some(0.0),
        tied: Some(false),
        variational: Some(false),
        input_dropout: Some(0.0),
        recurrent_dropout: Some(0.0),
        split: Some(SplitKind::Contiguous.to_string()),
        patience: Some(0),
        eval_every: Some(0),
        sample_every: Some(3),
        save_every: Some(0),
        seed: Some(42),
        device: Some(Device::Auto.to_string()),
        precision: Some(Precision::F32),
        threads: Some(0),
        goal: Some(Goal::Density),
        rate: Some(0.0),
        beta: Some(1.0),
        kl_schedule: Some(KlSchedule::Linear),
        kl_warmup: Some(0.0),
        free_bits: Some(0.0),
        char_dropout: Some(0.0),
        latent: Some(0),
        z: Some(ZPlacement::Both),
        bidirectional: Some(false),
        ..Settings::of_text(TextConfig::default())
    }
}

/// Measured in `docs/quality.md`; under a budget of time [`TimeBudget::fit`](super::TimeBudget::fit)
/// lies over them.
fn char_lstm_defaults(given: &Settings) -> Settings {
    let interleaved = given.split.as_deref() == Some("interleaved");
    Settings {
        cell: Some(Cell::Gru),
        hidden: Some(256),
        layers: Some(1),
        embedding: Some(0),
        dropout: Some(0.3),
        batch: Some(DEFAULT_BATCH),
        seq: Some(DEFAULT_SEQ),
        epochs: Some(20.0),
        lr: Some(fine_tuned(given, 1e-2 * of_embedding(given.embedding))),
        final_lr: Some(0.01),
        // char-rnn, whose split interleaved is, holds out half as much.
        valid: Some(if interleaved {
            DEFAULT_VALID / 2.0
        } else {
            DEFAULT_VALID
        }),
        test: Some(0.0),
        ..Settings::default()
    }
}

/// The share of the learning rate that a char-lstm bears: with an embedding, whose tokens are larger
/// than one-hot ones, the whole of it can drive a GRU to where it learns no more.
pub(super) fn of_embedding(embedding: Option<usize>) -> f64 {
    match embedding {
        None | Some(0) => 1.0,
        Some(_) => 0.4,
    }
}

/// A model that is trained already would forget what it knows at the full learning rate.
fn fine_tuned(given: &Settings, lr: f64) -> f64 {
    let begins_trained = given.from.as_ref().is_some_and(|from| !from.is_empty());
    if begins_trained { lr * 0.3 } else { lr }
}

/// What a goal asks for, or a rate, or the decoder without z.
fn of_goal(given: &Settings) -> Settings {
    let unbound = Settings {
        kl_warmup: Some(0.0),
        free_bits: Some(0.0),
        ..Settings::default()
    };
    if given.latent == Some(0) {
        // Letters are hidden so that the decoder turns to z for them; without z that only hurts.
        return Settings {
            char_dropout: Some(0.0),
            bidirectional: Some(false),
            ..unbound
        };
    }
    match given.goal {
        Some(Goal::Explore) => Settings {
            rate: Some(EXPLORE_RATE),
            ..unbound
        },
        Some(Goal::Autoencode) => Settings {
            beta: Some(0.02),
            epochs: Some(30.0),
            ..unbound
        },
        _ if given.rate.is_some_and(|rate| rate > 0.0) => unbound,
        // Free bits see to it that z is used; hidden letters would cost 0.3 nats a name.
        _ => Settings {
            char_dropout: Some(0.0),
            epochs: Some(25.0),
            ..Settings::default()
        },
    }
}

fn word_vae_defaults(given: &Settings) -> Settings {
    Settings {
        cell: Some(Cell::Gru),
        hidden: Some(256),
        layers: Some(1),
        embedding: Some(32),
        latent: Some(32),
        bidirectional: Some(true),
        dropout: Some(0.2),
        batch: Some(128),
        seq: Some(0),
        epochs: Some(15.0),
        lr: Some(fine_tuned(given, 2e-3)),
        valid: Some(DEFAULT_VALID),
        test: Some(0.1),
        kl_warmup: Some(0.2),
        free_bits: Some(0.06),
        char_dropout: Some(0.1),
        weight_decay: Some(0.0),
        ..Settings::default()
    }
}

/// The notebook of 2020. Where it is silent (hidden size, learning rate) stand PyTorch's default
/// learning rate and the hidden size of a small layer.
fn notebook() -> Settings {
    Settings {
        normalize: Some(NormalForm::Ascii),
        cell: Some(Cell::Lstm),
        hidden: Some(128),
        layers: Some(1),
        embedding: Some(0),
        dropout: Some(0.0),
        batch: Some(1),
        seq: Some(40),
        seq_min: Some(10),
        loss: Some(LossOver::Last),
        epochs: Some(300.0),
        optimizer: Some(OptimizerKind::Amsgrad),
        lr: Some(1e-3),
        schedule: Some(Schedule::Constant),
        warmup: Some(0),
        weight_decay: Some(0.0),
        clip: Some(0.0),
        ..Settings::default()
    }
}

/// The article of 2018: 5,000 words, one a step.
fn article() -> Settings {
    Settings {
        cell: Some(Cell::Gru),
        hidden: Some(20),
        layers: Some(1),
        embedding: Some(20),
        latent: Some(10),
        bidirectional: Some(false),
        dropout: Some(0.0),
        batch: Some(1),
        seq: Some(0),
        steps: Some(5_000),
        optimizer: Some(OptimizerKind::Adam),
        lr: Some(1e-3),
        schedule: Some(Schedule::Constant),
        warmup: Some(0),
        clip: Some(0.0),
        kl_warmup: Some(0.0),
        free_bits: Some(0.0),
        char_dropout: Some(0.0),
        ..Settings::default()
    }
}
