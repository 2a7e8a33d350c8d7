use std::cmp::Reverse;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::words::read_words;
use super::*;
use crate::config::Cell;
use crate::config::SplitKind;
use crate::evaluate::ngram::NGrams;
use crate::generate::sampling::log_prob;
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::models::golden::Golden;
use crate::models::weights::quantize;
use crate::models::word_vae::WordVae;
use crate::parallel::Running;
use crate::run::ModelFile;
use crate::testing::{Numbers, char_lstm, weights, with_latent, word_vae};
use crate::text::{segments, split_text};

const QUIET: &(dyn Fn(u64) + Sync) = &|_| ();

fn on_threads(threads: usize) -> Running<'static> {
    Running {
        threads,
        progress: QUIET,
    }
}

/// Tokens below `tokens`.
fn text(len: usize, tokens: u32) -> Vec<u32> {
    let numbers = Numbers::new(5).vector(len, 1.0);
    let token = |number: f32| (f32::midpoint(number, 1.0) * tokens as f32) as u32;
    numbers.into_iter().map(token).collect()
}

/// The cost computed step by step, each with the exponentials of f64.
fn plainly(model: &CharRnn, segment: &[u32]) -> f64 {
    let mut state = model.state(1);
    let mut nats = 0.0;
    for pair in segment.windows(2) {
        model.step(&mut state, &pair[..1]);
        nats -= log_prob(state.logits(0), pair[1]);
    }
    nats
}

#[test]
fn a_log_softmax_is_that_of_f64() {
    let mut softmax = LogSoftmax::default();
    let mut numbers = Numbers::new(9);
    for tokens in [1, 2, 65, 97, 5000] {
        for scale in [0.1, 10.0, 60.0] {
            let logits = numbers.vector(tokens, scale);
            for token in [0, tokens as u32 / 2, tokens as u32 - 1] {
                let (found, want) = (softmax.log_prob(&logits, token), log_prob(&logits, token));
                assert!((found - want).abs() < 1e-6, "{found} {want} of {tokens}");
            }
        }
    }
}

#[test]
fn a_segment_costs_the_same_alone_beside_others_and_on_any_number_of_threads() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let config = char_lstm(cell, 9, 2, 13);
        let weights = weights(&config);
        let model = CharRnn::new(&config, &weights).expect("a network");
        let eight = CharRnn::new(&config, &quantize(&weights)).expect("a network");
        let tokens = text(3000, 13);
        // Segments of all lengths, including 0, and more of them than are read in parallel.
        let mut segments = vec![0..1500, 7..7, 9..10, 20..22];
        segments.extend((0..100).map(|at| at * 25..at * 25 + 3 + at % 7));
        let found = texts(
            &[&model, &eight],
            &tokens,
            &segments,
            Reading::Exact,
            on_threads(1),
        )
        .expect("costs");
        for threads in [2, 3, 200] {
            let other = texts(
                &[&model, &eight],
                &tokens,
                &segments,
                Reading::Exact,
                on_threads(threads),
            );
            assert_eq!(other.expect("costs"), found, "{threads} threads");
        }
        let predicted = |range: &Range<usize>| range.len().saturating_sub(1) as u64;
        for (model, found) in [&model, &eight].into_iter().zip(found) {
            let nats: f64 = segments
                .iter()
                .map(|range| plainly(model, &tokens[range.clone()]))
                .sum();
            assert!(
                (found.nats - nats).abs() < 1e-6 * nats,
                "{} {nats}",
                found.nats
            );
            assert_eq!(found.tokens, segments.iter().map(predicted).sum::<u64>());
            let alone: f64 = segments
                .iter()
                .map(|range| {
                    let one = std::slice::from_ref(range);
                    texts(&[model], &tokens, one, Reading::Exact, on_threads(1)).expect("a cost")[0]
                        .nats
                })
                .sum();
            assert_eq!(found.nats.to_bits(), alone.to_bits());
        }
    }
}

