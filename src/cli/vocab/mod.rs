//! `textgen vocab`: what a corpus is made of, as a report that one can learn from, and its
//! vocabulary where `train` finds it.

mod report;
mod words;

use std::io::Write as _;
use std::path::Path;

use crate::config::{
    DEFAULT_BATCH, DEFAULT_SEQ, DEFAULT_VALID, Newlines, NormalForm, TextConfig, Unit, WordSplit,
};
use crate::run::LastVocab;
use crate::text::{Corpus, Survey, TextError, Vocabulary, survey};
use clap::Args;

use report::Report;
use words::Words;

use super::choice::choice;
use super::progress::Progress;
use crate::cli::output::{note, stdout};
use crate::hints;

/// The flags of `vocab`.
#[derive(Args, Clone, Debug)]
pub struct VocabArgs {
    /// Files, folders, names under corpora/, a bundled corpus, or `-` for standard input
    /// [default: the bundled fairy tales]
    #[arg(value_name = "CORPUS")]
    pub corpus: Vec<String>,
    /// What one token is: char, grapheme or byte
    #[arg(long, default_value_t = TextConfig::default().unit, value_parser = choice::<Unit>(Unit::NAMES))]
    pub unit: Unit,
    /// The normal form: none, nfc, nfkc or ascii
    #[arg(long, value_name = "FORM", default_value_t = TextConfig::default().normalize, value_parser = choice::<NormalForm>(NormalForm::NAMES))]
    pub normalize: NormalForm,
    /// Lower all letters
    #[arg(long)]
    pub lowercase: bool,
    /// utf-8, lossy, or an encoding such as latin-1 or windows-1252
    #[arg(long, value_name = "LABEL", default_value_t = TextConfig::default().encoding)]
    pub encoding: String,
    /// Line ends: keep, or unix to turn CR LF and CR into LF
    #[arg(long, default_value_t = TextConfig::default().newlines, value_parser = choice::<Newlines>(Newlines::NAMES))]
    pub newlines: Newlines,
    /// Cut tokens rarer than this
    #[arg(long, value_name = "N", default_value_t = TextConfig::default().min_freq)]
    pub min_freq: u64,
    /// Keep at most so many tokens
    #[arg(long, value_name = "N", default_value_t = TextConfig::default().max_vocab,
        value_parser = at_least_one)]
    pub max_vocab: usize,
    /// Where word-vae takes its words from: text, or lines for one word a line. Given, the report also
    /// has how many words there are, and which come again [default: text]
    #[arg(long, value_parser = choice::<WordSplit>(WordSplit::NAMES))]
    pub words: Option<WordSplit>,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub top: usize,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(e) => Err(e.to_string()),
    }
}

impl VocabArgs {
    fn text_config(&self) -> TextConfig {
        TextConfig {
            unit: self.unit,
            normalize: self.normalize,
            lowercase: self.lowercase,
            encoding: self.encoding.clone(),
            newlines: self.newlines,
            min_freq: self.min_freq,
            max_vocab: self.max_vocab,
            words: self.words.unwrap_or(TextConfig::default().words),
        }
    }
}

/// Reports on a corpus and leaves its vocabulary in the folder of the runs.
pub fn run(args: &VocabArgs, runs: &Path) -> anyhow::Result<()> {
    let config = args.text_config();
    let corpus = Corpus::resolve(&args.corpus)?;
    if args.corpus.is_empty() {
        note!("no corpus given: using the bundled {}", corpus.name);
    }
    let progress = Progress::new(corpus.size_bytes());
    let survey = survey(&corpus, &config, |bytes| progress.show(bytes));
    progress.end();
    let survey = survey?;
    let vocabulary = Vocabulary::from_counts(
        config.unit,
        &survey.counts,
        config.min_freq,
        config.max_vocab,
    );
    let words = match args.words {
        Some(split) => Words::count(&corpus, &config, split)?,
        None => None,
    };
    let report = Report::new(&survey, &vocabulary, &config, &corpus, words.as_ref());
    let text = if args.json {
        format!("{}\n", report.to_json())
    } else {
        report.to_text(args.top)?
    };
    // Before the report, whose reader may close the pipe.
    let last = LastVocab::new(corpus.paths(), corpus.name.clone(), config, vocabulary);
    let saved = last.save(runs);
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    warn(&survey);
    let path = saved?;
    note!("vocabulary written to {}", path.display());
    Ok(())
}

fn warn(survey: &Survey) {
    let need = DEFAULT_BATCH * DEFAULT_SEQ + 1;
    let have = (survey.tokens as f64 * (1.0 - DEFAULT_VALID)) as usize;
    if let Err(error) = survey.check_trainable() {
        note!("warning: {error}");
    } else if have < need {
        let error = TextError::ShorterThanBatch {
            have,
            need,
            batch: DEFAULT_BATCH,
            seq: DEFAULT_SEQ,
        };
        let hint = hints::of_text(&error)
            .map(|h| format!(" ({h})"))
            .unwrap_or_default();
        note!("warning: too small to train with the defaults: {error}{hint}");
    }
}
