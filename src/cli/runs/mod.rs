//! `textgen runs`: lists runs, the newest first.

mod tensorboard;

use std::io::Write;
use std::path::PathBuf;

use crate::run::{Log, RunDir, RunError, RunSummary, Runs};
use anyhow::Result;
use clap::Args;

use super::output::{Table, age, counted, json_lines, note, stdout};

#[derive(Args)]
#[command(after_help = "\
Examples:
  textgen runs
  textgen runs --json
  textgen runs --tensorboard events && tensorboard --logdir events")]
pub struct RunsArgs {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
    /// Write the evaluations as event files to DIR/RUN, for `tensorboard --logdir DIR`
    #[arg(long, value_name = "DIR", conflicts_with = "json")]
    tensorboard: Option<PathBuf>,
}

/// Says why a run is not shown.
fn passed_over(run: &RunDir, error: RunError) {
    note!(
        "passed over {}: {:#}",
        run.name(),
        anyhow::Error::from(error)
    );
}

pub fn run(args: &RunsArgs, runs: &Runs) -> Result<()> {
    if let Some(folder) = &args.tensorboard {
        let mut written = 0;
        for run in &runs.list()? {
            // What cannot be written there cannot be written for any other run.
            if let Err(error) = run.summary() {
                passed_over(run, error);
                continue;
            }
            let evaluations = tensorboard::write(run, folder)?;
            note!("{}: {}", run.name(), counted(evaluations, "evaluation"));
            written += 1;
        }
        note!(
            "{}: {}; to see them: tensorboard --logdir {0}",
            folder.display(),
            counted(written, "run")
        );
        return Ok(());
    }
    let mut summaries: Vec<RunSummary> = Vec::new();
    for run in runs.list()? {
        let log = run.metrics_path();
        if let Ok(Some(line)) = Log::read(&log).map(|log| log.damaged) {
            note!(
                "warning: {}:{line}: damaged; train --resume sets it aside",
                log.display()
            );
        }
        match run.summary() {
            Ok(summary) => summaries.push(summary),
            Err(error) => passed_over(&run, error),
        }
    }
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", json_lines(&summaries)?)?;
        return Ok(());
    }
    if summaries.is_empty() {
        note!(
            "no runs in {} yet; train one: {}",
            runs.dir().display(),
            runs.command(&["train", "--model", "char-lstm"])
        );
        return Ok(());
    }
    let header = [
        "NAME",
        "MODEL",
        "CORPUS",
        "STEPS",
        "BEST LOSS",
        "STATUS",
        "AGE",
    ];
    let mut table = Table::new(&header);
    for run in summaries {
        let loss = run
            .best_loss
            .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4} {}", run.unit));
        table.row(vec![
            run.name,
            run.model,
            run.corpus,
            run.step.to_string(),
            loss,
            match run.baseline_of {
                Some(of) => format!("{}, baseline of {of}", run.status),
                None => run.status.to_owned(),
            },
            age(run.age_seconds),
        ]);
    }
    out.write_all(table.text().as_bytes())?;
    Ok(())
}
