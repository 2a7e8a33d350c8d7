//! A network and an n-gram model of its training text as one model: p = (1 − w) · network + w · n-gram.
//!
//! The n-gram model knows by heart what a small text repeats, and the network what its contexts have in
//! common. One weight for all contexts is enough: one for each length of the context seen gains nothing.

use sha2::Digest as _;

use super::ngram::{Context, NGrams};

/// Steps that a fitted weight is rounded to: 1/64 costs less than 10⁻⁴ nats, and does not depend on
/// the last bit of a logarithm.
const STEPS: f64 = 64.0;

/// An n-gram model and its weight beside a network.
#[derive(Clone, Debug)]
pub struct Mixture {
    ngrams: NGrams,
    order: usize,
    weight: f64,
}

impl Mixture {
    /// The n-gram model of an order that was counted, with a weight from 0 to 1.
    pub const fn new(ngrams: NGrams, order: usize, weight: f64) -> Self {
        Self {
            ngrams,
            order,
            weight,
        }
    }

    /// The order of the n-gram model.
    pub const fn order(&self) -> usize {
        self.order
    }

    /// The n-gram model's weight, w.
    pub const fn weight(&self) -> f64 {
        self.weight
    }

    /// The digest of everything that decides its probabilities.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = self.ngrams.digest();
        hasher.update((self.order as u64).to_le_bytes());
        hasher.update(self.weight.to_le_bytes());
        hasher.finalize().into()
    }

    /// A reader of a text of which nothing is known yet.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            mixture: self,
            context: self.ngrams.anywhere(),
            probabilities: vec![0.0; self.ngrams.tokens()],
            logits: Vec::new(),
        }
    }

    /// The cost of each token of a text but the first, from what it costs the network; nats. Of a part that goes on,
    /// those of the tokens after the first that were `seen`.
    pub fn nats(&self, tokens: &[u32], seen: usize, network: &[f64]) -> Vec<f64> {
        let ngram = self.ngrams.probabilities(self.order, tokens);
        mixed(network, &ngram[seen.saturating_sub(1)..], self.weight).collect()
    }
}

/// −ln((1 − w) · p + w · q), from −ln p and q of each token.
pub fn mixed<'a>(
    network: &'a [f64],
    ngram: &'a [f64],
    weight: f64,
) -> impl Iterator<Item = f64> + 'a {
    let mixed = move |(&nats, &q): (&f64, &f64)| match weight {
        0.0 => nats,
        _ => -((1.0 - weight) * (-nats).exp() + weight * q).ln(),
    };
    network.iter().zip(ngram).map(mixed)
}

/// The weight under which tokens cost the least, from what each costs the network in nats and its
/// probability under the n-gram model: expectation maximization (Jelinek & Mercer 1980), which
/// converges to it, since the cost is convex in the weight. Rounded to a 64th; 0 if there are no
/// tokens.
pub fn fitted_weight(network: &[f64], ngram: &[f64]) -> f64 {
    if network.is_empty() {
        return 0.0;
    }
    let network: Vec<f64> = network.iter().map(|nats| (-nats).exp()).collect();
    let mut weight = 0.5;
    for _ in 0..200 {
        let posterior = |(p, q): (&f64, &f64)| weight * q / ((1.0 - weight) * p + weight * q);
        let sum: f64 = network.iter().zip(ngram).map(posterior).sum();
        weight = sum / network.len() as f64;
    }
    (weight * STEPS).round() / STEPS
}

/// A text that a mixture reads beside the network.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    mixture: &'a Mixture,
    context: Context,
    /// Of the next token, under the n-gram model.
    probabilities: Vec<f64>,
    logits: Vec<f32>,
}

