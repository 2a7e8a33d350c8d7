//! Compressed files and archives, recognised by their first bytes and read in constant memory.
//!
//! What is unpacked goes nowhere but into the text: names inside an archive decide which of its files are
//! read, and are never paths on the disk.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

pub use self::archive::archive_to_skip;
use self::archive::each_member;
use super::Account;
use super::formats::{self, Format, HEAD, Packing};
use crate::text::TextError;

#[cfg(not(target_arch = "wasm32"))]
mod archive;
#[cfg(target_arch = "wasm32")]
#[path = "containers/no_archive.rs"]
mod archive;

/// The most containers around a text: an archive of compressed files.
const MOST_LAYERS: usize = 2;
/// A file that unpacks to more than this many times its size, beyond the first bytes, is no text.
const MOST_EXPANSION: u64 = 200;
const EXPANSION_FROM: u64 = 64 << 20;
/// The memory that unpacking may take, which a file itself asks for.
const MOST_MEMORY: u32 = 256 << 20;
const BUFFER: usize = 1 << 16;

/// What a source is opened as.
pub enum Opened<'a> {
    /// A file on the disk.
    File(File),
    /// Bytes that come once.
    Stream(Box<dyn Read + 'a>),
}

/// Gets a file's name, its bytes unpacked, and the account; returns whether to go on.
pub type Sink<'s> =
    dyn FnMut(&str, Box<dyn Read + '_>, &mut Account) -> Result<bool, TextError> + 's;

/// Calls `sink` with every file in a source: the source itself, unpacked, or the files in an archive in the
/// order of their names. `name` is the source's in messages. Returns whether to go on.
pub fn each_file(
    name: &str,
    opened: Opened<'_>,
    account: &mut Account,
    sink: &mut Sink<'_>,
) -> Result<bool, TextError> {
    match opened {
        Opened::File(mut file) => {
            let mut head = Vec::new();
            let read = (&mut file).take(HEAD as u64).read_to_end(&mut head);
            read.map_err(TextError::io(name))?;
            if Format::of(&head) == Format::Zip {
                return each_member(name, file, account, sink);
            }
            let promised = formats::by_name(name).filter(|_| !head.is_empty());
            if let (Format::Plain, Some(format)) = (Format::of(&head), promised) {
                return Err(TextError::Damaged {
                    path: name.to_owned(),
                    format,
                    reason: "it does not begin like one; if it is a text, its name is wrong"
                        .to_owned(),
                });
            }
            let whole = Cursor::new(head).chain(file);
            unpacked(name, Box::new(whole), MOST_LAYERS, account, sink)
        }
        Opened::Stream(stream) => {
            let (head, whole) = peek(stream, HEAD).map_err(TextError::io(name))?;
            if Format::of(&head) == Format::Zip {
                // The list of an archive's files is at its end.
                return each_member(name, spooled(name, whole)?, account, sink);
            }
            unpacked(name, whole, MOST_LAYERS, account, sink)
        }
    }
}

/// The first `most` bytes of a stream, and the stream with them.
pub fn peek<'a>(
    mut stream: Box<dyn Read + 'a>,
    most: usize,
) -> io::Result<(Vec<u8>, Box<dyn Read + 'a>)> {
    let mut head = Vec::new();
    (&mut stream).take(most as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(stream))))
}

/// A stream in a temporary file, which has no name and is gone when it is closed.
pub fn spooled(name: &str, mut stream: impl Read) -> Result<File, TextError> {
    let failed = |source| TextError::Spool {
        name: name.to_owned(),
        folder: std::env::temp_dir().display().to_string(),
        source,
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut block = vec![0; BUFFER];
    loop {
        let count = match stream.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(TextError::from_read(name, error)),
        };
        io::Write::write_all(&mut file, &block[..count]).map_err(failed)?;
    }
    io::Seek::rewind(&mut file).map_err(failed)?;
    Ok(file)
}

/// Unpacks a stream that is no archive.
fn unpacked(
    name: &str,
    stream: Box<dyn Read + '_>,
    layers: usize,
    account: &mut Account,
    sink: &mut Sink<'_>,
) -> Result<bool, TextError> {
    let (head, whole) = peek(stream, HEAD).map_err(|e| TextError::from_read(name, e))?;
    let packing = match Format::of(&head) {
        Format::Plain => return sink(name, whole, account),
        Format::Foreign(foreign) => {
            let path = name.to_owned();
            return Err(TextError::Foreign { path, foreign });
        }
        Format::Packed(packing) if layers > 0 => packing,
        Format::Packed(_) | Format::Zip => {
            let path = name.to_owned();
            return Err(TextError::Nested { path });
        }
    };
    let bounded = Bounded::new(name, packing.name(), whole, |counted| {
        let buffered = BufReader::with_capacity(BUFFER, counted);
        match packing {
            Packing::Gzip => Box::new(Gzip(Some(GzDecoder::new(buffered)))),
            Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
            Packing::Xz => {
                let limit = MOST_MEMORY >> 10;
                Box::new(lzma_rust2::XzReader::new_mem_limit(buffered, true, limit))
            }
            Packing::Zstd => Box::new(Zstd::new(buffered)),
        }
    });
    unpacked(name, Box::new(bounded), layers - 1, account, sink)
}

