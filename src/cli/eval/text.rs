//! What held-out text costs a char-lstm.

use std::f64::consts::LN_2;
use std::fmt::Write as _;
use std::ops::Range;

use anyhow::Result;
use serde::Serialize;
use textgen::native::char_lstm::CharLstm;
use textgen::native::evaluate::{TextCost, texts};
use textgen::run::TextData;
use textgen::text::{SplitKind, Vocabulary, split_text, stretches};

use super::{About, Job, Part};
use crate::cli::output::Table;

/// The JSON object.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    about: About<'a>,
    split: SplitKind,
    /// Symbols predicted.
    symbols: u64,
    /// Their UTF-8; none where some of them are `<unk>`.
    bytes: Option<u64>,
    /// Of the symbols, those that the vocabulary does not hold.
    unknown_symbols: u64,
    results: Vec<Figures>,
    /// What eight bits cost, where both were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_costs_bits_per_char: Option<f64>,
}

/// A row.
#[derive(Serialize)]
struct Figures {
    weights: &'static str,
    loss_nats_per_char: f64,
    loss_bits_per_char: f64,
    bits_per_byte: Option<f64>,
    perplexity: f64,
}

impl Figures {
    fn new(weights: &'static str, cost: TextCost, bytes: Option<u64>) -> Self {
        let nats = cost.nats / cost.symbols as f64;
        Self {
            weights,
            loss_nats_per_char: nats,
            loss_bits_per_char: nats / LN_2,
            bits_per_byte: bytes.map(|bytes| cost.nats / LN_2 / bytes as f64),
            perplexity: nats.exp(),
        }
    }
}

/// Evaluates and prints.
pub fn evaluate(job: &Job, text: &TextData) -> Result<()> {
    let config = job.run.config()?;
    let parts = split_text(text.tokens.len(), config.split, config.valid, config.test);
    let part = match job.args.part {
        Part::Valid => parts.valid,
        Part::Test => parts.test,
    };
    let stretches = stretches(&part, config.split);
    let symbols: u64 = stretches.iter().map(|range| range.len() as u64 - 1).sum();
    if symbols == 0 {
        return Err(job.nothing_held_out());
    }
    let models = job.models(|weights| CharLstm::new(&job.file.header.network, weights))?;
    let models: Vec<&CharLstm> = models.iter().collect();
    let costs = job.measure(symbols * models.len() as u64, |running| {
        texts(&models, &text.tokens, &stretches, running)
    })?;
    let (bytes, unknown_symbols) = bytes_of(&text.vocabulary, &text.tokens, &stretches);
    let bytes = (unknown_symbols == 0).then_some(bytes);
    let mut results = Vec::new();
    for (name, cost) in job.names().zip(costs) {
        job.finite(cost.nats)?;
        results.push(Figures::new(name, cost, bytes));
    }
    let int8_costs_bits_per_char = match &results[..] {
        [whole, eight] => Some(eight.loss_bits_per_char - whole.loss_bits_per_char),
        _ => None,
    };
    let report = Report {
        about: job.about(),
        split: config.split,
        symbols,
        bytes,
        unknown_symbols,
        results,
        int8_costs_bits_per_char,
    };
    let mut shown = table(&report).text();
    if let Some(bits) = report.int8_costs_bits_per_char {
        let _ = writeln!(shown, "int8 costs {}", Job::signed(bits, "bits/char"));
    }
    job.print(&report, &shown)
}

fn table(report: &Report) -> Table {
    let mut table = Table::new(&[
        "WEIGHTS",
        "CORPUS",
        "PART",
        "SPLIT",
        "SYMBOLS",
        "NATS/CHAR",
        "BITS/CHAR",
        "BITS/BYTE",
        "PERPLEXITY",
    ]);
    for row in &report.results {
        let bits_per_byte = row.bits_per_byte.map(|bits| format!("{bits:.4}"));
        table.row(vec![
            row.weights.to_owned(),
            report.about.corpus.to_owned(),
            report.about.part.name().to_owned(),
            report.split.to_string(),
            report.symbols.to_string(),
            format!("{:.4}", row.loss_nats_per_char),
            format!("{:.4}", row.loss_bits_per_char),
            bits_per_byte.unwrap_or_else(|| "-".to_owned()),
            format!("{:.3}", row.perplexity),
        ]);
    }
    table
}

/// Bytes of the symbols predicted, and how many of them are `<unk>`, whose bytes nobody knows.
fn bytes_of(vocabulary: &Vocabulary, tokens: &[u32], stretches: &[Range<usize>]) -> (u64, u64) {
    let mut sizes = Vec::with_capacity(vocabulary.len());
    let mut room = Vec::new();
    for symbol in 0..vocabulary.len() as u32 {
        room.clear();
        vocabulary.push_bytes(symbol, &mut room);
        sizes.push(room.len() as u64);
    }
    let predicted = || {
        stretches
            .iter()
            .flat_map(|range| &tokens[range.start + 1..range.end])
    };
    let bytes = predicted().map(|&symbol| sizes[symbol as usize]).sum();
    let unknown = predicted().filter(|&&symbol| Some(symbol) == vocabulary.unk());
    (bytes, unknown.count() as u64)
}
