//! Writes a text token by token, independently of the texts written in parallel.

use super::{ModelError, Snapshot, TextModel};
use crate::config::Sampling;
use crate::evaluate::mixture::Reader;
use crate::generate::Writer;
use crate::generate::beam::Found;
use crate::generate::constraint::{Constraint, Place};
use crate::generate::repetition::Repetition;
use crate::generate::sampling::{Probability, Sampled, Sampler};
use crate::text::{Token, Utf8Stream, Vocabulary};
use serde::Serialize;

/// [`Sampling`], checked and prepared for texts that follow one snapshot of a model.
pub(crate) struct Plan {
    pub(super) sampling: Sampling,
    /// The most tokens of a text.
    pub(super) length: usize,
    pub(super) stop: Option<String>,
    pub(super) constraint: Option<Constraint>,
    /// The repeats in the preceding text.
    pub(super) repetition: Option<Repetition>,
    /// The last tokens of the preceding text, for a mixture.
    recent: Vec<u32>,
    /// Whether the texts begin a document. No text of the training is empty, so none of these is.
    pub(super) begins: bool,
    /// Whether a sample has its whole text in the end, so that memory grows with it.
    keeps: bool,
}

impl Plan {
    /// For those who take the pieces: what has been passed on is not kept, so texts of any length take no more memory.
    /// Of a sample only the ending, the log-probability and the last tokens remain.
    pub fn in_pieces(self) -> Self {
        Self {
            keeps: false,
            ..self
        }
    }
}

impl Snapshot {
    /// Checks `sampling`, and prepares it for texts of up to `length` tokens.
    pub(crate) fn plan(&self, sampling: &Sampling, length: usize) -> Result<Plan, ModelError> {
        sampling.validate()?;
        let model = &self.model;
        let suppressed = &model.0.suppressed;
        let constraint =
            |regex: &String| crate::model::constraint(regex, model.header(), suppressed, length);
        let stop = sampling.stop.as_deref().map(|stop| model.stop_text(stop));
        let eos = model.header().vocabulary.document_end();
        let repetition = || {
            let (penalty, window) = (sampling.repetition_penalty, sampling.repetition_window);
            let mut repetition = Repetition::new(penalty, window);
            let recent = self.recent.iter().filter(|&&token| Some(token) != eos);
            recent.for_each(|&token| repetition.read(token));
            repetition
        };
        Ok(Plan {
            begins: eos.is_some() && self.recent.last().copied() == eos,
            sampling: sampling.clone(),
            length,
            stop: stop.transpose()?,
            constraint: sampling.constrain.as_ref().map(constraint).transpose()?,
            repetition: (sampling.repetition_penalty != 1.0).then(repetition),
            recent: self.recent.clone(),
            keeps: true,
        })
    }
}

/// Why a text ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It has as many tokens as were asked for.
    #[default]
    Length,
    /// The stop text was written.
    Stop,
    /// It is a whole document.
    Document,
    /// It matches the constraint, and nothing may follow.
    Constraint,
}

/// A text that a model wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The text without the prompt, and without the stop text unless `include_stop` is set.
    pub text: String,
    /// Its token ids, including those of the stop text or the end of the document.
    pub tokens: Vec<u32>,
    /// log p of the tokens in nats under the model's own distribution; NaN unless
    /// [`Sampling::log_prob`] is set.
    pub log_prob: f64,
    /// How each token was sampled, with [`Sampling::probabilities`].
    pub steps: Vec<Step>,
    /// Why it ends, if it was sampled; the default for what a search found.
    pub ending: Ending,
}

impl Sample {
    pub(super) fn new(text: String, Found { tokens, log_prob }: Found) -> Self {
        Self {
            text,
            tokens,
            log_prob,
            ..Self::default()
        }
    }
}

/// How a token was sampled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The sampled token.
    #[serde(flatten)]
    pub sampled: TokenProbability,
    /// The tokens that are the most probable by the model's own distribution.
    pub top: Vec<TokenProbability>,
}

/// A token and how probable it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenProbability {
    /// Its id in the vocabulary.
    pub id: u32,
    /// Its text; empty for special tokens.
    pub text: String,
    /// Its text with spaces and other invisible characters made visible.
    #[serde(skip)]
    pub visible: String,
    /// Its probability under the model's own distribution.
    pub p: f64,
    /// Its probability when it was sampled: after penalty, constraint, temperature and limits.
    #[serde(rename = "drawn_p")]
    pub sampled_p: f64,
}

