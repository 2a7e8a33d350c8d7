//! How tokens are drawn.

use super::ConfigError;

/// How tokens are drawn from logits.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingConfig {
    /// Logits are divided by it; 0 is argmax.
    pub temperature: f32,
    /// Only the k most probable tokens.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Only tokens of at least this share of the largest probability.
    pub min_p: Option<f32>,
    /// Sample i of seed s is drawn from the ChaCha8 stream (s, i).
    pub seed: u64,
}

impl SamplingConfig {
    /// The model's own distribution: temperature 1 and no limit.
    pub const fn new(seed: u64) -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            seed,
        }
    }

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let range = |flag, value: String, must| Err(ConfigError::Range { flag, value, must });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return range(
                "temperature",
                self.temperature.to_string(),
                "must be a number of at least 0 (0 is argmax, 1 the model's own distribution)",
            );
        }
        if self.top_k == Some(0) {
            return range("top-k", "0".to_owned(), "must be at least 1");
        }
        if let Some(p) = self.top_p.filter(|&p| !(p > 0.0 && p <= 1.0)) {
            return range("top-p", p.to_string(), "must be above 0 and at most 1");
        }
        if let Some(p) = self.min_p.filter(|p| !(0.0..=1.0).contains(p)) {
            let must = "must be between 0 (no limit) and 1 (the most probable token alone)";
            return range("min-p", p.to_string(), must);
        }
        Ok(())
    }
}

/// How going on as before is penalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepetitionConfig {
    /// Divides the odds of a token, once for every token of the repeat that it would prolong and
    /// that is not free; 1 is none.
    pub penalty: f32,
    /// Tokens back that repeats are looked for.
    pub window: usize,
}

impl RepetitionConfig {
    /// The window unless told otherwise: a few lines, as loops are seldom longer.
    pub const WINDOW: usize = 256;
    /// The widest window: as many tokens as a saved state keeps.
    pub const WIDEST: usize = 4096;

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let range = |flag, value: String, must| Err(ConfigError::Range { flag, value, must });
        if !(self.penalty.is_finite() && self.penalty >= 1.0) {
            let must = "must be at least 1 (1 is no penalty)";
            return range("repetition-penalty", self.penalty.to_string(), must);
        }
        if !(1..=Self::WIDEST).contains(&self.window) {
            let must = "must be 1 to 4096 characters";
            return range("repetition-window", self.window.to_string(), must);
        }
        Ok(())
    }
}
