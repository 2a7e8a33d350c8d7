//! What held-out text costs a model: the sums behind every figure of an evaluation.
//!
//! A cost is −ln p in nats, summed in f64. Stretches of a text, and words, are read in groups side
//! by side, since one product with many vectors is much faster than many products with one. Each is
//! summed by itself and the sums are added in the order given, so that a figure depends neither on
//! the groups nor on the number of threads. Several models (one in f32 and the same in eight bits,
//! for instance) are evaluated at the same time.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use super::char_lstm::CharLstm;
use super::kernels::Kernels;
use super::sampling::Sampler;
use super::word_vae::WordVae;
use crate::config::SamplingConfig;

/// Stretches or words that are read side by side at the most.
const MOST_ROWS: usize = 64;
/// Symbols of a stretch that is read alone between two reports of progress.
const PIECE: usize = 1024;

/// Why something cannot be evaluated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluateError {
    /// A symbol is not among those that a model reads.
    #[error("symbol {symbol} is none of the {inputs} that the model reads")]
    Unreadable {
        /// The symbol.
        symbol: u32,
        /// How many symbols the model reads.
        inputs: usize,
    },
    /// A symbol would have to be predicted that a model never predicts.
    #[error("symbol {symbol} is none of the {outputs} that the model predicts")]
    Unpredictable {
        /// The symbol.
        symbol: u32,
        /// How many symbols the model predicts.
        outputs: usize,
    },
}

/// What a text costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextCost {
    /// −Σ ln p(symbol | all before it in its stretch), in nats.
    pub nats: f64,
    /// Symbols predicted.
    pub symbols: u64,
}

/// What words cost a word-vae.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WordCost {
    /// D: −Σ ln p(letter | letters before it, z) with the end of every word, in nats.
    pub distortion_nats: f64,
    /// R: Σ KL(q(z|word) ‖ N(0, I)), in nats.
    pub rate_nats: f64,
    /// Symbols predicted, ends of words counted.
    pub symbols: u64,
    /// Words.
    pub words: u64,
}

/// A word of a corpus.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Its place in the corpus, which its noise is drawn by.
    pub index: u64,
    /// Its letters, without `<bos>` and `<eos>`.
    pub letters: &'a [u32],
}

/// How words are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct WordReading {
    /// What a decoder reads first.
    pub bos: u32,
    /// What ends a word.
    pub eos: u32,
    /// The noise of word i is drawn from the ChaCha8 stream (seed, i).
    pub seed: u64,
}

/// How an evaluation is run.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// Threads; 0 counts as 1.
    pub threads: usize,
    /// Is told, from any thread, how many more symbols have been predicted.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// ln p under softmax(logits), with the exponentials of the kernels.
#[derive(Clone, Debug, Default)]
pub struct LogSoftmax {
    kernels: Kernels,
    scores: Vec<f32>,
}

impl LogSoftmax {
    /// ln p(symbol) in nats: within 1e-6 of [`log_prob`](super::sampling::log_prob), faster.
    ///
    /// # Panics
    /// Where `symbol` is not below `logits.len()`.
    pub fn log_prob(&mut self, logits: &[f32], symbol: u32) -> f64 {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.scores.clear();
        self.scores
            .extend(logits.iter().map(|logit| logit - highest));
        self.kernels.exp(&mut self.scores);
        let total: f64 = self.scores.iter().map(|&score| f64::from(score)).sum();
        f64::from(logits[symbol as usize]) - f64::from(highest) - total.ln()
    }
}

/// What `stretches` of a text cost each of `models`. A stretch is read from a zero state, and every
/// symbol of it but the first is predicted.
///
/// # Panics
/// Where a stretch is no part of `tokens`.
pub fn texts(
    models: &[&CharLstm],
    tokens: &[u32],
    stretches: &[Range<usize>],
    running: Running,
) -> Result<Vec<TextCost>, EvaluateError> {
    let stretches: Vec<&[u32]> = stretches
        .iter()
        .map(|range| &tokens[range.clone()])
        .collect();
    for model in models {
        for &stretch in &stretches {
            check_read(stretch, model.inputs())?;
            check_predicted(stretch.iter().skip(1), model.outputs())?;
        }
    }
    let lengths: Vec<usize> = stretches.iter().map(|stretch| stretch.len()).collect();
    let nats = in_groups(models, &lengths, running.threads, |model, group| {
        let group: Vec<&[u32]> = group.iter().map(|&item| stretches[item]).collect();
        match group[..] {
            [alone] => vec![read_alone(model, alone, running.progress)],
            _ => read_side_by_side(model, &group, running.progress),
        }
    });
    let predicted = |length: &usize| length.saturating_sub(1) as u64;
    let symbols = lengths.iter().map(predicted).sum();
    let cost = |nats: Vec<f64>| TextCost {
        nats: nats.into_iter().sum(),
        symbols,
    };
    Ok(nats.into_iter().map(cost).collect())
}

