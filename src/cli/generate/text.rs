//! Texts from a char-lstm, shown as they are drawn.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use textgen::config::{OnUnknown, SamplingConfig};
use textgen::native::char_lstm::{CharLstm, State};
use textgen::native::generate::{Beginning, Writer, lockstep};
use textgen::native::sampling::Sampler;
use textgen::run::ModelFile;
use textgen::text::{Utf8Stream, Vocabulary, normalize};

use super::{GenerateArgs, Length, Sample, refuse, rows, take, threads, weights};
use crate::cli::error::CliError;
use crate::cli::output::{Stdout, stdout};
use crate::cli::unknown::Replaced;

/// Symbols of a text unless told otherwise.
const DEFAULT_LENGTH: usize = 500;
/// Text is shown at least so often: too fast for the eye, and seldom enough to cost nothing.
const SHOWN_EVERY: Duration = Duration::from_millis(8);
/// Bytes of a text that waits for its turn which are handed over at a time.
const PIECE: usize = 4096;

/// Everything that the samples of a char-lstm share.
struct Job<'a> {
    vocabulary: &'a Vocabulary,
    sampling: &'a SamplingConfig,
    forbidden: Vec<u32>,
    length: usize,
    stop: Option<String>,
    log_prob_wanted: bool,
    model: CharLstm,
    /// What the model remembers of the prompt.
    start: State,
}

/// Draws texts and shows them.
pub fn texts(args: &GenerateArgs, file: ModelFile, sampling: &SamplingConfig) -> Result<()> {
    let words = &args.words;
    let given = [
        ("z-temperature", words.z_temperature.is_some()),
        ("starts-with", words.starts_with.is_some()),
        ("decode", words.decode.is_some()),
        ("scores", words.scores),
        ("unique", words.unique),
        ("novel", words.novel),
    ];
    refuse(&given, "char-lstm", "word-vae")?;
    let length = match args.length {
        None => DEFAULT_LENGTH,
        Some(Length { least, most }) if least == most => most,
        Some(Length { least, most }) => {
            let message = format!("--length {least}-{most}: a text has one length");
            return Err(CliError::misuse(message, "ranges are for the words of a word-vae").into());
        }
    };
    let header = file.header.clone();
    let prompt = prompt_text(args)?.map(|prompt| normalize(&prompt, &header.text));
    let on_unknown = args.on_unknown.unwrap_or(OnUnknown::Error);
    let mut symbols = match &prompt {
        Some(prompt) => {
            let replaced = Replaced::default();
            let symbols = replaced.encode(&header.vocabulary, prompt, on_unknown)?;
            replaced.say();
            symbols
        }
        None => Vec::new(),
    };
    if symbols.is_empty() {
        symbols.push(header.vocabulary.beginning());
    }
    // The text is in the model's normal form, so what is looked for in it must be too.
    let stop = args
        .text
        .stop
        .as_deref()
        .map(|stop| normalize(stop, &header.text));
    let model = CharLstm::new(&header.network, &weights(&file, args.quantize)?)
        .with_context(|| file.path().display().to_string())?;
    drop(file); // the model has its own copy of the weights
    let mut start = model.state(1);
    model.feed(&mut start, &symbols);
    let job = Job {
        vocabulary: &header.vocabulary,
        sampling,
        forbidden: header.vocabulary.forbidden(),
        length,
        stop: stop.filter(|stop| !stop.is_empty()),
        log_prob_wanted: args.json, // where else would it be shown?
        model,
        start,
    };
    let count = args.count.unwrap_or(1);
    let mut shown = Shown {
        prompt: prompt.as_deref(),
        json: args.json,
        count,
        seed: sampling.seed,
        out: BufWriter::new(stdout()),
        flushed: None,
    };
    let threads = threads(args.threads);
    match count {
        0 => Ok(()),
        1 => alone(&job, &mut shown, threads),
        _ => side_by_side(&job, &mut shown, threads.min(count)),
    }
}

