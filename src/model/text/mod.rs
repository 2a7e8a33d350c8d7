//! A character language model: writes, continues, scores and compresses texts.

mod fill;
mod samples;
mod writing;

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};

pub(crate) use self::samples::Event;
use self::writing::Text;
pub use self::writing::{Ending, Sample, Step, TokenProbability};
pub(crate) use self::writing::{Piece, Plan};
use super::{ModelError, OpenOptions, token_bytes, weights};
use crate::compress::{Codec, Container, decompress};
use crate::config::{ModelKind, OnUnknown, Quantize, Sampling};
use crate::evaluate::mixture::Mixture;
use crate::evaluate::{Part, Reading, surprisals};
use crate::generate::Writer as _;
use crate::generate::beam::{Beam, TextGoal, TextTrail};
use crate::generate::sampling::Sampler;
use crate::models::char_rnn::CharRnn;
use crate::models::{Network as _, RowState};
use crate::parallel::Running;
use crate::run::{ENGLISH, ModelFile, ModelHeader, PromptState};
use crate::text::Encoded;

/// Default number of tokens of a text,
const USUAL_LENGTH: usize = 500;
/// and the most of a document, which ends by itself.
const LONGEST_DOCUMENT: usize = 10_000;
/// The number of pieces that a [`Stream`] writes ahead.
const AHEAD: usize = 64;

/// A character language model with its vocabulary. A clone shares the weights.
///
/// ```
/// use textgen::{Sampling, TextModel};
///
/// let model = TextModel::open("tests/golden-run/model.safetensors")?;
/// let sampling = Sampling { temperature: 0.0, ..Sampling::new(1) };
/// let sample = model.generate("A hen", &sampling, 26)?;
/// assert_eq!(sample.text, " who lived beside the sea\n");
///
/// let next = model.next("A hen who lived beside the s")?;
/// assert_eq!(next[0].text, "e");
/// assert!(next[0].p > 0.9);
///
/// let nats: f64 = model.log_probs("A hen who lived beside the sea")?.iter().sum();
/// assert!(nats > -3.0);
/// # Ok::<(), textgen::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextModel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: CharRnn,
    file: ModelFile,
    suppressed: Vec<u32>,
    options: OpenOptions,
    digest: OnceLock<String>,
    /// The n-gram model whose probabilities are mixed with the network's.
    mixture: Option<Mixture>,
}

/// A model's state after a text: everything that it needs to continue.
#[derive(Clone, Debug)]
pub struct Snapshot {
    model: TextModel,
    state: RowState,
    tokens: u64,
    /// The last tokens, for the repetition penalty.
    recent: Vec<u32>,
    replaced: Vec<(String, String)>,
}

/// The context of a text that a model writes. A prompt is the start of a document, for a model that learnt documents. An
/// empty one means that, or the start of a line.
#[derive(Clone, Copy, Debug)]
pub enum Prompt<'a> {
    /// A prompt that the model reads first.
    Text(&'a str),
    /// A state after a prompt that was read before.
    Snapshot(&'a Snapshot),
}

impl<'a> From<&'a str> for Prompt<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Snapshot> for Prompt<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self::Snapshot(snapshot)
    }
}

