//! Every setting of a run: its type, its default, its documentation and its checks.
//!
//! Three layers, in order of force: flags, a `--config` file, defaults. Flags and files arrive as
//! [`Settings`], in which every field is optional and every key is the flag's name; [`TrainConfig`]
//! is what the program uses, complete and checked. A run's `config.toml` is the resolved settings,
//! so it is itself a valid `--config` file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod checks;
mod decoding;
mod defaults;
mod fit;
mod network;
mod sampling;
mod settings;
mod split;
mod train;

pub use decoding::Decoding;
pub use defaults::{DEFAULT_BATCH, DEFAULT_SEQ, DEFAULT_VALID};
pub use fit::{Fit, TimeBudget};
pub use network::{LatentConfig, NetworkConfig, NetworkKind};
pub use sampling::Sampling;
pub use settings::Settings;
pub use split::SplitKind;
pub use train::{Budget, Device, TrainConfig};

/// The smallest and the largest `format` of `config.toml` that this version reads; it writes the largest.
pub const CONFIG_FORMATS: std::ops::RangeInclusive<u32> = 1..=1;

/// What is wrong with a setting.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A value outside its range.
    #[error("--{flag} {value}: {must}")]
    Range {
        /// The flag's name, without dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// A word that is none of the valid ones.
    #[error("--{flag} {value}: not one of {valid}")]
    Choice {
        /// The flag's name, without dashes.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// The valid values, separated by commas.
        valid: String,
    },
    /// Two settings that exclude one another.
    #[error("--{0} and --{1} exclude each other: give one of them")]
    Conflict(&'static str, &'static str),
    /// A settings file that cannot be read.
    #[error("{path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A settings file that is no valid TOML, or has an unknown key.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: String,
        /// What the parser said, on one line.
        message: String,
    },
    /// A settings file of a format that this version does not read.
    #[error(
        "{path}: format {found}, but this textgen reads up to format {newest}: use a newer textgen"
    )]
    Format {
        /// The file.
        path: String,
        /// The format found.
        found: u32,
        /// The newest format known.
        newest: u32,
    },
}

/// An enum whose values have names on the command line.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident($flag:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }
        impl $name {
            /// Every value's name, in order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            /// The name on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.name()) }
        }
        impl FromStr for $name {
            type Err = ConfigError;
            fn from_str(text: &str) -> Result<Self, ConfigError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ConfigError::Choice { flag: $flag, value: text.to_owned(), valid: Self::NAMES.join(", ") }),
                }
            }
        }
    };
}

choices! {
    /// Which generator.
    ModelKind("model") {
        /// A character-level recurrent language model.
        CharRnn = "char-lstm",
        /// A variational autoencoder over the letters of a word.
        WordVae = "word-vae",
    }
}
choices! {
    /// The recurrent cell, in PyTorch's formulation.
    Cell("cell") {
        /// Long short-term memory; gates i, f, g, o.
        Lstm = "lstm",
        /// Gated recurrent unit; gates r, z, n, the reset applied after the recurrent product.
        Gru = "gru",
        /// The plain tanh cell.
        Rnn = "rnn",
    }
}
impl Cell {
    /// Gates a unit: rows of `weight_hh` = `gates()` × hidden size.
    pub const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn => 1,
        }
    }
}
choices! {
    /// How many bits the weights of a network that generates have.
    Quantize("quantize") {
        /// 32: as trained.
        None = "none",
        /// 8, with one scale a row: faster, and almost the same text.
        Int8 = "int8",
    }
}
choices! {
    /// What one token of a char-lstm is.
    Unit("unit") {
        /// A Unicode scalar value.
        Char = "char",
        /// An extended grapheme cluster (UAX #29).
        Grapheme = "grapheme",
        /// A byte of UTF-8.
        Byte = "byte",
    }
}
choices! {
    /// The normal form that text is brought to first.
    NormalForm("normalize") {
        /// As it stands.
        None = "none",
        /// Canonical composition (UAX #15).
        Nfc = "nfc",
        /// Compatibility composition (UAX #15).
        Nfkc = "nfkc",
        /// Transliterated to ASCII.
        Ascii = "ascii",
    }
}
choices! {
    /// What becomes of line ends.
    Newlines("newlines") {
        /// As they stand.
        Keep = "keep",
        /// CR LF and lone CR become LF.
        Unix = "unix",
    }
}
choices! {
    /// Where words come from (word-vae).
    WordSplit("words") {
        /// Running text: split on white space, punctuation stripped from the ends.
        Text = "text",
        /// One word a line.
        Lines = "lines",
    }
}
choices! {
    /// How the learning rate moves over the training, after the warm-up.
    Schedule("schedule") {
        /// It stays.
        Constant = "constant",
        /// Half a cosine down to `final-lr` times the start.
        Cosine = "cosine",
        /// Times `decay` after every tenth of the training.
        Step = "step",
        /// Times `decay` after an evaluation that did not improve.
        Plateau = "plateau",
    }
}
choices! {
    /// What a word-vae is for (word-vae).
    Goal("goal") {
        /// Words as probable as can be, with a z that says something of each.
        Density = "density",
        /// A z that carries 8 nats a word: enough to steer by, smooth enough to walk in.
        Explore = "explore",
        /// A z that a word can be read back from.
        Autoencode = "autoencode",
    }
}
choices! {
    /// How the weight of the divergence rises (word-vae).
    KlSchedule("kl-schedule") {
        /// In a straight line.
        Linear = "linear",
        /// Along a logistic curve (Bowman et al. 2016).
        Sigmoid = "sigmoid",
        /// In a straight line, from 0 again in each of 4 cycles (Fu et al. 2019).
        Cyclical = "cyclical",
    }
}
choices! {
    /// Where z enters the decoder (word-vae).
    #[derive(Default)]
    ZPlacement("z") {
        /// The first state is made of it, and it stands beside every letter.
        #[default]
        Both = "both",
        /// The first state is made of it.
        Start = "start",
        /// It stands beside every letter; the first state is zero.
        Steps = "steps",
    }
}
impl ZPlacement {
    /// Whether the decoder's first state is made of z.
    pub const fn at_start(self) -> bool {
        matches!(self, Self::Both | Self::Start)
    }

