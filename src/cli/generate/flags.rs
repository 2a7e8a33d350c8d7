//! The flags for sampling tokens, and those of one kind of model.

use std::path::PathBuf;
use std::str::FromStr;

use crate::config::{Quantize, Sampling};
use crate::model::OpenOptions;
use crate::text::Typed;
use clap::Args;

use crate::cli::mixing::MixFlags;
use crate::cli::target::Force;

/// How tokens are sampled.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingFlags {
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Seed of the samples [default: a new one each time, printed on stderr]
    #[arg(long)]
    pub seed: Option<u64>,
}

/// How the model's own distribution is changed before tokens are sampled from it.
#[derive(Args)]
pub struct LimitFlags {
    /// Divides the logits: below 1 is safer, above 1 more varied, 0 always takes the most probable token
    #[arg(
        long,
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub temperature: f32,
    /// Sample from the K most probable tokens only
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Sample from the most probable tokens that together reach probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Sample from tokens at least P times as probable as the most probable one: many if the model
    /// hesitates, few if it is sure
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
}

impl LimitFlags {
    /// Converts the flags for the library; `seed` is the one given or chosen.
    pub fn config(&self, seed: u64) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            ..Sampling::new(seed)
        }
    }
}

/// The flags for opening the model: threads and precision.
#[derive(Args)]
pub struct OpenFlags {
    /// Threads; 0 is one per core. The output is the same on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Precision of the weights: int8 is faster and takes a quarter of the memory; `textgen eval
    /// --quantize int8` measures what it costs
    #[arg(long, default_value = "none")]
    quantize: Quantize,
}

impl OpenFlags {
    /// Converts the flags for the library.
    pub const fn options(&self) -> OpenOptions {
        OpenOptions {
            quantize: self.quantize,
            threads: self.threads,
        }
    }
}

/// The flags against repetition.
#[derive(Args)]
pub struct LoopFlags {
    /// Avoid loops: while a repeat is longer than 8 tokens, divide the odds of its next token by R for
    /// each token beyond; 1.2 to 2 are useful [default: 1, off]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    /// The number of preceding tokens searched for repeats [default: 256]
    #[arg(long, value_name = "N")]
    pub repetition_window: Option<usize>,
}

impl LoopFlags {
    /// Adds these flags to `sampling`.
    pub fn set(&self, sampling: &mut Sampling) {
        let (penalty, window) = (self.repetition_penalty, self.repetition_window);
        sampling.repetition_penalty = penalty.unwrap_or(sampling.repetition_penalty);
        sampling.repetition_window = window.unwrap_or(sampling.repetition_window);
    }
}

#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
pub struct TextFlags {
    #[command(flatten)]
    pub mix: MixFlags,
    /// Text to continue; `-` reads it from standard input, as it is
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = typed)]
    pub prompt: Option<Typed>,
    /// Leave the prompt out of what is printed
    #[arg(long)]
    pub no_prompt: bool,
    /// End a sample before this text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = typed)]
    pub stop: Option<Typed>,
    /// Answer requests, one JSON object a line of FILE or of standard input (-), each with one line of JSON: its keys
    /// are id, prompt, length, temperature, top_k, top_p, min_p, repetition_penalty, repetition_window, seed, stop,
    /// constrain and on_unknown, by default as these flags say
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["prompt", "fill", "show_probs", "save_state", "count", "decode", "no_prompt"]
    )]
    pub requests: Option<PathBuf>,
    /// Fill the blanks of this text, one character for each `_` (`\_` is an underscore): the best
    /// fillings by --decode beam:K [default: beam:16], or sampled ones by --decode sample
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with_all = ["length", "stop", "constrain", "show_probs", "repetition_penalty", "repetition_window", "mix_ngram"]
    )]
    pub fill: Option<String>,
    #[command(flatten)]
    pub loops: LoopFlags,
    /// Show how each token was sampled: its probability and those of the K most probable ones
    #[arg(
        long,
        value_name = "K",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "5",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub show_probs: Option<u32>,
    /// Save the model's state after the prompt in this file, for --state; with --count 0, nothing else
    #[arg(
        long = "output",
        short = 'o',
        visible_alias = "save-state",
        value_name = "FILE"
    )]
    pub save_state: Option<PathBuf>,
    #[command(flatten)]
    pub force: Force,
    /// Continue from a file of --save-state; --prompt follows it
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct WordFlags {
    /// Widens (above 1) or narrows (below 1) the prior that words are sampled from [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub z_temperature: Option<f32>,
    /// Letters that every word starts with
    #[arg(long, value_name = "LETTERS", value_parser = typed)]
    pub starts_with: Option<Typed>,
    /// Print each word's log-probability in nats before it: log p(word | z)
    #[arg(long, conflicts_with = "json")]
    pub scores: bool,
    /// Never write the same word twice
    #[arg(long)]
    pub unique: bool,
    /// Leave out words that the model was trained on
    #[arg(long)]
    pub novel: bool,
}

/// Interprets the escapes of a text that is typed as the value of a flag.
pub fn typed(text: &str) -> Result<Typed, String> {
    Typed::new(text).map_err(|error| {
        let hint = crate::hints::of_text(&error).unwrap_or_default();
        format!("{error}; {hint}")
    })
}

/// `--length`: the minimum and maximum number of tokens or letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub least: usize,
    pub most: usize,
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least <= most => Ok(Self { least, most }),
            _ => Err("must be a number, or two as in 5-7".to_owned()),
        }
    }
}
