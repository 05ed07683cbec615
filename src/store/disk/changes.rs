//! Changes under the final names: the user's own files come and go, copies are removed and evicted.
//!
//! Other processes may put something else under a name at any moment. So nothing is removed by its name alone: it is
//! renamed to a private name first, its inode is compared there, and it is renamed back if it is not the one that was
//! meant.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Dir, Metadata, MetadataExt as _};

use super::file_state::{Event, State};
use super::index::Entry;
use super::moments::Moment;
use super::naming::{self, make_dirs, name_new, rename_new};
use super::partials::partial_path;
use super::shared::Shared;
use super::state_dir::{self, Durable, is_absence};
use super::{Disk, Guard};
use crate::crds::{FileKey, FileName, Observatory};
use crate::store::layout::place;
use crate::store::verified::{Identity, Mark};
use crate::store::{StoreError, file_path};

/// The directory of files that have lost their name and are not removed yet, by observatory. What is found there after
/// a crash gets its name back: it may be somebody's work.
const REMOVING: &str = "removing";
/// Separates the parts of a name there; it is in no file name of CRDS.
const SEPARATOR: char = '~';

impl Disk {
    /// Removes a copy to make room and returns its bytes, 0 if it was gone already; `None` if it is open or held, is no
    /// longer that copy, or cannot be removed.
    pub(super) fn evict(&self, victim: &FileKey) -> Option<u64> {
        let guard = self.guards.of(victim);
        let entry = {
            let index = self.index();
            let entry = *index.entry(victim)?;
            if entry.state != State::Held || index.must_stay(victim) {
                return None;
            }
            entry
        };
        match self.lies_there(&entry.path(victim)) {
            Ok(Some(identity)) if identity == entry.identity => {}
            Ok(None) => {
                self.forget(&guard);
                return Some(0);
            }
            Ok(Some(_)) => {
                self.doubt(&guard, entry);
                return None;
            }
            Err(error) => {
                log::warn!("cannot evict {victim}: {error}");
                return None;
            }
        }
        // From here on no opener gets it.
        {
            let mut index = self.index();
            if index.must_stay(victim) || index.enter(&guard, Event::Evict).is_err() {
                return None;
            }
        }
        match self.discard(victim, &entry) {
            Ok(true) => {
                self.index().evicted.add(entry.bytes());
                log::info!("evicted {victim} ({} bytes)", entry.bytes());
                Some(entry.bytes())
            }
            Ok(false) => {
                self.doubt(&guard, entry);
                None
            }
            Err(error) => {
                log::warn!("cannot evict {victim}: {error}");
                self.enter_with(&guard, Event::Accept, entry);
                None
            }
        }
    }

    /// Marks a copy as unverified, because the file under its name is not the one that was verified, or has changed.
    fn doubt(&self, guard: &Guard<'_>, entry: Entry) {
        self.enter_with(guard, Event::Find, entry);
    }

    /// Changes the state of a file where the caller knows that its state allows it; a refusal is logged.
    pub(super) fn enter_with(&self, guard: &Guard<'_>, event: Event, entry: Entry) {
        if let Err(refused) = self.index().enter_with(guard, event, entry) {
            log::error!("{}: {refused}", guard.key());
        }
    }

    /// Removes the entry of a file that is gone, and returns it.
    fn forget(&self, guard: &Guard<'_>) -> Option<Entry> {
        let gone = self.index().enter(guard, Event::Drop);
        gone.inspect_err(|refused| log::error!("{}: {refused}", guard.key()))
            .ok()
            .flatten()
    }

    /// Drops a verified file that has no name yet. Its bytes stay readable through open handles.
    pub(super) fn give_way(&self, guard: &Guard<'_>) {
        self.forget(guard);
        self.remove_published(guard.key());
    }

