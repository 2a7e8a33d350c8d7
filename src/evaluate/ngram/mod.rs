//! Interpolated n-gram models of tokens with modified Kneser–Ney smoothing, all orders at once (Chen &
//! Goodman 1999, section 3): the baseline that a network is measured against.
//!
//! ```text
//! p_n(w | h) = (c(h, w) − D(c(h, w)) + γ(h) · q_{n−1}(w | h')) / c(h)
//! γ(h) = D1 · N1(h) + D2 · N2(h) + D3 · N3+(h)
//! ```
//!
//! h is the last n − 1 tokens, h' the last n − 2, c counts occurrences, and N1, N2, N3+ are the numbers of
//! distinct tokens seen once, twice and more often after h. D(c) is D1, D2 or D3 and depends on the order
//! ([`Discounts`]). The lower orders q have the same formula with other counts: c(h, w) is the
//! number of distinct tokens seen before h w, unless h w begins a sequence, which nothing can come
//! before. q_0 is uniform, so no probability is zero. A context that was never seen leaves
//! q_{n−1}, and a context never reaches beyond the start of its sequence.
//!
//! The counts are ranges of one array: the positions of the text, sorted by the tokens before them,
//! read backwards. The occurrences of the last k tokens are adjacent for every k, each range inside
//! the one before, so one pass over the context gives the counts of every order. What follows the
//! contexts is stored for the nodes of that array's suffix tree only: where every occurrence of a
//! context has the same token before it, the longer context has the same counts. So memory does not grow
//! with the order: 9 bytes per token, and 40 per context that occurs after different tokens.

mod counts;
mod discounts;

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use self::counts::{Counts, Node, START, Tree};
pub use self::discounts::Discounts;
use crate::generate::sampling::Sampler;

/// The highest order that is supported.
pub const HIGHEST_ORDER: usize = 16;

/// n-gram models of orders 1 to [`NGrams::order`].
#[derive(Clone, Debug)]
pub struct NGrams {
    order: usize,
    tokens: usize,
    tree: Tree,
    /// By length of the gram less 1, of the counts that a highest order has.
    highest: Vec<Discounts>,
    /// The same of the counts that a lower order has.
    lower: Vec<Discounts>,
}

/// The most recent tokens, as the models see them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The occurrences of the last 0, 1, … tokens, for as many as were seen.
    seen: Vec<Gram>,
    /// Scratch for the occurrences after the next token.
    next: Vec<Gram>,
}

