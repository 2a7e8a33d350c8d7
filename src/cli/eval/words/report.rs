//! The report on a word-vae, as JSON and as text.

use std::fmt::Write as _;

use super::costs::{Baseline, Cost, Costs};
use super::figures::{Baselines, Latent, Samples};
use super::verdict::Verdict;
use crate::cli::eval::job::{About, signed};
use crate::cli::output::{Table, counted};
use serde::Serialize;

/// The number of dimensions per line of bars, and the width of the longest bar.
const COLUMNS: usize = 4;
const BAR: usize = 10;

#[derive(Serialize)]
pub struct Report<'a> {
    #[serde(flatten)]
    pub about: About<'a>,
    /// The seed of z and of the sampled words.
    pub seed: u64,
    pub words: u64,
    /// Tokens predicted, including the end of each word.
    pub tokens: u64,
    pub results: Vec<Costs>,
    /// The cost of int8 weights, if both precisions were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int8_costs_bits_per_char: Option<f64>,
    pub baselines: Baselines,
    /// `None` if there is no z.
    pub latent: Option<Latent>,
    pub samples: Vec<Samples>,
    /// The sampling flags; empty for the models' own distributions.
    pub sampled_with: String,
    /// `None` if there is no z.
    pub verdict: Option<Verdict>,
}

pub fn text(report: &Report) -> String {
    let mut text = format!(
        "{}, {}: {}, {} with their ends; nats per word\n\n",
        report.about.corpus,
        report.about.part.name(),
        counted(report.words, "word"),
        counted(report.tokens, "character")
    );
    text.push_str(&costs(report).text());
    if let [whole, eight] = &report.results[..] {
        let bits = eight.neg_elbo_bits_per_char - whole.neg_elbo_bits_per_char;
        let nats = eight.neg_elbo_nats_per_word - whole.neg_elbo_nats_per_word;
        let (bits, nats) = (signed(bits, "bits/char"), signed(nats, "nats/word"));
        let _ = writeln!(text, "int8 costs {bits}, {nats}");
    }
    if let Some(latent) = &report.latent {
        text.push('\n');
        text.push_str(&carries(latent));
    }
    if !report.samples.is_empty() {
        text.push('\n');
        text.push_str(&samples(&report.samples).text());
        if !report.sampled_with.is_empty() {
            let _ = writeln!(text, "sampled with {}", report.sampled_with);
        }
    }
    if let Some(verdict) = &report.verdict {
        let name = format!("{:?}", verdict.latent).to_lowercase();
        let _ = writeln!(text, "\nz is {name}: {}", verdict.why);
    }
    text
}

/// A row for each model and each baseline.
fn costs(report: &Report) -> Table {
    let mut header: Vec<String> = ["MODEL", "D", "R", "-ELBO"].map(str::to_owned).into();
    let bounds = report.results.first().map_or(&[][..], |row| &row.iw);
    header.extend(bounds.iter().map(|bound| format!("IW-{}", bound.k)));
    header.extend(["BEST", "NATS/CHAR", "BITS/CHAR"].map(str::to_owned));
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let name = name_of(&report.about, report.latent.is_some());
    for row in &report.results {
        let mut cells = vec![
            format!("{name} {}", row.weights),
            format!("{:.3}", row.distortion_nats_per_word),
            // Without z this is −0.
            format!("{:.3}", row.rate_nats_per_word + 0.0),
            format!("{:.3}", row.neg_elbo_nats_per_word),
        ];
        let bounds = row.iw.iter();
        cells.extend(bounds.map(|bound| format!("{:.3}", bound.cost.nats_per_word)));
        cells.extend(best(row.best));
        table.row(cells);
    }
    let baselines = &report.baselines;
    let rows = baselines.no_latent.iter().chain([&baselines.ngram.row]);
    for Baseline { name, cost, .. } in rows {
        let mut cells = vec![name.clone()];
        cells.extend(std::iter::repeat_n("-".to_owned(), 3 + bounds.len()));
        cells.extend(best(*cost));
        table.row(cells);
    }
    table
}

/// The model's name. A decoder without z is called by its run's name, as in the report on the model
/// whose baseline it is.
pub const fn name_of<'a>(about: &About<'a>, has_z: bool) -> &'a str {
    match about.run {
        Some(run) if !has_z => run,
        _ => about.model.name(),
    }
}

