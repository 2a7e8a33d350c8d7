//! The cost of held-out words under a word-vae, the information in its z, and its sampled words.

mod costs;
mod figures;
mod report;
mod verdict;

use crate::evaluate::latent::latent;
use crate::evaluate::reconstruction::reconstruction;
use crate::evaluate::samples::{Existing, Inventor, compare, sample_words};
use crate::evaluate::{EvaluateError, Word, WordReading};
use crate::model::{OpenOptions, WordModel};
use crate::parallel::Running;
use crate::run::{CorpusData, RunDir, WordData};
use anyhow::Result;

pub use self::costs::NGramCosts;

use self::costs::Baseline;
use self::figures::{Baselines, Latent, Samples};
use self::report::Report;
use self::verdict::Verdict;
use super::flags::Part;
use super::job::Job;
use crate::cli::error::of_model;
use crate::cli::output::note;
use crate::cli::progress::Progress;

/// Default numbers of samples of z for the closer bounds.
const DEFAULT_IW: [u32; 2] = [100, 500];
/// Default number of words to sample.
const DEFAULT_SAMPLES: u32 = 10_000;

/// A model with its name in the report.
type Named = (String, WordModel);

/// The models and the words of one evaluation.
struct Measured<'a> {
    job: &'a Job<'a>,
    part: Part,
    data: &'a WordData,
    corpus: Vec<Word<'a>>,
    reading: WordReading,
    /// The k of the closer bounds, ascending.
    iw: Vec<usize>,
    models: Vec<(&'static str, WordModel)>,
    /// The same decoder trained without z.
    no_latent: Option<Named>,
}

pub fn evaluate(job: &Job, run: &RunDir, data: &WordData) -> Result<()> {
    let measured = Measured::new(job, run, data)?;
    let report = measured.report()?;
    if report.baselines.no_latent.is_none() && report.latent.is_some() {
        note!(
            "no no-latent baseline to compare with; to train one: {}",
            run.command(&["train", "--baseline", "no-latent", "--resume"])
        );
    }
    job.print(&report, &report::text(&report))
}

impl<'a> Measured<'a> {
    fn new(job: &'a Job, run: &RunDir, data: &'a WordData) -> Result<Self> {
        let part = job.args.part.unwrap_or(Part::Valid);
        let indices = if part == Part::Test {
            &data.test
        } else {
            &data.valid
        };
        if indices.is_empty() {
            return Err(job.no_split(part, true));
        }
        let word = |&index: &usize| Word {
            index: index as u64,
            letters: &data.letters[index],
        };
        let special = data.vocabulary.special_tokens()?;
        let asked = job.args.words.iw.as_deref().unwrap_or(&DEFAULT_IW);
        let mut iw: Vec<usize> = asked
            .iter()
            .map(|&k| k as usize)
            .filter(|&k| k > 0)
            .collect();
        iw.sort_unstable();
        iw.dedup();
        Ok(Self {
            job,
            part,
            data,
            corpus: indices.iter().map(word).collect(),
            reading: WordReading {
                bos: special.bos,
                eos: special.eos,
                seed: job.args.words.seed.unwrap_or(0),
            },
            iw,
            models: job.models(WordModel::new)?,
            no_latent: no_latent(run, data)?,
        })
    }

    /// The model as its file has it.
    fn model(&self) -> &WordModel {
        &self.models[0].1
    }

