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
use crate::text::{SpecialTokens, Token, normalize};

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
    /// With a line for each.
    training_words: String,
    threads: usize,
    watcher: Option<Watcher>,
}

enum WordNetwork {
    Vae(Box<WordVae>),
    Article(Article),
}

/// What a model is doing with many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    Encode,
    Decode,
    /// Counted in tokens, the others in words.
    Score,
}

/// Is told what begins and how many items it has; what it returns is told of every few more that are
/// done, and dropped at the end.
pub(crate) type Watcher = Box<dyn Fn(Activity, u64) -> Box<dyn Fn(u64) + Sync> + Send + Sync>;

/// A word in a model's normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// In the model's normal form.
    pub text: String,
    /// One for each letter, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// Letters that the model does not know, each with the one that was taken instead.
    pub replaced: Vec<(String, String)>,
}

/// A word that a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedWord {
    /// In the model's normal form.
    pub text: String,
    /// One for each letter, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// log p(word | z) in nats at temperature 1, with the end of the word; NaN for the article's
    /// network, whose words have none.
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

    /// Opens a `model.safetensors`.
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

    /// A word, normalised as the training text was.
    pub fn word(&self, text: &str, on_unknown: OnUnknown) -> Result<Word, ModelError> {
        let tokens = normalize(text, &self.header.text);
        let mut word = self.tokenize(tokens.trim(), on_unknown)?;
        if word.tokens.is_empty() {
            let word = text.to_owned();
            return Err(ModelError::NoWord { word });
        }
        word.text = self.header.vocabulary.decode(&word.tokens);
        Ok(word)
    }

    /// The tokens of a text in the model's normal form, if any are left.
    pub(crate) fn tokenize(&self, text: &str, on_unknown: OnUnknown) -> Result<Word, ModelError> {
        let vocabulary = &self.header.vocabulary;
        let mut replaced = Vec::new();
        let tokens = vocabulary.encode_telling(text, on_unknown, |token, id| {
            let nearest = vocabulary.token(id).map(Token::visible);
            replaced.push((token.visible(), nearest.unwrap_or_default()));
        })?;
        Ok(Word {
            text: text.to_owned(),
            tokens,
            replaced,
        })
    }

    /// Words in the model's normal form, whose unknown letters are `<unk>`.
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

    /// Does `work` on `items` items, and tells the watcher.
    fn watched<R>(&self, activity: Activity, items: u64, work: impl FnOnce(Running) -> R) -> R {
        let watch = self.watcher.as_ref();
        let watch = watch.map(|watcher| watcher(activity, items));
        work(Running {
            threads: self.threads,
            progress: watch.as_deref().unwrap_or(&|_| ()),
        })
    }
}

/// Whether an option is in its range.
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
