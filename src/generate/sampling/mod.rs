//! From logits to tokens: temperature, top-k, top-p, min-p, then a sample.
//!
//! logits → suppress → divide by the temperature → top-k → top-p → min-p → one multinomial sample by
//! inverse CDF over the tokens in ascending order. Tokens that the limits exclude get probability zero
//! and keep their position, so that a limit which excludes nothing changes no sample. Top-k is that of Fan
//! et al. 2018; top-p that of Holtzman et al. 2020: the smallest set of the most probable tokens
//! whose probabilities reach p; min-p that of Nguyen et al. 2024: the tokens that are at least p times
//! as probable as the most probable one.
//!
//! A bias, if there is one, is added to the logits before all this: a number that makes a token
//! less probable, or −∞, which excludes it.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::config::Sampling;
use crate::kernels::Kernels;
use crate::kernels::scalar::{cos, ln};
pub(crate) use crate::models::argmax;

/// A token that was sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    pub token: u32,
    /// ln p(token) in nats under the model's own distribution: at temperature 1, with the
    /// suppressed tokens removed and nothing else. NaN if it was not asked for.
    pub log_prob: f32,
}

/// The probabilities of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probability {
    pub token: u32,
    /// Its probability under the model's own distribution, as in [`Sampled::log_prob`].
    pub own: f64,
    /// The probability that it was sampled with: after bias, temperature and limits.
    pub sampled: f64,
}

/// Samples the tokens of one text or word. Sample i of seed s has the ChaCha8 stream (s, i) to itself, so
/// that its text depends neither on other samples nor on threads.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f32,
    /// The number of tokens kept, at least 1.
    top_k: usize,
    /// Infinite if there is no limit.
    top_p: f64,
    /// 0 if there is no limit.
    min_p: f32,
    suppressed: Vec<u32>,
    rng: ChaCha8Rng,
    kernels: Kernels,
    log_prob_wanted: bool,
    /// Logits less the highest of those allowed; −∞ where suppressed.
    scores: Vec<f32>,
    /// The scores without the bias, if there is one.
    own: Vec<f32>,
    /// Their exponentials, at the temperature.
    weights: Vec<f32>,
    /// Tokens by descending score, as far as top-k and top-p need them.
    order: Vec<u32>,
}

impl Sampler {
    /// Sample `sample_index` of the seed in `config`. The tokens `suppressed` are never sampled.
    ///
    /// `config` is taken as it is: a temperature that is not above 0 is arg-max, a top-k of 0 is 1.
    pub fn new(config: &Sampling, suppressed: &[u32], sample_index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(sample_index);
        let mut sampler = Self {
            temperature: 1.0,
            top_k: usize::MAX,
            top_p: f64::INFINITY,
            min_p: 0.0,
            suppressed: suppressed.to_vec(),
            rng,
            kernels: Kernels::new(),
            log_prob_wanted: true,
            scores: Vec::new(),
            own: Vec::new(),
            weights: Vec::new(),
            order: Vec::new(),
        };
        sampler.set_limits(config);
        sampler
    }

    /// Takes temperature, top-k, top-p and min-p from `config`, for the tokens from here on.
    pub fn set_limits(&mut self, config: &Sampling) {
        self.temperature = config.temperature;
        self.top_k = config.top_k.map_or(usize::MAX, |k| k.max(1));
        self.top_p = config
            .top_p
            .filter(|&p| p < 1.0)
            .map_or(f64::INFINITY, f64::from);
        self.min_p = config.min_p.unwrap_or(0.0);
    }

    /// Leaves out [`Sampled::log_prob`], which takes as long as sampling. The tokens are the same.
    #[must_use]
    pub fn without_log_prob(mut self) -> Self {
        self.log_prob_wanted = false;
        self
    }

    /// Samples one token from the logits (outputs). A logit that is not a number counts as −∞; if no
    /// allowed token has a higher one, the first allowed token is returned with a log_prob of −∞. Ties
    /// rank by ascending token. Allocates on the first call only.
    pub fn sample(&mut self, logits: &[f32]) -> Sampled {
        if !self.score(logits) {
            return self.first_allowed(logits.len(), |_| true);
        }
        let log_total = self.log_total_if_wanted();
        let token = self.choose(!self.log_prob_wanted);
        Sampled {
            token,
            log_prob: (f64::from(self.scores[token as usize]) - log_total) as f32,
        }
    }

