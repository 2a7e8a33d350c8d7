//! The engine on the CPU, on the library's own kernels. The bits of a training depend neither on the number
//! of threads nor on the SIMD level.

mod article;
mod optimizer;
mod text;
mod words;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::distributed::Distributed;
use super::memory;
use super::shards::Sum;
use super::{Batch, Costs, Engine, EngineError, Losses, Step};
use crate::config::{Device, ModelConfig, NetworkConfig, Precision, TrainConfig};
use crate::kernels::Kernels;
use crate::kernels::simd::{self, Level};
use crate::kernels::training::{Buffers, Pool, Team, Workers};
use crate::models::training::Parameters;
use crate::models::weights::{WeightError, Weights};
use article::Article;
use optimizer::{Average, Optimizer};
use text::Text;
use words::Words;

/// The names of the weights in a training state are preceded by this.
const WEIGHTS: &str = "weights.";

/// A model's training on the CPU.
pub struct NativeEngine {
    model: Model,
    own: Own,
    parameters: Parameters,
    optimizer: Optimizer,
    /// The averaged weights, if these are evaluated and saved.
    average: Option<Average>,
    sum: Sum,
    losses: Losses,
    distributed: Rc<Distributed>,
}

/// The networks, each with its buffers and what it carries from step to step.
#[allow(clippy::large_enum_variant, reason = "one exists at a time")]
enum Model {
    Text(Text),
    Words(Words),
    Article(Article),
}

impl Model {
    /// What the next step depends on besides weights and optimizer.
    fn carried(&self) -> Weights<'static> {
        match self {
            Self::Text(model) => model.carried(),
            Self::Words(model) => model.carried(),
            Self::Article(model) => model.carried(),
        }
    }

    /// Restores [`Model::carried`].
    fn restore(&mut self, state: &Weights) -> Result<(), WeightError> {
        match self {
            Self::Text(model) => model.restore(state),
            Self::Words(model) => model.restore(state),
            Self::Article(model) => model.restore(state),
        }
    }
}

/// The threads of an engine, and the settings that every model uses.
struct Own {
    pool: Pool,
    /// Of gradients; everything else is in f32.
    kernels: Kernels,
    buffers: Buffers,
    seed: u64,
    shards: usize,
}

/// The threads of a step that may be left before its end.
struct Stoppable<'a> {
    pool: &'a Pool,
    stop: Option<&'a AtomicBool>,
}

impl Team for Stoppable<'_> {
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.pool.run(jobs, job);
    }

    fn is_stopping(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

impl Own {
    fn workers(&self) -> Workers<'_> {
        Workers {
            team: &self.pool,
            kernels: self.kernels.in_f32(),
            buffers: &self.buffers,
        }
    }
}

/// What the gradients of a batch are computed from.
struct Of<'a> {
    workers: Workers<'a>,
    parameters: &'a Parameters,
    /// Of dropout: the training's seed and the number of the step.
    noise: (u64, u64),
    shards: usize,
    /// Who computes which of them.
    distributed: &'a Distributed,
}

impl NativeEngine {
    /// Starts with initial weights from the configuration's seed, if they fit in memory.
    pub fn new(config: &TrainConfig, network: &NetworkConfig) -> Result<Self, EngineError> {
        if let Some(why) = Self::lacks(config.precision, simd::level()) {
            let precision = config.precision;
            return Err(EngineError::Device(format!("{precision} {why}")));
        }
        let kernels = Kernels::new();
        let kernels = match config.precision {
            Precision::Bf16 => kernels.in_bf16(),
            Precision::F32 | Precision::Tf32 => kernels,
        };
        Self::with(config, network, kernels)
    }

    /// Why training on the CPU at a SIMD level cannot multiply in a precision; `None` if it can.
    pub fn lacks(precision: Precision, level: Level) -> Option<&'static str> {
        match precision {
            Precision::F32 => None,
            Precision::Bf16 if level == Level::Bf16 => None,
            Precision::Tf32 => Some("needs a CUDA device, and training is on the CPU"),
            Precision::Bf16 if Level::Bf16.is_supported() => {
                Some("needs AVX512_BF16, which TEXTGEN_SIMD leaves out")
            }
            Precision::Bf16 => Some("needs AVX512_BF16, which this processor lacks"),
        }
    }

    /// [`NativeEngine::new`] with given kernels, whatever precision is configured: in bf16 also on machines
    /// without instructions for it, slowly.
    pub fn with(
        config: &TrainConfig,
        network: &NetworkConfig,
        kernels: Kernels,
    ) -> Result<Self, EngineError> {
        if let Device::Cuda(_) = config.device {
            let why = format!("{} needs textgen-torch", config.device);
            return Err(EngineError::Device(why));
        }
        memory::check(config, network, memory::usual_letters(config))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if config.threads == 0 {
            cores
        } else {
            config.threads
        };
        let tied = matches!(&config.model, ModelConfig::CharRnn(own) if own.tied);
        let parameters = Parameters::init(network, config.seed, tied);
        let model = match &config.model {
            ModelConfig::CharRnn(own) => Model::Text(Text::new(config, own, network, &parameters)),
            ModelConfig::WordVae(own) => {
                Model::Words(Words::new(config, own, network, &parameters))
            }
            ModelConfig::Article(_) => Model::Article(Article::new(network, &parameters)),
        };
        Ok(Self {
            model,
            own: Own {
                pool: Pool::new(threads),
                kernels,
                buffers: Buffers::new(),
                seed: config.seed,
                shards: config.shards,
            },
            optimizer: Optimizer::new(config, &parameters),
            average: (config.ema > 0.0).then(|| Average::new(config.ema, &parameters)),
            parameters,
            sum: Sum::default(),
            losses: Losses::default(),
            distributed: Rc::default(),
        })
    }

    /// The gradients of a step, and its loss.
    fn gradients(&mut self, batch: &Batch, step: &Step) -> Result<(Vec<f32>, f64), EngineError> {
        // The article's steps are short, and each remembers its word.
        let stop = step.stop.filter(|_| !matches!(batch, Batch::Article(_)));
        let pool = &self.own.pool;
        let team = Stoppable { pool, stop };
        let of = Of {
            workers: Workers {
                team: &team,
                kernels: self.own.kernels,
                ..self.own.workers()
            },
            parameters: &self.parameters,
            noise: (self.own.seed, step.number),
            shards: self.own.shards,
            distributed: &self.distributed,
        };
        let sum = &mut self.sum;
        let shards = match (&mut self.model, batch) {
            (Model::Text(model), Batch::Text(batch)) => model.gradients(&of, batch, sum),
            (Model::Words(model), Batch::Words(batch)) => model.gradients(&of, batch, step, sum)?,
            (Model::Article(model), Batch::Article(batch)) => model.gradients(&of, batch, sum),
            _ => return Err(other_batch()),
        };
        let size = self.parameters.values.len();
        let (kernels, is_stopping) = (self.own.kernels, team.is_stopping());
        let reduced = self
            .distributed
            .reduce(&mut self.sum, kernels, size, shards, is_stopping);
        let (gradients, losses) = reduced?;
        let loss = match (&self.model, batch) {
            (Model::Text(model), Batch::Text(batch)) => model.loss(batch, losses),
            (Model::Words(model), _) => model.loss(losses),
            _ => losses,
        };
        Ok((gradients, loss))
    }
}

