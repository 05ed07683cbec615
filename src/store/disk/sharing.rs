//! Publication in a store that others use as well: from the state directory of this mount to the final name.
//!
//! On one file system a second name does it. Else the bytes are copied to a temporary name in the store, hashed on the
//! way: what is published is what was verified.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use cap_std::fs::{Dir, Metadata, MetadataExt as _};
use parking_lot::Mutex;
use rustix::fs::{Gid, Mode, OFlags, fchown, fgetxattr, openat};
use rustix::io::Errno;
use sha1::{Digest as _, Sha1};

use super::file_state::State;
use super::files::{digest, opened_identity};
use super::index::Entry;
use super::leases;
use super::moments::Moment;
use super::naming::{make_dirs, new_file};
use super::partials::partial_path;
use super::publisher::{Named, Pending, Ready, checked};
use super::shared::Shared;
use super::state_dir::{self, Plain};
use super::{Disk, Guard};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};
use crate::store::layout::place;
use crate::store::verified::Identity;
use crate::store::{Found, StoreError};

/// The number of files that are copied at the same time: on a network file system most of the time is spent waiting.
const THREADS: usize = 8;
/// Bytes copied at a time.
const BUFFER: usize = 1 << 20;
/// The set-group-id bit: new files in such a directory get its group.
const SET_GROUP: u32 = 0o2000;
/// The extended attribute of a directory that gives new files their access control list.
const DEFAULT_ACL: &str = "system.posix_acl_default";

impl Disk {
    /// Publishes files, several at a time; with a result for each. The lease on each ends as soon as that is known, since
    /// others of the batch may take long.
    pub(super) fn share_batch(&self, shared: &Shared, batch: &[Pending]) -> Vec<Result<Named, StoreError>> {
        let left = Mutex::new(batch.iter().enumerate());
        let results = Mutex::new(Vec::with_capacity(batch.len()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS.min(batch.len()) {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().next();
                        let Some((at, one)) = next else { return };
                        let named = self.share_file(shared, one);
                        if matches!(named, Ok(Named::In(_) | Named::Dropped)) {
                            leases::note_published(shared, &one.key);
                        } else {
                            leases::give_back(shared, &one.key);
                        }
                        results.lock().push((at, named));
                    }
                });
            }
        });
        let mut results = results.into_inner();
        results.sort_by_key(|(at, _)| *at);
        results.into_iter().map(|(_, named)| named).collect()
    }

    fn share_file(&self, shared: &Shared, one: &Pending) -> Result<Named, StoreError> {
        let to = place(&one.key, one.entry.instrument);
        let directory = to.parent().unwrap_or(Path::new(""));
        let target = self.made_directory(directory)?;
        if shared.same_disk() && fits(&target, one)? {
            let data = self.durability.data(&one.partial);
            data.map_err(|error| StoreError::io("write", partial_path(&one.key), error))?;
            self.moments.reach(Moment::DataSynced);
            match self.give_name(one, checked(one)?) {
                Err(error) if is_other_disk(&error) => {}
                named => return named,
            }
        }
        let path = shared.temporary(one.key.name.as_str());
        let named = self.copy_in(shared, one, &target, &path).and_then(|now| {
            self.moments.reach(Moment::DataSynced);
            let ready = Ready {
                dir: shared.own(),
                path: &path,
                now,
                is_copy: true,
            };
            self.name_file(one, &ready)
        });
        if !matches!(named, Ok(Named::In(_))) {
            let _ = shared.own().remove_file(&path);
        }
        named
    }

    /// A directory of the store, made if it is missing.
    fn made_directory(&self, path: &Path) -> Result<Dir, StoreError> {
        let failed = |error| StoreError::io("open", path, error);
        match self.root.open_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_dirs(&self.root, path).map_err(failed)?;
                self.root.open_dir(path).map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    /// Gives a user's file the name of a catalogued one, if it has its contents.
    pub(super) fn take_copy_from(
        &self,
        from: &Path,
        key: &FileKey,
        wanted: CatalogEntry,
    ) -> Result<bool, StoreError> {
        self.ensure_indexed(key.observatory)?;
        let (Some(expected), Some(size)) = (wanted.sha1, wanted.size) else {
            return Ok(false);
        };
        let failed = |error| StoreError::io("rename", from, error);
        let Plain::File(file, metadata) = state_dir::open_plain(&self.root, from).map_err(failed)? else {
            return Ok(false);
        };
        if metadata.len() != size || metadata.nlink() != 1 || digest(&file).map_err(failed)? != expected {
            return Ok(false);
        }
        self.durability.data(&file).map_err(failed)?;
        let now = opened_identity(&file, from)?;
        let guard = self.guards.of(key);
        if self.lies_there(from)? != Some(now) || self.index().state(key) == State::Verified {
            return Ok(false);
        }
        let to = place(key, self.home(key));
        let directory = to.parent().unwrap_or(Path::new(""));
        self.made_directory(directory)?;
        match self.rename_new(&self.root, from, &self.root, &to) {
            // Somebody was faster. What lies there is looked at when it is opened.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.root.remove_file(from).map_err(failed)?;
                return Ok(true);
            }
            other => other.map_err(failed)?,
        }
        let metadata = self.root.symlink_metadata(&to).map_err(failed)?;
        let mut entry = Entry::new(State::Unverified, &metadata, self.home(key));
        entry.sha1 = Some(expected);
        if entry.identity.is_same_file(&now) && entry.identity.has_same_contents(&now) {
            self.accept(&guard, entry)?;
        }
        Ok(true)
    }

    /// Whether the error says that a file in a shared store is closed to this process.
    pub(super) fn is_closed(&self, error: &StoreError) -> bool {
        let is_refused = match error {
            StoreError::Io { source, .. } => source.kind() == ErrorKind::PermissionDenied,
            _ => false,
        };
        is_refused && self.shared().is_some()
    }

    /// Takes a file away that this process cannot read: somebody's umask would keep the name from all others. Where that is
    /// not allowed either, the error stays. Its guard is held.
    pub(super) fn reject_closed(
        &self,
        guard: &Guard<'_>,
        wanted: CatalogEntry,
        error: StoreError,
    ) -> Result<Found, StoreError> {
        let key = guard.key();
        let path = place(key, self.home(key));
        let there = self.root.symlink_metadata(&path);
        let Some(metadata) = there.ok().filter(Metadata::is_file) else {
            return Err(error);
        };
        let why = format!(
            "it is closed to this mount (mode {:03o} of user {})",
            metadata.mode() & 0o777,
            metadata.uid()
        );
        let entry = Entry::new(State::Unverified, &metadata, self.home(key));
        self.reject(guard, &entry, None, wanted, &why).map_err(|_| error)
    }

    /// Copies a verified file to a path in `.crds-fs` of the store, and makes the copy durable.
    fn copy_in(
        &self,
        shared: &Shared,
        one: &Pending,
        target: &Dir,
        path: &Path,
    ) -> Result<Identity, StoreError> {
        let failed = |error| StoreError::io("write", path, error);
        let copy = new_file(shared.own(), path).map_err(failed)?.into_std();
        let metadata = Metadata::from_file(&copy).map_err(failed)?;
        if let Some(group) = group_of_new(target).map_err(failed)?
            && group != metadata.gid()
            && let Err(error) = fchown(&copy, None, Some(Gid::from_raw(group)))
        {
            log::debug!("{} does not get the group of its directory: {error}", one.key);
        }
        let found =
            copy_hashed(&one.partial, &copy, || shared.leases().note_busy(&one.key)).map_err(failed)?;
        if Some(found) != one.entry.sha1 {
            let message = "its partial file was changed by somebody";
            return Err(failed(io::Error::new(ErrorKind::InvalidData, message)));
        }
        self.durability.data(&copy).map_err(failed)?;
        opened_identity(&copy, path)
    }
}

