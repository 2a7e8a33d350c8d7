//! How much of some texts was copied from a source: did a model learn or memorize?
//!
//! The suffix automaton of the texts (Blumer et al. 1985) has a state for each set of positions where
//! the same substrings end, in space linear in the texts. The source runs through it once, token by
//! token, and records at every state the longest substring that reached it. So matches of all lengths
//! are found exactly and at once, at a cost linear in the texts and the source.

use std::ops::Range;

use crate::run::{RunError, TokenSource, pieces};

/// What texts have in common with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// By text and position: the length of the longest match with the source that ends there.
    pub lengths: Vec<Vec<u32>>,
}

/// A segment that also occurs in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The index of the text.
    pub text: usize,
    /// The tokens of the segment within the text.
    pub text_range: Range<usize>,
    /// The tokens of its first occurrence in the source.
    pub range: Range<usize>,
}

impl Copied {
    /// Finds what parts of `texts` occur in one of the `parts` of `source`; `progress` is told how many
    /// more tokens of it have been read.
    pub fn new(
        texts: &[&[u32]],
        source: &dyn TokenSource,
        parts: &[Range<usize>],
        progress: impl Fn(u64),
    ) -> Result<Self, RunError> {
        let mut automaton = Automaton::new(texts);
        for part in parts {
            let (mut state, mut length) = (ROOT, 0);
            for piece in pieces(source, part.clone()) {
                let piece = piece?;
                for &token in &*piece {
                    (state, length) = automaton.follow(state, length, token);
                    let state = &mut automaton.states[state as usize];
                    state.met = state.met.max(length);
                }
                progress(piece.len() as u64);
            }
        }
        automaton.hand_down();
        let met = |&state: &u32| automaton.states[state as usize].met;
        let lengths = |states: &Vec<u32>| states.iter().map(met).collect();
        Ok(Self {
            lengths: automaton.prefixes.iter().map(lengths).collect(),
        })
    }

    /// The fraction of the texts' n-grams that occur in the source; `None` if there is no n-gram.
    pub fn fraction(&self, n: usize) -> Option<f64> {
        let before = n.checked_sub(1)?;
        let texts = self.lengths.iter();
        let ends = || {
            texts
                .clone()
                .filter_map(|lengths| lengths.get(before..))
                .flatten()
        };
        let all = ends().count();
        let copied = ends().filter(|&&length| length as usize >= n).count();
        (all > 0).then(|| copied as f64 / all as f64)
    }

    /// Tokens of the texts in a segment of at least `n` tokens that occurs in the source.
    pub fn tokens(&self, n: usize) -> usize {
        let in_text = |lengths: &Vec<u32>| {
            let mut reaching = 0_u32;
            let is_copied = |&length: &u32| {
                let whole = if length as usize >= n { length } else { 0 };
                reaching = reaching.saturating_sub(1).max(whole);
                reaching > 0
            };
            lengths
                .iter()
                .rev()
                .map(is_copied)
                .filter(|&copied| copied)
                .count()
        };
        self.lengths.iter().map(in_text).sum()
    }

    /// The longest segment of `texts` that occurs in a part of `source`, the first of several; `None` if no
    /// token does. All must be those that this was built from.
    pub fn longest(
        &self,
        texts: &[&[u32]],
        source: &dyn TokenSource,
        parts: &[Range<usize>],
    ) -> Result<Option<Segment>, RunError> {
        let longest = self.lengths.iter().flatten().copied().max().unwrap_or(0);
        let last = |lengths: &Vec<u32>| lengths.iter().position(|&length| length == longest);
        let mut texts_with_ends = self.lengths.iter().map(last).enumerate();
        let found = texts_with_ends.find_map(|(text, last)| Some((text, last?)));
        let Some((text, last)) = found.filter(|_| longest > 0) else {
            return Ok(None);
        };
        let length = longest as usize;
        let text_range = last + 1 - length..last + 1;
        let wanted = &texts[text][text_range.clone()];
        for part in parts {
            for at in part.clone().step_by(PIECE) {
                // An occurrence may end in the piece after the one in which it starts.
                let piece = source.read(at..part.end.min(at + PIECE + length - 1))?;
                let mut windows = piece.windows(length);
                if let Some(further) = windows.position(|window| window == wanted) {
                    let at = at + further;
                    return Ok(Some(Segment {
                        text,
                        text_range,
                        range: at..at + length,
                    }));
                }
            }
        }
        Ok(None)
    }
}

