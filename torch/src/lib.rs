//! The trainer of textgen: the only code that sees libtorch.
//!
//! [`train`] is the loop; [`char_rnn`] and [`word_vae`] are the models, written on libtorch's
//! tensors; [`recurrent`] runs all recurrent networks, on the CPU through [`operators`].

/// Prints a line to stderr, and ignores a failure: stderr may be closed.
#[macro_export]
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

pub mod average;
pub mod char_rnn;
pub mod device;
pub mod dropout;
pub mod operators;
pub mod optimizer;
pub mod parameters;
pub mod rate;
pub mod recurrent;
pub mod schedule;
pub mod sequences;
pub mod shim;
pub mod steps;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod train;
pub mod word_vae;

use anyhow::Result;
use tch::Device;
use textgen::config::{Precision, TrainConfig};
use textgen::run::{CharLoss, CorpusData, Evaluation, RunDir};

use train::{Part, Reading, Task, TextTask};

/// The losses of a run's best model on its validation and test parts, as JSON. A char-lstm reads
/// each part one token after the other, whereas training reads several streams at once.
pub fn evaluate_exactly(
    run: &RunDir,
    config: &TrainConfig,
    device: Device,
) -> Result<serde_json::Value> {
    device::set_precision(Precision::F32, device)?;
    let model = run.model()?;
    let best = model.weights()?;
    let parts: [Option<Evaluation>; 2] = if let CorpusData::Text(text) = run.corpus()? {
        let mut task = TextTask::new(config, text, device)?;
        task.parameters_mut().load(&best, "")?;
        [Part::Valid, Part::Test].map(|part| {
            let (nats, tokens) = task.evaluate_as(part, Reading::Exact);
            (tokens > 0).then(|| Evaluation::Char(CharLoss::from_nats(nats / tokens as f64)))
        })
    } else {
        let mut task = train::task(config, run.corpus()?, device)?;
        task.parameters_mut().load(&best, "")?;
        [task.evaluate(Part::Valid)?, task.evaluate(Part::Test)?]
    };
    Ok(serde_json::json!({
        "run": run.name(),
        "corpus": config.corpus_name,
        "split": config.split().to_string(),
        "seed": config.seed,
        "valid": parts[0],
        "test": parts[1],
    }))
}
