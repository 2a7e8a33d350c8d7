//! Project Gutenberg's header and licence: they are found by their markers and removed.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// The longest header in bytes. Text is held back this far in search of the header's end.
const LONGEST_HEADER: usize = 256 << 10;
/// The longest piece of a line that is looked at in one go.
const LONGEST_LINE: u64 = 1 << 16;
/// The most lines that a marker, which has the book's title, is wrapped to.
const MOST_WRAPPED: usize = 4;

/// A marker that a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    /// The end of the header, after which the book begins.
    Start,
    /// The end of the book, after which the licence begins.
    End,
}

impl Marker {
    /// Recognises a line in all spellings that were used since 1991: `*** START OF THE PROJECT GUTENBERG EBOOK`,
    /// `***START OF THIS …`, `*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*`, `*** END OF THE PROJECT …`,
    /// `End of Project Gutenberg's …`, `Ende dieses Projekt Gutenberg Etextes …`.
    fn of(line: &[u8]) -> Option<Self> {
        // Most lines are neither.
        let first = line.trim_ascii_start().first()?;
        if !matches!(first, b'*' | b'E' | b'e' | b'T' | b't' | b'_') {
            return None;
        }
        let line = line[..line.len().min(300)]
            .trim_ascii()
            .to_ascii_uppercase();
        let has = |part: &str| memchr::memmem::find(&line, part.as_bytes()).is_some();
        let is_starred = line.starts_with(b"*");
        let bare = line.trim_ascii_start();
        let from = bare.iter().position(|byte| !b"*_ ".contains(byte))?;
        let bare = &bare[from..];
        if is_starred && has("START OF TH") && has("GUTENBERG")
            || is_starred && bare.starts_with(b"END") && has("SMALL PRINT")
        {
            return Some(Self::Start);
        }
        let ends = [
            &b"END OF TH"[..],
            b"END OF PROJECT",
            b"THE END OF TH",
            b"ENDE DIES",
        ];
        let is_end =
            ends.iter().any(|end| bare.starts_with(end)) && has("PROJE") && has("GUTENBERG");
        is_end.then_some(Self::End)
    }
}

/// Whether the start of a text has a marker.
pub fn is_marked(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n')
        .any(|line| Marker::of(line).is_some())
}

/// What was removed of a text, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// Bytes of the text, with what was removed.
    pub all: Rc<Cell<u64>>,
    /// Bytes removed.
    pub removed: Rc<Cell<u64>>,
}

enum State {
    /// In the header, if there is one.
    Head,
    /// In a marker that goes on, for so many lines at most.
    Wrapped(usize),
    /// Before the first line of the book.
    Blank,
    Body,
    /// In the licence.
    Tail,
}

/// A text without headers and licences; several books may follow one another.
pub struct Stripped<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    state: State,
    line: Vec<u8>,
    text: Vec<u8>,
    taken: usize,
    is_last: bool,
    counts: Removed,
}

impl<'a> Stripped<'a> {
    /// Strips a text, which is UTF-8, and counts in `counts`.
    pub fn new(text: Box<dyn Read + 'a>, counts: Removed) -> Self {
        Self {
            reader: BufReader::with_capacity(1 << 16, text),
            state: State::Head,
            line: Vec::new(),
            text: Vec::new(),
            taken: 0,
            is_last: false,
            counts,
        }
    }

