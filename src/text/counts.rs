//! Counts tokens: bytes, characters or clusters.

use std::collections::HashMap;

use super::unicode::{count_bytes, for_each_grapheme, for_each_non_ascii};
use super::vocab::{Token, rank};
use crate::config::Unit;

const PAGE: usize = 4096;
/// The size of the blocks for counting words, each by a fast or a slow path; small enough that one
/// unusual space costs little.
const BLOCK_BYTES: usize = 2048;

/// A counter for every code point, in pages that are allocated when needed.
#[derive(Default)]
pub struct Tally {
    pages: Vec<Option<Box<[u64]>>>,
}

impl Tally {
    /// Adds `n` for the character.
    #[inline]
    pub fn add(&mut self, c: char, n: u64) {
        let c = c as usize;
        match self.pages.get_mut(c / PAGE) {
            Some(Some(page)) => page[c % PAGE] += n,
            _ => self.add_to_new_page(c, n),
        }
    }

    #[cold]
    fn add_to_new_page(&mut self, c: usize, n: u64) {
        if self.pages.is_empty() {
            self.pages
                .resize_with(char::MAX as usize / PAGE + 1, || None);
        }
        self.pages[c / PAGE].get_or_insert_with(|| vec![0; PAGE].into_boxed_slice())[c % PAGE] += n;
    }

    /// Every character with a count, in the order of code points.
    pub fn iter(&self) -> impl Iterator<Item = (char, u64)> {
        self.pages.iter().enumerate().flat_map(|(p, page)| {
            page.iter().flat_map(move |page| {
                page.iter().enumerate().filter_map(move |(i, &n)| {
                    let c = char::from_u32((p * PAGE + i) as u32)?;
                    (n > 0).then_some((c, n))
                })
            })
        })
    }
}

/// Counts the tokens of a text that arrives in pieces.
pub struct Counter {
    unit: Unit,
    /// Four histograms of bytes, so that equal adjacent bytes do not depend on each other.
    lanes: Box<[[u64; 256]; 4]>,
    chars: Tally,
    clusters: HashMap<Box<str>, u64>,
    /// Characters seen (Unicode scalar values), whatever the unit.
    pub scalars: u64,
}

impl Counter {
    /// Starts with all counts at zero, for tokens of this unit.
    pub fn new(unit: Unit) -> Self {
        Self {
            unit,
            lanes: Box::new([[0; 256]; 4]),
            chars: Tally::default(),
            clusters: HashMap::new(),
            scalars: 0,
        }
    }

    /// Counts a piece that ends where a token ends.
    pub fn count(&mut self, text: &str) {
        // Every character has exactly one byte that is not a continuation byte.
        self.scalars += count_bytes(text, |b| b & 0xC0 != 0x80);
        match self.unit {
            Unit::Byte => self.count_bytes(text.as_bytes()),
            Unit::Char => {
                // Bytes outside ASCII are counted too, and ignored at the end.
                self.count_bytes(text.as_bytes());
                for_each_non_ascii(text, 0, |_, c| {
                    self.chars.add(c, 1);
                    true
                });
            }
            Unit::Grapheme => {
                if text.is_ascii() && memchr::memchr(b'\r', text.as_bytes()).is_none() {
                    self.count_bytes(text.as_bytes());
                } else {
                    for_each_grapheme(text, |cluster| self.count_cluster(cluster));
                }
            }
        }
    }

    fn count_bytes(&mut self, bytes: &[u8]) {
        let [a, b, c, d] = &mut *self.lanes;
        let (quads, rest) = bytes.as_chunks::<4>();
        for &[p, q, r, s] in quads {
            a[usize::from(p)] += 1;
            b[usize::from(q)] += 1;
            c[usize::from(r)] += 1;
            d[usize::from(s)] += 1;
        }
        for &byte in rest {
            a[usize::from(byte)] += 1;
        }
    }

    fn count_cluster(&mut self, cluster: &str) {
        let mut chars = cluster.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            self.chars.add(c, 1);
        } else if let Some(n) = self.clusters.get_mut(cluster) {
            *n += 1;
        } else {
            self.clusters.insert(cluster.into(), 1);
        }
    }

    /// Every token with its count, most frequent first, ties by code point.
    pub fn sum(counters: impl IntoIterator<Item = Self>) -> Vec<(Token, u64)> {
        let mut bytes = [0u64; 256];
        let mut chars = Tally::default();
        let mut clusters: HashMap<Box<str>, u64> = HashMap::new();
        let mut unit = Unit::Char;
        for counter in counters {
            unit = counter.unit;
            for lane in counter.lanes.iter() {
                bytes.iter_mut().zip(lane).for_each(|(sum, n)| *sum += n);
            }
            counter.chars.iter().for_each(|(c, n)| chars.add(c, n));
            for (cluster, n) in counter.clusters {
                *clusters.entry(cluster).or_default() += n;
            }
        }
        let seen = (0..=255u8).zip(bytes).filter(|&(_, n)| n > 0);
        let mut counts: Vec<(Token, u64)> = if unit == Unit::Byte {
            seen.map(|(b, n)| (Token::Byte(b), n)).collect()
        } else {
            seen.filter(|(b, _)| b.is_ascii())
                .for_each(|(b, n)| chars.add(char::from(b), n));
            let single = chars.iter().map(|(c, n)| (Token::Text(c.into()), n));
            let several = clusters
                .into_iter()
                .map(|(g, n)| (Token::Text(g.into()), n));
            single.chain(several).collect()
        };
        rank(&mut counts);
        counts
    }
}

/// The text in pieces of about [`BLOCK_BYTES`], cut between characters.
pub fn blocks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let mut at = BLOCK_BYTES.min(text.len());
        while !text.is_char_boundary(at) {
            at += 1;
        }
        let (block, rest) = text.split_at(at);
        text = rest;
        Some(block)
    })
}
