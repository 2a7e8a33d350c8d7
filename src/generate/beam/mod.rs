//! Beam search: the most probable text, or nearly, of those that a goal allows.
//!
//! The `width` most probable beginnings are followed at a time, all of one length, side by side. A
//! symbol's probability is the model's own at temperature 1, with the forbidden symbols removed and
//! nothing else, so that what a goal excludes makes what it allows no more probable. A width that
//! leaves out no beginning finds the most probable text of all; width 1 is the greedy one.

use crate::generate::constraint::{Constraint, Place};
use crate::generate::Network;

/// Which texts are looked for.
pub trait Goal {
    /// What has to be known of a beginning, apart from its symbols.
    type Trail: Clone;

    /// No text has more symbols.
    fn longest(&self) -> usize;

    /// Whether `symbol` may follow a beginning.
    fn allows(&self, symbols: &[u32], trail: &Self::Trail, symbol: u32) -> bool;

    /// What is known once the last of `symbols` has been written; none where the text ends with it,
    /// which it does at the latest after [`Goal::longest`] symbols.
    fn follow(&self, symbols: &[u32], trail: &Self::Trail) -> Option<Self::Trail>;

    /// Whether texts of different length are compared by their mean log-probability per symbol, and
    /// not by the sum.
    fn by_mean(&self) -> bool;
}

/// A text found, or the beginning of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its symbols, the one that ended it included.
    pub symbols: Vec<u32>,
    /// log p of them in nats, under the model's own distribution.
    pub log_prob: f64,
}

/// How wide the search is.
#[derive(Clone, Copy, Debug)]
pub struct Beam<'a> {
    /// Beginnings that are followed at a time; at least 1.
    pub width: usize,
    /// So many of the best texts are kept; at least 1.
    pub wanted: usize,
    /// Symbols that are never written.
    pub forbidden: &'a [u32],
}

/// A beginning that is followed.
struct Live<T> {
    text: Found,
    trail: T,
}

/// A beginning, and what it costs to go on with a symbol.
struct Candidate {
    /// The row of the beginning.
    row: usize,
    symbol: u32,
    /// log p of the beginning and the symbol, in nats.
    log_prob: f64,
}

impl Beam<'_> {
    /// The best texts that follow `state`, which has one row and the logits of the first symbol; the
    /// best first, none where no probability is a number. `read` is told of every symbol's length.
    pub fn search<N: Network, G: Goal>(
        self,
        network: &N,
        mut state: N::State,
        goal: &G,
        start: G::Trail,
        mut read: impl FnMut(usize),
    ) -> Vec<Found> {
        let value = |log_prob: f64, length: usize| {
            let symbols = if goal.by_mean() { length } else { 1 };
            log_prob / symbols as f64
        };
        let mut found: Vec<Found> = Vec::new();
        let mut live = vec![Live {
            text: Found::default(),
            trail: start,
        }];
        for length in 1..=goal.longest() {
            let mut candidates = Vec::new();
            for (row, live) in live.iter().enumerate() {
                self.extend(goal, row, live, N::logits(&state, row), &mut candidates);
            }
            keep(&mut candidates, self.width);
            let (mut rows, mut symbols, mut next) = (Vec::new(), Vec::new(), Vec::new());
            for candidate in candidates {
                let log_prob = candidate.log_prob;
                let worst = found.get(self.wanted - 1);
                let worst = worst.map(|text| value(text.log_prob, text.symbols.len()));
                // What follows is at the best certain, and as long as can be.
                if worst.is_some_and(|worst| value(log_prob, goal.longest()) <= worst) {
                    continue;
                }
                let before = &live[candidate.row];
                let mut text = before.text.clone();
                text.symbols.push(candidate.symbol);
                text.log_prob = log_prob;
                if let Some(trail) = goal.follow(&text.symbols, &before.trail) {
                    rows.push(candidate.row);
                    symbols.push(candidate.symbol);
                    next.push(Live { text, trail });
                } else {
                    let own = value(log_prob, length);
                    let better = |other: &Found| value(other.log_prob, other.symbols.len()) >= own;
                    found.insert(found.partition_point(better), text);
                    found.truncate(self.wanted);
                }
            }
            if rows.is_empty() {
                break;
            }
            live = next;
            state = N::select(&state, &rows);
            network.step(&mut state, &symbols);
            read(length);
        }
        found
    }

    /// Every way that a beginning can go on.
    fn extend<G: Goal>(
        &self,
        goal: &G,
        row: usize,
        live: &Live<G::Trail>,
        logits: &[f32],
        candidates: &mut Vec<Candidate>,
    ) {
        let allowed = |symbol: &u32| !self.forbidden.contains(symbol);
        let number = |&logit: &f32| logit > f32::NEG_INFINITY;
        let score = |symbol: u32| f64::from(logits[symbol as usize]);
        let symbols = || {
            (0..logits.len() as u32)
                .filter(allowed)
                .filter(|&symbol| number(&logits[symbol as usize]))
        };
        let highest = symbols().map(score).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = symbols()
            .map(|symbol| (score(symbol) - highest).exp())
            .sum();
        let text = &live.text;
        let next = symbols().filter(|&symbol| goal.allows(&text.symbols, &live.trail, symbol));
        candidates.extend(next.map(|symbol| Candidate {
            row,
            symbol,
            log_prob: text.log_prob + score(symbol) - highest - total.ln(),
        }));
    }
}

