//! A store without a disk, for tests.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{MemfdFlags, memfd_create};

use super::ledger::{Full, Ledger, Victims};
use super::{
    Evicted, Eviction, Files, Finding, Found, HoldChange, Holding, HoldingKind, Leftover, Partial, Record,
    ReferenceLayout, Snapshot, State, StoreError, Transfers, Upkeep, Usage,
};
use crate::crds::{CatalogEntry, FileKey, Observatory, Sha1Sum};

/// A store in memory.
#[derive(Debug)]
pub(crate) struct MemoryStore {
    contents: Mutex<Contents>,
}

#[derive(Debug)]
struct Contents {
    files: HashMap<FileKey, Entry>,
    partials: HashMap<FileKey, (Arc<File>, Option<Record>)>,
    snapshots: HashMap<Observatory, Snapshot>,
    notes: HashMap<String, Vec<u8>>,
    ledger: Ledger,
    /// The number of further transfers that find the disk full.
    full: usize,
    evicted: Evicted,
}

#[derive(Debug)]
struct Entry {
    kind: HoldingKind,
    sha1: Option<Sha1Sum>,
    size: u64,
    bytes: Arc<File>,
    open: Weak<File>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_size(None)
    }
}

impl MemoryStore {
    /// An empty store of at most `cache_size` bytes.
    pub(crate) fn with_size(cache_size: Option<u64>) -> Self {
        Self {
            contents: Mutex::new(Contents {
                files: HashMap::new(),
                partials: HashMap::new(),
                snapshots: HashMap::new(),
                notes: HashMap::new(),
                ledger: Ledger::new(cache_size, 0),
                full: 0,
                evicted: Evicted::default(),
            }),
        }
    }

    /// Puts a file into the store, as the user's own.
    pub(crate) fn put_local(&self, key: &FileKey, contents: &[u8]) -> Result<(), StoreError> {
        let bytes = Arc::new(memory_file(key)?);
        let failed = |error| StoreError::io("write", key.name.as_str(), error);
        bytes.write_all_at(contents, 0).map_err(failed)?;
        let entry = Entry {
            kind: HoldingKind::Local,
            sha1: None,
            size: u64::try_from(contents.len()).unwrap_or(u64::MAX),
            bytes,
            open: Weak::new(),
        };
        let mut contents = self.contents();
        contents.ledger.add_kept(key, entry.size, SystemTime::now());
        contents.files.insert(key.clone(), entry);
        Ok(())
    }

    /// Makes the next `times` transfers find the disk full when they begin, in spite of their reservations.
    pub(crate) fn run_full(&self, times: usize) {
        self.contents().full = times;
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }
}

impl Contents {
    fn remove(&mut self, victims: &Victims) {
        for victim in &victims.copies {
            let size = self.files.remove(victim).map_or(0, |entry| entry.size);
            self.evicted.add(size);
            self.ledger.remove(victim);
        }
    }
}

impl Entry {
    fn hand_out(&mut self, key: &FileKey) -> Result<Arc<File>, StoreError> {
        if let Some(open) = self.open.upgrade() {
            return Ok(open);
        }
        let copy = self
            .bytes
            .try_clone()
            .map_err(|error| StoreError::io("open", key.name.as_str(), error))?;
        let copy = Arc::new(copy);
        self.open = Arc::downgrade(&copy);
        Ok(copy)
    }

    fn holding(&self) -> Holding {
        Holding {
            kind: self.kind,
            size: self.size,
            blocks: self.size.div_ceil(512),
            modified: UNIX_EPOCH,
        }
    }
}

fn memory_file(key: &FileKey) -> Result<File, StoreError> {
    memfd_create(key.name.as_str(), MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|error| StoreError::io("make", key.name.as_str(), error.into()))
}

impl Files for MemoryStore {
    fn layout(&self) -> ReferenceLayout {
        ReferenceLayout::Flat
    }

    fn directory(&self) -> Option<&Dir> {
        None
    }

    fn load_index(&self, _: Observatory) -> Result<(), StoreError> {
        Ok(())
    }

    fn holding(&self, key: &FileKey) -> Option<Holding> {
        self.contents().files.get(key).map(Entry::holding)
    }

    fn holdings(&self, observatory: Observatory) -> Result<Vec<(FileKey, Holding)>, StoreError> {
        let contents = self.contents();
        let of_it = contents
            .files
            .iter()
            .filter(|(key, _)| key.observatory == observatory);
        Ok(of_it.map(|(key, entry)| (key.clone(), entry.holding())).collect())
    }

