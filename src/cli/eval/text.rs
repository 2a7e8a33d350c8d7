//! The cost of a text under a char-lstm, and under simpler models.

use std::fmt::Write as _;
use std::ops::Range;

use crate::config::{SplitKind, TrainConfig};
use crate::evaluate::novelty::Copied;
use crate::evaluate::{Reading, texts};
use crate::model::{TextModel, token_bytes};
use crate::run::{ModelHeader, TextData, TokenSource as _, Tokens, pieces};
use crate::text::{Corpus, WARM_UP, segments, whole};
use anyhow::Result;
use serde::Serialize;

use super::baselines::{Baselines, baselines};
use super::costs::{Costs, Measured, predicted};
use super::dynamic::{DynamicCosts, dynamic};
use super::flags::Part;
use super::job::{About, Job, signed};
use super::parts::{Parts, common};
use crate::cli::error::CliError;
use crate::cli::mixing::{Training, has_its_own, named_text};
use crate::cli::output::{Table, Unknown, counted, note, percent};
use crate::cli::progress::Progress;

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    about: About<'a>,
    text: &'a str,
    text_digest: Option<&'a str>,
    split: SplitKind,
    /// Whether each segment was read from start to end.
    reading: Reading,
    /// The sections that were read; the segments, if reading was exact.
    sections: usize,
    tokens: u64,
    /// Their UTF-8 length; `None` if some of them are `<unk>`.
    bytes: Option<u64>,
    /// The number of these tokens that are not in the vocabulary.
    unknown_tokens: u64,
    /// Tokens of the whole text that a model without `<unk>` left out, because they are not in its
    /// vocabulary.
    left_out_tokens: u64,
    /// The number of these tokens that the model was trained on.
    trained_on_tokens: u64,
    warnings: &'a [String],
    results: Vec<Figures>,
    /// The cost of int8 weights, if both precisions were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_costs_bits_per_char: Option<f64>,
    baselines: Option<Baselines>,
    /// The reason if there are no baselines.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_baselines: Option<String>,
    /// The result of dynamic evaluation, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    dynamic: Option<DynamicCosts>,
}

#[derive(Serialize)]
struct Figures {
    weights: &'static str,
    #[serde(flatten)]
    costs: Costs,
}

/// A text as the model's tokens.
struct Text {
    tokens: Tokens,
    name: String,
    digest: Option<String>,
    /// Whether the model was trained on a part of it.
    is_own: bool,
    left_out: u64,
    warnings: Vec<String>,
}

/// The length in characters from which a common segment of two texts is not a coincidence: names and
/// phrases are shorter.
const NO_ACCIDENT: usize = 50;
/// The most characters of a text that are looked up in the training text, to limit memory.
const LOOKED_UP: usize = 200_000;

/// Estimates how many of the tokens predicted in `segments` of another text are in the training part.
fn copied(
    tokens: &Tokens,
    segments: &[Range<usize>],
    config: &TrainConfig,
    data: &TextData,
) -> Result<u64> {
    let mut left = LOOKED_UP;
    let taken = segments.iter().map(|segment| {
        let taken = left.min(segment.len());
        left -= taken;
        tokens.read(segment.start..segment.start + taken)
    });
    let texts = taken.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&[u32]> = texts.iter().map(|text| &**text).collect();
    let split = data.split(config)?;
    let found = Copied::new(&texts, &data.tokens, &split.train, |_| ())?.tokens(NO_ACCIDENT);
    let looked_up: usize = texts.iter().map(|text| text.len()).sum();
    let rate = found as f64 / looked_up.max(1) as f64;
    Ok((rate * predicted(segments) as f64).round() as u64)
}

