//! What a report on a word-vae says of its baselines, its z and its samples, as JSON has it.

use crate::evaluate::latent::LatentReport;
use crate::evaluate::reconstruction::Reconstruction;
use crate::evaluate::samples::SampleReport;
use serde::Serialize;

use super::costs::{Baseline, NGramBaseline};

/// What the model is compared with.
#[derive(Serialize)]
pub struct Baselines {
    /// The same decoder trained without z, where there is such a run.
    pub no_latent: Option<Baseline>,
    pub ngram: NGramBaseline,
}

/// What z carries, and how words come back from it.
#[derive(Serialize)]
pub struct Latent {
    #[serde(flatten)]
    pub carries: LatentReport,
    #[serde(flatten)]
    pub back: Reconstruction,
}

/// Words of a model, compared with those that exist.
#[derive(Serialize)]
pub struct Samples {
    pub name: String,
    #[serde(flatten)]
    pub found: SampleReport,
}
