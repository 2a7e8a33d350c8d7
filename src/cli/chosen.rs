//! The run or the model file that a command works on: named, or the newest.

use std::path::{Path, PathBuf};

use crate::run::{ModelFile, RunDir, RunError, Runs};
use anyhow::Result;
use clap::Args;

use crate::cli::error::CliError;
use crate::cli::output::note;

/// Which run.
#[derive(Args)]
pub struct ChosenRun {
    /// The run [default: the newest]
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The run, as in `generate`
    #[arg(long = "run", value_name = "NAME", conflicts_with = "run", hide = true)]
    named: Option<String>,
}

impl ChosenRun {
    /// Opens it; where it was chosen for the user, says which.
    pub fn open(&self, runs: &Runs) -> Result<RunDir> {
        if let Some(name) = self.run.as_ref().or(self.named.as_ref()) {
            return Ok(runs.open(name)?);
        }
        let run = runs.newest()?;
        note!("run: {}", run.name());
        Ok(run)
    }
}

/// The model file that --model-file names.
pub fn open_file(path: &Path) -> Result<ModelFile> {
    ModelFile::open(path).map_err(|error| match error {
        RunError::Io { source, .. } => {
            let wanted = "a model.safetensors; --run takes the name of a run";
            CliError::unreadable("--model-file", path, &source, wanted).into()
        }
        error => error.into(),
    })
}

/// Which run or model file, and for which text.
#[derive(Args)]
pub struct ChosenWithCorpus {
    /// The run, or a model file [default: the newest run]; the CORPUS where --run or --model-file
    /// names the model
    #[arg(value_name = "RUN|MODEL")]
    first: Option<String>,
    /// Another text: a file, a folder, a name under corpora/, the bundled corpus, or `-`
    #[arg(value_name = "CORPUS")]
    second: Option<String>,
    /// The run, as in `generate`
    #[arg(long = "run", value_name = "NAME", conflicts_with = "second")]
    named: Option<String>,
    /// A model file, wherever it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["second", "named"])]
    model_file: Option<PathBuf>,
}

/// What [`ChosenWithCorpus`] names.
pub struct Opened<'a> {
    /// The model.
    pub file: ModelFile,
    /// The run, where it is one's.
    pub run: Option<RunDir>,
    /// The text, where there is one.
    pub corpus: Option<&'a str>,
}

impl ChosenWithCorpus {
    /// Opens the model; where it was chosen for the user, says which.
    pub fn open(&self, runs: &Runs) -> Result<Opened<'_>> {
        let (run, corpus) = match (&self.model_file, &self.named, &self.first) {
            (Some(path), _, corpus) => return Opened::model(path, corpus.as_deref()),
            (None, Some(name), corpus) => (runs.open(name)?, corpus),
            (None, None, Some(first)) => match runs.open(first) {
                Ok(run) => (run, &self.second),
                Err(error) => {
                    let path = Path::new(first);
                    let is_model =
                        path.is_file() || path.extension() == Some("safetensors".as_ref());
                    if is_model {
                        return Opened::model(path, self.second.as_deref());
                    }
                    return Err(error.into());
                }
            },
            (None, None, None) => {
                let run = runs.newest()?;
                note!("run: {}", run.name());
                (run, &None)
            }
        };
        Ok(Opened {
            file: run.model()?,
            run: Some(run),
            corpus: corpus.as_deref(),
        })
    }
}

impl<'a> Opened<'a> {
    fn model(path: &Path, corpus: Option<&'a str>) -> Result<Self> {
        Ok(Self {
            file: open_file(path)?,
            run: None,
            corpus,
        })
    }
}

/// Which models.
#[derive(Args)]
pub struct ChosenModels {
    /// The run whose model is used [default: the newest]; several are compared
    #[arg(long, value_name = "NAME")]
    run: Vec<String>,
    /// A model file, wherever it is; several are compared
    #[arg(long, value_name = "FILE")]
    model_file: Vec<PathBuf>,
}

impl ChosenModels {
    /// Opens them, the runs first; where the only one was chosen for the user, says which.
    pub fn open(&self, runs: &Runs) -> Result<Vec<(ModelFile, Option<RunDir>)>> {
        if self.run.is_empty() && self.model_file.is_empty() {
            let newest = runs.newest()?;
            note!("run: {}", newest.name());
            return Ok(vec![(newest.model()?, Some(newest))]);
        }
        let mut models = Vec::new();
        for name in &self.run {
            let run = runs.open(name)?;
            models.push((run.model()?, Some(run)));
        }
        for path in &self.model_file {
            models.push((open_file(path)?, None));
        }
        Ok(models)
    }
}

/// Which model.
#[derive(Args)]
pub struct ChosenModel {
    /// The run whose model is used [default: the newest]
    #[arg(long, value_name = "NAME", conflicts_with = "model_file")]
    run: Option<String>,
    /// A model file, wherever it is
    #[arg(long, short, value_name = "FILE")]
    model_file: Option<PathBuf>,
}

impl ChosenModel {
    /// Opens it; where it was chosen for the user, says which. The run comes along where it is one's.
    pub fn open(&self, runs: &Runs) -> Result<(ModelFile, Option<RunDir>)> {
        self.open_or(runs, || runs.newest())
    }

    /// The same, but where none is named the newest that has a latent space, if there is one.
    pub fn open_with_latent_space(&self, runs: &Runs) -> Result<(ModelFile, Option<RunDir>)> {
        let has_one = |run: &RunDir| run.config().is_ok_and(|config| config.has_latent_space());
        let opened = self.open_or(runs, || runs.newest_of(has_one));
        opened.map_err(|error| match error.downcast_ref::<RunError>() {
            Some(none @ RunError::NoRuns { .. }) => {
                let hint = "train one first: textgen train --model word-vae";
                CliError::failed(none.to_string(), hint).into()
            }
            _ => error,
        })
    }

    fn open_or(
        &self,
        runs: &Runs,
        newest: impl FnOnce() -> Result<RunDir, RunError>,
    ) -> Result<(ModelFile, Option<RunDir>)> {
        let run = match (&self.model_file, &self.run) {
            (Some(path), _) => return Ok((open_file(path)?, None)),
            (None, Some(name)) => runs.open(name)?,
            (None, None) => {
                let run = newest()?;
                note!("run: {}", run.name());
                run
            }
        };
        Ok((run.model()?, Some(run)))
    }
}