/// The occurrences of a few consecutive tokens.
#[derive(Clone, Debug)]
struct Gram {
    ranks: Range<usize>,
    /// The index of their node; `None` if they occur once.
    node: Option<usize>,
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
        let (tree, grams) = Tree::new(&text, order, tokens, threads, progress);
        let discounts = |grams: &Vec<[u64; 4]>| grams.iter().map(Discounts::new).collect();
        Self {
            order,
            tokens,
            highest: discounts(&grams.highest),
            lower: discounts(&grams.lower),
            tree,
        }
    }

    /// The highest order that was counted.
    pub const fn order(&self) -> usize {
        self.order
    }

    /// The context at the start of a sequence.
    pub fn start(&self) -> Context {
        let mut context = self.anywhere();
        let start = self.tree.first(START);
        if self.order > 1 && !start.is_empty() {
            context.seen.push(self.gram(start));
        }
        context
    }

    /// The context if nothing is known of the preceding tokens.
    pub fn anywhere(&self) -> Context {
        Context {
            seen: vec![self.gram(0..self.tree.before.len())],
            next: Vec::new(),
        }
    }

    /// Writes p(token | context) of the orders 1, 2, … to `probabilities`, one per order wanted, and
    /// appends the token to the context.
    pub fn read(&self, context: &mut Context, token: u32, probabilities: &mut [f64]) {
        self.find(context, token);
        self.interpolate(context, probabilities);
        let Context { seen, next } = context;
        next.truncate(self.order - 1);
        seen.truncate(1);
        seen.append(next);
    }

    /// The probability of the last token found, for the orders 1, 2, ….
    fn interpolate(&self, context: &Context, probabilities: &mut [f64]) {
        let mut q = 1.0 / self.tokens as f64;
        for (length, probability) in probabilities.iter_mut().enumerate() {
            *probability = q;
            let Some(seen) = context.seen.get(length) else {
                continue;
            };
            let (highest, lower) = self.after(seen, length);
            if highest.total == 0 {
                continue;
            }
            let gram = context.next.get(length);
            let (all, before) = gram.map_or((0, 0), |gram| self.counts(gram, length + 1));
            *probability = self.highest[length].interpolated(all, &highest, q);
            q = self.lower[length].interpolated(before, &lower, q);
        }
    }

    /// Sets `next` to the occurrences of the token after the last 0, 1, … tokens, while there are any.
    fn find(&self, Context { seen, next }: &mut Context, token: u32) {
        next.clear();
        let mut ranks = self.tree.first(token);
        for Gram { ranks: context, .. } in &seen[1..] {
            if ranks.is_empty() {
                return;
            }
            next.push(self.gram(ranks.clone()));
            // The occurrences of the token are in the order of what comes before them.
            let before = &self.tree.before[ranks.clone()];
            let low = before.partition_point(|&rank| (rank as usize) < context.start);
            let found = before[low..].partition_point(|&rank| (rank as usize) < context.end);
            ranks = ranks.start + low..ranks.start + low + found;
        }
        if !ranks.is_empty() {
            next.push(self.gram(ranks));
        }
    }

    fn gram(&self, ranks: Range<usize>) -> Gram {
        let node = self.tree.node(&ranks);
        Gram { ranks, node }
    }

    fn node(&self, gram: &Gram) -> Option<&Node> {
        gram.node.map(|node| &self.tree.nodes[node])
    }

    /// How often a gram of a length occurs, and after how many distinct tokens.
    fn counts(&self, gram: &Gram, length: usize) -> (u32, u32) {
        let before = match self.node(gram) {
            Some(node) if node.depth as usize == length => node.before,
            // Every occurrence has the same token before it.
            _ => 1,
        };
        (gram.ranks.len() as u32, before)
    }

    /// The counts of the tokens after a context of a length, in a highest and in a lower order.
    fn after(&self, context: &Gram, length: usize) -> (Counts, Counts) {
        let Some(node) = self.node(context) else {
            let ranks = &context.ranks;
            let is_followed = ranks.len() == 1 && !self.tree.is_end(ranks.start);
            let counts = Counts::once(u32::from(is_followed));
            return (counts, counts);
        };
        let lower = if node.depth as usize == length {
            node.lower
        } else {
            Counts::once(node.highest.types())
        };
        (node.highest, lower)
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

    /// A hasher that has read everything that the models are counted from.
    pub(super) fn digest(&self) -> Sha256 {
        let mut hasher = Sha256::new();
        hasher.update((self.order as u64).to_le_bytes());
        for numbers in [&self.tree.begins, &self.tree.before] {
            hasher.update((numbers.len() as u64).to_le_bytes());
            for number in numbers {
                hasher.update(number.to_le_bytes());
            }
        }
        hasher
    }

    /// The number of tokens that are predicted.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Writes the probabilities of the next token (tokens) under the model of an order.
    pub fn distribution(&self, context: &mut Context, order: usize, probabilities: &mut [f64]) {
        let mut orders = [0.0; HIGHEST_ORDER];
        for (token, probability) in (0..).zip(probabilities) {
            self.find(context, token);
            self.interpolate(context, &mut orders[..order]);
            *probability = orders[order - 1];
        }
    }

    /// The probability of each token of a text but the first under the model of an order; nothing is
    /// known before the first.
    pub fn probabilities(&self, order: usize, tokens: &[u32]) -> Vec<f64> {
        let mut context = self.anywhere();
        let mut orders = [0.0; HIGHEST_ORDER];
        let read = tokens.iter().map(|&token| {
            self.read(&mut context, token, &mut orders[..order]);
            orders[order - 1]
        });
        read.skip(1).collect()
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
        let mut probabilities = vec![0.0; self.tokens];
        let mut logits = vec![0.0; self.tokens];
        let mut sequence = Vec::new();
        while sequence.len() < longest {
            self.distribution(&mut context, order, &mut probabilities);
            for (logit, p) in logits.iter_mut().zip(&probabilities) {
                *logit = p.ln() as f32;
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

#[cfg(test)]
mod tests;