/// A batch of another model; nobody makes one.
fn other_batch() -> EngineError {
    EngineError::Device("a batch of another model".to_owned())
}

impl Engine for NativeEngine {
    fn join(&mut self, distributed: Rc<Distributed>) -> Result<(), EngineError> {
        self.distributed = distributed;
        Ok(())
    }

    fn step(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        let (gradients, loss) = self.gradients(batch, step)?;
        self.losses.sum += loss;
        self.losses.steps += 1;
        let workers = self.own.workers();
        let (parameters, alone) = (&mut self.parameters, batch.is_without_z());
        self.optimizer
            .step(workers, parameters, &gradients, step.lr, alone);
        self.sum.recycle(gradients);
        if let Some(average) = &mut self.average {
            average.step(&self.parameters, step.number + 1);
        }
        match (&mut self.model, batch) {
            (Model::Text(model), _) => model.advance(),
            (Model::Words(model), Batch::Words(batch)) => model.advance(batch),
            _ => {}
        }
        Ok(())
    }

    fn trial(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        let carried = self.model.carried();
        let (gradients, _) = self.gradients(batch, step)?;
        self.sum.recycle(gradients);
        Ok(self.model.restore(&carried)?)
    }

    fn losses(&mut self, _wait: bool) -> Losses {
        std::mem::take(&mut self.losses)
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Costs, EngineError> {
        let (workers, parameters) = (self.own.workers(), &self.parameters);
        match (&mut self.model, batch) {
            (Model::Text(model), Batch::Text(batch)) => {
                Ok(model.evaluate(workers, parameters, batch))
            }
            (Model::Words(model), Batch::Words(batch)) => {
                Ok(model.evaluate(workers, parameters, batch))
            }
            (Model::Article(model), Batch::Article(batch)) => {
                Ok(model.evaluate(workers, parameters, batch))
            }
            _ => Err(other_batch()),
        }
    }

    fn weights(&self) -> Weights<'static> {
        let mut weights = match &self.average {
            Some(average) => self.parameters.named(&average.values, ""),
            None => self.parameters.to_weights(""),
        };
        if let Model::Article(model) = &self.model {
            weights.append(&mut model.carried());
        }
        weights
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        Ok(self.parameters.load(weights, "")?)
    }

    fn use_average(&mut self, _on: bool) {
        if let Some(average) = &mut self.average {
            std::mem::swap(&mut self.parameters.values, &mut average.values);
        }
    }

    fn state(&self) -> Result<Weights<'static>, EngineError> {
        let mut state = self.parameters.to_weights(WEIGHTS);
        self.optimizer.save(&self.parameters, &mut state);
        if let Some(average) = &self.average {
            average.save(&self.parameters, &mut state);
        }
        let mut carried = match &self.model {
            Model::Text(model) => model.gathered(&self.distributed, self.own.shards)?,
            model => model.carried(),
        };
        state.append(&mut carried);
        Ok(state)
    }

    fn restore(&mut self, state: &Weights, step: u64) -> Result<(), EngineError> {
        self.parameters.load(state, WEIGHTS)?;
        self.optimizer.load(&self.parameters, state, step)?;
        if let Some(average) = &mut self.average {
            average.load(&self.parameters, state)?;
        }
        self.model.restore(state)?;
        self.losses = Losses::default();
        Ok(())
    }

    fn are_finite(&self) -> bool {
        self.parameters.are_finite()
    }

    fn parameters(&self) -> usize {
        self.parameters.count()
    }

    fn describe(&self) -> String {
        let threads = self.own.pool.threads();
        let plural = if threads == 1 { "" } else { "s" };
        let precision = if self.own.kernels.is_bf16() {
            ", bf16"
        } else {
            ""
        };
        format!("cpu, {threads} thread{plural}{precision}")
    }
}
