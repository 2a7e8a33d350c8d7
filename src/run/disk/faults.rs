//! A disk that fails at a change of the tests' choice, and what a power failure leaves of one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Change;

/// What happens at a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The program is killed before it.
    Dies,
    /// Half of it is written, and the program is killed.
    Short,
    /// The disk fails, once (EIO).
    Broken,
    /// From there on, the disk is full (ENOSPC): half of a write is written, and files cannot be made.
    Full,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// The parts of a write that reach the disk one without the other.
const PARTS: usize = 3;

/// A change that has happened; paths are below the watched folder.
#[derive(Clone, Debug)]
pub enum Done {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    Folder(PathBuf),
}

#[derive(Default)]
struct Watch {
    root: PathBuf,
    fault: Option<(usize, Fault)>,
    /// Changes so far, including those that failed.
    count: usize,
    is_dead: bool,
    is_full: bool,
    journal: Vec<Done>,
}

static WATCHED: Mutex<Vec<Arc<Mutex<Watch>>>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder whose changes are counted and recorded, and one of which goes wrong.
pub struct Watched(Arc<Mutex<Watch>>);

impl Watched {
    /// Watches a folder, by its canonical path, until it is dropped. Change `fault.0` (from 0) goes wrong.
    pub fn new(root: &Path, fault: Option<(usize, Fault)>) -> Self {
        let watch = Arc::new(Mutex::new(Watch {
            root: root.to_owned(),
            fault,
            ..Watch::default()
        }));
        locked(&WATCHED).push(watch.clone());
        Self(watch)
    }

    /// Whether as many changes came as it took to fail.
    pub fn has_failed(&self) -> bool {
        let watch = locked(&self.0);
        watch.fault.is_some_and(|(at, _)| watch.count > at)
    }

    /// All changes that have happened.
    pub fn journal(&self) -> Vec<Done> {
        locked(&self.0).journal.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        locked(&WATCHED).retain(|watch| !Arc::ptr_eq(watch, &self.0));
    }
}

/// Makes a change, or lets it fail.
pub(super) fn at<T>(change: Change, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let path = match change {
        Change::Write(file, _) => &*file.path,
        Change::Create(path)
        | Change::SetLen(path, _)
        | Change::Sync(path)
        | Change::Rename(path, _)
        | Change::Link(path, _)
        | Change::Remove(path)
        | Change::Folder(path) => path,
    };
    let mut all = locked(&WATCHED).clone().into_iter();
    let Some(watch) = all.find(|watch| path.starts_with(&locked(watch).root)) else {
        return make();
    };
    locked(&watch).change(change, make)
}

