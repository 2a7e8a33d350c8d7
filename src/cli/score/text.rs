//! The cost of every character of a text under one or several char-lstms.

use crate::evaluate;
use crate::model::TextModel;
use crate::parallel::Running;
use crate::text::{Corpus, whole};
use anyhow::Result;
use clap::Args;

use super::color::{self, When};
use super::report;
use super::scored::{Per, Reading, Scored};
use super::{Opened, ScoreArgs};
use crate::cli::error::CliError;
use crate::cli::machine::threads;
use crate::cli::mixing::MixFlags;
use crate::cli::output::{note, unknown};
use crate::cli::progress::Progress;

/// Flags that belong to texts.
#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
pub struct TextFlags {
    /// Print a row for each of these [default: line with --tsv or --json, else a summary]
    #[arg(long, value_enum)]
    pub per: Option<Per>,
    /// The most rows; 0 is all [default: all, 10 lines below a summary]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Colour the text instead: from dark (expected) to bright (8 bits or more)
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_missing_value = "auto", conflicts_with_all = ["per", "top", "tsv", "json", "sort"])]
    color: Option<When>,
    /// Read a long text on one core from start to end, instead of in sections on all cores
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    pub mix: MixFlags,
}

pub fn score(args: &ScoreArgs, models: &[Opened]) -> Result<()> {
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

fn name((model, run): &Opened) -> String {
    match run {
        Some(run) => run.name().to_owned(),
        None => model.path().display().to_string(),
    }
}

fn refuse(args: &ScoreArgs, models: &[Opened]) -> Result<()> {
    if args.text.color.is_some() && models.len() > 1 {
        let hint = "name one model with --run";
        return Err(CliError::misuse("--color shows the surprisal of one model", hint).into());
    }
    let documents = |(model, _): &Opened| !model.header().text.documents.is_none();
    let (with, without): (Vec<_>, Vec<_>) = models.iter().partition(|model| documents(model));
    if let ([with, ..], [without, ..]) = (&with[..], &without[..]) {
        let message = format!(
            "{} was trained with documents and {} without, so they do not read the same tokens",
            name(with),
            name(without)
        );
        return Err(CliError::misuse(message, "compare models that were trained alike").into());
    }
    Ok(())
}

/// The text in the models' normal form.
fn read(args: &ScoreArgs, file: &str, models: &[Opened]) -> Result<String> {
    let corpus = Corpus::resolve(&[file.to_owned()])?;
    let text = models.first().map(|(model, _)| model.header().text.clone());
    let text = text.unwrap_or_default();
    let config = args.reading.of(&text)?;
    let progress = Progress::new(corpus.size_bytes());
    let text = whole(&corpus, &config, |bytes| progress.show(bytes));
    progress.end();
    args.reading.say_notes(&corpus);
    Ok(text?)
}

fn read_by_models(args: &ScoreArgs, text: String, models: &[Opened]) -> Result<Scored> {
    let (mut texts, mut readings) = (Vec::new(), Vec::new());
    for (model, _) in models {
        let vocabulary = &model.header().vocabulary;
        let open = vocabulary.encode_open(&text);
        texts.push(open.readable(vocabulary.unk()));
        readings.push(Reading {
            vocabulary,
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
    let opened: Vec<&TextModel> = models.iter().map(|(model, _)| model).collect();
    let reading = if args.text.exact {
        evaluate::Reading::Exact
    } else {
        evaluate::Reading::Sections
    };
    let surprisals = TextModel::surprisals(&opened, &texts, reading, running);
    progress.end();
    for (reading, surprisals) in readings.iter_mut().zip(surprisals?) {
        reading.surprisals = surprisals;
    }
    say_what_is_unknown(&readings, models);
    Ok(Scored::new(text, &readings))
}

fn say_what_is_unknown(readings: &[Reading], models: &[Opened]) {
    for (reading, model) in readings.iter().zip(models) {
        if let Some(unknown) = unknown(&reading.open, reading.vocabulary) {
            let fate = match (readings.len(), reading.vocabulary.unk()) {
                (1, Some(_)) => "costing as much as <unk>",
                _ => "not counted",
            };
            note!("{}: {unknown}, {fate}", name(model));
        }
    }
}
