//! Texts from a char-lstm, shown as they are drawn.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use crate::config::{Decoding, OnUnknown, Sampling};
use crate::generate::beam::{Beam, TextGoal, TextTrail};
use crate::generate::repetition::Repetition;
use crate::generate::{Beginning, Writer, lockstep};
use crate::model::constraint;
use crate::models::char_rnn::CharRnn;
use crate::run::ModelFile;
use anyhow::{Context, Result};

use super::reading::{Read, TextModel};
use super::shown::{Paced, Shown};
use super::writing::{Drawn, Text, Writing};
use super::{
    GenerateArgs, Length, check_beam, decoding, fill, note_seed, refuse, rows, take, threads,
};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;

/// Tokens of a text unless told otherwise.
const DEFAULT_LENGTH: usize = 500;
/// Bytes of a text that waits for its turn which are handed over at a time.
const PIECE: usize = 4096;

/// Everything that the samples of a char-lstm share.
struct Job<'a> {
    writing: Writing<'a>,
    network: &'a CharRnn,
    /// What stands before every sample.
    start: &'a Read,
}

/// Writes texts and shows them.
pub fn texts(args: &GenerateArgs, file: ModelFile, sampling: &Sampling) -> Result<()> {
    refuse(&args.words.given(), "char-lstm", "word-vae")?;
    let flags = &args.text;
    let length = length(args.length)?;
    let repetition = repetition(args)?;
    let usual = match flags.fill {
        Some(_) => fill::USUAL,
        None => Decoding::Sample,
    };
    let hint = "leave it out, or draw: --decode sample";
    let (decoding, sampling) = decoding(args, sampling, usual, hint)?;
    let identified = flags.state.is_some() || flags.save_state.is_some();
    let model = TextModel::open(&file, args.quantize, identified)?;
    drop(file); // the model has its own copy of the weights
    let prompt = prompt_text(args)?.map(|prompt| model.normal(&prompt));
    let start = start(args, &model, prompt.as_deref())?;
    if let Some(path) = &flags.save_state {
        model.save(&start, path)?;
    }
    if let Some(pattern) = &flags.fill {
        return fill::fill(args, pattern, &model, &start, decoding, &sampling);
    }
    let constraint = match &args.constrain {
        Some(regex) => Some(constraint(regex, &model.header, &model.suppressed, length)?),
        None => None,
    };
    // The text is in the model's normal form, so what is looked for in it must be too.
    let stop = flags.stop.as_deref().map(|stop| model.normal(stop));
    let job = Job {
        writing: Writing {
            vocabulary: &model.header.vocabulary,
            sampling: &sampling,
            suppressed: &model.suppressed,
            length,
            stop: stop.filter(|stop| !stop.is_empty()),
            stop_shown: false,
            log_prob_wanted: args.json || flags.show_probs.is_some(),
            chances: flags.show_probs.map(|count| count as usize),
            constraint,
            repetition: repetition.map(|config| repeated(&config, &start)),
        },
        network: &model.network,
        start: &start,
    };
    let drawn = decoding == Decoding::Sample;
    let count = args.count.unwrap_or(1);
    let mut shown = Shown {
        prompt: prompt.as_deref(),
        json: args.json,
        table: flags.show_probs.is_some(),
        count,
        seed: drawn.then_some(sampling.seed),
        paced: Paced::new(),
    };
    if drawn {
        note_seed(args, &sampling);
    }
    if let Decoding::Beam(width) = decoding {
        return search(&job, &mut shown, width, &model.bytes());
    }
    let threads = threads(args.threads);
    match count {
        0 => Ok(()),
        1 => alone(&job, &mut shown, threads),
        _ => side_by_side(&job, &mut shown, threads.min(count)),
    }
}

fn length(length: Option<Length>) -> Result<usize> {
    match length {
        None => Ok(DEFAULT_LENGTH),
        Some(Length { least, most }) if least == most => Ok(most),
        Some(Length { least, most }) => {
            let message = format!("--length {least}-{most}: a text has one length");
            Err(CliError::misuse(message, "ranges are for the words of a word-vae").into())
        }
    }
}

/// What is held against loops; none where there is no penalty.
fn repetition(args: &GenerateArgs) -> Result<Option<Sampling>> {
    let mut config = Sampling::new(0);
    args.text.loops.set(&mut config);
    config.validate()?;
    if config.repetition_penalty == 1.0 {
        return Ok(None);
    }
    if let Some(decoding @ Decoding::Beam(_)) = args.decode {
        let message = format!("--repetition-penalty changes single draws, not --decode {decoding}");
        return Err(CliError::misuse(message, "draw with it: --decode sample or greedy").into());
    }
    Ok(Some(config))
}

