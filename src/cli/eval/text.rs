//! What a text costs a char-lstm, and what it costs simpler models.

use std::borrow::Cow;
use std::f64::consts::LN_2;
use std::fmt::Write as _;
use std::ops::Range;

use crate::config::{SplitKind, TextConfig, TrainConfig};
use crate::evaluate::novelty::Copied;
use crate::evaluate::texts;
use crate::models::char_rnn::CharRnn;
use crate::run::TextData;
use crate::text::{Corpus, Vocabulary, segments, split_text, whole};
use anyhow::Result;
use serde::Serialize;

use super::baselines::{Baselines, baselines, predicted};
use super::dynamic::{DynamicCosts, dynamic};
use super::shares::Shares;
use super::{About, Job, Part};
use crate::cli::error::CliError;
use crate::cli::output::{Table, note, unknown};
use crate::cli::progress::Progress;

/// The JSON object.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// What was evaluated.
    text: &'a str,
    text_digest: Option<&'a str>,
    split: SplitKind,
    /// Tokens predicted.
    tokens: u64,
    /// Their UTF-8; none where some of them are `<unk>`.
    bytes: Option<u64>,
    /// Of the tokens, those that the vocabulary does not hold.
    unknown_tokens: u64,
    /// Tokens of the whole text that the vocabulary does not hold and that a model without `<unk>`
    /// neither read nor predicted.
    left_out_tokens: u64,
    /// Of the tokens, those that the model was trained on.
    trained_on_tokens: u64,
    warnings: &'a [String],
    results: Vec<Figures>,
    /// What eight bits cost, where both were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_costs_bits_per_char: Option<f64>,
    baselines: Option<Baselines>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_baselines: Option<String>,
    /// While it learns from the text, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic: Option<DynamicCosts>,
}

/// A row.
#[derive(Serialize)]
struct Figures {
    weights: &'static str,
    #[serde(flatten)]
    costs: Costs,
}

/// What the text costs a model.
#[derive(Serialize)]
pub struct Costs {
    pub loss_nats_per_char: f64,
    pub loss_bits_per_char: f64,
    pub bits_per_byte: Option<f64>,
    pub perplexity: f64,
}

impl Costs {
    pub fn new(nats: f64, tokens: u64, bytes: Option<u64>) -> Self {
        let per_char = nats / tokens as f64;
        Self {
            loss_nats_per_char: per_char,
            loss_bits_per_char: per_char / LN_2,
            bits_per_byte: bytes.map(|bytes| nats / LN_2 / bytes as f64),
            perplexity: per_char.exp(),
        }
    }
}

/// What is measured.
pub struct Measured<'a> {
    pub tokens: &'a [u32],
    /// Read from a zero state each; all tokens but the first are predicted.
    pub segments: Vec<Range<usize>>,
    /// Tokens predicted.
    pub predicted: u64,
    /// Their UTF-8; none where some of them are `<unk>`.
    pub bytes: Option<u64>,
    /// Whether it is of the text that the model was trained on.
    pub is_own: bool,
}

/// A text as the model reads it.
struct Text<'a> {
    tokens: Cow<'a, [u32]>,
    name: String,
    digest: Option<String>,
    /// Whether the model was trained on a part of it.
    is_own: bool,
    left_out: u64,
    warnings: Vec<String>,
}

/// Characters that another text has in common with the training text for that to be no accident: names
/// and phrases are shorter.
const STRETCH: usize = 50;
/// Characters of a text that are looked up in the training text at the most, which takes memory.
const LOOKED_UP: usize = 200_000;

/// Of the tokens that `segments` of another text predict, about how many stand in the training part.
fn copied(tokens: &[u32], segments: &[Range<usize>], config: &TrainConfig, data: &TextData) -> u64 {
    let mut left = LOOKED_UP;
    let mut texts: Vec<&[u32]> = Vec::new();
    for segment in segments {
        let taken = left.min(segment.len());
        texts.push(&tokens[segment.start..segment.start + taken]);
        left -= taken;
    }
    let split = split_text(data.tokens.len(), config.split, config.valid, config.test);
    let parts: Vec<&[u32]> = split
        .train
        .iter()
        .map(|part| &data.tokens[part.clone()])
        .collect();
    let found = Copied::new(&texts, &parts, |_| ()).tokens(STRETCH);
    let looked_up: usize = texts.iter().map(|text| text.len()).sum();
    let share = found as f64 / looked_up.max(1) as f64;
    (share * predicted(segments) as f64).round() as u64
}

