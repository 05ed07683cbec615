//! Holds, evictions and checks of a store in a directory.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

use super::file_state::{Event, State};
use super::files::digest;
use super::holds;
use super::index::Entry;
use super::leftovers;
use super::{Disk, DiskStore};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};
use crate::store::verified::Mark;
use crate::store::{Eviction, Finding, HoldChange, Leftover, StoreError, Upkeep};

/// The number of times that a file is read if it changes meanwhile.
const TURNS: usize = 3;

impl Upkeep for DiskStore {
    fn held(&self) -> BTreeSet<FileKey> {
        self.disk.index().ledger.held().clone()
    }

    fn held_copies(&self) -> (u64, u64) {
        self.disk.index().ledger.held_copies()
    }

    fn is_held(&self, key: &FileKey) -> bool {
        self.disk.index().ledger.held().contains(key)
    }

    fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), StoreError> {
        holds::change(&self.disk, &changes)
    }

    fn last_used(&self, key: &FileKey) -> Option<SystemTime> {
        self.disk.index().ledger.last_used(key)
    }

    fn is_open(&self, key: &FileKey) -> bool {
        let index = self.disk.index();
        // Until a file has its name, the publisher has it open as well.
        let own = usize::from(index.state(key) == State::Verified);
        index.open.get(key).is_some_and(|file| file.strong_count() > own)
    }

    fn evict(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Eviction, StoreError> {
        self.disk.evict_copy(key, wanted)
    }

    fn examine(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Finding, StoreError> {
        self.disk.ensure_indexed(key.observatory)?;
        for _ in 0..TURNS {
            if let Some(finding) = self.disk.examine_file(key, wanted)? {
                return Ok(finding);
            }
        }
        let changing = io::Error::new(ErrorKind::ResourceBusy, "it changes while it is read");
        Err(StoreError::io("read", key.name.as_str(), changing))
    }

    fn leftovers(&self) -> Vec<Leftover> {
        leftovers::find(&self.disk)
    }

    fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError> {
        self.disk
            .root
            .remove_file(&leftover.path)
            .map_err(|error| StoreError::io("remove", &leftover.path, error))
    }
}

impl Disk {
    fn evict_copy(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Eviction, StoreError> {
        self.ensure_indexed(key.observatory)?;
        if !self.can_write() {
            return Err(Self::protected());
        }
        if self.shared().is_some() {
            let held = holds::current(self)?;
            self.index().ledger.set_held(held);
        }
        if self.index().ledger.held().contains(key) {
            return Ok(Eviction::Held);
        }
        let state = self.index().state(key);
        match state {
            State::Absent | State::Arriving => return Ok(Eviction::Absent),
            State::Override => return Ok(Eviction::Local),
            // Its name follows at once.
            State::Verified => self.queue.flush()?,
            State::Unverified => match self.examine_file(key, wanted)? {
                Some(Finding::Right) => {}
                Some(Finding::Absent) => return Ok(Eviction::Absent),
                Some(Finding::Local(_)) => return Ok(Eviction::Local),
                Some(Finding::WrongLength(_) | Finding::WrongDigest(_)) | None => return Ok(Eviction::Wrong),
            },
            State::Held => {}
        }
        Ok(self.evict(key).map_or(Eviction::Open, Eviction::Gone))
    }

    /// Hashes the file under a name; `None` if it changes meanwhile.
    fn examine_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Option<Finding>, StoreError> {
        let (opened, entry) = {
            let guard = self.guards.of(key);
            match self.index().state(key) {
                State::Absent | State::Arriving => return Ok(Some(Finding::Absent)),
                // Its bytes were hashed a moment ago.
                State::Verified => return Ok(Some(Finding::Right)),
                State::Unverified | State::Held | State::Override => {}
            }
            let Some(opened) = self.open_entry(key)? else {
                self.remove_vanished(&guard);
                return Ok(Some(Finding::Absent));
            };
            let entry = self.classify(key, &opened);
            if entry.state == State::Override {
                let size = opened.file.metadata().map_or(entry.bytes(), |file| file.len());
                return Ok(Some(Finding::Local(size)));
            }
            (opened, entry)
        };
        let path = entry.path(key);
        let size = entry.bytes();
        let finding = match (wanted.size, wanted.sha1) {
            (Some(expected), _) if expected != size => Finding::WrongLength(size),
            (_, None) => Finding::Right,
            (_, Some(expected)) => {
                let found = digest(&opened.file).map_err(|error| StoreError::io("read", &path, error))?;
                if found == expected {
                    Finding::Right
                } else {
                    Finding::WrongDigest(found)
                }
            }
        };
        self.note_finding(key, &path, entry, finding, wanted.sha1)
    }

    /// Enters a finding into the index, unless another file lies there by now.
    fn note_finding(
        &self,
        key: &FileKey,
        path: &Path,
        mut entry: Entry,
        finding: Finding,
        sha1: Option<Sha1Sum>,
    ) -> Result<Option<Finding>, StoreError> {
        let guard = self.guards.of(key);
        if self.lies_there(path)? != Some(entry.identity) || self.index().is_local(key) {
            return Ok(None);
        }
        if finding != Finding::Right {
            self.enter_with(&guard, Event::Find, entry);
            // A copy by an earlier catalog is what it was, and is still known to have been fetched.
            let is_as_verified = match finding {
                Finding::WrongDigest(found) => entry.sha1 == Some(found),
                Finding::WrongLength(_) => entry.sha1.is_some(),
                Finding::Absent | Finding::Right | Finding::Local(_) => false,
            };
            if !is_as_verified {
                self.remember(key, &Mark::Gone);
            }
        } else if entry.state != State::Held || entry.sha1 != sha1 {
            entry.sha1 = sha1;
            self.accept(&guard, entry)?;
        }
        Ok(Some(finding))
    }
}
