//! `textgen train`: settings and corpus → a run directory → training.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::{
    Budget, Entry, Goal, KlSchedule, ModelChoice, Recipe, Schedule, Settings, TrainConfig,
    model_defaults,
};
use crate::run::{CorpusData, Progress, RunDir, RunError, Runs, State};
use crate::train::{TrainError, memory};
use anyhow::Result;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};

use super::display::duration;
use super::error::CliError;
use super::from::{From, suggest_english};
use super::prepare::{LONG_WORD, Planned, longest};
use super::settings_file;
use super::signals;
use super::trainer::{Place, Together};
use super::training::Interrupted;
use crate::cli::output::{counted, note};

/// The settings that may change when a run is resumed.
const MAY_CHANGE: [&str; 7] = [
    "steps",
    "epochs",
    "minutes",
    "patience",
    "device",
    "precision",
    "threads",
];

const EXAMPLES: &str = "\
Examples:
  textgen train --model char-lstm
  textgen train --model char-lstm --minutes 10 my-text.txt
  textgen train --model char-lstm --documents line names.txt
  textgen train --recipe notebook
  textgen train --model word-vae --words lines names.txt --name names --baseline no-latent
  textgen train --model word-vae --goal explore --name explorer
  textgen train --model word-vae --latent 2 --rate 5 --name plane
  textgen train --resume names --epochs 50
  textgen train --config runs/names/config.toml --seed 2 --name names-2";

/// The end of `train --help`: defaults, goals and schedules.
pub fn long_help() -> String {
    let mut help = "\
Settings that are not given come from --config, or from defaults that fit the model and the budget.
The run's config.toml records them all, and is itself a --config file.
"
    .to_owned();
    for &model in ModelChoice::ALL {
        let defaults = flags(&model_defaults(model));
        let _ = write!(help, "\nDefaults of {model}:\n{defaults}");
    }
    help += "
The size, sequences, learning rate, dropout and passes are chosen to fit the corpus and the budget, and
are printed; with --minutes they also fit the speed of the machine. Without a budget, a corpus of a
million characters is read nine times, a smaller one more often, a larger one less often. A word-vae that
reads its list fewer than 14 times has an LSTM, which learns faster then.

Goals, each a set of flags that go together; a flag given with a goal overrides it:
";
    for goal in Goal::ALL {
        let _ = writeln!(help, "  {goal:<11} {}", goal.doc());
        for line in flags(&goal.settings().entries()).lines() {
            let _ = writeln!(help, "{:12}{line}", "");
        }
    }
    help += "With --rate, the KL weight starts at --beta and is adjusted until z carries that many nats per word;
without a goal, it takes the other flags of explore too.

Schedules of the learning rate, after its rise over --warmup steps:
";
    for schedule in Schedule::ALL {
        let _ = writeln!(help, "  {schedule:<11} {}", schedule.doc());
    }
    help += "Schedules of the KL weight (--kl-schedule), over the fraction --kl-warmup of the training:\n";
    for schedule in KlSchedule::ALL {
        let _ = writeln!(help, "  {schedule:<11} {}", schedule.doc());
    }
    format!("{help}\n{EXAMPLES}")
}

/// Flags with their values, in lines that fit the width of the help.
fn flags(settings: &[Entry]) -> String {
    let mut lines = vec![String::new()];
    for one in settings {
        let flag = format!(" --{} {}", one.key(), one.value);
        match lines.last_mut() {
            Some(line) if line.len() + flag.len() < 96 => line.push_str(&flag),
            _ => lines.push(flag),
        }
    }
    lines.iter().flat_map(|line| [" ", line, "\n"]).collect()
}

#[derive(Args)]
pub struct TrainArgs {
    /// Files, folders, names under corpora/, a bundled corpus, or `-` for standard input [default: the one
    /// last given to `vocab`, else the bundled fairy tales]
    pub(super) corpus: Vec<String>,
    /// Name of the run [default: MODEL-CORPUS-NUMBER]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Resume a run where it stopped, by default the newest unfinished one; a larger budget may be given, and a lower
    /// --lr if its loss was not finite
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with_all = ["model", "name", "config", "recipe", "from"])]
    #[allow(
        clippy::option_option,
        reason = "clap's type of a flag whose value may be left out"
    )]
    pub(super) resume: Option<Option<String>>,
    #[command(flatten)]
    pub(super) given: GivenSettings,
    /// Train a baseline too: no-latent is the same decoder without z, as run NAME-no-latent; `eval`
    /// compares the two. With --resume, the baseline of a run that has finished
    #[arg(long, value_parser = baselines(), value_name = "KIND", help_heading = "word-vae", conflicts_with = "from")]
    pub(super) baseline: Option<String>,
    /// Print one JSON object per line: the start, each evaluation and the end of a training
    #[arg(long)]
    pub(super) json: bool,
    /// Train in so many processes of this machine, each on some cores or a GPU of its own, which add their gradients; a
    /// divisor of --shards, which is as many by default. Needs textgen-torch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Several processes")]
    pub(super) processes: Option<u16>,
    /// How long processes wait for one that does not answer, in seconds [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = positive, requires = "processes", help_heading = "Several processes")]
    pub(super) timeout: Option<f64>,
}

