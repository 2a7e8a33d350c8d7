//! Prints the costs of a text, its lines, words or characters.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::io::Write as _;
use std::rc::Rc;

use crate::evaluate::posterior;
use crate::text::{is_control, visible};
use anyhow::Result;
use serde::Serialize;

use super::scored::{Per, Row, Rows, Scored};
use super::{Order, ScoreArgs};
use crate::cli::error::CliError;
use crate::cli::output::{Lines, Table};

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
    fn new(row: &'a Row, per: Per, names: &'a [String]) -> Self {
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
            text: (per != Per::File).then_some(&row.text[..]),
            tokens: row.tokens,
            models: names.iter().enumerate().map(cost).collect(),
        }
    }
}

fn bits_per_char(row: &Row, model: usize) -> Option<f64> {
    (row.tokens > 0).then(|| row.nats[model] / LN_2 / row.tokens as f64)
}

/// Prints the costs of a text as the flags ask, while its windows come.
pub struct Report<'a> {
    args: &'a ScoreArgs,
    file: &'a str,
    names: &'a [String],
    /// The kind of rows that are asked for; `None` is a summary and its most unusual lines.
    per: Option<Per>,
    whole: Rows,
    rows: Rows,
    kept: Kept,
}

/// The rows of a text, in the order asked for.
enum Kept {
    /// They are printed as they come.
    Printed(Printed),
    /// The most unusual, or all.
    Unusual(Unusual),
}

/// Rows that are printed as they come.
struct Printed {
    lines: Lines,
    /// The most that are still to be printed.
    left: usize,
    /// Rows before the first that counts: a text that cannot be scored is an error, and prints nothing.
    waiting: Vec<Row>,
    counts: bool,
}

impl<'a> Report<'a> {
    pub fn new(args: &'a ScoreArgs, file: &'a str, names: &'a [String]) -> Result<Self> {
        let flags = &args.text;
        let per = flags.per.or((!args.format.is_table()).then_some(Per::Line));
        let most = |shown: Option<usize>| shown.filter(|&most| most > 0).unwrap_or(usize::MAX);
        let kept = match per {
            None => Kept::Unusual(Unusual::new(
                names.len(),
                most(flags.top.or(Some(LINES_SHOWN))),
            )),
            Some(_) if args.sort == Order::Score => {
                Kept::Unusual(Unusual::new(names.len(), most(flags.top)))
            }
            Some(per) => Kept::Printed(Printed {
                lines: lines(args, per, names)?,
                left: most(flags.top),
                waiting: Vec::new(),
                counts: false,
            }),
        };
        Ok(Self {
            args,
            file,
            names,
            per,
            whole: Rows::new(Per::File),
            rows: Rows::new(per.unwrap_or(Per::Line)),
            kept,
        })
    }

    /// Takes the next window of the text.
    pub fn read(&mut self, window: &Scored) -> Result<()> {
        self.whole.read(window, |_| anyhow::Ok(()))?;
        let shown = self.shower();
        let kept = &mut self.kept;
        self.rows.read(window, |row| kept.take(row, &shown))
    }

    fn shower(&self) -> Shower<'a> {
        Shower {
            per: self.per.unwrap_or(Per::Line),
            names: self.names,
            file: self.file,
            is_table: self.args.format.is_table(),
        }
    }

    /// Prints what is left.
    pub fn end(mut self) -> Result<()> {
        let shown = self.shower();
        let Some(whole) = self.whole.finish().filter(|whole| whole.tokens > 0) else {
            let message = format!("{}: no part of it can be scored", self.file);
            let hint = "a text of two characters that every model knows is the least";
            return Err(CliError::failed(message, hint).into());
        };
        if let Some(row) = self.rows.finish() {
            self.kept.take(row, &shown)?;
        }
        match (self.kept, self.per) {
            (Kept::Printed(rows), _) => rows.lines.end(),
            (Kept::Unusual(rows), Some(per)) => {
                let mut lines = lines(self.args, per, self.names)?;
                for row in rows.ordered(&whole) {
                    shown.print(&row, &mut lines)?;
                }
                lines.end()
            }
            (Kept::Unusual(rows), None) => summarize(&whole, rows, self.names),
        }
    }
}

impl Kept {
    fn take(&mut self, row: Row, shown: &Shower) -> Result<()> {
        match self {
            Self::Printed(rows) => rows.take(row, shown)?,
            Self::Unusual(rows) => rows.take(row),
        }
        Ok(())
    }
}

impl Printed {
    fn take(&mut self, row: Row, shown: &Shower) -> Result<()> {
        self.counts |= row.tokens > 0;
        if self.waiting.len() < self.left {
            self.waiting.push(row);
        }
        if self.counts {
            for row in self.waiting.drain(..) {
                shown.print(&row, &mut self.lines)?;
                self.left -= 1;
            }
        }
        Ok(())
    }
}

