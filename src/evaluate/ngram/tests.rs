use std::collections::HashMap;

use super::*;
use crate::config::Sampling;
use crate::testing::Numbers;

/// Sequences of tokens below `tokens`, some of them empty.
fn sequences(count: usize, tokens: u32) -> Vec<Vec<u32>> {
    let mut numbers = Numbers::new(11);
    let mut below = |most: u32| {
        let number = numbers.vector(1, 0.5)[0] + 0.5;
        // Low tokens are more frequent.
        ((number * number * most as f32) as u32).min(most - 1)
    };
    (0..count)
        .map(|_| {
            let length = below(12);
            (0..length).map(|_| below(tokens)).collect()
        })
        .collect()
}

/// The formulas of Chen & Goodman (1999), by counting grams in maps.
struct Textbook {
    /// By length less 1: how often each gram occurs, and after how many distinct tokens.
    all: Vec<HashMap<Vec<u32>, u64>>,
    before: Vec<HashMap<Vec<u32>, u64>>,
    tokens: usize,
}

impl Textbook {
    fn new(corpus: &[Vec<u32>], order: usize, tokens: usize) -> Self {
        let count = |length: usize| {
            let mut grams: HashMap<Vec<u32>, u64> = HashMap::new();
            for sequence in corpus {
                let whole = [&[START], &sequence[..]].concat();
                for gram in whole
                    .windows(length)
                    .filter(|gram| gram[length - 1] != START)
                {
                    *grams.entry(gram.to_vec()).or_default() += 1;
                }
            }
            grams
        };
        let all: Vec<_> = (1..=order + 1).map(count).collect();
        let before = |length: usize| {
            let mut before: HashMap<Vec<u32>, u64> = HashMap::new();
            for longer in all[length].keys() {
                *before.entry(longer[1..].to_vec()).or_default() += 1;
            }
            // Nothing comes before the start of a sequence.
            let starts = all[length - 1].iter().filter(|(gram, _)| gram[0] == START);
            before.extend(starts.map(|(gram, count)| (gram.clone(), *count)));
            before
        };
        let before = (1..=order).map(before).collect();
        Self {
            all,
            before,
            tokens,
        }
    }

    fn discounts(counts: &HashMap<Vec<u32>, u64>) -> [f64; 3] {
        let n = |k| counts.values().filter(|&&count| count == k).count() as f64;
        let y = n(1) / (n(1) + 2.0 * n(2));
        let kth = |k: u64| k as f64 - (k + 1) as f64 * y * n(k + 1) / n(k);
        [(1, 0.5), (2, 1.0), (3, 1.5)].map(|(k, usual)| {
            let is_known = n(1) * n(k) * n(k + 1) > 0.0 && kth(k) > 0.0;
            if is_known { kth(k) } else { usual }
        })
    }

    /// p(token | given) of an order.
    fn highest(&self, given: &[u32], token: u32, order: usize) -> f64 {
        let shorter = self.lower(given, token, order - 1);
        self.interpolated(&self.all, given, token, order, shorter)
    }

    fn lower(&self, given: &[u32], token: u32, order: usize) -> f64 {
        if order == 0 {
            return 1.0 / self.tokens as f64;
        }
        let shorter = self.lower(given, token, order - 1);
        self.interpolated(&self.before, given, token, order, shorter)
    }

    fn interpolated(
        &self,
        counts: &[HashMap<Vec<u32>, u64>],
        given: &[u32],
        token: u32,
        order: usize,
        shorter: f64,
    ) -> f64 {
        if order > given.len() + 1 {
            return shorter;
        }
        let counts = &counts[order - 1];
        let context = &given[given.len() + 1 - order..];
        let discounts = Self::discounts(counts);
        let discount = |count: u64| discounts[count.min(3) as usize - 1];
        let after: Vec<u64> = (0..self.tokens as u32)
            .filter_map(|token| counts.get(&[context, &[token]].concat()).copied())
            .collect();
        let total: u64 = after.iter().sum();
        if total == 0 {
            return shorter;
        }
        let taken: f64 = after.iter().map(|&count| discount(count)).sum();
        let count = counts.get(&[context, &[token]].concat());
        let kept = count.map_or(0.0, |&count| count as f64 - discount(count));
        (kept + taken * shorter) / total as f64
    }
}

