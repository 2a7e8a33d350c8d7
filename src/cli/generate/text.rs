//! Texts from a char-lstm, shown as they are drawn.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context, Result};
use textgen::config::{OnUnknown, SamplingConfig};
use textgen::native::char_lstm::CharLstm;
use textgen::native::sampling::Sampler;
use textgen::run::ModelFile;
use textgen::text::{Utf8Stream, normalize};

use super::{GenerateArgs, Sample, refuse, threads};
use crate::cli::error::CliError;

/// Symbols of a text unless told otherwise.
const DEFAULT_LENGTH: usize = 500;

/// Everything that the samples of a char-lstm share.
struct TextJob<'a> {
    file: &'a ModelFile,
    model: CharLstm,
    sampling: &'a SamplingConfig,
    forbidden: Vec<u32>,
    /// What is read before the first draw.
    prompt: Vec<u32>,
    length: usize,
    stop: Option<String>,
}

/// A text as drawn.
struct Drawn {
    text: String,
    symbols: usize,
    log_prob: f64,
}

/// Draws texts and shows them.
pub fn texts(args: &GenerateArgs, file: &ModelFile, sampling: &SamplingConfig) -> Result<()> {
    let words = &args.words;
    let given = [
        ("z-temperature", words.z_temperature.is_some()),
        ("unique", words.unique),
        ("novel", words.novel),
    ];
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
    // The text is in the model's normal form, so what is looked for in it must be too.
    let stop = args
        .text
        .stop
        .as_deref()
        .map(|stop| normalize(stop, &header.text));
    let weights = file.weights()?;
    let job = TextJob {
        file,
        model: CharLstm::new(&header.network, &weights)
            .with_context(|| file.path().display().to_string())?,
        sampling,
        forbidden: header.vocabulary.forbidden(),
        prompt: symbols,
        length: args.text.length.unwrap_or(DEFAULT_LENGTH),
        stop: stop.filter(|stop| !stop.is_empty()),
    };
    let shown = Shown {
        prompt: prompt.as_deref(),
        json: args.json,
        count: args.count.unwrap_or(1),
    };
    let threads = threads(args.threads, shown.count);
    if threads > 1 {
        return side_by_side(&job, &shown, threads);
    }
    let mut out = std::io::stdout().lock();
    for index in 0..shown.count {
        shown.begin(&mut out, index)?;
        let drawn = job.draw(index, |piece| shown.piece(&mut out, piece))?;
        shown.end(&mut out, index, sampling.seed, &drawn)?;
    }
    Ok(())
}

/// What a thread sends of the sample that it draws.
enum Event {
    Piece(String),
    End(Drawn),
}

/// Draws the samples on several threads. They are shown in order: the one that is due as it is
/// drawn, what comes of later ones when their turn comes.
fn side_by_side(job: &TextJob, shown: &Shown, threads: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= shown.count {
                        break;
                    }
                    // Where nobody receives any more, the output has ended.
                    let piece =
                        |piece: &str| Ok(sender.send((index, Event::Piece(piece.to_owned())))?);
                    let Ok(drawn) = job.draw(index, piece) else {
                        break;
                    };
                    if sender.send((index, Event::End(drawn))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut out = std::io::stdout().lock();
        let mut due = 0;
        let mut waiting: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        shown.begin(&mut out, 0)?;
        for (index, event) in receiver {
            waiting.entry(index).or_default().push(event);
            while let Some(events) = waiting.remove(&due) {
                let mut ended = false;
                for event in events {
                    match event {
                        Event::Piece(piece) => shown.piece(&mut out, &piece)?,
                        Event::End(drawn) => {
                            shown.end(&mut out, due, job.sampling.seed, &drawn)?;
                            ended = true;
                        }
                    }
                }
                if !ended {
                    break;
                }
                due += 1;
                if due < shown.count {
                    shown.begin(&mut out, due)?;
                }
            }
        }
        Ok(())
    })
}

fn prompt_text(args: &GenerateArgs) -> Result<Option<String>> {
    if args.text.prompt.as_deref() != Some("-") {
        return Ok(args.text.prompt.clone());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("the prompt on standard input")?;
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
    fn piece(&self, out: &mut impl Write, piece: &str) -> Result<()> {
        if self.json {
            Ok(())
        } else {
            write_now(out, piece)
        }
    }

    fn begin(&self, out: &mut impl Write, index: usize) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if self.count > 1 {
            writeln!(
                out,
                "{}--- {}",
                if index > 0 { "\n" } else { "" },
                index + 1
            )?;
        }
        write_now(out, self.prompt.unwrap_or_default())
    }

    fn end(&self, out: &mut impl Write, index: usize, seed: u64, drawn: &Drawn) -> Result<()> {
        if !self.json {
            return write_now(out, "\n");
        }
        let sample = Sample {
            index,
            seed,
            prompt: self.prompt,
            text: &drawn.text,
            symbols: drawn.symbols,
            log_prob_nats: Some(drawn.log_prob),
        };
        writeln!(out, "{}", serde_json::to_string(&sample)?)?;
        Ok(())
    }
}

impl TextJob<'_> {
    /// Sample `index`, the same whatever else is drawn beside it. `show` gets the text as it comes.
    fn draw(&self, index: usize, mut show: impl FnMut(&str) -> Result<()>) -> Result<Drawn> {
        let vocabulary = &self.file.header.vocabulary;
        let mut sampler = Sampler::new(self.sampling, &self.forbidden, index as u64);
        let mut state = self.model.state(1);
        self.model.feed(&mut state, &self.prompt);
        let mut stream = Utf8Stream::default();
        let mut drawn = Drawn {
            text: String::new(),
            symbols: 0,
            log_prob: 0.0,
        };
        let mut shown = 0;
        let mut bytes = Vec::new();
        while drawn.symbols < self.length {
            let draw = sampler.draw(state.logits(0));
            drawn.symbols += 1;
            drawn.log_prob += f64::from(draw.log_prob);
            bytes.clear();
            vocabulary.push_bytes(draw.symbol, &mut bytes);
            drawn.text.push_str(&stream.push(&bytes));
            if let Some(at) = self
                .stop
                .as_deref()
                .and_then(|stop| find_from(&drawn.text, stop, shown))
            {
                drawn.text.truncate(at);
                show(&drawn.text[shown..])?;
                return Ok(drawn);
            }
            // What may be the beginning of the stop text is held back.
            let safe = drawn.text.len() - self.held_back(&drawn.text[shown..]);
            if safe > shown {
                show(&drawn.text[shown..safe])?;
                shown = safe;
            }
            if drawn.symbols < self.length {
                self.model.step(&mut state, &[draw.symbol]);
            }
        }
        drawn.text.push_str(&stream.finish());
        show(&drawn.text[shown..])?;
        Ok(drawn)
    }

    /// Bytes at the end of `text` that the stop text begins with.
    fn held_back(&self, text: &str) -> usize {
        let Some(stop) = self.stop.as_deref() else {
            return 0;
        };
        let starts = stop.char_indices().map(|(at, c)| at + c.len_utf8());
        starts
            .filter(|&n| n < stop.len() && text.ends_with(&stop[..n]))
            .max()
            .unwrap_or(0)
    }
}

fn find_from(text: &str, part: &str, from: usize) -> Option<usize> {
    text[from..].find(part).map(|at| at + from)
}