impl Reader<'_> {
    /// Appends a token to the text.
    pub fn read(&mut self, token: u32) {
        self.mixture.ngrams.read(&mut self.context, token, &mut []);
    }

    /// The n-gram model's weight.
    pub const fn weight(&self) -> f64 {
        self.mixture.weight
    }

    /// The probabilities of the next token under the n-gram model.
    pub fn probabilities(&mut self) -> &[f64] {
        let Mixture { ngrams, order, .. } = self.mixture;
        ngrams.distribution(&mut self.context, *order, &mut self.probabilities);
        &self.probabilities
    }

    /// ln p of the next token under the mixture, from the network's logits; with a weight of 0 those
    /// themselves.
    pub fn logits(&mut self, network: &[f32]) -> &[f32] {
        self.logits.clear();
        let weight = self.mixture.weight;
        if weight == 0.0 {
            self.logits.extend_from_slice(network);
            return &self.logits;
        }
        self.probabilities();
        let highest = network.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let odds = |logit: f32| f64::from(logit - highest).exp();
        let total: f64 = network.iter().map(|&logit| odds(logit)).sum();
        let mixed = network.iter().zip(&self.probabilities).map(|(&logit, q)| {
            let p = odds(logit) / total;
            ((1.0 - weight) * p + weight * q).ln() as f32
        });
        self.logits.extend(mixed);
        &self.logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixture(weight: f64) -> Mixture {
        let text = [0, 1, 2, 0, 1, 2, 0, 1, 3, 3, 0, 1, 2];
        Mixture::new(NGrams::new(4, 5, [text]), 3, weight)
    }

    #[test]
    fn the_mixture_is_a_distribution_between_its_two_models() {
        let network = [0.3_f32, -1.0, 2.0, 0.0, -30.0];
        let total: f64 = network.iter().map(|&logit| f64::from(logit).exp()).sum();
        for weight in [0.25, 0.75, 1.0] {
            let mixture = mixture(weight);
            let mut reader = mixture.reader();
            for token in [0, 1, 3, 4, 0] {
                reader.read(token);
                let ngram = reader.probabilities().to_vec();
                let logits = reader.logits(&network).to_vec();
                for ((&found, q), &logit) in logits.iter().zip(ngram).zip(&network) {
                    let p = f64::from(logit).exp() / total;
                    let want = (1.0 - weight) * p + weight * q;
                    assert!((f64::from(found).exp() - want).abs() < 1e-6);
                }
                let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
                assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            }
        }
        let network = [0.5, f32::NAN, 3.0, 1.0, 2.0];
        let plain = mixture(0.0);
        let found = plain.reader().logits(&network).to_vec();
        assert_eq!(found.map_bits(), network.to_vec().map_bits());
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|value| value.to_bits()).collect()
        }
    }

    #[test]
    fn a_text_costs_what_its_tokens_cost_one_by_one() {
        let mixture = mixture(0.25);
        let (tokens, network) = ([0, 1, 2, 4, 3, 3, 0], [0.5, 1.0, 2.0, 1.5, 0.1, 3.0]);
        let mut reader = mixture.reader();
        let found = mixture.nats(&tokens, 0, &network);
        assert_eq!(found.len(), 6);
        for (at, found) in found.into_iter().enumerate() {
            reader.read(tokens[at]);
            let q = reader.probabilities()[tokens[at + 1] as usize];
            let want = -(0.75 * f64::exp(-network[at]) + 0.25 * q).ln();
            assert!((found - want).abs() < 1e-12, "{found} {want}");
        }
    }

    #[test]
    fn the_fitted_weight_costs_least() {
        let network: Vec<f64> = (0..500)
            .map(|k| 0.2 + f64::from(k * 37 % 91) / 30.0)
            .collect();
        let ngram: Vec<f64> = (0..500)
            .map(|k| 0.01 + f64::from(k * 53 % 89) / 100.0)
            .collect();
        let cost = |weight: f64| mixed(&network, &ngram, weight).sum::<f64>();
        let weight = fitted_weight(&network, &ngram);
        assert!(weight > 0.0 && weight < 1.0, "{weight}");
        for other in (0..=64).map(|k| f64::from(k) / 64.0) {
            assert!(cost(weight) <= cost(other) + 1e-9, "{weight} {other}");
        }
        // Of two models, one of which is always better, only that one is used.
        assert_eq!(fitted_weight(&[0.1; 50], &[0.5; 50]), 0.0);
        assert_eq!(fitted_weight(&[3.0; 50], &[0.5; 50]), 1.0);
        assert_eq!(fitted_weight(&[], &[]), 0.0);
    }
}