/// The repeats of what has been read.
pub fn repeated(config: &Sampling, start: &Read) -> Repetition {
    let mut repetition = Repetition::new(config.repetition_penalty, config.repetition_window);
    for &token in &start.recent {
        repetition.read(token);
    }
    repetition
}

/// What stands before the samples: the saved state, the prompt, or a line end.
fn start(args: &GenerateArgs, model: &TextModel, prompt: Option<&str>) -> Result<Read> {
    let on_unknown = args.on_unknown.unwrap_or(OnUnknown::Error);
    let tokens = model.encode(prompt.unwrap_or_default(), on_unknown)?;
    if let Some(path) = &args.text.state {
        let mut read = model.load(path)?;
        read.go_on(&model.network, &tokens);
        Ok(read)
    } else if tokens.is_empty() {
        model.beginning()
    } else {
        Ok(model.after(&tokens))
    }
}

/// Shows the most probable texts that a beam finds.
fn search(job: &Job, shown: &mut Shown, width: usize, bytes: &[Vec<u8>]) -> Result<()> {
    let writing = &job.writing;
    if writing.chances.is_some() {
        let message = format!("--show-probs tells of single draws, not of --decode beam:{width}");
        return Err(CliError::misuse(message, "draw: --decode sample or greedy").into());
    }
    check_beam(width, shown.count)?;
    if shown.count == 0 {
        return Ok(());
    }
    let goal = TextGoal {
        length: writing.length,
        bytes,
        stop: writing.stop.as_deref().map(str::as_bytes),
        constraint: writing.constraint.as_ref(),
    };
    let beam = Beam {
        width,
        wanted: shown.count,
        suppressed: writing.suppressed,
    };
    let progress = Progress::of(writing.length as u64, "searched", "characters");
    let state = job.start.state.clone();
    let found = beam.search(job.network, state, &goal, TextTrail::default(), |length| {
        progress.show(length as u64);
    });
    progress.end();
    for (index, found) in found.into_iter().enumerate() {
        let mut text = writing.vocabulary.decode(&found.tokens);
        let stop = writing.stop.as_deref().and_then(|stop| text.find(stop));
        text.truncate(stop.unwrap_or(text.len()));
        shown.begin(index)?;
        shown.piece(&text)?;
        let drawn = Drawn {
            text,
            tokens: found.tokens.len(),
            log_prob: found.log_prob,
            steps: Vec::new(),
        };
        shown.end(index, &drawn)?;
    }
    Ok(())
}

/// Draws the only sample, on all threads.
fn alone(job: &Job, shown: &mut Shown, threads: usize) -> Result<()> {
    shown.begin(0)?;
    let mut text = Text::new(&job.writing, 0);
    job.network
        .read_on_threads(job.start.state.clone(), threads, |reader| -> Result<()> {
            while let Some(token) = text.write(reader.logits()) {
                shown.piece(&text.ready)?;
                text.ready.clear();
                reader.step(token);
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
        let token = self.text.write(logits);
        let ready = &mut self.text.ready;
        let due = self.index == self.due.load(Ordering::Relaxed);
        if (due && !ready.is_empty()) || ready.len() > PIECE {
            let piece = Event::Piece(std::mem::take(ready));
            let sent = self.send(piece);
            return token.filter(|_| sent);
        }
        token
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
            let text = Text::new(&job.writing, index);
            let mut writer = Indexed {
                index,
                text,
                due,
                sender,
            };
            // The first token follows the prompt, which has been read.
            match writer.write(job.start.state.logits(0)) {
                Some(token) => {
                    let state = job.start.state.clone();
                    return Some(Beginning {
                        writer,
                        state,
                        token,
                    });
                }
                None => done(writer),
            }
        }
    };
    lockstep(job.network, rows, begin, done);
}

/// Shows the samples in order.
fn show(receiver: &Receiver<(usize, Event)>, shown: &mut Shown, due: &AtomicUsize) -> Result<()> {
    let mut waiting: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
    let mut index = 0;
    shown.begin(index)?;
    while index < shown.count {
        let next = receiver.try_recv().or_else(|_| {
            shown.paced.out.flush()?;
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
