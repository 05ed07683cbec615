//! The users of a mount: processes with something of it open, mapped, or as their directory, and what is mounted in it.
//!
//! They are found below `/proc` by the number of the device, in whatever namespaces they are and whatever they call the place.
//! The mount itself, which may be dead, is never asked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::mountinfo::{self, MountEntry};
use super::processes::{self, Process};

/// The users of a mount, as far as they can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Users {
    processes: Vec<Process>,
    /// The places in it where other file systems are mounted.
    mounts: Vec<PathBuf>,
    /// The number of processes that this user may not look into.
    hidden: usize,
}

impl Users {
    /// Those of a mount. The process that serves it is none of them, although its store may be the directory below.
    pub(super) fn of(entry: &MountEntry, server: Option<u32>) -> Self {
        let mut users = Self::of_device(entry.minor, server);
        let table = mountinfo::read().unwrap_or_default().into_iter();
        let inside = table
            .map(|other| other.mountpoint)
            .filter(|place| is_inside(place, entry));
        users.mounts = inside.collect();
        users
    }

    /// The processes that use the file system of a device, wherever it is or was mounted.
    pub(super) fn of_device(minor: u32, server: Option<u32>) -> Self {
        processes::patiently(move |users| look(users, Sought { minor, ino: None }, server))
    }

    /// The processes that have a file of a mount open or mapped, whoever opened it for them.
    pub(crate) fn of_file(file: &Path) -> Self {
        // The kernel has both numbers, since the file was just looked up.
        let Ok(found) = statx(CWD, file, AtFlags::STATX_DONT_SYNC, StatxFlags::INO) else {
            return Self::default();
        };
        let sought = Sought {
            minor: found.stx_dev_minor,
            ino: Some(found.stx_ino),
        };
        processes::patiently(move |users| look(users, sought, None))
    }

    /// The processes.
    pub(crate) fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Whether none is seen.
    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.mounts.is_empty()
    }
}

impl fmt::Display for Users {
    /// The users and the way to be rid of them, as the end of a sentence: ` by cat (12): end its users`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.mounts.first() {
            let more = match self.mounts.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            write!(
                out,
                " by what is mounted at '{}'{more}: unmount that first",
                first.display()
            )
        } else if !self.processes.is_empty() {
            write!(out, " by {}: end its users", processes::list(&self.processes))
        } else if self.hidden > 0 {
            out.write_str(
                " by processes that you may not see (as root 'crds-fs umount' names them): end its users",
            )
        } else {
            out.write_str(": end its users")
        }
    }
}

fn is_inside(place: &Path, entry: &MountEntry) -> bool {
    place != entry.mountpoint && place.starts_with(&entry.mountpoint)
}

/// The file system, or the file of it, that is looked for in processes.
#[derive(Debug, Clone, Copy)]
struct Sought {
    /// The device, whose major number is 0.
    minor: u32,
    /// The file; all files of the device if there is none.
    ino: Option<u64>,
}

impl Sought {
    /// Whether a process has it open, or for its directory or root; `None` if this user may not look.
    fn is_open_in(self, process: &Process) -> Option<bool> {
        let descriptors = match fs::read_dir(process.path("fd")) {
            Err(error) if processes::is_hidden(&error) => return None,
            descriptors => descriptors.into_iter().flatten().flatten(),
        };
        let directories = ["cwd", "root"].map(|name| process.path(name));
        let mut links = directories
            .into_iter()
            .chain(descriptors.map(|descriptor| descriptor.path()));
        Some(links.any(|link| self.is_at(&link)))
    }

    /// Whether a link below `/proc` leads to it. The file system is asked for nothing.
    fn is_at(self, link: &Path) -> bool {
        let what = match self.ino {
            Some(_) => StatxFlags::INO,
            None => StatxFlags::empty(),
        };
        let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        statx(CWD, link, flags, what).is_ok_and(|file| {
            (file.stx_dev_major, file.stx_dev_minor) == (0, self.minor)
                && self.ino.is_none_or(|ino| ino == file.stx_ino)
        })
    }

    /// Whether one of the lines of `/proc/PID/maps` is about it. They need not be UTF-8.
    fn is_mapped(self, maps: &[u8]) -> bool {
        let device = format!("00:{:02x}", self.minor);
        let ino = self.ino.map(|ino| ino.to_string());
        maps.split(|byte| *byte == b'\n').any(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(3);
            fields.next() == Some(device.as_bytes())
                && ino
                    .as_ref()
                    .is_none_or(|ino| fields.next() == Some(ino.as_bytes()))
        })
    }
}

fn look(users: &Mutex<Users>, sought: Sought, server: Option<u32>) {
    // This process, which asks, is about to end.
    let is_other = |process: &Process| process.pid != std::process::id() && Some(process.pid) != server;
    let mut others = Vec::new();
    for process in processes::all().into_iter().filter(is_other) {
        match sought.is_open_in(&process) {
            Some(true) => users.lock().processes.push(process),
            Some(false) => others.push(process),
            None => users.lock().hidden += 1,
        }
    }
    // These come last: the map of a process may be locked while it waits for an answer of the mount.
    let maps = |process: &Process| fs::read(process.path("maps")).is_ok_and(|maps| sought.is_mapped(&maps));
    for process in others.into_iter().filter(maps) {
        users.lock().processes.push(process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_told_by_their_device_and_file() {
        let maps = b"7f00-7f01 r--s 00000000 00:37 12   /crds/\xff ref\n\
                     7f02-7f03 r--p 00000000 fd:01 3   /00:38\n";
        let is_mapped = |minor, ino| Sought { minor, ino }.is_mapped(maps);
        assert!(is_mapped(0x37, None) && is_mapped(0x37, Some(12)));
        assert!(!is_mapped(0x37, Some(1)) && !is_mapped(0x38, None) && !is_mapped(1, None));
        let wide = Sought {
            minor: 0x100,
            ino: None,
        };
        assert!(wide.is_mapped(b"7f00-7f01 r--s 00000000 00:100 12 /x") && !wide.is_mapped(b""));
    }

    #[test]
    fn users_are_told_with_the_remedy() {
        let mut users = Users::default();
        assert_eq!(users.to_string(), ": end its users");
        users.hidden = 3;
        assert!(
            users.is_empty() && users.to_string().contains("as root"),
            "{users}"
        );
        users.processes = processes::all().into_iter().take(1).collect();
        assert!(users.to_string().ends_with("): end its users"), "{users}");
        users.mounts = vec!["/m/a".into(), "/m/b".into()];
        assert_eq!(
            users.to_string(),
            " by what is mounted at '/m/a' and 1 more: unmount that first"
        );
    }
}
