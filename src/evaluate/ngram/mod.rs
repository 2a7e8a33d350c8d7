//! Interpolated n-gram models of tokens, all orders at once (Witten & Bell 1991): what a network is
//! measured against.
//!
//! ```text
//! p_n(c | h) = (count(h, c) + T(h) · p_{n−1}(c | h')) / (count(h) + T(h))
//! ```
//!
//! h is the last n − 1 tokens, h' the last n − 2, T(h) the number of distinct tokens that were seen
//! behind h; p_0 is uniform. A context that was never seen leaves p_{n−1}. A context goes back to the
//! beginning of its sequence and no further.
//!
//! The counts are ranges of one array: the places of the text, sorted by what is read backwards from
//! them. The occurrences of the last k tokens stand together for every k, each range inside the one
//! before, so one walk over the context gives the counts of every order. Beside the text that takes 4
//! bytes a token, and 4 for each distinct context: at order 12, some 27 bytes a token of English,
//! where tables of n-grams take about 20 an order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::generate::sampling::Sampler;
use crate::parallel;

/// Stands before every sequence; never predicted.
const START: u32 = u32::MAX;
/// Two places with all tokens back to the beginning of their sequences in common.
const ALL_IN_COMMON: u8 = u8::MAX;

/// The highest order that can be asked for.
pub const HIGHEST_ORDER: usize = 12;

/// n-gram models of orders 1 to [`NGrams::order`].
#[derive(Clone, Debug)]
pub struct NGrams {
    order: usize,
    tokens: usize,
    /// The sequences one behind the other, [`START`] before each.
    text: Vec<u32>,
    /// The places of `text`, sorted by the tokens read backwards from them.
    places: Vec<u32>,
    /// The ranks of the last places of sequences, behind which nothing was seen; ascending.
    ends: Vec<u32>,
    /// T of the contexts of length 1, 2, …
    types: Vec<Types>,
    /// Tokens that were predicted, and how many distinct ones.
    total: (usize, usize),
}

/// T of every context of one length.
#[derive(Clone, Debug)]
struct Types {
    /// A bit for each rank at which a context begins.
    begins: Vec<u64>,
    /// Bits before each word of `begins`.
    before: Vec<u32>,
    /// T by context.
    counts: Vec<u32>,
}

/// The tokens that were read last, as the models see them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The oldest first; from [`START`] on where the beginning is near enough.
    history: Vec<u32>,
    /// The ranks of the last 1, 2, … tokens, as far as they were seen.
    ranges: Vec<Range<usize>>,
    /// Room for those after the next token.
    next: Vec<Range<usize>>,
}

impl NGrams {
    /// Counts sequences of tokens below `tokens`, for orders up to `order`, which is held within 1
    /// and [`HIGHEST_ORDER`]. What ends a word is a token like others, for the caller to give.
    pub fn new<S>(order: usize, tokens: usize, sequences: impl IntoIterator<Item = S>) -> Self
    where
        S: IntoIterator<Item = u32>,
    {
        Self::counted(order, tokens, sequences, 1, &|_| ())
    }