/// Evaluates and prints. `own` is the run's settings and its corpus.
pub fn evaluate(
    mut job: Job,
    corpus: Option<&str>,
    own: Option<(&TrainConfig, &TextData)>,
) -> Result<()> {
    let mut text = Text::new(&job, corpus, own)?;
    let default = if text.is_own { Part::Valid } else { Part::All };
    job.part = job.args.part.unwrap_or(default);
    let job = &job;
    let trained = Shares::of_training(job, own)?;
    let shares = trained.asked(job);
    let part = shares.part(text.tokens.len(), job.part);
    let segments = segments(&part, shares.split);
    let tokens = predicted(&segments);
    if tokens == 0 {
        return Err(job.nothing_held_out());
    }
    let trained_on = match own {
        _ if text.is_own => trained.trained_on(text.tokens.len(), &segments),
        Some((config, data)) => copied(&text.tokens, &segments, config, data),
        None => 0,
    };
    text.warn_of_training(own.is_some(), trained_on, tokens, &trained);
    for warning in &text.warnings {
        note!("warning: {warning}");
    }
    let models = job.models(|weights| CharRnn::new(&job.file.header.network, weights))?;
    let models: Vec<&CharRnn> = models.iter().collect();
    let costs = job.measure(tokens * models.len() as u64, |running| {
        texts(&models, &text.tokens, &segments, running)
    })?;
    let (bytes, unknown_tokens) = bytes_of(&job.file.header.vocabulary, &text.tokens, &segments);
    let measured = Measured {
        tokens: &text.tokens,
        segments,
        predicted: tokens,
        bytes: (unknown_tokens == 0).then_some(bytes),
        is_own: text.is_own,
    };
    let mut results = Vec::new();
    for (weights, cost) in job.names().zip(costs) {
        job.finite(cost.nats)?;
        let costs = Costs::new(cost.nats, tokens, measured.bytes);
        results.push(Figures { weights, costs });
    }
    let int8_costs_bits_per_char = match &results[..] {
        [whole, eight] => Some(eight.costs.loss_bits_per_char - whole.costs.loss_bits_per_char),
        _ => None,
    };
    let (baselines, no_baselines) = if job.args.text.no_baselines {
        (None, None)
    } else {
        match baselines(own, &measured, &results[0].costs, job.threads()) {
            Ok(baselines) => (Some(baselines), None),
            Err(why) => (None, Some(why)),
        }
    };
    if let Some(why) = &no_baselines {
        note!("no n-gram models beside the network: {why}");
    }
    let report = Report {
        about: job.about(),
        text: &text.name,
        text_digest: text.digest.as_deref(),
        split: shares.split,
        tokens,
        bytes: measured.bytes,
        unknown_tokens,
        left_out_tokens: text.left_out,
        trained_on_tokens: trained_on,
        warnings: &text.warnings,
        results,
        int8_costs_bits_per_char,
        baselines,
        no_baselines,
        dynamic: dynamic(job, &measured)?,
    };
    job.print(&report, &shown(&report))
}

impl<'a> Text<'a> {
    /// The text named, or that of the run.
    fn new(
        job: &Job,
        corpus: Option<&str>,
        own: Option<(&TrainConfig, &'a TextData)>,
    ) -> Result<Self> {
        let header = &job.file.header;
        let of_run = |data: &'a TextData| Self {
            tokens: Cow::Borrowed(&data.tokens),
            name: header.corpus_name.clone(),
            digest: Some(header.corpus_digest.clone()),
            is_own: true,
            left_out: 0,
            warnings: Vec::new(),
        };
        let Some(corpus) = corpus else {
            let Some((_, data)) = own else {
                let message = format!("{} holds no text to evaluate it on", job.name());
                let hint = format!(
                    "name one, as in textgen eval MODEL CORPUS; it was trained on {}",
                    header.corpus_name
                );
                return Err(CliError::misuse(message, hint).into());
            };
            return Ok(of_run(data));
        };
        let corpus = Corpus::resolve(&[corpus.to_owned()])?;
        let digest = (!corpus.has_stdin()).then(|| corpus.digest()).transpose()?;
        let is_own = digest.as_ref() == Some(&header.corpus_digest);
        if let (true, Some((_, data))) = (is_own, own) {
            return Ok(of_run(data));
        }
        let encoding = job.args.text.encoding.as_ref();
        let config = TextConfig {
            encoding: encoding.unwrap_or(&header.text.encoding).clone(),
            ..header.text.clone()
        };
        let progress = Progress::new(corpus.size_bytes());
        let text = whole(&corpus, &config, |bytes| progress.show(bytes));
        progress.end();
        let open = header.vocabulary.encode_open(&text?);
        let unk = header.vocabulary.unk();
        let fate = match unk {
            Some(_) => "read and predicted as <unk>",
            None => "left out: neither read nor predicted",
        };
        let warnings = unknown(&open).map(|unknown| format!("{unknown} and are {fate}"));
        Ok(Self {
            tokens: Cow::Owned(open.readable(unk)),
            name: corpus.name,
            digest,
            is_own,
            left_out: if unk.is_some() {
                0
            } else {
                open.unknown() as u64
            },
            warnings: warnings.into_iter().collect(),
        })
    }

