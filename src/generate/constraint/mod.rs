//! A regular expression that a text must match from its first to its last character.
//!
//! The expression becomes an automaton over bytes, and that becomes a table over tokens: the state
//! that each token leads to from each state, found by following its bytes, and the distance in tokens
//! to the nearest end of a match. A token is allowed if a match can still end within the remaining
//! tokens after it. So if a match is possible at the start, every sampled text ends with one: there are
//! no dead ends and no backtracking.
//!
//! The automaton is determinised only as far as the tokens reach (the lazy DFA of regex-automata),
//! so that classes of all Unicode's letters cost no more than the letters that the network knows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use thiserror::Error;

/// The most entries of the table, 4 bytes each: states times tokens.
const MOST_ENTRIES: usize = 1 << 23;
/// The most bytes of the automata while the table is built.
const MOST_BYTES: usize = 64 << 20;
/// Marks a missing state or distance.
const NONE: u32 = u32::MAX;

/// Why an expression cannot be a constraint.
#[derive(Debug, Error)]
pub enum ConstraintError {
    /// It is not a regular expression, or not one that an automaton can match.
    #[error("{0}")]
    Syntax(String),
    /// It has a word boundary by Unicode's rules, which an automaton over bytes can't see.
    #[error("it has a Unicode word boundary, which an automaton can't match")]
    WordBoundary,
    /// Its automaton is too large.
    #[error("its automaton is too large")]
    TooLarge,
    /// No text of the network's tokens matches it.
    #[error("no text of characters that the model can write matches it")]
    Impossible,
}

/// An expression over the tokens of a network.
#[derive(Clone, Debug)]
pub struct Constraint {
    tokens: usize,
    /// (states, tokens): the next state after a token, or [`NONE`].
    next: Vec<u32>,
    /// (states): tokens to the nearest end of a match, or [`NONE`].
    distance: Vec<u32>,
}

/// The state of the automaton after a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

impl Constraint {
    /// `regex` in the syntax of the regex crate; bytes (tokens) are those of each token, empty if
    /// it is never written. The table's first state is that of an empty text.
    pub fn new(regex: &str, bytes: &[Vec<u8>]) -> Result<Self, ConstraintError> {
        let dfa = DFA::builder()
            .configure(
                // All matches, not the leftmost-first: `a|ab` may end after either.
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(MOST_BYTES)
                    .minimum_cache_clear_count(Some(0)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(MOST_BYTES)))
            .build(regex)
            .map_err(|error| refusal(&error))?;
        let (next, ends) = Table::new(&dfa).fill(bytes)?;
        let distance = distances(&next, &ends);
        if distance[0] == NONE {
            return Err(ConstraintError::Impossible);
        }
        Ok(Self {
            tokens: bytes.len(),
            next,
            distance,
        })
    }

    /// The number of tokens of the shortest match.
    pub fn shortest(&self) -> usize {
        self.distance[0] as usize
    }

    fn next(&self, place: Place) -> &[u32] {
        &self.next[place.0 as usize * self.tokens..][..self.tokens]
    }

    /// Whether a match can end within `left` tokens, the first of which leads to `next`.
    fn in_reach(&self, next: u32, left: usize) -> bool {
        let distance = self.distance.get(next as usize);
        distance.is_some_and(|&distance| distance != NONE && (distance as usize) < left)
    }

    /// Whether `token` may follow if `left` tokens are left, including itself.
    pub fn allows(&self, place: Place, token: u32, left: usize) -> bool {
        self.in_reach(self.next(place)[token as usize], left)
    }

    /// Sets the bias (tokens) to −∞ for tokens that may not follow, and to 0 for the others.
    pub fn bias(&self, place: Place, left: usize, bias: &mut [f32]) {
        for (bias, &next) in bias.iter_mut().zip(self.next(place)) {
            *bias = if self.in_reach(next, left) {
                0.0
            } else {
                f32::NEG_INFINITY
            };
        }
    }

    /// Whether a text that led here by allowed tokens is a match.
    pub fn ends(&self, place: Place) -> bool {
        self.distance[place.0 as usize] == 0
    }

    /// Whether these tokens are a complete match.
    pub fn matches(&self, tokens: &[u32]) -> bool {
        let after = |place: Place, &token: &u32| match self.next(place)[token as usize] {
            NONE => None,
            next => Some(Place(next)),
        };
        let place = tokens.iter().try_fold(Place::default(), after);
        place.is_some_and(|place| self.ends(place))
    }

    /// Whether nothing may follow. A text that led here by allowed tokens is then a match.
    pub fn is_over(&self, place: Place, left: usize) -> bool {
        !self
            .next(place)
            .iter()
            .any(|&next| self.in_reach(next, left))
    }

