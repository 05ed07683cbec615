//! The leases of a shared store on the disk: `.crds-fs/leases/OBSERVATORY/NAME`, a line for people, renewed by its times.
//!
//! A thread renews those of this mount while their transfers show signs of life. A lease outlives the publication of its
//! file by its term, for those who do not see the new name at once. Its time of modification is 1970 then, which tells
//! them that there is a new name to be seen.
//!
//! A mount that was killed leaves its leases. The next one with its state directory knows them by its mark.
//!
//! One who waits for a lease lets the thread look at all the others as well, so that a mount waits once, not once for each
//! lease, for another mount that has been killed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use cap_std::fs::{Metadata, MetadataExt as _, OpenOptions};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, openat};

use super::files::is_young_part;
use super::lock;
use super::naming::{make_dirs, name_new, remove};
use super::shared::Shared;
use super::state_dir::{self, Plain, is_absence};
use super::{Disk, FileState};
use crate::crds::{CatalogEntry, FileKey, FileName, Observatory};
use crate::store::StoreError;
use crate::store::layout::place;
use crate::store::leases::{Creation, Known, LeaseFiles, Phase, Presence, Seeking, Sought, seek};
use crate::store::verified::Identity;

/// The directory of leases in `.crds-fs`.
pub(super) const LEASES: &str = "leases";
/// Leases are renewed so many times within their term.
const RENEWALS: u32 = 10;
/// The limit on the line of a lease, in bytes.
const LINE_LIMIT: u64 = 1024;

/// The leases to renew, and the files whose leases are over.
type Due = (Vec<(FileKey, Arc<File>)>, Vec<FileKey>);

impl Disk {
    /// Takes the steps towards a lease on a file that can be taken now.
    pub(super) fn seek_lease(
        self: &Arc<Self>,
        key: &FileKey,
        wanted: CatalogEntry,
        seeking: &mut Seeking<Identity>,
        may_take: bool,
    ) -> Result<Sought, StoreError> {
        let Some(shared) = self.shared() else {
            return Ok(Sought::Fetch);
        };
        let had = (seeking.has_waited(), seeking.has_displaced());
        let files = FilesOfLease {
            disk: self,
            shared,
            key,
            wanted,
        };
        let (leases, now) = (shared.leases(), shared.now());
        let sought = seek(seeking, &files, now, may_take);
        {
            let mut state = leases.state.lock();
            let counts = &mut state.counts;
            counts.waited += u64::from(!had.0 && seeking.has_waited());
            counts.taken_over += u64::from(!had.1 && seeking.has_displaced());
        }
        let waits = matches!(sought, Sought::Wait(_));
        if waits {
            leases.want_survey(key.observatory, now, shared.silence());
        }
        if waits || leases.has(key) {
            self.keep_leases(shared)?;
        }
        Ok(sought)
    }

    /// Ends the lease on a file whose transfer has ended, unless its publication is to end it.
    pub(super) fn end_lease(&self, key: &FileKey) {
        if let Some(shared) = self.shared()
            && shared.leases().has(key)
            && self.index().state(key) != FileState::Verified
        {
            let is_published = {
                let state = shared.leases().state.lock();
                state.held.get(key).is_some_and(|held| held.over.is_some())
            };
            if !is_published {
                give_back(shared, key);
            }
        }
    }

    /// Begins the thread that renews leases and looks at those of others, if it does not run.
    fn keep_leases(self: &Arc<Self>, shared: &Shared) -> Result<(), StoreError> {
        let mut state = shared.leases().state.lock();
        if state.keeper.is_none() && !state.is_over {
            let (disk, pause) = (Arc::downgrade(self), shared.term() / RENEWALS);
            let begun = std::thread::Builder::new()
                .name("crds-fs-leases".to_owned())
                .spawn(move || keep(&disk, pause));
            state.keeper = Some(begun.map_err(|error| StoreError::io("keep leases of", ".", error))?);
        }
        Ok(())
    }

    /// Ends the leases on files that are published, before their time.
    pub(super) fn end_leases_on_published(&self) {
        let Some(shared) = self.shared() else { return };
        let published: Vec<FileKey> = {
            let state = shared.leases().state.lock();
            let over = state.held.iter().filter(|(_, held)| held.over.is_some());
            over.map(|(key, _)| key.clone()).collect()
        };
        for key in published {
            give_back(shared, &key);
        }
    }

    /// Ends the thread, and all leases.
    pub(super) fn end_leases(&self) {
        let Some(shared) = self.shared() else { return };
        let (keeper, held) = {
            let mut state = shared.leases().state.lock();
            state.is_over = true;
            let held: Vec<FileKey> = state.held.keys().cloned().collect();
            (state.keeper.take(), held)
        };
        shared.leases().changed.notify_all();
        for key in held {
            give_back(shared, &key);
        }
        if let Some(keeper) = keeper.filter(|keeper| keeper.thread().id() != std::thread::current().id())
            && keeper.join().is_err()
        {
            log::error!("the thread that renews leases has panicked");
        }
    }

