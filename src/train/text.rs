//! A char-lstm's text.
//!
//! The training part is cut into B contiguous streams; a step reads the next T tokens of each, with the
//! state of the step before carried over.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::task::{Extent, Next, Part, Task, at_once, check, sample_config, work};
use super::{Batch, Engine, TrainError};
use crate::config::{CharRnnConfig, LossOver, NetworkConfig, SplitKind, TrainConfig};
use crate::generate::sampling::Sampler;
use crate::models::Network;
use crate::models::batch::TextBatch;
use crate::models::char_rnn::CharRnn;
use crate::models::noise::{Noise, Use};
use crate::models::weights::Weights;
use crate::run::{CharLoss, Evaluation, Progress, Sampled, TextData};
use crate::text::{
    Section, Split, Vocabulary, counted, predicted, segments, split_text, stream_length,
};

/// Tokens of a sample that is shown while training.
const SAMPLE_LENGTH: usize = 200;
/// Sections that an evaluation reads side by side, under `window:N` and else.
const SIDE_BY_SIDE: [usize; 2] = [128, 64];
/// Tokens of each section that an evaluation reads in one call.
const EVALUATION_SEQ: usize = 256;
/// Logits that an evaluation holds at once.
const EVALUATION_LOGITS: usize = 1 << 23;

/// How an evaluation reads a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of it, one token after the other, the state carried from the first to the last.
    Exact,
    /// In sections side by side, each warmed up on the tokens before it.
    Parallel(Extent),
}

/// Tokens in few bytes.
enum Tokens {
    Bytes(Vec<u8>),
    Wide(Vec<u32>),
}

impl Tokens {
    fn new(tokens: Vec<u32>, vocabulary: usize) -> Self {
        if vocabulary <= 256 {
            Self::Bytes(tokens.iter().map(|&token| token as u8).collect())
        } else {
            Self::Wide(tokens)
        }
    }

    fn get(&self, at: usize) -> i64 {
        match self {
            Self::Bytes(tokens) => i64::from(tokens[at]),
            Self::Wide(tokens) => i64::from(tokens[at]),
        }
    }
}

/// A text, and the settings of the char-lstm that learns it.
pub struct TextTask {
    own: CharRnnConfig,
    network: NetworkConfig,
    seed: u64,
    batch: usize,
    vocabulary: Vocabulary,
    split: Split,
    /// All of the text (N).
    text: Tokens,
    /// The first token of each stream (B), as a position in the training part,
    streams: Vec<usize>,
    /// which is the text of these ranges.
    train: Vec<Range<usize>>,
    /// Inputs of each stream, L.
    length: usize,
    /// Multiplications per token.
    work: usize,
}

impl TextTask {
    /// Cuts the text into streams.
    pub fn new(
        config: &TrainConfig,
        own: &CharRnnConfig,
        data: TextData,
    ) -> Result<Self, TrainError> {
        let TextData { vocabulary, tokens } = data;
        let split = split_text(tokens.len(), own.split, config.valid, config.test);
        let have = split.train.iter().map(ExactSizeIterator::len).sum();
        let length = stream_length(have, config.batch, own.seq)?;
        let network = config.network(vocabulary.len(), vocabulary.outputs());
        Ok(Self {
            own: own.clone(),
            work: work(&network),
            network,
            seed: config.seed,
            batch: config.batch,
            text: Tokens::new(tokens, vocabulary.len()),
            vocabulary,
            streams: (0..config.batch).map(|stream| stream * length).collect(),
            train: split.train.clone(),
            split,
            length,
        })
    }

    /// The token at a position of the training part.
    fn trained(&self, mut at: usize) -> i64 {
        for range in &self.train {
            if at < range.len() {
                return self.text.get(range.start + at);
            }
            at -= range.len();
        }
        unreachable!("streams end within the training part")
    }

    /// `steps` tokens of every stream from `offset` (T, B).
    fn tokens(&self, offset: usize, steps: usize) -> Vec<i64> {
        let at = |t: usize| self.streams.iter().map(move |s| s + offset + t);
        (0..steps)
            .flat_map(|t| at(t).map(|position| self.trained(position)))
            .collect()
    }

