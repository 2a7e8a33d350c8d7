use super::*;

const LOGITS: [f32; 8] = [1.0, -0.5, 2.0, 0.0, 2.0, -3.0, 0.7, 1.9];

fn config(temperature: f32, top_k: Option<usize>, top_p: Option<f32>) -> Sampling {
    Sampling {
        temperature,
        top_k,
        top_p,
        ..Sampling::new(11)
    }
}

fn sampler(temperature: f32) -> Sampler {
    Sampler::new(&config(temperature, None, None), &[], 0)
}

/// softmax(LOGITS / temperature) over `kept`, in f64.
fn expected(temperature: f64, kept: &[usize]) -> [f64; 8] {
    let mut weights = [0.0; 8];
    for &token in kept {
        weights[token] = (f64::from(LOGITS[token]) / temperature).exp();
    }
    let total: f64 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

/// Pearson's χ² of 100,000 samples, against the quantile that it passes once in 10,000 times.
fn check_frequencies(config: &Sampling, suppressed: &[u32], want: [f64; 8]) {
    /// By degrees of freedom, from 1: χ² at 1 − 1e-4.
    const QUANTILES: [f64; 7] = [15.14, 18.42, 21.11, 23.51, 25.74, 27.86, 29.88];
    let mut sampler = Sampler::new(config, suppressed, 3);
    let mut counts = [0_u32; 8];
    for _ in 0..100_000 {
        counts[sampler.sample(&LOGITS).token as usize] += 1;
    }
    let mut statistic = 0.0;
    let mut cells = 0;
    for (count, want) in counts.into_iter().zip(want) {
        if want == 0.0 {
            assert_eq!(count, 0, "{counts:?}");
        } else {
            let mean = want * 100_000.0;
            statistic += (f64::from(count) - mean).powi(2) / mean;
            cells += 1;
        }
    }
    assert!(
        statistic < QUANTILES[cells - 2],
        "{statistic} with {cells} cells: {counts:?}"
    );
}

#[test]
fn samples_follow_the_softmax_at_every_temperature() {
    let all: Vec<usize> = (0..8).collect();
    for temperature in [0.5_f32, 1.0, 2.0] {
        let want = expected(f64::from(temperature), &all);
        check_frequencies(&config(temperature, None, None), &[], want);
    }
}

#[test]
fn top_k_keeps_the_most_probable_and_their_ratios() {
    check_frequencies(
        &config(0.8, Some(3), None),
        &[],
        expected(0.8_f32.into(), &[2, 4, 7]),
    );
    check_frequencies(&config(1.0, Some(2), None), &[], expected(1.0, &[2, 4]));
}

#[test]
fn top_p_keeps_the_smallest_set_that_reaches_it() {
    // In order: 2 and 4 with 0.258 each, 7 with 0.234, 0 with 0.095.
    check_frequencies(
        &config(1.0, None, Some(0.6)),
        &[],
        expected(1.0, &[2, 4, 7]),
    );
    check_frequencies(
        &config(1.0, None, Some(0.8)),
        &[],
        expected(1.0, &[0, 2, 4, 7]),
    );
    check_frequencies(&config(1.0, None, Some(0.4)), &[], expected(1.0, &[2, 4]));
}

#[test]
fn top_p_counts_what_top_k_leaves() {
    // Of 2, 4 and 7 alone the first two make 0.69.
    check_frequencies(
        &config(1.0, Some(3), Some(0.68)),
        &[],
        expected(1.0, &[2, 4]),
    );
}

fn with_min_p(min_p: f32, config: &Sampling) -> Sampling {
    Sampling {
        min_p: Some(min_p),
        ..config.clone()
    }
}

#[test]
fn min_p_keeps_what_is_near_enough_to_the_most_probable() {
    // Ratios to the largest, at temperature 1: e^(logit − 2).
    let ratio = |logit: f32| (logit - 2.0).exp();
    let plain = || config(1.0, None, None);
    for (min_p, kept) in [
        (ratio(1.9) * 1.001, &[2, 4][..]),
        (ratio(1.9) * 0.999, &[2, 4, 7]),
        (ratio(1.0) * 0.999, &[0, 2, 4, 7]),
        (ratio(0.0) * 0.999, &[0, 2, 3, 4, 6, 7]),
        (1.0, &[2, 4]),
    ] {
        check_frequencies(&with_min_p(min_p, &plain()), &[], expected(1.0, kept));
    }
}

#[test]
fn min_p_comes_after_the_temperature_and_the_other_limits() {
    // At temperature 2 the ratio of token 0 is e^(−1/2) = 0.61, at temperature 1 it was 0.37.
    let hot = with_min_p(0.6, &config(2.0, None, None));
    check_frequencies(&hot, &[], expected(2.0, &[0, 2, 4, 7]));
    // What top-k excludes stays out, and the ratios are to the largest one left.
    let both = with_min_p(0.3, &config(1.0, Some(3), None));
    check_frequencies(&both, &[], expected(1.0, &[2, 4, 7]));
    let without = with_min_p(0.3, &config(1.0, None, None));
    check_frequencies(&without, &[2, 4], expected(1.0, &[0, 6, 7]));
    // No limit at all.
    let (mut none, mut plain) = (
        Sampler::new(&with_min_p(0.0, &config(0.9, None, None)), &[], 0),
        sampler(0.9),
    );
    for _ in 0..1000 {
        assert_eq!(none.sample(&LOGITS), plain.sample(&LOGITS));
    }
}

#[test]
fn a_bias_of_zeros_changes_no_sample() {
    for config in [
        config(1.0, None, None),
        config(0.4, Some(5), Some(0.9)),
        config(0.0, None, None),
    ] {
        for wanted in [true, false] {
            let sampler = || Sampler::new(&config, &[3], 2);
            let (mut plain, mut biased) = (sampler(), sampler());
            if !wanted {
                (plain, biased) = (plain.without_log_prob(), biased.without_log_prob());
            }
            for _ in 0..300 {
                let (one, other) = (
                    plain.sample(&LOGITS),
                    biased.sample_biased(&LOGITS, &[0.0; 8]),
                );
                assert_eq!(one.token, other.token);
                assert_eq!(one.log_prob.to_bits(), other.log_prob.to_bits());
            }
        }
    }
}

#[test]
fn a_bias_excludes_and_shifts_and_leaves_the_log_probability_alone() {
    let low = f32::NEG_INFINITY;
    let own = expected(1.0, &[0, 1, 2, 3, 4, 5, 6, 7]);
    // Of 1 and 5 alone, the latter raised by 3: from 2.5 below to 0.5 above.
    let bias = [low, 0.0, low, low, low, 3.0, low, low];
    for temperature in [1.0, 0.01] {
        let mut sampler = sampler(temperature);
        let mut count = 0;
        for _ in 0..10_000 {
            let sampled = sampler.sample_biased(&LOGITS, &bias);
            assert!([1, 5].contains(&sampled.token));
            count += u32::from(sampled.token == 5);
            let want = own[sampled.token as usize].ln();
            assert!((f64::from(sampled.log_prob) - want).abs() < 1e-6);
        }
        let p = 1.0 / (1.0 + f64::from(-0.5 / temperature).exp());
        let deviation = (p * (1.0 - p) / 10_000.0).sqrt();
        assert!((f64::from(count) / 10_000.0 - p).abs() <= 5.0 * deviation);
    }
    // Also where the network gives no number at all.
    let bias = [low, low, low, 0.0, 0.0, low, low, low];
    for logits in [[f32::NAN; 8], [low; 8]] {
        let sampled = Sampler::new(&config(1.0, None, None), &[3], 0).sample_biased(&logits, &bias);
        assert_eq!((sampled.token, sampled.log_prob), (4, low));
    }
}

#[test]
fn suppressed_tokens_are_never_sampled() {
    let want = expected(1.0, &[0, 1, 3, 5, 6, 7]);
    check_frequencies(&config(1.0, None, None), &[2, 4, 100], want);
}

#[test]
fn the_log_probability_is_the_models_own() {
    let suppressed = [2_u32];
    let want = expected(1.0, &[0, 1, 3, 4, 5, 6, 7]);
    let mut sampler = Sampler::new(&config(0.3, Some(5), Some(0.9)), &suppressed, 0);
    for _ in 0..100 {
        let sampled = sampler.sample(&LOGITS);
        let want = want[sampled.token as usize].ln();
        assert!(
            (f64::from(sampled.log_prob) - want).abs() < 1e-6,
            "{sampled:?}, {want}"
        );
    }
    let whole = expected(1.0, &[0, 1, 2, 3, 4, 5, 6, 7]);
    assert!((log_prob(&LOGITS, 5) - whole[5].ln()).abs() < 1e-12);
}

#[test]
fn one_seed_and_index_give_the_same_samples_and_another_index_others() {
    let config = config(1.0, None, None);
    let samples = |index| {
        let mut sampler = Sampler::new(&config, &[], index);
        (0..50)
            .map(|_| sampler.sample(&LOGITS).token)
            .collect::<Vec<_>>()
    };
    assert_eq!(samples(4), samples(4));
    assert_ne!(samples(4), samples(5));
}

#[test]
fn limits_that_exclude_nothing_change_no_sample() {
    let mut plain = sampler(0.9);
    let mut limited = Sampler::new(&config(0.9, Some(8), Some(0.999_999_9)), &[], 0);
    for _ in 0..1000 {
        assert_eq!(plain.sample(&LOGITS), limited.sample(&LOGITS));
    }
}

#[test]
fn temperature_zero_is_the_most_probable_token_and_the_first_of_equals() {
    assert_eq!(sampler(0.0).sample(&LOGITS).token, 2);
    assert_eq!(
        Sampler::new(&config(0.0, None, None), &[2], 0)
            .sample(&LOGITS)
            .token,
        4
    );
    assert_eq!(
        Sampler::new(&config(1.0, Some(1), None), &[], 0)
            .sample(&LOGITS)
            .token,
        2
    );
    assert_eq!(
        Sampler::new(&config(1.0, None, Some(0.01)), &[], 0)
            .sample(&LOGITS)
            .token,
        2
    );
}

#[test]
fn a_tiny_temperature_samples_among_the_highest_only() {
    for temperature in [1e-6, f32::MIN_POSITIVE, f32::from_bits(1)] {
        let mut sampler = sampler(temperature);
        let mut seen = [0; 8];
        for _ in 0..200 {
            seen[sampler.sample(&LOGITS).token as usize] += 1;
        }
        assert!(
            seen[2] > 0 && seen[4] > 0 && seen[2] + seen[4] == 200,
            "{seen:?}"
        );
    }
}

#[test]
fn huge_logits_and_infinite_ones_are_sampled_from() {
    let low = f32::NEG_INFINITY;
    for logits in [
        [f32::MIN, f32::MAX, f32::MIN],
        [low, -1e30, low],
        [f32::NAN, 0.0, low],
        [1e38, f32::INFINITY, f32::NAN],
    ] {
        for temperature in [0.0, 1e-6, 1.0, 1e6] {
            let sampled = sampler(temperature).sample(&logits);
            assert_eq!(
                sampled,
                Sampled {
                    token: 1,
                    log_prob: 0.0
                },
                "{logits:?} at {temperature}"
            );
        }
    }
}

#[test]
fn without_any_probable_token_the_first_allowed_one_is_sampled() {
    let low = [f32::NEG_INFINITY; 3];
    let mut sampler = Sampler::new(&config(1.0, None, None), &[0], 0);
    assert_eq!(
        sampler.sample(&low),
        Sampled {
            token: 1,
            log_prob: f32::NEG_INFINITY
        }
    );
    assert_eq!(sampler.sample(&[1.0]).token, 0, "there is no other");
}

#[test]
fn normal_numbers_have_mean_zero_and_variance_one() {
    let mut sampler = sampler(1.0);
    let numbers: Vec<f64> = (0..100_000).map(|_| f64::from(sampler.normal())).collect();
    let moment = |power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / 100_000.0;
    // Five standard errors: sqrt of (1, 2, 15, 96) / 100,000.
    for (power, want, error) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let bound = 5.0 * (error / 100_000.0_f64).sqrt();
        assert!(
            (moment(power) - want).abs() < bound,
            "moment {power}: {}",
            moment(power)
        );
    }
}

