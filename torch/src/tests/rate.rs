//! A trained model has the rate that was asked for.

use std::sync::atomic::AtomicBool;

use tch::Device;

use crate::testing::{alone, create_run, with, word_config};
use crate::train::Trainer;

static GO: AtomicBool = AtomicBool::new(false);

#[test]
fn training_holds_the_rate_that_is_asked_for() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("folder");
    for (name, rate) in [("low", 1.5), ("high", 4.0)] {
        let run = create_run(
            folder.path(),
            name,
            &with(
                &word_config(),
                &format!(
                    "rate={rate} free-bits=0 kl-warmup=0 dropout=0 decoder-dropout=0 lr=0.005 \
                     steps=1000 eval-every=500"
                ),
            ),
        );
        tch::set_num_threads(1);
        let mut trainer = Trainer::new(&run, Device::Cpu).expect("trainer");
        trainer.resume().expect("nothing to go on from");
        trainer.train(&GO).expect("trained");
        let log = std::fs::read_to_string(run.metrics_path()).expect("metrics");
        let last: serde_json::Value =
            serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
        let found = last["valid"]["rate_nats_per_word"].as_f64().expect("R");
        assert!(
            (found - rate).abs() < 0.15 * rate,
            "{found} instead of {rate}"
        );
    }
}
