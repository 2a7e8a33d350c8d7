//! Settings as flags and files give them: every one optional, every key the flag's name.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    CONFIG_FORMATS, Cell, ConfigError, Goal, KlSchedule, LossOver, ModelKind, Newlines, NormalForm,
    OptimizerKind, Precision, Recipe, Schedule, TextConfig, Unit, WordSplit, ZPlacement,
};

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty),+ $(,)?) => {
        /// Settings that may be given; what is not given is left to the next layer.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$type>),+
        }

        impl Settings {
            /// These settings where given, `lower`'s elsewhere.
            #[must_use]
            pub fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field)),+ }
            }
        }

        /// Every key, with what stands beside it in a written file.
        const KEYS: &[(&str, &str)] = &[$((stringify!($field), concat!($($doc),+))),+];
    };
}

settings! {
    /// format of this file
    format: u32,
    /// char-lstm or word-vae
    model: ModelKind,
    /// default, notebook (char-lstm) or article (word-vae)
    recipe: Recipe,
    /// files, as given to `textgen train`
    corpus: Vec<String>,
    /// the corpus' short name
    corpus_name: String,
    /// digest of the corpus' bytes
    corpus_digest: String,
    /// the model that the training begins with; empty for one with random weights
    from: String,
    /// one token is a char, grapheme or byte
    unit: Unit,
    /// normal form: none, nfc, nfkc, ascii
    normalize: NormalForm,
    /// letters are lowered
    lowercase: bool,
    /// utf-8, lossy, or an encoding label
    encoding: String,
    /// keep, or unix for LF everywhere
    newlines: Newlines,
    /// tokens rarer than this are cut
    min_freq: u64,
    /// at most so many tokens
    max_vocab: usize,
    /// word-vae: text, or lines for one word a line
    words: WordSplit,
    /// lstm, gru or rnn
    cell: Cell,
    /// hidden size
    hidden: usize,
    /// layers
    layers: usize,
    /// embedding size; 0 is one-hot (char-lstm)
    embedding: usize,
    /// word-vae: latent size; 0 is the decoder alone, without z
    latent: usize,
    /// word-vae: where z enters the decoder: both, start, steps
    z: ZPlacement,
    /// word-vae: whether the encoder reads both ways
    bidirectional: bool,
    /// char-lstm: predicting uses the embedding's weights; the embedding has the hidden size
    tied: bool,
    /// share of every layer's outputs dropped while training
    dropout: f64,
    /// char-lstm: dropout takes the same units away at all steps of a sequence
    variational: bool,
    /// char-lstm: share of the tokens read as nothing while training
    input_dropout: f64,
    /// char-lstm: share of the recurrent weights dropped while training (DropConnect)
    recurrent_dropout: f64,
    /// streams (char-lstm) or words (word-vae) a step
    batch: usize,
    /// tokens of a stream a step (char-lstm)
    seq: usize,
    /// shortest sequence; each step's is drawn from seq-min to seq
    seq_min: usize,
    /// positions that the loss counts: all, last
    loss: LossOver,
    /// budget in optimizer steps
    steps: u64,
    /// budget in passes over the training text
    epochs: f64,
    /// budget in minutes
    minutes: f64,
    /// learning rate at its highest
    lr: f64,
    /// constant, cosine, step, plateau
    schedule: Schedule,
    /// steps over which the learning rate rises from 0
    warmup: u64,
    /// cosine ends at this share of lr
    final_lr: f64,
    /// factor of the step and plateau schedules
    decay: f64,
    /// adam, amsgrad, adamw
    optimizer: OptimizerKind,
    /// weight decay
    weight_decay: f64,
    /// gradients are scaled down to this norm; 0 is off
    clip: f64,
    /// decay of the averaged weights (EMA) that are evaluated and kept; 0 is off
    ema: f64,
    /// share of the corpus for validation
    valid: f64,
    /// share of the corpus for the final test
    test: f64,
    /// contiguous, window:N, interleaved
    split: String,
    /// evaluations without improvement before stopping; 0 is off
    patience: u64,
    /// steps between evaluations; 0 is about 10 in the whole training
    eval_every: u64,
    /// evaluations between samples; 0 is none
    sample_every: u64,
    /// steps between saves of the state; 0 is at every evaluation
    save_every: u64,
    /// word-vae: density, explore, autoencode; settings that go together
    goal: Goal,
    /// word-vae: nats that z carries a word, held by adjusting the KL weight; 0 is off
    rate: f64,
    /// word-vae: KL weight, after its rise
    beta: f64,
    /// word-vae: how the KL weight rises: linear, sigmoid, cyclical
    kl_schedule: KlSchedule,
    /// word-vae: share of the training, or of each of 4 cycles, over which the KL weight rises
    kl_warmup: f64,
    /// word-vae: nats that each latent dimension may carry free of charge
    free_bits: f64,
    /// word-vae: share of the decoder's input letters hidden while training
    char_dropout: f64,
    /// word-vae: the decoder's share of dropout
    decoder_dropout: f64,
    /// seed of initial weights, splits, noise and order
    seed: u64,
    /// auto, cpu, cuda:N
    device: String,
    /// f32; on a CUDA device also tf32, bf16
    precision: Precision,
    /// CPU threads; 0 is all cores
    threads: usize,
}

