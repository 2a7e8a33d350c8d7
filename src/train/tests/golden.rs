//! Complete trainings against PyTorch's.

use super::*;
use crate::config::{LossOver, ModelConfig, OptimizerKind};
use crate::models::batch::TextBatch;
use crate::models::golden::Golden;
use crate::train::{Batch, Step};

/// Both compute in f32 but sum in another order; over 200 steps the difference stays below this.
const CLOSE: f64 = 1e-4;
/// Tokens and streams of a step.
const STEPS: usize = 8;
const ROWS: usize = 5;

#[test]
fn two_hundred_steps_of_training_lose_what_they_lose_in_pytorch() {
    let files = Golden::all("training-");
    assert_eq!(files.len(), 4);
    for golden in files {
        let what = format!("{:?}", golden.config);
        let plain = "dropout=0 variational=false";
        let mut config = TrainConfig {
            optimizer: OptimizerKind::Amsgrad,
            beta2: 0.999,
            weight_decay: 0.0,
            clip: 1.0,
            batch: ROWS,
            ..with(&text_config(), plain)
        };
        if let ModelConfig::CharRnn(own) = &mut config.model {
            own.loss = LossOver::All;
        }
        let mut engine = native(&config, &golden.config).expect("engine");
        engine.set_weights(&golden.weights).expect("they fit");
        let tokens = golden.tokens("streams");
        let tokens: Vec<i64> = tokens.into_iter().map(i64::from).collect();
        let want = golden.numbers("losses");
        for (number, &want) in want.iter().enumerate() {
            let at = number * STEPS * ROWS;
            let batch = Batch::Text(TextBatch {
                steps: STEPS,
                rows: ROWS,
                first: 0,
                inputs: tokens[at..at + STEPS * ROWS].to_vec(),
                targets: tokens[at + ROWS..at + (STEPS + 1) * ROWS].to_vec(),
                last_only: false,
                from_zero: number == 0,
            });
            let step = Step {
                number: number as u64,
                lr: 3e-3,
                kl_weight: 0.0,
                ..Step::default()
            };
            engine.step(&batch, &step).expect("stepped");
            let (have, want) = (engine.losses(true).sum, f64::from(want));
            assert!(
                (have - want).abs() <= CLOSE * want,
                "{what}: step {number}: {have} is not {want}"
            );
        }
        assert!(want[199] < 0.7 * want[0], "{what}: something was learnt");
    }
}
