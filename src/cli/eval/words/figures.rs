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

#[derive(Serialize)]
pub struct Latent {
    pub active_units: usize,
    pub rate_nats_per_dimension: Vec<f64>,
    pub rate_nats: f64,
    pub information_nats: f64,
    pub information_standard_error: f64,
    /// ln N, with N below.
    pub information_ceiling_nats: f64,
    pub information_words: usize,
    pub marginal_kl_nats: f64,
    pub marginal_kl_standard_error: f64,
    pub shuffle_gap_nats: f64,
    pub shuffle_gap_standard_error: f64,
    pub reconstruction_exact: f64,
    pub edit_distance: f64,
    pub edit_distance_standard_error: f64,
    pub edits_per_letter: f64,
}

impl Latent {
    pub fn new(found: LatentReport, back: Reconstruction) -> Self {
        let (information, gap) = (found.information, found.shuffle_gap_nats);
        Self {
            active_units: found.active_units,
            rate_nats: found.rates_nats.iter().sum(),
            rate_nats_per_dimension: found.rates_nats,
            information_nats: information.information_nats.mean,
            information_standard_error: information.information_nats.standard_error,
            information_ceiling_nats: (information.words as f64).ln(),
            information_words: information.words,
            marginal_kl_nats: information.marginal_kl_nats.mean,
            marginal_kl_standard_error: information.marginal_kl_nats.standard_error,
            shuffle_gap_nats: gap.mean,
            shuffle_gap_standard_error: gap.standard_error,
            reconstruction_exact: back.exact,
            edit_distance: back.edit_distance.mean,
            edit_distance_standard_error: back.edit_distance.standard_error,
            edits_per_letter: back.edits_per_letter,
        }
    }
}

/// Words of a model, compared with those that exist.
#[derive(Serialize)]
pub struct Samples {
    pub name: String,
    #[serde(flatten)]
    pub found: SampleReport,
}
