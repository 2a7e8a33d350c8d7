//! Writes many texts or words in parallel, and samples words from the prior.

pub mod beam;
pub mod constraint;
pub mod fill;
pub mod repetition;
pub mod sampling;

use crate::generate::constraint::{Constraint, Place};
use crate::generate::sampling::{Sampled, Sampler};
use crate::models::word_vae::WordVae;
use crate::models::{Network, RowState};

/// The most letters of a word, so that a decoder that never ends a word cannot hang a program.
pub const LONGEST_WORD: usize = 64;

pub trait Writer {
    /// Takes the logits of the next token and samples it; returns it if the text continues.
    fn write(&mut self, logits: &[f32]) -> Option<u32>;
}

/// A text about to be written.
#[derive(Debug)]
pub struct Start<W> {
    pub writer: W,
    /// The network's state so far: one row.
    pub state: RowState,
    /// The next token that it reads.
    pub token: u32,
}

impl<W> Start<W> {
    /// Numbers the writer.
    pub fn numbered(self, index: usize) -> Start<Numbered<W>> {
        let Self {
            writer,
            state,
            token,
        } = self;
        Start {
            writer: Numbered { index, writer },
            state,
            token,
        }
    }
}

/// A writer with the number of its text.
#[derive(Debug)]
pub struct Numbered<W> {
    pub index: usize,
    pub writer: W,
}

impl<W: Writer> Writer for Numbered<W> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        self.writer.write(logits)
    }
}

/// Writes texts in lock-step, at most `rows` at a time: `next` returns one after the other, which takes
/// the row of a text that has ended; `done` gets the writers as their texts end. A text does not depend
/// on the others.
pub fn lockstep<N: Network, W: Writer>(
    network: &N,
    rows: usize,
    mut next: impl FnMut() -> Option<Start<W>>,
    mut done: impl FnMut(W),
) {
    let starts: Vec<_> = std::iter::from_fn(&mut next).take(rows).collect();
    let mut state = network.state(starts.len());
    let (mut writers, mut tokens) = (Vec::new(), Vec::new());
    for (row, start) in starts.into_iter().enumerate() {
        state.set_row(row, &start.state);
        writers.push(start.writer);
        tokens.push(start.token);
    }
    while !writers.is_empty() {
        network.step(&mut state, &tokens);
        // Backwards, so that a row that moves has been handled.
        for row in (0..writers.len()).rev() {
            if let Some(token) = writers[row].write(state.logits(row)) {
                tokens[row] = token;
            } else if let Some(start) = next() {
                state.set_row(row, &start.state);
                tokens[row] = start.token;
                done(std::mem::replace(&mut writers[row], start.writer));
            } else {
                state.swap_remove_row(row);
                tokens.swap_remove(row);
                done(writers.swap_remove(row));
            }
        }
    }
}

/// The most texts or words that a thread writes in lock-step: more would gain little, and start later.
const MOST_ROWS: usize = 48;

/// The number of rows of each of `threads` threads that write `count` texts or words.
pub(crate) fn rows(count: usize, threads: usize) -> usize {
    count.div_ceil(threads.max(1)).clamp(1, MOST_ROWS)
}

/// A sampled word.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Word {
    /// Its letters, without `<bos>` and `<eos>`.
    pub letters: Vec<u32>,
    /// log p(word | z) in nats at temperature 1, including the end of the word if it was reached.
    pub log_prob: f64,
}

/// Samples words from the prior: z ~ N(0, `z_temperature`²·I), then letters up to `eos` or
/// [`LONGEST_WORD`].
#[derive(Clone, Copy, Debug)]
pub struct Prior<'a> {
    pub vae: &'a WordVae,
    pub z_temperature: f32,
    /// The token that the decoder reads first.
    pub bos: u32,
    /// The token that ends a word.
    pub eos: u32,
}

/// The conditions that words must meet.
#[derive(Clone, Copy, Debug)]
pub struct WordForm<'a> {
    /// The letters that they start with, fewer than [`LONGEST_WORD`].
    pub prefix: &'a [u32],
    /// The expression that they match, over the network's outputs.
    pub constraint: Option<&'a Constraint>,
    /// The most letters, at most [`LONGEST_WORD`].
    pub longest_match: usize,
}

impl Default for WordForm<'_> {
    /// No conditions: any word.
    fn default() -> Self {
        Self {
            prefix: &[],
            constraint: None,
            longest_match: LONGEST_WORD,
        }
    }
}

impl WordForm<'_> {
    /// Whether `token` may follow after `written` letters that led to `place`; `eos` ends the word.
    pub fn allows(&self, written: usize, place: Place, token: u32, eos: u32) -> bool {
        let given = self.prefix.get(written);
        let matches = |constraint: &Constraint| {
            if token == eos {
                constraint.ends(place)
            } else {
                constraint.allows(place, token, self.longest_match - written)
            }
        };
        given.is_none_or(|&given| given == token) && self.constraint.is_none_or(matches)
    }

    /// The place after `token`, which must be allowed and not end the word.
    pub fn after(&self, place: Place, token: u32) -> Place {
        let after = |constraint: &Constraint| constraint.after(place, token);
        self.constraint.map_or(place, after)
    }
}

/// A word that is being written.
#[derive(Debug)]
pub struct WordWriter<'a> {
    /// The word so far.
    pub word: Word,
    sampler: Sampler,
    eos: u32,
    form: WordForm<'a>,
    place: Place,
    /// −∞ for every output that may not follow, if there is a constraint.
    bias: Vec<f32>,
}