    /// Warns where the figure is not, or may not be, of held-out text.
    fn warn_of_training(&mut self, is_run: bool, trained_on: u64, tokens: u64, trained: &Shares) {
        if self.is_own && !is_run {
            self.warnings.push(format!(
                "the model was trained on {}, and its file does not say which part was held out; as --split {} --valid {} is assumed",
                self.name, trained.split, trained.valid
            ));
        }
        if trained_on > 0 && !self.is_own {
            self.warnings.push(format!(
                "{:.1} % of the characters evaluated lie in segments of {STRETCH} or more that the model was trained on: this is no figure of unseen text",
                100.0 * trained_on as f64 / tokens as f64
            ));
        } else if trained_on > 0 {
            self.warnings.push(format!(
                "the model was trained on {:.1} % of the characters evaluated (trained with --split {}): this is no figure of held-out text",
                100.0 * trained_on as f64 / tokens as f64,
                trained.split
            ));
        }
    }
}

/// The report for a person.
fn shown(report: &Report) -> String {
    let mut table = Table::new(&[
        "MODEL",
        "CORPUS",
        "PART",
        "SPLIT",
        "TOKENS",
        "NATS/CHAR",
        "BITS/CHAR",
        "BITS/BYTE",
        "PERPLEXITY",
    ]);
    let mut row = |model: String, costs: &Costs| {
        let bits_per_byte = costs.bits_per_byte.map(|bits| format!("{bits:.4}"));
        table.row(vec![
            model,
            report.text.to_owned(),
            report.about.part.name().to_owned(),
            report.split.to_string(),
            report.tokens.to_string(),
            format!("{:.4}", costs.loss_nats_per_char),
            format!("{:.4}", costs.loss_bits_per_char),
            bits_per_byte.unwrap_or_else(|| "-".to_owned()),
            format!("{:.3}", costs.perplexity),
        ]);
    };
    for figures in &report.results {
        row(figures.weights.to_owned(), &figures.costs);
    }
    if let Some(Baselines { unigram, ngram, .. }) = &report.baselines {
        row("unigram".to_owned(), &unigram.costs);
        row(format!("{}-gram", ngram.order), &ngram.costs);
    }
    let mut shown = table.text();
    if let Some(Baselines { ngram, .. }) = &report.baselines {
        let gain = ngram.network_gains_bits_per_char;
        let (saves, than) = if gain < 0.0 {
            ("costs", "more than")
        } else {
            ("saves", "against")
        };
        let (bits, order) = (gain.abs(), ngram.order);
        let _ = writeln!(
            shown,
            "the network {saves} {bits:.4} bits/char {than} the {order}-gram"
        );
    }
    if let Some(bits) = report.int8_costs_bits_per_char {
        let _ = writeln!(shown, "int8 costs {}", Job::signed(bits, "bits/char"));
    }
    if let Some(DynamicCosts {
        learning_rate,
        segment,
        costs,
    }) = &report.dynamic
    {
        let _ = writeln!(
            shown,
            "dynamic, learning rate {learning_rate} every {segment} characters: {:.4} nats/char, {:.4} bits/char, perplexity {:.3}",
            costs.loss_nats_per_char, costs.loss_bits_per_char, costs.perplexity
        );
    }
    shown
}

/// Bytes of the tokens predicted, and how many of them are `<unk>`, whose bytes nobody knows.
fn bytes_of(vocabulary: &Vocabulary, tokens: &[u32], segments: &[Range<usize>]) -> (u64, u64) {
    let mut sizes = Vec::with_capacity(vocabulary.len());
    let mut room = Vec::new();
    for token in 0..vocabulary.len() as u32 {
        room.clear();
        vocabulary.push_bytes(token, &mut room);
        sizes.push(room.len() as u64);
    }
    let predicted = || {
        segments
            .iter()
            .flat_map(|range| &tokens[range.start + 1..range.end])
    };
    let bytes = predicted().map(|&token| sizes[token as usize]).sum();
    let unknown = predicted().filter(|&&token| Some(token) == vocabulary.unk());
    (bytes, unknown.count() as u64)
}
