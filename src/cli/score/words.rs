//! What every word costs a word-vae, to find outliers among words.

use std::collections::HashMap;
use std::io::Write;

use crate::config::{OnUnknown, TextConfig, WordSplit};
use crate::evaluate::importance::importance;
use crate::evaluate::{Word, WordReading};
use crate::models::word_vae::WordVae;
use crate::parallel::Running;
use crate::run::{CorpusData, ModelFile, RunDir};
use crate::text::{Corpus, SpecialTokens, Vocabulary, normalize, words};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::{Order, ScoreArgs};
use crate::cli::choice::choice;
use crate::cli::error::CliError;
use crate::cli::machine::threads;
use crate::cli::output::{note, stdout};
use crate::cli::progress::Progress;
use crate::cli::unknown::Replaced;

/// Draws of z unless told otherwise.
const DEFAULT_IW: u32 = 100;
/// Held-out words of the percentile unless told otherwise.
const DEFAULT_REFERENCE: usize = 500;

/// Flags that belong to words.
#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct WordFlags {
    /// A word; may be given several times
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    word: Vec<String>,
    /// Where words come from: text, or lines for one word a line [default: as the model was trained]
    #[arg(long, value_parser = choice::<WordSplit>(WordSplit::NAMES))]
    words: Option<WordSplit>,
    /// What becomes of letters that the model does not know [default: their word is impossible]
    #[arg(long, value_parser = choice::<OnUnknown>(OnUnknown::NAMES))]
    on_unknown: Option<OnUnknown>,
    /// Draws of z for each word [default: 100]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    iw: Option<u32>,
    /// Held-out words that the percentile is measured among; 0 is none [default: 500]
    #[arg(long, value_name = "N")]
    reference: Option<usize>,
    /// Seed of the draws [default: 0]
    #[arg(long)]
    seed: Option<u64>,
}

impl WordFlags {
    /// Flags by name, and whether they were given.
    pub fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("word", !self.word.is_empty()),
            ("words", self.words.is_some()),
            ("on-unknown", self.on_unknown.is_some()),
            ("iw", self.iw.is_some()),
            ("reference", self.reference.is_some()),
            ("seed", self.seed.is_some()),
        ]
    }

    fn draws(&self) -> u32 {
        self.iw.unwrap_or(DEFAULT_IW)
    }
}

/// One line of `--json`.
#[derive(Serialize)]
struct Score<'a> {
    word: &'a str,
    /// None where the word is impossible.
    nats: Option<f64>,
    nats_per_char: Option<f64>,
    /// None where there are no held-out words to compare with.
    percentile: Option<f64>,
}

/// Scores words.
pub fn score(args: &ScoreArgs, file: &ModelFile, run: Option<&RunDir>) -> Result<()> {
    let network = &file.header.network;
    if network.is_article() {
        let message = format!(
            "{}: it is the article's network, whose words have no probability",
            file.path().display()
        );
        let hint = "choose a word-vae with --run or --model-file";
        return Err(CliError::misuse(message, hint).into());
    }
    let words = words_to_score(args, &file.header.text)?;
    if words.iter().any(String::is_empty) {
        let hint = "give a word of at least one letter";
        return Err(CliError::misuse("\"\" is no word", hint).into());
    }
    let scorer = Scorer::new(args, file)?;
    let letters = letters_of(&words, args.words.on_unknown, &file.header.vocabulary)?;
    let reference = held_out(run, args.words.reference.unwrap_or(DEFAULT_REFERENCE))?;
    let tokens = |words: &[Vec<u32>]| words.iter().map(|word| word.len() as u64 + 1).sum::<u64>();
    let draws = if network.latent() > 0 {
        args.words.draws()
    } else {
        1
    };
    let progress = Progress::of_tokens((tokens(&letters) + tokens(&reference)) * draws as u64);
    let costs = scorer.nats(&letters, &progress)?;
    let mut usual: Vec<f64> = scorer
        .nats(&reference, &progress)?
        .iter()
        .zip(&reference)
        .map(|(nats, word)| per_char(*nats, word))
        .collect();
    progress.end();
    let unknown = costs.iter().filter(|nats| nats.is_infinite()).count();
    if unknown > 0 {
        note!(
            "{unknown} of {} words have letters that the model does not know, and cannot be scored: inf",
            words.len()
        );
    }
    usual.sort_by(f64::total_cmp);
    let mut scores: Vec<(usize, f64, f64)> = costs
        .into_iter()
        .zip(&letters)
        .enumerate()
        .map(|(index, (nats, word))| (index, nats, per_char(nats, word)))
        .collect();
    if args.sort == Order::Score {
        scores.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    }
    let mut out = stdout();
    if !args.format.is_json() {
        writeln!(out, "WORD\tNATS\tNATS/CHAR\tPERCENTILE")?;
    }
    for (index, nats, nats_per_char) in scores {
        let below = usual.partition_point(|&other| other < nats_per_char);
        let percentile = || 100.0 * below as f64 / usual.len() as f64;
        let percentile = (!usual.is_empty()).then(percentile);
        let finite = |value: f64| Some(value).filter(|value| value.is_finite());
        if args.format.is_json() {
            let score = Score {
                word: &words[index],
                nats: finite(nats),
                nats_per_char: finite(nats_per_char),
                percentile,
            };
            writeln!(out, "{}", serde_json::to_string(&score)?)?;
        } else {
            let word = words[index].replace('\t', " ");
            let percentile = percentile.map_or_else(|| "-".to_owned(), |p| format!("{p:.1}"));
            writeln!(out, "{word}\t{nats:.3}\t{nats_per_char:.3}\t{percentile}")?;
        }
    }
    Ok(())
}

