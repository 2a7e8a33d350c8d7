//! Texts from a char-lstm, shown while they are written.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use crate::config::{Decoding, Documents, Sampling};
use crate::model::{ModelError, Snapshot, TextModel};
use crate::run::RunError;
use crate::text::Typed;
use anyhow::{Context, Result};

use super::requests::{Usual, answer};
use super::shown::{Paced, Shown};
use super::{GenerateArgs, Length, TextFlags, decoding, note_seed};
use crate::cli::chosen::{Opened, text_model};
use crate::cli::error::CliError;
use crate::cli::given::Given;
use crate::cli::mixing::mixed;
use crate::cli::output::note;
use crate::cli::progress::Progress;
use crate::cli::target::{Format, check_output, same_file};
use crate::cli::unknown::Replaced;

/// A byte-order mark, with which some editors begin a file.
pub const BOM: char = '\u{FEFF}';
/// The default search for filling blanks.
const DEFAULT_FILL: Decoding = Decoding::Beam(16);

/// Writes texts and shows them.
pub fn texts(
    args: &GenerateArgs,
    given: &Given,
    (file, run): Opened,
    sampling: Sampling,
) -> Result<()> {
    let flags = &args.text;
    let length = length(args.length)?;
    let usual = match flags.fill {
        Some(_) => DEFAULT_FILL,
        None => Decoding::Sample,
    };
    let hint = "leave it out, or sample: --decode sample";
    let (decoding, mut sampling) = decoding(args, given, sampling, usual, hint)?;
    flags.loops.set(&mut sampling);
    sampling.stop = flags.stop.as_ref().map(|stop| stop.text.clone());
    sampling.log_prob = args.json;
    sampling.probabilities = flags.show_probs.unwrap_or(0) as usize;
    sampling.constrain.clone_from(&args.constrain);
    sampling.on_unknown = args.on_unknown.unwrap_or(sampling.on_unknown);
    if flags.mix.mix_ngram && matches!(decoding, Decoding::Beam(_)) {
        let message = "--mix-ngram samples, and beam:K searches";
        return Err(CliError::misuse(message, hint).into());
    }
    let model = text_model(file, args.open.options())?;
    let model = &mixed(&flags.mix, model, run.as_ref())?;
    let text = &model.header().text;
    let length = length.unwrap_or(model.usual_length());
    if let Some(file) = &flags.requests {
        let usual = Usual {
            sampling,
            length,
            has_seed: args.sampling.seed.is_some(),
        };
        let start = flags.state.as_ref().map(|path| restored(model, path));
        return answer(file, model, start.transpose()?.as_ref(), &usual);
    }
    let prompt = prompt_text(args)?;
    check_state_output(flags, model)?;
    let start = start(args, model, &prompt.clone().unwrap_or_default(), &sampling)?;
    let prompt = prompt.map(|prompt| model.normal(&prompt.text));
    if let Some(path) = &flags.save_state {
        start.save(path)?;
        note!("prompt state: {}", path.display());
    }
    let mut count = args.count.unwrap_or(1);
    let is_sampled = decoding == Decoding::Sample && sampling.temperature > 0.0;
    let is_greedy = !is_sampled && !matches!(decoding, Decoding::Beam(_)) && flags.fill.is_none();
    if count > 1 && is_greedy {
        note!("--count {count}: at temperature 0 there is only one text, which is written once");
        count = 1;
    }
    let mut shown = Shown {
        prompt: prompt.as_deref().filter(|_| !flags.no_prompt),
        json: args.json,
        table: flags.show_probs.is_some(),
        count,
        is_listed: text.documents == Documents::Line,
        cut: 0,
        seed: is_sampled.then_some(sampling.seed),
        paced: Paced::new(),
    };
    if let Some(text) = &flags.fill {
        let pattern = model.pattern(text, &sampling).context("--fill")?;
        if shown.seed.is_some() {
            note_seed(args, &sampling);
        }
        note_replaced(&pattern.replaced);
        let progress = Progress::of(count as u64, "sampled", "fillings");
        let mut index = 0;
        (shown.prompt, shown.count) = (shown.prompt.filter(|_| args.json), 1);
        start.fill(&pattern, decoding, &sampling, count, |sample| {
            progress.aside(|| shown.whole(index, &sample))?;
            index += 1;
            progress.show(index as u64);
            anyhow::Ok(())
        })?;
        progress.end();
        return Ok(());
    }
    let plan = start.plan(&sampling, length)?;
    if shown.seed.is_some() {
        note_seed(args, &sampling);
    }
    if let Decoding::Beam(width) = decoding {
        let progress = Progress::of(length as u64, "searched", "characters");
        let found = start.search(&plan, width, count, |length| progress.show(length as u64));
        progress.end();
        let mut found = found?.into_iter().enumerate();
        found.try_for_each(|(index, sample)| shown.whole(index, &sample))?;
    } else {
        let plan = if args.json { plan } else { plan.in_pieces() };
        start.write_many(&plan, count, |index, event| shown.event(index, event))?;
    }
    if !text.documents.is_none() {
        shown.say_cut(length);
    }
    Ok(())
}

