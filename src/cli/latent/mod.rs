//! The commands that walk in the latent space of a word-vae: what they share.

pub mod analogy;
pub mod encode;
mod given;
pub mod interpolate;
pub mod map;
pub mod neighbours;
pub mod reconstruct;
pub mod vary;

use crate::config::{Decoding, ModelKind, OnUnknown, Sampling};
use crate::generate::{Word, WordForm};
use crate::latent::{self, WordDecoder};
use crate::models::word_vae::{Posterior, WordVae};
use crate::parallel::Running;
use crate::run::{ModelFile, ModelHeader, RunDir, Runs};
use anyhow::{Context, Result};
use clap::Args;

use super::choice::choice;
use super::chosen::ChosenModel;
use super::error::CliError;
use super::generate::new_seed;
use super::machine::{check_simd, threads};
use super::progress::Progress;
use super::unknown::Replaced;
use crate::cli::output::{Format, note};
pub use given::{Given, GivenWords};

/// Which model, and how words go into it.
#[derive(Args)]
pub struct ModelFlags {
    #[command(flatten)]
    chosen: ChosenModel,
    /// What becomes of letters that the model does not know
    #[arg(long, value_parser = choice::<OnUnknown>(OnUnknown::NAMES), default_value = "error")]
    on_unknown: OnUnknown,
    /// Threads; 0 is all cores. The same words on any number of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// How places become words.
#[derive(Args)]
pub struct DecodeFlags {
    /// How letters are chosen: greedy (the most probable each time), sample (drawn), or beam:K (the
    /// most probable word that K beginnings lead to)
    #[arg(long, value_name = "HOW", default_value = "greedy")]
    decode: Decoding,
    /// With --decode sample, divides the logits: below 1 safer, above 1 wilder [default: 1]
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Seed of what is drawn [default: a new one each time, said on stderr]
    #[arg(long)]
    seed: Option<u64>,
}

impl DecodeFlags {
    /// How letters are drawn. A seed that was chosen is said if something is drawn, be it letters or
    /// something `else_drawn`.
    fn sampling(&self, else_drawn: bool) -> Result<Sampling> {
        let letters_drawn = self.decode == Decoding::Sample;
        if self.temperature.is_some() && !letters_drawn {
            let message = format!(
                "--temperature belongs to --decode sample, not {}",
                self.decode
            );
            return Err(CliError::misuse(message, "leave it out, or add --decode sample").into());
        }
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            ..Sampling::new(self.seed.unwrap_or_else(new_seed))
        };
        sampling.validate()?;
        if self.seed.is_none() && (letters_drawn || else_drawn) {
            note!("seed: {}", sampling.seed);
        }
        Ok(sampling)
    }
}

/// The flags of commands whose answer is words that the model writes.
#[derive(Args)]
pub struct WalkFlags {
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    decode: DecodeFlags,
    #[command(flatten)]
    format: Format,
}

impl WalkFlags {
    /// The model, and how letters are drawn; `else_drawn` as for [`DecodeFlags::sampling`].
    fn open(&self, runs: &Runs, else_drawn: bool) -> Result<(WordModel, Sampling)> {
        let sampling = self.decode.sampling(else_drawn)?;
        Ok((WordModel::open(&self.model, runs)?, sampling))
    }
}

/// A word-vae with all that words need on their way in and out.
pub struct WordModel {
    vae: WordVae,
    header: ModelHeader,
    suppressed: Vec<u32>,
    bos: u32,
    eos: u32,
    on_unknown: OnUnknown,
    replaced: Replaced,
    threads: usize,
    file: ModelFile,
    /// The run that it belongs to, where it is known.
    run: Option<RunDir>,
}