/// A number of seconds above 0.
fn positive(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..=1e9).contains(seconds));
    seconds.ok_or_else(|| "it takes a time in seconds, above 0".to_owned())
}

impl TrainArgs {
    /// The processes that train.
    fn together(&self) -> Together {
        Together {
            processes: self.processes.map(usize::from),
            timeout: self.timeout,
        }
    }
}

/// Flags that give settings.
#[derive(Args)]
pub struct GivenSettings {
    /// A TOML file of settings, named as these flags: a run's config.toml, or what `textgen config` prints
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: Settings,
}

/// The values of --baseline.
pub fn baselines() -> PossibleValuesParser {
    PossibleValuesParser::new([PossibleValue::new("no-latent").alias("twin")])
}

impl GivenSettings {
    /// The settings given: flags override the --config file.
    pub fn all(&self) -> Result<Settings> {
        let flags = self.flags.clone().with_cell_of_model();
        Ok(match &self.config {
            Some(file) => {
                let mut recorded = read(file)?;
                if flags.from.is_some() {
                    recorded.from_digest = None;
                }
                flags.over(recorded).with_cell_of_model()
            }
            None => flags,
        })
    }
}

/// The settings of a --config file.
fn read(file: &Path) -> Result<Settings> {
    let text =
        settings_file::read(file).map_err(|error| settings_file::unreadable(file, &error))?;
    Ok(Settings::parse(&text, &file.display().to_string())?)
}

/// Warns if the settings are the record of a run that was trained from something else.
pub fn warn_of_change(recorded: Option<&String>, now: Option<&String>, what: &str) {
    if recorded.is_some_and(|recorded| !recorded.is_empty() && Some(recorded) != now) {
        note!("warning: {what} has changed since the run of --config, so this is another training");
    }
}

/// Reports each flag that overrides a setting of --goal.
fn report_overrides(flags: &Settings) {
    let Some(goal) = flags.goal else { return };
    for (flag, goals) in flags.differing(&goal.settings()) {
        let (key, value) = (flag.key(), flag.value);
        note!("--{key} {value} overrides --goal {goal}, which sets --{key} {goals}");
    }
}

/// Prepares a run, or finds the one to resume, and trains it.
pub fn run(args: &TrainArgs, runs: &Runs) -> Result<()> {
    let (place, prepared) = prepare(args, runs, &AtomicBool::new(false))?;
    let folders: Vec<&Path> = prepared.iter().map(RunDir::path).collect();
    place.train_last(&folders, args.json)
}

/// Where to train, and the runs that are to be trained, one after the other. Nothing is created once `stop` is set.
pub(super) fn prepare(
    args: &TrainArgs,
    runs: &Runs,
    stop: &AtomicBool,
) -> Result<(Place, Vec<RunDir>)> {
    if let Some(named) = &args.resume {
        if !args.corpus.is_empty() {
            let message = format!(
                "--resume trains on the run's own text, which it has kept, and not on {}",
                args.corpus.join(" ")
            );
            let hint = "leave the text out; for another text, train a new run";
            return Err(CliError::misuse(message, hint).into());
        }
        let run = match named {
            Some(name) => runs.resolve_run(name)?,
            None => newest_unfinished(runs)?,
        };
        return resume(args, &run);
    }
    let mut given = args.given.all()?;
    if let (Some(processes), None) = (args.processes, given.shards) {
        given.shards = Some(processes.into());
    }
    // A run's config.toml names the model that it started from.
    let from = given.from.clone().filter(|named| !named.is_empty());
    let from = from.map(|named| From::open(&named, runs)).transpose()?;
    if let Some(from) = &from {
        let recorded = given.from_digest.take();
        given = from.settings(given)?;
        warn_of_change(
            recorded.as_ref(),
            given.from_digest.as_ref(),
            "the model of --from",
        );
    }
    if given.model.is_none() && given.recipe.is_none_or(|recipe| recipe == Recipe::Default) {
        let hint = "textgen train --model char-lstm, or --model word-vae";
        return Err(CliError::misuse("--model is missing: which generator?", hint).into());
    }
    if let Some(name) = &args.name {
        runs.check_new(name)?;
    }
    let known = from.as_ref().map(From::vocabulary);
    let planned = Planned::new(&args.corpus, given, known, runs)?;
    report_overrides(&args.given.flags);
    if args.baseline.is_some() {
        baseline(&planned.config)?;
    }
    let place = Place::of(&planned.config, args.together())?;
    let created = create(args, runs, &planned, from, &place, stop)?;
    Ok((place, created))
}

