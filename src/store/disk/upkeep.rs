//! Holds, and the use of files, of a store in a directory.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::DiskStore;
use super::holds;
use crate::crds::FileKey;
use crate::store::{HoldChange, StoreError, Upkeep};

impl Upkeep for DiskStore {
    fn held(&self) -> BTreeSet<FileKey> {
        self.disk.index().ledger.held().clone()
    }

    fn is_held(&self, key: &FileKey) -> bool {
        self.disk.index().ledger.held().contains(key)
    }

    fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), StoreError> {
        holds::change(&self.disk, changes)
    }

    fn last_used(&self, key: &FileKey) -> Option<SystemTime> {
        self.disk.index().ledger.last_used(key)
    }

    fn is_open(&self, key: &FileKey) -> bool {
        self.disk.index().is_open(key)
    }
}
