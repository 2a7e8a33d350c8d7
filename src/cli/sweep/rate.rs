//! `textgen sweep rate`: the rate–distortion curve of a word-vae.

use std::path::{Path, PathBuf};

use crate::config::{Goal, ModelKind, Recipe, Settings, TrainConfig};
use crate::run::{CorpusData, Evaluation, Metrics, RunDir, Runs, WordLoss, atomic};
use anyhow::Result;
use clap::{Arg, Args};
use serde::Serialize;

use super::curve::{Curve, Point};
use crate::cli::error::CliError;
use crate::cli::output::{Format, note};
use crate::cli::prepare::Planned;
use crate::cli::train::{TrainArgs, has_finished};
use crate::cli::trainer;

/// Flags of `sweep rate`.
#[derive(Args)]
#[command(after_help = "\
Every rate R is a run of its own, NAME-rate-R, as train --rate R makes it: generate, map, eval and
all other commands take it. Runs that have finished are not trained again, and one that was stopped
goes on, so that the same command with the same --name takes up a sweep that was interrupted.

The picture shows the distortion D, what a word costs once z is known, over the rate R, what z
itself costs. Both are of the test words, or of the validation words where there is no test part.
Where the curve runs along a grey line, a nat in z saves a nat in the letters. With --baseline no-latent
a dashed line shows what words cost the same decoder without z.

Examples:
  textgen sweep rate --rates 1,2,4,8,16
  textgen sweep rate names.txt --words lines --rates 2,8 --minutes 3 --name names --baseline no-latent
  textgen sweep rate --name names --rates 2,4,8 --minutes 3 --words lines names.txt --tsv")]
#[command(mut_args(as_in_a_sweep))]
pub struct RateArgs {
    /// Nats that z carries a word, separated by commas
    #[arg(
        long,
        value_name = "NATS,NATS…",
        value_delimiter = ',',
        required = true
    )]
    rates: Vec<f64>,
    /// The picture to write [default: NAME-sweep.svg in the folder of the runs]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    train: TrainArgs,
}

/// Flags of `train` that a sweep over rates refuses, or that do nothing in it.
const NOT_IN_A_SWEEP: [&str; 16] = [
    "model",
    "resume",
    "recipe",
    "rate",
    "goal",
    "free_bits",
    "kl_warmup",
    "kl_schedule",
    "seq",
    "seq_min",
    "loss",
    "split",
    "tied",
    "variational",
    "input_dropout",
    "recurrent_dropout",
];

/// The flags of `train` as the help of a sweep has them.
fn as_in_a_sweep(flag: Arg) -> Arg {
    match flag.get_id().as_str() {
        "name" => flag.help(
            "Name of the sweep, whose runs are NAME-rate-R and NAME-no-latent \
             [default: MODEL-CORPUS-NUMBER]",
        ),
        "baseline" => flag.help(
            "Train a baseline too: no-latent is the same decoder without z, one for all rates, as \
             run NAME-no-latent; the table, the picture and `eval` compare it with them",
        ),
        "beta" => flag.help("KL weight to begin with; it is adjusted until z carries the rate"),
        "latent" => flag.help("Latent size"),
        name if NOT_IN_A_SWEEP.contains(&name) => flag.hide(true),
        _ => flag,
    }
}

