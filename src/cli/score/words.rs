//! The cost of every word under a word-vae, to find outliers.

use std::io::Write;

use crate::config::{OnUnknown, TextConfig, WordSplit};
use crate::model::{ModelError, OpenOptions, ScoreOptions, Word, WordModel};
use crate::run::{CorpusData, ModelFile, RunDir};
use crate::text::{Corpus, normalize, words};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::{Order, ScoreArgs};
use crate::cli::error::{CliError, of_model};
use crate::cli::output::{note, stdout};
use crate::cli::progress::Progress;
use crate::cli::unknown::Replaced;

/// Default number of held-out words for the percentile.
const DEFAULT_REFERENCE: usize = 500;

/// Flags that belong to words.
#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct WordFlags {
    /// A word to score; may be given several times
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    word: Vec<String>,
    /// Where words come from: text, or lines for one word a line [default: as the model was trained]
    #[arg(long)]
    words: Option<WordSplit>,
    /// How to handle letters that the model does not know [default: their word is impossible]
    #[arg(long)]
    on_unknown: Option<OnUnknown>,
    /// Samples of z for each word [default: 100]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    iw: Option<u32>,
    /// Held-out words for the percentile; 0 is none [default: 500]
    #[arg(long, value_name = "N")]
    reference: Option<usize>,
    /// Seed of the samples [default: 0]
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Serialize)]
struct Score<'a> {
    word: &'a str,
    /// `None` if the word is impossible.
    nats: Option<f64>,
    nats_per_char: Option<f64>,
    /// `None` if there are no held-out words to compare with.
    percentile: Option<f64>,
}

pub fn score(args: &ScoreArgs, file: &ModelFile, run: Option<&RunDir>) -> Result<()> {
    let options = OpenOptions::on_threads(args.threads);
    let mut model = WordModel::new(file, options).map_err(of_model(file))?;
    if model.network().is_none() {
        return Err(of_model(file)(ModelError::NoProbability));
    }
    model.set_watcher(Progress::watcher());
    let texts = words_to_score(args, &file.header.text)?;
    if texts.iter().any(String::is_empty) {
        let hint = "give a word of at least one letter";
        return Err(CliError::misuse("\"\" is not a word", hint).into());
    }
    let words = read(&model, &texts, args.words.on_unknown)?;
    let reference = held_out(run, args.words.reference.unwrap_or(DEFAULT_REFERENCE))?;
    let usual = ScoreOptions::default();
    let options = ScoreOptions {
        samples: args
            .words
            .iw
            .map_or(usual.samples, |samples| samples as usize),
        seed: args.words.seed.unwrap_or(usual.seed),
    };
    let all = || words.iter().chain(&reference);
    let nats = model.score(all(), options)?;
    // Nats, and nats per character.
    let costs = nats.into_iter().zip(all());
    let costs = costs.map(|(nats, word)| (nats, nats / (word.tokens.len() + 1) as f64));
    let mut costs: Vec<(f64, f64)> = costs.collect();
    let mut usual: Vec<f64> = costs
        .drain(words.len()..)
        .map(|(_, per_char)| per_char)
        .collect();
    usual.sort_by(f64::total_cmp);
    let unknown = costs.iter().filter(|(nats, _)| nats.is_infinite()).count();
    if unknown > 0 {
        note!(
            "{unknown} of {} words have letters that the model does not know, and cannot be scored: inf",
            words.len()
        );
    }
    let mut scores: Vec<_> = texts.iter().zip(costs).collect();
    if args.sort == Order::Score {
        scores.sort_by(|(_, a), (_, b)| b.1.total_cmp(&a.1));
    }
    let mut out = stdout();
    if !args.format.is_json() {
        writeln!(out, "WORD\tNATS\tNATS/CHAR\tPERCENTILE")?;
    }
    for (word, (nats, nats_per_char)) in scores {
        let below = usual.partition_point(|&other| other < nats_per_char);
        let percentile = || 100.0 * below as f64 / usual.len() as f64;
        let percentile = (!usual.is_empty()).then(percentile);
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        if args.format.is_json() {
            let score = Score {
                word,
                nats: finite(nats),
                nats_per_char: finite(nats_per_char),
                percentile,
            };
            writeln!(out, "{}", serde_json::to_string(&score)?)?;
        } else {
            let word = word.replace('\t', " ");
            let percentile = percentile.map_or_else(|| "-".to_owned(), |p| format!("{p:.1}"));
            writeln!(out, "{word}\t{nats:.3}\t{nats_per_char:.3}\t{percentile}")?;
        }
    }
    Ok(())
}

/// Encodes words; without --on-unknown, an unknown letter makes a word impossible.
fn read(model: &WordModel, texts: &[String], on_unknown: Option<OnUnknown>) -> Result<Vec<Word>> {
    let Some(how) = on_unknown else {
        return Ok(model.known_words(texts.iter().map(String::as_str)));
    };
    let replaced = Replaced::default();
    let read = |text: &String| {
        let mut word = model
            .tokenize(text, how)
            .with_context(|| format!("{text:?}"))?;
        replaced.add(std::mem::take(&mut word.replaced));
        Ok(word)
    };
    let words = texts.iter().map(read).collect();
    replaced.say();
    words
}

/// The words of `--word` and of the file in the model's normal form, each once.
fn words_to_score(args: &ScoreArgs, text: &TextConfig) -> Result<Vec<String>> {
    let mut list: Vec<String> = args
        .words
        .word
        .iter()
        .map(|word| normalize(word, text))
        .collect();
    if let Some(file) = &args.file {
        let config = TextConfig {
            words: args.words.words.unwrap_or(text.words),
            ..text.clone()
        };
        let found = words(
            &Corpus::resolve(std::slice::from_ref(file))?,
            &config,
            |_| (),
        )?;
        if found.duplicates > 0 {
            note!("words: {} repetitions left out", found.duplicates);
        }
        list.extend(found.words);
    }
    let mut seen = std::collections::HashSet::new();
    list.retain(|word| seen.insert(word.clone()));
    Ok(list)
}

/// Up to `most` words that the run's model has not seen: of the test part, or of the validation part
/// if there is no test part.
fn held_out(run: Option<&RunDir>, most: usize) -> Result<Vec<Word>> {
    let corpus = run.filter(|_| most > 0).map(RunDir::corpus).transpose()?;
    let Some(CorpusData::Words(data)) = corpus else {
        return Ok(Vec::new());
    };
    let part = if data.test.is_empty() {
        &data.valid
    } else {
        &data.test
    };
    let word = |&word: &usize| Word {
        tokens: data.letters[word].clone(),
        ..Word::default()
    };
    Ok(part.iter().take(most).map(word).collect())
}