/// Tokens of the source that are searched at once.
const PIECE: usize = 1 << 16;
/// The state of the empty substring.
const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// Substrings that end at the same positions.
#[derive(Clone, Debug)]
struct State {
    /// The length of the longest of them.
    length: u32,
    /// The state of the longest suffix that ends at more positions.
    link: u32,
    /// The next state, by token.
    next: Vec<(u32, u32)>,
    /// The length of the longest of them that occurs in the source.
    met: u32,
}

impl State {
    fn next(&self, token: u32) -> Option<u32> {
        let index = self.next.binary_search_by_key(&token, |&(key, _)| key);
        index.ok().map(|index| self.next[index].1)
    }

    fn set_next(&mut self, token: u32, state: u32) {
        match self.next.binary_search_by_key(&token, |&(key, _)| key) {
            Ok(index) => self.next[index].1 = state,
            Err(index) => self.next.insert(index, (token, state)),
        }
    }
}

/// The suffix automaton of some texts.
struct Automaton {
    states: Vec<State>,
    /// By text, the state of its first 1, 2, … tokens.
    prefixes: Vec<Vec<u32>>,
}

impl Automaton {
    fn new(texts: &[&[u32]]) -> Self {
        let root = State {
            length: 0,
            link: NONE,
            next: Vec::new(),
            met: 0,
        };
        let mut automaton = Self {
            states: vec![root],
            prefixes: Vec::with_capacity(texts.len()),
        };
        for text in texts {
            let mut last = ROOT;
            let mut prefixes = Vec::with_capacity(text.len());
            for &token in *text {
                last = automaton.extend(last, token);
                prefixes.push(last);
            }
            automaton.prefixes.push(prefixes);
        }
        automaton
    }

    fn add(&mut self, state: State) -> u32 {
        self.states.push(state);
        self.states.len() as u32 - 1
    }

    /// Appends a token to a text whose state so far is `last`.
    fn extend(&mut self, last: u32, token: u32) -> u32 {
        let before = &self.states[last as usize];
        if let Some(there) = before.next(token) {
            // An earlier text contains the same tokens.
            let length = before.length + 1;
            return self.split(last, token, there, length);
        }
        let new = self.add(State {
            length: self.states[last as usize].length + 1,
            link: ROOT,
            next: Vec::new(),
            met: 0,
        });
        let mut at = last;
        while at != NONE {
            let state = &mut self.states[at as usize];
            if let Some(there) = state.next(token) {
                let length = state.length + 1;
                self.states[new as usize].link = self.split(at, token, there, length);
                break;
            }
            state.set_next(token, new);
            at = state.link;
        }
        new
    }

    /// The state of the substrings of up to `length` tokens among those of `there`, the
    /// transition of `token` from `at`: `there` itself, or a new state.
    fn split(&mut self, at: u32, token: u32, there: u32, length: u32) -> u32 {
        if self.states[there as usize].length == length {
            return there;
        }
        let shorter = State {
            length,
            ..self.states[there as usize].clone()
        };
        let shorter = self.add(shorter);
        self.states[there as usize].link = shorter;
        let mut at = at;
        while at != NONE {
            let state = &mut self.states[at as usize];
            if state.next(token) != Some(there) {
                break;
            }
            state.set_next(token, shorter);
            at = state.link;
        }
        shorter
    }

    /// Steps from the longest suffix of what was read that occurs in the texts, `length` tokens long,
    /// to the longest such suffix after one more token.
    fn follow(&self, state: u32, length: u32, token: u32) -> (u32, u32) {
        let (mut at, mut length) = (state, length);
        loop {
            let state = &self.states[at as usize];
            if let Some(next) = state.next(token) {
                return (next, length + 1);
            }
            if state.link == NONE {
                return (ROOT, 0);
            }
            at = state.link;
            length = self.states[at as usize].length;
        }
    }