    /// The same on several threads; `progress` is told, from any of them, how many more tokens have
    /// been sorted.
    pub fn counted<S>(
        order: usize,
        tokens: usize,
        sequences: impl IntoIterator<Item = S>,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Self
    where
        S: IntoIterator<Item = u32>,
    {
        let order = order.clamp(1, HIGHEST_ORDER);
        let mut text = Vec::new();
        for sequence in sequences {
            text.push(START);
            text.extend(sequence);
        }
        let places = sorted(&text, order, threads, progress);
        let mut ranks = vec![0_u32; text.len()];
        for (rank, &place) in places.iter().enumerate() {
            ranks[place as usize] = rank as u32;
        }
        let last = |place: &usize| text.get(place + 1).is_none_or(|&next| next == START);
        let mut ends: Vec<u32> = (0..text.len())
            .filter(last)
            .map(|place| ranks[place])
            .collect();
        ends.sort_unstable();
        let mut common = vec![0];
        common.extend(
            places
                .windows(2)
                .map(|pair| compare(&text, order, pair[0], pair[1]).1),
        );
        let mut types: Vec<Types> = (1..order)
            .map(|length| Types::new(&common, length))
            .collect();
        let mut total = (0, 0);
        for (&place, &common) in places.iter().zip(&common) {
            let place = place as usize;
            if text[place] == START {
                continue;
            }
            total.0 += 1;
            total.1 += usize::from(common < 1);
            // A new gram of length + 1 is one more type behind the context before its last token.
            for (length, types) in (1..).zip(&mut types) {
                if (common as usize) < length + 1 {
                    types.count(ranks[place - 1] as usize);
                }
                if text[place - length] == START {
                    break;
                }
            }
        }
        Self {
            order,
            tokens,
            text,
            places,
            ends,
            types,
            total,
        }
    }

    /// The highest order.
    pub const fn order(&self) -> usize {
        self.order
    }

    /// At the beginning of a sequence.
    pub fn start(&self) -> Context {
        let first = self.places.partition_point(|&place| self.at(place) < START);
        let mut context = Context::default();
        if self.order > 1 {
            context.history.push(START);
            context.ranges.push(first..self.places.len());
        }
        context
    }

    /// Where nothing is known of what came before.
    pub fn anywhere(&self) -> Context {
        Context::default()
    }

    /// p(token | context) of the orders 1, 2, … goes to `probabilities`, of which there are as many
    /// as orders are wanted; then the token is part of the context.
    pub fn read(&self, context: &mut Context, token: u32, probabilities: &mut [f64]) {
        self.find(context, token);
        self.interpolate(context, probabilities);
        let Context {
            history,
            ranges,
            next,
        } = context;
        std::mem::swap(ranges, next);
        ranges.truncate(self.order - 1);
        history.push(token);
        if history.len() >= self.order {
            history.remove(0);
        }
    }

    /// p of the token that was found last, of the orders 1, 2, ….
    fn interpolate(&self, context: &Context, probabilities: &mut [f64]) {
        let mut p = 1.0 / self.tokens as f64;
        for (length, probability) in probabilities.iter_mut().enumerate() {
            let (count, types) = self.seen(context, length);
            if count > 0 {
                let found = context.next.get(length).map_or(0, ExactSizeIterator::len);
                p = (found as f64 + types as f64 * p) / (count + types) as f64;
            }
            *probability = p;
        }
    }

    /// Fills `next`: the ranks of the token behind the last 0, 1, … tokens, while there are any.
    fn find(&self, context: &mut Context, token: u32) {
        let Context { history, next, .. } = context;
        next.clear();
        let mut range = 0..self.places.len();
        let wanted = std::iter::once(&token).chain(history.iter().rev());
        for (back, &wanted) in wanted.enumerate() {
            let places = &self.places[range.clone()];
            let token = |place: &u32| self.text[*place as usize - back];
            let low = places.partition_point(|place| token(place) < wanted);
            let length = places[low..].partition_point(|place| token(place) == wanted);
            if length == 0 {
                break;
            }
            range = range.start + low..range.start + low + length;
            next.push(range.clone());
        }
    }

    fn at(&self, place: u32) -> u32 {
        self.text[place as usize]
    }

    /// How often the last `length` tokens were seen before another one, and how many distinct ones.
    fn seen(&self, context: &Context, length: usize) -> (usize, usize) {
        if length == 0 {
            return self.total;
        }
        let Some(range) = context.ranges.get(length - 1) else {
            return (0, 0);
        };
        let before = |rank: usize| self.ends.partition_point(|&end| (end as usize) < rank);
        let ends = before(range.end) - before(range.start);
        (range.len() - ends, self.types[length - 1].of(range.start))
    }

    /// −ln p of every token of a sequence, summed, in nats: of the orders 1 to [`NGrams::order`].
    pub fn nats(&self, sequence: impl IntoIterator<Item = u32>) -> Vec<f64> {
        let mut context = self.start();
        let mut probabilities = vec![0.0; self.order];
        let mut nats = vec![0.0; self.order];
        for token in sequence {
            self.read(&mut context, token, &mut probabilities);
            for (nats, probability) in nats.iter_mut().zip(&probabilities) {
                *nats -= probability.ln();
            }
        }
        nats
    }

    /// Draws a sequence from the model of an order, up to `end` or `longest` tokens.
    ///
    /// # Panics
    /// Where there is no such order.
    pub fn sequence(
        &self,
        order: usize,
        sampler: &mut Sampler,
        (end, longest): (u32, usize),
    ) -> Vec<u32> {
        let mut context = self.start();
        let mut probabilities = vec![0.0; order];
        let mut logits = vec![0.0; self.tokens];
        let mut sequence = Vec::new();
        while sequence.len() < longest {
            for (token, logit) in (0..).zip(&mut logits) {
                self.find(&mut context, token);
                self.interpolate(&context, &mut probabilities);
                *logit = probabilities[order - 1].ln() as f32;
            }
            let token = sampler.sample(&logits).token;
            if token == end {
                break;
            }
            self.read(&mut context, token, &mut []);
            sequence.push(token);
        }
        sequence
    }
}

impl Types {
    /// All zero, for the contexts of a length: `common` is how many tokens each place, in their
    /// order, has in common with the one before.
    fn new(common: &[u8], length: usize) -> Self {
        let mut begins = vec![0; common.len().div_ceil(64)];
        for (rank, _) in common
            .iter()
            .enumerate()
            .filter(|(_, common)| (**common as usize) < length)
        {
            begins[rank / 64] |= 1 << (rank % 64);
        }
        let mut contexts = 0;
        let before = begins
            .iter()
            .map(|word: &u64| {
                let before = contexts;
                contexts += word.count_ones();
                before
            })
            .collect();
        Self {
            begins,
            before,
            counts: vec![0; contexts as usize],
        }
    }

