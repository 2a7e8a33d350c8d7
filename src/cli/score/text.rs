//! The cost of every character of a text under one or several char-lstms.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::evaluate;
use crate::model::TextModel;
use crate::parallel::Running;
use crate::text::{Corpus, Vocabulary, WARM_UP, pieces};
use anyhow::Result;
use clap::Args;

use super::color::{Painter, When};
use super::report::Report;
use super::scored::{Per, Reading, Scored};
use super::{Opened, ScoreArgs};
use crate::cli::error::CliError;
use crate::cli::machine::threads;
use crate::cli::mixing::MixFlags;
use crate::cli::output::{Unknown, note};
use crate::cli::progress::Progress;

/// Bytes of a text that are read, scored and printed at a time, so that memory does not grow with the text.
const WINDOW: usize = 2 << 20;

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
    if args.text.color.is_some_and(When::paints) {
        let mut painter = Painter::new();
        read(args, file, models, |window| painter.paint(window))?;
        return painter.end();
    }
    let mut report = Report::new(args, file, &names)?;
    read(args, file, models, |window| report.read(window))?;
    report.end()
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

/// Reads the text in the models' normal form, and gives `each` its windows with their costs.
fn read(
    args: &ScoreArgs,
    file: &str,
    models: &[Opened],
    mut each: impl FnMut(&Scored) -> Result<()>,
) -> Result<()> {
    let corpus = Corpus::resolve(&[file.to_owned()])?;
    let text = models.first().map(|(model, _)| model.header().text.clone());
    let config = args.reading.of(&text.unwrap_or_default())?;
    let progress = Progress::of_scored(corpus.size_bytes());
    let mut readers: Vec<Reader> = models.iter().map(Reader::new).collect();
    // The state of one stream is not kept between windows.
    let most = if args.text.exact { usize::MAX } else { WINDOW };
    let (mut window, mut is_first) = (String::new(), true);
    let (bytes, scored_bytes) = (Cell::new(0), Cell::new(0));
    let mut read = |window: &mut String| {
        let now = scored_bytes.replace(bytes.get())..bytes.get();
        // Of the bytes of this window, as many as the share of its tokens that were predicted.
        let show = |share: f64| {
            progress.show(now.start + (share * (now.end - now.start) as f64) as u64);
        };
        let scored = scored(args, std::mem::take(window), &mut readers, is_first, show)?;
        is_first = false;
        each(&scored)
    };
    let take = |piece: String| {
        window.push_str(&piece);
        if window.len() < most {
            return Ok(());
        }
        read(&mut window)
    };
    pieces(&corpus, &config, |read| bytes.set(read), take)?;
    if !window.is_empty() {
        read(&mut window)?;
    }
    progress.end();
    args.reading.say_notes(&corpus);
    for (reader, model) in readers.iter().zip(models) {
        if let Some(unknown) = reader.unknown.described() {
            let fate = match (models.len(), reader.vocabulary.unk()) {
                (1, Some(_)) => "costing as much as <unk>",
                _ => "not counted",
            };
            note!("{}: {unknown}, {fate}", name(model));
        }
    }
    Ok(())
}

/// A model that reads a text window by window.
struct Reader<'a> {
    model: &'a TextModel,
    vocabulary: &'a Vocabulary,
    /// The last tokens that it read, which warm its state for the next window.
    last: Vec<u32>,
    unknown: Unknown,
}

impl<'a> Reader<'a> {
    fn new((model, _): &'a Opened) -> Self {
        Self {
            model,
            vocabulary: &model.header().vocabulary,
            last: Vec::new(),
            unknown: Unknown::default(),
        }
    }
}

/// The next window with its costs.
fn scored(
    args: &ScoreArgs,
    window: String,
    readers: &mut [Reader],
    is_first: bool,
    show: impl Fn(f64) + Sync,
) -> Result<Scored> {
    let mut readings = Vec::new();
    let mut tokens = Vec::new();
    for reader in &mut *readers {
        let open = reader.vocabulary.encode_open(&window);
        reader.unknown.add(&open, reader.vocabulary);
        let mut read = std::mem::take(&mut reader.last);
        let seen = read.len();
        read.extend(open.readable(reader.vocabulary.unk()));
        reader.last = read[read.len().saturating_sub(WARM_UP + 1)..].to_vec();
        tokens.push((read, seen));
        readings.push(Reading {
            vocabulary: reader.vocabulary,
            open,
            goes_on: seen > 0,
            surprisals: Vec::new(),
        });
    }
    let all: usize = tokens.iter().map(|(read, seen)| read.len() - seen).sum();
    let done = AtomicU64::new(0);
    let running = Running {
        threads: threads(args.threads),
        progress: &|more| {
            let before = done.fetch_add(more, Ordering::Relaxed);
            show((before + more) as f64 / all.max(1) as f64);
        },
    };
    let models: Vec<&TextModel> = readers.iter().map(|reader| reader.model).collect();
    let texts: Vec<(&[u32], usize)> = tokens
        .iter()
        .map(|(read, seen)| (&read[..], *seen))
        .collect();
    let reading = if args.text.exact {
        evaluate::Reading::Exact
    } else {
        evaluate::Reading::Sections
    };
    let surprisals = TextModel::surprisals(&models, &texts, reading, running)?;
    for (reading, surprisals) in readings.iter_mut().zip(surprisals) {
        reading.surprisals = surprisals;
    }
    Ok(Scored::new(window, &readings, is_first))
}
