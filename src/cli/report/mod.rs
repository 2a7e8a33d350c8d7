//! `textgen report`: what a training did and what its model learnt, as one page.

mod charts;
mod facts;
mod html;
pub mod measured;
mod page;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::facts::Facts;
use super::error::CliError;
use super::machine::{check_simd, threads};
use super::output::note;
use super::target::{self, Force, Target};
use crate::parallel::Running;
use crate::run::{RunDir, Runs};

pub use self::html::is_ours;

/// The default name of the page.
const PAGE: &str = "report.html";
/// The most runs that one page compares, a colour each.
const MOST_RUNS: usize = super::svg::COLORS.len();

#[derive(Args)]
#[command(after_help = "\
The page needs no network and no JavaScript, so it can be mailed, archived and printed. It has the
curves of training and validation beside the best n-gram model and the frequencies of characters,
the learning rate and the speed, what the model wrote while it learnt, held-out text coloured by
surprisal, and the settings with the command that trains the run again. Of a word-vae it shows D, R
and -ELBO, the divergence of every dimension of z, the map of held-out words, invented words and
reconstructions. Several runs share a plot and a table of the settings in which they differ.

A run that is being trained, was stopped or has damaged files gets a page of what there is.

Examples:
  textgen report
  textgen report tales --output tales.html
  textgen report small large wide")]
pub struct ReportArgs {
    /// Runs by name or folder [default: the newest run]
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
    /// The page to write; `-` is standard output
    #[arg(long, short, value_name = "FILE.html", default_value = PAGE)]
    output: PathBuf,
    /// Leave out the n-gram models, which take a while for a long text
    #[arg(long)]
    no_baselines: bool,
    /// Threads; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    #[command(flatten)]
    force: Force,
}

pub fn run(args: &ReportArgs, runs: &Runs) -> Result<()> {
    check_simd()?;
    if args.runs.len() > MOST_RUNS {
        let message = format!(
            "{} runs: one page compares at most {MOST_RUNS}",
            args.runs.len()
        );
        return Err(CliError::misuse(message, "name fewer, or write several pages").into());
    }
    let target = Target::new(&args.output, target::Format::Report, args.force, &[])?;
    let chosen = match &args.runs[..] {
        [] => vec![newest(runs)?],
        names => names
            .iter()
            .map(|name| runs.resolve_run(name))
            .collect::<Result<_, _>>()?,
    };
    let running = Running {
        threads: threads(args.threads),
        progress: &|_| (),
    };
    let mut all = Vec::new();
    for run in &chosen {
        let facts = Facts::read(run, !args.no_baselines, running)?;
        for gap in &facts.gaps {
            note!("{}: {gap}", facts.name);
        }
        all.push(facts);
    }
    let page = page::of(&all);
    target.write(page.as_bytes())?;
    if target != Target::Stdout {
        note!(
            "{}: written, {} kB",
            target.name(),
            page.len().div_ceil(1000)
        );
    }
    Ok(())
}

/// The run that was written last, whether it has a model or not.
fn newest(runs: &Runs) -> Result<RunDir> {
    let newest = runs.list()?.into_iter().next();
    let run = newest.map_or_else(|| runs.newest_of(|_| true), Ok)?;
    note!("run: {}", run.name());
    Ok(run)
}