impl TextModel {
    /// Opens a `model.safetensors` with the default [`OpenOptions`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, OpenOptions::default())
    }

    /// Opens a `model.safetensors` with these options.
    pub fn open_with(path: impl AsRef<Path>, options: OpenOptions) -> Result<Self, ModelError> {
        Self::from_file(ModelFile::open(path.as_ref())?, options)
    }

    /// The model of English prose that comes with textgen.
    pub fn english() -> Result<Self, ModelError> {
        Self::from_file(ENGLISH.open()?, OpenOptions::default())
    }

    /// Loads the model of an open file.
    pub(crate) fn from_file(file: ModelFile, options: OpenOptions) -> Result<Self, ModelError> {
        let network = &file.header.network;
        if network.model() != ModelKind::CharRnn {
            return Err(ModelError::Kind {
                found: network.model().name(),
                wanted: ModelKind::CharRnn.name(),
            });
        }
        Ok(Self(Arc::new(Inner {
            network: CharRnn::new(network, &weights(&file, options.quantize)?)?,
            suppressed: file.header.vocabulary.suppressed(),
            file,
            options,
            digest: OnceLock::new(),
            mixture: None,
        })))
    }

    /// The model, mixed with an n-gram model when it writes, scores and compresses.
    pub(crate) fn mixed_with(self, mixture: Mixture) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner {
                mixture: Some(mixture),
                ..inner
            })),
            // A model that is used already stays as it is.
            Err(shared) => Self(shared),
        }
    }

    pub(crate) fn header(&self) -> &ModelHeader {
        &self.0.file.header
    }

    /// The tokens of a text, at most, if nobody says how many: those of a whole document, if the model learnt documents.
    pub fn usual_length(&self) -> usize {
        if self.header().text.documents.is_none() {
            USUAL_LENGTH
        } else {
            LONGEST_DOCUMENT
        }
    }

    #[cfg(feature = "cli")]
    pub(crate) fn network(&self) -> &CharRnn {
        &self.0.network
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.file.path()
    }

    /// A digest of the weights, stored in files that depend on them.
    fn digest(&self) -> &str {
        self.0.digest.get_or_init(|| match self.0.options.quantize {
            Quantize::None => self.0.file.digest(),
            bits @ Quantize::Int8 => format!("{} {bits}", self.0.file.digest()),
        })
    }

    /// Normalises text as the training text was.
    pub(crate) fn normal(&self, text: &str) -> String {
        crate::text::normalize(text, &self.header().text)
    }

    /// The tokens of a text, and its unknown characters with their replacements.
    fn tokenize(&self, text: &str, on_unknown: OnUnknown) -> Result<Encoded, ModelError> {
        let vocabulary = &self.header().vocabulary;
        Ok(vocabulary.encode_given(text, |text| self.normal(text), on_unknown)?)
    }

    /// A stop text in the normal form of the texts that it ends; it is an error if it is in none.
    pub(crate) fn stop_text(&self, stop: &str) -> Result<String, ModelError> {
        let vocabulary = &self.header().vocabulary;
        let normal = self.normal(stop);
        if normal.is_empty() {
            return Err(ModelError::EmptyStop);
        }
        if vocabulary.writes_all_of(&normal) {
            return Ok(normal);
        }
        let unknown = vocabulary.encode_given(stop, |text| self.normal(text), OnUnknown::Error);
        match unknown {
            Err(unknown) => Err(ModelError::ImpossibleStop { unknown }),
            Ok(_) => Ok(normal),
        }
    }

    /// Reads a prompt once, so that many texts can continue it.
    pub fn snapshot(&self, prompt: &str, on_unknown: OnUnknown) -> Result<Snapshot, ModelError> {
        let mut snapshot = Snapshot {
            model: self.clone(),
            state: self.0.network.state(1),
            tokens: 0,
            recent: Vec::new(),
            replaced: Vec::new(),
        };
        let vocabulary = &self.header().vocabulary;
        if let Some(eos) = vocabulary.document_end() {
            snapshot.read(&[eos]);
        }
        snapshot.extend(prompt, on_unknown)?;
        if snapshot.is_empty() {
            snapshot.read(&[vocabulary.beginning()]);
        }
        Ok(snapshot)
    }

    /// Reads a snapshot that [`Snapshot::save`] wrote.
    pub fn restore(&self, path: impl AsRef<Path>) -> Result<Snapshot, ModelError> {
        let path = path.as_ref();
        let saved = PromptState::read(path)?;
        let network = &self.0.network;
        let known = |&token: &u32| (token as usize) < network.inputs();
        let state = if self.digest() == saved.digest && saved.recent.iter().all(known) {
            network.restore(&saved.snapshot)
        } else {
            None
        };
        Ok(Snapshot {
            model: self.clone(),
            state: state.ok_or_else(|| ModelError::OtherPromptState {
                path: path.to_owned(),
                model: saved.model,
                this: self.path().to_owned(),
            })?,
            tokens: saved.tokens,
            recent: saved.recent,
            replaced: Vec::new(),
        })
    }

    fn start(&self, prompt: Prompt, on_unknown: OnUnknown) -> Result<Snapshot, ModelError> {
        match prompt {
            Prompt::Text(text) => self.snapshot(text, on_unknown),
            Prompt::Snapshot(snapshot) if Arc::ptr_eq(&snapshot.model.0, &self.0) => {
                Ok(snapshot.clone())
            }
            Prompt::Snapshot(_) => Err(ModelError::OtherSnapshot),
        }
    }

    /// Samples a text of up to `length` tokens on all threads.
    pub fn generate<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        sampling: &Sampling,
        length: usize,
    ) -> Result<Sample, ModelError> {
        let samples = self.generate_many(prompt, sampling, length, 1)?;
        Ok(samples.into_iter().next().unwrap_or_default())
    }

    /// Samples `count` texts in parallel; the first is that of [`TextModel::generate`].
    pub fn generate_many<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        sampling: &Sampling,
        length: usize,
        count: usize,
    ) -> Result<Vec<Sample>, ModelError> {
        let mut samples = Vec::new();
        self.generate_each(prompt, sampling, length, count, |sample| {
            samples.extend(sample);
            Ok::<(), ModelError>(())
        })?;
        Ok(samples)
    }

    /// Like [`TextModel::generate_many`], but passes each text to `each` as soon as it and those before it are written, and
    /// calls it with `None` meanwhile. An error of `each` ends it.
    pub fn generate_each<'p, E: From<ModelError>>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        sampling: &Sampling,
        length: usize,
        count: usize,
        mut each: impl FnMut(Option<Sample>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.start(prompt.into(), sampling.on_unknown)?;
        let plan = start.plan(sampling, length)?;
        start.write_many(&plan, count, |_, event| match event {
            Event::End(sample) => each(Some(sample)),
            _ => each(None),
        })
    }

    /// Yields the text of [`TextModel::generate`] in pieces while other threads write it. Dropping the
    /// iterator stops them.
    pub fn stream<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        sampling: &Sampling,
        length: usize,
    ) -> Result<Stream, ModelError> {
        let mut start = self.start(prompt.into(), sampling.on_unknown)?;
        let plan = start.plan(sampling, length)?.in_pieces();
        let write: Writing = Box::new(move |send| {
            let each = |piece: Piece| {
                let sent = piece.text.is_empty() || send(piece.text);
                Ok::<bool, ModelError>(sent)
            };
            start.write(&plan, 0, each).map(drop)
        });
        let (sender, pieces) = mpsc::sync_channel(AHEAD);
        let (work, waiting) = mpsc::channel::<Writing>();
        let serve = move || {
            if let Ok(write) = waiting.recv() {
                let _ = write(&mut |text| sender.send(text).is_ok());
            }
        };
        if std::thread::Builder::new().spawn(serve).is_ok() {
            let _ = work.send(write);
            return Ok(Stream(Pieces::Coming(pieces)));
        }
        // The system has no more threads: all of it is written first.
        let mut all = Vec::new();
        write(&mut |text| {
            all.push(text);
            true
        })?;
        Ok(Stream(Pieces::Written(all.into_iter())))
    }

    /// The `count` most probable texts that a beam of `width` prefixes finds, the best first, compared by
    /// their mean log-probability per token. Nothing is sampled: only `stop`, `constrain` and
    /// `on_unknown` of `sampling` apply.
    pub fn beam<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
        sampling: &Sampling,
        length: usize,
        width: usize,
        count: usize,
    ) -> Result<Vec<Sample>, ModelError> {
        let start = self.start(prompt.into(), sampling.on_unknown)?;
        start.search(&start.plan(sampling, length)?, width, count, |_| ())
    }

    /// Every token that may follow, the most probable first.
    pub fn next<'p>(
        &self,
        prompt: impl Into<Prompt<'p>>,
    ) -> Result<Vec<TokenProbability>, ModelError> {
        let start = self.start(prompt.into(), OnUnknown::Error)?;
        let mut sampler = Sampler::new(&Sampling::new(0), &self.0.suppressed, 0);
        let logits = start.state.logits(0);
        let sampled = sampler.sample(logits);
        Ok(Step::new(
            &self.header().vocabulary,
            sampler.probabilities(logits, sampled, usize::MAX),
        )
        .top)
    }

    /// ln p(token | all tokens before it), in nats, of every token of a text but the first; also of the first, if the
    /// model learnt documents, of which the text is one.
    pub fn log_probs(&self, text: &str) -> Result<Vec<f64>, ModelError> {
        let read = self.tokenize(text, OnUnknown::Error)?.tokens;
        let begins = self.header().vocabulary.document_end();
        let tokens: Vec<u32> = begins.into_iter().chain(read).collect();
        let text = (&tokens[..], 0);
        let [nats] = &mut Self::surprisals(&[self], &[text], Reading::Exact, self.running())?[..]
        else {
            return Ok(Vec::new());
        };
        Ok(nats.iter().map(|nats| -nats).collect())
    }

    /// −ln p of every token but the first of each text under its model, in nats; of the part of a text that goes on,
    /// with the number of its first tokens that were seen before, of all but those.
    pub(crate) fn surprisals(
        models: &[&Self],
        texts: &[(&[u32], usize)],
        reading: Reading,
        running: Running,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        let networks = models.iter().map(|model| &model.0.network);
        let parts: Vec<Part> = networks
            .zip(texts)
            .map(|(model, &(tokens, seen))| Part {
                model,
                tokens,
                seen,
            })
            .collect();
        let mut surprisals = surprisals(&parts, reading, running)?;
        for ((model, &(text, seen)), nats) in models.iter().zip(texts).zip(&mut surprisals) {
            if let Some(mixture) = &model.0.mixture {
                *nats = mixture.nats(text, seen, nats);
            }
        }
        if surprisals.iter().flatten().all(|nats| nats.is_finite()) {
            return Ok(surprisals);
        }
        let what = "the cost of a character".to_owned();
        Err(ModelError::NotANumber { what })
    }

    /// Compresses any bytes losslessly; the better the model predicts them, the smaller the result.
    pub fn compress(&self, original: &[u8]) -> Result<Vec<u8>, ModelError> {
        Ok(self.codec()?.compress(original, None, self.running()).bytes)
    }

    /// Restores the bytes that [`TextModel::compress`] compressed with the same model.
    pub fn decompress(&self, compressed: &[u8]) -> Result<Vec<u8>, ModelError> {
        let container = Container::read(compressed)?;
        Ok(decompress(
            &container,
            Some(&self.codec()?),
            self.running(),
        )?)
    }

    pub(crate) fn codec(&self) -> Result<Codec<'_>, ModelError> {
        let header = self.header();
        Ok(Codec::new(
            self.0.network.clone(),
            &header.network,
            &weights(&self.0.file, self.0.options.quantize)?,
            &header.vocabulary,
            &header.corpus_name,
            self.0.mixture.as_ref(),
        ))
    }

    fn running(&self) -> Running<'static> {
        Running {
            threads: self.threads(),
            progress: &|_| (),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.0.options.threads()
    }
}