fn lines(args: &ScoreArgs, per: Per, names: &[String]) -> Result<Lines> {
    let header = header(per, names);
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    args.format.lines(&header)
}

/// How a row is shown.
struct Shower<'a> {
    per: Per,
    names: &'a [String],
    file: &'a str,
    is_table: bool,
}

impl Shower<'_> {
    fn print(&self, row: &Row, lines: &mut Lines) -> Result<()> {
        let shown = Shown::new(row, self.per, self.names);
        lines.row(&shown, || cells(&shown, self.per, self.file, self.is_table))
    }
}

/// Prints what the whole text costs under each model, and the most unusual lines.
fn summarize(whole: &Row, rows: Unusual, names: &[String]) -> Result<()> {
    let mut out = crate::cli::output::stdout();
    out.write_all(summary(whole, names).text().as_bytes())?;
    writeln!(out)?;
    let mut table = Table::new(&["LINE", "CHARS", "BITS/CHAR", "TEXT"]);
    let best = best(whole);
    for line in rows.ordered(whole) {
        let bits = bits_per_char(&line, best);
        table.row(vec![
            line.line.to_string(),
            line.tokens.to_string(),
            bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.3}")),
            shortened(&line.text),
        ]);
    }
    out.write_all(table.text().as_bytes())?;
    Ok(())
}

/// A row with its place in the text.
type Placed = Rc<(usize, Row)>;

/// The most unusual rows: those whose cost exceeds the average cost of as many characters the most, under the model
/// that predicts the text best. Neither the average nor that model is known before the end. But of the rows with
/// equally many characters, those that cost the most exceed any average the most, so no others need to be kept.
struct Unusual {
    most: usize,
    taken: usize,
    /// For each model, by the number of characters: rows, those that cost the most first.
    by_length: Vec<BTreeMap<u64, Vec<Placed>>>,
    /// The rows, if all are wanted.
    all: Vec<Row>,
}

impl Unusual {
    fn new(models: usize, most: usize) -> Self {
        Self {
            most,
            taken: 0,
            by_length: vec![BTreeMap::new(); models],
            all: Vec::new(),
        }
    }

    fn take(&mut self, row: Row) {
        if self.most == usize::MAX {
            self.all.push(row);
            return;
        }
        let row = Rc::new((self.taken, row));
        self.taken += 1;
        for (model, rows) in self.by_length.iter_mut().enumerate() {
            let nats = row.1.nats[model];
            let rows = rows.entry(row.1.tokens).or_default();
            let at = rows.partition_point(|other| other.1.nats[model] >= nats);
            if at < self.most {
                rows.truncate(self.most - 1);
                rows.insert(at, Rc::clone(&row));
            }
        }
    }

    /// The rows wanted, the most unusual first, equal ones in the order of the text.
    fn ordered(mut self, whole: &Row) -> Vec<Row> {
        let best = best(whole);
        let mut rows = self.all;
        if self.most < usize::MAX {
            let kept = self.by_length.swap_remove(best);
            drop(self.by_length);
            let mut kept: Vec<_> = kept.into_values().flatten().collect();
            kept.sort_by_key(|row| row.0);
            rows = kept
                .into_iter()
                .map(|row| Rc::unwrap_or_clone(row).1)
                .collect();
        }
        let mean = whole.nats[best] / whole.tokens as f64;
        let beyond = |row: &Row| row.nats[best] - mean * row.tokens as f64;
        rows.sort_by(|a, b| beyond(b).total_cmp(&beyond(a)));
        rows.truncate(self.most);
        rows
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_most_unusual_rows_are_those_that_sorting_all_would_give(
            rows in proptest::collection::vec((0u64..5, 0u8..9, 0u8..9), 1..60),
            most in 1usize..8,
        ) {
            let row = |(line, &(tokens, a, b)): (usize, &(u64, u8, u8))| Row {
                line,
                tokens,
                nats: vec![a.into(), b.into()],
                ..Row::default()
            };
            let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
            let mut whole = Row { tokens: 1, nats: vec![0.0; 2], ..Row::default() };
            for row in &rows {
                whole.tokens += row.tokens;
                for (sum, nats) in whole.nats.iter_mut().zip(&row.nats) {
                    *sum += nats;
                }
            }
            let (mut some, mut all) = (Unusual::new(2, most), Unusual::new(2, usize::MAX));
            for row in &rows {
                some.take(row.clone());
                all.take(row.clone());
            }
            let places = |rows: Vec<Row>| rows.iter().map(|row| row.line).collect::<Vec<_>>();
            let mut want = places(all.ordered(&whole));
            want.truncate(most);
            prop_assert_eq!(places(some.ordered(&whole)), want);
        }
    }
}