/// Nats of one stretch, whose products with the input are taken together.
fn read_alone(model: &CharLstm, stretch: &[u32], progress: &dyn Fn(u64)) -> f64 {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(1);
    let mut nats = 0.0;
    let (inputs, targets) = (stretch, stretch.get(1..).unwrap_or_default());
    for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
        model.read(&mut state, &inputs[..targets.len()], |index, logits| {
            nats -= softmax.log_prob(logits, targets[index]);
        });
        progress(targets.len() as u64);
    }
    nats
}

/// Nats of each stretch of a group, the longest first.
fn read_side_by_side(model: &CharLstm, group: &[&[u32]], progress: &dyn Fn(u64)) -> Vec<f64> {
    let mut softmax = LogSoftmax::default();
    let mut state = model.state(group.len());
    let mut nats = vec![0.0; group.len()];
    let mut live = group;
    let mut symbols = Vec::with_capacity(group.len());
    let longest = group.first().map_or(0, |stretch| stretch.len());
    for at in 1..longest {
        // The shortest ones, which stand last, end first.
        while let Some((_, others)) = live.split_last().filter(|(last, _)| last.len() <= at) {
            live = others;
            state.swap_remove_row(live.len());
        }
        symbols.clear();
        symbols.extend(live.iter().map(|stretch| stretch[at - 1]));
        model.step(&mut state, &symbols);
        for (row, (nats, stretch)) in nats.iter_mut().zip(live).enumerate() {
            *nats -= softmax.log_prob(state.logits(row), stretch[at]);
        }
        progress(live.len() as u64);
    }
    nats
}

/// What words cost each of `models`: one ε a word, teacher forcing with no letter hidden.
///
/// # Panics
/// Where a model cannot read `bos`.
pub fn words(
    models: &[&WordVae],
    words: &[Word],
    reading: WordReading,
    running: Running,
) -> Result<Vec<WordCost>, EvaluateError> {
    let WordReading { bos, eos, .. } = reading;
    for model in models {
        // A model reads what it predicts.
        check_predicted([&eos], model.outputs())?;
        for word in words {
            check_predicted(word.letters, model.outputs())?;
        }
    }
    let lengths: Vec<usize> = words.iter().map(|word| word.letters.len()).collect();
    let costs = in_groups(models, &lengths, running.threads, |model, group| {
        let noise = |&word: &usize| noise(reading.seed, words[word].index, model.latent());
        let noise: Vec<f32> = group.iter().flat_map(noise).collect();
        let letters: Vec<&[u32]> = group.iter().map(|&word| words[word].letters).collect();
        read_words(model, &letters, &noise, (bos, eos), running.progress)
    });
    let total = |costs: Vec<WordCost>| {
        costs
            .into_iter()
            .fold(WordCost::default(), |sum, word| WordCost {
                distortion_nats: sum.distortion_nats + word.distortion_nats,
                rate_nats: sum.rate_nats + word.rate_nats,
                symbols: sum.symbols + word.symbols,
                words: sum.words + word.words,
            })
    };
    Ok(costs.into_iter().map(total).collect())
}

/// ε (Z) of a word.
fn noise(seed: u64, index: u64, latent: usize) -> Vec<f32> {
    let config = SamplingConfig {
        temperature: 1.0,
        top_k: None,
        top_p: None,
        seed,
    };
    let mut sampler = Sampler::new(&config, &[], index);
    (0..latent).map(|_| sampler.normal()).collect()
}