/// Checks where the state after the prompt is to be saved, if that is asked for.
fn check_state_output(flags: &TextFlags, model: &TextModel) -> Result<()> {
    if let Some(path) = &flags.save_state {
        // By force it is replaced: it has been read by now.
        if let Some(state) = flags.state.as_deref().filter(|_| !flags.force.force)
            && same_file(path, state)
        {
            let message = format!("{}: is the state that is read", path.display());
            return Err(CliError::failed(message, "--force replaces it").into());
        }
        let sources = [(model.path(), "is the model that is used")];
        check_output(path, Format::PromptState, flags.force, &sources)?;
    }
    Ok(())
}

fn length(length: Option<Length>) -> Result<Option<usize>> {
    match length {
        None => Ok(None),
        Some(Length { least, most }) if least == most => Ok(Some(most)),
        Some(Length { least, most }) => {
            let message = format!("--length {least}-{most}: a text has one length");
            Err(CliError::misuse(message, "ranges are for the words of a word-vae").into())
        }
    }
}

/// The state in a file that was given.
fn restored(model: &TextModel, path: &Path) -> Result<Snapshot> {
    model.restore(path).map_err(|error| match &error {
        ModelError::File(RunError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let message = format!("{}: there is no such file", path.display());
            let hint = "--state takes a file that --save-state wrote";
            CliError::failed(message, hint).into()
        }
        _ => error.into(),
    })
}

/// The state that samples start from: a saved one, the prompt's, or that after a line end.
fn start(
    args: &GenerateArgs,
    model: &TextModel,
    prompt: &Typed,
    sampling: &Sampling,
) -> Result<Snapshot> {
    let (text, unknown) = (&prompt.text, sampling.on_unknown);
    let start = match &args.text.state {
        Some(path) => {
            let mut start = restored(model, path)?;
            start.extend(text, unknown).map(|()| start)
        }
        None => model.snapshot(text, unknown),
    };
    let start = start.map_err(|error| error.located(prompt))?;
    note_replaced(start.replaced());
    Ok(start)
}

/// The prompt that was typed, or that of standard input, which is taken as it is but for a byte-order mark.
fn prompt_text(args: &GenerateArgs) -> Result<Option<Typed>> {
    let prompt = &args.text.prompt;
    if prompt.as_ref().is_none_or(|prompt| prompt.text != "-") {
        return Ok(prompt.clone());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("the prompt on standard input")?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(Typed::raw(text.strip_prefix(BOM).unwrap_or(&text)))),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let message = format!("the prompt on standard input is not UTF-8 at byte offset {at}");
            Err(CliError::failed(message, "convert it first, with iconv for example").into())
        }
    }
}

/// Reports the characters that were replaced or left out.
pub fn note_replaced(pairs: &[(String, String)]) {
    let replaced = Replaced::default();
    replaced.add(pairs.to_vec());
    replaced.say();
}
