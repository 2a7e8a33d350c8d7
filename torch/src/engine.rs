//! The training of one model by libtorch's autograd: on CUDA by cuDNN; on the CPU slowly, as what the tests
//! compare the native engine with.

mod shared;

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tch::{Device, Kind, Tensor};
use textgen::config::{ModelConfig, NetworkConfig, Precision, TrainConfig};
use textgen::models::batch::{ArticleBatch, TextBatch, WordBatch};
use textgen::models::noise::{Noise, Use};
use textgen::models::training::Parameters as Layout;
use textgen::models::weights::{WeightError, Weights};
use textgen::train::{
    Batch, Costs, Distributed, Engine, EngineError, Losses, RateController, Step, Sum,
};

use crate::article::Article;
use crate::char_rnn::{CharRnn, Text};
use crate::device::set_precision;
use crate::dropout::Pass;
use crate::gradients::Gradients;
use crate::graph::{Graphs, Key, Numbers, Uploads, replace};
use crate::nccl::Nccl;
use crate::optimizer::Optimizer;
use crate::parameters::{Parameters, array, floats, tensor};
use crate::recurrent::Shape;
use crate::word_vae::{WordVae, Words, objective, padded};

/// Steps whose losses are read back together from CUDA, which has to be waited for.
const LOOK_EVERY: u64 = 50;
/// The most positions of words padded to one length for each position of a letter.
const PADDING: usize = 4;
/// The names of a model file's arrays of the last training word of the article's network (Z).
const LAST: [&str; 2] = ["article.mean", "article.std"];

/// A model in training on a device of libtorch.
pub struct TorchEngine {
    config: TrainConfig,
    device: Device,
    model: Model,
    parameters: Parameters,
    optimizer: Optimizer,
    /// The averaged weights, if these are evaluated and saved.
    average: Option<Vec<Tensor>>,
    /// The number of steps taken.
    taken: u64,
    /// What the next step starts from: a char-lstm's states (L, B, H).
    carried: Vec<Tensor>,
    /// The states of an evaluation.
    evaluated: Vec<Tensor>,
    /// The article's mean and std of the last training word (Z).
    last: Option<[Tensor; 2]>,
    rate: Option<HeldRate>,
    /// The sum of the losses that were not reported, in f64, and their number.
    unseen: (Tensor, u64),
    /// Whether libtorch's generator is seeded for the following steps.
    seeded: bool,
    distributed: Rc<Distributed>,
    /// Those of this process's shards, if there are others.
    pub(crate) gradients: Gradients,
    /// Whether GPUs may add gradients among themselves, and how long they wait for each other.
    nccl: Option<Duration>,
    /// The graphs of steps on CUDA. Tensors above are changed in place, where these find them.
    pub(crate) graphs: Graphs,
}

enum Model {
    Text(CharRnn),
    Words(WordVae),
    Article(NetworkConfig),
}

/// [`RateController`] on the device, so that nothing is read back.
struct HeldRate {
    target: f64,
    /// log β (1).
    log_beta: Tensor,
}

/// What a step reads, on the device.
struct Inputs<'a> {
    numbers: Numbers,
    batch: OnDevice<'a>,
}

enum OnDevice<'a> {
    Text(Text),
    Words(Words<'a>),
    /// Uploaded when it is computed, part by part.
    Later,
}

/// What a step computes before it changes anything.
struct Computed {
    loss: Tensor,
    /// One per parameter.
    gradients: Vec<Tensor>,
    carried: Vec<Tensor>,
    last: Option<[Tensor; 2]>,
    /// R per word (1).
    rate: Option<Tensor>,
}

