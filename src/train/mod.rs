//! Training: corpora become batches, and an [`Engine`] learns from them.
//!
//! [`Trainer`] is the loop: steps, evaluations, saves, and what happens when something goes wrong. Everything
//! that the next step depends on is in the run's `config.toml`, in its saved state, or
//! derived from (seed, step). On the CPU, a training that is stopped anywhere and resumed therefore gives the
//! same weights bit for bit as one that is not, except under `--minutes`, where the clock decides.

mod article;
mod distributed;
mod end;
mod engine;
mod error;
mod files;
pub mod memory;
mod native;
mod plan;
mod report;
mod saver;
mod schedule;
mod shards;
mod share;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::hash::Hasher as _;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use crate::models::variational::RateController;
pub use distributed::{Distributed, Gathered, GroupError, ProcessGroup, Threads};
pub use engine::{Batch, Costs, Engine, EngineError, Losses, Step};
pub use error::TrainError;
#[cfg(feature = "cli")]
pub(crate) use files::ENTRY as SAMPLE_ENTRY;
pub use native::NativeEngine;
pub use plan::Plan;
pub use report::{Line, Report};
pub use shards::{Sum, Tree, levels as tree_levels, rows as shard_rows};
pub use share::evaluation_size;

use crate::config::{Budget, ModelConfig, NetworkConfig, Schedule, TrainConfig};
use crate::models::weights::without_use_of_z;
use crate::run::{CharLoss, CorpusData, Evaluation, Held, Progress, RunDir, Unfinished};
use article::ArticleTask;
use files::Identity;
use saver::Saver;
use schedule::learning_rate;
use serde::Serialize;
use task::{Extent, Next, Part, Task};
use text::{Reading, TextTask};
use twox_hash::XxHash64;
use words::WordTask;

/// The most returns to an earlier state before giving up.
const MOST_ROLLBACKS: u64 = 3;

/// The most of a training that a crash or a power failure may lose.
const MOST_UNSAVED: Duration = Duration::from_secs(300);

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Its budget is used up.
    Budget,
    /// Its patience is exhausted.
    Patience,
    /// The user stopped it; it can be resumed.
    Stopped,
}

/// Creates the engine of a run.
pub type Factory<'a> =
    dyn Fn(&TrainConfig, &NetworkConfig) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// A number that is another one for other bytes.
fn digest(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}

/// The corpus of a run as batches.
fn task(config: &TrainConfig, corpus: CorpusData) -> Result<Box<dyn Task>, TrainError> {
    Ok(match (corpus, &config.model) {
        (CorpusData::Text(text), ModelConfig::CharRnn(own)) => {
            Box::new(TextTask::new(config, own, text)?)
        }
        (CorpusData::Words(words), ModelConfig::WordVae(own)) => {
            Box::new(WordTask::new(config, own, words)?)
        }
        (CorpusData::Words(words), ModelConfig::Article(_)) => {
            Box::new(ArticleTask::new(config, words))
        }
        _ => return Err(TrainError::OtherCorpus(config.kind())),
    })
}

/// The losses of a run's best model on its validation and test parts, by `factory`'s engine. A char-lstm reads
/// each part one token after the other, whereas training reads several streams at once.
pub fn evaluate_exactly(
    run: &RunDir,
    factory: &Factory,
) -> Result<[Option<Evaluation>; 2], TrainError> {
    let (config, go) = (run.config()?, AtomicBool::new(false));
    let corpus = run.corpus()?;
    let vocabulary = corpus.vocabulary();
    let network = config.network(
        vocabulary.len(),
        vocabulary.outputs(),
        vocabulary.document_end(),
    );
    let mut engine = factory(&config, &network)?;
    engine.set_weights(&run.model()?.weights()?)?;
    let mut losses = [None, None];
    for (part, loss) in [Part::Valid, Part::Test].into_iter().zip(&mut losses) {
        *loss = match (run.corpus()?, &config.model) {
            (CorpusData::Text(text), ModelConfig::CharRnn(own)) => {
                let task = TextTask::new(&config, own, text)?;
                let (nats, tokens) = task.evaluate_as(part, Reading::Exact, &mut *engine, &go)?;
                let loss = CharLoss::from_nats(nats / tokens as f64);
                (tokens > 0).then_some(Evaluation::Char(loss))
            }
            (corpus, _) => task(&config, corpus)?.evaluate(part, Extent::All, &mut *engine, &go)?,
        };
    }
    Ok(losses)
}

