//! `corpus.safetensors`: the corpus as tokens. A run no longer needs the original files or the text
//! code, and resuming is exact even if those files have changed.

use std::borrow::Cow;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::RunError;
use super::tensors::{self, FileKind, StoredTensor, TensorFile};
use crate::config::TrainConfig;
use crate::text::{Vocabulary, split_text};

const FORMAT: u32 = 1;
const FILE: FileKind = FileKind {
    what: "corpus",
    kind: None,
    formats: FORMAT..=FORMAT,
    refuse: |path, reason| RunError::damaged(path, reason),
};

/// The corpus of a char-lstm.
#[derive(Clone, Debug, PartialEq)]
pub struct TextData {
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// The whole corpus, in order.
    pub tokens: Vec<u32>,
}

/// The corpus of a word-vae.
#[derive(Clone, Debug, PartialEq)]
pub struct WordData {
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// The distinct words, as text.
    pub words: Vec<String>,
    /// The letters of every word, without `<bos>` and `<eos>`.
    pub letters: Vec<Vec<u32>>,
    /// Words to train on, as indices into `words`.
    pub train: Vec<usize>,
    /// Words to validate on, as indices into `words`.
    pub valid: Vec<usize>,
    /// Words to test on, as indices into `words`.
    pub test: Vec<usize>,
}

/// The corpus of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum CorpusData {
    /// Running text, for a char-lstm.
    Text(TextData),
    /// Distinct words, for a word-vae.
    Words(WordData),
}

#[derive(Serialize, Deserialize)]
struct DataHeader {
    format: u32,
    vocabulary: Vocabulary,
}

impl TextData {
    /// The number of tokens to train on.
    pub fn training_size(&self, config: &TrainConfig) -> usize {
        let split = split_text(self.tokens.len(), config.split(), config.valid, config.test);
        split.train.iter().map(ExactSizeIterator::len).sum()
    }
}

impl WordData {
    /// The number of tokens of words: their letters and their ends.
    pub fn tokens(&self, words: &[usize]) -> usize {
        let tokens = |&word: &usize| self.letters[word].len() + 1;
        words.iter().map(tokens).sum()
    }
}

impl CorpusData {
    /// The number of tokens (char-lstm) or words (word-vae) to train on.
    pub fn training_size(&self, config: &TrainConfig) -> usize {
        match self {
            Self::Text(text) => text.training_size(config),
            Self::Words(words) => words.train.len(),
        }
    }

    /// The number of tokens to train on; those of words include their ends.
    pub fn training_tokens(&self, config: &TrainConfig) -> usize {
        match self {
            Self::Text(text) => text.training_size(config),
            Self::Words(words) => words.tokens(&words.train),
        }
    }

    /// What the tokens are.
    pub fn vocabulary(&self) -> &Vocabulary {
        match self {
            Self::Text(text) => &text.vocabulary,
            Self::Words(words) => &words.vocabulary,
        }
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), RunError> {
        let header = DataHeader {
            format: FORMAT,
            vocabulary: self.vocabulary().clone(),
        };
        let size = self.vocabulary().len();
        let write = |stored: &[(&str, StoredTensor)]| {
            let named = stored.iter().map(|(name, tensor)| (*name, tensor));
            tensors::write(path, &header, named)
        };
        match self {
            Self::Text(text) => write(&[("tokens", narrow(&text.tokens, size))]),
            Self::Words(words) => {
                let joined = words.words.join("\n");
                let lengths = words.letters.iter().map(|word| word.len() as u32);
                let lengths: Vec<u32> = lengths.collect();
                let parts = [&words.train, &words.valid, &words.test];
                let [train, valid, test] =
                    parts.map(|part| part.iter().map(|&i| i as u32).collect::<Vec<_>>());
                write(&[
                    ("words", StoredTensor::u8(joined.as_bytes())),
                    ("letters", narrow(&words.letters.concat(), size)),
                    ("lengths", StoredTensor::u32(&lengths)),
                    ("train", StoredTensor::u32(&train)),
                    ("valid", StoredTensor::u32(&valid)),
                    ("test", StoredTensor::u32(&test)),
                ])
            }
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, RunError> {
        let file = TensorFile::open(path, &FILE)?;
        let DataHeader { vocabulary, .. } = file.header()?;
        let tensors = file.tensors()?;
        let tokens = |name: &str| -> Result<Vec<u32>, RunError> {
            let view = tensors.get(name)?;
            let read = widen(view.dtype(), view.data())
                .ok_or_else(|| file.refuse(format_args!("{name}: not tokens")))?;
            let unknown = |&&token: &&u32| token as usize >= vocabulary.len();
            match read.iter().find(unknown) {
                Some(token) => Err(file.refuse(format_args!(
                    "{name}: token {token} is not in the vocabulary"
                ))),
                None => Ok(read),
            }
        };
        if tensors.contains("tokens") {
            let tokens = tokens("tokens")?;
            return Ok(Self::Text(TextData { vocabulary, tokens }));
        }
        let all = tokens("letters")?;
        let mut rest = all.as_slice();
        let mut letters = Vec::new();
        for length in tensors.u32("lengths")? {
            let (word, tail) = rest
                .split_at_checked(length as usize)
                .ok_or_else(|| file.refuse("letters are missing"))?;
            letters.push(word.to_vec());
            rest = tail;
        }
        let joined = tensors.get("words")?.data();
        let joined = std::str::from_utf8(joined).map_err(|error| file.refuse(error))?;
        let words: Vec<String> = joined.split('\n').map(str::to_owned).collect();
        if words.len() != letters.len() {
            return Err(file.refuse("as many words as lengths were expected"));
        }
        let part = |name: &str| -> Result<Vec<usize>, RunError> {
            let list = tensors.u32(name)?;
            if list.iter().any(|&i| i as usize >= words.len()) {
                return Err(file.refuse(format_args!("{name}: a word that is not there")));
            }
            Ok(list.into_iter().map(|i| i as usize).collect())
        };
        let (train, valid, test) = (part("train")?, part("valid")?, part("test")?);
        Ok(Self::Words(WordData {
            vocabulary,
            words,
            letters,
            train,
            valid,
            test,
        }))
    }
}

/// The narrowest integer type that holds the tokens of a vocabulary of `size`.
fn narrow(tokens: &[u32], size: usize) -> StoredTensor<'static> {
    fn all<const N: usize>(tokens: &[u32], bytes: impl Fn(u32) -> [u8; N]) -> Vec<u8> {
        tokens.iter().flat_map(|&token| bytes(token)).collect()
    }
    let (dtype, bytes) = match size {
        ..=0x100 => (Dtype::U8, all(tokens, |token| [token as u8])),
        0x101..=0x1_0000 => (
            Dtype::U16,
            all(tokens, |token| (token as u16).to_le_bytes()),
        ),
        _ => (Dtype::U32, all(tokens, u32::to_le_bytes)),
    };
    StoredTensor {
        dtype,
        shape: vec![tokens.len()],
        bytes: Cow::Owned(bytes),
    }
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<u32>> {
    let pair = |&pair: &[u8; 2]| u32::from(u16::from_le_bytes(pair));
    Some(match dtype {
        Dtype::U8 => bytes.iter().map(|&byte| u32::from(byte)).collect(),
        Dtype::U16 => bytes.as_chunks().0.iter().map(pair).collect(),
        Dtype::U32 => bytemuck::pod_collect_to_vec(bytes),
        _ => return None,
    })
}
