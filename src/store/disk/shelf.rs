//! What the store holds of one observatory, in memory.

use std::collections::HashMap;
use std::collections::hash_map;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, Metadata, MetadataExt, OpenOptions};

use super::own::{self, Durable};
use super::{Books, DiskStore};
use crate::crds::{FileKey, FileName, Observatory, Sha1Sum};
use crate::store::layout::directory_path;
use crate::store::verified::{self, Identity, Mark};
use crate::store::{Holding, HoldingKind, ReferenceLayout, StoreError};

/// One file of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) kind: HoldingKind,
    pub(super) identity: Identity,
    /// What it was compared with; `None` where there was nothing to compare with.
    pub(super) sha1: Option<Sha1Sum>,
    pub(super) blocks: u64,
    /// The instrument directory that it lies in.
    pub(super) instrument: Option<&'static str>,
}

impl Kept {
    pub(super) fn new(kind: HoldingKind, metadata: &Metadata, instrument: Option<&'static str>) -> Self {
        Self {
            kind,
            identity: Identity::of(metadata),
            sha1: None,
            blocks: metadata.blocks(),
            instrument,
        }
    }

    pub(super) fn holding(&self) -> Holding {
        Holding {
            kind: self.kind,
            size: self.identity.size,
            blocks: self.blocks,
            modified: self.identity.modified(),
        }
    }

    /// Bytes for the ledger.
    pub(super) fn bytes(&self) -> u64 {
        self.identity.size
    }

    /// Where it lies below the root.
    pub(super) fn path(&self, key: &FileKey) -> PathBuf {
        let mut path = directory_path(ReferenceLayout::Flat, key);
        path.extend(self.instrument);
        path.push(key.name.as_str());
        path
    }

    fn mark(&self) -> Option<Mark> {
        match self.kind {
            HoldingKind::Catalogued => Some(Mark::Copy(self.identity, self.sha1)),
            HoldingKind::Local => Some(Mark::Local),
            HoldingKind::Unverified => None,
        }
    }
}

/// The files of one observatory, and the memory of which of them were verified.
#[derive(Debug)]
pub(super) struct Shelf {
    files: HashMap<FileName, Kept>,
    log: Arc<std::fs::File>,
}

impl Shelf {
    pub(super) fn get(&self, name: &FileName) -> Option<&Kept> {
        self.files.get(name)
    }

    pub(super) fn iter(&self) -> hash_map::Iter<'_, FileName, Kept> {
        self.files.iter()
    }

    pub(super) fn put(&mut self, name: FileName, kept: Kept) {
        self.files.insert(name, kept);
    }

    pub(super) fn take(&mut self, name: &FileName) -> Option<Kept> {
        self.files.remove(name)
    }
}

impl DiskStore {
    /// Writes down what becomes of a name. A failure costs no more than hashing the file again after a restart.
    pub(super) fn remember(&self, key: &FileKey, mark: &Mark) {
        let log = self
            .books()
            .shelves
            .get(&key.observatory)
            .map(|shelf| Arc::clone(&shelf.log));
        let Some(log) = log else { return };
        if let Err(error) = (&*log).write_all(verified::line(&key.name, mark).as_bytes()) {
            log::debug!("cannot remember the state of {key}: {error}");
        }
    }

    /// Reads the directories of an observatory, once.
    pub(super) fn ensure_shelf(&self, observatory: Observatory) -> Result<(), StoreError> {
        if self.books().shelves.contains_key(&observatory) {
            return Ok(());
        }
        let (found, mut ranked) = self.read_shelf(observatory)?;
        ranked.sort_by_key(|(_, used)| *used);
        let mut books = self.books();
        let Books { shelves, ledger, .. } = &mut *books;
        if let hash_map::Entry::Vacant(place) = shelves.entry(observatory) {
            for (name, _) in ranked {
                let Some(kept) = found.get(&name) else { continue };
                let (size, kind) = (kept.bytes(), kept.kind);
                let key = FileKey { observatory, name };
                match kind {
                    HoldingKind::Catalogued => ledger.add_copy(&key, size),
                    HoldingKind::Unverified | HoldingKind::Local => ledger.add_kept(&key, size),
                }
            }
            place.insert(found);
        }
        Ok(())
    }

    fn read_shelf(&self, observatory: Observatory) -> Result<(Shelf, Vec<(FileName, i128)>), StoreError> {
        let path = Path::new("verified").join(observatory.as_str());
        let text = own::read_text(&self.own, &path, own::MEMORY_LIMIT)?.unwrap_or_default();
        let (marks, untidy) = verified::read(&text);
        let order = own::last_use(&self.own, observatory);
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
                let mut kept = Kept::new(HoldingKind::Unverified, metadata, within);
                match marks.get(&name) {
                    Some(Mark::Local) => kept.kind = HoldingKind::Local,
                    Some(Mark::Copy(identity, sha1)) if *identity == kept.identity => {
                        kept.kind = HoldingKind::Catalogued;
                        kept.sha1 = *sha1;
                    }
                    _ => {}
                }
                let seen = nanoseconds(metadata.atime(), metadata.atime_nsec())
                    .max(nanoseconds(metadata.mtime(), metadata.mtime_nsec()));
                ranked.push((name.clone(), order.of(&name, seen)));
                files.insert(name, kept);
            });
        }
        if untidy {
            let lines: String = files
                .iter()
                .filter_map(|(name, kept)| Some(verified::line(name, &kept.mark()?)))
                .collect();
            own::replace(&self.own, &path, lines.as_bytes(), Durable::No)?;
        }
        let failed = |error| StoreError::io("open", &path, error);
        self.own.create_dir_all("verified").map_err(failed)?;
        let log = self
            .own
            .open_with(&path, OpenOptions::new().append(true).create(true))
            .map_err(failed)?;
        let log = Arc::new(log.into_std());
        Ok((Shelf { files, log }, ranked))
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// Calls `each` for the regular files with usable names in a directory, if it is there. A directory that cannot be read
/// (a link that leads out of the store, for one) holds nothing that could be used.
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
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            each(name, &metadata);
        }
    }
}
