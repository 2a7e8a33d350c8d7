//! Reports the replacements that `--on-unknown nearest` makes.

use std::cell::RefCell;

use crate::cli::output::note;

/// The most replacements that a message lists.
const SHOWN: usize = 12;

/// Encodes texts, and reports each replacement once.
#[derive(Default)]
pub struct Replaced {
    /// Replaced text and its replacement, in the order of first appearance.
    pairs: RefCell<Vec<(String, String)>>,
}

impl Replaced {
    /// Records replacements.
    pub fn add(&self, replaced: impl IntoIterator<Item = (String, String)>) {
        let mut pairs = self.pairs.borrow_mut();
        for (from, to) in replaced {
            if pairs.iter().all(|(known, _)| *known != from) {
                pairs.push((from, to));
            }
        }
    }

    /// Prints on stderr the replacements since the last call.
    pub fn say(&self) {
        let pairs = self.pairs.take();
        if pairs.is_empty() {
            return;
        }
        let shown = pairs.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(|(from, to)| format!("{from} as {to}")).collect();
        let more = match pairs.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        note!(
            "not known to the model, and read as the nearest: {}{more}",
            shown.join(", ")
        );
    }
}
