//! What the files of a run say. Only its settings are necessary; whatever else is missing leaves a gap in the page.

use anyhow::Result;

use super::measured::{self, OfText, OfWords};
use crate::config::{ModelKind, TrainConfig};
use crate::model::{OpenOptions, WordModel};
use crate::parallel::Running;
use crate::run::{CorpusData, Log, Metrics, ModelFile, RunDir, RunSummary};
use crate::train::{SAMPLE_ENTRY, memory};

/// Everything that a page shows of a run.
pub struct Facts {
    pub name: String,
    pub summary: RunSummary,
    pub config: TrainConfig,
    /// The evaluations, the first first.
    pub lines: Vec<Metrics>,
    /// Returns to an earlier state after a loss that was not finite.
    pub rollbacks: u64,
    /// What the model wrote while it learnt, by step.
    pub samples: Vec<(u64, String)>,
    /// Weights of the model; `None` if there is no model yet.
    pub parameters: Option<u64>,
    /// Bytes that the training takes, about.
    pub memory: Option<u64>,
    /// Facts on the corpus: names and values.
    pub corpus: Vec<(&'static str, String)>,
    pub text: OfText,
    pub words: OfWords,
    /// The cost of the no-latent baseline and its run's name.
    pub no_latent: Option<(String, f64)>,
    /// What is missing, and why.
    pub gaps: Vec<String>,
}

impl Facts {
    /// Reads a run, and measures its model if it has one.
    pub fn read(run: &RunDir, baselines: bool, running: Running) -> Result<Self> {
        let (config, log) = (run.config()?, Log::read(&run.metrics_path())?);
        let mut gaps = Vec::new();
        if let Some(line) = log.damaged {
            gaps.push(format!("metrics.jsonl:{line} is damaged and was left out"));
        }
        let samples = std::fs::read(run.samples_path()).unwrap_or_default();
        let mut facts = Self {
            name: run.name().to_owned(),
            summary: run.summary()?,
            lines: log.lines,
            rollbacks: 0,
            samples: entries(&String::from_utf8_lossy(&samples)),
            parameters: None,
            memory: None,
            corpus: Vec::new(),
            text: OfText::default(),
            words: OfWords::default(),
            no_latent: no_latent(run),
            gaps,
            config,
        };
        match run.state() {
            Ok(state) => facts.rollbacks = state.map_or(0, |state| state.progress.rollbacks),
            Err(error) => facts.lacks("state.safetensors", &error),
        }
        let corpus = match run.corpus() {
            Ok(corpus) => Some(corpus),
            Err(error) => {
                facts.lacks("corpus.safetensors", &error);
                None
            }
        };
        let model = match run.model() {
            Ok(model) => Some(model),
            Err(error) => {
                facts.lacks("model.safetensors", &error);
                None
            }
        };
        if let Some(corpus) = &corpus {
            facts.describe(corpus);
            facts.measure(corpus, model.as_ref(), baselines, running);
        }
        if let Some(model) = &model {
            facts.parameters = Some(memory::parameters(&model.header.network));
        }
        Ok(facts)
    }

    fn lacks(&mut self, what: &str, error: &dyn std::fmt::Display) {
        self.gaps.push(format!("without {what}: {error}"));
    }

    /// Facts on the corpus that need no model.
    fn describe(&mut self, corpus: &CorpusData) {
        let config = &self.config;
        let vocabulary = corpus.vocabulary();
        let network = config.network(
            vocabulary.len(),
            vocabulary.outputs(),
            vocabulary.document_end(),
        );
        let letters = memory::letters(config, &network, corpus);
        self.memory = Some(memory::needed(config, &network, letters));
        let mut facts = vec![
            ("corpus", config.corpus_name.clone()),
            ("digest", config.corpus_digest.clone()),
        ];
        let count = |number: usize| indicatif::HumanCount(number as u64).to_string();
        match corpus {
            CorpusData::Text(data) => {
                facts.push(("characters", count(data.tokens.len())));
                facts.push(("distinct characters", count(vocabulary.letters())));
                if let Ok(parts) = data.split(config) {
                    let size = |ranges: &[std::ops::Range<usize>]| {
                        count(ranges.iter().map(ExactSizeIterator::len).sum())
                    };
                    let sizes = [&parts.train, &parts.valid, &parts.test].map(|part| size(part));
                    facts.push(("training, validation, test", sizes.join(", ")));
                }
            }
            CorpusData::Words(data) => {
                facts.push(("distinct words", count(data.words.len())));
                facts.push(("distinct letters", count(vocabulary.letters())));
                let sizes = [&data.train, &data.valid, &data.test].map(|part| count(part.len()));
                facts.push(("training, validation, test", sizes.join(", ")));
            }
        }
        if vocabulary.cut() > 0 {
            let cut = indicatif::HumanCount(vocabulary.cut()).to_string();
            facts.push(("characters cut from the vocabulary", cut));
        }
        self.corpus = facts;
    }

    fn measure(
        &mut self,
        corpus: &CorpusData,
        model: Option<&ModelFile>,
        baselines: bool,
        running: Running,
    ) {
        let measured = match (corpus, self.config.kind()) {
            (CorpusData::Text(data), ModelKind::CharRnn) => {
                let mut of_text = OfText::default();
                let counted = if baselines {
                    measured::ngrams(&self.config, data, running).map(|ngrams| {
                        of_text.ngrams = ngrams;
                    })
                } else {
                    Ok(())
                };
                let colored = model.map_or(Ok(Vec::new()), |model| {
                    measured::colored(model, &self.config, data, running)
                });
                let colored = colored.map(|colored| of_text.colored = colored);
                self.text = of_text;
                counted.and(colored)
            }
            (CorpusData::Words(data), ModelKind::WordVae) => {
                let opened = model
                    .map(|model| WordModel::new(model, OpenOptions::on_threads(running.threads)));
                match opened.transpose() {
                    Ok(model) => {
                        let (words, outcome) =
                            OfWords::measure(model.as_ref(), data, baselines, running);
                        self.words = words;
                        outcome
                    }
                    Err(error) => Err(error.into()),
                }
            }
            _ => Ok(()),
        };
        if let Err(error) = measured {
            self.gaps.push(format!("not measured: {error:#}"));
        }
    }
}

/// The entries of samples.txt, by step.
fn entries(text: &str) -> Vec<(u64, String)> {
    let mut entries: Vec<(u64, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        let step = line.strip_prefix(SAMPLE_ENTRY).map(str::trim_end);
        match (step.and_then(|step| step.parse().ok()), entries.last_mut()) {
            (Some(step), _) => entries.push((step, String::new())),
            (None, Some((_, text))) => text.push_str(line),
            // What somebody has written before the first entry is no sample.
            (None, None) => {}
        }
    }
    entries
}

/// The cost of the no-latent baseline of a run, if that was trained.
fn no_latent(run: &RunDir) -> Option<(String, f64)> {
    let open = |name: &String| run.runs().open(name).ok();
    let baseline = run.baseline_names().iter().find_map(open)?;
    let loss = baseline.summary().ok()?.best_loss?;
    Some((baseline.name().to_owned(), loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_parted_at_their_steps_and_nowhere_else() {
        let text = "a note\n== step 20\nOne\n== stepping\n\n== step 40\n== step x\nTwo";
        let want = [(20, "One\n== stepping\n\n"), (40, "== step x\nTwo")];
        let want = want.map(|(step, text)| (step, text.to_owned()));
        assert_eq!(entries(text), want);
        assert_eq!(entries(""), []);
    }
}