#[test]
fn every_order_has_the_probabilities_of_the_formula() {
    let corpus = sequences(60, 5);
    let textbook = Textbook::new(&corpus, 5, 6);
    let models = NGrams::new(5, 6, corpus.iter().cloned());
    // Known contexts, and one with a token that never occurred.
    for sequence in corpus
        .iter()
        .take(12)
        .chain([&vec![0, 5, 1, 1, 0], &vec![4; 9]])
    {
        let mut context = models.start();
        let mut given = vec![START];
        let mut nats = [0.0; 5];
        for &token in sequence {
            let mut found = [0.0; 5];
            models.read(&mut context, token, &mut found);
            for (order, found) in (1..).zip(found) {
                let want = textbook.highest(&given, token, order);
                assert!((found - want).abs() < 1e-12, "{found} {want} {given:?}");
                nats[order - 1] -= want.ln();
            }
            given.push(token);
        }
        let found = models.nats(sequence.iter().copied());
        for (found, want) in found.into_iter().zip(nats) {
            assert!((found - want).abs() < 1e-9, "{found} {want}");
        }
    }
}

#[test]
fn probabilities_sum_to_one_at_every_order_in_every_context() {
    let corpus = sequences(80, 7);
    let models = NGrams::new(HIGHEST_ORDER, 9, corpus.iter().cloned());
    let contexts = [models.start(), models.anywhere()];
    for (begin, sequence) in contexts
        .iter()
        .flat_map(|c| corpus.iter().map(move |s| (c, s)))
    {
        let mut context = begin.clone();
        for &token in sequence.iter().chain(&[8, 0, 1]) {
            let mut sums = [0.0; HIGHEST_ORDER];
            for token in 0..9 {
                let mut found = [0.0; HIGHEST_ORDER];
                models.read(&mut context.clone(), token, &mut found);
                for (sum, p) in sums.iter_mut().zip(found) {
                    assert!(p > 0.0);
                    *sum += p;
                }
            }
            for sum in sums {
                assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            }
            models.read(&mut context, token, &mut []);
        }
    }
}

#[test]
fn a_text_without_a_known_beginning_is_read_from_the_unigram() {
    let text = vec![0, 1, 2, 0, 1, 2, 0, 1];
    let models = NGrams::new(3, 3, [text]);
    let mut context = models.anywhere();
    let mut found = [0.0; 3];
    models.read(&mut context, 0, &mut found);
    // 0 and 1 occur 3 times and 2 twice. There are too few grams to estimate the discounts: ½, 1, 1½.
    let unigram = |count: f64, discount: f64| (count - discount + 4.0 / 3.0) / 8.0;
    // As a lower order, 0 occurs after the start and after 2, and the others after one token; n₁ = 2
    // and n₂ = 1 estimate ½ too.
    let lower = |count: f64, discount: f64| (count - discount + 2.0 / 3.0) / 4.0;
    let (first, other) = (lower(2.0, 1.0), lower(1.0, 0.5));
    assert_near(found, [unigram(3.0, 1.5), first, first]);
    models.read(&mut context, 1, &mut found);
    // 1 follows 0 three times, and for the trigram, whose context is not known, after two tokens.
    let bigram = (1.5 + 1.5 * other) / 3.0;
    let trigram = 0.5 * (1.0 + 1.0 * other);
    assert_near(found, [unigram(3.0, 1.5), bigram, trigram]);
    models.read(&mut context, 2, &mut found);
    // The last 1 has nothing after it and does not count. Of the bigrams, n₁ = 1, n₂ = 2 and n₃ = 1
    // give D2 = 1.7; as a lower order, n₁ = 3 and n₂ = 1 give D1 = 0.6.
    let bigram = 0.5 * (0.3 + 1.7 * other);
    let trigram = 0.5 * (1.0 + (0.4 + 0.6 * other));
    assert_near(found, [unigram(2.0, 1.0), bigram, trigram]);
}

fn assert_near(found: [f64; 3], want: [f64; 3]) {
    for (found, want) in found.into_iter().zip(want) {
        assert!((found - want).abs() < 1e-15, "{found} {want}");
    }
}

