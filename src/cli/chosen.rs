//! The run that a command works on: named, or the newest.

use anyhow::Result;
use clap::Args;
use textgen::run::{RunDir, Runs};

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
