//! The index of the store's files, in memory.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Weak, mpsc};
use std::time::SystemTime;

use cap_std::fs::{Metadata, MetadataExt};

use super::file_state::{Event, Guard, Refused, State};
use super::quarantine::Quarantined;
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::store::layout::place;
use crate::store::ledger::Ledger;
use crate::store::verified::{Identity, Known, Mark, Origin};
use crate::store::{Evicted, Holding, HoldingKind};

/// Everything that is known of the store without asking the disk.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) observatories: HashMap<Observatory, ObservatoryIndex>,
    pub(super) ledger: Ledger,
    pub(super) evicted: Evicted,
    /// Whether copies may be evicted to make room.
    pub(super) evicts: bool,
    /// Among them such that crds-fs did not fetch itself.
    pub(super) any_copy: bool,
    /// Open files, whose handles later openers share.
    pub(super) open: HashMap<FileKey, Weak<File>>,
    /// The partial files of transfers that run.
    pub(super) running: HashMap<FileKey, Weak<File>>,
    /// The contents of quarantine when they were counted last.
    pub(super) quarantined: Quarantined,
    /// The version of the order of use that was saved last.
    pub(super) saved_order: u64,
    /// The senders to which every change goes.
    pub(super) watchers: Vec<mpsc::Sender<FileKey>>,
}

impl Index {
    pub(super) fn entry(&self, key: &FileKey) -> Option<&Entry> {
        self.observatories.get(&key.observatory)?.get(&key.name)
    }

    /// Whether the file is open.
    pub(super) fn is_open(&self, key: &FileKey) -> bool {
        is_open(&self.open, key)
    }

    /// Whether a copy is not to be evicted now: somebody has it open, or it is held.
    pub(super) fn must_stay(&self, key: &FileKey) -> bool {
        self.is_open(key) || self.ledger.held().contains(key)
    }

    /// Whether the user's own file has the name.
    pub(super) fn is_local(&self, key: &FileKey) -> bool {
        self.state(key) == State::Override
    }

    /// Whether `entry` is the last publication of this file and has not got its final name yet.
    pub(super) fn is_pending(&self, key: &FileKey, entry: &Entry) -> bool {
        self.entry(key)
            .is_some_and(|known| known.state == State::Verified && known.identity == entry.identity)
    }

    /// The state of a file.
    pub(super) fn state(&self, key: &FileKey) -> State {
        match self.entry(key) {
            Some(entry) => entry.state,
            None if is_open(&self.running, key) => State::Arriving,
            None => State::Absent,
        }
    }

    /// Changes the state of a file. Its entry stays, unless nothing has the name afterwards: then it is removed and
    /// returned.
    pub(super) fn enter(
        &mut self,
        guard: &Guard<'_, FileKey>,
        event: Event,
    ) -> Result<Option<Entry>, Refused> {
        let key = guard.key();
        let state = self.state(key).on(event)?;
        if !matches!(state, State::Absent | State::Arriving) {
            return Ok(None);
        }
        let gone = self.observatories.get_mut(&key.observatory);
        let gone = gone.and_then(|files| files.take(&key.name));
        if gone.is_some() {
            self.tell(key);
            self.ledger.remove(key);
            self.open.remove(key);
        }
        Ok(gone)
    }

    /// Changes the state of a file and replaces its entry; returns the entry in its new state.
    pub(super) fn enter_with(
        &mut self,
        guard: &Guard<'_, FileKey>,
        event: Event,
        entry: Entry,
    ) -> Result<Entry, Refused> {
        let key = guard.key();
        let state = self.state(key).on(event)?;
        let entry = Entry { state, ..entry };
        // A file that is verified, or gets its name, takes the same blocks as before.
        let shown = |entry: &Entry| (entry.kind() == HoldingKind::Local, entry.blocks);
        if event == Event::Override || self.entry(key).map(shown) != Some(shown(&entry)) {
            self.tell(key);
        }
        // A file that gets its name was not used again.
        if event != Event::Name {
            self.count(key, &entry, SystemTime::now());
        }
        if state == State::Override {
            self.open.remove(key);
        }
        if let Some(files) = self.observatories.get_mut(&key.observatory) {
            files.put(key.name.clone(), entry);
        }
        Ok(entry)
    }

    /// Enters a file that was found in a directory.
    pub(super) fn find(&mut self, key: &FileKey, entry: Entry, used: SystemTime) {
        if let Some(files) = self.observatories.get_mut(&key.observatory) {
            files.put(key.name.clone(), entry);
            self.count(key, &entry, used);
            self.tell(key);
        }
    }

    fn tell(&mut self, key: &FileKey) {
        self.watchers.retain(|watcher| watcher.send(key.clone()).is_ok());
    }

