//! `textgen sweep`: trains several models that differ in one setting.

mod curve;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Serialize;

use self::curve::{Curve, Point};
use super::error::CliError;
use super::output::{Format, counted, note};
use super::prepare::Planned;
use super::target::{self, Force, Target};
use super::train::{GivenSettings, baseline, baselines, check_memory};
use super::trainer::{Place, Together};
use super::training::Interrupted;
use crate::config::{Entry, Goal, ModelChoice, Recipe, Settings, TrainConfig};
use crate::run::{CorpusData, Evaluation, Metrics, RunDir, Runs};

/// The setting whose sweep draws a picture and is for words only.
const RATE: &str = "rate";

#[derive(Args)]
#[command(after_help = "\
Every value V is a run of its own, NAME-SETTING-V, as if trained with --SETTING V; generate, map, eval
and all other commands accept it. Runs that have finished are not trained again, and one that was stopped
is resumed, so the same command with the same --name continues a sweep that was interrupted.

A sweep over the rate draws a picture: the distortion D, the cost of a word given z, over the rate R,
the cost of z itself. Both are measured on the test words, or on the validation words if there is no test
part. Where the curve runs along a grey line, a nat in z saves a nat in the letters. With --baseline
no-latent, a dashed line shows the cost of words under the same decoder without z.

Examples:
  textgen sweep rate --values 1,2,4,8,16
  textgen sweep rate names.txt --words lines --values 2,8 --minutes 3 --name names --baseline no-latent
  textgen sweep lr --values 0.01,0.02,0.03 --model char-lstm
  textgen sweep cell --values lstm,gru --model char-lstm my-text.txt --tsv")]
pub struct SweepArgs {
    /// The setting, named like the flag of `train`
    #[arg(value_parser = PossibleValuesParser::new(Settings::keys()), hide_possible_values = true)]
    setting: String,
    /// Files, folders, names under corpora/, or a bundled corpus, as in `train`
    corpus: Vec<String>,
    /// Its values, separated by commas
    #[arg(
        long,
        visible_alias = "rates",
        value_name = "VALUE,VALUE…",
        value_delimiter = ',',
        required = true
    )]
    values: Vec<String>,
    /// Name of the sweep, whose runs are NAME-SETTING-VALUE and NAME-no-latent [default: MODEL-CORPUS-NUMBER]
    #[arg(long)]
    name: Option<String>,
    /// The picture to write of a sweep over the rate [default: NAME-sweep.svg in the folder of the runs]
    #[arg(long, alias = "svg", value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    given: GivenSettings,
    /// Train a baseline too, one for all values: no-latent is the same decoder without z, as run
    /// NAME-no-latent; the table, the picture and `eval` show it for comparison
    #[arg(long, value_parser = baselines(), value_name = "KIND", help_heading = "word-vae")]
    baseline: Option<String>,
}

/// A run of the sweep.
struct Trial {
    run: RunDir,
    /// The value of the setting; `None` for the no-latent baseline.
    value: Option<String>,
}

/// The result of training one model.
#[derive(Debug, Serialize)]
struct Row {
    setting: String,
    /// Null for the no-latent baseline.
    value: Option<String>,
    /// Nats per word; null for the no-latent baseline and in other sweeps.
    wanted_rate_nats_per_word: Option<f64>,
    #[serde(flatten)]
    loss: Evaluation,
    /// The part that it was measured on: test or valid.
    part: &'static str,
    /// Optimizer steps in all.
    steps: u64,
    /// Seconds of training, not counting pauses.
    seconds: f64,
    run: String,
}

