//! `textgen train`: settings and corpus → a run directory → `textgen-torch`.

use std::path::{Path, PathBuf};

use crate::config::{
    Budget, Cell, ConfigError, Goal, KlSchedule, LossOver, ModelKind, Newlines, NormalForm,
    OptimizerKind, Precision, Recipe, Schedule, Settings, TrainConfig, Unit, WordSplit, ZPlacement,
};
use crate::run::{CorpusData, RunDir, Runs};
use anyhow::Result;
use clap::Args;

use super::choice::choice;
use super::error::CliError;
use super::from::From;
use super::prepare::{Planned, layered};
use super::trainer;
use crate::cli::output::note;

/// What `train --help` ends with.
pub const LONG_HELP: &str = "\
What is not given comes from --config, else from defaults that fit the model and the budget. The
run's config.toml records all of it, and is itself a --config file.

Defaults of char-lstm:
  --cell gru --hidden 256 --layers 1 --embedding 0 --batch 32 --seq 32 --epochs 20
  --lr 0.01 (0.004 with an embedding) --dropout 0.3 --valid 0.1 --test 0
  With --minutes, network, sequences, learning rate and dropout fit the time, the text and the
  speed of the machine; what was chosen is said.
Defaults of word-vae; the rest is the goal's:
  --cell gru --layers 1 --hidden 256 --embedding 32 --latent 32 --z both --bidirectional
  --dropout 0.2 --batch 128 --lr 0.002 --valid 0.1 --test 0.1
Defaults of both:
  --optimizer adamw --schedule cosine --warmup 100 --final-lr 0.05 (char-lstm: 0.01) --clip 5
  --patience 0 --seed 42 --weight-decay 0.01 (char-lstm under adamw) or 0
Where no budget is given, a small corpus is passed over more often, for 2,000 steps (word-vae:
1,200), but 200 times at the most.

Goals, each a few flags that go together; a flag given beside one wins:
  density     probable words (the default): --kl-warmup 0.2 --free-bits 0.06 --epochs 25
  explore     a z to steer by: --rate 8 --char-dropout 0.1 --epochs 15
  autoencode  words that come back from z: --beta 0.02 --char-dropout 0.1 --epochs 30
With --rate the KL weight is adjusted until z carries so many nats a word; it begins at --beta.

Schedules of the learning rate, after its rise over --warmup steps:
  constant    it stays
  cosine      down half a cosine to --final-lr times --lr
  step        times --decay after every tenth of the training
  plateau     times --decay after an evaluation that did not improve
Schedules of the KL weight (--kl-schedule), over the share --kl-warmup of the training:
  linear      in a straight line
  sigmoid     along a logistic curve
  cyclical    in a straight line, from 0 again in each of 4 cycles

Examples:
  textgen train --model char-lstm
  textgen train --model char-lstm --minutes 10 my-text.txt
  textgen train --model word-vae --words lines names.txt --name names --baseline no-latent
  textgen train --model word-vae --goal explore --name explorer
  textgen train --model word-vae --latent 2 --rate 5 --name plane
  textgen train --resume names --epochs 50
  textgen train --config runs/names/config.toml --seed 2 --name names-2";

