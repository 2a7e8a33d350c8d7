//! The JSON report on a word-vae: its baselines, its z and its samples.

use crate::evaluate::latent::LatentReport;
use crate::evaluate::reconstruction::Reconstruction;
use crate::evaluate::samples::SampleReport;
use serde::Serialize;

use super::costs::{Baseline, NGramBaseline};

/// The models shown for comparison.
#[derive(Serialize)]
pub struct Baselines {
    /// The same decoder trained without z, if there is such a run.
    pub no_latent: Option<Baseline>,
    pub ngram: NGramBaseline,
}

/// The information in z, and how well words are reconstructed from it.
#[derive(Serialize)]
pub struct Latent {
    #[serde(flatten)]
    pub carries: LatentReport,
    #[serde(flatten)]
    pub back: Reconstruction,
}

/// Words sampled from a model, compared with existing words.
#[derive(Serialize)]
pub struct Samples {
    pub name: String,
    #[serde(flatten)]
    pub found: SampleReport,
}
