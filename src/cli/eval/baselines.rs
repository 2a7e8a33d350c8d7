//! Simpler models of the training text, evaluated on the same tokens as the network.

use std::borrow::Cow;

use crate::evaluate::ngram::{HIGHEST_ORDER, NGrams};
use crate::evaluate::ngram_nats;
use crate::parallel::Running;
use crate::text::{segments, split_text};
use serde::Serialize;

use super::costs::{Costs, Measured, predicted};
use super::parts::Parts;
use crate::cli::progress::Progress;

/// The n-gram order if there is no validation part to choose it on.
const DEFAULT_ORDER: usize = 8;
/// The most tokens of training text that are counted.
const MOST_TOKENS: usize = 50_000_000;
/// The memory that each takes while they are counted.
const BYTES_PER_TOKEN: usize = 40;

/// The text that the model was trained on.
pub struct Training<'a> {
    pub tokens: Cow<'a, [u32]>,
    pub parts: &'a Parts,
    /// The number of tokens that models predict.
    pub outputs: usize,
}

#[derive(Serialize)]
pub struct Baselines {
    /// The unigram model: token frequencies.
    pub unigram: Baseline,
    pub ngram: Baseline,
    /// Whether the order was chosen on the validation part; if not, it is the default one.
    pub order_chosen_on_valid: bool,
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

/// Evaluates n-gram models of the training part on the text, or returns why there are none.
/// `network` is the cost of the text under the network.
pub fn baselines(
    training: Option<Training>,
    measured: &Measured,
    network: &Costs,
    threads: usize,
) -> Result<Baselines, String> {
    let Some(Training {
        tokens: text,
        parts,
        outputs,
    }) = training
    else {
        return Err("a model file has no training text to count; name it with --corpus".to_owned());
    };
    let split = split_text(text.len(), parts.split, parts.valid, parts.test);
    let tokens: usize = split.train.iter().map(ExactSizeIterator::len).sum();
    if tokens > MOST_TOKENS {
        return Err(format!(
            "n-grams of {tokens} characters would take {} GB of memory and many minutes",
            BYTES_PER_TOKEN * tokens / 1_000_000_000
        ));
    }
    let valid = segments(&split.valid, parts.split);
    let is_valid = measured.is_own && valid == measured.segments;
    let work = measured.predicted + if is_valid { 0 } else { predicted(&valid) };
    let progress = Progress::of_ngrams(tokens as u64 + work);
    let training = split
        .train
        .iter()
        .map(|range| text[range.clone()].iter().copied());
    let running = Running {
        threads,
        progress: &|more| progress.add(more),
    };
    let progress_of = running.progress;
    let models = NGrams::counted(HIGHEST_ORDER, outputs, training, threads, progress_of);
    let nats = ngram_nats(&models, measured.tokens, &measured.segments, running);
    let on_valid = if is_valid {
        nats.clone()
    } else {
        ngram_nats(&models, &text, &valid, running)
    };
    progress.end();
    let best = (0..HIGHEST_ORDER).min_by(|&a, &b| on_valid[a].total_cmp(&on_valid[b]));
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
