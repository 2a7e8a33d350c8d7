//! The learning rate at every step.

use crate::config::{KlSchedule, Schedule, TrainConfig, WordVaeConfig};
use crate::kernels::scalar::{cos, exp, power};

/// Cycles of the cyclical KL schedule (Fu et al. 2019).
const CYCLES: f64 = 4.0;
/// The sigmoid KL schedule uses the logistic curve from −6 to 6.
const SIGMOID_REACH: f64 = 6.0;

/// The learning rate of step `step` (from 0), after `fraction` (0 to 1) of the training, scaled by
/// `scale`, which plateaus and returns to an earlier state reduce.
pub fn learning_rate(config: &TrainConfig, step: u64, fraction: f64, scale: f64) -> f64 {
    let rising = if step < config.warmup {
        (step + 1) as f64 / config.warmup as f64
    } else {
        1.0
    };
    let fraction = fraction.clamp(0.0, 1.0);
    let shape = match config.schedule {
        Schedule::Constant | Schedule::Plateau => 1.0,
        // Loshchilov & Hutter 2017, eq. 5, without restarts.
        Schedule::Cosine => {
            config.final_lr
                + (1.0 - config.final_lr) * 0.5 * (1.0 + cos(std::f64::consts::PI * fraction))
        }
        Schedule::Step => power(config.decay, (fraction * 10.0).min(9.0) as u64),
    };
    config.lr * rising * shape * scale
}

/// The weight of the divergence after `fraction` of the training: it rises over `kl-warmup`
/// of the training with z, or of each cycle, to `beta`.
pub fn beta(config: &WordVaeConfig, fraction: f64) -> f64 {
    let alone = config.pretrain_decoder;
    let fraction = (fraction - alone).max(0.0) / (1.0 - alone);
    if config.kl_warmup <= 0.0 {
        return config.beta;
    }
    let fraction = match config.kl_schedule {
        KlSchedule::Cyclical if fraction < 1.0 => (fraction * CYCLES).fract(),
        _ => fraction,
    };
    let risen = (fraction / config.kl_warmup).clamp(0.0, 1.0);
    let sigmoid = |x: f64| 1.0 / (1.0 + exp(-x));
    let shape = match config.kl_schedule {
        KlSchedule::Linear | KlSchedule::Cyclical => risen,
        // Scaled so that it starts at 0 and ends at 1.
        KlSchedule::Sigmoid => {
            let least = sigmoid(-SIGMOID_REACH);
            (sigmoid(SIGMOID_REACH * (2.0 * risen - 1.0)) - least) / (1.0 - 2.0 * least)
        }
    };
    config.beta * shape
}

#[cfg(test)]
mod tests {
    use crate::config::{ModelChoice, Settings};

    use super::*;

    fn config(schedule: Schedule) -> TrainConfig {
        TrainConfig::resolve(&Settings {
            model: Some(ModelChoice::CharLstm),
            schedule: Some(schedule),
            lr: Some(1.0),
            warmup: Some(10),
            final_lr: Some(0.1),
            decay: Some(0.5),
            ..Settings::default()
        })
        .expect("valid")
    }

    fn rising(kl_schedule: KlSchedule, beta: f64) -> WordVaeConfig {
        let config = TrainConfig::resolve(&Settings {
            model: Some(ModelChoice::WordVae),
            kl_warmup: Some(0.5),
            kl_schedule: Some(kl_schedule),
            beta: Some(beta),
            ..Settings::default()
        });
        config
            .expect("valid")
            .word_vae()
            .expect("a word-vae")
            .clone()
    }

    #[test]
    fn the_rate_rises_then_follows_its_schedule() {
        let cosine = config(Schedule::Cosine);
        assert!((learning_rate(&cosine, 4, 0.0, 1.0) - 0.5).abs() < 1e-12);
        assert!((learning_rate(&cosine, 10, 0.0, 1.0) - 1.0).abs() < 1e-12);
        assert!((learning_rate(&cosine, 99, 0.5, 1.0) - 0.55).abs() < 1e-12);
        assert!((learning_rate(&cosine, 99, 1.0, 1.0) - 0.1).abs() < 1e-12);
        let constant = config(Schedule::Constant);
        assert!((learning_rate(&constant, 99, 1.0, 0.25) - 0.25).abs() < 1e-12);
        let step = config(Schedule::Step);
        assert!((learning_rate(&step, 99, 0.35, 1.0) - 0.125).abs() < 1e-12);
    }

    #[test]
    fn the_divergence_is_weighted_in_linearly() {
        let config = rising(KlSchedule::Linear, 1.0);
        assert_eq!(
            [0.0, 0.25, 0.5, 0.9].map(|f| beta(&config, f)),
            [0.0, 0.5, 1.0, 1.0]
        );
    }

    #[test]
    fn the_divergence_is_weighted_in_along_a_curve_or_in_cycles() {
        let sigmoid = rising(KlSchedule::Sigmoid, 2.0);
        let curve = [0.0, 0.125, 0.25, 0.375, 0.5, 1.0].map(|f| beta(&sigmoid, f));
        for (got, want) in [curve[0], curve[2], curve[4], curve[5]]
            .into_iter()
            .zip([0.0, 1.0, 2.0, 2.0])
        {
            assert!((got - want).abs() < 1e-12f64, "{curve:?}");
        }
        // σ(−3) and its mirror image, with the ends cut off.
        let end = 1.0 / (1.0 + 6f64.exp());
        let low = 2.0 * (1.0 / (1.0 + 3f64.exp()) - end) / (1.0 - 2.0 * end);
        assert!((curve[1] - low).abs() < 1e-12, "{curve:?}");
        assert!((curve[3] - (2.0 - low)).abs() < 1e-12, "{curve:?}");
        let cycles = rising(KlSchedule::Cyclical, 2.0);
        assert_eq!(
            [0.0, 0.0625, 0.125, 0.2, 0.25, 0.3125, 1.0].map(|f| beta(&cycles, f)),
            [0.0, 1.0, 2.0, 2.0, 0.0, 1.0, 2.0]
        );
    }
}
