//! Transfers: reservation, room, publication.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::file_state::{Event, State};
use super::files::{DiskSpace, free_in};
use super::index::{Entry, is_open};
use super::moments::Moment;
use super::partials::{on_disk, partial_path};
use super::publisher::{Admission, Pending};
use super::state_dir::{self, Plain};
use super::{Disk, Guard, Index};
use crate::crds::{FileKey, Observatory, Sha1Sum};
use crate::store::ledger::{Full, Victims};
use crate::store::verified::Origin;
use crate::store::{Partial, StoreError};

/// The size in bytes from which all blocks of a file are allocated beforehand.
const ALLOCATED: u64 = 1 << 20;

impl Disk {
    /// Sets bytes aside; gives the space that the disk has at that moment.
    pub(super) fn reserve_bytes(&self, key: &FileKey, size: u64) -> Result<DiskSpace, StoreError> {
        if !self.can_write() {
            return Err(StoreError::ReadOnly);
        }
        // Where nothing is evicted, it does not matter how much there is.
        if self.shared().is_some() {
            self.ensure_indexed(key.observatory)?;
        } else {
            for observatory in Observatory::ALL {
                self.ensure_indexed(observatory)?;
            }
        }
        let reserve = || -> Result<DiskSpace, StoreError> {
            let disk = self.measure()?;
            let mut index = self.index();
            let Index { ledger, open, .. } = &mut *index;
            ledger.reserve(key, size, disk.free, |other| is_open(open, other))?;
            Ok(disk)
        };
        let disk = match self.or_when_durable(reserve) {
            Err(StoreError::NoSpace(_)) if self.has_less_in_quarantine() => reserve(),
            Err(StoreError::NoSpace(full)) => Err(StoreError::NoSpace(self.with_state(full))),
            other => other,
        }?;
        self.moments.reach(Moment::Reserved);
        Ok(disk)
    }

    /// Says of a full store where the state directory lies, if that is full, and what is not done in a shared one.
    fn with_state(&self, full: Full) -> Full {
        let Some(shared) = self.shared() else { return full };
        let free = free_in(&self.state_dir, shared.state_path()).unwrap_or(u64::MAX);
        let why = if !shared.same_disk() && free < full.needed.saturating_add(self.options.keep_free) {
            format!(
                "{}; files arrive in {}, which has {free} bytes free: name a directory on a larger disk with --state",
                full.why,
                shared.state_path().display()
            )
        } else {
            format!(
                "{}; nothing is evicted from a shared store by itself: 'crds-fs evict --cache DIR --shared' does it",
                full.why
            )
        };
        Full { why, ..full }
    }

    /// The space on the disk, with what transfers have taken of it so far.
    fn measure(&self) -> Result<DiskSpace, StoreError> {
        let disk = self.disk_space()?;
        self.measure_running();
        Ok(disk)
    }

    /// Runs `attempt`. If it finds no room while published files are not durable yet, which cannot be evicted, waits
    /// until they are and runs it once more.
    fn or_when_durable<T>(&self, attempt: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match attempt() {
            Err(StoreError::NoSpace(_)) if !self.queue.is_empty() => {
                self.queue.wait();
                attempt()
            }
            other => other,
        }
    }

    /// Makes the room that was reserved, and allocates the blocks.
    pub(super) fn claim_room(&self, key: &FileKey, partial: &Partial) -> Result<(), StoreError> {
        self.clear_room(key, None)?;
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

    /// Evicts other files until a reservation fits. `known` is the space on the disk, if that was measured just now.
    pub(super) fn clear_room(&self, key: &FileKey, known: Option<DiskSpace>) -> Result<(), StoreError> {
        let mut refused = HashSet::new();
        let known = Cell::new(known);
        loop {
            let victims = self.or_when_durable(|| {
                let disk = match known.take() {
                    Some(disk) => disk,
                    None => self.measure()?,
                };
                let mut index = self.index();
                let Index { ledger, open, .. } = &mut *index;
                Ok(ledger.claim(key, disk.free, |other| {
                    refused.contains(other) || is_open(open, other)
                })?)
            })?;
            if victims.is_empty() {
                return Ok(());
            }
            // Nobody goes for what somebody has taken out of the quarantine.
            if !self.has_less_in_quarantine() {
                self.clear(&victims, &mut refused);
            }
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
            if victims.is_empty() && !self.queue.is_empty() {
                self.queue.wait();
                continue;
            }
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

    /// Removes files to make room and returns the bytes that became free. Copies that could not be removed are added to
    /// `refused`.
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
        let failed = |error| StoreError::io("publish", partial_path(key), error);
        let size = partial.file.metadata().map_err(failed)?.len();
        let admission = self.queue.admit(size);
        self.moments.reach(Moment::Verified);
        self.publish_partial(&self.guards.of(key), admission, &partial.file, sha1)
    }

    /// Returns a handle of a verified partial file, and hands the file over to the publisher.
    pub(super) fn publish_partial(
        &self,
        guard: &Guard<'_>,
        admission: Admission<'_>,
        partial: &Arc<File>,
        sha1: Sha1Sum,
    ) -> Result<Arc<File>, StoreError> {
        let key = guard.key();
        let from = partial_path(key);
        let failed = |error| StoreError::io("publish", &from, error);
        self.index()
            .state(key)
            .on(Event::Publish)
            .map_err(|refused| refused.error(key))?;
        // The handle for openers is for reading only. It must lead to the inode that was verified.
        let (file, metadata) = match state_dir::open_plain(&self.state_dir, &from).map_err(failed)? {
            Plain::File(file, metadata) if state_dir::is_file_of(partial, &metadata).map_err(failed)? => {
                (Arc::new(file), metadata)
            }
            _ => {
                let message = "its partial file was replaced by something else";
                return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
            }
        };
        let mut entry = Entry::new(State::Verified, &metadata, self.home(key));
        (entry.sha1, entry.origin) = (Some(sha1), Origin::Fetched);
        {
            let mut index = self.index();
            let entered = index.enter_with(guard, Event::Publish, entry);
            entry = entered.map_err(|refused| refused.error(key))?;
            index.ledger.release(key);
            index.running.remove(key);
            index.open.insert(key.clone(), Arc::downgrade(&file));
        }
        if let Some(shared) = self.shared() {
            shared.leases().note_busy(key);
        }
        admission.push(Pending {
            key: key.clone(),
            partial: Arc::clone(partial),
            file: Arc::clone(&file),
            entry,
        });
        Ok(file)
    }
}

impl Disk {
    /// Updates the ledger with the bytes that the disk has allocated to running transfers.
    pub(super) fn measure_running(&self) {
        let running: Vec<(FileKey, Arc<File>)> = {
            let mut index = self.index();
            index.running.retain(|_, file| file.strong_count() > 0);
            let running = index.running.iter();
            running
                .filter_map(|(key, file)| Some((key.clone(), file.upgrade()?)))
                .collect()
        };
        let taken: Vec<_> = running
            .into_iter()
            .filter_map(|(key, file)| Some((key, on_disk(&file).ok()?)))
            .collect();
        let mut index = self.index();
        for (key, bytes) in taken {
            index.ledger.took(&key, bytes);
        }
    }
}

/// Allocates all blocks of a reserved file, so that a full disk shows now or not at all. The length stays.
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