/// A training in progress.
pub struct Trainer<'a> {
    run: &'a RunDir,
    /// The run's folder, which every write asks for.
    held: Held,
    config: TrainConfig,
    identity: Identity,
    /// Letters of the words of a step, and of an evaluation, at most.
    letters: [u64; 2],
    task: Box<dyn Task>,
    engine: Box<dyn Engine>,
    distributed: Rc<Distributed>,
    /// What the evaluations of the training read of the validation part,
    extent: Extent,
    /// and the fewest tokens to train on between two of them.
    apart: f64,
    progress: Progress,
    report: Box<dyn FnMut(Report) + 'a>,
    reported: Instant,
    saver: Saver,
    /// The point of the training that was saved last in this session.
    saved: Option<(u64, Option<Unfinished>)>,
    /// and the seconds of the session at that time.
    saved_at: f64,
    /// The most time without a save, unless the settings say after how many steps one comes.
    unsaved: Duration,
    valid: Option<Evaluation>,
    rise: Option<[f64; 2]>,
    /// The step and the fraction of the training at which this session began,
    began: (u64, f64),
    /// and the seconds that it takes, as far as that was said.
    expected: Option<f64>,
    seconds_before: f64,
}

impl<'a> Trainer<'a> {
    /// Prepares a training from its first step; [`Trainer::resume`] continues from its saved state.
    pub fn new(
        run: &'a RunDir,
        factory: &Factory,
        report: impl FnMut(Report) + 'a,
    ) -> Result<Self, TrainError> {
        Self::in_group(run, factory, Rc::default(), report)
    }

    /// [`Trainer::new`] by one of several processes, each of which has a copy of the run or the same one.
    pub fn in_group(
        run: &'a RunDir,
        factory: &Factory,
        distributed: Rc<Distributed>,
        report: impl FnMut(Report) + 'a,
    ) -> Result<Self, TrainError> {
        let config = run.config()?;
        distributed.check_shards(config.shards)?;
        distributed.compare("config.toml", digest(format!("{config:?}").as_bytes()))?;
        distributed.compare("the corpus", digest(config.corpus_digest.as_bytes()))?;
        let corpus = run.corpus()?;
        let identity = Identity::of(&corpus);
        let sized = memory::sized(&config, &corpus);
        let vocabulary = corpus.vocabulary();
        let network = config.network(
            vocabulary.len(),
            vocabulary.outputs(),
            vocabulary.document_end(),
        );
        let letters = memory::letters(&sized, &network, &corpus);
        let mut task = task(&config, corpus)?;
        task.join(distributed.clone());
        let mut engine = factory(&sized, task.network())?;
        engine.join(distributed.clone())?;
        if let Some(start) = run.start()? {
            engine.set_weights(&start.weights()?)?;
        } else if config.pretrains(0.0) {
            engine.set_weights(&without_use_of_z(engine.weights(), task.network()))?;
        }
        let extent = Extent::of_size(config.eval_size);
        let progress = Progress {
            lr_scale: 1.0,
            samples: Some(0),
            ..Progress::default()
        };
        Ok(Self {
            run,
            held: run.hold()?,
            identity,
            letters,
            apart: share::apart(&*task, extent),
            extent,
            task,
            engine,
            distributed,
            progress,
            report: Box::new(report),
            reported: Instant::now(),
            saver: Saver::new(),
            saved: None,
            saved_at: 0.0,
            unsaved: MOST_UNSAVED,
            valid: None,
            rise: None,
            began: (0, 0.0),
            expected: None,
            seconds_before: 0.0,
            config,
        })
    }

