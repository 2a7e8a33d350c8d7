//! Words sampled from a model, compared with real words.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::WordReading;
use crate::config::Sampling;
use crate::evaluate::ngram::NGrams;
use crate::generate::sampling::Sampler;
use crate::generate::{LONGEST_WORD, Prior, lockstep};
use crate::models::word_vae::WordVae;
use crate::parallel::{self, Running};

/// Words that are sampled in parallel.
const ROWS: usize = 64;

/// What words are sampled from.
#[derive(Clone, Copy, Debug)]
pub enum Inventor<'a> {
    /// A word-vae, from its prior.
    Vae(&'a WordVae),
    /// The n-gram model of this order.
    NGram(&'a NGrams, usize),
}

/// How sampled words compare with real ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct SampleReport {
    /// The number of sampled words.
    pub words: usize,
    /// The fraction of them that are distinct, in 0…1 as all rates below.
    pub distinct: f64,
    /// The fraction of them that are training words.
    pub in_training: f64,
    /// Distinct held-out words among them.
    pub held_out_hits: usize,
    /// The fraction of held-out words among those that are not training words: how often a new word
    /// is a real one. 0 if no word is new.
    pub hits_per_new_word: f64,
    /// Total variation distance between the length distributions of sampled and held-out words: 0 if
    /// they are equal, 1 if they have no length in common.
    pub length_distance: f64,
}

/// How words are sampled.
#[derive(Clone, Debug)]
pub struct WordSampling {
    /// How each letter is sampled; word i has the stream (seed, i).
    pub sampling: Sampling,
    /// Whether a word that was sampled before is skipped.
    pub unique: bool,
}

/// With `unique`, sampling stops once it takes more than this many words per new one, counted over
/// [`COUNTED_OVER`] words.
const MOST_TRIES: usize = 100;
const COUNTED_OVER: usize = 1000;

/// Samples `count` words, or fewer distinct ones if no more can be found. The tokens `suppressed` are
/// never written.
pub fn sample_words(
    inventor: Inventor,
    count: usize,
    sampling: &WordSampling,
    suppressed: &[u32],
    reading: WordReading,
    running: Running,
) -> Vec<Vec<u32>> {
    let sample = |indices: Range<usize>| {
        sample_range(
            inventor,
            indices,
            &sampling.sampling,
            suppressed,
            reading,
            running.threads,
        )
    };
    let mut words = Vec::new();
    let (mut seen, mut sampled) = (HashSet::new(), 0);
    // Samples, and new words among them, since the last check.
    let (mut tries, mut news) = (0, 0);
    while words.len() < count {
        let more = count - words.len();
        let found = sample(sampled..sampled + more);
        sampled += more;
        let before = words.len();
        let unseen = found
            .into_iter()
            .filter(|word| !sampling.unique || seen.insert(word.clone()));
        words.extend(unseen);
        let new = words.len() - before;
        (running.progress)(new as u64);
        (tries, news) = (tries + more, news + new);
        if tries >= COUNTED_OVER {
            if news * MOST_TRIES < tries {
                break;
            }
            (tries, news) = (0, 0);
        }
    }
    words
}

/// Samples the words of a range of streams.
fn sample_range(
    inventor: Inventor,
    range: Range<usize>,
    sampling: &Sampling,
    suppressed: &[u32],
    reading: WordReading,
    threads: usize,
) -> Vec<Vec<u32>> {
    let sampler =
        |index: usize| Sampler::new(sampling, suppressed, index as u64).without_log_prob();
    let groups = parallel::map(range.len().div_ceil(ROWS), threads, |group| {
        let first = range.start + group * ROWS;
        let indices = first..range.end.min(first + ROWS);
        match inventor {
            Inventor::Vae(vae) => {
                let prior = Prior {
                    vae,
                    z_temperature: 1.0,
                    bos: reading.bos,
                    eos: reading.eos,
                };
                from_prior(&prior, indices.map(sampler))
            }
            Inventor::NGram(models, order) => indices
                .map(|index| {
                    let end = (reading.eos, LONGEST_WORD);
                    models.sequence(order, &mut sampler(index), end)
                })
                .collect(),
        }
    });
    groups.into_iter().flatten().collect()
}

/// Samples one word per sampler. Words are only counted, so they are returned in the order in which
/// they end.
fn from_prior(prior: &Prior, mut samplers: impl Iterator<Item = Sampler>) -> Vec<Vec<u32>> {
    let mut words = Vec::new();
    lockstep(
        prior.vae,
        ROWS,
        || samplers.next().map(|sampler| prior.begin(sampler)),
        |writer| words.push(writer.word.letters),
    );
    words
}

/// Real words, given by their letters.
#[derive(Clone, Debug, Default)]
pub struct Existing<'a> {
    /// Words that models were trained on.
    pub training: HashSet<&'a [u32]>,
    /// Words that no model has seen.
    pub held_out: HashSet<&'a [u32]>,
}

/// Compares sampled words with real ones.
pub fn compare(sampled: &[Vec<u32>], existing: &Existing) -> SampleReport {
    let Existing { training, held_out } = existing;
    let distinct: HashSet<&[u32]> = sampled.iter().map(Vec::as_slice).collect();
    let among = |words: &HashSet<&[u32]>| {
        let found = sampled
            .iter()
            .filter(|word| words.contains(word.as_slice()));
        found.count()
    };
    let known = among(training);
    let rate = |count: usize, of: usize| count as f64 / of.max(1) as f64;
    SampleReport {
        words: sampled.len(),
        distinct: rate(distinct.len(), sampled.len()),
        in_training: rate(known, sampled.len()),
        held_out_hits: distinct.intersection(held_out).count(),
        hits_per_new_word: rate(among(held_out), sampled.len() - known),
        length_distance: length_distance(
            sampled.iter().map(Vec::len),
            held_out.iter().map(|word| word.len()),
        ),
    }
}

/// ½ Σ |p(length) − q(length)|.
fn length_distance(
    a: impl ExactSizeIterator<Item = usize>,
    b: impl ExactSizeIterator<Item = usize>,
) -> f64 {
    let mut differences: HashMap<usize, f64> = HashMap::new();
    let (a_rate, b_rate) = (1.0 / a.len().max(1) as f64, 1.0 / b.len().max(1) as f64);
    for length in a {
        *differences.entry(length).or_default() += a_rate;
    }
    for length in b {
        *differences.entry(length).or_default() -= b_rate;
    }
    let mut differences: Vec<f64> = differences.into_values().map(f64::abs).collect();
    // The sum of floats depends on their order, which a hash map does not preserve.
    differences.sort_by(f64::total_cmp);
    0.5 * differences.iter().sum::<f64>()
}
