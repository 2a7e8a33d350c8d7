//! `textgen chat`: a person and a model write a text in turns.

mod commands;

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::{OnUnknown, Sampling};
use crate::model::{Ending, Piece, Snapshot, TokenProbability};
use crate::run::Runs;
use anyhow::{Context, Result};
use clap::Args;

use self::commands::Command;
use super::chosen::ChosenModel;
use super::error::{CliError, show};
use super::generate::shown::Paced;
use super::generate::text::{BOM, note_replaced};
use super::generate::{LoopFlags, OpenFlags, Sample, SamplingFlags, new_seed, typed};
use super::machine::check_simd;
use super::signals;
use super::target::{Force, Format, check_output};
use crate::cli::output::{counted, json_line, lines_on_stderr, note, percent, stdout};
use crate::text::Typed;

/// The number of turns that `/undo` can take back.
const MOST_UNDONE: usize = 64;
/// The number of tokens that `/pick` lists.
const CHOICES: usize = 10;

#[derive(Args)]
#[command(after_help = "\
The model reads what you type, without the end of the line, and continues it up to --stop (the end
of a line by default) or --length. It remembers the whole conversation. After an empty line it
continues what it wrote. Lines that begin with / are commands; // types a line that begins with /:

  /temperature 0.7   /top-k 40   /top-p 0.9   /min-p 0.05   /repetition-penalty 1.5
  /length 300        /stop .     /seed 3      (without a value, shows it; off: no limit)
  /pick              choose the next characters from the ten most probable, by their numbers
  /undo              takes the last turn back          /reset   starts again
  /save FILE         for --state, also of generate     /help    /quit

With a model that was trained with --documents, a reply also ends with its document, and what you
type then begins another.

In what you type, \\n is the end of a line, \\t a tab, \\u{e9} the character of that code point, and \\\\ a
backslash. Ctrl-C stops a reply, Ctrl-D ends the conversation. Replies go to stdout and everything else to
stderr, so chat works in a pipe, too. The same seed, lines and commands give the same replies. With
--json, a reply has index, seed, prompt (what was typed), text, tokens, log_prob_nats, and ended: stop,
length or document; without ended, Ctrl-C cut it, or it was picked by hand.

Examples:
  textgen chat --temperature 0.7
  textgen chat --run tales --min-p 0.05 --stop '.'
  printf 'The giant\\n/temperature 0\\nThe hen\\n' | textgen chat --seed 1
  textgen chat --state book.state")]
pub struct ChatArgs {
    #[command(flatten)]
    model: ChosenModel,
    /// The most tokens in a reply
    #[arg(long, value_name = "N", default_value_t = 300)]
    length: usize,
    /// End a reply after this text [default: the end of a line]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = typed)]
    stop: Option<Typed>,
    /// Continue from a file that /save or `generate --save-state` wrote
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    open: OpenFlags,
    /// How to handle typed characters that the model does not know
    #[arg(long, default_value = "error")]
    on_unknown: OnUnknown,
    /// Print each reply as one JSON object on a line, as `generate --json` does
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingFlags,
    #[command(flatten)]
    loops: LoopFlags,
}

/// The settings that commands can change.
#[derive(Clone)]
struct Settings {
    sampling: Sampling,
    length: usize,
}

impl Settings {
    fn validate(&self) -> Result<()> {
        self.sampling.validate()?;
        if self.length == 0 {
            let message = "--length 0: a reply has at least 1 token";
            return Err(CliError::misuse(message, "give a number of tokens").into());
        }
        Ok(())
    }
}

struct Session {
    settings: Settings,
    /// The state before the first turn.
    first: Snapshot,
    now: Snapshot,
    /// The states before each of the last turns.
    past: Vec<Snapshot>,
    /// The number of replies so far, which is the index of the next one.
    replies: usize,
    picking: Option<Picking>,
    interrupt: Interrupt,
    json: bool,
}

/// Tokens that are picked by hand.
#[derive(Default)]
struct Picking {
    /// What can be picked next, the most probable first.
    choices: Vec<TokenProbability>,
    /// What has been picked.
    picked: Vec<TokenProbability>,
}

