//! Prints the costs of a text, its lines, words or characters.

use std::f64::consts::LN_2;
use std::io::Write as _;

use crate::evaluate::posterior;
use crate::text::{is_control, visible};
use anyhow::Result;
use serde::Serialize;

use super::scored::{Per, Row, Scored};
use super::{Order, ScoreArgs};
use crate::cli::error::CliError;
use crate::cli::output::Table;

/// The number of lines listed below a summary.
const LINES_SHOWN: usize = 10;
/// The most characters of a line that a table shows.
const CHARS_SHOWN: usize = 80;

/// A row as JSON.
#[derive(Serialize)]
struct Shown<'a> {
    line: usize,
    column: usize,
    /// Absent if the row is the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    tokens: u64,
    models: Vec<Cost<'a>>,
}

/// The cost of a row under one model.
#[derive(Serialize)]
struct Cost<'a> {
    model: &'a str,
    nats: f64,
    /// `None` if no character is counted.
    bits_per_char: Option<f64>,
    /// p(model | row), if there are several models.
    #[serde(skip_serializing_if = "Option::is_none")]
    posterior: Option<f64>,
}

impl<'a> Shown<'a> {
    fn new(row: &Row<'a>, per: Per, names: &'a [String]) -> Self {
        let posterior = (names.len() > 1).then(|| posterior(&row.nats));
        let cost = |(index, name): (usize, &'a String)| Cost {
            model: name,
            nats: row.nats[index],
            bits_per_char: bits_per_char(row, index),
            posterior: posterior.as_ref().map(|all| all[index]),
        };
        Self {
            line: row.line,
            column: row.column,
            text: (per != Per::File).then_some(row.text),
            tokens: row.tokens,
            models: names.iter().enumerate().map(cost).collect(),
        }
    }
}

fn bits_per_char(row: &Row, model: usize) -> Option<f64> {
    (row.tokens > 0).then(|| row.nats[model] / LN_2 / row.tokens as f64)
}

/// Prints the costs of a text as the flags ask.
pub fn print(args: &ScoreArgs, scored: &Scored, file: &str, names: &[String]) -> Result<()> {
    let whole = scored.rows(Per::File);
    let Some(whole) = whole.first().filter(|whole| whole.tokens > 0) else {
        let message = format!("{file}: no part of it can be scored");
        let hint = "a text of two characters that every model knows is the least";
        return Err(CliError::failed(message, hint).into());
    };
    let flags = &args.text;
    let Some(per) = flags.per.or((!args.format.is_table()).then_some(Per::Line)) else {
        let mut out = crate::cli::output::stdout();
        out.write_all(summary(whole, names).text().as_bytes())?;
        let shown = flags.top.unwrap_or(LINES_SHOWN);
        let lines = ordered(scored.rows(Per::Line), whole, Order::Score, shown);
        writeln!(out)?;
        let mut table = Table::new(&["LINE", "CHARS", "BITS/CHAR", "TEXT"]);
        let best = best(whole);
        for line in lines {
            let bits = bits_per_char(&line, best);
            table.row(vec![
                line.line.to_string(),
                line.tokens.to_string(),
                bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.3}")),
                shortened(line.text),
            ]);
        }
        out.write_all(table.text().as_bytes())?;
        return Ok(());
    };
    let rows = ordered(scored.rows(per), whole, args.sort, flags.top.unwrap_or(0));
    let lines: Vec<Shown> = rows.iter().map(|row| Shown::new(row, per, names)).collect();
    let header = header(per, names);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let is_table = args.format.is_table();
    args.format
        .print(&header, &lines, |line| cells(line, per, file, is_table))
}

/// Rows in the order asked for, at most `most` of them, or all if that is 0. The most unusual row is
/// the one whose cost exceeds the average cost of as many characters the most, under the model that
/// predicts the text best.
fn ordered<'a>(mut rows: Vec<Row<'a>>, whole: &Row, order: Order, most: usize) -> Vec<Row<'a>> {
    if order == Order::Score {
        let best = best(whole);
        let mean = whole.nats[best] / whole.tokens as f64;
        let beyond = |row: &Row| row.nats[best] - mean * row.tokens as f64;
        rows.sort_by(|a, b| beyond(b).total_cmp(&beyond(a)));
    }
    if most > 0 {
        rows.truncate(most);
    }
    rows
}

