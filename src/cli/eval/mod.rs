//! `textgen eval`: what a text or held-out words cost a model, and what its z does, natively.

mod baselines;
mod dynamic;
mod flags;
mod shares;
mod text;
mod words;

use std::io::Write;

use crate::config::ModelKind;
use crate::evaluate::EvaluateError;
use crate::models::weights::{Weights, quantize};
use crate::parallel::Running;
use crate::run::{CorpusData, ModelFile, RunDir, Runs};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::chosen::ChosenWithText;
use super::error::CliError;
use super::given::Given;
use super::machine::{check_simd, threads};
use super::output::stdout;
use super::progress::Progress;
use flags::{TextFlags, WordFlags};

/// Flags of `eval`.
#[derive(Args)]
#[command(after_help = "\
The run's best model reads the held-out part of the run's own corpus, and the figure is the mean
cost of what it has to predict: -ln p in nats, or -log2 p in bits. Lower is better; a model that
knows only how many tokens there are costs ln(tokens) nats a character.

A text is split as the run says: under `contiguous` the state is carried through the part, under
`window:N` it starts anew every N characters, under `interleaved` in each of 50 streams. The
first character of each is read and not predicted. A figure means something only beside its
split and corpus. Bits a byte are of the text in the run's normal form, as UTF-8.

--protocol reads the text by another split, to hold a model against figures stated elsewhere:
nanoGPT's are `--protocol window:256` (its block size), char-rnn's `--protocol interleaved
--valid 0.05`, those of papers on enwik8 `--protocol contiguous --valid 0.05 --test 0.05 --part
test`. Where part of such a text was trained on, a warning says how much, and the figure is no
held-out one.

A CORPUS is any other text, read whole unless --part says otherwise, through the model's own
normal form, unit and vocabulary. Characters that the model does not know are counted and
reported. One that was trained with <unk> predicts that in their place; any other can give them
no probability, so they are left out: neither read nor predicted, and not in the mean.

Beside a text stand what two simpler models of the run's training text make of the same
characters: how often each one occurs (unigram), and the n-gram model, of the orders up to 12,
that is best on the validation part. Both are interpolated down to the uniform distribution
(Witten & Bell 1991). The network is worth what it saves against them. A model file holds no
training text, so there it stands alone.

--dynamic LR evaluates once more while the model goes on learning (Krause et al. 2018): it is
costed on 20 characters, makes one step of gradient descent on their mean loss, and goes on.
What a text repeats of itself, names and manner, becomes cheaper: much so in a text unlike the
one it was trained on, hardly in more of the same. Every character is predicted before it is
learnt from, but the figure is no figure of the model as it stands, and is shown apart. The run
is not changed.

Words cost D + R = -ELBO nats: D for their letters and ends given z, R for z itself. One z is
drawn for each word, so the figure changes a little with --seed. -ELBO is an upper bound; IW-k,
the mean over k draws of z, is a closer one. Beside the model stand the n-gram model of the
training words whose order (2 to 7) is best on the validation words, and its twin, the same
decoder trained without z, where there is a run RUN-twin.

Then words are drawn from the prior, and from the models beside it: how many are distinct, stand in
the training list, or are held-out words (those of validation and test). HELD-OUT HITS counts each
held-out word once, HITS/NEW WORD every draw outside the training list. --temperature, --top-k,
--top-p, --min-p and --unique draw all of them as `textgen generate` does with these flags.

What z does is said in one word. It is collapsed where R is below 0.1 nats, no dimension is
active, or another word's z costs less than 0.1 nats more than the word's own: --goal explore,
--rate 4 or more --free-bits change that. It is memorising where half of the words drawn are
training words, or where z names nearly every word (I_q at 95 % of its ceiling) and words still
cost 2 nats more than without z: --goal density changes that. Else it is used.

--quantize int8 measures the model in eight bits beside itself: the difference is what the
smaller and faster model costs. `textgen export --quantize int8` writes it.

Examples:
  textgen eval
  textgen eval my-run --part test --json
  textgen eval my-run another-text.txt
  textgen eval model.safetensors fairy-tales.txt --protocol window:256 --part valid
  textgen eval my-run another-text.txt --dynamic 0.03
  textgen eval --quantize int8
  textgen eval names --part test --iw 0 --samples 0
  textgen eval names --iw 0 --min-p 0.15 --unique")]
pub struct EvalArgs {
    #[command(flatten)]
    model: ChosenWithText,
    /// The part of the text [default: valid of the run's own corpus, all of another]
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Evaluate also with the matrices in eight bits, and say what that costs
    #[arg(long, value_name = "TYPE", value_parser = ["int8"])]
    quantize: Option<String>,
    /// Threads; 0 is all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    text: TextFlags,
    #[command(flatten)]
    words: WordFlags,
}

