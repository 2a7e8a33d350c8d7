//! `textgen eval`: what held-out text or words cost a model, and what its z does, natively.

mod text;
mod words;

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use textgen::config::ModelKind;
use textgen::native::evaluate::{EvaluateError, Running};
use textgen::native::simd;
use textgen::native::weights::{Weights, quantize};
use textgen::run::{CorpusData, ModelFile, RunDir, Runs};

use super::chosen::ChosenRun;
use super::error::CliError;
use super::output::stdout;
use super::progress::Progress;

/// Threads at the most.
const MOST_THREADS: usize = 256;

/// Flags of `eval`.
#[derive(Args)]
#[command(after_help = "\
The run's best model reads the held-out part of the run's own corpus, and the figure is the
mean cost of what it has to predict: -ln p in nats, or -log2 p in bits. Lower is better; a model
that knows only how many symbols there are costs ln(symbols) nats a character.

A text is split as the run says: under `contiguous` the state is carried through the part, under
`window:N` it starts anew every N characters, under `interleaved` in each of 50 streams. The
first character of each is read and not predicted. A figure means something only beside its
split and corpus. Bits a byte are of the text in the run's normal form, as UTF-8.

Words cost D + R = -ELBO nats: D for their letters and ends given z, R for z itself. One z is
drawn for each word, so the figure changes a little with --seed. -ELBO is an upper bound; IW-k, the
mean over k draws of z, is a closer one. Beside the model stand the n-gram model of the training
words whose order (2 to 7) is best on the validation words, and its twin, the same decoder trained
without z, where there is a run RUN-twin, or SWEEP-twin for a run SWEEP-rate-R of `sweep rate`.

What z does is said in one word. It is collapsed where R is below 0.1 nats, no dimension is active,
or another word's z costs less than 0.1 nats more than the word's own: --goal explore, --rate 4 or
more --free-bits change that. It is memorising where half of the words drawn are training words, or
where z names nearly every word (I_q at 95 % of its ceiling) and words still cost 2 nats more than
without z: --goal density changes that. Else it is used.

--quantize int8 measures the model in eight bits beside itself: the difference is what the
smaller and faster model costs. `textgen export --quantize int8` writes it.

Examples:
  textgen eval
  textgen eval my-run --part test --json
  textgen eval --quantize int8
  textgen eval names --part test --iw 0 --samples 0")]
pub struct EvalArgs {
    #[command(flatten)]
    run: ChosenRun,
    /// The part of the corpus
    #[arg(long, value_enum, default_value_t = Part::Valid)]
    part: Part,
    /// Evaluate also with the matrices in eight bits, and say what that costs
    #[arg(long, value_name = "TYPE", value_parser = ["int8"])]
    quantize: Option<String>,
    /// Seed of the z of words and of the words drawn (word-vae) [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Draws of z for the closer bounds of a word's cost (word-vae); 0 is none
    /// [default: 100,500]
    #[arg(long, value_name = "K,K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=100_000))]
    iw: Option<Vec<u32>>,
    /// Words to draw and compare with those that exist (word-vae); 0 is none [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    samples: Option<u32>,
    /// Threads; 0 is all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// A held-out part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// What models are chosen by.
    Valid,
    /// What no decision was made by.
    Test,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// A run's model and what it is evaluated on.
struct Job<'a> {
    args: &'a EvalArgs,
    run: &'a RunDir,
    file: &'a ModelFile,
    /// In the order of the rows: as the file has them, then in eight bits where asked.
    weights: Vec<(&'static str, Weights<'a>)>,
}

/// What is evaluated, in every kind of JSON object.
#[derive(Serialize)]
struct About<'a> {
    run: &'a str,
    model: ModelKind,
    /// Optimizer steps of the model.
    step: u64,
    corpus: &'a str,
    corpus_digest: &'a str,
    training_seed: u64,
    part: Part,
}