/// Flags of `train`. What is not given comes from --config, else from defaults that fit the model
/// and the budget; the run's config.toml records all of it.
#[derive(Args)]
pub struct TrainArgs {
    /// Files, folders, names under corpora/, or a bundled corpus [default: the one last given to
    /// `vocab`, else the bundled fairy tales]
    pub corpus: Vec<String>,
    /// Which generator
    #[arg(long, value_parser = choice::<ModelKind>(ModelKind::NAMES))]
    model: Option<ModelKind>,
    /// Name of the run [default: MODEL-CORPUS-NUMBER]
    #[arg(long)]
    pub name: Option<String>,
    /// Go on with a run where it stopped; a larger budget may be given
    #[arg(long, value_name = "RUN", conflicts_with_all = ["corpus", "model", "name", "config", "recipe"])]
    pub resume: Option<String>,
    /// Begin with a trained model: a run, or a model file. It settles the network and the text form;
    /// characters that it does not know get places of their own, and --latent N gives a z to a
    /// word-vae without one
    #[arg(long, value_name = "RUN|FILE", conflicts_with_all = ["resume", "recipe", "baseline"])]
    pub from: Option<String>,
    /// A TOML file of settings, named as these flags; a run's config.toml is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// All settings of an original system: notebook (char-lstm) or article (word-vae)
    #[arg(long, value_parser = choice::<Recipe>(Recipe::NAMES))]
    recipe: Option<Recipe>,
    #[command(flatten)]
    text: TextFlags,
    #[command(flatten)]
    network: NetworkFlags,
    #[command(flatten)]
    budget: BudgetFlags,
    #[command(flatten)]
    training: TrainingFlags,
    #[command(flatten)]
    pub vae: VaeFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Text")]
struct TextFlags {
    /// What one token is
    #[arg(long, value_parser = choice::<Unit>(Unit::NAMES))]
    unit: Option<Unit>,
    /// Normal form
    #[arg(long, value_name = "FORM", value_parser = choice::<NormalForm>(NormalForm::NAMES))]
    normalize: Option<NormalForm>,
    /// Lower all letters
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    lowercase: Option<bool>,
    /// utf-8, lossy, or an encoding such as latin-1 or windows-1252
    #[arg(long, value_name = "LABEL")]
    encoding: Option<String>,
    /// Line ends: keep, or unix for LF everywhere
    #[arg(long, value_parser = choice::<Newlines>(Newlines::NAMES))]
    newlines: Option<Newlines>,
    /// Cut tokens rarer than this
    #[arg(long, value_name = "N")]
    min_freq: Option<u64>,
    /// Keep at most so many tokens
    #[arg(long, value_name = "N")]
    max_vocab: Option<usize>,
    /// word-vae: words of running text, or one word a line
    #[arg(long, value_parser = choice::<WordSplit>(WordSplit::NAMES))]
    words: Option<WordSplit>,
    /// Share held out for validation
    #[arg(long, value_name = "SHARE")]
    valid: Option<f64>,
    /// Share held out for the final test
    #[arg(long, value_name = "SHARE")]
    test: Option<f64>,
    /// How text is held out: contiguous, window:N or interleaved
    #[arg(long)]
    split: Option<String>,
}

#[derive(Args)]
#[command(next_help_heading = "Network")]
struct NetworkFlags {
    /// Recurrent cell
    #[arg(long, value_parser = choice::<Cell>(Cell::NAMES))]
    cell: Option<Cell>,
    /// Hidden size
    #[arg(long, value_name = "H")]
    hidden: Option<usize>,
    /// Layers
    #[arg(long, value_name = "L")]
    layers: Option<usize>,
    /// Embedding size; 0 is one-hot (char-lstm)
    #[arg(long, value_name = "E")]
    embedding: Option<usize>,
    /// Share of every layer's outputs dropped while training
    #[arg(long, value_name = "SHARE")]
    dropout: Option<f64>,
    /// Predict with the embedding's weights; needs --embedding as large as --hidden (char-lstm)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", conflicts_with = "from")]
    tied: Option<bool>,
    /// Dropout takes the same units away at all steps of a sequence (char-lstm)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    variational: Option<bool>,
    /// Share of the tokens read as nothing while training (char-lstm)
    #[arg(long, value_name = "SHARE")]
    input_dropout: Option<f64>,
    /// Share of the recurrent weights dropped while training (char-lstm)
    #[arg(long, value_name = "SHARE")]
    recurrent_dropout: Option<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "Budget (one of these)")]
struct BudgetFlags {
    /// Optimizer steps
    #[arg(long, value_name = "N", conflicts_with_all = ["epochs", "minutes"])]
    steps: Option<u64>,
    /// Passes over the training text
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    epochs: Option<f64>,
    /// Minutes of training, evaluation included; the sizes of a char-lstm follow it
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
}

