//! What held-out words cost a word-vae, what its z carries, and the words it invents.

mod costs;
mod report;
mod verdict;

use crate::config::ModelKind;
use crate::evaluate::latent::{LatentReport, latent};
use crate::evaluate::ngram::NGrams;
use crate::evaluate::reconstruction::{Reconstruction, reconstruction};
use crate::evaluate::samples::{Existing, Inventor, SampleReport, compare, draw_words};
use crate::evaluate::{Word, WordReading};
use crate::models::word_vae::WordVae;
use crate::parallel::Running;
use crate::run::{CorpusData, RunDir, WordData};
use anyhow::{Context, Result};
use serde::Serialize;

use super::{About, Job, Part};
use crate::cli::output::note;
use crate::cli::progress::Progress;
use costs::{Baseline, Costs, NGramBaseline};
use verdict::Verdict;

/// Draws of z for the closer bounds, unless told otherwise.
const DEFAULT_IW: [u32; 2] = [100, 500];
/// Words drawn, unless told otherwise.
const DEFAULT_SAMPLES: u32 = 10_000;

/// The JSON object.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// Of the z and the words that were drawn.
    seed: u64,
    words: u64,
    /// Tokens predicted, ends of words counted.
    tokens: u64,
    results: Vec<Costs>,
    /// What eight bits cost, where both were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    int8_costs_bits_per_char: Option<f64>,
    baselines: Baselines,
    /// None where there is no z.
    latent: Option<Latent>,
    samples: Vec<Samples>,
    /// The flags that they were drawn with; empty for the models' own distributions.
    drawn_with: String,
    /// None where there is no z.
    verdict: Option<Verdict>,
}

/// What the model stands beside.
#[derive(Serialize)]
struct Baselines {
    /// The same decoder trained without z, where there is such a run.
    twin: Option<Baseline>,
    ngram: NGramBaseline,
}

/// What z carries.
#[derive(Serialize)]
struct Latent {
    active_units: usize,
    rate_nats_per_dimension: Vec<f64>,
    rate_nats: f64,
    information_nats: f64,
    information_standard_error: f64,
    /// ln N, with N below.
    information_ceiling_nats: f64,
    information_words: usize,
    marginal_kl_nats: f64,
    marginal_kl_standard_error: f64,
    shuffle_gap_nats: f64,
    shuffle_gap_standard_error: f64,
    reconstruction_exact: f64,
    edit_distance: f64,
    edit_distance_standard_error: f64,
    edits_per_letter: f64,
}

impl Latent {
    fn new(found: LatentReport, back: Reconstruction) -> Self {
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

/// Words that something drew.
#[derive(Serialize)]
struct Samples {
    name: String,
    words: usize,
    distinct: f64,
    in_training: f64,
    held_out_hits: usize,
    hits_per_new_word: f64,
    length_distance: f64,
}

impl Samples {
    fn new(name: String, found: SampleReport) -> Self {
        Self {
            name,
            words: found.words,
            distinct: found.distinct,
            in_training: found.in_training,
            held_out_hits: found.held_out_hits,
            hits_per_new_word: found.hits_per_new_word,
            length_distance: found.length_distance,
        }
    }
}

/// The same decoder trained without z.
struct Twin {
    /// Its run.
    name: String,
    vae: WordVae,
}

/// All that is measured.
struct Measured<'a> {
    job: &'a Job<'a>,
    data: &'a WordData,
    corpus: Vec<Word<'a>>,
    reading: WordReading,
    /// k of the closer bounds, ascending; none where none are wanted.
    draws: Vec<usize>,
    models: Vec<WordVae>,
    twin: Option<Twin>,
    ngrams: NGrams,
}

/// Evaluates and prints.
pub fn evaluate(job: &Job, run: &RunDir, data: &WordData) -> Result<()> {
    let measured = Measured::new(job, run, data)?;
    let report = measured.report()?;
    if report.baselines.twin.is_none() && report.latent.is_some() {
        note!(
            "no twin to compare with; to train one: {}",
            run.command(&["train", "--baseline", "twin", "--resume"])
        );
    }
    job.print(&report, &report::text(&report))
}

impl<'a> Measured<'a> {
    fn new(job: &'a Job, run: &'a RunDir, data: &'a WordData) -> Result<Self> {
        let corpus = part(data, job.part);
        if corpus.is_empty() {
            return Err(job.nothing_held_out());
        }
        let crate::text::SpecialTokens { bos, eos, .. } = data.vocabulary.special_tokens()?;
        let asked = job.args.words.iw.as_deref().unwrap_or(&DEFAULT_IW);
        let mut draws: Vec<usize> = asked.iter().map(|&k| k as usize).collect();
        draws.retain(|&k| k > 0);
        draws.sort_unstable();
        draws.dedup();
        let network = &job.file.header.network;
        let training = data
            .train
            .iter()
            .map(|&word| ended(&data.letters[word], eos));
        Ok(Self {
            job,
            data,
            corpus,
            reading: WordReading {
                bos,
                eos,
                seed: job.args.words.seed.unwrap_or(0),
            },
            draws,
            models: job.models(|weights| WordVae::new(network, weights))?,
            twin: twin(run, data)?,
            ngrams: NGrams::new(costs::HIGHEST_ORDER, network.outputs, training),
        })
    }

