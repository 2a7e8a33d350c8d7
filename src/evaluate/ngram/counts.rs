//! The counts of every gram of a text: its positions in sorted order, and what follows the contexts.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::parallel;

/// Stands before every sequence; never predicted.
pub const START: u32 = u32::MAX;

/// The suffix tree of what comes before each position of a text, up to `order` tokens. The rank of a
/// position is its place among all of them, sorted by the tokens read backwards from them.
#[derive(Clone, Debug)]
pub struct Tree {
    /// By rank, the rank of the position before; 0 for [`START`].
    pub before: Vec<u32>,
    /// By rank, how many tokens, read backwards, the position has in common with that of the rank
    /// before; then 0.
    common: Vec<u8>,
    /// The ranks of the last positions of sequences, ascending.
    ends: Vec<u32>,
    /// The ranks of the positions of token 0, 1, … begin here; then those of [`START`], then the end.
    pub begins: Vec<u32>,
    /// The node at each [`Tree::slot`].
    slots: Vec<u32>,
    pub nodes: Vec<Node>,
}

/// A range of at least two ranks whose positions have `depth` tokens in common, and the ranks around
/// it fewer: a gram, and the same gram as a context.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    pub depth: u32,
    /// The number of distinct tokens before the gram; its number of occurrences if it begins with
    /// [`START`] or is as long as is counted.
    pub before: u32,
    /// The counts of the tokens after it: how often each occurs there.
    pub highest: Counts,
    /// The same, where the occurrences of a token count as one if the token before them and the context
    /// is the same.
    pub lower: Counts,
}

/// The counts of the tokens after a context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Their sum.
    pub total: u32,
    /// The number of distinct tokens that count 1, 2 and 3 or more.
    pub once: u32,
    pub twice: u32,
    pub more: u32,
}

impl Counts {
    /// So many distinct tokens, each of which counts 1.
    pub const fn once(types: u32) -> Self {
        Self {
            total: types,
            once: types,
            twice: 0,
            more: 0,
        }
    }

    pub const fn types(&self) -> u32 {
        self.once + self.twice + self.more
    }

    const fn add(&mut self, count: u32) {
        self.total += count;
        match count {
            0 => {}
            1 => self.once += 1,
            2 => self.twice += 1,
            _ => self.more += 1,
        }
    }
}

/// The number of distinct grams, by length less 1, that count 1, 2, 3 and 4, as the counts of a highest
/// and of a lower order are.
pub struct Grams {
    pub highest: Vec<[u64; 4]>,
    pub lower: Vec<[u64; 4]>,
}

impl Grams {
    fn add(&mut self, length: usize, all: u32, before: u32) {
        for (grams, count) in [(&mut self.highest, all), (&mut self.lower, before)] {
            if let 1..=4 = count {
                grams[length - 1][count as usize - 1] += 1;
            }
        }
    }
}

impl Tree {
    /// Counts a text of tokens below `tokens` in grams of up to `order` tokens. The text has [`START`]
    /// before each sequence.
    pub fn new(
        text: &[u32],
        order: usize,
        tokens: usize,
        threads: usize,
        progress: &(dyn Fn(u64) + Sync),
    ) -> (Self, Grams) {
        let positions = sorted(text, order, threads, progress);
        let mut ranks = vec![0; text.len()];
        for (rank, &position) in (0..).zip(&positions) {
            ranks[position as usize] = rank;
        }
        let before = |&position: &u32| match text[position as usize] {
            START => 0,
            _ => ranks[position as usize - 1],
        };
        let is_last = |position: &usize| text.get(position + 1).is_none_or(|&next| next == START);
        let ends = (0..text.len()).filter(is_last);
        let mut ends: Vec<u32> = ends.map(|position| ranks[position]).collect();
        ends.sort_unstable();
        let common = |pair: &[u32]| compare(text, order, pair[0], pair[1]).1 as u8;
        let common = [0].into_iter().chain(positions.windows(2).map(common));
        let first = |token: u32| {
            positions.partition_point(|&position| text[position as usize] < token) as u32
        };
        let mut begins: Vec<u32> = (0..tokens as u32).map(first).collect();
        begins.extend([first(START), positions.len() as u32]);
        let mut tree = Self {
            before: positions.iter().map(before).collect(),
            common: common.take(positions.len()).chain([0]).collect(),
            ends,
            begins,
            slots: vec![0; positions.len()],
            nodes: Vec::new(),
        };
        drop(ranks);
        let mut counting = Counting {
            text,
            positions: &positions,
            order,
            tokens,
            spare: Vec::new(),
            grams: Grams {
                highest: vec![[0; 4]; order],
                lower: vec![[0; 4]; order],
            },
        };
        counting.count(&mut tree);
        (tree, counting.grams)
    }

    /// The ranks of the positions of a token.
    pub fn first(&self, token: u32) -> Range<usize> {
        let index = match token {
            START => self.begins.len() - 2,
            token => token as usize,
        };
        match self.begins.get(index..) {
            Some(&[begin, end, ..]) => begin as usize..end as usize,
            _ => 0..0,
        }
    }

    /// Whether the position of a rank is the last of its sequence.
    pub fn is_end(&self, rank: usize) -> bool {
        self.ends.binary_search(&(rank as u32)).is_ok()
    }

