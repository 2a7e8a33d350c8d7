//! The training loop: steps, evaluations, saves, and what happens when something goes wrong.
//!
//! Everything that the next step depends on is either in the run's `config.toml`, in its
//! `state.safetensors`, or derived from (seed, step). On the CPU, a training that is stopped and
//! resumed therefore gives the same weights bit for bit as one that is not, except under `--minutes`,
//! where the clock decides.

mod article_task;
mod display;
mod files;
mod plan;
mod saver;
mod task;
mod text_task;
mod word_task;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use tch::{Device, Tensor};
use textgen::config::{Budget, ModelConfig, Precision, Schedule, TrainConfig};
use textgen::models::weights::Weights;
use textgen::run::{CorpusData, Evaluation, METRICS_FORMAT, Metrics, Progress, RunDir};

pub use display::{Display, Line, duration};
pub use task::{Part, Task, Use, random};
pub use text_task::{Reading, TextTask};
pub use word_task::WordTask;

use crate::average::Average;
use crate::device::set_precision;
use crate::optimizer::Optimizer;

use crate::schedule::learning_rate;
use article_task::ArticleTask;
use saver::Saver;

/// Evaluations in a training whose `eval-every` is 0.
const AUTOMATIC_EVALUATIONS: u64 = 10;
/// The same for a training of less than a minute, of which evaluations would take too much.
const HURRIED_EVALUATIONS: u64 = 3;
/// Steps between checks of the loss on a device that has to be waited for.
const LOOK_EVERY: u64 = 50;
/// Steps that are timed together on such a device.
const MEASURED_AT_ONCE: u64 = 20;
/// The most returns to an earlier state before giving up.
const MOST_ROLLBACKS: u64 = 3;

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its budget is used up.
    Budget,
    /// Its patience is exhausted.
    Patience,
    /// The user stopped it; it can be resumed.
    Stopped,
}

/// The task of a run: its model with initial weights, and its corpus.
pub fn task(config: &TrainConfig, corpus: CorpusData, device: Device) -> Result<Box<dyn Task>> {
    Ok(match (corpus, &config.model) {
        (CorpusData::Text(text), _) => Box::new(TextTask::new(config, text, device)?),
        (CorpusData::Words(words), ModelConfig::Article(_)) => {
            Box::new(ArticleTask::new(config, words, device))
        }
        (CorpusData::Words(words), _) => Box::new(WordTask::new(config, words, device)?),
    })
}

/// The parts of a model file that come from the corpus.
struct Identity {
    vocabulary: textgen::text::Vocabulary,
    training_words: Option<Arc<str>>,
}

impl Identity {
    fn of(corpus: &CorpusData) -> Self {
        Self {
            vocabulary: corpus.vocabulary().clone(),
            training_words: match corpus {
                CorpusData::Text(_) => None,
                CorpusData::Words(data) => {
                    let words: Vec<&str> =
                        data.train.iter().map(|&i| data.words[i].as_str()).collect();
                    Some(words.join("\n").into())
                }
            },
        }
    }
}

/// A training in progress.
pub struct Trainer<'a> {
    run: &'a RunDir,
    config: TrainConfig,
    identity: Identity,
    /// The model and its corpus.
    pub task: Box<dyn Task>,
    optimizer: Optimizer,
    /// The averaged weights, if these are evaluated and saved.
    average: Option<Average>,
    progress: Progress,
    display: Display,
    saver: Saver,
    device: Device,
    /// Whether libtorch's generator is seeded for the following steps, on a device that is seeded once.
    seeded: bool,
    /// Losses not yet checked, on a device that has to be waited for.
    unseen: Vec<Tensor>,
    valid: Option<Evaluation>,
    sitting: Instant,
    seconds_before: f64,
}

