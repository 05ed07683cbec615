//! Files on their way: reservation, room, publication.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Weak};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::changes::rename_new;
use super::files::place;
use super::index::Entry;
use super::moments::Moment;
use super::partials::{on_disk, partial_path};
use super::state_dir::{self, Plain};
use super::{DiskStore, Index};
use crate::crds::{FileKey, Observatory, Sha1Sum};
use crate::store::ledger::{Full, Victims};
use crate::store::verified::Origin;
use crate::store::{HoldingKind, Partial, StoreError};

/// From this size on, in bytes, the disk is asked for all of a file's blocks beforehand.
const ALLOCATED: u64 = 1 << 20;

impl DiskStore {
    pub(super) fn reserve_bytes(&self, key: &FileKey, size: u64) -> Result<(), StoreError> {
        if !self.can_write() {
            return Err(StoreError::ReadOnly);
        }
        for observatory in Observatory::ALL {
            self.ensure_indexed(observatory)?;
        }
        let disk = self.disk_space()?;
        let aside = self.quarantined().bytes;
        let mut index = self.index();
        index.ledger.set_aside(aside);
        index.measure_running();
        let Index { ledger, open, .. } = &mut *index;
        ledger.reserve(key, size, disk.free, |other| is_open(open, other))?;
        drop(index);
        self.moments.reach(Moment::Reserved);
        Ok(())
    }

    /// Makes the room that was reserved, now that bytes come, and takes it.
    pub(super) fn claim_room(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError> {
        let mut refused = HashSet::new();
        loop {
            let disk = self.disk_space()?;
            let victims = {
                let mut index = self.index();
                index.measure_running();
                let Index { ledger, open, .. } = &mut *index;
                ledger.claim(key, disk.free, |other| {
                    refused.contains(other) || is_open(open, other)
                })?
            };
            if victims.is_empty() {
                break;
            }
            self.clear(&victims, &mut refused);
        }
        let failed = |error| StoreError::io("write", partial_path(key), error);
        let Some(size) = self.index().ledger.reservation(key) else {
            return Ok(());
        };
        match allocate(key, &partial.file, size) {
            Err(error) if crate::store::is_disk_full(&error) => {
                self.evict_bytes(key, size)?;
                allocate(key, &partial.file, size).map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    pub(super) fn evict_bytes(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError> {
        let (mut refused, mut freed) = (HashSet::new(), 0);
        while freed < bytes {
            let victims = {
                let index = self.index();
                index.ledger.oldest(bytes - freed, |other| {
                    other == key || refused.contains(other) || index.is_open(other)
                })
            };
            if victims.is_empty() {
                break;
            }
            freed += self.clear(&victims, &mut refused);
        }
        if freed == 0 {
            return Err(StoreError::NoSpace(Full {
                needed: bytes,
                why: "the disk is full and there is nothing left to evict".to_owned(),
            }));
        }
        Ok(())
    }

    /// Removes those that have to go; gives the bytes that are free now. Who did not go is `refused` from now on.
    fn clear(&self, victims: &Victims, refused: &mut HashSet<FileKey>) -> u64 {
        self.moments.reach(Moment::VictimsChosen);
        let mut freed = 0;
        for key in &victims.partials {
            freed += self.reclaim_partial(key);
        }
        for key in &victims.copies {
            match self.evict(key) {
                Some(bytes) => freed += bytes,
                None => {
                    refused.insert(key.clone());
                }
            }
        }
        freed
    }

    pub(super) fn publish_transfer(
        &self,
        key: &FileKey,
        partial: &Partial,
        sha1: Sha1Sum,
    ) -> Result<Arc<File>, StoreError> {
        self.ensure_indexed(key.observatory)?;
        self.moments.reach(Moment::Verified);
        let from = partial_path(key);
        self.durability
            .data(&partial.file)
            .map_err(|error| StoreError::io("write", &from, error))?;
        self.moments.reach(Moment::DataSynced);
        let _guard = self.guards.of(key);
        if self.index().is_local(key) {
            return Err(StoreError::Overridden(key.to_string()));
        }
        let instrument = self.home(key);
        let path = place(key, instrument);
        self.give_name(key, partial, &from, &path)?;
        self.moments.reach(Moment::Named);
        let failed = |error| StoreError::io("open", &path, error);
        // The handle that is given out is for reading only. What it leads to is what was verified, or nothing is given.
        let (file, metadata) = match state_dir::open_plain(&self.root, &path).map_err(failed)? {
            Plain::File(file, metadata)
                if state_dir::is_file_of(&partial.file, &metadata).map_err(failed)? =>
            {
                (file, metadata)
            }
            _ => return Err(StoreError::Overridden(key.to_string())),
        };
        let mut entry = Entry::new(HoldingKind::Catalogued, &metadata, instrument);
        (entry.sha1, entry.origin) = (Some(sha1), Origin::Fetched);
        {
            let mut index = self.index();
            index.ledger.release(key);
            index.running.remove(key);
            let directory = path.parent().unwrap_or(Path::new(""));
            index.unsynced.insert(directory.to_owned());
        }
        self.accept(key, &entry);
        self.moments.reach(Moment::Remembered);
        self.forget_record(key);
        Ok(self.share(key, file, entry))
    }

    /// Renames a partial file to its final name, never over something that is there: that may be somebody's work.
    fn give_name(&self, key: &FileKey, partial: &Partial, from: &Path, to: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("publish", to, error);
        if !self.is_partial(from, partial).map_err(failed)? {
            let message = "its partial file was replaced by something else";
            return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
        }
        let renamed = match rename_new(&self.state_dir, from, &self.root, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let directory = to.parent().unwrap_or(Path::new(""));
                self.root.create_dir_all(directory).map_err(failed)?;
                rename_new(&self.state_dir, from, &self.root, to)
            }
            other => other,
        };
        match renamed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(StoreError::Overridden(key.to_string()))
            }
            other => other.map_err(failed),
        }
    }

    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        let directories = std::mem::take(&mut self.index().unsynced);
        for directory in directories {
            let synced = self
                .root
                .open_dir(&directory)
                .and_then(|dir| self.durability.names(&dir));
            synced.map_err(|error| StoreError::io("write", &directory, error))?;
            self.moments.reach(Moment::NamesSynced);
        }
        Ok(())
    }
}

impl Index {
    /// Tells the ledger what the disk has given to transfers so far.
    fn measure_running(&mut self) {
        let Self { running, ledger, .. } = self;
        running.retain(|key, file| {
            let taken = file.upgrade().map(|file| on_disk(&file));
            if let Some(Ok(taken)) = taken {
                ledger.took(key, taken);
            }
            taken.is_some()
        });
    }
}

/// Whether somebody has the file open.
pub(super) fn is_open(open: &std::collections::HashMap<FileKey, Weak<File>>, key: &FileKey) -> bool {
    open.get(key).is_some_and(|file| file.strong_count() > 0)
}

/// Asks the disk for all blocks of a reserved file, so that it is full now or not at all. The length stays.
fn allocate(key: &FileKey, file: &File, size: u64) -> io::Result<()> {
    if size < ALLOCATED {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
        Err(error) => {
            log::debug!("blocks of {key} cannot be allocated beforehand: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
