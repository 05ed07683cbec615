//! The store in a directory.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use parking_lot::{Mutex, MutexGuard};

use super::leases::Seeking;
use super::ledger::Ledger;
use super::{
    Evicted, Files, Found, Holding, LeaseSeeker, Partial, Record, ReferenceLayout, Sought, StoreError,
    Transfers, Unkept,
};
use crate::crds::{CatalogEntry, FileKey, FileName, Observatory, Sha1Sum};

mod agreed;
mod changes;
mod digests;
mod durability;
mod file_state;
mod files;
mod holds;
mod index;
mod indexing;
mod lease_table;
mod leases;
mod leftovers;
mod lock;
mod moments;
mod naming;
mod options;
mod order;
mod partial_gc;
mod partials;
mod possession;
mod publisher;
mod quarantine;
mod shared;
mod sharing;
mod state;
mod state_dir;
mod tags;
mod transfer;
mod upkeep;
mod whole;

pub(crate) use files::digest;
pub(crate) use options::{Sharing, StoreOptions};

/// The locks behind the guards of files; `tests/file_state.rs`, which runs their interleavings, puts its own in their
/// place.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
}

#[cfg(test)]
mod tests;

pub(crate) use digests::Digests;
use durability::Durability;
use file_state::{Guards, Refused, State as FileState};
use index::{Entry, Index, ObservatoryIndex};
use moments::Moments;
use possession::{Access, Possession};
use publisher::{Publisher, Queue};
use quarantine::Quarantined;
use shared::Shared;

/// A CRDS cache in a directory, used through one handle on it: by one process at a time, or shared by many.
///
/// A published file is durable under its name when [`State::close`](super::State::close) returns without an error, or after this was
/// dropped.
#[derive(Debug)]
pub(crate) struct DiskStore {
    disk: Arc<Disk>,
    publisher: Publisher,
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Some(shared) = self.disk.shared() {
            shared.close();
        }
        self.publisher.end(&self.disk);
        self.disk.end_leases();
        if let Some(shared) = self.disk.shared() {
            shared.end_session(&self.disk.state_dir);
        }
    }
}

/// The part of the store that its publisher shares.
#[derive(Debug)]
struct Disk {
    root: Dir,
    /// `.crds-fs` in it; where it is shared or cannot be written a directory elsewhere.
    state_dir: Dir,
    options: StoreOptions,
    layout: ReferenceLayout,
    index: Mutex<Index>,
    /// Held before `index`, and over system calls.
    guards: Guards<FileKey>,
    /// Held while an observatory's directories are read, so that they are read once.
    indexing: Mutex<()>,
    /// Held while a change of what is held is written down, so that the last one written is the last one made.
    changing_holds: Mutex<()>,
    queue: Queue,
    durability: Durability,
    moments: Moments,
    access: Access,
    /// More of our own files, for reading only, in a store that cannot be written.
    theirs: Option<Dir>,
    /// Whether anything can be kept in `state_dir`.
    remembers: bool,
    /// The owner of what this process makes in `state_dir`, if that had to be found out.
    owner: OnceLock<Option<u32>>,
}

impl DiskStore {
    /// Opens a directory, making it when it is missing, and takes possession of it.
    pub(crate) fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("open", path, source);
        std::fs::create_dir_all(path).map_err(failed)?;
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        Self::from_dir(root, options)
    }

    /// The process of this node that took possession of the store in a directory last, as is written there; it may have ended.
    pub(crate) fn last_owner(path: &Path) -> Option<u32> {
        let root = Dir::open_ambient_dir(path, ambient_authority()).ok()?;
        lock::last_owner(&root)
    }

    /// Takes possession of an open directory, which stays in use even if something is mounted over it later.
    pub(crate) fn from_dir(root: Dir, options: StoreOptions) -> Result<Self, StoreError> {
        let Possession {
            state_dir,
            theirs,
            access,
            remembers,
        } = possession::take(&root, &options)?;
        let layout = state_dir::find_layout(&root);
        let is_shared = matches!(access, Access::Shared(_));
        let limit = options.cache_size.filter(|_| !is_shared);
        let mut ledger = Ledger::new(limit, options.keep_free);
        let ours = remembers.then_some(&state_dir);
        let owns = match &access {
            Access::Shared(shared) => [Some(shared.own()), None],
            Access::Alone(_) | Access::Reading => [theirs.as_ref(), ours],
        };
        ledger.set_held(holds::kept(owns.into_iter().flatten())?);
        let index = Index {
            observatories: HashMap::new(),
            ledger,
            evicted: Evicted::default(),
            evicts: !is_shared,
            any_copy: limit.is_some(),
            open: HashMap::new(),
            running: HashMap::new(),
            quarantined: Quarantined::default(),
            saved_order: 0,
            watchers: Vec::new(),
        };
        let disk = Disk {
            root,
            state_dir,
            options,
            layout,
            index: Mutex::new(index),
            guards: Guards::default(),
            indexing: Mutex::default(),
            changing_holds: Mutex::default(),
            moments: Moments::default(),
            queue: Queue::default(),
            durability: Durability::default(),
            access,
            theirs,
            remembers,
            owner: OnceLock::new(),
        };
        disk.count_quarantine();
        Ok(Self {
            disk: Arc::new(disk),
            publisher: Publisher::default(),
        })
    }
}

impl Disk {
    /// Whether files can be brought into it.
    fn can_write(&self) -> bool {
        !matches!(self.access, Access::Reading)
    }

    /// The part of this mount in a store that it shares; `None` for any other.
    fn shared(&self) -> Option<&Shared> {
        match &self.access {
            Access::Shared(shared) => Some(shared),
            Access::Alone(_) | Access::Reading => None,
        }
    }