impl TorchEngine {
    /// Starts with initial weights from the configuration's seed.
    pub fn new(
        config: &TrainConfig,
        network: &NetworkConfig,
        device: Device,
    ) -> Result<Self, EngineError> {
        let tied = matches!(&config.model, ModelConfig::CharRnn(own) if own.tied);
        let parameters = Parameters::new(Layout::init(network, config.seed, tied), device);
        let network = network.clone();
        let mut engine = Self {
            optimizer: Optimizer::new(config, &parameters),
            average: None,
            taken: 0,
            carried: Vec::new(),
            evaluated: Vec::new(),
            last: None,
            rate: None,
            unseen: (Tensor::zeros([], (Kind::Double, device)), 0),
            seeded: false,
            distributed: Rc::default(),
            gradients: Gradients::Cpu(Sum::default()),
            nccl: None,
            graphs: Graphs::new(device),
            device,
            model: match &config.model {
                ModelConfig::CharRnn(own) => Model::Text(CharRnn::new(
                    network,
                    config.dropout,
                    own.clone(),
                    config.precision,
                    &parameters,
                )),
                ModelConfig::WordVae(own) => Model::Words(WordVae {
                    network,
                    dropout: config.dropout,
                    decoder_dropout: own.decoder_dropout,
                    precision: config.precision,
                }),
                ModelConfig::Article(_) => Model::Article(network),
            },
            parameters,
            config: config.clone(),
        };
        match &engine.model {
            Model::Text(model) => engine.carried = model.shape().zero_state(config.batch, device),
            Model::Words(model) => {
                model.flatten(&engine.parameters);
                engine.rate = config
                    .word_vae()
                    .filter(|own| own.rate > 0.0)
                    .map(|own| HeldRate {
                        target: own.rate,
                        log_beta: tensor(
                            &RateController::new(own.rate, own.beta).state().1,
                            device,
                        ),
                    });
            }
            Model::Article(network) => {
                for prefix in ["encoder.rnn", "decoder.rnn"] {
                    let weights = engine.parameters.recurrent(prefix, network.layers);
                    Shape::of(network, Precision::F32).flatten(&weights);
                }
                let zeros = || Tensor::zeros([network.latent() as i64], (Kind::Float, device));
                engine.last = Some([zeros(), zeros()]);
            }
        }
        if config.ema > 0.0 {
            let copy = |tensor: &Tensor| tensor.detach().copy();
            let average = engine.parameters.tensors().iter().map(copy).collect();
            engine.average = Some(average);
        }
        if device.is_cuda() {
            // Copies of a batch on the CPU are small; to wake threads for them takes longer.
            tch::set_num_threads(1);
        }
        set_precision(config.precision, device)?;
        Ok(engine)
    }

    /// Lets the GPUs of several processes add their gradients by NCCL, if all of them can. It needs a GPU for each; what takes
    /// longer than `timeout` fails.
    #[must_use]
    pub const fn with_nccl(mut self, timeout: Duration) -> Self {
        self.nccl = Some(timeout);
        self
    }

    /// Whether steps may be captured in graphs: those of documents and of the article hardly ever have the
    /// same shape.
    fn captures(&self) -> bool {
        let alike = match &self.model {
            Model::Text(model) => model.network.eos.is_none(),
            Model::Words(_) => true,
            Model::Article(_) => false,
        };
        self.device.is_cuda() && self.config.shards == 1 && self.distributed.is_alone() && alike
    }

    /// The shape of a step that may be captured in a graph.
    fn key(&self, batch: &Batch) -> Option<Key> {
        if !self.captures() {
            return None;
        }
        match batch {
            Batch::Text(batch) => (batch.rows == self.config.batch)
                .then(|| [batch.steps, batch.rows, usize::from(batch.last_only)]),
            Batch::Words(batch) => {
                let (steps, z) = (&batch.letters.steps, usize::from(!batch.without_z));
                let is_even = steps.positions() == steps.len() * steps.batch();
                is_even.then(|| [steps.len(), steps.batch(), z])
            }
            Batch::Article(_) => None,
        }
    }

