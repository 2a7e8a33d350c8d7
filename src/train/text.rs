//! A char-lstm's text.
//!
//! The training part is cut into B contiguous streams; a step reads the next T tokens of each, with the
//! state of the step before carried over.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::distributed::Distributed;
use super::shards;
use super::task::{Extent, Next, Part, Task, at_once, check, sample_config, work};
use super::{Batch, Engine, TrainError};
use crate::config::{CharRnnConfig, LossOver, NetworkConfig, SplitKind, TrainConfig};
use crate::generate::sampling::Sampler;
use crate::models::Network;
use crate::models::batch::TextBatch;
use crate::models::char_rnn::CharRnn;
use crate::models::noise::{Noise, Use};
use crate::models::weights::Weights;
use crate::run::{
    CharLoss, Evaluation, Progress, RunError, Sampled, TextData, TokenSource as _, Tokens,
};
use crate::text::{Section, Split, Vocabulary, counted, predicted, segments, stream_length};

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

/// The tokens of rows at `steps` positions, one position after the other (T, B).
fn side_by_side(rows: &[Cow<[u32]>], steps: Range<usize>) -> Vec<i64> {
    let at = |t: usize| rows.iter().map(move |row| i64::from(row[t]));
    steps.flat_map(at).collect()
}

/// A text, and the settings of the char-lstm that learns it.
pub struct TextTask {
    own: CharRnnConfig,
    network: NetworkConfig,
    seed: u64,
    batch: usize,
    vocabulary: Vocabulary,
    split: Split,
    /// All of the text (N), of which each step and each call of an evaluation reads what it needs.
    text: Tokens,
    /// The first token of each stream (B), as a position in the training part,
    streams: Vec<usize>,
    /// which is the text of these ranges.
    train: Vec<Range<usize>>,
    /// Inputs of each stream, L.
    length: usize,
    /// Multiplications per token.
    work: usize,
    /// The shards of a batch, of which this process reads its own.
    shards: usize,
    distributed: Rc<Distributed>,
}

impl TextTask {
    /// Cuts the text into streams.
    pub fn new(
        config: &TrainConfig,
        own: &CharRnnConfig,
        data: TextData,
    ) -> Result<Self, TrainError> {
        let split = data.split(config)?;
        let TextData { vocabulary, tokens } = data;
        let have = split.train.iter().map(ExactSizeIterator::len).sum();
        let length = stream_length(have, config.batch, own.seq)?;
        let network = config.network(
            vocabulary.len(),
            vocabulary.outputs(),
            vocabulary.document_end(),
        );
        Ok(Self {
            own: own.clone(),
            work: work(&network),
            network,
            seed: config.seed,
            batch: config.batch,
            shards: config.shards.min(config.batch),
            distributed: Rc::default(),
            text: tokens,
            vocabulary,
            streams: (0..config.batch).map(|stream| stream * length).collect(),
            train: split.train.clone(),
            split,
            length,
        })
    }

