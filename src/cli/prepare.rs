//! Prepares a run from its settings and its corpus.

use std::path::PathBuf;

use crate::config::{
    Budget, Entry, LEAST_TEXT, Means, ModelConfig, ModelKind, Precision, Recipe, Settings,
    SplitKind, TextConfig, TrainConfig,
};
use crate::kernels::simd;
use crate::models::speed::training_gigaflops;
use crate::run::{CorpusData, LastVocab, Packed, Runs, TextData, TokenSource as _, WordData};
use crate::text::{
    self, Corpus, Note, TextError, Token, Vocabulary, segments, split_words, stream_length,
};
use crate::train::{NativeEngine, evaluation_size};
use anyhow::Result;
use indicatif::HumanCount;

use super::error::CliError;
use super::machine::threads;
use super::progress::Progress;
use super::train::warn_of_change;
use super::trainer::Place;
use crate::cli::output::{counted, measured, note, percent, say_notes, say_notes_that};

/// A word of more letters is worth a mention.
pub const LONG_WORD: usize = 100;

/// Complete settings and a corpus that has not been read yet.
pub struct Planned {
    /// The settings, before the corpus is known.
    pub config: TrainConfig,
    given: Settings,
    corpus: Corpus,
    /// The tokens of the model that training starts from, which come first.
    known: Option<Vocabulary>,
    /// The folder of the runs, in which the tokens of a text are written.
    folder: PathBuf,
}