    /// Words of about one length as words of one length where steps are captured: on CUDA they take no longer.
    fn evened<'a>(&self, batch: &'a Batch) -> Cow<'a, Batch> {
        match batch {
            Batch::Words(words) if self.captures() => {
                let steps = &words.letters.steps;
                if steps.len() * steps.batch() <= PADDING * steps.positions() {
                    Cow::Owned(Batch::Words(padded(words)))
                } else {
                    Cow::Borrowed(batch)
                }
            }
            _ => Cow::Borrowed(batch),
        }
    }

    /// Uploads the numbers of a step.
    fn numbers(&self, step: &Step, uploads: &mut Uploads) -> Numbers {
        // The first steps use a smaller decay, so that the initial weights are soon forgotten.
        let taken = (self.taken + 1) as f64;
        let decay = self.config.ema.min((1.0 + taken) / (10.0 + taken));
        let (lr, kl_weight) = (step.lr, step.kl_weight);
        Numbers::new(self.taken + 1, lr, 1.0 - decay, kl_weight, uploads)
    }

    /// Uploads what a step reads.
    fn inputs<'a>(&self, batch: &'a Batch, step: &Step, uploads: &mut Uploads) -> Inputs<'a> {
        Inputs {
            numbers: self.numbers(step, uploads),
            batch: match (batch, &self.model) {
                _ if self.config.shards > 1 => OnDevice::Later,
                (Batch::Text(batch), Model::Text(model)) => {
                    OnDevice::Text(Text::new(batch, model.network.eos, uploads))
                }
                (Batch::Words(batch), Model::Words(_)) => {
                    OnDevice::Words(Words::new(batch, uploads))
                }
                _ => OnDevice::Later,
            },
        }
    }

    /// The loss and the gradients of a step.
    fn compute(
        &self,
        batch: &Batch,
        inputs: &Inputs,
        number: u64,
    ) -> Result<Computed, EngineError> {
        let pass = Pass::Training {
            seed: self.config.seed,
            step: number,
        };
        match (batch, &self.model) {
            (Batch::Text(batch), Model::Text(model)) => Ok(self.text(model, batch, inputs, pass)),
            (Batch::Words(batch), Model::Words(model)) => {
                Ok(self.words(model, batch, inputs, pass))
            }
            (Batch::Article(batch), Model::Article(network)) => Ok(self.article(network, batch)),
            _ => Err(other_batch()),
        }
    }

    /// Takes a step with what it has uploaded; false if something of the engine is elsewhere now.
    fn update(&mut self, batch: &Batch, inputs: &Inputs, number: u64) -> Result<bool, EngineError> {
        let computed = self.compute(batch, inputs, number)?;
        Ok(self.apply(computed, &inputs.numbers, batch.is_without_z()))
    }

    /// Changes the weights, those of an encoder unless the decoder learns `alone`, and what is carried on; false if something of the engine is elsewhere now.
    fn apply(&mut self, computed: Computed, numbers: &Numbers, alone: bool) -> bool {
        let Numbers {
            step, rate, blend, ..
        } = numbers;
        self.optimizer
            .step(&self.parameters, &computed.gradients, step, rate, alone);
        tch::no_grad(|| {
            let tensors = self.parameters.tensors();
            for (average, tensor) in self.average.iter_mut().flatten().zip(tensors) {
                let _ = average.lerp_tensor_(tensor, blend);
            }
        });
        if let (Some(held), Some(rate)) = (&mut self.rate, &computed.rate) {
            held.follow(rate);
        }
        let last = self.last.iter_mut().flatten();
        let new = computed.last.into_iter().flatten();
        for (old, new) in last.zip(new) {
            replace(old, new);
        }
        let mut in_place = true;
        for (old, new) in self.carried.iter_mut().zip(computed.carried) {
            in_place &= replace(old, new);
        }
        self.unseen.0 += computed.loss;
        in_place
    }

    fn text(&self, model: &CharRnn, batch: &TextBatch, inputs: &Inputs, pass: Pass) -> Computed {
        let state = if batch.from_zero {
            model.shape().zero_state(batch.rows, self.device)
        } else {
            self.carried.iter().map(Tensor::shallow_clone).collect()
        };
        let counted_steps = if batch.last_only { 1 } else { batch.steps };
        let mut loss = Tensor::zeros([], (Kind::Float, self.device));
        let mut gradients = Vec::new();
        let mut ends: Vec<Vec<Tensor>> = state.iter().map(|_| Vec::new()).collect();
        for rows in self.shards(batch.rows) {
            let (first, count) = (rows.start as i64, rows.len() as i64);
            let own = state.iter().map(|s| s.narrow(1, first, count).contiguous());
            let own: Vec<Tensor> = own.collect();
            let shard = part(batch, rows.len() == batch.rows, || batch.part(rows));
            let of_shard;
            let text = if let OnDevice::Text(text) = &inputs.batch {
                text
            } else {
                let mut uploads = Uploads::new(self.device);
                of_shard = Text::new(&shard, model.network.eos, &mut uploads);
                &of_shard
            };
            let (nats, next) = model.nats(&self.parameters, text, &own, pass);
            let counted = counted_steps as i64 * count;
            let nats = nats.narrow(0, nats.size()[0] - counted, counted);
            let of_shard = nats.sum(Kind::Float) / (counted_steps * batch.rows) as f64;
            gradients = added(&gradients, self.differentiate(&of_shard));
            loss += of_shard.detach();
            for (ends, next) in ends.iter_mut().zip(next) {
                ends.push(next.detach());
            }
        }
        Computed {
            loss,
            gradients,
            carried: ends.into_iter().map(|ends| joined(ends, 1)).collect(),
            last: None,
            rate: None,
        }
    }

    fn words(&self, model: &WordVae, batch: &WordBatch, inputs: &Inputs, pass: Pass) -> Computed {
        // Free bits are of the mean over the whole batch, so all shards have one backward pass.
        let (mut nats, mut rates) = (Vec::new(), Vec::new());
        let (all, latent) = (batch.letters.batch(), model.network.latent());
        for rows in self.shards(all) {
            let shard = part(batch, rows.len() == all, || batch.part(rows, latent));
            let of_shard;
            let words = if let OnDevice::Words(words) = &inputs.batch {
                words
            } else {
                of_shard = Words::new(&shard, &mut Uploads::new(self.device));
                &of_shard
            };
            let terms = model.terms(&self.parameters, words, pass);
            nats.push(terms.nats);
            rates.push(terms.rates);
        }
        let (nats, rates) = (joined(nats, 0), joined(rates, 0));
        let beta = match &self.rate {
            Some(held) if !batch.without_z => held.log_beta.exp(),
            _ => inputs.numbers.kl_weight.shallow_clone(),
        };
        let free_bits = self.config.word_vae().map_or(0.0, |own| own.free_bits);
        let mut loss = objective(&nats, &rates, &beta, free_bits);
        if batch.without_z {
            loss += self.nothing();
        }
        let rate = rates.detach().sum(Kind::Float) / all as f64;
        Computed {
            gradients: self.differentiate(&loss),
            loss: loss.detach(),
            carried: Vec::new(),
            last: None,
            rate: (!batch.without_z).then(|| rate.reshape([1])),
        }
    }

    /// Zero, of every parameter: each needs a gradient, those of an encoder that reads nothing too.
    fn nothing(&self) -> Tensor {
        let sums = self.parameters.tensors().iter().map(|t| t.sum(Kind::Float));
        sums.fold(Tensor::zeros([], (Kind::Float, self.device)), |a, b| a + b) * 0.0
    }

    /// The rows of each shard of a batch.
    fn shards(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let shards = self.config.shards.clamp(1, rows.max(1));
        let cut = move |shard| shard * rows / shards;
        (0..shards).map(move |shard| cut(shard)..cut(shard + 1))
    }

    fn article(&self, network: &NetworkConfig, batch: &ArticleBatch) -> Computed {
        let article = Article::new(network, &self.parameters, batch, self.device);
        let loss = article.loss();
        Computed {
            gradients: self.differentiate(&loss),
            loss: loss.detach(),
            carried: Vec::new(),
            last: Some([article.mean.detach(), article.std.detach()]),
            rate: None,
        }
    }

    /// The gradients of a loss, one per parameter.
    fn differentiate(&self, loss: &Tensor) -> Vec<Tensor> {
        let gradients =
            Tensor::run_backward(&[loss], self.parameters.tensors(), false, false).into_iter();
        gradients.map(|gradient| gradient.contiguous()).collect()
    }

    /// Seeds libtorch's generator, from which dropout comes on CUDA: once, since cuDNN would prepare its
    /// dropout anew after each time, which waits for the device.
    fn seed(&mut self, step: u64) {
        if self.device.is_cuda() && !std::mem::replace(&mut self.seeded, true) {
            let seed = Noise::new(self.config.seed, Use::Dropout, step).bits(0);
            tch::manual_seed((seed >> 1) as i64);
            // They would go on with the dropout that cuDNN had prepared.
            self.graphs.clear();
        }
    }

    /// Forgets the losses that were not reported.
    fn forget(&mut self) {
        let _ = self.unseen.0.zero_();
        self.unseen.1 = 0;
    }

    /// [`Engine::evaluate`], in f32.
    fn costs(&mut self, batch: &Batch) -> Result<Costs, EngineError> {
        let _no_grad = tch::no_grad_guard();
        match (batch, &self.model) {
            (Batch::Text(batch), Model::Text(model)) => {
                if batch.from_zero {
                    self.evaluated = model.shape().zero_state(batch.rows, self.device);
                }
                let text = Text::new(batch, model.network.eos, &mut Uploads::new(self.device));
                let (nats, state) =
                    model.nats(&self.parameters, &text, &self.evaluated, Pass::Evaluation);
                self.evaluated = state;
                Ok(Costs {
                    nats: floats(&nats),
                    ..Costs::default()
                })
            }
            (Batch::Words(batch), Model::Words(model)) => {
                let words = Words::new(batch, &mut Uploads::new(self.device));
                let terms = model.terms(&self.parameters, &words, Pass::Evaluation);
                Ok(Costs {
                    nats: floats(&terms.nats),
                    rates: floats(&terms.rates),
                    means: floats(&terms.means),
                })
            }
            (Batch::Article(batch), Model::Article(network)) => {
                let article = Article::new(network, &self.parameters, batch, self.device);
                Ok(Costs {
                    nats: floats(&article.nats()),
                    rates: floats(&article.rates()),
                    means: floats(&article.mean),
                })
            }
            _ => Err(other_batch()),
        }
    }

    /// The tensors besides weights and moments that the next step depends on, by their names in a state.
    fn others(&self) -> Vec<(String, &Tensor)> {
        let carried = self.carried.iter().enumerate();
        let carried = carried.map(|(i, tensor)| (format!("carried.{i}"), tensor));
        let last = LAST.iter().zip(self.last.iter().flatten());
        let last = last.map(|(name, tensor)| ((*name).to_owned(), tensor));
        let rate = self.rate.iter().map(|held| {
            let (name, _) = RateController::new(1.0, 1.0).state();
            (name, &held.log_beta)
        });
        carried.chain(last).chain(rate).collect()
    }
}