/// The index of the model under which the text costs the least.
fn best(whole: &Row) -> usize {
    let all = 0..whole.nats.len();
    all.min_by(|&a, &b| whole.nats[a].total_cmp(&whole.nats[b]))
        .unwrap_or(0)
}

/// The summary: one row per model.
fn summary(whole: &Row, names: &[String]) -> Table {
    let several = names.len() > 1;
    let mut header = vec!["MODEL", "CHARS", "NATS/CHAR", "BITS/CHAR", "PERPLEXITY"];
    if several {
        header.push("POSTERIOR");
    }
    let posterior = posterior(&whole.nats);
    let mut table = Table::new(&header);
    for ((name, nats), posterior) in names.iter().zip(&whole.nats).zip(posterior) {
        let per_char = nats / whole.tokens as f64;
        let mut cells = vec![
            name.clone(),
            whole.tokens.to_string(),
            format!("{per_char:.4}"),
            format!("{:.4}", per_char / LN_2),
            format!("{:.3}", per_char.exp()),
        ];
        if several {
            cells.push(format!("{posterior:.4}"));
        }
        table.row(cells);
    }
    table
}

/// The names of the columns: place, size, costs under each model, text.
fn header(per: Per, names: &[String]) -> Vec<String> {
    let place: &[&str] = match per {
        Per::File => &[],
        Per::Line | Per::Document => &["line"],
        Per::Word | Per::Char => &["line", "column"],
    };
    let mut header: Vec<String> = place.iter().map(|&name| name.to_owned()).collect();
    header.push("chars".to_owned());
    if let [_] = names {
        header.extend(["nats".to_owned(), "bits/char".to_owned()]);
    } else {
        header.extend(names.iter().map(|name| format!("nats {name}")));
        header.extend(names.iter().map(|name| format!("p {name}")));
    }
    header.push(if per == Per::File { "file" } else { "text" }.to_owned());
    header
}

/// A row's cells; the text is cut for people.
fn cells(line: &Shown, per: Per, file: &str, is_table: bool) -> Vec<String> {
    let mut cells = match per {
        Per::File => Vec::new(),
        Per::Line | Per::Document => vec![line.line.to_string()],
        Per::Word | Per::Char => vec![line.line.to_string(), line.column.to_string()],
    };
    cells.push(line.tokens.to_string());
    cells.extend(line.models.iter().map(|cost| format!("{:.4}", cost.nats)));
    if let [cost] = &line.models[..] {
        let bits = cost.bits_per_char;
        cells.push(bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.4}")));
    }
    let posteriors = line.models.iter().filter_map(|cost| cost.posterior);
    cells.extend(posteriors.map(|p| format!("{p:.4}")));
    let text = line.text.unwrap_or(file);
    cells.push(match per {
        Per::Char => visible(text),
        Per::File => text.to_owned(),
        Per::Line | Per::Document | Per::Word if is_table => shortened(text),
        Per::Line | Per::Document | Per::Word => text.trim_end().to_owned(),
    });
    cells
}

/// A text for a cell of a table: control characters are made visible; a tab becomes a space.
fn printable(text: &str) -> String {
    let printable = |c: char| match c {
        '\t' => " ".to_owned(),
        c if is_control(c) => visible(&c.to_string()),
        c => c.to_string(),
    };
    text.chars().map(printable).collect()
}

/// A line cut to the width of a table.
fn shortened(text: &str) -> String {
    let text = printable(text.trim_end());
    if text.chars().count() <= CHARS_SHOWN {
        return text;
    }
    let start: String = text.chars().take(CHARS_SHOWN - 1).collect();
    format!("{start}…")
}
