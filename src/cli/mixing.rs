//! `--mix-ngram`: the n-gram model of the training text, beside the network.

use crate::config::{ModelChoice, Settings, SplitKind, TrainConfig};
use crate::evaluate::mixture::{Mixture, fitted_weight};
use crate::evaluate::ngram::{HIGHEST_ORDER, NGrams};
use crate::evaluate::{Part, Reading, ngram_nats, surprisals};
use crate::model::TextModel;
use crate::parallel::Running;
use crate::run::{
    CorpusData, ModelHeader, RunDir, RunError, TextData, TokenSource as _, Tokens, split,
};
use crate::text::{Corpus, Note, Split, segments, whole};
use anyhow::Result;
use clap::Args;

use super::error::CliError;
use super::output::{note, say_notes_that};
use super::progress::Progress;

/// The most tokens of training text that are counted.
const MOST_TOKENS: usize = 50_000_000;
/// The memory that each takes while they are counted.
const BYTES_PER_TOKEN: usize = 40;

/// The n-gram model beside the network, for commands that only mix it.
#[derive(Args)]
pub struct MixFlags {
    /// Mix the model's probabilities with those of an n-gram model of its training text, at the
    /// weight that is best on the validation part
    #[arg(long)]
    pub mix_ngram: bool,
    /// The text that a model file was trained on, for --mix-ngram; a run has it. May be given
    /// several times
    #[arg(long, value_name = "TEXT", requires = "mix_ngram")]
    pub corpus: Vec<String>,
}

/// The text that a model was trained on.
pub struct Training {
    pub tokens: Tokens,
    pub split: SplitKind,
    /// The fractions held out.
    pub valid: f64,
    pub test: f64,
    /// The number of tokens that models predict.
    pub outputs: usize,
    /// The token that ends a document.
    pub eos: Option<u32>,
}

impl Training {
    /// That of a run, or the one named for a model file, which is assumed to have the default split.
    fn open(model: &TextModel, run: Option<&RunDir>, named: &[String]) -> Result<Self> {
        let header = model.header();
        let name = run.map_or_else(
            || model.path().display().to_string(),
            |run| format!("run {}", run.name()),
        );
        let tokens = match run.map(RunDir::corpus).transpose()? {
            Some(_) if !named.is_empty() => return Err(has_its_own(&name)),
            Some(CorpusData::Text(TextData {
                tokens, vocabulary, ..
            })) if vocabulary == header.vocabulary => tokens,
            Some(_) => {
                let message =
                    format!("{name}: corpus.safetensors is not what the model was trained on");
                let hint = "copy both again from the run they came from";
                return Err(CliError::failed(message, hint).into());
            }
            None => named_text(header, &name, named)?.into(),
        };
        let config = match run {
            Some(run) => run.config()?,
            None => TrainConfig::resolve(&Settings {
                model: Some(ModelChoice::CharLstm),
                split: Some(header.split.parse()?),
                ..Settings::default()
            })?,
        };
        Ok(Self {
            tokens,
            split: config.split(),
            valid: config.valid,
            test: config.test,
            outputs: header.vocabulary.outputs(),
            eos: header.vocabulary.document_end(),
        })
    }

    /// Where the training and the validation part are.
    pub fn parts(&self) -> Result<Split, RunError> {
        split(&self.tokens, self.eos, self.split, self.valid, self.test)
    }

    /// Counts the training part, unless it is too long.
    pub fn count(&self, running: Running) -> Result<NGrams, String> {
        let parts = self.parts().map_err(|error| error.to_string())?.train;
        let tokens: usize = parts.iter().map(ExactSizeIterator::len).sum();
        if tokens > MOST_TOKENS {
            return Err(format!(
                "n-grams of {tokens} characters would take {} GB of memory and many minutes",
                BYTES_PER_TOKEN * tokens / 1_000_000_000
            ));
        }
        let read = parts.iter().map(|range| self.tokens.read(range.clone()));
        let parts: Result<Vec<_>, RunError> = read.collect();
        let parts = parts.map_err(|error| error.to_string())?;
        let Running { threads, progress } = running;
        let parts = parts.iter().map(|part| part.iter().copied());
        Ok(NGrams::counted(
            HIGHEST_ORDER,
            self.outputs,
            parts,
            threads,
            progress,
        ))
    }
}