impl<'a> Trainer<'a> {
    /// Starts a training, or continues from its saved state.
    pub fn new(run: &'a RunDir, device: Device) -> Result<Self> {
        let config = run.config()?;
        set_precision(config.precision, device)?;
        let corpus = run.corpus()?;
        let identity = Identity::of(&corpus);
        let mut task = task(&config, corpus, device)?;
        if let Some(start) = run.start()? {
            task.parameters_mut().load(&start.weights()?, "")?;
        }
        let optimizer = Optimizer::new(&config, task.parameters());
        let average = (config.ema > 0.0).then(|| Average::new(config.ema, task.parameters()));
        let progress = Progress {
            lr_scale: 1.0,
            ..Progress::default()
        };
        Ok(Self {
            run,
            identity,
            optimizer,
            average,
            task,
            progress,
            display: Display::on_stderr(),
            saver: Saver::new(),
            device,
            seeded: false,
            unseen: Vec::new(),
            valid: None,
            sitting: Instant::now(),
            seconds_before: 0.0,
            config,
        })
    }

    /// Seconds of training over all sessions.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.sitting.elapsed().as_secs_f64()
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
    pub fn train(&mut self, stop: &AtomicBool) -> Result<Ending> {
        self.train_until(stop, None)
    }

    /// [`Trainer::train`], but stops after step `last` as if the user had.
    pub fn train_until(&mut self, stop: &AtomicBool, last: Option<u64>) -> Result<Ending> {
        self.sitting = Instant::now();
        if self.progress.step == 0 {
            self.save()?;
            self.saver.wait()?;
        }
        loop {
            if self.fraction() >= 1.0 {
                if self.finish()? {
                    return Ok(Ending::Budget);
                }
                continue;
            }
            if stop.load(Ordering::Relaxed) || last.is_some_and(|last| self.progress.step >= last) {
                self.save()?;
                self.saver.wait()?;
                self.display.finish();
                return Ok(Ending::Stopped);
            }
            if !self.step()? {
                continue;
            }
            if self.display.is_due() {
                self.show();
            }
            if self.evaluation_is_due() {
                let patience = self.config.patience;
                let tired =
                    self.evaluate()? && patience > 0 && self.progress.since_best >= patience;
                if tired && self.finish()? {
                    return Ok(Ending::Patience);
                }
            } else if self.config.save_every > 0
                && self.progress.step.is_multiple_of(self.config.save_every)
            {
                self.save()?;
            }
        }
    }

    /// Takes one step without evaluating, saving or showing, for benchmarks. Returns its tokens and
    /// seconds. On CUDA these are means over several steps, since timing has to wait for the
    /// device.
    pub fn measure(&mut self) -> Result<(u64, f64)> {
        let steps = if self.device.is_cuda() {
            MEASURED_AT_ONCE
        } else {
            1
        };
        let (before, started) = (self.progress.chars, Instant::now());
        for _ in 0..steps {
            self.step()?;
        }
        self.look();
        let seconds = started.elapsed().as_secs_f64();
        let tokens = self.progress.chars - before;
        Ok((tokens / steps, seconds / steps as f64))
    }

    /// Takes one optimizer step; false if it returned to an earlier state instead.
    fn step(&mut self) -> Result<bool> {
        let fraction = self.fraction();
        let lr = learning_rate(
            &self.config,
            self.progress.step,
            fraction,
            self.progress.lr_scale,
        );
        self.seed_libtorch();
        let (loss, tokens) = self.task.next_loss(&mut self.progress, fraction);
        if !self.accept(&loss) {
            self.roll_back()?;
            return Ok(false);
        }
        self.optimizer.drop_gradients()?;
        loss.backward();
        self.optimizer.step(lr)?;
        self.progress.step += 1;
        if let Some(average) = &mut self.average {
            average.step(self.task.parameters(), self.progress.step);
        }
        self.progress.chars += tokens;
        Ok(true)
    }

    /// Dropout and ε come from libtorch's generator, on the CPU seeded anew for every step. On CUDA that
    /// would make cuDNN prepare its dropout anew at every step, which waits for the device: there it
    /// is seeded when a session starts, and after a return to an earlier state.
    fn seed_libtorch(&mut self) {
        use rand::Rng;
        if self.device.is_cuda() && std::mem::replace(&mut self.seeded, true) {
            return;
        }
        let seed = random(self.config.seed, Use::Step, self.progress.step).next_u64();
        tch::manual_seed((seed >> 1) as i64);
    }

