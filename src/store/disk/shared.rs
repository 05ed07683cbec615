//! A store that many mounts, on one node or on several, use at the same time, beside clients of other kinds.
//!
//! Nothing in it is trusted to a lock. What a mount knows and has under way lies in a state directory of its own, on the
//! node; in the store it writes verified files, temporary names on their way there, and configuration. The marker
//! [`MARKER`] tells later mounts that others may be there, and gives the store an identity that is the same on all nodes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt as _};
use parking_lot::Mutex;

use super::agreed::{self, agree};
use super::lease_table::Leases;
use super::lock::{self, Lock, Truthful};
use super::naming::{self, make_dirs, make_path, new_file};
use super::state_dir::{self, Durable, FORMAT_NAME, Missing, OWN, SMALL_LIMIT};
use super::{Disk, StoreError};
use crate::crds::Observatory;
use crate::store::verified::Identity;

/// The file in `.crds-fs` that says that the store is shared; its first line is the store's identity.
const MARKER: &str = "shared";
/// The directory in `.crds-fs` of files that are being copied into the store.
pub(super) const INCOMING: &str = "incoming";
/// The text of the marker after the identity.
const EXPLANATION: &str = "This cache is used by several mounts of crds-fs (--shared). One without --shared refuses it, \
    since it would evict and move files that others use.\nIf no such mount uses it any more, this file can be removed.\n";
/// The file in a state directory with the token of the mount that uses it: where that was killed, the next one finds it.
const SESSION: &str = "session";
/// The number of state directories of one store on one node.
const MOUNTS: usize = 1000;

/// The part of a mount in a store that it shares.
#[derive(Debug)]
pub(super) struct Shared {
    /// `.crds-fs` in the store.
    own: Dir,
    /// Held for the lock of the state directory.
    _state: Option<Lock>,
    state_path: PathBuf,
    /// The part of temporary names that no other mount has.
    token: String,
    /// Whether the store is for a group that cannot write to what this mount makes in it.
    keeps_group_out: bool,
    /// The end of the leases of the mount that had the state directory before, if it was killed.
    mark_of_predecessor: Option<String>,
    /// Whether the state directory is on the store's file system.
    same_disk: bool,
    device: u64,
    /// The threads that list directories.
    listing: Mutex<HashMap<Observatory, JoinHandle<()>>>,
    closing: AtomicBool,
    leases: Leases,
    /// The time for which a lease holds others back at most.
    term: Duration,
    /// The time of the server's clock when the mount began, by which it dates files.
    clock: SystemTime,
    begun: Instant,
}

impl Shared {
    /// Enters a store with others. `state` is the directory in which the state directories are made, `term` that of leases.
    pub(super) fn enter(root: &Dir, state: Option<&Path>, term: Duration) -> Result<(Dir, Self), StoreError> {
        let own = state_dir::open(root)?;
        // One without a text is awaited below: another mount may have made it just now.
        if agreed::written(&own, Path::new(FORMAT_NAME))?.is_some() {
            state_dir::check_format(&own, Missing::Leave)?;
        }
        let token = format!("{:016x}", fastrand::u64(..));
        let incoming = Path::new(INCOMING);
        make_dirs(&own, incoming)
            .map_err(|error| StoreError::io("make", Path::new(OWN).join(incoming), error))?;
        let beside = incoming.join(&token);
        let (clock, keeps_group_out) = try_to_write(&own, &beside)?;
        let begun = Instant::now();
        settle_format(&own, &beside)?;
        let (id, is_new) = mark(&own, &beside)?;
        if let Err(error) = lock::refuse_owner(&own) {
            if is_new {
                let _ = naming::remove(&own, Path::new(MARKER));
            }
            return Err(error);
        }
        super::tags::settle(root, &own, &beside)?;
        let state = state.ok_or(StoreError::NoState)?;
        let state = own_state(&state.join(format!("shared-{id}")), &token)?;
        let device = |dir: &Dir| {
            let metadata = dir.dir_metadata();
            metadata.map_err(|error| StoreError::io("look at", ".", error))
        };
        let (device, own_device) = (device(root)?.dev(), device(&state.dir)?.dev());
        let keeps_group_out = keeps_group_out && is_for_group(root);
        if keeps_group_out {
            log::warn!(
                "the store is for a group, but directories that this mount makes in it will not be writable for the group: \
                 set the umask to 002 before mounting (UMask=0002 in a systemd unit)"
            );
        }
        let shared = Self {
            own,
            _state: state.lock,
            state_path: state.path,
            token,
            keeps_group_out,
            mark_of_predecessor: state.predecessor.map(|token| mark_of(&token)),
            same_disk: device == own_device,
            device,
            listing: Mutex::default(),
            closing: AtomicBool::new(false),
            leases: Leases::default(),
            term,
            clock,
            begun,
        };
        Ok((state.dir, shared))
    }