    /// The node of a range of ranks, if there are at least two.
    pub fn node(&self, ranks: &Range<usize>) -> Option<usize> {
        match self.slots.get(self.slot(ranks)) {
            Some(&node) if ranks.len() > 1 => Some(node as usize),
            _ => None,
        }
    }

    /// A rank that no other node's range has: of ranges that begin or end at the same rank, one
    /// is inside the other, so the inner one has more in common with the rank beyond its other end.
    fn slot(&self, ranks: &Range<usize>) -> usize {
        let is_all = ranks.len() == self.before.len();
        if is_all || self.common[ranks.start] > self.common[ranks.end] {
            ranks.start
        } else {
            ranks.end - 1
        }
    }
}

/// A node of the tree while the ranks in it are visited.
struct Open {
    depth: usize,
    first: usize,
    /// Ranks and nodes directly below it.
    children: u32,
    followers: Followers,
}

/// How often each token follows, and below how many children.
#[derive(Default)]
struct Followers {
    /// By token.
    counts: Vec<[u32; 2]>,
    /// The tokens that follow at all.
    tokens: Vec<u32>,
}

impl Followers {
    fn add(&mut self, token: u32, times: u32) {
        let [all, below] = &mut self.counts[token as usize];
        if *all == 0 {
            self.tokens.push(token);
        }
        *all += times;
        *below += 1;
    }

    /// Adds a child's and empties it.
    fn take(&mut self, child: &mut Self) {
        for token in child.tokens.drain(..) {
            let [times, _] = std::mem::take(&mut child.counts[token as usize]);
            self.add(token, times);
        }
    }

    /// The counts of all tokens, and of the children they are below.
    fn counts(&self) -> (Counts, Counts) {
        let mut counts = (Counts::default(), Counts::default());
        for &token in &self.tokens {
            let [all, below] = self.counts[token as usize];
            counts.0.add(all);
            counts.1.add(below);
        }
        counts
    }
}

/// The one pass over the ranks that finds all nodes.
struct Counting<'a> {
    text: &'a [u32],
    positions: &'a [u32],
    order: usize,
    tokens: usize,
    /// Empty ones, to be used again.
    spare: Vec<Followers>,
    grams: Grams,
}

impl Counting<'_> {
    fn open(&mut self, depth: usize, first: usize) -> Open {
        let none = || Followers {
            counts: vec![[0; 2]; self.tokens],
            tokens: Vec::new(),
        };
        Open {
            depth,
            first,
            children: 0,
            followers: self.spare.pop().unwrap_or_else(none),
        }
    }

    /// Adds the nodes to the tree, inner ones first. At most one of each depth is open at a time.
    fn count(&mut self, tree: &mut Tree) {
        let mut outer: Vec<Open> = Vec::new();
        let mut now = self.open(0, 0);
        for rank in 0..self.positions.len() {
            let next = usize::from(tree.common[rank + 1]);
            if next > now.depth {
                let inner = self.open(next, rank);
                outer.push(std::mem::replace(&mut now, inner));
            }
            self.count_alone(rank, now.depth);
            now.children += 1;
            let follower = self.text.get(self.positions[rank] as usize + 1);
            if let Some(&token) = follower.filter(|&&token| token != START) {
                now.followers.add(token, 1);
            }
            while next < now.depth {
                let parent = match outer.pop_if(|outer| outer.depth >= next) {
                    Some(parent) => parent,
                    None => self.open(next, now.first),
                };
                self.close(tree, &now, rank + 1, parent.depth);
                let mut done = std::mem::replace(&mut now, parent);
                now.children += 1;
                now.followers.take(&mut done.followers);
                self.spare.push(done.followers);
            }
        }
        self.close(tree, &now, self.positions.len(), 0);
    }

    /// Counts the grams that end at this rank's position and nowhere else: those longer than `depth`.
    fn count_alone(&mut self, rank: usize, depth: usize) {
        let position = self.positions[rank] as usize;
        if self.text[position] == START {
            return;
        }
        let begins = |length: usize| length > 0 && self.text[position + 1 - length] == START;
        let last = (depth..self.order).find(|&length| begins(length));
        for length in depth..last.unwrap_or(self.order) {
            self.grams.add(length + 1, 1, 1);
        }
    }

    /// Adds a complete node that ends before rank `end`; the node around it has depth `outer`.
    fn close(&mut self, tree: &mut Tree, node: &Open, end: usize, outer: usize) {
        let ranks = node.first..end;
        if ranks.is_empty() {
            return;
        }
        if self.text[self.positions[node.first] as usize] != START {
            let all = ranks.len() as u32;
            for length in outer + 1..=node.depth {
                let before = if length == node.depth {
                    node.children
                } else {
                    1
                };
                self.grams.add(length, all, before);
            }
        }
        let slot = tree.slot(&ranks);
        tree.slots[slot] = tree.nodes.len() as u32;
        let (highest, lower) = node.followers.counts();
        tree.nodes.push(Node {
            depth: node.depth as u32,
            before: node.children,
            highest,
            lower,
        });
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
fn compare(text: &[u32], order: usize, a: u32, b: u32) -> (Ordering, usize) {
    let (a, b) = (a as usize, b as usize);
    for back in 0..order {
        let token = text[a - back];
        match token.cmp(&text[b - back]) {
            Ordering::Equal if token == START => return (Ordering::Equal, back + 1),
            Ordering::Equal => {}
            unequal => return (unequal, back),
        }
    }
    (Ordering::Equal, order)
}
