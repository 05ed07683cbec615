//! The index of one observatory's files, in memory.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::Disk;
use super::file_state::State;
use super::naming::make_dirs;
use super::order::{self, Used};
use super::shared::Shared;
use super::state_dir::{self, Durable};
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum, grammar};
use crate::store::layout::place;
use crate::store::verified::{self, Identity, Known, Mark, Origin};
use crate::store::{Holding, HoldingKind, StoreError};

/// One file of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// One of those in which something has the name, or is about to get it.
    pub(super) state: State,
    pub(super) identity: Identity,
    /// The digest that it was verified with last; `None` if it was not verified, or accepted without one to compare
    /// with. The contents of an `Unverified` file may be others by now.
    pub(super) sha1: Option<Sha1Sum>,
    /// Its origin, if it is a copy.
    pub(super) origin: Origin,
    pub(super) blocks: u64,
    /// The instrument directory that it lies in.
    pub(super) instrument: Option<&'static str>,
    /// The identity of the verified file that openers had before it was copied into a shared store: who has that open
    /// shares it with later openers.
    pub(super) twin: Option<Identity>,
}

impl Entry {
    pub(super) fn new(state: State, metadata: &Metadata, instrument: Option<&'static str>) -> Self {
        Self {
            state,
            identity: Identity::of(metadata),
            sha1: None,
            origin: Origin::Found,
            blocks: metadata.blocks(),
            instrument,
            twin: None,
        }
    }

    /// The kind that the layers above see.
    pub(super) const fn kind(&self) -> HoldingKind {
        match self.state {
            State::Verified | State::Held => HoldingKind::Catalogued,
            State::Override => HoldingKind::Local,
            State::Absent | State::Arriving | State::Unverified => HoldingKind::Unverified,
        }
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            kind: self.kind(),
            size: self.identity.size,
            blocks: self.blocks,
            modified: self.identity.modified(),
        }
    }

    /// Bytes for the ledger.
    pub(super) fn bytes(&self) -> u64 {
        self.identity.size
    }

    /// Its path below the root of the store.
    pub(super) fn path(&self, key: &FileKey) -> PathBuf {
        place(key, self.instrument)
    }

    /// The mark to write down for it; `None` as long as it is unverified.
    pub(super) fn mark(&self) -> Option<Mark> {
        match self.kind() {
            HoldingKind::Catalogued => Some(Mark::Copy(self.identity, self.sha1, self.origin)),
            HoldingKind::Local => Some(Mark::Local),
            HoldingKind::Unverified => None,
        }
    }
}

/// The files of one observatory, and the memory of which of them were verified.
#[derive(Debug)]
pub(super) struct ObservatoryIndex {
    files: HashMap<FileName, Entry>,
    /// The memory of files that were not seen yet, in a shared store, whose directories are listed later.
    unseen: HashMap<FileName, Known>,
    /// Whether the directories were listed.
    is_listed: bool,
    /// The memory file, open for appending; `None` where nothing can be remembered.
    log: Option<Arc<std::fs::File>>,
}

impl ObservatoryIndex {
    pub(super) fn get(&self, name: &FileName) -> Option<&Entry> {
        self.files.get(name)
    }

    pub(super) fn iter(&self) -> hash_map::Iter<'_, FileName, Entry> {
        self.files.iter()
    }

    pub(super) fn put(&mut self, name: FileName, entry: Entry) {
        self.unseen.remove(&name);
        self.files.insert(name, entry);
    }

    /// The memory of a file that was not seen yet.
    pub(super) fn unseen(&self, name: &FileName) -> Option<&Known> {
        self.unseen.get(name)
    }

    pub(super) fn take(&mut self, name: &FileName) -> Option<Entry> {
        self.files.remove(name)
    }
}

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

/// The entry of a file that was found in the store, by what is remembered of its name; `None` for anything but a file
/// or the user's own.
pub(super) fn as_known(
    metadata: &Metadata,
    instrument: Option<&'static str>,
    known: &Known,
) -> Option<Entry> {
    let mut entry = Entry::new(State::Unverified, metadata, instrument);
    if !metadata.is_file() {
        // Only users make links.
        let local = known.local || metadata.is_symlink();
        entry.state = State::Override;
        return local.then_some(entry);
    }
    let copy = known
        .copy
        .filter(|(identity, ..)| identity.has_same_contents(&entry.identity));
    match copy {
        Some((identity, sha1, origin)) if identity == entry.identity => {
            entry.state = State::Held;
            (entry.sha1, entry.origin) = (sha1, origin);
        }
        _ if known.local => entry.state = State::Override,
        Some((_, sha1, origin)) => (entry.sha1, entry.origin) = (sha1, origin),
        None => {}
    }
    Some(entry)
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
