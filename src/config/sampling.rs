//! How tokens are chosen.

use super::{ConfigError, OnUnknown};

/// How a text or a word is written: how its tokens are sampled, and what else it obeys.
///
/// ```
/// let sampling = textgen::Sampling {
///     temperature: 0.7,
///     min_p: Some(0.05),
///     stop: Some("\n".to_owned()),
///     ..textgen::Sampling::new(1)
/// };
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 safer, above 1 more varied; 0 always takes the most probable token.
    pub temperature: f32,
    /// Samples from the k most probable tokens only.
    pub top_k: Option<usize>,
    /// Samples from the most probable tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Samples from tokens at least this many times as probable as the most probable one.
    pub min_p: Option<f32>,
    /// Sample i of seed s has the ChaCha8 stream (s, i).
    pub seed: u64,
    /// Divides the odds of a token, once for every token by which it would prolong a repeat of more
    /// than [`FREE`](crate::generate::repetition::FREE) tokens; 1 is no penalty.
    pub repetition_penalty: f32,
    /// Tokens back that repeats are looked for, at most [`WIDEST_WINDOW`](Self::WIDEST_WINDOW).
    pub repetition_window: usize,
    /// A text ends before this one.
    pub stop: Option<String>,
    /// Whether the stop text is part of the text.
    pub include_stop: bool,
    /// What a text or word must match from first to last: a regular expression in the syntax of the
    /// crate regex.
    pub constrain: Option<String>,
    /// What becomes of characters of a prompt that the model does not know.
    pub on_unknown: OnUnknown,
    /// Whether texts come with their log-probability, which costs as much time as sampling itself.
    pub log_prob: bool,
    /// If above 0, texts come with the probability of each of their tokens and of this many of the most
    /// probable ones.
    pub probabilities: usize,
}

impl Sampling {
    /// A few lines, as loops are seldom longer.
    pub(crate) const WINDOW: usize = 256;
    /// As many tokens as a saved state holds.
    pub const WIDEST_WINDOW: usize = 4096;

    /// The model's own distribution, without limits.
    pub const fn new(seed: u64) -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            seed,
            repetition_penalty: 1.0,
            repetition_window: Self::WINDOW,
            stop: None,
            include_stop: false,
            constrain: None,
            on_unknown: OnUnknown::Error,
            log_prob: true,
            probabilities: 0,
        }
    }

    /// The same, but always the most probable token.
    #[must_use]
    pub fn greedy(&self) -> Self {
        Self {
            temperature: 0.0,
            ..self.clone()
        }
    }

    /// Checks the ranges.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |valid: bool, flag, value: String, must| {
            let error = || ConfigError::range(flag, value, must);
            valid.then_some(()).ok_or_else(error)
        };
        let (temperature, penalty) = (self.temperature, self.repetition_penalty);
        within(
            temperature.is_finite() && temperature >= 0.0,
            "temperature",
            temperature.to_string(),
            "must be a number of at least 0 (0 is argmax, 1 the model's own distribution)",
        )?;
        let k = self.top_k.unwrap_or(1);
        within(k > 0, "top-k", k.to_string(), "must be at least 1")?;
        let p = self.top_p.unwrap_or(1.0);
        let must = "must be above 0 and at most 1";
        within(p > 0.0 && p <= 1.0, "top-p", p.to_string(), must)?;
        let p = self.min_p.unwrap_or(0.0);
        let must = "must be between 0 (no limit) and 1 (the most probable token alone)";
        within((0.0..=1.0).contains(&p), "min-p", p.to_string(), must)?;
        let must = "must be at least 1 (1 is no penalty)";
        let valid = penalty.is_finite() && penalty >= 1.0;
        within(valid, "repetition-penalty", penalty.to_string(), must)?;
        let window = self.repetition_window;
        let valid = (1..=Self::WIDEST_WINDOW).contains(&window);
        let must = "must be 1 to 4096 characters";
        within(valid, "repetition-window", window.to_string(), must)
    }
}
