//! The flags of `eval`.

use std::ops::Range;

use crate::config::SplitKind;
use crate::evaluate::Reading;
use crate::evaluate::samples::WordSampling;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::chosen::ChosenWithText;
use crate::cli::generate::LimitFlags;
use crate::cli::reading::ReadingFlags;

#[derive(Args)]
#[command(after_help = "\
The run's best model reads the held-out part of the run's own corpus, and the figure is the mean
cost of what it has to predict: -ln p in nats, or -log2 p in bits. Lower is better; a model that
knows only how many tokens there are costs ln(tokens) nats per character.

A text is split as the run says: under `contiguous` the state is carried through the part, under
`window:N` it is reset every N characters, under `interleaved` in each of 50 streams. The first
character of each is read and not predicted. A figure means something only with its split and
corpus. Bits per byte are of the text in the run's normal form, as UTF-8.

A long segment is cut into sections of 1,000 to 4,000 characters, which are read on all cores, each
after 256 characters that warm the state. The mean differs by less than 0.0001 nats from that of
--exact, which reads every segment on one core from start to end.

--protocol reads the text by another split, to compare a model with figures stated elsewhere:
nanoGPT's are `--protocol window:256` (its block size), char-rnn's `--protocol interleaved
--valid 0.05`, those of papers on enwik8 `--protocol contiguous --valid 0.05 --test 0.05 --part
test`. If part of such a text was trained on, a warning says how much, and the figure is not
a held-out one.

A CORPUS is any other text, read whole unless --part says otherwise, with the model's own
normal form, unit and vocabulary. Characters that the model does not know are counted and
reported. A model trained with <unk> predicts <unk> in their place. Any other model gives them no
probability, so they are left out: neither read nor predicted, and not in the mean.

Two simpler models of the run's training text are shown for comparison: the frequencies of
characters (unigram), and the n-gram model, of the orders up to 16, that is best on the validation
part. Both have modified Kneser-Ney smoothing (Chen & Goodman 1999), down to the uniform
distribution. What the network saves compared with them is its worth. A model file has no training
text: --corpus names the one that it was trained on.

--mix-ngram adds the n-gram model to the network: p = (1 - w) network + w n-gram. The weight w is
fitted on the validation part; if that is what is evaluated, on its first half, and the figure is
of the second. It helps most where the text is small or the network was trained for a short time.

--dynamic LR evaluates once more while the model keeps learning (Krause et al. 2018): it predicts
20 characters, makes one step of gradient descent on their mean loss, and continues.
Names and phrases that a text repeats become cheaper: a lot in a text unlike the training text,
hardly in more of the same. Every character is predicted before the model
learns from it, but the figure is not that of the model in the file, so it is shown apart. The run
is not changed.

Words cost D + R = -ELBO nats: D for their letters and ends given z, R for z itself. One z is
sampled for each word, so the figure changes a little with --seed. -ELBO is an upper bound; IW-k,
the mean over k samples of z, is a closer one. Shown for comparison are the n-gram model of the
training words whose order (2 to 10) is best on the validation words, and the no-latent baseline,
the same decoder trained without z, if there is a run RUN-no-latent.

Then words are sampled from the prior, and from the other models: how many are distinct, are
training words, or are held-out words (those of validation and test). HELD-OUT HITS counts each
held-out word once, HITS/NEW WORD every sample that is not a training word. --temperature, --top-k,
--top-p, --min-p and --unique sample all of them as `textgen generate` does with these flags.

One word describes the role of z. It is collapsed if R is below 0.1 nats, no dimension is active,
or another word's z costs less than 0.1 nats more than the word's own: --goal explore, --rate 4 or
more --free-bits change that. It is memorising if half of the sampled words are training words, or
if z identifies nearly every word (I_q at 95 % of its maximum) and words still cost 2 nats more
than without z: --goal density changes that. Otherwise it is used.

--quantize int8 also measures the model in eight bits: the difference is what the smaller and
faster model costs. `textgen export --quantize int8` writes it.

Examples:
  textgen eval
  textgen eval my-run --part test --json
  textgen eval my-run another-text.txt
  textgen eval model.safetensors fairy-tales.txt --protocol window:256 --part valid
  textgen eval model.safetensors another-text.txt --corpus fairy-tales.txt
  textgen eval my-run another-text.txt --dynamic 0.03
  textgen eval --quantize int8
  textgen eval names --part test --iw 0 --samples 0
  textgen eval names --iw 0 --min-p 0.15 --unique")]
