//! What `--on-unknown nearest` writes for what a model does not know.

use std::cell::RefCell;

use crate::cli::output::note;

/// Replacements named at the most.
const SHOWN: usize = 12;

/// Encodes texts, and says once what the nearest tokens stand in for.
#[derive(Default)]
pub struct Replaced {
    /// What became what, in the order of first appearance.
    pairs: RefCell<Vec<(String, String)>>,
}

impl Replaced {
    /// Remembers what became what.
    pub fn add(&self, replaced: impl IntoIterator<Item = (String, String)>) {
        let mut pairs = self.pairs.borrow_mut();
        for (from, to) in replaced {
            if pairs.iter().all(|(known, _)| *known != from) {
                pairs.push((from, to));
            }
        }
    }

    /// Says on stderr what was replaced since the last time.
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