fn best(cost: Cost) -> [String; 3] {
    [
        format!("{:.3} ±{:.3}", cost.nats_per_word, cost.standard_error),
        format!("{:.4}", cost.nats_per_char),
        format!("{:.4}", cost.bits_per_char),
    ]
}

fn carries(Latent { carries, back }: &Latent) -> String {
    let dimensions = carries.rate_nats_per_dimension.len();
    let mut text = format!(
        "z: {}, {} active\n",
        counted(dimensions, "dimension"),
        carries.active_units
    );
    let _ = writeln!(
        text,
        "R {:.3} ≈ I_q {:.3} ±{:.3} about the word (at most ln {} = {:.3}) + KL(q(z)‖p(z)) {:.3} ±{:.3}",
        carries.rate_nats,
        carries.information_nats,
        carries.information_standard_error,
        carries.information_words,
        carries.information_ceiling_nats,
        carries.marginal_kl_nats,
        carries.marginal_kl_standard_error,
    );
    let _ = writeln!(
        text,
        "another word's z costs {:.3} ±{:.3} nats per word more",
        carries.shuffle_gap_nats, carries.shuffle_gap_standard_error
    );
    let _ = writeln!(
        text,
        "decoded from μ: {:.1} % of the words come back, {:.2} ±{:.2} edits per word, {:.2} per letter",
        100.0 * back.reconstruction_exact,
        back.edit_distance,
        back.edit_distance_standard_error,
        back.edits_per_letter
    );
    text.push_str("KL of every dimension, nats:\n");
    text.push_str(&bars(&carries.rate_nats_per_dimension));
    text
}

/// Numbered bars, the longest first, in columns read from top to bottom.
fn bars(values: &[f64]) -> String {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    let most = order.first().map_or(0.0, |&first| values[first]);
    let lines = values.len().div_ceil(COLUMNS);
    let mut text = String::new();
    for line in 0..lines {
        let cells: Vec<String> = order[line..]
            .iter()
            .step_by(lines)
            .map(|&dimension| {
                let value = values[dimension];
                let bar = bar(value / most.max(f64::MIN_POSITIVE));
                format!("{dimension:>4} {value:.3} {bar:<BAR$}")
            })
            .collect();
        text.push_str(cells.concat().trim_end());
        text.push('\n');
    }
    text
}

/// A bar of the fraction of [`BAR`] blocks, rounded to an eighth of a block.
fn bar(part: f64) -> String {
    let eighths = (part.clamp(0.0, 1.0) * (8 * BAR) as f64).round() as usize;
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    "█".repeat(eighths / 8) + parts[eighths % 8]
}

fn samples(samples: &[Samples]) -> Table {
    let words = samples.iter().map(|row| row.found.words).max().unwrap_or(0);
    let of = format!("{words} WORDS OF");
    let measures = "DISTINCT,IN TRAINING,HELD-OUT HITS,HITS/NEW WORD,LENGTH DISTANCE";
    let header: Vec<&str> = [&of[..]].into_iter().chain(measures.split(',')).collect();
    let mut table = Table::new(&header);
    let percent = |rate: f64| format!("{:.1} %", 100.0 * rate);
    for Samples { name, found } in samples {
        // A model may have fewer words if no word may be sampled twice.
        let fewer = match found.words {
            all if all == words => String::new(),
            fewer => format!(", {fewer}"),
        };
        table.row(vec![
            format!("{name}{fewer}"),
            percent(found.distinct),
            percent(found.in_training),
            found.held_out_hits.to_string(),
            format!("{:.4}", found.hits_per_new_word),
            format!("{:.3}", found.length_distance),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_in_columns_the_longest_first() {
        let found = bars(&[0.5, 1.0, 0.0, 0.25, 0.75]);
        // Five bars in four columns take two lines; the last columns stay empty.
        let want = "   1 1.000 ██████████   0 0.500 █████        2 0.000\n   4 0.750 ███████▌     3 0.250 ██▌\n";
        assert_eq!(found, want);
        assert_eq!(bars(&[0.0]), "   0 0.000\n");
        assert_eq!(bars(&[]), "");
    }
}