#[test]
fn leaving_the_log_probability_out_changes_no_sample() {
    for (temperature, top_k, top_p) in [
        (0.0, None, None),
        (0.5, None, None),
        (1.0, Some(3), Some(0.8)),
        (1.7, None, Some(0.5)),
    ] {
        let sampler = || Sampler::new(&config(temperature, top_k, top_p), &[1], 5);
        let (mut with, mut without) = (sampler(), sampler().without_log_prob());
        for _ in 0..100 {
            let sampled = without.sample(&LOGITS);
            assert_eq!(sampled.token, with.sample(&LOGITS).token);
            assert!(sampled.log_prob.is_nan());
        }
    }
}

#[test]
fn sums_and_maxima_of_lanes_are_those_of_the_whole() {
    for len in [0, 1, 7, 8, 9, 97] {
        let values: Vec<f32> = (0..len).map(|k| ((k * 37 % 101) as f32).sin()).collect();
        let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
        assert!((total(&values) - sum).abs() < 1e-12, "{len}");
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(highest(&values), max);
    }
    assert_eq!(highest(&[f32::NAN, -3.0, f32::NAN]), -3.0);
    assert_eq!(highest(&[f32::NAN]), f32::NEG_INFINITY);
}

#[test]
fn probabilities_are_the_models_own_and_those_of_the_sample() {
    let own = expected(1.0, &[0, 1, 3, 4, 5, 6, 7]);
    let mut sampler = Sampler::new(&config(0.5, Some(3), None), &[2], 0);
    let bias = [0.0, 0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0];
    let changed = expected(0.5, &[0, 6, 7]);
    let sampled = sampler.sample_biased(&LOGITS, &bias);
    let (one, all) = sampler.probabilities(&LOGITS, sampled, 4);
    assert_eq!(one.token, sampled.token);
    let tokens: Vec<u32> = all.iter().map(|probability| probability.token).collect();
    assert_eq!(tokens, [4, 7, 0, 6]);
    for probability in all.iter().chain([&one]) {
        let token = probability.token as usize;
        assert!(
            (probability.own - own[token]).abs() < 1e-6,
            "{probability:?}"
        );
        assert!(
            (probability.sampled - changed[token]).abs() < 1e-6,
            "{probability:?}"
        );
    }
    // The most probable token is certain at temperature 0, and more than all are all.
    let mut greedy = Sampler::new(&config(0.0, None, None), &[2], 0);
    let sampled = greedy.sample(&LOGITS);
    let (one, all) = greedy.probabilities(&LOGITS, sampled, 100);
    assert_eq!((one.token, one.sampled, all.len()), (4, 1.0, 7));
    assert!(
        all[1..]
            .iter()
            .all(|probability| probability.sampled == 0.0)
    );
}
