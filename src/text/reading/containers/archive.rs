//! Zip archives.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::super::formats::{self, Format, HEAD};
use super::super::{Account, Skip, Verdict, folder, folder_rule};
use super::{Bounded, DAMAGED, MOST_LAYERS, Sink, damaged, unpacked};
use crate::text::TextError;

/// Why a folder's file is skipped: it is an archive in which nothing is read. An archive that cannot be listed is no
/// such one: whoever reads it says what is wrong.
pub fn archive_to_skip(path: &Path) -> Option<Skip> {
    let mut file = File::open(path).ok()?;
    let mut head = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut head).ok()?;
    if Format::of(&head) != Format::Zip {
        return None;
    }
    let name = path.display().to_string();
    let Archive {
        mut zip, members, ..
    } = match Archive::open(&name, file) {
        Ok(archive) => archive,
        Err(TextError::NoText { .. } | TextError::Foreign { .. }) => return Some(Skip::NoText),
        Err(_) => return None,
    };
    let mut skip = None;
    for (_, index) in members {
        let mut head = Vec::new();
        let member = zip.by_index(index).ok()?;
        member.take(HEAD as u64).read_to_end(&mut head).ok()?;
        skip = match Format::of(&head) {
            Format::Zip => Some(Skip::Archive),
            Format::Foreign(_) => Some(Skip::NoText),
            Format::Plain | Format::Packed(_) => return None,
        };
    }
    skip
}

/// A zip archive, and the files in it that are read.
struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// Their paths and places, in the order of the paths.
    members: Vec<(String, usize)>,
    /// Why others are not.
    skipped: Vec<Skip>,
}

/// What an error of the library means for the archive `name`.
fn of_zip(name: &str) -> impl Fn(ZipError) -> TextError {
    move |error| match error {
        ZipError::Io(error) => damaged(name, "zip", error),
        ZipError::InvalidArchive(reason) => TextError::damaged(
            name,
            "zip",
            match &*reason {
                "Could not find EOCD" => "its list of files is missing: it ends too early",
                _ => "its list of files is damaged",
            },
        ),
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            TextError::unsupported(name, "zip", "it is encrypted")
        }
        ZipError::CompressionMethodNotSupported(method) => of_method(name, method),
        ZipError::UnsupportedArchive(_) => {
            TextError::unsupported(name, "zip", "it is of a kind that is not read")
        }
        _ => TextError::damaged(name, "zip", DAMAGED),
    }
}

impl Archive {
    /// Lists the files of the archive `name`; one in which nothing is read is an error.
    fn open(name: &str, file: File) -> Result<Self, TextError> {
        let of_zip = of_zip(name);
        let zip = ZipArchive::new(BufReader::new(file)).map_err(&of_zip)?;
        let mut members = Vec::with_capacity(zip.len().min(1 << 16));
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(&of_zip)?;
            let path = entry.name().map_err(&of_zip)?.into_owned();
            if entry.enclosed_name().is_none() || path.starts_with(['/', '\\']) {
                return Err(TextError::Escapes {
                    path: name.to_owned(),
                    member: crate::text::visible(&path),
                });
            }
            if !entry.is_dir() {
                members.push((path, index, entry.is_symlink()));
            }
        }
        members.sort();
        let paths = members.iter().map(|(path, ..)| path.as_str());
        if let Some(foreign) = formats::of_members(&paths) {
            let path = name.to_owned();
            return Err(TextError::Foreign { path, foreign });
        }
        let mut skipped = Vec::new();
        members.retain(|(path, _, is_link)| match folder_rule(path) {
            _ if *is_link => {
                skipped.push(Skip::Link);
                false
            }
            Verdict::Skip(why) => {
                skipped.push(why);
                false
            }
            Verdict::Read | Verdict::Other(_) => true,
        });
        // An archive of one file is that file, whatever its name.
        if members.len() > 1 {
            members.retain(|(path, ..)| match folder_rule(path) {
                Verdict::Other(kind) => {
                    skipped.push(Skip::Kind(kind));
                    false
                }
                _ => true,
            });
        }
        let is_archive = |path: &str| folder::ending(path).eq_ignore_ascii_case("zip");
        if members.iter().any(|(path, ..)| !is_archive(path)) {
            let before = members.len();
            members.retain(|(path, ..)| !is_archive(path));
            skipped.extend((members.len()..before).map(|_| Skip::Archive));
        }
        if members.is_empty() {
            return Err(TextError::no_text(name.to_owned(), &skipped));
        }
        let members = members.into_iter();
        Ok(Self {
            zip,
            members: members.map(|(path, index, _)| (path, index)).collect(),
            skipped,
        })
    }
}

/// Reads the files of a zip archive.
pub fn each_member(
    name: &str,
    file: File,
    account: &mut Account,
    sink: &mut Sink<'_>,
) -> Result<bool, TextError> {
    let size = file.metadata().map_err(TextError::io(name))?.len();
    let mut archive = Archive::open(name, file)?;
    account.archive(name, archive.members.len(), &archive.skipped);
    let given = Rc::new(Cell::new(0));
    for (path, index) in archive.members {
        let entry = archive.zip.by_index(index).map_err(of_zip(name))?;
        let name = format!("{name}/{path}");
        let bounded = Bounded {
            name: &name,
            format: "zip",
            inner: Box::new(entry),
            read: Rc::new(Cell::new(size)),
            given: Rc::clone(&given),
        };
        if !unpacked(&name, Box::new(bounded), MOST_LAYERS - 1, account, sink)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The error for the archive of a name, if a file in it is compressed with a method that is not read.
pub fn unknown_method(error: &io::Error) -> Option<impl Fn(&str) -> TextError + use<>> {
    match error.get_ref()?.downcast_ref()? {
        &ZipError::CompressionMethodNotSupported(method) => {
            Some(move |name: &str| of_method(name, method))
        }
        _ => None,
    }
}

/// The error of a zip archive, or a file in it, that is compressed with a method that is not read.
fn of_method(name: &str, method: u16) -> TextError {
    let known = CompressionMethod::name_from_u16(method);
    let reason = format!("it is compressed with method {method} ({known}), which is not read");
    TextError::unsupported(name, "zip", reason)
}
