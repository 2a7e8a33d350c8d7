//! `corpus.safetensors`: the corpus as tokens. A run no longer needs the original files or the text
//! code, and resuming is exact even if those files have changed.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::{self, FileKind, Head, StoredTensor, TensorFile, checks_name};
use super::tokens::{self, NewFolder, TokenFile, TokenWriter, Tokens, pieces};
use super::{RunError, disk};
use crate::config::{SplitKind, TrainConfig};
use crate::text::{Split, Vocabulary, split_text};

const FORMAT: u32 = 1;
/// The tensor of a text.
pub(super) const TOKENS: &str = "tokens";
const FILE: FileKind = FileKind {
    what: "corpus",
    kind: None,
    formats: FORMAT..=FORMAT,
    refuse: |path, reason| RunError::damaged(path, reason),
};

/// The corpus of a char-lstm.
#[derive(Clone, Debug)]
pub struct TextData {
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// The whole corpus, in order.
    pub tokens: Tokens,
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
#[derive(Clone, Debug)]
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
    /// A text of `len` tokens that `write` passes to the writer one after the other. They go into a temporary
    /// file in `folder`, so that memory does not grow with the text; the runs that are created there with it
    /// share that file. The folder need not exist, and does not afterwards if no run was created in it.
    pub fn written<E: From<RunError>>(
        folder: &Path,
        vocabulary: Vocabulary,
        len: usize,
        write: impl FnOnce(&mut TokenWriter) -> Result<(), E>,
    ) -> Result<Self, E> {
        let header = DataHeader {
            format: FORMAT,
            vocabulary,
        };
        let new = NewFolder::make(folder).map_err(RunError::write(folder))?;
        let mut writer = TokenWriter::new(folder, &header, header.vocabulary.len(), len)?;
        write(&mut writer)?;
        let temporary = writer.finish()?;
        let path = temporary.path();
        let mut file = File::open(path).map_err(RunError::io(path))?;
        let (head, checks) = tensors::read_head(path, &mut file, &FILE, &checks_name(TOKENS))?;
        let tokens = token_file(&head, TOKENS, file, &checks, &header.vocabulary)?;
        Ok(Self {
            vocabulary: header.vocabulary,
            tokens: tokens.deleting(temporary, new).into(),
        })
    }

    fn write(&self, path: &Path) -> Result<(), RunError> {
        if let Some(file) = self.tokens.path() {
            return tokens::share(file, path);
        }
        let folder = disk::folder(path);
        let len = self.tokens.len();
        let stored = Self::written(folder, self.vocabulary.clone(), len, |writer| {
            let pack = writer.packer();
            pieces(&self.tokens, 0..len).try_for_each(|piece| writer.push(&pack(&piece?)))
        })?;
        stored.write(path)
    }

    /// The parts of the text.
    pub fn split(&self, config: &TrainConfig) -> Result<Split, RunError> {
        let (valid, test) = (config.valid, config.test);
        let eos = self.vocabulary.document_end();
        split(&self.tokens, eos, config.split(), valid, test)
    }

    /// The number of tokens to train on.
    pub fn training_size(&self, config: &TrainConfig) -> usize {
        let len = self.tokens.len();
        // An error of reading returns when they are trained on.
        let split = self
            .split(config)
            .unwrap_or_else(|_| split_text(len, config.split(), config.valid, config.test));
        split.train.iter().map(ExactSizeIterator::len).sum()
    }
}

