//! Samples words from the prior that meet conditions.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::{GeneratedWord, Word, WordModel, WordNetwork, within};
use crate::config::{Decoding, Sampling};
use crate::generate::constraint::Constraint;
use crate::generate::sampling::Sampler;
use crate::generate::{self, LONGEST_WORD, Numbered, Prior, WordForm, lockstep};
use crate::latent::WordDecoder;
use crate::model::{ModelError, UsualLengths, constraint};
use crate::models::word_vae::WordVae;
use crate::parallel::{self, Queue};
use crate::text::SpecialTokens;

/// The number of samples per wanted word after which the conditions count as too rare.
const MOST_TRIES: usize = 200;
/// The least number of samples if a length or an expression is asked for, whose words may be rare.
const MOST_TRIES_OF_A_KIND: usize = 100_000;
/// The least number of samples before letters are restricted to those with which a word can match.
const TRIES_WITHOUT_STEERING: usize = 10_000;
/// The most words that a thread writes in lock-step; more would gain little.
const MOST_ROWS: usize = 48;

/// The options of generating words, and the conditions that they must meet.
#[derive(Clone, Debug, PartialEq)]
pub struct WordOptions {
    /// How letters are chosen given z.
    pub decoding: Decoding,
    /// How letters are sampled; the seed is also used for z. Words must match `constrain`; `on_unknown`
    /// applies to `starts_with`.
    pub sampling: Sampling,
    /// Multiplies the prior's deviation; `None` is 1.
    pub z_temperature: Option<f32>,
    /// The letters that every word starts with.
    pub starts_with: String,
    /// The allowed numbers of letters.
    pub length: RangeInclusive<usize>,
    /// Whether to leave out words that were generated before.
    pub unique: bool,
    /// Whether to leave out words that the model was trained on.
    pub novel: bool,
}

impl WordOptions {
    /// Samples from the model's own distribution, without conditions.
    pub fn new(seed: u64) -> Self {
        Self {
            decoding: Decoding::Sample,
            sampling: Sampling::new(seed),
            z_temperature: None,
            starts_with: String::new(),
            length: 1..=LONGEST_WORD,
            unique: false,
            novel: false,
        }
    }

    /// Whether some lengths are excluded.
    fn has_length(&self) -> bool {
        self.length != (1..=LONGEST_WORD)
    }
}

/// An event while words are generated.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants say what the fields are")]
pub enum WordEvent {
    /// A word that meets the conditions, and its sample number.
    Word(usize, GeneratedWord),
    /// The number of samples so far, and the `most` samples before the search stops.
    Tried { tried: usize, most: usize },
    /// Too few of the sampled words match the expression. From now on, letters are restricted to those
    /// with which a word can still match.
    Steering { matched: usize, tried: usize },
}

impl WordModel {
    /// Generates `count` words, always the same for one seed.
    pub fn generate(
        &self,
        options: &WordOptions,
        count: usize,
    ) -> Result<Vec<GeneratedWord>, ModelError> {
        let mut words = Vec::with_capacity(count.min(1 << 16));
        self.generate_each(options, count, |event| {
            if let WordEvent::Word(_, word) = event {
                words.push(word);
            }
            Ok::<(), ModelError>(())
        })?;
        Ok(words)
    }

    /// Like [`WordModel::generate`], but passes each word to `each` as soon as it and those before it are
    /// found, and reports progress. An error of `each` ends it.
    ///
    /// An expression changes no word: matching words are selected from those that the model writes.
    /// Letters are restricted only if too few words match, or if nothing is sampled.
    pub fn generate_each<E: From<ModelError>>(
        &self,
        options: &WordOptions,
        count: usize,
        mut each: impl FnMut(WordEvent) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(options)?;
        let prefix = self.prefix(options)?.tokens;
        let constraint = self.constraint(options)?;
        let mut search = Search {
            model: self,
            options,
            z_temperature: options.z_temperature.unwrap_or(1.0),
            sampling: match options.decoding {
                Decoding::Sample => options.sampling.clone(),
                _ => options.sampling.greedy(),
            },
            training: if options.novel {
                self.training_words.lines().collect()
            } else {
                HashSet::new()
            },
            constraint: constraint.as_ref(),
            count,
            each: &mut each,
            seen: HashSet::new(),
            found: 0,
            tried: 0,
            lengths: [0; LONGEST_WORD + 1],
        };
        search.run(WordForm {
            prefix: &prefix,
            ..WordForm::default()
        })
    }

