//! `textgen generate`: text or words from a trained model, natively.

mod text;
mod words;

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use textgen::config::{Decoding, ModelKind, OnUnknown, Quantize, SamplingConfig};
use textgen::native::weights::{Weights, quantize};
use textgen::run::{ModelFile, RunError, Runs};

use super::choice::choice;
use super::chosen::ChosenModel;
use super::error::CliError;
use super::machine::{check_simd, threads};
use crate::cli::output::note;

/// Flags of `generate`.
#[derive(Args)]
#[command(after_help = "\
A word is drawn in two steps: z from the prior, then letters given z. --starts-with gives the first
letters and lets the model go on. --length, --unique and --novel change no word: words that do not
fit are left out and others drawn, so what is shown is what the model writes of that kind.

Examples:
  textgen generate --temperature 0.5 --prompt 'The giant' --stop '.'
  textgen generate --count 10 --unique --novel
  textgen generate --starts-with ann --length 5-7 --scores
  textgen generate --decode beam:8 --unique")]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ChosenModel,
    /// How many samples [default: 1 text, 20 words]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Symbols of a text [default: 500], or letters of a word: N, or MIN-MAX (word-vae only)
    #[arg(long, value_name = "N")]
    length: Option<Length>,
    /// Divides the logits: below 1 safer, above 1 wilder, 0 always the most probable
    #[arg(
        long,
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Draw from the K most probable symbols only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the most probable symbols that together reach probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Draw from symbols at least P times as probable as the most probable one: many where the model
    /// hesitates, few where it is sure
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Seed of the draws [default: a new one each time, said on stderr]
    #[arg(long)]
    seed: Option<u64>,
    /// Threads; 0 is all cores. The same text on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Bits of the weights: int8 is faster and takes a quarter of the memory; `textgen eval
    /// --quantize int8` says what it costs
    #[arg(long, value_parser = choice::<Quantize>(Quantize::NAMES), default_value = "none")]
    quantize: Quantize,
    /// What becomes of characters of --prompt or --starts-with that the model does not know
    /// [default: error]
    #[arg(long, value_parser = choice::<OnUnknown>(OnUnknown::NAMES))]
    on_unknown: Option<OnUnknown>,
    /// Print one JSON object a line, with each sample's log-probability
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    text: TextFlags,
    #[command(flatten)]
    words: WordFlags,
}

#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
struct TextFlags {
    /// Text to go on from; `-` reads it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// End a sample before this text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "word-vae")]
struct WordFlags {
    /// Widens (above 1) or narrows (below 1) the prior that words are drawn from [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    z_temperature: Option<f32>,
    /// Letters that every word begins with
    #[arg(long, value_name = "LETTERS")]
    starts_with: Option<String>,
    /// How letters are chosen: sample (drawn), greedy (the most probable each time), or beam:K (the
    /// most probable word that K beginnings lead to) [default: sample]
    #[arg(long, value_name = "HOW")]
    decode: Option<Decoding>,
    /// Print beside each word its log-probability in nats: log p(word | z)
    #[arg(long, conflicts_with = "json")]
    scores: bool,
    /// No word twice
    #[arg(long)]
    unique: bool,
    /// No word that the model was trained on
    #[arg(long)]
    novel: bool,
}

/// `--length`: how many symbols or letters, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length {
    least: usize,
    most: usize,
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

/// One line of `--json`.
#[derive(Serialize)]
struct Sample<'a> {
    index: usize,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    text: &'a str,
    symbols: usize,
    log_prob_nats: Option<f64>,
}

/// Generates with the model chosen.
pub fn run(args: &GenerateArgs, runs: &Runs) -> Result<()> {
    let sampling = SamplingConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        seed: args.seed.unwrap_or_else(new_seed),
    };
    sampling.validate()?;
    check_simd()?;
    let (file, _) = args.model.open(runs)?;
    if args.seed.is_none() {
        note!("seed: {}", sampling.seed);
    }
    match file.header.network.model {
        ModelKind::CharLstm => text::texts(args, file, &sampling),
        ModelKind::WordVae => words::words(args, file, &sampling),
    }
}

/// A seed short enough to be typed again.
pub fn new_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}

fn refuse(given: &[(&str, bool)], model: &str, other: &str) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            let message = format!("--{flag} belongs to {other}, but this model is a {model}");
            Err(CliError::misuse(
                message,
                "leave it out, or choose another model with --run or --model-file",
            )
            .into())
        }
        None => Ok(()),
    }
}

/// The weights in as many bits as asked.
fn weights(file: &ModelFile, bits: Quantize) -> Result<Weights<'_>, RunError> {
    let weights = file.weights()?;
    Ok(match bits {
        Quantize::None => weights,
        Quantize::Int8 => quantize(&weights),
    })
}

/// The next of `count` samples that nobody has begun.
fn take(next: &AtomicUsize, count: usize) -> Option<usize> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    (index < count).then_some(index)
}

/// Samples that a thread writes in lock-step: more would gain little, and begin later.
const ROWS: usize = 48;

/// Rows for each of `threads` threads that share `samples` samples.
fn rows(samples: usize, threads: usize) -> usize {
    samples.div_ceil(threads).clamp(1, ROWS)
}
