//! Tables, ages, and lines on stderr.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufWriter, Error, ErrorKind, IsTerminal as _, StdoutLock, Write};
use std::rc::Rc;

use crate::hints;
use crate::text::{Corpus, Note, OpenText, Token, Utf8Stream, Vocabulary, is_control, legible};
use anyhow::Result;
use clap::Args;
use indicatif::HumanCount;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// The most unknown tokens that a message lists.
const UNKNOWN_SHOWN: usize = 8;

/// What takes lines instead of stderr.
type Taker = Rc<dyn Fn(&str)>;

thread_local! {
    /// That of this thread, see [`divert`].
    static TAKER: RefCell<Option<Taker>> = const { RefCell::new(None) };
}

/// Passes what `work` would print on stderr on this thread to `taker`, line by line.
pub fn divert<R>(taker: impl Fn(&str) + 'static, work: impl FnOnce() -> R) -> R {
    /// Ends the diversion, also after a panic.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            TAKER.set(None);
        }
    }
    TAKER.set(Some(Rc::new(taker)));
    let _end = End;
    work()
}

/// Whether this thread's lines go elsewhere than to stderr.
pub fn is_diverted() -> bool {
    TAKER.with_borrow(Option::is_some)
}

/// Prints a text that has been made legible.
fn on_stderr(text: &str) {
    match TAKER.with_borrow(Clone::clone) {
        Some(taker) => text
            .trim_start_matches('\n')
            .lines()
            .for_each(|line| taker(line)),
        None => drop(writeln!(std::io::stderr().lock(), "{text}")),
    }
}

/// Prints a line on stderr. Errors are ignored: stderr may be closed.
macro_rules! note {
    ($($text:tt)*) => {
        $crate::cli::output::line_on_stderr(&format!($($text)*))
    };
}
pub(crate) use note;

/// Prints what there is to say about a corpus that was read, each thing once.
pub fn say_notes(corpus: &Corpus) {
    say_notes_that(corpus, |_| true);
}

/// Prints those that are `wanted`.
pub fn say_notes_that(corpus: &Corpus, wanted: impl Fn(&Note) -> bool) {
    for said in corpus.notes.take().into_iter().filter(wanted) {
        let hint = hints::of_note(&said).map(|hint| format!(": {hint}"));
        note!("{said}{}", hint.unwrap_or_default());
    }
}

/// The longest line on stderr, in characters: names that a file or a command line brings along have any length.
const LONGEST_LINE: usize = 2000;
/// The characters of a longer one that are shown of its end.
const SHOWN_END: usize = 400;

/// Prints a line on stderr. Whatever is in it, it is one line, has no control characters, and is not too long.
/// Line ends at its start are those of the program.
pub fn line_on_stderr(text: &str) {
    let line = text.trim_start_matches('\n');
    let (ends, _) = text.split_at(text.len() - line.len());
    on_stderr(&format!("{ends}{}", one_line(line)));
}

/// Prints a text of several lines on stderr, with control characters made visible.
pub fn lines_on_stderr(text: &str) {
    on_stderr(&legible(text));
}

/// A text on one line, shortened in the middle if it is long, with control characters made visible.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let mut text = legible(text);
    if text.contains(['\n', '\r']) {
        text = text
            .replace("\r\n", "\\r\\n")
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .into();
    }
    let length = text.chars().count();
    if length > LONGEST_LINE {
        let start: String = text.chars().take(LONGEST_LINE - SHOWN_END).collect();
        let end: String = text.chars().skip(length - SHOWN_END).collect();
        let left_out = HumanCount((length - LONGEST_LINE) as u64);
        text = format!("{start} … ({left_out} characters) … {end}").into();
    }
    text
}

/// stdout, with errors that name it. In a terminal, control characters are made visible.
pub struct Stdout(Legible<StdoutLock<'static>>);

/// Locks stdout until the guard is dropped.
pub fn stdout() -> Stdout {
    let out = std::io::stdout().lock();
    let is_terminal = out.is_terminal();
    Stdout(Legible::new(out, is_terminal))
}

/// stdout for text with escape sequences of the program's own.
pub fn stdout_as_is() -> Stdout {
    Stdout(Legible::new(std::io::stdout().lock(), false))
}

/// An error of writing to standard output.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output: {0}")]
struct StdoutError(Error);

/// Whether an error is that nobody reads standard output any more; a pipe that a flag names is another.
pub fn is_of_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<Error>().is_some_and(|error| {
            let inner = error.get_ref();
            error.kind() == ErrorKind::BrokenPipe
                && inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<StdoutError>)
        })
    })
}

