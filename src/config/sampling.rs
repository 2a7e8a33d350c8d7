//! The options of sampling.

use super::{ConfigError, OnUnknown};

/// The options of writing a text or a word: how tokens are sampled, and the constraints on them.
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
    /// Divides the logits: below 1 is safer, above 1 more varied; 0 always takes the most probable token.
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
    /// The number of preceding tokens searched for repeats, at most [`WIDEST_WINDOW`](Self::WIDEST_WINDOW).
    pub repetition_window: usize,
    /// A text ends before this one.
    pub stop: Option<String>,
    /// Whether the stop text is part of the text.
    pub include_stop: bool,
    /// A regular expression, in the syntax of the crate regex, that the whole text or word must match.
    pub constrain: Option<String>,
    /// How to handle characters of a prompt that the model does not know.
    pub on_unknown: OnUnknown,
    /// Whether to compute the log-probability of texts, which takes as long as sampling itself.
    pub log_prob: bool,
    /// If above 0, samples include the probability of each token and of this many of the most probable
    /// tokens.
    pub probabilities: usize,
}

impl Sampling {
    /// The default window, a few lines: loops are rarely longer.
    pub(crate) const WINDOW: usize = 256;
    /// The largest window: the number of tokens in a saved state.
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

    /// These options with temperature 0: always the most probable token.
    #[must_use]
    pub fn greedy(&self) -> Self {
        Self {
            temperature: 0.0,
            ..self.clone()
        }
    }

    /// Returns an error if an option is out of range.
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