    fn open(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        let mut contents = self.contents();
        contents.ledger.touch(key, SystemTime::now());
        let Some(entry) = contents.files.get_mut(key) else {
            return Ok(Found::Absent);
        };
        if entry.kind == HoldingKind::Local {
            return Ok(Found::Local(entry.hand_out(key)?));
        }
        if wanted.size.is_none_or(|size| size == entry.size)
            && (wanted.sha1.is_none() || wanted.sha1 == entry.sha1)
        {
            return Ok(Found::Catalogued(entry.hand_out(key)?));
        }
        contents.files.remove(key);
        contents.ledger.remove(key);
        Ok(Found::Absent)
    }

    fn verify(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.open(key, wanted)
    }

    fn set_local(&self, key: &FileKey) -> Result<(), StoreError> {
        if let Some(entry) = self.contents().files.get_mut(key) {
            entry.kind = HoldingKind::Local;
        }
        Ok(())
    }

    fn move_in(&self, from: &Path, _: &FileKey) -> Result<(), StoreError> {
        Err(StoreError::io("rename", from, io::ErrorKind::Unsupported.into()))
    }

    fn recount(&self, _: &FileKey) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_copy(&self, key: &FileKey) -> Result<bool, StoreError> {
        let is_local = |holding: Holding| holding.kind == HoldingKind::Local;
        if self.holding(key).is_some_and(is_local) {
            return Ok(false);
        }
        self.remove(key)
    }

    fn remove(&self, key: &FileKey) -> Result<bool, StoreError> {
        let mut contents = self.contents();
        contents.ledger.remove(key);
        Ok(contents.files.remove(key).is_some())
    }
}

impl Transfers for MemoryStore {
    fn reserve(&self, key: &FileKey, size: u64) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let Contents { files, ledger, .. } = &mut *contents;
        let is_open = |other: &FileKey| {
            files
                .get(other)
                .is_some_and(|entry| entry.open.strong_count() > 0)
        };
        ledger.reserve(key, size, u64::MAX, is_open)?;
        Ok(())
    }

    fn begin(&self, key: &FileKey) -> Result<Partial, StoreError> {
        let mut contents = self.contents();
        if let Some(left) = contents.full.checked_sub(1) {
            contents.full = left;
            let full = io::ErrorKind::StorageFull.into();
            return Err(StoreError::io("write", key.name.as_str(), full));
        }
        if let Some((file, record)) = contents.partials.get(key) {
            if record.is_none() {
                file.set_len(0)
                    .map_err(|error| StoreError::io("write", key.name.as_str(), error))?;
            }
            return Ok(Partial {
                file: Arc::clone(file),
                record: record.clone(),
            });
        }
        let file = Arc::new(memory_file(key)?);
        contents.partials.insert(key.clone(), (Arc::clone(&file), None));
        Ok(Partial { file, record: None })
    }

    fn claim(&self, key: &FileKey, _: &Partial) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let Contents { files, ledger, .. } = &mut *contents;
        let is_open = |other: &FileKey| {
            files
                .get(other)
                .is_some_and(|entry| entry.open.strong_count() > 0)
        };
        let victims = ledger.claim(key, u64::MAX, is_open)?;
        contents.remove(&victims);
        Ok(())
    }

    fn make_room(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError> {
        let mut contents = self.contents();
        let Contents { files, ledger, .. } = &mut *contents;
        let is_open = |other: &FileKey| {
            files
                .get(other)
                .is_some_and(|entry| entry.open.strong_count() > 0)
        };
        let victims = ledger.oldest(bytes, |other| other == key || is_open(other));
        if victims.is_empty() {
            return Err(StoreError::NoSpace(Full {
                needed: bytes,
                why: "there is nothing left to evict".to_owned(),
            }));
        }
        contents.remove(&victims);
        Ok(())
    }

    fn record(&self, key: &FileKey, record: &Record) -> Result<(), StoreError> {
        if let Some(partial) = self.contents().partials.get_mut(key) {
            partial.1 = Some(record.clone());
        }
        Ok(())
    }

    fn publish(&self, key: &FileKey, partial: &Partial, sha1: Sha1Sum) -> Result<Arc<File>, StoreError> {
        let size = partial
            .file
            .metadata()
            .map_err(|error: io::Error| StoreError::io("look at", key.name.as_str(), error))?
            .len();
        let mut contents = self.contents();
        if contents
            .files
            .get(key)
            .is_some_and(|entry| entry.kind == HoldingKind::Local)
        {
            return Err(StoreError::Overridden(key.to_string()));
        }
        contents.partials.remove(key);
        contents.ledger.release(key);
        contents.ledger.add_copy(key, size, true, SystemTime::now());
        let mut entry = Entry {
            kind: HoldingKind::Catalogued,
            sha1: Some(sha1),
            size,
            bytes: Arc::clone(&partial.file),
            open: Weak::new(),
        };
        let file = entry.hand_out(key)?;
        contents.files.insert(key.clone(), entry);
        Ok(file)
    }

    fn abandon(&self, key: &FileKey, keep: bool) -> Result<(), StoreError> {
        let mut contents = self.contents();
        contents.ledger.release(key);
        if !keep {
            contents.partials.remove(key);
        }
        Ok(())
    }
}

