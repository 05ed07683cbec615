//! The store in a directory.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use parking_lot::{Mutex, MutexGuard};

use super::ledger::Ledger;
use super::verified::Origin;
use super::{
    Evicted, Files, Found, Holding, HoldingKind, Partial, Record, ReferenceLayout, Snapshot, State,
    StoreError, Transfers, Usage,
};
use crate::crds::{CatalogEntry, FileKey, FileName, Observatory, Sha1Sum};

mod changes;
mod digests;
mod durability;
mod files;
mod guards;
mod index;
mod moments;
mod order;
mod partial_gc;
mod partials;
mod possession;
mod quarantine;
mod state_dir;
mod transfer;

pub use files::digest;
pub use moments::crash_points;

#[cfg(test)]
mod tests;

pub use digests::Digests;
use durability::Durability;
use guards::Guards;
use index::{Entry, ObservatoryIndex};
use moments::Moments;
use possession::Possession;
use quarantine::Quarantined;

/// How a store is used.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How many bytes it may hold; `None` is as many as the disk gives.
    pub cache_size: Option<u64>,
    /// How many bytes of its disk stay free.
    pub keep_free: u64,
    /// Whether digests are compared (`CRDS_DOWNLOAD_CHECKSUMS`).
    pub checksums: bool,
    /// Whether lengths are compared (`CRDS_DOWNLOAD_LENGTHS`).
    pub lengths: bool,
    /// Where to remember what must be remembered of stores that cannot be written: each gets a directory below this one.
    pub state: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_size: None,
            keep_free: 1 << 30,
            checksums: true,
            lengths: true,
            state: None,
        }
    }
}

/// A CRDS cache in a directory, used through one handle on it. One process at a time.
#[derive(Debug)]
pub struct DiskStore {
    root: Dir,
    /// `.crds-fs` in it; where it cannot be written a directory elsewhere.
    state_dir: Dir,
    options: StoreOptions,
    layout: ReferenceLayout,
    index: Mutex<Index>,
    /// Held before `index`, and over system calls.
    guards: Guards,
    /// Held while an observatory's directories are read, so that they are read once.
    indexing: Mutex<()>,
    durability: Durability,
    moments: Moments,
    /// Held for its lock as long as the store is in use; none where the store cannot be written.
    owner: Option<File>,
    /// More of our own files, for reading only, in a store that cannot be written.
    theirs: Option<Dir>,
    /// Whether anything can be entry in `state_dir`.
    remembers: bool,
}

/// Everything that is known of the store without asking the disk.
#[derive(Debug)]
struct Index {
    observatories: HashMap<Observatory, ObservatoryIndex>,
    ledger: Ledger,
    evicted: Evicted,
    /// Whether copies may be evicted that crds-fs did not fetch itself.
    any_copy: bool,
    /// Open files, shared by all who open them.
    open: HashMap<FileKey, Weak<File>>,
    /// The partial files of transfers that run.
    running: HashMap<FileKey, Weak<File>>,
    /// What lay in quarantine when it was looked at last.
    quarantined: Quarantined,
    /// The order of use that is written down.
    saved_order: u64,
    /// Directories with names that are not durable yet.
    unsynced: BTreeSet<PathBuf>,
    /// Those who want to hear of every change.
    watchers: Vec<mpsc::Sender<FileKey>>,
}

impl DiskStore {
    /// Opens a directory, making it when it is missing, and takes possession of it.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("open", path, source);
        std::fs::create_dir_all(path).map_err(failed)?;
        let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(failed)?;
        Self::from_dir(root, options)
    }

    /// Takes possession of an open directory. What may be mounted over it later does not matter.
    pub fn from_dir(root: Dir, options: StoreOptions) -> Result<Self, StoreError> {
        let Possession {
            state_dir,
            theirs,
            owner,
            remembers,
        } = possession::take(&root, options.state.as_deref())?;
        let layout = state_dir::find_layout(&root);
        let index = Index {
            observatories: HashMap::new(),
            ledger: Ledger::new(options.cache_size, options.keep_free),
            evicted: Evicted::default(),
            any_copy: options.cache_size.is_some(),
            open: HashMap::new(),
            running: HashMap::new(),
            quarantined: Quarantined::default(),
            saved_order: 0,
            unsynced: BTreeSet::new(),
            watchers: Vec::new(),
        };
        Ok(Self {
            root,
            state_dir,
            options,
            layout,
            index: Mutex::new(index),
            guards: Guards::default(),
            indexing: Mutex::default(),
            moments: Moments::default(),
            durability: Durability::default(),
            owner,
            theirs,
            remembers,
        })
    }

    /// Whether files can be brought into it.
    fn can_write(&self) -> bool {
        self.owner.is_some()
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// How often names were made durable.
    #[cfg(test)]
    pub(crate) fn synced(&self) -> usize {
        let done = self.durability.done();
        done.iter()
            .filter(|sync| **sync == durability::Sync::Names)
            .count()
    }
}

impl Files for DiskStore {
    fn layout(&self) -> ReferenceLayout {
        self.layout
    }

    fn directory(&self) -> Option<&Dir> {
        Some(&self.root)
    }

    fn is_writable(&self) -> bool {
        self.can_write()
    }

    fn load_index(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.ensure_indexed(observatory)
    }

    fn holding(&self, key: &FileKey) -> Option<Holding> {
        self.index().entry(key).map(Entry::holding)
    }

    fn holdings(&self, observatory: Observatory) -> Result<Vec<(FileKey, Holding)>, StoreError> {
        self.ensure_indexed(observatory)?;
        let index = self.index();
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
        self.index().watchers.push(changes);
    }

