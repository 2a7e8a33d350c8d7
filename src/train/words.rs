//! A word-vae's words.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::distributed::Distributed;
use super::schedule::beta;
use super::task::{Extent, Next, Part, Sums, Task, at_once, check, held_out, sample_config, work};
use super::{Batch, Engine, TrainError};
use crate::config::{NetworkConfig, TrainConfig, WordVaeConfig};
use crate::generate::Prior;
use crate::generate::sampling::Sampler;
use crate::models::batch::WordBatch;
use crate::models::noise::{Noise, Use};
use crate::models::sequences::Sequences;
use crate::models::weights::Weights;
use crate::models::word_vae::WordVae;
use crate::run::{Evaluation, Progress, Sampled, WordData, WordLoss};
use crate::text::SpecialTokens;

/// Positions of a word that random numbers allow for.
const LONGEST: u64 = 1 << 20;
/// Words in a sample that is shown while training.
const SAMPLE_WORDS: u64 = 10;
/// Batches whose words are sorted together.
const GROUPED_BATCHES: usize = 32;
/// Words that an evaluation reads in one call, at most.
pub(super) const EVALUATION_BATCH: usize = 512;

/// Words, and the settings of the word-vae that learns them.
pub struct WordTask {
    own: WordVaeConfig,
    network: NetworkConfig,
    seed: u64,
    batch: usize,
    special: SpecialTokens,
    data: WordData,
    /// The current epoch and its order of words.
    order: Option<(u64, Vec<usize>)>,
    distributed: Rc<Distributed>,
}

impl WordTask {
    /// Words to train on.
    pub fn new(
        config: &TrainConfig,
        own: &WordVaeConfig,
        data: WordData,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            own: own.clone(),
            network: config.network(data.vocabulary.len(), data.vocabulary.outputs(), None),
            seed: config.seed,
            batch: config.batch,
            special: data.vocabulary.special_tokens()?,
            data,
            order: None,
            distributed: Rc::default(),
        })
    }

    /// Words to train on, in the order of epoch `epoch`.
    fn order(&mut self, epoch: u64) -> Vec<usize> {
        match self.order.take() {
            Some((known, order)) if known == epoch => order,
            _ => {
                let noise = Noise::new(self.seed, Use::Order, epoch);
                let mut order = self.data.train.clone();
                noise.shuffle(&mut order);
                self.group_by_length(order, noise.sub(1))
            }
        }
    }

    /// Puts words of similar length into the same batch, so that threads and devices have equal work:
    /// within segments of some batches words are sorted by length, then whole batches are shuffled.
    /// The last batch, which may be smaller, stays last.
    fn group_by_length(&self, mut order: Vec<usize>, noise: Noise) -> Vec<usize> {
        for segment in order.chunks_mut(self.batch.saturating_mul(GROUPED_BATCHES)) {
            segment.sort_by_key(|&word| self.data.letters[word].len());
        }
        let (full, rest) = order.split_at(order.len() / self.batch * self.batch);
        let mut batches: Vec<&[usize]> = full.chunks(self.batch).collect();
        noise.shuffle(&mut batches);
        [&batches.concat(), rest].concat()
    }

    /// A batch of words with the noise of each; `hide` says of a position of the decoder's input, by row and
    /// time, whether its letter is hidden.
    fn batch(&self, words: &[usize], noise: Vec<f32>, hide: impl Fn(u64) -> bool) -> WordBatch {
        let SpecialTokens { bos, eos, unk } = self.special;
        let letters: Vec<&[u32]> = words.iter().map(|&i| &self.data.letters[i][..]).collect();
        let read = |(row, word): (usize, &&[u32])| -> Vec<u32> {
            let letters = (1..).zip(*word).map(|(time, &letter)| {
                let position = row as u64 * LONGEST + time;
                if hide(position) { unk } else { letter }
            });
            std::iter::once(bos).chain(letters).collect()
        };
        let inputs: Vec<Vec<u32>> = letters.iter().enumerate().map(read).collect();
        let targets: Vec<Vec<u32>> = letters
            .iter()
            .map(|word| [*word, &[eos]].concat())
            .collect();
        WordBatch {
            first: 0,
            letters: Sequences::new(&letters),
            inputs: Sequences::new(&inputs),
            targets: Sequences::new(&targets).tokens,
            noise,
            without_z: false,
        }
    }

    /// What each of some words costs: its distortion and its rate in nats, and its μ (Z).
    fn figures(&self, words: &[usize], engine: &mut dyn Engine) -> Result<Vec<f64>, TrainError> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let latent = self.network.latent();
        // One sample per word, independent of the rest of the batch.
        let noise = words.iter().flat_map(|&word| {
            let noise = Noise::new(self.seed, Use::Evaluation, word as u64);
            (0..latent as u64).map(move |at| noise.normal(at))
        });
        let batch = self.batch(words, noise.collect(), |_| false);
        let rows = batch.inputs.rows.clone();
        let costs = engine.evaluate(&Batch::Words(batch))?;
        let mut distortions = vec![0.0; words.len()];
        for (row, &nats) in rows.into_iter().zip(&costs.nats) {
            distortions[row as usize] += f64::from(nats);
        }
        let mut figures = Vec::with_capacity(words.len() * (2 + latent));
        for (row, distortion) in distortions.into_iter().enumerate() {
            let own = row * latent..(row + 1) * latent;
            let rates = costs.rates[own.clone()].iter().map(|&rate| f64::from(rate));
            let means = costs.means[own].iter().map(|&mean| f64::from(mean));
            figures.extend([distortion, rates.sum()]);
            figures.extend(means);
        }
        Ok(figures)
    }
}

