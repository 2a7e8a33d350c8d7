//! Words from a word-vae, or from the original article's network.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use anyhow::{Context, Result};
use textgen::config::SamplingConfig;
use textgen::native::article::Article;
use textgen::native::generate::{Beginning, Prior, Word, WordWriter, Writer, lockstep};
use textgen::native::sampling::Sampler;
use textgen::native::word_vae::WordVae;
use textgen::run::ModelFile;

use super::{GenerateArgs, Sample, refuse, rows, take, threads, weights};
use crate::cli::error::CliError;

/// Words unless told otherwise.
const DEFAULT_WORDS: usize = 20;
/// Words drawn for every word wanted before --unique or --novel give up.
const MOST_TRIES: usize = 200;

/// What draws words: a word-vae, or the original article's network.
enum Inventor {
    Vae {
        vae: Box<WordVae>,
        bos: u32,
        eos: u32,
    },
    Article(Article),
}

/// What all words share.
struct Job<'a> {
    inventor: Inventor,
    sampling: &'a SamplingConfig,
    forbidden: Vec<u32>,
    z_temperature: f32,
}

/// A word of [`Job::draw`] as it is written.
struct Indexed {
    index: usize,
    writer: WordWriter,
}

impl Writer for Indexed {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        self.writer.write(logits)
    }
}

impl Job<'_> {
    fn sampler(&self, index: usize) -> Sampler {
        Sampler::new(self.sampling, &self.forbidden, index as u64)
    }

    /// Draws words `first` to `first + count` on `threads` threads and hands them over in order.
    fn draw(
        &self,
        first: usize,
        count: usize,
        threads: usize,
        mut hand_over: impl FnMut(usize, Word) -> Result<()>,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, next) = (sender.clone(), &next);
                // Where nobody receives any more, there is no reason to go on.
                let send = move |index, word| sender.send((index, word)).is_ok();
                let index = || Some(first + take(next, count)?);
                scope.spawn(move || self.draw_here(rows(count, threads), index, send));
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut due = first;
            for (index, word) in receiver {
                waiting.insert(index, word);
                while let Some(word) = waiting.remove(&due) {
                    hand_over(due, word)?;
                    due += 1;
                }
            }
            Ok(())
        })
    }

    /// Draws the words that `next` names, `rows` at a time, until `send` refuses one.
    fn draw_here(
        &self,
        rows: usize,
        mut next: impl FnMut() -> Option<usize>,
        send: impl Fn(usize, Word) -> bool,
    ) {
        let (vae, bos, eos) = match &self.inventor {
            Inventor::Vae { vae, bos, eos } => (vae.as_ref(), *bos, *eos),
            Inventor::Article(article) => {
                while let Some(index) = next() {
                    let letters = article.generate(&mut self.sampler(index));
                    let log_prob = f64::NAN; // its words have none
                    if !send(index, Word { letters, log_prob }) {
                        break;
                    }
                }
                return;
            }
        };
        let prior = Prior {
            vae,
            z_temperature: self.z_temperature,
            bos,
            eos,
        };
        let open = Cell::new(true);
        let begin = || {
            let index = next().filter(|_| open.get())?;
            let Beginning {
                writer,
                state,
                symbol,
            } = prior.begin(self.sampler(index));
            Some(Beginning {
                writer: Indexed { index, writer },
                state,
                symbol,
            })
        };
        lockstep(vae, rows, begin, |Indexed { index, writer }| {
            open.set(open.get() && send(index, writer.word));
        });
    }
}

/// Draws words and shows them.
pub fn words(args: &GenerateArgs, file: ModelFile, sampling: &SamplingConfig) -> Result<()> {
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
    let header = file.header.clone();
    let place = || file.path().display().to_string();
    let weights = weights(&file, args.quantize)?;
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
        let vae = Box::new(WordVae::new(&header.network, &weights).with_context(place)?);
        Inventor::Vae { vae, bos, eos }
    };
    drop(weights);
    let job = Job {
        inventor,
        sampling,
        forbidden: header.vocabulary.forbidden(),
        z_temperature,
    };
    let known = if args.words.novel {
        file.training_words()?
    } else {
        HashSet::new()
    };
    drop(file); // what is needed of it has been copied
    let wanted = args.count.unwrap_or(DEFAULT_WORDS);
    let block = wanted.clamp(64, 4096);
    let most = wanted.saturating_mul(MOST_TRIES);
    let mut out = std::io::stdout().lock();
    let (mut seen, mut written, mut tried) = (HashSet::new(), 0, 0);
    while written < wanted && tried < most {
        job.draw(
            tried,
            block,
            threads(args.threads).min(block),
            |index, drawn| {
                let word = header.vocabulary.decode(&drawn.letters);
                let refused = word.is_empty()
                    || (args.words.novel && known.contains(&word))
                    || (args.words.unique && !seen.insert(word.clone()));
                if written == wanted || refused {
                    return Ok(());
                }
                written += 1;
                if args.json {
                    let sample = Sample {
                        index,
                        seed: sampling.seed,
                        prompt: None,
                        text: &word,
                        symbols: drawn.letters.len(),
                        log_prob_nats: drawn.log_prob.is_finite().then_some(drawn.log_prob),
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