    /// Renews the leases whose transfers show signs of life, and removes those that are over.
    pub(super) fn renew_leases(&self, shared: &Shared) {
        let (alive, over) = self.due(shared);
        let now = times(UTIME_NOW, UTIME_NOW);
        for (key, file) in alive {
            if let Err(error) = futimens(&*file, &now) {
                log::debug!("the lease on {key} is not renewed: {error}");
            }
        }
        for key in over {
            give_back(shared, &key);
        }
    }

    fn due(&self, shared: &Shared) -> Due {
        let running: HashMap<FileKey, Arc<File>> = {
            let index = self.index();
            let running = index.running.iter();
            running
                .filter_map(|(key, file)| Some((key.clone(), file.upgrade()?)))
                .collect()
        };
        let identity = |file: &Arc<File>| Some(Identity::of(&Metadata::from_file(file).ok()?));
        let seen: HashMap<_, _> = running.iter().map(|(key, file)| (key, identity(file))).collect();
        let now = Instant::now();
        let mut state = shared.leases().state.lock();
        let (mut alive, mut over) = (Vec::new(), Vec::new());
        for (key, held) in &mut state.held {
            if held.over.is_some_and(|over| over <= now) {
                over.push(key.clone());
                continue;
            }
            let seen = seen.get(key).copied().flatten();
            let has_moved = seen.is_some() && seen != held.seen;
            held.seen = seen.or(held.seen);
            let is_alive = has_moved || held.busy_until.is_some_and(|until| until > now);
            if let Some(file) = held.file.as_ref().filter(|_| is_alive) {
                alive.push((key.clone(), Arc::clone(file)));
            }
        }
        (alive, over)
    }
}

/// Renews leases until the store is closed.
fn keep(disk: &Weak<Disk>, pause: Duration) {
    loop {
        let Some(disk) = disk.upgrade() else { return };
        let Some(shared) = disk.shared() else { return };
        let leases = shared.leases();
        let mut state = leases.state.lock();
        let end = Instant::now() + pause;
        while !state.is_over && state.to_survey.is_empty() && Instant::now() < end {
            leases.changed.wait_until(&mut state, end);
        }
        if state.is_over {
            return;
        }
        let to_survey = std::mem::take(&mut state.to_survey);
        drop(state);
        for observatory in to_survey {
            survey(shared, observatory);
        }
        disk.renew_leases(shared);
    }
}

/// Notes how all leases of others on files of an observatory are now.
pub(super) fn survey(shared: &Shared, observatory: Observatory) {
    let now = shared.now();
    let directory = Path::new(LEASES).join(observatory.as_str());
    let mut seen = Vec::new();
    for entry in shared.own().read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.parse::<FileName>().ok()) else {
            continue;
        };
        let key = FileKey { observatory, name };
        if !shared.leases().has(&key)
            && let Ok(metadata) = entry.metadata()
        {
            seen.push((key, Identity::of(&metadata)));
        }
    }
    shared.leases().note_others(observatory, &seen, now);
}

/// Notes in a lease of this mount that its file is published; it ends a term later.
pub(super) fn note_published(shared: &Shared, key: &FileKey) {
    let Some(file) = shared.leases().note_published(key, shared.term()) else {
        return;
    };
    if let Err(error) = futimens(&*file, &times(UTIME_OMIT, 0)) {
        log::debug!("the lease on {key} does not say that the file is published: {error}");
    }
}

/// Times to set: the beginning of 1970 where the nanoseconds say nothing else.
fn times(access: i64, modification: i64) -> Timestamps {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    Timestamps {
        last_access: time(access),
        last_modification: time(modification),
    }
}

/// Removes a lease of this mount. One that another has taken over meanwhile is his, and stays as far as that can be seen.
pub(super) fn give_back(shared: &Shared, key: &FileKey) {
    let Some(held) = shared.leases().state.lock().held.remove(key) else {
        return;
    };
    // Network file systems keep a removed file as long as it is open.
    drop(held.file);
    let path = lease_path(key);
    let there = shared.own().symlink_metadata(&path);
    let is_ours = there.is_ok_and(|there| held.identity == (there.dev(), there.ino()));
    if is_ours && let Err(error) = remove(shared.own(), &path) {
        log::debug!("the lease on {key} is not given back: {error}");
    }
}

fn lease_path(key: &FileKey) -> PathBuf {
    [LEASES, key.observatory.as_str(), key.name.as_str()]
        .iter()
        .collect()
}

