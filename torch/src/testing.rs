//! Small runs for tests.

use textgen::config::{ModelKind, Settings, TrainConfig};
use textgen::run::TextData;

use textgen::text::{Vocabulary};

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
