//! Errors of opening or using a model.

use std::path::PathBuf;

use thiserror::Error;

use crate::compress::CompressError;
use crate::config::ConfigError;
use crate::evaluate::EvaluateError;
use crate::generate::constraint::ConstraintError;
use crate::models::weights::WeightError;
use crate::run::RunError;
use crate::text::{TextError, Typed};

/// Why a model cannot be opened, or cannot do what was asked of it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ModelError {
    #[error(transparent)]
    File(#[from] RunError),
    /// The weights do not make a network.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// An option is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A text or a word has a character that the model does not know.
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    #[error("the model is a {found}, not a {wanted}")]
    Kind {
        found: &'static str,
        wanted: &'static str,
    },
    /// An option that does not apply to this model.
    #[error("--{option} does not apply to {model}")]
    NotApplicable {
        option: &'static str,
        model: &'static str,
    },
    #[error("constraint {regex}")]
    Constraint {
        regex: String,
        source: ConstraintError,
    },
    #[error(
        "a length of {length} is too small for the constraint {regex}: the shortest text that matches has {shortest} {}",
        noun(*shortest, "token")
    )]
    ConstraintLength {
        regex: String,
        length: usize,
        shortest: usize,
    },
    #[error("the prefix has {length} letters, but a word may begin with {most} at the most")]
    LongPrefix { length: usize, most: usize },
    #[error("a beam of {width} has {width} best {} at the most, not {count}", noun(*width, "text"))]
    BeamWidth { width: usize, count: usize },
    #[error("{}", if text.is_empty() { "the text is empty".to_owned() } else { format!("{text}: it has no blank") })]
    NoBlank { text: String },
    /// A stop text that no text can contain.
    #[error("the stop text is empty")]
    EmptyStop,
    #[error("the stop text can never be written: {unknown}")]
    ImpossibleStop { unknown: TextError },
    #[error("at temperature 0 nothing is sampled")]
    NothingSampled,
    #[error("{path}: the state of another model, {model}, or of other weights than {this} now")]
    OtherPromptState {
        path: PathBuf,
        model: String,
        this: PathBuf,
    },
    #[error("the snapshot is another model's")]
    OtherSnapshot,
    #[error(transparent)]
    Compress(#[from] CompressError),
    #[error("{word:?} is not a word")]
    NoWord { word: String },
    #[error("it is {model}, so there is no latent space of words")]
    NoLatentSpace { model: &'static str },
    #[error("it is the article's network, whose words have no probability")]
    NoProbability,
    #[error("{what} is not a number: the training of this model went wrong")]
    NotANumber { what: String },
    #[error("a latent vector of length {found}, but the model's have {expected}")]
    LatentSize { found: usize, expected: usize },
    #[error("only {found} such {} in {tried} {}", noun(*found, "word"), noun(*tried, "sample"))]
    TooFewWords {
        found: usize,
        tried: usize,
        /// The usual lengths of the model's words, if the length asked for rules out most of them.
        usual_lengths: Option<UsualLengths>,
    },
}

/// A noun that agrees with its number.
fn noun(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{noun}{plural}")
}

impl ModelError {
    /// The error, with the position of an unknown character counted in what was typed.
    #[must_use]
    pub(crate) fn located(self, typed: &Typed) -> Self {
        match self {
            Self::Text(error) => Self::Text(typed.locate(error)),
            error => error,
        }
    }
}

/// The lengths of a model's words, in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsualLengths {
    /// The lower end of the middle nine tenths.
    pub least: usize,
    /// The upper end of the middle nine tenths.
    pub most: usize,
    /// The longest of the sampled words.
    pub longest: usize,
}
