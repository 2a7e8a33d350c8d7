//! What a text costs a model that learns from it as it reads.

use crate::evaluate::dynamic::{Dynamic, Learner};
use anyhow::{Context, Result};
use serde::Serialize;

use super::Job;
use super::text::{Costs, Measured};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;

/// Tokens between two steps unless told otherwise, as in Krause et al.
const DEFAULT_SEGMENT: u32 = 20;

/// A row of its own: it is no figure of the model as it stands.
#[derive(Serialize)]
pub struct DynamicCosts {
    pub learning_rate: f32,
    /// Tokens between two steps.
    pub segment: u32,
    #[serde(flatten)]
    pub costs: Costs,
}

/// Dynamic evaluation of the model as the file has it, where it is asked for.
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
    let (_, weights) = &job.weights[0];
    let mut learner = Learner::new(&job.file.header.network, weights, setting)
        .with_context(|| job.file.path().display().to_string())?;
    let progress = Progress::of_tokens(measured.predicted);
    let cost = learner.read(measured.tokens, &measured.segments, |more| {
        progress.add(more);
    });
    progress.end();
    let costs = Costs::new(cost?.nats, measured.predicted, measured.bytes);
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