/// Chats until the input ends.
pub fn run(args: &ChatArgs, runs: &Runs) -> Result<()> {
    let seed = args.sampling.seed.unwrap_or_else(new_seed);
    let mut sampling = args.sampling.limits.config(seed);
    args.loops.set(&mut sampling);
    sampling.include_stop = true;
    sampling.on_unknown = args.on_unknown;
    sampling.log_prob = args.json;
    let mut settings = Settings {
        sampling,
        length: args.length,
    };
    settings.validate()?;
    check_simd()?;
    let model = args.model.open_text(runs, args.open.options())?;
    settings.sampling.stop = match &args.stop {
        Some(stop) => Some(stop.text.clone()),
        None if model.stop_text("\n").is_ok() => Some("\n".to_owned()),
        None => {
            let length = settings.length;
            let document = match model.header().vocabulary.document_end() {
                Some(_) => "with its document, or ",
                None => "",
            };
            note!("the model writes no line ends, so a reply ends {document}after {length} tokens");
            None
        }
    };
    let first = match &args.state {
        Some(path) => model.restore(path)?,
        None => model.snapshot("", OnUnknown::Error)?,
    };
    first.plan(&settings.sampling, settings.length)?;
    if args.sampling.seed.is_none() && settings.sampling.temperature > 0.0 {
        note!("seed: {seed}");
    }
    Session {
        now: first.clone(),
        first,
        settings,
        past: Vec::new(),
        replies: 0,
        picking: None,
        interrupt: Interrupt::install()?,
        json: args.json,
    }
    .talk()
}

impl Session {
    fn talk(mut self) -> Result<()> {
        let mut input = std::io::stdin().lock();
        let typed = input.is_terminal();
        if typed {
            note!("Type the start of a line. /help shows the commands, Ctrl-D ends.");
        }
        for number in 0.. {
            if typed {
                let mut prompt = std::io::stderr();
                let _ = write!(prompt, "> ").and_then(|()| prompt.flush());
            }
            let mut line = Vec::new();
            if input
                .read_until(b'\n', &mut line)
                .context("standard input")?
                == 0
            {
                self.end_picking()?;
                if typed {
                    note!("");
                }
                break;
            }
            let outcome = match String::from_utf8(line) {
                Ok(line) => {
                    let line = line.trim_end_matches(['\n', '\r']);
                    self.turn(
                        line.strip_prefix(BOM)
                            .filter(|_| number == 0)
                            .unwrap_or(line),
                    )
                }
                Err(_) => Err(CliError::failed("this line is not UTF-8", "type it again").into()),
            };
            match outcome {
                Ok(true) => (),
                Ok(false) => break,
                // One bad line must not end the conversation.
                Err(error) if error.is::<std::io::Error>() => return Err(error),
                Err(error) => drop(show(&error)),
            }
        }
        Ok(())
    }

    /// Handles one line. Returns false at the end of the conversation.
    fn turn(&mut self, line: &str) -> Result<bool> {
        if let Some(picking) = &self.picking {
            if let Ok(number) = line.trim().parse::<usize>() {
                let choice = number.checked_sub(1).and_then(|at| picking.choices.get(at));
                let choice = choice.cloned().ok_or_else(|| {
                    let message = format!("{number}: no such choice");
                    let hint = format!("type a number from 1 to {}", picking.choices.len());
                    CliError::misuse(message, hint)
                })?;
                return self.pick(choice).map(|()| true);
            }
            if line != "/undo" {
                self.end_picking()?;
                if line.is_empty() {
                    return Ok(true);
                }
            }
        }
        let typed = match line.strip_prefix('/') {
            Some(rest) if !rest.starts_with('/') => return self.run(&rest.parse()?),
            Some(_) => Typed::new(line)?.without_first(),
            None => Typed::new(line)?,
        };
        let before = self.now.clone();
        let read = self
            .now
            .extend(&typed.text, self.settings.sampling.on_unknown);
        read.map_err(|error| error.located(&typed))?;
        note_replaced(&self.now.replaced()[before.replaced().len()..]);
        self.remember(before);
        self.reply(&typed.text)?;
        Ok(true)
    }

    /// Keeps the state before a turn, for `/undo`.
    fn remember(&mut self, before: Snapshot) {
        self.past.push(before);
        if self.past.len() > MOST_UNDONE {
            self.past.remove(0);
        }
    }

    /// Lists what may come next, to be picked by hand.
    fn list_choices(&mut self) -> Result<()> {
        let mut choices = self.now.next()?;
        choices.truncate(CHOICES);
        let shown = choices
            .iter()
            .zip(1..)
            .map(|(choice, number)| format!("{number} {} {}", choice.visible, percent(choice.p)));
        note!("{}", shown.collect::<Vec<_>>().join("   "));
        self.picking.get_or_insert_default().choices = choices;
        Ok(())
    }

    /// Takes a choice, and lists what may follow it.
    fn pick(&mut self, choice: TokenProbability) -> Result<()> {
        self.remember(self.now.clone());
        self.now.read(&[choice.id]);
        self.picking.get_or_insert_default().picked.push(choice);
        self.list_choices()
    }