/// Trains the runs that have not finished, and compares all.
pub fn run(args: &SweepArgs, runs: &Runs) -> Result<()> {
    let values = values(args)?;
    let mut given = given(args)?;
    let output = args.output.as_deref();
    let output = output.map(|path| picture(path, args.force)).transpose()?;
    given.set(&args.setting, &values[0])?;
    let first = Planned::new(&args.corpus, given, None, runs)?;
    let with = |value: &String| first.with(&args.setting, value);
    let plans = values.iter().map(with).collect::<Result<Vec<Planned>>>()?;
    let place = Place::of(&first.config, Together::default())?;
    if let Some(name) = &args.name {
        Runs::check_new_name(name)?;
    }
    let mut data = first.read()?;
    check_held_out(&data)?;
    let mut name = args.name.clone();
    let mut trials = Vec::new();
    let (mut read, mut base) = (&first, None);
    for (plan, value) in plans.iter().zip(values) {
        if !plan.reads_the_same(read) {
            (data, read) = (plan.read()?, plan);
        }
        let config = plan.complete(&data, &place)?;
        check_memory(&place, &config, &data)?;
        let name = name.get_or_insert_with(|| runs.fresh_name(&config));
        let run = run_name(name, &args.setting, &value);
        trials.push(Trial {
            run: open_or_create(runs, &run, &config, &data)?,
            value: Some(value),
        });
        base = Some(config);
    }
    let (Some(name), Some(config)) = (name, base) else {
        return Ok(());
    };
    // Fail before hours of training, not after.
    let picture = match args.setting.as_str() {
        RATE => Some(match output {
            Some(output) => output,
            None => picture(&runs.dir().join(format!("{name}-sweep.svg")), args.force)?,
        }),
        _ => None,
    };
    if args.baseline.is_some() {
        let run = open_or_create(runs, &runs.baseline_name(&name), &baseline(&config)?, &data)?;
        trials.push(Trial { run, value: None });
    }
    if !train(&place, &name, &trials)? {
        return Ok(());
    }
    let row = |trial: &Trial| row(trial, &args.setting);
    let rows = trials.iter().map(row).collect::<Result<Vec<Row>>>()?;
    if let Some(picture) = picture {
        draw(&picture, &config, &rows)?;
    }
    show(args, &rows)
}

/// The values, each once; those of the rate in order.
fn values(args: &SweepArgs) -> Result<Vec<String>> {
    let mut values: Vec<String> = Vec::new();
    for value in &args.values {
        let mut one = Settings::default();
        one.set(&args.setting, value)?;
        // As settings are written to files: 1.0 is 1.
        let shown = one.entries().into_iter().map(|entry| entry.value);
        values.extend(
            shown
                .filter(|shown| !values.contains(shown))
                .collect::<Vec<_>>(),
        );
    }
    if args.setting == RATE {
        let rate = |text: &String| text.parse::<f64>().unwrap_or(0.0);
        if let Some(wrong) = values.iter().find(|&value| rate(value) <= 0.0) {
            let message =
                format!("--values {wrong}: must be above 0 and at most 1000 nats per word");
            let hint = "--baseline no-latent trains the model without z";
            return Err(CliError::misuse(message, hint).into());
        }
        values.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
    }
    Ok(values)
}

/// The settings that all runs share; refuses those that the sweep determines.
fn given(args: &SweepArgs) -> Result<Settings> {
    let (flags, setting) = (&args.given.flags, &args.setting);
    let refuse = |message: &str, hint: &str| Err(CliError::misuse(message, hint).into());
    if flags.from.is_some() || setting == "from" {
        return refuse("--from is for one run, not for a sweep", "leave --from out");
    }
    if flags.entries().iter().any(|entry| entry.key() == *setting) {
        let message = format!("--{setting} is for one run");
        return refuse(&message, "give --values, separated by commas");
    }
    let mut given = args.given.all()?;
    if setting == RATE {
        if flags.goal.is_some() {
            let hint = "leave --goal out";
            return refuse("--goal sets a rate, and so does the sweep", hint);
        }
        if let Some(recipe) = given.recipe.filter(|&recipe| recipe != Recipe::Default) {
            return refuse(
                &format!("--recipe {recipe} holds no rate"),
                "leave --recipe out",
            );
        }
        if given
            .model
            .is_some_and(|model| model != ModelChoice::WordVae)
        {
            return refuse(
                "a char-lstm has no rate",
                "textgen sweep rate --model word-vae",
            );
        }
        (given.model, given.goal) = (Some(ModelChoice::WordVae), Some(Goal::Density));
    } else if given.model.is_none() && !["model", "recipe"].contains(&setting.as_str()) {
        return refuse(
            "--model is missing: which generator?",
            "--model char-lstm or word-vae",
        );
    }
    Ok(given)
}