    /// Total loss of a part in nats, and the tokens predicted.
    pub fn evaluate_as(
        &self,
        part: Part,
        reading: Reading,
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<(f64, u64), TrainError> {
        let sections = self.sections(part, reading);
        let windows = matches!(self.own.split, SplitKind::Window(_));
        let [of_windows, else_so] = SIDE_BY_SIDE;
        let mut nats = 0.0;
        for group in sections.chunks(if windows { of_windows } else { else_so }) {
            nats += self.read(group, engine, stop)?;
        }
        Ok((nats, counted(&sections) as u64))
    }

    /// The segments of a held-out part, each from a zero state.
    fn segments(&self, part: Part) -> Vec<Range<usize>> {
        let ranges = match part {
            Part::Valid => &self.split.valid,
            Part::Test => &self.split.test,
        };
        segments(ranges, self.own.split)
    }

    /// What an evaluation reads of a held-out part.
    fn sections(&self, part: Part, reading: Reading) -> Vec<Section> {
        let segments = self.segments(part);
        match reading {
            Reading::Exact => segments.into_iter().map(Section::whole).collect(),
            Reading::Parallel(extent) => sections(&segments, extent),
        }
    }

    /// The loss of all sections in nats, read in parallel from zero states. Each section is summed by
    /// itself, so that the figure does not depend on how many tokens one call reads.
    fn read(
        &self,
        sections: &[Section],
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<f64, TrainError> {
        let longest = sections.iter().map(Section::predicted).max().unwrap_or(0);
        let rows = sections.len();
        let seq = evaluation_seq(rows, self.network.outputs, self.work);
        let mut nats = vec![0.0; rows];
        for at in (0..longest).step_by(seq) {
            check(stop)?;
            let steps = seq.min(longest - at);
            // A section that has ended repeats its last token, which does not count.
            let tokens = |further: usize| {
                let times = at..at + steps;
                let position = move |section: &Section, t: usize| {
                    section.range.start + t.min(section.predicted() - 1) + further
                };
                times
                    .flat_map(|t| sections.iter().map(move |section| position(section, t)))
                    .map(|position| self.text.get(position))
                    .collect()
            };
            let costs = engine.evaluate(&Batch::Text(TextBatch {
                steps,
                rows,
                first: 0,
                inputs: tokens(0),
                targets: tokens(1),
                last_only: false,
                from_zero: at == 0,
            }))?;
            for (t, costs) in (at..).zip(costs.nats.chunks(rows)) {
                for ((section, sum), &cost) in sections.iter().zip(&mut nats).zip(costs) {
                    if (section.warm_up..section.predicted()).contains(&t) {
                        *sum += f64::from(cost);
                    }
                }
            }
        }
        Ok(nats.iter().sum())
    }
}

/// The tokens that an evaluation reads of each of `rows` sections in one call.
fn evaluation_seq(rows: usize, outputs: usize, work: usize) -> usize {
    let most = EVALUATION_LOGITS / rows.saturating_mul(outputs).max(1);
    at_once(rows.saturating_mul(work), most.clamp(1, EVALUATION_SEQ))
}

/// The positions that an evaluation computes in one call, at most.
pub(super) fn evaluation_positions(split: SplitKind, network: &NetworkConfig) -> usize {
    let [of_windows, else_so] = SIDE_BY_SIDE;
    let rows = match split {
        SplitKind::Window(_) => of_windows,
        SplitKind::Interleaved | SplitKind::Contiguous => else_so,
    };
    rows * evaluation_seq(rows, network.outputs, work(network))
}

/// What an evaluation reads of segments.
fn sections(segments: &[Range<usize>], extent: Extent) -> Vec<Section> {
    let all: usize = segments.iter().map(|segment| segment.len() - 1).sum();
    match extent {
        Extent::Sample(size) if size < all => Section::sample(segments, size),
        _ => segments.iter().flat_map(Section::in_parallel).collect(),
    }
}

/// The most of `segments` of which an evaluation reads no more than about `tokens` tokens.
pub(super) fn within(segments: &[Range<usize>], tokens: f64) -> Extent {
    if predicted(&sections(segments, Extent::All)) as f64 <= tokens {
        return Extent::All;
    }
    // As many of the sections that a sample is chosen from.
    let all = Section::sample(segments, usize::MAX);
    let size = tokens * counted(&all) as f64 / predicted(&all) as f64;
    Extent::Sample((size as usize).max(1))
}

impl Task for TextTask {
    fn network(&self) -> &NetworkConfig {
        &self.network
    }

    fn steps_per_epoch(&self) -> f64 {
        let mean = (self.own.seq + self.own.seq_min) as f64 / 2.0;
        (self.length as f64 / mean).ceil()
    }

    fn tokens_per_step(&self) -> f64 {
        (self.own.seq + self.own.seq_min) as f64 / 2.0 * self.batch as f64
    }

    fn tokens_read(&self, part: Part, extent: Extent) -> u64 {
        predicted(&self.sections(part, Reading::Parallel(extent))) as u64
    }

    fn within(&self, part: Part, tokens: f64) -> Extent {
        within(&self.segments(part), tokens)
    }

    fn sampled(&self, part: Part, extent: Extent) -> Option<Sampled> {
        let of = |extent| counted(&self.sections(part, Reading::Parallel(extent))) as u64;
        let (counted, of) = (of(extent), of(Extent::All));
        (counted < of).then_some(Sampled { counted, of })
    }

    fn next(&mut self, progress: &mut Progress, _fraction: f64) -> Next {
        let [least, most] = [self.own.seq_min, self.own.seq];
        let noise = Noise::new(self.seed, Use::Lengths, progress.step);
        let wanted = least + noise.below(0, (most - least + 1) as u64) as usize;
        let offset = progress.cursor as usize;
        let steps = wanted.min(self.length - offset);
        // The targets are the inputs one token further.
        let mut inputs = self.tokens(offset, steps + 1);
        let targets = inputs[self.batch..].to_vec();
        inputs.truncate(steps * self.batch);
        progress.cursor += steps as u64;
        if progress.cursor as usize >= self.length {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        Next {
            batch: Batch::Text(TextBatch {
                steps,
                rows: self.batch,
                first: 0,
                inputs,
                targets,
                last_only: self.own.loss == LossOver::Last,
                from_zero: offset == 0,
            }),
            kl_weight: 0.0,
            tokens: (steps * self.batch) as u64,
        }
    }

    fn evaluate(
        &self,
        part: Part,
        extent: Extent,
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<Option<Evaluation>, TrainError> {
        let reading = Reading::Parallel(extent);
        let (nats, tokens) = self.evaluate_as(part, reading, engine, stop)?;
        Ok((tokens > 0).then(|| {
            Evaluation::Char(CharLoss {
                sample: self.sampled(part, extent),
                ..CharLoss::from_nats(nats / tokens as f64)
            })
        }))
    }

    fn sample(
        &self,
        weights: &Weights,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<String, TrainError> {
        let model = CharRnn::new(&self.network, weights)?;
        let (config, suppressed) = (sample_config(self.seed), self.vocabulary.suppressed());
        let mut sampler = Sampler::new(&config, &suppressed, seed);
        let mut state = model.state(1);
        // The prompt is the first token of the text.
        let mut token = self.text.get(0) as u32;
        let mut tokens = Vec::with_capacity(SAMPLE_LENGTH);
        while tokens.len() < SAMPLE_LENGTH {
            check(stop)?;
            model.step(&mut state, &[token]);
            token = sampler.sample(state.logits(0)).token;
            tokens.push(token);
        }
        Ok(self.vocabulary.decode(&tokens))
    }

    fn describe_step(&self) -> String {
        let [least, most] = [self.own.seq_min, self.own.seq];
        let seq = if least < most {
            format!("{least} to {most}")
        } else {
            most.to_string()
        };
        let streams = match self.batch {
            1 => "one stream".to_owned(),
            batch => format!("{batch} streams"),
        };
        format!("{streams} of {seq} tokens a step")
    }
}
