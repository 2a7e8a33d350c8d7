//! Holds the rate, the information that z carries, at a target.
//!
//! D + β·(R − R*) is the Lagrangian of least distortion at the rate R*, and β its multiplier. It
//! follows the constraint by dual ascent on log β, so that users need not guess the β of a rate
//! (Rezende & Viola 2018 do the same for a wanted distortion).

use tch::{Device, Kind, Tensor};

/// The change of log β per step if R is off by R* or more.
const STEP: f64 = 0.01;
/// The bounds of β.
const LOWEST: f64 = 1e-4;
const HIGHEST: f64 = 10.0;
/// The name of log β in a training state.
const NAME: &str = "rate.log_beta";

/// The multiplier β of a training with a target rate.
pub struct RateController {
    /// R* in nats per word.
    target: f64,
    /// log β, on the device so that nothing is read back.
    log_beta: Tensor,
}

impl RateController {
    /// Starts with β at `beta`.
    pub fn new(target: f64, beta: f64, device: Device) -> Self {
        let beta = beta.clamp(LOWEST, HIGHEST);
        Self {
            target,
            log_beta: Tensor::full([1], beta.ln(), (Kind::Float, device)),
        }
    }

    /// The present β (1).
    pub fn beta(&self) -> Tensor {
        self.log_beta.exp()
    }

    /// Updates β after a batch with the mean rate `rate` (1) in nats per word.
    pub fn follow(&mut self, rate: &Tensor) {
        let off = (rate.detach() - self.target) / self.target;
        let moved = &self.log_beta + off.clamp(-1.0, 1.0) * STEP;
        self.log_beta = moved.clamp(LOWEST.ln(), HIGHEST.ln());
    }

    /// The tensor that the next step depends on, with its name in a training state.
    pub fn carried(&mut self) -> (String, &mut Tensor) {
        (NAME.to_owned(), &mut self.log_beta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::floats;

    #[test]
    fn the_multiplier_finds_the_rate() {
        // A model whose rate follows its multiplier at once: R = 2 / β.
        let mut controller = RateController::new(8.0, 1.0, Device::Cpu);
        for _ in 0..2_000 {
            let rate = controller.beta().pow_tensor_scalar(-1) * 2.0;
            controller.follow(&rate);
        }
        let beta = floats(&controller.beta())[0];
        assert!((beta - 0.25).abs() < 1e-3, "{beta}");
    }

    #[test]
    fn the_multiplier_stays_within_its_bounds() {
        let mut controller = RateController::new(8.0, 1.0, Device::Cpu);
        for rate in [0.0f32, 1e6] {
            for _ in 0..3_000 {
                controller.follow(&Tensor::from_slice(&[rate]));
            }
            let beta = f64::from(floats(&controller.beta())[0]);
            let want = if rate == 0.0 { LOWEST } else { HIGHEST };
            assert!((beta / want - 1.0).abs() < 1e-3, "{beta}");
        }
    }
}