/// The error with the name of what could not be written.
pub fn of_stdout(error: Error) -> Error {
    match error.kind() {
        // The standard library retries these.
        ErrorKind::Interrupted => error,
        kind => Error::new(kind, StdoutError(error)),
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

/// Makes control characters visible in what is written to a terminal; passes on the bytes of everything else.
struct Legible<W: Write> {
    out: W,
    /// `None` if the bytes are passed on.
    text: Option<Utf8Stream>,
    /// A carriage return at the end of the text so far: half a line end, or a character to be made visible.
    held_back: String,
}

impl<W: Write> Legible<W> {
    fn new(out: W, is_terminal: bool) -> Self {
        Self {
            out,
            text: is_terminal.then(Utf8Stream::default),
            held_back: String::new(),
        }
    }
}

impl<W: Write> Write for Legible<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(text) = &mut self.text else {
            return self.out.write(bytes);
        };
        self.held_back.push_str(&text.push(bytes));
        let ready = self.held_back.strip_suffix('\r');
        let ready = ready.unwrap_or(&self.held_back);
        self.out.write_all(legible(ready).as_bytes())?;
        self.held_back.drain(..ready.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Legible<W> {
    fn drop(&mut self) {
        let rest = self.text.as_mut().map(Utf8Stream::finish);
        self.held_back.extend(rest);
        let _ = self.out.write_all(legible(&self.held_back).as_bytes());
    }
}

/// A value as JSON on one line. What a terminal would show as an escape of another form is escaped as JSON wants it.
pub fn json_line(value: &impl Serialize) -> Result<String> {
    Ok(escaped(serde_json::to_string(value)?))
}

/// The same on several lines.
pub fn json_lines(value: &impl Serialize) -> Result<String> {
    Ok(escaped(serde_json::to_string_pretty(value)?))
}

fn escaped(json: String) -> String {
    // Outside its strings, JSON has no control character but the line end.
    let is_raw = |c: char| c != '\n' && is_control(c);
    if !json.contains(is_raw) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_raw(c) {
            // All of them have four digits.
            let _ = write!(text, "\\u{:04x}", c as u32);
        } else {
            text.push(c);
        }
    }
    text
}

/// A share of a text: `23.6 %`, `0.04 %`.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent < 0.995 { 2 } else { 1 };
    match share {
        0.0..0.00005 if share > 0.0 => "less than 0.01 %".to_owned(),
        _ => format!("{percent:.digits$} %"),
    }
}

/// A number with its noun: `1 word`, `2,000 words`.
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", HumanCount(count))
}

