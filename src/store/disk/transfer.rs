//! Files on their way: reservation, partial files, publication.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{FallocateFlags, RenameFlags};
use rustix::io::Errno;

use super::files::place;
use super::own::{self, Durable};
use super::shelf::Kept;
use super::{Books, DiskStore};
use crate::crds::{FileKey, Observatory, Sha1Sum};
use crate::store::verified::Mark;
use crate::store::{HoldingKind, Part, Partial, Record, StoreError};

/// From this size on, in bytes, the disk is asked for all of a file's blocks beforehand.
const ALLOCATED: u64 = 1 << 20;
/// A record of a transfer is never larger than this.
const RECORD_LIMIT: u64 = 64 << 10;
/// Where partial files lie, by observatory.
pub(super) const PARTIAL: &str = "partial";
/// What is known of a partial file lies beside it; `~` is in no file name of CRDS.
pub(super) const RECORD: &str = "~record";

impl DiskStore {
    pub(super) fn reserve_bytes(&self, key: &FileKey, size: u64) -> Result<(), StoreError> {
        for observatory in Observatory::ALL {
            self.ensure_shelf(observatory)?;
        }
        let disk = self.disk_space()?;
        let victims = {
            let mut books = self.books();
            let Books { ledger, open, .. } = &mut *books;
            ledger.reserve(key, size, disk.free, |other| Books::is_open(open, other))?
        };
        self.delete(&victims);
        Ok(())
    }

    pub(super) fn evict_bytes(&self, key: &FileKey, bytes: u64) -> Result<(), StoreError> {
        let victims = {
            let mut books = self.books();
            let Books { ledger, open, .. } = &mut *books;
            ledger.evict(bytes, |other| other == key || Books::is_open(open, other))
        };
        if victims.is_empty() {
            return Err(StoreError::NoSpace(crate::store::Full {
                needed: bytes,
                why: "the disk is full and there is nothing left to evict".to_owned(),
            }));
        }
        self.delete(&victims);
        Ok(())
    }

    pub(super) fn begin_transfer(&self, key: &FileKey) -> Result<Partial, StoreError> {
        let path = partial_path(key);
        let failed = |error| StoreError::io("write", &path, error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        let file = match self.own.open_with(&path, &options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path.parent().unwrap_or(Path::new(""));
                self.own.create_dir_all(parent).map_err(failed)?;
                self.own.open_with(&path, &options)
            }
            other => other,
        };
        let file = file.map_err(failed)?.into_std();
        let length = file.metadata().map_err(failed)?.len();
        let record = if length == 0 {
            None
        } else {
            self.earlier_record(key, length)
        };
        match &record {
            Some(record) if record.size < length => file.set_len(record.size).map_err(failed)?,
            None if length > 0 => file.set_len(0).map_err(failed)?,
            _ => {}
        }
        self.allocate(key, &file).map_err(failed)?;
        Ok(Partial {
            file: Arc::new(file),
            record,
        })
    }

    /// What is known of an earlier attempt, corrected by what is really there.
    fn earlier_record(&self, key: &FileKey, length: u64) -> Option<Record> {
        let bytes = own::read(&self.own, &record_path(key), RECORD_LIMIT).ok()??;
        let mut record: Record = serde_json::from_slice(&bytes).ok()?;
        if !record.is_sound() {
            return None;
        }
        if let [Part { start: 0, end, done }] = record.parts.as_mut_slice() {
            // One stream writes in order and never beyond what has arrived: the length says exactly how far it came.
            *done = length.min(*end);
        }
        for part in &mut record.parts {
            part.done = part.done.min(length.max(part.start));
        }
        Some(record)
    }