    /// Prints what was picked by hand.
    fn end_picking(&mut self) -> Result<()> {
        let picking = self.picking.take().unwrap_or_default();
        if !picking.picked.is_empty() {
            let text = self
                .now
                .decode(picking.picked.iter().map(|choice| choice.id));
            let mut out = stdout();
            if self.json {
                let nats = picking.picked.iter().map(|choice| choice.p.ln());
                let picked = Sample {
                    index: self.replies,
                    seed: None,
                    prompt: None,
                    text: &text,
                    tokens: picking.picked.len(),
                    log_prob_nats: Some(nats.sum()),
                    ended: None,
                    probs: None,
                };
                writeln!(out, "{}", json_line(&picked)?)?;
            } else {
                writeln!(out, "{}", text.strip_suffix('\n').unwrap_or(&text))?;
            }
            out.flush()?;
        }
        Ok(())
    }

    /// Generates a reply to what was typed, and appends it to the text.
    fn reply(&mut self, typed: &str) -> Result<()> {
        let Settings { sampling, length } = &self.settings;
        let plan = self.now.plan(sampling, *length)?;
        let mut paced = Paced::new();
        let interrupt = &self.interrupt;
        interrupt.begin();
        let written = self.now.write(&plan, self.replies, |piece: Piece| {
            if !self.json {
                paced.piece(&piece.text)?;
            }
            anyhow::Ok(!interrupt.asked())
        });
        let is_cut = interrupt.asked();
        interrupt.end();
        let written = written?;
        if self.json {
            let reply = Sample {
                index: self.replies,
                seed: (sampling.temperature > 0.0).then_some(sampling.seed),
                prompt: Some(typed),
                text: &written.text,
                tokens: written.tokens.len(),
                log_prob_nats: written.log_prob.is_finite().then_some(written.log_prob),
                ended: (!is_cut).then_some(written.ending),
                probs: None,
            };
            writeln!(paced.out, "{}", json_line(&reply)?)?;
        } else if !written.text.ends_with('\n') {
            writeln!(paced.out)?;
        }
        paced.out.flush()?;
        if written.ending == Ending::Document {
            note!("the document ends; what follows is a new one");
        }
        self.replies += 1;
        Ok(())
    }

    /// Runs a command. Returns false at the end of the conversation.
    fn run(&mut self, command: &Command) -> Result<bool> {
        match command {
            Command::Quit => return Ok(false),
            Command::Help => lines_on_stderr(commands::HELP),
            Command::Pick => {
                note!("type the number of the next token; an empty line ends that");
                self.list_choices()?;
            }
            Command::Reset => {
                self.past.clear();
                self.now = self.first.clone();
                note!("the conversation starts again");
            }
            Command::Undo => {
                if let Some(before) = self.past.pop() {
                    self.now = before;
                    note!("the last turn is taken back");
                    let picked = self.picking.as_mut();
                    if picked.and_then(|picking| picking.picked.pop()).is_some() {
                        self.list_choices()?;
                    } else {
                        self.picking = None;
                    }
                } else {
                    note!("there is nothing to take back");
                }
            }
            Command::Save(path) => {
                let never = Force { force: false };
                check_output(path, Format::PromptState, never, &[]).map_err(|error| {
                    CliError::failed(error.to_string(), "give another FILE, such as tale.state")
                })?;
                self.now.save(path)?;
                note!(
                    "the state after {} is saved in {}",
                    counted(self.now.len(), "token"),
                    path.display()
                );
            }
            Command::Setting(setting, value) => {
                if let Some(value) = value {
                    let mut changed = self.settings.clone();
                    setting.set(&mut changed, value)?;
                    changed.validate()?;
                    self.now.plan(&changed.sampling, changed.length)?;
                    if changed.sampling.seed != self.settings.sampling.seed {
                        self.replies = 0;
                    }
                    self.settings = changed;
                }
                note!("{} {}", setting.name, (setting.get)(&self.settings));
            }
        }
        Ok(true)
    }
}

/// The state of the current reply. Ctrl-C stops the reply, or the program if there is none.
struct Interrupt(Arc<AtomicU8>);

/// No reply is being written.
const IDLE: u8 = 0;
/// A reply is being written.
const WRITING: u8 = 1;
/// The reply should stop.
const ASKED: u8 = 2;

impl Interrupt {
    fn install() -> Result<Self> {
        let state = Arc::new(AtomicU8::new(IDLE));
        let seen = Arc::clone(&state);
        signals::catch(move |signal| {
            let order = Ordering::Relaxed;
            let stops_reply = signal == signals::SIGINT
                && seen.compare_exchange(WRITING, ASKED, order, order).is_ok();
            if !stops_reply {
                std::process::exit(signals::exit_code(signal));
            }
        })?;
        Ok(Self(state))
    }

    fn begin(&self) {
        self.0.store(WRITING, Ordering::Relaxed);
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ASKED
    }

    fn end(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}