/// The error of unpacking: the system's own, that of a layer below, or a damaged file.
fn damaged(name: &str, format: &'static str, error: io::Error) -> TextError {
    let is_own = error.raw_os_error().is_some()
        || error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<TextError>);
    if is_own {
        return TextError::from_read(name, error);
    }
    if let Some(method) = archive::unknown_method(&error) {
        return method(name);
    }
    if error.kind() == ErrorKind::OutOfMemory {
        let reason = format!("it needs more than {} MiB of memory", MOST_MEMORY >> 20);
        return TextError::unsupported(name, format, reason);
    }
    // The libraries have their reasons in their texts alone, and not in words for a user.
    let text = error.to_string();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let reason = if error.kind() == ErrorKind::UnexpectedEof || has(&["UnexpectedEof"]) {
        "it ends too early"
    } else if has(&[REST]) {
        REST
    } else if has(&["checksum", "Checksum", "CRC", "crc"]) {
        "its checksum does not match"
    } else {
        DAMAGED
    };
    TextError::damaged(name, format, reason)
}

const DAMAGED: &str = "its data is damaged";
const REST: &str = "what follows its end is of another format";

/// The members of a gzip stream, one after the other, and zeros that fill it up.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: io::BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(mut source) = self.0.take().map(GzDecoder::into_inner) else {
                break;
            };
            let mut next = None;
            while next.is_none() {
                let block = source.fill_buf()?;
                if block.is_empty() {
                    return Ok(0);
                }
                let zeros = block.iter().take_while(|&&byte| byte == 0).count();
                next = block.get(zeros).copied();
                source.consume(zeros);
            }
            if next != Some(0x1F) {
                return Err(io::Error::other(REST));
            }
            self.0 = Some(GzDecoder::new(source));
        }
        Ok(0)
    }
}

/// An unpacked stream that may not be too many times as long as what it is unpacked from.
struct Bounded<'a> {
    name: &'a str,
    format: &'static str,
    inner: Box<dyn Read + 'a>,
    /// Packed bytes read.
    read: Rc<Cell<u64>>,
    /// Unpacked bytes returned.
    given: Rc<Cell<u64>>,
}

impl<'a> Bounded<'a> {
    fn new(
        name: &'a str,
        format: &'static str,
        packed: Box<dyn Read + 'a>,
        unpack: impl FnOnce(Counted<'a>) -> Box<dyn Read + 'a>,
    ) -> Self {
        let counted = Counted::new(packed);
        Self {
            name,
            format,
            read: Rc::clone(&counted.count),
            given: Rc::default(),
            inner: unpack(counted),
        }
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(damaged(self.name, self.format, error).into());
            }
            other => other?,
        };
        let given = self.given.get() + count as u64;
        self.given.set(given);
        if given > EXPANSION_FROM && given / MOST_EXPANSION > self.read.get() {
            let path = self.name.to_owned();
            return Err(TextError::Bomb {
                path,
                times: MOST_EXPANSION,
            }
            .into());
        }
        Ok(count)
    }
}

/// A stream whose bytes are counted.
pub struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    /// Bytes read so far.
    pub count: Rc<Cell<u64>>,
}

impl<'a> Counted<'a> {
    pub fn new(inner: Box<dyn Read + 'a>) -> Self {
        let count = Rc::default();
        Self { inner, count }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// The frames of a zstd stream, one after the other, without those to skip.
struct Zstd<R> {
    source: R,
    decoder: ruzstd::decoding::FrameDecoder,
    is_in_frame: bool,
}

impl<R: io::BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = ruzstd::decoding::FrameDecoder::new();
        decoder.set_max_window_size(u64::from(MOST_MEMORY));
        Self {
            source,
            decoder,
            is_in_frame: false,
        }
    }

    /// Starts the next frame; `false` if there is none.
    fn start(&mut self) -> io::Result<bool> {
        use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
        let is_first = !self.is_in_frame;
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.is_in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.source).take(u64::from(length));
                    if io::copy(&mut skipped, &mut io::sink())? < u64::from(length) {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(ErrorKind::OutOfMemory.into());
                }
                Err(FrameDecoderError::ReadFrameHeaderError(
                    ReadFrameHeaderError::BadMagicNumber(_),
                )) if !is_first => return Err(io::Error::other(REST)),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: io::BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy::UptoBlocks;
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.is_in_frame && !self.decoder.is_finished() {
                let decoded = self.decoder.decode_blocks(&mut self.source, UptoBlocks(1));
                decoded.map_err(io::Error::other)?;
                continue;
            }
            if self.is_in_frame {
                let (stored, computed) = (
                    self.decoder.get_checksum_from_data(),
                    self.decoder.get_calculated_checksum(),
                );
                if stored.is_some() && stored != computed {
                    return Err(io::Error::other("the checksum does not match"));
                }
            }
            if buffer.is_empty() || !self.start()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