    /// Asks the disk for all blocks of a reserved file, so that it is full now or not at all. The length stays.
    fn allocate(&self, key: &FileKey, file: &File) -> io::Result<()> {
        let Some(size) = self.books().ledger.reservation(key) else {
            return Ok(());
        };
        if size < ALLOCATED {
            return Ok(());
        }
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
            Ok(()) => self.books().ledger.took(key, size),
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => return Err(error.into()),
            Err(error) => log::debug!("blocks of {key} cannot be allocated beforehand: {error}"),
        }
        Ok(())
    }

    pub(super) fn record_transfer(&self, key: &FileKey, record: &Record) -> Result<(), StoreError> {
        let path = record_path(key);
        let json =
            serde_json::to_vec(record).map_err(|error| StoreError::io("write", &path, error.into()))?;
        own::replace(&self.own, &path, &json, Durable::No)
    }

    pub(super) fn publish_transfer(
        &self,
        key: &FileKey,
        partial: &Partial,
        sha1: Sha1Sum,
    ) -> Result<Arc<File>, StoreError> {
        self.ensure_shelf(key.observatory)?;
        let from = partial_path(key);
        self.syncs
            .data(&partial.file)
            .map_err(|error| StoreError::io("write", &from, error))?;
        let instrument = self.home(key);
        let path = place(key, instrument);
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        self.rename_into(key, &from, &path, &directory)?;
        let failed = |error| StoreError::io("open", &path, error);
        let (file, metadata) = self
            .open_plain(&path)
            .map_err(failed)?
            .ok_or_else(|| failed(ErrorKind::InvalidData.into()))?;
        let mut kept = Kept::new(HoldingKind::Catalogued, &metadata, instrument);
        kept.sha1 = Some(sha1);
        {
            let mut books = self.books();
            books.ledger.commit(key, kept.bytes());
            books.put(key, kept);
            books.unsettled.insert(directory);
        }
        self.remember(key, &Mark::Copy(kept.identity, kept.sha1));
        self.forget_record(key);
        Ok(self.share(key, file, kept))
    }

    /// Renames a partial file to its final name, never over something that is there: a local file stays, anything else
    /// goes to quarantine.
    fn rename_into(&self, key: &FileKey, from: &Path, to: &Path, directory: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("publish", to, error);
        let mut cleared = false;
        loop {
            if self.books().is_local(key) {
                return Err(StoreError::Overridden(key.to_string()));
            }
            match self.rename_new(from, to, directory) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && !cleared => {
                    cleared = true;
                    if self.books().is_local(key) {
                        return Err(StoreError::Overridden(key.to_string()));
                    }
                    let name = format!("{}-{}", key.observatory, key.name);
                    self.quarantine(to, &name, "it appeared there unasked while a copy was fetched")?;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn rename_new(&self, from: &Path, to: &Path, directory: &Path) -> io::Result<()> {
        let target = match self.root.open_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.root.create_dir_all(directory)?;
                self.root.open_dir(directory)?
            }
            other => other?,
        };
        let (Some(parent), Some(old), Some(new)) = (from.parent(), from.file_name(), to.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let source = self.own.open_dir(parent)?;
        let renamed =
            rustix::fs::renameat_with(source.as_fd(), old, target.as_fd(), new, RenameFlags::NOREPLACE);
        match renamed {
            // Some file systems cannot rename without replacing; a second name does not replace either.
            Err(Errno::INVAL | Errno::NOSYS) => link_new(&source, Path::new(old), &target, Path::new(new)),
            other => other.map_err(io::Error::from),
        }
    }

    pub(super) fn abandon_transfer(&self, key: &FileKey, keep: bool) -> Result<(), StoreError> {
        self.books().ledger.release(key);
        if keep {
            return Ok(());
        }
        self.forget_record(key);
        let path = partial_path(key);
        match self.own.remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    fn forget_record(&self, key: &FileKey) {
        let path = record_path(key);
        if let Err(error) = self.own.remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            log::debug!("cannot remove {}: {error}", path.display());
        }
    }

    pub(super) fn settle_names(&self) -> Result<(), StoreError> {
        let directories = std::mem::take(&mut self.books().unsettled);
        for directory in directories {
            let synced = self
                .root
                .open_dir(&directory)
                .and_then(|dir| self.syncs.names(&dir));
            synced.map_err(|error| StoreError::io("write", &directory, error))?;
        }
        Ok(())
    }
}

fn link_new(source: &Dir, old: &Path, target: &Dir, new: &Path) -> io::Result<()> {
    match source.hard_link(old, target, new) {
        Ok(()) => source.remove_file(old),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Neither is possible here. Nothing else publishes into this store, so that looking first is good enough.
        Err(_) => match target.symlink_metadata(new) {
            Err(error) if error.kind() == ErrorKind::NotFound => source.rename(old, target, new),
            Err(error) => Err(error),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        },
    }
}

fn partial_path(key: &FileKey) -> PathBuf {
    [PARTIAL, key.observatory.as_str(), key.name.as_str()]
        .iter()
        .collect()
}

fn record_path(key: &FileKey) -> PathBuf {
    let mut name = OsString::from(key.name.as_str());
    name.push(RECORD);
    [PARTIAL, key.observatory.as_str()]
        .iter()
        .collect::<PathBuf>()
        .join(name)
}
