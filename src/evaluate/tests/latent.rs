//! Checks a word-vae's figures against values computed in other ways.

use std::collections::BTreeSet;

use super::*;
use crate::config::{NetworkConfig, Sampling};
use crate::evaluate::importance::importance;
use crate::evaluate::latent::{latent, posteriors};
use crate::evaluate::ngram::NGrams;
use crate::evaluate::reconstruction::reconstruction;
use crate::evaluate::samples::{Existing, Inventor, WordSampling, compare, sample_words};
use crate::evaluate::words::{Noise, distortions};
use crate::models::Network;
use crate::models::weights::{Array, Weights};

/// A word-vae of the letters 0, 1 and 2 whose words end soon (3), with one latent dimension.
fn small() -> (NetworkConfig, Weights<'static>) {
    let mut config = with_latent(&word_vae(Cell::Gru, 4, 1), |latent| latent.latent = 1);
    (config.inputs, config.outputs) = (5, 4);
    let mut weights = weights(&config);
    // z matters, and words are short.
    scale(&mut weights, "decoder.init.weight", 4.0);
    scale(&mut weights, "decoder.rnn.weight_ih_l0", 3.0);
    scale(&mut weights, "decoder.head.weight", 3.0);
    let bias = vec![0.3, -0.4, 0.1, 2.5];
    weights.insert("decoder.head.bias".to_owned(), Array::f32([4], bias));
    (config, weights)
}

const SMALL: WordReading = WordReading {
    bos: 4,
    eos: 3,
    seed: 0,
};

fn scale(weights: &mut Weights<'static>, name: &str, factor: f32) {
    let array = weights.get_mut(name).expect("a weight");
    let values: Vec<f32> = array.data().iter().map(|value| value * factor).collect();
    *array = Array::f32(array.shape.clone(), values);
}

/// Every string of `length` letters out of three.
fn strings(length: u32) -> Vec<Vec<u32>> {
    let digit = |number: u32, place: u32| number / 3_u32.pow(place) % 3;
    (0..3_u32.pow(length))
        .map(|number| (0..length).map(|place| digit(number, place)).collect())
        .collect()
}

/// p(word) by quadrature over the prior: the trapezoidal rule on [−8, 8].
fn quadrature(vae: &WordVae, word: &[u32]) -> f64 {
    let (points, width) = (800, 16.0 / 800.0);
    let z: Vec<f32> = (0..=points)
        .map(|point| -8.0 + width as f32 * point as f32)
        .collect();
    let words = vec![word; z.len()];
    let nats = distortions(vae, &words, &z, SMALL, QUIET);
    let density = |z: f32| (-0.5 * f64::from(z).powi(2)).exp() / std::f64::consts::TAU.sqrt();
    let values = nats.iter().zip(&z);
    values
        .map(|(nats, &z)| width * density(z) * (-nats).exp())
        .sum()
}

#[test]
fn importance_sampling_converges_to_quadrature_from_above() {
    let (config, weights) = small();
    let vae = WordVae::new(&config, &weights).expect("a network");
    let letters = [vec![], vec![1], vec![0, 2], vec![2, 2, 1, 0]];
    let corpus = corpus(&letters);
    let ks = [1, 10, 30_000];
    let found = importance(&vae, &corpus, &ks, SMALL, on_threads(2)).expect("costs");
    for (word, found) in letters.iter().zip(&found) {
        let want = -quadrature(&vae, word).ln();
        assert!(
            (found[2] - want).abs() < 0.02,
            "{word:?}: {} {want}",
            found[2]
        );
    }
    // The mean over seeds falls with k, and stays above.
    let mean = |column: usize| {
        let costs = (0..300).map(|seed| {
            let reading = WordReading { seed, ..SMALL };
            importance(&vae, &corpus[3..], &ks[..2], reading, on_threads(1)).expect("a cost")[0]
                [column]
        });
        costs.sum::<f64>() / 300.0
    };
    let want = -quadrature(&vae, &letters[3]).ln();
    let (one, ten) = (mean(0), mean(1));
    assert!(one > ten + 0.01 && ten > want - 0.005, "{one} {ten} {want}");
}