    /// Refuses options that are out of range or do not apply to this network.
    fn check(&self, options: &WordOptions) -> Result<(), ModelError> {
        options.sampling.validate()?;
        let t = options.z_temperature.unwrap_or(1.0);
        let must = "must be a number of at least 0 (1 is the prior itself, less is nearer to typical words)";
        within("z-temperature", &t, t.is_finite() && t >= 0.0, must)?;
        let (least, most) = options.length.clone().into_inner();
        let valid = most > 0 && least <= LONGEST_WORD && least <= most;
        let length = format!("{least}-{most}");
        within("length", &length, valid, "words have 1 to 64 letters")?;
        let is_article = matches!(self.network, WordNetwork::Article(_));
        let has_z = !is_article && self.latent_size() > 0;
        if options.novel && self.training_words.is_empty() {
            let model = "a model whose training words are not in its file";
            return Err(ModelError::NotApplicable {
                option: "novel",
                model,
            });
        }
        let option = match options {
            _ if options.z_temperature.is_some() && !has_z => "z-temperature",
            _ if !is_article => return Ok(()),
            _ if !options.starts_with.is_empty() => "starts-with",
            _ if options.decoding != Decoding::Sample => "decode",
            _ if options.sampling.constrain.is_some() => "constrain",
            _ => return Ok(()),
        };
        let model = if is_article {
            "the article's network"
        } else {
            "a model without a latent variable (latent 0)"
        };
        Err(ModelError::NotApplicable { option, model })
    }

    /// The start of every word, encoded for the model.
    pub(crate) fn prefix(&self, options: &WordOptions) -> Result<Word, ModelError> {
        let prefix = self.tokenize(&options.starts_with, options.sampling.on_unknown)?;
        let length = prefix.tokens.len();
        let most = (*options.length.end()).min(LONGEST_WORD - 1);
        match length {
            _ if length <= most => Ok(prefix),
            _ => Err(ModelError::LongPrefix { length, most }),
        }
    }

    fn constraint(&self, options: &WordOptions) -> Result<Option<Constraint>, ModelError> {
        let Some(regex) = &options.sampling.constrain else {
            return Ok(None);
        };
        let never = [&self.suppressed[..], &[self.special.eos]].concat();
        let most = (*options.length.end()).min(LONGEST_WORD);
        constraint(regex, &self.header, &never, most).map(Some)
    }
}

/// A search for words.
struct Search<'a, E> {
    model: &'a WordModel,
    options: &'a WordOptions,
    z_temperature: f32,
    sampling: Sampling,
    /// The training words, if they are left out.
    training: HashSet<&'a str>,
    constraint: Option<&'a Constraint>,
    count: usize,
    each: &'a mut dyn FnMut(WordEvent) -> Result<(), E>,
    seen: HashSet<String>,
    found: usize,
    tried: usize,
    /// The number of sampled words by length.
    lengths: [usize; LONGEST_WORD + 1],
}

impl<'a, E: From<ModelError>> Search<'a, E> {
    /// Searches until enough words are found. With a constraint, words are first sampled without it, and
    /// matching ones are kept. If too few samples match, decoding is restricted to matching letters.
    fn run(&mut self, mut form: WordForm<'a>) -> Result<(), E> {
        let count = self.count;
        let mut most = count.saturating_mul(MOST_TRIES);
        if self.options.has_length() && count > 0 {
            most = most.max(MOST_TRIES_OF_A_KIND);
        }
        if let Some(constraint) = self.constraint {
            if self.options.decoding == Decoding::Sample {
                let least = count.min(1) * TRIES_WITHOUT_STEERING;
                self.try_up_to(most.clamp(least, MOST_TRIES_OF_A_KIND), form)?;
                if self.found < count {
                    let (matched, tried) = (self.found, self.tried);
                    (self.each)(WordEvent::Steering { matched, tried })?;
                }
                let of_a_kind = count.saturating_mul(10).max(MOST_TRIES_OF_A_KIND);
                most = self.tried.saturating_add(most.min(of_a_kind));
            }
            form.constraint = Some(constraint);
            form.longest_match = self.longest_match(constraint);
            self.lengths = [0; LONGEST_WORD + 1];
        }
        self.try_up_to(most, form)?;
        if self.found == count {
            return Ok(());
        }
        let (low, high) = (*self.options.length.start(), *self.options.length.end());
        let fitting: usize = self.lengths.iter().take(high + 1).skip(low).sum();
        let rare = self.options.has_length() && fitting < count;
        let error = ModelError::TooFewWords {
            found: self.found,
            tried: self.tried,
            usual_lengths: rare.then(|| usual(&self.lengths)),
        };
        Err(error.into())
    }

    /// The longest word under a constraint, so that a word that has not matched yet does not go on for
    /// ever: without a length, that of the longest training word.
    fn longest_match(&self, constraint: &Constraint) -> usize {
        let lengths = self
            .model
            .training_words
            .lines()
            .map(|word| word.chars().count());
        let usual = lengths.max().filter(|_| !self.options.has_length());
        let longest = usual.unwrap_or(*self.options.length.end());
        longest.clamp(constraint.shortest(), LONGEST_WORD)
    }

