//! Atomic writes: after any failure, a file is either the old one or the new one.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::RunError;
use super::disk::{self, File, folder};

/// The prefix of temporary files' names, by which leftovers of a crash are found.
pub const TEMPORARY_PREFIX: &str = ".textgen-";

/// A temporary file that was not written to for so long was left by a writer that was killed.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// Replaces `path` by the concatenated `parts`: written to a temporary sibling, synced, renamed.
/// A device or a pipe is written to as it is, and a link stays: what it points to is replaced. A new file has the
/// permissions that the umask leaves, a replaced one keeps its own.
///
/// On any failure, a full disk included, the old file is untouched and the sibling is removed.
pub fn write(path: &Path, parts: &[&[u8]]) -> Result<(), RunError> {
    if is_stream(path) {
        let stream = OpenOptions::new().write(true).open(path);
        return stream
            .and_then(|mut stream| write_all(&mut stream, parts))
            .map_err(RunError::write(path));
    }
    let mut draft = Draft::of(path)?;
    write_all(&mut draft, parts).map_err(RunError::write(path))?;
    draft.commit()
}

/// Whether `path` is a device, a pipe or the like, which is written to and not replaced.
pub fn is_stream(path: &Path) -> bool {
    let old = std::fs::metadata(path);
    old.is_ok_and(|old| !old.is_file() && !old.is_dir())
}

/// A file or an empty folder under a temporary name, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it another name, under which it stays.
    pub fn rename(mut self, to: &Path) -> std::io::Result<()> {
        disk::rename(&self.0, to)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = disk::remove(&self.0).or_else(|_| disk::remove_all(&self.0));
        }
    }
}

/// What is to replace a file once it is complete: a temporary sibling of it, which is removed if that never happens.
#[derive(Debug)]
pub struct Draft {
    file: File,
    temporary: Temporary,
    /// Where the file is, behind links,
    to: PathBuf,
    /// and what it was called.
    path: PathBuf,
}

impl Draft {
    /// Starts a new version of the file at `path`, which need not exist. A new file has the permissions that the umask
    /// leaves, a replaced one keeps its own. Drafts that were left there are removed.
    pub fn of(path: &Path) -> Result<Self, RunError> {
        let to = behind_links(path);
        let folder = folder(&to);
        sweep_old(folder);
        let start = || {
            let (file, temporary) = temporary(folder, File::create_new)?;
            if let Ok(old) = std::fs::metadata(&to) {
                file.as_file().set_permissions(old.permissions())?;
            }
            Ok((file, temporary))
        };
        let (file, temporary) = start().map_err(RunError::write(path))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
            to,
        })
    }

    /// The error for a write to it that failed.
    pub fn failed(&self, error: std::io::Error) -> RunError {
        RunError::write(&self.path)(error)
    }

    /// Replaces the file.
    pub fn commit(self) -> Result<(), RunError> {
        let replace = || {
            self.file.sync()?;
            self.temporary.rename(&self.to)?;
            disk::sync_folder(folder(&self.to))
        };
        replace().map_err(RunError::write(&self.path))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Where `path` leads if it is a symbolic link; the file there need not exist yet.
fn behind_links(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    std::fs::read_link(path).map_or_else(|_| path.to_owned(), |link| folder.join(link))
}

/// Creates a file or a folder under a new temporary name in `folder`.
pub(super) fn temporary<T>(
    folder: &Path,
    create: impl FnMut(&Path) -> std::io::Result<T>,
) -> std::io::Result<(T, Temporary)> {
    // tempfile's own error would name the temporary file.
    let (made, path) = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .disable_cleanup(true)
        .make_in(folder, create)?
        .into_parts();
    Ok((made, Temporary(path.to_path_buf())))
}

/// Appends `bytes` to the file at `path`, which need not exist, and syncs it.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    disk::append(path, bytes).map_err(RunError::write(path))
}

fn write_all(file: &mut impl Write, parts: &[&[u8]]) -> std::io::Result<()> {
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// Removes a folder with all that is in it, at once: under its name, it is whole or gone. One that cannot be renamed stays.
pub(super) fn remove_folder(path: &Path) {
    if let Ok(((), temporary)) = temporary(folder(path), |name| disk::rename(path, name)) {
        drop(temporary);
        let _ = disk::sync_folder(folder(path));
    }
}

/// The temporary files and folders in `folder`, which a killed writer may have left.
pub(super) fn temporaries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(TEMPORARY_PREFIX)
    })
}

/// Removes temporary files and folders that nobody has written to for an hour.
pub(super) fn sweep_old(folder: &Path) {
    for path in temporaries(folder) {
        let written = std::fs::metadata(&path).and_then(|data| data.modified());
        let age = written.ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_AFTER) {
            let _ = disk::remove(&path).or_else(|_| disk::remove_all(&path));
        }
    }
}