/// A held-out part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    /// What models are chosen by.
    Valid,
    /// What no decision was made by.
    Test,
    /// All of it (char-lstm).
    All,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Test => "test",
            Self::All => "all",
        }
    }
}

/// A model and what it is evaluated on.
struct Job<'a> {
    args: &'a EvalArgs,
    file: &'a ModelFile,
    /// The run's name; none where there is only a model file.
    run: Option<&'a str>,
    part: Part,
    /// In the order of the rows: as the file has them, then in eight bits where asked.
    weights: Vec<(&'static str, Weights<'a>)>,
}

/// What is evaluated, in every kind of JSON object.
#[derive(Serialize)]
struct About<'a> {
    run: Option<&'a str>,
    model: ModelKind,
    /// Optimizer steps of the model.
    step: u64,
    /// What the model was trained on.
    corpus: &'a str,
    corpus_digest: &'a str,
    training_seed: u64,
    part: Part,
}

/// Evaluates the model chosen.
pub fn run(args: &EvalArgs, runs: &Runs, given: &Given) -> Result<()> {
    check_simd()?;
    let ((file, run), corpus) = args.model.open_for(runs, given.kind())?;
    let run = run.as_ref();
    let kind = file.header.network.model();
    let name = run.map_or_else(
        || file.path().display().to_string(),
        |run| format!("run {}", run.name()),
    );
    if file.header.network.is_article() {
        let message = format!(
            "{name} has the article's network, whose words have no probability that could be measured"
        );
        let hint = "train --model word-vae without --recipe article; textgen generate shows what this one writes";
        return Err(CliError::misuse(message, hint).into());
    }
    flags::refuse_foreign(args, kind, corpus)?;
    args.words.drawing(0).sampling.validate()?;
    let own = run.map(RunDir::corpus).transpose()?;
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
        file: &file,
        run: run.map(RunDir::name),
        part: args.part.unwrap_or(Part::Valid),
        weights,
    };
    if own
        .as_ref()
        .is_some_and(|own| own.vocabulary() != &file.header.vocabulary)
    {
        return Err(job.not_its_corpus("its tokens are others"));
    }
    match (kind, run.zip(own.as_ref())) {
        (ModelKind::CharRnn, None) => text::evaluate(job, corpus, None),
        (ModelKind::CharRnn, Some((run, CorpusData::Text(text)))) => {
            let config = run.config()?;
            text::evaluate(job, corpus, Some((&config, text)))
        }
        (ModelKind::WordVae, Some((run, CorpusData::Words(words)))) => {
            words::evaluate(&job, run, words)
        }
        (ModelKind::WordVae, None) => {
            let message =
                format!("{name}: the words that a word-vae is held against are its run's");
            Err(CliError::failed(message, "name a run: textgen eval RUN").into())
        }
        _ => Err(job.not_its_corpus("one has text, the other words")),
    }
}

impl Job<'_> {
    /// What the model is called in messages.
    fn name(&self) -> String {
        match self.run {
            Some(run) => format!("run {run}"),
            None => self.file.path().display().to_string(),
        }
    }

    /// Model and corpus do not belong together.
    fn not_its_corpus(&self, why: &str) -> anyhow::Error {
        let message = format!(
            "{}: corpus.safetensors is not what model.safetensors was trained on: {why}",
            self.name()
        );
        CliError::failed(message, "copy both again from the run they came from").into()
    }

    /// The part holds nothing that could be predicted.
    fn nothing_held_out(&self) -> anyhow::Error {
        let part = self.part.name();
        let (message, hint) = match self.part {
            Part::All => (
                format!("the text has nothing that {} could predict", self.name()),
                "a text of two characters that the model knows is the least".to_owned(),
            ),
            Part::Valid | Part::Test => (
                format!("{} holds nothing out for --part {part}", self.name()),
                match self.file.header.network.model() {
                    ModelKind::CharRnn => format!("say how much that is: --{part} 0.1"),
                    ModelKind::WordVae => {
                        format!("train with --{part} 0.1, or evaluate the other part")
                    }
                },
            ),
        };
        CliError::failed(message, hint).into()
    }

    fn about(&self) -> About<'_> {
        let header = &self.file.header;
        About {
            run: self.run,
            model: header.network.model(),
            step: header.step,
            corpus: &header.corpus_name,
            corpus_digest: &header.corpus_digest,
            training_seed: header.seed,
            part: self.part,
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

    /// Evaluates `tokens` tokens in all, with progress where it lasts.
    fn measure<C>(
        &self,
        tokens: u64,
        evaluate: impl FnOnce(Running) -> Result<C, EvaluateError>,
    ) -> Result<C> {
        let progress = Progress::of_tokens(tokens);
        let costs = evaluate(Running {
            threads: self.threads(),
            progress: &|more| progress.add(more),
        });
        progress.end();
        costs.map_err(|error| self.not_its_corpus(&error.to_string()))
    }

    fn threads(&self) -> usize {
        threads(self.args.threads)
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
