//! A char-lstm and its text.
//!
//! The training part is cut into B contiguous streams that lie on the device as one tensor; a step
//! reads the next T tokens of each, with the state of the step before carried over and detached.

use std::ops::Range;

use anyhow::{Result, bail};
use rand::RngExt;
use tch::{Device, Kind, Tensor};
use textgen::config::{CharRnnConfig, LossOver, ModelConfig, SplitKind, TrainConfig};
use textgen::models::Network;
use textgen::models::weights::Weights;

use textgen::run::{CharLoss, Evaluation, Progress, TextData};
use textgen::text::{Split, Vocabulary, split_text, stream_length};

use super::task::{Part, SampleJob, Task, Use, random, sample_config};
use crate::char_rnn::CharRnn;
use crate::dropout::Dropout;
use crate::parameters::Parameters;
use crate::shim::upload;

/// Tokens of a sample that is shown while training.
const SAMPLE_LENGTH: usize = 200;
/// An evaluation with the state carried reads a long part as at most this many parallel streams,
const MOST_STREAMS: usize = 32;
/// each of at least this many tokens,
const LEAST_STREAM: usize = 1024;
/// after this many tokens before its own, so that its state is warm.
const BURN_IN: usize = 256;
/// Tokens that an evaluation reads in one call.
const EVALUATION_SEQ: usize = 256;
/// Logits that an evaluation holds at once.
const EVALUATION_LOGITS: usize = 1 << 23;

/// How an evaluation reads a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One token after the other, the state carried from the first to the last.
    Exact,
    /// Several streams at once, each warmed up on the tokens before it.
    Parallel,
}

/// A char-lstm and its text.
pub struct TextTask {
    config: TrainConfig,
    own: CharRnnConfig,
    model: CharRnn,
    vocabulary: Vocabulary,
    split: Split,
    /// All of the text (N), in as few bytes per token as possible; held-out parts are read from it.
    text: Tensor,
    /// The training part (L + 1, B), time first, so that a batch is a view of it.
    streams: Tensor,
    length: usize,
    /// The prompt of samples: the first token of the text.
    first: u32,
    state: Vec<Tensor>,
    device: Device,
}

impl TextTask {
    /// Starts with initial weights from the configuration's seed.
    pub fn new(config: &TrainConfig, data: TextData, device: Device) -> Result<Self> {
        let ModelConfig::CharRnn(own) = &config.model else {
            bail!("a text trains a char-lstm, not a {}", config.kind());
        };
        let network = config.network(data.vocabulary.len(), data.vocabulary.outputs());
        let split = split_text(data.tokens.len(), own.split, config.valid, config.test);
        let train: Vec<u32> = split
            .train
            .iter()
            .flat_map(|range| data.tokens[range.clone()].iter().copied())
            .collect();
        let length = stream_length(train.len(), config.batch, own.seq)?;
        let parameters = Parameters::init(&network, config.seed, device);
        let parameters = if own.tied {
            parameters.tie()
        } else {
            parameters
        };
        let mut model = CharRnn::new(network, parameters);
        model.dropout = Dropout {
            rate: config.dropout,
            variational: own.variational,
        };
        model.input_dropout = own.input_dropout;
        model.recurrent_dropout = own.recurrent_dropout;
        model.precision = config.precision;
        let kind = if data.vocabulary.len() <= 256 {
            Kind::Uint8
        } else {
            Kind::Int
        };
        // (B, L + 1): a stream's last target is the next one's first token.
        let starts = (0..config.batch).map(|stream| stream * length);
        let rows: Vec<Tensor> = starts
            .map(|at| tokens_tensor(&train[at..=at + length], kind))
            .collect();
        let streams = Tensor::stack(&rows, 1).contiguous().to_device(device);
        let state = model.shape().zero_state(config.batch as i64, device);
        Ok(Self {
            config: config.clone(),
            own: own.clone(),
            model,
            text: tokens_tensor(&data.tokens, kind).to_device(device),
            vocabulary: data.vocabulary,
            first: data.tokens[0],
            split,
            streams,
            length,
            state,
            device,
        })
    }