impl<'a> WordWriter<'a> {
    /// Writes the letters that `form` starts with, then letters that `sampler` samples, up to `eos` or
    /// [`LONGEST_WORD`].
    pub fn new(sampler: Sampler, eos: u32, form: WordForm<'a>) -> Self {
        Self {
            word: Word::default(),
            sampler,
            eos,
            form,
            place: Place::default(),
            bias: Vec::new(),
        }
    }

    fn sample(&mut self, logits: &[f32]) -> Sampled {
        let written = self.word.letters.len();
        if let Some(&given) = self.form.prefix.get(written) {
            return self.sampler.given(logits, given);
        }
        if self.form.constraint.is_none() {
            return self.sampler.sample(logits);
        }
        self.bias.resize(logits.len(), 0.0);
        for (token, bias) in (0..).zip(&mut self.bias) {
            let allowed = self.form.allows(written, self.place, token, self.eos);
            *bias = if allowed { 0.0 } else { f32::NEG_INFINITY };
        }
        self.sampler.sample_biased(logits, &self.bias)
    }
}

impl Writer for WordWriter<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        let sampled = self.sample(logits);
        self.word.log_prob += f64::from(sampled.log_prob);
        if sampled.token == self.eos {
            return None;
        }
        self.word.letters.push(sampled.token);
        self.place = self.form.after(self.place, sampled.token);
        (self.word.letters.len() < LONGEST_WORD).then_some(sampled.token)
    }
}

impl Prior<'_> {
    /// A word that `sampler` samples, z first.
    pub fn begin(&self, mut sampler: Sampler) -> Start<WordWriter<'static>> {
        let z = self.place(&mut sampler);
        Start {
            state: self.vae.decoder(1, &z),
            token: self.bos,
            writer: WordWriter::new(sampler, self.eos, WordForm::default()),
        }
    }

    /// Samples a latent vector z (Z).
    pub fn place(&self, sampler: &mut Sampler) -> Vec<f32> {
        (0..self.vae.latent())
            .map(|_| sampler.normal() * self.z_temperature)
            .collect()
    }

    pub fn word(&self, sampler: Sampler) -> Word {
        let mut start = Some(self.begin(sampler));
        let mut word = Word::default();
        lockstep(self.vae, 1, || start.take(), |writer| word = writer.word);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cell, Sampling};
    use crate::models::char_rnn::CharRnn;
    use crate::models::weights::quantize;
    use crate::testing;

    const CONFIG: Sampling = Sampling::new(3);

    /// Writes until `left` tokens are sampled.
    struct Text {
        index: u64,
        sampler: Sampler,
        left: usize,
        tokens: Vec<u32>,
    }

    impl Writer for Text {
        fn write(&mut self, logits: &[f32]) -> Option<u32> {
            let token = self.sampler.sample(logits).token;
            self.tokens.push(token);
            self.left -= 1;
            (self.left > 0).then_some(token)
        }
    }

    #[test]
    fn a_text_is_the_same_whatever_is_written_beside_it() {
        for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
            let config = testing::char_lstm(cell, 33, 2, 17);
            let plain = testing::weights(&config);
            for weights in [&plain, &quantize(&plain)] {
                let model = CharRnn::new(&config, weights).expect("a network");
                let mut start = model.state(1);
                model.prefill(&mut start, &[1, 2, 3]);
                let texts = |rows| {
                    let mut texts = vec![Vec::new(); 9];
                    let mut indices = 0..9;
                    let next = || {
                        let index = indices.next()?;
                        Some(Start {
                            writer: Text {
                                index,
                                sampler: Sampler::new(&CONFIG, &[], index),
                                left: 5 + 7 * (index as usize % 4),
                                tokens: Vec::new(),
                            },
                            state: start.clone(),
                            token: 4,
                        })
                    };
                    lockstep(&model, rows, next, |text: Text| {
                        texts[text.index as usize] = text.tokens;
                    });
                    texts
                };
                let alone = texts(1);
                assert!(alone.iter().all(|text| text.len() >= 5));
                for rows in [2, 5, 9, 100] {
                    assert_eq!(texts(rows), alone, "{cell}, {rows} rows");
                }
            }
        }
    }

    #[test]
    fn a_word_is_the_same_whatever_is_written_beside_it() {
        let config = testing::word_vae(Cell::Gru, 33, 2);
        let vae = WordVae::new(&config, &testing::weights(&config)).expect("a network");
        let prior = Prior {
            vae: &vae,
            z_temperature: 1.0,
            bos: 9,
            eos: 0,
        };
        let sampler = |index| Sampler::new(&CONFIG, &[], index);
        let alone: Vec<Word> = (0..20).map(|index| prior.word(sampler(index))).collect();
        let mut together = Vec::new();
        let mut indices = 0..20;
        lockstep(
            &vae,
            7,
            || Some(prior.begin(sampler(indices.next()?))),
            |writer| together.push(writer.word),
        );
        let key = |word: &Word| (word.letters.clone(), word.log_prob.to_bits());
        let sorted = |words: &[Word]| {
            let mut keys: Vec<_> = words.iter().map(key).collect();
            keys.sort();
            keys
        };
        assert_eq!(sorted(&together), sorted(&alone));
        assert!(alone.iter().any(|word| word.letters != alone[0].letters));
    }
}
