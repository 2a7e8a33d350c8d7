//! `generate --requests`: a line of JSON in, a line of JSON out, with the model kept loaded.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use crate::config::{OnUnknown, Sampling};
use crate::model::{Ending, Snapshot, TextModel};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::new_seed;
use super::text::BOM;
use crate::cli::error::{CliError, explained};
use crate::cli::output::stdout;

/// What holds for a request that does not say otherwise.
pub struct Usual {
    pub sampling: Sampling,
    pub length: usize,
    /// Whether the seed was given; if not, each request has a new one.
    pub has_seed: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    id: Option<Value>,
    prompt: Option<String>,
    length: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    repetition_window: Option<usize>,
    seed: Option<u64>,
    stop: Option<String>,
    constrain: Option<String>,
    on_unknown: Option<OnUnknown>,
}

#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    /// Absent if nothing was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    text: String,
    tokens: usize,
    log_prob_nats: f64,
    ended: Ending,
    /// Characters of the prompt that the model does not know, and what they were read as; null if left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<(String, Option<String>)>,
}

/// The answer to a request that cannot be fulfilled.
#[derive(Serialize)]
struct Failure {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    /// The number of the line, from 1.
    line: usize,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Answers the requests in `file` (`-` is standard input), one after the other. Prompts follow `start`.
pub fn answer(
    file: &Path,
    model: &TextModel,
    start: Option<&Snapshot>,
    usual: &Usual,
) -> Result<()> {
    let mut lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let wanted = "a file with one JSON object a line, or - for standard input";
        let opened = File::open(file);
        let opened = opened.map_err(|e| CliError::unreadable("--requests", file, &e, wanted))?;
        Box::new(BufReader::new(opened))
    };
    let mut out = stdout();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).context("--requests")? == 0 {
            break;
        }
        let mut id = None;
        let answer = match one(&line, number == 1, model, start, usual, &mut id) {
            Ok(answer) => serde_json::to_string(&answer)?,
            Err(error) => serde_json::to_string(&Failure {
                id,
                line: number,
                error: format!("{error:#}"),
                hint: explained(&error).1,
            })?,
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// The answer to one line; `id` becomes that of the request as soon as it is known.
fn one(
    line: &[u8],
    is_first: bool,
    model: &TextModel,
    start: Option<&Snapshot>,
    usual: &Usual,
    id: &mut Option<Value>,
) -> Result<Answer> {
    let line = std::str::from_utf8(line).context("this line is not UTF-8")?;
    let line = line.strip_prefix(BOM).filter(|_| is_first).unwrap_or(line);
    let request: Request = serde_json::from_str(line).map_err(|error| {
        // Every request is on a line of its own.
        let why = error
            .to_string()
            .replace(" at line 1 column ", " at column ");
        let hint = r#"a request is one JSON object, as in {"prompt":"The giant","seed":1}"#;
        CliError::misuse(format!("not a request: {why}"), hint)
    })?;
    id.clone_from(&request.id);
    let sampling = request.sampling(usual);
    sampling.validate()?;
    let prompt = request.prompt.as_deref().unwrap_or_default();
    let start = match start {
        Some(start) => {
            let mut start = start.clone();
            start.extend(prompt, sampling.on_unknown)?;
            start
        }
        None => model.snapshot(prompt, sampling.on_unknown)?,
    };
    let unknown = start.replaced().iter().cloned();
    let unknown = unknown.map(|(from, to)| (from, Some(to).filter(|to| !to.is_empty())));
    let unknown = unknown.collect();
    let plan = start.plan(&sampling, request.length.unwrap_or(usual.length))?;
    let sample = { start }.write(&plan, 0, |_| anyhow::Ok(true))?;
    Ok(Answer {
        id: request.id,
        seed: (sampling.temperature > 0.0).then_some(sampling.seed),
        tokens: sample.tokens.len(),
        text: sample.text,
        log_prob_nats: sample.log_prob,
        ended: sample.ending,
        unknown,
    })
}

impl Request {
    fn sampling(&self, usual: &Usual) -> Sampling {
        let flags = &usual.sampling;
        let seed = self.seed.or(usual.has_seed.then_some(flags.seed));
        Sampling {
            temperature: self.temperature.unwrap_or(flags.temperature),
            top_k: self.top_k.or(flags.top_k),
            top_p: self.top_p.or(flags.top_p),
            min_p: self.min_p.or(flags.min_p),
            seed: seed.unwrap_or_else(new_seed),
            repetition_penalty: self.repetition_penalty.unwrap_or(flags.repetition_penalty),
            repetition_window: self.repetition_window.unwrap_or(flags.repetition_window),
            stop: self.stop.clone().or_else(|| flags.stop.clone()),
            constrain: self.constrain.clone().or_else(|| flags.constrain.clone()),
            on_unknown: self.on_unknown.unwrap_or(flags.on_unknown),
            log_prob: true,
            ..flags.clone()
        }
    }
}
