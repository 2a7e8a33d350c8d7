//! The page of one run or several.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indicatif::HumanCount;

use super::charts;
use super::facts::Facts;
use super::html::{document, table, text};
use super::measured::Colored;
use crate::cli::display::duration;
use crate::config::{Entry, ModelKind};
use crate::run::{Metrics, quoted};
use crate::train::memory;

/// The most samples of a run that are shown, spread over the training.
const SAMPLES: usize = 6;
/// The most characters of a sample, and of all facts that a file brings along.
const SAMPLE: usize = 4000;
/// The colours of surprisal, one for each half bit: from the page's own to red that letters are legible on in light and
/// in dark.
const COLORS: usize = 16;
const BRIGHTEST: f64 = 0.7;

/// The page of these runs.
pub fn of(all: &[Facts]) -> String {
    let names: Vec<&str> = all.iter().map(|facts| &facts.name[..]).collect();
    let title = names.join(", ");
    let mut body = format!("<h1>{}</h1>\n", text(&title));
    if let [facts] = all {
        body += &section(facts);
    } else {
        body += &comparison(all);
        for facts in all {
            let _ = writeln!(body, "<h2>{}</h2>", text(&facts.name));
            body += &section(facts);
        }
    }
    document(&title, &style(), &body)
}

/// The classes of the colours of surprisal.
fn style() -> String {
    let mut style = String::new();
    for step in 0..=COLORS {
        let part = 100.0 * BRIGHTEST * step as f64 / COLORS as f64;
        let _ = writeln!(
            style,
            "pre i.s{step} {{ background: rgb(216 71 63 / {part:.0}%); }}"
        );
    }
    style
}

/// Several runs beside each other.
fn comparison(all: &[Facts]) -> String {
    let mut body = String::new();
    body.extend(charts::compared(all));
    let best = |facts: &Facts| match facts.summary.best_loss {
        Some(loss) => format!("{loss:.4} {}", facts.summary.unit),
        None => "–".to_owned(),
    };
    let entries: Vec<Vec<Entry>> = all
        .iter()
        .map(|facts| facts.config.to_settings().entries())
        .collect();
    let keys: BTreeSet<String> = entries.iter().flatten().map(Entry::key).collect();
    let value = |of: &[Entry], key: &str| {
        let found = of.iter().find(|entry| entry.key() == key);
        found.map_or_else(|| "–".to_owned(), |entry| entry.value.clone())
    };
    let head = |facts: &Facts| facts.name.clone();
    let head: Vec<String> = std::iter::once(String::new())
        .chain(all.iter().map(head))
        .collect();
    let mut rows = vec![
        named("best validation", all.iter().map(best)),
        named(
            "steps",
            all.iter()
                .map(|facts| HumanCount(facts.summary.step).to_string()),
        ),
        named(
            "characters read",
            all.iter().map(|facts| chars(facts.lines.last())),
        ),
        named("time", all.iter().map(|facts| time(facts.lines.last()))),
        named(
            "parameters",
            all.iter().map(|facts| {
                facts
                    .parameters
                    .map_or_else(|| "–".to_owned(), |n| HumanCount(n).to_string())
            }),
        ),
    ];
    for key in keys {
        let values: Vec<String> = entries.iter().map(|of| value(of, &key)).collect();
        if values.iter().any(|value| *value != values[0]) {
            rows.push(named(&key, values));
        }
    }
    body + "<h3>What differs</h3>\n" + &table(&head, &rows)
}

fn named(name: &str, values: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(values).collect()
}

fn chars(line: Option<&Metrics>) -> String {
    line.map_or_else(|| "–".to_owned(), |line| HumanCount(line.chars).to_string())
}

fn time(line: Option<&Metrics>) -> String {
    line.map_or_else(|| "–".to_owned(), |line| duration(line.seconds))
}

