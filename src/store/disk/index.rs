//! The index of one observatory's files, in memory.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::Disk;
use super::file_state::State;
use super::order::{self, Used};
use super::state_dir::{self, Durable};
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum, grammar};
use crate::store::layout::directory_path;
use crate::store::verified::{self, Identity, Known, Mark, Origin};
use crate::store::{Holding, HoldingKind, ReferenceLayout, StoreError};

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
        let mut path = directory_path(ReferenceLayout::Flat, key);
        path.extend(self.instrument);
        path.push(key.name.as_str());
        path
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
        self.files.insert(name, entry);
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
        let written = (&*log)
            .write_all(verified::line(&key.name, mark).as_bytes())
            .and_then(|()| match durable {
                Durable::Yes => log.sync_data(),
                Durable::No => Ok(()),
            });
        written.map_err(|error| StoreError::io("write", memory_path(key.observatory), error))
    }

    /// Reads the directories of an observatory, once.
    pub(super) fn ensure_indexed(&self, observatory: Observatory) -> Result<(), StoreError> {
        let is_there = || self.index().observatories.contains_key(&observatory);
        if is_there() {
            return Ok(());
        }
        let _once = self.indexing.lock();
        if is_there() {
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

    fn read_directories(
        &self,
        observatory: Observatory,
    ) -> Result<(ObservatoryIndex, Vec<(FileName, Used)>), StoreError> {
        self.restore_discarded(observatory);
        let path = memory_path(observatory);
        // The memory of the store's owner comes first: of two lines on a name the later one counts, and that is our
        // own.
        let mut text = match &self.theirs {
            Some(theirs) => state_dir::read_text(theirs, &path, state_dir::MEMORY_LIMIT)?.unwrap_or_default(),
            None => String::new(),
        };
        text += &state_dir::read_text(&self.state_dir, &path, state_dir::MEMORY_LIMIT)?.unwrap_or_default();
        let (known, mut untidy) = verified::read(&text);
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
        for (directory, within) in places {
            scan(&self.root, &directory, |name, metadata| {
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
        // The mark of a user's file that is gone shall not be taken for that of the next file there.
        untidy |= known
            .iter()
            .any(|(name, known)| known.local && !files.contains_key(name));
        untidy |= has_other_names(&self.state_dir, &path);
        let log = if self.remembers {
            Some(Arc::new(self.open_memory(&path, untidy.then_some(&files))?))
        } else {
            None
        };
        Ok((ObservatoryIndex { files, log }, ranked))
    }

    /// Opens a memory file for appending, after rewriting it from `files` where they are given.
    fn open_memory(
        &self,
        path: &Path,
        files: Option<&HashMap<FileName, Entry>>,
    ) -> Result<std::fs::File, StoreError> {
        if let Some(files) = files {
            let lines: String = files
                .iter()
                .filter_map(|(name, entry)| Some(verified::line(name, &entry.mark()?)))
                .collect();
            state_dir::replace(&self.state_dir, path, lines.as_bytes(), Durable::Yes)?;
        }
        let failed = |error| StoreError::io("open", path, error);
        self.state_dir.create_dir_all("verified").map_err(failed)?;
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
fn as_known(metadata: &Metadata, instrument: Option<&'static str>, known: &Known) -> Option<Entry> {
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
/// read (such as a link that leads out of the store) counts as empty.
fn scan(root: &Dir, directory: &Path, mut each: impl FnMut(FileName, &Metadata)) {
    let entries = match root.read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            log::warn!("cannot list {} in the store: {error}", directory.display());
            return;
        }
    };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().and_then(|text| text.parse().ok()) else {
            continue;
        };
        // A file that vanishes between listing and looking is simply not there.
        if let Ok(metadata) = entry.metadata() {
            each(name, &metadata);
        }
    }
}