/// A model of the sweep.
struct Trial {
    run: RunDir,
    /// The rate wanted; none of the no-latent baseline.
    wanted: Option<f64>,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Row {
    /// Nats per word; null of the no-latent baseline.
    wanted_rate_nats_per_word: Option<f64>,
    #[serde(flatten)]
    loss: WordLoss,
    /// The words it was measured on: test or valid.
    part: &'static str,
    /// Optimizer steps.
    steps: u64,
    /// Seconds of training.
    seconds: f64,
    run: String,
}

/// Trains what has not been trained, and shows the curve.
pub fn run(args: &RateArgs, runs: &Runs) -> Result<()> {
    let rates = rates(args)?;
    let given = given(args)?;
    let at = |rate: f64| Settings {
        rate: Some(rate),
        ..given.clone()
    };
    let planned = Planned::new(&args.train.corpus, at(rates[0]), None, runs)?;
    check(&planned.config)?;
    for &rate in &rates {
        let rate = Some(rate);
        TrainConfig::resolve(&Settings {
            rate,
            ..planned.config.to_settings()
        })?;
    }
    let trainer = trainer::find()?;
    trainer::check(&trainer)?;
    if let Some(name) = &args.train.name {
        Runs::check_name(name)?;
    }
    let (config, data) = planned.read()?;
    let CorpusData::Words(words) = &data else {
        return Err(CliError::misuse("a sweep over rates takes words", "--model word-vae").into());
    };
    if words.test.is_empty() && words.valid.is_empty() {
        let hint = "hold some words out: --test 0.1";
        return Err(CliError::failed("there are no words to measure the models on", hint).into());
    }
    let name = args.train.name.clone();
    let name = name.unwrap_or_else(|| runs.fresh_name(&config));
    let mut trials = Vec::new();
    for &rate in &rates {
        let config = TrainConfig {
            rate,
            ..config.clone()
        };
        let run = open_or_create(runs, &Runs::rate_name(&name, rate), &config, &data)?;
        trials.push(Trial {
            run,
            wanted: Some(rate),
        });
    }
    if args.train.vae.baseline.is_some() {
        let run = open_or_create(runs, &runs.baseline_name(&name), &config.twin(), &data)?;
        trials.push(Trial { run, wanted: None });
    }
    if !train(&trainer, &name, &trials)? {
        return Ok(());
    }
    let rows = trials.iter().map(row).collect::<Result<Vec<Row>>>()?;
    draw(args, runs, &name, &config, &rows)?;
    show(&args.format, &rows)
}

/// The rates, in order and each once.
fn rates(args: &RateArgs) -> Result<Vec<f64>> {
    let mut rates = args.rates.clone();
    if let Some(wrong) = rates.iter().find(|&&rate| !(rate > 0.0 && rate <= 1000.0)) {
        let message = format!("--rates {wrong}: must be above 0 and at most 1000 nats a word");
        let hint = "--baseline no-latent trains the model without z";
        return Err(CliError::misuse(message, hint).into());
    }
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    Ok(rates)
}

/// The settings that all rates share; refuses what a sweep decides by itself.
fn given(args: &RateArgs) -> Result<Settings> {
    let flags = args.train.settings();
    let refuse = |message: &str, hint: &str| Err(CliError::misuse(message, hint).into());
    if args.train.resume.is_some() {
        let hint = "give the same command with the sweep's --name: it goes on where it stopped";
        return refuse("--resume goes on with one run, not with a sweep", hint);
    }
    if args.train.from.is_some() {
        return refuse("--from is for one run, not for a sweep", "leave --from out");
    }
    if flags.rate.is_some() {
        return refuse("--rate is for one run", "give --rates, separated by commas");
    }
    if flags.goal.is_some() {
        let hint = "leave --goal out";
        return refuse("--goal settles a rate, and so do --rates", hint);
    }
    let mut given = args.train.given()?;
    if given.model.unwrap_or(ModelKind::WordVae) != ModelKind::WordVae {
        let hint = "textgen sweep rate --model word-vae";
        return refuse("a char-lstm has no rate", hint);
    }
    given.model = Some(ModelKind::WordVae);
    given.goal = Some(Goal::Density);
    Ok(given)
}

/// Refuses networks without a rate to hold.
fn check(config: &TrainConfig) -> Result<()> {
    if config.recipe == Recipe::Default {
        return Ok(());
    }
    let message = format!("--recipe {} holds no rate", config.recipe);
    Err(CliError::misuse(message, "leave --recipe out").into())
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
    let other = other_settings(&run.config()?, config)?;
    if other.is_empty() {
        return Ok(run);
    }
    let message = format!("run {name} has other settings: {}", other.join(", "));
    let hint = "give the settings that the sweep began with, or another --name";
    Err(CliError::failed(message, hint).into())
}

/// The keys in which two settings differ, apart from those that say where to compute.
fn other_settings(one: &TrainConfig, other: &TrainConfig) -> Result<Vec<String>> {
    let other = TrainConfig {
        corpus: one.corpus.clone(),
        device: one.device,
        precision: one.precision,
        threads: one.threads,
        ..other.clone()
    };
    let lines = |config: &TrainConfig| -> Result<Vec<String>> {
        let text = config.to_settings().to_toml()?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (ours, theirs) = (lines(one)?, lines(&other)?);
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let these = these.iter().filter(|line| !those.contains(line));
        let key = |line: &String| line.split(" =").next().unwrap_or_default().to_owned();
        these.map(key).collect()
    };
    let mut keys = only(&ours, &theirs);
    keys.extend(only(&theirs, &ours));
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Trains the runs that have not finished. False where the user stopped it.
fn train(trainer: &Path, name: &str, trials: &[Trial]) -> Result<bool> {
    let mut left: Vec<&RunDir> = Vec::new();
    for Trial { run, .. } in trials {
        if !has_finished(run, &run.config()?)? {
            left.push(run);
        }
    }
    let Some(first) = left.first() else {
        note!("sweep: {name}; all of it was trained before");
        return Ok(true);
    };
    note!(
        "sweep: {name}, {} of {} models to train",
        left.len(),
        trials.len()
    );
    note!("run: {}", first.path().display());
    let folders: Vec<&Path> = left.iter().map(|run| run.path()).collect();
    trainer::train(trainer, &folders)?;
    let mut done = trials.len();
    for run in left {
        done -= usize::from(!has_finished(run, &run.config()?)?);
    }
    if done < trials.len() {
        note!("{done} of {} models are trained", trials.len());
        note!("the sweep: the same command, with --name {name}");
    }
    Ok(done == trials.len())
}

/// What a finished run recorded: of the test words, else of the validation words.
fn row(trial: &Trial) -> Result<Row> {
    let run = &trial.run;
    let config = run.config()?;
    let metrics = Metrics::read(&run.metrics_path())?;
    let last = metrics.last();
    let test = last.and_then(|line| line.test).map(|loss| (loss, "test"));
    let kept = Metrics::kept(&metrics, &config);
    let (Some(last), Some((Evaluation::Word(loss), part))) =
        (last, test.or_else(|| kept.map(|loss| (loss, "valid"))))
    else {
        let message = format!("run {} has no losses of held-out words", run.name());
        let hint = "delete its folder, and give the same command again";
        return Err(CliError::failed(message, hint).into());
    };
    Ok(Row {
        wanted_rate_nats_per_word: trial.wanted,
        loss,
        part,
        steps: last.step,
        seconds: last.seconds,
        run: run.name().to_owned(),
    })
}

fn words_of(rows: &[Row]) -> &'static str {
    match rows.first() {
        Some(Row { part: "test", .. }) => "test words",
        _ => "validation words",
    }
}

/// Writes the picture.
fn draw(
    args: &RateArgs,
    runs: &Runs,
    name: &str,
    config: &TrainConfig,
    rows: &[Row],
) -> Result<()> {
    let point = |row: &Row| {
        Some(Point {
            wanted: row.wanted_rate_nats_per_word?,
            rate: row.loss.rate_nats_per_word,
            distortion: row.loss.distortion_nats_per_word,
        })
    };
    let baseline = rows
        .iter()
        .find(|row| row.wanted_rate_nats_per_word.is_none());
    let curve = Curve {
        title: format!(
            "Rate and distortion: {}, {}",
            config.corpus_name,
            words_of(rows)
        ),
        points: rows.iter().filter_map(point).collect(),
        baseline: baseline.map(|row| row.loss.neg_elbo_nats_per_word),
    };
    let default = || runs.dir().join(format!("{name}-sweep.svg"));
    let path = args.svg.clone().unwrap_or_else(default);
    atomic::write(&path, &[curve.svg().as_bytes()])?;
    note!("{}: written", path.display());
    Ok(())
}

/// Prints the table.
fn show(format: &Format, rows: &[Row]) -> Result<()> {
    if format.is_table() {
        note!("nats a word, of the {}:", words_of(rows));
    }
    let header = [
        "rate wanted",
        "R",
        "D",
        "-ELBO",
        "active units",
        "steps",
        "seconds",
        "run",
    ];
    format.print(&header, rows, |row| {
        let wanted = row.wanted_rate_nats_per_word;
        vec![
            wanted.map_or_else(|| "-".to_owned(), |rate| rate.to_string()),
            format!("{:.3}", row.loss.rate_nats_per_word),
            format!("{:.3}", row.loss.distortion_nats_per_word),
            format!("{:.3}", row.loss.neg_elbo_nats_per_word),
            row.loss.active_units.to_string(),
            row.steps.to_string(),
            format!("{:.1}", row.seconds),
            row.run.clone(),
        ]
    })
}
