//! `corpus.safetensors`: the corpus as tokens, so that a run needs neither the original files nor
//! the text code again, and resuming is exact even if those files have changed since.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::RunError;
use super::tensors::{self, Refusal, StoredTensor, TensorFile};
use crate::config::TrainConfig;
use crate::text::{Vocabulary, split_text};

const FORMAT: u32 = 1;

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
    /// Words to train on, by their place in `words`.
    pub train: Vec<usize>,
    /// Words to validate on.
    pub valid: Vec<usize>,
    /// Words to test on.
    pub test: Vec<usize>,
}

/// The corpus of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum CorpusData {
    /// Running text.
    Text(TextData),
    /// Distinct words.
    Words(WordData),
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    vocabulary: Vocabulary,
}

impl TextData {
    /// Tokens to train on.
    pub fn training_size(&self, config: &TrainConfig) -> usize {
        let split = split_text(self.tokens.len(), config.split, config.valid, config.test);
        split.train.iter().map(ExactSizeIterator::len).sum()
    }
}

impl CorpusData {
    /// Tokens (char-lstm) or words (word-vae) to train on.
    pub fn training_size(&self, config: &TrainConfig) -> usize {
        match self {
            Self::Text(text) => text.training_size(config),
            Self::Words(words) => words.train.len(),
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
        let header = Header {
            format: FORMAT,
            vocabulary: self.vocabulary().clone(),
        };
        let mut stored = BTreeMap::new();
        let indices = |list: &[usize]| -> Vec<u32> { list.iter().map(|&i| i as u32).collect() };
        match self {
            Self::Text(text) => {
                stored.insert(
                    "tokens".to_owned(),
                    narrow(&text.tokens, text.vocabulary.len()),
                );
                tensors::write(path, &header, &stored)
            }
            Self::Words(words) => {
                let joined = words.words.join("\n");
                let lengths: Vec<u32> =
                    words.letters.iter().map(|word| word.len() as u32).collect();
                let letters = words.letters.concat();
                let (train, valid, test) = (
                    indices(&words.train),
                    indices(&words.valid),
                    indices(&words.test),
                );
                stored.insert("words".to_owned(), StoredTensor::u8(joined.as_bytes()));
                stored.insert(
                    "letters".to_owned(),
                    narrow(&letters, words.vocabulary.len()),
                );
                stored.insert("lengths".to_owned(), StoredTensor::u32(&lengths));
                stored.insert("train".to_owned(), StoredTensor::u32(&train));
                stored.insert("valid".to_owned(), StoredTensor::u32(&valid));
                stored.insert("test".to_owned(), StoredTensor::u32(&test));
                tensors::write(path, &header, &stored)
            }
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, RunError> {
        let file = TensorFile::open(path)?;
        let (tensors, json) = file.read().map_err(|refusal| match refusal {
            Refusal::Foreign(reason) => RunError::damaged(path, reason),
            Refusal::NoHeader => RunError::damaged(path, "no textgen header"),
        })?;
        let Header { format, vocabulary } =
            serde_json::from_str(&json).map_err(|error| RunError::damaged(path, error))?;
        if format != FORMAT {
            return Err(RunError::Format {
                path: path.to_owned(),
                what: "corpus",
                found: format,
                oldest: FORMAT,
                newest: FORMAT,
            });
        }
        let tokens = |name: &str| -> Result<Vec<u32>, RunError> {
            let view = tensors
                .tensor(name)
                .map_err(|error| RunError::damaged(path, error))?;
            let read = widen(view.dtype(), view.data())
                .ok_or_else(|| RunError::damaged(path, format!("{name}: not tokens")))?;
            match read
                .iter()
                .find(|&&token| token as usize >= vocabulary.len())
            {
                Some(token) => Err(RunError::damaged(
                    path,
                    format!("{name}: token {token} is not in the vocabulary"),
                )),
                None => Ok(read),
            }
        };
        if tensors.names().contains(&"tokens") {
            let tokens = tokens("tokens")?;
            return Ok(Self::Text(TextData { vocabulary, tokens }));
        }
        let all = tokens("letters")?;
        let lengths = tensors::u32_vector(path, &tensors, "lengths")?;
        let mut rest = all.as_slice();
        let mut letters = Vec::with_capacity(lengths.len());
        for &length in &lengths {
            let (word, tail) = rest
                .split_at_checked(length as usize)
                .ok_or_else(|| RunError::damaged(path, "letters are missing"))?;
            letters.push(word.to_vec());
            rest = tail;
        }
        let joined = tensors
            .tensor("words")
            .map_err(|error| RunError::damaged(path, error))?;
        let joined =
            std::str::from_utf8(joined.data()).map_err(|error| RunError::damaged(path, error))?;
        let words: Vec<String> = joined.split('\n').map(str::to_owned).collect();
        if words.len() != letters.len() {
            return Err(RunError::damaged(
                path,
                "as many words as lengths were expected",
            ));
        }
        let part = |name: &str| -> Result<Vec<usize>, RunError> {
            let list = tensors::u32_vector(path, &tensors, name)?;
            if list.iter().any(|&i| i as usize >= words.len()) {
                return Err(RunError::damaged(
                    path,
                    format!("{name}: a word that is not there"),
                ));
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

/// The narrowest integers that hold tokens of a vocabulary of `size`.
fn narrow(tokens: &[u32], size: usize) -> StoredTensor<'static> {
    let (dtype, bytes) = if size <= 1 << 8 {
        (Dtype::U8, tokens.iter().map(|&s| s as u8).collect())
    } else if size <= 1 << 16 {
        let halves = tokens.iter().flat_map(|&s| (s as u16).to_le_bytes());
        (Dtype::U16, halves.collect())
    } else {
        (
            Dtype::U32,
            tokens
                .iter()
                .flat_map(|s| s.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    };
    StoredTensor {
        dtype,
        shape: vec![tokens.len()],
        bytes: Cow::Owned(bytes),
    }
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<u32>> {
    match dtype {
        Dtype::U8 => Some(bytes.iter().map(|&b| u32::from(b)).collect()),
        Dtype::U16 => Some(
            bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&pair| u32::from(u16::from_le_bytes(pair)))
                .collect(),
        ),
        Dtype::U32 => Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&four| u32::from_le_bytes(four))
                .collect(),
        ),
        _ => None,
    }
}
