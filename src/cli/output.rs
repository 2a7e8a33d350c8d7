//! Tables, ages, and lines on stderr.

use std::io::{BufWriter, Error, ErrorKind, StdoutLock, Write};

use crate::hints;
use crate::text::{Corpus, OpenText, Token};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// The most unknown tokens that a message lists.
const UNKNOWN_SHOWN: usize = 8;

/// Prints a line on stderr. Errors are ignored: stderr may be closed.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use note;

/// Prints what there is to say about a corpus that was read, each thing once.
pub fn say_notes(corpus: &Corpus) {
    for said in corpus.notes.take() {
        let hint = hints::of_note(&said).map(|hint| format!(": {hint}"));
        note!("{said}{}", hint.unwrap_or_default());
    }
}

/// stdout, with errors that name it.
pub struct Stdout(StdoutLock<'static>);

/// Locks stdout until the guard is dropped.
pub fn stdout() -> Stdout {
    Stdout(std::io::stdout().lock())
}

fn of_stdout(error: Error) -> Error {
    match error.kind() {
        // The standard library retries these.
        ErrorKind::Interrupted => error,
        kind => Error::new(kind, format!("writing to standard output: {error}")),
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

/// Columns of text, each as wide as its widest cell; the last is not padded.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, one line per row.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| padded(cell, width))
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Pads text with spaces to `width` terminal columns. East Asian characters take two columns, and
/// combining marks none.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// How rows are printed.
#[derive(Args)]
pub struct Format {
    /// Print tab-separated values below a header
    #[arg(long, conflicts_with = "json")]
    tsv: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Format {
    /// Whether the format is for people.
    pub const fn is_table(&self) -> bool {
        !self.tsv && !self.json
    }

    /// Whether the format is JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints rows under their column names, or each row as JSON.
    pub fn print<T: Serialize>(
        &self,
        header: &[&str],
        rows: &[T],
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<()> {
        let mut out = BufWriter::new(stdout());
        if self.json {
            for row in rows {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
        } else if self.tsv {
            writeln!(out, "{}", header.join("\t"))?;
            for row in rows {
                writeln!(out, "{}", tab_separated(&cells(row)))?;
            }
        } else {
            let header: Vec<String> = header.iter().map(|name| name.to_uppercase()).collect();
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            let mut table = Table::new(&header);
            for row in rows {
                table.row(cells(row));
            }
            out.write_all(table.text().as_bytes())?;
        }
        Ok(out.flush()?)
    }
}

/// A line of tab-separated values; a tab or a line end in a cell becomes a space.
pub fn tab_separated(cells: &[String]) -> String {
    let plain = |cell: &String| cell.replace(['\t', '\n', '\r'], " ");
    cells.iter().map(plain).collect::<Vec<_>>().join("\t")
}

/// Describes the tokens of a text that a model does not know, if any, without a full stop.
pub fn unknown(open: &OpenText) -> Option<String> {
    let (unknown, all) = (open.unknown(), open.tokens.len());
    let visible: Vec<String> = open.others.iter().map(Token::visible).collect();
    let shown = &visible[..visible.len().min(UNKNOWN_SHOWN)];
    let more = if shown.len() < visible.len() {
        format!(" and {} others", visible.len() - shown.len())
    } else {
        String::new()
    };
    (unknown > 0).then(|| {
        format!(
            "{unknown} of {all} characters are not in the model's vocabulary ({}{more})",
            shown.join(" ")
        )
    })
}

/// Seconds as an age: `12 s`, `5 min`, `3 h`, `2 days`.
pub fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["a", "name"]);
        table.row(vec!["123".into(), "é".into()]);
        assert_eq!(table.text(), "a    name\n123  é\n");
    }

    #[test]
    fn chinese_words_and_combining_marks_keep_the_columns() {
        let mut table = Table::new(&["word", "nats"]);
        for word in ["北京市", "e\u{301}te\u{301}", "ab"] {
            table.row(vec![word.into(), "1".into()]);
        }
        let lines = [
            "word    nats",
            "北京市  1",
            "e\u{301}te\u{301}     1",
            "ab      1",
            "",
        ];
        assert_eq!(table.text(), lines.join("\n"));
    }
}
