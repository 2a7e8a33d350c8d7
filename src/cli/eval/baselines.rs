//! Simpler models of the training text, evaluated on the same tokens as the network.

use std::ops::Range;

use crate::evaluate;
use crate::evaluate::mixture::{fitted_weight, mixed};
use crate::evaluate::ngram::NGrams;
use crate::evaluate::{EvaluateError, Part, ngram_nats, surprisals};
use crate::models::char_rnn::CharRnn;
use crate::parallel::Running;
use crate::run::Tokens;
use crate::text::segments;
use serde::Serialize;

use super::costs::{Costs, Measured, predicted};
use crate::cli::mixing::{Training, best_order};
use crate::cli::progress::Progress;

/// The n-gram order if there is no validation part to choose it on.
const DEFAULT_ORDER: usize = 8;

#[derive(Serialize)]
pub struct Baselines {
    /// The unigram model: token frequencies.
    pub unigram: Baseline,
    pub ngram: Baseline,
    /// Whether the order was chosen on the validation part; if not, it is the default one.
    pub order_chosen_on_valid: bool,
    /// The network mixed with the n-gram model, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Mixed>,
}

/// An interpolated n-gram model.
#[derive(Serialize)]
pub struct Baseline {
    pub order: usize,
    #[serde(flatten)]
    pub costs: Costs,
    /// What the network in the file saves compared with this model.
    pub network_gains_bits_per_char: f64,
}

/// The network and the n-gram model as one model, on text that its weight was not fitted on.
#[derive(Serialize)]
pub struct Mixed {
    /// The weight of the n-gram model.
    pub weight: f64,
    /// The tokens predicted: the second half if the weight was fitted on the first one.
    pub tokens: u64,
    #[serde(flatten)]
    pub costs: Costs,
    /// What the network alone costs more on these tokens.
    pub gains_bits_per_char: f64,
}

/// Evaluates n-gram models of the training part on the text, or returns why there are none.
/// `costs` are those of the text under the network, which is mixed with the best one if `mix` is set.
pub fn baselines(
    training: Option<&Training>,
    measured: &Measured,
    (network, costs): (&CharRnn, &Costs),
    mix: bool,
    threads: usize,
) -> Result<Baselines, String> {
    let Some(training) = training else {
        return Err("a model file has no training text to count; name it with --corpus".to_owned());
    };
    let split = training.parts().map_err(|error| error.to_string())?;
    let valid = segments(&split.valid, training.split);
    let is_valid = measured.is_own && valid == measured.segments;
    let counted: usize = split.train.iter().map(ExactSizeIterator::len).sum();
    let passes = if mix { 2 } else { 1 };
    let read = measured.predicted + if is_valid { 0 } else { predicted(&valid) };
    let progress = Progress::of_ngrams(counted as u64 + passes * read);
    let running = Running {
        threads,
        progress: &|more| progress.add(more),
    };
    let models = training.count(running)?;
    let all = |tokens| Tokens::all(tokens).map_err(|error| error.to_string());
    let (tokens, training_tokens) = (all(measured.tokens)?, all(&training.tokens)?);
    let nats = ngram_nats(&models, &tokens, &measured.segments, running);
    let on_valid = if is_valid {
        nats.clone()
    } else {
        ngram_nats(&models, &training_tokens, &valid, running)
    };
    let best = if valid.is_empty() {
        DEFAULT_ORDER
    } else {
        best_order(&on_valid)
    };
    let reading = Reading {
        network,
        models: &models,
        order: best,
    };
    let mixed = (mix && !valid.is_empty())
        .then(|| {
            let read = [&*training_tokens, &*tokens];
            reading.mixed(read, &valid, measured, is_valid, running)
        })
        .transpose()
        .map_err(|error| error.to_string())?;
    progress.end();
    let baseline = |order: usize| {
        let row = measured.costs(nats[order - 1]);
        Baseline {
            order,
            network_gains_bits_per_char: row.loss_bits_per_char - costs.loss_bits_per_char,
            costs: row,
        }
    };
    Ok(Baselines {
        unigram: baseline(1),
        ngram: baseline(best),
        order_chosen_on_valid: !valid.is_empty(),
        mixed,
    })
}

/// The two models that are mixed.
struct Reading<'a> {
    network: &'a CharRnn,
    models: &'a NGrams,
    order: usize,
}

impl Reading<'_> {
    /// What each token predicted costs the network, and its probability under the n-gram model.
    fn tokens(
        &self,
        tokens: &[u32],
        segments: &[Range<usize>],
        reading: evaluate::Reading,
        running: Running,
    ) -> Result<[Vec<f64>; 2], EvaluateError> {
        let texts = segments.iter().map(|range| &tokens[range.clone()]);
        let whole = |text| Part::whole(self.network, text);
        let read: Vec<Part> = texts.clone().map(whole).collect();
        let ngram = texts.map(|text| self.models.probabilities(self.order, text));
        let ngram: Vec<_> = ngram.collect();
        Ok([
            surprisals(&read, reading, running)?.concat(),
            ngram.concat(),
        ])
    }

    /// Fits the weight on the validation part; where that is the text itself, on its first half.
    fn mixed(
        &self,
        [training, tokens]: [&[u32]; 2],
        valid: &[Range<usize>],
        measured: &Measured,
        is_valid: bool,
        running: Running,
    ) -> Result<Mixed, EvaluateError> {
        let [mut network, mut ngram] = self.tokens(training, valid, measured.reading, running)?;
        let rest = if is_valid {
            let half = network.len() / 2;
            [network.split_off(half), ngram.split_off(half)]
        } else {
            self.tokens(tokens, &measured.segments, measured.reading, running)?
        };
        let weight = fitted_weight(&network, &ngram);
        let [network, ngram] = rest;
        let tokens = network.len() as u64;
        let bytes = measured.bytes.filter(|_| !is_valid);
        let costs = Costs::new(mixed(&network, &ngram, weight).sum(), tokens, bytes);
        let alone = Costs::new(network.iter().sum(), tokens, bytes);
        Ok(Mixed {
            weight,
            tokens,
            gains_bits_per_char: alone.loss_bits_per_char - costs.loss_bits_per_char,
            costs,
        })
    }
}
