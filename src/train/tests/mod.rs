//! Small trainings. What they share is here.

mod distributed;
mod golden;
mod interrupted;
mod invariance;
mod learning;
mod rollback;
mod torture;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::{Ending, Engine, EngineError, NativeEngine, Trainer};
use crate::config::{
    Budget, ModelChoice, ModelKind, NetworkConfig, OnUnknown, Recipe, Schedule, Settings,
    TextConfig, TrainConfig,
};
use crate::run::{CorpusData, RunDir, Runs, State, TextData, WordData};
use crate::text::{
    Corpus, TextError, Vocabulary, article_letters, article_vocabulary, split_words, survey,
    tokens, words,
};

/// Nobody stops these trainings.
pub static GO: AtomicBool = AtomicBool::new(false);

/// Settings of a tiny char-lstm, with dropout, so that a test would notice unexpected noise.
pub fn text_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        model: Some(ModelChoice::CharLstm),
        hidden: Some(16),
        layers: Some(2),
        batch: Some(4),
        seq: Some(16),
        steps: Some(24),
        eval_every: Some(8),
        sample_every: Some(2),
        threads: Some(1),
        dropout: Some(0.1),
        ..Settings::default()
    })
    .expect("valid")
}

/// The first `length` tokens of the bundled tales.
pub fn text_data(length: usize) -> TextData {
    let config = text_config().text;
    let corpus = Corpus::bundled();
    let counts = survey(&corpus, &config, |_| ()).expect("counted").counts;
    let vocabulary =
        Vocabulary::from_counts(config.unit, &counts, config.min_freq, config.max_vocab);
    let mut all = all_tokens(&corpus, &config, &vocabulary);
    all.truncate(length);
    TextData {
        vocabulary,
        tokens: all.into(),
    }
}

/// A corpus as tokens.
pub fn all_tokens(corpus: &Corpus, config: &TextConfig, vocabulary: &Vocabulary) -> Vec<u32> {
    let mut all = Vec::new();
    let take = |mut some: Vec<u32>| -> Result<(), TextError> {
        all.append(&mut some);
        Ok(())
    };
    tokens(corpus, config, vocabulary, |_| (), <[u32]>::to_vec, take).expect("read");
    all
}

/// Settings of a tiny word-vae.
pub fn word_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        model: Some(ModelChoice::WordVae),
        hidden: Some(12),
        latent: Some(3),
        embedding: Some(5),
        batch: Some(16),
        steps: Some(24),
        eval_every: Some(8),
        sample_every: Some(2),
        threads: Some(1),
        ..Settings::default()
    })
    .expect("valid")
}

/// Settings of the article's network.
pub fn article_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        recipe: Some(Recipe::Article),
        hidden: Some(8),
        steps: Some(24),
        eval_every: Some(8),
        threads: Some(1),
        ..Settings::default()
    })
    .expect("valid")
}

/// The first 200 words of the bundled tales.
pub fn word_data(config: &TrainConfig) -> WordData {
    let mut list = words(&Corpus::bundled(), &config.text, |_| ()).expect("read");
    list.words.truncate(200);
    let (train, valid, test) = split_words(200, 0.1, 0.1, 1);
    let (vocabulary, letters) = if config.recipe == Recipe::Article {
        let letters = list.words.iter().map(|word| article_letters(word));
        (article_vocabulary().expect("valid"), letters.collect())
    } else {
        let counts = list.counts(config.text.unit);
        let vocabulary = Vocabulary::for_words(config.text.unit, &counts, 1, 400);
        let encode = |word: &String| vocabulary.encode(word, OnUnknown::Error).expect("known");
        let letters = list.words.iter().map(encode).collect();
        (vocabulary, letters)
    };
    WordData {
        vocabulary,
        words: list.words,
        letters,
        train,
        valid,
        test,
    }
}

/// A run of a tiny model in `folder`; of a longer text, if its evaluations read a sample.
pub fn create_run(folder: &Path, name: &str, config: &TrainConfig) -> RunDir {
    let corpus = match config.kind() {
        ModelKind::CharRnn => {
            let length = if config.eval_size > 0 { 20_000 } else { 3_000 };
            CorpusData::Text(text_data(length))
        }
        ModelKind::WordVae => CorpusData::Words(word_data(config)),
    };
    Runs::new(folder)
        .create(name, config, &corpus, None)
        .expect("created")
}

/// The settings with some changed: `key=value`, separated by spaces.
pub fn with(config: &TrainConfig, changes: &str) -> TrainConfig {
    let mut settings = Settings::default();
    for change in changes.split(' ') {
        let (key, value) = change.split_once('=').expect("key=value");
        settings.set(key, value).expect("a setting");
    }
    config.with(settings).expect("valid")
}

/// The settings with a budget in steps and a constant learning rate.
pub fn constant(config: TrainConfig, steps: u64) -> TrainConfig {
    TrainConfig {
        budget: Budget::Steps(steps),
        schedule: Schedule::Constant,
        ..config
    }
}

/// The engine of a run.
pub fn native(
    config: &TrainConfig,
    network: &NetworkConfig,
) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(NativeEngine::new(config, network)?))
}

/// A trainer that tells nobody.
pub fn trainer(run: &RunDir) -> Trainer<'_> {
    let mut trainer = Trainer::new(run, &native, |_| ()).expect("trainer");
    trainer.resume().expect("resumed");
    trainer
}

/// Trains a run to its end.
pub fn train(run: &RunDir) -> Ending {
    trainer(run).train(&GO).expect("trained")
}

/// Trains up to `steps`, as a process that is stopped there would have.
pub fn train_up_to(run: &RunDir, steps: u64) {
    let ending = trainer(run).train_until(&GO, Some(steps));
    assert_eq!(ending.expect("trained"), Ending::Stopped);
}

/// The saved state of a run.
pub fn state(run: &RunDir) -> State {
    run.state().expect("readable").expect("there")
}