    /// Total loss of a part in nats, and the tokens predicted.
    pub fn evaluate_as(&self, part: Part, reading: Reading) -> (f64, u64) {
        let ranges = match part {
            Part::Valid => &self.split.valid,
            Part::Test => &self.split.test,
        };
        let sections: Vec<Section> = ranges
            .iter()
            .flat_map(|range| self.sections(range.clone(), reading))
            .collect();
        let at_once = if matches!(self.own.split, SplitKind::Window(_)) {
            128
        } else {
            64
        };
        // Read back once, at the end.
        let mut nats = Tensor::zeros([], (Kind::Double, self.device));
        for group in sections.chunks(at_once) {
            nats += self.read(group);
        }
        let tokens = sections.iter().map(|section| section.length as u64).sum();
        (nats.double_value(&[]), tokens)
    }

    /// The segments of a held-out range that are read in parallel.
    fn sections(&self, range: Range<usize>, reading: Reading) -> Vec<Section> {
        let predicted = range.len().saturating_sub(1);
        let (size, burn_in) = match (self.own.split, reading) {
            (SplitKind::Window(window), _) => (window, 0),
            (SplitKind::Contiguous, Reading::Parallel) => {
                let streams = (predicted / LEAST_STREAM).clamp(1, MOST_STREAMS);
                (predicted.div_ceil(streams), BURN_IN)
            }
            _ => (predicted, 0),
        };
        (0..predicted)
            .step_by(size.max(1))
            .map(|at| {
                let start = range.start + at;
                let burn_in = burn_in.min(start - range.start);
                Section {
                    start: start - burn_in,
                    burn_in,
                    length: size.min(predicted - at),
                }
            })
            .collect()
    }

    /// The loss of all sections (f64), read in parallel from zero states.
    fn read(&self, sections: &[Section]) -> Tensor {
        let longest = sections.iter().map(Section::end).max().unwrap_or(0);
        let batch = sections.len() as i64;
        let column = |number: fn(&Section) -> usize| -> Tensor {
            let numbers: Vec<i64> = sections.iter().map(|s| number(s) as i64).collect();
            upload(&Tensor::from_slice(&numbers), self.device)
        };
        let (starts, own, ends) = (
            column(|section| section.start),
            column(|section| section.burn_in),
            column(Section::end),
        );
        let mut nats = Tensor::zeros([], (Kind::Double, self.device));
        let _no_grad = tch::no_grad_guard();
        let mut state = self.model.shape().zero_state(batch, self.device);
        let a_step = sections.len() * self.model.network.outputs;
        let seq = (EVALUATION_LOGITS / a_step.max(1)).clamp(1, EVALUATION_SEQ);
        for at in (0..longest).step_by(seq) {
            let steps = seq.min(longest - at) as i64;
            let at = at as i64;
            let integers = (Kind::Int64, self.device);
            let positions = Tensor::arange_start(at, at + steps, integers).unsqueeze(1);
            // A section that has ended repeats its last token, which does not count.
            let counted = positions
                .ge_tensor(&own)
                .logical_and(&positions.lt_tensor(&ends));
            let tokens = (positions.minimum(&(&ends - 1)) + &starts).reshape([-1]);
            let rows = |positions: &Tensor| {
                let tokens = self.text.index_select(0, positions).to_kind(Kind::Int64);
                tokens.reshape([steps, batch])
            };
            let (inputs, targets) = (rows(&tokens), rows(&(&tokens + 1)));
            let (losses, next) = self.model.nats(&inputs, &targets, &state);
            state = next;
            nats += (losses * counted.reshape([-1])).sum(Kind::Double);
        }
        nats
    }
}

/// `length` tokens are predicted, after `burn_in` tokens from `start` have warmed the state.
struct Section {
    start: usize,
    burn_in: usize,
    length: usize,
}

impl Section {
    fn end(&self) -> usize {
        self.burn_in + self.length
    }
}

/// Tokens as bytes if `kind` says so, else as 32-bit integers.
fn tokens_tensor(tokens: &[u32], kind: Kind) -> Tensor {
    if kind == Kind::Uint8 {
        let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
        Tensor::from_slice(&bytes)
    } else {
        let numbers: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        Tensor::from_slice(&numbers)
    }
}

impl Task for TextTask {
    fn parameters(&self) -> &Parameters {
        &self.model.parameters
    }

    fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.model.parameters
    }

    fn steps_per_epoch(&self) -> f64 {
        let mean = (self.own.seq + self.own.seq_min) as f64 / 2.0;
        (self.length as f64 / mean).ceil()
    }

    fn activation_bytes(&self) -> u64 {
        let network = &self.model.network;
        let width = network.layers * network.hidden * (2 * network.cell.gates() + 4)
            + 4 * network.outputs
            + network.inputs;
        let training = self.config.batch * self.own.seq * width;
        // Logits of an evaluation; on CUDA also its one-hot input and log-softmax.
        let evaluation = 3 * EVALUATION_LOGITS.min(64 * EVALUATION_SEQ * network.outputs);
        (training.max(evaluation) * 4) as u64
    }

    fn next_loss(&mut self, progress: &mut Progress, _fraction: f64) -> (Tensor, u64) {
        if progress.cursor == 0 {
            self.state = self
                .model
                .shape()
                .zero_state(self.config.batch as i64, self.device);
        }
        let wanted = if self.own.seq_min < self.own.seq {
            let mut rng = random(self.config.seed, Use::Batch, progress.step);
            rng.random_range(self.own.seq_min..=self.own.seq)
        } else {
            self.own.seq
        };
        let offset = progress.cursor as usize;
        let steps = wanted.min(self.length - offset);
        let chunk = self
            .streams
            .narrow(0, offset as i64, steps as i64 + 1)
            .to_kind(Kind::Int64);
        let (inputs, targets) = (
            chunk.narrow(0, 0, steps as i64),
            chunk.narrow(0, 1, steps as i64),
        );
        let last_only = self.own.loss == LossOver::Last;
        let (loss, state) = self
            .model
            .loss(&inputs, &targets, &self.state, last_only, true);
        self.state = state.iter().map(Tensor::detach).collect();
        progress.cursor += steps as u64;
        if progress.cursor as usize >= self.length {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        (loss, (steps * self.config.batch) as u64)
    }

    fn evaluate(&self, part: Part) -> Result<Option<Evaluation>> {
        let (nats, tokens) = self.evaluate_as(part, Reading::Parallel);
        Ok((tokens > 0).then(|| Evaluation::Char(CharLoss::from_nats(nats / tokens as f64))))
    }

    fn carried(&mut self) -> Vec<(String, &mut Tensor)> {
        let state = self.state.iter_mut().enumerate();
        state
            .map(|(i, tensor)| (format!("carried.{i}"), tensor))
            .collect()
    }

    fn sample(&self, weights: Weights<'static>, seed: u64) -> SampleJob {
        let network = self.model.network.clone();
        let config = sample_config(self.config.seed);
        let vocabulary = self.vocabulary.clone();
        let mut token = self.first;
        Box::new(move || {
            let model = textgen::models::char_rnn::CharRnn::new(&network, &weights)?;
            let suppressed = vocabulary.suppressed();
            let mut sampler = textgen::generate::sampling::Sampler::new(&config, &suppressed, seed);
            let mut state = model.state(1);
            let tokens: Vec<u32> = (0..SAMPLE_LENGTH)
                .map(|_| {
                    model.step(&mut state, &[token]);
                    token = sampler.sample(state.logits(0)).token;
                    token
                })
                .collect();
            Ok(vocabulary.decode(&tokens))
        })
    }

    fn describe_step(&self) -> String {
        let seq = if self.own.seq_min < self.own.seq {
            format!("{} to {}", self.own.seq_min, self.own.seq)
        } else {
            self.own.seq.to_string()
        };
        format!("{} streams of {seq} tokens a step", self.config.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, text_config, text_data, with};

    #[test]
    fn parallel_reading_agrees_with_one_token_after_the_other() {
        let config = TrainConfig {
            valid: 0.5,
            ..text_config()
        };
        let task = TextTask::new(&config, text_data(20_000), device()).expect("task");
        let (exact, tokens) = task.evaluate_as(Part::Valid, Reading::Exact);
        let (parallel, same) = task.evaluate_as(Part::Valid, Reading::Parallel);
        assert_eq!((tokens, same), (9_999, 9_999));
        assert!(
            (exact - parallel).abs() / exact < 1e-5,
            "{exact} {parallel}"
        );
    }

    #[test]
    fn every_token_but_a_ranges_first_is_predicted_once() {
        for split in [
            SplitKind::Contiguous,
            SplitKind::Window(64),
            SplitKind::Interleaved,
        ] {
            let config = with(&text_config(), &format!("valid=0.2 split={split}"));
            let task = TextTask::new(&config, text_data(10_000), device()).expect("task");
            let ranges = &task.split.valid;
            let want: usize = ranges.iter().map(|range| range.len() - 1).sum();
            assert_eq!(
                task.evaluate_as(Part::Valid, Reading::Parallel).1,
                want as u64,
                "{split}"
            );
        }
    }
}
