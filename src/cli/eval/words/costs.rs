//! The cost of words under the model and its baselines, per word and on average.

use std::f64::consts::LN_2;

use crate::evaluate::importance::importance;
use crate::evaluate::ngram::NGrams;
use crate::evaluate::{EvaluateError, Mean, Word, WordCost, WordReading, words};
use crate::model::WordModel;
use crate::parallel::Running;
use crate::run::WordData;
use serde::Serialize;

/// The n-gram orders that are tried.
const LOWEST_ORDER: usize = 2;
const HIGHEST_ORDER: usize = 10;
/// The n-gram order if there are no validation words to choose it on.
const USUAL_ORDER: usize = 6;

/// A row of the table. Means are over words; those per character are over tokens, including the end
/// of each word.
#[derive(Serialize)]
pub struct Costs {
    pub weights: &'static str,
    pub distortion_nats_per_word: f64,
    pub rate_nats_per_word: f64,
    pub neg_elbo_nats_per_word: f64,
    pub neg_elbo_standard_error: f64,
    pub neg_elbo_nats_per_char: f64,
    pub neg_elbo_bits_per_char: f64,
    /// Closer bounds, the closest last.
    pub iw: Vec<Bound>,
    /// The closest bound measured.
    #[serde(skip)]
    pub best: Cost,
}

/// A bound by importance sampling.
#[derive(Serialize)]
pub struct Bound {
    /// The number of samples of z, k.
    pub k: usize,
    #[serde(flatten)]
    pub cost: Cost,
}

/// A mean over words, with its standard error.
#[derive(Clone, Copy, Serialize)]
pub struct Cost {
    pub nats_per_word: f64,
    pub standard_error: f64,
    pub nats_per_char: f64,
    pub bits_per_char: f64,
}

impl Cost {
    fn new(nats: &[f64], tokens: u64) -> Self {
        let Mean {
            mean,
            standard_error,
        } = Mean::of(nats);
        let nats_per_char = mean * nats.len() as f64 / tokens as f64;
        Self {
            nats_per_word: mean,
            standard_error,
            nats_per_char,
            bits_per_char: nats_per_char / LN_2,
        }
    }
}

/// The cost of each word under one model, in nats.
pub struct WordCosts {
    elbo: Vec<WordCost>,
    /// Each k with the bound of every word.
    bounds: Vec<(usize, Vec<f64>)>,
    neg_elbo: Vec<f64>,
}

impl WordCosts {
    /// The closest bound of every word.
    pub fn tightest(&self) -> &[f64] {
        let bound = self.bounds.last();
        bound.map_or(&self.neg_elbo, |(_, nats)| nats)
    }

    pub fn row(&self, weights: &'static str, tokens: u64) -> Costs {
        let mean = |nats: fn(&WordCost) -> f64| {
            self.elbo.iter().map(nats).sum::<f64>() / self.elbo.len() as f64
        };
        let neg_elbo = Cost::new(&self.neg_elbo, tokens);
        let bound = |(k, nats): &(usize, Vec<f64>)| Bound {
            k: *k,
            cost: Cost::new(nats, tokens),
        };
        let best = Cost::new(self.tightest(), tokens);
        Costs {
            best,
            weights,
            distortion_nats_per_word: mean(|cost| cost.distortion_nats),
            rate_nats_per_word: mean(|cost| cost.rate_nats),
            neg_elbo_nats_per_word: neg_elbo.nats_per_word,
            neg_elbo_standard_error: neg_elbo.standard_error,
            neg_elbo_nats_per_char: neg_elbo.nats_per_char,
            neg_elbo_bits_per_char: neg_elbo.bits_per_char,
            iw: self.bounds.iter().map(bound).collect(),
        }
    }
}

