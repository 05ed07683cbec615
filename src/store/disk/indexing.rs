//! The first look at an observatory's files: the directories of the store, and the memory of which files in them were
//! verified.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::Disk;
use super::file_state::State;
use super::index::{Entry, ObservatoryIndex, as_known};
use super::naming::make_dirs;
use super::order::{self, Used};
use super::shared::Shared;
use super::state_dir::{self, Durable};
use crate::crds::{FileKey, FileName, Observatory, grammar};
use crate::store::StoreError;
use crate::store::verified::{self, Known, Mark};

impl Disk {
    /// Writes down an event of a name. A failure costs no more than hashing the file again after a restart.
    pub(super) fn remember(&self, key: &FileKey, mark: &Mark) {
        if let Err(error) = self.remember_durably(key, mark, Durable::No) {
            log::debug!("{error}");
        }
    }

    /// Writes down an event of a name, durably if `durable` says so, and fails if it cannot.
    pub(super) fn remember_durably(
        &self,
        key: &FileKey,
        mark: &Mark,
        durable: Durable,
    ) -> Result<(), StoreError> {
        let log = self
            .index()
            .observatories
            .get(&key.observatory)
            .and_then(|index| index.log.clone());
        let Some(log) = log else { return Ok(()) };
        let line = verified::line(&key.name, &self.as_remembered(*mark));
        let written = (&*log).write_all(line.as_bytes()).and_then(|()| match durable {
            Durable::Yes => log.sync_data(),
            Durable::No => Ok(()),
        });
        written.map_err(|error| StoreError::io("write", memory_path(key.observatory), error))
    }

    /// The mark to write down for a mark. The number of a network file system is another one after each time that it is
    /// mounted: that of the store counts as 0.
    fn as_remembered(&self, mark: Mark) -> Mark {
        match (mark, self.shared()) {
            (Mark::Copy(mut identity, sha1, origin), Some(shared)) if identity.device == shared.device() => {
                identity.device = 0;
                Mark::Copy(identity, sha1, origin)
            }
            (mark, _) => mark,
        }
    }

    /// Gives what is remembered the number that the store's file system has now.
    fn with_device(&self, known: &mut HashMap<FileName, Known>) {
        let Some(shared) = self.shared() else { return };
        for known in known.values_mut() {
            if let Some((identity, ..)) = &mut known.copy
                && identity.device == 0
            {
                identity.device = shared.device();
            }
        }
    }

    /// Reads the memory of an observatory's files, and the directories unless the store is shared, once.
    pub(super) fn ensure_indexed(&self, observatory: Observatory) -> Result<(), StoreError> {
        let is_there = || self.index().observatories.contains_key(&observatory);
        if is_there() {
            return Ok(());
        }
        let _once = self.indexing.lock();
        if is_there() {
            return Ok(());
        }
        self.restore_discarded(observatory);
        if self.shared().is_some() {
            let path = memory_path(observatory);
            let (unseen, untidy) = self.read_memory(&path)?;
            let marks = unseen.iter().flat_map(|(name, known)| {
                let copy = known
                    .copy
                    .map(|(identity, sha1, origin)| Mark::Copy(identity, sha1, origin));
                let local = known.local.then_some(Mark::Local);
                [copy, local].into_iter().flatten().map(move |mark| (name, mark))
            });
            let tidy = untidy.then(|| self.memory_of(marks));
            let found = ObservatoryIndex {
                files: HashMap::new(),
                unseen,
                is_listed: false,
                log: Some(Arc::new(self.open_memory(&path, tidy)?)),
            };
            self.find_partials(observatory);
            self.index().observatories.insert(observatory, found);
            return Ok(());
        }
        let (found, mut ranked) = self.read_directories(observatory)?;
        ranked.sort_by_key(|(_, used)| used.rank);
        self.find_partials(observatory);
        let mut index = self.index();
        for (name, used) in ranked {
            let Some(entry) = found.get(&name) else { continue };
            index.count(&FileKey { observatory, name }, entry, used.when);
        }
        index.observatories.insert(observatory, found);
        Ok(())
    }

    /// Lists the directories of an observatory in a shared store, once. Files that were found meanwhile stay as they are
    /// known.
    pub(super) fn ensure_listed(&self, observatory: Observatory) -> Result<(), StoreError> {
        self.ensure_indexed(observatory)?;
        let is_listed = || {
            let index = self.index();
            let known = index.observatories.get(&observatory);
            known.is_some_and(|known| known.is_listed)
        };
        if is_listed() {
            return Ok(());
        }
        let _once = self.indexing.lock();
        if is_listed() {
            return Ok(());
        }
        let unseen = {
            let index = self.index();
            let known = index.observatories.get(&observatory);
            known.map(|known| known.unseen.clone()).unwrap_or_default()
        };
        let (found, mut ranked) = self.list_directories(observatory, &unseen);
        ranked.sort_by_key(|(_, used)| used.rank);
        let mut index = self.index();
        for (name, used) in ranked {
            let Some(entry) = found.get(&name) else { continue };
            let key = FileKey { observatory, name };
            if index.state(&key) == State::Absent {
                index.find(&key, *entry, used.when);
            }
        }
        if let Some(known) = index.observatories.get_mut(&observatory) {
            known.is_listed = true;
            known.unseen = HashMap::new();
        }
        Ok(())
    }