impl WordModel {
    /// Opens the model chosen; refuses what has no latent space.
    pub fn open(flags: &ModelFlags, runs: &Runs) -> Result<Self> {
        check_simd()?;
        let (file, run) = flags.chosen.open_with_latent_space(runs)?;
        let header = file.header.clone();
        let network = &header.network;
        let place = || file.path().display().to_string();
        let without = if network.model() != ModelKind::WordVae {
            Some("a char-lstm")
        } else if network.is_article() {
            Some("the article's network, whose decoder ignores the word encoded")
        } else if network.latent() == 0 {
            Some("a word model of latent size 0")
        } else {
            None
        };
        if let Some(what) = without {
            let message = format!("{}: {what}, so there is no latent space of words", place());
            let hint = "choose a word-vae with --run or --model-file; textgen runs lists the runs";
            return Err(CliError::misuse(message, hint).into());
        }
        let crate::text::SpecialTokens { bos, eos, .. } = header.vocabulary.special_tokens()?;
        let vae = WordVae::new(network, &file.weights()?).with_context(place)?;
        Ok(Self {
            vae,
            suppressed: header.vocabulary.suppressed(),
            header,
            bos,
            eos,
            on_unknown: flags.on_unknown,
            replaced: Replaced::default(),
            threads: threads(flags.threads),
            file,
            run,
        })
    }

    /// Latent size Z.
    fn latent(&self) -> usize {
        self.vae.latent()
    }

    /// The posteriors of words, in their order. Says first which letters others stand in for.
    fn posteriors(&self, words: &[Given]) -> Result<Vec<Posterior>> {
        self.replaced.say();
        let letters: Vec<Vec<u32>> = words.iter().map(|word| word.letters.clone()).collect();
        let posteriors = self.with_progress(words.len(), "encoded", |running| {
            latent::encode(&self.vae, &letters, running)
        });
        let numbers = |p: &Posterior| p.mean.iter().chain(&p.log_var).all(|x| x.is_finite());
        if posteriors.iter().all(numbers) {
            return Ok(posteriors);
        }
        let message = format!(
            "{}: a word's place is not a number: the training of this model went wrong",
            self.file.path().display()
        );
        Err(CliError::failed(message, "train again, with a lower --lr").into())
    }

    /// Where words stand, in their order.
    fn places(&self, words: &[Given]) -> Result<Vec<Vec<f32>>> {
        let posteriors = self.posteriors(words)?;
        Ok(posteriors.into_iter().map(|p| p.mean).collect())
    }

    /// The words of places (each Z), in their order.
    fn spell(&self, places: &[Vec<f32>], decoding: Decoding, sampling: &Sampling) -> Vec<Spelt> {
        let decoder = WordDecoder {
            vae: &self.vae,
            bos: self.bos,
            eos: self.eos,
            suppressed: &self.suppressed,
            form: WordForm::default(),
        };
        let words = self.with_progress(places.len(), "spelt", |running| {
            decoder.words(places, decoding, sampling, running)
        });
        let spelt = |word: Word| Spelt {
            text: self.header.vocabulary.decode(&word.letters),
            letters: word.letters,
            log_prob_nats: word.log_prob,
        };
        words.into_iter().map(spelt).collect()
    }

    fn with_progress<R>(&self, words: usize, done: &str, work: impl FnOnce(Running) -> R) -> R {
        let progress = Progress::of_words(words as u64, done);
        let result = work(Running {
            threads: self.threads,
            progress: &|more| progress.add(more),
        });
        progress.end();
        result
    }

    /// The words that the model was trained on, in the order of its file.
    fn training_words(&self) -> Result<Vec<Given>> {
        let text = self.file.training_text()?.unwrap_or_default();
        let words: Vec<String> = text.lines().map(str::to_owned).collect();
        let letters = self.header.vocabulary.encode_words(&words);
        let given = words.into_iter().zip(letters);
        Ok(given
            .map(|(text, letters)| Given { text, letters })
            .collect())
    }
}

/// A word that the model wrote.
pub struct Spelt {
    /// As text.
    pub text: String,
    /// As tokens.
    pub letters: Vec<u32>,
    /// log p(word | z) at temperature 1, its end counted.
    pub log_prob_nats: f64,
}