/// Columns of text, each as wide as its widest cell; the last is not padded.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// The least widths of the columns: those of the rows before.
    widths: Vec<usize>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self {
            rows: vec![header.iter().map(|&cell| cell.to_owned()).collect()],
            widths: Vec::new(),
        }
    }

    /// Adds a row; what would break its line is made visible.
    pub fn row(&mut self, cells: Vec<String>) {
        let on_one_line = |cell: String| {
            if cell.contains(['\n', '\r']) {
                one_line(&cell).into_owned()
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(on_one_line).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = self.widths.clone();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        widths
    }

    /// The rows so far as text, which are then forgotten.
    fn take(&mut self) -> String {
        self.widths = self.widths();
        let text = self.text();
        self.rows.clear();
        text
    }

    /// The table as text, one line per row.
    pub fn text(&self) -> String {
        let widths = self.widths();
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

/// A number that need not be whole with its noun: `1 epoch`, `0.5 epochs`.
pub fn measured(number: f64, noun: &str) -> String {
    let plural = if number == 1.0 { "" } else { "s" };
    format!("{number} {noun}{plural}")
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
        let mut lines = self.lines(header)?;
        for row in rows {
            lines.row(row, || cells(row))?;
        }
        lines.end()
    }

    /// Prints rows that come one by one. Those of a table are printed in blocks, each as wide as it needs.
    pub fn lines(&self, header: &[&str]) -> Result<Lines> {
        let mut out = BufWriter::new(stdout());
        let kind = if self.json {
            Kind::Json
        } else if self.tsv {
            writeln!(out, "{}", header.join("\t"))?;
            Kind::Tsv
        } else {
            let header: Vec<String> = header.iter().map(|name| name.to_uppercase()).collect();
            let header: Vec<&str> = header.iter().map(String::as_str).collect();
            Kind::Table(Table::new(&header))
        };
        Ok(Lines { out, kind })
    }
}

/// Rows that are printed one by one.
pub struct Lines {
    out: BufWriter<Stdout>,
    kind: Kind,
}

enum Kind {
    Json,
    Tsv,
    Table(Table),
}

/// The rows of a table that are lined up together; in those after them, columns may be wider.
const MOST_ROWS: usize = 10_000;

impl Lines {
    /// Prints a row.
    pub fn row<T: Serialize>(
        &mut self,
        row: &T,
        cells: impl FnOnce() -> Vec<String>,
    ) -> Result<()> {
        match &mut self.kind {
            Kind::Json => writeln!(self.out, "{}", json_line(row)?)?,
            Kind::Tsv => writeln!(self.out, "{}", tab_separated(&cells()))?,
            Kind::Table(table) => {
                table.row(cells());
                if table.rows.len() > MOST_ROWS {
                    self.out.write_all(table.take().as_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Prints what is left.
    pub fn end(mut self) -> Result<()> {
        if let Kind::Table(table) = &self.kind {
            self.out.write_all(table.text().as_bytes())?;
        }
        Ok(self.out.flush()?)
    }
}

/// A line of tab-separated values; a tab or a line end in a cell becomes a space.
pub fn tab_separated(cells: &[String]) -> String {
    let plain = |cell: &String| cell.replace(['\t', '\n', '\r'], " ");
    cells.iter().map(plain).collect::<Vec<_>>().join("\t")
}

/// The tokens of a text that a model does not know.
#[derive(Default)]
pub struct Unknown {
    /// How many they are,
    count: usize,
    /// of so many characters,
    all: usize,
    /// the first of them as they are shown,
    shown: Vec<String>,
    /// and all of them once.
    tokens: HashSet<Token>,
}

impl Unknown {
    /// Those of one text.
    pub fn of(open: &OpenText, vocabulary: &Vocabulary) -> Self {
        let mut unknown = Self::default();
        unknown.add(open, vocabulary);
        unknown
    }

    /// Counts those of another part of the text.
    pub fn add(&mut self, open: &OpenText, vocabulary: &Vocabulary) {
        self.count += open.unknown();
        self.all += open.characters(vocabulary);
        for token in &open.others {
            if self.tokens.insert(token.clone()) && self.shown.len() < UNKNOWN_SHOWN {
                self.shown.push(token.visible());
            }
        }
    }

    /// Describes them, if there are any; their fate is to follow.
    pub fn described(&self) -> Option<String> {
        let more = match self.tokens.len() - self.shown.len() {
            0 => String::new(),
            more => format!(" and {}", counted(more, "other")),
        };
        (self.count > 0).then(|| {
            format!(
                "not in the model's vocabulary: {} of {} ({}: {}{more})",
                HumanCount(self.count as u64),
                counted(self.all, "character"),
                percent(self.count as f64 / self.all as f64),
                self.shown.join(" ")
            )
        })
    }
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
    fn a_terminal_gets_no_control_characters_and_a_pipe_every_byte() {
        let written = |pieces: &[&[u8]], is_terminal| {
            let mut bytes = Vec::new();
            let mut out = Legible::new(&mut bytes, is_terminal);
            for piece in pieces {
                out.write_all(piece).expect("written");
                out.flush().expect("flushed");
            }
            drop(out);
            bytes
        };
        // An escape, a C1 control in two pieces, a line end in two pieces, a lone carriage return.
        let pieces: [&[u8]; 6] = [
            b"a\x1b[2J\xc2",
            b"\x9b",
            b"b\r",
            b"\nc\rd",
            "é".as_bytes(),
            b"\r",
        ];
        assert_eq!(written(&pieces, false), pieces.concat());
        let shown = String::from_utf8(written(&pieces, true)).expect("UTF-8");
        assert_eq!(shown, "a\\u{1b}[2J\\u{9b}b\r\nc\\rdé\\r");
    }

    proptest::proptest! {
        #[test]
        fn a_message_is_one_line_without_control_characters(text in "\\PC{0,20}|(?s).{0,3000}") {
            let line = one_line(&text);
            proptest::prop_assert!(!line.contains(|c: char| is_control(c) && c != '\t'));
            proptest::prop_assert!(line.chars().count() < LONGEST_LINE + 40);
            let is_plain = text.chars().count() <= LONGEST_LINE && !text.contains(is_control);
            proptest::prop_assert!(!is_plain || line == text);
        }
    }

    #[test]
    fn a_long_line_is_shortened_in_the_middle() {
        let text = format!("start{}end\x1b", "x".repeat(100_000));
        let line = one_line(&text);
        assert!(
            line.starts_with("startxxx") && line.ends_with("xxxend\\u{1b}"),
            "{line}"
        );
        assert!(line.contains(" … (98,014 characters) … "), "{line}");
    }

    #[test]
    fn json_needs_no_filter() {
        let text = "a\u{7f}\u{9b}\u{202e}\u{1b}\n\té\u{10ffff}";
        let value = serde_json::json!({"text": [text, 1.5], "\u{85}": null});
        for json in [json_line(&value), json_lines(&value)].map(|json| json.expect("JSON")) {
            assert!(json.contains(r"a\u007f\u009b\u202e\u001b\n\té"), "{json}");
            assert_eq!(legible(&json), json);
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&json).expect("JSON"),
                value
            );
        }
    }

    #[test]
    fn lines_can_go_elsewhere_than_to_stderr() {
        let (tell, told) = std::sync::mpsc::channel();
        divert(
            move |line| drop(tell.send(line.to_owned())),
            || {
                assert!(is_diverted());
                line_on_stderr("\none\nline\x1b");
                lines_on_stderr("two\nlines");
            },
        );
        assert!(!is_diverted());
        let told: Vec<String> = told.iter().collect();
        assert_eq!(told, [r"one\nline\u{1b}", "two", "lines"]);
    }

    #[test]
    fn a_noun_agrees_with_its_number() {
        assert_eq!(counted(1, "word"), "1 word");
        assert_eq!(counted(0u64, "word"), "0 words");
        assert_eq!(counted(2_000_usize, "word"), "2,000 words");
    }

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