    fn open(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.open_file(key, wanted)
    }

    fn verify(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.verify_file(key, wanted)
    }

    fn set_local(&self, key: &FileKey) -> Result<(), StoreError> {
        self.mark_local(key)
    }

    fn move_in(&self, from: &Path, key: &FileKey) -> Result<(), StoreError> {
        self.move_local(from, key)
    }

    fn moved_out(&self, key: &FileKey) -> Result<(), StoreError> {
        self.forget_moved(key)
    }

    fn adopt(&self, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        self.adopt_file(key, wanted)
    }

    fn remove_copy(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.remove_copy_of(key)
    }

    fn remove(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.remove_file(key)
    }
}

impl Transfers for DiskStore {
    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError> {
        self.reserve_bytes(key, size)
    }

    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError> {
        self.begin_transfer(key)
    }

    fn claim(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError> {
        self.claim_room(key, partial)
    }

    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError> {
        self.evict_bytes(key, bytes)
    }

    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError> {
        self.record_transfer(key, record)
    }

    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        self.publish_transfer(key, partial, sha1)
    }

    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError> {
        self.abandon_transfer(key, keep)
    }

    fn sweep(&self, observatory: Observatory, is_named: &dyn Fn(&str) -> bool) {
        self.sweep_partials(observatory, is_named);
    }

    fn sync_dirs(&self) -> Result<(), StoreError> {
        self.sync_names()
    }
}

impl State for DiskStore {
    fn snapshot(&self, observatory: Observatory) -> Result<Option<Snapshot>, StoreError> {
        let there = state_dir::snapshot(&self.root, observatory)?;
        if self.can_write() {
            return Ok(there);
        }
        let here = state_dir::snapshot(&self.state_dir, observatory)?;
        Ok(here.into_iter().chain(there).max_by_key(|one| one.written))
    }

    fn save_snapshot(
        &self,
        observatory: Observatory,
        literal: &str,
        bad_files: &str,
    ) -> Result<(), StoreError> {
        if !self.remembers {
            return Ok(());
        }
        let root = if self.can_write() {
            &self.root
        } else {
            &self.state_dir
        };
        state_dir::save_snapshot(root, observatory, literal, bad_files, self.layout)
    }

    fn set_aside_snapshot(&self, observatory: Observatory) -> Result<(), StoreError> {
        let path = state_dir::config_path(observatory, "server_config");
        if !self.can_write() {
            // Whichever it was: without the one here the one there counts.
            let _ = self.state_dir.remove_file(&path);
            return Ok(());
        }
        let name = format!("{observatory}-server_config");
        self.quarantine(&path, &name, "cannot be read", None).map(drop)
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match (state_dir::note(&self.state_dir, name)?, &self.theirs) {
            (None, Some(theirs)) => state_dir::note(theirs, name),
            (note, _) => Ok(note),
        }
    }

    fn save_note(&self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        if !self.remembers {
            return Ok(());
        }
        state_dir::save_note(&self.state_dir, name, contents)
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let disk = self.disk_space()?;
        let quarantined = self.quarantined();
        let mut index = self.index();
        index.ledger.set_aside(quarantined.bytes);
        let (used, files) = (index.ledger.used(), index.ledger.files());
        let free = disk.free.saturating_sub(index.ledger.floor());
        let free = if self.can_write() { free } else { 0 };
        let within = index.ledger.limit().map(|limit| limit.saturating_sub(used));
        Ok(Usage {
            total: index
                .ledger
                .limit()
                .map_or(disk.total, |limit| limit.min(disk.total)),
            available: within.map_or(free, |within| within.min(free)),
            used,
            files: u64::try_from(files).unwrap_or(u64::MAX),
            files_free: disk.files_free,
            limit: index.ledger.limit(),
            evicted: index.evicted,
            partial: index.ledger.partial_bytes(),
            quarantined: quarantined.bytes,
            quarantined_files: quarantined.files,
        })
    }

    fn close(&self) -> Result<(), StoreError> {
        self.sync_names()?;
        self.save_order()
    }
}

impl Index {
    fn entry(&self, key: &FileKey) -> Option<&Entry> {
        self.observatories.get(&key.observatory)?.get(&key.name)
    }

    /// Whether somebody has the file open.
    fn is_open(&self, key: &FileKey) -> bool {
        transfer::is_open(&self.open, key)
    }

    fn tell(&mut self, key: &FileKey) {
        self.watchers.retain(|watcher| watcher.send(key.clone()).is_ok());
    }

    /// Takes a file into the index, or changes what it says of it.
    fn put(&mut self, key: &FileKey, entry: Entry) {
        self.tell(key);
        self.count(key, &entry);
        if let Some(files) = self.observatories.get_mut(&key.observatory) {
            files.put(key.name.clone(), entry);
        }
    }

    /// Counts the bytes of a file.
    fn count(&mut self, key: &FileKey, entry: &Entry) {
        match entry.kind {
            HoldingKind::Catalogued => {
                let evictable = self.any_copy || entry.origin == Origin::Fetched;
                self.ledger.add_copy(key, entry.bytes(), evictable);
            }
            HoldingKind::Unverified | HoldingKind::Local => self.ledger.add_kept(key, entry.bytes()),
        }
    }

    /// Removes a file from the index.
    fn remove(&mut self, key: &FileKey) -> Option<Entry> {
        self.tell(key);
        self.ledger.remove(key);
        self.open.remove(key);
        self.observatories.get_mut(&key.observatory)?.take(&key.name)
    }
}
