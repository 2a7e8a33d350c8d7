//! The one place that changes files and folders. Each change passes [`at`], so that the tests can let any of them fail,
//! end the program there, or lose it as a power failure does.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
use faults::at;

/// A change of a file or a folder. It is durable once the file, or for names the folder, is synced.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "only the tests look into changes")
)]
#[derive(Clone, Copy)]
enum Change<'a> {
    /// A new, empty file.
    Create(&'a Path),
    Write(&'a File, &'a [u8]),
    SetLen(&'a Path, u64),
    /// Of a file or a folder.
    Sync(&'a Path),
    Rename(&'a Path, &'a Path),
    Link(&'a Path, &'a Path),
    /// Of a file, or of a folder with all that is in it.
    Remove(&'a Path),
    /// A new folder.
    Folder(&'a Path),
}

#[cfg(not(test))]
fn at<T>(_: Change, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    change()
}

/// A file that is written to.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    /// Its path when it was opened.
    path: PathBuf,
}

impl File {
    /// Creates a file where there is none, with the permissions that the umask leaves.
    pub fn create_new(path: &Path) -> io::Result<Self> {
        Self::open(path, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file to read and write, and creates it if there is none.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Self::open(path, &options)
    }

    fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let open = || options.open(path);
        let is_there = path.exists();
        Ok(Self {
            file: if is_there {
                open()?
            } else {
                at(Change::Create(path), open)?
            },
            path: path.to_owned(),
        })
    }

    /// The file, for what does not change its content.
    pub const fn as_file(&self) -> &fs::File {
        &self.file
    }

    /// Cuts the file, or extends it with zeros.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        at(Change::SetLen(&self.path, bytes), || {
            self.file.set_len(bytes)
        })
    }

    /// Waits until the content is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        at(Change::Sync(&self.path), || sync(&self.file))
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        at(Change::Write(self, bytes), || (&self.file).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Appends to a file, which need not exist, and waits until that is on the disk.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = File::open(path, OpenOptions::new().create(true).append(true))?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(bytes)?;
    file.sync()?;
    if is_new {
        sync_folder(folder(path))?;
    }
    Ok(())
}

/// Cuts a file to its first `bytes`, and waits until that is on the disk.
pub fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let file = File::open(path, OpenOptions::new().write(true))?;
    file.set_len(bytes)?;
    file.sync()
}

/// Copies a file to a place where there is none, and waits until it is on the disk.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = File::create_new(to)?;
    io::copy(&mut fs::File::open(from)?, &mut copy)?;
    copy.sync()
}

/// Gives a file a second name.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    at(Change::Link(from, to), || fs::hard_link(from, to))
}

/// Renames a file or a folder.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    at(Change::Rename(from, to), || fs::rename(from, to))
}

/// Removes a file.
pub fn remove(path: &Path) -> io::Result<()> {
    at(Change::Remove(path), || fs::remove_file(path))
}

/// Removes a folder that is empty.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    at(Change::Remove(path), || fs::remove_dir(path))
}

/// Removes a folder with all that is in it.
pub fn remove_all(path: &Path) -> io::Result<()> {
    at(Change::Remove(path), || fs::remove_dir_all(path))
}

/// Creates a folder where there is none.
pub fn create_folder(path: &Path) -> io::Result<()> {
    at(Change::Folder(path), || fs::create_dir(path))
}

/// Creates a folder, and those that it is in, as far as they are missing.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = folder(path);
    if parent != path {
        create_folders(parent)?;
    }
    match create_folder(path) {
        Err(_) if path.is_dir() => Ok(()), // somebody else was faster
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(io::Error::new(
            error.kind(),
            "exists already and is not a folder",
        )),
        created => created.and_then(|()| sync_folder(parent)),
    }
}

/// Waits until the names in a folder are on the disk, where the system can do that.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let Ok(folder) = fs::File::open(path) else {
        return Ok(());
    };
    match at(Change::Sync(path), || sync(&folder)) {
        Err(error) if is_of_the_disk(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Waits for the disk. Tests of the library do not: what was not synced is lost by [`faults`], and no power fails.
fn sync(file: &fs::File) -> io::Result<()> {
    if cfg!(test) { Ok(()) } else { file.sync_all() }
}

/// Whether a disk is full or fails. Other errors say that a file system does not sync folders.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    const EIO: i32 = 5;
    matches!(error.kind(), StorageFull | QuotaExceeded) || error.raw_os_error() == Some(EIO)
}

/// The folder that a file is in.
pub fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}
