//! Taking a mount away: with umount(2), or with `fusermount3 -u` where that is not allowed.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::getuid;

use super::Error;
use super::health::Health;
use super::mountinfo::{self, MountEntry};
use super::server::{self, EXIT_TIMEOUT, Server};
use super::superblock::{Mounts, Superblock};
use super::user_name;
use super::users::Users;

/// The time for which a mount is tried to be detached that nobody seems to use, and the pause between two tries.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The time that a file system may live on after its last mount, and the pause between two looks at it.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
const RELEASE_PAUSE: Duration = Duration::from_millis(5);

/// The time after which a file system that did not end is looked at again.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

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
    take_away(&entry, entry.health(), how)
}

fn take_away(entry: &MountEntry, health: Health, how: How) -> Result<(), Error> {
    match health {
        Health::Dead | Health::Hanging => take_away_dead(entry, health),
        Health::Answers | Health::Unresponsive { .. } => patiently(|| detach(entry, how)),
    }
}

/// The state of a file system after it was unmounted.
#[derive(Debug)]
pub(crate) enum End {
    /// Its process has ended: all is durable, and the cache is free.
    Ended,
    /// Its process still writes what was fetched.
    Saving,
    /// This process of its was stopped, and neither writes nor ends.
    Stopped(u32),
    /// It is mounted elsewhere as well, and served there.
    Served(Served),
}

/// A file system that was unmounted here, and that others have.
#[derive(Debug)]
pub(crate) struct Served {
    /// The process that serves it, where that can be seen.
    pub process: Option<u32>,
    /// The other mounts.
    pub mounts: Mounts,
    /// The failure to make durable what was fetched so far.
    pub unsynced: Option<Error>,
}

/// Unmounts the file system of ours that is mounted at `path`, and waits for the end of its process, up to `timeout`. Who has it
/// mounted elsewhere, as in another mount namespace, keeps it: then what was fetched is made durable before.
pub(crate) fn unmount_and_wait(path: &Path, timeout: Duration) -> Result<End, Error> {
    let limit = Instant::now() + timeout;
    let entry = find(path)?;
    let superblock = Superblock::of(&entry);
    let health = entry.health();
    let server = match entry.server() {
        // It answers nothing: it has served an earlier mount, whose number the kernel has given to this one.
        Server::Running(pid) if health == Health::Answers && server::is_stopped(pid) => Server::Unknown,
        server => server,
    };
    let unsynced = match health {
        // A mount that does not answer is not asked.
        Health::Answers if superblock.mounts().are_several() => entry.sync(timeout).err(),
        _ => None,
    };
    take_away(&entry, health, How::Plain)?;
    loop {
        if server != Server::Gone && is_kept(superblock) {
            return Ok(End::Served(Served {
                process: server.pid(),
                mounts: superblock.mounts(),
                unsynced,
            }));
        }
        if let Some(process) = server.pid().filter(|pid| server::is_stopped(*pid)) {
            return Ok(End::Stopped(process));
        }
        let left = limit.saturating_duration_since(Instant::now());
        if entry.await_end(server, left.min(LOOK_INTERVAL)) {
            return Ok(End::Ended);
        }
        if left.is_zero() {
            return Ok(End::Saving);
        }
    }
}

/// Whether a file system that was unmounted is kept by another mount. One that is just let go of is waited for.
pub(super) fn is_kept(superblock: Superblock) -> bool {
    let limit = Instant::now() + RELEASE_TIMEOUT;
    while superblock.lives() {
        if Instant::now() >= limit {
            return true;
        }
        std::thread::sleep(RELEASE_PAUSE);
    }
    false
}

/// The file system of ours that is mounted at `path`.
pub(crate) fn find(path: &Path) -> Result<MountEntry, Error> {
    let mountpoint = match mountinfo::locate(path) {
        Err(Error::Io { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotMounted(std::path::absolute(&path).unwrap_or(path)));
        }
        located => located?,
    };
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

/// Detaches a mount with `detach`. Where it is in use by nobody who can be seen, as by a process that was just forked, that is
/// tried again for a short while.
fn patiently(mut detach: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let limit = Instant::now() + BUSY_TIMEOUT;
    loop {
        match detach() {
            Err(Error::Busy { are_seen: false, .. }) if Instant::now() < limit => {
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
        Err(Errno::EPERM) => match entry.owner {
            Some(owner) if owner != getuid().as_raw() => Err(Error::NotOwner {
                path: path.to_owned(),
                owner: user_name(owner),
            }),
            _ => fusermount(path, how, entry),
        },
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
    let users = Users::of(entry, entry.server().pid());
    Error::Busy {
        path: entry.mountpoint.clone(),
        users: users.to_string(),
        are_seen: !users.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(are_seen: bool) -> Result<(), Error> {
        Err(Error::Busy {
            path: "/m".into(),
            users: String::new(),
            are_seen,
        })
    }

    /// As where a process was forked that has not yet called exec, and holds what its parent had open.
    #[test]
    fn a_mount_that_nobody_seems_to_use_is_tried_again() {
        let mut tries = 0;
        let detached = patiently(|| {
            tries += 1;
            if tries < 3 { busy(false) } else { Ok(()) }
        });
        assert!(detached.is_ok());
        assert_eq!(tries, 3);
    }

    #[test]
    fn a_mount_whose_users_are_seen_is_refused_at_once() {
        let mut tries = 0;
        let refused = patiently(|| {
            tries += 1;
            busy(true)
        });
        assert!(matches!(refused, Err(Error::Busy { .. })));
        assert_eq!(tries, 1);
    }
}