    /// The progress of the training.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The settings of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The learning rate at which a training ended and that with which it goes on, if a schedule over a larger budget
    /// raises it again.
    pub const fn rise(&self) -> Option<[f64; 2]> {
        self.rise
    }

    /// Seconds of training over all sessions.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.distributed.elapsed()
    }

    /// The total number of steps, if the budget determines it.
    fn total_steps(&self) -> Option<u64> {
        match self.config.budget {
            Budget::Steps(steps) => Some(steps),
            Budget::Epochs(epochs) if self.config.varying_lengths().is_none() => {
                Some(((epochs * self.task.steps_per_epoch()).round() as u64).max(1))
            }
            _ => None,
        }
    }

    fn epoch(&self) -> f64 {
        // If sequence lengths are random, the steps of a pass are known only on average.
        let steps = self.task.steps_per_epoch();
        match self.config.varying_lengths() {
            None => self.progress.step as f64 / steps,
            Some([shortest, longest]) => {
                self.progress.epoch as f64
                    + self.progress.cursor as f64 / (steps * (longest + shortest) as f64 / 2.0)
            }
        }
    }

    /// The fraction of the training that is done, 0 to 1 and beyond.
    fn fraction(&self) -> f64 {
        match (self.config.budget, self.total_steps()) {
            (Budget::Minutes(minutes), _) => self.seconds() / (60.0 * minutes),
            (Budget::Epochs(epochs), None) => self.epoch() / epochs,
            (_, Some(steps)) | (Budget::Steps(steps), None) => {
                self.progress.step as f64 / steps as f64
            }
        }
    }

    /// Trains until the budget, the patience or `stop` ends it.
    pub fn train(&mut self, stop: &AtomicBool) -> Result<Ending, TrainError> {
        self.train_until(stop, None)
    }

    /// [`Trainer::train`], but stops after step `last` as if the user had.
    pub fn train_until(
        &mut self,
        stop: &AtomicBool,
        last: Option<u64>,
    ) -> Result<Ending, TrainError> {
        self.distributed.start();
        self.saved_at = 0.0;
        self.began = (self.progress.step, self.fraction());
        if self.progress.step == 0 && self.progress.unfinished.is_none() {
            self.save()?;
            self.saver.wait()?;
        }
        let ending = match self.go_on(stop, last) {
            Err(TrainError::Stopped) => Ending::Stopped,
            Err(TrainError::Group(error) | TrainError::Engine(EngineError::Group(error))) => {
                return Err(TrainError::Apart {
                    step: self.progress.step,
                    error,
                    resume: self.run.command(&["train", "--resume"]),
                });
            }
            other => other?,
        };
        if ending == Ending::Stopped {
            // A user who stops before the first evaluation can still generate.
            let is_new = self.progress.best.is_none() && self.progress.step > 0;
            if is_new && self.engine.are_finite() {
                self.write_model(None)?;
            }
            if self.saved != Some(self.point()) {
                self.save()?;
            }
        }
        self.saver.wait()?;
        (self.report)(Report::Ended);
        Ok(ending)
    }

    /// Takes one step after the other, and does what comes between them.
    fn go_on(&mut self, stop: &AtomicBool, last: Option<u64>) -> Result<Ending, TrainError> {
        loop {
            // A group agrees in the step, the evaluation or the sample that comes now.
            if self.distributed.is_alone() {
                task::check(stop)?;
            }
            match self.progress.unfinished {
                Some(Unfinished::Evaluation) => {
                    self.evaluate(stop)?;
                    continue;
                }
                Some(Unfinished::Sample) => {
                    self.sample(stop)?;
                    // Time spent on samples and evaluations does not count in the next line's rate.
                    self.progress.last.1 = self.seconds();
                    self.tire();
                    continue;
                }
                Some(Unfinished::Test) => {
                    self.finish(stop)?;
                    return Ok(Ending::Patience);
                }
                None => {}
            }
            if self.fraction() >= 1.0 {
                if self.is_evaluated() {
                    self.finish(stop)?;
                    return Ok(Ending::Budget);
                }
                self.progress.unfinished = Some(Unfinished::Evaluation);
                continue;
            }
            if last.is_some_and(|last| self.progress.step >= last) {
                return Err(TrainError::Stopped);
            }
            if !self.step(stop)? {
                continue;
            }
            self.show();
            if self.evaluation_is_due() {
                self.progress.unfinished = Some(Unfinished::Evaluation);
            } else if self.config.save_every > 0
                && self.progress.step.is_multiple_of(self.config.save_every)
            {
                self.save()?;
            } else if self.config.save_every == 0
                && self.distributed.elapsed() - self.saved_at >= self.unsaved.as_secs_f64()
            {
                self.save_recent()?;
            }
        }
    }

    /// Where the training is: after so many steps, and before what.
    fn point(&self) -> (u64, Option<Unfinished>) {
        (self.progress.step, self.progress.unfinished)
    }

    /// Ends a training whose patience is exhausted, once everything after its evaluation is done.
    fn tire(&mut self) {
        let patience = self.config.patience;
        let is_tired = patience > 0 && self.progress.since_best >= patience;
        if is_tired && self.progress.unfinished.is_none() {
            self.progress.unfinished = Some(Unfinished::Test);
        }
    }

    /// Takes `steps` steps without evaluating, saving or reporting, for benchmarks. Returns the tokens and
    /// seconds of one, on average.
    #[doc(hidden)]
    pub fn measure(&mut self, steps: u64) -> Result<(u64, f64), TrainError> {
        let (before, started) = (self.progress.chars, Instant::now());
        for _ in 0..steps {
            self.step(&AtomicBool::new(false))?;
        }
        self.look(true);
        let seconds = started.elapsed().as_secs_f64();
        let tokens = self.progress.chars - before;
        Ok((tokens / steps.max(1), seconds / steps.max(1) as f64))
    }

    /// Takes one optimizer step, or leaves it if it is stopped; false if it returned to an earlier state instead.
    fn step(&mut self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let fraction = self.fraction();
        let number = self.progress.step;
        let lr = self.rate_of(number);
        let before = (self.progress.epoch, self.progress.cursor);
        let Next {
            batch,
            kl_weight,
            tokens,
        } = self.task.next(&mut self.progress, fraction)?;
        let step = Step {
            number,
            lr,
            kl_weight: kl_weight as f32,
            stop: Some(stop),
        };
        if let Err(error) = self.engine.step(&batch, &step) {
            (self.progress.epoch, self.progress.cursor) = before;
            return Err(match error {
                EngineError::Stopped => TrainError::Stopped,
                error => error.into(),
            });
        }
        self.progress.step += 1;
        self.progress.chars += tokens;
        if !self.look(false) {
            self.roll_back()?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Adds the losses that have not been seen to the running mean; false if one is not finite.
    fn look(&mut self, wait: bool) -> bool {
        let Losses { sum, steps } = self.engine.losses(wait);
        if !sum.is_finite() {
            return false;
        }
        self.progress.loss_sum += sum;
        self.progress.loss_steps += steps;
        true
    }

    /// The learning rate of step `step` (from 0), which is about to come or has just been.
    fn rate_of(&self, step: u64) -> f64 {
        learning_rate(&self.config, step, self.fraction(), self.progress.lr_scale)
    }

    /// Returns to the last saved state with half the learning rate.
    fn roll_back(&mut self) -> Result<(), TrainError> {
        let times = self.progress.rollbacks + 1;
        let scale = self.progress.lr_scale * 0.5;
        let at = self.progress.step;
        if times > MOST_ROLLBACKS {
            return Err(TrainError::Diverged {
                step: at,
                times,
                resume: self.run.command(&["train", "--resume"]),
                lr: self.config.lr,
            });
        }
        self.saver.wait()?;
        let Some(state) = self.shared_state(RunDir::steady_state)? else {
            return Err(TrainError::NothingSaved { step: at });
        };
        self.restore(&state)?;
        self.progress.rollbacks = times;
        self.progress.lr_scale = scale;
        // The evaluation of these weights may be what failed; a sample of them is still to come.
        self.progress.unfinished = self
            .progress
            .unfinished
            .filter(|&u| u == Unfinished::Sample);
        let to = self.progress.step;
        self.follow_state()?;
        (self.report)(Report::RolledBack { at, to, scale });
        self.save()?;
        self.saver.wait()
    }

    fn evaluation_is_due(&self) -> bool {
        if self.config.eval_every > 0 {
            return self.progress.step.is_multiple_of(self.config.eval_every);
        }
        let evaluations = share::automatic(self.config.budget);
        if let Some(steps) = self.total_steps() {
            let tokens = steps as f64 * self.task.tokens_per_step();
            let most = (tokens / self.apart) as u64;
            let every = steps.div_ceil(evaluations.min(most).max(1));
            return self.progress.step.is_multiple_of(every);
        }
        let passed = |fraction: f64| (fraction * evaluations as f64).floor();
        let trained = self.progress.chars - self.progress.last.0;
        trained as f64 >= self.apart
            && passed(self.fraction()) > passed(self.progress.last_fraction)
    }

    /// Evaluates, saves the model if it is the best, logs and saves; or returns to an earlier state.
    fn evaluate(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        if !self.look(true) || !self.engine.are_finite() {
            return self.roll_back();
        }
        self.compare_weights()?;
        let rate = self.rate();
        self.engine.use_average(true);
        let engine = &mut *self.engine;
        let valid = self.task.evaluate(Part::Valid, self.extent, engine, stop);
        self.engine.use_average(false);
        let valid = valid?;
        if valid.is_some_and(|valid| !valid.selection(&self.config).is_finite()) {
            return self.roll_back();
        }
        self.progress.evaluations += 1;
        let train_loss = self.train_loss();
        // Without a validation part, the newest model is the best, as in the originals.
        let newest = valid.is_none() || self.config.keeps_newest();
        let figure = valid.map_or(train_loss, |valid| valid.selection(&self.config));
        if newest || self.progress.best.is_none_or(|best| figure < best) {
            self.progress.best = Some(figure);
            self.progress.best_step = self.progress.step;
            self.progress.since_best = 0;
            self.write_model(valid)?;
        } else {
            self.progress.since_best += 1;
            if self.config.schedule == Schedule::Plateau {
                self.progress.lr_scale *= self.config.decay;
            }
        }
        self.valid = valid;
        let line = self.metrics(train_loss, valid, rate);
        self.progress.evaluated = Some(line.clone());
        let path = self.run.metrics_path();
        self.submit(move || line.append(&path))?;
        self.progress.last = (self.progress.chars, self.seconds());
        self.progress.last_fraction = self.fraction();
        self.progress.loss_sum = 0.0;
        self.progress.loss_steps = 0;
        let every = self.config.sample_every;
        let sampled = every > 0 && (self.progress.evaluations - 1).is_multiple_of(every);
        self.progress.unfinished = sampled.then_some(Unfinished::Sample);
        self.tire();
        if self.config.save_every == 0 || self.progress.step.is_multiple_of(self.config.save_every)
        {
            self.save()?;
        }
        let line = self.line(train_loss, rate);
        if let Some(logged) = &self.progress.evaluated {
            (self.report)(Report::Logged(logged));
        }
        (self.report)(Report::Evaluated(&line));
        self.progress.last.1 = self.seconds();
        Ok(())
    }

    /// Returns an error if the processes of a training have different weights: they would if their processors, or their
    /// versions of a library, computed differently.
    fn compare_weights(&self) -> Result<(), TrainError> {
        if self.distributed.is_alone() {
            return Ok(());
        }
        let mut hasher = XxHash64::with_seed(0);
        for array in self.engine.weights().values() {
            for value in array.data().iter() {
                hasher.write(&value.to_le_bytes());
            }
        }
        Ok(self.distributed.compare("the weights", hasher.finish())?)
    }

    /// Whether the weights of this step have been evaluated.
    fn is_evaluated(&self) -> bool {
        let last = self.progress.evaluated.as_ref();
        last.is_some_and(|line| line.step == self.progress.step)
    }
}