/// The letters of words; unless told otherwise those that are not known are kept as such.
fn letters_of(
    words: &[String],
    on_unknown: Option<OnUnknown>,
    vocabulary: &Vocabulary,
) -> Result<Vec<Vec<u32>>> {
    let Some(how) = on_unknown else {
        return Ok(vocabulary.encode_words(words));
    };
    let replaced = Replaced::default();
    let letters = words.iter().map(|word| {
        let letters = replaced.encode(vocabulary, word, how);
        letters.with_context(|| format!("{word:?}"))
    });
    let letters = letters.collect::<Result<_>>()?;
    replaced.say();
    Ok(letters)
}

fn per_char(nats: f64, letters: &[u32]) -> f64 {
    nats / (letters.len() + 1) as f64
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
        let found = words(&Corpus::resolve(std::slice::from_ref(file))?, &config)?;
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
/// where there is no other.
fn held_out(run: Option<&RunDir>, most: usize) -> Result<Vec<Vec<u32>>> {
    let Some(run) = run.filter(|_| most > 0) else {
        return Ok(Vec::new());
    };
    let CorpusData::Words(data) = run.corpus()? else {
        return Ok(Vec::new());
    };
    let part = match &data.test[..] {
        [] => &data.valid,
        test => test,
    };
    let letters = part.iter().map(|&word| data.letters[word].clone());
    Ok(letters.take(most).collect())
}

/// A model that scores.
struct Scorer {
    vae: WordVae,
    reading: WordReading,
    draws: usize,
    threads: usize,
}

impl Scorer {
    fn new(args: &ScoreArgs, file: &ModelFile) -> Result<Self> {
        let vocabulary = &file.header.vocabulary;
        let SpecialTokens { bos, eos, .. } = vocabulary.special_tokens()?;
        Ok(Self {
            vae: WordVae::new(&file.header.network, &file.weights()?)
                .with_context(|| file.path().display().to_string())?,
            reading: WordReading {
                bos,
                eos,
                seed: args.words.seed.unwrap_or(0),
            },
            draws: args.words.draws() as usize,
            threads: threads(args.threads),
        })
    }

    /// What every word costs, in nats; infinite where it has a letter that is never predicted, or
    /// none at all.
    fn nats(&self, letters: &[Vec<u32>], progress: &Progress) -> Result<Vec<f64>> {
        let outputs = self.vae.outputs();
        let predicted = |&letter: &u32| (letter as usize) < outputs;
        let possible = |word: &[u32]| !word.is_empty() && word.iter().all(predicted);
        let words: Vec<Word> = letters
            .iter()
            .filter(|word| possible(word))
            .map(|word| Word {
                index: digest(word),
                letters: word,
            })
            .collect();
        let running = Running {
            threads: self.threads,
            progress: &|more| progress.add(more),
        };
        let costs = importance(&self.vae, &words, &[self.draws], self.reading, running)?;
        let costs = words.iter().zip(costs);
        let costs: HashMap<&[u32], f64> =
            costs.map(|(word, cost)| (word.letters, cost[0])).collect();
        let cost = |word: &Vec<u32>| costs.get(word.as_slice()).copied();
        Ok(letters
            .iter()
            .map(|word| cost(word).unwrap_or(f64::INFINITY))
            .collect())
    }
}

/// A number for a word's letters, which its noise is drawn by (FNV-1a), so that its score depends on
/// no other word.
fn digest(letters: &[u32]) -> u64 {
    let bytes = letters.iter().flat_map(|letter| letter.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
