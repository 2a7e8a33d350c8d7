//! Describes in words what a model's z does, and names the flag that would change it.

use serde::Serialize;

use super::costs::{Baseline, Costs};
use super::figures::{Baselines, Samples};
use crate::evaluate::latent::LatentReport;

/// Nats below which R and the shuffle gap count as zero.
const NOTHING_NATS: f64 = 0.1;
/// The fraction of training words among the sampled words from which a model counts as memorising.
const REPEATING: f64 = 0.5;
/// The fewest sampled words for that verdict.
const ENOUGH: usize = 100;
/// The fraction of its upper bound from which I_q means that z identifies nearly every word.
const NAMING: f64 = 0.95;
/// The extra cost over the no-latent baseline, in nats per word, from which identifying words counts
/// as memorising.
const WORSE_NATS: f64 = 2.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// z is not used: the decoder ignores it.
    Collapsed,
    /// z identifies words instead of describing them.
    Memorising,
    /// z describes words.
    Used,
}

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub latent: Use,
    /// The reason, and the flags that would change it.
    pub why: String,
}

impl Verdict {
    /// Judges by the model's costs, the information in z, the sampled words and the baselines.
    pub fn new(
        costs: &Costs,
        latent: &LatentReport,
        samples: Option<&Samples>,
        baselines: &Baselines,
    ) -> Self {
        collapsed(latent)
            .or_else(|| memorising(costs, latent, samples, baselines))
            .unwrap_or_else(|| {
                // Without IW-k there is only a loose upper bound on the model's cost.
                let bound = if costs.iw.is_empty() { "at most " } else { "" };
                used(latent, baselines.no_latent.as_ref(), bound)
            })
    }
}

fn collapsed(latent: &LatentReport) -> Option<Verdict> {
    let why = if latent.active_units == 0 {
        "no dimension of z is active".to_owned()
    } else if latent.rate_nats < NOTHING_NATS {
        format!("z holds {:.2} nats of a word", latent.rate_nats)
    } else if latent.shuffle_gap_nats < NOTHING_NATS {
        format!(
            "another word's z costs {:.2} nats more than its own",
            latent.shuffle_gap_nats
        )
    } else {
        return None;
    };
    Some(Verdict {
        latent: Use::Collapsed,
        why: format!("{why}; train with --goal explore, --rate 4 or more --free-bits"),
    })
}

fn memorising(
    costs: &Costs,
    latent: &LatentReport,
    samples: Option<&Samples>,
    baselines: &Baselines,
) -> Option<Verdict> {
    let other = baselines.no_latent.as_ref().unwrap_or(&baselines.ngram.row);
    let worse = costs.neg_elbo_nats_per_word - other.cost.nats_per_word;
    let names = latent.information_nats >= NAMING * latent.information_ceiling_nats;
    let why = match samples.map(|samples| samples.found) {
        Some(found) if found.words >= ENOUGH && found.in_training >= REPEATING => format!(
            "{:.0} % of the words sampled are training words",
            100.0 * found.in_training
        ),
        _ if names && worse > WORSE_NATS => format!(
            "z names nearly every word ({:.2} of at most {:.2} nats), and words cost {worse:.1} nats \
             more than {} takes",
            latent.information_nats, latent.information_ceiling_nats, other.name
        ),
        _ => return None,
    };
    Some(Verdict {
        latent: Use::Memorising,
        why: format!("{why}; train with --goal density"),
    })
}

fn used(latent: &LatentReport, no_latent: Option<&Baseline>, bound: &str) -> Verdict {
    let carries = format!(
        "z tells {:.2} nats about a word, and another word's z costs {:.2} nats more",
        latent.information_nats, latent.shuffle_gap_nats
    );
    let why = match no_latent {
        Some(baseline) => format!("{carries}; {}", help(baseline, bound)),
        None => carries,
    };
    Verdict {
        latent: Use::Used,
        why,
    }
}

/// Whether z helps to predict words.
fn help(baseline: &Baseline, bound: &str) -> String {
    let (gain, error) = (
        baseline.model_gains_nats_per_word,
        baseline.gain_standard_error,
    );
    let difference = format!("{:.2} ±{error:.2} nats per word", gain.abs());
    if gain.abs() <= 2.0 * error {
        format!("to predict words it makes no difference ({difference})")
    } else if gain > 0.0 {
        format!("it saves {difference} against the no-latent baseline")
    } else {
        format!("it costs {bound}{difference} more than the no-latent baseline")
    }
}

#[cfg(test)]
mod tests {
    use super::super::costs::{Cost, NGramBaseline};
    use super::*;
    use crate::evaluate::samples::SampleReport;

    const fn baseline(nats_per_word: f64, gain: f64) -> Baseline {
        Baseline {
            name: String::new(),
            cost: Cost {
                nats_per_word,
                standard_error: 0.1,
                nats_per_char: 2.0,
                bits_per_char: 3.0,
            },
            model_gains_nats_per_word: gain,
            gain_standard_error: 0.02,
        }
    }

    fn verdict(change: impl FnOnce(&mut Costs, &mut LatentReport, &mut Samples)) -> Verdict {
        let mut costs = Costs {
            weights: "f32",
            distortion_nats_per_word: 12.0,
            rate_nats_per_word: 3.0,
            neg_elbo_nats_per_word: 15.0,
            neg_elbo_standard_error: 0.1,
            neg_elbo_nats_per_char: 2.1,
            neg_elbo_bits_per_char: 3.0,
            iw: Vec::new(),
            best: baseline(15.0, 0.0).cost,
        };
        let mut latent = LatentReport {
            active_units: 4,
            rate_nats: 3.0,
            information_nats: 2.5,
            information_ceiling_nats: 8.0,
            shuffle_gap_nats: 3.0,
            ..LatentReport::default()
        };
        let mut samples = Samples {
            name: String::new(),
            found: SampleReport {
                words: 1000,
                in_training: 0.2,
                ..SampleReport::default()
            },
        };
        change(&mut costs, &mut latent, &mut samples);
        let baselines = Baselines {
            no_latent: Some(baseline(14.9, 0.3)),
            ngram: NGramBaseline {
                order: 5,
                chosen_by_validation: true,
                row: baseline(15.0, 0.4),
                orders_nats_per_word: Vec::new(),
            },
        };
        Verdict::new(&costs, &latent, Some(&samples), &baselines)
    }

    #[test]
    fn z_is_collapsed_memorising_or_used() {
        let found = verdict(|_, _, _| ());
        assert_eq!(found.latent, Use::Used);
        assert!(found.why.contains("saves 0.30"), "{}", found.why);
        for found in [
            verdict(|_, latent, _| latent.rate_nats = 0.09),
            verdict(|_, latent, _| latent.active_units = 0),
            verdict(|_, latent, _| latent.shuffle_gap_nats = 0.05),
        ] {
            assert_eq!(found.latent, Use::Collapsed);
            assert!(found.why.contains("--goal explore"), "{}", found.why);
        }
        for found in [
            verdict(|_, _, samples| samples.found.in_training = 0.6),
            verdict(|costs, latent, _| {
                (costs.neg_elbo_nats_per_word, latent.information_nats) = (17.0, 7.7);
            }),
        ] {
            assert_eq!(found.latent, Use::Memorising);
            assert!(found.why.contains("--goal density"), "{}", found.why);
        }
        // Identifying every word is no fault if it does not raise the cost of words.
        let found = verdict(|_, latent, _| latent.information_nats = 7.7);
        assert_eq!(found.latent, Use::Used);
    }
}