    /// Reads one line, and appends it to `text` unless it is removed. In the header, `text` is what may yet
    /// be removed.
    fn next_line(&mut self) -> io::Result<()> {
        let add = |count: &Cell<u64>, more: usize| count.set(count.get() + more as u64);
        let remove = |bytes: usize| add(&self.counts.removed, bytes);
        self.line.clear();
        let mut limited = (&mut self.reader).take(LONGEST_LINE);
        self.is_last = limited.read_until(b'\n', &mut self.line)? == 0;
        let line = &self.line[..];
        add(&self.counts.all, line.len());
        let after_start = || {
            if line.trim_ascii_end().ends_with(b"*") {
                State::Blank
            } else {
                State::Wrapped(MOST_WRAPPED)
            }
        };
        let is_blank = line.trim_ascii().is_empty();
        match (&self.state, Marker::of(line)) {
            (State::Head, Some(Marker::Start)) => {
                remove(self.text.len() + line.len());
                self.text.clear();
                self.state = after_start();
            }
            (State::Tail, Some(Marker::Start)) => {
                remove(line.len());
                self.state = after_start();
            }
            (State::Head | State::Blank | State::Body | State::Wrapped(_), Some(Marker::End)) => {
                remove(line.len());
                self.state = State::Tail;
            }
            (State::Tail, _) => remove(line.len()),
            (State::Wrapped(left), _) if *left > 0 && !is_blank => {
                remove(line.len());
                let is_end = line.trim_ascii_end().ends_with(b"*");
                self.state = if is_end {
                    State::Blank
                } else {
                    State::Wrapped(left - 1)
                };
            }
            (State::Wrapped(_) | State::Blank, _) if is_blank => {
                remove(line.len());
                self.state = State::Blank;
            }
            (State::Head, _) => {
                self.text.extend_from_slice(line);
                if self.text.len() > LONGEST_HEADER {
                    self.state = State::Body;
                }
            }
            (State::Wrapped(_) | State::Blank | State::Body, _) => {
                self.text.extend_from_slice(line);
                self.state = State::Body;
            }
        }
        Ok(())
    }
}

impl Read for Stripped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.text.len() {
            self.text.clear();
            self.taken = 0;
            while !self.is_last && (self.text.is_empty() || matches!(self.state, State::Head)) {
                self.next_line()?;
            }
        }
        let count = (&self.text[self.taken..]).read(buffer)?;
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(text: &str) -> (String, u64) {
        let counts = Removed::default();
        let mut stripped = Stripped::new(Box::new(text.as_bytes()), counts.clone());
        let mut out = String::new();
        stripped.read_to_string(&mut out).unwrap();
        assert_eq!(counts.all.get(), text.len() as u64);
        assert_eq!(counts.removed.get() as usize, text.len() - out.len());
        (out, counts.removed.get())
    }

    #[test]
    fn every_spelling_of_the_markers_is_known() {
        for start in [
            "*** START OF THE PROJECT GUTENBERG EBOOK ALICE ***",
            "***START OF THE PROJECT GUTENBERG EBOOK ALICE***",
            "*** START OF THIS PROJECT GUTENBERG EBOOK ALICE'S\r\nADVENTURES IN WONDERLAND ***",
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
            "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.07.02.92*END*",
        ] {
            for end in [
                "*** END OF THE PROJECT GUTENBERG EBOOK ALICE ***",
                "***END OF THIS PROJECT GUTENBERG EBOOK ALICE***",
                "End of the Project Gutenberg EBook of Alice, by Lewis Carroll",
                "End of Project Gutenberg's Alice, by Lewis Carroll",
                "The End of the Project Gutenberg Etext of Alice",
                "Ende dieses Projekt Gutenberg Etextes Faust",
            ] {
                let text = format!(
                    "Title: Alice\r\n\r\n{start}\r\n\r\n\r\nDown the hole.\r\nThe end of the tale.\r\n{end}\r\n\r\n*** START: FULL LICENSE ***\r\n"
                );
                assert_eq!(
                    strip(&text).0,
                    "Down the hole.\r\nThe end of the tale.\r\n",
                    "{start} {end}"
                );
            }
        }
    }

    #[test]
    fn a_text_without_markers_stays_as_it_is() {
        for text in [
            "",
            "End of story.",
            "*** \n\nThe end of the project.\n* * *\n",
        ] {
            assert_eq!(strip(text), (text.to_owned(), 0));
        }
        let long = "An endless line of text\n".repeat(40_000);
        assert_eq!(strip(&long), (long.clone(), 0));
    }

    #[test]
    fn several_books_in_one_file_are_all_stripped() {
        let book = |n| {
            format!(
                "Header {n}\n*** START OF THE PROJECT GUTENBERG EBOOK {n} ***\nBook {n}\n*** END OF THE PROJECT GUTENBERG EBOOK {n} ***\nLicence\n"
            )
        };
        assert_eq!(strip(&(book(1) + &book(2))).0, "Book 1\nBook 2\n");
        assert!(is_marked(book(1).as_bytes()));
        assert_eq!(
            strip("Book\nEnd of Project Gutenberg's Book\nLicence\n").0,
            "Book\n"
        );
    }
}