    /// The time by the clock that dates the files of the store.
    fn clock(&self) -> SystemTime {
        self.shared().map_or_else(SystemTime::now, Shared::clock)
    }

    /// A time of the clock that dates files as one of the clock of this node.
    fn own_time(&self, time: SystemTime) -> SystemTime {
        let (now, there) = (SystemTime::now(), self.clock());
        let own = match there.duration_since(time) {
            Ok(age) => now.checked_sub(age),
            Err(ahead) => now.checked_add(ahead.duration()),
        };
        own.unwrap_or(time)
    }

    /// The directory of our own on the file system of the store, for what loses its name there.
    fn aside(&self) -> &Dir {
        self.shared().map_or(&self.state_dir, Shared::own)
    }

    /// The refusal to change a store that cannot be written.
    fn protected() -> StoreError {
        let protected = std::io::ErrorKind::ReadOnlyFilesystem.into();
        StoreError::io("write to", ".", protected)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }
}

impl Files for DiskStore {
    fn layout(&self) -> ReferenceLayout {
        self.disk.layout
    }

    fn directory(&self) -> Option<&Dir> {
        Some(&self.disk.root)
    }

    fn is_writable(&self) -> bool {
        self.disk.can_write()
    }

    fn shared_state(&self) -> Option<&Path> {
        self.disk.shared().map(Shared::state_path)
    }

    fn keeps_group_out(&self) -> bool {
        self.disk.shared().is_some_and(Shared::keeps_group_out)
    }

    fn load_index(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.disk.ensure_indexed(observatory)?;
        if let Some(shared) = self.disk.shared() {
            shared.list_later(&self.disk, observatory)?;
        }
        Ok(())
    }

    fn list(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.disk.ensure_listed(observatory)
    }

    fn holding(&self, key: &FileKey) -> Option<Holding> {
        self.disk.index().entry(key).map(Entry::holding)
    }

    fn holdings(&self, observatory: Observatory) -> Result<Vec<(FileKey, Holding)>, StoreError> {
        self.disk.ensure_listed(observatory)?;
        let index = self.disk.index();
        let entry = index.observatories.get(&observatory);
        Ok(entry
            .into_iter()
            .flat_map(ObservatoryIndex::iter)
            .map(|(name, file)| {
                let name = FileName::clone(name);
                (FileKey { observatory, name }, file.holding())
            })
            .collect())
    }

    fn watch(&self, changes: mpsc::Sender<FileKey>) {
        self.disk.index().watchers.push(changes);
    }

    fn open(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.disk.open_file(key, wanted)
    }

    fn verify(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.disk.verify_file(key, wanted)
    }

    fn set_local(&self, key: &FileKey) -> Result<(), StoreError> {
        self.disk.mark_local(key)
    }

    fn move_in(&self, from: &Path, key: &FileKey) -> Result<(), StoreError> {
        self.disk.move_local(from, key)
    }

    fn take_copy(&self, from: &Path, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        self.disk.take_copy_from(from, key, wanted)
    }

    fn recount(&self, key: &FileKey) -> Result<(), StoreError> {
        self.disk.recount_file(key)
    }

    fn adopt(&self, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        self.disk.adopt_file(key, wanted)
    }

    fn remove_copy(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.disk.remove_copy_of(key)
    }

    fn remove(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.disk.remove_file(key)
    }
}

impl Transfers for DiskStore {
    fn seek(
        &self,
        key: &FileKey,
        wanted: CatalogEntry,
        seeker: &mut LeaseSeeker,
        may_take: bool,
    ) -> Result<Sought, StoreError> {
        let Some(shared) = self.disk.shared() else {
            return Ok(Sought::Fetch);
        };
        let seeking = seeker.0.get_or_insert_with(|| Seeking::new(shared.silence()));
        self.disk.seek_lease(key, wanted, seeking, may_take)
    }

    fn note_complete(&self, key: &FileKey) {
        if let Some(shared) = self.disk.shared() {
            shared.leases().note_busy(key);
        }
    }

    fn end_seeking(&self, key: &FileKey) {
        self.disk.end_lease(key);
    }

    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError> {
        self.disk.reserve_bytes(key, size).map(drop)
    }

    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError> {
        self.disk.begin_transfer(key)
    }

    fn claim(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError> {
        self.disk.claim_room(key, partial)
    }

    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError> {
        self.disk.evict_bytes(key, bytes)
    }

    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError> {
        self.disk.record_transfer(key, record)
    }

    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        let file = self.disk.publish_transfer(key, partial, sha1)?;
        self.publisher.start(&self.disk)?;
        Ok(file)
    }

    fn store_whole(&self, key: &FileKey, bytes: &[u8], sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        let file = self.disk.store_bytes(key, bytes, sha1)?;
        self.publisher.start(&self.disk)?;
        Ok(file)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.disk.queue.flush()
    }

    fn unkept(&self) -> Vec<Unkept> {
        self.disk.queue.unkept()
    }

    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError> {
        self.disk.abandon_transfer(key, keep)
    }

    fn sweep(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        self.disk.sweep_partials(observatory, is_named);
    }
}

/// The guard of a file of the store.
type Guard<'a> = file_state::Guard<'a, FileKey>;

impl Refused {
    /// As an error of the store, about a file.
    fn error(self, key: &FileKey) -> StoreError {
        match self.state {
            FileState::Override | FileState::Held | FileState::Unverified => {
                StoreError::Overridden(key.to_string())
            }
            FileState::Absent | FileState::Arriving | FileState::Verified => {
                StoreError::io("change", key.name.as_str(), std::io::Error::other(self))
            }
        }
    }
}
