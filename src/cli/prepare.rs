//! From settings and a corpus to all that a run is made of.

use crate::config::{Budget, Fit, ModelKind, Recipe, Settings, TimeBudget, TrainConfig};
use crate::models::speed::training_gigaflops;
use crate::run::{CorpusData, LastVocab, Runs, TextData, WordData};
use crate::text::{self, Corpus, Vocabulary, split_words, stream_length};
use anyhow::Result;

use super::error::CliError;
use super::machine::threads;
use super::progress::Progress;
use crate::cli::output::note;

/// Settings that are complete, and a corpus that has not been read yet.
pub struct Planned {
    /// The settings; reading may raise a budget that nobody asked for, and chooses what fits a budget
    /// of time.
    pub config: TrainConfig,
    given: Settings,
    corpus: Corpus,
    /// The tokens that come first, of the model that the training begins with.
    known: Option<Vocabulary>,
    /// Whether the budget was asked for.
    asked: bool,
}

impl Planned {
    /// Chooses the corpus and completes the settings.
    pub fn new(
        corpus: &[String],
        given: Settings,
        known: Option<Vocabulary>,
        runs: &Runs,
    ) -> Result<Self> {
        let (corpus, given) = choose_corpus(corpus, given, runs)?;
        let mut config = TrainConfig::resolve(&given)?;
        config.corpus = corpus.paths();
        config.corpus_name.clone_from(&corpus.name);
        config.corpus_digest = corpus.digest()?;
        Ok(Self {
            config,
            corpus,
            known,
            given: given.clone(),
            asked: given.steps.is_some() || given.epochs.is_some() || given.minutes.is_some(),
        })
    }

    /// Reads the corpus as tokens.
    pub fn read(self) -> Result<(TrainConfig, CorpusData)> {
        let mut config = self.config;
        let data = tokens(&self.corpus, &config, self.known.as_ref())?;
        if let Some(fitted) = fitted(&self.given, &config, &data)? {
            config = fitted;
        }
        if let CorpusData::Text(text) = &data {
            // Refused here already, before a run is made.
            stream_length(text.training_size(&config), config.batch, config.seq)?;
        }
        if !self.asked && config.recipe == Recipe::Default {
            config.fit_default_budget(data.training_size(&config));
        }
        Ok((config, data))
    }
}

/// Flags over a file; a budget on the command line replaces the file's, whichever kind each is.
pub fn layered(mut flags: Settings, mut file: Settings) -> Settings {
    if flags.steps.is_some() || flags.epochs.is_some() || flags.minutes.is_some() {
        (file.steps, file.epochs, file.minutes) = (None, None, None);
    }
    flags.format = None;
    flags.over(file)
}

/// The corpus given, else the settings file's, else the one last given to `vocab` (with the text
/// settings given there), else the bundled one. Says what was chosen for the user.
fn choose_corpus(args: &[String], given: Settings, runs: &Runs) -> Result<(Corpus, Settings)> {
    if !args.is_empty() {
        return Ok((Corpus::resolve(args)?, given));
    }
    if let Some(files) = given.corpus.as_ref().filter(|files| !files.is_empty()) {
        return Ok((Corpus::resolve(files)?, given));
    }
    let Some(last) = LastVocab::load(runs.dir())? else {
        let corpus = Corpus::bundled();
        note!("corpus: {} (bundled)", corpus.name);
        return Ok((corpus, given));
    };
    let settings = Settings::of_text(last.text.clone());
    let corpus = Corpus::resolve(&last.corpus)?;
    note!("corpus: {} (the one last given to vocab)", corpus.name);
    // An original system brings its own normal form and unit; how the file is read stays.
    let settings = match given.recipe {
        None | Some(Recipe::Default) => settings,
        Some(_) => Settings {
            encoding: settings.encoding,
            newlines: settings.newlines,
            words: settings.words,
            ..Settings::default()
        },
    };
    let given = given.over(settings);
    Ok((corpus, given))
}