/// What each word of a group costs, the longest first: noise (N, Z).
fn read_words(
    vae: &WordVae,
    group: &[&[u32]],
    noise: &[f32],
    (bos, eos): (u32, u32),
    progress: &dyn Fn(u64),
) -> Vec<WordCost> {
    let (mut softmax, kernels) = (LogSoftmax::default(), Kernels::new());
    let mut costs = Vec::with_capacity(group.len());
    let mut z = Vec::with_capacity(noise.len());
    for (letters, noise) in group.iter().zip(noise.chunks_exact(vae.latent())) {
        let posterior = vae.encode(letters);
        let mut deviation: Vec<f32> = posterior.log_var.iter().map(|v| 0.5 * v).collect();
        kernels.exp(&mut deviation);
        let drawn = posterior.mean.iter().zip(&deviation).zip(noise);
        z.extend(drawn.map(|((mean, deviation), noise)| mean + deviation * noise));
        costs.push(WordCost {
            distortion_nats: 0.0,
            rate_nats: rate(&posterior.mean, &posterior.log_var),
            symbols: letters.len() as u64 + 1,
            words: 1,
        });
    }
    let mut state = vae.decoder(&z);
    let mut live = group;
    let mut symbols = Vec::with_capacity(group.len());
    let longest = group.first().map_or(0, |letters| letters.len());
    for at in 0..=longest {
        while let Some((_, others)) = live.split_last().filter(|(last, _)| last.len() < at) {
            live = others;
            state.swap_remove_row(live.len());
        }
        let before = |letters: &&[u32]| at.checked_sub(1).map_or(bos, |before| letters[before]);
        symbols.clear();
        symbols.extend(live.iter().map(before));
        vae.step(&mut state, &symbols);
        for (row, (cost, letters)) in costs.iter_mut().zip(live).enumerate() {
            let target = letters.get(at).copied().unwrap_or(eos);
            cost.distortion_nats -= softmax.log_prob(state.logits(row), target);
        }
        progress(live.len() as u64);
    }
    costs
}

/// KL(N(μ, σ²) ‖ N(0, 1)) in nats, summed over dimensions: ½(μ² + σ² − ln σ² − 1) (Kingma &
/// Welling 2014, appendix B).
fn rate(mean: &[f32], log_var: &[f32]) -> f64 {
    let pairs = mean.iter().zip(log_var);
    pairs
        .map(|(&mean, &log_var)| {
            let (mean, log_var) = (f64::from(mean), f64::from(log_var));
            0.5 * (mean * mean + log_var.exp() - log_var - 1.0)
        })
        .sum()
}

fn check_read(symbols: &[u32], inputs: usize) -> Result<(), EvaluateError> {
    match symbols.iter().find(|&&symbol| symbol as usize >= inputs) {
        Some(&symbol) => Err(EvaluateError::Unreadable { symbol, inputs }),
        None => Ok(()),
    }
}

fn check_predicted<'a>(
    symbols: impl IntoIterator<Item = &'a u32>,
    outputs: usize,
) -> Result<(), EvaluateError> {
    let mut symbols = symbols.into_iter();
    match symbols.find(|&&symbol| symbol as usize >= outputs) {
        Some(&symbol) => Err(EvaluateError::Unpredictable { symbol, outputs }),
        None => Ok(()),
    }
}

/// What `read` makes of every item with every model: by model, in the order of the items, whose
/// `lengths` are given. It gets groups of items of about one length, the longest first, and gives
/// one result an item.
fn in_groups<M: Sync, R: Clone + Default + Send>(
    models: &[&M],
    lengths: &[usize],
    threads: usize,
    read: impl Fn(&M, &[usize]) -> Vec<R> + Sync,
) -> Vec<Vec<R>> {
    let mut results = vec![vec![R::default(); lengths.len()]; models.len()];
    if lengths.is_empty() || models.is_empty() {
        return results;
    }
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&item| Reverse(lengths[item]));
    // A multiple of the threads, so that none is idle at the end for long.
    let groups = lengths.len().div_ceil(MOST_ROWS);
    let groups = groups.next_multiple_of(threads.max(1));
    let groups: Vec<&[usize]> = order.chunks(lengths.len().div_ceil(groups)).collect();
    // The models take turns: where there is one group only, they run side by side.
    let jobs = groups.len() * models.len();
    let read = in_parallel(jobs, threads, |job| {
        read(models[job % models.len()], groups[job / models.len()])
    });
    for (job, read) in read.into_iter().enumerate() {
        let results = &mut results[job % models.len()];
        for (&item, result) in groups[job / models.len()].iter().zip(read) {
            results[item] = result;
        }
    }
    results
}

/// What `work` makes of 0, 1, … `jobs`, in that order.
pub(super) fn in_parallel<R: Send>(
    jobs: usize,
    threads: usize,
    work: impl Fn(usize) -> R + Sync,
) -> Vec<R> {
    let threads = threads.min(jobs);
    if threads <= 1 {
        return (0..jobs).map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let job = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&job| job < jobs);
        std::iter::from_fn(job)
            .map(|job| (job, work(job)))
            .collect::<Vec<_>>()
    };
    let mut results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let mut results = Vec::with_capacity(jobs);
        for thread in threads {
            match thread.join() {
                Ok(made) => results.extend(made),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|&(job, _)| job);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;