/// A shard of a batch, or the batch itself if it is not cut.
fn part<T: Clone>(batch: &T, whole: bool, cut: impl FnOnce() -> T) -> Cow<'_, T> {
    if whole {
        Cow::Borrowed(batch)
    } else {
        Cow::Owned(cut())
    }
}

/// Sums of tensors; those of the first shard if there are none yet.
fn added(sums: &[Tensor], more: Vec<Tensor>) -> Vec<Tensor> {
    if sums.is_empty() {
        return more;
    }
    sums.iter()
        .zip(more)
        .map(|(sum, more)| sum + more)
        .collect()
}

/// Tensors one after the other; one as it is.
fn joined(mut tensors: Vec<Tensor>, dimension: i64) -> Tensor {
    match tensors.pop() {
        Some(one) if tensors.is_empty() => one,
        last => {
            tensors.extend(last);
            Tensor::cat(&tensors, dimension)
        }
    }
}

fn other_batch() -> EngineError {
    EngineError::Device("the batch is of another model".to_owned())
}

impl HeldRate {
    /// [`RateController::follow`].
    fn follow(&mut self, rate: &Tensor) {
        let off = (rate - self.target) / self.target;
        let [lowest, highest] = RateController::BOUNDS.map(f64::from);
        let moved = &self.log_beta + off.clamp(-1.0, 1.0) * f64::from(RateController::STEP);
        self.log_beta.copy_(&moved.clamp(lowest, highest));
    }
}