/// Reads the corpus and creates the run, and that of its baseline if it is asked for.
fn create(
    args: &TrainArgs,
    runs: &Runs,
    planned: &Planned,
    from: Option<From>,
    place: &Place,
    stop: &AtomicBool,
) -> Result<Vec<RunDir>> {
    let data = planned.read()?;
    let config = planned.complete(&data, place)?;
    check_memory(place, &config, &data)?;
    if from.is_none() {
        suggest_english(&args.given.all()?, &config, &data, runs)?;
    }
    let start = from.map(|from| from.start(&config, &data)).transpose()?;
    if stop.load(Ordering::Relaxed) {
        return Err(Interrupted(signals::exit_code(signals::SIGINT) as u8).into());
    }
    let run = match &args.name {
        Some(name) => runs.create(name, &config, &data, start.as_ref())?,
        None => runs.create_fresh(&config, &data, start.as_ref())?,
    };
    note!("run: {}", run.path().display());
    if args.baseline.is_none() {
        return Ok(vec![run]);
    }
    let baseline = create_baseline(runs, &run, &config, &data)?;
    note!("then its no-latent baseline: {}", baseline.path().display());
    Ok(vec![run, baseline])
}

/// Refuses a training that does not fit in memory, before anything is written.
pub fn check_memory(place: &Place, config: &TrainConfig, data: &CorpusData) -> Result<()> {
    if place.is_cpu() {
        let vocabulary = data.vocabulary();
        let network = config.network(
            vocabulary.len(),
            vocabulary.outputs(),
            vocabulary.document_end(),
        );
        let sized = memory::sized(config, data);
        let letters = memory::letters(&sized, &network, data);
        memory::check(&sized, &network, letters).map_err(|error| match data {
            CorpusData::Words(words) if longest(&words.letters) > LONG_WORD => {
                let hint = format!(
                    "the longest word has {}: leave such words out, or train a char-lstm, which reads any text",
                    counted(longest(&words.letters), "letter")
                );
                CliError::failed(error.to_string(), hint).into()
            }
            _ => anyhow::Error::new(TrainError::from(error)),
        })?;
    }
    Ok(())
}

/// The settings of the no-latent baseline; refuses a network that has no z to leave out.
pub fn baseline(config: &TrainConfig) -> Result<TrainConfig> {
    config.no_latent_baseline().ok_or_else(|| {
        let hint = "textgen train --model word-vae --baseline no-latent";
        CliError::misuse("--baseline no-latent belongs to a word-vae with a z", hint).into()
    })
}

/// Creates the run of the no-latent baseline.
fn create_baseline(
    runs: &Runs,
    run: &RunDir,
    config: &TrainConfig,
    data: &CorpusData,
) -> Result<RunDir> {
    let name = runs.baseline_name(run.name());
    Ok(runs.create(&name, &baseline(config)?, data, None)?)
}

/// The run that was written last, of those that can be resumed and that no other program trains.
fn newest_unfinished(runs: &Runs) -> Result<RunDir> {
    let unfinished = |run: &RunDir| {
        let can_go_on = run.state_path().exists() || !run.model_path().exists();
        can_go_on && !run.is_locked() && matches!(run.has_finished(), Ok(false))
    };
    let dir = runs.dir().to_owned();
    let run = runs.list()?.into_iter().find(unfinished);
    let run = run.ok_or(RunError::NoUnfinished { dir })?;
    note!("run: {}", run.name());
    Ok(run)
}

/// Forgets the divergences of a run, which goes on with a lower learning rate.
fn lower_lr(run: &RunDir, mut state: State, lr: f64, config: &TrainConfig) -> Result<()> {
    if lr >= config.lr {
        let message = format!(
            "--lr {lr}: not below {}, with which the loss was not finite",
            config.lr
        );
        return Err(CliError::misuse(message, "give a lower one, or none").into());
    }
    let progress = &mut state.progress;
    progress.lr_scale *= 2f64.powi(progress.rollbacks as i32);
    progress.rollbacks = 0;
    Ok(state.write(&run.state_path())?)
}

