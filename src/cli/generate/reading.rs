//! A char-lstm and what it has read: a prompt, a saved state, or nothing yet.

use std::path::{Path, PathBuf};

use crate::config::{OnUnknown, Quantize, Sampling};
use crate::models::char_rnn::CharRnn;
use crate::models::{Network, RowState};
use crate::run::{ModelFile, ModelHeader, PromptState};
use crate::text::normalize;
use anyhow::{Context, Result};

use super::weights;
use crate::cli::error::CliError;
use crate::cli::unknown::Replaced;
use crate::model::token_bytes;

/// A network that reads and writes texts.
pub struct TextModel {
    pub network: CharRnn,
    pub header: ModelHeader,
    pub suppressed: Vec<u32>,
    path: PathBuf,
    /// What identifies the weights, where states are read or written.
    digest: Option<String>,
}

/// A text as far as it has been read.
#[derive(Clone)]
pub struct Read {
    /// What the network remembers of it.
    pub state: RowState,
    /// Tokens.
    pub tokens: u64,
    /// The last of them.
    pub recent: Vec<u32>,
}

impl TextModel {
    /// Of the file, with weights of so many bits. `identified` where states are read or written.
    pub fn open(file: &ModelFile, bits: Quantize, identified: bool) -> Result<Self> {
        let header = file.header.clone();
        let network = CharRnn::new(&header.network, &weights(file, bits)?)
            .with_context(|| file.path().display().to_string())?;
        let digest = identified.then(|| match bits {
            Quantize::None => file.digest(),
            Quantize::Int8 => format!("{} {bits}", file.digest()),
        });
        Ok(Self {
            network,
            suppressed: header.vocabulary.suppressed(),
            header,
            path: file.path().to_owned(),
            digest,
        })
    }

    /// The bytes of every token that can be predicted; none for one that is never written.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        token_bytes(&self.header, &self.suppressed)
    }

    /// Text in the model's normal form.
    pub fn normal(&self, text: &str) -> String {
        normalize(text, &self.header.text)
    }

    /// The tokens of text in the normal form.
    pub fn encode(&self, text: &str, on_unknown: OnUnknown) -> Result<Vec<u32>> {
        let replaced = Replaced::default();
        let tokens = replaced.encode(&self.header.vocabulary, text, on_unknown)?;
        replaced.say();
        Ok(tokens)
    }

    /// Where a text begins: after a line end, or after the most frequent token where there is none.
    pub fn beginning(&self) -> Result<Read> {
        let mut tokens = self.encode("\n", OnUnknown::Skip)?;
        if tokens.is_empty() {
            tokens.push(0);
        }
        Ok(self.after(&tokens))
    }

    /// A text of these tokens and no other.
    pub fn after(&self, tokens: &[u32]) -> Read {
        let mut read = Read {
            state: self.network.state(1),
            tokens: 0,
            recent: Vec::new(),
        };
        read.go_on(&self.network, tokens);
        read
    }

    /// The text of a saved state.
    pub fn load(&self, path: &Path) -> Result<Read> {
        let saved = PromptState::read(path)?;
        let state = match &self.digest {
            Some(digest) if *digest == saved.digest => self.network.restore(&saved.snapshot),
            _ => None,
        };
        let Some(state) = state else {
            let message = format!(
                "{}: the state of another model, {}, or of other weights than {} now",
                path.display(),
                saved.model,
                self.path.display()
            );
            let hint =
                "choose the model it was saved with, or save it anew: --prompt … --save-state";
            return Err(CliError::failed(message, hint).into());
        };
        if saved
            .recent
            .iter()
            .any(|&id| id as usize >= self.network.inputs())
        {
            let message = format!("{}: it has tokens that the model has not", path.display());
            return Err(CliError::failed(message, "save it anew").into());
        }
        Ok(Read {
            state,
            tokens: saved.tokens,
            recent: saved.recent,
        })
    }

    /// Saves what has been read.
    pub fn save(&self, read: &Read, path: &Path) -> Result<()> {
        let saved = PromptState {
            model: self.path.display().to_string(),
            digest: self.digest.clone().unwrap_or_default(),
            tokens: read.tokens,
            recent: read.recent.clone(),
            snapshot: read.state.snapshot(),
        };
        Ok(saved.write(path)?)
    }
}

impl Read {
    /// Reads more.
    pub fn go_on(&mut self, network: &CharRnn, tokens: &[u32]) {
        network.prefill(&mut self.state, tokens);
        self.count(tokens);
    }

    /// So much more has been read, after which the network remembers `state`.
    pub fn went_on(&mut self, state: RowState, tokens: &[u32]) {
        self.state = state;
        self.count(tokens);
    }

    fn count(&mut self, tokens: &[u32]) {
        self.tokens += tokens.len() as u64;
        self.recent.extend(tokens);
        let old = self.recent.len().saturating_sub(Sampling::WIDEST_WINDOW);
        self.recent.drain(..old);
    }
}
