//! Taking a mount away: with umount(2), or with `fusermount3 -u` where that is not allowed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::mountinfo::{self, MountEntry};
use super::{Error, users};

/// How insistent to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Only when nobody uses it.
    Plain,
    /// Detach the name at once; the file system lives on for those who still use it.
    Lazy,
}

/// Unmounts the file system of ours that is mounted at `path`, alive or dead.
pub fn unmount(path: &Path, how: How) -> Result<(), Error> {
    let place = mountinfo::locate(path)?;
    match mountinfo::at(&place)? {
        None => Err(Error::NotMounted(place)),
        Some(entry) if !entry.is_ours() => Err(Error::Foreign {
            path: place,
            fstype: entry.fstype,
        }),
        Some(entry) => detach(&entry, how),
    }
}

pub(super) fn detach(entry: &MountEntry, how: How) -> Result<(), Error> {
    let path = entry.mountpoint.as_path();
    let flags = match how {
        How::Plain => MntFlags::empty(),
        How::Lazy => MntFlags::MNT_DETACH,
    };
    match umount2(path, flags | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::EPERM) => fusermount(path, how, entry),
        Err(Errno::EBUSY) => Err(busy(entry)),
        Err(errno) => Err(Error::io("unmounting", path, errno)),
    }
}

fn fusermount(path: &Path, how: How, entry: &MountEntry) -> Result<(), Error> {
    let mut arguments = vec![OsStr::new("-u"), OsStr::new("-q")];
    if how == How::Lazy {
        arguments.push(OsStr::new("-z"));
    }
    arguments.extend([OsStr::new("--"), path.as_os_str()]);
    let output = Command::new("fusermount3")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::io("running fusermount3 for", path, source))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else if said.contains("busy") {
        Err(busy(entry))
    } else {
        Err(Error::Helper(said.trim().to_owned()))
    }
}

fn busy(entry: &MountEntry) -> Error {
    Error::Busy {
        path: entry.mountpoint.clone(),
        users: users::describe(&entry.mountpoint),
    }
}