/// The letters, and ends, of the words of one shard of a step, and of one call of an evaluation, at most.
pub(super) fn most_letters(
    config: &TrainConfig,
    network: &NetworkConfig,
    data: &WordData,
) -> [u64; 2] {
    let longest = |words: &[usize], count: usize| -> u64 {
        let mut lengths: Vec<usize> = words.iter().map(|&word| data.tokens(&[word])).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let lengths = lengths.into_iter().take(count);
        lengths.fold(0, |sum, length| sum + length as u64)
    };
    let measured = [&data.valid[..], &data.test].map(|words| {
        let one = longest(words, 1) as usize;
        longest(words, measured_at_once(one, network))
    });
    let trained = longest(&data.train, config.batch.div_ceil(config.shards));
    [trained, measured[0].max(measured[1])]
}

/// The words that an evaluation measures in one call, of words of so many tokens at most.
fn measured_at_once(longest: usize, network: &NetworkConfig) -> usize {
    at_once(longest.saturating_mul(work(network)), EVALUATION_BATCH)
}

/// The words that an evaluation reads. They were shuffled before the split, so the first ones are a sample.
fn read(words: &[usize], extent: Extent) -> &[usize] {
    match extent {
        Extent::Sample(size) => &words[..size.min(words.len())],
        Extent::All => words,
    }
}

/// The most of `words` of which an evaluation reads no more than about `most` tokens.
pub(super) fn within(data: &WordData, words: &[usize], most: f64) -> Extent {
    let all = data.tokens(words) as f64;
    if all <= most {
        return Extent::All;
    }
    Extent::Sample(((words.len() as f64 * most / all) as usize).max(1))
}

impl Task for WordTask {
    fn join(&mut self, distributed: Rc<Distributed>) {
        self.distributed = distributed;
    }

    fn network(&self) -> &NetworkConfig {
        &self.network
    }

    fn steps_per_epoch(&self) -> f64 {
        self.data.train.len().div_ceil(self.batch) as f64
    }

    fn tokens_per_step(&self) -> f64 {
        self.data.tokens(&self.data.train) as f64 / self.steps_per_epoch()
    }

    fn tokens_read(&self, part: Part, extent: Extent) -> u64 {
        self.data.tokens(read(held_out(&self.data, part), extent)) as u64
    }

    fn within(&self, part: Part, tokens: f64) -> Extent {
        within(&self.data, held_out(&self.data, part), tokens)
    }