    fn report(&self) -> Result<Report<'_>> {
        let job = self.job;
        let tokens: u64 = self.corpus.iter().map(Word::tokens).sum();
        let has_z = self.models[0].latent() > 0;
        // For every model D, and the draws of the bounds; the twin; z's own figures take three.
        let draws = if has_z { self.draws.last() } else { None };
        let passes = self.models.len() * (1 + draws.copied().unwrap_or(1))
            + usize::from(self.twin.is_some())
            + if has_z { 3 } else { 0 };
        let (all, twin, latent) = job.measure(tokens * passes as u64, |running| {
            let models: Vec<&WordVae> = self.models.iter().collect();
            let all = costs::of_models(&models, &self.corpus, &self.draws, self.reading, running)?;
            let twin = match &self.twin {
                Some(twin) => Some(costs::plain(
                    &twin.vae,
                    &self.corpus,
                    self.reading,
                    running,
                )?),
                None => None,
            };
            Ok((all, twin, self.latent(running)?))
        })?;
        let ngram = costs::ngram(&self.ngrams, self.data, &self.corpus, self.reading.eos);
        let mut results = Vec::new();
        for (name, costs) in job.names().zip(&all) {
            job.finite(costs.tightest().iter().sum())?;
            results.push(costs.row(name, tokens));
        }
        let int8_costs_bits_per_char = match &results[..] {
            [whole, eight] => Some(eight.neg_elbo_bits_per_char - whole.neg_elbo_bits_per_char),
            _ => None,
        };
        let samples = self.samples(ngram.order);
        let model = all[0].tightest();
        let baselines = Baselines {
            twin: self
                .twin
                .as_ref()
                .zip(twin)
                .map(|(twin, nats)| Baseline::new(twin.name.clone(), &nats, model, tokens)),
            ngram: ngram.row(model, tokens),
        };
        let drawn_with = job.args.words.drawn_with();
        // What the model knows by heart shows in draws from its own distribution only.
        let plain = samples.first().filter(|_| drawn_with.is_empty());
        let verdict = latent
            .as_ref()
            .map(|latent| Verdict::new(&results[0], latent, plain, &baselines));
        Ok(Report {
            about: job.about(),
            seed: self.reading.seed,
            words: self.corpus.len() as u64,
            tokens,
            results,
            int8_costs_bits_per_char,
            baselines,
            latent,
            samples,
            drawn_with: drawn_with.join(" "),
            verdict,
        })
    }