#[test]
fn progress_counts_every_token_of_every_model() {
    let config = char_lstm(Cell::Gru, 4, 1, 6);
    let model = CharRnn::new(&config, &weights(&config)).expect("a network");
    let tokens = text(2500, 6);
    for segments in [vec![0..2500, 0..1], vec![0..900, 900..1800, 1800..2500]] {
        let count = std::sync::atomic::AtomicU64::new(0);
        let running = Running {
            threads: 2,
            progress: &|more| {
                count.fetch_add(more, Ordering::Relaxed);
            },
        };
        let costs = texts(
            &[&model, &model],
            &tokens,
            &segments,
            Reading::Exact,
            running,
        )
        .expect("costs");
        assert_eq!(count.into_inner(), 2 * costs[0].tokens);
        assert_eq!(costs[0], costs[1]);
    }
}

#[test]
fn tokens_that_are_not_the_models_are_refused() {
    let mut config = char_lstm(Cell::Rnn, 4, 1, 6);
    config.outputs = 5;
    let model = CharRnn::new(&config, &weights(&config)).expect("a network");
    let cost = |tokens: &[u32]| {
        let whole: Vec<_> = std::iter::once(0..tokens.len()).collect();
        texts(&[&model], &tokens, &whole, Reading::Exact, on_threads(1))
            .map_err(|error| error.to_string())
    };
    // A token that is never predicted can still be read.
    assert!(cost(&[5, 1, 2]).is_ok());
    let (token, outputs) = (5, 5);
    let refused = EvaluateError::Unpredictable { token, outputs };
    assert_eq!(cost(&[1, 5, 2]), Err(refused.to_string()));
    let (token, inputs) = (6, 6);
    let refused = EvaluateError::Unreadable { token, inputs };
    assert_eq!(cost(&[6, 1]), Err(refused.to_string()));
    let nothing = texts(&[&model], &Vec::new(), &[], Reading::Exact, on_threads(2));
    assert_eq!(nothing.expect("costs"), [TextCost::default()]);
}

#[test]
fn words_cost_what_pytorch_says() {
    for golden in Golden::all("word-vae") {
        let vae = WordVae::new(&golden.config, &golden.weights).expect("a network");
        let (words, lengths) = (golden.tokens("words"), golden.tokens("lengths"));
        let longest = words.len() / lengths.len();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&word| Reverse(lengths[word]));
        let letters = |&word: &usize| &words[word * longest..][..lengths[word] as usize];
        let group: Vec<&[u32]> = order.iter().map(letters).collect();
        let noise = |&word: &usize| golden.row("eps", word, vae.latent());
        let noise: Vec<f32> = order.iter().flat_map(noise).copied().collect();
        let reading = WordReading {
            bos: golden.special("bos"),
            eos: golden.special("eos"),
            seed: 0,
        };
        let costs = read_words(&vae, &group, &noise, reading, QUIET);
        for (&word, cost) in order.iter().zip(costs) {
            for (name, found) in [("d", cost.distortion_nats), ("r", cost.rate_nats)] {
                let want = f64::from(golden.row(name, word, 1)[0]);
                assert!(
                    (found - want).abs() < 1e-5 * want.max(1.0),
                    "{name}: {found} {want}"
                );
            }
        }
    }
}

/// Words of the letters 0 to 7.
fn some_words(count: usize) -> Vec<Vec<u32>> {
    (0..count).map(|word| text(word % 8, 8)).collect()
}

/// Letters as words of a corpus.
fn corpus(letters: &[Vec<u32>]) -> Vec<Word<'_>> {
    let words = (0..).zip(letters);
    words
        .map(|(index, letters)| Word { index, letters })
        .collect()
}

const fn reading(seed: u64) -> WordReading {
    WordReading {
        bos: 10,
        eos: 8,
        seed,
    }
}

#[test]
fn words_cost_the_same_in_any_order_and_on_any_number_of_threads() {
    let config = word_vae(Cell::Gru, 7, 2);
    let vae = WordVae::new(&config, &weights(&config)).expect("a network");
    let letters = some_words(150);
    let corpus = corpus(&letters);
    let cost = |corpus: &[Word], seed, threads| {
        let costs = words(&[&vae], corpus, reading(seed), on_threads(threads)).expect("costs");
        costs.into_iter().next().expect("of the model")
    };
    let found = cost(&corpus, 0, 1);
    assert_eq!(cost(&corpus, 0, 3), found);
    assert_ne!(cost(&corpus, 1, 1), found);
    assert_eq!(found.len(), 150);
    let mut backwards = corpus.clone();
    backwards.reverse();
    let mut other = cost(&backwards, 0, 2);
    other.reverse();
    assert_eq!(other, found);
    let refused = words(
        &[&vae],
        &[Word {
            index: 0,
            letters: &[9],
        }],
        reading(0),
        on_threads(1),
    );
    let (token, outputs) = (9, 9);
    let error = EvaluateError::Unpredictable { token, outputs };
    assert_eq!(
        refused.map_err(|error| error.to_string()),
        Err(error.to_string())
    );
}