    fn read_directories(
        &self,
        observatory: Observatory,
    ) -> Result<(ObservatoryIndex, Vec<(FileName, Used)>), StoreError> {
        let path = memory_path(observatory);
        let (known, mut untidy) = self.read_memory(&path)?;
        let (files, ranked) = self.list_directories(observatory, &known);
        // The mark of a user's file that is gone shall not be taken for that of the next file there.
        untidy |= known
            .iter()
            .any(|(name, known)| known.local && !files.contains_key(name));
        let marks = files
            .iter()
            .filter_map(|(name, entry)| Some((name, entry.mark()?)));
        let tidy = untidy.then(|| self.memory_of(marks));
        let log = if self.remembers {
            Some(Arc::new(self.open_memory(&path, tidy)?))
        } else {
            None
        };
        let found = ObservatoryIndex {
            files,
            unseen: HashMap::new(),
            is_listed: true,
            log,
        };
        Ok((found, ranked))
    }

    /// The memory of files, and whether the memory file is to be rewritten.
    fn read_memory(&self, path: &Path) -> Result<(HashMap<FileName, Known>, bool), StoreError> {
        // The memory of the store's owner comes first: of two lines on a name the later one counts, and that is our
        // own.
        let mut text = match &self.theirs {
            Some(theirs) => state_dir::read_text(theirs, path, state_dir::MEMORY_LIMIT)?.unwrap_or_default(),
            None => String::new(),
        };
        text += &state_dir::read_text(&self.state_dir, path, state_dir::MEMORY_LIMIT)?.unwrap_or_default();
        let (mut known, untidy) = verified::read(&text);
        self.with_device(&mut known);
        Ok((known, untidy || has_other_names(&self.state_dir, path)))
    }

    /// The memory file for these marks.
    fn memory_of<'a>(&self, marks: impl Iterator<Item = (&'a FileName, Mark)>) -> String {
        marks
            .map(|(name, mark)| verified::line(name, &self.as_remembered(mark)))
            .collect()
    }

    /// The files in the directories of an observatory, as far as they are known, and their last use.
    fn list_directories(
        &self,
        observatory: Observatory,
        known: &HashMap<FileName, Known>,
    ) -> (HashMap<FileName, Entry>, Vec<(FileName, Used)>) {
        let order = order::last_use(&self.state_dir, observatory);
        let mut files = HashMap::new();
        let mut ranked = Vec::new();
        let below = |parent: &str| -> PathBuf { [parent, observatory.as_str()].iter().collect() };
        let references = below("references");
        let mut places = vec![(below("mappings"), None), (references.clone(), None)];
        places.extend(
            observatory
                .instruments()
                .iter()
                .map(|instrument| (references.join(instrument), Some(*instrument))),
        );
        let is_closing = || self.shared().is_some_and(Shared::is_closing);
        for (directory, within) in places {
            scan(&self.root, &directory, is_closing, |name, metadata| {
                // Anything else has no place of its own by its name.
                if name.kind().is_mapping() != directory.starts_with("mappings") {
                    return;
                }
                // In a cache by instrument there are links that lead from one directory to another.
                if metadata.is_symlink() && !grammar::plausible(observatory, name.as_str()) {
                    return;
                }
                let known = known.get(&name).copied().unwrap_or_default();
                let Some(entry) = as_known(metadata, within, &known) else {
                    return;
                };
                let seen = nanoseconds(metadata.atime(), metadata.atime_nsec())
                    .max(nanoseconds(metadata.mtime(), metadata.mtime_nsec()));
                ranked.push((name.clone(), order.of(&name, seen)));
                files.insert(name, entry);
            });
        }
        (files, ranked)
    }

    /// Opens a memory file for appending, after rewriting it where its new contents are given.
    fn open_memory(&self, path: &Path, contents: Option<String>) -> Result<std::fs::File, StoreError> {
        if let Some(contents) = contents {
            state_dir::replace(&self.state_dir, path, contents.as_bytes(), Durable::Yes)?;
        }
        let failed = |error| StoreError::io("open", path, error);
        make_dirs(&self.state_dir, Path::new("verified")).map_err(failed)?;
        state_dir::open_writable(&self.state_dir, path, OpenOptions::new().append(true)).map_err(failed)
    }
}

/// The path of the memory file of an observatory.
fn memory_path(observatory: Observatory) -> PathBuf {
    Path::new("verified").join(observatory.as_str())
}

/// Whether a file has further hard links, through which writes to it would be seen.
fn has_other_names(own: &Dir, path: &Path) -> bool {
    own.symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.nlink() > 1)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// Calls `each` for every entry of a directory whose name is a file name. A directory that is not there or cannot be
/// read (such as a link that leads out of the store) counts as empty. Ends where the store is being closed.
fn scan(
    root: &Dir,
    directory: &Path,
    is_closing: impl Fn() -> bool,
    mut each: impl FnMut(FileName, &Metadata),
) {
    let entries = match root.read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            log::warn!("cannot list {} in the store: {error}", directory.display());
            return;
        }
    };
    for entry in entries.flatten() {
        if is_closing() {
            return;
        }
        let Some(name) = entry.file_name().to_str().and_then(|text| text.parse().ok()) else {
            continue;
        };
        // A file that vanishes between listing and looking is simply not there.
        if let Ok(metadata) = entry.metadata() {
            each(name, &metadata);
        }
    }
}