    fn report(&self) -> Result<Report<'_>> {
        let (job, reading) = (self.job, self.reading);
        let tokens: u64 = self.corpus.iter().map(Word::tokens).sum();
        let unk = self.data.vocabulary.unk();
        let letters = self.corpus.iter().flat_map(|word| word.letters);
        let unknown = letters.filter(|&&letter| Some(letter) == unk).count() as u64;
        if let Some(warning) = job.cut(unknown, tokens) {
            note!("warning: {warning}");
        }
        let has_z = self.model().latent_size() > 0;
        // For each model D and the samples of the bounds, then the baseline; the figures of z take three.
        let iw = self.iw.last().filter(|_| has_z);
        let passes = self.models.len() * (1 + iw.copied().unwrap_or(1))
            + usize::from(self.no_latent.is_some())
            + if has_z { 3 } else { 0 };
        let (all, no_latent, latent) = job.measure(tokens * passes as u64, |running| {
            let cost = |models: &[&WordModel], iw| {
                costs::of_models(models, &self.corpus, iw, reading, running)
            };
            let models: Vec<&WordModel> = self.models.iter().map(|(_, model)| model).collect();
            let no_latent: Vec<&WordModel> =
                self.no_latent.iter().map(|(_, model)| model).collect();
            Ok((
                cost(&models, &self.iw)?,
                cost(&no_latent, &[])?,
                self.latent(running)?,
            ))
        })?;
        let ngram = NGramCosts::new(self.data, &self.corpus, reading.eos);
        let mut results = Vec::new();
        for ((name, _), costs) in self.models.iter().zip(&all) {
            job.check_finite(costs.tightest().iter().sum())?;
            results.push(costs.row(name, tokens));
        }
        let int8_costs_bits_per_char = match &results[..] {
            [whole, eight] => Some(eight.neg_elbo_bits_per_char - whole.neg_elbo_bits_per_char),
            _ => None,
        };
        let samples = self.samples(&ngram);
        let model = all[0].tightest();
        let no_latent = self.no_latent.iter().zip(no_latent).next();
        let baselines = Baselines {
            no_latent: no_latent.map(|((name, _), nats)| {
                Baseline::new(name.clone(), nats.tightest(), model, tokens)
            }),
            ngram: ngram.row(model, tokens),
        };
        let sampled_with = job.args.words.sampled_with();
        // Only samples of the model's own distribution show what it memorised.
        let plain = samples.first().filter(|_| sampled_with.is_empty());
        let verdict = latent
            .as_ref()
            .map(|latent| Verdict::new(&results[0], &latent.carries, plain, &baselines));
        Ok(Report {
            about: job.about(self.part),
            seed: reading.seed,
            words: self.corpus.len() as u64,
            tokens,
            results,
            int8_costs_bits_per_char,
            baselines,
            latent,
            samples,
            sampled_with: sampled_with.join(" "),
            verdict,
        })
    }

    /// Measures the information in the model's z.
    fn latent(&self, running: Running) -> Result<Option<Latent>, EvaluateError> {
        let (corpus, reading) = (&self.corpus, self.reading);
        let Some(network) = self.model().network() else {
            return Ok(None);
        };
        let Some(carries) = latent(network, corpus, reading, running)? else {
            return Ok(None);
        };
        let suppressed = self.data.vocabulary.suppressed();
        let back = reconstruction(network, corpus, &suppressed, reading, running)?;
        Ok(Some(Latent { carries, back }))
    }

    /// Samples words from the model, from its no-latent baseline and from the best n-gram model.
    fn samples(&self, ngram: &NGramCosts) -> Vec<Samples> {
        let count = self.job.args.words.samples.unwrap_or(DEFAULT_SAMPLES) as usize;
        if count == 0 {
            return Vec::new();
        }
        let name = report::name_of(&self.job.about(self.part), self.model().latent_size() > 0);
        let no_latent = self
            .no_latent
            .iter()
            .map(|(name, model)| (&name[..], model));
        let mut inventors: Vec<(String, Inventor)> = std::iter::once((name, self.model()))
            .chain(no_latent)
            .filter_map(|(name, model)| Some((name.to_owned(), Inventor::Vae(model.network()?))))
            .collect();
        inventors.push((ngram.name(), Inventor::NGram(&ngram.models, ngram.order)));
        let data = self.data;
        let letters = |word: &usize| data.letters[*word].as_slice();
        let existing = Existing {
            training: data.train.iter().map(letters).collect(),
            held_out: data.valid.iter().chain(&data.test).map(letters).collect(),
        };
        let suppressed = data.vocabulary.suppressed();
        let sampling = self.job.args.words.sampling();
        let progress = Progress::of_words((count * inventors.len()) as u64, "sampled");
        let running = Running {
            threads: self.job.threads(),
            progress: &|more| progress.add(more),
        };
        let sample = |(name, inventor)| {
            let words = sample_words(
                inventor,
                count,
                &sampling,
                &suppressed,
                self.reading,
                running,
            );
            let found = compare(&words, &existing);
            Samples { name, found }
        };
        let samples = inventors.into_iter().map(sample).collect();
        progress.end();
        samples
    }
}

/// Finds the no-latent baseline of a run: by its possible names, and trained on the same words.
fn no_latent(run: &RunDir, data: &WordData) -> Result<Option<Named>> {
    for name in run.baseline_names() {
        let Ok(baseline) = RunDir::open(&run.path().with_file_name(&name)) else {
            continue;
        };
        match no_latent_in(&baseline, data)? {
            Ok(model) => return Ok(Some((name, model))),
            Err(why) => note!("passed over {name}: {why}"),
        }
    }
    Ok(None)
}

/// Opens a run as the no-latent baseline, or returns why it is not one.
fn no_latent_in(run: &RunDir, data: &WordData) -> Result<Result<WordModel, &'static str>> {
    if !run.model_path().is_file() {
        return Ok(Err("it has no model yet"));
    }
    let file = run.model()?;
    let network = &file.header.network;
    if network.latent() > 0 || !network.is_words() {
        return Ok(Err("it is not a word-vae with --latent 0"));
    }
    match run.corpus()? {
        CorpusData::Words(words) if words == *data => {}
        _ => return Ok(Err("it was trained on other words")),
    }
    let model = WordModel::new(&file, OpenOptions::default());
    model.map(Ok).map_err(of_model(&file))
}
