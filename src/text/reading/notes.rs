//! What there is to say about a corpus that was read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::documents::Found;
use super::super::folder::{Skip, summary};
use super::Shape;
use crate::config::Documents;

/// A fact about a corpus that its user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The files read and skipped of a folder or an archive.
    Files {
        /// The folder's or archive's name.
        name: String,
        /// The number of files read.
        read: usize,
        /// Why others were not.
        skipped: Vec<Skip>,
    },
    /// Records without text.
    EmptyRecords {
        /// The file's name.
        name: String,
        /// The number of records.
        records: u64,
    },
    /// A file or pipe was taken for records by its start.
    Found {
        /// Its name.
        name: String,
        /// The field that was read.
        field: String,
    },
    /// Files that look like records, but were read as they are.
    Looks {
        /// The name of the first.
        name: String,
        /// What it looks like.
        shape: Shape,
        /// The number of other files of which the same is true.
        more: u64,
    },
    /// A field was named, but there were no records.
    NoRecords {
        /// The field's name.
        field: String,
    },
    /// Documents without text, which were left out.
    EmptyDocuments {
        /// Their number.
        documents: u64,
    },
    /// What separates documents is not in the text.
    OneDocument {
        /// The value of the setting.
        separator: Documents,
    },
    /// Headers of Project Gutenberg that were not removed.
    Marked {
        /// The number of files with one.
        files: u64,
    },
    /// Headers and licences of Project Gutenberg were removed.
    Removed {
        /// Bytes removed.
        removed: u64,
        /// Bytes before that.
        all: u64,
    },
    /// The same, of so much of a file that it may be wrong.
    RemovedMuch {
        /// The file's name.
        name: String,
        /// Bytes removed.
        removed: u64,
        /// Bytes before that.
        all: u64,
    },
    /// No marker of Project Gutenberg was found.
    Unmarked,
    /// Lines end in carriage returns, which are kept.
    LineEnds(LineEnds),
}

/// Line ends by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineEnds {
    /// LF alone, as on Unix.
    pub lf: u64,
    /// CR LF, as on Windows.
    pub crlf: u64,
    /// CR alone, as on old Macs.
    pub cr: u64,
}

impl LineEnds {
    /// Counts those of a piece of text that ends in none of them halfway.
    pub fn count(&mut self, text: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', text).count() as u64;
        let (mut returns, mut pairs) = (0, 0);
        for at in memchr::memchr_iter(b'\r', text) {
            returns += 1;
            pairs += u64::from(text.get(at + 1) == Some(&b'\n'));
        }
        self.lf += lines - pairs;
        self.crlf += pairs;
        self.cr += returns - pairs;
    }

    /// Whether more than a few of the line ends have a carriage return.
    const fn are_foreign(self) -> bool {
        let foreign = self.crlf + self.cr;
        foreign > 0 && foreign * 100 >= foreign + self.lf
    }
}

