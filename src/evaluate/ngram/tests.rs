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

/// The formula by counting: p(token | the tokens before it in `given`, START first).
fn plainly(corpus: &[Vec<u32>], given: &[u32], token: u32, order: usize, tokens: usize) -> f64 {
    let Some(length) = order.checked_sub(1) else {
        return 1.0 / tokens as f64;
    };
    let shorter = plainly(corpus, given, token, order - 1, tokens);
    if length > given.len() {
        return shorter;
    }
    let context = &given[given.len() - length..];
    let mut behind = Vec::new();
    for sequence in corpus {
        let whole = [&[START], &sequence[..]].concat();
        for at in 1..whole.len() {
            if whole[..at].ends_with(context) {
                behind.push(whole[at]);
            }
        }
    }
    if behind.is_empty() {
        return shorter;
    }
    let found = behind.iter().filter(|&&other| other == token).count() as f64;
    let count = behind.len() as f64;
    behind.sort_unstable();
    behind.dedup();
    let types = behind.len() as f64;
    (found + types * shorter) / (count + types)
}

#[test]
fn every_order_has_the_probabilities_of_the_formula() {
    let corpus = sequences(60, 5);
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
                let want = plainly(&corpus, &given, token, order, 6);
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
    assert_eq!(found, [(3.0 + 3.0 / 3.0) / 11.0; 3]);
    models.read(&mut context, 1, &mut found);
    // 0 comes before a token three times, which is 1 each time; (0, 1) has nothing before it.
    let unigram = (3.0 + 3.0 / 3.0) / 11.0;
    let bigram = (3.0 + unigram) / 4.0;
    assert_eq!(found, [unigram, bigram, bigram]);
    models.read(&mut context, 2, &mut found);
    // The last 1 has nothing after it and does not count.
    let unigram = (2.0 + 3.0 / 3.0) / 11.0;
    let bigram = (2.0 + unigram) / 3.0;
    assert_eq!(found, [unigram, bigram, (2.0 + bigram) / 3.0]);
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
        assert_eq!(one.positions, several.positions);
        let tokens: usize = corpus.iter().map(|sequence| sequence.len() + 1).sum();
        assert_eq!(told.into_inner(), tokens as u64);
        let sequence = || corpus[3].iter().chain(&corpus[5]).copied();
        assert_eq!(one.nats(sequence()), several.nats(sequence()));
    }
}
