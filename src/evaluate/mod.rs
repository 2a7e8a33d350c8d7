//! What held-out text and words cost a model, and what a word-vae's latent variable carries: the sums
//! behind every figure of an evaluation.
//!
//! A cost is −ln p in nats, summed in f64. Segments of a text, words, and samples of z are read in
//! groups in parallel, since one product with many vectors is much faster than many products with
//! one. Each is summed separately, the sums are added in the order given, and each word has
//! its own random stream. So a figure depends neither on the groups nor on the
//! number of threads.
//!
//! [`surprisals`] is the cost of every token of a text, [`ngram_nats`] the cost of the same segments
//! under the n-gram models, [`dynamic`] lets the
//! network learn as it reads, [`mixture`] combines it with the n-gram model, and [`novelty`] measures how much of a text was copied from another.
//!
//! [`texts`] and [`words`] evaluate several models at once, such as one in f32 and the same in eight
//! bits. For a word-vae, [`importance`] bounds ln p(word) tightly, [`latent`] measures what z
//! carries, [`reconstruction`] how well words are reconstructed, and [`samples`] compares sampled
//! words with real ones.

pub mod dynamic;
pub mod importance;
pub mod latent;
pub mod mixture;
pub mod ngram;
pub mod novelty;
pub mod reconstruction;
pub mod samples;
mod texts;
mod words;

pub use texts::{Part, Reading, TextCost, ngram_nats, posterior, surprisals, texts};
pub use words::{Word, WordCost, WordReading, words};

use std::ops::Range;

use thiserror::Error;

use crate::kernels::Kernels;
use crate::models::sequences::by_length;
use crate::parallel;
use crate::run::{RunError, TokenSource, pieces};

/// The most segments, words or samples of z read in parallel: more gain nothing.
const MOST_ROWS: usize = 64;

/// Why something cannot be evaluated.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum EvaluateError {
    /// The tokens of a run cannot be read from its file.
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("token {token} is not among the {inputs} that the model reads")]
    Unreadable { token: u32, inputs: usize },
    #[error("token {token} is not among the {outputs} that the model predicts")]
    Unpredictable { token: u32, outputs: usize },
}

/// A mean over independent values and its standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    /// 0 if there are no values.
    pub mean: f64,
    /// The standard error of the mean: the sample's standard deviation divided by √N; 0 for a single value.
    pub standard_error: f64,
}

impl Mean {
    /// The estimate from `values`; 0 if there are none.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        if values.is_empty() {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            mean,
            standard_error: (squares / (count - 1.0).max(1.0) / count).sqrt(),
        }
    }
}

/// ln p under softmax(logits), with the exponentials of the kernels.
#[derive(Clone, Debug, Default)]
pub struct LogSoftmax {
    kernels: Kernels,
    scores: Vec<f32>,
}

impl LogSoftmax {
    /// ln p(token) in nats: within 1e-6 of [`log_prob`](crate::generate::sampling::log_prob), faster.
    ///
    /// # Panics
    /// If `token` is not below `logits.len()`.
    pub fn log_prob(&mut self, logits: &[f32], token: u32) -> f64 {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.scores.clear();
        self.scores
            .extend(logits.iter().map(|logit| logit - highest));
        self.kernels.exp(&mut self.scores);
        let total: f64 = self.scores.iter().map(|&score| f64::from(score)).sum();
        f64::from(logits[token as usize]) - f64::from(highest) - total.ln()
    }
}

fn check_read(tokens: &[u32], inputs: usize) -> Result<(), EvaluateError> {
    match tokens.iter().find(|&&token| token as usize >= inputs) {
        Some(&token) => Err(EvaluateError::Unreadable { token, inputs }),
        None => Ok(()),
    }
}

fn check_predicted<'a>(
    tokens: impl IntoIterator<Item = &'a u32>,
    outputs: usize,
) -> Result<(), EvaluateError> {
    let mut tokens = tokens.into_iter();
    match tokens.find(|&&token| token as usize >= outputs) {
        Some(&token) => Err(EvaluateError::Unpredictable { token, outputs }),
        None => Ok(()),
    }
}

/// Checks that a model reads all tokens of a segment, and predicts all but the first.
fn check_segment(
    tokens: &dyn TokenSource,
    segment: &Range<usize>,
    (inputs, outputs): (usize, usize),
) -> Result<(), EvaluateError> {
    let mut first = 1;
    for piece in pieces(tokens, segment.clone()) {
        let piece = piece?;
        check_read(&piece, inputs)?;
        check_predicted(piece.iter().skip(first), outputs)?;
        first = 0;
    }
    Ok(())
}

/// Applies `read` to every item with every model. Results are by model, in the order of the items, whose
/// `lengths` are given. `read` gets groups of items of similar length, longest first, and returns
/// one result per item.
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
    let order = by_length(lengths);
    // A multiple of the threads, so that none is idle for long at the end.
    let groups = lengths.len().div_ceil(MOST_ROWS);
    let groups = groups.next_multiple_of(threads.max(1));
    let groups: Vec<&[usize]> = order.chunks(lengths.len().div_ceil(groups)).collect();
    // The models take turns: if there is only one group, they run in parallel.
    let jobs = groups.len() * models.len();
    let read = parallel::map(jobs, threads, |job| {
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

#[cfg(test)]
mod tests;
