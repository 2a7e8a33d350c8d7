//! Beam search: the most probable text, or nearly, of those that a goal allows.
//!
//! The `width` most probable prefixes are followed at a time, all of one length, side by side. A
//! token's probability is the model's own at temperature 1, with the suppressed tokens removed and
//! nothing else, so that what a goal excludes makes what it allows no more probable. A width that
//! leaves out no prefix finds the most probable text of all; width 1 is the greedy one.

use crate::generate::constraint::{Constraint, Place};
use crate::models::{Network, RowState};

/// Defines the texts that the search looks for.
pub trait Goal {
    /// The state of a prefix, apart from its tokens.
    type Trail: Clone;

    /// The most tokens of a text.
    fn longest(&self) -> usize;

    /// Whether `token` may follow a prefix.
    fn allows(&self, tokens: &[u32], trail: &Self::Trail, token: u32) -> bool;

    /// The state after the last of `tokens`; `None` if the text ends with it, at the latest after
    /// [`Goal::longest`] tokens.
    fn follow(&self, tokens: &[u32], trail: &Self::Trail) -> Option<Self::Trail>;

    /// Whether a text found ends by itself. One that does is better than one that is only cut.
    fn is_whole(&self, _tokens: &[u32]) -> bool {
        true
    }

    /// Whether texts of different length are compared by their mean log-probability per token, and
    /// not by the sum.
    fn by_mean(&self) -> bool;
}

/// A text found, or the prefix of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// log p of them in nats, under the model's own distribution.
    pub log_prob: f64,
}

/// The limits of the search.
#[derive(Clone, Copy, Debug)]
pub struct Beam<'a> {
    /// The number of prefixes followed at a time; at least 1.
    pub width: usize,
    /// The number of best texts to return; at least 1.
    pub wanted: usize,
    /// Tokens that are never written.
    pub suppressed: &'a [u32],
}

/// A prefix of the beam.
struct Live<T> {
    text: Found,
    trail: T,
}

/// A prefix and a token that may extend it.
struct Candidate {
    /// The row of the prefix.
    row: usize,
    token: u32,
    /// log p of the prefix and the token, in nats.
    log_prob: f64,
}

impl Beam<'_> {
    /// The best texts that follow `state`, which has one row and the logits of the first token; the
    /// best first; empty if no probability is a number. `read` is called with the length of each step.
    pub fn search<N: Network, G: Goal>(
        self,
        network: &N,
        mut state: RowState,
        goal: &G,
        start: G::Trail,
        mut read: impl FnMut(usize),
    ) -> Vec<Found> {
        let value = |log_prob: f64, length: usize| {
            let tokens = if goal.by_mean() { length } else { 1 };
            log_prob / tokens as f64
        };
        let mut found: Vec<Found> = Vec::new();
        let mut live = vec![Live {
            text: Found::default(),
            trail: start,
        }];
        for length in 1..=goal.longest() {
            let mut candidates = Vec::new();
            for (row, live) in live.iter().enumerate() {
                self.extend(goal, row, live, state.logits(row), &mut candidates);
            }
            keep(&mut candidates, self.width);
            let (mut rows, mut tokens, mut next) = (Vec::new(), Vec::new(), Vec::new());
            for candidate in candidates {
                let log_prob = candidate.log_prob;
                let worst = found.get(self.wanted - 1);
                let worst = worst.filter(|worst| goal.is_whole(&worst.tokens));
                let worst = worst.map(|text| value(text.log_prob, text.tokens.len()));
                // At best, the rest has probability 1 and the greatest length.
                if worst.is_some_and(|worst| value(log_prob, goal.longest()) <= worst) {
                    continue;
                }
                let before = &live[candidate.row];
                let mut text = before.text.clone();
                text.tokens.push(candidate.token);
                text.log_prob = log_prob;
                if let Some(trail) = goal.follow(&text.tokens, &before.trail) {
                    rows.push(candidate.row);
                    tokens.push(candidate.token);
                    next.push(Live { text, trail });
                } else {
                    let rank = |text: &Found| {
                        let value = value(text.log_prob, text.tokens.len());
                        (goal.is_whole(&text.tokens), value)
                    };
                    let own = rank(&text);
                    let better = |other: &Found| rank(other) >= own;
                    found.insert(found.partition_point(better), text);
                    found.truncate(self.wanted);
                }
            }
            if rows.is_empty() {
                break;
            }
            live = next;
            state = state.select(&rows);
            network.step(&mut state, &tokens);
            read(length);
        }
        found
    }

    /// Every token that can extend a prefix.
    fn extend<G: Goal>(
        &self,
        goal: &G,
        row: usize,
        live: &Live<G::Trail>,
        logits: &[f32],
        candidates: &mut Vec<Candidate>,
    ) {
        let allowed = |token: &u32| !self.suppressed.contains(token);
        let number = |&logit: &f32| logit > f32::NEG_INFINITY;
        let score = |token: u32| f64::from(logits[token as usize]);
        let tokens = || {
            (0..logits.len() as u32)
                .filter(allowed)
                .filter(|&token| number(&logits[token as usize]))
        };
        let highest = tokens().map(score).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = tokens().map(|token| (score(token) - highest).exp()).sum();
        let text = &live.text;
        let next = tokens().filter(|&token| goal.allows(&text.tokens, &live.trail, token));
        candidates.extend(next.map(|token| Candidate {
            row,
            token,
            log_prob: text.log_prob + score(token) - highest - total.ln(),
        }));
    }
}

