//! From a source to chunks of text: containers → encoding → records → headers removed → chunks.
//!
//! Each step but the last is a stream of bytes on the step before, so that memory does not grow with the
//! file. An error of the text passes through the streams as an [`std::io::Error`], and comes out as it was.

mod chunks;
mod containers;
mod decode;
mod formats;
mod guess;
mod gutenberg;
mod notes;
mod records;

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;

pub use chunks::{CHUNK_BYTES, Chunk};
pub use containers::{Opened, archive_to_skip, each_file, spooled};
pub use decode::{Decoding, Wide};
pub use formats::{Foreign, Format, HEAD, Remedy};
pub use guess::{Findings, Looks};
pub use notes::{Account, Note, Notes, thousands};
pub use records::{Records, Shape};

use super::documents::{BOUNDARY_TEXT, Splitter};
use super::folder::{self, Skip};
#[cfg(not(target_arch = "wasm32"))]
use super::folder::{Verdict, folder_rule};
use super::{Corpus, TextError};
use crate::config::{Documents, Newlines, Strip, TextConfig};
use containers::{Counted, peek};
use decode::Decoded;
use gutenberg::{Removed, Stripped, is_marked};

/// The start of a text in which markers of Project Gutenberg are looked for, if they are not removed.
const MARKED_WITHIN: usize = 32 << 10;

/// Reads a corpus and emits chunks of about `size` bytes, until it ends or `emit` returns `false`. Between two
/// files a line feed is added if the first does not end in one. What there is to say goes to the corpus's notes.
pub fn read_corpus(
    corpus: &Corpus,
    config: &TextConfig,
    size: usize,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> Result<(), TextError> {
    let decoding = Decoding::from_label(&config.encoding)?;
    if config.field.is_empty() {
        return Err(TextError::UnnamedField);
    }
    let mut account = Account::default();
    let (mut is_open, mut is_empty) = (false, true);
    let mut splitter = Splitter::new(&config.documents)?;
    let mut failed = None;
    let mut joined = |chunk: Chunk| {
        if let Some(splitter) = &mut splitter {
            is_empty &= chunk.bytes.is_empty();
            return match split(splitter, chunk) {
                Ok(chunk) => emit(chunk),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            };
        }
        if !chunk.bytes.is_empty() {
            is_empty = false;
            if chunk.first && is_open && !emit(Chunk::line_feed(Arc::clone(&chunk.path))) {
                return false;
            }
            is_open = !matches!(chunk.bytes.last(), Some(b'\n' | b'\r'));
        }
        emit(chunk)
    };
    for source in &corpus.sources {
        let opened = source.open()?;
        let mut file = |name: &str, bytes: Box<dyn Read + '_>, account: &mut Account| {
            read_file(name, bytes, (config, decoding, size), account, &mut joined)
        };
        if !each_file(&source.name(), opened, &mut account, &mut file)? {
            return failed.map_or(Ok(()), Err);
        }
    }
    if let Some(mut splitter) = splitter {
        let mut end = String::new();
        splitter.finish(&mut end);
        if splitter.found.documents == 0 && !is_empty {
            let name = corpus.shown();
            return Err(TextError::NoDocuments { name });
        }
        emit(Chunk::ending(corpus.shown().into(), end));
        account.documents(&config.documents, splitter.found);
    }
    if is_empty && account.has_records {
        return Err(TextError::NoRecords {
            name: corpus.shown(),
            empty: account.empty,
        });
    }
    if config.field != records::DEFAULT_FIELD
        && config.field != records::NO_FIELD
        && !account.has_records
    {
        let field = config.field.clone();
        corpus.notes.add(Note::NoRecords { field });
    }
    account.close(&corpus.notes, config.strip == Strip::Gutenberg);
    Ok(())
}

/// A chunk with its document boundaries.
fn split(splitter: &mut Splitter, chunk: Chunk) -> Result<Chunk, TextError> {
    let mut text = String::with_capacity(chunk.bytes.len());
    if chunk.first {
        splitter.begin_file(&mut text);
    }
    splitter.read(&chunk.path, chunk.text()?, &mut text)?;
    Ok(Chunk {
        bytes: text.into_bytes(),
        ..chunk
    })
}

/// Reads one file, unpacked; returns whether `emit` went on.
fn read_file(
    name: &str,
    bytes: Box<dyn Read + '_>,
    (config, decoding, size): (&TextConfig, Decoding, usize),
    account: &mut Account,
    emit: &mut dyn FnMut(Chunk) -> bool,
) -> Result<bool, TextError> {
    let counted = Counted::new(bytes);
    let raw = Rc::clone(&counted.count);
    let failed = |error| TextError::from_read(name, error);
    let counted: Box<dyn Read + '_> = Box::new(counted);
    let is_asked = config.field != records::NO_FIELD;
    let of_ending = Records::of_ending(folder::ending(name));
    let mut records = of_ending.filter(|_| is_asked);
    let decoded = Decoded::new(counted, name, decoding, records.is_some())?;
    let start = decoded.mark_bytes;
    let mut text: Box<dyn Read + '_> = Box::new(decoded);
    if records.is_none() && is_asked {
        let (head, whole) = peek(text, records::HEAD).map_err(failed)?;
        let of_head = Records::of_head(&head, &config.field);
        records = of_head.filter(|_| !folder::is_plain(name));
        match (records, Shape::of(&head)) {
            (Some(_), _) => account.found(name, &config.field),
            (None, Some(shape)) => account.looks(name, shape),
            (None, None) => {}
        }
        text = whole;
    }
    let empty = Rc::new(Cell::new(0));
    if let Some(records) = records {
        account.has_records = true;
        let joint = match config.documents {
            Documents::Record => BOUNDARY_TEXT,
            _ => "\n",
        };
        let texts = (&*config.field, joint);
        text = records.open(text, name, texts, Rc::clone(&empty))?;
    }
    let removed = Removed::default();
    if config.strip == Strip::Gutenberg {
        text = Box::new(Stripped::new(text, removed.clone()));
    } else {
        let (head, whole) = peek(text, MARKED_WITHIN).map_err(failed)?;
        account.marked += u64::from(is_marked(&head));
        text = whole;
    }
    let mut ends = account.ends;
    let mut counted = |chunk: Chunk| {
        if config.newlines == Newlines::Keep {
            ends.count(&chunk.bytes);
        }
        emit(chunk)
    };
    let more = chunks::cut(text, name, start, &raw, size, &mut counted)?;
    account.ends = ends;
    account.file(name, empty.get(), removed.removed.get(), removed.all.get());
    Ok(more)
}

/// The error of an invalid byte, with what the whole file looks like if it can be read once more.
pub fn explained(corpus: &Corpus, error: TextError) -> TextError {
    let TextError::InvalidUtf8 {
        path,
        line,
        offset,
        byte,
        mut found,
    } = error
    else {
        return error;
    };
    for source in corpus
        .sources
        .iter()
        .filter(|source| source.is_rereadable())
    {
        let mut look = |name: &str, bytes: Box<dyn Read + '_>, _: &mut Account| {
            if name != path {
                return Ok(true);
            }
            // Reading has succeeded before; what fails now leaves the findings on a part.
            if let Ok(whole) = Findings::read(bytes) {
                found = Some(whole);
            }
            Ok(false)
        };
        if let Ok(opened) = source.open()
            && let Ok(false) = each_file(&source.name(), opened, &mut Account::default(), &mut look)
        {
            break;
        }
    }
    TextError::InvalidUtf8 {
        path,
        line,
        offset,
        byte,
        found,
    }
}