    /// Samples with `bias` (outputs) added to the logits: −∞ excludes a token, as long as another one is
    /// left. [`Sampled::log_prob`] ignores the bias.
    ///
    /// # Panics
    /// If `bias` is not as long as the logits.
    pub fn sample_biased(&mut self, logits: &[f32], bias: &[f32]) -> Sampled {
        assert_eq!(logits.len(), bias.len(), "a bias for every token");
        let any = self.score(logits);
        let log_total = if any { self.log_total_if_wanted() } else { 0.0 };
        self.own.clone_from(&self.scores);
        for (score, bias) in self.scores.iter_mut().zip(bias) {
            *score += bias;
        }
        if !any || !self.shift() {
            let possible = |token: u32| bias[token as usize] > f32::NEG_INFINITY;
            return self.first_allowed(logits.len(), possible);
        }
        let token = self.choose(true);
        Sampled {
            token,
            log_prob: (f64::from(self.own[token as usize]) - log_total) as f32,
        }
    }

    /// The first allowed token, for logits that give none a probability.
    fn first_allowed(&self, tokens: usize, possible: impl Fn(u32) -> bool) -> Sampled {
        let allowed = |token: &u32| possible(*token) && !self.suppressed.contains(token);
        Sampled {
            token: (0..tokens as u32).find(allowed).unwrap_or(0),
            log_prob: f32::NEG_INFINITY,
        }
    }

    /// Samples from the scores; `weigh` if the weights are not yet theirs at temperature 1.
    fn choose(&mut self, weigh: bool) -> u32 {
        if self.temperature > 0.0 {
            if self.temperature != 1.0 || weigh {
                self.weigh(self.temperature);
            }
            self.limit();
            self.pick()
        } else {
            argmax(&self.scores)
        }
    }

    /// ln p(token) at the temperature, without limits: the weight of a given token among sampled
    /// tokens.
    pub(super) fn log_weight(&mut self, logits: &[f32], token: u32) -> f64 {
        if !self.score(logits) {
            return f64::NEG_INFINITY;
        }
        self.weigh(self.temperature);
        f64::from(self.scores[token as usize] / self.temperature) - total(&self.weights).ln()
    }

    /// The probabilities of `sampled`, the last token sampled, from these logits, and of the `count` tokens
    /// that are the most probable by the model's own distribution, in this order.
    pub fn probabilities(
        &self,
        logits: &[f32],
        last: Sampled,
        count: usize,
    ) -> (Probability, Vec<Probability>) {
        let mut logits = logits.to_vec();
        for &token in &self.suppressed {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let total = total(&self.weights);
        let probability = |token: u32| Probability {
            token,
            own: log_prob(&logits, token).exp(),
            sampled: if self.temperature > 0.0 {
                self.weights
                    .get(token as usize)
                    .map_or(0.0, |&weight| f64::from(weight) / total)
            } else {
                f64::from(u8::from(token == last.token))
            },
        };
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.retain(|token| !self.suppressed.contains(token));
        let logit = |token: &u32| logits[*token as usize];
        order.sort_by(|a, b| logit(b).total_cmp(&logit(a)).then(a.cmp(b)));
        order.truncate(count);
        (
            probability(last.token),
            order.into_iter().map(probability).collect(),
        )
    }

    /// A given token with its log_prob: −∞ if it is suppressed.
    ///
    /// # Panics
    /// If `token` is not below `logits.len()`.
    pub fn given(&mut self, logits: &[f32], token: u32) -> Sampled {
        let log_prob = if self.score(logits) {
            (f64::from(self.scores[token as usize]) - self.log_total()) as f32
        } else {
            f32::NEG_INFINITY
        };
        Sampled { token, log_prob }
    }

    fn log_total_if_wanted(&mut self) -> f64 {
        if self.log_prob_wanted {
            self.log_total()
        } else {
            f64::NAN
        }
    }

    /// ln Σ e^score; sets `weights` to those at temperature 1.
    fn log_total(&mut self) -> f64 {
        self.weigh(1.0);
        total(&self.weights).ln()
    }

    /// A standard normal number, from the same stream (Box & Muller 1958).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * ln(1.0 - self.uniform())).sqrt();
        (radius * cos(std::f64::consts::TAU * self.uniform())) as f32
    }