/// The operations on the lease of one file.
struct FilesOfLease<'a> {
    disk: &'a Disk,
    shared: &'a Shared,
    key: &'a FileKey,
    wanted: CatalogEntry,
}

impl FilesOfLease<'_> {
    /// Whether a lease is that of the mount that had the state directory before this one, and was killed.
    fn is_abandoned(&self, lease: &File) -> bool {
        let Some(mark) = self.shared.mark_of_predecessor() else {
            return false;
        };
        let mut line = String::new();
        lease.take(LINE_LIMIT).read_to_string(&mut line).is_ok() && line.trim_end().ends_with(mark)
    }

    fn make(&self) -> io::Result<File> {
        let (own, path) = (self.shared.own(), lease_path(self.key));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = match own.open_with(&path, &options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_dirs(own, path.parent().unwrap_or(Path::new("")))?;
                own.open_with(&path, &options)?
            }
            other => other?,
        };
        let mut file = file.into_std();
        let host = lock::host();
        let line = format!("{host} process {}{}\n", std::process::id(), self.shared.mark());
        // It counts without the text as well.
        if let Err(error) = file.write_all(line.as_bytes()) {
            log::debug!("the lease on {} says nothing: {error}", self.key);
        }
        Ok(file)
    }
}

impl LeaseFiles for FilesOfLease<'_> {
    type Stamp = Identity;

    fn create(&self) -> Creation {
        // What was published a moment ago may be gone again.
        give_back(self.shared, self.key);
        let made = self.make().and_then(|file| {
            let metadata = Metadata::from_file(&file)?;
            Ok((file, (metadata.dev(), metadata.ino())))
        });
        match made {
            Ok((file, identity)) => {
                self.shared.leases().put(self.key, file, identity);
                Creation::Made
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Creation::Exists,
            Err(error) => {
                log::debug!("no lease on {}: {error}", self.key);
                Creation::Refused
            }
        }
    }

    /// Opens it: so network file systems tell its times as they are now. One that cannot be opened counts as well: only its
    /// owner may read it, or it is no file at all.
    fn lease(&self, now: Duration) -> Option<Known<Identity>> {
        let (own, path) = (self.shared.own(), lease_path(self.key));
        let (file, metadata) = match state_dir::open_plain(own, &path) {
            Ok(Plain::File(file, metadata)) => (Some(file), metadata),
            Ok(Plain::Absent) => return None,
            Ok(Plain::Link | Plain::Other) | Err(_) => (None, own.symlink_metadata(&path).ok()?),
        };
        let stamp = Identity::of(&metadata);
        let phase = if file.is_some_and(|file| self.is_abandoned(&file)) {
            Phase::Abandoned
        } else if (stamp.seconds, stamp.nanoseconds) == (0, 0) {
            Phase::Published
        } else {
            Phase::Fetching
        };
        let since = self.shared.leases().note_other(self.key, stamp, now);
        Some(Known { stamp, phase, since })
    }

    fn file(&self) -> Presence<Identity> {
        let path = place(self.key, self.disk.home(self.key));
        let parent = path.parent().unwrap_or(Path::new("."));
        // A directory that is opened for reading is looked at anew by network file systems, with all names that were absent.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(dir) = self.disk.root.open_dir(parent) {
            let _ = openat(dir.as_fd(), ".", flags, Mode::empty());
        }
        match self.disk.root.symlink_metadata(&path) {
            Ok(metadata) => {
                let identity = Identity::of(&metadata);
                let size = self.wanted.size.unwrap_or_default();
                if metadata.is_file() && is_young_part(&identity, size, self.shared.clock()) {
                    Presence::Part(identity)
                } else {
                    Presence::Whole
                }
            }
            Err(error) if is_absence(&error) => Presence::Absent,
            // Whoever opens it is told.
            Err(_) => Presence::Whole,
        }
    }

    fn displace(&self, stale: Identity) {
        let (own, path) = (self.shared.own(), lease_path(self.key));
        let aside = self.shared.temporary(self.key.name.as_str());
        // Whether that was done is seen by where it lies now: the reply may have been lost.
        let _ = own.rename(&path, own, &aside);
        let Ok(taken) = own.symlink_metadata(&aside) else {
            return;
        };
        let taken = Identity::of(&taken);
        let is_stale = taken.is_same_file(&stale) && taken.has_same_contents(&stale);
        // Somebody was faster, and this is his.
        if !is_stale && name_new(own, &aside, own, &path).is_ok() {
            return;
        }
        if let Err(error) = remove(own, &aside) {
            log::debug!("a lease on {} is left aside: {error}", self.key);
        } else if is_stale {
            log::info!(
                "{} is fetched here: whoever was at it shows no sign of life",
                self.key
            );
        }
    }

    fn give_back(&self) {
        give_back(self.shared, self.key);
    }
}
