//! Files under their final names: opening, verifying, quarantine.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use sha1::{Digest as _, Sha1};

use super::file_state::{Event, State};
use super::index::{Entry, as_known};
use super::moments::Moment;
use super::state_dir::{self, Plain, is_absence};
use super::{Disk, Guard};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};
use crate::store::layout::place;
use crate::store::verified::{Identity, Mark, Origin};
use crate::store::{Found, HoldingKind, ReferenceLayout, StoreError};

/// The age up to which a file that is too short may be a download of another client.
const YOUNG: Duration = Duration::from_secs(5 * 60);
/// Bytes hashed at a time, at most.
const BUFFER: usize = 1 << 20;

/// Space on the disk below the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct DiskSpace {
    pub(super) total: u64,
    pub(super) free: u64,
    pub(super) files_free: u64,
    /// Whether the directory of the store has been removed.
    pub(super) removed: bool,
}

/// A file that was opened by its name.
pub(super) struct OpenedEntry {
    pub(super) file: File,
    metadata: Metadata,
    instrument: Option<&'static str>,
    /// Whether it was reached through a link; `metadata` is then the link's.
    link: bool,
}

impl Disk {
    pub(super) fn disk_space(&self) -> Result<DiskSpace, StoreError> {
        let disk = rustix::fs::fstatvfs(self.root.as_fd())
            .map_err(|error| StoreError::io("measure", ".", error.into()))?;
        let mut free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Partial files lie in the state directory, on another disk, before they are copied.
        if let Some(shared) = self.shared().filter(|shared| !shared.same_disk()) {
            free = free.min(free_in(&self.state_dir, shared.state_path())?);
        }
        // A directory that is somewhere has two links at least, or one where they are not counted.
        let removed = rustix::fs::fstat(&self.root).is_ok_and(|stat| stat.st_nlink == 0);
        Ok(DiskSpace {
            removed,
            total: disk.f_blocks.saturating_mul(disk.f_frsize),
            free,
            files_free: disk.f_favail,
        })
    }

