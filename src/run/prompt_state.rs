//! A char-lstm's state after a prompt, in a file: the prompt is read once and continued many times.
//!
//! A safetensors file: `hidden.{k}` (H) and, in an LSTM, `cell.{k}` (H) of every layer, `logits`
//! (outputs) of the next token, `recent` (u32): the last tokens read. The metadata key `textgen`
//! holds the digest of the model's file and the number of tokens read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tensors::{self, FileKind, StoredTensor, TensorFile};
use super::{MOST_COUNT, RunError};
use crate::models::Snapshot;

/// The `format` numbers of a prompt's state that this version reads; it writes the last.
pub const PROMPT_STATE_FORMATS: std::ops::RangeInclusive<u32> = 1..=1;
/// The `kind` of such a file.
const KIND: &str = "prompt";
const FILE: FileKind = FileKind {
    what: "prompt state",
    kind: Some(KIND),
    formats: PROMPT_STATE_FORMATS,
    refuse: |path, reason| RunError::damaged(path, reason),
};

/// The state after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptState {
    /// The path of the model's file, for messages.
    pub model: String,
    /// Identifies the weights: [`ModelFile::digest`](super::ModelFile::digest), and the precision that
    /// they were used in.
    pub digest: String,
    /// The number of tokens read.
    pub tokens: u64,
    /// The last tokens read, the newest last.
    pub recent: Vec<u32>,
    /// The network's state after the last token.
    pub snapshot: Snapshot,
}

#[derive(Serialize, Deserialize)]
struct PromptHeader {
    kind: Cow<'static, str>,
    format: u32,
    model: String,
    digest: String,
    // The key's name since format 1.
    #[serde(rename = "symbols")]
    tokens: u64,
    layers: usize,
}

impl PromptState {
    /// Writes the state, atomically.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        let snapshot = &self.snapshot;
        let header = PromptHeader {
            kind: KIND.into(),
            format: *PROMPT_STATE_FORMATS.end(),
            model: self.model.clone(),
            digest: self.digest.clone(),
            tokens: self.tokens,
            layers: snapshot.hidden.len(),
        };
        let mut stored = BTreeMap::from([
            ("logits".to_owned(), StoredTensor::f32(&snapshot.logits)),
            ("recent".to_owned(), StoredTensor::u32(&self.recent)),
        ]);
        for (layer, (hidden, cell)) in snapshot.hidden.iter().zip(&snapshot.cell).enumerate() {
            stored.insert(format!("hidden.{layer}"), StoredTensor::f32(hidden));
            if !cell.is_empty() {
                stored.insert(format!("cell.{layer}"), StoredTensor::f32(cell));
            }
        }
        tensors::write(path, &header, &stored)
    }

    /// Reads a state of any of [`PROMPT_STATE_FORMATS`].
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let file = TensorFile::open(path, &FILE)?;
        let header: PromptHeader = file.header()?;
        if header.tokens > MOST_COUNT {
            return Err(file.refuse(format_args!("its header: symbols is {}", header.tokens)));
        }
        let (mut hidden, mut cell) = (Vec::new(), Vec::new());
        for layer in 0..header.layers {
            hidden.push(file.f32(&format!("hidden.{layer}"))?);
            let name = format!("cell.{layer}");
            let stored = file.contains(&name);
            cell.push(if stored { file.f32(&name)? } else { Vec::new() });
        }
        let snapshot = Snapshot {
            hidden,
            cell,
            logits: file.f32("logits")?,
        };
        Ok(Self {
            model: header.model,
            digest: header.digest,
            tokens: header.tokens,
            recent: file.u32("recent")?,
            snapshot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PromptState {
        PromptState {
            model: "runs/a/model.safetensors".to_owned(),
            digest: "sha256:00".to_owned(),
            tokens: 12,
            recent: vec![3, 1, 2],
            snapshot: Snapshot {
                hidden: vec![vec![0.5, -1.0], vec![0.25, 1e-30]],
                cell: vec![vec![2.0, 3.0], vec![-0.0, 1.0]],
                logits: vec![1.0, 2.0, -7.5],
            },
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.state");
        let mut gru = state();
        gru.snapshot.cell = vec![Vec::new(), Vec::new()];
        gru.recent = Vec::new();
        for state in [state(), gru] {
            state.write(&path).expect("written");
            assert_eq!(PromptState::read(&path).expect("read"), state);
        }
    }

    #[test]
    fn what_is_no_state_of_a_prompt_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.state");
        let refused = || PromptState::read(&path).expect_err("refused").to_string();
        state().write(&path).expect("written");
        let whole = std::fs::read(&path).expect("readable");
        std::fs::write(&path, &whole[..whole.len() - 5]).expect("written");
        assert!(refused().contains("damaged"), "{}", refused());
        let text = String::from_utf8_lossy(&whole);
        let newer = text.find("\\\"format\\\":1").expect("a format") + "\\\"format\\\":".len();
        let mut bytes = whole.clone();
        bytes[newer] = b'9';
        std::fs::write(&path, bytes).expect("written");
        assert!(refused().contains("prompt state format 9"), "{}", refused());
        let header = serde_json::json!({"format": 1});
        tensors::write(&path, &header, &BTreeMap::<String, StoredTensor>::new()).expect("written");
        assert!(refused().contains("not a prompt state"), "{}", refused());
    }
}
