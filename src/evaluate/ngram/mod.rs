//! Interpolated n-gram models of tokens, all orders at once (Witten & Bell 1991): the baseline that a
//! network is measured against.
//!
//! ```text
//! p_n(c | h) = (count(h, c) + T(h) · p_{n−1}(c | h')) / (count(h) + T(h))
//! ```
//!
//! h is the last n − 1 tokens, h' the last n − 2, and T(h) the number of distinct tokens seen after
//! h; p_0 is uniform. A context that was never seen leaves p_{n−1}. A context never reaches beyond
//! the start of its sequence.
//!
//! The counts are ranges of one array: the positions of the text, sorted by the tokens before them,
//! read backwards. The occurrences of the last k tokens are adjacent for every k, each range inside
//! the one before, so one pass over the context gives the counts of every order. Besides the text,
//! this takes 4 bytes per token and 4 per distinct context: at order 12, some 27 bytes per token of English,
//! whereas tables of n-grams take about 20 per order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::generate::sampling::Sampler;
use crate::parallel;

/// Stands before every sequence; never predicted.
const START: u32 = u32::MAX;
/// The common length of two positions with all tokens back to the start of their sequences in common.
const ALL_IN_COMMON: u8 = u8::MAX;

/// The highest order that is supported.
pub const HIGHEST_ORDER: usize = 12;

/// n-gram models of orders 1 to [`NGrams::order`].
#[derive(Clone, Debug)]
pub struct NGrams {
    order: usize,
    tokens: usize,
    /// The sequences one after the other, [`START`] before each.
    text: Vec<u32>,
    /// The positions of `text`, sorted by the tokens read backwards from them.
    positions: Vec<u32>,
    /// The ranks of the last positions of sequences, which no token follows; ascending.
    ends: Vec<u32>,
    /// T of the contexts of length 1, 2, …
    types: Vec<Types>,
    /// The number of predicted tokens, and of distinct ones.
    total: (usize, usize),
}

/// T of every context of one length.
#[derive(Clone, Debug)]
struct Types {
    /// A bit for each rank at which a context starts.
    begins: Vec<u64>,
    /// The number of set bits before each word of `begins`.
    before: Vec<u32>,
    /// T of each context.
    counts: Vec<u32>,
}

/// The most recent tokens, as the models see them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Oldest first; from [`START`] on if the start of the sequence is within reach.
    history: Vec<u32>,
    /// The ranks of the last 1, 2, … tokens, for as many as were seen.
    ranges: Vec<Range<usize>>,
    /// Scratch for the ranks after the next token.
    next: Vec<Range<usize>>,
}

impl NGrams {
    /// Counts sequences of tokens below `tokens`, for orders up to `order`, which is clamped to 1
    /// to [`HIGHEST_ORDER`]. The end of a word is a token like others; the caller adds it.
    pub fn new<S>(order: usize, tokens: usize, sequences: impl IntoIterator<Item = S>) -> Self
    where
        S: IntoIterator<Item = u32>,
    {
        Self::counted(order, tokens, sequences, 1, &|_| ())
    }

    /// [`NGrams::new`] on several threads; `progress` is told, from any of them, how many more tokens
    /// have been sorted.
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
        let positions = sorted(&text, order, threads, progress);
        let mut ranks = vec![0_u32; text.len()];
        for (rank, &position) in positions.iter().enumerate() {
            ranks[position as usize] = rank as u32;
        }
        let last = |position: &usize| text.get(position + 1).is_none_or(|&next| next == START);
        let mut ends: Vec<u32> = (0..text.len())
            .filter(last)
            .map(|position| ranks[position])
            .collect();
        ends.sort_unstable();
        let mut common = vec![0];
        common.extend(
            positions
                .windows(2)
                .map(|pair| compare(&text, order, pair[0], pair[1]).1),
        );
        let mut types: Vec<Types> = (1..order)
            .map(|length| Types::new(&common, length))
            .collect();
        let mut total = (0, 0);
        for (&position, &common) in positions.iter().zip(&common) {
            let position = position as usize;
            if text[position] == START {
                continue;
            }
            total.0 += 1;
            total.1 += usize::from(common < 1);
            // A new gram of length + 1 is one more type after the context before its last token.
            for (length, types) in (1..).zip(&mut types) {
                if (common as usize) < length + 1 {
                    types.count(ranks[position - 1] as usize);
                }
                if text[position - length] == START {
                    break;
                }
            }
        }
        Self {
            order,
            tokens,
            text,
            positions,
            ends,
            types,
            total,
        }
    }

    /// The highest order that was counted.
    pub const fn order(&self) -> usize {
        self.order
    }

    /// The context at the start of a sequence.
    pub fn start(&self) -> Context {
        let first = self
            .positions
            .partition_point(|&position| self.at(position) < START);
        let mut context = Context::default();
        if self.order > 1 {
            context.history.push(START);
            context.ranges.push(first..self.positions.len());
        }
        context
    }

    /// The context if nothing is known of the preceding tokens.
    pub fn anywhere(&self) -> Context {
        Context::default()
    }

    /// Writes p(token | context) of the orders 1, 2, … to `probabilities`, one per order wanted, and
    /// appends the token to the context.
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

    /// The probability of the last token found, for the orders 1, 2, ….
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

    /// Sets `next` to the ranks of the token after the last 0, 1, … tokens, while there are any.
    fn find(&self, context: &mut Context, token: u32) {
        let Context { history, next, .. } = context;
        next.clear();
        let mut range = 0..self.positions.len();
        let wanted = std::iter::once(&token).chain(history.iter().rev());
        for (back, &wanted) in wanted.enumerate() {
            let positions = &self.positions[range.clone()];
            let token = |position: &u32| self.text[*position as usize - back];
            let low = positions.partition_point(|position| token(position) < wanted);
            let length = positions[low..].partition_point(|position| token(position) == wanted);
            if length == 0 {
                break;
            }
            range = range.start + low..range.start + low + length;
            next.push(range.clone());
        }
    }

    fn at(&self, position: u32) -> u32 {
        self.text[position as usize]
    }

    /// How many tokens followed the last `length` tokens, and how many distinct ones.
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

    /// −ln p of a sequence, summed over its tokens, in nats, for the orders 1 to [`NGrams::order`].
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

    /// Samples a sequence from the model of an order, up to `end` or `longest` tokens.
    ///
    /// # Panics
    /// If there is no such order.
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
    /// All zero, for the contexts of a length: `common` is how many tokens each position, in sorted
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

    /// The context that a rank belongs to.
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

/// The positions of a text in the order of their last `order` tokens read backwards. The positions of
/// one pair of tokens are one job: there are many jobs, and none is a large part of the work.
fn sorted(text: &[u32], order: usize, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Vec<u32> {
    let mut groups: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for position in 0..text.len() {
        let before = position.checked_sub(1).map_or(START, |before| text[before]);
        // The tokens before a sequence's START do not belong to it.
        let before = if text[position] == START {
            START
        } else {
            before
        };
        let group = groups.entry((text[position], before)).or_default();
        group.push(position as u32);
    }
    let groups: Vec<Mutex<Vec<u32>>> = groups.into_values().map(Mutex::new).collect();
    let sorted = parallel::map(groups.len(), threads, |index| {
        let mut group = groups[index].lock().unwrap_or_else(PoisonError::into_inner);
        let mut positions = std::mem::take(&mut *group);
        positions.sort_unstable_by(|&a, &b| compare(text, order, a, b).0);
        progress(positions.len() as u64);
        positions
    });
    sorted.concat()
}

/// The order of two positions by their last `order` tokens read backwards, and how many tokens they
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