    /// If a substring occurs, so do its suffixes; if none of a state's substrings does, one of its
    /// link's still may.
    fn hand_down(&mut self) {
        let mut order: Vec<u32> = (1..self.states.len() as u32).collect();
        order.sort_unstable_by_key(|&state| self.states[state as usize].length);
        for &state in order.iter().rev() {
            let State { link, met, .. } = self.states[state as usize];
            if met > 0 {
                let link = &mut self.states[link as usize];
                link.met = link.length;
            }
        }
        for &state in &order {
            let State { link, met, .. } = self.states[state as usize];
            if met == 0 {
                self.states[state as usize].met = self.states[link as usize].met;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    /// Every length, by searching for the substring everywhere.
    fn plainly(text: &[u32], source: &[&[u32]]) -> Vec<u32> {
        let stands = |wanted: &[u32]| {
            let mut windows = source.iter().flat_map(|part| part.windows(wanted.len()));
            windows.any(|window| window == wanted)
        };
        let longest = |end: usize| {
            let fits = |length: &usize| stands(&text[end - length..end]);
            (1..=end).take_while(fits).last().unwrap_or(0) as u32
        };
        (1..=text.len()).map(longest).collect()
    }

    fn tokens(seed: u32, len: usize, most: u32) -> Vec<u32> {
        let numbers = Numbers::new(seed).vector(len, 1.0);
        let token = |number: f32| (f32::midpoint(number, 1.0) * most as f32) as u32;
        numbers.into_iter().map(token).collect()
    }

    #[test]
    fn lengths_fractions_and_the_longest_segment_are_those_of_a_brute_force_search() {
        for (seed, kinds) in [(1, 2), (2, 3), (3, 5), (4, 1), (5, 30)] {
            let source = tokens(seed, 300, kinds);
            let mut text = tokens(seed + 100, 150, kinds + 1);
            text.extend(&source[40..75]);
            text.extend(tokens(seed + 200, 30, kinds));
            let cut = [&text[..60], &text[60..170], &[], &text[100..]];
            for texts in [&[&text[..]][..], &cut] {
                for parts in [&[&source[..]][..], &[&source[..50], &source[50..]]] {
                    check(texts, parts);
                }
            }
        }
    }

    fn check(texts: &[&[u32]], parts: &[&[u32]]) {
        let source = parts.concat();
        let mut end = 0;
        let ranges = parts.iter().map(|part| {
            let start = end;
            end += part.len();
            start..end
        });
        let ranges: Vec<_> = ranges.collect();
        let copied = Copied::new(texts, &source, &ranges, |_| ()).expect("read");
        let want: Vec<Vec<u32>> = texts.iter().map(|text| plainly(text, parts)).collect();
        assert_eq!(copied.lengths, want);
        for n in [1, 2, 5, 20, 400] {
            let grams: Vec<&[u32]> = texts.iter().flat_map(|text| text.windows(n)).collect();
            let stands = |gram: &&&[u32]| {
                let mut windows = parts.iter().flat_map(|part| part.windows(n));
                windows.any(|window| window == **gram)
            };
            let found = grams.iter().filter(stands).count();
            let fraction = (!grams.is_empty()).then(|| found as f64 / grams.len() as f64);
            assert_eq!(copied.fraction(n), fraction, "{n}-grams");
            let covered = |text: &&[u32]| {
                let in_gram = |index: &usize| {
                    let starts = index.saturating_sub(n - 1)..=*index;
                    let mut grams = starts.filter_map(|start| text.get(start..start + n));
                    grams.any(|gram| stands(&&gram))
                };
                (0..text.len()).filter(in_gram).count()
            };
            let want: usize = texts.iter().map(covered).sum();
            assert_eq!(copied.tokens(n), want, "tokens in {n}-grams");
        }
        let found = copied.longest(texts, &source, &ranges).expect("read");
        let found = found.expect("a segment");
        let most = want.iter().flatten().max().expect("one");
        assert_eq!(found.text_range.len() as u32, *most);
        assert_eq!(texts[found.text][found.text_range], source[found.range]);
    }

    #[test]
    fn nothing_in_common_and_nothing_at_all_have_no_segment() {
        let (texts, source): ([&[u32]; 1], Vec<u32>) = ([&[7, 8, 9]], vec![1, 2, 3]);
        let parts = std::slice::from_ref(&(0..3));
        let copied = Copied::new(&texts, &source, parts, |_| ()).expect("read");
        assert_eq!(copied.fraction(1), Some(0.0));
        assert_eq!(copied.longest(&texts, &source, parts).expect("read"), None);
        let empty = Copied::new(&[&[]], &source, parts, |_| ()).expect("read");
        assert_eq!((empty.fraction(1), empty.fraction(0)), (None, None));
        assert_eq!(empty.longest(&[&[]], &source, parts).expect("read"), None);
    }

    #[test]
    fn one_token_over_and_over_takes_no_time() {
        let text = vec![0; 50_000];
        let parts = std::slice::from_ref(&(0..40_000));
        let copied = Copied::new(&[&text], &text, parts, |_| ()).expect("read");
        assert_eq!(copied.lengths[0][49_999], 40_000);
        assert_eq!(copied.fraction(40_000), Some(1.0));
    }
}