pub fn has_its_own(name: &str) -> anyhow::Error {
    let message = format!("{name} has its own training text");
    CliError::misuse(message, "leave out --corpus, or name a model file").into()
}

/// The corpus named, which must be the one that the model in the file was trained on.
pub fn named_text(header: &ModelHeader, name: &str, named: &[String]) -> Result<Vec<u32>> {
    if named.is_empty() {
        let message = format!("{name} has no training text to count");
        let hint = format!("name it with --corpus: {}", header.corpus_name);
        return Err(CliError::misuse(message, hint).into());
    }
    let corpus = Corpus::resolve(named)?.rereadable()?;
    let digest = &header.corpus_digest;
    // It is read as in training, so no flag helps with one that cannot be.
    let found = corpus.digest(&header.text);
    let is_trained_on = found.as_ref().is_ok_and(|found| found == digest);
    if !is_trained_on && corpus.digest_of_bytes()? != *digest {
        let why = found.err().map(|error| format!(": {error}"));
        let message = format!(
            "{} is not the text that {name} was trained on{}",
            corpus.shown(),
            why.unwrap_or_default()
        );
        let hint = format!("give --corpus that text, unchanged: {}", header.corpus_name);
        return Err(CliError::failed(message, hint).into());
    }
    let progress = Progress::new(corpus.size_bytes());
    let text = whole(&corpus, &header.text, |bytes| progress.show(bytes));
    progress.end();
    say_notes_that(&corpus, |note| !matches!(note, Note::LineEnds(_)));
    let open = header.vocabulary.encode_open(&text?);
    Ok(open.readable(header.vocabulary.unk()))
}

/// The order from 1 on that costs the least.
pub fn best_order(nats: &[f64]) -> usize {
    let best = (0..nats.len()).min_by(|&a, &b| nats[a].total_cmp(&nats[b]));
    best.map_or(1, |index| index + 1)
}

/// The model, mixed if that is asked for with the n-gram model of its training text whose order and
/// weight are best on the validation part.
pub fn mixed(flags: &MixFlags, model: TextModel, run: Option<&RunDir>) -> Result<TextModel> {
    if !flags.mix_ngram {
        return Ok(model);
    }
    let training = Training::open(&model, run, &flags.corpus)?;
    let split = training.parts()?;
    let valid = segments(&split.valid, training.split);
    if valid.is_empty() {
        let message = "there is no validation part to fit the weight of the n-gram model on";
        return Err(CliError::failed(message, "train with --valid 0.1").into());
    }
    let counted: usize = split.train.iter().map(ExactSizeIterator::len).sum();
    let read: usize = valid.iter().map(ExactSizeIterator::len).sum();
    let progress = Progress::of_ngrams((counted + 2 * read) as u64);
    let running = Running {
        threads: model.threads(),
        progress: &|more| progress.add(more),
    };
    let ngrams = training
        .count(running)
        .map_err(|why| CliError::failed(why, "leave out --mix-ngram"))?;
    let tokens = training.tokens.all()?;
    let order = best_order(&ngram_nats(&ngrams, &tokens, &valid, running));
    let texts: Vec<&[u32]> = valid.iter().map(|range| &tokens[range.clone()]).collect();
    let whole = |text| Part::whole(model.network(), text);
    let read: Vec<Part> = texts.iter().copied().map(whole).collect();
    let network = surprisals(&read, Reading::Sections, running)?.concat();
    progress.end();
    let ngram = texts.iter().map(|text| ngrams.probabilities(order, text));
    let weight = fitted_weight(&network, &ngram.collect::<Vec<_>>().concat());
    note!("mixed with a {order}-gram model of the training text, at weight {weight:.3}");
    Ok(model.mixed_with(Mixture::new(ngrams, order, weight)))
}