/// Prepares a run to be resumed, with a larger budget if one is given.
fn resume(args: &TrainArgs, run: &RunDir) -> Result<(Place, Vec<RunDir>)> {
    let (runs, name) = (&run.runs(), run.name());
    let lock = run.lock()?;
    let flags = &args.given.flags;
    let config = run.config()?;
    let diverged = run.state().ok().flatten();
    let diverged = diverged.filter(|state| state.progress.rollbacks > 0);
    let lr: &[&str] = if diverged.is_some() { &["lr"] } else { &[] };
    let fixed: Vec<String> = flags.entries().iter().map(Entry::key).collect();
    let fixed = fixed.iter().map(String::as_str);
    let fixed: Vec<&str> = fixed
        .filter(|key| !MAY_CHANGE.contains(key) && !lr.contains(key))
        .collect();
    if !fixed.is_empty() {
        let all = |keys: &[&str]| {
            let flags: Vec<String> = keys.iter().map(|key| format!("--{key}")).collect();
            flags.join(", ")
        };
        let message = format!("{}: --resume keeps the run's own settings", all(&fixed));
        let hint = format!(
            "train a new run for other settings; --resume takes {}, and a lower --lr after a loss that was not finite",
            all(&MAY_CHANGE)
        );
        return Err(CliError::misuse(message, hint).into());
    }
    let changed = config.with(flags.clone())?;
    let place = Place::of(&changed, args.together())?;
    let finished = run.has_finished()?;
    if args.baseline.is_some() {
        baseline(&config)?;
        let mut names = run.baseline_names().into_iter();
        if let Some(name) = names.find(|name| runs.open(name).is_ok()) {
            let message = format!(
                "run {} already has its no-latent baseline: {name}",
                run.name()
            );
            let hint = format!(
                "{} compares them; {} resumes one that was stopped",
                run.command(&["eval"]),
                runs.command(&["train", "--resume", &name])
            );
            return Err(CliError::failed(message, hint).into());
        }
        let baseline = create_baseline(runs, run, &config, &run.corpus()?)?;
        note!("no-latent baseline: {}", baseline.path().display());
        let unfinished = Some(run.clone()).filter(|_| !finished);
        return Ok((place, unfinished.into_iter().chain([baseline]).collect()));
    }
    if changed.budget != config.budget
        && let Some(state) = run.state()?
        && let Some((done, flag)) = used_up(changed.budget, &state.progress)
    {
        let message = format!("run {name} {done} already");
        let hint = format!("give more --{flag}, or train a new run");
        return Err(CliError::failed(message, hint).into());
    }
    if finished && !is_more(changed.budget, config.budget) {
        let message = format!("run {name} has finished");
        let hint = "give a larger --steps, --epochs or --minutes to train on";
        return Err(CliError::failed(message, hint).into());
    }
    if let (Some(lr), Some(state)) = (flags.lr, diverged) {
        lower_lr(run, state, lr, &config)?;
    }
    if changed != config {
        run.set_config(&changed)?;
    }
    drop(lock);
    Ok((place, vec![run.clone()]))
}

/// What a training has done, if that uses up a budget, and the budget's flag.
fn used_up(budget: Budget, progress: &Progress) -> Option<(String, &'static str)> {
    let (is_used_up, done, flag) = match budget {
        Budget::Steps(steps) => (
            progress.step >= steps,
            format!("is at step {}", progress.step),
            "steps",
        ),
        Budget::Epochs(epochs) => (
            progress.epoch as f64 >= epochs,
            format!("has trained for {}", counted(progress.epoch, "epoch")),
            "epochs",
        ),
        Budget::Minutes(minutes) => (
            progress.seconds >= 60.0 * minutes,
            format!("has trained for {}", duration(progress.seconds)),
            "minutes",
        ),
    };
    is_used_up.then_some((done, flag))
}

/// Whether a budget is larger than another one, or of another kind.
fn is_more(new: Budget, old: Budget) -> bool {
    match (new, old) {
        (Budget::Steps(new), Budget::Steps(old)) => new > old,
        (Budget::Epochs(new), Budget::Epochs(old))
        | (Budget::Minutes(new), Budget::Minutes(old)) => new > old,
        _ => true,
    }
}