/// Measures the cost of each word under each model, with bounds of these numbers of samples of z.
pub fn of_models(
    models: &[&WordModel],
    corpus: &[Word],
    samples: &[usize],
    reading: WordReading,
    running: Running,
) -> Result<Vec<WordCosts>, EvaluateError> {
    let networks: Vec<_> = models.iter().filter_map(|model| model.network()).collect();
    let elbos = words(&networks, corpus, reading, running)?;
    let costs = networks.into_iter().zip(elbos).map(|(network, elbo)| {
        // Without z, −ELBO is exact.
        let samples = if network.latent() > 0 { samples } else { &[] };
        let bounds = match samples {
            [] => Vec::new(),
            _ => importance(network, corpus, samples, reading, running)?,
        };
        let bound = |(at, &k): (usize, &usize)| (k, bounds.iter().map(|word| word[at]).collect());
        Ok(WordCosts {
            bounds: samples.iter().enumerate().map(bound).collect(),
            neg_elbo: elbo
                .iter()
                .map(|cost| cost.distortion_nats + cost.rate_nats)
                .collect(),
            elbo,
        })
    });
    costs.collect()
}

/// The cost of words under a baseline.
#[derive(Serialize)]
pub struct Baseline {
    pub name: String,
    #[serde(flatten)]
    pub cost: Cost,
    /// The extra cost over the model's closest bound, in nats per word: above 0, the model is
    /// better.
    pub model_gains_nats_per_word: f64,
    /// The standard error of the difference, paired by word.
    pub gain_standard_error: f64,
}

impl Baseline {
    /// Compares the costs of each word under the baseline and under the model.
    pub fn new(name: String, nats: &[f64], model: &[f64], tokens: u64) -> Self {
        let gains: Vec<f64> = nats.iter().zip(model).map(|(a, b)| a - b).collect();
        let gain = Mean::of(&gains);
        Self {
            name,
            cost: Cost::new(nats, tokens),
            model_gains_nats_per_word: gain.mean,
            gain_standard_error: gain.standard_error,
        }
    }
}

/// The best of the n-gram models.
#[derive(Serialize)]
pub struct NGramBaseline {
    pub order: usize,
    /// Whether the order was chosen on validation words.
    pub chosen_by_validation: bool,
    #[serde(flatten)]
    pub row: Baseline,
    /// The cost by order, from 2 on, in nats per word.
    pub orders_nats_per_word: Vec<f64>,
}

/// The cost of each word under the n-gram models of the training words.
pub struct NGramCosts {
    pub models: NGrams,
    /// The order that is best on validation words, or the default one.
    pub order: usize,
    chosen: bool,
    /// Nats by order from 1 on, then by word.
    nats: Vec<Vec<f64>>,
}

impl NGramCosts {
    pub fn new(data: &WordData, corpus: &[Word], eos: u32) -> Self {
        let ended = |letters: &[u32]| [letters, &[eos]].concat();
        let train = data.train.iter().map(|&word| ended(&data.letters[word]));
        let models = NGrams::new(HIGHEST_ORDER, data.vocabulary.outputs(), train);
        // By order, then by word.
        let nats = |words: &mut dyn Iterator<Item = &[u32]>| {
            let mut nats = vec![Vec::new(); models.order()];
            for word in words {
                let of_word = models.nats(ended(word));
                nats.iter_mut()
                    .zip(of_word)
                    .for_each(|(all, nats)| all.push(nats));
            }
            nats
        };
        let valid = nats(&mut data.valid.iter().map(|&word| &data.letters[word][..]));
        let valid: Vec<f64> = valid.iter().map(|nats| nats.iter().sum()).collect();
        let best = (LOWEST_ORDER..=models.order())
            .min_by(|&a, &b| valid[a - 1].total_cmp(&valid[b - 1]))
            .filter(|_| !data.valid.is_empty());
        Self {
            nats: nats(&mut corpus.iter().map(|word| word.letters)),
            order: best.unwrap_or(USUAL_ORDER),
            chosen: best.is_some(),
            models,
        }
    }

    pub fn name(&self) -> String {
        format!("{}-gram", self.order)
    }

    /// The mean cost of a word, in nats.
    pub fn mean(&self) -> f64 {
        Mean::of(&self.nats[self.order - 1]).mean
    }

    /// The row, compared with the cost of each word under the model.
    pub fn row(&self, model: &[f64], tokens: u64) -> NGramBaseline {
        let orders = &self.nats[LOWEST_ORDER - 1..];
        NGramBaseline {
            order: self.order,
            chosen_by_validation: self.chosen,
            row: Baseline::new(self.name(), &self.nats[self.order - 1], model, tokens),
            orders_nats_per_word: orders.iter().map(|nats| Mean::of(nats).mean).collect(),
        }
    }
}