impl fmt::Display for LineEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [(self.lf, "LF"), (self.crlf, "CR LF"), (self.cr, "CR")];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        match &kinds.collect::<Vec<_>>()[..] {
            [(_, "CR LF")] => {
                f.write_str("the lines end in CR LF, as on Windows, which are two tokens")
            }
            [(_, "CR")] => f.write_str("the lines end in CR alone, as on old Macs"),
            kinds => {
                let kinds = kinds.iter();
                let kinds = kinds.map(|(count, name)| format!("{} {name}", thousands(*count)));
                let kinds: Vec<String> = kinds.collect();
                write!(
                    f,
                    "the line ends are of several kinds: {}",
                    kinds.join(", ")
                )
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |removed: &u64, all: &u64| 100.0 * *removed as f64 / (*all).max(1) as f64;
        let s = |n: u64| if n == 1 { "" } else { "s" };
        match self {
            Self::Files {
                name,
                read,
                skipped,
            } => {
                let count = thousands(*read as u64);
                write!(f, "{name}: {count} file{} read", s(*read as u64))?;
                if skipped.is_empty() {
                    return Ok(());
                }
                write!(
                    f,
                    ", {} skipped: {}",
                    thousands(skipped.len() as u64),
                    summary(skipped)
                )
            }
            Self::EmptyRecords { name, records } => {
                write!(
                    f,
                    "{name}: {} record{} without text",
                    thousands(*records),
                    s(*records)
                )
            }
            Self::Found { name, field } => {
                write!(
                    f,
                    "{name}: its first line is one of records, of which the field {field} is read"
                )
            }
            Self::Looks { name, shape, more } => {
                let look = match shape {
                    Shape::JsonLines => "JSON lines",
                    Shape::Json => "JSON",
                    Shape::Table => "a table",
                };
                f.write_str(name)?;
                if *more > 0 {
                    write!(f, " and {} more file{}", thousands(*more), s(*more))?;
                }
                let (verb, all) = if *more > 0 {
                    ("look", "all of them are")
                } else {
                    ("looks", "all of it is")
                };
                write!(f, ": {verb} like {look}, but {all} read as plain text")
            }
            Self::NoRecords { field } => {
                write!(
                    f,
                    "warning: there are no records with a field {field}: all was read as text"
                )
            }
            Self::EmptyDocuments { documents } => write!(
                f,
                "{} empty document{} left out",
                thousands(*documents),
                s(*documents)
            ),
            Self::OneDocument { separator } => write!(
                f,
                "warning: --documents '{separator}' ends no document of this text: every file is one document"
            ),
            Self::Marked { files: 1 } => f.write_str("the text has a header of Project Gutenberg"),
            Self::Marked { files } => {
                write!(
                    f,
                    "{} files have a header of Project Gutenberg",
                    thousands(*files)
                )
            }
            Self::Removed { removed, all } => write!(
                f,
                "removed {} bytes of Project Gutenberg's header and licence, {:.1} % of the text",
                thousands(*removed),
                percent(removed, all)
            ),
            Self::RemovedMuch { name, removed, all } => write!(
                f,
                "warning: {name}: {:.1} % of the text, {} bytes, was removed as Project Gutenberg's header and licence",
                percent(removed, all),
                thousands(*removed)
            ),
            Self::LineEnds(ends) => ends.fmt(f),
            Self::Unmarked => f.write_str(
                "warning: no marker of Project Gutenberg was found, so nothing was removed",
            ),
        }
    }
}

/// A number with commas between thousands, as all messages have them.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The notes on a corpus, which all its copies share. Each is taken once, however often the corpus is read.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<(Vec<Note>, usize)>>);

impl PartialEq for Notes {
    /// Notes are no part of what a corpus is.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Notes {}

impl Notes {
    /// Adds a note unless it is known.
    pub(in crate::text) fn add(&self, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two passes may count other line ends, but of the same text.
        let is_of_ends = |note: &Note| matches!(note, Note::LineEnds(_));
        let is_known = |known: &Note| *known == note || is_of_ends(known) && is_of_ends(&note);
        if !notes.0.iter().any(is_known) {
            notes.0.push(note);
        }
    }

    /// The notes that were not taken before.
    pub fn take(&self) -> Vec<Note> {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = notes.1;
        notes.1 = notes.0.len();
        notes.0[taken..].to_vec()
    }
}

/// What one pass over a corpus collects.
#[derive(Debug, Default)]
pub struct Account {
    notes: Vec<Note>,
    /// Whether a file of records was read.
    pub has_records: bool,
    /// Records without text.
    pub empty: u64,
    /// The first file that looks like records, and the number of others.
    looks: Option<(String, Shape, u64)>,
    /// Files with a marker of Project Gutenberg.
    pub marked: u64,
    removed: u64,
    all: u64,
    /// Line ends, where they are kept.
    pub ends: LineEnds,
}

impl Account {
    /// Counts an archive's files.
    pub fn archive(&mut self, name: &str, read: usize, skipped: &[Skip]) {
        if read != 1 || !skipped.is_empty() {
            self.notes.push(Note::Files {
                name: name.to_owned(),
                read,
                skipped: skipped.to_vec(),
            });
        }
    }

