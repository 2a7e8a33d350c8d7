//! What held-out words cost a word-vae.

use std::f64::consts::LN_2;

use anyhow::Result;
use serde::Serialize;
use textgen::native::evaluate::{Word, WordCost, WordReading, words};
use textgen::native::word_vae::WordVae;
use textgen::run::WordData;

use super::{About, Job, Part};
use crate::cli::error::CliError;
use crate::cli::output::Table;

/// The JSON object.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// Of the z that were drawn.
    seed: u64,
    words: u64,
    /// Symbols predicted, ends of words counted.
    symbols: u64,
    results: Vec<Figures>,
    /// What eight bits cost, where both were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_costs_bits_per_char: Option<f64>,
}

/// A row. Means over words; those per character are over symbols, ends of words counted.
#[derive(Serialize)]
struct Figures {
    weights: &'static str,
    distortion_nats_per_word: f64,
    rate_nats_per_word: f64,
    neg_elbo_nats_per_word: f64,
    neg_elbo_nats_per_char: f64,
    neg_elbo_bits_per_char: f64,
}

impl Figures {
    fn new(weights: &'static str, cost: &WordCost) -> Self {
        let (words, neg_elbo) = (cost.words as f64, cost.distortion_nats + cost.rate_nats);
        let per_char = neg_elbo / cost.symbols as f64;
        Self {
            weights,
            distortion_nats_per_word: cost.distortion_nats / words,
            rate_nats_per_word: cost.rate_nats / words,
            neg_elbo_nats_per_word: neg_elbo / words,
            neg_elbo_nats_per_char: per_char,
            neg_elbo_bits_per_char: per_char / LN_2,
        }
    }
}

/// Evaluates and prints.
pub fn evaluate(job: &Job, data: &WordData) -> Result<()> {
    let part = match job.args.part {
        Part::Valid => &data.valid,
        Part::Test => &data.test,
    };
    let corpus: Vec<Word> = part
        .iter()
        .map(|&index| Word {
            index: index as u64,
            letters: &data.letters[index],
        })
        .collect();
    if corpus.is_empty() {
        return Err(job.nothing_held_out());
    }
    let (Some(bos), Some(eos)) = (data.vocabulary.bos(), data.vocabulary.eos()) else {
        let message = "the vocabulary has no <bos> and <eos>";
        return Err(CliError::failed(message, "train the model again").into());
    };
    let seed = job.args.seed.unwrap_or(0);
    let reading = WordReading { bos, eos, seed };
    let symbols = corpus
        .iter()
        .map(|word| word.letters.len() as u64 + 1)
        .sum();
    let models = job.models(|weights| WordVae::new(&job.file.header.network, weights))?;
    let models: Vec<&WordVae> = models.iter().collect();
    let costs = job.measure(symbols, |running| words(&models, &corpus, reading, running))?;
    let mut results = Vec::new();
    for (name, cost) in job.names().zip(&costs) {
        job.finite(cost.distortion_nats + cost.rate_nats)?;
        results.push(Figures::new(name, cost));
    }
    let int8_costs_bits_per_char = match &results[..] {
        [whole, eight] => Some(eight.neg_elbo_bits_per_char - whole.neg_elbo_bits_per_char),
        _ => None,
    };
    let report = Report {
        about: job.about(),
        seed,
        words: corpus.len() as u64,
        symbols,
        results,
        int8_costs_bits_per_char,
    };
    let below = match &report.results[..] {
        [whole, eight] => {
            let bits = eight.neg_elbo_bits_per_char - whole.neg_elbo_bits_per_char;
            let nats = eight.neg_elbo_nats_per_word - whole.neg_elbo_nats_per_word;
            let [bits, nats] = [(bits, "bits/char"), (nats, "nats/word")]
                .map(|(cost, unit)| Job::signed(cost, unit));
            Some(format!("int8 costs {bits}, {nats}"))
        }
        _ => None,
    };
    job.print(&report, &table(&report), below)
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(&[
        "WEIGHTS",
        "CORPUS",
        "PART",
        "WORDS",
        "D NATS/WORD",
        "R NATS/WORD",
        "-ELBO NATS/WORD",
        "NATS/CHAR",
    ]);
    for row in &report.results {
        table.row(vec![
            row.weights.to_owned(),
            report.about.corpus.to_owned(),
            report.about.part.name().to_owned(),
            report.words.to_string(),
            format!("{:.3}", row.distortion_nats_per_word),
            format!("{:.3}", row.rate_nats_per_word),
            format!("{:.3}", row.neg_elbo_nats_per_word),
            format!("{:.4}", row.neg_elbo_nats_per_char),
        ]);
    }
    table
}
