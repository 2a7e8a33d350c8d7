//! A text as it is written, token by token: the same whatever is written beside it.

use crate::config::Sampling;
use crate::generate::Writer;
use crate::generate::constraint::{Constraint, Place};
use crate::generate::repetition::Repetition;
use crate::generate::sampling::{Chance, Draw, Sampler};
use crate::text::{Utf8Stream, Vocabulary};
use serde::Serialize;

/// How texts are written; what all samples share.
pub struct Writing<'a> {
    pub vocabulary: &'a Vocabulary,
    pub sampling: &'a Sampling,
    pub suppressed: &'a [u32],
    /// Tokens at the most.
    pub length: usize,
    /// Ends a text.
    pub stop: Option<String>,
    /// Whether the stop text is part of the text.
    pub stop_shown: bool,
    pub log_prob_wanted: bool,
    /// So many of the most probable tokens are told at each draw.
    pub chances: Option<usize>,
    pub constraint: Option<Constraint>,
    /// What the text before has repeated.
    pub repetition: Option<Repetition>,
}

/// How a token was drawn, as JSON tells it.
#[derive(Serialize)]
pub struct Step {
    #[serde(flatten)]
    drawn: Shown,
    top: Vec<Shown>,
}

/// A token and how probable it was.
#[derive(Serialize)]
struct Shown {
    id: u32,
    text: String,
    /// By the model's own distribution.
    p: f64,
    /// When it was drawn.
    drawn_p: f64,
}

/// A text as drawn.
#[derive(Default)]
pub struct Drawn {
    pub text: String,
    pub tokens: usize,
    pub log_prob: f64,
    /// How each token was drawn, where that is told.
    pub steps: Vec<Step>,
}

/// What else than the model has a say in the draws of a text.
struct Steering<'a> {
    constraint: Option<(&'a Constraint, Place)>,
    repetition: Option<Repetition>,
    /// (outputs).
    bias: Vec<f32>,
}

impl Steering<'_> {
    /// What is added to the logits, where `left` tokens are left.
    fn bias(&mut self, left: usize) -> &[f32] {
        match self.constraint {
            Some((constraint, place)) => constraint.bias(place, left, &mut self.bias),
            None => self.bias.fill(0.0),
        }
        if let Some(repetition) = &self.repetition {
            repetition.lower(&mut self.bias);
        }
        &self.bias
    }

    fn wrote(&mut self, token: u32) {
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

/// A text on its way.
pub struct Text<'a> {
    writing: &'a Writing<'a>,
    sampler: Sampler,
    steering: Option<Steering<'a>>,
    stream: Utf8Stream,
    pub drawn: Drawn,
    /// What has become certain since this was last emptied: text, or lines of a table.
    pub ready: String,
    /// The last token drawn.
    pub last: Option<u32>,
    /// Bytes of the text that have become certain.
    certain: usize,
    bytes: Vec<u8>,
}

impl<'a> Text<'a> {
    pub fn new(writing: &'a Writing, index: usize) -> Self {
        let sampler = Sampler::new(writing.sampling, writing.suppressed, index as u64);
        let Writing {
            constraint,
            repetition,
            ..
        } = writing;
        let steered = constraint.is_some() || repetition.is_some();
        Self {
            writing,
            sampler: if writing.log_prob_wanted {
                sampler
            } else {
                sampler.without_log_prob()
            },
            steering: steered.then(|| Steering {
                constraint: constraint
                    .as_ref()
                    .map(|constraint| (constraint, Place::default())),
                repetition: repetition.clone(),
                bias: vec![0.0; writing.vocabulary.outputs()],
            }),
            stream: Utf8Stream::default(),
            drawn: Drawn::default(),
            ready: String::new(),
            last: None,
            certain: 0,
            bytes: Vec::new(),
        }
    }

    /// Tokens that may still be written.
    fn left(&self) -> usize {
        self.writing.length - self.drawn.tokens
    }

    fn is_over(&self) -> bool {
        let left = self.left();
        left == 0
            || self
                .steering
                .as_ref()
                .is_some_and(|steering| steering.is_over(left))
    }

    fn draw(&mut self, logits: &[f32]) -> Draw {
        let left = self.left();
        let draw = match &mut self.steering {
            None => self.sampler.draw(logits),
            Some(steering) => {
                let draw = self.sampler.draw_biased(logits, steering.bias(left));
                steering.wrote(draw.token);
                draw
            }
        };
        if let Some(count) = self.writing.chances {
            let (drawn, top) = self.sampler.chances(logits, draw, count);
            self.tell(drawn, &top);
        }
        draw
    }

    /// Tells how a token was drawn.
    fn tell(&mut self, drawn: Chance, top: &[Chance]) {
        let vocabulary = self.writing.vocabulary;
        let visible = |chance: &Chance| {
            let token = vocabulary.token(chance.token);
            token.map_or_else(String::new, crate::text::Token::visible)
        };
        let choice = |chance: &Chance| format!("{} {:.3}", visible(chance), chance.own);
        let choices: Vec<String> = top.iter().map(choice).collect();
        let line = format!(
            "{:<8} {:.3}  {:.3}  {}\n",
            visible(&drawn),
            drawn.own,
            drawn.drawn,
            choices.join("  ")
        );
        self.ready.push_str(&line);
        let shown = |chance: &Chance| Shown {
            id: chance.token,
            text: vocabulary.decode(&[chance.token]),
            p: chance.own,
            drawn_p: chance.drawn,
        };
        self.drawn.steps.push(Step {
            drawn: shown(&drawn),
            top: top.iter().map(shown).collect(),
        });
    }

    /// The text up to `end` is certain.
    fn release(&mut self, end: usize) {
        if self.writing.chances.is_none() {
            self.ready.push_str(&self.drawn.text[self.certain..end]);
        }
        self.certain = end;
    }

    /// The text ends here, if it has not.
    pub fn end(&mut self) {
        self.drawn.text.push_str(&self.stream.finish());
        self.release(self.drawn.text.len());
    }

    /// Bytes at the end of what is uncertain that the stop text begins with.
    fn held_back(&self) -> usize {
        let Some(stop) = self.writing.stop.as_deref() else {
            return 0;
        };
        let text = &self.drawn.text[self.certain..];
        let starts = stop.char_indices().map(|(at, c)| at + c.len_utf8());
        starts
            .filter(|&n| n < stop.len() && text.ends_with(&stop[..n]))
            .max()
            .unwrap_or(0)
    }
}

/// The header of the table of draws.
pub const TABLE_HEADER: &str = "DRAWN    P      AS     MOST PROBABLE";

impl Writer for Text<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        if self.is_over() {
            return None;
        }
        let draw = self.draw(logits);
        self.last = Some(draw.token);
        self.drawn.tokens += 1;
        self.drawn.log_prob += f64::from(draw.log_prob);
        self.bytes.clear();
        self.writing
            .vocabulary
            .push_bytes(draw.token, &mut self.bytes);
        self.drawn.text.push_str(&self.stream.push(&self.bytes));
        if let Some(stop) = self.writing.stop.as_deref()
            && let Some(at) = self.drawn.text[self.certain..].find(stop)
        {
            let shown = if self.writing.stop_shown {
                stop.len()
            } else {
                0
            };
            self.drawn.text.truncate(self.certain + at + shown);
            self.release(self.drawn.text.len());
            return None;
        }
        if self.is_over() {
            self.end();
            return None;
        }
        // What may be the beginning of the stop text is held back.
        self.release(self.drawn.text.len() - self.held_back());
        Some(draw.token)
    }
}
