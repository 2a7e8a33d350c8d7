//! `textgen generate`: text or words from a trained model, natively.

mod flags;
mod requests;
pub mod shown;
pub mod text;
mod words;

use crate::config::{Decoding, ModelKind, OnUnknown, Sampling};
use crate::model::Step;
use crate::run::Runs;
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use self::flags::{Length, TextFlags, WordFlags};
pub use self::flags::{LimitFlags, LoopFlags, OpenFlags, SamplingFlags, typed};
use super::chosen::ChosenModel;
use super::error::CliError;
use super::given::Given;
use super::machine::check_simd;
use crate::cli::output::note;

#[derive(Args)]
#[command(after_help = "\
Texts. Tokens are sampled from the model's own distribution, changed by the flags under Sampling in
the order shown. --decode beam:K searches for the most probable text instead and samples nothing;
with --count N it shows the N best, compared by their mean log-probability per token. Under
--constrain a text continues up to --length if the expression allows it, so limit the length of
its parts. --show-probs prints one line per token: P is the token's probability under the model, AS
the probability that it was sampled with. Log-probabilities are always the model's own.

--mix-ngram samples from p = (1 - w) network + w n-gram, where the n-gram model is that of the training
text, and the weight w is the best on its validation part: more of the text's own phrases.

In --prompt, --stop, --fill and --starts-with, \\n is the end of a line, \\t a tab, \\u{e9} the
character of that code point, and \\\\ a backslash. A prompt from standard input is taken as it is.

A model that was trained with --documents writes whole documents: each begins where one of the
training text does, or with --prompt, and ends by itself, at the latest after --length tokens.
--count 10 writes ten. Lines that are documents are listed as lines.

--requests keeps the model loaded. An answer has text, tokens, log_prob_nats, seed, and ended:
length, stop, constraint or document. A line that cannot be answered has error and hint instead, and
the next is read. Blank lines are passed over.

Words. A word is sampled in two steps: z from the prior, then letters given z. --starts-with fixes
the first letters. --length, --unique, --novel and --constrain change no word: words that do not
meet them are left out, so you see what the model writes of that kind. If too few samples match
--constrain, decoding is restricted to letters with which a word can still match, and textgen
reports it; with --decode greedy and beam:K it is always restricted.

Examples:
  textgen generate --temperature 0.5 --prompt 'The giant' --stop '.'
  textgen generate --min-p 0.05 --temperature 1.3 --length 2000
  textgen generate --temperature 0.3 --repetition-penalty 1.5
  textgen generate --decode beam:8 --prompt 'Once upon' --length 60
  textgen generate --constrain '[A-Z][a-z]{2,8}( [a-z]{1,8}){3,6}[.!]' --count 5
  textgen generate --fill 'the q___n of br__n' --count 3
  textgen generate --show-probs --prompt 'The ' --length 20
  textgen generate --mix-ngram --prompt 'Once upon a time'
  textgen generate --prompt - --save-state book.state --count 0 < book.txt
  echo '{\"prompt\":\"The giant\",\"seed\":1,\"stop\":\".\"}' | textgen generate --requests -
  textgen generate --state book.state --prompt 'The next day' --count 3
  textgen generate --count 10 --unique --novel
  textgen generate --starts-with ann --length 5-7 --scores
  textgen generate --constrain '[^aeiou]*[aeiou]{3}.*' --unique
  textgen generate --decode beam:8 --unique")]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ChosenModel,
    /// How many samples [default: 1 text, 20 words]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Tokens of a text [default: 500, or 10000 of a document, which ends by itself], or letters of a word: N, or
    /// MIN-MAX (word-vae only)
    #[arg(long, value_name = "N")]
    length: Option<Length>,
    /// How tokens are chosen: sample, greedy (always the most probable), or beam:K (the most probable
    /// text or word that a search over K prefixes finds) [default: sample]
    #[arg(long, value_name = "HOW")]
    decode: Option<Decoding>,
    #[command(flatten)]
    open: OpenFlags,
    /// How to handle characters of --prompt, --fill or --starts-with that the model does not know
    /// [default: error]
    #[arg(long)]
    on_unknown: Option<OnUnknown>,
    /// Print one JSON object per line, with each sample's log-probability
    #[arg(long)]
    json: bool,
    /// Write only texts within --length, or words, that match this regular expression as a whole
    #[arg(
        long,
        value_name = "REGEX",
        allow_hyphen_values = true,
        conflicts_with_all = ["stop", "starts_with"]
    )]
    constrain: Option<String>,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    text: TextFlags,
    #[command(flatten)]
    words: WordFlags,
}

/// One line of `--json`.
#[derive(Serialize)]
pub struct Sample<'a> {
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<&'a str>,
    pub text: &'a str,
    pub tokens: usize,
    pub log_prob_nats: Option<f64>,
    /// Of a text that was sampled, or of a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<crate::model::Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probs: Option<&'a Vec<Step>>,
}

/// Generates with the model chosen.
pub fn run(args: &GenerateArgs, runs: &Runs, given: &Given) -> Result<()> {
    let sampling = args
        .sampling
        .limits
        .config(args.sampling.seed.unwrap_or_else(new_seed));
    sampling.validate()?;
    check_simd()?;
    let (file, run) = args.model.open_for(runs, given.kind())?;
    let kind = file.header.network.model();
    given.check_kind(kind)?;
    if kind == ModelKind::WordVae {
        words::words(args, given, &file, sampling)
    } else {
        text::texts(args, given, (file, run), sampling)
    }
}

/// Prints the seed if none was given.
fn note_seed(args: &GenerateArgs, sampling: &Sampling) {
    if args.sampling.seed.is_none() {
        note!("seed: {}", sampling.seed);
    }
}

/// How tokens are chosen, by default `usual`; greedy is sampling at temperature 0. Flags for sampling
/// are refused with `hint` if nothing is sampled.
fn decoding(
    args: &GenerateArgs,
    given: &Given,
    sampling: Sampling,
    usual: Decoding,
    hint: &str,
) -> Result<(Decoding, Sampling)> {
    let decoding = args.decode.unwrap_or(usual);
    if decoding == Decoding::Sample {
        return Ok((decoding, sampling));
    }
    // A greedy text is written token by token, so a penalty and the table apply to it.
    let single = ["show-probs", "repetition-penalty"];
    let single = single.iter().filter(|_| decoding != Decoding::Greedy);
    let sampled = ["temperature", "top-k", "top-p", "min-p"]
        .iter()
        .chain(single);
    if let Some(flag) = sampled.copied().find(|flag| given.flag(flag)) {
        let message = format!("--{flag} belongs to --decode sample, not {decoding}");
        return Err(CliError::misuse(message, hint).into());
    }
    Ok((decoding, sampling.greedy()))
}

/// A random seed that is short enough to type.
pub fn new_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}
