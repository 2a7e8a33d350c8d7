//! Holds the rate, the information that z carries, at a target.
//!
//! D + β·(R − R*) is the Lagrangian of least distortion at the rate R*, and β its multiplier. It
//! follows the constraint by dual ascent on log β, so that users need not guess the β of a rate
//! (Rezende & Viola 2018 do the same for a wanted distortion).

use crate::kernels::{Kernels, scalar};
use crate::models::weights::{Array, WeightError, Weights, array};

/// The name of log β in a training state.
const NAME: &str = "rate.log_beta";

/// The multiplier β of a training with a target rate.
#[derive(Clone, Debug, PartialEq)]
pub struct RateController {
    /// R* in nats per row.
    target: f32,
    log_beta: f32,
}

impl RateController {
    /// The change of log β per step if R is off by R* or more.
    pub const STEP: f32 = 0.01;
    /// The bounds of log β: β is within 10⁻⁴ and 10.
    pub const BOUNDS: [f32; 2] = [-4.0 * std::f32::consts::LN_10, std::f32::consts::LN_10];

    /// Starts with β at `beta`, or at the nearest of its bounds.
    pub fn new(target: f64, beta: f64) -> Self {
        Self {
            target: target as f32,
            log_beta: Self::bounded(scalar::ln(beta) as f32),
        }
    }

    /// The present β.
    pub fn beta(&self) -> f32 {
        // Not the system's: the same bits on every machine.
        let mut beta = [self.log_beta];
        Kernels::new().exp(&mut beta);
        beta[0]
    }

    /// Updates β after a batch with the mean rate `rate`, in nats per row.
    pub fn follow(&mut self, rate: f32) {
        let off = (rate - self.target) / self.target;
        let moved = self.log_beta + off.clamp(-1.0, 1.0) * Self::STEP;
        self.log_beta = Self::bounded(moved);
    }

    const fn bounded(log_beta: f32) -> f32 {
        let [lowest, highest] = Self::BOUNDS;
        log_beta.clamp(lowest, highest)
    }

    /// What the next step depends on, for a training state.
    pub fn state(&self) -> (String, Array<'static>) {
        (NAME.to_owned(), Array::f32([1], vec![self.log_beta]))
    }

    /// Restores [`RateController::state`].
    pub fn restore(&mut self, state: &Weights) -> Result<(), WeightError> {
        let found = array(state, NAME)?;
        let [log_beta] = found.data()[..] else {
            let (name, found) = (NAME.to_owned(), found.shape.clone());
            let want = vec![1];
            return Err(WeightError::Shape { name, want, found });
        };
        self.log_beta = log_beta;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiplier_finds_the_rate() {
        // A model whose rate follows its multiplier at once: R = 2 / β.
        let mut controller = RateController::new(8.0, 1.0);
        for _ in 0..2_000 {
            controller.follow(2.0 / controller.beta());
        }
        let beta = controller.beta();
        assert!((beta - 0.25).abs() < 1e-3, "{beta}");
        let mut other = RateController::new(8.0, 1.0);
        other
            .restore(&Weights::from([controller.state()]))
            .expect("its own state");
        assert_eq!(other, controller);
        assert!(other.restore(&Weights::new()).is_err());
    }

    #[test]
    fn the_multiplier_stays_within_its_bounds() {
        let mut controller = RateController::new(8.0, 1.0);
        for (rate, bound) in [(0.0, 1e-4), (1e6, 10.0)] {
            for _ in 0..3_000 {
                controller.follow(rate);
            }
            let beta = controller.beta();
            assert!((beta / bound - 1.0).abs() < 1e-3, "{beta}");
        }
        assert!((RateController::new(8.0, 0.0).beta() / 1e-4 - 1.0).abs() < 1e-3);
    }
}
