//! `textgen novelty`: how much of a text occurs in what the model was trained on.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::config::{OnUnknown, Sampling, TrainConfig};
use crate::evaluate::novelty::{Copied, Segment};
use crate::model::{OpenOptions, TextModel};
use crate::run::{CorpusData, ModelFile, Runs, TextData, TokenSource as _, pieces};
use crate::text::{Corpus, Split, is_control, visible, whole};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::chosen::ChosenWithText;
use super::error::CliError;
use super::given::Given;
use super::machine::check_simd;
use super::output::{Table, counted, json_lines, percent};
use super::progress::Progress;
use super::reading::ReadingFlags;

/// Characters of the longest segment that a table shows.
const MOST_SHOWN: usize = 200;

#[derive(Args)]
#[command(after_help = "\
Does the model write, or does it recite? The table shows what percentage of the sample's
n-grams (all segments of n characters) also occur in the run's training text. Short ones occur in
any text of the language, so held-out text of the same author is measured for comparison. A model
that copies is far above it, most of all for long n-grams.

The sample is TEXT, or what `textgen generate` writes with the run's model at --temperature 1 and
--seed 0. The held-out text is the test split, or the validation split if there is none;
it is cut to the length of the sample, since longer texts have longer copies.

A model whose vocabulary was cut reads all other characters as <unk>, and its run does not keep which
they were. N-grams with such a character are therefore left out, of the sample and of the held-out text, and
the share of these characters is stated.

Below the table are the longest segments that occur in the training text, with the character and the
line of the corpus where they start, both counted from 1.

Examples:
  textgen novelty
  textgen novelty my-run --temperature 0.5 --length 100000
  textgen generate --length 20000 | textgen novelty my-run -
  textgen novelty my-run essay.txt --ngrams 10,30,100 --json")]
pub struct NoveltyArgs {
    #[command(flatten)]
    model: ChosenWithText,
    /// The n of the n-grams
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [5, 10, 20, 40],
        value_parser = clap::value_parser!(u32).range(1..))]
    ngrams: Vec<u32>,
    /// Characters to generate [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    length: Option<u32>,
    /// Temperature of the generated text [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Seed of the generated text [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Threads for generating; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    reading: ReadingFlags,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    run: &'a str,
    corpus: &'a str,
    training_tokens: usize,
    sample: Novelty,
    /// `None` if nothing was held out.
    held_out: Option<Novelty>,
}

/// How much of a text occurs in the training text.
#[derive(Serialize)]
struct Novelty {
    name: String,
    tokens: usize,
    /// Those that cannot be compared, because the training text may have them as `<unk>`.
    unknown_tokens: usize,
    ngrams: Vec<NGrams>,
    /// `None` if it has no character in common with the training text.
    longest: Option<Longest>,
}

/// The n-grams of one n.
#[derive(Serialize)]
struct NGrams {
    n: u32,
    /// `None` if the text has no such segment that can be compared.
    copied: Option<f64>,
}

/// The longest segment that occurs in the training text.
#[derive(Serialize)]
struct Longest {
    tokens: usize,
    text: String,
    /// Its start in the text, in characters from 1.
    sample_character: usize,
    /// The start of its first occurrence in the corpus, in characters from 1.
    corpus_character: usize,
    /// The line of the corpus, from 1.
    corpus_line: usize,
}

/// Measures a sample of the run.
pub fn run(args: &NoveltyArgs, runs: &Runs, given: &Given) -> Result<()> {
    check_simd()?;
    let ((file, run), text) = args.model.open_text(runs)?;
    if let Some(flag) = given
        .first(&["length", "temperature", "seed"])
        .filter(|_| text.is_some())
    {
        let message = format!("--{flag} belongs to a sample of the model, not to a text given");
        return Err(CliError::misuse(message, "leave it out, or the text").into());
    }
    let Some(run) = run else {
        let message = format!("{} is a model file without its run", file.path().display());
        let hint = "name a run, because copies are looked up in its training text";
        return Err(CliError::failed(message, hint).into());
    };
    let CorpusData::Text(data) = run.corpus()? else {
        let message = format!("run {} is a word-vae, which writes no texts", run.name());
        let hint = "textgen eval reports how many of its words are training words";
        return Err(CliError::failed(message, hint).into());
    };
    if data.vocabulary != file.header.vocabulary {
        let message = format!(
            "run {}: corpus.safetensors is not what model.safetensors was trained on",
            run.name()
        );
        return Err(
            CliError::failed(message, "copy both again from the run they came from").into(),
        );
    }
    let header = file.header.clone();
    let (name, sample) = sample(args, file, text)?;
    let training = Training::new(&run.config()?, &data)?;
    let held_out = training.held_out(sample.len())?;
    let progress = Progress::of_ngrams(2 * training.tokens() as u64);
    let report = Report {
        run: run.name(),
        corpus: &header.corpus_name,
        training_tokens: training.tokens(),
        sample: training.novelty(args, &name, &[&sample], &progress)?,
        held_out: held_out
            .map(|(name, texts)| {
                let texts: Vec<&[u32]> = texts.iter().map(|text| &**text).collect();
                training.novelty(args, name, &texts, &progress)
            })
            .transpose()?,
    };
    progress.end();
    let mut out = crate::cli::output::stdout();
    if args.json {
        writeln!(out, "{}", json_lines(&report)?)?;
    } else {
        out.write_all(shown(&report).as_bytes())?;
    }
    Ok(())
}

