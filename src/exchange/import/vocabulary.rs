//! The vocabulary of a model from elsewhere: by its size and its form, wherever it is, or given.

use std::collections::HashSet;

use super::ImportError;
use super::checkpoint::{Checkpoint, of_json};
use super::pickle::{Id, Value, Values};
use crate::config::Unit;
use crate::text::{Token, Vocabulary};

/// Python's `string.printable`, which spro/char-rnn.pytorch learns with.
const PRINTABLE: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\n\r\u{b}\u{c}";
/// The names under which programs save it.
const KNOWN: [&str; 22] = [
    "all_characters",
    "char2id",
    "char2idx",
    "char2int",
    "char_to_idx",
    "char_to_index",
    "char_to_ix",
    "chars",
    "id2char",
    "idx2char",
    "idx_to_char",
    "index_to_char",
    "int2char",
    "itos",
    "ix_to_char",
    "stoi",
    "symbols",
    "token2id",
    "token_to_id",
    "tokens",
    "vocab",
    "vocabulary",
];
/// The most dictionaries and instances that are looked at, and how deep.
const MOST_LOOKED_AT: usize = 100_000;
const DEEPEST: usize = 8;

const HOW: &str = "give it with --vocab FILE (its characters in the order of their ids, or JSON), or --vocab printable (Python's string.printable), or --vocab bytes";

/// A vocabulary that the user gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenVocabulary {
    /// Python's `string.printable`.
    Printable,
    /// The bytes 0 to 255.
    Bytes,
    /// The text of a file, and its name.
    File(String, String),
}

impl GivenVocabulary {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Printable => "Python's string.printable".to_owned(),
            Self::Bytes => "the vocabulary of all bytes".to_owned(),
            Self::File(_, name) => name.clone(),
        }
    }

    /// The vocabulary, if it has `size` tokens.
    pub fn of(&self, size: usize) -> Result<Vocabulary, ImportError> {
        let wrong = |found: usize| {
            ImportError::new(
                format!(
                    "{} has {found} tokens, but the network reads {size}",
                    self.name()
                ),
                HOW,
            )
        };
        match self {
            Self::Printable => of_texts(PRINTABLE.chars().map(String::from).collect()),
            Self::Bytes => {
                let bytes = (0..=u8::MAX).map(Token::Byte).collect();
                vocabulary(Unit::Byte, bytes)
            }
            Self::File(text, _) => of_file(text, size),
        }
        .and_then(|found| match found.len() {
            len if len == size => Ok(found),
            len => Err(wrong(len)),
        })
    }
}

/// JSON, or the characters themselves, of which an editor may have ended the last line.
fn of_file(text: &str, size: usize) -> Result<Vocabulary, ImportError> {
    if let Ok(json @ (serde_json::Value::Array(_) | serde_json::Value::Object(_))) =
        serde_json::from_str(text)
    {
        let mut values = Values::default();
        let root = of_json(&mut values, &json, 0)?;
        // What `textgen vocab` writes has it inside.
        let within = |id, key| values.under(values.entries(id), key).unwrap_or(id);
        let id = within(within(root, "vocabulary"), "symbols");
        let texts = texts(&values, id).ok_or_else(|| {
            ImportError::new(
                "its vocabulary is JSON, but neither a list of characters nor one of ids",
                "write [\"a\", \"b\"], {\"a\": 0, \"b\": 1} or {\"0\": \"a\", \"1\": \"b\"}",
            )
        })?;
        return of_texts(texts);
    }
    let count = text.chars().count();
    let text = text
        .strip_suffix('\n')
        .filter(|_| count == size + 1)
        .unwrap_or(text);
    of_texts(text.chars().map(String::from).collect())
}

fn vocabulary(unit: Unit, tokens: Vec<Token>) -> Result<Vocabulary, ImportError> {
    Vocabulary::new(unit, tokens, 0, false)
        .map_err(|error| ImportError::new(error.to_string(), HOW))
}

/// Characters, or clusters if one has several code points.
fn of_texts(texts: Vec<String>) -> Result<Vocabulary, ImportError> {
    let is_char = |text: &String| text.chars().count() == 1;
    let unit = if texts.iter().all(is_char) {
        Unit::Char
    } else {
        Unit::Grapheme
    };
    vocabulary(unit, texts.into_iter().map(Token::Text).collect())
}