impl Step {
    pub(super) fn new(
        vocabulary: &Vocabulary,
        (sampled, top): (Probability, Vec<Probability>),
    ) -> Self {
        let told = |probability: Probability| {
            let id = probability.token;
            TokenProbability {
                id,
                text: vocabulary.decode(&[id]),
                visible: vocabulary
                    .token(id)
                    .map_or_else(String::new, Token::visible),
                p: probability.own,
                sampled_p: probability.sampled,
            }
        };
        Self {
            sampled: told(sampled),
            top: top.into_iter().map(told).collect(),
        }
    }
}

/// The part of a text that has become final.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub text: String,
    /// The probabilities of its tokens, if asked for.
    pub steps: Vec<Step>,
}

/// The penalty and the constraint that change how a text is sampled.
struct Steering<'a> {
    constraint: Option<(&'a Constraint, Place)>,
    /// The token that ends a document.
    eos: Option<u32>,
    /// Whether a document begins with the next token.
    begins: bool,
    repetition: Option<Repetition>,
    /// Added to the logits (outputs).
    bias: Vec<f32>,
}

impl Steering<'_> {
    /// The bias added to the logits if `left` tokens are left.
    fn bias(&mut self, left: usize) -> &[f32] {
        match self.constraint {
            Some((constraint, place)) => {
                constraint.bias(place, left, &mut self.bias);
                if let Some(eos) = self.eos.filter(|_| constraint.ends(place)) {
                    self.bias[eos as usize] = 0.0;
                }
            }
            None => self.bias.fill(0.0),
        }
        if let Some(repetition) = &self.repetition {
            repetition.lower(&mut self.bias);
        }
        if let Some(eos) = self.eos.filter(|_| self.begins) {
            self.bias[eos as usize] = f32::NEG_INFINITY;
        }
        &self.bias
    }

    fn wrote(&mut self, token: u32) {
        self.begins = false;
        if Some(token) == self.eos {
            return;
        }
        if let Some((constraint, place)) = &mut self.constraint {
            *place = constraint.after(*place, token);
        }
        if let Some(repetition) = &mut self.repetition {
            repetition.read(token);
        }
    }

    fn is_over(&self, left: usize) -> bool {
        let over = |(constraint, place): (&Constraint, Place)| constraint.is_over(place, left);
        self.constraint.is_some_and(over)
    }
}

/// A text that is being written.
pub(super) struct Text<'a> {
    vocabulary: &'a Vocabulary,
    plan: &'a Plan,
    sampler: Sampler,
    /// Reads along, if the model is mixed with an n-gram model.
    ngram: Option<Reader<'a>>,
    steering: Option<Steering<'a>>,
    stream: Utf8Stream,
    pub sample: Sample,
    /// The text that has become final since the last call.
    pub ready: Piece,
    /// The last token sampled.
    pub last: Option<u32>,
    /// The number of tokens sampled.
    pub len: usize,
    /// The number of bytes of `sample.text` that are final.
    certain: usize,
    bytes: Vec<u8>,
}

impl<'a> Text<'a> {
    pub fn new(model: &'a TextModel, plan: &'a Plan, index: usize) -> Self {
        let vocabulary = &model.header().vocabulary;
        let sampling = &plan.sampling;
        let sampler = Sampler::new(sampling, &model.0.suppressed, index as u64);
        let steered = plan.constraint.is_some() || plan.repetition.is_some() || plan.begins;
        Self {
            vocabulary,
            plan,
            sampler: if sampling.log_prob || sampling.probabilities > 0 {
                sampler
            } else {
                sampler.without_log_prob()
            },
            ngram: model.0.mixture.as_ref().map(|mixture| {
                let mut reader = mixture.reader();
                plan.recent.iter().for_each(|&token| reader.read(token));
                reader
            }),
            steering: steered.then(|| Steering {
                constraint: plan.constraint.as_ref().map(|c| (c, Place::default())),
                eos: vocabulary.document_end(),
                begins: plan.begins,
                repetition: plan.repetition.clone(),
                bias: vec![0.0; vocabulary.outputs()],
            }),
            stream: Utf8Stream::default(),
            sample: Sample::default(),
            ready: Piece::default(),
            last: None,
            len: 0,
            certain: 0,
            bytes: Vec::new(),
        }
    }

    /// The number of tokens that may still be written.
    fn left(&self) -> usize {
        self.plan.length - self.len
    }

    fn is_over(&self) -> bool {
        let left = self.left();
        let steering = self.steering.as_ref();
        left == 0 || steering.is_some_and(|steering| steering.is_over(left))
    }

    fn sample_next(&mut self, logits: &[f32]) -> Sampled {
        let left = self.left();
        let sampled = match &mut self.steering {
            None => self.sampler.sample(logits),
            Some(steering) => {
                let sampled = self.sampler.sample_biased(logits, steering.bias(left));
                steering.wrote(sampled.token);
                sampled
            }
        };
        let count = self.plan.sampling.probabilities;
        if count > 0 {
            let probabilities = self.sampler.probabilities(logits, sampled, count);
            let step = Step::new(self.vocabulary, probabilities);
            if self.plan.keeps {
                self.sample.steps.push(step.clone());
            }
            self.ready.steps.push(step);
        }
        sampled
    }

