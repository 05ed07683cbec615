//! Files under their final names: opening, verifying, quarantine, eviction.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt as _};
use cap_std::fs::{Metadata, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use sha1::{Digest as _, Sha1};

use super::shelf::Kept;
use super::{Books, DiskStore, own};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};
use crate::store::layout::directory_path;
use crate::store::verified::{Identity, Mark};
use crate::store::{Found, HoldingKind, ReferenceLayout, StoreError, file_path};

/// Bytes hashed at a time.
const BUFFER: usize = 1 << 20;

/// Space on the disk below the store.
pub(super) struct DiskSpace {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) files_free: u64,
}

/// A file as it was met on the disk.
struct Met {
    file: File,
    metadata: Metadata,
    instrument: Option<&'static str>,
}

impl DiskStore {
    pub(super) fn disk_space(&self) -> Result<DiskSpace, StoreError> {
        let disk = rustix::fs::fstatvfs(self.root.as_fd())
            .map_err(|error| StoreError::io("measure", ".", error.into()))?;
        Ok(DiskSpace {
            total: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            files_free: disk.f_favail,
        })
    }

    pub(super) fn open_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.ensure_shelf(key.observatory)?;
        if let Some(file) = self.shared(key, wanted) {
            return Ok(Found::Catalogued(file));
        }
        let known = self.books().kept(key).map(|kept| kept.identity);
        let Some(met) = self.meet(key)? else {
            self.strike_vanished(key, known);
            return Ok(Found::Absent);
        };
        let mut kept = self.recognise(key, &met);
        if kept.kind == HoldingKind::Local {
            return Ok(Found::Local(self.share(key, met.file, kept)));
        }
        if self.has_wrong_length(kept.identity.size, wanted) {
            let why = format!(
                "it has {} bytes instead of {}",
                kept.identity.size,
                wanted.size.unwrap_or_default()
            );
            self.reject(key, &kept, &why)?;
            return Ok(Found::Absent);
        }
        let verified = kept.kind == HoldingKind::Catalogued && self.is_digest(kept.sha1, wanted);
        let accepted = !self.options.checksums || wanted.sha1.is_none();
        if !verified && accepted {
            kept.kind = HoldingKind::Catalogued;
            kept.sha1 = None;
            self.accept(key, &kept);
        } else if !verified {
            kept.kind = HoldingKind::Unverified;
            self.books().put(key, kept);
            return Ok(Found::Unverified);
        }
        Ok(Found::Catalogued(self.share(key, met.file, kept)))
    }

    pub(super) fn verify_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.ensure_shelf(key.observatory)?;
        let known = self.books().kept(key).map(|kept| kept.identity);
        let Some(met) = self.meet(key)? else {
            self.strike_vanished(key, known);
            return Ok(Found::Absent);
        };
        let mut kept = self.recognise(key, &met);
        if kept.kind == HoldingKind::Local {
            return Ok(Found::Local(self.share(key, met.file, kept)));
        }
        let Some(expected) = wanted.sha1.filter(|_| self.options.checksums) else {
            return self.open_file(key, wanted);
        };
        let path = kept.path(key);
        let found = digest(&met.file).map_err(|error| StoreError::io("read", &path, error))?;
        if self.has_wrong_length(kept.identity.size, wanted) || found != expected {
            self.reject(key, &kept, &format!("its SHA-1 is {found} instead of {expected}"))?;
            return Ok(Found::Absent);
        }
        let now = met_identity(&met.file, &path)?;
        if now != kept.identity {
            // Somebody writes to it at this moment; what was hashed is not what is there.
            return Ok(Found::Unverified);
        }
        kept.kind = HoldingKind::Catalogued;
        kept.sha1 = Some(found);
        self.accept(key, &kept);
        Ok(Found::Catalogued(self.share(key, met.file, kept)))
    }

    /// Strikes out a file that is no longer where it was `known` to be, but not one that was published meanwhile.
    fn strike_vanished(&self, key: &FileKey, known: Option<Identity>) {
        let mut books = self.books();
        if known.is_some() && books.kept(key).map(|kept| kept.identity) == known {
            books.strike(key);
        }
    }

    /// The handle that others have open already, if it is still what is wanted.
    fn shared(&self, key: &FileKey, wanted: CatalogEntry) -> Option<Arc<File>> {
        let mut books = self.books();
        let file = books.open.get(key)?.upgrade()?;
        let kept = books.kept(key)?;
        let fits = kept.kind == HoldingKind::Catalogued
            && self.is_digest(kept.sha1, wanted)
            && !self.has_wrong_length(kept.identity.size, wanted);
        let identity = kept.identity;
        if fits && met_identity(&file, Path::new(key.name.as_str())).is_ok_and(|now| now == identity) {
            books.ledger.touch(key);
            Some(file)
        } else {
            None
        }
    }

    /// Hands a file out, to be shared with others who open it.
    pub(super) fn share(&self, key: &FileKey, file: File, kept: Kept) -> Arc<File> {
        let file = Arc::new(file);
        let mut books = self.books();
        if books
            .kept(key)
            .is_none_or(|known| known.kind != kept.kind || known.identity != kept.identity)
        {
            books.put(key, kept);
        }
        books.ledger.touch(key);
        books.open.insert(key.clone(), Arc::downgrade(&file));
        file
    }

    /// Opens whatever lies under the name. What is not a regular file (a link, a directory) goes to quarantine.
    fn meet(&self, key: &FileKey) -> Result<Option<Met>, StoreError> {
        let known = self.books().kept(key).map(|kept| kept.instrument);
        let places = match known {
            Some(instrument) => vec![instrument],
            None => self.places(key),
        };
        for instrument in places {
            let path = place(key, instrument);
            match self.open_plain(&path) {
                Ok(Some((file, metadata))) => {
                    return Ok(Some(Met {
                        file,
                        metadata,
                        instrument,
                    }));
                }
                Ok(None) => {
                    let name = format!("{}-{}", key.observatory, key.name);
                    self.quarantine(&path, &name, "it is not a regular file")?;
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(StoreError::io("open", &path, error)),
            }
        }
        Ok(None)
    }

    /// Where a file may lie: where it belongs first, then wherever an older layout has put it.
    fn places(&self, key: &FileKey) -> Vec<Option<&'static str>> {
        if key.name.kind().is_mapping() {
            return vec![None];
        }
        let home = self.home(key);
        let elsewhere = key
            .observatory
            .instruments()
            .iter()
            .copied()
            .map(Some)
            .chain([None]);
        let elsewhere =
            elsewhere.filter(|place| *place != home && self.layout == ReferenceLayout::Instrument);
        std::iter::once(home).chain(elsewhere).collect()
    }

    /// The instrument directory that a file belongs to in this store.
    pub(super) fn home(&self, key: &FileKey) -> Option<&'static str> {
        self.layout.instrument(key)
    }

    /// Opens a regular file without following a link and without waiting for a pipe; `None` when it is something else.
    pub(super) fn open_plain(&self, path: &Path) -> io::Result<Option<(File, Metadata)>> {
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).follow(FollowSymlinks::No).custom_flags(flags);
        let file = match self.root.open_with(path, &options) {
            Ok(file) => file,
            Err(error) if is_link(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then(|| (file.into_std(), metadata)))
    }

    /// What the books say of a file that was met, brought up to date.
    fn recognise(&self, key: &FileKey, met: &Met) -> Kept {
        let mut now = Kept::new(HoldingKind::Unverified, &met.metadata, met.instrument);
        if let Some(known) = self.books().kept(key) {
            if known.kind == HoldingKind::Local {
                now.kind = HoldingKind::Local;
            } else if known.kind == HoldingKind::Catalogued && known.identity == now.identity {
                now.kind = HoldingKind::Catalogued;
                now.sha1 = known.sha1;
            }
        }
        now
    }

    /// A file was verified, or is taken as it is.
    fn accept(&self, key: &FileKey, kept: &Kept) {
        self.books().put(key, *kept);
        self.remember(key, &Mark::Copy(kept.identity, kept.sha1));
    }

    fn has_wrong_length(&self, size: u64, wanted: CatalogEntry) -> bool {
        self.options.lengths && wanted.size.is_some_and(|expected| expected != size)
    }

    fn is_digest(&self, found: Option<Sha1Sum>, wanted: CatalogEntry) -> bool {
        !self.options.checksums || wanted.sha1.is_none() || wanted.sha1 == found
    }

    fn reject(&self, key: &FileKey, kept: &Kept, why: &str) -> Result<(), StoreError> {
        self.books().strike(key);
        let name = format!("{}-{}", key.observatory, key.name);
        self.quarantine(&kept.path(key), &name, why)
    }

    /// Moves something that should not be where it is out of the way.
    pub(super) fn quarantine(&self, path: &Path, name: &str, why: &str) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("move to quarantine", path, error);
        self.own.create_dir_all("quarantine").map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let target = Path::new("quarantine").join(format!("{name}.{}", now.as_nanos()));
        match self.root.rename(path, &self.own, &target) {
            Ok(()) => {
                log::warn!(
                    "{} in the store: {why}; moved to {}",
                    path.display(),
                    Path::new(own::OWN).join(target).display()
                );
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Deletes evicted copies, which the ledger has struck out already.
    pub(super) fn delete(&self, victims: &[FileKey]) {
        for victim in victims {
            let Some(kept) = self.books().strike(victim) else {
                continue;
            };
            let path = kept.path(victim);
            match self.root.remove_file(&path) {
                Ok(()) => {
                    self.books().evicted.add(kept.bytes());
                    log::info!("evicted {victim} ({} bytes)", kept.bytes());
                }
                Err(error) => log::warn!("cannot evict {victim}: {error}"),
            }
        }
    }

    pub(super) fn remove_file(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.ensure_shelf(key.observatory)?;
        let mut books = self.books();
        let instrument = books
            .kept(key)
            .map_or_else(|| self.home(key), |kept| kept.instrument);
        books.strike(key);
        drop(books);
        self.remember(key, &Mark::Gone);
        let path = place(key, instrument);
        match self.root.remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("remove", &path, error)),
        }
    }

    pub(super) fn mark_local(&self, key: &FileKey) -> Result<(), StoreError> {
        self.ensure_shelf(key.observatory)?;
        let instrument = self
            .books()
            .kept(key)
            .map_or_else(|| self.home(key), |kept| kept.instrument);
        let path = place(key, instrument);
        let metadata = self
            .root
            .symlink_metadata(&path)
            .map_err(|error| StoreError::io("look at", &path, error))?;
        let mut books = self.books();
        books.open.remove(key);
        books.put(key, Kept::new(HoldingKind::Local, &metadata, instrument));
        drop(books);
        self.remember(key, &Mark::Local);
        Ok(())
    }

    pub(super) fn move_local(&self, from: &Path, key: &FileKey) -> Result<(), StoreError> {
        self.ensure_shelf(key.observatory)?;
        let metadata = self
            .root
            .symlink_metadata(from)
            .map_err(|error| StoreError::io("look at", from, error))?;
        let path = file_path(self.layout, key);
        let directory = directory_path(self.layout, key);
        let failed = |error| StoreError::io("rename a file to", &path, error);
        self.root.create_dir_all(&directory).map_err(failed)?;
        // Local first, renamed second: a transfer that wants the name in between must find it taken by a local file.
        let before = {
            let mut books = self.books();
            let before = books.kept(key).copied();
            books.put(key, Kept::new(HoldingKind::Local, &metadata, self.home(key)));
            before
        };
        if let Err(error) = self.root.rename(from, &self.root, &path) {
            let mut books = self.books();
            match before {
                Some(kept) => books.put(key, kept),
                None => drop(books.strike(key)),
            }
            return Err(failed(error));
        }
        self.mark_local(key)
    }
}

impl Books {
    /// Whether the name belongs to the user's own file.
    pub(super) fn is_local(&self, key: &FileKey) -> bool {
        self.kept(key).is_some_and(|kept| kept.kind == HoldingKind::Local)
    }
}

/// The path of a file in an instrument directory or directly below its observatory.
pub(super) fn place(key: &FileKey, instrument: Option<&str>) -> PathBuf {
    let mut path = directory_path(ReferenceLayout::Flat, key);
    path.extend(instrument);
    path.push(key.name.as_str());
    path
}

fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
        || error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
}

/// The identity of an open file.
pub(super) fn met_identity(file: &File, path: &Path) -> Result<Identity, StoreError> {
    let metadata = Metadata::from_file(file).map_err(|error| StoreError::io("look at", path, error))?;
    Ok(Identity::of(&metadata))
}

/// The digest of a whole file.
fn digest(file: &File) -> io::Result<Sha1Sum> {
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Sha1Sum::from_bytes(hasher.finalize().into())),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                at += u64::try_from(count).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