/// Evaluates the run chosen.
pub fn run(args: &EvalArgs, runs: &Runs) -> Result<()> {
    simd::check().map_err(|error| {
        CliError::misuse(
            error.to_string(),
            "unset TEXTGEN_SIMD to let textgen choose",
        )
    })?;
    let run = args.run.open(runs)?;
    let file = run.model()?;
    let network = &file.header.network;
    if network.article {
        let message = format!(
            "run {} has the article's network, whose words have no probability that could be measured",
            run.name()
        );
        let hint = "train --model word-vae without --recipe article; textgen generate shows what this one writes";
        return Err(CliError::misuse(message, hint).into());
    }
    let of_words = [
        ("seed", args.seed.is_some()),
        ("iw", args.iw.is_some()),
        ("samples", args.samples.is_some()),
    ];
    let given = of_words.iter().find(|(_, given)| *given);
    if let (Some((flag, _)), ModelKind::CharLstm) = (given, network.model) {
        let message =
            format!("--{flag} belongs to word-vae: nothing is drawn to evaluate a char-lstm");
        return Err(CliError::misuse(message, "leave it out").into());
    }
    let corpus = run.corpus()?;
    let weights = file.weights()?;
    let small = args.quantize.as_ref().map(|_| quantize(&weights));
    let mut weights = vec![(if file.is_int8()? { "int8" } else { "f32" }, weights)];
    match small {
        // What is in eight bits already is evaluated once.
        Some(small) if weights[0].0 == "f32" => weights.push(("int8", small)),
        _ => {}
    }
    let job = Job {
        args,
        run: &run,
        file: &file,
        weights,
    };
    if corpus.vocabulary() != &file.header.vocabulary {
        return Err(job.not_its_corpus("its symbols are others"));
    }
    match (network.model, &corpus) {
        (ModelKind::CharLstm, CorpusData::Text(text)) => text::evaluate(&job, text),
        (ModelKind::WordVae, CorpusData::Words(words)) => words::evaluate(&job, words),
        _ => Err(job.not_its_corpus("one has text, the other words")),
    }
}

impl Job<'_> {
    /// Model and corpus do not belong together.
    fn not_its_corpus(&self, why: &str) -> anyhow::Error {
        let message = format!(
            "run {}: corpus.safetensors is not what model.safetensors was trained on: {why}",
            self.run.name()
        );
        CliError::failed(message, "copy both again from the run they came from").into()
    }

    /// The part holds nothing that could be predicted.
    fn nothing_held_out(&self) -> anyhow::Error {
        let part = self.args.part.name();
        let message = format!(
            "run {} holds nothing out for --part {part}",
            self.run.name()
        );
        let hint = match self.args.part {
            Part::Valid => "train with --valid 0.1, or evaluate --part test",
            Part::Test => "train with --test 0.1, or evaluate --part valid",
        };
        CliError::failed(message, hint).into()
    }

    fn about(&self) -> About<'_> {
        let header = &self.file.header;
        About {
            run: self.run.name(),
            model: header.network.model,
            step: header.step,
            corpus: &header.corpus_name,
            corpus_digest: &header.corpus_digest,
            training_seed: header.seed,
            part: self.args.part,
        }
    }

    /// Every model, in the order of the rows.
    fn models<M, E>(&self, make: impl Fn(&Weights) -> Result<M, E>) -> Result<Vec<M>>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let place = || self.file.path().display().to_string();
        self.weights
            .iter()
            .map(|(_, weights)| make(weights).with_context(place))
            .collect()
    }

    /// The names of the rows.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.weights.iter().map(|&(name, _)| name)
    }

    /// Evaluates `symbols` symbols in all, with progress where it lasts.
    fn measure<C>(
        &self,
        symbols: u64,
        evaluate: impl FnOnce(Running) -> Result<C, EvaluateError>,
    ) -> Result<C> {
        let progress = Progress::of_symbols(symbols);
        let costs = evaluate(Running {
            threads: self.threads(),
            progress: &|more| progress.add(more),
        });
        progress.end();
        costs.map_err(|error| self.not_its_corpus(&error.to_string()))
    }

    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = match self.args.threads {
            0 => cores,
            asked => asked,
        };
        threads.min(MOST_THREADS)
    }

    /// What eight bits cost, for the line below a table.
    fn signed(cost: f64, unit: &str) -> String {
        // Adding zero makes −0 a plain one.
        let rounded = (cost * 1e4).round() / 1e4 + 0.0;
        format!("{rounded:+.4} {unit}")
    }

    /// A cost that is a number.
    fn finite(&self, nats: f64) -> Result<()> {
        if nats.is_finite() {
            return Ok(());
        }
        let message = format!(
            "{}: the cost is {nats}: the training of this model went wrong",
            self.file.path().display()
        );
        Err(CliError::failed(message, "train again, with a lower --lr").into())
    }

    /// Prints a JSON object, or text.
    fn print(&self, json: &impl Serialize, text: &str) -> Result<()> {
        let mut out = stdout();
        if self.args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(json)?)?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}