#[test]
fn a_mean_has_the_standard_error_of_its_values() {
    let found = Mean::of(&[1.0, 2.0, 3.0, 6.0]);
    // Deviations −2, −1, 0, 3: a variance of 14/3, over 4 values.
    assert_eq!(found.mean, 3.0);
    assert!((found.standard_error - (14.0_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    let alone = Mean::of(&[5.0]);
    assert_eq!((alone.mean, alone.standard_error), (5.0, 0.0));
    assert_eq!(Mean::of(&[]), Mean::default());
}

mod latent;

/// A network that has learnt from tales, and tales.
fn trained() -> (CharRnn, Vec<u32>) {
    let path = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    let file =
        ModelFile::open(&path("tests/old-runs/runs/lstm/model.safetensors")).expect("a model");
    let weights = file.weights().expect("weights");
    let model = CharRnn::new(&file.header.network, &weights).expect("a network");
    let tales = std::fs::read_to_string(path("corpora/fairy-tales.txt")).expect("tales");
    let vocabulary = &file.header.vocabulary;
    (
        model,
        vocabulary.encode_open(&tales).readable(vocabulary.unk()),
    )
}

#[test]
fn sections_side_by_side_cost_what_the_text_costs() {
    let (model, tokens) = trained();
    let segments = [0..40_000, 40_000..60_003];
    let cost = |reading, threads| {
        texts(&[&model], &tokens, &segments, reading, on_threads(threads)).expect("costs")[0]
    };
    let (exact, found) = (cost(Reading::Exact, 2), cost(Reading::Sections, 1));
    assert_eq!(found.tokens, exact.tokens);
    let off = (found.nats - exact.nats).abs() / exact.tokens as f64;
    assert!(off < 1e-4, "{off} nats per character");
    assert_ne!(found.nats, exact.nats);
    for threads in [2, 3, 7] {
        assert_eq!(cost(Reading::Sections, threads), found);
    }
    let whole = [Part::whole(&model, &tokens[..40_000])];
    let read = |reading| {
        surprisals(&whole, reading, on_threads(2))
            .expect("costs")
            .remove(0)
    };
    let (exact, found) = (read(Reading::Exact), read(Reading::Sections));
    assert_eq!(found.len(), exact.len());
    let mean = |nats: &[f64]| nats.iter().sum::<f64>() / nats.len() as f64;
    assert!((mean(&found) - mean(&exact)).abs() < 1e-4);
    // The first section has nothing before it to leave out.
    let same = exact
        .iter()
        .zip(&found)
        .take_while(|(a, b)| (*a - *b).abs() < 1e-9);
    assert!(same.count() >= 1024);
}

#[test]
fn a_short_text_has_one_section_which_is_exact() {
    let (model, tokens) = trained();
    let segments = [0..1500, 1500..3300];
    let cost =
        |reading| texts(&[&model], &tokens, &segments, reading, on_threads(2)).expect("costs");
    assert_eq!(cost(Reading::Sections), cost(Reading::Exact));
}

#[test]
fn a_text_costs_the_sum_over_its_segments_under_every_protocol() {
    let config = char_lstm(Cell::Gru, 8, 2, 11);
    let model = CharRnn::new(&config, &weights(&config)).expect("a network");
    let tokens = text(1200, 11);
    for (protocol, valid) in [
        (SplitKind::Contiguous, 0.3),
        (SplitKind::Window(17), 0.3),
        (SplitKind::Interleaved, 0.5),
    ] {
        let split = split_text(tokens.len(), protocol, valid, 0.0);
        for part in [split.valid, split.train] {
            let segments = segments(&part, protocol);
            let found = texts(&[&model], &tokens, &segments, Reading::Exact, on_threads(3))
                .expect("costs")[0];
            // By hand: every range of the part, under window:N a zero state every N tokens.
            let mut nats = 0.0;
            for range in part {
                let predicted: Vec<usize> = (range.start + 1..range.end).collect();
                let window = match protocol {
                    SplitKind::Window(window) => window,
                    _ => predicted.len().max(1),
                };
                for window in predicted.chunks(window) {
                    nats += plainly(&model, &tokens[window[0] - 1..=window[window.len() - 1]]);
                }
            }
            let error = (found.nats - nats).abs();
            assert!(error < 1e-6 * nats, "{protocol}: {} {nats}", found.nats);
        }
    }
}

#[test]
fn surprisals_add_up_to_the_cost_of_the_text() {
    let config = char_lstm(Cell::Lstm, 9, 1, 13);
    let weights = weights(&config);
    let model = CharRnn::new(&config, &weights).expect("a network");
    let eight = CharRnn::new(&config, &quantize(&weights)).expect("a network");
    let tokens = text(2500, 13);
    let both = [
        Part::whole(&model, &tokens),
        Part::whole(&eight, &tokens[100..900]),
    ];
    let found = surprisals(&both, Reading::Exact, on_threads(2)).expect("surprisals");
    for (Part { model, tokens, .. }, surprisals) in both.into_iter().zip(found) {
        assert_eq!(surprisals.len(), tokens.len() - 1);
        let whole = 0..tokens.len();
        let costs = texts(
            &[model],
            &tokens,
            std::slice::from_ref(&whole),
            Reading::Exact,
            on_threads(1),
        );
        let sum: f64 = surprisals.iter().sum();
        assert_eq!(sum.to_bits(), costs.expect("a cost")[0].nats.to_bits());
        let first = plainly(model, &tokens[..2]);
        assert!((surprisals[0] - first).abs() < 1e-6);
    }
    // A text in two parts, of which the second has seen the first.
    let exact = surprisals(&both[..1], Reading::Exact, on_threads(2)).expect("surprisals");
    for at in [1, 2, 700] {
        let seen = at.min(300);
        let part = Part {
            seen,
            ..Part::whole(&model, &tokens[at - seen..])
        };
        for reading in [Reading::Exact, Reading::Sections] {
            let found = surprisals(&[part], reading, on_threads(2)).expect("surprisals");
            assert_eq!(found[0].len(), tokens.len() - at);
            let off = |(a, b): (&f64, &f64)| (a - b).abs();
            let most = exact[0][at - 1..].iter().zip(&found[0]).map(off);
            assert!(most.fold(0.0, f64::max) < 1e-4, "{at}");
        }
    }
    let nothing =
        surprisals(&[Part::whole(&model, &[])], Reading::Exact, on_threads(1)).expect("nothing");
    assert_eq!(nothing, [Vec::<f64>::new()]);
    let refused = surprisals(
        &[Part::whole(&model, &[1, 13])],
        Reading::Exact,
        on_threads(1),
    );
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_posterior_is_bayes_rule_with_equal_priors() {
    for nats in [[3.0, 1.0, 2.5], [0.0, 0.0, 0.0], [1e5, 1e5 + 1.0, 2e5]] {
        let found = posterior(&nats);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{found:?}");
        for (a, p) in nats.iter().zip(&found) {
            let total: f64 = nats.iter().map(|b| (a - b).exp()).sum();
            assert!((p - 1.0 / total).abs() < 1e-12, "{found:?}");
        }
    }
    assert_eq!(posterior(&[7.0]), [1.0]);
}

#[test]
fn n_gram_models_read_segments_as_networks_do() {
    let tokens = text(9000, 5);
    let models = NGrams::new(6, 5, [tokens[..6000].iter().copied()]);
    let segments = [0..5000, 5000..5001, 5600..9000, 8990..9000];
    let found = ngram_nats(&models, &tokens, &segments, on_threads(3));
    assert_eq!(
        ngram_nats(&models, &tokens, &segments, on_threads(1)),
        found
    );
    let mut nats = vec![0.0; 6];
    for segment in segments {
        let mut context = models.anywhere();
        models.read(&mut context, tokens[segment.start], &mut []);
        for &token in &tokens[segment.start + 1..segment.end] {
            let mut probabilities = [0.0; 6];
            models.read(&mut context, token, &mut probabilities);
            for (nats, p) in nats.iter_mut().zip(probabilities) {
                *nats -= p.ln();
            }
        }
    }
    for (found, nats) in found.into_iter().zip(nats) {
        assert!((found - nats).abs() < 1e-9 * nats, "{found} {nats}");
    }
}
