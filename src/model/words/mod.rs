//! A word-vae, its no-latent baseline, or the original article's network: invents, encodes, decodes
//! and scores words.

mod generate;
mod latent;
mod score;

use std::fmt;
use std::path::{Path, PathBuf};

pub use self::generate::{WordEvent, WordOptions};
pub use self::latent::{DecodeOptions, WordMap};
pub use self::score::ScoreOptions;
use super::{ModelError, OpenOptions, weights};
use crate::config::{ConfigError, ModelKind, OnUnknown};
use crate::models::article::Article;
use crate::models::word_vae::WordVae;
use crate::parallel::Running;
use crate::run::{ModelFile, ModelHeader};
use crate::text::{SpecialTokens, normalize};

/// A generator of words with its vocabulary.
///
/// ```
/// use textgen::model::{DecodeOptions, WordModel, WordOptions};
/// use textgen::OnUnknown;
///
/// let model = WordModel::open("tests/golden-words/model.safetensors")?;
/// // Invent words ...
/// for word in model.generate(&WordOptions::new(1), 5)? {
///     println!("{word}");
/// }
/// // ... and interpolate between two of them.
/// let [anna, stella] = ["anna", "stella"].map(|word| model.word(word, OnUnknown::Error));
/// let ends = [&anna?, &stella?];
/// let path = model.interpolate(ends, 8, Default::default(), &DecodeOptions::default())?;
/// assert_eq!(path[0].1.text, "anna");
/// # Ok::<(), textgen::ModelError>(())
/// ```
pub struct WordModel {
    network: WordNetwork,
    header: ModelHeader,
    path: PathBuf,
    suppressed: Vec<u32>,
    special: SpecialTokens,
    /// The words that the model was trained on, one per line.
    training_words: String,
    threads: usize,
    watcher: Option<Watcher>,
}

enum WordNetwork {
    Vae(Box<WordVae>),
    Article(Article),
}

/// An activity of a model on many words, for progress reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Encode,
    Decode,
    /// Evaluating; counted in tokens, the others in words.
    Score,
}

/// Called at the start of an activity with its number of items. The function that it returns is called
/// with the number of items done since the last call, and dropped at the end.
pub(crate) type Watcher = Box<dyn Fn(Activity, u64) -> Box<dyn Fn(u64) + Sync> + Send + Sync>;

/// A word in a model's normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// In the model's normal form.
    pub text: String,
    /// One for each letter, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// Unknown letters, each with its replacement, which is empty if it was left out.
    pub replaced: Vec<(String, String)>,
}

/// A word that a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedWord {
    /// In the model's normal form.
    pub text: String,
    /// One for each letter, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// log p(word | z) in nats at temperature 1, including the end of the word; NaN for the article's
    /// network, whose words have no probability.
    pub log_prob: f64,
}

impl fmt::Display for GeneratedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for WordModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut model = f.debug_struct("WordModel");
        model.field("header", &self.header).finish_non_exhaustive()
    }
}

impl WordModel {
    /// Opens a `model.safetensors` with the default [`OpenOptions`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a `model.safetensors` with these options.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, ModelError> {
        Self::new(&ModelFile::open(path.as_ref())?, options)
    }

    pub(crate) fn new(file: &ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        let (header, weights) = (file.header.clone(), weights(file, options.quantize)?);
        let network = &header.network;
        if network.model() != ModelKind::WordVae {
            return Err(ModelError::Kind {
                found: network.model().name(),
                wanted: ModelKind::WordVae.name(),
            });
        }
        Ok(Self {
            network: if network.is_article() {
                WordNetwork::Article(Article::new(network, &weights)?)
            } else {
                WordNetwork::Vae(Box::new(WordVae::new(network, &weights)?))
            },
            suppressed: header.vocabulary.suppressed(),
            special: header.vocabulary.special_tokens()?,
            training_words: file.training_text()?.unwrap_or_default().to_owned(),
            threads: options.threads(),
            watcher: None,
            path: file.path().to_owned(),
            header,
        })
    }

    /// Latent size Z; 0 for a no-latent baseline.
    pub fn latent_size(&self) -> usize {
        self.header.network.latent()
    }

    pub(crate) const fn header(&self) -> &ModelHeader {
        &self.header
    }

    pub(crate) fn set_watcher(&mut self, watcher: Watcher) {
        self.watcher = Some(watcher);
    }

    /// The words that the model was trained on, in the order of its file.
    pub fn training_words(&self) -> Vec<Word> {
        self.known_words(self.training_words.lines())
    }

    /// Normalises and encodes a word as in training.
    pub fn word(&self, text: &str, on_unknown: OnUnknown) -> Result<Word, ModelError> {
        let normal = |text: &str| normalize(text, &self.header.text).trim().to_owned();
        let mut word = self.encoded(text, normal, on_unknown)?;
        if word.tokens.is_empty() {
            let word = text.to_owned();
            return Err(ModelError::NoWord { word });
        }
        word.text = self.header.vocabulary.decode(&word.tokens);
        Ok(word)
    }

    /// The tokens of a text in the model's normal form, if there are any.
    pub(crate) fn tokenize(&self, text: &str, on_unknown: OnUnknown) -> Result<Word, ModelError> {
        self.encoded(text, |text| normalize(text, &self.header.text), on_unknown)
    }

    fn encoded(
        &self,
        text: &str,
        normal: impl Fn(&str) -> String,
        on_unknown: OnUnknown,
    ) -> Result<Word, ModelError> {
        let vocabulary = &self.header.vocabulary;
        let read = vocabulary.encode_given(text, normal, on_unknown)?;
        Ok(Word {
            text: read.text,
            tokens: read.tokens,
            replaced: read.replaced,
        })
    }

    /// Normalises and encodes words; unknown letters become `<unk>`.
    pub(crate) fn known_words<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Vec<Word> {
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        let tokens = self.header.vocabulary.encode_words(&texts);
        let word = |(text, tokens)| Word {
            text,
            tokens,
            replaced: Vec::new(),
        };
        texts.into_iter().zip(tokens).map(word).collect()
    }

    fn generated(&self, word: crate::generate::Word) -> GeneratedWord {
        GeneratedWord {
            text: self.header.vocabulary.decode(&word.letters),
            tokens: word.letters,
            log_prob: word.log_prob,
        }
    }

    /// Runs `work` on `items` items and reports progress to the watcher.
    fn watched<R>(&self, activity: Activity, items: u64, work: impl FnOnce(Running) -> R) -> R {
        let watch = self.watcher.as_ref();
        let watch = watch.map(|watcher| watcher(activity, items));
        work(Running {
            threads: self.threads,
            progress: watch.as_deref().unwrap_or(&|_| ()),
        })
    }
}

/// Returns an error unless an option is in its range.
fn within(
    flag: &'static str,
    value: &impl ToString,
    valid: bool,
    must: &'static str,
) -> Result<(), ConfigError> {
    if valid {
        Ok(())
    } else {
        Err(ConfigError::range(flag, value.to_string(), must))
    }
}