#[test]
fn the_probabilities_of_all_strings_go_to_one() {
    let (config, weights) = small();
    let vae = WordVae::new(&config, &weights).expect("a network");
    let (mut exactly, mut sampled) = (0.0, 0.0);
    for length in 0..=6 {
        let letters = strings(length);
        exactly += letters
            .iter()
            .map(|word| quadrature(&vae, word))
            .sum::<f64>();
        let costs = importance(&vae, &corpus(&letters), &[200], SMALL, on_threads(2));
        let costs = costs.expect("costs");
        sampled += costs.iter().map(|nats| (-nats[0]).exp()).sum::<f64>();
        assert!(exactly < 1.0 + 1e-5, "{exactly}");
        assert!((exactly - sampled).abs() < 0.03, "{exactly} {sampled}");
    }
    assert!(exactly > 0.99, "{exactly}");
}

#[test]
fn every_k_is_the_elbo_where_the_decoder_ignores_z_and_the_posterior_is_the_prior() {
    let (config, mut weights) = small();
    for name in [
        "decoder.init.weight",
        "encoder.mean.weight",
        "encoder.mean.bias",
        "encoder.log_var.weight",
        "encoder.log_var.bias",
    ] {
        scale(&mut weights, name, 0.0);
    }
    // The last column of the first layer's input weights is z's.
    let input = weights.get_mut("decoder.rnn.weight_ih_l0").expect("it");
    let width = input.shape[1];
    let mut values = input.data().into_owned();
    values
        .chunks_exact_mut(width)
        .for_each(|row| row[width - 1] = 0.0);
    *input = Array::f32(input.shape.clone(), values);
    let vae = WordVae::new(&config, &weights).expect("a network");
    let letters = strings(3);
    let corpus = corpus(&letters);
    let costs = words(&[&vae], &corpus, SMALL, on_threads(1)).expect("costs");
    let found = importance(&vae, &corpus, &[1, 7, 100], SMALL, on_threads(1)).expect("costs");
    for (found, cost) in found.iter().zip(&costs[0]) {
        assert_eq!(cost.rate_nats, 0.0);
        for bound in found {
            assert!(
                (bound - cost.distortion_nats).abs() < 1e-5,
                "{bound} {cost:?}"
            );
        }
    }
}

#[test]
fn a_bound_depends_on_neither_threads_nor_neighbours_nor_other_ks() {
    let config = word_vae(Cell::Lstm, 7, 2);
    let vae = WordVae::new(&config, &weights(&config)).expect("a network");
    let letters = some_words(70);
    let corpus = corpus(&letters);
    let found = importance(&vae, &corpus, &[3, 50], reading(1), on_threads(1)).expect("costs");
    let other = importance(&vae, &corpus, &[3, 50], reading(1), on_threads(3)).expect("costs");
    assert_eq!(found, other);
    for word in [0, 33, 69] {
        let alone = importance(&vae, &corpus[word..=word], &[3], reading(1), on_threads(1));
        assert_eq!(
            alone.expect("a cost")[0][0].to_bits(),
            found[word][0].to_bits()
        );
    }
    // At k = 1 it is one sample of D + ln q − ln p, whose z is that of D.
    let costs = words(&[&vae], &corpus, reading(1), on_threads(1)).expect("costs");
    let first = importance(&vae, &corpus, &[1], reading(1), on_threads(1)).expect("costs");
    let rate: f64 = costs[0].iter().map(|cost| cost.rate_nats).sum::<f64>() / 70.0;
    let sampled: f64 = costs[0]
        .iter()
        .zip(&first)
        .map(|(cost, first)| first[0] - cost.distortion_nats)
        .sum::<f64>()
        / 70.0;
    assert!((rate - sampled).abs() < 0.5, "{rate} {sampled}");
}

/// A word-vae whose posteriors differ between words.
fn telling() -> WordVae {
    telling_apart(&[-1.0, -2.0, 0.2])
}

/// As [`telling`], with these log σ².
fn telling_apart(log_var: &[f32; 3]) -> WordVae {
    let config = word_vae(Cell::Gru, 7, 1);
    let mut weights = weights(&config);
    scale(&mut weights, "encoder.mean.weight", 6.0);
    let log_var = Array::f32([3], log_var.to_vec());
    weights.insert("encoder.log_var.bias".to_owned(), log_var);
    WordVae::new(&config, &weights).expect("a network")
}

