//! Words from a word-vae, or from the original article's network.

use std::io::Write;

use crate::config::{Decoding, OnUnknown, Sampling};
use crate::model::{GeneratedWord, ModelError, UsualLengths, WordEvent, WordModel, WordOptions};
use crate::run::ModelFile;
use anyhow::{Context, Result};

use super::{GenerateArgs, Length, Sample, decoding, note_seed};
use crate::cli::error::{CliError, of_model};
use crate::cli::given::Given;
use crate::cli::output::{json_line, note, stdout};
use crate::cli::progress::Progress;
use crate::cli::unknown::Replaced;

/// Default number of words.
const DEFAULT_WORDS: usize = 20;

pub fn words(
    args: &GenerateArgs,
    given: &Given,
    file: &ModelFile,
    sampling: Sampling,
) -> Result<()> {
    let hint = "leave it out; --z-temperature widens or narrows the prior";
    let (decoding, sampling) = decoding(args, given, sampling, Decoding::Sample, hint)?;
    if args.on_unknown.is_some() && args.words.starts_with.is_none() {
        let message = "--on-unknown applies to --starts-with, which is not given";
        return Err(CliError::misuse(message, "leave it out").into());
    }
    let any = WordOptions::new(sampling.seed);
    let starts_with = args.words.starts_with.clone().unwrap_or_default();
    let options = WordOptions {
        decoding,
        sampling: Sampling {
            constrain: args.constrain.clone(),
            on_unknown: args.on_unknown.unwrap_or(OnUnknown::Error),
            ..sampling
        },
        z_temperature: args.words.z_temperature,
        starts_with: starts_with.text.clone(),
        length: (args.length).map_or(any.length, |Length { least, most }| least..=most),
        unique: args.words.unique,
        novel: args.words.novel,
    };
    let model = WordModel::new(file, args.open.options()).map_err(of_model(file))?;
    if args.words.scores && model.header().network.is_article() {
        let (option, model) = ("scores", "the article's network");
        return Err(ModelError::NotApplicable { option, model }.into());
    }
    // Without a z to sample, the most probable letters make one word.
    let is_greedy = decoding != Decoding::Sample || options.sampling.temperature == 0.0;
    let has_no_z = model.latent_size() == 0 || options.z_temperature == Some(0.0);
    let is_one = is_greedy && has_no_z && !options.unique;
    if is_one && args.count.is_some_and(|count| count > 1) {
        note!("nothing is sampled, so there is only one word, which is written once");
    }
    let replaced = Replaced::default();
    let prefix = model.prefix(&options);
    let prefix = prefix.map_err(|error| error.located(&starts_with));
    replaced.add(prefix.context("--starts-with")?.replaced);
    if !is_one {
        note_seed(args, &options.sampling);
    }
    replaced.say();
    let count = match args.count {
        Some(0) => 0,
        _ if is_one => 1,
        count => count.unwrap_or(DEFAULT_WORDS),
    };
    show(args, &model, &options, count).map_err(|error| match error.downcast_ref() {
        Some(ModelError::TooFewWords { usual_lengths, .. }) => {
            CliError::failed(error.to_string(), advice(*usual_lengths, &model, &options)).into()
        }
        _ => error,
    })
}

fn show(args: &GenerateArgs, model: &WordModel, options: &WordOptions, count: usize) -> Result<()> {
    let mut out = stdout();
    let mut progress = (0, Progress::of_words(0, "tried"));
    let outcome = model.generate_each(options, count, |event| -> Result<()> {
        match event {
            WordEvent::Tried { tried, most } => {
                if progress.0 != most {
                    progress.1.end();
                    progress = (most, Progress::of_words(most as u64, "tried"));
                }
                progress.1.show(tried as u64);
            }
            WordEvent::Steering { matched, tried } => {
                progress.1.end();
                note!(
                    "{matched} of {tried} words sampled match; from here on letters are restricted to matching words"
                );
            }
            WordEvent::Word(index, word) => {
                let seed = options.sampling.seed;
                progress.1.aside(|| write(args, &mut out, seed, index, &word))?;
            }
        }
        Ok(())
    });
    progress.1.end();
    outcome?;
    Ok(out.flush()?)
}

/// The hint for too few words: what would give more.
fn advice(usual: Option<UsualLengths>, model: &WordModel, options: &WordOptions) -> String {
    if let Some(UsualLengths {
        least,
        most,
        longest,
    }) = usual
    {
        return format!(
            "nine of ten words that this model writes have {least} to {most} letters, and the longest sampled has {longest}: ask for such lengths, or for fewer words"
        );
    }
    let wilder = match (options.decoding, model.latent_size()) {
        (Decoding::Sample, 0) => "raise --temperature",
        (Decoding::Sample, _) => "raise --temperature or --z-temperature",
        _ => "raise --z-temperature, sample letters with --decode sample",
    };
    match options.sampling.constrain {
        Some(_) => format!("widen the expression, {wilder}, or ask for fewer"),
        None => format!("{wilder}, or ask for fewer"),
    }
}

fn write(
    args: &GenerateArgs,
    out: &mut impl Write,
    seed: u64,
    index: usize,
    word: &GeneratedWord,
) -> Result<()> {
    if args.json {
        let sample = Sample {
            ended: None,
            index,
            seed: Some(seed),
            prompt: None,
            text: &word.text,
            tokens: word.tokens.len(),
            log_prob_nats: word.log_prob.is_finite().then_some(word.log_prob),
            probs: None,
        };
        writeln!(out, "{}", json_line(&sample)?)?;
    } else if args.words.scores {
        writeln!(out, "{:8.3}  {word}", word.log_prob)?;
    } else {
        writeln!(out, "{word}")?;
    }
    Ok(())
}
