//! The run or the model file that a command works on: named, or the newest.

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
    #[arg(long, short, value_name = "FILE")]
    model_file: Option<PathBuf>,
}

impl ChosenModel {
    /// Opens it; where it was chosen for the user, says which. The run comes along where it is one's.
    pub fn open(&self, runs: &Runs) -> Result<(ModelFile, Option<RunDir>)> {
        let run = match (&self.model_file, &self.run) {
            (Some(path), _) => return Ok((ModelFile::open(path)?, None)),
            (None, Some(name)) => runs.open(name)?,
            (None, None) => {
                let run = runs.newest()?;
                note!("run: {}", run.name());
                run
            }
        };
        Ok((run.model()?, Some(run)))
    }
}
