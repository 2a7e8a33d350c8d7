//! Reports the unknown characters that `--on-unknown` replaces or leaves out.

use std::cell::RefCell;

use crate::cli::output::{counted, note};

/// The most characters that a message lists.
const SHOWN: usize = 12;

/// Collects what is replaced or left out, and reports each character once.
#[derive(Default)]
pub struct Replaced {
    /// Unknown text and its replacement, empty if there is none, in the order of first appearance.
    pairs: RefCell<Vec<(String, String)>>,
}

impl Replaced {
    /// Records replacements; an empty one means that the character is left out.
    pub fn add(&self, replaced: impl IntoIterator<Item = (String, String)>) {
        let mut pairs = self.pairs.borrow_mut();
        for (from, to) in replaced {
            if pairs.iter().all(|(known, _)| *known != from) {
                pairs.push((from, to));
            }
        }
    }

    /// Prints on stderr what was recorded since the last call.
    pub fn say(&self) {
        let (skipped, read): (Vec<_>, Vec<_>) = self
            .pairs
            .take()
            .into_iter()
            .partition(|(_, to)| to.is_empty());
        let read = read.into_iter().map(|(from, to)| format!("{from} as {to}"));
        let skipped = skipped.into_iter().map(|(from, _)| from);
        for (fate, list) in [
            ("read as the nearest", read.collect::<Vec<_>>()),
            ("left out", skipped.collect()),
        ] {
            if !list.is_empty() {
                note!("not known to the model, and {fate}: {}", shown(&list));
            }
        }
    }
}

/// The first of a list, and how many more there are.
fn shown(list: &[String]) -> String {
    let shown = list[..list.len().min(SHOWN)].join(", ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {}", counted(more, "other")),
    }
}