impl Watch {
    fn change<T>(&mut self, change: Change, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.count;
        self.count += 1;
        let fault = self.fault.filter(|&(at, _)| at == number);
        let fault = fault.map(|(_, fault)| fault);
        let is_write = matches!(change, Change::Write(..));
        self.is_full |= fault == Some(Fault::Full);
        let needs_room = matches!(
            change,
            Change::Write(..) | Change::Create(_) | Change::Folder(_) | Change::Link(..)
        );
        if self.is_dead || matches!(fault, Some(Fault::Dies | Fault::Short)) {
            if fault == Some(Fault::Short) && is_write {
                self.half(change)?;
            }
            self.is_dead = true;
            return Err(io::Error::other("it was killed"));
        }
        if self.is_full && needs_room {
            if fault.is_some() && is_write {
                self.half(change)?;
            }
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        if fault == Some(Fault::Broken) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let done = self.done(change)?;
        let made = make()?;
        self.journal.push(done);
        Ok(made)
    }

    /// Writes half of what was to be written.
    fn half(&mut self, change: Change) -> io::Result<()> {
        if let Change::Write(file, bytes) = change {
            let half = Change::Write(file, &bytes[..bytes.len() / 2]);
            let done = self.done(half)?;
            file.as_file().write_all(&bytes[..bytes.len() / 2])?;
            self.journal.push(done);
        }
        Ok(())
    }

    fn done(&self, change: Change) -> io::Result<Done> {
        let below = |path: &Path| {
            let below = path.strip_prefix(&self.root);
            below
                .map(Path::to_owned)
                .map_err(|_| io::Error::other("outside"))
        };
        Ok(match change {
            Change::Create(path) => Done::Create(below(path)?),
            Change::Write(file, bytes) => {
                let at = file.as_file().stream_position()?;
                Done::Write(below(&file.path)?, at, bytes.to_vec())
            }
            Change::SetLen(path, bytes) => Done::SetLen(below(path)?, bytes),
            Change::Sync(path) => Done::Sync(below(path)?),
            Change::Rename(from, to) => Done::Rename(below(from)?, below(to)?),
            Change::Link(from, to) => Done::Link(below(from)?, below(to)?),
            Change::Remove(path) => Done::Remove(below(path)?),
            Change::Folder(path) => Done::Folder(below(path)?),
        })
    }
}

/// A file or a folder, by its number.
type Names = BTreeMap<OsString, usize>;

/// What a folder has after a power failure: files with their bytes, and folders.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A change of one file or folder that is not synced.
enum Edit {
    Bytes(usize, Vec<u8>),
    Length(usize),
    /// A name that appears, one that goes, or both at once.
    Name {
        gone: Option<OsString>,
        new: Option<(OsString, usize)>,
    },
}

/// A file or a folder: what is on the disk, and what may or may not be.
#[derive(Default)]
struct Node {
    is_folder: bool,
    bytes: Vec<u8>,
    names: Names,
    pending: Vec<Edit>,
}

impl Node {
    /// What it is if the disk has those of the pending changes that `keep` says.
    fn with(&self, mut keep: impl FnMut() -> bool) -> (Vec<u8>, Names) {
        let (mut bytes, mut names) = (self.bytes.clone(), self.names.clone());
        for edit in self.pending.iter().filter(|_| keep()) {
            match edit {
                Edit::Bytes(at, some) => {
                    bytes.resize(bytes.len().max(at + some.len()), 0);
                    bytes[*at..at + some.len()].copy_from_slice(some);
                }
                Edit::Length(length) => bytes.resize(*length, 0),
                Edit::Name { gone, new } => {
                    if let Some(name) = gone {
                        names.remove(name);
                    }
                    names.extend(new.clone());
                }
            }
        }
        (bytes, names)
    }

    fn sync(&mut self) {
        (self.bytes, self.names) = self.with(|| true);
        self.pending.clear();
    }
}

/// A disk that loses what was not synced: any part of it.
pub struct Platter(Vec<Node>);

impl Platter {
    /// A folder, empty at first, after these changes.
    pub fn after(changes: &[Done]) -> Self {
        let root = Node {
            is_folder: true,
            ..Node::default()
        };
        let mut disk = Self(vec![root]);
        for change in changes {
            disk.change(change);
        }
        disk
    }

    fn find(&self, path: &Path) -> usize {
        path.iter().fold(0, |node, name| {
            let (_, names) = self.0[node].with(|| true);
            *names.get(name).expect("a name that was made")
        })
    }

    /// The folder of a path and its name there.
    fn name(&self, path: &Path) -> (usize, OsString) {
        let name = path.file_name().expect("a name").to_owned();
        (self.find(path.parent().expect("a folder")), name)
    }

    fn add(&mut self, path: &Path, node: usize) {
        let (folder, name) = self.name(path);
        self.0[folder].pending.push(Edit::Name {
            gone: None,
            new: Some((name, node)),
        });
    }

    fn make(&mut self, path: &Path, is_folder: bool) {
        self.0.push(Node {
            is_folder,
            ..Node::default()
        });
        self.add(path, self.0.len() - 1);
    }

    fn change(&mut self, change: &Done) {
        match change {
            Done::Create(path) => self.make(path, false),
            Done::Folder(path) => self.make(path, true),
            Done::Write(path, at, bytes) => {
                let node = self.find(path);
                let part = bytes.len().div_ceil(PARTS).max(1);
                let parts = bytes.chunks(part).enumerate();
                let edits = parts
                    .map(|(index, some)| Edit::Bytes(*at as usize + index * part, some.to_vec()));
                self.0[node].pending.extend(edits);
            }
            Done::SetLen(path, bytes) => {
                let node = self.find(path);
                self.0[node].pending.push(Edit::Length(*bytes as usize));
            }
            Done::Sync(path) => {
                let node = self.find(path);
                self.0[node].sync();
            }
            Done::Link(from, to) => self.add(to, self.find(from)),
            Done::Rename(from, to) => {
                let node = self.find(from);
                let ((folder, gone), (other, name)) = (self.name(from), self.name(to));
                assert_eq!(folder, other, "renamed within a folder");
                self.0[folder].pending.push(Edit::Name {
                    gone: Some(gone),
                    new: Some((name, node)),
                });
            }
            Done::Remove(path) => {
                let (folder, name) = self.name(path);
                self.0[folder].pending.push(Edit::Name {
                    gone: Some(name),
                    new: None,
                });
            }
        }
    }