    /// Whether z stands beside every letter.
    pub const fn at_steps(self) -> bool {
        matches!(self, Self::Both | Self::Steps)
    }

    /// Whether it is where z enters unless told otherwise.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
choices! {
    /// The optimizer.
    OptimizerKind("optimizer") {
        /// Adam (Kingma & Ba 2015); weight decay as an L2 term.
        Adam = "adam",
        /// Adam with the largest second moment kept (Reddi et al. 2018).
        Amsgrad = "amsgrad",
        /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
        Adamw = "adamw",
    }
}
choices! {
    /// What numbers training computes with on a CUDA device. Weights, loss and optimizer are f32.
    Precision("precision") {
        /// 32 bits everywhere.
        F32 = "f32",
        /// Products of matrices with 10 bits of mantissa (NVIDIA's TF32).
        Tf32 = "tf32",
        /// The recurrent layers and the head in bfloat16.
        Bf16 = "bf16",
    }
}
choices! {
    /// Over which positions of a sequence the loss is taken (char-lstm).
    LossOver("loss") {
        /// All of them.
        All = "all",
        /// The last only, as in the original notebook.
        Last = "last",
    }
}
choices! {
    /// A whole set of settings that reproduces an original system.
    Recipe("recipe") {
        /// textgen's own defaults.
        Default = "default",
        /// The char-RNN notebook of 2020, to the letter (char-lstm).
        Notebook = "notebook",
        /// The word-VAE article of 2018, to the letter, wrong signs included (word-vae).
        Article = "article",
    }
}
choices! {
    /// What becomes of a prompt's characters that the model does not know.
    OnUnknown("on-unknown") {
        /// An error that names the character and the nearest known one.
        Error = "error",
        /// Left out.
        Skip = "skip",
        /// Replaced by the nearest known one.
        Nearest = "nearest",
    }
}

/// How text becomes tokens. It is recorded in the model, and prompts go through it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TextConfig {
    /// What one token is.
    pub unit: Unit,
    /// Normal form.
    pub normalize: NormalForm,
    /// Whether letters are lowered.
    pub lowercase: bool,
    /// `utf-8`, `lossy`, or an encoding label such as `latin-1` or `windows-1252`.
    pub encoding: String,
    /// What becomes of line ends.
    pub newlines: Newlines,
    /// Tokens rarer than this are cut.
    pub min_freq: u64,
    /// At most so many tokens are kept.
    pub max_vocab: usize,
    /// Where words come from (word-vae).
    pub words: WordSplit,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            unit: Unit::Char,
            normalize: NormalForm::Nfc,
            lowercase: false,
            encoding: "utf-8".to_owned(),
            newlines: Newlines::Keep,
            min_freq: 1,
            max_vocab: 400,
            words: WordSplit::Text,
        }
    }
}