impl Settings {
    /// The settings of how text becomes tokens, and no others.
    pub fn of_text(text: TextConfig) -> Self {
        Self {
            unit: Some(text.unit),
            normalize: Some(text.normalize),
            lowercase: Some(text.lowercase),
            encoding: Some(text.encoding),
            newlines: Some(text.newlines),
            min_freq: Some(text.min_freq),
            max_vocab: Some(text.max_vocab),
            words: Some(text.words),
            ..Self::default()
        }
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
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            ConfigError::Parse {
                path: format!("{shown}:{line}"),
                message,
            }
        })?;
        match settings.format {
            Some(found) if !CONFIG_FORMATS.contains(&found) => Err(ConfigError::Format {
                path: shown.to_owned(),
                found,
                newest: *CONFIG_FORMATS.end(),
            }),
            _ => Ok(settings),
        }
    }

    /// The settings as TOML, a comment beside each.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let plain = toml::to_string(self)?;
        let mut out = String::from(
            "# Every setting of this run. `textgen train --config` takes this file.\n",
        );
        for line in plain.lines() {
            let key = line
                .split(" =")
                .next()
                .unwrap_or_default()
                .replace('-', "_");
            match KEYS.iter().find(|(name, _)| *name == key) {
                Some((_, doc)) => out.extend([&format!("{line:<34} #"), *doc, "\n"]),
                None => out.extend([line, "\n"]),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_a_file() {
        let flags = Settings {
            hidden: Some(7),
            ..Settings::default()
        };
        let file = Settings {
            hidden: Some(9),
            layers: Some(2),
            ..Settings::default()
        };
        let both = flags.over(file);
        assert_eq!((both.hidden, both.layers), (Some(7), Some(2)));
    }

    #[test]
    fn a_written_file_reads_back_the_same() {
        let settings = Settings {
            format: Some(1),
            model: Some(ModelKind::WordVae),
            corpus: Some(vec!["a \"b\".txt".to_owned(), "c # d".to_owned()]),
            lr: Some(0.002),
            seq_min: Some(10),
            lowercase: Some(true),
            ..Settings::default()
        };
        let text = settings.to_toml().expect("serialisable");
        assert_eq!(Settings::parse(&text, "test").expect("valid"), settings);
        assert!(text.contains("# learning rate at its highest"));
    }

    #[test]
    fn an_unknown_key_names_file_and_line() {
        let error = Settings::parse("hidden = 3\nhiden = 4\n", "x.toml")
            .expect_err("unknown key")
            .to_string();
        assert!(
            error.starts_with("x.toml:2: unknown field `hiden`"),
            "{error}"
        );
    }

    #[test]
    fn a_newer_format_is_refused() {
        let error = Settings::parse("format = 99\n", "x.toml")
            .expect_err("newer")
            .to_string();
        assert!(error.contains("format 99"), "{error}");
    }
}