    /// The number of changes that may or may not be on the disk.
    pub fn pending(&self) -> usize {
        self.0.iter().map(|node| node.pending.len()).sum()
    }

    /// What is there after a power failure, if of the pending changes the disk has those that `keep` says, by their number.
    pub fn lose(&self, keep: impl Fn(usize) -> bool) -> Tree {
        let mut number = 0;
        let mut next = || {
            number += 1;
            keep(number - 1)
        };
        let nodes: Vec<_> = self.0.iter().map(|node| node.with(&mut next)).collect();
        let mut tree = Tree::new();
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((path, node)) = folders.pop() {
            for (name, &node) in &nodes[node].1 {
                let path = path.join(name);
                if self.0[node].is_folder {
                    tree.insert(path.clone(), None);
                    folders.push((path, node));
                } else {
                    tree.insert(path, Some(nodes[node].0.clone()));
                }
            }
        }
        tree
    }
}

/// Fills an empty folder.
pub fn lay(tree: &Tree, folder: &Path) {
    for (path, bytes) in tree {
        let path = folder.join(path);
        let made = match bytes {
            Some(bytes) => fs::write(path, bytes),
            None => fs::create_dir(path),
        };
        made.expect("made");
    }
}

mod tests {
    use super::super::{File, folder, rename, sync_folder};
    use super::*;

    #[test]
    fn a_power_failure_loses_what_was_not_synced_and_nothing_else() {
        let root = tempfile::tempdir().expect("folder");
        let root = root.path().canonicalize().expect("there");
        let watched = Watched::new(&root, None);
        let [draft, name] = ["draft", "name"].map(|name| root.join(name));
        let mut file = File::create_new(&draft).expect("made");
        file.write_all(b"abcdef").expect("written");
        rename(&draft, &name).expect("renamed");
        let tree = |keep: &dyn Fn(usize) -> bool| Platter::after(&watched.journal()).lose(keep);
        let one = |name: &str, bytes: &[u8]| {
            BTreeMap::from([(PathBuf::from(name), Some(bytes.to_vec()))])
        };
        // Two changes of the folder, three parts of the file.
        assert_eq!(Platter::after(&watched.journal()).pending(), 5);
        assert_eq!(tree(&|_| false), BTreeMap::new());
        assert_eq!(tree(&|_| true), one("name", b"abcdef"));
        assert_eq!(tree(&|edit| edit == 1), one("name", b""));
        assert_eq!(tree(&|edit| edit != 3), one("name", b"ab\0\0ef"));
        assert_eq!(tree(&|edit| edit != 1), one("draft", b"abcdef"));
        sync_folder(folder(&name)).expect("synced");
        assert_eq!(tree(&|_| false), one("name", b""));
        drop(file);
    }

    #[test]
    fn a_fault_happens_at_its_change_and_after_death_nothing_does() {
        let root = tempfile::tempdir().expect("folder");
        let root = root.path().canonicalize().expect("there");
        let path = root.join("a");
        for (fault, bytes, later) in [
            (Fault::Dies, 0, false),
            (Fault::Short, 2, false),
            (Fault::Broken, 0, true),
            (Fault::Full, 2, false),
        ] {
            let watched = Watched::new(&root, Some((1, fault)));
            let mut file = File::create_new(&path).expect("made");
            assert!(!watched.has_failed());
            file.write_all(b"abcd").expect_err("it fails");
            assert_eq!(fs::read(&path).expect("there").len(), bytes, "{fault:?}");
            assert!(watched.has_failed());
            assert_eq!(file.write_all(b"x").is_ok(), later, "{fault:?}");
            drop(watched);
            fs::remove_file(&path).expect("removed");
        }
    }
}
