//! What every character of a text costs one char-lstm, or several side by side.

use crate::config::TextConfig;
use crate::evaluate::surprisals;
use crate::models::char_rnn::CharRnn;
use crate::parallel::Running;
use crate::run::{ModelFile, RunDir};
use crate::text::{Corpus, whole};
use anyhow::{Context, Result};
use clap::Args;

use super::ScoreArgs;
use super::color::{self, When};
use super::report;
use super::scored::{Per, Reading, Scored};
use crate::cli::error::CliError;
use crate::cli::machine::threads;
use crate::cli::output::{note, unknown};
use crate::cli::progress::Progress;

/// Flags that belong to texts.
#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
pub struct TextFlags {
    /// Print a row for each of these [default: line with --tsv or --json, else a summary]
    #[arg(long, value_enum)]
    pub per: Option<Per>,
    /// Rows at the most; 0 is all [default: all, 10 lines below a summary]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Paint the text instead: from dark, as expected, to bright, 8 bits and more
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_missing_value = "auto", conflicts_with_all = ["per", "top", "tsv", "json", "sort"])]
    color: Option<When>,
    /// The encoding of FILE [default: that of the text the model was trained on]
    #[arg(long, value_name = "LABEL")]
    encoding: Option<String>,
}

impl TextFlags {
    /// Flags by name, and whether they were given.
    pub fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("per", self.per.is_some()),
            ("top", self.top.is_some()),
            ("color", self.color.is_some()),
            ("encoding", self.encoding.is_some()),
        ]
    }
}

/// Scores a text.
pub fn score(args: &ScoreArgs, models: &[(ModelFile, Option<RunDir>)]) -> Result<()> {
    refuse(args, models)?;
    let Some(file) = &args.file else {
        let hint = "give a file, or `-` for standard input";
        return Err(CliError::misuse("there is no text to score", hint).into());
    };
    let names: Vec<String> = models.iter().map(name).collect();
    let text = read(args, file, models)?;
    let scored = read_by_models(args, text, models)?;
    if args.text.color.is_some_and(When::paints) {
        return color::print(&scored);
    }
    report::print(args, &scored, file, &names)
}

fn name((file, run): &(ModelFile, Option<RunDir>)) -> String {
    match run {
        Some(run) => run.name().to_owned(),
        None => file.path().display().to_string(),
    }
}

fn refuse(args: &ScoreArgs, models: &[(ModelFile, Option<RunDir>)]) -> Result<()> {
    if let Some((flag, _)) = args.words.given().iter().find(|(_, given)| *given) {
        let message = format!("--{flag} belongs to words, but this model is a char-lstm");
        let hint = "give it a FILE of text, or choose a word-vae with --run or --model-file";
        return Err(CliError::misuse(message, hint).into());
    }
    let [(first, _), others @ ..] = models else {
        return Ok(());
    };
    if args.text.color.is_some() && !others.is_empty() {
        let hint = "name one model with --run or --model-file";
        return Err(CliError::misuse("--color shows what one model thinks", hint).into());
    }
    let reads = |file: &ModelFile| {
        let text = &file.header.text;
        (text.unit, text.normalize, text.lowercase, text.newlines)
    };
    let different = others
        .iter()
        .find(|(other, _)| reads(other) != reads(first));
    if let Some((other, _)) = different {
        let message = format!(
            "{} and {} read text differently, so that what they cost is no comparison",
            first.path().display(),
            other.path().display()
        );
        let hint = "compare models of the same --unit, --normalize, --lowercase and --newlines";
        return Err(CliError::failed(message, hint).into());
    }
    Ok(())
}

/// The text in the models' normal form.
fn read(args: &ScoreArgs, file: &str, models: &[(ModelFile, Option<RunDir>)]) -> Result<String> {
    let corpus = Corpus::resolve(&[file.to_owned()])?;
    let text = models.first().map(|(model, _)| model.header.text.clone());
    let text = text.unwrap_or_default();
    let config = TextConfig {
        encoding: args.text.encoding.clone().unwrap_or(text.encoding),
        ..text
    };
    let progress = Progress::new(corpus.size_bytes());
    let text = whole(&corpus, &config, |bytes| progress.show(bytes));
    progress.end();
    Ok(text?)
}

fn read_by_models(
    args: &ScoreArgs,
    text: String,
    models: &[(ModelFile, Option<RunDir>)],
) -> Result<Scored> {
    let (mut networks, mut texts, mut readings) = (Vec::new(), Vec::new(), Vec::new());
    for (file, _) in models {
        let header = &file.header;
        let network = CharRnn::new(&header.network, &file.weights()?);
        networks.push(network.with_context(|| file.path().display().to_string())?);
        let open = header.vocabulary.encode_open(&text);
        texts.push(open.readable(header.vocabulary.unk()));
        readings.push(Reading {
            vocabulary: &header.vocabulary,
            open,
            surprisals: Vec::new(),
        });
    }
    let tokens: usize = texts.iter().map(Vec::len).sum();
    let progress = Progress::of_tokens(tokens as u64);
    let running = Running {
        threads: threads(args.threads),
        progress: &|more| progress.add(more),
    };
    let both: Vec<(&CharRnn, &[u32])> = networks
        .iter()
        .zip(texts.iter().map(Vec::as_slice))
        .collect();
    let found = surprisals(&both, running);
    progress.end();
    for ((reading, surprisals), (file, _)) in readings.iter_mut().zip(found?).zip(models) {
        if surprisals.iter().any(|nats| !nats.is_finite()) {
            let path = file.path().display();
            let message = format!("{path}: a cost is no number: the training of it went wrong");
            return Err(CliError::failed(message, "train again, with a lower --lr").into());
        }
        reading.surprisals = surprisals;
    }
    say_what_is_unknown(&readings, models);
    Ok(Scored::new(text, &readings))
}

fn say_what_is_unknown(readings: &[Reading], models: &[(ModelFile, Option<RunDir>)]) {
    for (reading, model) in readings.iter().zip(models) {
        if let Some(unknown) = unknown(&reading.open) {
            let fate = match (readings.len(), reading.vocabulary.unk()) {
                (1, Some(_)) => "cost what <unk> costs",
                _ => "are not counted",
            };
            note!("{}: {unknown} and {fate}", name(model));
        }
    }
}
