//! Settings whose values have names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::value::Value;

/// An enum whose values have names on the command line and in files.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident($flag:literal) { $($(#[doc = $vdoc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $vdoc])+ #[serde(rename = $text)] $variant),+
        }
        impl $name {
            /// Every value's name, in order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name on the command line and in files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// Its doc comment, on one line.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$variant => concat!($($vdoc),+).trim_ascii()),+ }
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
                    _ => Err(ConfigError::choice($flag, text, Self::NAMES)),
                }
            }
        }
        #[cfg(feature = "cli")]
        impl clap::ValueEnum for $name {
            fn value_variants<'a>() -> &'a [Self] {
                Self::ALL
            }
            fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
                Some(clap::builder::PossibleValue::new(self.name()))
            }
        }
        impl Value for $name {
            const NAMES: &'static [&'static str] = Self::NAMES;
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(ConfigError::reason)
            }
            fn show(&self) -> String {
                self.name().to_owned()
            }
        }
    };
}

/// An enum whose values have names, one of which is followed by a number.
macro_rules! numbered {
    (
        $(#[$doc:meta])* $name:ident($flag:literal, $valid:expr) {
            $($(#[$vdoc:meta])* $variant:ident = $text:literal),+;
            $(#[$ndoc:meta])* $numbered:ident = $prefix:literal + $range:expr $(, or $alias:literal = $number:literal)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            $(#[$ndoc])* $numbered(usize),
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.pad($text),)+
                    Self::$numbered(number) => f.pad(&format!(concat!($prefix, "{}"), number)),
                }
            }
        }
        impl FromStr for $name {
            type Err = ConfigError;
            fn from_str(text: &str) -> Result<Self, ConfigError> {
                let number = text.strip_prefix($prefix).and_then(|number| number.parse().ok());
                match (text, number) {
                    $(($text, _) => Ok(Self::$variant),)+
                    $(($alias, _) => Ok(Self::$numbered($number)),)?
                    (_, Some(number)) if ($range).contains(&number) => Ok(Self::$numbered(number)),
                    _ => Err(ConfigError::choice($flag, text, $valid)),
                }
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self { value.to_string() }
        }
        impl TryFrom<String> for $name {
            type Error = ConfigError;
            fn try_from(text: String) -> Result<Self, ConfigError> { text.parse() }
        }
        impl Value for $name {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(ConfigError::reason)
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    };
}

choices! {
    /// The kind of generator, as model files name it: a char-lstm may have any cell.
    ModelKind("model") {
        /// A character-level recurrent language model.
        CharRnn = "char-lstm",
        /// A variational autoencoder over the letters of a word.
        WordVae = "word-vae",
    }
}
choices! {
    /// Which generator to train, with its cell.
    ModelChoice("model") {
        /// A character-level recurrent language model of LSTM cells.
        CharLstm = "char-lstm",
        /// The same model of GRU cells.
        CharGru = "char-gru",
        /// A variational autoencoder over the letters of a word.
        WordVae = "word-vae",
    }
}
impl ModelChoice {
    /// The generator, whatever its cell.
    pub const fn kind(self) -> ModelKind {
        match self {
            Self::CharLstm | Self::CharGru => ModelKind::CharRnn,
            Self::WordVae => ModelKind::WordVae,
        }
    }

    /// The default cell.
    pub const fn cell(self) -> Cell {
        match self {
            Self::CharLstm => Cell::Lstm,
            Self::CharGru | Self::WordVae => Cell::Gru,
        }
    }
}
impl From<ModelKind> for ModelChoice {
    fn from(kind: ModelKind) -> Self {
        match kind {
            ModelKind::CharRnn => Self::CharLstm,
            ModelKind::WordVae => Self::WordVae,
        }
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
    /// Gates per unit: rows of `weight_hh` = `gates()` × hidden size.
    pub const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
            Self::Rnn => 1,
        }
    }
}
choices! {
    /// The precision of the weights of a network that generates.
    Quantize("quantize") {
        /// 32 bits, as trained.
        None = "none",
        /// 8 bits, with one scale per row: faster, with almost the same text.
        Int8 = "int8",
    }
}
choices! {
    /// The unit of text that one token of a char-lstm is.
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
    /// The normal form of text before it becomes tokens.
    NormalForm("normalize") {
        /// Text is not changed.
        None = "none",
        /// Canonical composition (UAX #15).
        Nfc = "nfc",
        /// Compatibility composition (UAX #15).
        Nfkc = "nfkc",
        /// Transliteration to ASCII.
        Ascii = "ascii",
    }
}
choices! {
    /// The treatment of line ends.
    Newlines("newlines") {
        /// Line ends are not changed.
        Keep = "keep",
        /// CR LF and lone CR become LF.
        Unix = "unix",
    }
}
choices! {
    /// What is removed from a text before it is used.
    Strip("strip") {
        /// Nothing is removed.
        None = "none",
        /// Project Gutenberg's header and licence are removed.
        Gutenberg = "gutenberg",
    }
}
choices! {
    /// How words are found in a text (word-vae).
    WordSplit("words") {
        /// Running text: split on white space, punctuation stripped from the ends.
        Text = "text",
        /// One word per line.
        Lines = "lines",
    }
}
choices! {
    /// How the learning rate changes during training, after the warm-up.
    Schedule("schedule") {
        /// stays constant
        Constant = "constant",
        /// falls along half a cosine to --final-lr times --lr
        Cosine = "cosine",
        /// is multiplied by --decay after every tenth of the training
        Step = "step",
        /// is multiplied by --decay after an evaluation that did not improve
        Plateau = "plateau",
    }
}
choices! {
    /// The purpose of a word-vae (word-vae).
    Goal("goal") {
        /// probable words, with a z that says something about each (the default)
        Density = "density",
        /// a z that carries 8 nats per word: enough to steer by, smooth enough to traverse
        Explore = "explore",
        /// words that can be decoded from z
        Autoencode = "autoencode",
    }
}
choices! {
    /// How the weight of the divergence rises (word-vae).
    KlSchedule("kl-schedule") {
        /// in a straight line
        Linear = "linear",
        /// along a logistic curve (Bowman et al. 2016)
        Sigmoid = "sigmoid",
        /// in a straight line, from 0 again in each of 4 cycles (Fu et al. 2019)
        Cyclical = "cyclical",
    }
}
choices! {
    /// Where z enters the decoder (word-vae).
    ZPlacement("z") {
        /// z sets the first state and is an input with every letter.
        Both = "both",
        /// z sets the first state.
        Start = "start",
        /// z is an input with every letter; the first state is zero.
        Steps = "steps",
    }
}
#[expect(
    clippy::derivable_impls,
    reason = "a row of `choices!` has documentation only"
)]
impl Default for ZPlacement {
    fn default() -> Self {
        Self::Both
    }
}
impl ZPlacement {
    /// Whether z sets the decoder's first state.
    pub const fn at_start(self) -> bool {
        matches!(self, Self::Both | Self::Start)
    }