#[test]
fn the_rate_is_information_and_the_divergence_of_the_marginal() {
    // So sharp that both parts are many times the sampling error of their sum.
    let vae = telling_apart(&[-4.0, -5.0, -4.5]);
    let mut letters = some_words(900);
    // All of them different.
    for (index, word) in letters.iter_mut().enumerate() {
        word.extend([
            index as u32 % 8,
            index as u32 / 8 % 8,
            index as u32 / 64 % 8,
        ]);
    }
    let corpus = corpus(&letters);
    let found = latent(&vae, &corpus, reading(0), on_threads(2)).expect("figures");
    let found = found.expect("a latent variable");
    let rate = found.rate_nats;
    let costs = words(&[&vae], &corpus, reading(0), on_threads(1)).expect("costs");
    let mean: f64 = costs[0].iter().map(|cost| cost.rate_nats).sum::<f64>() / 900.0;
    assert!((rate - mean).abs() < 1e-9, "{rate} {mean}");
    let sum = found.information_nats + found.marginal_kl_nats;
    // One sample of z per word: ln q(z|x) − ln p(z) deviates by about √(Z/2) nats, over 900 words.
    let tolerance = 5.0 * (3.0_f64 / 2.0 / 900.0).sqrt();
    assert!((sum - rate).abs() < tolerance, "{sum} {rate}");
    assert!(found.information_nats > 5.0 * tolerance, "{found:?}");
    assert!(found.marginal_kl_nats > 5.0 * tolerance, "{found:?}");
    assert!(found.information_nats <= (900.0_f64).ln());
    assert_eq!((found.information_words, found.active_units), (900, 3));
    let other = latent(&vae, &corpus, reading(0), on_threads(1)).expect("figures");
    assert_eq!(other.as_ref(), Some(&found));
}

#[test]
fn information_is_at_most_the_logarithm_of_the_words() {
    let config = word_vae(Cell::Gru, 7, 1);
    let mut weights = weights(&config);
    scale(&mut weights, "encoder.mean.weight", 1000.0);
    let log_var = vec![-9.0; 3];
    weights.insert("encoder.log_var.bias".to_owned(), Array::f32([3], log_var));
    let vae = WordVae::new(&config, &weights).expect("a network");
    let letters: Vec<Vec<u32>> = (0..8).map(|letter| vec![letter; 3]).collect();
    let found = latent(&vae, &corpus(&letters), reading(0), on_threads(1)).expect("figures");
    let information = found.expect("a latent variable").information_nats;
    // Every word is distinguished from every other, so the bound is reached.
    assert!(information <= 8.0_f64.ln() + 1e-9, "{information}");
    assert!(information > 8.0_f64.ln() - 1e-3, "{information}");
}

#[test]
fn the_gap_is_what_the_next_words_z_costs_more() {
    let vae = telling();
    let letters = some_words(20);
    let corpus = corpus(&letters);
    let found = latent(&vae, &corpus, reading(2), on_threads(1)).expect("figures");
    let found = found.expect("a latent variable");
    let z: Vec<Vec<f32>> = posteriors(&vae, &corpus, 1)
        .iter()
        .zip(&corpus)
        .map(|(posterior, word)| posterior.sample(&Noise::of(word, 2).vector(3)))
        .collect();
    let gaps: Vec<f64> = (0..20)
        .map(|word| {
            let cost = |z: &[f32]| distortions(&vae, &[&letters[word]], z, reading(2), QUIET)[0];
            cost(&z[(word + 1) % 20]) - cost(&z[word])
        })
        .collect();
    let (gap, found) = (
        Mean::of(&gaps),
        [found.shuffle_gap_nats, found.shuffle_gap_standard_error],
    );
    assert_eq!(found, [gap.mean, gap.standard_error]);
}

#[test]
fn without_z_a_word_costs_its_letters_and_nothing_is_said_of_z() {
    let config = with_latent(&word_vae(Cell::Gru, 7, 2), |latent| latent.latent = 0);
    let vae = WordVae::new(&config, &weights(&config)).expect("a network");
    let letters = some_words(40);
    let corpus = corpus(&letters);
    let costs = words(&[&vae], &corpus, reading(0), on_threads(2)).expect("costs");
    let bounds = importance(&vae, &corpus, &[1, 100], reading(0), on_threads(2)).expect("costs");
    for (cost, bounds) in costs[0].iter().zip(bounds) {
        assert_eq!(cost.rate_nats, 0.0);
        assert_eq!(bounds, [cost.distortion_nats; 2]);
    }
    let found = latent(&vae, &corpus, reading(0), on_threads(1)).expect("nothing");
    assert_eq!(found, None);
}

