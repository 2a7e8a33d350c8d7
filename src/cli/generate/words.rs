//! Words from a word-vae, or from the original article's network.

use std::collections::HashSet;
use std::io::Write;

use anyhow::{Context, Result};
use textgen::config::SamplingConfig;
use textgen::native::article::Article;
use textgen::native::generate::word_from_prior;
use textgen::native::sampling::Sampler;
use textgen::native::word_vae::WordVae;
use textgen::run::ModelFile;

use super::{GenerateArgs, Sample, in_order, refuse, threads};
use crate::cli::error::CliError;

/// Words unless told otherwise.
const DEFAULT_WORDS: usize = 20;
/// Words drawn for every word wanted before --unique or --novel give up.
const MOST_TRIES: usize = 200;

/// What draws words: a word-vae, or the original article's network.
enum Inventor {
    Vae { vae: WordVae, bos: u32, eos: u32 },
    Article(Article),
}

/// Draws words and shows them.
pub fn words(args: &GenerateArgs, file: &ModelFile, sampling: &SamplingConfig) -> Result<()> {
    let text = &args.text;
    let given = [
        ("length", text.length.is_some()),
        ("prompt", text.prompt.is_some()),
        ("stop", text.stop.is_some()),
        ("on-unknown", text.on_unknown.is_some()),
    ];
    refuse(&given, "word-vae", "char-lstm")?;
    let z_temperature = args.words.z_temperature.unwrap_or(1.0);
    if !(z_temperature.is_finite() && z_temperature >= 0.0) {
        let hint = "1 is the prior itself, less stays nearer to typical words";
        return Err(CliError::misuse(
            format!("--z-temperature {z_temperature}: must be at least 0"),
            hint,
        )
        .into());
    }
    let header = &file.header;
    let weights = file.weights()?;
    let place = || file.path().display().to_string();
    let inventor = if header.network.article {
        Inventor::Article(Article::new(&header.network, &weights).with_context(place)?)
    } else {
        let (Some(bos), Some(eos)) = (header.vocabulary.bos(), header.vocabulary.eos()) else {
            return Err(CliError::failed(
                "the vocabulary has no <bos> and <eos>",
                "train the model again",
            )
            .into());
        };
        let vae = WordVae::new(&header.network, &weights).with_context(place)?;
        Inventor::Vae { vae, bos, eos }
    };
    let forbidden = header.vocabulary.forbidden();
    let draw = |index: usize| -> Result<(String, usize, Option<f64>)> {
        let mut sampler = Sampler::new(sampling, &forbidden, index as u64);
        let (letters, log_prob) = match &inventor {
            Inventor::Vae { vae, bos, eos } => {
                let word = word_from_prior(vae, &mut sampler, z_temperature, *bos, *eos);
                (word.letters, Some(word.log_prob))
            }
            Inventor::Article(article) => (article.generate(&mut sampler), None),
        };
        Ok((header.vocabulary.decode(&letters), letters.len(), log_prob))
    };
    let known = if args.words.novel {
        file.training_words()?
    } else {
        HashSet::new()
    };
    let wanted = args.count.unwrap_or(DEFAULT_WORDS);
    let block = wanted.clamp(64, 4096);
    let most = wanted.saturating_mul(MOST_TRIES);
    let mut out = std::io::stdout().lock();
    let (mut seen, mut written, mut tried) = (HashSet::new(), 0, 0);
    while written < wanted && tried < most {
        in_order(
            block,
            threads(args.threads, block),
            |i| draw(tried + i),
            |i, (word, symbols, log_prob)| {
                let refused = word.is_empty()
                    || (args.words.novel && known.contains(&word))
                    || (args.words.unique && !seen.insert(word.clone()));
                if written == wanted || refused {
                    return Ok(());
                }
                written += 1;
                if args.json {
                    let (index, seed) = (tried + i, sampling.seed);
                    let sample = Sample {
                        index,
                        seed,
                        prompt: None,
                        text: &word,
                        symbols,
                        log_prob_nats: log_prob,
                    };
                    writeln!(out, "{}", serde_json::to_string(&sample)?)?;
                } else {
                    writeln!(out, "{word}")?;
                }
                Ok(())
            },
        )?;
        tried += block;
    }
    out.flush()?;
    if written < wanted {
        let message = format!("only {written} such words in {tried} draws");
        return Err(CliError::failed(
            message,
            "raise --temperature or --z-temperature, or ask for fewer",
        )
        .into());
    }
    Ok(())
}
