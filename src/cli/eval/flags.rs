//! The flags of `eval` that belong to one kind of model.

use crate::config::ModelKind;
use crate::config::SplitKind;
use crate::evaluate::samples::Drawing;
use anyhow::Result;
use clap::Args;

use super::{EvalArgs, Part};
use crate::cli::error::CliError;
use crate::cli::generate::LimitFlags;

/// Flags that belong to texts.
#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
pub struct TextFlags {
    /// How the text is read: contiguous, window:N or interleaved [default: the run's split]
    #[arg(long, value_name = "SPLIT", value_parser = protocol)]
    pub protocol: Option<SplitKind>,
    /// Share of the text that --part valid is [default: the run's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub valid: Option<f64>,
    /// Share of the text that --part test is [default: the run's]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub test: Option<f64>,
    /// The encoding of CORPUS [default: that of the text the model was trained on]
    #[arg(long, value_name = "LABEL")]
    pub encoding: Option<String>,
    /// Evaluate also while the model learns from what it has read, at this learning rate (0.03, say)
    #[arg(long, value_name = "LR", value_parser = learning_rate)]
    pub dynamic: Option<f32>,
    /// Characters that it reads between two steps of learning [default: 20]
    #[arg(long, value_name = "N", requires = "dynamic", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub dynamic_seq: Option<u32>,
    /// Leave the n-gram models out, which take time and memory for long texts
    #[arg(long)]
    pub no_baselines: bool,
}

impl TextFlags {
    fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("protocol", self.protocol.is_some()),
            ("valid", self.valid.is_some()),
            ("test", self.test.is_some()),
            ("encoding", self.encoding.is_some()),
            ("dynamic", self.dynamic.is_some()),
            ("no-baselines", self.no_baselines),
        ]
    }
}

/// Flags that belong to words.
#[derive(Args)]
#[command(next_help_heading = "word-vae")]
pub struct WordFlags {
    /// Seed of the z of words and of the words drawn [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Draws of z for the closer bounds of a word's cost; 0 is none [default: 100,500]
    #[arg(long, value_name = "K,K", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub iw: Option<Vec<u32>>,
    /// Words to draw and compare with those that exist; 0 is none [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub samples: Option<u32>,
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Draw no word twice
    #[arg(long)]
    pub unique: bool,
}

impl WordFlags {
    /// How words are drawn.
    pub fn drawing(&self, seed: u64) -> Drawing {
        Drawing {
            sampling: self.limits.config(seed),
            unique: self.unique,
        }
    }

    /// The flags that make the words drawn other than the model's own distribution has them.
    pub fn drawn_with(&self) -> Vec<String> {
        let limits = &self.limits;
        let warm = (limits.temperature != 1.0).then_some(limits.temperature);
        [
            warm.map(|t| format!("--temperature {t}")),
            limits.top_k.map(|k| format!("--top-k {k}")),
            limits.top_p.map(|p| format!("--top-p {p}")),
            limits.min_p.map(|p| format!("--min-p {p}")),
            self.unique.then(|| "--unique".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn given(&self) -> [(&'static str, bool); 8] {
        [
            ("temperature", self.limits.temperature != 1.0),
            ("top-k", self.limits.top_k.is_some()),
            ("top-p", self.limits.top_p.is_some()),
            ("min-p", self.limits.min_p.is_some()),
            ("unique", self.unique),
            ("seed", self.seed.is_some()),
            ("iw", self.iw.is_some()),
            ("samples", self.samples.is_some()),
        ]
    }
}

fn protocol(text: &str) -> Result<SplitKind, String> {
    let named = text.parse();
    named.map_err(|_| "not one of contiguous, window:N (N at least 1), interleaved".to_owned())
}

fn learning_rate(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate < f32::INFINITY => Ok(rate),
        _ => Err("must be a number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be a share from 0 to 1".to_owned()),
    }
}

/// Flags of one kind of model are none of the other's.
pub fn refuse_foreign(args: &EvalArgs, kind: ModelKind, corpus: Option<&str>) -> Result<()> {
    let (given, message): (_, fn(&str) -> String) = match kind {
        ModelKind::CharRnn => (args.words.given().to_vec(), |flag| {
            format!("--{flag} belongs to word-vae: nothing is drawn to evaluate a char-lstm")
        }),
        ModelKind::WordVae => (args.text.given().to_vec(), |flag| {
            format!("--{flag} belongs to char-lstm: words are not split as texts are")
        }),
    };
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        return Err(CliError::misuse(message(flag), "leave it out").into());
    }
    if kind == ModelKind::WordVae && (corpus.is_some() || args.part == Some(Part::All)) {
        let message = "a word-vae is evaluated on the held-out words of its run only";
        let hint = "textgen score says what other words cost it";
        return Err(CliError::misuse(message, hint).into());
    }
    Ok(())
}
