//! The implementations that are tested.

use std::path::Path;

use tempfile::TempDir;

use super::Subject;
use crate::crds::FileKey;
use crate::store::{DiskStore, Files as _, MemoryStore, ReferenceLayout, Sharing, Store, StoreOptions};

pub(super) struct Memory(MemoryStore);

impl Memory {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self(MemoryStore::with_size(limit))
    }
}

impl Subject for Memory {
    fn store(&self) -> &dyn Store {
        &self.0
    }

    fn layout(&self) -> ReferenceLayout {
        ReferenceLayout::Flat
    }

    fn put_own(&self, key: &FileKey, contents: &[u8]) {
        self.0.put_local(key, contents).unwrap();
    }
}

/// A directory for a store with a layout.
fn with_layout(layout: ReferenceLayout) -> TempDir {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("config/jwst");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("ref_cache_subdir_mode"), layout.as_str()).unwrap();
    dir
}

pub(super) struct Disk {
    store: DiskStore,
    layout: ReferenceLayout,
    dir: TempDir,
}

impl Disk {
    pub(super) fn new(layout: ReferenceLayout, limit: Option<u64>) -> Self {
        let dir = with_layout(layout);
        let options = StoreOptions {
            cache_size: limit,
            keep_free: 0,
            ..StoreOptions::default()
        };
        let store = DiskStore::open(dir.path(), options).unwrap();
        Self { store, layout, dir }
    }
}

/// A shared store with one mount.
pub(super) struct Shared {
    disk: Disk,
    _state: TempDir,
}

impl Shared {
    pub(super) fn new(layout: ReferenceLayout) -> Self {
        let dir = with_layout(layout);
        let state = TempDir::new().unwrap();
        let options = StoreOptions {
            keep_free: 0,
            sharing: Sharing::Shared,
            state: Some(state.path().to_owned()),
            ..StoreOptions::default()
        };
        let store = DiskStore::open(dir.path(), options).unwrap();
        Self {
            disk: Disk { store, layout, dir },
            _state: state,
        }
    }
}

impl Subject for Shared {
    fn store(&self) -> &dyn Store {
        &self.disk.store
    }

    fn layout(&self) -> ReferenceLayout {
        self.disk.layout
    }

    fn put_own(&self, key: &FileKey, contents: &[u8]) {
        self.disk.put_own(key, contents);
    }
}

impl Subject for Disk {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn layout(&self) -> ReferenceLayout {
        self.layout
    }

    fn put_own(&self, key: &FileKey, contents: &[u8]) {
        std::fs::write(self.dir.path().join("mine"), contents).unwrap();
        self.store.move_in(Path::new("mine"), key).unwrap();
    }
}