    /// Adds the loss to the running mean; false if it is not finite.
    fn accept(&mut self, loss: &Tensor) -> bool {
        self.unseen.push(loss.detach());
        if self.device.is_cuda() && (self.unseen.len() as u64) < LOOK_EVERY {
            return true;
        }
        self.look()
    }

    /// Checks the losses that have not been checked; false if one is not finite.
    fn look(&mut self) -> bool {
        if self.unseen.is_empty() {
            return true;
        }
        let count = self.unseen.len() as u64;
        let sum = Tensor::stack(&self.unseen, 0)
            .sum(tch::Kind::Double)
            .double_value(&[]);
        self.unseen.clear();
        if !sum.is_finite() {
            return false;
        }
        self.progress.loss_sum += sum;
        self.progress.loss_steps += count;
        true
    }

    /// Returns to the last saved state with half the learning rate.
    fn roll_back(&mut self) -> Result<()> {
        let rollbacks = self.progress.rollbacks + 1;
        let scale = self.progress.lr_scale * 0.5;
        let at = self.progress.step;
        if rollbacks > MOST_ROLLBACKS {
            bail!(
                "the loss is not finite at step {at}, for the {rollbacks}th time\nhint: train with a lower --lr (now {}), or with --clip 1",
                self.config.lr
            );
        }
        self.saver.wait()?;
        let Some(state) = self.run.state()? else {
            bail!("the loss is not finite at step {at}, and there is no state to go back to");
        };
        self.restore(&state)?;
        self.progress.rollbacks = rollbacks;
        self.progress.lr_scale = scale;
        Metrics::truncate_after(&self.run.metrics_path(), self.progress.step)?;
        self.display.say(&format!(
            "the loss was not finite at step {at}: back to step {} with the learning rate times {scale}",
            self.progress.step
        ));
        self.save()?;
        self.saver.wait()
    }

    fn evaluation_is_due(&self) -> bool {
        if self.config.eval_every > 0 {
            return self.progress.step.is_multiple_of(self.config.eval_every);
        }
        if let Some(steps) = self.total_steps() {
            let every = steps.div_ceil(AUTOMATIC_EVALUATIONS).max(1);
            return self.progress.step.is_multiple_of(every);
        }
        let evaluations = match self.config.budget {
            Budget::Minutes(minutes) if minutes < 1.0 => HURRIED_EVALUATIONS,
            _ => AUTOMATIC_EVALUATIONS,
        };
        let passed = |fraction: f64| (fraction * evaluations as f64).floor();
        passed(self.fraction()) > passed(self.progress.last_fraction)
    }

    /// Evaluates, saves the model if it is the best, logs, saves, and sometimes shows a sample.
    /// False if it returned to an earlier state instead.
    fn evaluate(&mut self) -> Result<bool> {
        if !self.look() || !self.task.parameters().are_finite() {
            self.roll_back()?;
            return Ok(false);
        }
        let (chars, seconds) = self.progress.last;
        let rate = (self.progress.chars - chars) as f64 / (self.seconds() - seconds).max(1e-9);
        let valid = self.evaluate_kept(Part::Valid)?;
        if valid.is_some_and(|valid| !valid.selection(&self.config).is_finite()) {
            self.roll_back()?;
            return Ok(false);
        }
        self.progress.evaluations += 1;
        let train_loss = self.progress.loss_sum / self.progress.loss_steps.max(1) as f64;
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
        self.metrics(train_loss, valid, rate)
            .append(&self.run.metrics_path())?;
        self.progress.last = (self.progress.chars, self.seconds());
        self.progress.last_fraction = self.fraction();
        self.progress.loss_sum = 0.0;
        self.progress.loss_steps = 0;
        if self.config.save_every == 0 || self.progress.step.is_multiple_of(self.config.save_every)
        {
            self.save()?;
        }
        let line = self.line(train_loss, rate);
        self.display.evaluated(&line);
        let every = self.config.sample_every;
        if every > 0 && (self.progress.evaluations - 1).is_multiple_of(every) {
            self.show_sample()?;
        }
        // Time spent on samples and evaluations does not count in the next line's rate.
        self.progress.last.1 = self.seconds();
        Ok(true)
    }