    /// Takes a file for records by its start.
    pub fn found(&mut self, name: &str, field: &str) {
        let (name, field) = (name.to_owned(), field.to_owned());
        self.notes.push(Note::Found { name, field });
    }

    /// Counts a file that looks like records, but is read as it is.
    pub fn looks(&mut self, name: &str, shape: Shape) {
        match &mut self.looks {
            Some((_, first, more)) if *first == shape => *more += 1,
            Some(_) => {}
            looks @ None => *looks = Some((name.to_owned(), shape, 0)),
        }
    }

    /// Counts a file: its records without text, and what was removed of all its bytes.
    pub fn file(&mut self, name: &str, empty: u64, removed: u64, all: u64) {
        let name = name.to_owned();
        self.empty += empty;
        if empty > 0 {
            let (name, records) = (name.clone(), empty);
            self.notes.push(Note::EmptyRecords { name, records });
        }
        if removed > all / 5 {
            self.notes.push(Note::RemovedMuch { name, removed, all });
        }
        self.removed += removed;
        self.all += all;
    }

    /// Counts the documents of a text.
    pub fn documents(&mut self, documents: &Documents, found: Found) {
        let is_whole_file = match documents {
            Documents::None | Documents::File => true,
            Documents::Record => self.has_records,
            Documents::Line | Documents::BlankLine | Documents::Between(_) => false,
        };
        if found.separators == 0 && !is_whole_file {
            let separator = documents.clone();
            self.notes.push(Note::OneDocument { separator });
        }
        if found.empty > 0 {
            let documents = found.empty;
            self.notes.push(Note::EmptyDocuments { documents });
        }
    }

    /// Ends a pass, in which headers were removed or not.
    pub fn close(self, notes: &Notes, is_stripped: bool) {
        let (removed, all) = (self.removed, self.all);
        let more = match (is_stripped, removed, self.marked) {
            (true, 0, _) => Some(Note::Unmarked),
            (true, ..) => Some(Note::Removed { removed, all }),
            (false, _, 0) => None,
            (false, _, files) => Some(Note::Marked { files }),
        };
        let looks = |(name, shape, more)| Note::Looks { name, shape, more };
        let looks = self.looks.map(looks);
        let ends = self.ends.are_foreign().then_some(Note::LineEnds(self.ends));
        for note in self.notes.into_iter().chain(looks).chain(more).chain(ends) {
            notes.add(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_between_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (30_218, "30,218"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn line_ends_with_carriage_returns_are_one_note() {
        let said = |text: &str| {
            let mut account = Account::default();
            account.ends.count(text.as_bytes());
            let notes = Notes::default();
            account.close(&notes, false);
            notes.take().first().map(Note::to_string)
        };
        let windows = "the lines end in CR LF, as on Windows, which are two tokens";
        assert_eq!(said("a\r\nb\r\n\r\n").as_deref(), Some(windows));
        let mac = "the lines end in CR alone, as on old Macs";
        assert_eq!(said("a\rb\r").as_deref(), Some(mac));
        let several = "the line ends are of several kinds: 2 LF, 1 CR LF, 1 CR";
        assert_eq!(said("a\nb\r\n\nc\rd").as_deref(), Some(several));
        // A few in many lines are characters among others.
        assert_eq!(said(&format!("a\rb{}", "\n".repeat(100))), None);
        assert_eq!(said("a\nb\n"), None);
    }

    #[test]
    fn files_that_look_like_records_are_one_note() {
        let mut account = Account::default();
        account.looks("a.txt", Shape::JsonLines);
        account.looks("b.txt", Shape::Table);
        account.looks("c.txt", Shape::JsonLines);
        let notes = Notes::default();
        account.close(&notes, false);
        let said: Vec<String> = notes.take().iter().map(Note::to_string).collect();
        let all =
            "a.txt and 1 more file: look like JSON lines, but all of them are read as plain text";
        assert_eq!(said, [all]);
    }
}