/// The text to measure, as tokens of the model and others that occur nowhere in the training text.
fn sample(args: &NoveltyArgs, file: ModelFile, text: Option<&str>) -> Result<(String, Vec<u32>)> {
    let header = &file.header;
    if let Some(name) = text {
        let corpus = Corpus::resolve(&[name.to_owned()])?;
        let config = args.reading.of(&header.text)?;
        let text = whole(&corpus, &config, |_| ())?;
        args.reading.say_notes(&corpus);
        let tokens = header.vocabulary.encode_open(&text).tokens;
        return Ok((
            corpus.name,
            after_beginning(&tokens, header.vocabulary.document_end()),
        ));
    }
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or(1.0),
        log_prob: false,
        ..Sampling::new(args.seed.unwrap_or(0))
    };
    let length = args.length.unwrap_or(10_000);
    let options = OpenOptions::on_threads(args.threads);
    let path = file.path().display().to_string();
    let mut start = TextModel::from_file(file, options)
        .context(path)?
        .snapshot("", OnUnknown::Error)?;
    let progress = Progress::of_tokens(u64::from(length));
    let (length, mut tokens) = (length as usize, Vec::new());
    // A model that learnt documents ends each, and begins the next.
    for index in 0.. {
        let plan = start.plan(&sampling, length - tokens.len())?;
        let sample = start.write(&plan, index, |_| {
            progress.add(1);
            anyhow::Ok(true)
        })?;
        tokens.extend(sample.tokens);
        if tokens.len() >= length {
            break;
        }
    }
    progress.end();
    Ok(("sample".to_owned(), tokens))
}

/// The tokens without the one before the first document.
fn after_beginning(tokens: &[u32], eos: Option<u32>) -> Vec<u32> {
    let begins = eos.is_some() && tokens.first().copied() == eos;
    tokens[usize::from(begins)..].to_vec()
}

/// The name of a part that was not trained on, and some of its tokens.
type HeldOut = (&'static str, Vec<Vec<u32>>);

/// A run's corpus, split into the parts trained on and the parts held out.
struct Training<'a> {
    data: &'a TextData,
    split: Split,
}

impl<'a> Training<'a> {
    fn new(config: &TrainConfig, data: &'a TextData) -> Result<Self> {
        let split = data.split(config)?;
        Ok(Self { data, split })
    }

    fn tokens(&self) -> usize {
        self.split.train.iter().map(ExactSizeIterator::len).sum()
    }

    /// Up to `most` tokens that were not trained on, with the name of their part.
    fn held_out(&self, most: usize) -> Result<Option<HeldOut>> {
        let (name, ranges) = match (&self.split.test[..], &self.split.valid[..]) {
            ([], []) => return Ok(None),
            ([], valid) => ("valid part", valid),
            (test, _) => ("test part", test),
        };
        let mut left = most;
        let mut texts = Vec::new();
        for range in ranges {
            let taken = range.len().min(left);
            let text = self.data.tokens.read(range.start..range.start + taken)?;
            let eos = self.data.vocabulary.document_end();
            texts.push(after_beginning(&text, eos));
            left -= taken;
        }
        Ok(Some((name, texts)))
    }

