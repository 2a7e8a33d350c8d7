//! The model that a command works on: a run's name, a run's folder or a model file; else the newest run.

use crate::config::{ModelKind, TrainConfig};
use crate::model::{OpenOptions, TextModel};
use crate::run::{ModelFile, Resolved, RunDir, RunError, Runs};
use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::error::CliError;
use crate::cli::output::note;

/// A model and its run, if it has one.
pub type Opened = (ModelFile, Option<RunDir>);

#[derive(Args)]
pub struct ChosenModel {
    /// The model: a run's name or folder, or a model file [default: the newest run of a fitting kind]
    #[arg(
        long = "run",
        short = 'm',
        visible_alias = "model-file",
        value_name = "RUN|FILE"
    )]
    pub named: Option<String>,
}

impl ChosenModel {
    /// Opens the model named, or that of the newest run of this kind (of any kind if there is none).
    pub fn open_for(&self, runs: &Runs, kind: Option<ModelKind>) -> Result<Opened> {
        open(self.named.as_deref(), runs, kind)
    }

    /// Opens the model named, or that of the newest char-lstm.
    pub fn open_text(&self, runs: &Runs, options: OpenOptions) -> Result<TextModel> {
        text_model(self.open_for(runs, Some(ModelKind::CharRnn))?.0, options)
    }

    /// Opens the model as [`ChosenModel::open_for`] does, and requires a latent space.
    pub fn open_with_latent_space(&self, runs: &Runs) -> Result<Opened> {
        let wanted = TrainConfig::has_latent_space;
        open_or(self.named.as_deref(), runs, wanted).map_err(|error| match &error {
            RunError::NoRuns { .. } => {
                let train = runs.command(&["train", "--model", "word-vae"]);
                CliError::failed(error.to_string(), format!("train one first: {train}")).into()
            }
            _ => error.into(),
        })
    }
}

/// Which model, and which text.
#[derive(Args)]
pub struct ChosenWithText {
    /// The model: a run's name or folder, or a model file [default: the newest run of a fitting kind]; the TEXT if --run
    /// names the model
    #[arg(value_name = "RUN|FILE")]
    first: Option<String>,
    /// Another text: a file, a folder, a name under corpora/, the bundled corpus, or `-`
    #[arg(value_name = "TEXT", conflicts_with = "named")]
    second: Option<String>,
    #[command(flatten)]
    model: ChosenModel,
}

impl ChosenWithText {
    /// Opens the model as [`ChosenWithText::open_for`] does, for a char-lstm.
    pub fn open_text(&self, runs: &Runs) -> Result<(Opened, Option<&str>)> {
        self.open_for(runs, Some(ModelKind::CharRnn))
    }

    /// Opens the model as [`ChosenModel::open_for`] does, and returns the text if one is named.
    pub fn open_for(&self, runs: &Runs, kind: Option<ModelKind>) -> Result<(Opened, Option<&str>)> {
        let (named, text) = match &self.model.named {
            Some(named) => (Some(named), &self.first),
            None => (self.first.as_ref(), &self.second),
        };
        let named = named.map(String::as_str);
        let opened = open(named, runs, kind).map_err(|error| match error.downcast_ref() {
            // What stands alone is taken for the model, and may be meant as the text.
            Some(RunError::NotAModel { .. }) if self.model.named.is_none() && text.is_none() => {
                let hint = format!(
                    "the first name is the model; for a text, name both: RUN {}",
                    named.unwrap_or("TEXT")
                );
                CliError::failed(error.to_string(), hint).into()
            }
            _ => error,
        })?;
        Ok((opened, text.as_deref()))
    }
}

/// The char-lstm in a file.
pub fn text_model(file: ModelFile, options: OpenOptions) -> Result<TextModel> {
    let path = file.path().display().to_string();
    TextModel::from_file(file, options).context(path)
}

/// Opens the model named, or that of the newest run of this kind (of any kind if there is none) and
/// prints its name.
pub fn open(named: Option<&str>, runs: &Runs, kind: Option<ModelKind>) -> Result<Opened> {
    let wanted = |config: &TrainConfig| kind.is_none_or(|kind| config.kind() == kind);
    Ok(open_or(named, runs, wanted)?)
}

fn open_or(
    named: Option<&str>,
    runs: &Runs,
    wanted: impl Fn(&TrainConfig) -> bool,
) -> Result<Opened, RunError> {
    if let Some(named) = named {
        return runs.resolve(named)?.open();
    }
    let run = runs.newest_of(|run| run.config().is_ok_and(|config| wanted(&config)))?;
    note!("run: {}", run.name());
    Resolved::Run(run).open()
}