pub struct EvalArgs {
    #[command(flatten)]
    pub model: ChosenWithText,
    /// The part of the text [default: valid of the run's own corpus, all of another]
    #[arg(long, value_enum)]
    pub part: Option<Part>,
    /// Also evaluate with the matrices in eight bits, and report the cost
    #[arg(long, value_name = "TYPE", value_parser = ["int8"])]
    pub quantize: Option<String>,
    /// Threads; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub text: TextFlags,
    #[command(flatten)]
    pub words: WordFlags,
}

/// A part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The validation part, by which models are chosen.
    Valid,
    /// The test part, which no decision was based on.
    Test,
    /// All of it (char-lstm).
    All,
}

impl Part {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Test => "test",
            Self::All => "all",
        }
    }
}

/// Flags that belong to texts.
#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
pub struct TextFlags {
    /// How the text is read: contiguous, window:N or interleaved [default: the run's split]
    #[arg(long, value_name = "SPLIT", value_parser = protocol)]
    pub protocol: Option<SplitKind>,
    /// Read every segment on one core from start to end, instead of in sections on all cores
    #[arg(long)]
    pub exact: bool,
    /// Fraction of the text that --part valid is [default: the run's]
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    pub valid: Option<f64>,
    /// Fraction of the text that --part test is [default: the run's]
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    pub test: Option<f64>,
    #[command(flatten)]
    pub reading: ReadingFlags,
    /// Also evaluate while the model learns from what it has read, at this learning rate (such as 0.03)
    #[arg(long, value_name = "LR", value_parser = learning_rate)]
    pub dynamic: Option<f32>,
    /// Characters that it reads between two steps of learning [default: 20]
    #[arg(long, value_name = "N", requires = "dynamic", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub dynamic_seq: Option<u32>,
    /// The text that a model file was trained on, for the n-gram models; a run has it. May be given
    /// several times
    #[arg(long, value_name = "TEXT")]
    pub corpus: Vec<String>,
    /// Also mix the model with that n-gram model, at a weight fitted on the validation part
    #[arg(long, conflicts_with = "no_baselines")]
    pub mix_ngram: bool,
    /// Leave out the n-gram models, which take time and memory for long texts
    #[arg(long)]
    pub no_baselines: bool,
}

impl TextFlags {
    /// How segments are read, and in how many sections. If each has but one, reading is exact.
    pub fn reading(&self, segments: &[Range<usize>]) -> (Reading, usize) {
        let sections = segments
            .iter()
            .map(|segment| Reading::Sections.sections(segment).len());
        match sections.sum() {
            sections if sections > segments.len() && !self.exact => (Reading::Sections, sections),
            _ => (Reading::Exact, segments.len()),
        }
    }
}

/// Flags that belong to words.
#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct WordFlags {
    /// Seed of the z of words and of the words sampled [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Samples of z for the closer bounds of a word's cost; 0 is none [default: 100,500]
    #[arg(long, value_name = "K,K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub iw: Option<Vec<u32>>,
    /// Words to sample and compare with existing words; 0 is none [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub samples: Option<u32>,
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Never sample the same word twice
    #[arg(long)]
    pub unique: bool,
}

impl WordFlags {
    /// The sampling options for words.
    pub fn sampling(&self) -> WordSampling {
        WordSampling {
            sampling: self.limits.config(self.seed.unwrap_or(0)),
            unique: self.unique,
        }
    }

    /// The flags that make the samples differ from the model's own distribution.
    pub fn sampled_with(&self) -> Vec<String> {
        let limits = &self.limits;
        let temperature = Some(limits.temperature).filter(|&t| t != 1.0);
        [
            temperature.map(|t| format!("--temperature {t}")),
            limits.top_k.map(|k| format!("--top-k {k}")),
            limits.top_p.map(|p| format!("--top-p {p}")),
            limits.min_p.map(|p| format!("--min-p {p}")),
            self.unique.then(|| "--unique".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn protocol(text: &str) -> Result<SplitKind, String> {
    let named = text.parse();
    named.map_err(|_| "not one of contiguous, window:N (N at least 1), interleaved".to_owned())
}

fn learning_rate(text: &str) -> Result<f32, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|&rate| rate > 0.0 && rate < f32::INFINITY);
    rate.ok_or_else(|| "must be a number above 0".to_owned())
}

fn fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    fraction.ok_or_else(|| "must be a fraction from 0 to 1".to_owned())
}