impl Engine for TorchEngine {
    fn join(&mut self, distributed: Rc<Distributed>) -> Result<(), EngineError> {
        self.distributed = distributed;
        if self.distributed.is_alone() || !self.device.is_cuda() {
            return Ok(());
        }
        let (may, timeout) = (self.nccl.is_some(), self.nccl.unwrap_or_default());
        let nccl = Nccl::join(&self.distributed, self.device, may, timeout)?;
        if let Some(nccl) = nccl {
            self.gradients = Gradients::on_device(Box::new(nccl));
        }
        Ok(())
    }

    fn step(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        self.seed(step.number);
        if !self.distributed.is_alone() {
            let computed = self.compute_together(batch, step)?;
            let numbers = self.numbers(step, &mut Uploads::new(self.device));
            self.apply(computed, &numbers, batch.is_without_z());
            self.taken += 1;
            self.unseen.1 += 1;
            return Ok(());
        }
        let mut batch = self.evened(batch);
        let key = self.key(&batch);
        if let (Some(_), Batch::Text(text)) = (key, &*batch)
            && text.from_zero
        {
            // A graph always starts from the carried state.
            for state in &mut self.carried {
                let _ = state.zero_();
            }
            batch = Cow::Owned(Batch::Text(TextBatch {
                from_zero: false,
                ..text.clone()
            }));
        }
        let mut graphs = std::mem::take(&mut self.graphs);
        let mut steps = graphs.take(key, self.device);
        let inputs = self.inputs(&batch, step, &mut steps.uploads);
        let mut done = Ok(true);
        graphs.step(steps, || done = self.update(&batch, &inputs, step.number));
        self.graphs = graphs;
        if !done? {
            self.graphs.clear();
        }
        self.taken += 1;
        self.unseen.1 += 1;
        Ok(())
    }