/// Draws the only sample, on all threads.
fn alone(job: &Job, shown: &mut Shown, threads: usize) -> Result<()> {
    shown.begin(0)?;
    let mut text = Text::new(job, 0);
    job.model
        .read_on_threads(job.start.clone(), threads, |reader| -> Result<()> {
            while let Some(symbol) = text.write(reader.logits()) {
                shown.piece(&text.ready)?;
                text.ready.clear();
                reader.step(symbol);
            }
            Ok(())
        })?;
    shown.piece(&text.ready)?;
    shown.end(0, &text.drawn)
}

/// What a thread sends of a sample.
enum Event {
    Piece(String),
    End(Drawn),
}

/// A sample that is written beside others.
struct Indexed<'a> {
    index: usize,
    text: Text<'a>,
    /// The index of the sample that is being shown.
    due: &'a AtomicUsize,
    sender: &'a Sender<(usize, Event)>,
}

impl Indexed<'_> {
    /// Whether somebody still receives; if not, the output has ended.
    fn send(&self, event: Event) -> bool {
        self.sender.send((self.index, event)).is_ok()
    }
}

impl Writer for Indexed<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        let symbol = self.text.write(logits);
        let ready = &mut self.text.ready;
        let due = self.index == self.due.load(Ordering::Relaxed);
        if (due && !ready.is_empty()) || ready.len() > PIECE {
            let piece = Event::Piece(std::mem::take(ready));
            let sent = self.send(piece);
            return symbol.filter(|_| sent);
        }
        symbol
    }
}

/// Draws the samples on several threads, many at a time on each. They are shown in order: the one
/// that is due as it is drawn, what comes of later ones when their turn comes.
fn side_by_side(job: &Job, shown: &mut Shown, threads: usize) -> Result<()> {
    let (next, due) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (sender, receiver) = mpsc::channel();
    let count = shown.count;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, due) = (sender.clone(), &next, &due);
            scope.spawn(move || {
                let take = || take(next, count);
                draw_here(job, rows(count, threads), take, due, &sender);
            });
        }
        drop(sender);
        show(&receiver, shown, &due)
    })
}

/// Draws the samples that `next` names, `rows` at a time, until nobody receives any more.
fn draw_here(
    job: &Job,
    rows: usize,
    next: impl Fn() -> Option<usize>,
    due: &AtomicUsize,
    sender: &Sender<(usize, Event)>,
) {
    let open = Cell::new(true);
    let done = |mut writer: Indexed| {
        let rest = std::mem::take(&mut writer.text.ready);
        let drawn = std::mem::take(&mut writer.text.drawn);
        let sent = writer.send(Event::Piece(rest)) && writer.send(Event::End(drawn));
        open.set(open.get() && sent);
    };
    let begin = || {
        loop {
            let index = next().filter(|_| open.get())?;
            let text = Text::new(job, index);
            let mut writer = Indexed {
                index,
                text,
                due,
                sender,
            };
            // The first symbol follows the prompt, which has been read.
            match writer.write(job.start.logits(0)) {
                Some(symbol) => {
                    let state = job.start.clone();
                    return Some(Beginning {
                        writer,
                        state,
                        symbol,
                    });
                }
                None => done(writer),
            }
        }
    };
    lockstep(&job.model, rows, begin, done);
}

/// Shows the samples in order.
fn show(receiver: &Receiver<(usize, Event)>, shown: &mut Shown, due: &AtomicUsize) -> Result<()> {
    let mut waiting: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    let mut index = 0;
    shown.begin(index)?;
    while index < shown.count {
        let next = receiver.try_recv().or_else(|_| {
            shown.out.flush()?;
            receiver.recv().context("a thread has failed")
        });
        let (of, event) = next?;
        if of != index {
            waiting.entry(of).or_default().push(event);
            continue;
        }
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            match event {
                Event::Piece(piece) => shown.piece(&piece)?,
                Event::End(drawn) => {
                    shown.end(index, &drawn)?;
                    index += 1;
                    due.store(index, Ordering::Relaxed);
                    if index < shown.count {
                        shown.begin(index)?;
                        events = waiting.remove(&index).unwrap_or_default();
                        events.reverse();
                    }
                }
            }
        }
    }
    Ok(())
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

