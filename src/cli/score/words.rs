//! The cost of every word under one or several word-vaes, to find outliers or whose word it is.

use std::io::Write;

use crate::config::{OnUnknown, TextConfig, WordSplit};
use crate::evaluate::posterior;
use crate::model::{ModelError, OpenOptions, ScoreOptions, Word, WordModel};
use crate::run::{CorpusData, ModelFile, RunDir};
use crate::text::{Corpus, normalize, words};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::{Order, ScoreArgs};
use crate::cli::chosen::Opened;
use crate::cli::error::{CliError, of_model};
use crate::cli::output::{counted, json_line, note, stdout};
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

/// A row as JSON, for one model.
#[derive(Serialize)]
struct Score<'a> {
    word: &'a str,
    #[serde(flatten)]
    cost: Cost,
}

/// The same for several models.
#[derive(Serialize)]
struct Scores<'a> {
    word: &'a str,
    models: Vec<OfModel<'a>>,
}

#[derive(Serialize)]
struct OfModel<'a> {
    model: &'a str,
    #[serde(flatten)]
    cost: Cost,
    /// p(model | word); `None` if the word is impossible for all of them.
    posterior: Option<f64>,
}

/// What a word costs one model.
#[derive(Serialize)]
struct Cost {
    /// `None` if the word is impossible.
    nats: Option<f64>,
    nats_per_char: Option<f64>,
    /// `None` if there are no held-out words to compare with.
    percentile: Option<f64>,
}

/// The costs of all words under one model.
struct Scored {
    model: String,
    /// Nats, and nats per character; infinite if the word is impossible.
    costs: Vec<(f64, f64)>,
    /// The nats per character of held-out words, ascending.
    usual: Vec<f64>,
}

impl Scored {
    fn cost(&self, word: usize) -> Cost {
        let (nats, nats_per_char) = self.costs[word];
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        Cost {
            nats: finite(nats),
            nats_per_char: finite(nats_per_char),
            percentile: self.percentile(nats_per_char),
        }
    }

    fn percentile(&self, nats_per_char: f64) -> Option<f64> {
        let below = self.usual.partition_point(|&other| other < nats_per_char);
        let percentile = || 100.0 * below as f64 / self.usual.len() as f64;
        (!self.usual.is_empty()).then(percentile)
    }
}