    /// `.crds-fs` in the store.
    pub(super) fn own(&self) -> &Dir {
        &self.own
    }

    /// The directory of this mount's own state.
    pub(super) fn state_path(&self) -> &Path {
        &self.state_path
    }

    /// The number of the store's file system on this node.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Lists the directories of an observatory in the background, once.
    pub(super) fn list_later(&self, disk: &Arc<Disk>, observatory: Observatory) -> Result<(), StoreError> {
        let mut listing = self.listing.lock();
        if listing.contains_key(&observatory) || self.is_closing() {
            return Ok(());
        }
        let disk = Arc::clone(disk);
        let list = move || {
            if let Err(error) = disk.ensure_listed(observatory) {
                log::warn!("the files of {observatory} in the store cannot be listed: {error}");
            }
            disk.remove_leftovers(observatory);
        };
        let begun = std::thread::Builder::new()
            .name("crds-fs-list".to_owned())
            .spawn(list);
        listing.insert(
            observatory,
            begun.map_err(|error| StoreError::io("list", ".", error))?,
        );
        Ok(())
    }

    /// Whether the store is about to be closed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Ends what goes on in the background.
    pub(super) fn close(&self) {
        let listing = {
            let mut listing = self.listing.lock();
            self.closing.store(true, Ordering::Relaxed);
            std::mem::take(&mut *listing)
        };
        for (_, thread) in listing {
            if thread.join().is_err() {
                log::error!("the thread that lists a directory has panicked");
            }
        }
    }

    /// Whether the store is for a group that cannot write to what this mount makes in it.
    pub(super) fn keeps_group_out(&self) -> bool {
        self.keeps_group_out
    }

    /// Whether files can get their final names from the state directory by a link.
    pub(super) fn same_disk(&self) -> bool {
        self.same_disk
    }

    /// As if the state directory lay on another disk.
    #[cfg(test)]
    pub(super) fn pretend_other_disk(&mut self) {
        self.same_disk = false;
    }

    /// The leases of this mount.
    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// The time for which a lease holds others back, at most, after the death of its owner, and after publication.
    pub(super) fn term(&self) -> Duration {
        self.term
    }

    /// The time without a sign of life after which a lease is taken over. The other half of its term is for the transfer of
    /// the one who takes it, and for names that others see late.
    pub(super) fn silence(&self) -> Duration {
        self.term / 2
    }

    /// A reading of this process's clock.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The time by the clock that dates files in the store: that of a server, which may be any.
    pub(super) fn clock(&self) -> SystemTime {
        self.clock.checked_add(self.begun.elapsed()).unwrap_or(self.clock)
    }

    /// The path in `.crds-fs` of a new temporary file.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        let turn = state_dir::turn();
        Path::new(INCOMING).join(format!("{}~{turn}~{name}", self.token))
    }

    /// The part of other names that no other mount has.
    pub(super) fn mark(&self) -> String {
        mark_of(&self.token)
    }

    /// Notes in the state directory that its mount has left nothing behind.
    pub(super) fn end_session(&self, state: &Dir) {
        if let Err(error) = naming::remove(state, Path::new(SESSION)) {
            log::debug!(
                "the end of the session is not noted in {}: {error}",
                self.state_path.display()
            );
        }
    }

    /// The end of the leases that a mount of this node has left that was killed.
    pub(super) fn mark_of_predecessor(&self) -> Option<&str> {
        self.mark_of_predecessor.as_deref()
    }
}

/// Whether the store in `root` is shared by others, as far as that can be read.
pub(super) fn is_shared(root: &Dir) -> bool {
    root.open_dir(OWN)
        .is_ok_and(|own| matches!(refuse_shared(&own), Err(StoreError::IsShared)))
}