/// All about one run.
fn section(facts: &Facts) -> String {
    let summary = &facts.summary;
    let mut body = format!(
        "<p class=\"about\">{} on {} · {}</p>\n",
        text(facts.config.model_name()),
        text(&summary.corpus),
        summary.status
    );
    for gap in facts.gaps.iter().chain(&summary.failure) {
        let _ = writeln!(body, "<p class=\"gap\">{}</p>", text(gap));
    }
    if facts.rollbacks > 0 {
        let _ = writeln!(
            body,
            "<p class=\"gap\">The loss was not finite {}: the training went back and goes on with a lower learning rate.</p>",
            if facts.rollbacks == 1 {
                "once".to_owned()
            } else {
                format!("{} times", facts.rollbacks)
            }
        );
    }
    body += &table(&[], &results(facts));
    match charts::losses(facts) {
        Some(chart) => body += &chart,
        None => body += "<p>There is no evaluation yet.</p>\n",
    }
    for chart in charts::small(facts) {
        body += &chart;
    }
    body += &samples(facts);
    body += &colored(&facts.text.colored);
    body += &words(facts);
    body.extend(["<h3>Corpus</h3>\n", &corpus(facts), &settings(facts)]);
    body
}

/// The figures of a run.
fn results(facts: &Facts) -> Vec<Vec<String>> {
    let (summary, last) = (&facts.summary, facts.lines.last());
    let kept = Metrics::kept(&facts.lines, &facts.config);
    let best_step = facts
        .lines
        .iter()
        .filter_map(|line| Some((line.step, line.valid?.selection(&facts.config))))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(step, _)| step);
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(kept) = &kept {
        row("validation", kept.describe());
    }
    if let Some(test) = last.and_then(|line| line.test) {
        row("test", test.describe());
    }
    if let Some(ngrams) = facts.text.ngrams.or(facts.words.ngrams) {
        let unit = summary.unit;
        let unigram = ngrams
            .unigram
            .map(|cost| format!(", unigram {cost:.4} {unit}"));
        let best = format!("{}-gram {:.4} {unit}", ngrams.order, ngrams.best);
        row("n-gram models", best + &unigram.unwrap_or_default());
    }
    if let Some((name, cost)) = &facts.no_latent {
        row(
            "no-latent baseline",
            format!("{name}: {cost:.4} {}", summary.unit),
        );
    }
    if let (Some(step), false) = (best_step, facts.config.keeps_newest()) {
        row("best at step", HumanCount(step).to_string());
    }
    row("steps", HumanCount(summary.step).to_string());
    if let Some(line) = last {
        row("passes", format!("{:.1}", line.epoch));
        row("characters read", chars(last));
        row("time", time(last));
        let rate = line.chars as f64 / line.seconds.max(1e-9);
        row("speed", format!("{} characters/s", HumanCount(rate as u64)));
    }
    if let Some(parameters) = facts.parameters {
        row("parameters", HumanCount(parameters).to_string());
    }
    if let Some(bytes) = facts.memory {
        row(
            "memory of the training",
            format!("about {}", memory::shown(bytes)),
        );
    }
    rows
}

/// What the model wrote while it learnt.
fn samples(facts: &Facts) -> String {
    let count = facts.samples.len();
    if count == 0 {
        return String::new();
    }
    let kept = count.min(SAMPLES);
    let mut body = match count - kept {
        0 => "<h3>Samples while it learnt</h3>\n".to_owned(),
        _ => format!("<h3>Samples while it learnt: {kept} of {count}</h3>\n"),
    };
    for place in 0..kept {
        let (step, sample) = &facts.samples[place * (count - 1) / (kept - 1).max(1)];
        let shown: String = sample.trim_end().chars().take(SAMPLE).collect();
        let more = if shown.len() < sample.trim_end().len() {
            " …"
        } else {
            ""
        };
        let _ = writeln!(
            body,
            "<p class=\"about\">step {}</p>\n<pre class=\"sample\">{}{more}</pre>",
            HumanCount(*step),
            text(&shown)
        );
    }
    body
}

