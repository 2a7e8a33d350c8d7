//! What simpler models of the training text make of what the network was measured on.

use crate::config::TrainConfig;
use crate::evaluate::ngram::{HIGHEST_ORDER, NGrams};
use crate::evaluate::ngram_nats;
use crate::parallel::Running;
use crate::run::TextData;
use crate::text::{segments, split_text};
use serde::Serialize;

use super::costs::{Costs, Measured, predicted};
use crate::cli::progress::Progress;

/// The order where there is no validation part to choose it on.
const DEFAULT_ORDER: usize = 6;
/// Up to so many tokens of training text each order is counted: more text takes minutes to sort.
const EVERY_ORDER: usize = 4_000_000;
/// The highest order for longer texts.
const LOWER_ORDER: usize = 8;
/// Tokens of training text that are counted at the most: some 20 bytes each stay in memory.
const MOST_TOKENS: usize = 50_000_000;

#[derive(Serialize)]
pub struct Baselines {
    /// How often each token occurs.
    pub unigram: Baseline,
    pub ngram: Baseline,
    /// Whether the best order is that of the validation part; else it is the usual one.
    pub order_chosen_on_valid: bool,
}

/// An interpolated n-gram model.
#[derive(Serialize)]
pub struct Baseline {
    pub order: usize,
    #[serde(flatten)]
    pub costs: Costs,
    /// What the network, as the file has it, saves against this.
    pub network_gains_bits_per_char: f64,
}

/// The models of the run's training part on the text measured, or why there are none. `network` is
/// what the text costs the network.
pub fn baselines(
    own: Option<(&TrainConfig, &TextData)>,
    measured: &Measured,
    network: &Costs,
    threads: usize,
) -> Result<Baselines, String> {
    let Some((config, data)) = own else {
        return Err("a model file has no training text to count".to_owned());
    };
    let split = split_text(data.tokens.len(), config.split(), config.valid, config.test);
    let tokens: usize = split.train.iter().map(ExactSizeIterator::len).sum();
    if tokens > MOST_TOKENS {
        return Err(format!(
            "n-grams of {tokens} characters would take {} GB of memory and many minutes",
            20 * tokens / 1_000_000_000
        ));
    }
    let order = if tokens <= EVERY_ORDER {
        HIGHEST_ORDER
    } else {
        LOWER_ORDER
    };
    let valid = segments(&split.valid, config.split());
    let is_valid = measured.is_own && valid == measured.segments;
    let work = measured.predicted + if is_valid { 0 } else { predicted(&valid) };
    let progress = Progress::of_ngrams(tokens as u64 + work);
    let training = split
        .train
        .iter()
        .map(|range| data.tokens[range.clone()].iter().copied());
    let running = Running {
        threads,
        progress: &|more| progress.add(more),
    };
    let outputs = data.vocabulary.outputs();
    let models = NGrams::counted(order, outputs, training, threads, running.progress);
    let nats = ngram_nats(&models, measured.tokens, &measured.segments, running);
    let on_valid = if is_valid {
        nats.clone()
    } else {
        ngram_nats(&models, &data.tokens, &valid, running)
    };
    progress.end();
    let best = (0..order).min_by(|&a, &b| on_valid[a].total_cmp(&on_valid[b]));
    let best = best
        .filter(|_| !valid.is_empty())
        .map_or(DEFAULT_ORDER, |index| index + 1);
    let baseline = |order: usize| {
        let costs = measured.costs(nats[order - 1]);
        Baseline {
            order,
            network_gains_bits_per_char: costs.loss_bits_per_char - network.loss_bits_per_char,
            costs,
        }
    };
    Ok(Baselines {
        unigram: baseline(1),
        ngram: baseline(best),
        order_chosen_on_valid: !valid.is_empty(),
    })
}
