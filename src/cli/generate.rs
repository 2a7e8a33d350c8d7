//! `textgen generate`: text or words from a trained model, natively.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use textgen::config::{ModelKind, OnUnknown, SamplingConfig};
use textgen::native::article::Article;
use textgen::native::char_lstm::CharLstm;
use textgen::native::generate::word_from_prior;
use textgen::native::sampling::Sampler;
use textgen::native::simd;
use textgen::native::word_vae::WordVae;
use textgen::run::{ModelFile, Runs};
use textgen::text::{Utf8Stream, normalize};

use super::choice::choice;
use super::error::CliError;

/// Symbols of a text unless told otherwise.
const DEFAULT_LENGTH: usize = 500;
/// Words unless told otherwise.
const DEFAULT_WORDS: usize = 20;
/// Words drawn for every word wanted before --unique or --novel give up.
const MOST_TRIES: usize = 200;

/// Flags of `generate`.
#[derive(Args)]
pub struct GenerateArgs {
    /// The run whose model generates [default: the newest]
    #[arg(long, value_name = "NAME", conflicts_with = "model_file")]
    run: Option<String>,
    /// A model file, wherever it is
    #[arg(long, value_name = "FILE")]
    model_file: Option<PathBuf>,
    /// How many samples [default: 1 text, 20 words]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Divides the logits: below 1 safer, above 1 wilder, 0 always the most probable
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the K most probable symbols only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the most probable symbols that together reach probability P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Seed of the draws [default: a new one each time, said on stderr]
    #[arg(long)]
    seed: Option<u64>,
    /// Threads for several samples; 0 is all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Print one JSON object a line, with each sample's log-probability
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    text: TextFlags,
    #[command(flatten)]
    words: WordFlags,
}

#[derive(Args)]
#[command(next_help_heading = "char-lstm")]
struct TextFlags {
    /// Symbols to write [default: 500]
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Text to go on from; `-` reads it from standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// End a sample before this text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Option<String>,
    /// What becomes of the prompt's characters that the model does not know [default: error]
    #[arg(long, value_parser = choice::<OnUnknown>(OnUnknown::NAMES))]
    on_unknown: Option<OnUnknown>,
}

#[derive(Args)]
#[command(next_help_heading = "word-vae")]
struct WordFlags {
    /// Widens (above 1) or narrows (below 1) the prior that words are drawn from [default: 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    z_temperature: Option<f32>,
    /// No word twice
    #[arg(long)]
    unique: bool,
    /// No word that the model was trained on
    #[arg(long)]
    novel: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Sample<'a> {
    index: usize,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    text: &'a str,
    symbols: usize,
    log_prob_nats: Option<f64>,
}

/// Generates with the model chosen.
pub fn run(args: &GenerateArgs, runs: &Runs) -> Result<()> {
    let sampling = SamplingConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed.unwrap_or_else(new_seed),
    };
    sampling.validate()?;
    simd::check().map_err(|error| CliError::misuse(error.to_string(), "unset TEXTGEN_SIMD to let textgen choose"))?;
    let file = match (&args.model_file, &args.run) {
        (Some(path), _) => ModelFile::open(path)?,
        (None, Some(name)) => runs.open(name)?.model()?,
        (None, None) => {
            let run = runs.newest()?;
            eprintln!("run: {}", run.name());
            run.model()?
        }
    };
    if args.seed.is_none() {
        eprintln!("seed: {}", sampling.seed);
    }
    match file.header.network.model {
        ModelKind::CharLstm => texts(args, &file, &sampling),
        ModelKind::WordVae => words(args, &file, &sampling),
    }
}

/// A seed short enough to be typed again.
fn new_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}

fn refuse(given: &[(&str, bool)], model: &str, other: &str) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            let message = format!("--{flag} belongs to {other}, but this model is a {model}");
            Err(CliError::misuse(message, "leave it out, or choose another model with --run or --model-file").into())
        }
        None => Ok(()),
    }
}

fn threads(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) }
}

// ---------------------------------------------------------------- char-lstm

/// Everything that the samples of a char-lstm share.
struct TextJob<'a> {
    file: &'a ModelFile,
    model: CharLstm,
    sampling: &'a SamplingConfig,
    forbidden: Vec<u32>,
    /// What is read before the first draw.
    prompt: Vec<u32>,
    length: usize,
    stop: Option<&'a str>,
}