impl Snapshot {
    /// The number of tokens read.
    pub fn len(&self) -> u64 {
        self.tokens
    }

    /// Whether nothing has been read.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Unknown characters of the prompts, each with its replacement ([`OnUnknown::Nearest`]), which is empty if it
    /// was left out ([`OnUnknown::Skip`]).
    pub fn replaced(&self) -> &[(String, String)] {
        &self.replaced
    }

    /// Reads `text` and updates the snapshot.
    pub fn extend(&mut self, text: &str, on_unknown: OnUnknown) -> Result<(), ModelError> {
        let read = self.model.tokenize(text, on_unknown)?;
        self.read(&read.tokens);
        self.replaced.extend(read.replaced);
        Ok(())
    }

    /// Every token that may follow, the most probable first.
    pub(crate) fn next(&self) -> Result<Vec<TokenProbability>, ModelError> {
        self.model.next(self)
    }

    /// The text of tokens.
    pub(crate) fn decode(&self, tokens: impl Iterator<Item = u32>) -> String {
        let tokens: Vec<u32> = tokens.collect();
        self.model.header().vocabulary.decode(&tokens)
    }

    /// Reads tokens and updates the snapshot.
    pub(crate) fn read(&mut self, tokens: &[u32]) {
        self.model.0.network.prefill(&mut self.state, tokens);
        self.count(tokens);
    }