#[derive(Args)]
#[command(next_help_heading = "Training")]
struct TrainingFlags {
    /// Streams (char-lstm) or words (word-vae) a step
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// Tokens of each stream a step (char-lstm)
    #[arg(long, value_name = "T")]
    seq: Option<usize>,
    /// Shortest sequence, where lengths are drawn [default: --seq]
    #[arg(long, value_name = "T")]
    seq_min: Option<usize>,
    /// Positions of a sequence that the loss counts (char-lstm)
    #[arg(long, value_parser = choice::<LossOver>(LossOver::NAMES))]
    loss: Option<LossOver>,
    /// Learning rate at its highest
    #[arg(long)]
    lr: Option<f64>,
    /// How the learning rate moves
    #[arg(long, value_parser = choice::<Schedule>(Schedule::NAMES))]
    schedule: Option<Schedule>,
    /// Steps over which the learning rate rises from 0
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// The cosine schedule ends at this share of --lr
    #[arg(long, value_name = "SHARE")]
    final_lr: Option<f64>,
    /// Factor of the step and plateau schedules
    #[arg(long, value_name = "FACTOR")]
    decay: Option<f64>,
    /// Optimizer
    #[arg(long, value_parser = choice::<OptimizerKind>(OptimizerKind::NAMES))]
    optimizer: Option<OptimizerKind>,
    /// Weight decay
    #[arg(long, value_name = "RATE")]
    weight_decay: Option<f64>,
    /// Scale gradients down to this norm; 0 is off
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Evaluate and keep averaged weights: their decay (EMA) a step; 0 is off
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Stop after so many evaluations without improvement; 0 is never
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Steps between evaluations; 0 is about 10 in the whole training
    #[arg(long, value_name = "STEPS")]
    eval_every: Option<u64>,
    /// Evaluations between samples; 0 is none
    #[arg(long, value_name = "N")]
    sample_every: Option<u64>,
    /// Steps between saves of the state; 0 is at every evaluation
    #[arg(long, value_name = "STEPS")]
    save_every: Option<u64>,
    /// Seed of initial weights, order, noise and splits
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<String>,
    /// Numbers that a CUDA device computes with; the CPU has f32
    #[arg(long, value_parser = choice::<Precision>(Precision::NAMES))]
    precision: Option<Precision>,
    /// CPU threads; 0 is all cores
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct VaeFlags {
    /// Latent size; 0 is the decoder alone, without z
    #[arg(long, value_name = "Z")]
    latent: Option<usize>,
    /// Where z enters the decoder: its first state, beside every letter, or both
    #[arg(long, value_name = "PLACE", value_parser = choice::<ZPlacement>(ZPlacement::NAMES))]
    z: Option<ZPlacement>,
    /// Whether the encoder reads both ways
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    bidirectional: Option<bool>,
    /// What the model is for: probable words, a z to steer by (--rate 8), or words read back from z
    #[arg(long, value_parser = choice::<Goal>(Goal::NAMES))]
    goal: Option<Goal>,
    /// Nats that z carries a word, held by adjusting the KL weight; 0 is off
    #[arg(long, value_name = "NATS")]
    rate: Option<f64>,
    /// KL weight, after its rise
    #[arg(long)]
    beta: Option<f64>,
    /// How the KL weight rises
    #[arg(long, value_parser = choice::<KlSchedule>(KlSchedule::NAMES))]
    kl_schedule: Option<KlSchedule>,
    /// Share of the training, or of each of 4 cycles, over which the KL weight rises
    #[arg(long, value_name = "SHARE")]
    kl_warmup: Option<f64>,
    /// Nats that each latent dimension may carry free of charge
    #[arg(long, value_name = "NATS")]
    free_bits: Option<f64>,
    /// Share of the letters that the decoder reads hidden while training
    #[arg(long, value_name = "SHARE")]
    char_dropout: Option<f64>,
    /// The decoder's share of dropout [default: --dropout]
    #[arg(long, value_name = "SHARE")]
    decoder_dropout: Option<f64>,
    /// Train a baseline too: no-latent is the same decoder without z, as run NAME-no-latent; `eval`
    /// compares the two. With --resume, the baseline of a run that has finished
    #[arg(long, value_parser = baseline_kinds(), value_name = "KIND")]
    pub baseline: Option<String>,
}

impl TrainArgs {
    /// What is given: flags over the --config file.
    pub fn given(&self) -> Result<Settings> {
        let flags = self.settings();
        Ok(match &self.config {
            Some(file) => layered(flags, read(file)?),
            None => flags,
        })
    }