    fn sampled(&self, part: Part, extent: Extent) -> Option<Sampled> {
        let words = held_out(&self.data, part);
        let (counted, of) = (read(words, extent).len() as u64, words.len() as u64);
        (counted < of).then_some(Sampled { counted, of })
    }

    fn positions(&self) -> u64 {
        self.data.train.len().div_ceil(self.batch) as u64
    }

    fn next(&mut self, progress: &mut Progress, fraction: f64) -> Result<Next, TrainError> {
        let order = self.order(progress.epoch);
        let start = progress.cursor as usize * self.batch;
        let end = (start + self.batch).min(order.len());
        let words = &order[start..end];
        let noise = Noise::new(self.seed, Use::Latent, progress.step);
        let noise = (0..(words.len() * self.network.latent()) as u64).map(|at| noise.normal(at));
        let hidden = Noise::new(self.seed, Use::HiddenLetters, progress.step);
        let rate = self.own.char_dropout;
        // Hides each letter that the decoder reads with a given probability (Bowman et al. 2016).
        let hide = |position| rate > 0.0 && f64::from(hidden.uniform(position)) < rate;
        let batch = WordBatch {
            without_z: self.own.pretrains(fraction),
            ..self.batch(words, noise.collect(), hide)
        };
        progress.cursor += 1;
        if end == order.len() {
            progress.cursor = 0;
            progress.epoch += 1;
        } else {
            self.order = Some((progress.epoch, order));
        }
        Ok(Next {
            kl_weight: if batch.without_z {
                0.0
            } else {
                beta(&self.own, fraction)
            },
            tokens: batch.targets.len() as u64,
            batch: Batch::Words(batch),
        })
    }

    fn evaluate(
        &self,
        part: Part,
        extent: Extent,
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let words = read(held_out(&self.data, part), extent);
        if words.is_empty() {
            return Ok(None);
        }
        let latent = self.network.latent();
        let tokens = |word: usize| self.data.letters[word].len() + 1;
        let longest = words.iter().map(|&word| tokens(word)).max().unwrap_or(1);
        let mut sums = Sums::new(latent);
        let each = measured_at_once(longest, &self.network);
        // How the letters are multiplied depends on how many one call reads, and so does the last bit: each process
        // reads whole groups.
        for group in words.chunks(each.saturating_mul(self.distributed.size())) {
            let of = |rank: usize| group.chunks(each).nth(rank).unwrap_or_default();
            let figures = self.figures(of(self.distributed.rank()), engine)?;
            let count = |rank| of(rank).len() * (2 + latent);
            let stopped = stop.load(Ordering::Relaxed);
            let gathered = self.distributed.gather(&figures, count, stopped)?;
            if gathered.stopped {
                return Err(TrainError::Stopped);
            }
            for (&word, figures) in group.iter().zip(gathered.values.chunks_exact(2 + latent)) {
                sums.add(tokens(word), figures[0], figures[1], &figures[2..]);
            }
        }
        Ok(Some(Evaluation::Word(WordLoss {
            sample: self.sampled(part, extent),
            ..sums.loss()
        })))
    }

    fn sample(
        &self,
        weights: &Weights,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<String, TrainError> {
        let vae = WordVae::new(&self.network, weights)?;
        let vocabulary = &self.data.vocabulary;
        let (config, suppressed) = (sample_config(self.seed), vocabulary.suppressed());
        let prior = Prior {
            vae: &vae,
            z_temperature: 1.0,
            bos: self.special.bos,
            eos: self.special.eos,
        };
        let words = (0..SAMPLE_WORDS).map(|i| {
            check(stop)?;
            let sampler = Sampler::new(&config, &suppressed, seed * SAMPLE_WORDS + i);
            Ok(vocabulary.decode(&prior.word(sampler).letters))
        });
        Ok(words.collect::<Result<Vec<_>, TrainError>>()?.join(" "))
    }

    fn describe_step(&self) -> String {
        match self.batch {
            1 => "one word a step".to_owned(),
            batch => format!("{batch} words a step"),
        }
    }
}