/// Keeps the `width` most probable extensions, most probable first; among equals the first ones.
fn keep(candidates: &mut Vec<Candidate>, width: usize) {
    candidates.retain(|candidate| candidate.log_prob.is_finite());
    let order = |a: &Candidate, b: &Candidate| {
        let place = |c: &Candidate| (c.row, c.token);
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

/// Texts of at most `length` tokens, which may end earlier: with the stop text, at the end of a document, or if a
/// constraint allows nothing more. Compared by their mean log-probability per token, which for equal lengths
/// is as good as the sum and does not favour those that end early; documents by the sum.
#[derive(Clone, Copy, Debug)]
pub struct TextGoal<'a> {
    pub length: usize,
    /// The bytes of each token.
    pub bytes: &'a [Vec<u8>],
    pub stop: Option<&'a [u8]>,
    /// The constraint that the whole text must match.
    pub constraint: Option<&'a Constraint>,
    /// The token that ends a document, and the text.
    pub eos: Option<u32>,
    /// Whether the text begins a document, which is not empty.
    pub begins: bool,
}

/// The state of a prefix under a [`TextGoal`].
#[derive(Clone, Debug, Default)]
pub struct TextTrail {
    /// Its last bytes, which may start the stop text.
    tail: Vec<u8>,
    /// The state of the constraint.
    place: Place,
}

impl Goal for TextGoal<'_> {
    type Trail = TextTrail;

    fn longest(&self) -> usize {
        self.length
    }

    fn allows(&self, tokens: &[u32], trail: &TextTrail, token: u32) -> bool {
        let left = self.length - tokens.len();
        if self.begins && tokens.is_empty() && self.eos == Some(token) {
            return false;
        }
        self.constraint.is_none_or(|constraint| {
            if self.eos == Some(token) {
                return constraint.ends(trail.place);
            }
            constraint.allows(trail.place, token, left)
        })
    }

    fn follow(&self, tokens: &[u32], trail: &TextTrail) -> Option<TextTrail> {
        let left = self.length - tokens.len();
        let token = tokens
            .last()
            .copied()
            .filter(|&token| Some(token) != self.eos)?;
        let mut next = trail.clone();
        if let Some(constraint) = self.constraint {
            next.place = constraint.after(trail.place, token);
            if constraint.is_over(next.place, left) {
                return None;
            }
        }
        if let Some(stop) = self.stop {
            next.tail.extend(&self.bytes[token as usize]);
            if next.tail.windows(stop.len()).any(|window| window == stop) {
                return None;
            }
            let more = next.tail.len().saturating_sub(stop.len() - 1);
            next.tail.drain(..more);
        }
        (left > 0).then_some(next)
    }

    fn is_whole(&self, tokens: &[u32]) -> bool {
        self.eos.is_none() || tokens.last().copied() == self.eos
    }

    /// Documents have their own length, as words have.
    fn by_mean(&self) -> bool {
        self.eos.is_none()
    }
}

#[cfg(test)]
pub(super) mod tests;
