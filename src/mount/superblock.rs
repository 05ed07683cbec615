//! A file system as the kernel has it, which may be mounted at several places, and in several mount namespaces.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::mountinfo::{self, MountEntry};
use super::processes::{self, Process};
use super::server;
use super::users::Users;
use crate::machine::{as_root, shell_word};

/// The superblock of a file system of ours. It lives until the last of its mounts is gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    minor: u32,
    /// The inode number of its directory below `/sys/class/bdi`, by which it differs from a later one with the same number
    /// of device; `None` where sysfs does not show it.
    mark: Option<u64>,
}

impl Superblock {
    /// That of a mount.
    pub(super) fn of(entry: &MountEntry) -> Self {
        Self::numbered(entry.minor)
    }

    /// That which a process serves, or has served until it was unmounted.
    fn served_by(process: u32) -> Option<Self> {
        let known = server::marked_connection_of(process);
        let known = known.map(|(minor, mark)| Self {
            minor,
            mark: Some(mark),
        });
        known.or_else(|| server::connection_of(process).map(Self::numbered))
    }

    fn numbered(minor: u32) -> Self {
        Self {
            minor,
            mark: mark(minor),
        }
    }

    /// Whether it is still there.
    pub(super) fn lives(self) -> bool {
        match self.mark {
            Some(_) => mark(self.minor) == self.mark,
            None => !self.mounts().is_none(),
        }
    }

    /// Its mounts, as far as they can be seen.
    pub(super) fn mounts(self) -> Mounts {
        processes::patiently(move |mounts| look(mounts, self.minor))
    }
}

/// The reason why a process still serves a file system, as the end of a sentence about the process; `None` if it is not seen to
/// serve one.
pub(crate) fn reason_of(process: u32) -> Option<String> {
    let superblock = Superblock::served_by(process)?;
    if !superblock.lives() {
        return Some("was unmounted, and still saves what was fetched".to_owned());
    }
    let mounts = superblock.mounts();
    if let Some(place) = mounts.here.first() {
        return Some(format!("has it mounted at '{}'", place.display()));
    }
    if !mounts.is_none() {
        return Some(format!("goes on {mounts}"));
    }
    let users = Users::of_device(superblock.minor, Some(process));
    (!users.is_empty()).then(|| format!("was unmounted while it was in use{users}"))
}

/// Whether a process serves a file system that is mounted nowhere any more: it saves what it has, and ends.
pub(crate) fn was_unmounted(process: u32) -> bool {
    Superblock::served_by(process).is_some_and(|superblock| !superblock.lives())
}

/// The mark of the file system that has this number of device now.
pub(super) fn mark(minor: u32) -> Option<u64> {
    let directory = format!("/sys/class/bdi/0:{minor}");
    fs::metadata(directory).ok().map(|found| found.ino())
}

/// The mounts of one file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    /// The mount points in this namespace.
    here: Vec<PathBuf>,
    /// The processes in other mount namespaces that have it, in the order of their numbers, with the mount point there.
    elsewhere: Vec<(Process, PathBuf)>,
}

impl Mounts {
    /// Whether none is seen.
    pub(super) fn is_none(&self) -> bool {
        self.here.is_empty() && self.elsewhere.is_empty()
    }

    /// Whether there are others than one mount in this namespace.
    pub(super) fn are_several(&self) -> bool {
        self.here.len() + self.elsewhere.len() > 1
    }

    /// The command that unmounts one of them, where a command can: mounts that came into another user namespace are tied
    /// to it.
    pub(crate) fn remedy(&self) -> Option<String> {
        if let Some(place) = self.here.first() {
            return Some(format!("crds-fs umount {}", shell_word(&place.to_string_lossy())));
        }
        let (process, place) = self.elsewhere.first()?;
        let user_namespace = |path: PathBuf| fs::read_link(path).ok();
        let theirs = user_namespace(process.path("ns/user"))?;
        (user_namespace("/proc/self/ns/user".into()) == Some(theirs)).then(|| {
            let place = shell_word(&place.to_string_lossy());
            as_root(&format!(
                "nsenter --target {} --mount umount {place}",
                process.pid
            ))
        })
    }
}

impl fmt::Display for Mounts {
    /// The places, as in `for 3 processes in other mount namespaces: a (1), b (2), c (3)`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.here.first() {
            return write!(out, "at '{}', where it is mounted as well", place.display());
        }
        let processes: Vec<Process> = self
            .elsewhere
            .iter()
            .map(|(process, _)| process.clone())
            .collect();
        match processes.len() {
            0 => out.write_str(
                "for a mount namespace that cannot be seen from here ('lsns --type mnt' as root may show it)",
            ),
            1 => write!(
                out,
                "for {}, in another mount namespace",
                processes::list(&processes)
            ),
            _ => write!(
                out,
                "for {}, in other mount namespaces",
                processes::list(&processes)
            ),
        }
    }
}

/// A search for the mounts of one file system in the namespaces of all processes.
struct Search {
    minor: u32,
    /// The mount namespace of this process.
    mine: Option<PathBuf>,
    /// The mounts in it, which are known by their numbers where a process does not show its namespace.
    own: Vec<MountEntry>,
    /// The findings in the namespaces that were looked at.
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl Search {
    fn begin(minor: u32) -> Self {
        let mut own = mountinfo::read().unwrap_or_default();
        own.retain(|entry| is_it(entry, minor));
        Self {
            minor,
            mine: fs::read_link("/proc/self/ns/mnt").ok(),
            own,
            known: HashMap::new(),
        }
    }

    /// The mount point where a process of another namespace has it.
    fn place_of(&mut self, process: &Process) -> Option<PathBuf> {
        let namespace = fs::read_link(process.path("ns/mnt")).ok();
        if namespace.is_some() && namespace == self.mine {
            return None;
        }
        if let Some(place) = namespace.as_ref().and_then(|namespace| self.known.get(namespace)) {
            return place.clone();
        }
        let table = mountinfo::read_at(&process.path("mountinfo")).unwrap_or_default();
        let is_own = |entry: &MountEntry| self.own.iter().any(|own| own.id == entry.id);
        let mut theirs = table
            .into_iter()
            .filter(|entry| is_it(entry, self.minor) && !is_own(entry));
        let place = theirs.next().map(|entry| entry.mountpoint);
        if let Some(namespace) = namespace {
            self.known.insert(namespace, place.clone());
        }
        place
    }
}

fn is_it(entry: &MountEntry, minor: u32) -> bool {
    entry.is_ours() && entry.minor == minor
}

fn look(mounts: &Mutex<Mounts>, minor: u32) {
    let mut search = Search::begin(minor);
    mounts.lock().here = search.own.iter().map(|entry| entry.mountpoint.clone()).collect();
    let mut note = |process: Process| {
        if let Some(place) = search.place_of(&process) {
            mounts.lock().elsewhere.push((process, place));
        }
    };
    let all = processes::all();
    all.iter().cloned().for_each(&mut note);
    if mounts.lock().elsewhere.is_empty() {
        // A thread may have gone into a namespace by itself.
        all.iter().flat_map(processes::threads).for_each(note);
    }
}