    /// Searches until enough words are found or `most` were sampled.
    fn try_up_to(&mut self, most: usize, form: WordForm) -> Result<(), E> {
        let block = self.count.clamp(64, 4096);
        while self.found < self.count && self.tried < most {
            let tried = self.tried;
            (self.each)(WordEvent::Tried { tried, most })?;
            let (indices, threads) = (tried..tried + block, self.model.threads.min(block));
            let (model, sampling) = (self.model, self.sampling.clone());
            let writer = Writing {
                model,
                sampling: &sampling,
                decoding: self.options.decoding,
                z_temperature: self.z_temperature,
                form,
                rows: block.div_ceil(threads).min(MOST_ROWS),
            };
            parallel::ordered(
                indices,
                threads,
                |queue| writer.write(queue),
                |words| words.try_for_each(|(index, word)| self.take(tried + index, word)),
            )?;
            self.tried += block;
        }
        Ok(())
    }

    /// Passes on a word if it meets the conditions.
    fn take(&mut self, index: usize, word: generate::Word) -> Result<(), E> {
        let length = word.letters.len();
        self.lengths[length.min(LONGEST_WORD)] += 1;
        let matches = |constraint: &Constraint| constraint.matches(&word.letters);
        let fits = self.found < self.count
            && length > 0
            && self.options.length.contains(&length)
            && self.constraint.is_none_or(matches);
        let word = self.model.generated(word);
        if !fits
            || word.text.is_empty()
            || self.training.contains(word.text.as_str())
            || (self.options.unique && !self.seen.insert(word.text.clone()))
        {
            return Ok(());
        }
        self.found += 1;
        (self.each)(WordEvent::Word(index, word))
    }
}

/// The settings that all words of a block share.
struct Writing<'a> {
    model: &'a WordModel,
    sampling: &'a Sampling,
    decoding: Decoding,
    z_temperature: f32,
    form: WordForm<'a>,
    rows: usize,
}

impl Writing<'_> {
    fn sampler(&self, index: usize) -> Sampler {
        Sampler::new(self.sampling, &self.model.suppressed, index as u64)
    }

    /// Writes the words in the queue.
    fn write(&self, queue: &Queue<impl Iterator<Item = usize>, generate::Word>) {
        match &self.model.network {
            WordNetwork::Vae(vae) => self.decode(vae, queue),
            WordNetwork::Article(article) => queue.work(|index| {
                let mut sampler = self.sampler(index);
                generate::Word {
                    letters: article.generate(|| sampler.normal()),
                    log_prob: f64::NAN, // its words have no probability
                }
            }),
        }
    }

    fn decode(&self, vae: &WordVae, queue: &Queue<impl Iterator<Item = usize>, generate::Word>) {
        let SpecialTokens { bos, eos, .. } = self.model.special;
        let prior = Prior {
            vae,
            z_temperature: self.z_temperature,
            bos,
            eos,
        };
        let decoder = WordDecoder {
            vae,
            bos,
            eos,
            suppressed: &self.model.suppressed,
            form: self.form,
        };
        if let Decoding::Beam(width) = self.decoding {
            return queue.work(|index| {
                let z = prior.place(&mut self.sampler(index));
                decoder.beam(&z, width)
            });
        }
        let next = || {
            let (due, index) = queue.next()?;
            let mut sampler = self.sampler(index);
            let z = prior.place(&mut sampler);
            Some(decoder.begin(&z, sampler).numbered(due))
        };
        lockstep(vae, self.rows, next, |Numbered { index, writer }| {
            queue.finish(index, writer.word);
        });
    }
}

/// The middle nine tenths of the lengths of words, and the longest, from the counts by length.
fn usual(lengths: &[usize]) -> UsualLengths {
    let all: usize = lengths.iter().sum();
    let reached = |part: f64| {
        let mut sum = 0;
        let reaches = |&count: &usize| {
            sum += count;
            sum as f64 >= part * all as f64
        };
        lengths.iter().position(reaches).unwrap_or(0)
    };
    UsualLengths {
        least: reached(0.05),
        most: reached(0.95),
        longest: lengths.iter().rposition(|&count| count > 0).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_nine_tenths_of_lengths_are_the_usual_ones() {
        let mut lengths = [0; LONGEST_WORD + 1];
        (lengths[1], lengths[3], lengths[4], lengths[9]) = (4, 50, 43, 3);
        let usual = usual(&lengths);
        assert_eq!((usual.least, usual.most, usual.longest), (3, 4, 9));
    }
}
