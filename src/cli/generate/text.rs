//! Texts from a char-lstm, shown while they are written.

use std::io::Read as _;

use crate::config::{Decoding, Sampling};
use crate::model::{Snapshot, TextModel};
use anyhow::{Context, Result};

use super::shown::{Paced, Shown};
use super::{GenerateArgs, Length, decoding, note_seed};
use crate::cli::chosen::{Opened, text_model};
use crate::cli::error::CliError;
use crate::cli::given::Given;
use crate::cli::mixing::mixed;
use crate::cli::output::note;
use crate::cli::progress::Progress;
use crate::cli::target::{Format, check_output};
use crate::cli::unknown::Replaced;

/// Default number of tokens of a text.
const DEFAULT_LENGTH: usize = 500;
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
    sampling.stop.clone_from(&flags.stop);
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
    let prompt = prompt_text(args)?.map(|prompt| model.normal(&prompt));
    let text = prompt.as_deref().unwrap_or_default();
    let start = start(args, model, text, &sampling)?;
    if let Some(path) = &flags.save_state {
        let sources = [(model.path(), "is the model that is used")];
        check_output(path, Format::PromptState, flags.force, &sources)?;
        start.save(path)?;
        note!("prompt state: {}", path.display());
    }
    let count = args.count.unwrap_or(1);
    let mut shown = Shown {
        prompt: prompt.as_deref(),
        json: args.json,
        table: flags.show_probs.is_some(),
        count,
        seed: (decoding == Decoding::Sample).then_some(sampling.seed),
        paced: Paced::new(),
    };
    if shown.seed.is_some() {
        note_seed(args, &sampling);
    }
    if let Some(text) = &flags.fill {
        let pattern = model.pattern(text, &sampling)?;
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
    if let Decoding::Beam(width) = decoding {
        let progress = Progress::of(length as u64, "searched", "characters");
        let found = start.search(&plan, width, count, |length| progress.show(length as u64));
        progress.end();
        let mut found = found?.into_iter().enumerate();
        return found.try_for_each(|(index, sample)| shown.whole(index, &sample));
    }
    start.write_many(&plan, count, |index, event| shown.event(index, event))
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

/// The state that samples start from: a saved one, the prompt's, or that after a line end.
fn start(
    args: &GenerateArgs,
    model: &TextModel,
    prompt: &str,
    sampling: &Sampling,
) -> Result<Snapshot> {
    let start = match &args.text.state {
        Some(path) => {
            let mut start = model.restore(path)?;
            start.extend(prompt, sampling.on_unknown)?;
            start
        }
        None => model.snapshot(prompt, sampling.on_unknown)?,
    };
    note_replaced(start.replaced());
    Ok(start)
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

/// Reports the characters that were replaced.
pub fn note_replaced(pairs: &[(String, String)]) {
    let replaced = Replaced::default();
    replaced.add(pairs.to_vec());
    replaced.say();
}
