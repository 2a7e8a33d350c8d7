//! The run or the model that a command works on: named, or the newest.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use textgen::run::{ModelFile, RunDir, Runs};

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

/// Which model.
#[derive(Args)]
pub struct ChosenModel {
    /// The run whose model is used [default: the newest]
    #[arg(long, value_name = "NAME", conflicts_with = "model_file")]
    run: Option<String>,
    /// A model file, wherever it is
    #[arg(long, value_name = "FILE")]
    model_file: Option<PathBuf>,
}

impl ChosenModel {
    /// Opens it, with its run where it is a run's; where that was chosen for the user, says which.
    pub fn open(&self, runs: &Runs) -> Result<(ModelFile, Option<RunDir>)> {
        if let Some(path) = &self.model_file {
            return Ok((ModelFile::open(path)?, None));
        }
        let chosen = ChosenRun {
            run: self.run.clone(),
            named: None,
        };
        let run = chosen.open(runs)?;
        Ok((run.model()?, Some(run)))
    }
}