/// Evaluates and prints. `own` is the run's settings and its corpus.
pub fn evaluate(
    job: &Job,
    corpus: Option<&str>,
    own: Option<(&TrainConfig, &TextData)>,
) -> Result<()> {
    let mut text = Text::new(job, corpus, own)?;
    let default = if text.is_own { Part::Valid } else { Part::All };
    let part = job.args.part.unwrap_or(default);
    let trained = Parts::of_training(job, own)?;
    let parts = trained.asked(&job.args.text);
    let segments = segments(&parts.part(&text.tokens, part)?, parts.split);
    let tokens = predicted(&segments);
    if tokens == 0 {
        return Err(job.no_split(part, text.is_own));
    }
    let trained_on = match own {
        _ if text.is_own => trained.trained_on(&text.tokens, &segments)?,
        Some((config, data)) => copied(&text.tokens, &segments, config, data)?,
        None => 0,
    };
    text.warn_of_training(own.is_some(), trained_on, tokens, &trained);
    if text.is_own && part == Part::Test {
        let valid = trained.part(&text.tokens, Part::Valid)?;
        let chosen_by = common(&valid, &segments);
        if chosen_by > 0 {
            text.warnings.push(format!(
                "{} of the characters evaluated are of the validation part, by which the model was chosen: this figure is not that of a test part",
                percent(chosen_by as f64 / tokens as f64)
            ));
        }
    }
    let (bytes, unknown_tokens) = text.bytes(&job.file.header, &segments)?;
    // The bytes of an `<unk>` are unknown.
    let bytes = (unknown_tokens == 0).then_some(bytes);
    // Of another text, a warning tells already what is unknown.
    let cut = text.is_own.then(|| job.cut(unknown_tokens, tokens));
    text.warnings.extend(cut.flatten());
    for warning in &text.warnings {
        note!("warning: {warning}");
    }
    let training = (!job.args.text.no_baselines)
        .then(|| training(job, own, &text, &trained))
        .transpose()?;
    let models = job.models(|file, options| TextModel::from_file(file.clone(), options))?;
    let networks: Vec<_> = models.iter().map(|(_, model)| model.network()).collect();
    let (reading, sections) = job.args.text.reading(&segments);
    let costs = job.measure(tokens * models.len() as u64, |running| {
        texts(&networks, &text.tokens, &segments, reading, running)
    })?;
    let measured = Measured {
        tokens: &text.tokens,
        segments,
        reading,
        predicted: tokens,
        bytes,
        is_own: text.is_own,
    };
    let mut results = Vec::new();
    for ((weights, _), cost) in models.iter().zip(costs) {
        job.check_finite(cost.nats)?;
        let costs = measured.costs(cost.nats);
        results.push(Figures { weights, costs });
    }
    let int8_costs_bits_per_char = match &results[..] {
        [whole, eight] => Some(eight.costs.loss_bits_per_char - whole.costs.loss_bits_per_char),
        _ => None,
    };
    let mix = job.args.text.mix_ngram;
    let network = (models[0].1.network(), &results[0].costs);
    let baselines = training.map(|training| {
        let training = training.as_ref();
        baselines(training, &measured, network, mix, job.threads())
    });
    let (baselines, no_baselines) = match baselines.transpose() {
        Ok(baselines) => (baselines, None),
        Err(why) => (None, Some(why)),
    };
    if mix && baselines.as_ref().is_none_or(|found| found.mixed.is_none()) {
        let why = no_baselines.unwrap_or_else(|| "there is no validation part".to_owned());
        let message = format!("no weight could be fitted for --mix-ngram: {why}");
        return Err(CliError::failed(message, "leave out --mix-ngram").into());
    }
    if let Some(why) = &no_baselines {
        note!("no n-gram models for comparison: {why}");
    }
    let report = Report {
        about: job.about(part),
        text: &text.name,
        text_digest: text.digest.as_deref(),
        split: parts.split,
        reading,
        sections,
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

/// The text that the model was trained on, if it is known.
fn training(
    job: &Job,
    own: Option<(&TrainConfig, &TextData)>,
    text: &Text,
    parts: &Parts,
) -> Result<Option<Training>> {
    let named = &job.args.text.corpus;
    let tokens = match own {
        Some(_) if !named.is_empty() => {
            return Err(has_its_own(&job.name()));
        }
        Some((_, data)) => data.tokens.clone(),
        None if text.is_own => text.tokens.clone(),
        None if named.is_empty() && !job.args.text.mix_ngram => return Ok(None),
        None => named_text(&job.file.header, &job.name(), named)?.into(),
    };
    Ok(Some(Training {
        tokens,
        split: parts.split,
        valid: parts.valid,
        test: parts.test,
        outputs: job.file.header.vocabulary.outputs(),
        eos: parts.eos,
    }))
}

impl Text {
    /// Reads the text named, or that of the run.
    fn new(
        job: &Job,
        corpus: Option<&str>,
        own: Option<(&TrainConfig, &TextData)>,
    ) -> Result<Self> {
        let header = &job.file.header;
        let of_run = |data: &TextData| Self {
            tokens: data.tokens.clone(),
            name: header.corpus_name.clone(),
            digest: Some(header.corpus_digest.clone()),
            is_own: true,
            left_out: 0,
            warnings: Vec::new(),
        };
        let Some(corpus) = corpus else {
            let Some((_, data)) = own else {
                let message = format!("{} has no text to evaluate it on", job.name());
                let hint = format!(
                    "name one, as in textgen eval MODEL TEXT; it was trained on {}",
                    header.corpus_name
                );
                return Err(CliError::misuse(message, hint).into());
            };
            return Ok(of_run(data));
        };
        let corpus = Corpus::resolve(&[corpus.to_owned()])?.rereadable()?;
        let mut config = job.args.text.reading.of(&header.text)?;
        let own_digest = &header.corpus_digest;
        if job.args.text.reading.encoding.is_none() && config != header.text {
            // The training text itself is known in its own encoding.
            let digest = corpus.digest(&header.text);
            if digest.is_ok_and(|digest| digest == *own_digest) {
                config.encoding.clone_from(&header.text.encoding);
            }
            corpus.notes.take();
        }
        let digest = corpus.digest(&config)?;
        job.args.text.reading.say_notes(&corpus);
        let is_own = digest == *own_digest || corpus.digest_of_bytes()? == *own_digest;
        if is_own && config.documents != header.text.documents {
            let message = format!(
                "--documents {}: {} is the text that the model was trained on, with --documents {}",
                config.documents, corpus.name, header.text.documents
            );
            return Err(CliError::misuse(message, "leave it out").into());
        }
        if let (true, Some((_, data))) = (is_own, own) {
            return Ok(of_run(data));
        }
        let progress = Progress::new(corpus.size_bytes());
        let text = whole(&corpus, &config, |bytes| progress.show(bytes));
        progress.end();
        job.args.text.reading.say_notes(&corpus);
        let open = header.vocabulary.encode_open(&text?);
        let unk = header.vocabulary.unk();
        let (fate, left_out) = match unk {
            Some(_) => ("read and predicted as <unk>", 0),
            None => ("left out: neither read nor predicted", open.unknown()),
        };
        let warnings = Unknown::of(&open, &header.vocabulary)
            .described()
            .map(|unknown| format!("{unknown}, {fate}"));
        Ok(Self {
            tokens: open.readable(unk).into(),
            name: corpus.name,
            digest: Some(digest),
            is_own,
            left_out: left_out as u64,
            warnings: warnings.into_iter().collect(),
        })
    }

    /// The bytes of the tokens predicted in `segments`, and how many of these are `<unk>`.
    fn bytes(&self, header: &ModelHeader, segments: &[Range<usize>]) -> Result<(u64, u64)> {
        let (unk, eos) = (header.vocabulary.unk(), header.vocabulary.document_end());
        let bytes_of = token_bytes(header, &[]);
        let (mut bytes, mut unknown) = (0, 0);
        for segment in segments {
            for piece in pieces(&self.tokens, segment.start + 1..segment.end) {
                for &token in &*piece? {
                    // The end of a document counts as one.
                    let own = usize::from(Some(token) == eos) + bytes_of[token as usize].len();
                    bytes += own as u64;
                    unknown += u64::from(Some(token) == unk);
                }
            }
        }
        Ok((bytes, unknown))
    }

    /// Warns if the figure is not, or may not be, of held-out text.
    fn warn_of_training(&mut self, is_run: bool, trained_on: u64, tokens: u64, trained: &Parts) {
        if self.is_own && !is_run {
            self.warnings.push(format!(
                "the model was trained on {}, and its file does not say which part was held out; --split {} --valid {} is assumed",
                self.name, trained.split, trained.valid
            ));
        }
        let percent = 100.0 * trained_on as f64 / tokens as f64;
        if trained_on > 0 && !self.is_own {
            self.warnings.push(format!(
                "{percent:.1} % of the characters evaluated are in segments of {NO_ACCIDENT} or more that the model was trained on: this figure is not for unseen text"
            ));
        } else if trained_on > 0 {
            self.warnings.push(format!(
                "the model was trained on {percent:.1} % of the characters evaluated (with --split {}): this figure is not for held-out text",
                trained.split
            ));
        }
    }
}

/// The report for a person.
fn shown(report: &Report) -> String {
    let header = "MODEL CORPUS PART SPLIT TOKENS NATS/CHAR BITS/CHAR BITS/BYTE PERPLEXITY";
    let mut table = Table::new(&header.split(' ').collect::<Vec<_>>());
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
    if report.reading == Reading::Sections {
        let _ = writeln!(
            shown,
            "read in {} sections side by side, each after {WARM_UP} characters of warm-up; --exact reads from start to end",
            report.sections
        );
    }
    if let Some(Baselines { ngram, .. }) = &report.baselines {
        let gain = ngram.network_gains_bits_per_char;
        let (saves, than) = if gain < 0.0 {
            ("costs", "more than")
        } else {
            ("saves", "against")
        };
        let line = format!("the network {saves} {:.4} bits/char {than}", gain.abs());
        let _ = writeln!(shown, "{line} the {}-gram", ngram.order);
    }
    if let Some(mixed) = report
        .baselines
        .as_ref()
        .and_then(|found| found.mixed.as_ref())
    {
        let _ = writeln!(
            shown,
            "mixed at weight {:.3}: {:.4} nats/char, {:.4} bits/char on {} that the weight \
             was not fitted on, where the network alone costs {:.4} bits/char more",
            mixed.weight,
            mixed.costs.loss_nats_per_char,
            mixed.costs.loss_bits_per_char,
            counted(mixed.tokens, "character"),
            mixed.gains_bits_per_char,
        );
    }
    if let Some(bits) = report.int8_costs_bits_per_char {
        let _ = writeln!(shown, "int8 costs {}", signed(bits, "bits/char"));
    }
    if let Some(dynamic) = &report.dynamic {
        let costs = &dynamic.costs;
        let _ = writeln!(
            shown,
            "dynamic, learning rate {} every {}: {:.4} nats/char, {:.4} bits/char, perplexity {:.3}",
            dynamic.learning_rate,
            counted(dynamic.segment, "character"),
            costs.loss_nats_per_char,
            costs.loss_bits_per_char,
            costs.perplexity
        );
    }
    shown
}