impl Planned {
    /// Chooses the corpus and completes the settings.
    pub fn new(
        corpus: &[String],
        given: Settings,
        known: Option<Vocabulary>,
        runs: &Runs,
    ) -> Result<Self> {
        let named = corpus;
        let (corpus, given) = choose_corpus(named, given, runs)?;
        let corpus = corpus.rereadable()?;
        let mut config = TrainConfig::resolve(&given)?;
        if !named.is_empty() {
            report_unused_vocab(&corpus, &given, &config.text, runs);
        }
        config.corpus = corpus.paths();
        config.corpus_name.clone_from(&corpus.name);
        config.corpus_digest = corpus.digest(&config.text)?;
        if named.is_empty() && given.corpus.is_some() {
            let recorded = given.corpus_digest.as_ref();
            warn_of_change(recorded, Some(&config.corpus_digest), "the corpus");
        }
        // Words have no line ends.
        let of_text = config.kind() == ModelKind::CharRnn;
        say_notes_that(&corpus, |note| {
            of_text || !matches!(note, Note::LineEnds(_))
        });
        Ok(Self {
            config,
            given,
            corpus,
            known,
            folder: runs.dir().to_owned(),
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
            folder: self.folder.clone(),
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
            ModelKind::CharRnn => CorpusData::Text(self.text(corpus, config, known)?),
            ModelKind::WordVae => CorpusData::Words(self.words(corpus, config, known)?),
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

    /// The final settings for the corpus that was read, to be trained at `place`: a char-lstm's are chosen to fit text and budget, a
    /// short text has a smaller batch, a word-vae's default budget grows if the list is small, and evaluations
    /// read what they may cost.
    pub fn complete(&self, data: &CorpusData, place: &Place) -> Result<TrainConfig> {
        let (mut config, expected) = if self.config.recipe == Recipe::Default {
            let (config, tokens) = fitted(&self.given, &self.config, data, place)?;
            (self.of_corpus(config), Some(tokens))
        } else {
            (self.config.clone(), None)
        };
        config.text.max_vocab = self.max_vocab(data.vocabulary());
        if let CorpusData::Text(text) = data {
            let training = text.training_size(&config);
            self.check_length(text.tokens.len(), training)?;
            config.fit_batch(&self.given, training);
        }
        if let (CorpusData::Text(text), ModelConfig::CharRnn(own)) = (data, &config.model) {
            // Checked here, before a run directory is created.
            stream_length(text.training_size(&config), config.batch, own.seq)?;
            warn_of_no_held_out(text, &config)?;
        }
        if self.given.eval_size.is_none() {
            config.eval_size = evaluation_size(&config, data, expected);
        }
        Ok(config)
    }

    /// Refuses a text from which no model learns anything, unless the user has chosen how it is read.
    fn check_length(&self, have: usize, training: usize) -> Result<(), TextError> {
        let is_chosen = self.given.batch.is_some() || self.given.seq.is_some();
        if is_chosen || have >= LEAST_TEXT {
            return Ok(());
        }
        Err(TextError::TooShort {
            name: self.corpus.shown(),
            have,
            need: LEAST_TEXT,
            usable: training.saturating_sub(1),
        })
    }

    /// The limit on the vocabulary's size: the one given, or the default, which a vocabulary may exceed.
    fn max_vocab(&self, vocabulary: &Vocabulary) -> usize {
        let usual = self.config.text.max_vocab;
        match self.given.max_vocab {
            Some(given) => given,
            None => usual.max(vocabulary.letters()),
        }
    }

    /// The vocabulary that `of` makes with a limit on its size. Prints what it cuts; refuses one with nothing to learn.
    fn vocabulary(
        &self,
        counts: &[(Token, u64)],
        of: impl Fn(usize) -> Vocabulary,
    ) -> Result<Vocabulary> {
        let usual = self.config.text.max_vocab;
        let is_chosen = self.given.max_vocab.is_some() || self.config.recipe != Recipe::Default;
        let vocabulary = if is_chosen {
            of(usual)
        } else {
            Vocabulary::with_default_limit(usual, counts, &of)
        };
        vocabulary.check_learnable(&self.corpus.shown(), counts)?;
        if self.max_vocab(&vocabulary) > usual {
            note!(
                "vocabulary: {}, since {usual} would cut {} of the text",
                counted(vocabulary.letters(), "token"),
                percent(of(usual).cut_from(counts).share)
            );
        }
        report_cut(&vocabulary, counts, self.config.text.min_freq);
        Ok(vocabulary)
    }

    fn text(
        &self,
        corpus: &Corpus,
        config: &TrainConfig,
        known: Option<&Vocabulary>,
    ) -> Result<TextData> {
        let progress = Progress::new(corpus.size_bytes());
        let survey = text::survey(corpus, &config.text, |bytes| progress.show(bytes));
        progress.end();
        let survey = survey?;
        survey.check_trainable(&corpus.shown())?;
        let (counts, min_freq, unit) = (&survey.counts, config.text.min_freq, config.text.unit);
        let documents = &config.text.documents;
        let vocabulary = self.vocabulary(counts, |most| {
            match known {
                Some(known) => known.extended(counts, min_freq, most),
                None => Vocabulary::from_counts(unit, counts, min_freq, most),
            }
            .for_documents(documents)
        })?;
        say_notes(corpus);
        if survey.documents > 0 {
            note!("documents: {}", HumanCount(survey.documents));
        }
        let progress = Progress::of_bytes(survey.bytes, "encoded");
        let count = survey.all_tokens() as usize;
        let written = TextData::written(&self.folder, vocabulary.clone(), count, |writer| {
            let changed = || TextError::Changed {
                name: corpus.shown(),
            };
            let pack = writer.packer();
            let push = |packed: Packed| -> Result<()> {
                if packed.len() > writer.left() {
                    return Err(changed().into());
                }
                Ok(writer.push(&packed)?)
            };
            let show = |bytes| progress.show(bytes);
            text::tokens(corpus, &config.text, &vocabulary, show, pack, push)?;
            if writer.left() > 0 {
                return Err(changed().into());
            }
            Ok(())
        });
        progress.end();
        written
    }

    fn words(
        &self,
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
            let (min_freq, unit) = (config.text.min_freq, config.text.unit);
            let counts = &list.counts(unit);
            let vocabulary = self.vocabulary(counts, |most| match known {
                Some(known) => known.extended(counts, min_freq, most),
                None => Vocabulary::for_words(unit, counts, min_freq, most),
            })?;
            let letters = vocabulary.encode_words(&list.words);
            let long = Some(longest(&letters)).filter(|&long| long > LONG_WORD);
            let long = long.map(|long| format!("; the longest has {}", counted(long, "letter")));
            note!(
                "words: {} distinct, {} left out{}",
                HumanCount(list.words.len() as u64),
                counted(list.duplicates, "repetition"),
                long.unwrap_or_default()
            );
            (list.words, letters, vocabulary)
        };
        let (train, valid, test) = split_words(words.len(), config.valid, config.test, config.seed);
        if train.len() < 2 {
            let message = format!(
                "{}: too few words to learn from: {}",
                corpus.shown(),
                words.len()
            );
            let hint = "a word-vae needs hundreds of words or more";
            return Err(CliError::failed(message, hint).into());
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
}

/// The letters of the longest word.
pub fn longest(words: &[Vec<u32>]) -> usize {
    words.iter().map(Vec::len).max().unwrap_or(0)
}

/// Prints what a vocabulary cuts from its text, if anything, and how to keep it.
fn report_cut(vocabulary: &Vocabulary, counts: &[(Token, u64)], min_freq: u64) {
    let cut = vocabulary.cut_from(counts);
    if cut.tokens == 0 {
        return;
    }
    let most: Vec<String> = vocabulary.most_cut().iter().map(Token::visible).collect();
    let more = if most.len() < cut.tokens { " …" } else { "" };
    let least = if min_freq > 1 { "--min-freq 1 " } else { "" };
    note!(
        "cut: {} of {}, {} of the text, read as <unk>: {}{more}; {least}--max-vocab {} keeps all",
        HumanCount(cut.tokens as u64),
        counted(counts.len(), "distinct token"),
        percent(cut.share),
        most.join(" "),
        vocabulary.letters() + cut.tokens
    );
}

/// Warns if a fraction of the text should be held out, but there is nothing in it to predict.
fn warn_of_no_held_out(text: &TextData, config: &TrainConfig) -> Result<()> {
    let (tokens, kind) = (text.tokens.len(), config.split());
    let split = text.split(config)?;
    if let Some(eos) = text.vocabulary.document_end() {
        let is_cut = |border: usize| Ok(*text.tokens.read(border..border + 1)? != [eos]);
        let cut = split.borders().into_iter().map(is_cut);
        let cut: Vec<bool> = cut.collect::<Result<_>>()?;
        let cut = cut.into_iter().filter(|&cut| cut).count();
        if cut > 0 {
            note!(
                "the split cuts a document in {}, since none begins near enough: larger parts hold whole ones",
                counted(cut, "place")
            );
        }
    }
    for (part, fraction, name) in [
        (split.valid, config.valid, "valid"),
        (split.test, config.test, "test"),
    ] {
        if fraction > 0.0 && segments(&part, kind).is_empty() {
            let other = match kind {
                SplitKind::Interleaved => ", or --split contiguous",
                SplitKind::Contiguous | SplitKind::Window(_) => "",
            };
            note!(
                "warning: --split {kind} --{name} {fraction} holds out no two characters in a row of {}, so nothing is evaluated on that part; a larger --{name}{other} does",
                counted(tokens, "character")
            );
        }
    }
    Ok(())
}

/// The corpus given, else the settings file's, else the one last given to `vocab` (with the text
/// settings given there), else the bundled one. Prints the choice if it was a default.
fn choose_corpus(args: &[String], given: Settings, runs: &Runs) -> Result<(Corpus, Settings)> {
    if !args.is_empty() {
        return Ok((Corpus::resolve(args)?, given));
    }
    if let Some(files) = given.corpus.as_ref().filter(|files| !files.is_empty()) {
        let corpus = Corpus::resolve(files).map_err(moved("the text of --config"))?;
        return Ok((corpus, given));
    }
    let Some(last) = LastVocab::load(runs.dir())? else {
        let corpus = Corpus::bundled();
        note!("corpus: {} (bundled)", corpus.name);
        return Ok((corpus, given));
    };
    let mut settings = last.settings();
    let corpus = Corpus::resolve(&last.corpus).map_err(moved("the text last given to vocab"))?;
    note!("corpus: {} (the one last given to vocab)", corpus.name);
    let is_plain = matches!(given.recipe, None | Some(Recipe::Default));
    let has_documents = given
        .model
        .is_some_and(|model| model.kind() == ModelKind::CharRnn)
        && is_plain;
    if let Some(documents) = settings.documents.take_if(|_| !has_documents)
        && !documents.is_none()
    {
        note!(
            "note: --documents {documents}, given to vocab, is not for this model, which reads all as one text"
        );
    }
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

/// Says of a text that is not there, and that the command line does not name, what it is.
fn moved(what: &str) -> impl Fn(TextError) -> anyhow::Error {
    move |error| match error {
        TextError::Missing { .. } => {
            let hint = format!("this is {what}; name it where it is now, or another one");
            CliError::failed(error.to_string(), hint).into()
        }
        error => error.into(),
    }
}

/// Reports the text settings that `vocab` had for this corpus and training has not, because the corpus is named. Those
/// given are meant as they are.
fn report_unused_vocab(corpus: &Corpus, given: &Settings, text: &TextConfig, runs: &Runs) {
    // A file that is damaged matters to those who use it.
    let last = LastVocab::load(runs.dir()).ok().flatten();
    let Some(last) = last.filter(|last| last.corpus == corpus.paths()) else {
        return;
    };
    let given: Vec<String> = given.entries().iter().map(Entry::key).collect();
    let differing = last.settings().differing(&Settings::of_text(text));
    let differing = differing
        .into_iter()
        .filter(|(entry, _)| !given.contains(&entry.key()));
    let flag = |(entry, own): (Entry, String)| {
        let (key, value) = (entry.key(), entry.value);
        format!("--{key}={value} (now {own})")
    };
    let flags: Vec<String> = differing.map(flag).collect();
    if !flags.is_empty() {
        note!(
            "note: not taken over from vocab, which read this corpus with {}; run `train` without naming the corpus to use them",
            flags.join(" ")
        );
    }
}

/// What is said of averaged weights.
fn averaged(decay: f64) -> String {
    if decay == 0.0 {
        return String::new();
    }
    let steps = (1.0 / (1.0 - decay)).round();
    format!(", weights averaged over {}", counted(steps as u64, "step"))
}

/// Chooses and prints the settings that fit the corpus, the budget and, for a budget in minutes, the machine.
/// Also returns the tokens that the model is expected to train on.
fn fitted(
    given: &Settings,
    config: &TrainConfig,
    data: &CorpusData,
    place: &Place,
) -> Result<(TrainConfig, f64)> {
    let budget = given.has_budget().then_some(config.budget);
    let timed = matches!(budget, Some(Budget::Minutes(_)));
    let means = Means {
        budget,
        gigaflops: if timed {
            training_gigaflops(threads(config.threads))
        } else {
            0.0
        },
        has_bf16: place.is_cpu() && NativeEngine::lacks(Precision::Bf16, simd::level()).is_none(),
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
            let minutes = measured(minutes, "minute");
            format!("{minutes} at {:.0} GFLOP/s", means.gigaflops)
        }
        (Some(Budget::Steps(steps)), _) => counted(steps, "step"),
        (Some(Budget::Epochs(epochs)), _) => measured(epochs, "epoch"),
        (None, CorpusData::Text(_)) => "this text".to_owned(),
        (None, CorpusData::Words(_)) => "this list".to_owned(),
    };
    let (step, more) = match &chosen.model {
        ModelConfig::CharRnn(own) => (
            format!("{} of {}", counted(chosen.batch, "stream"), own.seq),
            format!(
                ", DropConnect {}{}",
                own.recurrent_dropout,
                averaged(chosen.ema)
            ),
        ),
        ModelConfig::WordVae(own) if own.pretrain_decoder > 0.0 => (
            format!("{} a step", counted(chosen.batch, "word")),
            format!(
                ", the decoder alone for {:.0} %",
                100.0 * own.pretrain_decoder
            ),
        ),
        ModelConfig::WordVae(_) | ModelConfig::Article(_) => (
            format!("{} a step", counted(chosen.batch, "word")),
            String::new(),
        ),
    };
    note!(
        "for {aim}: {} {}{}, {step}, learning rate {}, dropout {}{more}; about {} characters, {:.1} passes",
        chosen.cell,
        chosen.hidden,
        match chosen.precision {
            Precision::F32 => String::new(),
            precision => format!(" in {precision}"),
        },
        chosen.lr,
        chosen.dropout,
        if fit.tokens < 1e3 {
            format!("{:.0}", fit.tokens)
        } else if fit.tokens < 1e6 {
            format!("{:.0} thousand", fit.tokens / 1e3)
        } else {
            format!("{:.1} million", fit.tokens / 1e6)
        },
        fit.passes,
    );
    let usual = config.text.max_vocab;
    let times = means.work_compared(&chosen, usual);
    if given.max_vocab.is_none() && data.vocabulary().letters() > usual && times > 1.05 {
        note!("its vocabulary makes a step cost {times:.1} times as much as --max-vocab {usual}");
    }
    Ok((chosen, fit.tokens))
}
