//! The one table of settings.
//!
//! A row has a setting's documentation, its key, its type and, where it has them, the name of its value,
//! its default and its range. From it come the field of [`Settings`], the key of settings files with its
//! comment, the flag, its line in `docs/settings.md`, the check of its range, and the field of the
//! configuration that the row stands under.

use std::collections::HashSet;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize, Serializer};

use super::row::Row;
use super::train::{Budget, ModelConfig};
use super::value::{Value, check, check_fits, described};
use super::{
    CONFIG_FORMATS, Cell, ConfigError, Device, Documents, Goal, KlSchedule, LossOver, ModelChoice,
    ModelKind, Newlines, NormalForm, OptimizerKind, Precision, Recipe, Schedule, SplitKind, Strip,
    Unit, WordSplit, ZPlacement, name,
};

/// The first lines of `config.toml`.
const HEADER: &str = "# Every setting of this run. `textgen train --config` takes this file.\n";
/// The range of a fraction: at least 0 and below 1.
const RATE: Range<f64> = 0.0..1.0;
const ABOVE_0: (Bound<f64>, Bound<f64>) = (Bound::Excluded(0.0), Bound::Unbounded);

macro_rules! settings {
    ($(
        $(#[$meta:meta])* $owner:ident $(($($part:ident: $of:ty),+))? {$(
            $heading:literal {$(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $([$value:literal])? $(= $default:expr)? $(, in $range:expr)?;
            )+}
        )+}
    )+) => {
        /// Optional settings; those not given are left to the next layer.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {$($($(
            $(#[doc = $doc])+
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,
        )+)+)+}

        impl Settings {
            /// The rows, with their texts.
            fn table() -> Vec<Row> {
                vec![$($($(Row {
                    field: stringify!($field),
                    owner: stringify!($owner),
                    heading: $heading,
                    doc: [$($doc.trim()),+].join(" "),
                    type_name: stringify!($type),
                    value: None$(.or(Some($value)))?,
                    names: <$type as Value>::NAMES,
                    is_switch: <$type as Value>::IS_SWITCH,
                    default: None::<$type>$(.or(Some($default)))?.map(|value| value.show()),
                    range: None::<String>$(.or(Some(described($range))))?,
                }),+),+),+]
            }

            /// The defaults that no model, recipe or other setting changes.
            pub(super) fn defaults() -> Self {
                Self { $($($($field: None$(.or(Some($default)))?),+),+),+ }
            }

            /// The settings given, in the order of the table.
            pub fn entries(&self) -> Vec<Entry> {
                let mut entries = Vec::new();
                $($($(entries.extend(self.$field.as_ref().map(|value| Entry {
                    field: stringify!($field),
                    owner: stringify!($owner),
                    value: value.show(),
                }));)+)+)+
                entries
            }

            /// Sets `key` to the value that `text` means, as its flag does.
            pub fn set(&mut self, key: &str, text: &str) -> Result<(), ConfigError> {
                match key.replace('-', "_").as_str() {
                    $($($(stringify!($field) => {
                        let value = Value::read(text);
                        let wrong = |why| ConfigError::range(stringify!($field), text, why);
                        self.$field = Some(value.map_err(wrong)?);
                    })+)+)+
                    _ => return Err(ConfigError::Unknown(key.to_owned())),
                }
                Ok(())
            }

            /// Removes the settings that are not `wanted`, by owner and field.
            fn retain(&mut self, wanted: impl Fn(&str, &str) -> bool) {
                $($($(if !wanted(stringify!($owner), stringify!($field)) {
                    self.$field = None;
                })+)+)+
            }

            /// These settings if given, else those of `lower`.
            fn or(self, lower: Self) -> Self {
                Self { $($($($field: self.$field.or(lower.$field)),+),+),+ }
            }

            pub(super) fn check_ranges(&self) -> Result<(), ConfigError> {
                $($($(if let Some(value) = &self.$field {
                    check_fits(stringify!($field), value)?;
                    $(check(stringify!($field), value, $range)?;)?
                })+)+)+
                Ok(())
            }
        }

        #[cfg(feature = "cli")]
        impl Settings {
            /// Adds the flags of the rows that are `wanted`, by their owner.
            pub(super) fn add_flags(
                mut command: clap::Command,
                wanted: impl Fn(&str) -> bool,
                overridden: &HashSet<String>,
            ) -> clap::Command {
                for row in Self::rows() {
                    match row.field {
                        _ if row.heading.is_empty() || !wanted(row.owner) => {}
                        $($($(stringify!($field) => {
                            command = command.arg(super::row::flag::<$type>(row, overridden));
                        })+)+)+
                        _ => {}
                    }
                }
                command
            }

            /// The settings that the flags give.
            pub(super) fn from_flags(matches: &clap::ArgMatches) -> Self {
                Self { $($($($field: if $heading.is_empty() {
                    None
                } else {
                    matches.try_get_one(stringify!($field)).ok().flatten().cloned()
                }),+),+),+ }
            }
        }

        $(typed! { $(#[$meta])* $owner [$($($part: $of),+)?] { $($($(#[doc = $doc])+ $field: $type,)+)+ } })+
    };
}

/// The configuration struct of the rows with one owner.
macro_rules! typed {
    // The file itself and the budget have fields of another kind.
    ($(#[$meta:meta])* File $($rest:tt)+) => {};
    ($(#[$meta:meta])* Limits $($rest:tt)+) => {};
    ($(#[$meta:meta])* $owner:ident [$($part:ident: $of:ty),*] {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty,)+
    }) => {
        $(#[$meta])*
        pub struct $owner {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $(#[allow(missing_docs, reason = "documented at its type")] pub $part: $of,)*
        }

        impl $owner {
            /// Builds the configuration from complete settings.
            pub(super) fn of(all: &Settings $(, $part: $of)*) -> Result<Self, ConfigError> {
                let missing = |field| ConfigError::range(field, "", "must be given");
                Ok(Self {
                    $($field: all.$field.clone().ok_or_else(|| missing(stringify!($field)))?,)+
                    $($part,)*
                })
            }

            /// These settings and no others.
            pub(super) fn own_settings(&self) -> Settings {
                Settings { $($field: Some(self.$field.clone()),)+ ..Settings::default() }
            }
        }
    };
}

/// A setting that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    field: &'static str,
    owner: &'static str,
    /// Its value as a flag takes it.
    pub value: String,
}

impl Entry {
    /// Its key, which is also the flag's name.
    pub fn key(&self) -> String {
        name(self.field)
    }

    /// The field of [`Settings`].
    pub(super) const fn field(&self) -> &'static str {
        self.field
    }

    /// Whether it has a flag and is neither the table's default nor another setting's value.
    pub(crate) fn is_default_of_model(&self) -> bool {
        let of_model = |row: &Row| {
            let derived = row.field == "model" || row.is_derived();
            !row.heading.is_empty() && !derived && row.default.as_ref() != Some(&self.value)
        };
        let mut rows = Settings::rows().iter();
        rows.any(|row| row.field == self.field && of_model(row))
    }

    /// Returns an error unless the model has this setting.
    pub(super) fn check_belongs(&self, kind: ModelKind, recipe: Recipe) -> Result<(), ConfigError> {
        let of = match (self.owner, kind) {
            ("CharRnnConfig", ModelKind::WordVae) => "belongs to char-lstm",
            ("WordVaeConfig", ModelKind::CharRnn) => "belongs to word-vae",
            ("WordVaeConfig", _) if recipe == Recipe::Article && self.field != "latent" => {
                "is fixed by --recipe article"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::range(self.field, &self.value, of))
    }
}

settings! {
    File {
        "" {
            /// Format of this file
            format: u32;
        }
        "Options" {
            /// The generator to train
            model: ModelChoice;
        }
    }
    /// How text becomes tokens. The model records these settings and applies them to prompts too.
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    TextConfig {
        "Text" {
            /// The unit of a token
            unit: Unit = Unit::Char;
            /// Normal form of the text
            normalize: NormalForm ["FORM"] = NormalForm::Nfc;
            /// Convert all letters to lower case
            lowercase: bool = false;
            /// utf-8, lossy, or an encoding such as latin-1 or windows-1252
            encoding: String ["LABEL"] = "utf-8".to_owned();
            /// Field that is read of records: .jsonl, .ndjson, .csv and .tsv, and pipes whose first line says so;
            /// none reads them as plain text
            field: String ["NAME"] = "text".to_owned();
            /// What a document is: file, record, line, blank-line, or a separator such as '<|endoftext|>' or '\n---\n'. A
            /// char-lstm forgets the one when it reads the next, and generates whole documents; none is one stream.
            /// Line ends around a document are no part of it, and empty ones are left out
            documents: Documents ["WHAT"] = Documents::None;
            /// Remove what is not the text: gutenberg is Project Gutenberg's header and licence
            strip: Strip = Strip::None;
            /// Line ends: keep, or unix for LF everywhere
            newlines: Newlines = Newlines::Keep;
            /// Cut tokens rarer than this
            min_freq: u64 ["N"] = 1;
            /// Keep at most this many tokens. If not given, a text that would lose over a hundredth of its characters,
            /// as Chinese, Japanese and Korean do, keeps up to 10000; each adds --hidden products to every prediction
            max_vocab: usize ["N"] = 400, in 1.0..;
            /// Where a word-vae takes its words from: text, or lines for one word per line
            words: WordSplit = WordSplit::Text;
        }
    }
    /// Every setting of a run, complete and in range.
    #[derive(Clone, Debug, PartialEq)]
    TrainConfig (text: TextConfig, budget: Budget, model: ModelConfig) {
        "" {
            /// Files, as given to `textgen train`
            corpus: Vec<String> = Vec::new();
            /// Short name of the corpus
            corpus_name: String = String::new();
            /// Digest of the text of the corpus
            corpus_digest: String = String::new();
            /// Digest of the trained model that it starts from
            from_digest: String = String::new();
        }
        "Options" {
            /// Start from a trained model: a run, or a model file. It fixes the network and the form of the text,
            /// but --latent N gives a z to a word-vae without one
            from: String ["RUN|FILE"] = String::new();
            /// All settings of an original system: notebook (a char-lstm) or article (a word-vae)
            recipe: Recipe = Recipe::Default;
        }
        "Text" {
            /// Fraction held out for validation
            valid: f64 ["FRACTION"], in RATE;
            /// Fraction held out for the final test
            test: f64 ["FRACTION"], in RATE;
        }
        "Network" {
            /// Cell of the recurrent layers
            cell: Cell;
            /// Hidden size of each layer
            hidden: usize ["H"], in 1.0..=16_384.0;
            /// Number of recurrent layers
            layers: usize ["L"] = 1, in 1.0..=16.0;
            /// Embedding size; 0 is one-hot, which only a char-lstm can be
            embedding: usize ["E"], in 0.0..=16_384.0;
            /// Dropout rate of every layer's outputs in training
            dropout: f64 ["RATE"], in RATE;
        }
        "Training" {
            /// Streams of text (char-lstm) or words (word-vae) per step
            batch: usize ["B"], in 1.0..=1e6;
            /// Learning rate at its highest
            lr: f64, in ABOVE_0;
            /// How the learning rate changes. If neither this nor --ema is given, that of an LSTM of 256
            /// units or more which reads its text six times or more stays constant, and others follow the cosine
            schedule: Schedule = Schedule::Cosine;
            /// Steps over which the learning rate rises from 0
            warmup: u64 ["STEPS"] = 100;
            /// The cosine schedule ends at this fraction of --lr
            final_lr: f64 ["FRACTION"] = 0.05, in 0.0..=1.0;
            /// Factor of the step and plateau schedules
            decay: f64 ["FACTOR"] = 0.5, in (Bound::Excluded(0.0), Bound::Included(1.0));
            /// Optimizer of the weights
            optimizer: OptimizerKind = OptimizerKind::Adamw;
            /// Decay per step of the optimizer's second moments, Adam's β₂
            beta2: f64 ["DECAY"], in RATE;
            /// Weight decay of the optimizer
            weight_decay: f64 ["RATE"], in RATE;
            /// Scale gradients down to this norm; 0 is off
            clip: f64 ["NORM"] = 5.0, in 0.0..;
            /// Evaluate and keep averaged weights (EMA) with this decay per step; 0 is off. If neither this nor
            /// --schedule is given, that of an LSTM whose learning rate stays constant spans a quarter of the
            /// training, and others have none
            ema: f64 ["DECAY"] = 0.0, in RATE;
            /// Stop after this many evaluations without improvement; 0 is never
            patience: u64 ["N"] = 0;
            /// Steps between evaluations; 0 is at most 10 evaluations in the whole training
            eval_every: u64 ["STEPS"] = 0;
            /// Held-out characters or words that an evaluation reads while the model trains, spread over the
            /// part, 0 for all of it; if not given, as many as cost a twentieth of the training
            eval_size: usize ["N"] = 0;
            /// Evaluations between samples; 0 is none
            sample_every: u64 ["N"] = 3;
            /// Steps between saves of the state; 0 is at every evaluation, and after five minutes without one
            save_every: u64 ["STEPS"] = 0;
            /// Seed of initial weights, order, noise and splits
            seed: u64 = 42;
            /// auto, cpu, cuda or cuda:N
            device: Device = Device::Auto;
            /// Precision of products: tf32 needs a CUDA device, bf16 one or a CPU with AVX512_BF16; if not given, --minutes takes bf16 on such a CPU
            precision: Precision = Precision::F32;
            /// CPU threads; 0 is one per core
            threads: usize ["N"] = 0, in 0.0..=1024.0;
            /// Parts of a batch that are computed one after the other, which takes less memory
            shards: usize ["S"] = 1, in 1.0..=1024.0;
        }
    }
    /// How long to train.
    Limits {
        "Budget (one of these)" {
            /// Number of optimizer steps
            steps: u64 ["N"], in ABOVE_0;
            /// Passes over the training text
            epochs: f64 ["N"], in ABOVE_0;
            /// Minutes of training, evaluations included; the sizes of a char-lstm follow it
            minutes: f64 ["M"], in ABOVE_0;
        }
    }
    /// Settings of a character-level language model.
    #[derive(Clone, Debug, PartialEq)]
    CharRnnConfig {
        "Text" {
            /// How text is held out: contiguous, window:N or interleaved
            split: SplitKind = SplitKind::Contiguous;
        }
        "char-lstm" {
            /// Predict with the embedding's weights; needs --embedding as large as --hidden
            tied: bool = false;
            /// Dropout drops the same units at all steps of a sequence
            variational: bool = false;
            /// Fraction of the input tokens that are blanked in training
            input_dropout: f64 ["RATE"] = 0.0, in RATE;
            /// Fraction of the recurrent weights that are dropped in training (DropConnect)
            recurrent_dropout: f64 ["RATE"] = 0.0, in RATE;
            /// Tokens of each stream per step
            seq: usize ["T"], in 1.0..=1e6;
            /// Shortest sequence, if lengths vary [default: --seq]
            seq_min: usize ["T"], in 1.0..=1e6;
            /// Positions of a sequence that the loss counts
            loss: LossOver = LossOver::All;
        }
    }
    /// Settings of a word VAE.
    #[derive(Clone, Debug, PartialEq)]
    WordVaeConfig {
        "word-vae" {
            /// Latent size; 0 is the decoder alone, without z
            latent: usize ["Z"], in 0.0..=4096.0;
            /// Where z enters the decoder: its first state, beside every letter, or both
            z: ZPlacement ["WHERE"] = ZPlacement::Both;
            /// Whether the encoder reads both ways
            bidirectional: bool = true;
            /// Purpose of the model: probable words, a z to steer by, or words decoded from z
            goal: Goal = Goal::Density;
            /// Nats per word that z carries, held by adjusting the KL weight; 0 is off
            rate: f64 ["NATS"] = 0.0, in 0.0..=1000.0;
            /// KL weight, after its rise
            beta: f64 = 1.0, in 0.0..;
            /// How the KL weight rises
            kl_schedule: KlSchedule = KlSchedule::Linear;
            /// Fraction of the training, or of each of 4 cycles, over which the KL weight rises
            kl_warmup: f64 ["FRACTION"] = 0.2, in 0.0..=1.0;
            /// Nats that each latent dimension may carry without penalty, in training and in the choice of the best model
            free_bits: f64 ["NATS"] = 0.06, in 0.0..;
            /// Fraction of the training in which the decoder learns alone, as a language model without z
            pretrain_decoder: f64 ["FRACTION"] = 0.0, in RATE;
            /// Fraction of the letters hidden from the decoder in training
            char_dropout: f64 ["RATE"] = 0.1, in RATE;
            /// The decoder's dropout rate [default: --dropout]
            decoder_dropout: f64 ["RATE"], in RATE;
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        match Self::of(&Settings::defaults()) {
            Ok(config) => config,
            Err(_) => unreachable!("every row of the text has a default"),
        }
    }
}

impl Serialize for TextConfig {
    /// Settings that came after the first model files are left out at their defaults, so that a model file copied
    /// by a newer version is the same file, and older versions read it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let default = Self::default();
        let mut own = self.own_settings();
        own.field = own.field.filter(|field| *field != default.field);
        own.documents = own.documents.filter(|documents| !documents.is_none());
        own.strip = own.strip.filter(|strip| *strip != default.strip);
        own.serialize(serializer)
    }
}

impl Settings {
    /// The rows of the table, in order.
    pub(super) fn rows() -> &'static [Row] {
        static ROWS: LazyLock<Vec<Row>> = LazyLock::new(Settings::table);
        &ROWS
    }

    /// Only the text settings.
    pub fn of_text(text: &TextConfig) -> Self {
        text.own_settings()
    }

    /// The text settings, completed with their defaults.
    pub fn text(&self) -> Result<TextConfig, ConfigError> {
        let all = self.clone().over(Self::defaults());
        all.check_ranges()?;
        TextConfig::of(&all)
    }

    /// These settings if given, else those of `lower`. A budget replaces a lower one of any kind.
    #[must_use]
    pub fn over(self, mut lower: Self) -> Self {
        if self.has_budget() {
            (lower.steps, lower.epochs, lower.minutes) = (None, None, None);
        }
        self.or(lower)
    }

    /// Adds the cell that the model's name implies, such as `char-gru`.
    #[must_use]
    pub fn with_cell_of_model(self) -> Self {
        match self.model {
            Some(model @ ModelChoice::CharGru) => Self {
                model: Some(ModelChoice::CharLstm),
                cell: self.cell.or(Some(model.cell())),
                ..self
            },
            _ => self,
        }
    }

    /// The keys of the settings that have a flag.
    pub fn keys() -> Vec<String> {
        let rows = Self::rows().iter();
        let rows = rows.filter(|row| !row.heading.is_empty());
        rows.map(|row| name(row.field)).collect()
    }

    /// Whether a budget is given.
    pub fn has_budget(&self) -> bool {
        self.steps.is_some() || self.epochs.is_some() || self.minutes.is_some()
    }

    /// The settings given here that differ in `other`, each with the value in `other`.
    pub fn differing(&self, other: &Self) -> Vec<(Entry, String)> {
        let others = other.entries();
        let differing = self.entries().into_iter().filter_map(|given| {
            let theirs = others.iter().find(|other| other.field == given.field)?;
            (theirs.value != given.value).then(|| (given, theirs.value.clone()))
        });
        differing.collect()
    }

    /// Reads a settings file: TOML, keys named as the flags.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text, &shown)
    }

    /// Parses the text of a settings file; `shown` names it in errors.
    pub fn parse(text: &str, shown: &str) -> Result<Self, ConfigError> {
        let settings = toml::from_str(text);
        let mut settings: Self =
            settings.map_err(|error| ConfigError::parse(text, shown, &error))?;
        match settings.format {
            Some(found) if !CONFIG_FORMATS.contains(&found) => {
                return Err(ConfigError::Format {
                    path: shown.to_owned(),
                    found,
                    newest: *CONFIG_FORMATS.end(),
                });
            }
            Some(1) => settings.upgrade(),
            _ => {}
        }
        let is_words = settings.model == Some(ModelChoice::WordVae);
        if settings.format.is_some() && is_words && settings.recipe != Some(Recipe::Article) {
            // The record of a run from when every z was trained from the first step.
            settings.pretrain_decoder.get_or_insert(0.0);
        }
        Ok(settings)
    }

    /// Converts settings of format 1, which contains the settings of the other model at meaningless values
    /// and dates from when a char-lstm was a GRU by default and β₂ was not a setting.
    fn upgrade(&mut self) {
        let recipe = self.recipe.unwrap_or(Recipe::Default);
        let Some(model) = self.model.or(recipe.model()) else {
            return;
        };
        let foreign = self.entries().into_iter();
        let foreign = foreign.filter(|given| given.check_belongs(model.kind(), recipe).is_err());
        let foreign: HashSet<&str> = foreign.map(|given| given.field).collect();
        self.retain(|_, field| !foreign.contains(field));
        self.beta2 = Some(self.beta2.unwrap_or(0.999));
        if recipe == Recipe::Default {
            self.cell = Some(self.cell.unwrap_or(Cell::Gru));
        }
    }

    /// The settings as TOML, each with a comment.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut out = HEADER.to_owned();
        let mut given = toml::Table::try_from(self)?;
        for row in Self::rows() {
            let key = name(row.field);
            let Some(value) = given.remove(&key) else {
                continue;
            };
            let entry = toml::to_string(&toml::Table::from_iter([(key, value)]))?;
            let entry = entry.trim_end();
            if entry.contains('\n') {
                // A file's name may hold a line end, and then its value takes several lines.
                out.extend(["# ", &row.doc, "\n", entry, "\n"]);
            } else {
                out.extend([&format!("{entry:<34} # "), row.doc.as_str(), "\n"]);
            }
        }
        Ok(out)
    }
}