    fn count(&mut self, tokens: &[u32]) {
        self.tokens += tokens.len() as u64;
        self.recent.extend(tokens);
        let old = self.recent.len().saturating_sub(Sampling::WIDEST_WINDOW);
        self.recent.drain(..old);
    }

    /// Writes a file for [`TextModel::restore`], atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let saved = PromptState {
            model: self.model.path().display().to_string(),
            digest: self.model.digest().to_owned(),
            tokens: self.tokens,
            recent: self.recent.clone(),
            snapshot: self.state.snapshot(),
        };
        Ok(saved.write(path.as_ref())?)
    }

    /// Writes a text on all threads and moves the snapshot to its end. `each` gets the pieces as they
    /// become final, and returns whether to continue.
    pub(crate) fn write<E>(
        &mut self,
        plan: &Plan,
        index: usize,
        mut each: impl FnMut(Piece) -> Result<bool, E>,
    ) -> Result<Sample, E> {
        let model = self.model.clone();
        let mut text = Text::new(&model, plan, index);
        let (network, threads) = (&model.0.network, model.threads());
        let work = |reader: &mut crate::models::team::Reader| {
            loop {
                let next = text.write(reader.logits());
                let more = each(std::mem::take(&mut text.ready))?;
                // The last sampled token is part of the text, so it is read too.
                if let Some(token) = text.last.take() {
                    reader.step(token);
                }
                if next.is_none() {
                    break;
                }
                if !more {
                    text.end();
                    each(std::mem::take(&mut text.ready))?;
                    break;
                }
            }
            Ok(reader.state().clone())
        };
        self.state = network.read_on_threads(self.state.clone(), threads, work)?;
        self.tokens += (text.len - text.sample.tokens.len()) as u64;
        self.count(&text.sample.tokens);
        Ok(text.sample)
    }

    /// The best texts that a beam finds; `progress` gets the length reached so far.
    pub(crate) fn search(
        &self,
        plan: &Plan,
        width: usize,
        count: usize,
        progress: impl FnMut(usize),
    ) -> Result<Vec<Sample>, ModelError> {
        let model = &self.model;
        for (option, given) in [
            ("repetition-penalty", plan.repetition.is_some()),
            ("probabilities", plan.sampling.probabilities > 0),
        ] {
            if given {
                let model = "beam search, which samples nothing";
                return Err(ModelError::NotApplicable { option, model });
            }
        }
        ModelError::check_beam(width, count)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let eos = model.header().vocabulary.document_end();
        let goal = TextGoal {
            length: plan.length,
            bytes: &token_bytes(model.header(), &model.0.suppressed),
            stop: plan.stop.as_deref().map(str::as_bytes),
            constraint: plan.constraint.as_ref(),
            eos,
            begins: plan.begins,
        };
        let beam = Beam {
            width,
            wanted: count,
            suppressed: &model.0.suppressed,
        };
        let trail = TextTrail::default();
        let found = beam.search(&model.0.network, self.state.clone(), &goal, trail, progress);
        let samples = found.into_iter().map(|found| {
            let mut text = model.header().vocabulary.decode(&found.tokens);
            let stop = plan.stop.as_deref().and_then(|stop| text.find(stop));
            text.truncate(stop.unwrap_or(text.len()));
            let is_document = eos.is_some() && found.tokens.last().copied() == eos;
            Sample {
                ending: if is_document {
                    Ending::Document
                } else {
                    Ending::Length
                },
                ..Sample::new(text, found)
            }
        });
        Ok(samples.collect())
    }
}

/// An iterator over a text while it is written, in pieces of whole characters.
#[derive(Debug)]
pub struct Stream(Pieces);

/// Writes a text, and passes on its pieces until that fails.
type Writing = Box<dyn FnOnce(&mut dyn FnMut(String) -> bool) -> Result<(), ModelError> + Send>;

#[derive(Debug)]
enum Pieces {
    Coming(mpsc::Receiver<String>),
    Written(std::vec::IntoIter<String>),
}

impl Iterator for Stream {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match &mut self.0 {
            Pieces::Coming(pieces) => pieces.recv().ok(),
            Pieces::Written(pieces) => pieces.next(),
        }
    }
}