    /// Whether z is an input with every letter.
    pub const fn at_steps(self) -> bool {
        matches!(self, Self::Both | Self::Steps)
    }

    /// Whether this is the default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
choices! {
    /// The optimizer, in PyTorch's formulation.
    OptimizerKind("optimizer") {
        /// Adam (Kingma & Ba 2015); weight decay as an L2 term.
        Adam = "adam",
        /// Adam with the maximum of past second moments (Reddi et al. 2018).
        Amsgrad = "amsgrad",
        /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
        Adamw = "adamw",
    }
}
choices! {
    /// The precision of products in training. Weights, loss, optimizer and, on the CPU, evaluation are f32.
    Precision("precision") {
        /// f32 in all products.
        F32 = "f32",
        /// Matrix products with 10 bits of mantissa (NVIDIA's TF32), on a CUDA device.
        Tf32 = "tf32",
        /// bfloat16 with f32 sums: the recurrent layers and the head on a CUDA device, all products on a CPU
        /// with AVX512_BF16.
        Bf16 = "bf16",
    }
}
choices! {
    /// The positions of a sequence that the loss counts (char-lstm).
    LossOver("loss") {
        /// All positions of the sequence.
        All = "all",
        /// The last position only, as in the original notebook.
        Last = "last",
    }
}
choices! {
    /// A whole set of settings that reproduces an original system.
    Recipe("recipe") {
        /// No recipe: textgen's own defaults.
        Default = "default",
        /// The char-RNN notebook of 2020, exactly (char-lstm).
        Notebook = "notebook",
        /// The word-VAE article of 2018, exactly, including its wrong signs (word-vae).
        Article = "article",
    }
}
choices! {
    /// The treatment of characters that the model does not know.
    OnUnknown("on-unknown") {
        /// Reports an error that names the character and the nearest known one.
        Error = "error",
        /// Leaves the character out.
        Skip = "skip",
        /// Replaces the character by the nearest known one.
        Nearest = "nearest",
    }
}
numbered! {
    /// How a text is split.
    #[derive(Default)]
    SplitKind("split", &["contiguous", "window:N (N at least 1)", "interleaved"]) {
        /// Training first, then validation, then test; evaluation carries the state through.
        #[default]
        Contiguous = "contiguous",
        /// The last part of each of 50 equal streams.
        Interleaved = "interleaved";
        /// The same parts as `contiguous`; evaluation cuts them into windows of N tokens with a zero state each.
        Window = "window:" + 1..
    }
}
numbered! {
    /// The device that training runs on.
    Device("device", &["auto", "cpu", "cuda", "cuda:N"]) {
        /// The first CUDA device if there is one, else the CPU.
        Auto = "auto",
        /// The CPU, even if there is a CUDA device.
        Cpu = "cpu";
        /// A CUDA device by its number.
        Cuda = "cuda:" + 0.., or "cuda" = 0
    }
}
numbered! {
    /// How letters are chosen by their probabilities.
    Decoding("decode", &["greedy", "sample", "beam:K (K 1 to 4096)"]) {
        /// Always the most probable letter.
        Greedy = "greedy",
        /// Letters are sampled from their distribution.
        Sample = "sample";
        /// The most probable word that a search over the K best prefixes finds. The limit on K bounds the
        /// memory; a wider beam gains nothing.
        Beam = "beam:" + 1..=4096
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_number_is_read_as_it_is_written() {
        fn check<T: FromStr<Err = ConfigError> + fmt::Display>(valid: &[&str], wrong: &[&str]) {
            for text in valid {
                assert_eq!(text.parse::<T>().expect("valid").to_string(), *text);
            }
            for text in wrong {
                let error = text.parse::<T>().err().expect(text).to_string();
                assert!(error.contains(&format!(" {text}: not one of ")), "{error}");
            }
        }
        let wrong = ["window", "window:0", "window:x", "Contiguous"];
        check::<SplitKind>(&["contiguous", "window:256", "interleaved"], &wrong);
        check::<Device>(&["auto", "cpu", "cuda:1"], &["gpu", "cuda:", "cuda:-1"]);
        let wrong = [
            "",
            "beam",
            "beam:",
            "beam:0",
            "beam:-1",
            "beam:9999",
            "Greedy",
        ];
        check::<Decoding>(&["greedy", "sample", "beam:7"], &wrong);
        assert_eq!("cuda".parse::<Device>().expect("valid"), Device::Cuda(0));
    }
}