/// Held-out text, coloured.
fn colored(glyphs: &[Colored]) -> String {
    if glyphs.is_empty() {
        return String::new();
    }
    let bits: Vec<f64> = glyphs.iter().filter_map(|(_, bits)| *bits).collect();
    let mean = bits.iter().sum::<f64>() / bits.len().max(1) as f64;
    let mut body = format!(
        "<h3>Held-out text by surprisal</h3>\n<p class=\"about\">{} characters, {mean:.2} bits each on average; hover over one for its own</p>\n<pre>",
        HumanCount(bits.len() as u64)
    );
    for step in (0..=COLORS).step_by(2) {
        let more = if step == COLORS { "+" } else { "" };
        let _ = write!(body, "<i class=\"s{step}\"> {}{more} </i>", step / 2);
    }
    body += " bits\n\n";
    for (glyph, bits) in glyphs {
        let shown = text(glyph);
        let Some(bits) = bits else {
            body += &shown;
            continue;
        };
        let step = (bits * COLORS as f64 / 8.0)
            .round()
            .clamp(0.0, COLORS as f64) as usize;
        // A line end is shown as a coloured space.
        let (space, end) = match shown.strip_suffix('\n') {
            Some(rest) => (format!("{rest} "), "\n"),
            None => (shown, ""),
        };
        let _ = write!(
            body,
            "<i class=\"s{step}\" title=\"{bits:.1}\">{space}</i>{end}"
        );
    }
    body + "</pre>\n"
}

/// What a word-vae learnt.
fn words(facts: &Facts) -> String {
    let words = &facts.words;
    let mut body = String::new();
    if let Some(carries) = &words.carries {
        let _ = writeln!(
            body,
            "<h3>What z carries</h3>\n<p>R is {:.3} nats a word, of which {:.3} are information about the word; {} of {} dimensions are active.</p>\n{}",
            carries.rate_nats,
            carries.information_nats,
            carries.active_units,
            carries.rate_nats_per_dimension.len(),
            charts::dimensions(&carries.rate_nats_per_dimension)
        );
    }
    if let Some(map) = &words.map {
        let _ = writeln!(body, "<h3>Map of held-out words</h3>\n{map}");
    }
    if !words.invented.is_empty() {
        body += "<h3>Invented words</h3>\n<ul class=\"words\">\n";
        for word in &words.invented {
            let _ = writeln!(body, "<li>{}</li>", text(word));
        }
        body += "</ul>\n";
    }
    if !words.back.is_empty() {
        let exact = words.back.iter().filter(|back| back.edits == 0).count();
        let _ = writeln!(
            body,
            "<h3>Held-out words, encoded and decoded: {exact} of {} exact</h3>",
            words.back.len()
        );
        let head = ["word", "decoded", "edits"].map(str::to_owned);
        let rows: Vec<Vec<String>> = words
            .back
            .iter()
            .map(|back| vec![back.word.clone(), back.back.clone(), back.edits.to_string()])
            .collect();
        body += &table(&head, &rows);
    }
    body
}

fn corpus(facts: &Facts) -> String {
    let rows = facts.corpus.iter();
    let rows: Vec<Vec<String>> = rows
        .map(|(name, value)| vec![(*name).to_owned(), value.clone()])
        .collect();
    table(&[], &rows)
}

/// The settings that are not those of every run, and the command that trains the run again.
fn settings(facts: &Facts) -> String {
    let entries = facts.config.to_settings().entries();
    let own: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.is_default_of_model())
        .collect();
    let rows: Vec<Vec<String>> = own
        .iter()
        .map(|entry| vec![entry.key(), entry.value.clone()])
        .collect();
    let model = match facts.config.kind() {
        ModelKind::CharRnn => "char-lstm",
        ModelKind::WordVae => "word-vae",
    };
    let flags: Vec<String> = own
        .iter()
        .map(|entry| format!(" --{} {}", entry.key(), quoted(&entry.value)))
        .collect();
    let texts: Vec<String> = facts
        .config
        .corpus
        .iter()
        .map(|text| format!(" {}", quoted(text)))
        .collect();
    let command = format!(
        "textgen train --model {model}{}{}",
        flags.concat(),
        texts.concat()
    );
    format!(
        "<h3>Settings beyond the defaults</h3>\n{}<h3>The same training again</h3>\n<pre>{}</pre>\n",
        table(&[], &rows),
        text(&command)
    )
}