/// For a char-lstm with a budget of time, the settings that fit it, the machine and the text; says
/// what they are.
fn fitted(
    given: &Settings,
    config: &TrainConfig,
    data: &CorpusData,
) -> Result<Option<TrainConfig>> {
    let (Budget::Minutes(minutes), CorpusData::Text(text)) = (config.budget, data) else {
        return Ok(None);
    };
    if config.recipe != Recipe::Default {
        return Ok(None);
    }
    let budget = TimeBudget {
        minutes,
        gigaflops: training_gigaflops(threads(config.threads)),
        tokens: text.training_size(config),
        vocabulary: text.vocabulary.len(),
    };
    let Fit {
        settings,
        tokens,
        passes,
    } = budget.fit(given);
    let chosen = TrainConfig::resolve(&given.clone().over(settings))?;
    note!(
        "for {minutes} minutes at {:.0} GFLOP/s: {} {}, {} streams of {}, learning rate {}, dropout {}; about {:.1} million characters, {passes:.1} passes",
        budget.gigaflops,
        chosen.cell,
        chosen.hidden,
        chosen.batch,
        chosen.seq,
        chosen.lr,
        chosen.dropout,
        tokens / 1e6,
    );
    Ok(Some(TrainConfig {
        corpus: config.corpus.clone(),
        corpus_name: config.corpus_name.clone(),
        corpus_digest: config.corpus_digest.clone(),
        ..chosen
    }))
}

/// The corpus as tokens.
fn tokens(corpus: &Corpus, config: &TrainConfig, known: Option<&Vocabulary>) -> Result<CorpusData> {
    Ok(match config.model {
        ModelKind::CharRnn => CorpusData::Text(prepare_text(corpus, config, known)?),
        ModelKind::WordVae => CorpusData::Words(prepare_words(corpus, config, known)?),
    })
}

fn prepare_text(
    corpus: &Corpus,
    config: &TrainConfig,
    known: Option<&Vocabulary>,
) -> Result<TextData> {
    let progress = Progress::new(corpus.size_bytes());
    let survey = text::survey(corpus, &config.text, |bytes| progress.show(bytes));
    progress.end();
    let survey = survey?;
    survey.check_trainable()?;
    let (min_freq, max_vocab) = (config.text.min_freq, config.text.max_vocab);
    let vocabulary = match known {
        Some(known) => known.extended(&survey.counts, min_freq, max_vocab),
        None => Vocabulary::from_counts(config.text.unit, &survey.counts, min_freq, max_vocab),
    };
    let tokens = text::tokens(corpus, &config.text, &vocabulary)?;
    Ok(TextData { vocabulary, tokens })
}

fn prepare_words(
    corpus: &Corpus,
    config: &TrainConfig,
    known: Option<&Vocabulary>,
) -> Result<WordData> {
    let (words, letters, vocabulary) = if config.recipe == Recipe::Article {
        let words = text::article_words(corpus, &config.text)?;
        let letters = words
            .iter()
            .map(|word| text::article_letters(word))
            .collect();
        (words, letters, text::article_vocabulary()?)
    } else {
        let progress = Progress::new(corpus.size_bytes());
        let list = text::words(corpus, &config.text, |bytes| progress.show(bytes));
        progress.end();
        let list = list?;
        let counts = list.counts(config.text.unit);
        let (min_freq, max_vocab) = (config.text.min_freq, config.text.max_vocab);
        let vocabulary = match known {
            Some(known) => known.extended(&counts, min_freq, max_vocab),
            None => Vocabulary::for_words(config.text.unit, &counts, min_freq, max_vocab),
        };
        note!(
            "words: {} distinct, {} repetitions left out",
            list.words.len(),
            list.duplicates
        );
        let letters = vocabulary.encode_words(&list.words);
        (list.words, letters, vocabulary)
    };
    let (train, valid, test) = split_words(words.len(), config.valid, config.test, config.seed);
    if train.len() < 2 {
        let message = format!(
            "{}: too few words to learn from: {}",
            corpus.name,
            words.len()
        );
        return Err(CliError::failed(message, "a word-vae wants hundreds of words or more").into());
    }
    Ok(WordData {
        vocabulary,
        words,
        letters,
        train,
        valid,
        test,
    })
}
