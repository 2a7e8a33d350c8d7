//! Common parts of the commands on the latent space of a word-vae.

pub mod analogy;
pub mod encode;
mod given;
pub mod interpolate;
pub mod map;
pub mod neighbours;
pub mod reconstruct;
pub mod vary;

use crate::config::{Decoding, OnUnknown, Sampling};
use crate::model::{Activity, DecodeOptions, OpenOptions, WordModel};
use crate::run::{RunDir, Runs};
use anyhow::Result;
use clap::Args;

use super::chosen::ChosenModel;
use super::error::{CliError, of_model};
use super::generate::new_seed;
use super::machine::check_simd;
use super::progress::Progress;
use super::unknown::Replaced;
use crate::cli::output::{Format, note};
pub use given::GivenWords;

/// The flags for the model and for the words that it encodes.
#[derive(Args)]
pub struct ModelFlags {
    #[command(flatten)]
    chosen: ChosenModel,
    /// How to handle letters that the model does not know
    #[arg(long, default_value = "error")]
    on_unknown: OnUnknown,
    /// Threads; 0 is one per core. The words are the same on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

impl ModelFlags {
    /// Opens the model chosen; refuses one that has no latent space.
    fn open(&self, runs: &Runs) -> Result<Space> {
        check_simd()?;
        let (file, run) = self.chosen.open_with_latent_space(runs)?;
        let options = OpenOptions::on_threads(self.threads);
        let mut model = WordModel::new(&file, options).map_err(of_model(&file))?;
        model.check_latent_space().map_err(of_model(&file))?;
        model.set_watcher(Progress::watcher());
        Ok(Space {
            model,
            run,
            on_unknown: self.on_unknown,
            replaced: Replaced::default(),
        })
    }
}

/// The flags for decoding latent vectors to words.
#[derive(Args)]
pub struct DecodeFlags {
    /// How letters are chosen: greedy (always the most probable), sample, or beam:K (the most
    /// probable word that a search over K prefixes finds)
    #[arg(long, value_name = "HOW", default_value = "greedy")]
    decode: Decoding,
    /// With --decode sample, divides the logits: below 1 is safer, above 1 more varied [default: 1]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Seed of the samples [default: a new one each time, printed on stderr]
    #[arg(long)]
    seed: Option<u64>,
}

/// The flags of commands that print decoded words.
#[derive(Args)]
pub struct AnswerFlags {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    decode: DecodeFlags,
    #[command(flatten)]
    format: Format,
}

impl AnswerFlags {
    /// Opens the model and returns its decoding options. A seed that was chosen is printed if it is used:
    /// for letters, or for latent vectors if `samples_vectors` returns true for the model.
    fn open(
        &self,
        runs: &Runs,
        samples_vectors: impl FnOnce(&WordModel) -> bool,
    ) -> Result<(Space, DecodeOptions)> {
        let DecodeFlags {
            decode,
            temperature,
            seed,
        } = self.decode;
        if temperature.is_some() && decode != Decoding::Sample {
            let message = format!("--temperature belongs to --decode sample, not {decode}");
            return Err(CliError::misuse(message, "leave it out, or add --decode sample").into());
        }
        let sampling = Sampling {
            temperature: temperature.unwrap_or(1.0),
            ..Sampling::new(seed.unwrap_or_else(new_seed))
        };
        sampling.validate()?;
        let space = self.model.open(runs)?;
        if seed.is_none() && (decode == Decoding::Sample || samples_vectors(&space.model)) {
            note!("seed: {}", sampling.seed);
        }
        let options = DecodeOptions {
            decoding: decode,
            sampling,
        };
        Ok((space, options))
    }
}

/// A model with a latent space and the options for encoding words.
pub struct Space {
    model: WordModel,
    /// Its run, if known.
    run: Option<RunDir>,
    on_unknown: OnUnknown,
    replaced: Replaced,
}

impl Space {
    /// The model. First reports the letters that were replaced in the words read so far.
    fn model(&self) -> &WordModel {
        self.replaced.say();
        &self.model
    }
}

impl Progress {
    /// Shows the progress of work on many words.
    pub fn watcher() -> crate::model::Watcher {
        Box::new(|activity, items| {
            let progress = Ended(match activity {
                Activity::Encode => Self::of_words(items, "encoded"),
                Activity::Decode => Self::of_words(items, "decoded"),
                Activity::Score => Self::of_tokens(items),
            });
            Box::new(move |more| progress.0.add(more))
        })
    }
}

struct Ended(Progress);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}
