//! The model that is evaluated, and how a report on it is printed.

use std::io::Write;

use crate::config::{ModelKind, Quantize};
use crate::evaluate::EvaluateError;
use crate::model::{ModelError, OpenOptions};
use crate::parallel::Running;
use crate::run::{ModelFile, RunDir};
use crate::text::Token;
use anyhow::Result;
use serde::Serialize;

use super::flags::{EvalArgs, Part};
use crate::cli::error::{CliError, of_model};
use crate::cli::machine::threads;
use crate::cli::output::{json_lines, percent, stdout};
use crate::cli::progress::Progress;

/// A model and the settings of its evaluation.
pub struct Job<'a> {
    pub args: &'a EvalArgs,
    pub file: &'a ModelFile,
    /// Its run; `None` if there is only a model file.
    pub run: Option<&'a RunDir>,
}

/// The fields on the model that every JSON report has.
#[derive(Serialize)]
pub struct About<'a> {
    pub run: Option<&'a str>,
    pub model: ModelKind,
    /// Optimizer steps of the model.
    pub step: u64,
    /// The name of the corpus that the model was trained on.
    pub corpus: &'a str,
    pub corpus_digest: &'a str,
    pub training_seed: u64,
    pub part: Part,
}

impl<'a> Job<'a> {
    /// The model's name in messages.
    pub fn name(&self) -> String {
        match self.run {
            Some(run) => format!("run {}", run.name()),
            None => self.path(),
        }
    }

    fn path(&self) -> String {
        self.file.path().display().to_string()
    }

    pub fn about(&self, part: Part) -> About<'a> {
        let header = &self.file.header;
        About {
            run: self.run.map(RunDir::name),
            model: header.network.model(),
            step: header.step,
            corpus: &header.corpus_name,
            corpus_digest: &header.corpus_digest,
            training_seed: header.seed,
            part,
        }
    }

    /// The model in the file, then its int8 version if `--quantize` is given, each with the name of
    /// its row. A model that is int8 already is evaluated once.
    pub fn models<M>(
        &self,
        open: impl Fn(&ModelFile, OpenOptions) -> Result<M, ModelError>,
    ) -> Result<Vec<(&'static str, M)>> {
        let is_int8 = self.file.is_int8()?;
        let own = if is_int8 { "int8" } else { "f32" };
        let mut rows = vec![(own, Quantize::None)];
        if self.args.quantize.is_some() && !is_int8 {
            rows.push(("int8", Quantize::Int8));
        }
        let model = |(name, quantize)| {
            let threads = self.args.threads;
            Ok((name, open(self.file, OpenOptions { quantize, threads })?))
        };
        let models = rows.into_iter().map(model).collect::<Result<_, _>>();
        models.map_err(of_model(self.file))
    }

    pub fn threads(&self) -> usize {
        threads(self.args.threads)
    }

    /// Evaluates `tokens` tokens in all, with progress if it takes long.
    pub fn measure<C>(
        &self,
        tokens: u64,
        evaluate: impl FnOnce(Running) -> Result<C, EvaluateError>,
    ) -> Result<C> {
        let progress = Progress::of_tokens(tokens);
        let costs = evaluate(Running {
            threads: self.threads(),
            progress: &|more| progress.add(more),
        });
        progress.end();
        costs.map_err(|error| match error {
            EvaluateError::Run(error) => error.into(),
            error => self.not_its_corpus(&error.to_string()),
        })
    }

    /// The error if model and corpus do not belong together.
    pub fn not_its_corpus(&self, why: &str) -> anyhow::Error {
        let message = format!(
            "{}: corpus.safetensors is not what model.safetensors was trained on: {why}",
            self.name()
        );
        CliError::failed(message, "copy both again from the run they came from").into()
    }

    /// What the vocabulary cuts from the model's own corpus, if `unknown` of the `all` characters evaluated are cut ones.
    pub fn cut(&self, unknown: u64, all: u64) -> Option<String> {
        let header = &self.file.header;
        let vocabulary = &header.vocabulary;
        let most: Vec<String> = vocabulary.most_cut().iter().map(Token::visible).collect();
        let of = match &most[..] {
            [] => String::new(),
            _ if (most.len() as u64) < vocabulary.cut() => format!(" ({} …)", most.join(" ")),
            _ => format!(" ({})", most.join(" ")),
        };
        let least = if header.text.min_freq > 1 {
            "--min-freq 1 "
        } else {
            ""
        };
        (unknown > 0).then(|| {
            format!(
                "{} of the characters evaluated were cut from the vocabulary and count as <unk>{of}; train with {least}--max-vocab {} to keep them",
                percent(unknown as f64 / all as f64),
                vocabulary.letters() as u64 + vocabulary.cut()
            )
        })
    }

    /// The error if the part has no token to predict. `is_own`: it is of the text or the words that the model learnt.
    pub fn no_split(&self, part: Part, is_own: bool) -> anyhow::Error {
        let (name, set) = (self.name(), part.name());
        if part == Part::All {
            let message = format!("the text has nothing that {name} could predict");
            let hint = "a text of two characters that the model knows is the least";
            return CliError::failed(message, hint).into();
        }
        let hint = if is_own {
            format!("train with --{set} 0.1, or evaluate the other part")
        } else {
            format!("set its size: --{set} 0.1")
        };
        CliError::failed(format!("{name} has no {set} split"), hint).into()
    }

    /// Refuses a cost that is not finite.
    pub fn check_finite(&self, nats: f64) -> Result<()> {
        if nats.is_finite() {
            return Ok(());
        }
        let what = format!("{}: the cost", self.path());
        Err(ModelError::NotANumber { what }.into())
    }

    /// Prints a JSON object, or text.
    pub fn print(&self, json: &impl Serialize, text: &str) -> Result<()> {
        let mut out = stdout();
        if self.args.json {
            writeln!(out, "{}", json_lines(json)?)?;
        } else {
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

/// A difference in cost, for the line below a table.
pub fn signed(cost: f64, unit: &str) -> String {
    // Adding zero turns −0 into 0.
    let rounded = (cost * 1e4).round() / 1e4 + 0.0;
    format!("{rounded:+.4} {unit}")
}