/// Refuses a corpus without held-out words to measure the models on.
fn check_held_out(data: &CorpusData) -> Result<()> {
    match data {
        CorpusData::Words(words) if words.test.is_empty() && words.valid.is_empty() => {
            let hint = "hold some words out: --test 0.1";
            Err(CliError::failed("there are no words to measure the models on", hint).into())
        }
        _ => Ok(()),
    }
}

/// The name of the run with this value of the setting.
fn run_name(sweep: &str, setting: &str, value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '.';
    let value: String = value
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    format!("{sweep}-{setting}-{value}")
}

/// The run of that name, which must have these settings, or a new one.
fn open_or_create(
    runs: &Runs,
    name: &str,
    config: &TrainConfig,
    data: &CorpusData,
) -> Result<RunDir> {
    if !runs.dir().join(name).exists() {
        return Ok(runs.create(name, config, data, None)?);
    }
    let run = runs.open(name)?;
    let other = other_settings(&run.config()?, config);
    if other.is_empty() {
        return Ok(run);
    }
    let message = format!("run {name} has other settings: {}", other.join(", "));
    let hint = "give the settings that the sweep began with, or another --name";
    Err(CliError::failed(message, hint).into())
}

/// The keys in which two settings differ, except those of the device and threads.
fn other_settings(one: &TrainConfig, other: &TrainConfig) -> Vec<String> {
    let settings = |config: &TrainConfig| Settings {
        corpus: None,
        device: None,
        precision: None,
        threads: None,
        ..config.to_settings()
    };
    let (ours, theirs) = (settings(one).entries(), settings(other).entries());
    let only = |these: &[Entry], those: &[Entry]| -> Vec<String> {
        let these = these.iter().filter(|entry| !those.contains(entry));
        these.map(Entry::key).collect()
    };
    let mut keys = only(&ours, &theirs);
    keys.extend(only(&theirs, &ours));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Trains the runs that have not finished. Returns false if the user stopped it.
fn train(place: &Place, name: &str, trials: &[Trial]) -> Result<bool> {
    let mut left: Vec<&RunDir> = Vec::new();
    for Trial { run, .. } in trials {
        if !run.has_finished()? {
            left.push(run);
        }
    }
    let Some(first) = left.first() else {
        note!("sweep: {name}; all of it was trained before");
        return Ok(true);
    };
    note!(
        "sweep: {name}, {} of {} to train",
        left.len(),
        counted(trials.len(), "model")
    );
    note!("run: {}", first.path().display());
    let folders: Vec<&Path> = left.iter().map(|run| run.path()).collect();
    let stopped = match place.train(&folders) {
        Err(error) if error.is::<Interrupted>() => Some(error),
        trained => trained.map(|()| None)?,
    };
    let mut done = trials.len();
    for run in left {
        done -= usize::from(!run.has_finished()?);
    }
    if done < trials.len() {
        note!("trained: {done} of {}", counted(trials.len(), "model"));
        note!("the sweep: the same command, with --name {name}");
    }
    stopped.map_or(Ok(done == trials.len()), Err)
}

/// The figures that a finished run recorded on the test part, or else on the validation part.
fn row(trial: &Trial, setting: &str) -> Result<Row> {
    let run = &trial.run;
    let config = run.config()?;
    let metrics = Metrics::read(&run.metrics_path())?;
    let last = metrics.last();
    let test = last.and_then(|line| line.test).map(|loss| (loss, "test"));
    let kept = Metrics::kept(&metrics, &config);
    let (Some(last), Some((loss, part))) =
        (last, test.or_else(|| kept.map(|loss| (loss, "valid"))))
    else {
        let message = format!("run {} has no losses of held-out data", run.name());
        let hint = "give --valid or --test a part, and another --name";
        return Err(CliError::failed(message, hint).into());
    };
    let rate = trial.value.as_ref().filter(|_| setting == RATE);
    Ok(Row {
        setting: setting.to_owned(),
        value: trial.value.clone(),
        wanted_rate_nats_per_word: rate.and_then(|rate| rate.parse().ok()),
        loss,
        part,
        steps: last.step,
        seconds: last.seconds,
        run: run.name().to_owned(),
    })
}

/// A phrase for the part that the models were measured on.
fn measured_on(rows: &[Row]) -> String {
    let row = rows.first();
    let part = row.map_or("test", |row| row.part);
    let part = if part == "test" { part } else { "validation" };
    match row.map(|row| &row.loss) {
        Some(Evaluation::Char(_)) => format!("{part} text"),
        _ => format!("{part} words"),
    }
}

/// The destination of the picture. Standard output is for the table.
fn picture(path: &Path, force: Force) -> Result<Target> {
    match Target::new(path, target::Format::Svg, force, &[])? {
        Target::Stdout => {
            let message = "--output -: standard output has the table";
            Err(CliError::misuse(message, "give the picture a file: --output sweep.svg").into())
        }
        file @ Target::File(_) => Ok(file),
    }
}

fn draw(picture: &Target, config: &TrainConfig, rows: &[Row]) -> Result<()> {
    let points = rows.iter().filter_map(|row| match row.loss {
        Evaluation::Word(loss) => Some(Point {
            wanted: row.wanted_rate_nats_per_word?,
            rate: loss.rate_nats_per_word,
            distortion: loss.distortion_nats_per_word,
        }),
        Evaluation::Char(_) => None,
    });
    let baseline = rows.iter().find(|row| row.value.is_none());
    let curve = Curve {
        title: format!(
            "Rate and distortion: {}, {}",
            config.corpus_name,
            measured_on(rows)
        ),
        points: points.collect(),
        baseline: baseline.map(|row| row.loss.figure()),
    };
    picture.write(curve.svg().as_bytes())?;
    note!("{}: written", picture.name());
    Ok(())
}

/// Prints the table, or JSON, of all rows.
fn show(args: &SweepArgs, rows: &[Row]) -> Result<()> {
    let words = !matches!(
        rows.first(),
        Some(Row {
            loss: Evaluation::Char(_),
            ..
        })
    );
    if args.format.is_table() {
        let unit = if words { "word" } else { "character" };
        note!("nats per {unit}, of the {}:", measured_on(rows));
    }
    let setting = match args.setting.as_str() {
        RATE => "rate wanted",
        other => other,
    };
    let losses: &[&str] = if words {
        &["R", "D", "-ELBO", "active units"]
    } else {
        &["loss", "bits"]
    };
    let header = [&[setting], losses, &["steps", "seconds", "run"]].concat();
    args.format.print(&header, rows, |row| {
        let mut cells = vec![row.value.clone().unwrap_or_else(|| "-".to_owned())];
        match row.loss {
            Evaluation::Char(loss) => cells.extend([
                format!("{:.4}", loss.loss_nats_per_char),
                format!("{:.4}", loss.loss_bits_per_char),
            ]),
            Evaluation::Word(loss) => cells.extend([
                format!("{:.3}", loss.rate_nats_per_word),
                format!("{:.3}", loss.distortion_nats_per_word),
                format!("{:.3}", loss.neg_elbo_nats_per_word),
                loss.active_units.to_string(),
            ]),
        }
        let seconds = format!("{:.1}", row.seconds);
        cells.extend([row.steps.to_string(), seconds, row.run.clone()]);
        cells
    })
}