/// The tokens of a value in the order of their ids, if it is a text, a list of texts, or a dictionary of texts and ids.
fn texts(values: &Values, id: Id) -> Option<Vec<String>> {
    let text = |id: Id| values.text(id).map(str::to_owned);
    match values.get(id) {
        Value::Text(text) => Some(text.chars().map(String::from).collect()),
        Value::List(items) => items.iter().map(|&item| text(item)).collect(),
        Value::Dict(entries) | Value::Object { entries, .. } => {
            let mut texts = vec![None; entries.len()];
            let number = |id: Id| match values.get(id) {
                Value::Int(number) => usize::try_from(*number).ok(),
                // JSON's keys are texts.
                Value::Text(digits) => digits.parse().ok(),
                _ => None,
            };
            let ids_last = entries.iter().all(|&(_, last)| values.int(last).is_some());
            for &(key, value) in entries {
                let (of, index) = if ids_last { (key, value) } else { (value, key) };
                *texts.get_mut(number(index)?)? = Some(text(of)?);
            }
            texts.into_iter().collect()
        }
        _ => None,
    }
}

/// The vocabulary of `size` tokens that is in a file besides the weights at `weights`, and where it is.
pub fn find(
    checkpoint: &Checkpoint,
    weights: &str,
    size: usize,
) -> Result<(Vocabulary, String), ImportError> {
    let mut search = Search {
        values: &checkpoint.values,
        size,
        weights,
        looked_at: 0,
        seen: HashSet::new(),
        found: Vec::new(),
        others: Vec::new(),
    };
    search.look(checkpoint.root, "", 0);
    let Search {
        mut found, others, ..
    } = search;
    let is_known = |path: &str| KNOWN.contains(&path.rsplit('.').next().unwrap_or_default());
    if found.iter().any(|(path, _)| is_known(path)) {
        found.retain(|(path, _)| is_known(path));
    }
    let Some((path, texts)) = found.first() else {
        let but = if others.is_empty() {
            String::new()
        } else {
            format!(" ({})", others.join(", "))
        };
        return Err(ImportError::new(
            format!("it has no vocabulary of the {size} tokens that the network reads{but}"),
            HOW,
        ));
    };
    if let Some((other, _)) = found.iter().find(|(_, other)| other != texts) {
        return Err(ImportError::new(
            format!("its {path} and its {other} are vocabularies that differ"),
            HOW,
        ));
    }
    Ok((of_texts(texts.clone())?, path.clone()))
}

struct Search<'v> {
    values: &'v Values,
    size: usize,
    weights: &'v str,
    looked_at: usize,
    seen: HashSet<Id>,
    /// Where, and the tokens.
    found: Vec<(String, Vec<String>)>,
    /// What might have been one but for its size.
    others: Vec<String>,
}

impl Search<'_> {
    fn look(&mut self, id: Id, path: &str, depth: usize) {
        let values = self.values;
        self.looked_at += usize::from(values.has_entries(id));
        if self.looked_at > MOST_LOOKED_AT || depth > DEEPEST || !self.seen.insert(id) {
            return;
        }
        let size = match values.get(id) {
            Value::Text(text) if text.len() <= 4 * self.size => text.chars().count(),
            Value::List(items) => items.len(),
            _ => values.entries(id).len(),
        };
        let name = path.rsplit('.').next().unwrap_or_default();
        if size == self.size
            && let Some(texts) = texts(values, id)
            && texts.iter().collect::<HashSet<_>>().len() == size
        {
            self.found.push((path.to_owned(), texts));
            return;
        }
        if size > 0 && KNOWN.contains(&name) && texts(values, id).is_some() {
            self.others.push(format!("{name} has {size}"));
        }
        let entries = [values.entries(id), values.attributes(id)].concat();
        for (key, value) in entries {
            if let Some(key) = values.text(key) {
                let path = if path.is_empty() {
                    key.to_owned()
                } else {
                    format!("{path}.{key}")
                };
                if path != self.weights || self.is_module(value) {
                    self.look(value, &path, depth + 1);
                }
            }
        }
    }

    /// A module that was saved as a whole may have the vocabulary among its attributes.
    fn is_module(&self, id: Id) -> bool {
        !self.values.attributes(id).is_empty()
    }
}