impl State for MemoryStore {
    fn snapshot(&self, observatory: Observatory) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.contents().snapshots.get(&observatory).cloned())
    }

    fn save_snapshot(&self, observatory: Observatory, literal: &str, _: &str) -> Result<(), StoreError> {
        let snapshot = Snapshot {
            text: literal.to_owned(),
            written: SystemTime::now(),
        };
        self.contents().snapshots.insert(observatory, snapshot);
        Ok(())
    }

    fn set_aside_snapshot(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.contents().snapshots.remove(&observatory);
        Ok(())
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.contents().notes.get(name).cloned())
    }

    fn save_note(&self, name: &str, contents: &[u8]) -> Result<(), StoreError> {
        self.contents().notes.insert(name.to_owned(), contents.to_owned());
        Ok(())
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let contents = self.contents();
        let total = contents.ledger.limit().unwrap_or(1 << 40);
        Ok(Usage {
            total,
            available: total.saturating_sub(contents.ledger.used()),
            used: contents.ledger.used(),
            files: u64::try_from(contents.files.len()).unwrap_or(u64::MAX),
            files_free: 1 << 20,
            limit: contents.ledger.limit(),
            evicted: contents.evicted,
            leases: None,
            ..Usage::default()
        })
    }

    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Upkeep for MemoryStore {
    fn held(&self) -> BTreeSet<FileKey> {
        self.contents().ledger.held().clone()
    }

    fn held_copies(&self) -> (u64, u64) {
        self.contents().ledger.held_copies()
    }

    fn is_held(&self, key: &FileKey) -> bool {
        self.contents().ledger.held().contains(key)
    }

    fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), StoreError> {
        let mut held = self.held();
        for change in changes {
            change.apply(&mut held);
        }
        self.contents().ledger.set_held(held);
        Ok(())
    }

    fn last_used(&self, key: &FileKey) -> Option<SystemTime> {
        self.contents().ledger.last_used(key)
    }

    fn is_open(&self, key: &FileKey) -> bool {
        let contents = self.contents();
        let entry = contents.files.get(key);
        entry.is_some_and(|entry| entry.open.strong_count() > 0)
    }
    fn evict(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Eviction, StoreError> {
        let finding = self.examine(key, wanted)?;
        Ok(match finding {
            Finding::Absent => Eviction::Absent,
            Finding::Local(_) => Eviction::Local,
            _ if self.is_held(key) => Eviction::Held,
            _ if self.is_open(key) => Eviction::Open,
            Finding::WrongLength(_) | Finding::WrongDigest(_) => Eviction::Wrong,
            Finding::Right => {
                let size = self.holding(key).map_or(0, |holding| holding.size);
                self.remove(key)?;
                self.contents().evicted.add(size);
                Eviction::Gone(size)
            }
        })
    }

    fn examine(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Finding, StoreError> {
        let contents = self.contents();
        let Some(entry) = contents.files.get(key) else {
            return Ok(Finding::Absent);
        };
        Ok(match (entry.kind, entry.sha1) {
            (HoldingKind::Local, _) => Finding::Local(entry.size),
            _ if wanted.size.is_some_and(|size| size != entry.size) => Finding::WrongLength(entry.size),
            (_, Some(found)) if wanted.sha1.is_some_and(|sha1| sha1 != found) => Finding::WrongDigest(found),
            _ => Finding::Right,
        })
    }

    fn leftovers(&self) -> Vec<Leftover> {
        Vec::new()
    }

    fn remove_leftover(&self, _: &Leftover) -> Result<(), StoreError> {
        Ok(())
    }
}