#[test]
fn a_long_text_has_the_probabilities_of_the_formula() {
    let mut numbers = Numbers::new(5);
    // Few tokens in a row that depend on each other, so that there are grams of all counts.
    let text = numbers
        .vector(3000, 0.5)
        .into_iter()
        .scan(0, |token, number| {
            *token = (*token * 3 + ((number + 0.5).powi(3) * 4.0) as u32) % 7;
            Some(*token)
        });
    let corpus = vec![text.collect::<Vec<u32>>()];
    let textbook = Textbook::new(&corpus, 8, 8);
    let discounts = Textbook::discounts(&textbook.before[3]);
    assert!(
        discounts
            .iter()
            .zip([0.5, 1.0, 1.5])
            .all(|(d, usual)| *d != usual)
    );
    let models = NGrams::new(8, 8, corpus.iter().cloned());
    let mut context = models.anywhere();
    for at in 700..800 {
        let given = &corpus[0][700..at];
        let token = if at % 10 == 9 { 7 } else { corpus[0][at] };
        let mut found = [0.0; 8];
        models.read(&mut context, token, &mut found);
        let reach = &given[given.len().saturating_sub(8)..];
        for (order, found) in (1..).zip(found) {
            let want = textbook.highest(reach, token, order);
            assert!((found - want).abs() < 1e-12, "{found} {want} {given:?}");
        }
        if token == 7 {
            context = models.anywhere();
            for &token in &given[given.len() - 9..] {
                models.read(&mut context, token, &mut []);
            }
            models.read(&mut context, corpus[0][at], &mut []);
        }
    }
}

#[test]
fn samples_have_the_frequencies_of_the_model() {
    let corpus = sequences(60, 5);
    // 5 ends a sequence.
    let ended = corpus.iter().map(|s| s.iter().copied().chain([5]));
    let models = NGrams::new(3, 6, ended);
    let config = Sampling::new(4);
    let samples = 40_000;
    for order in [1, 2, 3] {
        let mut counts = std::collections::HashMap::new();
        for index in 0..samples {
            let mut sampler = Sampler::new(&config, &[], index);
            let sequence = models.sequence(order, &mut sampler, (5, 64));
            *counts.entry(sequence).or_insert(0_u32) += 1;
        }
        let mut frequent: Vec<_> = counts.into_iter().collect();
        frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (sequence, count) in frequent.into_iter().take(15) {
            let nats = models.nats(sequence.iter().copied().chain([5]));
            let p = (-nats[order - 1]).exp();
            let deviation = (p * (1.0 - p) / samples as f64).sqrt();
            let found = f64::from(count) / samples as f64;
            assert!(
                (found - p).abs() < 5.0 * deviation,
                "{sequence:?}: {found} {p}"
            );
        }
    }
    let mut sampler = Sampler::new(&config, &[0, 5], 0);
    let sequence = models.sequence(3, &mut sampler, (9, 500));
    assert_eq!(sequence.len(), 500);
    assert!(!sequence.contains(&0) && !sequence.contains(&5));
}

#[test]
fn nothing_to_count_is_uniform() {
    let models = NGrams::new(4, 4, Vec::<Vec<u32>>::new());
    let nats = models.nats([1, 2]);
    assert_eq!(nats, vec![2.0 * 4.0_f64.ln(); 4]);
    let lonely = NGrams::new(0, 4, [vec![], vec![]]);
    assert_eq!((lonely.order(), lonely.nats([3])), (1, vec![4.0_f64.ln()]));
}

#[test]
fn counts_do_not_depend_on_threads_and_every_token_is_reported() {
    let corpus = sequences(200, 6);
    for order in [1, 2, 5] {
        let one = NGrams::new(order, 7, corpus.iter().cloned());
        let told = std::sync::atomic::AtomicU64::new(0);
        let several = NGrams::counted(order, 7, corpus.iter().cloned(), 3, &|more| {
            told.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(one.tree.before, several.tree.before);
        let tokens: usize = corpus.iter().map(|sequence| sequence.len() + 1).sum();
        assert_eq!(told.into_inner(), tokens as u64);
        let sequence = || corpus[3].iter().chain(&corpus[5]).copied();
        assert_eq!(one.nats(sequence()), several.nats(sequence()));
    }
}