    /// The state after `token`, which must be allowed.
    ///
    /// # Panics
    /// If no match can follow it, however long.
    pub fn after(&self, place: Place, token: u32) -> Place {
        let next = self.next(place)[token as usize];
        assert_ne!(next, NONE, "the token is not allowed");
        Place(next)
    }
}

/// Why an expression has no automaton.
fn refusal(error: &(dyn std::error::Error + 'static)) -> ConstraintError {
    let mut root = error;
    loop {
        let nfa = root.downcast_ref::<thompson::BuildError>();
        if nfa.is_some_and(|error| error.size_limit().is_some()) {
            return ConstraintError::TooLarge;
        }
        match root.source() {
            Some(source) => root = source,
            None => break,
        }
    }
    // The parser shows the expression on several lines; the last line has the error.
    let text = root.to_string();
    let last = text.lines().last().unwrap_or_default();
    if last.contains("Unicode word boundar") {
        return ConstraintError::WordBoundary;
    }
    ConstraintError::Syntax(last.trim_start_matches("error: ").to_owned())
}

/// The part of the automaton built so far.
struct Table<'a> {
    dfa: &'a DFA,
    cache: Cache,
    states: Vec<LazyStateID>,
    index: HashMap<LazyStateID, u32>,
}

impl<'a> Table<'a> {
    fn new(dfa: &'a DFA) -> Self {
        Self {
            dfa,
            cache: dfa.create_cache(),
            states: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// The next state for every token and reachable state, and the states that end a match.
    fn fill(mut self, bytes: &[Vec<u8>]) -> Result<(Vec<u32>, Vec<bool>), ConstraintError> {
        let start = Input::new("").anchored(Anchored::Yes);
        let start = self
            .dfa
            .start_state_forward(&mut self.cache, &start)
            .map_err(|_| ConstraintError::TooLarge)?;
        self.number(start);
        let (mut next, mut ends) = (Vec::new(), Vec::new());
        while let Some(&state) = self.states.get(ends.len()) {
            if (ends.len() + 1) * bytes.len() > MOST_ENTRIES {
                return Err(ConstraintError::TooLarge);
            }
            for bytes in bytes {
                let to = self.follow(state, bytes)?;
                next.push(to.map_or(NONE, |to| self.number(to)));
            }
            let end = self.dfa.next_eoi_state(&mut self.cache, state);
            ends.push(end.map_err(|_| ConstraintError::TooLarge)?.is_match());
        }
        Ok((next, ends))
    }

    /// The state after the bytes of a token.
    fn follow(
        &mut self,
        mut state: LazyStateID,
        bytes: &[u8],
    ) -> Result<Option<LazyStateID>, ConstraintError> {
        for &byte in bytes {
            let next = self.dfa.next_state(&mut self.cache, state, byte);
            state = next.map_err(|_| ConstraintError::TooLarge)?;
            if state.is_dead() || state.is_quit() {
                return Ok(None);
            }
        }
        Ok((!bytes.is_empty()).then_some(state))
    }

    /// The number of a state, assigned if it has none.
    fn number(&mut self, state: LazyStateID) -> u32 {
        let number = self.states.len() as u32;
        match self.index.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                self.states.push(state);
                *unknown.insert(number)
            }
        }
    }
}

/// The shortest way from every state to one of the `ends`, in tokens: breadth first, backwards.
fn distances(next: &[u32], ends: &[bool]) -> Vec<u32> {
    let states = ends.len();
    let tokens = next.len() / states;
    let mut edges = Vec::new();
    for state in 0..states {
        let mut to = next[state * tokens..][..tokens].to_vec();
        to.sort_unstable();
        to.dedup();
        to.retain(|&to| to != NONE);
        edges.extend(to.into_iter().map(|to| (to, state as u32)));
    }
    edges.sort_unstable();
    let mut distance = vec![NONE; states];
    let mut queue: Vec<u32> = (0..states as u32)
        .filter(|&state| ends[state as usize])
        .collect();
    for &end in &queue {
        distance[end as usize] = 0;
    }
    let mut head = 0;
    while let Some(&state) = queue.get(head) {
        head += 1;
        let first = edges.partition_point(|&(to, _)| to < state);
        for &(_, from) in edges[first..].iter().take_while(|&&(to, _)| to == state) {
            if distance[from as usize] == NONE {
                distance[from as usize] = distance[state as usize] + 1;
                queue.push(from);
            }
        }
    }
    distance
}

#[cfg(test)]
mod tests;