    /// The tokens at these positions of the training part.
    fn trained(&self, wanted: &Range<usize>) -> Result<Cow<'_, [u32]>, RunError> {
        let mut tokens: Cow<[u32]> = Cow::default();
        let mut end = 0;
        for range in &self.train {
            let start = end;
            end += range.len();
            let [from, to] = [wanted.start.max(start), wanted.end.min(end)];
            if from < to {
                let at = |position: usize| range.start + position - start;
                let read = self.text.read(at(from)..at(to))?;
                if tokens.is_empty() {
                    tokens = read;
                } else {
                    tokens.to_mut().extend_from_slice(&read);
                }
            }
        }
        Ok(tokens)
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
        let at_once = if windows { of_windows } else { else_so };
        let size = self.distributed.size();
        // How embeddings are multiplied depends on how many tokens one call reads, and so does the last bit.
        let each = match self.network.embedding {
            0 => at_once.min(sections.len().div_ceil(size)).max(1),
            _ => at_once,
        };
        let mut nats = 0.0;
        for group in sections.chunks(each * size) {
            let groups: Vec<&[Section]> = group.chunks(each).collect();
            nats += self.read(&groups, engine, stop)?;
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

    /// The rows of a batch that this process trains on.
    fn own_rows(&self) -> Range<usize> {
        let own = self.distributed.share(self.shards);
        let first = |shard| shards::rows(self.batch, shard, self.shards).start;
        first(own.start)..first(own.end)
    }

    /// The loss of all sections in nats, read in parallel from zero states: the r-th group by rank r. Each section is
    /// summed by itself, so that the figure depends neither on how many tokens one call reads nor on who reads them.
    fn read(
        &self,
        groups: &[&[Section]],
        engine: &mut dyn Engine,
        stop: &AtomicBool,
    ) -> Result<f64, TrainError> {
        let seq_of = |group: &[Section]| {
            let longest = group.iter().map(Section::predicted).max().unwrap_or(0);
            let seq = evaluation_seq(group.len(), self.network.outputs, self.work);
            (longest, seq)
        };
        let calls = groups.iter().map(|group| {
            let (longest, seq) = seq_of(group);
            longest.div_ceil(seq)
        });
        let sections = groups.get(self.distributed.rank()).copied();
        let sections = sections.unwrap_or_default();
        let (longest, seq) = seq_of(sections);
        let rows = sections.len();
        let mut nats = vec![0.0; rows];
        for at in (0..calls.max().unwrap_or(0)).map(|call| call * seq) {
            if self.distributed.any(stop.load(Ordering::Relaxed))? {
                return Err(TrainError::Stopped);
            }
            if at >= longest {
                continue;
            }
            let steps = seq.min(longest - at);
            // A section that has ended repeats its last tokens, which do not count.
            let tokens = |section: &Section| {
                let last = section.predicted() - 1;
                let first = section.range.start + at.min(last);
                let mut tokens = self
                    .text
                    .read(first..section.range.start + last.min(at + steps - 1) + 2)?;
                if let Some(&end) = tokens.last().filter(|_| tokens.len() <= steps) {
                    tokens.to_mut().resize(steps + 1, end);
                }
                Ok(tokens)
            };
            let rows_of_tokens = sections.iter().map(tokens);
            let tokens: Vec<_> = rows_of_tokens.collect::<Result<_, RunError>>()?;
            let costs = engine.evaluate(&Batch::Text(TextBatch {
                steps,
                rows,
                first: 0,
                inputs: side_by_side(&tokens, 0..steps),
                targets: side_by_side(&tokens, 1..steps + 1),
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
        let count = |rank| groups.get(rank).map_or(0, |group: &&[Section]| group.len());
        Ok(self
            .distributed
            .gather(&nats, count, false)?
            .values
            .iter()
            .sum())
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
        Extent::Sample(size) if size < all => {
            let mut sections = Section::sample(segments, size);
            // A size below that of a section is meant as it is.
            if let [only] = &mut sections[..] {
                only.range.end -= only.counted().saturating_sub(size);
            }
            sections
        }
        _ => segments.iter().flat_map(Section::in_parallel).collect(),
    }
}

/// The most of `segments` of which an evaluation reads no more than about `tokens` tokens.
pub(super) fn within(segments: &[Range<usize>], tokens: f64) -> Extent {
    if predicted(&sections(segments, Extent::All)) as f64 <= tokens {
        return Extent::All;
    }
    // As many of the sections that a sample is chosen from.
    let [counted, predicted] = Section::choices(segments)
        .fold([0, 0], |[counted, predicted], one| {
            [counted + one.counted(), predicted + one.predicted()]
        });
    let size = tokens * counted as f64 / predicted as f64;
    Extent::Sample((size as usize).max(1))
}

impl Task for TextTask {
    fn join(&mut self, distributed: Rc<Distributed>) {
        self.distributed = distributed;
    }

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

    fn positions(&self) -> u64 {
        self.length as u64
    }

    fn next(&mut self, progress: &mut Progress, _fraction: f64) -> Result<Next, TrainError> {
        let [least, most] = [self.own.seq_min, self.own.seq];
        let noise = Noise::new(self.seed, Use::Lengths, progress.step);
        let wanted = least + noise.below(0, (most - least + 1) as u64) as usize;
        let offset = progress.cursor as usize;
        let steps = wanted.min(self.length - offset);
        let own = self.own_rows();
        let streams = self.streams[own.clone()].iter().map(|start| {
            let start = start + offset;
            self.trained(&(start..start + steps + 1))
        });
        let streams: Vec<_> = streams.collect::<Result<_, RunError>>()?;
        let [inputs, targets] = [0, 1].map(|at| side_by_side(&streams, at..at + steps));
        progress.cursor += steps as u64;
        if progress.cursor as usize >= self.length {
            progress.cursor = 0;
            progress.epoch += 1;
        }
        Ok(Next {
            batch: Batch::Text(TextBatch {
                steps,
                rows: own.len(),
                first: own.start,
                inputs,
                targets,
                last_only: self.own.loss == LossOver::Last,
                from_zero: offset == 0,
            }),
            kl_weight: 0.0,
            tokens: (steps * self.batch) as u64,
        })
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
        let mut token = self.text.read(0..1)?[0];
        let mut tokens = Vec::with_capacity(SAMPLE_LENGTH);
        while tokens.len() < SAMPLE_LENGTH {
            check(stop)?;
            model.step(&mut state, &[token]);
            token = sampler.sample(state.logits(0)).token;
            tokens.push(token);
        }
        Ok(self.vocabulary.decode_in_lines(&tokens))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::CorpusData;
    use crate::train::tests::{create_run, text_config, text_data, with};

    /// The text task of a run whose tokens are in its file, and the same tokens in memory.
    fn task(changes: &str) -> (TextTask, Vec<u32>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("folder");
        let config = with(&text_config(), changes);
        let run = create_run(folder.path(), "a", &config);
        let (CorpusData::Text(text), crate::config::ModelConfig::CharRnn(own)) =
            (run.corpus().expect("a corpus"), &config.model)
        else {
            panic!("a char-lstm");
        };
        let task = TextTask::new(&config, own, text).expect("a task");
        let tokens = text_data(3_000).tokens.all().expect("tokens").into_owned();
        (task, tokens, folder)
    }

    #[test]
    fn a_sample_may_be_smaller_than_a_section() {
        for (size, counts) in [(1, 1), (10, 10), (255, 255), (256, 256), (1000, 1024)] {
            let part = 100..5000;
            let sample = sections(std::slice::from_ref(&part), Extent::Sample(size));
            assert_eq!(counted(&sample), counts);
        }
        let windows: Vec<_> = (0..10).map(|at| 100 * at..100 * at + 100).collect();
        assert_eq!(counted(&sections(&windows, Extent::Sample(20))), 20);
    }

    #[test]
    fn documents_are_read_alone_in_training_and_evaluation() {
        use crate::config::Documents;
        use crate::train::NativeEngine;
        let folder = tempfile::tempdir().expect("folder");
        let mut config = with(&text_config(), "dropout=0 valid=0.2");
        config.text.documents = Documents::Line;
        let plain = text_data(3_000);
        let vocabulary = plain.vocabulary.clone().for_documents(&Documents::Line);
        let eos = vocabulary.document_end().expect("documents");
        let line_end = plain.vocabulary.beginning();
        // Every line is a document.
        let read = plain.tokens.all().expect("tokens");
        let mut tokens = vec![eos];
        for line in read
            .split(|&token| token == line_end)
            .filter(|line| !line.is_empty())
        {
            tokens.extend(line.iter().copied().chain([eos]));
        }
        let data = TextData {
            vocabulary,
            tokens: tokens.clone().into(),
        };
        let runs = crate::run::Runs::new(folder.path());
        let corpus = CorpusData::Text(data.clone());
        let run = runs.create("a", &config, &corpus, None).expect("created");
        let CorpusData::Text(data) = run.corpus().expect("a corpus") else {
            panic!("a text");
        };
        let crate::config::ModelConfig::CharRnn(own) = &config.model else {
            panic!("a char-lstm");
        };
        let task = TextTask::new(&config, own, data).expect("a task");
        assert_eq!(tokens[task.split.valid[0].start], eos);
        assert_eq!(task.split.train[0].end, task.split.valid[0].start);
        let mut engine = NativeEngine::new(&config, &task.network).expect("an engine");
        let stop = AtomicBool::new(false);
        let mut cost = |reading| {
            task.evaluate_as(Part::Valid, reading, &mut engine, &stop)
                .expect("a cost")
        };
        let (exact, count) = cost(Reading::Exact);
        let (parallel, _) = cost(Reading::Parallel(Extent::All));
        assert!((exact - parallel).abs() / count as f64 <= 1e-5);
        // The same as each document alone.
        let model = CharRnn::new(&task.network, &engine.weights()).expect("a network");
        let valid = &tokens[task.split.valid[0].clone()];
        let mut nats = 0.0;
        let documents: Vec<&[u32]> = valid.chunk_by(|_, &next| next != eos).collect();
        for (index, document) in documents.iter().enumerate() {
            // The last end of the text begins nothing.
            let end = [eos];
            let end = if index + 1 < documents.len() {
                &end[..]
            } else {
                &[]
            };
            let document = [document, end].concat();
            let mut state = model.state(1);
            for pair in document.windows(2) {
                model.step(&mut state, &pair[..1]);
                nats -= crate::generate::sampling::log_prob(state.logits(0), pair[1]);
            }
        }
        assert!(
            (exact - nats).abs() / count as f64 <= 1e-5,
            "{exact} {nats}"
        );
    }

    #[test]
    fn a_batch_has_the_next_tokens_of_every_stream_wherever_the_training_part_is() {
        for changes in ["split=contiguous", "split=interleaved valid=0.1 test=0.1"] {
            let (mut task, tokens, _folder) = task(changes);
            let parts = task.train.iter().flat_map(|part| &tokens[part.clone()]);
            let trained: Vec<i64> = parts.map(|&token| i64::from(token)).collect();
            let length = (trained.len() - 1) / 4;
            let mut progress = Progress::default();
            while progress.epoch == 0 {
                let offset = progress.cursor as usize;
                let Batch::Text(batch) = task.next(&mut progress, 0.0).expect("a batch").batch
                else {
                    panic!("a text");
                };
                assert_eq!(batch.steps, 16.min(length - offset));
                assert_eq!(batch.from_zero, offset == 0);
                for t in 0..batch.steps {
                    for row in 0..4 {
                        let at = row * length + offset + t;
                        assert_eq!(batch.inputs[t * 4 + row], trained[at]);
                        assert_eq!(batch.targets[t * 4 + row], trained[at + 1]);
                    }
                }
            }
        }
    }
}
