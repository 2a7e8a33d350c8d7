//! `textgen vocab`: reports on the characters of a corpus, and stores its vocabulary for `train`.

mod report;
mod words;

use std::io::Write as _;
use std::path::Path;

use crate::config::{LEAST_TEXT, TextFlags};
use crate::run::LastVocab;
use crate::text::{Corpus, Survey, Vocabulary, survey};
use clap::Args;

use report::Report;
use words::Words;

use super::progress::Progress;
use crate::cli::output::{counted, json_line, note, say_notes, stdout};

/// The flags of `vocab`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  textgen vocab fairy-tales.txt
  textgen vocab my-texts/ --unit grapheme --max-vocab 1000
  textgen vocab names.csv --field name --json")]
pub struct VocabArgs {
    /// Files, folders, names under corpora/, a bundled corpus, or `-` for standard input
    /// [default: the bundled fairy tales]
    #[arg(value_name = "CORPUS")]
    pub corpus: Vec<String>,
    #[command(flatten)]
    text: TextFlags,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub top: usize,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reports on a corpus and leaves its vocabulary in the folder of the runs.
pub fn run(args: &VocabArgs, runs: &Path) -> anyhow::Result<()> {
    let mut config = args.text.0.text()?;
    let mut corpus = Corpus::resolve(&args.corpus)?;
    if args.text.0.words.is_some() {
        corpus = corpus.rereadable()?;
    }
    if args.corpus.is_empty() {
        note!("no corpus given: using the bundled {}", corpus.name);
    }
    let progress = Progress::new(corpus.size_bytes());
    let survey = survey(&corpus, &config, |bytes| progress.show(bytes));
    progress.end();
    let survey = survey?;
    let (counts, usual) = (&survey.counts, config.max_vocab);
    let (unit, min_freq, documents) = (config.unit, config.min_freq, &config.documents);
    let of = |most| Vocabulary::from_counts(unit, counts, min_freq, most).for_documents(documents);
    let vocabulary = match args.text.0.max_vocab {
        Some(given) => of(given),
        None => Vocabulary::with_default_limit(usual, counts, of),
    };
    config.max_vocab = usual.max(vocabulary.letters());
    let split = args.text.0.words;
    let words = split.map(|split| Words::count(&corpus, &config, split));
    let words = words.transpose()?;
    say_notes(&corpus);
    let report = Report {
        survey: &survey,
        vocabulary: &vocabulary,
        config: &config,
        corpus: &corpus,
        words: words.as_ref(),
        usual,
    };
    let text = if args.json {
        format!("{}\n", json_line(&report.to_json())?)
    } else {
        report.to_text(args.top)?
    };
    // Written before the report, because the report's reader may close the pipe.
    let last = LastVocab::new(
        corpus.paths(),
        corpus.name.clone(),
        config,
        args.text.0.max_vocab.is_some(),
        vocabulary.clone(),
    );
    let saved = last.save(runs);
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    warn(&survey, &vocabulary, &corpus.shown());
    let path = saved?;
    note!("vocabulary written to {}", path.display());
    Ok(())
}

fn warn(survey: &Survey, vocabulary: &Vocabulary, name: &str) {
    let trainable = survey.check_trainable(name);
    if let Err(error) = trainable.and_then(|()| vocabulary.check_learnable(name, &survey.counts)) {
        note!("warning: {error}");
    } else if survey.tokens < LEAST_TEXT as u64 {
        note!(
            "warning: too short to train with the defaults: {} of at least {LEAST_TEXT}",
            counted(survey.tokens, "character")
        );
    }
}