/// Keeps the `width` most probable, most probable first; of equals those that come first.
fn keep(candidates: &mut Vec<Candidate>, width: usize) {
    candidates.retain(|candidate| candidate.log_prob.is_finite());
    let order = |a: &Candidate, b: &Candidate| {
        let place = |c: &Candidate| (c.row, c.symbol);
        b.log_prob
            .total_cmp(&a.log_prob)
            .then(place(a).cmp(&place(b)))
    };
    if width < candidates.len() {
        candidates.select_nth_unstable_by(width, order);
        candidates.truncate(width);
    }
    candidates.sort_unstable_by(order);
}

/// Texts of at most so many symbols, which may end before: with the stop text, or where a constraint
/// allows nothing more. Compared by their mean log-probability per symbol, which for equal lengths
/// is as good as the sum and does not favour those that end early.
#[derive(Clone, Copy, Debug)]
pub struct TextGoal<'a> {
    /// Symbols.
    pub length: usize,
    /// The bytes of each symbol.
    pub bytes: &'a [Vec<u8>],
    /// Ends a text.
    pub stop: Option<&'a [u8]>,
    /// What the whole text must match.
    pub constraint: Option<&'a Constraint>,
}

/// What a [`TextGoal`] has to know of a beginning.
#[derive(Clone, Debug, Default)]
pub struct TextTrail {
    /// Its last bytes, as many as may begin the stop text.
    tail: Vec<u8>,
    /// Where the constraint stands.
    place: Place,
}

impl Goal for TextGoal<'_> {
    type Trail = TextTrail;

    fn longest(&self) -> usize {
        self.length
    }

    fn allows(&self, symbols: &[u32], trail: &TextTrail, symbol: u32) -> bool {
        let left = self.length - symbols.len();
        self.constraint
            .is_none_or(|constraint| constraint.allows(trail.place, symbol, left))
    }

    fn follow(&self, symbols: &[u32], trail: &TextTrail) -> Option<TextTrail> {
        let left = self.length - symbols.len();
        let &symbol = symbols.last()?;
        let mut next = trail.clone();
        if let Some(constraint) = self.constraint {
            next.place = constraint.after(trail.place, symbol);
            if constraint.is_over(next.place, left) {
                return None;
            }
        }
        if let Some(stop) = self.stop {
            next.tail.extend(&self.bytes[symbol as usize]);
            if next.tail.windows(stop.len()).any(|window| window == stop) {
                return None;
            }
            let more = next.tail.len().saturating_sub(stop.len() - 1);
            next.tail.drain(..more);
        }
        (left > 0).then_some(next)
    }

    fn by_mean(&self) -> bool {
        true
    }
}

#[cfg(test)]
pub(super) mod tests;
