//! WebAssembly opens no zip archive: the library for them would bring the browser's random numbers along.

use std::fs::File;
use std::io;
use std::path::Path;

use super::super::{Account, Skip};
use super::Sink;
use crate::text::TextError;

/// The error for the archive `name`.
pub fn each_member(
    name: &str,
    _file: File,
    _account: &mut Account,
    _sink: &mut Sink<'_>,
) -> Result<bool, TextError> {
    Err(TextError::unsupported(
        name,
        "zip",
        "WebAssembly reads no archive",
    ))
}

/// None: whoever reads one says what is wrong.
pub const fn archive_to_skip(_path: &Path) -> Option<Skip> {
    None
}

/// None: no archive has been opened.
pub fn unknown_method(_error: &io::Error) -> Option<fn(&str) -> TextError> {
    None
}