    pub(super) fn open_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.ensure_indexed(key.observatory)?;
        if let Some(file) = self.opened_before(key, wanted) {
            return Ok(Found::Catalogued(file));
        }
        let guard = self.guards.of(key);
        if self.index().state(key) == State::Verified {
            return Ok(self.open_verified(&guard, wanted));
        }
        let opened = match self.open_entry(key) {
            Err(error) if self.is_closed(&error) => return self.reject_closed(&guard, wanted, error),
            other => other?,
        };
        let Some(opened) = opened else {
            self.remove_vanished(&guard);
            return Ok(Found::Absent);
        };
        let mut entry = self.classify(key, &opened);
        if entry.state == State::Override {
            return Ok(Found::Local(self.share_local(&guard, opened.file, entry)));
        }
        let accepted = !self.options.checksums || wanted.sha1.is_none();
        let was_fetched = entry.origin == Origin::Fetched && entry.sha1.is_some();
        // Of what was fetched its digest tells whether it is a copy by an earlier catalog.
        if self.has_wrong_length(entry.identity.size, wanted) && (accepted || !was_fetched) {
            let why = format!(
                "it has {} bytes instead of {}",
                entry.identity.size,
                wanted.size.unwrap_or_default()
            );
            return self.reject(&guard, &entry, None, wanted, &why);
        }
        let verified = entry.state == State::Held && self.is_right(&entry, wanted);
        if !verified && accepted {
            entry.sha1 = None;
            self.accept(&guard, entry)?;
        } else if !verified {
            self.enter_with(&guard, Event::Find, entry);
            return Ok(Found::Unverified);
        } else if self.index().state(key) != State::Held {
            // It is remembered, and was not seen before.
            self.enter_with(&guard, Event::Accept, entry);
        }
        Ok(Found::Catalogued(self.share(key, opened.file)))
    }

    /// Opens a published file that has not got its name yet. If a new catalog wants other contents meanwhile, it is
    /// dropped.
    fn open_verified(&self, guard: &Guard<'_>, wanted: CatalogEntry) -> Found {
        let shared = self.opened_before(guard.key(), wanted);
        shared.map_or_else(
            || {
                self.give_way(guard);
                Found::Absent
            },
            Found::Catalogued,
        )
    }

    pub(super) fn verify_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Found, StoreError> {
        self.ensure_indexed(key.observatory)?;
        let Some(expected) = wanted.sha1.filter(|_| self.options.checksums) else {
            return self.open_file(key, wanted);
        };
        let (opened, mut entry) = {
            let guard = self.guards.of(key);
            if self.index().state(key) == State::Verified {
                return Ok(self.open_verified(&guard, wanted));
            }
            let Some(opened) = self.open_entry(key)? else {
                self.remove_vanished(&guard);
                return Ok(Found::Absent);
            };
            let entry = self.classify(key, &opened);
            if entry.state == State::Override {
                return Ok(Found::Local(self.share_local(&guard, opened.file, entry)));
            }
            (opened, entry)
        };
        let path = entry.path(key);
        let found = match digest(&opened.file) {
            // Another node has set it aside or removed it.
            Err(error) if state_dir::is_stale(&error) && self.shared().is_some() => {
                return Ok(Found::Unverified);
            }
            other => other.map_err(|error| StoreError::io("read", &path, error))?,
        };
        self.moments.reach(Moment::Hashed);
        let guard = self.guards.of(key);
        // The file may have been written to or replaced while it was hashed.
        if self.lies_there(&path)? != Some(entry.identity) || self.index().is_local(key) {
            return Ok(Found::Unverified);
        }
        if self.has_wrong_length(entry.identity.size, wanted) || found != expected {
            let why = format!("its SHA-1 is {found} instead of {expected}");
            return self.reject(&guard, &entry, Some(found), wanted, &why);
        }
        entry.sha1 = Some(found);
        self.accept(&guard, entry)?;
        if let Some(shared) = self.shared() {
            shared.leases().note_found();
        }
        Ok(Found::Catalogued(self.share(key, opened.file)))
    }

    pub(super) fn adopt_file(&self, key: &FileKey, wanted: CatalogEntry) -> Result<bool, StoreError> {
        self.ensure_indexed(key.observatory)?;
        let (Some(expected), Some(size)) = (wanted.sha1, wanted.size) else {
            return Ok(false);
        };
        let (opened, mut entry) = {
            let _guard = self.guards.of(key);
            if !self.index().is_local(key) {
                return Ok(false);
            }
            let Some(opened) = self.open_entry(key)? else {
                return Ok(false);
            };
            let entry = self.classify(key, &opened);
            (opened, entry)
        };
        // A file with further hard links may be changed through those.
        if entry.identity.size != size || opened.metadata.nlink() != 1 {
            return Ok(false);
        }
        let path = entry.path(key);
        let failed = |error| StoreError::io("read", &path, error);
        if digest(&opened.file).map_err(failed)? != expected {
            return Ok(false);
        }
        self.durability.data(&opened.file).map_err(failed)?;
        self.moments.reach(Moment::Hashed);
        let guard = self.guards.of(key);
        if self.lies_there(&path)? != Some(entry.identity) || !self.index().is_local(key) {
            return Ok(false);
        }
        entry.sha1 = Some(expected);
        self.accept(&guard, entry)?;
        drop(guard);
        let directory = path.parent().unwrap_or(Path::new(""));
        self.root
            .open_dir(directory)
            .and_then(|dir| self.durability.names(&dir))
            .map_err(|error| StoreError::io("write", directory, error))?;
        log::info!("{key} was put there and is what the catalog says: it is a copy from now on");
        Ok(true)
    }

    /// The handle that other openers share already, if the file is still the wanted one.
    fn opened_before(&self, key: &FileKey, wanted: CatalogEntry) -> Option<Arc<File>> {
        let index = self.index();
        let file = index.open.get(key)?.upgrade()?;
        let entry = index.entry(key)?;
        let fits = entry.kind() == HoldingKind::Catalogued && self.is_right(entry, wanted);
        let entry = *entry;
        drop(index);
        let is_twin = |twin: Identity, now: &Identity| twin.is_same_file(now) && twin.has_same_contents(now);
        let is_same = |now: Identity| match entry.state {
            // It may get its name at this moment, which changes its status; the publisher looks at the rest.
            State::Verified => now.is_same_file(&entry.identity) && now.size == entry.identity.size,
            _ => now == entry.identity || entry.twin.is_some_and(|twin| is_twin(twin, &now)),
        };
        if fits && opened_identity(&file, Path::new(key.name.as_str())).is_ok_and(is_same) {
            self.index().ledger.touch(key, SystemTime::now());
            Some(file)
        } else {
            None
        }
    }

    /// A handle of a copy that later openers share. Its guard is held.
    fn share(&self, key: &FileKey, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut index = self.index();
        index.ledger.touch(key, SystemTime::now());
        index.open.insert(key.clone(), Arc::downgrade(&file));
        file
    }

    /// A handle of the user's own file, which is entered into the index if it is new or changed there.
    fn share_local(&self, guard: &Guard<'_>, file: File, entry: Entry) -> Arc<File> {
        let key = guard.key();
        let known = self.index().entry(key).copied();
        if known.is_none_or(|known| known.state != entry.state || known.identity != entry.identity) {
            self.enter_with(guard, Event::Override, entry);
        }
        Arc::new(file)
    }

    /// Opens the file under the name. Its guard is held. Anything but a file or a link goes to quarantine, unless the
    /// user has put it there.
    pub(super) fn open_entry(&self, key: &FileKey) -> Result<Option<OpenedEntry>, StoreError> {
        let (known, local) = {
            let index = self.index();
            (
                index.entry(key).map(|entry| entry.instrument),
                index.is_local(key),
            )
        };
        let places = match known {
            Some(instrument) => vec![instrument],
            None => self.places(key),
        };
        for instrument in places {
            let path = place(key, instrument);
            let failed = |error| StoreError::io("open", &path, error);
            match state_dir::open_plain(&self.root, &path).map_err(failed)? {
                Plain::File(file, metadata) => {
                    return Ok(Some(OpenedEntry {
                        file,
                        metadata,
                        instrument,
                        link: false,
                    }));
                }
                Plain::Link => return self.follow(&path, instrument).map(Some),
                Plain::Other if local => {
                    let other = io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
                    return Err(failed(other));
                }
                Plain::Other => {
                    self.quarantine(&path, &quarantine_name(key), "it is not a regular file", None)?;
                }
                Plain::Absent => {}
            }
        }
        Ok(None)
    }

    /// Opens the regular file that a link of the user's leads to, if that is in the store as well.
    fn follow(&self, path: &Path, instrument: Option<&'static str>) -> Result<OpenedEntry, StoreError> {
        let failed = |error| StoreError::io("follow the link", path, error);
        let metadata = self.root.symlink_metadata(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        options.read(true).custom_flags(flags);
        let file = self.root.open_with(path, &options).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            let other = io::Error::new(ErrorKind::InvalidInput, "it does not lead to a regular file");
            return Err(failed(other));
        }
        Ok(OpenedEntry {
            file: file.into_std(),
            metadata,
            instrument,
            link: true,
        })
    }

    /// The identity of the file at a path below the root, or of a link there; `None` if there is none.
    pub(super) fn lies_there(&self, path: &Path) -> Result<Option<Identity>, StoreError> {
        identity_at(&self.root, path).map_err(|error| StoreError::io("look at", path, error))
    }

    /// The instrument directories in which a file may lie (`None` for none): its own first, then, where references are
    /// laid out by instrument, all others.
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
        // Each look at a shared store is a request over a network.
        let looks = self.layout == ReferenceLayout::Instrument && self.shared().is_none();
        let elsewhere = elsewhere.filter(|place| looks && *place != home);
        std::iter::once(home).chain(elsewhere).collect()
    }

    /// The instrument directory that a file belongs to in this store.
    pub(super) fn home(&self, key: &FileKey) -> Option<&'static str> {
        self.layout.instrument(key)
    }

    /// The entry of a file that was opened, brought up to date.
    pub(super) fn classify(&self, key: &FileKey, opened: &OpenedEntry) -> Entry {
        let mut now = Entry::new(State::Unverified, &opened.metadata, opened.instrument);
        if opened.link {
            now.state = State::Override;
            return now;
        }
        if let Some(known) = self.index().entry(key) {
            if known.state == State::Override {
                now.state = State::Override;
            } else if known.identity.has_same_contents(&now.identity) {
                (now.origin, now.sha1) = (known.origin, known.sha1);
                if known.state == State::Held && known.identity == now.identity {
                    now.state = State::Held;
                }
            }
            return now;
        }
        let remembered = {
            let index = self.index();
            let known = index.observatories.get(&key.observatory);
            known.and_then(|known| known.unseen(&key.name)).copied()
        };
        remembered
            .and_then(|known| as_known(&opened.metadata, opened.instrument, &known))
            .unwrap_or(now)
    }

    /// Enters a file into the index as verified, or as accepted without a digest, and writes that down.
    pub(super) fn accept(&self, guard: &Guard<'_>, entry: Entry) -> Result<(), StoreError> {
        let key = guard.key();
        let entered = self.index().enter_with(guard, Event::Accept, entry);
        entered.map_err(|refused| refused.error(key))?;
        self.remember(key, &Mark::Copy(entry.identity, entry.sha1, entry.origin));
        Ok(())
    }

    fn has_wrong_length(&self, size: u64, wanted: CatalogEntry) -> bool {
        self.options.lengths && wanted.size.is_some_and(|expected| expected != size)
    }

    fn is_digest(&self, found: Option<Sha1Sum>, wanted: CatalogEntry) -> bool {
        !self.options.checksums || wanted.sha1.is_none() || wanted.sha1 == found
    }

    /// Whether length and digest of a copy are what the catalog says.
    fn is_right(&self, entry: &Entry, wanted: CatalogEntry) -> bool {
        self.is_digest(entry.sha1, wanted) && !self.has_wrong_length(entry.identity.size, wanted)
    }

    /// Whether a file in a shared store may still be on its way: clients of other kinds write to the final name.
    fn may_be_arriving(&self, entry: &Entry, wanted: CatalogEntry) -> bool {
        self.shared().is_some()
            && wanted
                .size
                .is_some_and(|size| is_young_part(&entry.identity, size, self.clock()))
    }

    /// Takes an open file away that is not what the catalog says; `found` is its digest, if it was hashed. A copy that was
    /// fetched by an earlier catalog is removed, and any other file moved to quarantine. Its guard is held.
    pub(super) fn reject(
        &self,
        guard: &Guard<'_>,
        entry: &Entry,
        found: Option<Sha1Sum>,
        wanted: CatalogEntry,
        why: &str,
    ) -> Result<Found, StoreError> {
        let key = guard.key();
        let path = entry.path(key);
        if self.may_be_arriving(entry, wanted) {
            log::debug!("{key} in the store: {why}; it may still be on its way");
            self.remove_vanished(guard);
            return Ok(Found::Absent);
        }
        let is_superseded = entry.origin == Origin::Fetched && found.is_some() && found == entry.sha1;
        // In a shared store others may have it open, who on some network file systems would lose it with its last name.
        if is_superseded && self.can_write() && self.shared().is_none() {
            if !self.drop_copy(guard, *entry)? {
                return Ok(Found::Unverified);
            }
            log::info!(
                "{key} has other contents by a new catalog: the copy that was fetched before is removed"
            );
            return Ok(Found::Absent);
        }
        if !self.quarantine(&path, &quarantine_name(key), why, Some(entry.identity))? {
            return Ok(Found::Unverified);
        }
        self.remove_vanished(guard);
        Ok(Found::Absent)
    }
}