    /// What the z of the model carries.
    fn latent(&self, running: Running) -> Result<Option<Latent>, crate::evaluate::EvaluateError> {
        let (vae, corpus) = (&self.models[0], &self.corpus);
        let Some(found) = latent(vae, corpus, self.reading, running)? else {
            return Ok(None);
        };
        let suppressed = self.data.vocabulary.suppressed();
        let back = reconstruction(vae, corpus, &suppressed, self.reading, running)?;
        Ok(Some(Latent::new(found, back)))
    }

    /// Words of the model, of its twin, and of the best n-gram model.
    fn samples(&self, order: usize) -> Vec<Samples> {
        let count = self.job.args.words.samples.unwrap_or(DEFAULT_SAMPLES) as usize;
        if count == 0 {
            return Vec::new();
        }
        let model = &self.models[0];
        let name = name_of(&self.job.about(), model.latent() > 0);
        let mut inventors = vec![(name.to_owned(), Inventor::Vae(model))];
        if let Some(twin) = &self.twin {
            inventors.push((twin.name.clone(), Inventor::Vae(&twin.vae)));
        }
        let ngram = Inventor::NGram(&self.ngrams, order);
        inventors.push((format!("{order}-gram"), ngram));
        let data = self.data;
        let letters = |word: &usize| data.letters[*word].as_slice();
        let existing = Existing {
            training: data.train.iter().map(letters).collect(),
            held_out: data.valid.iter().chain(&data.test).map(letters).collect(),
        };
        let suppressed = data.vocabulary.suppressed();
        let drawing = self.job.args.words.drawing(self.reading.seed);
        let progress = Progress::of_words((count * inventors.len()) as u64, "drawn");
        let running = Running {
            threads: self.job.threads(),
            progress: &|more| progress.add(more),
        };
        let samples = inventors
            .into_iter()
            .map(|(name, inventor)| {
                let drawn = draw_words(
                    inventor,
                    count,
                    &drawing,
                    &suppressed,
                    self.reading,
                    running,
                );
                Samples::new(name, compare(&drawn, &existing))
            })
            .collect();
        progress.end();
        samples
    }
}

/// What the model is called beside others. A decoder without z goes by its run's name, as it does
/// beside the model that it is the twin of.
const fn name_of<'a>(about: &About<'a>, has_z: bool) -> &'a str {
    match about.run {
        Some(run) if !has_z => run,
        _ => about.model.name(),
    }
}

/// The words of a part.
fn part(data: &WordData, part: Part) -> Vec<Word<'_>> {
    let part = match part {
        Part::Test => &data.test,
        // The whole is of texts only.
        Part::Valid | Part::All => &data.valid,
    };
    let word = |&index: &usize| Word {
        index: index as u64,
        letters: &data.letters[index],
    };
    part.iter().map(word).collect()
}

/// The letters of a word and its end.
fn ended(letters: &[u32], eos: u32) -> impl Iterator<Item = u32> {
    letters.iter().copied().chain([eos])
}

/// The twin of the job's run, where a run of one of the names that it may have is one for this corpus.
fn twin(run: &RunDir, data: &WordData) -> Result<Option<Twin>> {
    for name in run.twin_names() {
        let Ok(twin) = RunDir::open(&run.path().with_file_name(&name)) else {
            continue;
        };
        if let Some(vae) = twin_in(&twin, data)? {
            return Ok(Some(Twin { name, vae }));
        }
    }
    Ok(None)
}

fn twin_in(run: &RunDir, data: &WordData) -> Result<Option<WordVae>> {
    let name = run.name();
    if !run.model_path().is_file() {
        note!("passed over {name}: it has no model yet");
        return Ok(None);
    }
    let file = run.model()?;
    let network = &file.header.network;
    if network.latent() > 0 || network.model() != ModelKind::WordVae {
        note!("passed over {name}: it is no word-vae of --latent 0");
        return Ok(None);
    }
    match run.corpus()? {
        CorpusData::Words(words) if words == *data => {}
        _ => {
            note!("passed over {name}: it was trained on other words");
            return Ok(None);
        }
    }
    let weights = file.weights()?;
    let twin = WordVae::new(network, &weights);
    twin.map(Some)
        .with_context(|| file.path().display().to_string())
}