/// How texts are shown.
struct Shown<'a> {
    prompt: Option<&'a str>,
    json: bool,
    count: usize,
    seed: u64,
    out: BufWriter<Stdout>,
    /// When text last went out.
    flushed: Option<Instant>,
}

impl Shown<'_> {
    /// Shows text, at once or within [`SHOWN_EVERY`] of what comes next.
    fn piece(&mut self, piece: &str) -> Result<()> {
        if self.json || piece.is_empty() {
            return Ok(());
        }
        self.out.write_all(piece.as_bytes())?;
        let now = Instant::now();
        if self.flushed.is_none_or(|at| now - at >= SHOWN_EVERY) {
            self.out.flush()?;
            self.flushed = Some(now);
        }
        Ok(())
    }

    fn begin(&mut self, index: usize) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if self.count > 1 {
            let before = if index > 0 { "\n" } else { "" };
            writeln!(self.out, "{before}--- {}", index + 1)?;
        }
        self.piece(self.prompt.unwrap_or_default())
    }

    fn end(&mut self, index: usize, drawn: &Drawn) -> Result<()> {
        if self.json {
            let sample = Sample {
                index,
                seed: self.seed,
                prompt: self.prompt,
                text: &drawn.text,
                symbols: drawn.symbols,
                log_prob_nats: Some(drawn.log_prob),
            };
            writeln!(self.out, "{}", serde_json::to_string(&sample)?)?;
        } else {
            writeln!(self.out)?;
        }
        Ok(self.out.flush()?)
    }
}

/// A text as drawn.
#[derive(Default)]
struct Drawn {
    text: String,
    symbols: usize,
    log_prob: f64,
}

/// A sample as it is written: the same whatever is written beside it.
struct Text<'a> {
    job: &'a Job<'a>,
    sampler: Sampler,
    stream: Utf8Stream,
    drawn: Drawn,
    /// What has become certain since this was last emptied.
    ready: String,
    /// Bytes of the text that have.
    certain: usize,
    bytes: Vec<u8>,
}

impl<'a> Text<'a> {
    fn new(job: &'a Job, index: usize) -> Self {
        let sampler = Sampler::new(job.sampling, &job.forbidden, index as u64);
        Self {
            job,
            sampler: if job.log_prob_wanted {
                sampler
            } else {
                sampler.without_log_prob()
            },
            stream: Utf8Stream::default(),
            drawn: Drawn::default(),
            ready: String::new(),
            certain: 0,
            bytes: Vec::new(),
        }
    }

    /// The text up to `end` is certain.
    fn release(&mut self, end: usize) {
        self.ready.push_str(&self.drawn.text[self.certain..end]);
        self.certain = end;
    }

    /// Bytes at the end of what is uncertain that the stop text begins with.
    fn held_back(&self) -> usize {
        let Some(stop) = self.job.stop.as_deref() else {
            return 0;
        };
        let text = &self.drawn.text[self.certain..];
        let starts = stop.char_indices().map(|(at, c)| at + c.len_utf8());
        starts
            .filter(|&n| n < stop.len() && text.ends_with(&stop[..n]))
            .max()
            .unwrap_or(0)
    }
}

impl Writer for Text<'_> {
    fn write(&mut self, logits: &[f32]) -> Option<u32> {
        if self.drawn.symbols == self.job.length {
            return None;
        }
        let draw = self.sampler.draw(logits);
        self.drawn.symbols += 1;
        self.drawn.log_prob += f64::from(draw.log_prob);
        self.bytes.clear();
        self.job.vocabulary.push_bytes(draw.symbol, &mut self.bytes);
        self.drawn.text.push_str(&self.stream.push(&self.bytes));
        let stop = self.job.stop.as_deref();
        if let Some(at) = stop.and_then(|stop| self.drawn.text[self.certain..].find(stop)) {
            self.drawn.text.truncate(self.certain + at);
            self.release(self.drawn.text.len());
            return None;
        }
        if self.drawn.symbols == self.job.length {
            self.drawn.text.push_str(&self.stream.finish());
            self.release(self.drawn.text.len());
            return None;
        }
        // What may be the beginning of the stop text is held back.
        self.release(self.drawn.text.len() - self.held_back());
        Some(draw.symbol)
    }
}