/// The free bytes of the disk below a directory.
pub(super) fn free_in(dir: &Dir, path: &Path) -> Result<u64, StoreError> {
    let disk =
        rustix::fs::fstatvfs(dir.as_fd()).map_err(|error| StoreError::io("measure", path, error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the file of an identity is shorter than `size` and was written to a short while before `now`. A time in the future
/// is that of another clock.
pub(super) fn is_young_part(identity: &Identity, size: u64, now: SystemTime) -> bool {
    let age = now.duration_since(identity.modified());
    identity.size < size && age.unwrap_or_default() < YOUNG
}

fn quarantine_name(key: &FileKey) -> String {
    format!("{}-{}", key.observatory, key.name)
}

/// The identity of the file at a path below `dir`, or of a link there; `None` if there is none.
pub(super) fn identity_at(dir: &Dir, path: &Path) -> io::Result<Option<Identity>> {
    match dir.symlink_metadata(path) {
        Ok(metadata) => Ok(Some(Identity::of(&metadata))),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identity of an open file.
pub(super) fn opened_identity(file: &File, path: &Path) -> Result<Identity, StoreError> {
    let metadata = Metadata::from_file(file).map_err(|error| StoreError::io("look at", path, error))?;
    Ok(Identity::of(&metadata))
}

/// The digest of a whole file.
pub(crate) fn digest(file: &File) -> io::Result<Sha1Sum> {
    let mut hasher = Sha1::new();
    // No more than the file needs: pages of a large buffer cost more than hashing a small file.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(BUFFER);
    let mut buffer = vec![0; length.clamp(1, BUFFER)];
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
