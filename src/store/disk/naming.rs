//! Names in directories that others change as well, also on network file systems.
//!
//! Such a file system may say that a name is there (EEXIST) and show it only later, and it may ask its server twice, so that
//! the answer is that of the second time: what was made is there already, what was renamed or removed is gone. Whatever
//! trusts a look after such an answer does so here.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use cap_std::fs::{Dir, File, Metadata, MetadataExt as _, OpenOptions};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

/// The number of looks at a name that is there and cannot be seen yet, and the time between two.
const LOOKS: usize = 100;
const LATE: Duration = Duration::from_millis(50);
/// The number of replies that may be lost one after the other.
pub(super) const REPLIES: usize = 4;

/// Device and inode of a file.
type Inode = (u64, u64);

/// Looks again and again, for a limited time, until there is something to be seen.
pub(super) fn until_seen<T, E>(mut look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    for _ in 0..LOOKS {
        let seen = look()?;
        if seen.is_some() {
            return Ok(seen);
        }
        std::thread::sleep(LATE);
    }
    look()
}

/// Makes a directory below `dir`, and those above it, unless it is there.
pub(super) fn make_dirs(dir: &Dir, path: &Path) -> io::Result<()> {
    let is_other = || dir.symlink_metadata(path).is_ok() && !dir.is_dir(path);
    made(|| dir.create_dir_all(path), is_other)
}

/// As [`make_dirs`], for a path of the process.
pub(super) fn make_path(path: &Path) -> io::Result<()> {
    let is_other = || path.symlink_metadata().is_ok() && !path.is_dir();
    made(|| std::fs::create_dir_all(path), is_other)
}

/// Makes directories. `is_other` tells whether something else can be seen in the place.
fn made(make: impl Fn() -> io::Result<()>, is_other: impl Fn() -> bool) -> io::Result<()> {
    let there = || io::Error::from(ErrorKind::AlreadyExists);
    let done = until_seen(|| match make() {
        // One of them is there, and cannot be seen to be a directory.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !is_other() => Ok(None),
        other => other.map(Some),
    });
    done?.ok_or_else(there)
}

/// A new file at a path that nobody else uses. What is there was made by a request whose reply was lost.
pub(super) fn new_file(dir: &Dir, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    for _ in 0..REPLIES {
        match dir.open_with(path, &options) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => remove(dir, path)?,
            other => return other,
        }
    }
    dir.open_with(path, &options)
}

/// Removes a name of our own, if it is there.
pub(super) fn remove(dir: &Dir, path: &Path) -> io::Result<()> {
    match dir.remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Renames a file of which nobody else knows the old name, and replaces what is there.
pub(super) fn replace(dir: &Dir, from: &Path, to: &Path, file: &Metadata) -> io::Result<()> {
    moved(dir.rename(from, dir, to), (dir, to), inode(file))
}

/// The result of a rename: done as well, if the old name was gone and the file has the new one.
fn moved(renamed: io::Result<()>, (dir, to): (&Dir, &Path), file: Inode) -> io::Result<()> {
    match renamed {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let is_there = dir.symlink_metadata(to).is_ok_and(|there| inode(&there) == file);
            is_there.then_some(()).ok_or(error)
        }
        other => other,
    }
}

/// Renames, but never over something that is there, in a directory in which others do the same on other nodes: by a
/// second name, which the server gives or refuses, where there are such. The old name is nobody else's.
pub(super) fn name_new(source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<()> {
    match link_new(source, from, target, to) {
        Err(error) if has_no_links(&error) => {
            let file = inode(&source.symlink_metadata(from)?);
            moved(rename_new(source, from, target, to), (target, to), file)
        }
        other => other,
    }
}

/// As [`name_new`], only by a second name.
pub(super) fn link_new(source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<()> {
    match source.hard_link(from, target, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !has_name(source, from, target, to)? {
                return Err(error);
            }
        }
        other => other?,
    }
    remove(source, from)
}

/// Whether a file has the other name by now.
fn has_name(source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<bool> {
    // Network file systems tell how many names a file has at the moment when it is opened.
    let opened = source.open(from).and_then(|file| file.metadata());
    let ours = opened.or_else(|_| source.symlink_metadata(from))?;
    if ours.nlink() < 2 {
        return Ok(false);
    }
    let there = until_seen(|| match target.symlink_metadata(to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    })?;
    Ok(there.is_some_and(|there| inode(&there) == inode(&ours)))
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// Whether a file cannot have a second name there, or not by this user, or not in another directory.
pub(super) fn has_no_links(error: &io::Error) -> bool {
    let refusals = [
        Errno::PERM,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::INVAL,
        Errno::XDEV,
    ];
    refusals
        .into_iter()
        .any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// Renames, but never over something that is there.
pub(super) fn rename_new(source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<()> {
    let (source, from) = parent(source, from)?;
    let (target, to) = parent(target, to)?;
    match rustix::fs::renameat_with(source.as_fd(), from, target.as_fd(), to, RenameFlags::NOREPLACE) {
        // Some file systems cannot rename without replacing; a second name does not replace either.
        Err(Errno::INVAL | Errno::NOSYS) => link_or_rename(&source, from, &target, to),
        other => other.map_err(io::Error::from),
    }
}

/// The directory of a path, opened within `dir`, and the name in it.
fn parent<'a>(dir: &Dir, path: &'a Path) -> io::Result<(Dir, &'a Path)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let dir = match path.parent() {
        Some(parent) if parent != Path::new("") => dir.open_dir(parent)?,
        _ => dir.try_clone()?,
    };
    Ok((dir, Path::new(name)))
}

fn link_or_rename(source: &Dir, old: &Path, target: &Dir, new: &Path) -> io::Result<()> {
    match source.hard_link(old, target, new) {
        Ok(()) => source.remove_file(old),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Neither is possible here. Nothing else publishes into this store, or what others publish is as good: so looking
        // first is good enough.
        Err(_) => match target.symlink_metadata(new) {
            Err(error) if error.kind() == ErrorKind::NotFound => source.rename(old, target, new),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        },
    }
}