    /// What flags give.
    pub fn settings(&self) -> Settings {
        let (text, network, training) = (&self.text, &self.network, &self.training);
        Settings {
            model: self.model,
            recipe: self.recipe,
            unit: text.unit,
            normalize: text.normalize,
            lowercase: text.lowercase,
            encoding: text.encoding.clone(),
            newlines: text.newlines,
            min_freq: text.min_freq,
            max_vocab: text.max_vocab,
            words: text.words,
            valid: text.valid,
            test: text.test,
            split: text.split.clone(),
            cell: network.cell,
            hidden: network.hidden,
            layers: network.layers,
            embedding: network.embedding,
            tied: network.tied,
            dropout: network.dropout,
            variational: network.variational,
            input_dropout: network.input_dropout,
            recurrent_dropout: network.recurrent_dropout,
            steps: self.budget.steps,
            epochs: self.budget.epochs,
            minutes: self.budget.minutes,
            batch: training.batch,
            seq: training.seq,
            seq_min: training.seq_min,
            loss: training.loss,
            lr: training.lr,
            schedule: training.schedule,
            warmup: training.warmup,
            final_lr: training.final_lr,
            decay: training.decay,
            optimizer: training.optimizer,
            weight_decay: training.weight_decay,
            clip: training.clip,
            ema: training.ema,
            patience: training.patience,
            eval_every: training.eval_every,
            sample_every: training.sample_every,
            save_every: training.save_every,
            seed: training.seed,
            device: training.device.clone(),
            precision: training.precision,
            threads: training.threads,
            latent: self.vae.latent,
            z: self.vae.z,
            bidirectional: self.vae.bidirectional,
            goal: self.vae.goal,
            rate: self.vae.rate,
            beta: self.vae.beta,
            kl_schedule: self.vae.kl_schedule,
            kl_warmup: self.vae.kl_warmup,
            free_bits: self.vae.free_bits,
            char_dropout: self.vae.char_dropout,
            decoder_dropout: self.vae.decoder_dropout,
            ..Settings::default()
        }
    }
}

/// The settings of a --config file.
fn read(file: &Path) -> Result<Settings> {
    Settings::read(file).map_err(|error| match error {
        ConfigError::Read { source, .. } => {
            let wanted = "a file of settings, such as the config.toml of a run";
            CliError::unreadable("--config", file, &source, wanted).into()
        }
        error => error.into(),
    })
}

/// Says where a flag wins over what the goal beside it stands for.
fn say_what_wins(flags: &Settings, given: &Settings) {
    let Some(goal) = flags.goal else {
        return;
    };
    let without = Settings {
        rate: given.rate.filter(|_| flags.rate.is_none()),
        beta: given.beta.filter(|_| flags.beta.is_none()),
        free_bits: given.free_bits.filter(|_| flags.free_bits.is_none()),
        ..given.clone()
    };
    let Ok(goals) = TrainConfig::resolve(&without) else {
        return;
    };
    for (flag, value, goals) in [
        ("rate", flags.rate, goals.rate),
        ("beta", flags.beta, goals.beta),
        ("free-bits", flags.free_bits, goals.free_bits),
    ] {
        if let Some(value) = value.filter(|&value| value != goals) {
            note!("--{flag} {value} wins over --goal {goal}, which stands for --{flag} {goals}");
        }
    }
}

/// Prepares a run, or finds the one to go on with, and becomes its trainer.
pub fn run(args: &TrainArgs, runs: &Runs) -> Result<()> {
    if let Some(name) = &args.resume {
        return resume(args, runs, name);
    }
    let trainer = trainer::find()?;
    trainer::check(&trainer)?;
    let mut given = args.given()?;
    // A run's config.toml says which model it began with.
    let from = args.from.clone().or_else(|| given.from.clone());
    let from = from.filter(|named| !named.is_empty());
    let from = from
        .as_deref()
        .map(|named| From::open(named, runs))
        .transpose()?;
    if let Some(from) = &from {
        given = from.settings(given)?;
    }
    if given.model.is_none() {
        let hint = "textgen train --model char-lstm, or --model word-vae";
        return Err(CliError::misuse("--model is missing: which generator?", hint).into());
    }
    if let Some(name) = &args.name {
        runs.check_new(name)?;
    }
    let known = from.as_ref().map(From::vocabulary);
    let planned = Planned::new(&args.corpus, given.clone(), known, runs)?;
    say_what_wins(&args.settings(), &given);
    if args.vae.baseline.is_some() {
        check_has_z(&planned.config)?;
    }
    let (config, data) = planned.read()?;
    let start = from.map(|from| from.start(&config, &data)).transpose()?;
    let run = match &args.name {
        Some(name) => runs.create(name, &config, &data, start.as_ref())?,
        None => runs.create_fresh(&config, &data, start.as_ref())?,
    };
    note!("run: {}", run.path().display());
    if args.vae.baseline.is_none() {
        return trainer::hand_over(&trainer, &[run.path()]);
    }
    let baseline = create_baseline(runs, &run, &config, &data)?;
    note!("then its no-latent baseline: {}", baseline.path().display());
    trainer::hand_over(&trainer, &[run.path(), baseline.path()])
}

/// `no-latent`, which older versions called `twin`.
pub fn baseline_kinds() -> clap::builder::PossibleValuesParser {
    let kind = clap::builder::PossibleValue::new("no-latent").alias("twin");
    clap::builder::PossibleValuesParser::new([kind])
}

/// Refuses a network that has no z to leave out.
fn check_has_z(config: &TrainConfig) -> Result<()> {
    if config.model == ModelKind::WordVae && config.latent > 0 && config.recipe == Recipe::Default {
        return Ok(());
    }
    let hint = "textgen train --model word-vae --baseline no-latent";
    Err(CliError::misuse("--baseline no-latent belongs to a word-vae with a z", hint).into())
}

/// The run of the same decoder without z.
fn create_baseline(
    runs: &Runs,
    run: &RunDir,
    config: &TrainConfig,
    data: &CorpusData,
) -> Result<RunDir> {
    let name = runs.baseline_name(run.name());
    Ok(runs.create(&name, &config.twin(), data, None)?)
}

/// Goes on with a run, with a larger budget if one is given.
fn resume(args: &TrainArgs, runs: &Runs, name: &str) -> Result<()> {
    let trainer = trainer::find()?;
    trainer::check(&trainer)?;
    let run = runs.resolve_run(name)?;
    let (runs, name) = (&run.runs(), run.name());
    let lock = run.lock()?;
    let settings = args.settings();
    let config = run.config()?;
    let allowed = Settings {
        steps: settings.steps,
        epochs: settings.epochs,
        minutes: settings.minutes,
        device: settings.device.clone(),
        precision: settings.precision,
        threads: settings.threads,
        patience: settings.patience,
        ..Settings::default()
    };
    if settings != allowed {
        let hint = "train a new run for other settings, or resume with --steps, --epochs, --minutes, --patience, --device, --precision or --threads";
        return Err(CliError::misuse("--resume goes on with the run's own settings", hint).into());
    }
    let changed = TrainConfig::resolve(&layered(allowed, config.to_settings()))?;
    let finished = has_finished(&run, &config)?;
    if args.vae.baseline.is_some() {
        check_has_z(&config)?;
        let mut names = run.baseline_names().into_iter();
        if let Some(name) = names.find(|name| runs.open(name).is_ok()) {
            let message = format!(
                "run {} has a no-latent baseline already: {name}",
                run.name()
            );
            let hint = format!(
                "{} compares them; {} resumes one that was stopped",
                run.command(&["eval"]),
                runs.command(&["train", "--resume", &name])
            );
            return Err(CliError::failed(message, hint).into());
        }
        let baseline = create_baseline(runs, &run, &config, &run.corpus()?)?;
        note!("no-latent baseline: {}", baseline.path().display());
        drop(lock);
        let folders = [run.path(), baseline.path()];
        return trainer::hand_over(&trainer, &folders[usize::from(finished)..]);
    }
    if finished && !is_more(changed.budget, config.budget) {
        let message = format!("run {name} has finished");
        let hint = "give a larger --steps, --epochs or --minutes to train on";
        return Err(CliError::failed(message, hint).into());
    }
    if changed != config {
        run.set_config(&changed)?;
    }
    drop(lock);
    trainer::hand_over(&trainer, &[run.path()])
}

/// Whether a run has come to the end of its budget. One that was raised and never used, on a full disk
/// for example, is still to be used.
pub fn has_finished(run: &RunDir, config: &TrainConfig) -> Result<bool> {
    let finished = run.state()?.and_then(|state| state.progress.finished);
    Ok(finished == Some(config.budget.to_string()))
}

/// Whether a budget goes beyond another one, or is of another kind.
fn is_more(new: Budget, old: Budget) -> bool {
    match (new, old) {
        (Budget::Steps(new), Budget::Steps(old)) => new > old,
        (Budget::Epochs(new), Budget::Epochs(old))
        | (Budget::Minutes(new), Budget::Minutes(old)) => new > old,
        _ => true,
    }
}
