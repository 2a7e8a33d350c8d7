//! `generate --requests`: a line of JSON in, a line of JSON out, with the model kept loaded.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;

use crate::config::{OnUnknown, Sampling};
use crate::model::{Ending, Snapshot, TextModel};
use anyhow::{Context as _, Result};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::new_seed;
use super::text::BOM;
use crate::cli::error::{CliError, explained};
use crate::cli::output::{json_line, stdout};

/// What holds for a request that does not say otherwise.
pub struct Usual {
    pub sampling: Sampling,
    pub length: usize,
    /// Whether the seed was given; if not, each request has a new one.
    pub has_seed: bool,
}

/// The keys of a request.
const KEYS: [&str; 13] = [
    "id",
    "prompt",
    "length",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "repetition_window",
    "seed",
    "stop",
    "constrain",
    "on_unknown",
];
/// The hint for a line that is no request.
const EXAMPLE: &str = r#"a request is one JSON object, as in {"prompt":"The giant","seed":1}"#;

/// The keys and values of a JSON object, in its order; unlike a map, it has those given twice.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(OfEntries)
    }
}

struct OfEntries;

impl<'de> Visitor<'de> for OfEntries {
    type Value = Entries;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

impl Entries {
    fn read(line: &str) -> Result<Self> {
        serde_json::from_str(line).map_err(|error| {
            // Every request is on a line of its own.
            let why = error
                .to_string()
                .replace(" at line 1 column ", " at column ")
                .replace("invalid type: sequence", "an array");
            CliError::misuse(format!("not a request: {why}"), EXAMPLE).into()
        })
    }

    /// Refuses a key that no request has, or that is given twice.
    fn check(&self) -> Result<()> {
        for (at, (key, _)) in self.0.iter().enumerate() {
            let hint = format!("the keys are {}", KEYS.join(", "));
            if !KEYS.contains(&key.as_str()) {
                return Err(CliError::misuse(format!("{key}: no such key"), hint).into());
            }
            if self.0[..at].iter().any(|(other, _)| other == key) {
                let message = format!("{key}: given twice");
                return Err(CliError::misuse(message, "give each key once").into());
            }
        }
        Ok(())
    }

    /// The value of a key, which must be what `wanted` says; null is as if the key were absent.
    fn get<T: DeserializeOwned>(&self, key: &str, wanted: &str) -> Result<Option<T>> {
        let found = self.0.iter().find(|(other, _)| other == key);
        let Some((_, value)) = found.filter(|(_, value)| !value.is_null()) else {
            return Ok(None);
        };
        T::deserialize(value).map(Some).map_err(|_| {
            let message = format!("{key}: {value} is not {wanted}");
            CliError::misuse(message, format!("{key} takes {wanted}")).into()
        })
    }
}

struct Request {
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

impl Request {
    fn new(entries: &Entries) -> Result<Self> {
        entries.check()?;
        let (text, number, whole) = ("a string", "a number", "a whole number from 0 on");
        Ok(Self {
            prompt: entries.get("prompt", text)?,
            length: entries.get("length", whole)?,
            temperature: entries.get("temperature", number)?,
            top_k: entries.get("top_k", whole)?,
            top_p: entries.get("top_p", number)?,
            min_p: entries.get("min_p", number)?,
            repetition_penalty: entries.get("repetition_penalty", number)?,
            repetition_window: entries.get("repetition_window", whole)?,
            seed: entries.get("seed", whole)?,
            stop: entries.get("stop", text)?,
            constrain: entries.get("constrain", text)?,
            on_unknown: entries.get("on_unknown", "one of \"error\", \"skip\", \"nearest\"")?,
        })
    }
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

/// Answers the requests in `file` (`-` is standard input), one after the other. Prompts follow `start`; blank lines are
/// passed over.
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
        if line.trim_ascii().is_empty() {
            continue;
        }
        let mut id = None;
        let answer = match one(&line, number == 1, model, start, usual, &mut id) {
            Ok(answer) => json_line(&answer)?,
            Err(error) => json_line(&Failure {
                id,
                line: number,
                error: in_keys(&format!("{error:#}")),
                hint: explained(&error).1.as_deref().map(in_keys),
            })?,
        };
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// A message with the keys of a request in the place of flags.
fn in_keys(message: &str) -> String {
    let mut message = message.to_owned();
    for key in KEYS {
        message = message.replace(&format!("--{}", key.replace('_', "-")), key);
    }
    message
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
    let entries = Entries::read(line.trim_end())?;
    *id = entries.get("id", "a value")?;
    let request = Request::new(&entries)?;
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
        id: id.take(),
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