    /// Counts the bytes of a file that was last used at `used`.
    pub(super) fn count(&mut self, key: &FileKey, entry: &Entry, used: SystemTime) {
        match entry.kind() {
            HoldingKind::Catalogued => {
                let evictable = self.evicts && (self.any_copy || entry.origin == Origin::Fetched);
                self.ledger.add_copy(key, entry.bytes(), evictable, used);
            }
            HoldingKind::Unverified | HoldingKind::Local => self.ledger.add_kept(key, entry.bytes(), used),
        }
    }
}

/// The files of one observatory, and the memory of which of them were verified.
#[derive(Debug)]
pub(super) struct ObservatoryIndex {
    pub(super) files: HashMap<FileName, Entry>,
    /// The memory of files that were not seen yet, in a shared store, whose directories are listed later.
    pub(super) unseen: HashMap<FileName, Known>,
    /// Whether the directories were listed.
    pub(super) is_listed: bool,
    /// The memory file, open for appending; `None` where nothing can be remembered.
    pub(super) log: Option<Arc<File>>,
}

impl ObservatoryIndex {
    pub(super) fn get(&self, name: &FileName) -> Option<&Entry> {
        self.files.get(name)
    }

    pub(super) fn iter(&self) -> hash_map::Iter<'_, FileName, Entry> {
        self.files.iter()
    }

    pub(super) fn put(&mut self, name: FileName, entry: Entry) {
        self.unseen.remove(&name);
        self.files.insert(name, entry);
    }

    /// The memory of a file that was not seen yet.
    pub(super) fn unseen(&self, name: &FileName) -> Option<&Known> {
        self.unseen.get(name)
    }

    pub(super) fn take(&mut self, name: &FileName) -> Option<Entry> {
        self.files.remove(name)
    }
}

/// One file of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// One of those in which something has the name, or is about to get it.
    pub(super) state: State,
    pub(super) identity: Identity,
    /// The digest that it was verified with last; `None` if it was not verified, or accepted without one to compare
    /// with. The contents of an `Unverified` file may be others by now.
    pub(super) sha1: Option<Sha1Sum>,
    /// Its origin, if it is a copy.
    pub(super) origin: Origin,
    pub(super) blocks: u64,
    /// The instrument directory that it lies in.
    pub(super) instrument: Option<&'static str>,
    /// The identity of the verified file that openers had before it was copied into a shared store: who has that open
    /// shares it with later openers.
    pub(super) twin: Option<Identity>,
}

impl Entry {
    pub(super) fn new(state: State, metadata: &Metadata, instrument: Option<&'static str>) -> Self {
        Self {
            state,
            identity: Identity::of(metadata),
            sha1: None,
            origin: Origin::Found,
            blocks: metadata.blocks(),
            instrument,
            twin: None,
        }
    }

    /// The kind that the layers above see.
    pub(super) const fn kind(&self) -> HoldingKind {
        match self.state {
            State::Verified | State::Held => HoldingKind::Catalogued,
            State::Override => HoldingKind::Local,
            State::Absent | State::Arriving | State::Unverified => HoldingKind::Unverified,
        }
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            kind: self.kind(),
            size: self.identity.size,
            blocks: self.blocks,
            modified: self.identity.modified(),
        }
    }

    /// Bytes for the ledger.
    pub(super) fn bytes(&self) -> u64 {
        self.identity.size
    }

    /// Its path below the root of the store.
    pub(super) fn path(&self, key: &FileKey) -> PathBuf {
        place(key, self.instrument)
    }

    /// The mark to write down for it; `None` as long as it is unverified.
    pub(super) fn mark(&self) -> Option<Mark> {
        match self.kind() {
            HoldingKind::Catalogued => Some(Mark::Copy(self.identity, self.sha1, self.origin)),
            HoldingKind::Local => Some(Mark::Local),
            HoldingKind::Unverified => None,
        }
    }
}

/// The entry of a file that was found in the store, by what is remembered of its name; `None` for anything but a file
/// or the user's own.
pub(super) fn as_known(
    metadata: &Metadata,
    instrument: Option<&'static str>,
    known: &Known,
) -> Option<Entry> {
    let mut entry = Entry::new(State::Unverified, metadata, instrument);
    if !metadata.is_file() {
        // Only users make links.
        let local = known.local || metadata.is_symlink();
        entry.state = State::Override;
        return local.then_some(entry);
    }
    let copy = known
        .copy
        .filter(|(identity, ..)| identity.has_same_contents(&entry.identity));
    match copy {
        Some((identity, sha1, origin)) if identity == entry.identity => {
            entry.state = State::Held;
            (entry.sha1, entry.origin) = (sha1, origin);
        }
        _ if known.local => entry.state = State::Override,
        Some((_, sha1, origin)) => (entry.sha1, entry.origin) = (sha1, origin),
        None => {}
    }
    Some(entry)
}

/// Whether somebody has the file open.
pub(super) fn is_open(open: &HashMap<FileKey, Weak<File>>, key: &FileKey) -> bool {
    open.get(key).is_some_and(|file| file.strong_count() > 0)
}
