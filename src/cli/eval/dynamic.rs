//! Dynamic evaluation: the cost of a text under a model that learns from it as it reads.

use crate::evaluate::dynamic::Dynamic;
use crate::model::learner;
use anyhow::Result;
use serde::Serialize;

use super::costs::{Costs, Measured};
use super::job::Job;
use crate::cli::error::{CliError, of_model};

/// Default number of tokens between two steps, as in Krause et al.
const DEFAULT_SEGMENT: u32 = 20;

/// The result. It has a row of its own, because it is not the cost under the model in the file.
#[derive(Serialize)]
pub struct DynamicCosts {
    pub learning_rate: f32,
    /// Tokens between two steps.
    pub segment: u32,
    #[serde(flatten)]
    pub costs: Costs,
}

/// Evaluates the model in the file dynamically, if `--dynamic` is given.
pub fn dynamic(job: &Job, measured: &Measured) -> Result<Option<DynamicCosts>> {
    let flags = &job.args.text;
    let Some(learning_rate) = flags.dynamic else {
        return Ok(None);
    };
    let segment = flags.dynamic_seq.unwrap_or(DEFAULT_SEGMENT);
    let setting = Dynamic {
        lr: learning_rate,
        segment: segment as usize,
    };
    let mut learner = learner(job.file, setting).map_err(of_model(job.file))?;
    let cost = job.measure(measured.predicted, |running| {
        learner.read(measured.tokens, &measured.segments, running.progress)
    })?;
    let costs = measured.costs(cost.nats);
    if !costs.perplexity.is_finite() {
        let message =
            format!("--dynamic {learning_rate}: the steps are too long, and the model fell apart");
        return Err(CliError::failed(message, "try --dynamic 0.03, or less").into());
    }
    Ok(Some(DynamicCosts {
        learning_rate,
        segment,
        costs,
    }))
}