/// Fails if there is a marker: the store is shared by others.
pub(super) fn refuse_shared(own: &Dir) -> Result<(), StoreError> {
    match state_dir::read_text(own, Path::new(MARKER), SMALL_LIMIT)? {
        Some(_) => Err(StoreError::IsShared),
        None => Ok(()),
    }
}

/// Fails unless a file can be made at a path; gives its time, and whether its group may not write to it.
fn try_to_write(own: &Dir, path: &Path) -> Result<(SystemTime, bool), StoreError> {
    let failed = |error| StoreError::io("write", Path::new(OWN).join(path), error);
    let file = new_file(own, path);
    let metadata = file.map_err(failed)?.metadata().map_err(failed)?;
    naming::remove(own, path).map_err(failed)?;
    Ok((Identity::of(&metadata).modified(), metadata.mode() & 0o020 == 0))
}

/// Notes the format of a new store, and fails if others have noted another one.
fn settle_format(own: &Dir, beside: &Path) -> Result<(), StoreError> {
    let text = String::from_utf8(state_dir::format_text()).unwrap_or_default();
    if agree(own, beside, (own, Path::new(FORMAT_NAME)), &text)?.is_new {
        let tag = Path::new(state_dir::TAG_NAME);
        state_dir::replace(own, tag, state_dir::TAG.as_bytes(), Durable::No)?;
        return Ok(());
    }
    state_dir::check_format(own, Missing::Leave)
}

/// The identity of the store, and whether it was given just now. `beside` is a path in `own` that nobody else uses.
fn mark(own: &Dir, beside: &Path) -> Result<(String, bool), StoreError> {
    let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let text = format!("{id}\n{EXPLANATION}");
    let agreed = agree(own, beside, (own, Path::new(MARKER)), &text)?;
    let id = agreed.text.lines().next().unwrap_or_default().trim();
    let is_sound = (8..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Emptied or made by somebody's hand: then what is remembered is lost when it is mended.
    let id = if is_sound { id.to_owned() } else { "0".repeat(8) };
    Ok((id, agreed.is_new))
}

fn mark_of(token: &str) -> String {
    format!(".{token}")
}

/// A state directory of a mount's own.
struct StateDirectory {
    dir: Dir,
    /// Held as long as it is used, where locks mean anything.
    lock: Option<Lock>,
    path: PathBuf,
    /// The token of the mount that was killed while it used it.
    predecessor: Option<String>,
}

/// A state directory of this mount's own below `state`: one that an earlier mount of this node has left, else a new one.
fn own_state(state: &Path, token: &str) -> Result<StateDirectory, StoreError> {
    let host = lock::host().replace(['/', '\0'], "_");
    for number in 0..MOUNTS {
        let path = state.join(format!("{host}-{number}"));
        let dir = made(&path)?;
        match lock::take_truthfully(&dir) {
            Ok(Truthful::Locked(lock)) => {
                state_dir::check_format(&dir, Missing::Make)?;
                let session = Path::new(SESSION);
                let predecessor = state_dir::read_text(&dir, session, SMALL_LIMIT)?;
                state_dir::replace(&dir, session, token.as_bytes(), Durable::No)?;
                return Ok(StateDirectory {
                    dir,
                    lock: Some(lock),
                    path,
                    predecessor: predecessor.filter(|token| !token.is_empty()),
                });
            }
            Ok(Truthful::Unknown) => break,
            Err(StoreError::InUse { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let path = state.join(format!("{host}-{token}"));
    log::warn!(
        "locks mean nothing in {}, so that what is learnt and half fetched cannot be used by the next mount: name a directory \
         on a disk of this node with --state",
        state.display()
    );
    let dir = made(&path)?;
    state_dir::check_format(&dir, Missing::Make)?;
    Ok(StateDirectory {
        dir,
        lock: None,
        path,
        predecessor: None,
    })
}

fn made(path: &Path) -> Result<Dir, StoreError> {
    let failed = |source| StoreError::io("make the state directory", path, source);
    make_path(path).map_err(failed)?;
    Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)
}

/// Whether a store is meant for a group, by the set-group-id bit of its directory.
fn is_for_group(root: &Dir) -> bool {
    const FOR_GROUP: u32 = 0o2020;
    let mode = root.dir_metadata().map_or(0, |metadata| metadata.mode());
    mode & FOR_GROUP == FOR_GROUP
}