/// A text as drawn.
struct Text {
    text: String,
    symbols: usize,
    log_prob: f64,
}

fn texts(args: &GenerateArgs, file: &ModelFile, sampling: &SamplingConfig) -> Result<()> {
    let words = &args.words;
    let given = [("z-temperature", words.z_temperature.is_some()), ("unique", words.unique), ("novel", words.novel)];
    refuse(&given, "char-lstm", "word-vae")?;
    let header = &file.header;
    let prompt = prompt_text(args)?.map(|prompt| normalize(&prompt, &header.text));
    let on_unknown = args.text.on_unknown.unwrap_or(OnUnknown::Error);
    let mut symbols = match &prompt {
        Some(prompt) => header.vocabulary.encode(prompt, on_unknown)?,
        None => Vec::new(),
    };
    if symbols.is_empty() {
        // Text begins after a line end, or after the most frequent symbol where there is none.
        symbols = header.vocabulary.encode("\n", OnUnknown::Skip)?;
        if symbols.is_empty() {
            symbols.push(0);
        }
    }
    let weights = file.weights()?;
    let job = TextJob {
        file,
        model: CharLstm::new(&header.network, &weights).with_context(|| file.path().display().to_string())?,
        sampling,
        forbidden: header.vocabulary.forbidden(),
        prompt: symbols,
        length: args.text.length.unwrap_or(DEFAULT_LENGTH),
        stop: args.text.stop.as_deref().filter(|stop| !stop.is_empty()),
    };
    let shown = Shown {
        prompt: prompt.as_deref(),
        json: args.json,
        count: args.count.unwrap_or(1),
    };
    let threads = threads(args.threads).min(shown.count);
    if threads <= 1 {
        let mut out = std::io::stdout().lock();
        for index in 0..shown.count {
            shown.begin(&mut out, index)?;
            let text = job.draw(index, |piece| if shown.json { Ok(()) } else { write_now(&mut out, piece) })?;
            shown.end(&mut out, index, sampling.seed, &text, true)?;
        }
        return Ok(());
    }
    in_order(shown.count, threads, |index| job.draw(index, |_| Ok(())), |index, text| {
        let mut out = std::io::stdout().lock();
        shown.begin(&mut out, index)?;
        shown.end(&mut out, index, sampling.seed, &text, false)
    })
}

fn prompt_text(args: &GenerateArgs) -> Result<Option<String>> {
    if args.text.prompt.as_deref() != Some("-") {
        return Ok(args.text.prompt.clone());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("the prompt on standard input")?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let message = format!("the prompt on standard input is not UTF-8 at byte offset {at}");
            Err(CliError::failed(message, "convert it first, with iconv for example").into())
        }
    }
}

fn write_now(out: &mut impl Write, piece: &str) -> Result<()> {
    out.write_all(piece.as_bytes())?;
    Ok(out.flush()?)
}

/// How texts are shown.
struct Shown<'a> {
    prompt: Option<&'a str>,
    json: bool,
    count: usize,
}

impl Shown<'_> {
    fn begin(&self, out: &mut impl Write, index: usize) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if self.count > 1 {
            writeln!(out, "{}--- {}", if index > 0 { "\n" } else { "" }, index + 1)?;
        }
        write_now(out, self.prompt.unwrap_or_default())
    }

    fn end(&self, out: &mut impl Write, index: usize, seed: u64, text: &Text, streamed: bool) -> Result<()> {
        if self.json {
            let sample = Sample {
                index,
                seed,
                prompt: self.prompt,
                text: &text.text,
                symbols: text.symbols,
                log_prob_nats: Some(text.log_prob),
            };
            writeln!(out, "{}", serde_json::to_string(&sample)?)?;
        } else {
            writeln!(out, "{}", if streamed { "" } else { &text.text })?;
        }
        Ok(())
    }
}

