//! The gradients of one of several processes: of its own shards by autograd, then added.

use std::sync::atomic::Ordering;

use tch::{Kind, Tensor};
use textgen::models::batch::{TextBatch, WordBatch};
use textgen::models::weights::{Array, Weights};
use textgen::train::{Batch, EngineError, Step, shard_rows};

use super::{Computed, Model, TorchEngine, other_batch};
use crate::char_rnn::Text;
use crate::dropout::Pass;
use crate::graph::Uploads;
use crate::parameters::all_floats;
use crate::word_vae::Words;

impl TorchEngine {
    /// [`TorchEngine::compute`] by all processes together.
    pub(super) fn compute_together(
        &mut self,
        batch: &Batch,
        step: &Step,
    ) -> Result<Computed, EngineError> {
        let pass = Pass::Training {
            seed: self.config.seed,
            step: step.number,
        };
        match batch {
            Batch::Text(batch) => self.text_together(batch, step, pass),
            Batch::Words(batch) => self.words_together(batch, step, pass),
            Batch::Article(_) => Err(other_batch()),
        }
    }

    fn text_together(
        &mut self,
        batch: &TextBatch,
        step: &Step,
        pass: Pass,
    ) -> Result<Computed, EngineError> {
        let Model::Text(model) = &self.model else {
            return Err(other_batch());
        };
        let all = self.config.batch;
        let state = if batch.from_zero {
            model.shape().zero_state(all, self.device)
        } else {
            self.carried.iter().map(Tensor::copy).collect()
        };
        let counted_steps = if batch.last_only { 1 } else { batch.steps };
        let shards = self.config.shards.min(all);
        let own = self.distributed.share(shards);
        self.gradients.begin(own.start);
        for index in own {
            let rows = shard_rows(all, index, shards);
            let (first, count) = (rows.start as i64, rows.len() as i64);
            let of_rows = |whole: &Tensor| whole.narrow(1, first, count);
            let started = state.iter().map(|whole| of_rows(whole).contiguous());
            let started: Vec<Tensor> = started.collect();
            let shard = batch.part(rows.start - batch.first..rows.end - batch.first);
            let text = Text::new(&shard, model.network.eos, &mut self.uploads());
            let (nats, next) = model.nats(&self.parameters, &text, &started, pass);
            let counted = counted_steps as i64 * count;
            let nats = nats.narrow(0, nats.size()[0] - counted, counted);
            let loss = nats.sum(Kind::Float) / (counted_steps * all) as f64;
            let gradients = self.differentiate(&loss);
            let nats = nats.detach().sum(Kind::Double).double_value(&[]);
            self.gradients.add(&gradients, nats);
            for (whole, end) in state.iter().zip(next) {
                of_rows(whole).copy_(&end.detach());
            }
        }
        let (gradients, nats) = self.reduced(step, shards)?;
        let loss = nats / (counted_steps * all) as f64;
        Ok(Computed {
            loss: Tensor::from(loss),
            gradients,
            carried: state,
            last: None,
            rate: None,
        })
    }

    fn words_together(
        &mut self,
        batch: &WordBatch,
        step: &Step,
        pass: Pass,
    ) -> Result<Computed, EngineError> {
        let Model::Words(model) = &self.model else {
            return Err(other_batch());
        };
        let (all, latent) = (batch.letters.batch(), model.network.latent());
        let shards = self.config.shards.min(all);
        let own = self.distributed.share(shards);
        let part = |index| batch.part(shard_rows(all, index, shards), latent);
        let terms = own.clone().map(|index| {
            let part = part(index);
            let words = Words::new(&part, &mut self.uploads());
            model.terms(&self.parameters, &words, pass)
        });
        let terms: Vec<_> = terms.collect();
        // Free bits are of the mean over the whole batch.
        let rates: Vec<Tensor> = terms.iter().map(|terms| terms.rates.detach()).collect();
        let mut own_rates = Vec::new();
        if !rates.is_empty() {
            own_rates = all_floats(&rates);
        }
        let own_rates: Vec<f64> = own_rates.into_iter().map(f64::from).collect();
        let count = |rank| {
            let own = self.distributed.share_of(rank, shards);
            own.map(|index| shard_rows(all, index, shards).len() * latent)
                .sum()
        };
        let gathered = self
            .distributed
            .gather(&own_rates, count, is_stopping(step))?;
        if gathered.stopped {
            return Err(EngineError::Stopped);
        }
        let mut rates = vec![0.0; latent];
        for word in gathered.values.chunks_exact(latent.max(1)) {
            for (sum, rate) in rates.iter_mut().zip(word) {
                *sum += rate / all as f64;
            }
        }
        let beta = match &self.rate {
            Some(held) if !batch.without_z => held.log_beta.exp().double_value(&[0]),
            _ => f64::from(step.kl_weight),
        };
        let free_bits = self.config.word_vae().map_or(0.0, |own| own.free_bits);
        let weights = rates.iter().map(|&rate| {
            let is_free = rate < free_bits;
            if is_free { 0.0 } else { beta as f32 }
        });
        let weights = self.uploads().floats(&weights.collect::<Vec<f32>>());
        self.gradients.begin(own.start);
        for terms in terms {
            let nats = terms.nats.sum(Kind::Float);
            let mut loss = (&nats + (&terms.rates * &weights).sum(Kind::Float)) / all as f64;
            if batch.without_z {
                loss += self.nothing();
            }
            let gradients = self.differentiate(&loss);
            let nats = terms.nats.detach().sum(Kind::Double).double_value(&[]);
            self.gradients.add(&gradients, nats);
        }
        let (gradients, nats) = self.reduced(step, shards)?;
        let floored: f64 = rates.iter().map(|rate| rate.max(free_bits)).sum();
        let rate = rates.iter().sum::<f64>() as f32;
        Ok(Computed {
            loss: Tensor::from(nats / all as f64 + beta * floored),
            gradients,
            carried: Vec::new(),
            last: None,
            rate: (!batch.without_z).then(|| self.uploads().floats(&[rate])),
        })
    }

    /// The gradients of all processes, one per parameter, and the sum of their losses.
    fn reduced(&mut self, step: &Step, shards: usize) -> Result<(Vec<Tensor>, f64), EngineError> {
        let (size, device) = (self.parameters.count(), self.device);
        let is_stopping = is_stopping(step);
        let (flat, losses) =
            self.gradients
                .reduce(&self.distributed, (size, device), shards, is_stopping)?;
        let mut start = 0;
        let gradients = self.parameters.tensors().iter().map(|parameter| {
            let count = parameter.numel() as i64;
            let own = flat
                .narrow(0, start, count)
                .view(parameter.size().as_slice());
            start += count;
            own
        });
        Ok((gradients.collect(), losses))
    }

    /// Memory for uploads, since no two steps share any.
    fn uploads(&self) -> Uploads {
        Uploads::new(self.device)
    }

    /// The states (L, B, H) that are carried on, of which every process has its own rows.
    pub(super) fn gathered(&self) -> Result<Weights<'static>, EngineError> {
        let mut gathered = Weights::new();
        for (name, tensor) in self.others() {
            let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
            let mut values = all_floats(std::slice::from_ref(tensor));
            if let (Model::Text(_), &[layers, rows, hidden]) = (&self.model, &shape[..]) {
                let shape = [layers, rows, hidden];
                self.distributed
                    .gather_rows(&mut values, shape, self.config.shards)?;
            }
            gathered.insert(name, Array::f32(shape, values));
        }
        Ok(gathered)
    }
}

fn is_stopping(step: &Step) -> bool {
    step.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}
