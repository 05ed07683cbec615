//! Partial files: the progress of transfers, and what interrupted ones leave.
//!
//! The partial file of an interrupted transfer is cut to the bytes that have arrived, counted, and removed before any
//! copy is evicted.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Metadata, MetadataExt as _, OpenOptions};
use rustix::fs::{FallocateFlags, fallocate};

use super::Disk;
use super::file_state::Event;
use super::moments::Moment;
use super::naming::{self, make_dirs, new_file};
use super::state_dir::{self, Durable, is_absence};
use crate::crds::{FileKey, FileName, Observatory};
use crate::store::{Part, Partial, Record, StoreError};

/// The largest record of a transfer, in bytes.
const RECORD_LIMIT: u64 = 64 << 10;
/// The directory of partial files, by observatory.
pub(super) const PARTIAL: &str = "partial";
/// The suffix of the record of a transfer, beside its partial file; `~` is in no file name of CRDS.
pub(super) const RECORD: &str = "~record";

impl Disk {
    pub(super) fn begin_transfer(&self, key: &FileKey) -> Result<Partial, StoreError> {
        if !self.can_write() {
            return Err(StoreError::ReadOnly);
        }
        self.ensure_indexed(key.observatory)?;
        let path = partial_path(key);
        let failed = |error| StoreError::io("write", &path, error);
        let guard = self.guards.of(key);
        let entered = self.index().enter(&guard, Event::Begin);
        entered.map_err(|refused| refused.error(key))?;
        let file = self.open_partial(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let record = self.earlier_record(key, length);
        let size = record.as_ref().map_or(0, |record| record.size.min(length));
        if size < length {
            file.set_len(size).map_err(failed)?;
        }
        let file = Arc::new(file);
        let mut index = self.index();
        index.ledger.remove_partial(key);
        index.running.insert(key.clone(), Arc::downgrade(&file));
        drop(index);
        self.moments.reach(Moment::Begun);
        Ok(Partial { file, record })
    }

    /// Opens a partial file, making it when it is missing. One with further hard links or another owner is not written
    /// to: it loses this name.
    fn open_partial(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        for _ in 0..2 {
            let file = match state_dir::open_writable(&self.state_dir, path, &options) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_dirs(&self.state_dir, path.parent().unwrap_or(Path::new("")))?;
                    state_dir::open_writable(&self.state_dir, path, &options)?
                }
                other => other?,
            };
            let metadata = Metadata::from_file(&file)?;
            if metadata.nlink() == 1 && self.is_own(metadata.uid()) {
                return Ok(file);
            }
            log::warn!("{} has other names or another owner: begun anew", path.display());
            naming::remove(&self.state_dir, path)?;
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it gets other names or another owner again and again",
        ))
    }

    /// Whether a user is the one whose files this process makes in the state directory: a server may take root for nobody.
    fn is_own(&self, user: u32) -> bool {
        user == rustix::process::geteuid().as_raw()
            || Some(user) == *self.owner.get_or_init(|| self.owner_of_new())
    }

    fn owner_of_new(&self) -> Option<u32> {
        let path = PathBuf::from(format!("{}owner~{}", state_dir::TEMPORARY, state_dir::turn()));
        let made = new_file(&self.state_dir, &path).and_then(|file| file.metadata());
        let _ = self.state_dir.remove_file(&path);
        made.ok().map(|metadata| metadata.uid())
    }

    pub(super) fn record_transfer(&self, key: &FileKey, record: &Record) -> Result<(), StoreError> {
        let path = record_path(key);
        let json =
            serde_json::to_vec(record).map_err(|error| StoreError::io("write", &path, error.into()))?;
        state_dir::replace(&self.state_dir, &path, &json, Durable::No)?;
        self.moments.reach(Moment::Recorded);
        Ok(())
    }

    /// The record of an earlier attempt, limited to the `length` in bytes of the partial file; `None` if there is none
    /// that can be used.
    fn earlier_record(&self, key: &FileKey, length: u64) -> Option<Record> {
        if length == 0 {
            return None;
        }
        let bytes = state_dir::read(&self.state_dir, &record_path(key), RECORD_LIMIT).ok()??;
        let mut record: Record = serde_json::from_slice(&bytes).ok()?;
        if !record.is_sound() {
            return None;
        }
        if let [Part { start: 0, end, done }] = record.parts.as_mut_slice() {
            // One stream writes in order and only bytes that have arrived: its progress is the length.
            *done = length.min(*end);
        }
        for part in &mut record.parts {
            part.done = part.done.min(length.max(part.start));
        }
        Some(record)
    }

    pub(super) fn abandon_transfer(&self, key: &FileKey, keep: bool) -> Result<(), StoreError> {
        if !self.can_write() {
            return Ok(());
        }
        let guard = self.guards.of(key);
        {
            let mut index = self.index();
            index.ledger.release(key);
            if index.enter(&guard, Event::Abandon).is_err() {
                // The partial file is the published file.
                return Ok(());
            }
            index.running.remove(key);
        }
        if keep {
            self.keep_partial(key)
        } else {
            self.remove_partial(key)
        }
    }

    /// Cuts a partial file to the bytes that have arrived and counts it; removes it if it cannot be resumed.
    fn keep_partial(&self, key: &FileKey) -> Result<(), StoreError> {
        let path = partial_path(key);
        let failed = |error| StoreError::io("cut", &path, error);
        let length = match self.state_dir.symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => 0,
            Err(error) if is_absence(&error) => 0,
            Err(error) => return Err(failed(error)),
        };
        let Some(record) = self.earlier_record(key, length) else {
            return self.remove_partial(key);
        };
        let file = self.open_partial(&path).map_err(failed)?;
        cut(&file, &record).map_err(failed)?;
        let bytes = on_disk(&file).map_err(failed)?;
        self.index().ledger.add_partial(key, bytes);
        Ok(())
    }

    /// Removes a partial file and its record.
    fn remove_partial(&self, key: &FileKey) -> Result<(), StoreError> {
        self.index().ledger.remove_partial(key);
        self.forget_record(key);
        let path = partial_path(key);
        match self.state_dir.remove_file(&path) {
            Err(error) if !is_absence(&error) => Err(StoreError::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Removes the partial file of an interrupted transfer, unless another one resumes it; returns its bytes.
    pub(super) fn reclaim_partial(&self, key: &FileKey) -> u64 {
        let _guard = self.guards.of(key);
        if !self.index().ledger.has_partial(key) {
            return 0;
        }
        let bytes = self.index().ledger.remove_partial(key);
        match self.remove_partial(key) {
            Ok(()) => log::info!("removed what was left of an interrupted transfer of {key} ({bytes} bytes)"),
            Err(error) => log::warn!("{error}"),
        }
        bytes
    }

    /// Cuts and counts the partial files of an observatory that an earlier process has left.
    pub(super) fn find_partials(&self, observatory: Observatory) {
        if !self.can_write() {
            return;
        }
        let directory = Path::new(PARTIAL).join(observatory.as_str());
        let Ok(entries) = self.state_dir.read_dir(&directory) else {
            return;
        };
        let mut found: Vec<(SystemTime, FileName)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.parse().ok()?;
                let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
                Some((metadata.modified().ok()?.into_std(), name))
            })
            .collect();
        found.sort();
        for (_, name) in found {
            let key = FileKey { observatory, name };
            let _guard = self.guards.of(&key);
            if let Err(error) = self.keep_partial(&key) {
                log::warn!("{error}");
            }
        }
    }

    pub(super) fn forget_record(&self, key: &FileKey) {
        let path = record_path(key);
        if let Err(error) = self.state_dir.remove_file(&path)
            && !is_absence(&error)
        {
            log::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Frees the blocks of bytes that have not arrived. The time of modification stays: it is that of the last bytes.
fn cut(file: &File, record: &Record) -> io::Result<()> {
    let before = file.metadata()?;
    let end = record
        .parts
        .iter()
        .filter(|part| part.done > part.start)
        .map(|part| part.done)
        .max();
    file.set_len(end.unwrap_or(0).min(before.len()))?;
    let gaps = record.parts.iter().filter(|part| Some(part.done) < end);
    for gap in gaps {
        let length = gap.end.min(end.unwrap_or(0)).saturating_sub(gap.done);
        if length > 0 {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(file, flags, gap.done, length) {
                Err(rustix::io::Errno::OPNOTSUPP) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    file.set_modified(before.modified()?)
}

/// Bytes that a file takes on its disk.
pub(super) fn on_disk(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.blocks().saturating_mul(512))
}

pub(super) fn partial_path(key: &FileKey) -> PathBuf {
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
