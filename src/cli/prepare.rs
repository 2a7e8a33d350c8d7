//! Prepares a run from its settings and its corpus.

use crate::config::{
    Budget, LEAST_TEXT, Means, ModelConfig, ModelKind, Recipe, Settings, TrainConfig,
};
use crate::models::speed::training_gigaflops;
use crate::run::{CorpusData, LastVocab, Runs, TextData, WordData};
use crate::text::{self, Corpus, TextError, Vocabulary, split_words, stream_length};
use crate::train::evaluation_size;
use anyhow::Result;

use super::error::CliError;
use super::machine::threads;
use super::progress::Progress;
use crate::cli::output::{note, say_notes};

/// Complete settings and a corpus that has not been read yet.
pub struct Planned {
    /// The settings, before the corpus is known.
    pub config: TrainConfig,
    given: Settings,
    corpus: Corpus,
    /// The tokens of the model that training starts from, which come first.
    known: Option<Vocabulary>,
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
        let corpus = corpus.rereadable()?;
        let mut config = TrainConfig::resolve(&given)?;
        config.corpus = corpus.paths();
        config.corpus_name.clone_from(&corpus.name);
        config.corpus_digest = corpus.digest(&config.text)?;
        say_notes(&corpus);
        Ok(Self {
            config,
            given,
            corpus,
            known,
        })
    }

    /// The same corpus with another value of one setting.
    pub fn with(&self, key: &str, value: &str) -> Result<Self> {
        let mut given = self.given.clone();
        given.set(key, value)?;
        let config = self.of_corpus(TrainConfig::resolve(&given)?);
        Ok(Self {
            config,
            given,
            corpus: self.corpus.clone(),
            known: self.known.clone(),
        })
    }

    fn of_corpus(&self, config: TrainConfig) -> TrainConfig {
        let own = &self.config;
        TrainConfig {
            corpus: own.corpus.clone(),
            corpus_name: own.corpus_name.clone(),
            corpus_digest: own.corpus_digest.clone(),
            ..config
        }
    }

    /// Reads the corpus as tokens.
    pub fn read(&self) -> Result<CorpusData> {
        let (corpus, config, known) = (&self.corpus, &self.config, self.known.as_ref());
        Ok(match config.kind() {
            ModelKind::CharRnn => CorpusData::Text(prepare_text(corpus, config, known)?),
            ModelKind::WordVae => CorpusData::Words(prepare_words(corpus, config, known)?),
        })
    }

    /// Whether another plan reads the same tokens, held out in the same way.
    pub fn reads_the_same(&self, other: &Self) -> bool {
        let read = |config: &TrainConfig| {
            let held_out = [config.valid, config.test].map(f64::to_bits);
            let kind = (config.kind(), config.recipe);
            (config.text.clone(), kind, held_out, config.seed)
        };
        read(&self.config) == read(&other.config)
    }

    /// The final settings for the corpus that was read: a char-lstm's are chosen to fit text and budget, a
    /// short text has a smaller batch, a word-vae's default budget grows if the list is small, and evaluations
    /// read what they may cost.
    pub fn complete(&self, data: &CorpusData) -> Result<TrainConfig> {
        let (mut config, expected) = if self.config.recipe == Recipe::Default {
            let (config, tokens) = fitted(&self.given, &self.config, data)?;
            (self.of_corpus(config), Some(tokens))
        } else {
            (self.config.clone(), None)
        };
        if let CorpusData::Text(text) = data {
            self.check_length(text.tokens.len())?;
            config.fit_batch(&self.given, text.training_size(&config));
        }
        if let (CorpusData::Text(text), ModelConfig::CharRnn(own)) = (data, &config.model) {
            // Checked here, before a run directory is created.
            stream_length(text.training_size(&config), config.batch, own.seq)?;
        }
        if self.given.eval_size.is_none() {
            config.eval_size = evaluation_size(&config, data, expected);
        }
        Ok(config)
    }

    /// Refuses a text from which no model learns anything, unless the user has chosen how it is read.
    fn check_length(&self, have: usize) -> Result<(), TextError> {
        let is_chosen = self.given.batch.is_some() || self.given.seq.is_some();
        if is_chosen || have >= LEAST_TEXT {
            return Ok(());
        }
        Err(TextError::TooShort {
            name: self.config.corpus_name.clone(),
            have,
            need: LEAST_TEXT,
        })
    }
}

/// The corpus given, else the settings file's, else the one last given to `vocab` (with the text
/// settings given there), else the bundled one. Prints the choice if it was a default.
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
    let settings = Settings::of_text(&last.text);
    let corpus = Corpus::resolve(&last.corpus)?;
    note!("corpus: {} (the one last given to vocab)", corpus.name);
    // A recipe determines the normal form and the unit, but not how the file is read.
    let settings = match given.recipe {
        None | Some(Recipe::Default) => settings,
        Some(_) => Settings {
            encoding: settings.encoding,
            field: settings.field,
            strip: settings.strip,
            newlines: settings.newlines,
            words: settings.words,
            ..Settings::default()
        },
    };
    let given = given.over(settings);
    Ok((corpus, given))
}

/// Chooses and prints the settings that fit the corpus, the budget and, for a budget in minutes, the machine.
/// Also returns the tokens that the model is expected to train on.
fn fitted(given: &Settings, config: &TrainConfig, data: &CorpusData) -> Result<(TrainConfig, f64)> {
    let budget = given.has_budget().then_some(config.budget);
    let timed = matches!(budget, Some(Budget::Minutes(_)));
    let means = Means {
        budget,
        gigaflops: if timed {
            training_gigaflops(threads(config.threads))
        } else {
            0.0
        },
        tokens: data.training_tokens(config),
        words: match data {
            CorpusData::Text(_) => 0,
            CorpusData::Words(words) => words.train.len(),
        },
        vocabulary: data.vocabulary().len(),
    };
    let fit = means.fit(given);
    let chosen = TrainConfig::resolve(&given.clone().over(fit.settings))?;
    let aim = match (budget, data) {
        (Some(Budget::Minutes(minutes)), _) => {
            format!("{minutes} minutes at {:.0} GFLOP/s", means.gigaflops)
        }
        (Some(budget), _) => budget.to_string(),
        (None, CorpusData::Text(_)) => "this text".to_owned(),
        (None, CorpusData::Words(_)) => "this list".to_owned(),
    };
    let (step, more) = match &chosen.model {
        ModelConfig::CharRnn(own) => (
            format!("{} streams of {}", chosen.batch, own.seq),
            format!(", DropConnect {}", own.recurrent_dropout),
        ),
        ModelConfig::WordVae(own) if own.pretrain_decoder > 0.0 => (
            format!("{} words a step", chosen.batch),
            format!(
                ", the decoder alone for {:.0} %",
                100.0 * own.pretrain_decoder
            ),
        ),
        ModelConfig::WordVae(_) | ModelConfig::Article(_) => {
            (format!("{} words a step", chosen.batch), String::new())
        }
    };
    note!(
        "for {aim}: {} {}, {step}, learning rate {}, dropout {}{more}; about {} characters, {:.1} passes",
        chosen.cell,
        chosen.hidden,
        chosen.lr,
        chosen.dropout,
        if fit.tokens < 1e6 {
            format!("{:.0} thousand", fit.tokens / 1e3)
        } else {
            format!("{:.1} million", fit.tokens / 1e6)
        },
        fit.passes,
    );
    Ok((chosen, fit.tokens))
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
        return Err(CliError::failed(message, "a word-vae needs hundreds of words or more").into());
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