    /// The weights for a model file: the averaged ones if there are any, else the current ones.
    fn kept_weights(&self) -> Weights<'static> {
        let parameters = self.task.parameters();
        let mut weights = match &self.average {
            Some(average) => average.to_weights(parameters),
            None => parameters.to_weights(),
        };
        weights.extend(self.task.extra_weights());
        weights
    }

    /// The loss, on a held-out part, of the weights that are saved.
    fn evaluate_kept(&mut self, part: Part) -> Result<Option<Evaluation>> {
        self.exchange_average();
        let evaluation = self.evaluate_part(part);
        self.exchange_average();
        evaluation
    }

    fn exchange_average(&mut self) {
        if let Some(average) = &mut self.average {
            average.exchange(self.task.parameters_mut());
        }
    }

    /// The loss of the model on a held-out part, in f32 as it is saved, whatever the training computes in.
    fn evaluate_part(&self, part: Part) -> Result<Option<Evaluation>> {
        set_precision(Precision::F32, self.device)?;
        let evaluation = self.task.evaluate(part)?;
        set_precision(self.config.precision, self.device)?;
        Ok(evaluation)
    }

    fn metrics(
        &self,
        train_loss: f64,
        valid: Option<Evaluation>,
        chars_per_second: f64,
    ) -> Metrics {
        Metrics {
            format: METRICS_FORMAT,
            step: self.progress.step,
            epoch: self.epoch(),
            chars: self.progress.chars,
            seconds: self.seconds(),
            lr: learning_rate(
                &self.config,
                self.progress.step.saturating_sub(1),
                self.fraction(),
                self.progress.lr_scale,
            ),
            train_loss,
            valid,
            test: None,
            chars_per_second,
            finished: false,
        }
    }

    fn line(&self, loss: f64, rate: f64) -> Line<'_> {
        let fraction = self.fraction();
        let left = match self.config.budget {
            Budget::Minutes(minutes) => Some((minutes * 60.0 - self.seconds()).max(0.0)),
            _ if fraction > 0.0 => Some(self.seconds() * (1.0 - fraction).max(0.0) / fraction),
            _ => None,
        };
        Line {
            step: self.progress.step,
            steps: self.total_steps(),
            fraction,
            epoch: self.epoch(),
            loss,
            valid: self.valid.as_ref(),
            rate,
            left,
        }
    }

    fn show(&mut self) {
        let loss = self.progress.loss_sum / self.progress.loss_steps.max(1) as f64;
        let (chars, seconds) = self.progress.last;
        let rate = (self.progress.chars - chars) as f64 / (self.seconds() - seconds).max(1e-9);
        let line = self.line(loss, rate);
        let (text, fraction) = (Display::text(&line), line.fraction.min(1.0));
        self.display.update(|| text, fraction);
    }

    /// The last evaluation, and the test of the best model. False if the evaluation returned to an
    /// earlier state, so that the training continues.
    fn finish(&mut self) -> Result<bool> {
        let evaluated = Metrics::read(&self.run.metrics_path())?
            .last()
            .is_some_and(|line| line.step == self.progress.step);
        if !evaluated && !self.evaluate()? {
            return Ok(false);
        }
        self.display.finish();
        self.saver.wait()?;
        let newest = self.task.parameters().to_weights();
        let best = self.run.model()?;
        self.task.parameters_mut().load(&best.weights()?, "")?;
        let test = self.evaluate_part(Part::Test)?;
        self.task.parameters_mut().load(&newest, "")?;
        let mut lines = Metrics::read(&self.run.metrics_path())?;
        if let Some(last) = lines.last_mut() {
            last.test = test;
            last.finished = true;
            Metrics::truncate_after(&self.run.metrics_path(), last.step.saturating_sub(1))?;
            last.append(&self.run.metrics_path())?;
        }
        self.progress.finished = Some(self.config.budget.to_string());
        self.save()?;
        self.saver.wait()?;
        Ok(true)
    }

    /// The progress of the training.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}
