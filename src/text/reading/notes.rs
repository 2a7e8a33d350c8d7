//! What there is to say about a corpus that was read.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::folder::{Skip, summary};

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
    /// A field was named, but there were no records.
    NoRecords {
        /// The field's name.
        field: String,
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
                write!(f, "{name}: {read} file{} read", s(*read as u64))?;
                if skipped.is_empty() {
                    return Ok(());
                }
                write!(f, ", {} skipped: {}", skipped.len(), summary(skipped))
            }
            Self::EmptyRecords { name, records } => {
                write!(f, "{name}: {records} record{} without text", s(*records))
            }
            Self::NoRecords { field } => {
                write!(
                    f,
                    "warning: there are no records with a field {field}: all was read as text"
                )
            }
            Self::Marked { files: 1 } => f.write_str("the text has a header of Project Gutenberg"),
            Self::Marked { files } => {
                write!(f, "{files} files have a header of Project Gutenberg")
            }
            Self::Removed { removed, all } => write!(
                f,
                "removed {removed} bytes of Project Gutenberg's header and licence, {:.1} % of the text",
                percent(removed, all)
            ),
            Self::RemovedMuch { name, removed, all } => write!(
                f,
                "warning: {name}: {:.1} % of the text, {removed} bytes, was removed as Project Gutenberg's header and licence",
                percent(removed, all)
            ),
            Self::Unmarked => f.write_str(
                "warning: no marker of Project Gutenberg was found, so nothing was removed",
            ),
        }
    }
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
        if !notes.0.contains(&note) {
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
    /// Files with a marker of Project Gutenberg.
    pub marked: u64,
    removed: u64,
    all: u64,
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

    /// Counts a file: its records without text, and what was removed of all its bytes.
    pub fn file(&mut self, name: &str, empty: u64, removed: u64, all: u64) {
        let name = name.to_owned();
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

    /// Ends a pass, in which headers were removed or not.
    pub fn close(self, notes: &Notes, is_stripped: bool) {
        let (removed, all) = (self.removed, self.all);
        let more = match (is_stripped, removed, self.marked) {
            (true, 0, _) => Some(Note::Unmarked),
            (true, ..) => Some(Note::Removed { removed, all }),
            (false, _, 0) => None,
            (false, _, files) => Some(Note::Marked { files }),
        };
        for note in self.notes.into_iter().chain(more) {
            notes.add(note);
        }
    }
}
