//! Small runs for tests.

use textgen::config::{ModelKind, Settings, TrainConfig};
use textgen::run::TextData;
use textgen::text::{Corpus, Vocabulary, survey, tokens};

/// Settings of a tiny char-lstm.
pub fn text_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        model: Some(ModelKind::CharLstm),
        hidden: Some(16),
        batch: Some(4),
        seq: Some(16),
        ..Settings::default()
    })
    .expect("valid")
}

/// The first `length` symbols of the bundled tales.
pub fn text_data(length: usize) -> TextData {
    let config = text_config().text;
    let corpus = Corpus::bundled();
    let counts = survey(&corpus, &config).expect("counted").counts;
    let vocabulary =
        Vocabulary::from_counts(config.unit, &counts, config.min_freq, config.max_vocab);
    let mut tokens = tokens(&corpus, &config, &vocabulary).expect("read");
    tokens.truncate(length);
    TextData { vocabulary, tokens }
}