    /// Adds a token to those of the sample, of which a snapshot needs the last.
    fn keep(&mut self, token: u32) {
        let tokens = &mut self.sample.tokens;
        if !self.plan.keeps && tokens.len() == 2 * Sampling::WIDEST_WINDOW {
            tokens.drain(..Sampling::WIDEST_WINDOW);
        }
        tokens.push(token);
    }

    /// Marks the text up to `end` as final.
    fn release(&mut self, end: usize) {
        self.ready
            .text
            .push_str(&self.sample.text[self.certain..end]);
        if self.plan.keeps {
            self.certain = end;
        } else {
            self.sample.text.drain(..end);
        }
    }

    /// Ends the text, if it has not ended.
    pub fn end(&mut self) {
        self.sample.text.push_str(&self.stream.finish());
        self.release(self.sample.text.len());
    }

    /// The number of bytes at the end of the text that may be the start of the stop text.
    fn held_back(&self) -> usize {
        let Some(stop) = self.plan.stop.as_deref() else {
            return 0;
        };
        let text = &self.sample.text[self.certain..];
        let starts = stop.char_indices().map(|(at, c)| at + c.len_utf8());
        starts
            .filter(|&n| n < stop.len() && text.ends_with(&stop[..n]))
            .max()
            .unwrap_or(0)
    }
}

impl Writer for Text<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        if self.is_over() {
            return None;
        }
        let mut ngram = self.ngram.take();
        let mixed = ngram.as_mut().map_or(logits, |ngram| ngram.logits(logits));
        let sampled = self.sample_next(mixed);
        if let Some(ngram) = &mut ngram {
            ngram.read(sampled.token);
        }
        self.ngram = ngram;
        self.last = Some(sampled.token);
        self.len += 1;
        self.keep(sampled.token);
        self.sample.log_prob += f64::from(sampled.log_prob);
        if Some(sampled.token) == self.vocabulary.document_end() {
            self.sample.ending = Ending::Document;
            self.end();
            return None;
        }
        self.bytes.clear();
        self.vocabulary.push_bytes(sampled.token, &mut self.bytes);
        self.sample.text.push_str(&self.stream.push(&self.bytes));
        if let Some(stop) = self.plan.stop.as_deref()
            && let Some(at) = self.sample.text[self.certain..].find(stop)
        {
            let included = usize::from(self.plan.sampling.include_stop) * stop.len();
            self.sample.text.truncate(self.certain + at + included);
            self.release(self.sample.text.len());
            self.sample.ending = Ending::Stop;
            return None;
        }
        if self.is_over() {
            if self.left() > 0 {
                self.sample.ending = Ending::Constraint;
            }
            self.end();
            return None;
        }
        // A possible start of the stop text is held back.
        self.release(self.sample.text.len() - self.held_back());
        Some(sampled.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnUnknown;

    #[test]
    fn a_text_in_pieces_is_the_same_and_is_not_kept() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden-run/model.safetensors"
        );
        let model = TextModel::open(path).expect("a model");
        let start = model.snapshot("", OnUnknown::Error).expect("a snapshot");
        for (stop, probabilities, length) in [(None, 0, 10_000), (Some("e t"), 2, 9_000)] {
            let sampling = Sampling {
                stop: stop.map(str::to_owned),
                probabilities,
                ..Sampling::new(7)
            };
            let write = |plan: Plan| {
                let (mut now, mut text, mut steps) = (start.clone(), String::new(), 0);
                let sample = now.write(&plan, 0, |piece| {
                    text += &piece.text;
                    steps += piece.steps.len();
                    Ok::<bool, ModelError>(true)
                });
                (now, (text, steps), sample.expect("written"))
            };
            let plan = || start.plan(&sampling, length).expect("a plan");
            let (now, pieces, kept) = write(plan());
            let (later, again, rest) = write(plan().in_pieces());
            assert_eq!(pieces, (kept.text, kept.steps.len()));
            assert_eq!(again, pieces);
            assert_eq!((now.len(), &now.recent), (later.len(), &later.recent));
            assert_eq!(
                (kept.ending, kept.log_prob.to_bits()),
                (rest.ending, rest.log_prob.to_bits())
            );
            assert!(rest.text.is_empty() && rest.steps.is_empty());
            assert!(rest.tokens.len() <= 2 * Sampling::WIDEST_WINDOW);
        }
    }
}
