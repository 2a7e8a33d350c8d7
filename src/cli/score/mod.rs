//! `textgen score`: what every character of a text costs a char-lstm, or every word a word-vae.

mod color;
mod report;
pub mod scored;
mod text;
mod words;

use crate::model::{OpenOptions, TextModel};
use crate::run::{ModelFile, RunDir, Runs};
use anyhow::Result;
use clap::{Args, ValueEnum};

use super::chosen;
use super::error::CliError;
use super::given::Given;
use super::machine::check_simd;
use super::mixing::mixed;
use super::output::Format;
use super::reading::ReadingFlags;

#[derive(Args)]
#[command(after_help = "\
A char-lstm reads a text from start to end and gives the surprisal of every character: -log2 p
bits, given everything before it. The first character is read but not predicted, so the nats add
up to those of `textgen eval RUN FILE --protocol contiguous`. The text is normalised as the
training text was, and unknown characters are treated as in `eval`. As there, a text of more than
2,048 characters is read in sections on all cores, each after 256 characters that warm the state:
the mean differs by less than 0.0001 nats from that of --exact, which keeps a text in memory.

Without --per, the figures of the whole text are shown above the lines that cost the most compared
with average text of their length. --per line, word, char or file prints a row for each. A line
includes its line end and a word the white space after it, so that the rows add up to the text.
--color paints the text: the brighter, the more surprising.

A model that was trained with --documents reads each from its beginning. The end of a document is
shown as a line end, and costs what it costs to end there; LINE counts these lines. --per document
has a row for each.

Several models are compared: who wrote this text, which language is it? Each gets a column of nats
and the probability that it wrote the text (or the line, given everything before it), if all were
equally likely before: the softmax of the log-probabilities. Only characters that all models know
are counted, and the models must read text the same way (unit, normal form).

With a word-vae, the cost of a word is -ln p nats: the lower, the more the model expects it. It is the
bound from k samples of z (IW-k), which is exact for a model without z. NATS/CHAR divides it by
the letters and the end of the word. PERCENTILE is the percentage of held-out words of the run's
corpus that cost less per character: a word at 99 or above is unlike those that the model was
trained on.

--mix-ngram adds the n-gram model of the training text to each model, as in `eval`, with a weight
fitted on its validation part.

A word with a character that the model does not know is impossible: inf. Every word is scored
once, and its score depends only on --seed. Several word-vaes each get a column of nats and the
probability that the word is of their list, if all were equally likely before.

Examples:
  textgen score draft.txt --run tales
  textgen score draft.txt --color=always | less -R
  textgen score draft.txt --per word --sort score --tsv | head
  textgen score letter.txt --run austen --run melville --per file
  textgen score --word anna --word qzxv
  textgen score surnames.txt --words lines --run german --run polish
  cut -d, -f1 people.csv | textgen score - --run names --json")]
pub struct ScoreArgs {
    /// A file, or `-` for standard input: a text for a char-lstm, words for a word-vae
    #[arg(value_name = "FILE", required_unless_present = "word")]
    file: Option<String>,
    /// The model: a run's name or folder, or a model file [default: the newest run of a fitting kind]; several are
    /// compared
    #[arg(
        long = "run",
        short = 'm',
        visible_alias = "model-file",
        value_name = "RUN|FILE"
    )]
    models: Vec<String>,
    /// The order of the rows
    #[arg(long, value_enum, default_value_t = Order::None)]
    sort: Order,
    /// Threads; 0 is one per core. The output is the same on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    reading: ReadingFlags,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    text: text::TextFlags,
    #[command(flatten)]
    words: words::WordFlags,
}

/// A text model, and its run if it has one.
type Opened = (TextModel, Option<RunDir>);

/// The order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The order of the input.
    None,
    /// The most unusual first.
    Score,
}

/// Scores a text or words with the chosen models.
pub fn run(args: &ScoreArgs, runs: &Runs, given: &Given) -> Result<()> {
    check_simd()?;
    let models = match &args.models[..] {
        [] => vec![chosen::open(None, runs, given.kind())?],
        names => names
            .iter()
            .map(|name| chosen::open(Some(name), runs, None))
            .collect::<Result<_>>()?,
    };
    let is_words = |(file, _): &chosen::Opened| file.header.network.is_words();
    let Some(first) = models.first() else {
        return Ok(());
    };
    if models
        .iter()
        .any(|other| is_words(other) != is_words(first))
    {
        let message = "a char-lstm and a word-vae cannot be compared";
        let hint = "name char-lstms only, for a text, or word-vaes only, for words";
        return Err(CliError::misuse(message, hint).into());
    }
    check_reading(&models)?;
    given.check_kind(first.0.header.network.model())?;
    if is_words(first) {
        return words::score(args, &models);
    }
    let options = OpenOptions::on_threads(args.threads);
    let open = |(file, run): chosen::Opened| {
        let model = chosen::text_model(file, options)?;
        anyhow::Ok((mixed(&args.text.mix, model, run.as_ref())?, run))
    };
    let models: Vec<Opened> = models.into_iter().map(open).collect::<Result<_>>()?;
    text::score(args, &models)
}

/// Refuses models that read the same text differently.
fn check_reading(models: &[chosen::Opened]) -> Result<()> {
    let reads = |file: &ModelFile| {
        let text = &file.header.text;
        (text.unit, text.normalize, text.lowercase, text.newlines)
    };
    let different = models
        .windows(2)
        .find(|pair| reads(&pair[0].0) != reads(&pair[1].0));
    let Some([(first, _), (other, _)]) = different else {
        return Ok(());
    };
    let message = format!(
        "{} and {} read text differently, so their costs cannot be compared",
        first.path().display(),
        other.path().display()
    );
    let hint = "compare models of the same --unit, --normalize, --lowercase and --newlines";
    Err(CliError::failed(message, hint).into())
}
