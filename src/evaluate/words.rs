//! What held-out words cost a word-vae: D and R with one sample of z per word.

use super::{EvaluateError, LogSoftmax, check_predicted, in_groups};
use crate::config::Sampling;
use crate::generate::sampling::Sampler;
use crate::models::Network;
use crate::models::sequences::by_length;
use crate::models::word_vae::WordVae;
use crate::parallel::Running;

/// The cost of a word under a word-vae.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WordCost {
    /// D: −Σ ln p(letter | letters before it, z) in nats, the end of the word included.
    pub distortion_nats: f64,
    /// R: Σ KL(q(z|word) ‖ N(0, I)), in nats.
    pub rate_nats: f64,
}

/// A word of a corpus, as the evaluation reads it.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// Its position in the corpus, which selects its noise.
    pub index: u64,
    /// Its letters, without `<bos>` and `<eos>`.
    pub letters: &'a [u32],
}

impl<'a> Word<'a> {
    /// A word of no corpus: a hash of its letters (FNV-1a) selects its noise, so that its score does not depend on other
    /// words.
    pub fn of(letters: &'a [u32]) -> Self {
        let bytes = letters.iter().flat_map(|letter| letter.to_le_bytes());
        let index = bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { index, letters }
    }

    /// Tokens predicted: its letters and its end.
    pub const fn tokens(&self) -> u64 {
        self.letters.len() as u64 + 1
    }
}

/// The special tokens and the seed of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct WordReading {
    /// The token that a decoder reads first.
    pub bos: u32,
    /// The token that ends a word.
    pub eos: u32,
    /// The noise of word i comes from the ChaCha8 stream (seed, i).
    pub seed: u64,
}

/// The cost of every word under each of `models`, with one ε per word and teacher forcing without
/// hidden letters. By model, then in the order of the words.
///
/// # Panics
/// If a model cannot read `bos`.
pub fn words(
    models: &[&WordVae],
    words: &[Word],
    reading: WordReading,
    running: Running,
) -> Result<Vec<Vec<WordCost>>, EvaluateError> {
    for model in models {
        check_words(model, words, reading)?;
    }
    let lengths: Vec<usize> = words.iter().map(|word| word.letters.len()).collect();
    let costs = in_groups(models, &lengths, running.threads, |model, group| {
        let group: Vec<Word> = group.iter().map(|&word| words[word]).collect();
        let noise = |word: &Word| Noise::of(word, reading.seed).vector(model.latent());
        let noise: Vec<f32> = group.iter().flat_map(noise).collect();
        let letters: Vec<&[u32]> = group.iter().map(|word| word.letters).collect();
        read_words(model, &letters, &noise, reading, running.progress)
    });
    Ok(costs)
}

/// Checks that a model predicts all letters of the words; it reads what it predicts.
pub(super) fn check_words(
    model: &WordVae,
    words: &[Word],
    reading: WordReading,
) -> Result<(), EvaluateError> {
    check_predicted([&reading.eos], model.outputs())?;
    words
        .iter()
        .try_for_each(|word| check_predicted(word.letters, model.outputs()))
}

/// Applies `read` to every word; results are in the order of the words. It gets groups of words by
/// index, with their letters, and returns one result per word.
pub(super) fn by_group<R: Clone + Default + Send>(
    words: &[Word],
    threads: usize,
    read: impl Fn(&[usize], &[&[u32]]) -> Vec<R> + Sync,
) -> Vec<R> {
    let lengths: Vec<usize> = words.iter().map(|word| word.letters.len()).collect();
    let results = in_groups(&[&()], &lengths, threads, |(), group| {
        let letters: Vec<&[u32]> = group.iter().map(|&word| words[word].letters).collect();
        read(group, &letters)
    });
    results.into_iter().flatten().collect()
}

/// The noise of a word: any number of ε (Z).
pub(super) struct Noise(Sampler);

impl Noise {
    /// The noise of a word, from its own stream.
    pub fn of(word: &Word, seed: u64) -> Self {
        let config = Sampling::new(seed);
        Self(Sampler::new(&config, &[], word.index))
    }

    /// The next ε (Z).
    pub fn vector(&mut self, latent: usize) -> Vec<f32> {
        (0..latent).map(|_| self.0.normal()).collect()
    }
}

/// The cost of each word of a group, with noise (N, Z).
pub(super) fn read_words(
    vae: &WordVae,
    group: &[&[u32]],
    noise: &[f32],
    reading: WordReading,
    progress: &dyn Fn(u64),
) -> Vec<WordCost> {
    let posteriors = vae.encode_all(group);
    let z: Vec<f32> = posteriors
        .iter()
        .enumerate()
        .flat_map(|(row, posterior)| {
            let latent = vae.latent();
            posterior.sample(&noise[row * latent..][..latent])
        })
        .collect();
    let rates = posteriors.iter().map(|p| p.rates().sum());
    let distortions = distortions(vae, group, &z, reading, progress);
    distortions
        .into_iter()
        .zip(rates)
        .map(|(distortion_nats, rate_nats)| WordCost {
            distortion_nats,
            rate_nats,
        })
        .collect()
}

/// −ln p(word | z) in nats of words (N) that are read in parallel, each with its z (N, Z).
pub(super) fn distortions(
    vae: &WordVae,
    words: &[&[u32]],
    z: &[f32],
    reading: WordReading,
    progress: &dyn Fn(u64),
) -> Vec<f64> {
    let mut nats = vec![0.0; words.len()];
    // Longest first, so that unfinished words are always the first rows.
    let lengths: Vec<usize> = words.iter().map(|word| word.len()).collect();
    let order = by_length(&lengths);
    let latent = vae.latent();
    let rows = order.iter().map(|&word| &z[word * latent..][..latent]);
    let mut state = vae.decoder(words.len(), &rows.collect::<Vec<_>>().concat());
    let mut softmax = LogSoftmax::default();
    let mut tokens = Vec::with_capacity(words.len());
    let mut live = &order[..];
    let longest = live.first().map_or(0, |&word| words[word].len());
    for at in 0..=longest {
        while let Some((_, others)) = live
            .split_last()
            .filter(|(last, _)| words[**last].len() < at)
        {
            live = others;
            state.swap_remove_row(live.len());
        }
        let before = |&word: &usize| {
            let before = at.checked_sub(1);
            before.map_or(reading.bos, |before| words[word][before])
        };
        tokens.clear();
        tokens.extend(live.iter().map(before));
        vae.step(&mut state, &tokens);
        for (row, &word) in live.iter().enumerate() {
            let target = words[word].get(at).copied().unwrap_or(reading.eos);
            nats[word] -= softmax.log_prob(state.logits(row), target);
        }
        progress(live.len() as u64);
    }
    nats
}