    /// Measures how much of each text occurs in the training text.
    fn novelty(
        &self,
        args: &NoveltyArgs,
        name: &str,
        texts: &[&[u32]],
        progress: &Progress,
    ) -> Result<Novelty> {
        let (source, parts) = (&self.data.tokens, &self.split.train);
        let tokens = texts.iter().map(|text| text.len()).sum();
        let (starts, known) = &self.known(texts);
        let copied = Copied::new(known, source, parts, |more| progress.add(more))?;
        let ngrams = |&n: &u32| NGrams {
            n,
            copied: copied.fraction(n as usize),
        };
        let longest = copied.longest(known, source, parts)?;
        Ok(Novelty {
            name: name.to_owned(),
            tokens,
            unknown_tokens: tokens - known.iter().map(|text| text.len()).sum::<usize>(),
            ngrams: args.ngrams.iter().map(ngrams).collect(),
            longest: longest
                .map(|segment| self.found(starts[segment.text], segment))
                .transpose()?,
        })
    }

    /// The segments of the texts that can be compared, each with its start in all of them. If tokens were cut from the
    /// training text, one that the model does not know may be any of them.
    fn known<'t>(&self, texts: &[&'t [u32]]) -> (Vec<usize>, Vec<&'t [u32]>) {
        let unk = self.data.vocabulary.unk();
        let is_unknown = |&token: &u32| unk.is_some_and(|unk| token >= unk);
        let mut start = 0;
        let mut found = (Vec::new(), Vec::new());
        for text in texts {
            for segment in text.split(is_unknown) {
                found.0.push(start);
                found.1.push(segment);
                start += segment.len() + 1;
            }
            // The last segment ends with the text and not with an unknown token.
            start -= 1;
        }
        found
    }

    /// The copy in `segment`, of which the text that it was compared with starts at the token `before`.
    fn found(&self, before: usize, segment: Segment) -> Result<Longest> {
        let Self { data, .. } = self;
        let start = segment.range.start;
        let (mut bytes, mut line) = (Vec::new(), 1);
        let eos = data.vocabulary.document_end();
        // Before the first document, no line ends.
        let mut ends = 0_usize;
        for piece in pieces(&data.tokens, 0..start) {
            bytes.clear();
            for &token in &*piece? {
                ends += usize::from(Some(token) == eos);
                data.vocabulary.push_bytes(token, &mut bytes);
            }
            line += memchr::memchr_iter(b'\n', &bytes).count();
        }
        let copy = data.tokens.read(segment.range)?;
        Ok(Longest {
            tokens: copy.len(),
            text: data.vocabulary.decode_in_lines(&copy),
            sample_character: before + segment.text_range.start + 1,
            // The first document begins with a token that is no character.
            corpus_character: start + 1 - usize::from(eos.is_some()),
            corpus_line: line + ends.saturating_sub(1),
        })
    }
}

/// The report for a person.
fn shown(report: &Report) -> String {
    let all = || std::iter::once(&report.sample).chain(&report.held_out);
    let mut header = vec!["TEXT".to_owned(), "CHARS".to_owned()];
    header.extend(
        report
            .sample
            .ngrams
            .iter()
            .map(|ngrams| format!("{}-GRAMS", ngrams.n)),
    );
    header.push("LONGEST".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(&header);
    for novelty in all() {
        let mut cells = vec![novelty.name.clone(), novelty.tokens.to_string()];
        cells.extend(novelty.ngrams.iter().map(|ngrams| {
            let percent = ngrams.copied.map(|rate| format!("{:.2} %", 100.0 * rate));
            percent.unwrap_or_else(|| "-".to_owned())
        }));
        let longest = novelty.longest.as_ref().map_or(0, |longest| longest.tokens);
        cells.push(longest.to_string());
        table.row(cells);
    }
    let mut shown = table.text();
    for novelty in all().filter(|novelty| novelty.unknown_tokens > 0) {
        let share = novelty.unknown_tokens as f64 / novelty.tokens as f64;
        let _ = writeln!(
            shown,
            "{}: {} of it are characters outside the model's vocabulary, and cannot be compared",
            novelty.name,
            percent(share)
        );
    }
    for novelty in all() {
        if let Some(longest) = &novelty.longest {
            let _ = writeln!(
                shown,
                "\n{}: {} from {} on also occur in {} from character {} on, line {}:\n  {}",
                novelty.name,
                counted(longest.tokens, "character"),
                longest.sample_character,
                report.corpus,
                longest.corpus_character,
                longest.corpus_line,
                one_line(&longest.text)
            );
        }
    }
    shown
}

/// A segment of text on one line, with line ends and other invisible characters escaped.
fn one_line(text: &str) -> String {
    let shown = |c: char| {
        if is_control(c) {
            visible(&c.to_string())
        } else {
            c.to_string()
        }
    };
    let mut line: String = text.chars().take(MOST_SHOWN).map(shown).collect();
    if text.chars().count() > MOST_SHOWN {
        line.push('…');
    }
    line
}
