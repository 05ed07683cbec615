//! The maintenance of a store: holds, evictions, checks, and unused files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{HoldChange, StoreError};
use crate::crds::{CatalogEntry, FileKey, Sha1Sum};

/// Holds, evictions and checks that a user asks for.
pub(crate) trait Upkeep: Send + Sync + 'static {
    /// The names that are held: their copies are never evicted, whether or not they are there now. From memory.
    fn held(&self) -> BTreeSet<FileKey>;

    /// The copies that are held: their number and their bytes. From memory.
    fn held_copies(&self) -> (u64, u64);

    /// Whether a name is held. From memory.
    fn is_held(&self, key: &FileKey) -> bool;

    /// Holds and releases names. Durable, all of it or nothing, when this returns.
    fn change_holds(&self, changes: Vec<HoldChange>) -> Result<(), StoreError>;

    /// The time of the last use of the file under this name, also before the last restart; `None` if there is none. From memory.
    fn last_used(&self, key: &FileKey) -> Option<SystemTime>;

    /// Whether somebody has the copy under this name open. From memory.
    fn is_open(&self, key: &FileKey) -> bool;

    /// Evicts the copy under this name, unless it has to stay. One that was never hashed is hashed first.
    fn evict(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Eviction, StoreError>;

    /// Reads and hashes the file under this name, also if it was verified before. Nothing is moved: a wrong file is hashed once
    /// more at its next open, and set aside then.
    fn examine(&self, key: &FileKey, wanted: CatalogEntry) -> Result<Finding, StoreError>;

    /// Unused files that killed processes have left.
    fn leftovers(&self) -> Vec<Leftover>;

    /// Removes one of them.
    fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError>;
}

/// The result of an eviction by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// It is gone, and its bytes are free.
    Gone(u64),
    /// There is none.
    Absent,
    /// The user's own file has its name.
    Local,
    /// It is held.
    Held,
    /// Somebody has it open.
    Open,
    /// It is not the catalogued file, so that it may be somebody's work, and stays.
    Wrong,
}

/// The file under a name, compared with the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing.
    Absent,
    /// The catalogued file, as far as the catalog tells.
    Right,
    /// A file of another length, in bytes.
    WrongLength(u64),
    /// A file of the right length with this digest.
    WrongDigest(Sha1Sum),
    /// The user's own file, of so many bytes.
    Local(u64),
}

/// An unused file in the store's own directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Its path below the root of the store.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}