/// The parts of a text, between documents where it can be, of which each begins with `eos`.
pub fn split(
    tokens: &Tokens,
    eos: Option<u32>,
    kind: SplitKind,
    valid: f64,
    test: f64,
) -> Result<Split, RunError> {
    let split = split_text(tokens.len(), kind, valid, test);
    let Some(eos) = eos else {
        return Ok(split);
    };
    let next = |range: Range<usize>| {
        let mut at = range.start;
        for piece in pieces(tokens, range) {
            let piece = piece?;
            if let Some(index) = piece.iter().position(|&token| token == eos) {
                return Ok(Some(at + index));
            }
            at += piece.len();
        }
        Ok(None)
    };
    let last = |range: Range<usize>| {
        let (mut at, mut last) = (range.start, None);
        for piece in pieces(tokens, range) {
            let piece = piece?;
            last = piece
                .iter()
                .rposition(|&token| token == eos)
                .map(|index| at + index)
                .or(last);
            at += piece.len();
        }
        Ok(last)
    };
    split.between_documents(next, last)
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
        let write = |stored: &[(&str, StoredTensor)]| {
            let named = stored.iter().map(|(name, tensor)| (*name, tensor));
            tensors::write(path, &header, named)
        };
        match self {
            Self::Text(text) => text.write(path),
            Self::Words(words) => {
                let joined = words.words.join("\n");
                let lengths = words.letters.iter().map(|word| word.len() as u32);
                let lengths: Vec<u32> = lengths.collect();
                let parts = [&words.train, &words.valid, &words.test];
                let [train, valid, test] =
                    parts.map(|part| part.iter().map(|&i| i as u32).collect::<Vec<_>>());
                write(&[
                    ("words", StoredTensor::u8(joined.as_bytes())),
                    (
                        "letters",
                        narrow(&words.letters.concat(), words.vocabulary.len()),
                    ),
                    ("lengths", StoredTensor::u32(&lengths)),
                    ("train", StoredTensor::u32(&train)),
                    ("valid", StoredTensor::u32(&valid)),
                    ("test", StoredTensor::u32(&test)),
                ])
            }
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, RunError> {
        let mut opened = File::open(path).map_err(RunError::io(path))?;
        let (head, checks) = tensors::read_head(path, &mut opened, &FILE, &checks_name(TOKENS))?;
        if head.contains(TOKENS) {
            // What the checksum of the whole file is not of, is in those of the blocks.
            let DataHeader { vocabulary, .. } = head.header(|_, _| Cow::Borrowed(&checks))?;
            let tokens = token_file(&head, TOKENS, opened, &checks, &vocabulary)?.into();
            return Ok(Self::Text(TextData { vocabulary, tokens }));
        }
        let file = TensorFile::read(path, &mut opened, &FILE)?;
        let DataHeader { vocabulary, .. } = file.header()?;
        let letters = token_file(&head, "letters", opened, &[], &vocabulary)?;
        let letters = Tokens::from(letters);
        let all = letters.all()?;
        // Letters are predicted; `<bos>` never is, and `<unk>` only if letters were cut.
        let outputs = vocabulary.outputs() as u32;
        if let Some(token) = all.iter().find(|&&token| token >= outputs) {
            return Err(file.refuse(format_args!("letters: token {token} is no letter")));
        }
        let mut rest = &*all;
        let mut letters = Vec::new();
        for length in file.u32("lengths")? {
            let (word, tail) = rest
                .split_at_checked(length as usize)
                .filter(|(word, _)| !word.is_empty())
                .ok_or_else(|| file.refuse("letters are missing"))?;
            letters.push(word.to_vec());
            rest = tail;
        }
        let joined = std::str::from_utf8(file.get("words")?).map_err(|error| file.refuse(error))?;
        let words: Vec<String> = joined.split('\n').map(str::to_owned).collect();
        if words.len() != letters.len() {
            return Err(file.refuse("as many words as lengths were expected"));
        }
        let part = |name: &str| -> Result<Vec<usize>, RunError> {
            let list = file.u32(name)?;
            if list.iter().any(|&i| i as usize >= words.len()) {
                return Err(file.refuse(format_args!("{name}: a word that is not there")));
            }
            Ok(list.into_iter().map(|i| i as usize).collect())
        };
        let (train, valid, test) = (part("train")?, part("valid")?, part("test")?);
        if train.is_empty() {
            return Err(file.refuse("train: there is no word"));
        }
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

/// The tokens of the tensor `name` in a file, and the checksums of its blocks.
fn token_file(
    head: &Head,
    name: &str,
    file: File,
    checks: &[u8],
    vocabulary: &Vocabulary,
) -> Result<TokenFile, RunError> {
    let place @ (_, _, dtype) = head.place(name)?;
    let tokens = TokenFile::new(&head.path, file, place, checks, vocabulary.len())?;
    tokens.ok_or_else(|| head.refuse(format_args!("{dtype:?} is no type of tokens")))
}

/// The tokens of a vocabulary of `size`.
fn narrow(tokens: &[u32], size: usize) -> StoredTensor<'static> {
    let dtype = tokens::narrowest(size);
    StoredTensor {
        dtype,
        shape: vec![tokens.len()],
        bytes: Cow::Owned(tokens::encode(dtype, tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Unit;
    use crate::text::Token;

    #[test]
    fn words_that_no_training_could_read_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("corpus.safetensors");
        let letters = ["a", "b", "c"].map(|letter| (Token::Text(letter.to_owned()), 2));
        let read = |most: usize, letters_of: &[&[u32]], train: &[usize]| {
            let data = WordData {
                vocabulary: Vocabulary::for_words(Unit::Char, &letters, 1, most),
                words: letters_of.iter().map(|_| "ab".to_owned()).collect(),
                letters: letters_of.iter().map(|word| word.to_vec()).collect(),
                train: train.to_vec(),
                valid: Vec::new(),
                test: Vec::new(),
            };
            CorpusData::Words(data).write(&path).expect("written");
            CorpusData::read(&path)
        };
        read(3, &[&[0, 1], &[2]], &[1]).expect("whole");
        // With a letter cut, the third token is the end, and the fourth is an unknown letter.
        read(2, &[&[0, 1], &[3]], &[0]).expect("whole");
        let refused: [(usize, &[&[u32]], _, _); 5] = [
            (3, &[&[0, 1], &[]], &[0][..], "letters are missing"),
            (3, &[&[0, 4]], &[0], "token 4 is no letter"),
            (3, &[&[5]], &[0], "token 5 is no letter"),
            (2, &[&[4]], &[0], "token 4 is no letter"),
            (3, &[&[0]], &[], "train: there is no word"),
        ];
        for (most, letters, train, why) in refused {
            let error = read(most, letters, train).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
