//! The end of a training: what its best model is worth.

use std::sync::atomic::AtomicBool;

use super::share::at_the_end;
use super::task::Part;
use super::{TrainError, Trainer};
use crate::run::Evaluation;

impl Trainer<'_> {
    /// The final evaluation of the best model, and the last save.
    pub(super) fn finish(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        self.saver.wait()?;
        let best = self.shared_model()?;
        let state = self.engine.state()?;
        self.engine.set_weights(&best.weights()?)?;
        let losses = self.last_losses(best.header.valid, stop);
        self.engine.restore(&state, self.progress.step)?;
        let [valid, test] = losses?;
        if valid != best.header.valid {
            self.write_loss(&best, valid)?;
        }
        if let Some(last) = &mut self.progress.evaluated {
            last.best = valid;
            last.test = test;
            last.finished = true;
        }
        self.follow_state()?;
        self.progress.unfinished = None;
        self.progress.finished = Some(self.config.budget.to_string());
        self.save()
    }

    /// The losses of the best model, whose weights the engine has, on the validation and the test part.
    /// `known` is its loss as far as it was measured while the model trained.
    fn last_losses(
        &mut self,
        known: Option<Evaluation>,
        stop: &AtomicBool,
    ) -> Result<[Option<Evaluation>; 2], TrainError> {
        let trained = self.progress.chars;
        let extent = |part| at_the_end(&*self.task, part, trained);
        let [valid, test] = [Part::Valid, Part::Test].map(extent);
        let sampled = self.task.sampled(Part::Valid, valid);
        let was = known.and_then(|known| known.sample());
        let is_known = match (was, sampled) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(was), Some(now)) => was.counted >= now.counted,
        };
        let engine = &mut *self.engine;
        let valid = if known.is_some() && is_known {
            known
        } else {
            self.task.evaluate(Part::Valid, valid, engine, stop)?
        };
        let test = self.task.evaluate(Part::Test, test, engine, stop)?;
        Ok([valid, test])
    }
}