impl TextJob<'_> {
    /// Sample `index`, the same whatever else is drawn beside it. `show` gets the text as it comes.
    fn draw(&self, index: usize, mut show: impl FnMut(&str) -> Result<()>) -> Result<Text> {
        let vocabulary = &self.file.header.vocabulary;
        let mut sampler = Sampler::new(self.sampling, &self.forbidden, index as u64);
        let mut state = self.model.state();
        self.model.feed(&mut state, &self.prompt);
        let mut stream = Utf8Stream::default();
        let mut text = Text {
            text: String::new(),
            symbols: 0,
            log_prob: 0.0,
        };
        let mut shown = 0;
        let mut bytes = Vec::new();
        while text.symbols < self.length {
            let draw = sampler.draw(state.logits());
            text.symbols += 1;
            text.log_prob += f64::from(draw.log_prob);
            bytes.clear();
            vocabulary.push_bytes(draw.symbol, &mut bytes);
            text.text.push_str(&stream.push(&bytes));
            if let Some(at) = self.stop.and_then(|stop| find_from(&text.text, stop, shown)) {
                text.text.truncate(at);
                show(&text.text[shown..])?;
                return Ok(text);
            }
            // What may be the beginning of the stop text is held back.
            let safe = text.text.len() - self.held_back(&text.text[shown..]);
            if safe > shown {
                show(&text.text[shown..safe])?;
                shown = safe;
            }
            if text.symbols < self.length {
                self.model.step(&mut state, draw.symbol);
            }
        }
        text.text.push_str(&stream.finish());
        show(&text.text[shown..])?;
        Ok(text)
    }

    /// Bytes at the end of `text` that the stop text begins with.
    fn held_back(&self, text: &str) -> usize {
        let Some(stop) = self.stop else { return 0 };
        let starts = stop.char_indices().map(|(at, c)| at + c.len_utf8());
        starts.filter(|&n| n < stop.len() && text.ends_with(&stop[..n])).max().unwrap_or(0)
    }
}

fn find_from(text: &str, part: &str, from: usize) -> Option<usize> {
    text[from..].find(part).map(|at| at + from)
}

/// Makes `count` things on `threads` threads and hands them over in order.
fn in_order<T: Send>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<T> + Sync,
    mut hand_over: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, make) = (sender.clone(), &next, &make);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || sender.send((index, make(index))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = std::collections::BTreeMap::new();
        let mut due = 0;
        for (index, made) in receiver {
            waiting.insert(index, made);
            while let Some(made) = waiting.remove(&due) {
                // On a failure the receiver goes, and with it the threads' reason to go on.
                hand_over(due, made?)?;
                due += 1;
            }
        }
        Ok(())
    })
}

// ---------------------------------------------------------------- word-vae

/// What draws words: a word-vae, or the original article's network.
enum Inventor {
    Vae { vae: WordVae, bos: u32, eos: u32 },
    Article(Article),
}

fn words(args: &GenerateArgs, file: &ModelFile, sampling: &SamplingConfig) -> Result<()> {
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
        return Err(CliError::misuse(format!("--z-temperature {z_temperature}: must be at least 0"), hint).into());
    }
    let header = &file.header;
    let weights = file.weights()?;
    let place = || file.path().display().to_string();
    let inventor = if header.network.article {
        Inventor::Article(Article::new(&header.network, &weights).with_context(place)?)
    } else {
        let (Some(bos), Some(eos)) = (header.vocabulary.bos(), header.vocabulary.eos()) else {
            return Err(CliError::failed("the vocabulary has no <bos> and <eos>", "train the model again").into());
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
    let known = if args.words.novel { file.training_words()? } else { HashSet::new() };
    let wanted = args.count.unwrap_or(DEFAULT_WORDS);
    let block = wanted.clamp(64, 4096);
    let most = wanted.saturating_mul(MOST_TRIES);
    let mut out = std::io::stdout().lock();
    let (mut seen, mut written, mut tried) = (HashSet::new(), 0, 0);
    while written < wanted && tried < most {
        in_order(block, threads(args.threads).min(block), |i| draw(tried + i), |i, (word, symbols, log_prob)| {
            let refused = word.is_empty()
                || (args.words.novel && known.contains(&word))
                || (args.words.unique && !seen.insert(word.clone()));
            if written == wanted || refused {
                return Ok(());
            }
            written += 1;
            if args.json {
                let (index, seed) = (tried + i, sampling.seed);
                let sample = Sample { index, seed, prompt: None, text: &word, symbols, log_prob_nats: log_prob };
                writeln!(out, "{}", serde_json::to_string(&sample)?)?;
            } else {
                writeln!(out, "{word}")?;
            }
            Ok(())
        })?;
        tried += block;
    }
    out.flush()?;
    if written < wanted {
        let message = format!("only {written} such words in {tried} draws");
        return Err(CliError::failed(message, "raise --temperature or --z-temperature, or ask for fewer").into());
    }
    Ok(())
}