#[test]
fn greedy_reconstruction_takes_the_most_probable_letter_at_every_step() {
    let vae = telling();
    let letters = some_words(50);
    let corpus = corpus(&letters);
    let suppressed = [5];
    let found = reconstruction(&vae, &corpus, &suppressed, reading(0), on_threads(2));
    let found = found.expect("figures");
    let exact = letters.iter().filter(|word| {
        let mut state = vae.decoder(1, &vae.encode(word).mean);
        let mut token = 10;
        let mut back = Vec::new();
        while back.len() < 64 {
            vae.step(&mut state, &[token]);
            let allowed = (0..9_u32).filter(|token| !suppressed.contains(token));
            token = allowed
                .max_by(|&a, &b| {
                    let logits = state.logits(0);
                    logits[a as usize].total_cmp(&logits[b as usize])
                })
                .expect("a token");
            if token == 8 {
                break;
            }
            back.push(token);
        }
        back == **word
    });
    assert_eq!(found.reconstruction_exact, exact.count() as f64 / 50.0);
    assert!(found.edit_distance > 0.0 && found.edits_per_letter > 0.0);
}

#[test]
fn sampled_words_are_those_that_the_prior_writes_one_by_one() {
    use crate::generate::Prior;
    use crate::generate::sampling::Sampler;

    let vae = telling();
    let sampled = |threads| {
        sample_words(
            Inventor::Vae(&vae),
            100,
            &plain(3),
            &[5],
            reading(3),
            on_threads(threads),
        )
    };
    let mut found = sampled(1);
    assert_eq!(sampled(3), found);
    let prior = Prior {
        vae: &vae,
        z_temperature: 1.0,
        bos: 10,
        eos: 8,
    };
    let config = Sampling::new(3);
    let mut want: Vec<Vec<u32>> = (0..100)
        .map(|index| prior.word(Sampler::new(&config, &[5], index)).letters)
        .collect();
    found.sort();
    want.sort();
    assert_eq!(found, want);
    let models = NGrams::new(
        3,
        9,
        some_words(30)
            .into_iter()
            .map(|word| [&word[..], &[8]].concat()),
    );
    let inventor = Inventor::NGram(&models, 3);
    let sampled = |threads| {
        sample_words(
            inventor,
            100,
            &plain(3),
            &[5],
            reading(3),
            on_threads(threads),
        )
    };
    assert_eq!(sampled(2), sampled(1));
}

fn plain(seed: u64) -> WordSampling {
    WordSampling {
        sampling: Sampling::new(seed),
        unique: false,
    }
}

#[test]
fn words_that_are_sampled_once_each_are_the_first_of_their_kind() {
    let vae = telling();
    let sampled = |unique, count| {
        let sampling = WordSampling { unique, ..plain(3) };
        sample_words(
            Inventor::Vae(&vae),
            count,
            &sampling,
            &[5],
            reading(3),
            on_threads(2),
        )
    };
    let sorted = |words: Vec<Vec<u32>>| words.into_iter().collect::<BTreeSet<_>>();
    let unique = sampled(true, 500);
    assert_eq!(unique.len(), 500);
    let unique = sorted(unique);
    assert_eq!(unique.len(), 500);
    // As many samples as it took contain exactly these.
    let enough = (500..50_000).find(|&count| sorted(sampled(false, count)).len() == 500);
    assert_eq!(sorted(sampled(false, enough.expect("some"))), unique);
    // If there are too few words, sampling finds them all and stops.
    let certain = WordSampling {
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::new(3)
        },
        unique: true,
    };
    let models = NGrams::new(2, 9, [vec![1, 2, 8]]);
    let few = sample_words(
        Inventor::NGram(&models, 2),
        5,
        &certain,
        &[],
        reading(3),
        on_threads(1),
    );
    assert_eq!(few, [[1, 2]]);
}

#[test]
fn samples_are_counted_against_both_lists() {
    let word = |text: &str| text.chars().map(u32::from).collect::<Vec<_>>();
    let sampled: Vec<_> = ["a", "a", "b", "new", "cd", "cd", "x"].map(word).into();
    let (training, held_out) = (["a", "b"].map(word), ["cd", "ef"].map(word));
    let existing = Existing {
        training: training.iter().map(Vec::as_slice).collect(),
        held_out: held_out.iter().map(Vec::as_slice).collect(),
    };
    let found = compare(&sampled, &existing);
    assert_eq!((found.words, found.held_out_hits), (7, 1));
    assert_eq!(found.distinct, 5.0 / 7.0);
    assert_eq!(found.in_training, 3.0 / 7.0);
    assert_eq!(found.hits_per_new_word, 2.0 / 4.0);
    // Lengths 1, 2, 3: 4/7, 2/7, 1/7 against 0, 1, 0.
    assert!((found.length_distance - 5.0 / 7.0).abs() < 1e-12);
}