/// Scores the words with each of `models`, which must read text in the same way.
pub fn score(args: &ScoreArgs, models: &[Opened]) -> Result<()> {
    let Some((file, _)) = models.first() else {
        return Ok(());
    };
    let texts = words_to_score(args, &file.header.text)?;
    if texts.iter().any(String::is_empty) {
        let hint = "give a word of at least one letter";
        return Err(CliError::misuse("\"\" is not a word", hint).into());
    }
    let by = |(file, run): &Opened| score_by(args, file, run.as_ref(), &texts);
    let scored: Vec<Scored> = models.iter().map(by).collect::<Result<_>>()?;
    let mut rows: Vec<usize> = (0..texts.len()).collect();
    if args.sort == Order::Score {
        // By the model that expects the word the most.
        let least = |word: usize| {
            let costs = scored.iter().map(|scored| scored.costs[word].1);
            costs.fold(f64::INFINITY, f64::min)
        };
        rows.sort_by(|&a, &b| least(b).total_cmp(&least(a)));
    }
    let mut out = stdout();
    if !args.format.is_json() {
        writeln!(out, "{}", header(&scored).join("\t"))?;
    }
    for row in rows {
        let line = if args.format.is_json() {
            json(&texts[row], row, &scored)?
        } else {
            cells(&texts[row], row, &scored).join("\t")
        };
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn header(scored: &[Scored]) -> Vec<String> {
    if let [_] = scored {
        return ["WORD", "NATS", "NATS/CHAR", "PERCENTILE"]
            .map(str::to_owned)
            .into();
    }
    let nats = scored.iter().map(|scored| format!("NATS {}", scored.model));
    let posterior = scored.iter().map(|scored| format!("P {}", scored.model));
    let word = std::iter::once("WORD".to_owned());
    word.chain(nats).chain(posterior).collect()
}

fn cells(word: &str, row: usize, scored: &[Scored]) -> Vec<String> {
    let word = word.replace('\t', " ");
    if let [scored] = scored {
        let (nats, nats_per_char) = scored.costs[row];
        let percentile = scored.percentile(nats_per_char);
        let percentile = percentile.map_or_else(|| "-".to_owned(), |p| format!("{p:.1}"));
        return vec![
            word,
            format!("{nats:.3}"),
            format!("{nats_per_char:.3}"),
            percentile,
        ];
    }
    let nats = scored
        .iter()
        .map(|scored| format!("{:.3}", scored.costs[row].0));
    let posteriors = posteriors(row, scored).into_iter();
    let posteriors = posteriors.map(|p| p.map_or_else(|| "-".to_owned(), |p| format!("{p:.4}")));
    std::iter::once(word)
        .chain(nats)
        .chain(posteriors)
        .collect()
}

fn json(word: &str, row: usize, scored: &[Scored]) -> Result<String> {
    if let [scored] = scored {
        let cost = scored.cost(row);
        return json_line(&Score { word, cost });
    }
    let models = scored.iter().zip(posteriors(row, scored));
    let models = models.map(|(scored, posterior)| OfModel {
        model: &scored.model,
        cost: scored.cost(row),
        posterior,
    });
    let models = models.collect();
    json_line(&Scores { word, models })
}

/// p(model | word) of each model; `None` if no model can write the word.
fn posteriors(row: usize, scored: &[Scored]) -> Vec<Option<f64>> {
    let nats: Vec<f64> = scored.iter().map(|scored| scored.costs[row].0).collect();
    if nats.iter().all(|nats| nats.is_infinite()) {
        return vec![None; nats.len()];
    }
    posterior(&nats).into_iter().map(Some).collect()
}

fn score_by(
    args: &ScoreArgs,
    file: &ModelFile,
    run: Option<&RunDir>,
    texts: &[String],
) -> Result<Scored> {
    let options = OpenOptions::on_threads(args.threads);
    let mut model = WordModel::new(file, options).map_err(of_model(file))?;
    if model.network().is_none() {
        return Err(of_model(file)(ModelError::NoProbability));
    }
    model.set_watcher(Progress::watcher());
    let words = read(&model, texts, args.words.on_unknown)?;
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
    let costs = nats.into_iter().zip(all());
    let costs = costs.map(|(nats, word)| (nats, nats / (word.tokens.len() + 1) as f64));
    let mut costs: Vec<(f64, f64)> = costs.collect();
    let mut usual: Vec<f64> = costs
        .drain(words.len()..)
        .map(|(_, per_char)| per_char)
        .filter(|per_char| per_char.is_finite())
        .collect();
    usual.sort_by(f64::total_cmp);
    let name = run.map_or_else(
        || file.path().display().to_string(),
        |run| run.name().to_owned(),
    );
    let model = if args.models.len() > 1 {
        &name
    } else {
        "the model"
    };
    let impossible = costs.iter().filter(|(nats, _)| nats.is_infinite()).count();
    let gone = words.iter().filter(|word| word.tokens.is_empty()).count();
    for (count, what) in [
        (impossible.saturating_sub(gone), "letters"),
        (gone, "nothing is left without the letters"),
    ] {
        if count > 0 {
            note!(
                "{count} of {}: {what} that {model} does not know, so the cost is inf",
                counted(words.len(), "word")
            );
        }
    }
    Ok(Scored {
        model: name,
        costs,
        usual,
    })
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
            ..args.reading.of(text)?
        };
        let corpus = Corpus::resolve(std::slice::from_ref(file))?;
        let found = words(&corpus, &config, |_| ())?;
        args.reading.say_notes(&corpus);
        if found.duplicates > 0 {
            note!(
                "words: {} left out",
                counted(found.duplicates, "repetition")
            );
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