    fn trial(&mut self, batch: &Batch, step: &Step) -> Result<(), EngineError> {
        if !self.distributed.is_alone() {
            self.compute_together(batch, step)?;
            self.seeded = false;
            return Ok(());
        }
        let batch = self.evened(batch);
        // A step that only computes is another shape than one that updates.
        let key = self.key(&batch).map(|[a, b, _]| [a, b, usize::MAX]);
        let mut graphs = std::mem::take(&mut self.graphs);
        let mut steps = graphs.take(key, self.device);
        let inputs = self.inputs(&batch, step, &mut steps.uploads);
        let mut done = Ok(());
        graphs.step(steps, || {
            done = self.compute(&batch, &inputs, step.number).map(|_| ());
        });
        self.graphs = graphs;
        // Waits for the device; a step after it has the random numbers that it would have had.
        let _ = floats(&self.unseen.0);
        self.seeded = false;
        done
    }

    fn losses(&mut self, wait: bool) -> Losses {
        let steps = self.unseen.1;
        let few = self.device.is_cuda() && steps < LOOK_EVERY;
        if steps == 0 || (few && !wait) {
            return Losses::default();
        }
        let sum = self.unseen.0.double_value(&[]);
        self.forget();
        Losses { sum, steps }
    }

    fn evaluate(&mut self, batch: &Batch) -> Result<Costs, EngineError> {
        set_precision(Precision::F32, self.device)?;
        let costs = self.costs(batch);
        set_precision(self.config.precision, self.device)?;
        costs
    }

    fn weights(&self) -> Weights<'static> {
        let tensors = match &self.average {
            Some(average) => average,
            None => self.parameters.tensors(),
        };
        let mut weights = self.parameters.named(tensors, "");
        let last = LAST.iter().zip(self.last.iter().flatten());
        weights.extend(last.map(|(name, tensor)| ((*name).to_owned(), array(tensor))));
        weights
    }

    fn set_weights(&mut self, weights: &Weights) -> Result<(), EngineError> {
        let tensors = self.parameters.tensors();
        Ok(self.parameters.read(weights, "", tensors)?)
    }

    fn use_average(&mut self, _on: bool) {
        let average = self.average.iter_mut().flatten();
        tch::no_grad(|| {
            for (average, tensor) in average.zip(self.parameters.tensors()) {
                let saved = tensor.copy();
                tensor.shallow_clone().copy_(average);
                average.copy_(&saved);
            }
        });
    }

    fn state(&self) -> Result<Weights<'static>, EngineError> {
        let tensors = self.parameters.tensors();
        let mut state = self.parameters.named(tensors, "weights.");
        self.optimizer.save(&self.parameters, &mut state);
        if let Some(average) = &self.average {
            state.append(&mut self.parameters.named(average, "average."));
        }
        state.append(&mut self.gathered()?);
        Ok(state)
    }

    fn restore(&mut self, state: &Weights, step: u64) -> Result<(), EngineError> {
        let tensors = self.parameters.tensors();
        self.parameters.read(state, "weights.", tensors)?;
        self.optimizer.load(&self.parameters, state)?;
        if let Some(average) = &self.average {
            self.parameters.read(state, "average.", average)?;
        }
        for (name, own) in self.others() {
            let missing = || WeightError::Missing { name: name.clone() };
            let found = state.get(&name).ok_or_else(missing)?;
            let size: Vec<usize> = own.size().iter().map(|&n| n as usize).collect();
            if found.shape != size {
                return Err(EngineError::Weights(WeightError::Shape {
                    name,
                    want: size,
                    found: found.shape.clone(),
                }));
            }
            own.shallow_clone().copy_(&tensor(found, self.device));
        }
        self.taken = step;
        self.forget();
        self.seeded = false;
        self.graphs.clear();
        Ok(())
    }

    fn are_finite(&self) -> bool {
        // A sum is not finite if one of its terms is not.
        let sum = |tensor: &Tensor| tensor.detach().sum(Kind::Float);
        let sums: Vec<Tensor> = self.parameters.tensors().iter().map(sum).collect();
        let sum = Tensor::stack(&sums, 0).sum(Kind::Double);
        sum.double_value(&[]).is_finite()
    }

    fn parameters(&self) -> usize {
        self.parameters.count()
    }

    fn describe(&self) -> String {
        match self.device {
            Device::Cuda(index) if self.captures() => format!("cuda:{index}, CUDA graphs"),
            Device::Cuda(index) if matches!(self.gradients, Gradients::Device { .. }) => {
                format!("cuda:{index}, gradients by NCCL")
            }
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu, by libtorch".to_owned(),
        }
    }
}