    /// Uniform in [0, 1), 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fills `scores`; returns whether any is above −∞.
    fn score(&mut self, logits: &[f32]) -> bool {
        let Self {
            scores, suppressed, ..
        } = self;
        scores.clear();
        scores.extend_from_slice(logits);
        for &token in suppressed.iter() {
            if let Some(score) = scores.get_mut(token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        self.shift()
    }

    /// Shifts the highest score to 0 and replaces NaN by −∞; returns whether any is above −∞.
    fn shift(&mut self) -> bool {
        let highest = highest(&self.scores);
        for score in &mut self.scores {
            *score = if *score == highest {
                0.0 // also if both are infinite
            } else if score.is_nan() {
                f32::NEG_INFINITY
            } else {
                *score - highest
            };
        }
        highest > f32::NEG_INFINITY
    }

    /// Fills `weights`: e^(score / temperature), at most 1.
    fn weigh(&mut self, temperature: f32) {
        self.weights.clear();
        self.weights
            .extend(self.scores.iter().map(|score| score / temperature));
        self.kernels.exp(&mut self.weights);
    }

    /// Sets the weights that top-k, top-p and min-p exclude to zero.
    fn limit(&mut self) {
        self.limit_order();
        if self.min_p > 0.0 {
            // The most probable token, which is never excluded, has weight 1.
            for weight in &mut self.weights {
                if *weight < self.min_p {
                    *weight = 0.0;
                }
            }
        }
    }

    /// Sets the weights that top-k and top-p exclude to zero.
    fn limit_order(&mut self) {
        let Self {
            scores,
            weights,
            order,
            top_k,
            top_p,
            ..
        } = self;
        let tokens = scores.len();
        if *top_k >= tokens && top_p.is_infinite() {
            return;
        }
        let descending = |&a: &u32, &b: &u32| {
            scores[b as usize]
                .total_cmp(&scores[a as usize])
                .then(a.cmp(&b))
        };
        order.clear();
        order.extend(0..tokens as u32);
        let mut kept = tokens;
        if *top_k < tokens {
            order.select_nth_unstable_by(*top_k, descending);
            kept = *top_k;
        }
        if top_p.is_finite() {
            order[..kept].sort_unstable_by(descending);
            let weight = |&token: &u32| f64::from(weights[token as usize]);
            let enough = *top_p * order[..kept].iter().map(weight).sum::<f64>();
            let mut sum = 0.0;
            let reached = order[..kept].iter().map(weight).position(|weight| {
                sum += weight;
                sum >= enough
            });
            kept = reached.map_or(kept, |last| last + 1);
        }
        for &token in &order[kept..] {
            weights[token as usize] = 0.0;
        }
    }

    /// One multinomial sample: the first token at which the sum of weights passes u · total.
    fn pick(&mut self) -> u32 {
        let mark = self.uniform() * total(&self.weights);
        let mut sum = 0.0;
        let mut last = 0;
        for (token, &weight) in self.weights.iter().enumerate() {
            if weight > 0.0 {
                sum += f64::from(weight);
                last = token;
                if sum > mark {
                    break;
                }
            }
        }
        last as u32
    }
}

/// The number of values processed in parallel.
const LANES: usize = 8;

/// The sum in f64: [`LANES`] partial sums of every [`LANES`]-th weight, then their sum.
fn total(weights: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let (groups, rest) = weights.as_chunks::<LANES>();
    for group in groups {
        for (sum, &weight) in sums.iter_mut().zip(group) {
            *sum += f64::from(weight);
        }
    }
    for (sum, &weight) in sums.iter_mut().zip(rest) {
        *sum += f64::from(weight);
    }
    sums.iter().sum()
}

/// The highest value, ignoring NaN; −∞ if there is none.
fn highest(values: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let mut highest = [f32::NEG_INFINITY; LANES];
    let (groups, rest) = values.as_chunks::<LANES>();
    for group in groups {
        for (highest, &value) in highest.iter_mut().zip(group) {
            *highest = higher(*highest, value);
        }
    }
    highest
        .into_iter()
        .chain(rest.iter().copied())
        .fold(f32::NEG_INFINITY, higher)
}

/// ln p(token) in nats under softmax(logits), in f64: what a text's score is the sum of.
///
/// # Panics
/// If `token` is not below `logits.len()`.
pub fn log_prob(logits: &[f32], token: u32) -> f64 {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let total: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - highest).exp())
        .sum();
    f64::from(logits[token as usize]) - highest - total.ln()
}

#[cfg(test)]
mod tests;