/// Whether a second name for the file in the state directory is as good as a new file in the target directory: it has
/// the group that a new one would have, and no access control list is handed down.
fn fits(target: &Dir, one: &Pending) -> Result<bool, StoreError> {
    let failed = |error| StoreError::io("look at", partial_path(&one.key), error);
    let group = group_of_new(target).map_err(failed)?;
    let metadata = Metadata::from_file(&one.partial).map_err(failed)?;
    let is_right = group.is_none_or(|group| group == metadata.gid());
    Ok(is_right && !hands_down_list(target))
}

/// The group that new files in a directory get from it; `None` where they get that of the process.
fn group_of_new(directory: &Dir) -> io::Result<Option<u32>> {
    let metadata = directory.dir_metadata()?;
    Ok((metadata.mode() & SET_GROUP != 0).then(|| metadata.gid()))
}

/// Whether new files in a directory get an access control list from it.
fn hands_down_list(directory: &Dir) -> bool {
    // A `Dir` is only a place, of which attributes cannot be asked for.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(open) = openat(directory.as_fd(), ".", flags, Mode::empty()) else {
        return false;
    };
    let mut list = [0_u8; 256];
    match fgetxattr(&open, DEFAULT_ACL, &mut list) {
        Ok(length) => length > 0,
        Err(error) => error == Errno::RANGE,
    }
}

/// Copies all bytes of a file and gives their digest; calls `progress` now and then.
fn copy_hashed(from: &File, to: &File, progress: impl Fn()) -> io::Result<Sha1Sum> {
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        match from.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Sha1Sum::from_bytes(hasher.finalize().into())),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                hasher.update(bytes);
                to.write_all_at(bytes, at)?;
                progress();
                at += u64::try_from(count).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a name cannot be given across two parts of what looks like one file system.
fn is_other_disk(error: &StoreError) -> bool {
    match error {
        StoreError::Io { source, .. } => source.raw_os_error() == Some(Errno::XDEV.raw_os_error()),
        _ => false,
    }
}
