//! A regular expression that a text must match from its first to its last character.
//!
//! The expression becomes an automaton over bytes, and that a table over tokens: where each token
//! leads to from each state, found by walking along its bytes, and how many tokens the nearest end
//! of a match is away. A token is allowed if from where it leads a match can still end within the
//! tokens that are left. So a text that begins with a match in reach ends with one, whatever is
//! drawn in between: there are no dead ends, and nothing is ever taken back.
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

/// Entries of the table at the most, 4 bytes each: states times tokens.
const MOST_ENTRIES: usize = 1 << 23;
/// Bytes that the automata may take while the table is made.
const MOST_BYTES: usize = 64 << 20;
/// In place of a state or a distance: there is none.
const NONE: u32 = u32::MAX;

/// Why an expression is no constraint.
#[derive(Debug, Error)]
pub enum ConstraintError {
    /// It is no regular expression, or one that no automaton can match.
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
    /// (states, tokens): the state that a token leads to, or [`NONE`].
    next: Vec<u32>,
    /// (states): tokens to the nearest end of a match, or [`NONE`].
    distance: Vec<u32>,
}

/// How far a text has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

impl Constraint {
    /// `regex` in the syntax of the regex crate; bytes (tokens) are those of each token, empty where
    /// it is never written. The table's first state is where a text begins.
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

    /// Tokens of the shortest text that matches.
    pub fn shortest(&self) -> usize {
        self.distance[0] as usize
    }

    fn next(&self, place: Place) -> &[u32] {
        &self.next[place.0 as usize * self.tokens..][..self.tokens]
    }

    /// Whether a match can end within `left` tokens of which the first leads to `next`.
    fn in_reach(&self, next: u32, left: usize) -> bool {
        let distance = self.distance.get(next as usize);
        distance.is_some_and(|&distance| distance != NONE && (distance as usize) < left)
    }

    /// Whether `token` may follow where `left` tokens are left, itself included.
    pub fn allows(&self, place: Place, token: u32, left: usize) -> bool {
        self.in_reach(self.next(place)[token as usize], left)
    }

    /// Makes the bias (tokens) of those −∞ that may not follow, and of the others 0.
    pub fn bias(&self, place: Place, left: usize, bias: &mut [f32]) {
        for (bias, &next) in bias.iter_mut().zip(self.next(place)) {
            *bias = if self.in_reach(next, left) {
                0.0
            } else {
                f32::NEG_INFINITY
            };
        }
    }

    /// Whether a text that came here by what was allowed matches as it stands.
    pub fn ends(&self, place: Place) -> bool {
        self.distance[place.0 as usize] == 0
    }

    /// Whether these tokens are a whole match.
    pub fn matches(&self, tokens: &[u32]) -> bool {
        let after = |place: Place, &token: &u32| match self.next(place)[token as usize] {
            NONE => None,
            next => Some(Place(next)),
        };
        let place = tokens.iter().try_fold(Place::default(), after);
        place.is_some_and(|place| self.ends(place))
    }

    /// Whether nothing may follow: a text that came here by what was allowed matches.
    pub fn is_over(&self, place: Place, left: usize) -> bool {
        !self
            .next(place)
            .iter()
            .any(|&next| self.in_reach(next, left))
    }

    /// Where `token` leads, which must be allowed.
    ///
    /// # Panics
    /// Where no match can follow it, however long.
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
    // The parser draws the expression over several lines; the last one says what is wrong with it.
    let text = root.to_string();
    let last = text.lines().last().unwrap_or_default();
    if last.contains("Unicode word boundar") {
        return ConstraintError::WordBoundary;
    }
    ConstraintError::Syntax(last.trim_start_matches("error: ").to_owned())
}

/// The automaton as far as it is known.
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

    /// Where every token leads from every state that can be reached, and which states end a match.
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
                let to = self.walk(state, bytes)?;
                next.push(to.map_or(NONE, |to| self.number(to)));
            }
            let end = self.dfa.next_eoi_state(&mut self.cache, state);
            ends.push(end.map_err(|_| ConstraintError::TooLarge)?.is_match());
        }
        Ok((next, ends))
    }

    /// The state behind the bytes of a token.
    fn walk(
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

    /// The number of a state, a new one where it has none.
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