    /// Removes the partial file of a published file that shall not get its name.
    pub(super) fn remove_published(&self, key: &FileKey) {
        self.forget_record(key);
        let path = partial_path(key);
        if let Err(error) = self.state_dir.remove_file(&path)
            && !is_absence(&error)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// Removes a file by way of a private name; false, and it stays, if it is not the one that is meant.
    fn discard(&self, key: &FileKey, entry: &Entry) -> io::Result<bool> {
        let directory = Path::new(REMOVING).join(key.observatory.as_str());
        make_dirs(self.aside(), &directory)?;
        let instrument = entry.instrument.unwrap_or_default();
        let turn = format!("{}{}", state_dir::turn(), self.mark());
        let target = directory.join(format!("{turn}{SEPARATOR}{instrument}{SEPARATOR}{}", key.name));
        if !self.take_aside(&entry.path(key), &target, Some(entry.identity))? {
            return Ok(false);
        }
        self.moments.reach(Moment::VictimAside);
        naming::remove(self.aside(), &target)?;
        self.moments.reach(Moment::VictimRemoved);
        Ok(true)
    }

    /// Renames the file at a path to `target` in the store's own directory. If it is not `expected` it gets its name
    /// back. False then, and if nothing lies there.
    pub(super) fn take_aside(
        &self,
        path: &Path,
        target: &Path,
        expected: Option<Identity>,
    ) -> io::Result<bool> {
        match self.root.rename(path, self.aside(), target) {
            Ok(()) => {}
            // On a network file system it may be done all the same, if the first reply was lost.
            Err(error) if is_absence(&error) && !self.aside().exists(target) => return Ok(false),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
        let taken = Identity::of(&self.aside().symlink_metadata(target)?);
        let right = |expected: Identity| {
            // A rename is a change of status.
            expected.is_same_file(&taken) && expected.has_same_contents(&taken)
        };
        if expected.is_none_or(right) {
            return Ok(true);
        }
        self.put_back(target, path)?;
        Ok(false)
    }

    /// The part of names in [`Disk::aside`] that no other process gives.
    pub(super) fn mark(&self) -> String {
        self.shared().map_or_else(String::new, Shared::mark)
    }

    /// Renames, but never over something that is there.
    pub(super) fn rename_new(&self, source: &Dir, from: &Path, target: &Dir, to: &Path) -> io::Result<()> {
        match self.shared() {
            Some(_) => name_new(source, from, target, to),
            None => rename_new(source, from, target, to),
        }
    }

    /// Gives a file its name back; if that is taken by now, it goes to quarantine.
    fn put_back(&self, from: &Path, path: &Path) -> io::Result<()> {
        let back = self.rename_new(self.aside(), from, &self.root, path);
        if let Err(error) = &back
            && error.kind() == ErrorKind::AlreadyExists
        {
            let name = path.file_name().unwrap_or_default();
            let mut aside = OsString::from(format!("{}{}-", state_dir::turn(), self.mark()));
            aside.push(name);
            make_dirs(self.aside(), Path::new("quarantine"))?;
            let aside = Path::new("quarantine").join(aside);
            log::warn!(
                "{} in the store was replaced while it was looked at: what was there is in {}",
                path.display(),
                Path::new(state_dir::OWN).join(&aside).display()
            );
            return self.rename_new(self.aside(), from, self.aside(), &aside);
        }
        back
    }

    /// Gives files their names back that a crash has left in [`REMOVING`].
    pub(super) fn restore_discarded(&self, observatory: Observatory) {
        if !self.can_write() {
            return;
        }
        let directory = Path::new(REMOVING).join(observatory.as_str());
        let Ok(entries) = self.aside().read_dir(&directory) else {
            return;
        };
        for entry in entries.flatten() {
            // Another mount may be about to remove it.
            let is_left = || {
                entry
                    .metadata()
                    .is_ok_and(|metadata| is_long_aside(&metadata, self.clock()))
            };
            if self.shared().is_some() && !is_left() {
                continue;
            }
            let Some(path) = entry
                .file_name()
                .to_str()
                .and_then(|text| discarded(observatory, text))
            else {
                continue;
            };
            if let Err(error) = self.put_back(&directory.join(entry.file_name()), &path) {
                log::warn!("cannot restore {}: {error}", path.display());
            }
        }
    }

    /// Removes a copy, also while it is open; a file that was put in its place meanwhile stays.
    pub(super) fn remove_copy_of(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.ensure_indexed(key.observatory)?;
        let guard = self.guards.of(key);
        let Some(entry) = self.index().entry(key).copied() else {
            return Ok(false);
        };
        match entry.state {
            State::Override => return Ok(false),
            State::Verified => {
                self.give_way(&guard);
                return Ok(true);
            }
            State::Absent | State::Arriving | State::Unverified | State::Held => {}
        }
        let path = entry.path(key);
        if self
            .lies_there(&path)?
            .is_some_and(|identity| identity != entry.identity)
        {
            self.doubt(&guard, entry);
            return Ok(false);
        }
        self.drop_copy(&guard, entry)
    }

    /// Removes a copy that was looked at a moment ago. False if by now something else lies there, which stays.
    pub(super) fn drop_copy(&self, guard: &Guard<'_>, entry: Entry) -> Result<bool, StoreError> {
        let key = guard.key();
        // From here on no opener gets it.
        self.forget(guard);
        match self.discard(key, &entry) {
            Ok(true) => self.remember(key, &Mark::Gone),
            Ok(false) => {
                self.doubt(guard, entry);
                return Ok(false);
            }
            Err(error) => {
                let event = if entry.state == State::Held {
                    Event::Accept
                } else {
                    Event::Find
                };
                self.enter_with(guard, event, entry);
                return Err(StoreError::io("remove", entry.path(key), error));
            }
        }
        Ok(true)
    }

    pub(super) fn remove_file(&self, key: &FileKey) -> Result<bool, StoreError> {
        self.ensure_indexed(key.observatory)?;
        let guard = self.guards.of(key);
        if self.index().state(key) == State::Verified {
            self.give_way(&guard);
            return Ok(true);
        }
        let path = self.known_place(key);
        let removed = match self.root.remove_file(&path) {
            Ok(()) => true,
            Err(error) if is_absence(&error) => false,
            Err(error) => return Err(StoreError::io("remove", &path, error)),
        };
        self.forget(&guard);
        self.remember(key, &Mark::Gone);
        Ok(removed)
    }

    pub(super) fn recount_file(&self, key: &FileKey) -> Result<(), StoreError> {
        self.ensure_indexed(key.observatory)?;
        let guard = self.guards.of(key);
        let known = self.index().entry(key).copied();
        // A published file without its final name does not lie there.
        if known.is_some_and(|known| known.state == State::Verified) {
            return Ok(());
        }
        let instrument = known.map_or_else(|| self.home(key), |known| known.instrument);
        let path = place(key, instrument);
        let metadata = match self.root.symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if is_absence(&error) => {
                if self.forget(&guard).and_then(|gone| gone.mark()).is_some() {
                    self.remember(key, &Mark::Gone);
                }
                return Ok(());
            }
            Err(error) => return Err(StoreError::io("look at", &path, error)),
        };
        let now = Entry::new(State::Unverified, &metadata, instrument);
        if known.is_some_and(|known| known.identity.has_same_contents(&now.identity)) {
            return Ok(());
        }
        let event = match known {
            Some(known) if known.state == State::Override => Event::Override,
            _ if metadata.is_file() => Event::Find,
            _ => return Ok(()),
        };
        self.enter_with(&guard, event, now);
        Ok(())
    }

    /// Removes the entry of a file that is no longer there.
    pub(super) fn remove_vanished(&self, guard: &Guard<'_>) {
        if self.forget(guard).is_some() {
            self.remember(guard.key(), &Mark::Gone);
        }
    }

    pub(super) fn mark_local(&self, key: &FileKey) -> Result<(), StoreError> {
        self.ensure_indexed(key.observatory)?;
        let guard = self.guards.of(key);
        let known = self.index().entry(key).map(|entry| entry.instrument);
        self.take_as_local(&guard, known.unwrap_or_else(|| self.home(key)))?;
        self.remember(key, &Mark::Local);
        Ok(())
    }

    /// Enters the file under the name into the index as the user's own.
    fn take_as_local(&self, guard: &Guard<'_>, instrument: Option<&'static str>) -> Result<(), StoreError> {
        let key = guard.key();
        let path = place(key, instrument);
        let metadata = self
            .root
            .symlink_metadata(&path)
            .map_err(|error| StoreError::io("look at", &path, error))?;
        let (before, entered) = {
            let mut index = self.index();
            let before = index.state(key);
            let entry = Entry::new(State::Override, &metadata, instrument);
            (before, index.enter_with(guard, Event::Override, entry))
        };
        entered.map_err(|refused| refused.error(key))?;
        if before == State::Verified {
            self.remove_published(key);
        }
        Ok(())
    }

    pub(super) fn move_local(&self, from: &Path, key: &FileKey) -> Result<(), StoreError> {
        self.ensure_indexed(key.observatory)?;
        let path = file_path(self.layout, key);
        let directory = path.parent().unwrap_or(Path::new(""));
        let failed = |error| StoreError::io("rename a file to", &path, error);
        make_dirs(&self.root, directory).map_err(failed)?;
        let guard = self.guards.of(key);
        // Written down before the rename: after a crash in between, the file under the name is told from the copy that was
        // there before by that copy's identity.
        self.remember_local(key)?;
        self.moments.reach(Moment::OverrideRemembered);
        if let Err(error) = self.root.rename(from, &self.root, &path) {
            let mark = self.index().entry(key).and_then(Entry::mark);
            self.remember(key, &mark.unwrap_or(Mark::Gone));
            return Err(failed(error));
        }
        self.moments.reach(Moment::OverrideNamed);
        self.take_as_local(&guard, self.home(key))
    }

    /// Writes down durably that the file under a name is the user's from now on.
    fn remember_local(&self, key: &FileKey) -> Result<(), StoreError> {
        self.remember_durably(key, &Mark::Local, Durable::Yes)
    }

    /// The path of a file: where the index has it, else where it belongs.
    fn known_place(&self, key: &FileKey) -> PathBuf {
        let known = self.index().entry(key).map(|entry| entry.instrument);
        place(key, known.unwrap_or_else(|| self.home(key)))
    }
}

/// Whether a file lost its name longer before `now` than a removal takes.
fn is_long_aside(metadata: &Metadata, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let renamed = Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or_default());
    now.checked_sub(renamed)
        .is_some_and(|age| age > Duration::from_secs(3600))
}

/// The final path of a file in [`REMOVING`], from its name there.
fn discarded(observatory: Observatory, text: &str) -> Option<PathBuf> {
    let mut parts = text.splitn(3, SEPARATOR);
    let (_, instrument, name) = (parts.next()?, parts.next()?, parts.next()?);
    let name: FileName = name.parse().ok()?;
    let key = FileKey { observatory, name };
    let known = |instrument: &&str| observatory.instruments().contains(instrument);
    let instrument = Some(instrument).filter(|instrument| !instrument.is_empty());
    match instrument {
        Some(instrument) if !known(&instrument) => None,
        other => Some(place(&key, other)),
    }
}
