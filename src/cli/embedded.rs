//! Training on behalf of a program that embeds textgen, as the Python module does: the same as `textgen train` on the CPU,
//! but what happens is told to functions, and the caller says when to stop.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, anyhow};

use super::display::Display;
use super::error::CliError;
use super::output::divert;
use super::train::{GivenSettings, TrainArgs, prepare};
use super::trainer::native;
use super::training::train_run;
use crate::config::{Device, Settings};
use crate::run::{RunDir, Runs};
use crate::train::{Ending, Report};

/// What to train: the arguments of `textgen train`.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Files, folders or names of corpora.
    pub corpus: Vec<String>,
    /// The name of the new run.
    pub name: Option<String>,
    /// The run to resume.
    pub resume: Option<String>,
    /// A file of settings.
    pub config: Option<PathBuf>,
    /// The settings given.
    pub settings: Settings,
}

/// Trains until the budget or `stop` ends it. What `textgen train` prints goes to `say`, line by line; `began` gets the run
/// as soon as it exists; a report that `take` does not want is said as well.
pub fn train(
    order: Order,
    runs: &Runs,
    stop: &AtomicBool,
    say: impl Fn(&str) + 'static,
    began: impl FnOnce(&RunDir),
    take: impl FnMut(Report) -> bool,
) -> Result<(RunDir, Ending)> {
    divert(say, || train_here(order, runs, stop, began, take))
}

fn train_here(
    order: Order,
    runs: &Runs,
    stop: &AtomicBool,
    began: impl FnOnce(&RunDir),
    mut take: impl FnMut(Report) -> bool,
) -> Result<(RunDir, Ending)> {
    let mut flags = order.settings;
    if let Some(device) = flags.device {
        check(device)?;
    }
    if order.resume.is_none() {
        flags.device = Some(Device::Cpu);
    }
    let config = order.config;
    let args = TrainArgs {
        corpus: order.corpus,
        name: order.name,
        resume: order.resume.map(Some),
        given: GivenSettings { config, flags },
        baseline: None,
        json: false,
        processes: None,
        timeout: None,
    };
    let (_, mut prepared) = prepare(&args, runs, stop)?;
    let run = prepared.pop().ok_or_else(|| anyhow!("nothing to train"))?;
    check(run.config()?.device)?;
    began(&run);
    let display = Display::on_stderr();
    let report = |report: Report| {
        if !take(report) {
            display.show(report);
        }
    };
    let ending = train_run(&run, &native, &Rc::default(), stop, |_| (), report)?;
    Ok((run, ending))
}

/// Refuses what another program would train on.
fn check(device: Device) -> Result<()> {
    let Device::Cuda(_) = device else {
        return Ok(());
    };
    let message = format!("--device {device}: the library trains on the CPU");
    let hint = "the program trains on a GPU: textgen train --device cuda";
    Err(CliError::misuse(message, hint).into())
}