    /// Which context a rank belongs to.
    fn context(&self, rank: usize) -> usize {
        let up_to = u64::MAX >> (63 - rank % 64);
        let bits = (self.begins[rank / 64] & up_to).count_ones();
        (self.before[rank / 64] + bits) as usize - 1
    }

    fn count(&mut self, rank: usize) {
        let context = self.context(rank);
        self.counts[context] += 1;
    }

    fn of(&self, rank: usize) -> usize {
        self.counts[self.context(rank)] as usize
    }
}

/// The places of a text in the order of their last `order` tokens read backwards. Those of one pair
/// of tokens are one job: there are many, and none holds a large share of them.
fn sorted(text: &[u32], order: usize, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Vec<u32> {
    let mut groups: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for place in 0..text.len() {
        let before = place.checked_sub(1).map_or(START, |before| text[before]);
        // What stands before a sequence's START is none of its tokens.
        let before = if text[place] == START { START } else { before };
        let group = groups.entry((text[place], before)).or_default();
        group.push(place as u32);
    }
    let groups: Vec<Mutex<Vec<u32>>> = groups.into_values().map(Mutex::new).collect();
    let sorted = parallel::map(groups.len(), threads, |index| {
        let mut group = groups[index].lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = std::mem::take(&mut *group);
        places.sort_unstable_by(|&a, &b| compare(text, order, a, b).0);
        progress(places.len() as u64);
        places
    });
    sorted.concat()
}

/// The order of two places by their last `order` tokens read backwards, and how many tokens they
/// have in common.
fn compare(text: &[u32], order: usize, a: u32, b: u32) -> (Ordering, u8) {
    let (a, b) = (a as usize, b as usize);
    for back in 0..order {
        let token = text[a - back];
        match token.cmp(&text[b - back]) {
            Ordering::Equal if token == START => return (Ordering::Equal, ALL_IN_COMMON),
            Ordering::Equal => {}
            unequal => return (unequal, back as u8),
        }
    }
    (Ordering::Equal, ALL_IN_COMMON)
}

#[cfg(test)]
mod tests;