/// Removes the temporary files that a killed writer left in `folder`.
pub fn sweep(folder: &Path) {
    for path in temporaries(folder) {
        let _ = disk::remove(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a");
        write(&path, &[b"one"]).expect("written");
        write(&path, &[b"two", b" three"]).expect("written");
        assert_eq!(std::fs::read(&path).expect("readable"), b"two three");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_draft_that_was_left_is_removed_by_the_next_write_and_a_new_one_is_not() {
        let folder = tempfile::tempdir().expect("folder");
        let [old, new, mine] = [".textgen-old", ".textgen-new", "old"].map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, "x").expect("written");
            path
        });
        let long_ago = std::time::SystemTime::now() - 2 * LEFT_AFTER;
        for path in [&old, &mine] {
            let file = OpenOptions::new().write(true).open(path).expect("there");
            file.set_modified(long_ago).expect("aged");
        }
        write(&folder.path().join("a"), &[b"one"]).expect("written");
        assert!(!old.exists() && new.exists() && mine.exists());
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a");
        write(&path, &[b"one"]).expect("written");
        let mut draft = Draft::of(&path).expect("started");
        draft.write_all(b"two").expect("written");
        drop(draft);
        assert_eq!(std::fs::read(&path).expect("readable"), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_permissions_and_a_link_stays_one() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let [path, link, dangling] = ["a", "link", "dangling"].map(|name| folder.path().join(name));
        write(&path, &[b"one"]).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("changed");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        std::os::unix::fs::symlink("new", &dangling).expect("linked");
        write(&link, &[b"two"]).expect("written");
        write(&dangling, &[b"three"]).expect("written");
        for link in [&link, &dangling] {
            assert!(link.symlink_metadata().expect("there").is_symlink());
        }
        let mode = path.metadata().expect("there").permissions().mode();
        assert_eq!(
            (std::fs::read(&path).expect("readable"), mode & 0o777),
            (b"two".to_vec(), 0o640)
        );
        assert_eq!(
            std::fs::read(folder.path().join("new")).expect("readable"),
            b"three"
        );
    }

    #[test]
    fn a_failed_write_names_the_file() {
        let error = write(Path::new("/nonexistent-folder/a"), &[b"x"]).expect_err("no folder");
        assert!(error.to_string().contains("/nonexistent-folder/a"));
        let source = std::error::Error::source(&error).expect("why");
        assert!(!source.to_string().contains(TEMPORARY_PREFIX), "{source}");
    }

    #[test]
    fn leftovers_are_swept_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(".textgen-abc"), "x").expect("written");
        std::fs::write(folder.path().join("keep"), "x").expect("written");
        sweep(folder.path());
        assert!(folder.path().join("keep").exists());
        assert!(!folder.path().join(".textgen-abc").exists());
    }

    type Writer<'a> = &'a dyn Fn(&Path) -> Result<(), RunError>;

    #[test]
    fn whatever_goes_wrong_a_file_is_the_old_one_or_the_new_one() {
        use crate::run::disk::faults::{Fault, Platter, Watched};
        let drafted = |path: &Path| {
            let mut draft = Draft::of(path)?;
            for part in [&b"two "[..], b"three"] {
                draft.write_all(part).map_err(|error| draft.failed(error))?;
            }
            draft.commit()
        };
        let at_once = |path: &Path| write(path, &[b"two ", b"three"]);
        let writers: [Writer; 2] = [&at_once, &drafted];
        let folder = tempfile::tempdir().expect("folder");
        let folder = folder.path().canonicalize().expect("there");
        let path = folder.join("a");
        let is_either = |bytes: &[u8]| bytes == b"one" || bytes == b"two three";
        let (mut faults, mut failures) = (0, 0);
        for writer in writers {
            for fault in [Fault::Dies, Fault::Short, Fault::Broken, Fault::Full] {
                for point in 0.. {
                    std::fs::write(&path, b"one").expect("written");
                    let watched = Watched::new(&folder, Some((point, fault)));
                    let outcome = writer(&path);
                    if !watched.has_failed() {
                        break;
                    }
                    faults += 1;
                    drop(watched);
                    let there = std::fs::read(&path).expect("there");
                    assert!(is_either(&there), "{point} {fault:?}");
                    if outcome.is_ok() {
                        assert_eq!(there, b"two three");
                    }
                    if matches!(fault, Fault::Broken | Fault::Full) {
                        let left = temporaries(&folder).count();
                        assert_eq!(left, 0, "{point} {fault:?}");
                    }
                    sweep(&folder);
                }
            }
            std::fs::remove_file(&path).expect("removed");
            let watched = Watched::new(&folder, None);
            write(&path, &[b"one"]).expect("written");
            let before = watched.journal().len();
            writer(&path).expect("written");
            let journal = watched.journal();
            for point in before..=journal.len() {
                let disk = Platter::after(&journal[..point]);
                for subset in 0..1 << disk.pending() {
                    failures += 1;
                    let tree = disk.lose(|edit| subset >> edit & 1 == 1);
                    let there = tree[Path::new("a")].as_ref().expect("a file");
                    assert!(is_either(there), "{point} {subset:b}");
                    assert!(point < journal.len() || there == b"two three");
                }
            }
        }
        println!("{faults} faults and {failures} power failures");
        assert!(faults > 30 && failures > 50);
    }
}
