//! Taking a mount away: with umount(2), or with `fusermount3 -u` where that is not allowed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::health::{EXIT_TIMEOUT, Health, Server};
use super::mountinfo::{self, MountEntry};
use super::{Error, users};

/// The time for which a mount is tried to be detached that nobody seems to use, and the pause between two tries.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The way to unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Only when it is not in use.
    Plain,
    /// Detach the mount point at once; processes that still use the file system are served on.
    Lazy,
}

/// Unmounts the file system of ours that is mounted at `path`, alive, dead or hanging.
pub(crate) fn unmount(path: &Path, how: How) -> Result<(), Error> {
    let entry = find(path)?;
    match entry.health() {
        health @ (Health::Dead | Health::Hanging) => take_away_dead(&entry, health),
        Health::Answers | Health::Unresponsive { .. } => detach_patiently(&entry, how),
    }
}

/// The file system of ours that is mounted at `path`.
pub(crate) fn find(path: &Path) -> Result<MountEntry, Error> {
    let mountpoint = mountinfo::locate(path)?;
    match mountinfo::at(&mountpoint)? {
        None => Err(Error::NotMounted(mountpoint)),
        Some(entry) if !entry.is_ours() => Err(Error::Foreign {
            path: mountpoint,
            fstype: entry.fstype,
        }),
        Some(entry) => Ok(entry),
    }
}

/// Takes away a mount whose process has died: releases the callers that hang in it, detaches it, and waits until the
/// process has let go of its cache.
pub(super) fn take_away_dead(entry: &MountEntry, health: Health) -> Result<(), Error> {
    let server = entry.server();
    if health == Health::Hanging {
        abort(entry)?;
    }
    if mountinfo::at(&entry.mountpoint)?.is_some_and(|there| there.minor == entry.minor) {
        detach(entry, How::Lazy)?;
    }
    entry.await_end(server, EXIT_TIMEOUT);
    Ok(())
}

/// Ends the connection: the kernel answers all waiting requests, and what is left of the process can end.
fn abort(entry: &MountEntry) -> Result<(), Error> {
    let control = format!("/sys/fs/fuse/connections/{}/abort", entry.minor);
    // The control file belongs to the user who mounted.
    if std::fs::write(control, "1").is_ok() {
        return Ok(());
    }
    // The control file system may be missing, as in containers. A forced unmount does the same; whether it also unmounts
    // does not matter.
    match umount2(&entry.mountpoint, MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(Error::Hanging {
            path: entry.mountpoint.clone(),
            source: errno.into(),
        }),
    }
}

/// Detaches a mount. Where it is in use by nobody who can be seen, as by a process that was just forked, it is tried again for a
/// short while.
fn detach_patiently(entry: &MountEntry, how: How) -> Result<(), Error> {
    let limit = Instant::now() + BUSY_TIMEOUT;
    loop {
        match detach(entry, how) {
            Err(Error::Busy { users, .. }) if users.is_empty() && Instant::now() < limit => {
                std::thread::sleep(BUSY_PAUSE);
            }
            other => return other,
        }
    }
}

/// Detaches a mount.
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
    let mut arguments = vec![OsStr::new("-u")];
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
    let server = match entry.server() {
        Server::Running(pid) | Server::Exiting(pid) => Some(pid),
        Server::Gone | Server::Unknown => None,
    };
    Error::Busy {
        path: entry.mountpoint.clone(),
        users: users::describe(&entry.mountpoint, server),
    }
}
