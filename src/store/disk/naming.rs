//! Names in directories that others change as well.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use cap_std::fs::{Dir, MetadataExt as _};
use rustix::fs::RenameFlags;
use rustix::io::Errno;

/// The number of looks at a name that is there and cannot be seen yet, and the time between two.
pub(super) const LOOKS: usize = 100;
pub(super) const LATE: Duration = Duration::from_millis(50);

/// Renames, but never over something that is there, in a directory in which others do the same on other nodes: by a
/// second name, which the server gives or refuses, where there are such.
pub(super) fn name_new(source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<()> {
    match source.hard_link(from, target, to) {
        Ok(()) => source.remove_file(from),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let (ours, there) = (source.symlink_metadata(from)?, target.symlink_metadata(to));
            // A network file system may have asked twice, and heard only the second answer.
            let is_ours = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
            if is_ours {
                source.remove_file(from)
            } else {
                Err(error)
            }
        }
        Err(error) if has_no_links(&error) => rename_new(source, from, target, to),
        Err(error) => Err(error),
    }
}

/// Whether a file cannot have a second name there, or not by this user.
fn has_no_links(error: &io::Error) -> bool {
    let refusals = [
        Errno::PERM,
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::MLINK,
        Errno::INVAL,
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
        Err(Errno::INVAL | Errno::NOSYS) => link_new(&source, from, &target, to),
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

fn link_new(source: &Dir, old: &Path, target: &Dir, new: &Path) -> io::Result<()> {
    match source.hard_link(old, target, new) {
        Ok(()) => source.remove_file(old),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Neither is possible here. Nothing else publishes into this store, so that looking first is good enough.
        Err(_) => match target.symlink_metadata(new) {
            Err(error) if error.kind() == ErrorKind::NotFound => source.rename(old, target, new),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        },
    }
}
